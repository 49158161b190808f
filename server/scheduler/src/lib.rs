//! The scheduler: filter and score as pure functions of a snapshot; then bind.
//!
//! [`world::World`] is an index: pods and nodes are applied and deleted, a [`world::NodeInfo`] per node comes
//! out. [`plan::Planner`] looks at one pod and the world and returns a [`plan::Decision`]; it does no I/O and is
//! tested by tables, and by an oracle that does the same in the plainest way. [`run`](Scheduler::run) is the rim:
//! deltas of the shared informers feed the world, decisions
//! become bindings, events and conditions through the API.
//!
//! A pod is scheduled against the world *as the scheduler has decided it*: a binding counts at once (it is
//! assumed), and is taken back if the API refuses it. Texts are upstream's
//! (`pkg/scheduler/framework/plugins/*`, `pkg/scheduler/framework/types.go` FitError).

mod binding;
mod columns;
pub mod config;
pub mod devices;
mod extenders;
pub mod filters;
mod groups;
mod hints;
mod metrics;
pub mod owners;
pub mod plan;
pub mod pods;
pub mod preempt;
mod queue;
pub mod resources;
mod run;
pub mod scores;
pub mod selectors;
pub mod volumes;
pub mod world;

pub use run::{Config, Scheduler};
