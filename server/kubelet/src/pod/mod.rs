//! Pods: the machine, its driver, and who drives which.

mod admission;
pub mod backoff;
mod counts;
pub mod driver;
mod eviction;
mod hooks;
mod images;
pub mod machine;
pub mod manager;
mod publisher;
mod recover;
mod resize;
mod restart;
mod sandbox;
mod start;
pub mod state;
pub mod status;
mod storage;
mod waiting;

#[cfg(test)]
mod machine_tests;
