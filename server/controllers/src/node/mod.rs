//! Nodes that stop answering, and what becomes of their pods; for how long nodes may keep what they read.

pub(crate) mod eviction;
mod lifecycle;
mod ttl;
mod zones;

pub(crate) use eviction::TaintEviction;
pub(crate) use lifecycle::NodeLifecycle;
pub(crate) use ttl::NodeTtl;
