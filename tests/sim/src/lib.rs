//! A whole cluster in one thread and in no time: all controllers, the scheduler and the kubelets of simulated nodes, as
//! they are built, against an API in memory that fails as a seed says.
//!
//! ```text
//!   script ──────────────────────────────► api ◄── judge looks at every write
//!   (users, nodes that die, cuts)           ▲
//!                                           │ faults: refusals, conflicts, answers that are lost, watches that lag or end
//!   life: controllers, scheduler, kubelets ─┘
//! ```
//!
//! A life ends in the middle of whatever it does, after a number of writes, and another begins with what the API knows.
//! Time is tokio's paused clock, which [`sampan_reconcile::simulate`] has all of them go by. When the faults stop the
//! cluster has to heal. What the script did stands in the history of a run. A seed gives the same script and the same
//! chances again; in which order tasks that are ready at once run is not yet its own.

#![allow(clippy::unwrap_used, missing_docs)] // a simulation that is wrong is to stop; it is read with its tests

pub mod api;
pub mod faults;
pub mod judge;
pub mod life;
pub mod play;
pub mod random;
pub mod script;
pub mod settled;
