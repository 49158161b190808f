//! Upstream's counters of audit.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::policy::Level;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AtLevel {
    level: &'static str,
}

struct Metrics {
    events: Counter,
    levels: Family<AtLevel, Counter>,
    lost: Family<Plugin, Counter>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics { events: Counter::default(), levels: Family::default(), lost: Family::default() };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    registry.register(
        "apiserver_audit_event",
        "Counter of audit events generated and sent to the audit backend",
        metrics.events.clone(),
    );
    registry.register(
        "apiserver_audit_level",
        "Counter of policy levels for audit events (1 per request)",
        metrics.levels.clone(),
    );
    registry.register(
        "apiserver_audit_error",
        "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error",
        metrics.lost.clone(),
    );
    metrics
});

/// Counts an event.
pub(super) fn event(level: Level) {
    METRICS.events.inc();
    METRICS.levels.get_or_create(&AtLevel { level: level.name() }).inc();
}

/// Counts events that a sink has not taken.
pub(super) fn lost(plugin: &'static str, count: u64) {
    METRICS.lost.get_or_create(&Plugin { plugin }).inc_by(count);
}
