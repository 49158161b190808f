//! Counts and durations of requests, under upstream's names.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::info::RequestInfo;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Count {
    verb: Cow<'static, str>,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Took {
    verb: Cow<'static, str>,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
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
    let kind = sampan_api::kinds::by_resource(&info.group, &info.version, &info.resource);
    let labels = match kind {
        Some(kind) => Took {
            verb: verb(&info.verb),
            group: kind.group,
            version: kind.version,
            resource: kind.plural,
            subresource: kind.subresource(&info.subresource).map_or("", |served| served.name),
        },
        None => Took { verb: "other".into(), group: "", version: "", resource: "", subresource: "" },
    };
    if info.verb != "watch" {
        METRICS.took.get_or_create(&labels).observe(took.as_secs_f64());
    }
    let Took { verb, group, version, resource, subresource } = labels;
    METRICS
        .count
        .get_or_create(&Count { verb, group, version, resource, subresource, scope: scope(info), code })
        .inc();
}

/// In upper case.
fn verb(verb: &str) -> Cow<'static, str> {
    let usual = ["CREATE", "GET", "LIST", "WATCH", "UPDATE", "PATCH", "DELETE"];
    let known = usual.into_iter().find(|known| known.eq_ignore_ascii_case(verb));
    known.map_or_else(|| verb.to_uppercase().into(), Cow::Borrowed)
}

fn scope(info: &RequestInfo) -> &'static str {
    match (info.name.is_empty(), info.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}
