//! Which nodes a pod can run on. One file per plugin of upstream's, run in upstream's order; the first that
//! refuses gives the reasons for its node.

mod affinity;
pub(crate) mod devices;
mod fit;
mod node;
pub(crate) mod spread;
mod volumes;

use crate::config::Plugin;
use crate::devices::Grant;
use crate::pods::PodInfo;
use crate::volumes::Choice;
use crate::world::{NodeInfo, World};

use affinity::PodAffinity;
use devices::DeviceFilter;
use spread::Spread;
use volumes::VolumeFilters;

/// Why a node was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Upstream's texts, such as `Insufficient cpu`.
    pub reasons: Vec<String>,
    /// Removing pods from the node could help.
    pub preemptable: bool,
    /// There is no telling whether the pod fits anywhere; the reason is why.
    pub fatal: bool,
}

impl Refusal {
    pub(crate) fn fixed(reason: impl Into<String>) -> Self {
        Self::all(vec![reason.into()])
    }

    /// For reasons that no preemption takes away.
    pub(crate) fn all(reasons: Vec<String>) -> Self {
        Self { reasons, preemptable: false, fatal: false }
    }

    pub(crate) fn preemptable(reasons: Vec<String>) -> Self {
        Self { reasons, preemptable: true, fatal: false }
    }

    fn fatal(plugin: Plugin, why: &str) -> Self {
        let reason = format!("running \"{plugin:?}\" filter plugin: {why}");
        Self { reasons: vec![reason], preemptable: false, fatal: true }
    }
}

/// What is computed once per pod, before nodes are looked at.
pub struct Filters<'a> {
    pod: &'a PodInfo,
    affinity: PodAffinity<'a>,
    spread: Spread<'a>,
    volumes: VolumeFilters<'a>,
    devices: DeviceFilter<'a>,
}

impl<'a> Filters<'a> {
    /// Prepares the filters for `pod`; an error is why it fits on no node at all.
    pub fn new(pod: &'a PodInfo, world: &'a World) -> Result<Self, String> {
        let volumes = VolumeFilters::new(pod, world)?;
        let devices = DeviceFilter::new(pod, world)?;
        let (affinity, spread) = (PodAffinity::new(pod, world), Spread::new(pod, world));
        Ok(Self { pod, affinity, spread, volumes, devices })
    }

    /// The devices for the pod on a node that passed.
    pub fn grants(&self, node: &NodeInfo) -> Vec<Grant> {
        self.devices.grants(node)
    }

    /// The volumes for the pod on a node that passed.
    pub fn choice(&self, node: &NodeInfo) -> Choice {
        self.volumes.choice(node)
    }

    /// Whether the pod can run on `node`, which has passed [`local`].
    pub fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let is_on = |plugin| self.pod.profile.filters(plugin);
        self.volumes.check(node)?;
        if is_on(Plugin::PodTopologySpread) {
            self.spread.check(node)?;
        }
        if is_on(Plugin::InterPodAffinity) {
            self.affinity.check(node)?;
        }
        self.devices.check(node)?;
        match is_on(Plugin::NodeDeclaredFeatures) {
            true => node::features(self.pod, node),
            false => Ok(()),
        }
    }
}

/// What the node alone decides, and pods on it.
pub fn local(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    type Filter = fn(&PodInfo, &NodeInfo) -> Result<(), Refusal>;
    let all: [(Plugin, Filter); 6] = [
        (Plugin::NodeUnschedulable, node::unschedulable),
        (Plugin::NodeName, node::name),
        (Plugin::TaintToleration, node::taints),
        (Plugin::NodeAffinity, node::affinity),
        (Plugin::NodePorts, node::ports),
        (Plugin::NodeResourcesFit, fit::check),
    ];
    all.into_iter()
        .filter(|(plugin, _)| pod.profile.filters(*plugin))
        .try_for_each(|(_, check)| check(pod, node))
}

/// Whether the node declares what the pod needs, which is asked for last.
pub(crate) fn declares(pod: &PodInfo, node: &NodeInfo) -> bool {
    !pod.profile.filters(Plugin::NodeDeclaredFeatures) || node::features(pod, node).is_ok()
}

/// Whether anything but [`local`] may refuse the pod.
pub fn is_local(pod: &PodInfo, world: &World) -> bool {
    let waits = !pod.claims.is_empty() || devices::concern(pod) || !pod.features.is_empty();
    !waits && !pod.is_social() && !world.is_social() && !spread::has_hard_rules(pod, world)
}
