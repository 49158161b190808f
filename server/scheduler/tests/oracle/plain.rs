//! The plain implementation: everything is counted anew from the objects, for one pod and one node after the other.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, Taint, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::objects::{
    Labels, capacity, far, list, name, near, node_affinity, node_labels, node_term, pod_labels, ports,
    request, selects, tainted, taints, together, tolerates,
};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Of the features that pods can need one is generated.
fn lacks(pod: &Pod, node: &Node) -> Option<&'static str> {
    let spec = pod.spec.as_ref().unwrap();
    let mut containers = spec.containers.clone();
    containers.extend(list(spec.init_containers.as_ref()));
    let rules = containers.iter().flat_map(|container| list(container.restart_policy_rules.as_ref()));
    let needed = rules.filter(|rule| rule.action == "RestartAllContainers").count() > 0;
    let declared = list(node.status.as_ref().unwrap().declared_features.as_ref());
    let there = declared.contains(&"RestartAllContainersOnContainerExits".to_owned());
    (needed && !there).then_some("node(s) didn't match Pod's required features")
}

/// The objects.
#[derive(Default)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub pods: Vec<(Pod, String)>,
    pub namespaces: BTreeMap<String, Labels>,
    pub replica_sets: BTreeMap<(String, String), LabelSelector>,
}

impl Cluster {
    fn node(&self, wanted: &str) -> &Node {
        self.nodes.iter().find(|node| name(node) == wanted).unwrap()
    }

    fn on(&self, node: &Node) -> Vec<&Pod> {
        self.pods.iter().filter(|(_, place)| *place == name(node)).map(|(pod, _)| pod).collect()
    }

    fn means(&self, owner: &Pod, term: &PodAffinityTerm, pod: &Pod) -> bool {
        let namespace = pod.metadata.namespace.clone().unwrap();
        let named = list(term.namespaces.as_ref());
        let here = match &term.namespace_selector {
            None if named.is_empty() => owner.metadata.namespace == pod.metadata.namespace,
            None => named.contains(&namespace),
            Some(selector) => named.contains(&namespace) || selects(selector, &self.namespaces[&namespace]),
        };
        here && selects(term.label_selector.as_ref().unwrap(), &pod_labels(pod))
    }

    fn fits_itself_in(&self, pod: &Pod, node: &Node) -> Vec<String> {
        let mut short = Vec::new();
        let there = self.on(node);
        if there.len() as i64 + 1 > capacity(node, "pods") {
            short.push("Too many pods".to_owned());
        }
        for resource in ["cpu", "memory", "x.io/gpu"] {
            let used: i64 = there.iter().map(|other| request(other, resource, 0)).sum();
            let wants = request(pod, resource, 0);
            if wants > 0 && used + wants > capacity(node, resource) {
                short.push(format!("Insufficient {resource}"));
            }
        }
        short
    }

    fn takes_ports(&self, pod: &Pod, node: &Node) -> bool {
        let all = |ip: &str| ip.is_empty();
        let clash = |(ip, port): &(String, i32), (other, taken): &(String, i32)| {
            port == taken && (ip == other || all(ip) || all(other))
        };
        let taken: Vec<_> = self.on(node).into_iter().flat_map(ports).collect();
        !ports(pod).iter().any(|port| taken.iter().any(|other| clash(port, other)))
    }

    fn counts(&self, pod: &Pod, rule: &TopologySpreadConstraint, nodes: &[&Node]) -> i64 {
        let of = |other: &&(Pod, String)| {
            nodes.iter().any(|node| name(node) == other.1)
                && other.0.metadata.namespace == pod.metadata.namespace
                && selects(rule.label_selector.as_ref().unwrap(), &pod_labels(&other.0))
        };
        self.pods.iter().filter(of).count() as i64
    }

    /// Nodes that count for a rule: they have all keys of the rules of its kind, and its policies include them.
    fn eligible(&self, pod: &Pod, rule: &TopologySpreadConstraint, keys: &[String]) -> Vec<&Node> {
        let counts = |node: &&Node| {
            keys.iter().all(|key| node_labels(node).contains_key(key))
                && (rule.node_affinity_policy.as_deref() == Some("Ignore") || node_affinity(pod, node))
                && (rule.node_taints_policy.as_deref() != Some("Honor") || !tainted(pod, node))
        };
        self.nodes.iter().filter(counts).collect()
    }

