//! Counts, durations and sizes of requests, under upstream's names (`k8s.io/apiserver/pkg/endpoints/metrics`).
//!
//! What a request adds to is looked up once, by where the kinds table has its resource: a lock that all share for
//! reading, and no text.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use http_body::Body as _;
use parking_lot::{Mutex, RwLock};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use sampan_api::kinds::Kind;

use super::held::until_its_end;
use super::info::RequestInfo;
use super::query::Query;
use crate::ResponseBody;

#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Dry {
    #[prometheus(flatten)]
    labels: Labels,
    dry_run: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Coded {
    #[prometheus(flatten)]
    labels: Labels,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DryCoded {
    #[prometheus(flatten)]
    dry: Dry,
    code: u16,
}

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

struct Metrics {
    count: Family<DryCoded, Counter>,
    took: Family<Dry, Histogram, fn() -> Histogram>,
    sli: Histograms,
    size: Histograms,
    running: Family<Labels, Gauge>,
    terminated: Family<Coded, Counter>,
    series: RwLock<HashMap<Key, &'static Series>>,
}

fn durations() -> Histogram {
    Histogram::new([0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0])
}

fn sizes() -> Histogram {
    Histogram::new([1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9])
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics {
        count: Family::default(),
        took: Family::new_with_constructor(durations as fn() -> Histogram),
        sli: Family::new_with_constructor(durations as fn() -> Histogram),
        size: Family::new_with_constructor(sizes as fn() -> Histogram),
        running: Family::default(),
        terminated: Family::default(),
        series: RwLock::default(),
    };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    let registry = registry.sub_registry_with_label(("component".into(), "apiserver".into()));
    // the encoder appends _total to counters
    registry.register("apiserver_request", "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope and HTTP response code", metrics.count.clone());
    registry.register(
        "apiserver_request_duration_seconds",
        "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource and scope",
        metrics.took.clone(),
    );
    registry.register(
        "apiserver_request_sli_duration_seconds",
        "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource and scope",
        metrics.sli.clone(),
    );
    registry.register(
        "apiserver_response_sizes",
        "Response size distribution in bytes for each group, version, verb, resource, subresource and scope",
        metrics.size.clone(),
    );
    registry.register(
        "apiserver_longrunning_requests",
        "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope",
        metrics.running.clone(),
    );
    registry.register(
        "apiserver_request_terminations",
        "Number of requests which apiserver terminated in self-defense",
        metrics.terminated.clone(),
    );
    metrics
});

/// How something is asked for, besides what and where.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// Server-side apply, which no other patch is.
    pub applies: bool,
    /// See [`dry_run`].
    pub dry_run: &'static str,
}

/// What one sort of request adds to.
struct Series {
    labels: Labels,
    dry_run: &'static str,
    took: Histogram,
    sli: Histogram,
    size: Histogram,
    codes: Mutex<Vec<(u16, Counter)>>,
}

/// Labels, by the kinds table's rows: where those are says what they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    kind: usize,
    subresource: usize,
    verb: &'static str,
    scope: &'static str,
    dry_run: &'static str,
}

