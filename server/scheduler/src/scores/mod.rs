//! Which of the possible nodes is best: upstream's default plugins and weights, 0 to 100 each.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodAffinityTerm, Taint, TopologySpreadConstraint, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::filters::Spread;
use crate::pods::{PodInfo, term_selects};
use crate::selectors::{term_matches, tolerated};
use crate::world::{NodeInfo, World};

/// The best score of one plugin.
const MAX: i64 = 100;

/// Sum of all plugins for each of `nodes`.
pub fn total(pod: &PodInfo, nodes: &[&NodeInfo], world: &World) -> Vec<i64> {
    let plugins = [
        (3, normalized(nodes, |node| intolerable(pod, node), true)),
        (2, normalized(nodes, |node| preferred_nodes(pod, node), false)),
        (2, spread(pod, nodes, world)),
        (2, affinity(pod, nodes, world)),
        (1, nodes.iter().map(|node| least_allocated(pod, node)).collect()),
        (1, nodes.iter().map(|node| balanced(pod, node)).collect()),
        (1, nodes.iter().map(|node| image_locality(pod, node)).collect()),
    ];
    let sum = |at: usize| plugins.iter().map(|(weight, scores): &(i64, Vec<i64>)| weight * scores[at]).sum();
    (0..nodes.len()).map(sum).collect()
}

/// Scales raw counts so that the largest is [`MAX`]; `reverse` makes the smallest the best.
fn normalized(nodes: &[&NodeInfo], raw: impl Fn(&NodeInfo) -> i64, reverse: bool) -> Vec<i64> {
    let raw: Vec<i64> = nodes.iter().map(|node| raw(node)).collect();
    let largest = raw.iter().copied().max().unwrap_or(0);
    let scale = |value: i64| if largest == 0 { 0 } else { value * MAX / largest };
    raw.into_iter().map(|value| if reverse { MAX - scale(value) } else { scale(value) }).collect()
}

/// TaintToleration: taints of effect PreferNoSchedule that are not tolerated.
fn intolerable(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or(&[]);
    let taints = node.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
    let counts = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerated(taint, tolerations);
    taints.iter().filter(counts).count() as i64
}

/// NodeAffinity: weights of the preferred terms that fit.
fn preferred_nodes(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let affinity = pod.spec().affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity
        .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or(&[]);
    terms
        .iter()
        .filter(|term| term_matches(&term.preference, &node.node))
        .map(|term| i64::from(term.weight))
        .sum()
}

/// Share of a resource in use with the pod on the node, 0 to 1.
fn fractions(pod: &PodInfo, node: &NodeInfo) -> [f64; 2] {
    let (cpu, memory) = pod.requests.non_zero();
    let share = |used: i64, has: i64| if has <= 0 { 1.0 } else { (used as f64 / has as f64).min(1.0) };
    [
        share(node.non_zero.0 + cpu, node.allocatable.milli_cpu),
        share(node.non_zero.1 + memory, node.allocatable.memory),
    ]
}

/// NodeResourcesFit with strategy LeastAllocated.
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let left: f64 = fractions(pod, node).iter().map(|fraction| (1.0 - fraction) * MAX as f64).sum();
    (left / 2.0) as i64
}

/// NodeResourcesBalancedAllocation: the less CPU and memory differ in use, the better.
fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let [cpu, memory] = fractions(pod, node);
    ((1.0 - (cpu - memory).abs() / 2.0) * MAX as f64) as i64
}

/// Sizes between which an image counts, as upstream's ImageLocality.
const IMAGE_SMALL: i64 = 23 << 20;
const IMAGE_LARGE: i64 = 1000 << 20;

/// ImageLocality: bytes of the pod's images that the node has already.
fn image_locality(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let images = node.node.status.as_ref().and_then(|status| status.images.as_deref()).unwrap_or(&[]);
    let size = |name: &String| {
        let has = |image: &&k8s_openapi::api::core::v1::ContainerImage| {
            image.names.iter().flatten().any(|n| n == name)
        };
        images.iter().find(has).and_then(|image| image.size_bytes).unwrap_or(0)
    };
    let containers = &pod.spec().containers;
    let sum: i64 = containers.iter().filter_map(|container| container.image.as_ref()).map(size).sum();
    let (low, high) = (IMAGE_SMALL, IMAGE_LARGE * containers.len().max(1) as i64);
    (sum.clamp(low, high) - low) * MAX / (high - low)
}

