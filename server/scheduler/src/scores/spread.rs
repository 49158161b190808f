//! PodTopologySpread: soft constraints, or upstream's defaults (host skew 3, zone skew 5) for pods that name none and
//! are selected by a Service or have a ReplicaSet, StatefulSet or ReplicationController.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use sampan_reconcile::HashMap;

use super::MAX;
use crate::config::DefaultSpread;
use crate::filters::spread::{is_eligible, kept, listed, matches};
use crate::groups::Tally;
use crate::pods::PodInfo;
use crate::world::{NodeInfo, World};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Keys of the defaults.
pub const DEFAULT_KEYS: [&str; 2] = [HOST, ZONE];

/// Whether any soft rule counts for the pod.
pub fn has_rules(pod: &PodInfo, world: &World) -> bool {
    match pod.spec().topology_spread_constraints.as_deref() {
        None | Some([]) => !defaults(pod, world).is_empty(),
        Some(rules) => rules.iter().any(is_soft),
    }
}

fn is_soft(rule: &TopologySpreadConstraint) -> bool {
    rule.when_unsatisfiable == "ScheduleAnyway"
}

/// The rules, and whether they are the pod's own.
fn rules<'a>(pod: &'a PodInfo, world: &World) -> (Vec<Cow<'a, TopologySpreadConstraint>>, bool) {
    match pod.spec().topology_spread_constraints.as_deref() {
        // upstream wants all topologies of a list that was given, and not of its own
        None | Some([]) => {
            let given = pod.profile.spread != DefaultSpread::System;
            (defaults(pod, world).into_iter().map(Cow::Owned).collect(), given)
        }
        Some(rules) => (rules.iter().filter(|rule| is_soft(rule)).map(Cow::Borrowed).collect(), true),
    }
}

fn defaults(pod: &PodInfo, world: &World) -> Vec<TopologySpreadConstraint> {
    if pod.profile.spread != DefaultSpread::System {
        return listed(pod, world).into_iter().filter(is_soft).collect();
    }
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
    let keys: Vec<&str> = rules.iter().map(|rule| rule.topology_key.as_str()).filter(|_| own).collect();
    let judged: Vec<bool> =
        nodes.iter().map(|node| keys.iter().all(|key| node.labels().contains_key(*key))).collect();
    let mut raw: Vec<f64> = vec![0.0; nodes.len()];
    for rule in &rules {
        let counts = Counts::new(rule, pod, nodes, &judged, &keys, world);
        let weight = ((counts.size + 2) as f64).ln();
        for ((raw, node), _) in raw.iter_mut().zip(nodes).zip(&judged).filter(|(_, judged)| **judged) {
            if let Some(value) = node.labels().get(&rule.topology_key) {
                *raw += counts.at(node, value) as f64 * weight + f64::from(rule.max_skew - 1);
            }
        }
    }
    let raw: Vec<i64> = raw.into_iter().map(|value| value.round() as i64).collect();
    let of_judged = || raw.iter().zip(&judged).filter(|(_, judged)| **judged).map(|(raw, _)| *raw);
    let (low, high) = (of_judged().min().unwrap_or(0), of_judged().max().unwrap_or(0));
    let scale = |(raw, judged): (&i64, &bool)| match (judged, high) {
        (false, _) => 0,
        (true, 0) => MAX,
        (true, high) => MAX * (high + low - raw) / high,
    };
    Some(raw.iter().zip(&judged).map(scale).collect())
}

/// Matching pods of one rule.
struct Counts<'a> {
    rule: &'a TopologySpreadConstraint,
    pod: &'a PodInfo,
    /// How many domains the possible nodes are in.
    size: usize,
    kept: Option<Tally<'a>>,
    anew: HashMap<&'a str, i64>,
}

fn value<'n>(node: &'n NodeInfo, key: &str) -> &'n str {
    // a node without the label is in the domain without a name, which counts for the weight
    node.labels().get(key).map_or("", String::as_str)
}

impl<'a> Counts<'a> {
    fn new(
        rule: &'a TopologySpreadConstraint,
        pod: &'a PodInfo,
        nodes: &[&'a NodeInfo],
        judged: &[bool],
        keys: &[&str],
        world: &'a World,
    ) -> Self {
        let key = rule.topology_key.as_str();
        let kept = match key {
            HOST => on_hosts(rule, pod, world),
            _ => kept(rule, pod, keys, world),
        };
        let mut this = Self {
            rule,
            pod,
            size: judged.iter().filter(|judged| **judged).count(),
            kept,
            anew: HashMap::default(),
        };
        if key == HOST {
            return this;
        }
        let possible =
            nodes.iter().zip(judged).filter(|(_, judged)| **judged).map(|(node, _)| value(node, key));
        this.anew.extend(possible.map(|value| (value, 0)));
        this.size = this.anew.len();
        if this.kept.is_none() {
            let counts = |node: &&NodeInfo| keys.iter().all(|key| node.labels().contains_key(*key));
            for node in world.nodes().filter(counts).filter(|node| is_eligible(rule, pod, node)) {
                if let Some(sum) = this.anew.get_mut(value(node, key)) {
                    *sum += count(rule, pod, node);
                }
            }
        }
        this
    }

    fn at(&self, node: &NodeInfo, value: &str) -> i64 {
        match &self.kept {
            Some(tally) => tally.get(value),
            None if self.rule.topology_key == HOST => count(self.rule, self.pod, node),
            None => self.anew.get(value).copied().unwrap_or(0),
        }
    }
}

/// Hosts are counted one by one, whether they count for the rule or not; from the counters if no two share a name.
fn on_hosts<'a>(rule: &TopologySpreadConstraint, pod: &PodInfo, world: &'a World) -> Option<Tally<'a>> {
    world.groups.nodes(HOST).filter(|nodes| nodes.values().all(|count| *count == 1))?;
    let any_node = TopologySpreadConstraint {
        node_affinity_policy: Some("Ignore".into()),
        node_taints_policy: Some("Ignore".into()),
        ..rule.clone()
    };
    kept(&any_node, pod, &[], world)
}

fn count(rule: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let counts = |other: &PodInfo| !other.is_ending() && matches(rule, pod, other);
    node.pods.values().filter(|other| counts(other)).count() as i64
}
