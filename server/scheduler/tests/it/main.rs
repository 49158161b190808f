//! The scheduler against a small API in memory: one binary, since each links all of it.
#![allow(clippy::unwrap_used)]

#[path = "../../../controllers/tests/fake/mod.rs"]
mod fake;

mod devices;
mod extenders;
mod lost;
mod preemption;
mod volumes;
