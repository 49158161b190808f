//! PodTopologySpread: hard constraints (`whenUnsatisfiable: DoNotSchedule`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use sampan_reconcile::HashMap;

use std::borrow::Cow;

use super::{Refusal, node::required_affinity_matches};
use crate::config::{DefaultSpread, Profile};
use crate::groups::Tally;
use crate::pods::PodInfo;
use crate::selectors::{Labels, label_selector_matches};
use crate::world::{NodeInfo, World};

/// One hard constraint with the pods that match it, counted by domain.
struct Constraint<'a> {
    rule: Cow<'a, TopologySpreadConstraint>,
    counts: Counted<'a>,
    /// The smallest count of a domain; 0 while there are fewer domains than `minDomains`.
    minimum: i64,
    /// The pod itself would count.
    counts_itself: bool,
}

/// Matching pods by domain.
enum Counted<'a> {
    /// From counters that are kept for all nodes.
    Kept(Tally<'a>),
    /// Over the nodes that count for this pod.
    Anew(BTreeMap<String, i64>),
}

impl Counted<'_> {
    fn get(&self, value: &str) -> i64 {
        match self {
            Self::Kept(tally) => tally.get(value),
            Self::Anew(counts) => counts.get(value).copied().unwrap_or(0),
        }
    }
}

/// The pod's hard constraints.
pub struct Spread<'a> {
    constraints: Vec<Constraint<'a>>,
}

impl<'a> Spread<'a> {
    /// Counts matching pods by domain.
    pub fn new(pod: &'a PodInfo, world: &'a World) -> Self {
        let hard = hard_rules(pod, world);
        let keys: Vec<String> = hard.iter().map(|rule| rule.topology_key.clone()).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        Self { constraints: hard.into_iter().map(|rule| Constraint::new(rule, pod, &keys, world)).collect() }
    }

    /// Whether the skew stays within bounds if the pod runs on `node`.
    pub fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        for constraint in &self.constraints {
            let Some(domain) = node.labels().get(&constraint.rule.topology_key) else {
                let text = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Refusal::fixed(text));
            };
            let here = constraint.counts.get(domain) + i64::from(constraint.counts_itself);
            if here - constraint.minimum > i64::from(constraint.rule.max_skew) {
                let text = "node(s) didn't match pod topology spread constraints";
                return Err(Refusal::preemptable(vec![text.into()]));
            }
        }
        Ok(())
    }
}

/// The pod's own rules, or for one without any those of its scheduler's list, about the pods that are selected with it.
fn hard_rules<'a>(pod: &'a PodInfo, world: &World) -> Vec<Cow<'a, TopologySpreadConstraint>> {
    let is_hard = |rule: &&TopologySpreadConstraint| rule.when_unsatisfiable == "DoNotSchedule";
    match pod.spec().topology_spread_constraints.as_deref() {
        None | Some([]) => {
            listed(pod, world).into_iter().filter(|rule| is_hard(&rule)).map(Cow::Owned).collect()
        }
        Some(rules) => rules.iter().filter(is_hard).map(Cow::Borrowed).collect(),
    }
}

/// Whether [`hard_rules`] are any.
pub(super) fn has_hard_rules(pod: &PodInfo, world: &World) -> bool {
    match pod.spec().topology_spread_constraints.as_deref() {
        None | Some([]) if pod.profile.spread == DefaultSpread::System => false,
        None | Some([]) => !hard_rules(pod, world).is_empty(),
        Some(rules) => rules.iter().any(|rule| rule.when_unsatisfiable == "DoNotSchedule"),
    }
}

/// Whether `other` counts for a hard rule of `pod`.
pub(crate) fn counts(pod: &PodInfo, other: &PodInfo, world: &World) -> bool {
    hard_rules(pod, world).iter().any(|rule| matches(rule, pod, other))
}

/// Whether the pod has no rules of its own, and its scheduler lists hard ones for such pods.
pub(crate) fn is_listed_hard(pod: &PodInfo) -> bool {
    let none = pod.spec().topology_spread_constraints.as_ref().is_none_or(Vec::is_empty);
    let DefaultSpread::List(rules) = &pod.profile.spread else { return false };
    none && rules.iter().any(|rule| rule.when_unsatisfiable == "DoNotSchedule")
}

