//! The platform against the API server in this process: what a user does, and bad days.
#![allow(clippy::unwrap_used)]

mod crash;
mod example;
mod natives;
mod packages;
mod world;