impl Series {
    /// Those of a request for a `kind`. Unknown resources are not told apart, so that callers cannot make series.
    fn of(
        info: &RequestInfo,
        kind: Option<&'static Kind>,
        manner: Manner,
        scope: &'static str,
    ) -> &'static Self {
        let below = kind.and_then(|kind| kind.subresource(&info.subresource));
        let verb = kind.map_or("other", |_| verb(info, manner.applies, scope));
        let address = |row: Option<*const ()>| row.map_or(0, |row| row as usize);
        let key = Key {
            kind: address(kind.map(|kind| std::ptr::from_ref(kind).cast())),
            subresource: address(below.map(|below| std::ptr::from_ref(below).cast())),
            verb,
            scope,
            dry_run: manner.dry_run,
        };
        let metrics = &*METRICS;
        if let Some(series) = metrics.series.read().get(&key) {
            return series;
        }
        let (group, version, resource) =
            kind.map_or(("", "", ""), |kind| (kind.group, kind.version, kind.plural));
        let subresource = below.map_or("", |below| below.name);
        let labels = Labels { verb, group, version, resource, subresource, scope };
        let mut all = metrics.series.write();
        all.entry(key).or_insert_with(|| Box::leak(Box::new(Self::new(labels, manner.dry_run))))
    }

    fn new(labels: Labels, dry_run: &'static str) -> Self {
        Self {
            labels,
            dry_run,
            took: METRICS.took.get_or_create_owned(&Dry { labels, dry_run }),
            sli: METRICS.sli.get_or_create_owned(&labels),
            size: METRICS.size.get_or_create_owned(&labels),
            codes: Mutex::default(),
        }
    }

    fn count(&self, code: u16) {
        let mut codes = self.codes.lock();
        if let Some((_, count)) = codes.iter().find(|(known, _)| *known == code) {
            count.inc();
            return;
        }
        let dry = Dry { labels: self.labels, dry_run: self.dry_run };
        let count = METRICS.count.get_or_create_owned(&DryCoded { dry, code });
        count.inc();
        codes.push((code, count));
    }

    fn record(&self, outcome: &Outcome) {
        self.count(outcome.code);
        let took = outcome.began.elapsed();
        self.took.observe(took.as_secs_f64());
        if self.dry_run.is_empty() {
            self.sli.observe(took.saturating_sub(outcome.waited).as_secs_f64());
        }
        if let ("GET" | "LIST", Some(size)) = (self.labels.verb, outcome.size) {
            #[allow(clippy::cast_precision_loss, reason = "no answer is that long")]
            self.size.observe(size as f64);
        }
    }
}

/// What became of a request.
pub struct Outcome {
    /// The answer's code.
    pub code: u16,
    /// When its first byte came.
    pub began: Instant,
    /// How long it was in a queue, or waited for webhooks.
    pub waited: Duration,
    /// The answer's length, if it is known.
    pub size: Option<u64>,
}

/// Counts one request.
pub fn record(info: &RequestInfo, kind: Option<&'static Kind>, manner: Manner, outcome: &Outcome) {
    Series::of(info, kind, manner, routed_scope(info, kind)).record(outcome);
}

/// Counts one request that was turned away for want of room.
pub fn terminated(info: &RequestInfo, kind: Option<&'static Kind>, code: u16) {
    let labels = Series::of(info, kind, Manner::default(), scope(info)).labels;
    METRICS.terminated.get_or_create_owned(&Coded { labels, code }).inc();
}

/// The answer to a request that may go on for long, shown as running for as long as it does and counted at its end.
pub fn while_running(
    info: &RequestInfo,
    kind: Option<&'static Kind>,
    manner: Manner,
    outcome: Outcome,
    response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let goes_on =
        response.status() == StatusCode::SWITCHING_PROTOCOLS || response.body().size_hint().exact().is_none();
    if !goes_on {
        record(info, kind, manner, &outcome);
        return response;
    }
    let labels = Series::of(info, kind, Manner::default(), scope(info)).labels;
    let running = METRICS.running.get_or_create_owned(&labels);
    running.inc();
    let series = Series::of(info, kind, manner, routed_scope(info, kind));
    until_its_end(response, Running { running, series, outcome })
}

/// Shows a request while it is there.
struct Running {
    running: Gauge,
    series: &'static Series,
    outcome: Outcome,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.dec();
        self.series.record(&self.outcome);
    }
}

/// `cleanDryRun`.
pub fn dry_run(query: &Query) -> &'static str {
    match query.get("dryRun") {
        None => "",
        Some(_) if query.all("dryRun").all(|value| value == "All") => "All",
        Some(_) => "invalid",
    }
}

/// `cleanVerb`: the method, but for what it does not tell.
fn verb(info: &RequestInfo, applies: bool, scope: &str) -> &'static str {
    match (info.verb.as_str(), info.subresource.as_str()) {
        (_, "attach" | "exec" | "log" | "portforward" | "proxy") => "CONNECT",
        // a list of what has one name counts as that, where the scope does
        ("list", _) if scope == "resource" => "GET",
        ("get", _) => "GET",
        ("list", _) => "LIST",
        ("watch", _) => "WATCH",
        ("create", _) => "POST",
        ("update", _) => "PUT",
        ("patch", _) if applies => "APPLY",
        ("patch", _) => "PATCH",
        ("delete" | "deletecollection", _) => "DELETE",
        _ => "other",
    }
}

/// `CleanScope`.
fn scope(info: &RequestInfo) -> &'static str {
    match (info.name.is_empty(), info.namespace.is_empty()) {
        (false, _) => "resource",
        _ if info.verb == "create" => "resource",
        (true, false) => "namespace",
        (true, true) if info.is_resource => "cluster",
        (true, true) => "",
    }
}

