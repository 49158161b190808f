//! PodTopologySpread: soft constraints, or upstream's defaults (host skew 3, zone skew 5) for pods that name none and
//! are selected by a Service or have a ReplicaSet, StatefulSet or ReplicationController.

use std::borrow::Cow;
use std::collections::HashMap;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::MAX;
use crate::filters::spread::{is_eligible, matches};
use crate::pods::PodInfo;
use crate::world::{NodeInfo, World};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Whether any soft rule counts for the pod.
pub fn has_rules(pod: &PodInfo, world: &World) -> bool {
    match pod.spec().topology_spread_constraints.as_deref() {
        None | Some([]) => world.owners.selector(pod).is_some(),
        Some(rules) => rules.iter().any(is_soft),
    }
}

fn is_soft(rule: &TopologySpreadConstraint) -> bool {
    rule.when_unsatisfiable == "ScheduleAnyway"
}

/// The rules, and whether they are the pod's own.
fn rules<'a>(pod: &'a PodInfo, world: &World) -> (Vec<Cow<'a, TopologySpreadConstraint>>, bool) {
    match pod.spec().topology_spread_constraints.as_deref() {
        None | Some([]) => (defaults(pod, world).into_iter().map(Cow::Owned).collect(), false),
        Some(rules) => (rules.iter().filter(|rule| is_soft(rule)).map(Cow::Borrowed).collect(), true),
    }
}

fn defaults(pod: &PodInfo, world: &World) -> Vec<TopologySpreadConstraint> {
    let Some(selector) = world.owners.selector(pod) else { return Vec::new() };
    let rule = |key: &str, skew: i32| TopologySpreadConstraint {
        topology_key: key.into(),
        max_skew: skew,
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(selector.clone()),
        ..Default::default()
    };
    vec![rule(HOST, 3), rule(ZONE, 5)]
}

/// The score of each of `nodes`; `None` without rules.
pub fn scores(pod: &PodInfo, nodes: &[&NodeInfo], world: &World) -> Option<Vec<i64>> {
    let (rules, own) = rules(pod, world);
    if rules.is_empty() {
        return None;
    }
    // nodes that lack a key of the pod's own rules are the last choice; those of the defaults may be missing
    let judged =
        |node: &NodeInfo| !own || rules.iter().all(|rule| node.labels().contains_key(&rule.topology_key));
    let counted: Vec<&NodeInfo> = nodes.iter().copied().filter(|node| judged(node)).collect();
    let mut raw: Vec<f64> = vec![0.0; nodes.len()];
    for rule in &rules {
        let domains = domains(rule, pod, &counted, world, &judged);
        let size = if rule.topology_key == HOST { counted.len() } else { domains.len() };
        let weight = ((size + 2) as f64).ln();
        for (raw, node) in raw.iter_mut().zip(nodes).filter(|(_, node)| judged(node)) {
            let Some(value) = node.labels().get(&rule.topology_key) else { continue };
            let count = match rule.topology_key.as_str() {
                HOST => count(rule, pod, node),
                _ => domains.get(value.as_str()).copied().unwrap_or(0),
            };
            *raw += count as f64 * weight + f64::from(rule.max_skew - 1);
        }
    }
    let raw: Vec<i64> = raw.into_iter().map(|value| value.round() as i64).collect();
    let of_judged = || raw.iter().zip(nodes).filter(|(_, node)| judged(node)).map(|(raw, _)| *raw);
    let (low, high) = (of_judged().min().unwrap_or(0), of_judged().max().unwrap_or(0));
    let scale = |(raw, node): (&i64, &&NodeInfo)| match (judged(node), high) {
        (false, _) => 0,
        (true, 0) => MAX,
        (true, high) => MAX * (high + low - raw) / high,
    };
    Some(raw.iter().zip(nodes).map(scale).collect())
}

/// Matching pods by domain, for domains of nodes that are possible. Hosts are counted one by one, where they are needed.
fn domains<'n>(
    rule: &TopologySpreadConstraint,
    pod: &PodInfo,
    nodes: &[&'n NodeInfo],
    world: &World,
    judged: &impl Fn(&NodeInfo) -> bool,
) -> HashMap<&'n str, i64> {
    let mut domains = HashMap::new();
    if rule.topology_key == HOST {
        return domains;
    }
    // a node without the label is in the domain without a name, which counts for the weight
    let value = |node: &'n NodeInfo| node.labels().get(&rule.topology_key).map_or("", String::as_str);
    domains.extend(nodes.iter().map(|node| (value(node), 0)));
    for node in world.nodes().filter(|node| judged(node) && is_eligible(rule, pod, node)) {
        let value = node.labels().get(&rule.topology_key).map_or("", String::as_str);
        if let Some(sum) = domains.get_mut(value) {
            *sum += count(rule, pod, node);
        }
    }
    domains
}

fn count(rule: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let counts =
        |other: &PodInfo| other.pod.metadata.deletion_timestamp.is_none() && matches(rule, pod, other);
    node.pods.values().filter(|other| counts(other)).count() as i64
}
