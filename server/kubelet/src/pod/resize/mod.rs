//! Resizing a pod in place: its resources are changed while it runs.
//!
//! ```text
//!   spec ──► ledger: is there room? ──► allocated ──► plan ──► actuate ──► actuated
//!            │ no: PodResizePending                   PodResizeInProgress   │
//!            └ asked again when something ends or changes     conditions go ┘
//! ```
//!
//! The pod that the machine works with is the object with its *allocated* resources in place ([`Allocation::applied`]), so
//! that nothing else in the kubelet knows of resizes. What is allocated is decided for all pods of the node in one
//! place ([`ledger`]); how a running container comes to it, by its pod's machine ([`step`], [`plan`]) and driver
//! ([`actuate`]). Both outlive the daemon in a file of the pod ([`checkpoint`]).
//!
//! Ported from upstream's `pkg/kubelet/allocation`, `pkg/kubelet/kuberuntime` (`doPodResizeAction`) and
//! `pkg/kubelet/events/resize.go`.

pub mod actuate;
pub mod admit;
pub mod checkpoint;
pub mod ledger;
pub mod plan;
pub mod report;
pub mod step;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sampan_cri::Resources;
use serde::{Deserialize, Serialize};

use crate::container::qos::millis;

/// Resources that the node has set aside for a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// Of the pod as a whole, if it says something about itself.
    pub pod: Option<ResourceRequirements>,
    /// By name, of each container.
    pub containers: BTreeMap<String, ResourceRequirements>,
}

/// What the machine knows of a pod's resizes.
#[derive(Clone, Debug, Default)]
pub struct Resize {
    /// What the pod may have.
    pub allocation: Arc<Allocation>,
    /// The resize that is asked for and not allocated.
    pub pending: Option<Notice>,
    /// The resize that is allocated and not actuated.
    pub progress: Option<Notice>,
    /// What is being done about it.
    pub work: Work,
    /// Limits of the pod's cgroup, as last set.
    pub cgroup: Option<Resources>,
    /// The generation before that whose resize nobody has judged yet: the last that the status speaks of.
    pub before: Option<i64>,
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `Infeasible`, `Deferred`, `Error` or nothing.
    pub reason: String,
    /// The sentence beside it.
    pub message: String,
    /// Of the object that asked for the resize.
    pub generation: Option<i64>,
    /// Since when.
    pub since: Timestamp,
}

/// Whether the runtime is changing a running pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// No.
    #[default]
    Idle,
    /// Yes.
    Busy,
    /// It could not; tried again at the given time.
    Failed(Timestamp),
}

impl Allocation {
    /// All that the pod asks for.
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let resources = |container: &Container| container.resources.clone().unwrap_or_default();
        Self {
            pod: spec.resources.clone(),
            containers: containers.map(|container| (container.name.clone(), resources(container))).collect(),
        }
    }

    /// Nobody asks for anything: such a pod cannot be resized, its class would change.
    pub fn is_empty(&self) -> bool {
        let none = |resources: &ResourceRequirements| *resources == ResourceRequirements::default();
        self.pod.as_ref().is_none_or(none) && self.containers.values().all(none)
    }

    /// Whether the pod asks for something else.
    pub fn differs(&self, pod: &Pod) -> bool {
        let wanted = Self::of(pod);
        let whole = |allocation: &Self| allocation.pod.clone().unwrap_or_default();
        // what an earlier version did not note of a container was not there to be resized
        let changed = |(name, wanted): (&String, &ResourceRequirements)| {
            self.containers.get(name).is_some_and(|own| !same(own, wanted))
        };
        !same(&whole(self), &whole(&wanted)) || wanted.containers.iter().any(changed)
    }

    /// The object with these resources in place of those that it asks for; itself, if they are the same.
    pub fn applied(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if !self.differs(pod) {
            return pod.clone();
        }
        let mut changed = Pod::clone(pod);
        if let Some(spec) = &mut changed.spec {
            spec.resources.clone_from(&self.pod);
            for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
                if let Some(resources) = self.containers.get(&container.name) {
                    container.resources = Some(resources.clone());
                }
            }
        }
        Arc::new(changed)
    }
}

/// Whether they amount to the same, however it is written.
fn same(one: &ResourceRequirements, other: &ResourceRequirements) -> bool {
    let amounts = |list: &Option<BTreeMap<String, Quantity>>| -> BTreeMap<String, Option<i128>> {
        list.iter().flatten().map(|(name, amount)| (name.clone(), millis(amount))).collect()
    };
    amounts(&one.requests) == amounts(&other.requests) && amounts(&one.limits) == amounts(&other.limits)
}
