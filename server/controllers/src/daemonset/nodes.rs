//! Which nodes a daemon's pod belongs on, and the pod that is made for one.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::HASH_LABEL;
use crate::node::eviction::tolerates;
use crate::pod_control::pod_from_template;
use crate::words::{Map, annotation, controller_reference, matches, name, namespace};

/// Taints that every daemon tolerates.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// On pods: the number of their template.
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";

/// The number of the present template.
pub(super) fn generation(ds: &DaemonSet) -> Option<i64> {
    annotation(&ds.metadata, "deprecated.daemonset.template.generation")?.parse().ok()
}

/// Whether a new pod should run on the node, and whether an old one may stay.
pub(super) fn fits(spec: &DaemonSetSpec, node: &Node) -> (bool, bool) {
    let pod = spec.template.spec.clone().unwrap_or_default();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let named = pod.node_name.as_deref().is_none_or(|wanted| wanted == name(&node.metadata));
    let selected = pod.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = pod.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let near = required.is_none_or(|required| {
        required.node_selector_terms.iter().any(|term| term_fits(term, &labels, node))
    });
    if !(named && selected && near) {
        return (false, false);
    }
    let tolerations = tolerations(&pod);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let repels = |taint: &Taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint));
    let (hard, execute): (Vec<_>, Vec<_>) =
        taints.iter().filter(|taint| repels(taint)).partition(|t| t.effect == "NoSchedule");
    let execute = execute.iter().any(|taint| taint.effect == "NoExecute");
    (hard.is_empty() && !execute, !execute)
}

fn term_fits(term: &NodeSelectorTerm, labels: &Map, node: &Node) -> bool {
    let selector = |requirements: &Option<Vec<NodeSelectorRequirement>>| LabelSelector {
        match_labels: None,
        match_expressions: requirements.as_ref().map(|list| {
            let same = |r: &NodeSelectorRequirement| LabelSelectorRequirement {
                key: r.key.clone(),
                operator: r.operator.clone(),
                values: r.values.clone(),
            };
            list.iter().map(same).collect()
        }),
    };
    let fields: Map = [("metadata.name".to_owned(), name(&node.metadata).to_owned())].into();
    let empty = |list: &Option<Vec<NodeSelectorRequirement>>| list.as_ref().is_none_or(Vec::is_empty);
    !(empty(&term.match_expressions) && empty(&term.match_fields))
        && matches(&selector(&term.match_expressions), Some(labels))
        && matches(&selector(&term.match_fields), Some(&fields))
}

fn tolerations(pod: &PodSpec) -> Vec<Toleration> {
    let mut all = pod.tolerations.clone().unwrap_or_default();
    let network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let host = (pod.host_network == Some(true)).then_some(network);
    for (key, effect) in TOLERATED.into_iter().chain(host) {
        let (key, effect, operator) =
            (Some(key.to_owned()), Some(effect.to_owned()), Some("Exists".to_owned()));
        all.push(Toleration { key, effect, operator, ..Toleration::default() });
    }
    all
}

/// The node that a daemon's pod is on or meant for.
pub(super) fn target(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.clone().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let mut fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    match fields.find(|field| field.key == "metadata.name" && field.operator == "In")?.values.as_deref()? {
        [node] => Some(node.clone()),
        _ => None,
    }
}

/// The pod for one node, bound to it by affinity: the scheduler still looks at it.
pub(super) fn pod_for(ds: &DaemonSet, node: &str, hash: &str) -> Pod {
    let template = ds.spec.clone().unwrap_or_default().template;
    let mut pod = pod_from_template(&template, &controller_reference(ds), namespace(&ds.metadata));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = generation(ds) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_string());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let required: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector =
        required.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![field.clone()]);
    }
    pod
}
