//! What the kubelet tells of its node: upstream's `BirthCry`, `recordNodeStatusEvent` and `recordNodeSchedulableEvent`.

use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus, ObjectReference};
use sampan_reconcile::Informer;

use crate::context::Context;

/// Upstream's `nodeRef`: the name stands for the uid.
fn reference(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// An event about the node.
fn tell(context: &Context, reason: &str, text: impl Into<String>) {
    context.recorder.normal(&reference(&context.node_name), reason, text);
}

/// The kubelet starts.
pub fn starting(context: &Context) {
    tell(context, "Starting", "Starting kubelet.");
}

/// The cgroup of all pods is bounded by what the node gives to pods.
pub fn enforced(context: &Context) {
    tell(context, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods");
}

fn tell_now(context: &Context, reason: &str) {
    tell(context, reason, format!("Node {} status is now: {reason}", context.node_name));
}

/// A status was written.
pub fn written(context: &Context, before: Option<&NodeStatus>, now: &NodeStatus) {
    for reason in news(conditions(before), conditions(Some(now))) {
        tell_now(context, reason);
    }
}

fn conditions(status: Option<&NodeStatus>) -> &[NodeCondition] {
    status.and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// Reasons for the conditions whose status is another than before, or that are new.
fn news(before: &[NodeCondition], now: &[NodeCondition]) -> Vec<&'static str> {
    let same = |one: &&NodeCondition| before.iter().any(|b| b.type_ == one.type_ && b.status == one.status);
    now.iter().filter(|one| !same(one)).filter_map(reason).collect()
}

fn reason(condition: &NodeCondition) -> Option<&'static str> {
    Some(match (condition.type_.as_str(), condition.status == "True") {
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        ("Ready", true) => "NodeReady",
        ("Ready", false) => "NodeNotReady",
        _ => return None,
    })
}

/// Tells when the node is cordoned and uncordoned; for ever. As upstream's, a kubelet that starts on a cordoned node says so.
pub async fn follow_cordon(context: &Context, nodes: &Informer<Node>) {
    let mut deltas = nodes.subscribe();
    let mut last = false;
    while let Some(delta) = deltas.next().await {
        let Some(node) = delta.new else { continue };
        if let Some(reason) = cordon(&node, &mut last) {
            tell_now(context, reason);
        }
    }
    std::future::pending().await
}

/// What to say of `spec.unschedulable` if it is not what it was `last`.
fn cordon(node: &Node, last: &mut bool) -> Option<&'static str> {
    let now = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let changed = std::mem::replace(last, now) != now;
    changed.then_some(if now { "NodeNotSchedulable" } else { "NodeSchedulable" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn status(of: &[(&str, &str)]) -> NodeStatus {
        let conditions: Vec<_> =
            of.iter().map(|(kind, status)| json!({"type": kind, "status": status})).collect();
        serde_json::from_value(json!({"conditions": conditions})).unwrap()
    }

    #[test]
    fn conditions_are_told_when_they_change() {
        let good = [
            ("MemoryPressure", "False"),
            ("DiskPressure", "False"),
            ("PIDPressure", "False"),
            ("Ready", "True"),
        ];
        let all = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"];
        let full = [good[0], ("DiskPressure", "True"), good[2], good[3]];
        let lost = [good[0], good[1], good[2], ("Ready", "Unknown")];
        for (before, now, expected) in [
            (None, &good, &all[..]),
            (Some(&good), &good, &[]),
            (Some(&good), &full, &["NodeHasDiskPressure"]),
            (Some(&full), &good, &["NodeHasNoDiskPressure"]),
            (Some(&lost), &good, &["NodeReady"]),
        ] {
            let before = before.map(|before| status(before));
            let said = news(conditions(before.as_ref()), conditions(Some(&status(now))));
            assert_eq!(said, expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_cordon_is_told_once() {
        let mut last = false;
        for (unschedulable, expected) in [
            (json!(null), None),
            (json!(true), Some("NodeNotSchedulable")),
            (json!(true), None),
            (json!(false), Some("NodeSchedulable")),
        ] {
            let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": unschedulable}});
            assert_eq!(
                cordon(&serde_json::from_value(node).unwrap(), &mut last),
                expected,
                "{unschedulable}"
            );
        }
    }
}
