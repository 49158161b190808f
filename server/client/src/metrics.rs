//! What upstream's clients tell of their requests (`component-base/metrics/prometheus/restclient`).

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// A request in this process goes to no host.
const HOST: &str = "loopback";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    code: u16,
    method: &'static str,
    host: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Timed {
    verb: &'static str,
    host: &'static str,
}

struct Metrics {
    requests: Family<Answered, Counter>,
    took: Family<Timed, Histogram, fn() -> Histogram>,
}

fn durations() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0])
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics {
        requests: Family::default(),
        took: Family::new_with_constructor(durations as fn() -> Histogram),
    };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    // the encoder appends _total to counters
    registry.register(
        "rest_client_requests",
        "Number of HTTP requests, partitioned by status code, method, and host",
        metrics.requests.clone(),
    );
    registry.register(
        "rest_client_request_duration_seconds",
        "Request latency in seconds. Broken down by verb, and host",
        metrics.took.clone(),
    );
    metrics
});

/// Counts an answer. What goes on (a watch, a log that is followed) has no duration.
pub(crate) fn answered(method: &Method, code: u16, took: Option<Duration>) {
    let method = name(method);
    METRICS.requests.get_or_create(&Answered { code, method, host: HOST }).inc();
    if let Some(took) = took {
        METRICS.took.get_or_create(&Timed { verb: method, host: HOST }).observe(took.as_secs_f64());
    }
}

fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_code_and_method() {
        answered(&Method::PATCH, 299, Some(Duration::from_millis(10)));
        answered(&Method::PATCH, 299, None);
        let text = sampan_process::metrics::encode();
        for line in [
            "rest_client_requests_total{code=\"299\",method=\"PATCH\",host=\"loopback\"} 2",
            "rest_client_request_duration_seconds_count{verb=\"PATCH\",host=\"loopback\"} 1",
            "rest_client_request_duration_seconds_bucket{le=\"0.005\",verb=\"PATCH\",host=\"loopback\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