    fn rules(pod: &Pod, when: &str) -> Vec<TopologySpreadConstraint> {
        let all = list(pod.spec.as_ref().unwrap().topology_spread_constraints.as_ref());
        all.into_iter().filter(|rule| rule.when_unsatisfiable == when).collect()
    }

    fn skews(&self, pod: &Pod, node: &Node) -> Option<&'static str> {
        let rules = Self::rules(pod, "DoNotSchedule");
        let keys: Vec<String> = rules.iter().map(|rule| rule.topology_key.clone()).collect();
        for rule in &rules {
            let key = &rule.topology_key;
            let Some(own) = node_labels(node).get(key).cloned() else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let eligible = self.eligible(pod, rule, &keys);
            let domains: BTreeSet<String> =
                eligible.iter().map(|node| node_labels(node)[key].clone()).collect();
            let inside = |domain: &String| -> Vec<&Node> {
                eligible.iter().copied().filter(|node| node_labels(node).get(key) == Some(domain)).collect()
            };
            let mut least = domains.iter().map(|one| self.counts(pod, rule, &inside(one))).min().unwrap_or(0);
            if (domains.len() as i32) < rule.min_domains.unwrap_or(1) {
                least = 0;
            }
            let itself = i64::from(selects(rule.label_selector.as_ref().unwrap(), &pod_labels(pod)));
            if self.counts(pod, rule, &inside(&own)) + itself - least > i64::from(rule.max_skew) {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }

    fn quarrels(&self, pod: &Pod, node: &Node) -> Option<&'static str> {
        let (wanted, avoided) = (near(pod).0, far(pod).0);
        let is_company = |other: &Pod| wanted.iter().all(|term| self.means(pod, term, other));
        let company: Vec<&Node> =
            self.pods.iter().filter(|(other, _)| is_company(other)).map(|(_, at)| self.node(at)).collect();
        let has_keys = wanted.iter().all(|term| node_labels(node).contains_key(&term.topology_key));
        // company anywhere counts only where it has one of the keys
        let anywhere = company
            .iter()
            .any(|at| wanted.iter().any(|term| node_labels(at).contains_key(&term.topology_key)));
        let beside =
            wanted.iter().all(|term| company.iter().any(|at| together(at, node, &term.topology_key)));
        let first = !anywhere && is_company(pod);
        if !wanted.is_empty() && !(has_keys && (beside || first)) {
            return Some("node(s) didn't match pod affinity rules");
        }
        let clashes = |owner: &Pod, term: &PodAffinityTerm, other: &Pod, at: &str| {
            self.means(owner, term, other) && together(self.node(at), node, &term.topology_key)
        };
        if self.pods.iter().any(|(other, at)| avoided.iter().any(|term| clashes(pod, term, other, at))) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        let minded =
            |(other, at): &(Pod, String)| far(other).0.iter().any(|term| clashes(other, term, pod, at));
        self.pods.iter().any(minded).then_some("node(s) didn't satisfy existing pods anti-affinity rules")
    }

