//! Reads the metrics of an autoscaler and says what they ask for together (upstream's `computeReplicasForMetrics`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
    MetricSpec, MetricStatus, MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use kube::api::ListParams;
use kube::core::Request;
use sampan_api::quantity::{Format, Quantity};
use sampan_api::selector::Selector;
use serde_json::Value;

use super::replicas::{Proposal, Question, Sample, Samples, Target, Tolerance, propose};
use crate::context::{BY_NAMESPACE, Context};
use crate::words::namespace;

/// What is tolerated where nothing else is said.
const TOLERANCE: f64 = 0.1;

/// What all metrics of an autoscaler say.
pub(super) struct Read {
    pub statuses: Vec<MetricStatus>,
    /// Warnings, as reason and message.
    pub events: Vec<(&'static str, String)>,
    /// The condition ScalingActive.
    pub active: (bool, String, String),
    /// The replicas and the metric that asks for them, or why neither can be said.
    pub outcome: Result<(i32, String), String>,
}

/// One metric that could not be read.
#[derive(Clone, Debug, PartialEq)]
struct Invalid {
    reason: &'static str,
    /// What the event and the condition say.
    why: String,
    /// What the summary says before it.
    prefix: String,
}

/// A metric's name in events, what it asks for, and its status.
type Valid = (String, i32, MetricStatus);

/// A resource metric, of whole pods or of one container of each.
struct Wanted<'a> {
    resource: &'a str,
    container: Option<&'a str>,
    target: &'a MetricTarget,
}

/// Who is asked, and about which pods.
struct Asked<'a> {
    place: &'a str,
    selector: &'a str,
    current: i32,
    tolerance: Tolerance,
    now: Timestamp,
}

/// Reads through the API.
pub(super) struct Metrics {
    context: Context,
}

fn tolerance(spec: &HorizontalPodAutoscalerSpec) -> Tolerance {
    let of = |rules: Option<&HPAScalingRules>| {
        let text = rules.and_then(|rules| rules.tolerance.as_ref());
        text.and_then(|text| Quantity::parse(&text.0).ok()).map_or(TOLERANCE, |quantity| quantity.as_f64())
    };
    let behavior = spec.behavior.as_ref();
    Tolerance {
        down: of(behavior.and_then(|b| b.scale_down.as_ref())),
        up: of(behavior.and_then(|b| b.scale_up.as_ref())),
    }
}

fn target_of(target: &MetricTarget) -> Option<Target> {
    if let Some(value) = &target.average_value {
        return Quantity::parse(&value.0).ok().map(|quantity| Target::Average(quantity.milli_value()));
    }
    target.average_utilization.map(Target::Utilization)
}

fn shown(milli: i64, resource: &str) -> Text {
    let format = if resource == "memory" { Format::BinarySI } else { Format::DecimalSI };
    Text(Quantity::from_milli(milli, format).to_string())
}

fn status_of(wanted: &Wanted<'_>, proposal: &Proposal) -> MetricStatus {
    let current = MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(shown(proposal.average_milli, wanted.resource)),
        value: None,
    };
    let name = wanted.resource.to_owned();
    match wanted.container {
        None => MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricStatus { current, name }),
            ..MetricStatus::default()
        },
        Some(container) => MetricStatus {
            type_: "ContainerResource".to_owned(),
            container_resource: Some(ContainerResourceMetricStatus {
                container: container.to_owned(),
                current,
                name,
            }),
            ..MetricStatus::default()
        },
    }
}

/// Puts the metrics together: the one that asks for most decides, but nothing shrinks while one cannot be read.
fn combine(all: Vec<Result<Valid, Invalid>>, current: i32) -> Read {
    let total = all.len();
    let (mut statuses, mut best): (Vec<MetricStatus>, Option<(i32, String)>) = (Vec::new(), None);
    let mut invalid = Vec::new();
    for metric in all {
        match metric {
            Err(why) => invalid.push(why),
            Ok((name, replicas, status)) => {
                statuses.push(status);
                if best.as_ref().is_none_or(|(most, _)| replicas > *most) {
                    best = Some((replicas, name));
                }
            }
        }
    }
    let events = invalid.iter().map(|invalid| (invalid.reason, invalid.why.clone())).collect();
    let trusted = best.filter(|(replicas, _)| invalid.is_empty() || *replicas >= current);
    match (trusted, invalid.first()) {
        (Some((replicas, name)), _) => {
            let why = format!("the HPA was able to successfully calculate a replica count from {name}");
            let active = (true, "ValidMetricFound".to_owned(), why);
            Read { statuses, events, active, outcome: Ok((replicas, name)) }
        }
        (None, first) => {
            let first = first.cloned().unwrap_or(Invalid {
                reason: "InvalidMetricSourceType",
                why: "no metrics".to_owned(),
                prefix: String::new(),
            });
            let why = format!("the HPA was unable to compute the replica count: {}", first.why);
            let summary = format!(
                "invalid metrics ({} invalid out of {total}), first error is: {}{}",
                invalid.len(),
                first.prefix,
                first.why
            );
            Read { statuses, events, active: (false, first.reason.to_owned(), why), outcome: Err(summary) }
        }
    }
}