/// InterPodAffinity: preferred terms of the pod, and those of the pods that are there.
fn affinity(pod: &PodInfo, nodes: &[&NodeInfo], world: &World) -> Vec<i64> {
    if !(pod.is_social() || world.is_social()) {
        return vec![0; nodes.len()];
    }
    let mut domains: BTreeMap<(String, String), i64> = BTreeMap::new();
    for node in world.nodes() {
        let others = if pod.is_social() { &node.pods } else { &node.social };
        for other in others.values() {
            let mine = preferences(pod).filter(|(term, _)| {
                term_selects(term, pod.namespace(), pod.labels(), other, &world.namespaces)
            });
            let theirs = preferences(other).filter(|(term, _)| {
                term_selects(term, other.namespace(), other.labels(), pod, &world.namespaces)
            });
            for (term, weight) in mine.chain(theirs) {
                if let Some(value) = node.labels().get(&term.topology_key) {
                    *domains.entry((term.topology_key.clone(), value.clone())).or_default() += weight;
                }
            }
        }
    }
    let raw: Vec<i64> = nodes
        .iter()
        .map(|node| {
            domains
                .iter()
                .filter(|((key, value), _)| node.labels().get(key) == Some(value))
                .map(|(_, w)| w)
                .sum()
        })
        .collect();
    between(&raw)
}

/// Preferred terms of affinity with their weights, of anti-affinity with negative ones.
fn preferences(pod: &PodInfo) -> impl Iterator<Item = (&PodAffinityTerm, i64)> {
    let affinity = pod.spec().affinity.as_ref();
    let near = affinity.and_then(|a| a.pod_affinity.as_ref());
    let near =
        near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or(&[]);
    let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    let far =
        far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or(&[]);
    let signed = |sign: i64| move |term: &'_ WeightedPodAffinityTerm| sign * i64::from(term.weight);
    let (plus, minus) = (signed(1), signed(-1));
    near.iter()
        .map(move |t| (&t.pod_affinity_term, plus(t)))
        .chain(far.iter().map(move |t| (&t.pod_affinity_term, minus(t))))
}

/// Scales values so that the smallest is 0 and the largest [`MAX`].
fn between(raw: &[i64]) -> Vec<i64> {
    let (low, high) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
    raw.iter().map(|value| if high == low { 0 } else { (value - low) * MAX / (high - low) }).collect()
}

/// PodTopologySpread: soft constraints, or upstream's defaults (host skew 3, zone skew 5) for pods of a
/// controller that name none.
fn spread(pod: &PodInfo, nodes: &[&NodeInfo], world: &World) -> Vec<i64> {
    let rules: Vec<TopologySpreadConstraint> = match pod.spec().topology_spread_constraints.as_deref() {
        None | Some([]) => default_rules(pod),
        Some(rules) => {
            rules.iter().filter(|rule| rule.when_unsatisfiable == "ScheduleAnyway").cloned().collect()
        }
    };
    if rules.is_empty() {
        return vec![0; nodes.len()];
    }
    let counted: Vec<_> = rules.iter().map(|rule| (rule, Spread::count(rule, pod, world))).collect();
    let raw: Vec<i64> = nodes
        .iter()
        .map(|node| {
            let at = |rule: &TopologySpreadConstraint, counts: &BTreeMap<String, i64>| {
                let domain = node.labels().get(&rule.topology_key)?;
                counts.get(domain).map(|count| count * MAX + i64::from(rule.max_skew) - 1)
            };
            counted.iter().filter_map(|(rule, counts)| at(rule, counts)).sum()
        })
        .collect();
    between(&raw).into_iter().map(|score| MAX - score).collect()
}

/// Spreading of pods that one controller owns, over hosts and zones.
fn default_rules(pod: &PodInfo) -> Vec<TopologySpreadConstraint> {
    let owned =
        pod.pod.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    if !owned || pod.labels().is_empty() {
        return Vec::new();
    }
    let selector = LabelSelector { match_labels: Some(pod.labels().clone()), match_expressions: None };
    let rule = |key: &str, skew: i32| TopologySpreadConstraint {
        topology_key: key.into(),
        max_skew: skew,
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(selector.clone()),
        ..Default::default()
    };
    vec![rule("kubernetes.io/hostname", 3), rule("topology.kubernetes.io/zone", 5)]
}
