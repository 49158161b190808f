//! The node: its object, its conditions, its lease, its events.

pub mod events;
mod facts;
mod keeper;
mod lease;

pub use facts::{NodeFacts, available_memory, machine};
pub use keeper::{Keeper, MAX_PODS, Pressure};
pub use lease::run as run_lease;
