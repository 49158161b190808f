//! One registry of metrics for the process, encoded in the Prometheus text format at `/metrics`.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

/// The process's registry. Register at start-up, keep the returned handles, never look metrics up again.
pub fn registry() -> Arc<Mutex<Registry>> {
    static REGISTRY: OnceLock<Arc<Mutex<Registry>>> = OnceLock::new();
    REGISTRY.get_or_init(|| Arc::new(Mutex::new(Registry::default()))).clone()
}

/// Everything registered so far, in OpenMetrics text.
pub fn encode() -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry().lock());
    text
}
