//! One registry of metrics for the process, encoded at `/metrics` as Prometheus' Go client does it: in the text
//! format 0.0.4.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// Content type of what is encoded here.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// The process's registry. Register at start-up, keep the returned handles, never look metrics up again.
pub fn registry() -> Arc<Mutex<Registry>> {
    static REGISTRY: OnceLock<Arc<Mutex<Registry>>> = OnceLock::new();
    REGISTRY.get_or_init(|| Arc::new(Mutex::new(Registry::default()))).clone()
}

/// Everything registered so far.
pub fn encode() -> String {
    encode_with(&Registry::default())
}

/// The same, and what is measured just for this.
pub fn encode_with(measured: &Registry) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = encode_registry(&mut text, &registry().lock());
    let _ = encode_registry(&mut text, measured);
    classic(&text)
}

/// What is in a registry of its own.
pub fn encode_one(registry: &Registry) -> String {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = encode_registry(&mut text, registry);
    classic(&text)
}

/// OpenMetrics text as text of the format 0.0.4: a family has the name of its samples (`…_total`, `…_info`), help has
/// no full stop added, whole bounds of buckets have no fraction, and a family without samples is not mentioned.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut help, mut kind) = ("", None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help.strip_suffix('.').unwrap_or(help));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ');
        } else if !line.starts_with('#') {
            if let Some((name, kind)) = kind.take() {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                out.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            match line.split_once(".0\"").filter(|(before, _)| whole_bound(before)) {
                Some((before, after)) => out.extend([before, "\"", after, "\n"]),
                None => out.extend([line, "\n"]),
            }
        }
    }
    out
}

/// Whether this ends in the bound of a bucket, as far as its point.
fn whole_bound(text: &str) -> bool {
    text.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with("le=\"")
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::EncodeLabelSet;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;

    use super::*;

    #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
    struct Verb {
        verb: &'static str,
    }

    #[test]
    fn every_kind_of_metric_as_go_writes_it() {
        let mut registry = Registry::default();
        let requests = Family::<Verb, Counter>::default();
        requests.get_or_create(&Verb { verb: "GET\".0\"" }).inc_by(3);
        registry.register("requests", "Requests by verb", requests);
        registry.register("none", "Nothing was counted", Family::<Verb, Counter>::default());
        registry.register("waiting", "How many wait", Gauge::<i64>::default());
        registry.register("build", "What this is.", Info::new([("version", "1.0")]));
        let seconds = Histogram::new([0.005, 1.0, 10.0]);
        seconds.observe(0.5);
        registry.register("seconds", "How long it took", seconds);
        let expected = r#"# HELP requests_total Requests by verb
# TYPE requests_total counter
requests_total{verb="GET\".0\""} 3
# HELP waiting How many wait
# TYPE waiting gauge
waiting 0
# HELP build_info What this is.
# TYPE build_info gauge
build_info{version="1.0"} 1
# HELP seconds How long it took
# TYPE seconds histogram
seconds_sum 0.5
seconds_count 1
seconds_bucket{le="0.005"} 0
seconds_bucket{le="1"} 1
seconds_bucket{le="10"} 1
seconds_bucket{le="+Inf"} 1
"#;
        assert_eq!(encode_one(&registry), expected);
    }
}
