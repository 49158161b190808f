//! `/metrics/slis`: what the health checks found, whenever somebody asked for one (`component-base/metrics/prometheus/slis`).

use std::sync::LazyLock;

use http::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
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
    let help = "Start time of the process since unix epoch in seconds";
    registry.register("process_start_time_seconds", help, ConstGauge::new(began().unwrap_or_default()));
    Slis { registry, last, all }
});

/// When this process began, in seconds since 1970: the kernel counts hundredths since it was booted.
pub(super) fn began() -> Option<f64> {
    let (own, all) =
        (std::fs::read_to_string("/proc/self/stat").ok()?, std::fs::read_to_string("/proc/stat").ok()?);
    let booted: f64 = all.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    // the name may have spaces and brackets in it; what follows begins with the third field
    let ticks: f64 = own.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()?;
    Some(booted + ticks / 100.0)
}

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
    respond::raw(200, sampan_process::metrics::TEXT, sampan_process::metrics::encode_one(&SLIS.registry))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_process_began_a_moment_ago() {
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!(super::began().is_some_and(|began| (now - 3600.0..=now + 1.0).contains(&began)));
    }
}
