//! What single objects say, read anew each time.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, NodeSelectorTerm, Pod, PodAffinityTerm, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub type Labels = BTreeMap<String, String>;

pub fn labels(of: Option<&Labels>) -> Labels {
    of.cloned().unwrap_or_default()
}

pub fn pod_labels(pod: &Pod) -> Labels {
    labels(pod.metadata.labels.as_ref())
}

pub fn node_labels(node: &Node) -> Labels {
    labels(node.metadata.labels.as_ref())
}

pub fn name(node: &Node) -> String {
    node.metadata.name.clone().unwrap()
}

pub fn list<T: Clone>(of: Option<&Vec<T>>) -> Vec<T> {
    of.cloned().unwrap_or_default()
}

/// `700m`, `64Mi`, `3`: all that is generated.
pub fn amount(text: &str, milli: bool) -> i64 {
    let unit = if milli { 1000 } else { 1 };
    match (text.strip_suffix('m'), text.strip_suffix("Mi")) {
        (Some(number), _) if milli => number.parse().unwrap(),
        (_, Some(number)) => number.parse::<i64>().unwrap() * 1024 * 1024,
        _ => text.parse::<i64>().unwrap() * unit,
    }
}

pub fn asked(container: &Container, resource: &str, stand_in: i64) -> i64 {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    requests.and_then(|list| list.get(resource)).map_or(stand_in, |text| amount(&text.0, resource == "cpu"))
}

/// What a pod asks of a resource, containers that do not say counting as `stand_in`.
pub fn request(pod: &Pod, resource: &str, stand_in: i64) -> i64 {
    let spec = pod.spec.as_ref().unwrap();
    let overhead = spec.overhead.as_ref().and_then(|list| list.get(resource));
    let overhead = overhead.map_or(0, |text| amount(&text.0, resource == "cpu"));
    let own = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if let Some(own) = own.and_then(|list| list.get(resource)) {
        return amount(&own.0, resource == "cpu") + overhead;
    }
    let mut running: i64 = spec.containers.iter().map(|container| asked(container, resource, stand_in)).sum();
    let (mut sidecars, mut peak) = (0, 0);
    for container in list(spec.init_containers.as_ref()) {
        let asks = asked(&container, resource, stand_in);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars += asks;
            running += asks;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + asks);
        }
    }
    running.max(peak) + overhead
}

pub fn capacity(node: &Node, resource: &str) -> i64 {
    let list = node.status.as_ref().unwrap().allocatable.as_ref().unwrap();
    amount(&list[resource].0, resource == "cpu")
}

pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    list(pod.spec.as_ref().unwrap().tolerations.as_ref()).iter().any(|toleration| {
        let effect = toleration.effect.clone().unwrap_or_default();
        let any_key = toleration.key.is_none();
        let same_value =
            toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (any_key || toleration.key.as_ref() == Some(&taint.key))
            && (toleration.operator.as_deref() == Some("Exists") || same_value)
    })
}

pub fn taints(node: &Node) -> Vec<Taint> {
    list(node.spec.as_ref().unwrap().taints.as_ref())
}

pub fn tainted(pod: &Pod, node: &Node) -> bool {
    taints(node).iter().any(|taint| taint.effect != "PreferNoSchedule" && !tolerates(pod, taint))
}

pub fn requirement(operator: &str, values: &[String], value: Option<&String>) -> bool {
    match operator {
        "In" => value.is_some() && values.contains(value.unwrap()),
        "NotIn" => value.is_none() || !values.contains(value.unwrap()),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.is_some() && value.unwrap().parse::<i64>().unwrap() > values[0].parse::<i64>().unwrap(),
        other => panic!("{other} is not generated"),
    }
}

pub fn node_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    list(term.match_expressions.as_ref())
        .iter()
        .all(|one| requirement(&one.operator, &list(one.values.as_ref()), node_labels(node).get(&one.key)))
}

pub fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && list(selector.match_expressions.as_ref())
            .iter()
            .all(|one| requirement(&one.operator, &list(one.values.as_ref()), labels.get(&one.key)))
}

pub fn node_affinity(pod: &Pod, node: &Node) -> bool {
    let spec = pod.spec.as_ref().unwrap();
    let by_selector =
        spec.node_selector.iter().flatten().all(|(key, value)| node_labels(node).get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    by_selector && required.is_none_or(|any| any.node_selector_terms.iter().any(|term| node_term(term, node)))
}

pub fn ports(pod: &Pod) -> Vec<(String, i32)> {
    let spec = pod.spec.as_ref().unwrap();
    let init = list(spec.init_containers.as_ref());
    let sidecars = init.iter().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let all = spec.containers.iter().chain(sidecars).flat_map(|container| list(container.ports.as_ref()));
    all.map(|port| (port.host_ip.unwrap_or_default(), port.host_port.unwrap())).collect()
}

/// Terms of one kind: required, and preferred with weights.
pub type Terms = (Vec<PodAffinityTerm>, Vec<(i64, PodAffinityTerm)>);

pub fn near(pod: &Pod) -> Terms {
    let affinity = pod.spec.as_ref().unwrap().affinity.as_ref().and_then(|a| a.pod_affinity.clone());
    let affinity = affinity.unwrap_or_default();
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    let required = affinity.required_during_scheduling_ignored_during_execution.unwrap_or_default();
    (required, preferred.into_iter().map(|one| (i64::from(one.weight), one.pod_affinity_term)).collect())
}

pub fn far(pod: &Pod) -> Terms {
    let affinity = pod.spec.as_ref().unwrap().affinity.as_ref().and_then(|a| a.pod_anti_affinity.clone());
    let affinity = affinity.unwrap_or_default();
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    let required = affinity.required_during_scheduling_ignored_during_execution.unwrap_or_default();
    (required, preferred.into_iter().map(|one| (i64::from(one.weight), one.pod_affinity_term)).collect())
}

/// Whether both nodes have the key with one value.
pub fn together(one: &Node, other: &Node, key: &str) -> bool {
    node_labels(one).contains_key(key) && node_labels(one).get(key) == node_labels(other).get(key)
}
