//! Nodes that stop answering, and what becomes of their pods.

pub(crate) mod eviction;
mod lifecycle;

pub(crate) use eviction::TaintEviction;
pub(crate) use lifecycle::NodeLifecycle;
