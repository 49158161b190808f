//! Counts and durations of requests, under upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::info::RequestInfo;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Count {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Took {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
}

struct Metrics {
    count: Family<Count, Counter>,
    took: Family<Took, Histogram, fn() -> Histogram>,
}

fn histogram() -> Histogram {
    Histogram::new([0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0])
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let count = Family::default();
    let took = Family::new_with_constructor(histogram as fn() -> Histogram);
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    // the encoder appends _total to counters
    registry.register("apiserver_request", "Counter of apiserver requests broken out for each verb, group, version, resource, scope and HTTP response code", count.clone());
    registry.register(
        "apiserver_request_duration_seconds",
        "Response latency distribution in seconds for each verb, group, version, resource and subresource",
        took.clone(),
    );
    Metrics { count, took }
});

/// Counts one request. Unknown resources are not told apart, so that callers cannot make series.
pub fn record(info: &RequestInfo, code: u16, took: Duration) {
    let known = sampan_api::kinds::by_resource(&info.group, &info.version, &info.resource).is_some();
    let text = |s: &str| if known { s.to_owned() } else { String::new() };
    let verb = if known { info.verb.to_uppercase() } else { "other".to_owned() };
    let labels = Took {
        verb,
        group: text(&info.group),
        version: text(&info.version),
        resource: text(&info.resource),
        subresource: subresource(info, known),
    };
    if !matches!(info.verb.as_str(), "watch") {
        METRICS.took.get_or_create(&labels).observe(took.as_secs_f64());
    }
    let Took { verb, group, version, resource, subresource } = labels;
    METRICS
        .count
        .get_or_create(&Count { verb, group, version, resource, subresource, scope: scope(info), code })
        .inc();
}

fn subresource(info: &RequestInfo, known: bool) -> String {
    let kind = sampan_api::kinds::by_resource(&info.group, &info.version, &info.resource);
    let served = known && kind.is_some_and(|kind| kind.subresource(&info.subresource).is_some());
    if served { info.subresource.clone() } else { String::new() }
}

fn scope(info: &RequestInfo) -> &'static str {
    match (info.name.is_empty(), info.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}
