//! Which of the possible nodes is the best. One file per plugin or family, with upstream's weights and arithmetic.
//!
//! What a node's score owes to nothing but the node and the pod's shape is in [`Local`]; it is kept by
//! [`crate::columns`]. What depends on pods elsewhere is counted for each pod.

mod affinity;
mod images;
pub mod resources;
mod spread;

use k8s_openapi::api::core::v1::Taint;

use crate::config::Weights;
use crate::pods::PodInfo;
use crate::selectors::{term_matches, tolerated};
use crate::world::{NodeInfo, World};

/// Keys that spreading by default counts by.
pub(crate) use spread::DEFAULT_KEYS;

/// The best score of one plugin.
pub(crate) const MAX: i64 = 100;

/// What one node is worth to pods of one shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// NodeResourcesFit, NodeResourcesBalancedAllocation and ImageLocality, summed.
    fixed: i64,
    /// TaintToleration before it is scaled.
    intolerable: i64,
    /// NodeAffinity before it is scaled.
    preferred: i64,
}

impl Local {
    /// Looks at the node.
    pub fn new(pod: &PodInfo, node: &NodeInfo, world: &World) -> Self {
        let weights = &pod.profile.weights;
        let weighed = |weight: i64, score: &dyn Fn() -> i64| if weight == 0 { 0 } else { weight * score() };
        Self {
            fixed: weighed(weights.fit, &|| resources::fit(pod, node))
                + weighed(weights.balanced, &|| resources::balanced(pod, node))
                + weighed(weights.images, &|| images::locality(pod, node, world)),
            intolerable: intolerable(pod, node),
            preferred: preferred_nodes(pod, node),
        }
    }
}

/// Scales of what is relative to the best of the possible nodes.
#[derive(Clone, Copy, Default)]
pub struct Scale {
    intolerable: i64,
    preferred: i64,
}

impl Scale {
    /// Of these nodes.
    pub fn of<'l>(all: impl Iterator<Item = &'l Local>) -> Self {
        all.fold(Self::default(), |scale, local| Self {
            intolerable: scale.intolerable.max(local.intolerable),
            preferred: scale.preferred.max(local.preferred),
        })
    }

    /// The sum of what the node itself decides.
    pub fn total(self, local: &Local, weights: &Weights) -> i64 {
        let scaled = |value: i64, largest: i64| if largest == 0 { 0 } else { value * MAX / largest };
        weights.taints * (MAX - scaled(local.intolerable, self.intolerable))
            + weights.node_affinity * scaled(local.preferred, self.preferred)
            + local.fixed
    }
}

/// What pods elsewhere add to each of `nodes`; `None` if they add nothing to any.
pub fn social(pod: &PodInfo, nodes: &[&NodeInfo], world: &World) -> Option<Vec<i64>> {
    let weights = &pod.profile.weights;
    let spread = (weights.spread > 0).then(|| spread::scores(pod, nodes, world)).flatten();
    let affinity = (weights.pod_affinity > 0).then(|| affinity::scores(pod, nodes, world)).flatten();
    match (spread, affinity) {
        (None, None) => None,
        (one, other) => {
            let at = |weight: i64, scores: &Option<Vec<i64>>, at: usize| {
                scores.as_ref().map_or(0, |scores| weight * scores[at])
            };
            let sum = |node| at(weights.spread, &one, node) + at(weights.pod_affinity, &other, node);
            Some((0..nodes.len()).map(sum).collect())
        }
    }
}

/// Whether [`social`] may say anything.
pub fn is_social(pod: &PodInfo, world: &World) -> bool {
    pod.is_social() || world.is_social() || spread::has_rules(pod, world)
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
    let both = affinity.into_iter().chain(&pod.profile.added_affinity);
    both.filter_map(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref())
        .flatten()
        .filter(|term| term_matches(&term.preference, &node.node))
        .map(|term| i64::from(term.weight))
        .sum()
}
