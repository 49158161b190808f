//! Upstream's metrics of webhooks. One is asked over the network: labels may be made for each.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::answer::Refusal;
use super::hook::Hook;
use crate::registry::Review;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Requested {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rejected {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Open {
    name: String,
    r#type: &'static str,
}

struct Metrics {
    took: Family<Asked, Histogram, fn() -> Histogram>,
    /// A count, which the encoder would give another name.
    rejected: Family<Rejected, Gauge>,
    open: Family<Open, Gauge>,
    requests: Family<Requested, Counter>,
}

fn durations() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0])
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics {
        took: Family::new_with_constructor(durations as fn() -> Histogram),
        rejected: Family::default(),
        open: Family::default(),
        requests: Family::default(),
    };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    registry.register(
        "apiserver_admission_webhook_admission_duration_seconds",
        "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and type (validating or admit)",
        metrics.took.clone(),
    );
    registry.register(
        "apiserver_admission_webhook_rejection_count",
        "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation",
        metrics.rejected.clone(),
    );
    registry.register(
        "apiserver_admission_webhook_fail_open_count",
        "Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit)",
        metrics.open.clone(),
    );
    registry.register(
        "apiserver_admission_webhook_request",
        "Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation",
        metrics.requests.clone(),
    );
    metrics
});

/// Counts what became of one request to a webhook. Who fails open has refused nothing.
pub(super) fn asked(
    hook: &Hook,
    review: &Review<'_>,
    mutating: bool,
    took: Duration,
    refusal: Option<&Refusal>,
) {
    let r#type = if mutating { "admit" } else { "validating" };
    let (name, operation) = (hook.name.clone(), review.operation.name());
    let (error_type, code) = match refusal {
        None => (None, 200),
        Some(Refusal::Denied(error)) => (Some("no_error"), error.code.min(600)),
        Some(Refusal::Unable(_)) => (Some("apiserver_internal_error"), 0),
        Some(Refusal::Failed { code, .. }) if hook.fail => (Some("calling_webhook_error"), (*code).min(600)),
        Some(Refusal::Failed { code, .. }) => {
            METRICS.open.get_or_create(&Open { name: name.clone(), r#type }).inc();
            (None, (*code).min(600))
        }
    };
    if let Some(error_type) = error_type {
        let labels = Rejected { name: name.clone(), r#type, operation, error_type, rejection_code: code };
        METRICS.rejected.get_or_create(&labels).inc();
    }
    let rejected = if error_type.is_some() { "true" } else { "false" };
    let labels = Requested { name: name.clone(), r#type, operation, code, rejected };
    METRICS.requests.get_or_create(&labels).inc();
    METRICS.took.get_or_create(&Asked { name, r#type, operation, rejected }).observe(took.as_secs_f64());
}