/// The usage in one PodMetrics; `None` if a container says nothing of the resource.
fn sample(metrics: &Value, resource: &str, container: Option<&str>) -> Option<(String, Sample)> {
    let text = |path: &str| metrics.pointer(path).and_then(Value::as_str);
    let containers = metrics.get("containers")?.as_array()?;
    let counted = containers
        .iter()
        .filter(|one| container.is_none_or(|name| one.get("name").and_then(Value::as_str) == Some(name)));
    let usage = counted.map(|one| {
        let quantity = one.get("usage")?.get(resource)?;
        Quantity::from_value(quantity).ok().map(|quantity| quantity.milli_value())
    });
    let usage: Vec<i64> = usage.collect::<Option<_>>()?;
    if usage.is_empty() {
        return None;
    }
    let window = text("/window").and_then(|text| text.parse::<jiff::SignedDuration>().ok());
    let window = window.map_or(Duration::ZERO, |window| window.unsigned_abs());
    let at = text("/timestamp")?.parse().ok()?;
    Some((text("/metadata/name")?.to_owned(), Sample { milli: usage.iter().sum(), at, window }))
}

impl Metrics {
    pub fn new(context: &Context) -> Self {
        context
            .pods
            .add_index(BY_NAMESPACE, |pod| pod.metadata.namespace.clone().into_iter().collect::<Vec<_>>());
        Self { context: context.clone() }
    }

    pub async fn read(
        &self,
        hpa: &HorizontalPodAutoscaler,
        spec: &HorizontalPodAutoscalerSpec,
        selector: &str,
        current: i32,
        now: Timestamp,
    ) -> Read {
        if selector.is_empty() {
            let missing = "the HPA target's scale is missing a selector".to_owned();
            return Read {
                statuses: Vec::new(),
                events: vec![("SelectorRequired", "selector is required".to_owned())],
                active: (false, "InvalidSelector".to_owned(), missing),
                outcome: Err("selector is required".to_owned()),
            };
        }
        let asked =
            Asked { place: namespace(&hpa.metadata), selector, current, tolerance: tolerance(spec), now };
        let mut all = Vec::new();
        for metric in spec.metrics.iter().flatten() {
            all.push(self.one(metric, &asked).await);
        }
        combine(all, current)
    }

    async fn one(&self, metric: &MetricSpec, asked: &Asked<'_>) -> Result<Valid, Invalid> {
        if let Some(source) = &metric.resource {
            let wanted = Wanted { resource: &source.name, container: None, target: &source.target };
            let prefix = format!("failed to get {} resource metric value: ", source.name);
            let invalid = |why| Invalid { reason: "FailedGetResourceMetric", why, prefix };
            return self.resource(&wanted, asked).await.map_err(invalid);
        }
        if let Some(source) = &metric.container_resource {
            let wanted =
                Wanted { resource: &source.name, container: Some(&source.container), target: &source.target };
            let prefix = format!("failed to get {} container metric value: ", source.name);
            let invalid = |why| Invalid { reason: "FailedGetContainerResourceMetric", why, prefix };
            return self.resource(&wanted, asked).await.map_err(invalid);
        }
        Err(unserved(metric, asked.place))
    }

    async fn resource(&self, wanted: &Wanted<'_>, asked: &Asked<'_>) -> Result<Valid, String> {
        let resource = wanted.resource;
        let target = target_of(wanted.target).ok_or_else(|| {
            "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned()
        })?;
        let (what, named) = match target {
            Target::Average(_) => ("usage", format!("{resource} resource")),
            Target::Utilization(_) => {
                ("utilization", format!("{resource} resource utilization (percentage of request)"))
            }
        };
        let failed = |why: String| format!("failed to get {resource} {what}: {why}");
        let samples = self
            .samples(wanted, asked)
            .await
            .map_err(|why| failed(format!("unable to get metrics for resource {resource}: {why}")))?;
        let pods = self.pods(asked).map_err(failed)?;
        let question = Question {
            pods: &pods,
            samples: &samples,
            resource,
            container: wanted.container,
            target,
            current: asked.current,
            tolerance: asked.tolerance,
            now: asked.now,
        };
        let proposal = propose(&question).map_err(failed)?;
        Ok((named, proposal.replicas, status_of(wanted, &proposal)))
    }

    fn pods(&self, asked: &Asked<'_>) -> Result<Vec<Arc<Pod>>, String> {
        let selector = Selector::parse(asked.selector).map_err(|error| error.to_string())?;
        let mut pods = self.context.pods.by_index(BY_NAMESPACE, asked.place);
        pods.retain(|pod| match &pod.metadata.labels {
            Some(labels) => selector.matches(labels),
            None => selector.matches(&std::collections::BTreeMap::new()),
        });
        Ok(pods)
    }