/// The rules that a scheduler's configuration lists for pods without any, with the selector of this pod.
pub(crate) fn listed(pod: &PodInfo, world: &World) -> Vec<TopologySpreadConstraint> {
    let Profile { spread: DefaultSpread::List(rules), .. } = &*pod.profile else { return Vec::new() };
    let Some(selector) = world.owners.selector(pod) else { return Vec::new() };
    let with = |rule: &TopologySpreadConstraint| TopologySpreadConstraint {
        label_selector: Some(selector.clone()),
        ..rule.clone()
    };
    rules.iter().map(with).collect()
}

impl<'a> Constraint<'a> {
    fn new(rule: Cow<'a, TopologySpreadConstraint>, pod: &PodInfo, keys: &[&str], world: &'a World) -> Self {
        let (counts, domains, least) = match kept(&rule, pod, keys, world) {
            Some(tally) => {
                let domains = world.groups.nodes(&rule.topology_key);
                let least = domains.into_iter().flatten().map(|(value, _)| tally.get(value)).min();
                (Counted::Kept(tally), domains.map_or(0, HashMap::len), least)
            }
            None => {
                let eligible = |node: &&NodeInfo| {
                    keys.iter().all(|key| node.labels().contains_key(*key)) && is_eligible(&rule, pod, node)
                };
                let counts = count_by_domain(&rule, pod, world.nodes().filter(eligible));
                let (domains, least) = (counts.len(), counts.values().copied().min());
                (Counted::Anew(counts), domains, least)
            }
        };
        let enough = domains as i64 >= i64::from(rule.min_domains.unwrap_or(1));
        let minimum = if enough { least.unwrap_or(0) } else { 0 };
        let counts_itself = matches(&rule, pod, pod);
        Self { rule, counts, minimum, counts_itself }
    }
}

/// Matching pods by domain from the kept counters, if every node that has the rule's key counts for it; `keys` are
/// those that a node must have to count.
pub fn kept<'w>(
    rule: &TopologySpreadConstraint,
    pod: &PodInfo,
    keys: &[&str],
    world: &'w World,
) -> Option<Tally<'w>> {
    let key = rule.topology_key.as_str();
    let all_have = |key: &str| {
        world.groups.nodes(key).is_some_and(|nodes| nodes.values().sum::<i64>() == world.len() as i64)
    };
    let by_affinity = rule.node_affinity_policy.as_deref() == Some("Ignore") || !pod.chooses_nodes();
    let by_taints = rule.node_taints_policy.as_deref() != Some("Honor");
    let by_keys = keys.iter().all(|other| *other == key || all_have(other));
    if !(world.groups.has(key) && by_affinity && by_taints && by_keys) {
        return None;
    }
    let mut tally = Tally::default();
    let groups = world.groups.all();
    let matching = groups.filter(|group| !group.sample.is_ending() && matches(rule, pod, &group.sample));
    matching.for_each(|group| tally.add(group.domains(key), 1));
    Some(tally)
}

/// Pods that match a rule, by value of its topology key; domains without any count 0.
fn count_by_domain<'n>(
    rule: &TopologySpreadConstraint,
    pod: &PodInfo,
    nodes: impl Iterator<Item = &'n NodeInfo>,
) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for node in nodes {
        let Some(domain) = node.labels().get(&rule.topology_key) else { continue };
        let matching = node
            .pods
            .values()
            .filter(|other| other.pod.metadata.deletion_timestamp.is_none() && matches(rule, pod, other));
        *counts.entry(domain.clone()).or_insert(0) += matching.count() as i64;
    }
    counts
}

/// Whether a node counts for a rule: nodeAffinityPolicy (default Honor), nodeTaintsPolicy (default Ignore).
pub fn is_eligible(rule: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    let by_affinity =
        rule.node_affinity_policy.as_deref() == Some("Ignore") || required_affinity_matches(pod, node);
    let by_taints =
        rule.node_taints_policy.as_deref() != Some("Honor") || super::node::taints(pod, node).is_ok();
    by_affinity && by_taints
}

/// Whether `other` counts for a rule of `pod`.
pub fn matches(rule: &TopologySpreadConstraint, pod: &PodInfo, other: &PodInfo) -> bool {
    let keys = rule.match_label_keys.as_deref().unwrap_or(&[]);
    let same =
        |key: &String, own: &Labels| own.get(key).is_none_or(|value| other.labels().get(key) == Some(value));
    other.namespace() == pod.namespace()
        && label_selector_matches(rule.label_selector.as_ref(), other.labels())
        && keys.iter().all(|key| same(key, pod.labels()))
}
