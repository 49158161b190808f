//! The whole addon over real sockets, fed by an API in memory: clients on one side, endpoints on the other.
#![allow(clippy::unwrap_used)]

#[path = "../../../../server/controllers/tests/fake/mod.rs"]
mod fake;

mod abuse;
mod bodies;
mod changes;
mod endpoint;
mod protocols;
mod routing;
mod world;