    async fn samples(&self, wanted: &Wanted<'_>, asked: &Asked<'_>) -> Result<Samples, String> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", asked.place);
        let params = ListParams::default().labels(asked.selector);
        let failed = |why: String| format!("unable to fetch metrics from resource metrics API: {why}");
        let request = Request::new(path).list(&params).map_err(|error| failed(error.to_string()))?;
        let list = self.context.client.request::<Value>(request).await;
        let list = list.map_err(|error| failed(crate::pod_control::message_of(&error)))?;
        let items = list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        Ok(items.iter().filter_map(|item| sample(item, wanted.resource, wanted.container)).collect())
    }
}

/// A metric of an API that is not there, in the words of upstream's client.
fn unserved(metric: &MetricSpec, place: &str) -> Invalid {
    let custom = "no custom metrics API (custom.metrics.k8s.io) registered";
    let (reason, prefix, why) = match metric.type_.as_str() {
        "Pods" => {
            let name = metric.pods.as_ref().map(|source| source.metric.name.as_str()).unwrap_or_default();
            (
                "FailedGetPodsMetric",
                "failed to get pods metric value: ",
                format!("unable to get metric {name}: {custom}"),
            )
        }
        "Object" => {
            let source = metric.object.as_ref();
            let name = source.map(|source| source.metric.name.as_str()).unwrap_or_default();
            let about =
                source.map(|s| format!("{} on {place} {}", s.described_object.kind, s.described_object.name));
            let why = format!("unable to get metric {name}: {}/{custom}", about.unwrap_or_default());
            ("FailedGetObjectMetric", "failed to get object metric value: ", why)
        }
        "External" => {
            let name = metric.external.as_ref().map(|source| source.metric.name.as_str()).unwrap_or_default();
            let why = format!(
                "unable to get external metric {place}/{name}/nil: unable to fetch metrics from external metrics API: the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
            );
            ("FailedGetExternalMetric", "failed to get external metric value: ", why)
        }
        other => ("InvalidMetricSourceType", "", format!("unknown metric source type {other:?}")),
    };
    Invalid { reason, why, prefix: prefix.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn valid(name: &str, replicas: i32) -> Result<Valid, Invalid> {
        Ok((name.to_owned(), replicas, MetricStatus::default()))
    }

    fn invalid() -> Result<Valid, Invalid> {
        Err(Invalid {
            reason: "FailedGetResourceMetric",
            why: "why".into(),
            prefix: "failed to get cpu: ".into(),
        })
    }

    #[test]
    fn the_metric_that_asks_for_most_decides() {
        let summary = |bad: usize, all: usize| {
            Err(format!(
                "invalid metrics ({bad} invalid out of {all}), first error is: failed to get cpu: why"
            ))
        };
        let cases = [
            (vec![valid("cpu", 3), valid("memory", 5)], 4, Ok((5, "memory".to_owned()))),
            (vec![valid("cpu", 5), invalid()], 4, Ok((5, "cpu".to_owned()))),
            (vec![valid("cpu", 3), invalid()], 4, summary(1, 2)),
            (vec![invalid(), invalid()], 4, summary(2, 2)),
        ];
        for (metrics, current, outcome) in cases {
            let read = combine(metrics, current);
            let reason = if outcome.is_ok() { "ValidMetricFound" } else { "FailedGetResourceMetric" };
            assert_eq!((read.outcome, read.active.1.as_str()), (outcome, reason));
        }
    }

    #[test]
    fn pods_are_sums_of_containers() {
        let one = |name: &str, cpu: &str| json!({"name": name, "usage": {"cpu": cpu}});
        let metrics = json!({
            "metadata": {"name": "p"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15.5s",
            "containers": [one("a", "250m"), one("b", "1")]});
        let milli = |resource: &str, container: Option<&str>| {
            sample(&metrics, resource, container).map(|(_, s)| s.milli)
        };
        assert_eq!(milli("cpu", None), Some(1250));
        assert_eq!(milli("cpu", Some("a")), Some(250));
        assert_eq!((milli("memory", None), milli("cpu", Some("c"))), (None, None));
        assert_eq!(sample(&metrics, "cpu", None).unwrap().1.window, Duration::from_millis(15_500));
    }

    #[test]
    fn targets_and_tolerances() {
        let target = |fields: Value| target_of(&serde_json::from_value(fields).unwrap());
        assert_eq!(
            target(json!({"type": "Utilization", "averageUtilization": 50})),
            Some(Target::Utilization(50))
        );
        assert_eq!(
            target(json!({"type": "AverageValue", "averageValue": "1500m"})),
            Some(Target::Average(1500))
        );
        assert_eq!(target(json!({"type": "Value", "value": "1"})), None);
        let spec = json!({
            "maxReplicas": 3, "scaleTargetRef": {"kind": "D", "name": "d"}, "behavior": {"scaleUp": {"tolerance": "50m"}}});
        let tolerance = tolerance(&serde_json::from_value(spec).unwrap());
        assert_eq!(tolerance, Tolerance { down: 0.1, up: 0.05 });
    }
}
