//! Upstream's metrics of APIServices (`kube-aggregator/pkg/controllers/status/metrics`) and of discovery
//! (`apiserver/pkg/endpoints/discovery/aggregated`).

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::ApiServer;
use crate::value::{at, items, meta, text};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reasoned {
    name: String,
    reason: String,
}

struct Metrics {
    /// A count: as one the encoder would call it what the gauge is called.
    unavailable: Family<Reasoned, Gauge>,
    aggregated: Counter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics { unavailable: Family::default(), aggregated: Counter::default() };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    registry.register(
        "aggregator_unavailable_apiservice_total",
        "Counter of APIServices which are marked as unavailable broken down by APIService name and reason",
        metrics.unavailable.clone(),
    );
    // the encoder appends _total to counters
    registry.register(
        "aggregator_discovery_aggregation_count",
        "Counter of number of times discovery was aggregated",
        metrics.aggregated.clone(),
    );
    metrics
});

/// Counts a document of all groups that was put together.
pub(crate) fn discovered() {
    METRICS.aggregated.inc();
}

/// Counts an APIService that was available before a write to its status, and is not after it.
pub(super) fn judged(old: &Value, new: &Value) {
    if let Some(reason) = went(old, new) {
        let labels = Reasoned { name: meta(new, "name").to_owned(), reason: reason.to_owned() };
        METRICS.unavailable.get_or_create(&labels).inc();
    }
}

/// `SetUnavailableCounter`.
fn went<'a>(old: &Value, new: &'a Value) -> Option<&'a str> {
    fn condition(object: &Value) -> Option<&Value> {
        items(at(object, &["status", "conditions"])).iter().find(|one| text(one, &["type"]) == "Available")
    }
    let is = |object| condition(object).is_some_and(|one| text(one, &["status"]) == "True");
    (is(old) && !is(new)).then(|| condition(new).map_or("UnknownReason", |one| text(one, &["reason"])))
}

impl ApiServer {
    /// Which APIServices are unavailable.
    pub(crate) fn measure_api_services(&self, registry: &mut Registry) {
        LazyLock::force(&METRICS);
        let unavailable = Family::<Named, Gauge>::default();
        for (_, spec) in self.groups().table.now(self.store()).iter() {
            let gauge = unavailable.get_or_create_owned(&Named { name: spec.name.clone() });
            gauge.set((!spec.available).into());
        }
        registry.register(
            "aggregator_unavailable_apiservice",
            "Gauge of APIServices which are marked as unavailable broken down by APIService name",
            unavailable,
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::went;

    #[test]
    fn only_who_was_available_becomes_unavailable() {
        let of = |status: &str| json!({"status": {"conditions": [{"type": "Available", "status": status, "reason": "R"}]}});
        for (old, new, reason) in [
            (of("True"), of("False"), Some("R")),
            (of("True"), of("Unknown"), Some("R")),
            (of("True"), json!({}), Some("UnknownReason")),
            (of("True"), of("True"), None),
            (of("False"), of("False"), None),
            (json!({}), of("False"), None),
        ] {
            assert_eq!(went(&old, &new), reason, "{old} {new}");
        }
    }
}
