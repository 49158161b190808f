//! What only the daemon can do for an addon.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Full;

/// Answers requests of an aggregated API group, after authentication and authorization.
pub type GroupHandler =
    Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Full<Bytes>>> + Send + Sync>;

/// Something that is served for as long as this is held.
pub type Served = Box<dyn Send + Sync>;

/// The node's daemon, as addons see it.
pub trait Host: Send + Sync {
    /// Serves `/apis/GROUP/VERSION` of the API server until the answer is dropped.
    fn serve_group(&self, group: &'static str, version: &'static str, handler: GroupHandler) -> Served;

    /// The embedded runtime's content store, with blobs as `sha256/HEX`; `None` with another runtime.
    fn content_store(&self) -> Option<PathBuf>;

    /// Where an addon listens that serves the cluster's DNS: port 53 of that address leads there, so that it can be had
    /// whoever listens at that port of this machine.
    fn dns_port(&self) -> u16 {
        53
    }
}
