//! DynamicResources: claims for devices that are there, allocated where the node reaches, or to be allocated on it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::resource::v1::ResourceClaim;
use sampan_reconcile::Object;

use super::Refusal;
use crate::config::Plugin;
use crate::devices::claims::{can_be_reserved, is_reserved_for, is_unused_by_others, of_pod};
use crate::devices::{Allocator, Devices, Grant, Problem, allocation, check_classes};
use crate::pods::PodInfo;
use crate::selectors::term_matches;
use crate::world::{NodeInfo, World};

/// What is computed once for a pod.
pub struct DeviceFilter<'a> {
    pod: &'a PodInfo,
    claims: Vec<&'a Arc<ResourceClaim>>,
    /// For those that have nothing yet.
    allocator: Option<Result<Allocator<'a>, String>>,
}

/// Whether devices matter to the pod.
pub fn concern(pod: &PodInfo) -> bool {
    pod.uses_devices() && pod.profile.filters(Plugin::DynamicResources)
}

impl<'a> DeviceFilter<'a> {
    /// Upstream's `PreFilter`; an error is why the pod fits nowhere.
    pub fn new(pod: &'a PodInfo, world: &'a World) -> Result<Self, String> {
        if !concern(pod) {
            return Ok(Self { pod, claims: Vec::new(), allocator: None });
        }
        let devices: &Devices = &world.devices;
        let claims = of_pod(pod, devices)?;
        let mut missing = Vec::new();
        for claim in &claims {
            if allocation(claim).is_some() {
                if !can_be_reserved(claim) && !is_reserved_for(claim, &pod.pod) {
                    return Err("resourceclaim in use".to_owned());
                }
                continue;
            }
            let key = Object::key(&***claim).to_string();
            if devices.is_assumed(&key) {
                return Err(format!("resource claim {key} is in the process of being allocated"));
            }
            check_classes(claim, devices)?;
            missing.push(*claim);
        }
        let allocator = (!missing.is_empty()).then(|| Allocator::new(missing, devices));
        Ok(Self { pod, claims, allocator })
    }

    /// Whether the node can give what the claims are to have, and reaches what they have.
    pub fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        match &self.allocator {
            None => {}
            Some(Err(why)) => return Err(Refusal::fatal(Plugin::DynamicResources, why)),
            Some(Ok(allocator)) => match allocator.allocate(&node.node) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(Refusal::fixed("cannot allocate all claims")),
                Err(Problem::Node(why)) => return Err(Refusal::fixed(why)),
                Err(Problem::Fatal(why)) => return Err(Refusal::fatal(Plugin::DynamicResources, &why)),
            },
        }
        match self.claims.iter().all(|claim| is_available(claim, &node.node)) {
            true => Ok(()),
            false => Err(Refusal::fixed("resourceclaim not available on the node")),
        }
    }

    /// What the pod gets on a node that passed: allocations, and its place among those who use a claim.
    pub fn grants(&self, node: &NodeInfo) -> Vec<Grant> {
        let Some(Ok(allocator)) = &self.allocator else { return self.reservations() };
        let made = allocator.allocate(&node.node).ok().flatten().unwrap_or_default();
        let given = allocator.claims().zip(made);
        let grants = given.map(|(claim, made)| Grant { claim: claim.clone(), allocation: Some(made) });
        grants.chain(self.reservations()).collect()
    }

    fn reservations(&self) -> Vec<Grant> {
        let has = |claim: &&&Arc<ResourceClaim>| {
            allocation(claim).is_some() && !is_reserved_for(claim, &self.pod.pod)
        };
        let grant = |claim: &&Arc<ResourceClaim>| Grant { claim: (*claim).clone(), allocation: None };
        self.claims.iter().filter(has).map(grant).collect()
    }
}

/// Whether an allocated claim can be used on the node.
fn is_available(claim: &ResourceClaim, node: &Node) -> bool {
    let selector = allocation(claim).and_then(|allocation| allocation.node_selector.as_ref());
    selector.is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

/// The claim that is to give back what it has, for a pod that fits nowhere (upstream's `PostFilter`): one that keeps the pod
/// off some nodes, and that nobody else uses.
pub fn to_deallocate(pod: &PodInfo, world: &World) -> Option<Arc<ResourceClaim>> {
    let claims = of_pod(pod, &world.devices).ok()?;
    let hinders = |claim: &&&Arc<ResourceClaim>| world.nodes().any(|node| !is_available(claim, &node.node));
    let unused = |claim: &&&Arc<ResourceClaim>| is_unused_by_others(claim, &pod.pod);
    let mut allocated = claims.iter().filter(|claim| allocation(claim).is_some()).filter(unused);
    allocated.find(hinders).map(|claim| (*claim).clone())
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
