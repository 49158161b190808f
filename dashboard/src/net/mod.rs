//! The rim towards the daemon: calls, the feed's socket, streams.

pub mod api;
pub mod feed;
pub mod part;
pub mod socket;
pub mod stream;
