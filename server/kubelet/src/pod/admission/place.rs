//! Whether the node is one that a pod lets itself be put on: its selector and affinity, taints that drive pods away, the
//! operating system. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};

use super::{Refusal, predicate};

type Labels = BTreeMap<String, String>;

/// What this kubelet runs on.
const OS: &str = "linux";

/// The reason of a pod whose selector or affinity the node does not match.
pub(super) const NODE_AFFINITY: &str = "NodeAffinity";
/// The reason of a pod that does not tolerate a taint of the node.
pub(super) const TAINT_TOLERATION: &str = "TaintToleration";
/// The reason of a pod whose label names another operating system.
pub(super) const OS_LABEL: &str = "PodOSSelectorNodeLabelDoesNotMatch";
/// The reason of a pod for another operating system.
pub(super) const OS_FIELD: &str = "PodOSNotSupported";

/// The reason of a pod that wants no groups of its image's where the runtime cannot leave them out.
pub(super) const GROUPS: &str = "SupplementalGroupsPolicyNotSupported";

/// Whether a pod is for another operating system.
pub(super) fn wrong_system(pod: &Pod) -> Option<Refusal> {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/os"));
    if label.is_some_and(|os| os != OS) {
        let why = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Some((OS_LABEL.into(), why.to_owned()));
    }
    let os = pod.spec.as_ref().and_then(|spec| spec.os.as_ref());
    let why = "Failed to admit pod as the OS field doesn't match node OS";
    os.filter(|os| os.name != OS).map(|_| (OS_FIELD.into(), why.to_owned()))
}

/// Whether the pod's policy on groups is beyond the node's runtime.
pub(super) fn strict_groups(pod: &Pod, node: &Node) -> Option<Refusal> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let strict = context.and_then(|context| context.supplemental_groups_policy.as_deref()) == Some("Strict");
    let features = node.status.as_ref().and_then(|status| status.features.as_ref());
    let can = features.and_then(|features| features.supplemental_groups_policy).unwrap_or(false);
    let why = "SupplementalGroupsPolicy=Strict is not supported in this node";
    (strict && !can).then(|| (GROUPS.into(), why.to_owned()))
}

/// Whether the pod wants another node.
pub(super) fn unwanted(pod: &Pod, node: &Node) -> Option<Refusal> {
    let why = "node(s) didn't match Pod's node affinity/selector";
    (!selects(pod, node)).then(|| predicate(NODE_AFFINITY, why))
}

/// Whether a taint of the node drives the pod away.
pub(super) fn repelled(pod: &Pod, node: &Node) -> Option<Refusal> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut hard = taints.filter(|taint| taint.effect == "NoExecute");
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let why = "node(s) had taints that the pod didn't tolerate";
    hard.any(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
        .then(|| predicate(TAINT_TOLERATION, why))
}

fn selects(pod: &Pod, node: &Node) -> bool {
    static NONE: Labels = Labels::new();
    let Some(spec) = &pod.spec else { return true };
    let labels = node.metadata.labels.as_ref().unwrap_or(&NONE);
    let named = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let mut terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    named && (required.is_none() || terms.any(|term| fits(term, labels, node)))
}

/// An empty term fits nothing.
fn fits(term: &NodeSelectorTerm, labels: &Labels, node: &Node) -> bool {
    let (expressions, fields) = (
        term.match_expressions.as_deref().unwrap_or_default(),
        term.match_fields.as_deref().unwrap_or_default(),
    );
    let field = |key: &str| if key == "metadata.name" { node.metadata.name.as_ref() } else { None };
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| meets(requirement, labels.get(&requirement.key)))
        && fields.iter().all(|requirement| meets(requirement, field(&requirement.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(have, bound)| have > bound),
        "Lt" => numbers().is_some_and(|(have, bound)| have < bound),
        _ => false,
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, effect, value) = (text(&toleration.key), text(&toleration.effect), text(&toleration.value));
    let have = text(&taint.value);
    let numbers = || Some((have.parse::<i64>().ok()?, value.parse::<i64>().ok()?));
    (key.is_empty() || key == taint.key)
        && (effect.is_empty() || effect == taint.effect)
        && match toleration.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => have == value,
            "Exists" => true,
            "Gt" => numbers().is_some_and(|(have, bound)| have > bound),
            "Lt" => numbers().is_some_and(|(have, bound)| have < bound),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(labels: Value, spec: Value) -> Pod {
        let mut pod = json!({"metadata": {"labels": labels}, "spec": {"containers": []}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_pod_says_on_which_nodes_it_may_be() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"disk": "ssd", "cores": "8"}},
            "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}, {"key": "full", "effect": "NoSchedule"}]}}))
        .unwrap();
        let affinity = |term: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}, term]}}}})
        };
        let label = |key: &str, operator: &str, values: Value| {
            affinity(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        let name = |name: &str| {
            affinity(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}))
        };
        let cases = [
            (json!({}), true),
            (json!({"nodeSelector": {"disk": "ssd"}}), true),
            (json!({"nodeSelector": {"disk": "hdd"}}), false),
            (label("disk", "In", json!(["ssd", "nvme"])), true),
            (label("disk", "NotIn", json!(["ssd"])), false),
            (label("zone", "NotIn", json!(["a"])), true),
            (label("zone", "Exists", json!([])), false),
            (label("zone", "DoesNotExist", json!([])), true),
            (label("cores", "Gt", json!(["7"])), true),
            (label("cores", "Lt", json!(["8"])), false),
            (name("n"), true),
            (name("o"), false),
            (affinity(json!({})), false),
        ];
        for (spec, wanted) in cases {
            let refused = unwanted(&pod(json!({}), spec.clone()), &node);
            let why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
            let expected = (!wanted).then(|| (NODE_AFFINITY.into(), why.to_owned()));
            assert_eq!(refused, expected, "{spec}");
        }
    }

    #[test]
    fn a_taint_that_ends_pods_lets_none_begin() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": {"taints": [
            {"key": "gone", "value": "5", "effect": "NoExecute"}, {"key": "full", "effect": "NoSchedule"}]}}))
        .unwrap();
        let cases = [
            (json!([]), false),
            (json!([{"operator": "Exists"}]), true),
            (json!([{"key": "gone", "operator": "Exists", "tolerationSeconds": 5}]), true),
            (json!([{"key": "gone", "value": "5", "effect": "NoExecute"}]), true),
            (json!([{"key": "gone", "value": "6"}]), false),
            (json!([{"key": "gone", "operator": "Gt", "value": "4"}]), true),
            (json!([{"key": "gone", "operator": "Exists", "effect": "NoSchedule"}]), false),
        ];
        for (tolerations, stays) in cases {
            let refused = repelled(&pod(json!({}), json!({"tolerations": tolerations})), &node);
            let why = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
            let expected = (!stays).then(|| (TAINT_TOLERATION.into(), why.to_owned()));
            assert_eq!(refused, expected, "{tolerations}");
        }
    }

    #[test]
    fn a_pod_for_another_system_is_not_run() {
        let cases = [
            (json!({}), json!({}), None),
            (json!({"kubernetes.io/os": "linux"}), json!({"os": {"name": "linux"}}), None),
            (json!({"kubernetes.io/os": "windows"}), json!({}), Some(OS_LABEL)),
            (json!({}), json!({"os": {"name": "windows"}}), Some(OS_FIELD)),
        ];
        for (labels, spec, reason) in cases {
            let refused = wrong_system(&pod(labels.clone(), spec.clone()));
            assert_eq!(refused.map(|(reason, _)| reason.into_owned()).as_deref(), reason, "{labels} {spec}");
        }
    }
}
