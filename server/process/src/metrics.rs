//! One registry of metrics for the process, encoded in the Prometheus text format at `/metrics`.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

/// The process's registry. Register at start-up, keep the returned handles, never look metrics up again.
pub fn registry() -> Arc<Mutex<Registry>> {
    static REGISTRY: OnceLock<Arc<Mutex<Registry>>> = OnceLock::new();
    REGISTRY.get_or_init(|| Arc::new(Mutex::new(Registry::default()))).clone()
}

/// Everything registered so far, in OpenMetrics text.
pub fn encode() -> String {
    encode_with(&Registry::default())
}

/// The same, and what is measured just for this.
pub fn encode_with(measured: &Registry) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = encode_registry(&mut text, &registry().lock());
    let _ = encode_registry(&mut text, measured);
    let _ = encode_eof(&mut text);
    text
}
