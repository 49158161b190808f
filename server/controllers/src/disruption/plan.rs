//! What a budget's status says, as a pure function of its pods and the scale of their owners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sampan_reconcile::EventType;

use super::owners::Expected;
use crate::deployment::util::resolve;
use crate::words::{is_ready, is_terminal, name, pod_condition};

/// After so long a pod that an eviction noted is taken to stay.
const DELETION_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// After so long DisruptionTarget on a pod that is not being deleted means nothing.
const STALE_AFTER: Duration = Duration::from_secs(2 * 60);
const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub status: PodDisruptionBudgetStatus,
    pub events: Vec<(EventType, &'static str, String)>,
    /// Pods that an eviction announced and nobody deleted.
    pub not_deleted: Vec<Arc<Pod>>,
    pub requeue: Option<Duration>,
}

fn spec(budget: &PodDisruptionBudget) -> PodDisruptionBudgetSpec {
    budget.spec.clone().unwrap_or_default()
}

/// Whether the owners of the pods have to be asked: for all budgets but a number of pods that must be there.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = spec(budget);
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// The budget's new status. `scale` is there if [`needs_scale`] says so.
pub(super) fn plan(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: Option<Result<Expected, String>>,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    if pods.is_empty() {
        plan.events.push((EventType::Normal, "NoPods", "No matching pods found".to_owned()));
    }
    let expected = match scale {
        None => Expected { pods: count(pods.len()), unmanaged: Vec::new() },
        Some(Ok(expected)) => expected,
        Some(Err(why)) => return failed(plan, budget, &why, now),
    };
    if !expected.unmanaged.is_empty() {
        plan.events.push((EventType::Warning, "UnmanagedPods", unmanaged(spec(budget).selector.as_ref())));
    }
    let disrupted = disrupted(&mut plan, budget, pods, now);
    let healthy = pods.iter().filter(|pod| {
        let announced = disrupted.contains_key(name(&pod.metadata));
        pod.metadata.deletion_timestamp.is_none() && !announced && is_ready(pod)
    });
    let (healthy, desired) = (count(healthy.count()), desired(&spec(budget), expected.pods));
    // nothing is allowed while nothing is expected: the first pods may be younger than this status
    let allowed = if expected.pods <= 0 { 0 } else { (healthy - desired).max(0) };
    plan.status = PodDisruptionBudgetStatus {
        conditions: budget.status.as_ref().and_then(|status| status.conditions.clone()),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: Some(disrupted).filter(|disrupted| !disrupted.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected.pods),
        observed_generation: budget.metadata.generation,
    };
    let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
    set(&mut plan.status, allowed > 0, reason, "", now);
    plan
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// How many pods must be healthy.
fn desired(spec: &PodDisruptionBudgetSpec, expected: i32) -> i32 {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (expected - resolve(Some(most), "0%", expected, true)).max(0),
        (None, Some(least)) => resolve(Some(least), "0%", expected, true),
        (None, None) => 0,
    }
}

/// The announced pods that may still be deleted; when the next of them is given up is the requeue.
fn disrupted(
    plan: &mut Plan,
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let announced =
        budget.status.as_ref().and_then(|status| status.disrupted_pods.clone()).unwrap_or_default();
    let mut left = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Some(since) = announced.get(name(&pod.metadata)) else { continue };
        let until = since.0 + DELETION_TIMEOUT;
        if until < now {
            plan.not_deleted.push(pod.clone());
            continue;
        }
        // a moment later, when `until` is past
        let wait = until.duration_since(now).unsigned_abs() + Duration::from_millis(1);
        plan.requeue = Some(plan.requeue.map_or(wait, |other| other.min(wait)));
        left.insert(name(&pod.metadata).to_owned(), since.clone());
    }
    left
}

/// Fails closed: what cannot be counted may not be disrupted.
fn failed(mut plan: Plan, budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> Plan {
    let message = format!("Failed to calculate the number of expected pods: {why}");
    plan.events.push((EventType::Warning, "CalculateExpectedPodCountFailed", message));
    plan.status = budget.status.clone().unwrap_or_default();
    plan.status.disruptions_allowed = Some(0);
    set(&mut plan.status, false, "SyncFailed", why, now);
    plan
}

fn set(status: &mut PodDisruptionBudgetStatus, yes: bool, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let word = if yes { "True" } else { "False" };
    let old = conditions.iter().position(|condition| condition.type_ == DISRUPTION_ALLOWED);
    let since = old.map(|i| &conditions[i]).filter(|old| old.status == word);
    let condition = Condition {
        type_: DISRUPTION_ALLOWED.to_owned(),
        status: word.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: status.observed_generation,
        last_transition_time: since.map_or(Time(now), |old| old.last_transition_time.clone()),
    };
    match old {
        Some(i) => conditions[i] = condition,
        None => conditions.push(condition),
    }
}

/// The selector as Go prints a pointer to it.
fn shown(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels: String =
        selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},")).collect();
    let requirements = selector.match_expressions.iter().flatten().map(|requirement| {
        let values = requirement.values.as_deref().unwrap_or_default().join(" ");
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
            requirement.key, requirement.operator
        )
    });
    let requirements: String = requirements.collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
}

fn unmanaged(selector: Option<&LabelSelector>) -> String {
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status \
         of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods \
         please set \".spec.minAvailable\" field of the PDB to an integer value.",
        shown(selector)
    )
}

/// In how long the pod's DisruptionTarget is stale; `None` if it cannot become so. What the kubelet set stays.
pub(super) fn stale(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let condition = pod_condition(pod, "DisruptionTarget").filter(|condition| {
        condition.status == "True" && condition.reason.as_deref() != Some("TerminationByKubelet")
    })?;
    if pod.metadata.deletion_timestamp.is_some() || is_terminal(pod) {
        return None;
    }
    let since = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let left = (since + STALE_AFTER).duration_since(now);
    Some(if left.is_negative() { Duration::ZERO } else { left.unsigned_abs() })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
