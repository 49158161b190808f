//! NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts, NodeDeclaredFeatures.

use k8s_openapi::api::core::v1::Taint;

use super::Refusal;
use crate::pods::PodInfo;
use crate::selectors::{term_matches, tolerated};
use crate::world::NodeInfo;

/// `spec.unschedulable`, unless its taint is tolerated.
pub fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    if !node.node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        return Ok(());
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Default::default()
    };
    match tolerated(&taint, pod.spec().tolerations.as_deref().unwrap_or(&[])) {
        true => Ok(()),
        false => Err(Refusal::fixed("node(s) were unschedulable")),
    }
}

/// `spec.nodeName`, for pods that name a node and still come here.
pub fn name(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    match pod.spec().node_name.as_deref() {
        Some(name) if !name.is_empty() && name != node.name() => {
            Err(Refusal::fixed("node(s) didn't match the requested node name"))
        }
        _ => Ok(()),
    }
}

/// Taints that keep pods away.
pub fn taints(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or(&[]);
    let taints = node.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
    let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    match taints.iter().filter(keeps_away).find(|taint| !tolerated(taint, tolerations)) {
        Some(_) => Err(Refusal::fixed("node(s) had untolerated taint(s)")),
        None => Ok(()),
    }
}

/// `spec.nodeSelector` and required node affinity.
pub fn affinity(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let added = pod.profile.added_affinity.as_ref();
    let added = added.and_then(|added| added.required_during_scheduling_ignored_during_execution.as_ref());
    if !added
        .is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, &node.node)))
    {
        return Err(Refusal::fixed("node(s) didn't match scheduler-enforced node affinity"));
    }
    match required_affinity_matches(pod, node) {
        true => Ok(()),
        false => Err(Refusal::fixed("node(s) didn't match Pod's node affinity/selector")),
    }
}

/// As [`affinity`], for plugins that count only nodes which the pod may use.
pub fn required_affinity_matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let spec = pod.spec();
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| node.labels().get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|selector| {
            selector.node_selector_terms.iter().any(|term| term_matches(term, &node.node))
        })
}

/// Features that the pod needs and the node declares.
pub fn features(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let declared = node.node.status.as_ref().and_then(|status| status.declared_features.as_deref());
    let declared = declared.unwrap_or(&[]);
    match pod.features.iter().all(|needed| declared.iter().any(|one| one == needed)) {
        true => Ok(()),
        false => Err(Refusal::fixed("node(s) didn't match Pod's required features")),
    }
}

/// Ports of the host.
pub fn ports(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let taken = || node.pods.values().flat_map(|other| &other.ports);
    match pod.ports.iter().any(|port| taken().any(|other| port.conflicts(other))) {
        true => Err(Refusal::preemptable(vec![
            "node(s) didn't have free ports for the requested pod ports".into(),
        ])),
        false => Ok(()),
    }
}
