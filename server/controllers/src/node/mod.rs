//! Nodes that stop answering, and what becomes of their pods.

mod eviction;
mod lifecycle;

pub(crate) use eviction::TaintEviction;
pub(crate) use lifecycle::NodeLifecycle;
