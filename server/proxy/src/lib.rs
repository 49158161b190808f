//! kube-proxy and the enforcement of NetworkPolicy: Services, EndpointSlices and policies become one nftables table.
//!
//! [`model::Model`] is the pure part: objects in, [`table::Change`]s out, from a shadow of the table of its own. The rim
//! ([`run`](Proxy::run)) gathers deltas of the shared informers while one change is on its way into the kernel, and
//! never asks the kernel what it holds. What is meant is upstream's nftables mode (`pkg/proxy/nftables/proxier.go`); how
//! it is laid out is not, and `README.md` beside this crate says why.

mod blocks;
pub mod chain;
pub mod conntrack;
pub mod element;
pub mod endpoints;
pub mod frame;
mod health;
pub mod kernel;
pub mod model;
pub mod netlink;
pub mod policy;
mod retry;
mod run;
pub mod service;
pub mod table;
#[cfg(test)]
mod tests;

pub use frame::Led;
pub use run::{Config, Error, Proxy, cleanup};
