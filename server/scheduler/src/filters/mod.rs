//! Which nodes a pod can run on. One file per plugin of upstream's, run in upstream's order; the first that
//! refuses gives the reasons for its node.

mod affinity;
mod fit;
mod node;
pub(crate) mod spread;
mod volumes;

use crate::pods::PodInfo;
use crate::volumes::Choice;
use crate::world::{NodeInfo, World};

use affinity::PodAffinity;
use spread::Spread;
use volumes::VolumeFilters;

/// Why a node was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Upstream's texts, such as `Insufficient cpu`.
    pub reasons: Vec<String>,
    /// Removing pods from the node could help.
    pub preemptable: bool,
}

impl Refusal {
    pub(crate) fn fixed(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], preemptable: false }
    }

    fn preemptable(reasons: Vec<String>) -> Self {
        Self { reasons, preemptable: true }
    }
}

/// What is computed once per pod, before nodes are looked at.
pub struct Filters<'a> {
    affinity: PodAffinity<'a>,
    spread: Spread<'a>,
    volumes: VolumeFilters<'a>,
}

impl<'a> Filters<'a> {
    /// Prepares the filters for `pod`; an error is why it fits on no node at all.
    pub fn new(pod: &'a PodInfo, world: &'a World) -> Result<Self, String> {
        let volumes = VolumeFilters::new(pod, world)?;
        Ok(Self { affinity: PodAffinity::new(pod, world), spread: Spread::new(pod, world), volumes })
    }

    /// The volumes for the pod on a node that passed.
    pub fn choice(&self, node: &NodeInfo) -> Choice {
        self.volumes.choice(node)
    }

    /// Whether the pod can run on `node`, which has passed [`local`].
    pub fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        self.volumes.check(node)?;
        self.spread.check(node)?;
        self.affinity.check(node)
    }
}

/// What the node alone decides, and pods on it.
pub fn local(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    node::unschedulable(pod, node)?;
    node::name(pod, node)?;
    node::taints(pod, node)?;
    node::affinity(pod, node)?;
    node::ports(pod, node)?;
    fit::check(pod, node)
}

/// Whether anything but [`local`] may refuse the pod.
pub fn is_local(pod: &PodInfo, world: &World) -> bool {
    let hard = pod.spec().topology_spread_constraints.iter().flatten();
    pod.claims.is_empty()
        && !pod.is_social()
        && !world.is_social()
        && hard.into_iter().all(|rule| rule.when_unsatisfiable != "DoNotSchedule")
}