/// The scope of a request that is answered: upstream's route tells it, whose path has no name that a selector asks for.
/// Custom resources have no routes.
fn routed_scope(info: &RequestInfo, kind: Option<&Kind>) -> &'static str {
    let routed = kind.is_some_and(|kind| kind.custom.is_none());
    let selects = matches!(info.verb.as_str(), "list" | "watch") && info.special().is_none();
    match (routed && selects, info.namespace.is_empty()) {
        (false, _) => scope(info),
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use sampan_api::kinds;

    use super::super::info;
    use super::*;

    fn parsed(method: &Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        info::parse(method, path, &Query::parse(query))
    }

    fn told(labels: Labels) -> String {
        let Labels { verb, resource, subresource, scope, group, .. } = labels;
        [verb, group, resource, subresource, scope].join(" ")
    }

    #[test]
    fn requests_are_told_apart_as_upstreams_are() {
        let of = |method: Method, uri: &str, applies| {
            let info = parsed(&method, uri);
            let kind = kinds::by_resource(&info.group, &info.version, &info.resource);
            let manner = Manner { applies, ..Manner::default() };
            told(Series::of(&info, kind, manner, routed_scope(&info, kind)).labels)
        };
        let events = "/apis/events.k8s.io/v1/namespaces/a/events";
        let selected = "fieldSelector=metadata.name%3Dp";
        #[rustfmt::skip]
        let cases = [
            (Method::GET, "/api/v1/namespaces/a/pods/p", false, "GET  pods  resource"),
            (Method::GET, "/api/v1/pods", false, "LIST  pods  cluster"),
            (Method::GET, &format!("/api/v1/pods?{selected}"), false, "LIST  pods  cluster"),
            (Method::GET, &format!("/api/v1/namespaces/a/pods?watch=1&{selected}"), false, "WATCH  pods  namespace"),
            (Method::GET, "/api/v1/watch/namespaces/a/pods/p", false, "WATCH  pods  resource"),
            (Method::GET, "/api/v1/watch/namespaces/a/pods", false, "WATCH  pods  namespace"),
            (Method::GET, "/api/v1/namespaces/a/events?watch=1", false, "WATCH  events  namespace"),
            (Method::GET, events, false, "LIST events.k8s.io events  namespace"),
            (Method::POST, events, false, "POST events.k8s.io events  resource"),
            (Method::PATCH, "/api/v1/namespaces/a/pods/p/status", true, "APPLY  pods status resource"),
            (Method::POST, "/api/v1/namespaces/a/pods/p/exec", false, "CONNECT  pods exec resource"),
            (Method::DELETE, "/api/v1/namespaces/a/pods", false, "DELETE  pods  namespace"),
            (Method::DELETE, "/api/v1/nodes", false, "DELETE  nodes  cluster"),
            (Method::GET, "/apis/no.one/v1/things/x", false, "other    resource"),
            (Method::GET, "/version", false, "other    "),
        ];
        for (method, uri, applies, expected) in cases {
            assert_eq!(of(method, uri, applies), expected, "{uri}");
        }
    }

    #[test]
    fn what_is_not_told_by_a_route_has_the_scope_of_what_is_asked() {
        for (uri, expected) in [
            ("/api/v1/pods?fieldSelector=metadata.name%3Dp", "GET  pods  resource"),
            ("/api/v1/pods?watch=1&fieldSelector=metadata.name%3Dp", "WATCH  pods  resource"),
            ("/api/v1/pods?watch=1", "WATCH  pods  cluster"),
        ] {
            let info = parsed(&Method::GET, uri);
            let kind = kinds::by_resource("", "v1", "pods");
            assert_eq!(
                told(Series::of(&info, kind, Manner::default(), scope(&info)).labels),
                expected,
                "{uri}"
            );
        }
    }

    #[test]
    fn dry_runs_are_told_apart() {
        for (query, expected) in [
            ("", ""),
            ("dryRun=All", "All"),
            ("dryRun=All&dryRun=All", "All"),
            ("dryRun=", "invalid"),
            ("dryRun=All&dryRun=all", "invalid"),
        ] {
            assert_eq!(dry_run(&Query::parse(query)), expected, "{query}");
        }
    }
}
