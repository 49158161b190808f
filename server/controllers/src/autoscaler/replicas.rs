//! How many replicas a metric asks for (upstream's `replica_calculator.go`). Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use sampan_api::quantity::Quantity;

use crate::words::{is_ready, name, phase, pod_condition};

/// So long after its start a pod's CPU says more of its beginning than of its load.
const CPU_INITIALIZATION: Duration = Duration::from_secs(5 * 60);
/// A pod that became unready within this time of its start was never ready.
const INITIAL_READINESS: Duration = Duration::from_secs(30);

/// What a pod uses, in thousandths, over `window` until `at`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub milli: i64,
    pub at: Timestamp,
    pub window: Duration,
}

pub(super) type Samples = BTreeMap<String, Sample>;

/// What the usage of a pod is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Percent of the request.
    Utilization(i32),
    /// Thousandths of each pod.
    Average(i64),
}

/// By how much the ratio of usage and target may miss 1 without consequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub down: f64,
    pub up: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What a metric asks for, and what it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub replicas: i32,
    pub average_milli: i64,
    pub utilization: Option<i32>,
    pub at: Timestamp,
}

/// What is asked of which pods.
pub(super) struct Question<'a> {
    pub pods: &'a [Arc<Pod>],
    pub samples: &'a Samples,
    /// What is measured, if it is a resource; empty for a custom metric.
    pub resource: &'a str,
    /// Only this container of each pod counts.
    pub container: Option<&'a str>,
    pub target: Target,
    pub current: i32,
    pub tolerance: Tolerance,
    pub now: Timestamp,
}

/// How a pod takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ready,
    Unready,
    Missing,
    Ignored,
}

fn part(pod: &Pod, question: &Question<'_>) -> Part {
    if pod.metadata.deletion_timestamp.is_some() || phase(pod) == "Failed" {
        return Part::Ignored;
    }
    if phase(pod) == "Pending" {
        return Part::Unready;
    }
    let Some(sample) = question.samples.get(name(&pod.metadata)) else { return Part::Missing };
    if question.resource == "cpu" && warming_up(pod, sample, question.now) {
        Part::Unready
    } else {
        Part::Ready
    }
}

/// Whether the CPU of the pod is that of its beginning.
fn warming_up(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let Some((ready, start)) = pod_condition(pod, "Ready").zip(start) else { return true };
    let since = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    if start + CPU_INITIALIZATION > now {
        return ready.status == "False" || sample.at < since + sample.window;
    }
    ready.status == "False" && start + INITIAL_READINESS > since
}

/// What the pod requests of the resource, in thousandths (upstream's `calculateRequests`).
fn request(pod: &Pod, resource: &str, only: Option<&str>) -> Result<i64, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let parse = |text: &str| Quantity::parse(text).map_or(0, |quantity| quantity.milli_value());
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let counted = |container: &&Container| only.is_none_or(|only| only == container.name);
    let containers: Vec<&Container> = spec.containers.iter().chain(sidecars).filter(counted).collect();
    let of = |container: &Container| {
        container.resources.as_ref().and_then(|all| all.requests.as_ref()?.get(resource)).map(|q| parse(&q.0))
    };
    let whole = spec.resources.as_ref().and_then(|all| all.requests.as_ref());
    if let Some(requests) = whole.filter(|requests| only.is_none() && !requests.is_empty()) {
        let known: Vec<i64> = containers.iter().filter_map(|container| of(container)).collect();
        let summed = (!known.is_empty()).then(|| known.iter().sum());
        let request = requests.get(resource).map(|quantity| parse(&quantity.0)).or(summed);
        return request.ok_or_else(|| {
            format!("missing pod-level request for {resource} in Pod {}", name(&pod.metadata))
        });
    }
    if let Some(only) = only.filter(|_| containers.is_empty()) {
        return Err(format!("container {only} not found in Pod {}", name(&pod.metadata)));
    }
    let mut total = 0;
    for container in containers {
        total += of(container).ok_or_else(|| {
            format!(
                "missing request for {resource} in container {} of Pod {}",
                container.name,
                name(&pod.metadata)
            )
        })?;
    }
    Ok(total)
}

/// Usage against its target.
struct Ratio {
    ratio: f64,
    average_milli: i64,
    utilization: Option<i32>,
}

