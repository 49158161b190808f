//! Pod failure policy and success policy of Jobs (upstream's `pod_failure_policy.go`, `success_policy.go`). Pure.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::{self, Indexes};
use crate::words::{name, namespace};

/// What a rule says about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Ignore,
    Count,
    FailIndex,
    FailJob,
}

impl Action {
    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "Ignore" => Self::Ignore,
            "Count" => Self::Count,
            "FailIndex" => Self::FailIndex,
            "FailJob" => Self::FailJob,
            _ => return None,
        })
    }
}

/// The outcome of a failed pod.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Of the rule that matched.
    pub action: Option<Action>,
    /// Why the whole Job fails.
    pub message: Option<String>,
}

impl Verdict {
    /// Whether the failure counts towards the limits.
    pub fn counts(&self) -> bool {
        self.action != Some(Action::Ignore)
    }
}

/// The first rule that fits the failed pod decides.
pub(super) fn on_failure(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (number, rule) in rules.enumerate() {
        let Some(action) = Action::of(&rule.action) else { continue };
        let Some(why) = fits(rule, pod) else { continue };
        let message = format!("{why} matching {} rule at index {number}", rule.action);
        return Verdict { action: Some(action), message: (action == Action::FailJob).then_some(message) };
    }
    Verdict::default()
}

/// How the pod fits the rule, in words.
fn fits(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let (place, name) = (namespace(&pod.metadata), name(&pod.metadata));
    if let Some(requirement) = &rule.on_exit_codes {
        let (container, code) = exited(pod, requirement)?;
        return Some(format!("Container {container} for pod {place}/{name} failed with exit code {code}"));
    }
    let condition = conditioned(pod, rule.on_pod_conditions.as_deref()?)?;
    Some(format!("Pod {place}/{name} has condition {condition}"))
}

fn exited<'a>(pod: &'a Pod, requirement: &PodFailurePolicyOnExitCodesRequirement) -> Option<(&'a str, i32)> {
    let matching = |status: &'a ContainerStatus| {
        let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = requirement.container_name.as_ref().is_none_or(|name| *name == status.name);
        let listed = requirement.values.contains(&code);
        let fits = match requirement.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (code != 0 && named && fits).then_some((status.name.as_str(), code))
    };
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    containers.chain(status.init_container_statuses.iter().flatten()).find_map(matching)
}

fn conditioned<'a>(pod: &'a Pod, patterns: &[PodFailurePolicyOnPodConditionsPattern]) -> Option<&'a str> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let fits = |kind: &str, status: &str| {
        patterns
            .iter()
            .any(|pattern| pattern.type_ == kind && pattern.status.as_deref().unwrap_or("True") == status)
    };
    conditions.filter(|c| fits(&c.type_, &c.status)).map(|c| c.type_.as_str()).next()
}

/// The rule of the success policy that the succeeded indexes satisfy, in words.
pub(super) fn succeeded(spec: &JobSpec, indexes: &Indexes) -> Option<String> {
    let rules = &spec.success_policy.as_ref().filter(|_| !indexes.is_empty())?.rules;
    let met = rules.iter().position(|rule| {
        let enough = |count: i32| rule.succeeded_count.is_some_and(|wanted| count >= wanted);
        let Some(text) = &rule.succeeded_indexes else { return enough(indexes::total(indexes)) };
        let wanted = indexes::parse(text, spec.completions.unwrap_or(0));
        let have: Indexes = wanted.intersection(indexes).copied().collect();
        !wanted.is_empty() && (have.len() == wanted.len() || enough(indexes::total(&have)))
    })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn spec(fields: Value) -> JobSpec {
        let mut spec = json!({"template": {}, "completions": 10});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_first_fitting_rule_decides() {
        let exited = |code: i32| {
            let state = json!({"terminated": {"exitCode": code, "reason": "Error"}});
            let main = json!({"name": "main", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0});
            json!({"containerStatuses": [main]})
        };
        let disrupted = json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let rules = json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "Count", "onExitCodes": {"containerName": "side", "operator": "In", "values": [1]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}}]);
        let spec = spec(json!({"podFailurePolicy": {"rules": rules}}));
        let cases = [
            (disrupted, Some(Action::Ignore), None),
            (
                exited(42),
                Some(Action::FailJob),
                Some("Container main for pod a/p failed with exit code 42 matching FailJob rule at index 1"),
            ),
            (exited(1), None, None),
            (exited(3), Some(Action::FailIndex), None),
            (exited(0), None, None),
        ];
        for (status, action, message) in cases {
            let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "status": status});
            let verdict = on_failure(&spec, &serde_json::from_value(pod).unwrap());
            assert_eq!((verdict.action, verdict.message.as_deref()), (action, message), "{status}");
            assert_eq!(verdict.counts(), action != Some(Action::Ignore));
        }
    }

    #[test]
    fn success_policies() {
        let cases = [
            (json!([{"succeededIndexes": "0-2"}]), "0-2", Some(0)),
            (json!([{"succeededIndexes": "0-2"}]), "0,1", None),
            (json!([{"succeededIndexes": "0-2", "succeededCount": 1}]), "2", Some(0)),
            (json!([{"succeededIndexes": "0-2", "succeededCount": 1}]), "3-9", None),
            (json!([{"succeededIndexes": "9"}, {"succeededCount": 2}]), "3,4", Some(1)),
            (json!([{"succeededCount": 2}]), "", None),
        ];
        for (rules, indexes, rule) in cases {
            let spec = spec(json!({"successPolicy": {"rules": rules}}));
            let expected = rule.map(|rule| format!("Matched rules at index {rule}"));
            assert_eq!(succeeded(&spec, &indexes::parse(indexes, 10)), expected, "{rules} {indexes}");
        }
    }
}