    fn refuses(&self, pod: &Pod, node: &Node) -> Vec<String> {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Default::default()
        };
        if node.spec.as_ref().unwrap().unschedulable == Some(true) && !tolerates(pod, &cordon) {
            return vec!["node(s) were unschedulable".into()];
        }
        if tainted(pod, node) {
            return vec!["node(s) had untolerated taint(s)".into()];
        }
        if !node_affinity(pod, node) {
            return vec!["node(s) didn't match Pod's node affinity/selector".into()];
        }
        if !self.takes_ports(pod, node) {
            return vec!["node(s) didn't have free ports for the requested pod ports".into()];
        }
        let short = self.fits_itself_in(pod, node);
        if !short.is_empty() {
            return short;
        }
        let around = self.skews(pod, node).or_else(|| self.quarrels(pod, node));
        around.or_else(|| lacks(pod, node)).map(str::to_owned).into_iter().collect()
    }

    fn resources_score(&self, pod: &Pod, node: &Node) -> i64 {
        let there = self.on(node);
        let used = |resource: &str, stand_in: i64| {
            there.iter().map(|other| request(other, resource, stand_in)).sum::<i64>()
                + request(pod, resource, stand_in)
        };
        let least = |resource: &str, stand_in: i64| {
            let (used, has) = (used(resource, stand_in), capacity(node, resource));
            if used > has { 0 } else { (has - used) * 100 / has }
        };
        let least = i64::midpoint(least("cpu", 100), least("memory", 200 * 1024 * 1024));
        if request(pod, "cpu", 0) == 0 && request(pod, "memory", 0) == 0 {
            return least;
        }
        let share = |resource: &str| (used(resource, 0) as f64 / capacity(node, resource) as f64).min(1.0);
        let deviation = ((share("cpu") - share("memory")) / 2.0).abs();
        least + ((1.0 - deviation) * 100.0) as i64
    }

    fn images_score(&self, pod: &Pod, node: &Node) -> i64 {
        let has = |node: &Node, image: &str| {
            let images = list(node.status.as_ref().unwrap().images.as_ref());
            images.iter().any(|one| one.names.iter().flatten().any(|name| name == image))
        };
        let spec = pod.spec.as_ref().unwrap();
        let init = list(spec.init_containers.as_ref());
        let mut sum = 0;
        for container in init.iter().chain(&spec.containers) {
            let image = container.image.clone().unwrap();
            let image = if image.contains(':') { image } else { image + ":latest" };
            let holders = self.nodes.iter().filter(|other| has(other, &image)).count();
            if has(node, &image) {
                sum += (400_000_000.0 * (holders as f64 / self.nodes.len() as f64)) as i64;
            }
        }
        const MIB: i64 = 1024 * 1024;
        let most = 1000 * MIB * (init.len() + spec.containers.len()) as i64;
        100 * (sum.max(23 * MIB).min(most) - 23 * MIB) / (most - 23 * MIB)
    }

    fn terms_score(&self, pod: &Pod, node: &Node) -> i64 {
        let mut sum = 0;
        for (other, at) in &self.pods {
            let beside = |term: &PodAffinityTerm| together(self.node(at), node, &term.topology_key);
            let mut count = |owner: &Pod, term: &PodAffinityTerm, meant: &Pod, weight: i64| {
                if beside(term) && self.means(owner, term, meant) {
                    sum += weight;
                }
            };
            near(pod).1.iter().for_each(|(weight, term)| count(pod, term, other, *weight));
            far(pod).1.iter().for_each(|(weight, term)| count(pod, term, other, -weight));
            near(other).1.iter().for_each(|(weight, term)| count(other, term, pod, *weight));
            far(other).1.iter().for_each(|(weight, term)| count(other, term, pod, -weight));
            near(other).0.iter().for_each(|term| count(other, term, pod, 1));
        }
        sum
    }

    /// Soft rules, and whether they are the pod's own.
    fn soft(&self, pod: &Pod) -> (Vec<TopologySpreadConstraint>, bool) {
        if !list(pod.spec.as_ref().unwrap().topology_spread_constraints.as_ref()).is_empty() {
            return (Self::rules(pod, "ScheduleAnyway"), true);
        }
        let owner = list(pod.metadata.owner_references.as_ref()).first().map(|owner| owner.name.clone());
        let set =
            owner.and_then(|owner| self.replica_sets.get(&(pod.metadata.namespace.clone().unwrap(), owner)));
        let Some(selector) = set else { return (Vec::new(), false) };
        let rule = |key: &str, max_skew: i32| TopologySpreadConstraint {
            topology_key: key.into(),
            max_skew,
            label_selector: Some(selector.clone()),
            ..Default::default()
        };
        (vec![rule(HOST, 3), rule(ZONE, 5)], false)
    }

    fn spread_scores(&self, pod: &Pod, nodes: &[&Node]) -> Vec<i64> {
        let (rules, own) = self.soft(pod);
        if rules.is_empty() {
            return vec![0; nodes.len()];
        }
        let keys: Vec<String> = rules.iter().map(|rule| rule.topology_key.clone()).filter(|_| own).collect();
        let counted = |node: &Node| keys.iter().all(|key| node_labels(node).contains_key(key));
        let value = |node: &Node, key: &str| node_labels(node).get(key).cloned();
        let score = |node: &Node| -> Option<i64> {
            let mut sum = 0.0;
            for rule in rules.iter().filter(|_| counted(node)) {
                let key = rule.topology_key.as_str();
                let candidates = nodes.iter().filter(|node| counted(node));
                let size = match key {
                    HOST => candidates.count(),
                    _ => candidates.map(|node| value(node, key)).collect::<BTreeSet<_>>().len(),
                };
                let Some(own) = value(node, key) else { continue };
                let domain: Vec<&Node> = match key {
                    HOST => vec![node],
                    _ => {
                        let eligible = self.eligible(pod, rule, &keys);
                        eligible.into_iter().filter(|node| value(node, key).as_ref() == Some(&own)).collect()
                    }
                };
                let weight = ((size + 2) as f64).ln();
                sum += self.counts(pod, rule, &domain) as f64 * weight + f64::from(rule.max_skew - 1);
            }
            counted(node).then(|| sum.round() as i64)
        };
        let raw: Vec<Option<i64>> = nodes.iter().map(|node| score(node)).collect();
        let (low, high) = (raw.iter().flatten().min().copied(), raw.iter().flatten().max().copied());
        let scaled = |raw: &Option<i64>| match (raw, low, high) {
            (Some(_), _, Some(0)) => 100,
            (Some(raw), Some(low), Some(high)) => 100 * (high + low - raw) / high,
            _ => 0,
        };
        raw.iter().map(scaled).collect()
    }

    fn best(&self, pod: &Pod, nodes: &[&Node]) -> Vec<String> {
        let intolerable = |node: &Node| {
            let minded = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(pod, taint);
            taints(node).iter().filter(minded).count() as i64
        };
        let affinity = pod.spec.as_ref().unwrap().affinity.as_ref().and_then(|a| a.node_affinity.clone());
        let preferences = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution);
        let preferred = |node: &Node| -> i64 {
            let fits =
                |one: &&k8s_openapi::api::core::v1::PreferredSchedulingTerm| node_term(&one.preference, node);
            preferences.iter().flatten().filter(fits).map(|one| i64::from(one.weight)).sum()
        };
        let most = |of: &dyn Fn(&Node) -> i64| nodes.iter().map(|node| of(node)).max().unwrap();
        let (most_minded, most_preferred) = (most(&intolerable), most(&preferred));
        let terms: Vec<i64> = nodes.iter().map(|node| self.terms_score(pod, node)).collect();
        let (low, high) = (*terms.iter().min().unwrap(), *terms.iter().max().unwrap());
        let spread = self.spread_scores(pod, nodes);
        let total = |at: usize| {
            let node = nodes[at];
            let minded = if most_minded == 0 { 0 } else { 100 * intolerable(node) / most_minded };
            let wished = if most_preferred == 0 { 0 } else { 100 * preferred(node) / most_preferred };
            let company = match high - low {
                0 => 0,
                range => (100.0 * ((terms[at] - low) as f64 / range as f64)) as i64,
            };
            3 * (100 - minded)
                + 2 * wished
                + 2 * company
                + 2 * spread[at]
                + self.resources_score(pod, node)
                + self.images_score(pod, node)
        };
        let highest = (0..nodes.len()).map(total).max().unwrap();
        (0..nodes.len()).filter(|at| total(*at) == highest).map(|at| name(nodes[at])).collect()
    }

    /// The best nodes, or the words of the refusal.
    pub fn judge(&self, pod: &Pod) -> Result<Vec<String>, String> {
        let possible: Vec<&Node> =
            self.nodes.iter().filter(|node| self.refuses(pod, node).is_empty()).collect();
        if !possible.is_empty() {
            return Ok(self.best(pod, &possible));
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for reason in self.nodes.iter().flat_map(|node| self.refuses(pod, node)) {
            *counts.entry(reason).or_default() += 1;
        }
        let mut parts: Vec<String> =
            counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        Err(format!("0/{} nodes are available: {}.", self.nodes.len(), parts.join(", ")))
    }
}
