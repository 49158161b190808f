//! InterPodAffinity: required terms of the pod, and anti-affinity of the pods that are there already.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodAffinityTerm;

use super::{Refusal, namespaces};
use crate::pods::{Namespaces, PodInfo, term_selects};
use crate::world::{NodeInfo, World};

/// A topology domain: label key and value.
type Domain = (String, String);

/// Domains counted once per pod.
pub struct PodAffinity<'a> {
    pod: &'a PodInfo,
    /// For each required term: in which domains pods match it.
    wanted: Vec<BTreeSet<Domain>>,
    /// Domains in which pods match a required anti-affinity term.
    avoided: BTreeSet<Domain>,
    /// Domains that pods already there keep this pod out of.
    guarded: BTreeSet<Domain>,
    /// The pod matches all its own affinity terms, so it may be the first of its kind.
    fits_itself: bool,
}

impl<'a> PodAffinity<'a> {
    /// Looks once at the pods of every node: at all of them if the pod has terms, else at those that have.
    pub fn new(pod: &'a PodInfo, world: &World) -> Self {
        let selects = |term: &PodAffinityTerm, other: &PodInfo| {
            term_selects(term, pod.namespace(), pod.labels(), other, namespaces(world))
        };
        let mut this = Self {
            pod,
            wanted: vec![BTreeSet::new(); pod.affinity().len()],
            avoided: BTreeSet::new(),
            guarded: BTreeSet::new(),
            fits_itself: pod.affinity().iter().all(|term| selects(term, pod)),
        };
        if !(pod.is_social() || world.is_social()) {
            return this;
        }
        let is_company = |other: &PodInfo| pod.affinity().iter().all(|term| selects(term, other));
        for node in world.nodes() {
            let others = if pod.is_social() { &node.pods } else { &node.social };
            for other in others.values() {
                // as upstream: only who matches all terms counts for any
                if !pod.affinity().is_empty() && is_company(other) {
                    for (term, domains) in pod.affinity().iter().zip(&mut this.wanted) {
                        domains.extend(domain(node, term));
                    }
                }
                for term in pod.anti_affinity() {
                    this.avoided.extend(domain(node, term).filter(|_| selects(term, other)));
                }
                this.guarded.extend(guards(node, other, pod, namespaces(world)));
            }
        }
        this
    }

    /// Upstream's order: affinity, anti-affinity, the others' anti-affinity.
    pub fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if !self.affinity_holds(node) {
            return Err(Refusal::fixed("node(s) didn't match pod affinity rules"));
        }
        let inside = |domains: &BTreeSet<Domain>, term: &PodAffinityTerm| {
            domain(node, term).is_some_and(|domain| domains.contains(&domain))
        };
        if self.pod.anti_affinity().iter().any(|term| inside(&self.avoided, term)) {
            return Err(Refusal::preemptable(vec!["node(s) didn't match pod anti-affinity rules".into()]));
        }
        let guarded = self.guarded.iter().any(|(key, value)| node.labels().get(key) == Some(value));
        match guarded {
            true => Err(Refusal::preemptable(vec![
                "node(s) didn't satisfy existing pods anti-affinity rules".into(),
            ])),
            false => Ok(()),
        }
    }

    fn affinity_holds(&self, node: &NodeInfo) -> bool {
        let terms = self.pod.affinity();
        let domains: BTreeMap<usize, Domain> =
            terms.iter().enumerate().filter_map(|(at, term)| Some((at, domain(node, term)?))).collect();
        if domains.len() < terms.len() {
            return false;
        }
        let together = self.wanted.iter().enumerate().all(|(at, wanted)| wanted.contains(&domains[&at]));
        let first = self.wanted.iter().all(BTreeSet::is_empty) && self.fits_itself;
        together || first
    }
}

fn domain(node: &NodeInfo, term: &PodAffinityTerm) -> Option<Domain> {
    let value = node.labels().get(&term.topology_key)?;
    Some((term.topology_key.clone(), value.clone()))
}

/// Domains of `node` that `other`'s anti-affinity keeps `pod` out of.
fn guards(node: &NodeInfo, other: &PodInfo, pod: &PodInfo, namespaces: &Namespaces) -> Vec<Domain> {
    let guards = other
        .anti_affinity()
        .iter()
        .filter(|term| term_selects(term, other.namespace(), other.labels(), pod, namespaces));
    guards.filter_map(|term| domain(node, term)).collect()
}
