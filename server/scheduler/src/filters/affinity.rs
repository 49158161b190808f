//! InterPodAffinity: required terms of the pod, and anti-affinity of the pods that are there already.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodAffinityTerm;

use super::Refusal;
use crate::groups::Tally;
use crate::pods::{PodInfo, term_selects};
use crate::world::{NodeInfo, World};

/// Where those are who matter to the pod.
pub struct PodAffinity<'a> {
    pod: &'a PodInfo,
    /// For each required term: pods that match all of them, by its domains.
    wanted: Vec<Tally<'a>>,
    /// For each required anti-affinity term: pods that match it.
    avoided: Vec<Tally<'a>>,
    /// By topology key: pods already there that keep this pod out.
    guarded: BTreeMap<&'a str, Tally<'a>>,
    /// The pod matches all its own affinity terms, so it may be the first of its kind.
    fits_itself: bool,
}

impl<'a> PodAffinity<'a> {
    /// Asks each group of pods once.
    pub fn new(pod: &'a PodInfo, world: &'a World) -> Self {
        let selects = |term: &PodAffinityTerm, other: &PodInfo| {
            term_selects(term, pod.namespace(), pod.labels(), other, &world.namespaces)
        };
        // as upstream: only who matches all terms counts for any
        let is_company = |other: &PodInfo| pod.affinity().iter().all(|term| selects(term, other));
        let tallies = |terms: &[PodAffinityTerm]| terms.iter().map(|_| Tally::default()).collect();
        let mut this = Self {
            pod,
            wanted: tallies(pod.affinity()),
            avoided: tallies(pod.anti_affinity()),
            guarded: BTreeMap::new(),
            fits_itself: is_company(pod),
        };
        if !(pod.is_social() || world.is_social()) {
            return this;
        }
        for group in world.groups.all() {
            let other = &group.sample;
            if is_company(other) {
                let terms = pod.affinity().iter().zip(&mut this.wanted);
                terms.for_each(|(term, tally)| tally.add(group.domains(&term.topology_key), 1));
            }
            let terms = pod.anti_affinity().iter().zip(&mut this.avoided);
            for (term, tally) in terms.filter(|(term, _)| selects(term, other)) {
                tally.add(group.domains(&term.topology_key), 1);
            }
            for term in other.anti_affinity() {
                if term_selects(term, other.namespace(), other.labels(), pod, &world.namespaces) {
                    let tally = this.guarded.entry(&term.topology_key).or_default();
                    tally.add(group.domains(&term.topology_key), 1);
                }
            }
        }
        this
    }

    /// Upstream's order: affinity, anti-affinity, the others' anti-affinity.
    pub fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if !self.affinity_holds(node) {
            return Err(Refusal::fixed("node(s) didn't match pod affinity rules"));
        }
        let inside =
            |tally: &Tally<'_>, key: &str| node.labels().get(key).is_some_and(|value| tally.get(value) > 0);
        let mut avoided = self.pod.anti_affinity().iter().zip(&self.avoided);
        if avoided.any(|(term, tally)| inside(tally, &term.topology_key)) {
            return Err(Refusal::preemptable(vec!["node(s) didn't match pod anti-affinity rules".into()]));
        }
        match self.guarded.iter().any(|(key, tally)| inside(tally, key)) {
            true => Err(Refusal::preemptable(vec![
                "node(s) didn't satisfy existing pods anti-affinity rules".into(),
            ])),
            false => Ok(()),
        }
    }

    fn affinity_holds(&self, node: &NodeInfo) -> bool {
        let mut together = true;
        for (term, tally) in self.pod.affinity().iter().zip(&self.wanted) {
            let Some(value) = node.labels().get(&term.topology_key) else { return false };
            together &= tally.get(value) > 0;
        }
        together || (self.fits_itself && self.wanted.iter().all(Tally::is_empty))
    }
}