fn ratio(
    used: &BTreeMap<&str, i64>,
    requests: &BTreeMap<&str, i64>,
    target: Target,
) -> Result<Ratio, String> {
    let count = i64::try_from(used.len()).unwrap_or(i64::MAX).max(1);
    match target {
        Target::Average(wanted) => {
            let average = used.values().sum::<i64>() / count;
            Ok(Ratio { ratio: average as f64 / wanted as f64, average_milli: average, utilization: None })
        }
        Target::Utilization(wanted) => {
            let known: Vec<(i64, i64)> =
                used.iter().filter_map(|(pod, used)| Some((*used, *requests.get(pod)?))).collect();
            let (total, requested) = known
                .iter()
                .fold((0, 0), |(total, requested), (used, request)| (total + used, requested + request));
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let utilization = i32::try_from(total * 100 / requested).unwrap_or(i32::MAX);
            let ratio = f64::from(utilization) / f64::from(wanted);
            let average = total / i64::try_from(known.len()).unwrap_or(i64::MAX).max(1);
            Ok(Ratio { ratio, average_milli: average, utilization: Some(utilization) })
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

/// The replicas that the metric asks for, or why that cannot be said.
pub(super) fn propose(question: &Question<'_>) -> Result<Proposal, String> {
    if question.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let parts: Vec<(&str, Part)> =
        question.pods.iter().map(|pod| (name(&pod.metadata), part(pod, question))).collect();
    let of = |wanted: Part| parts.iter().filter(move |(_, part)| *part == wanted).map(|(pod, _)| *pod);
    let mut used: BTreeMap<&str, i64> =
        question.samples.iter().map(|(pod, sample)| (pod.as_str(), sample.milli)).collect();
    used.retain(|pod, _| parts.iter().all(|(name, part)| name != pod || *part == Part::Ready));
    if used.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let mut requests = BTreeMap::new();
    if matches!(question.target, Target::Utilization(_)) {
        for pod in question.pods {
            let request = request(pod, question.resource, question.container)?;
            requests.insert(name(&pod.metadata), request);
        }
    }
    let first = ratio(&used, &requests, question.target)?;
    let at = question.samples.values().map(|sample| sample.at).min().unwrap_or(question.now);
    let result = |replicas| Proposal {
        replicas,
        average_milli: first.average_milli,
        utilization: first.utilization,
        at,
    };
    let unready = of(Part::Unready).count() > 0 && first.ratio > 1.0;
    if !unready && of(Part::Missing).count() == 0 {
        let still = question.tolerance.covers(first.ratio);
        let ready = of(Part::Ready).count() as f64;
        return Ok(result(if still { question.current } else { ceil(first.ratio * ready) }));
    }
    // what is not known is taken to be against the change
    for pod in of(Part::Missing) {
        let most = match question.target {
            Target::Utilization(percent) => {
                requests.get(pod).copied().unwrap_or(0) * i64::from(percent.max(100)) / 100
            }
            Target::Average(milli) => milli,
        };
        if first.ratio < 1.0 {
            used.insert(pod, most);
        } else if first.ratio > 1.0 {
            used.insert(pod, 0);
        }
    }
    if unready {
        used.extend(of(Part::Unready).map(|pod| (pod, 0)));
    }
    let second = ratio(&used, &requests, question.target)?.ratio;
    let turned = (first.ratio < 1.0 && second > 1.0) || (first.ratio > 1.0 && second < 1.0);
    let replicas = ceil(second * used.len() as f64);
    let wrong =
        (second < 1.0 && replicas > question.current) || (second > 1.0 && replicas < question.current);
    let still = question.tolerance.covers(second) || turned || wrong;
    Ok(result(if still { question.current } else { replicas }))
}

/// The replicas for a value of all pods together: in proportion to those that are ready (upstream's
/// `getUsageRatioReplicaCount`). From none it is as many as the value is targets.
///
/// # Errors
/// If nothing is selected.
pub(super) fn by_value(
    used_milli: i64,
    target_milli: i64,
    current: i32,
    pods: &[Arc<Pod>],
    tolerance: Tolerance,
) -> Result<i32, String> {
    let ratio = used_milli as f64 / target_milli as f64;
    if current == 0 {
        return Ok(ceil(ratio));
    }
    if tolerance.covers(ratio) {
        return Ok(current);
    }
    if pods.is_empty() {
        let why = "no pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {why}"));
    }
    let ready = pods.iter().filter(|pod| phase(pod) == "Running" && is_ready(pod)).count();
    Ok(ceil(ratio * ready as f64))
}

/// The replicas for a value that the pods share, and the share of each that there is now (upstream's
/// `GetObjectPerPodMetricReplicas` and `GetExternalPerPodMetricReplicas`).
pub(super) fn by_share(used_milli: i64, target_milli: i64, has: i32, tolerance: Tolerance) -> (i32, i64) {
    let (used, target, pods) = (used_milli as f64, target_milli as f64, f64::from(has));
    let replicas = if tolerance.covers(used / (target * pods)) { has } else { ceil(used / target) };
    #[allow(clippy::cast_possible_truncation)]
    let share = (used / pods).ceil() as i64;
    (replicas, share)
}

#[cfg(test)]
#[path = "replicas_tests.rs"]
mod tests;
