//! What every task of the daemon gets: a name, a span, a drain, a place in the health report, a log and
//! metrics.
//!
//! A component is `Config → new() → run(drain) → Result`. It spawns through [`Tasks`], so that nothing runs
//! unnamed or outlives the process's drain, and reports through [`Health`], from which the mirror pods in
//! kube-system and `sampan status` are drawn. [`logs`] keeps what each component said, which is what
//! `kubectl logs -n kube-system kube-scheduler-…` streams.
//!
//! This crate knows no Kubernetes object and does no I/O but writing log files.

mod drain;
mod duplex;
mod health;
pub mod logs;
pub mod metrics;

pub use drain::{Drain, Tasks, supervise};
pub use duplex::{BoxedIo, Duplex};
pub use health::{Component, ComponentHealth, Health, State};
