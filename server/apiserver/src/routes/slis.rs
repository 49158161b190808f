//! `/metrics/slis`: what the health checks found, whenever somebody asked for one (`component-base/metrics/prometheus/slis`).

use std::sync::LazyLock;

use http::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::ResponseBody;
use crate::pipeline::respond;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Check {
    name: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Result {
    name: &'static str,
    r#type: &'static str,
    status: &'static str,
}

struct Slis {
    registry: Registry,
    last: Family<Check, Gauge>,
    all: Family<Result, Counter>,
}

static SLIS: LazyLock<Slis> = LazyLock::new(|| {
    let (last, all) = (Family::<Check, Gauge>::default(), Family::<Result, Counter>::default());
    let mut registry = Registry::default();
    let help = "This metric records the result of a single healthcheck";
    registry.register("kubernetes_healthcheck", help, last.clone());
    registry.register(
        "kubernetes_healthchecks",
        "This metric records the results of all healthcheck",
        all.clone(),
    );
    Slis { registry, last, all }
});

/// Notes what the checks of an endpoint found.
pub fn observe(endpoint: &str, checks: &[(&'static str, bool)]) {
    let r#type = match endpoint {
        "livez" => "livez",
        "readyz" => "readyz",
        _ => "healthz",
    };
    for (name, well) in checks {
        SLIS.last.get_or_create(&Check { name, r#type }).set(i64::from(*well));
        let status = if *well { "success" } else { "error" };
        SLIS.all.get_or_create(&Result { name, r#type, status }).inc();
    }
}

/// The page.
pub fn page() -> Response<ResponseBody> {
    let mut text = String::new();
    // writing to a String cannot fail
    let _ = prometheus_client::encoding::text::encode(&mut text, &SLIS.registry);
    respond::raw(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}
