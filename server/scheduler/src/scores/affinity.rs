//! InterPodAffinity: preferred terms of the pod, and preferred and required ones of the pods that are there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};

use super::MAX;
use crate::groups::Tally;
use crate::pods::{PodInfo, term_selects};
use crate::world::{NodeInfo, World};

/// The score of each of `nodes`; `None` if no term says anything.
pub fn scores(pod: &PodInfo, nodes: &[&NodeInfo], world: &World) -> Option<Vec<i64>> {
    let mine: Vec<_> = preferences(pod).collect();
    if mine.is_empty() && (!world.is_social() || pod.profile.ignore_preferred_of_existing) {
        return None;
    }
    let mut tallies: BTreeMap<&str, Tally<'_>> = BTreeMap::new();
    for group in world.groups.all() {
        let other = &group.sample;
        let meant = mine.iter().copied();
        let meant = meant
            .filter(|(term, _)| term_selects(term, pod.namespace(), pod.labels(), other, &world.namespaces));
        // what a required affinity term of a pod that is there counts
        let weight = pod.profile.hard_pod_affinity;
        let hard = other.affinity().iter().map(|term| (term, weight)).filter(|_| weight > 0);
        let meaning = preferences(other).chain(hard);
        let meaning = meaning.filter(|(term, _)| {
            term_selects(term, other.namespace(), other.labels(), pod, &world.namespaces)
        });
        for (term, weight) in meant.chain(meaning) {
            tallies.entry(&term.topology_key).or_default().add(group.domains(&term.topology_key), weight);
        }
    }
    tallies.retain(|_, tally| !tally.is_empty());
    if tallies.is_empty() {
        return None;
    }
    let raw = |node: &&NodeInfo| {
        let of = |(key, tally): (&&str, &Tally<'_>)| Some(tally.get(node.labels().get(*key)?));
        tallies.iter().filter_map(of).sum()
    };
    Some(between(&nodes.iter().map(raw).collect::<Vec<i64>>()))
}

/// Preferred terms of affinity with their weights, of anti-affinity with negative ones.
fn preferences(pod: &PodInfo) -> impl Iterator<Item = (&PodAffinityTerm, i64)> {
    let affinity = pod.spec().affinity.as_ref();
    let near = affinity.and_then(|a| a.pod_affinity.as_ref());
    let near = near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    let far = far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    let signed = |sign: i64| move |term: &'_ WeightedPodAffinityTerm| sign * i64::from(term.weight);
    let (plus, minus) = (signed(1), signed(-1));
    let near = near.unwrap_or(&[]).iter().map(move |term| (&term.pod_affinity_term, plus(term)));
    near.chain(far.unwrap_or(&[]).iter().map(move |term| (&term.pod_affinity_term, minus(term))))
}

/// Scales values so that the smallest is 0 and the largest [`MAX`].
fn between(raw: &[i64]) -> Vec<i64> {
    let (low, high) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
    let scale = |value: i64| (MAX as f64 * ((value - low) as f64 / (high - low) as f64)) as i64;
    raw.iter().map(|value| if high == low { 0 } else { scale(*value) }).collect()
}
