//! Devices, and claims for them, as the scheduler has decided them (upstream's dynamic resource allocation with structured
//! parameters): apply and delete in, what a pod's claims can have on a node out.
//!
//! An allocation counts at once (it is assumed) until it is written; what was written counts although an older state of the
//! claim comes by watch afterwards.
//!
//! - `claims`: which claims a pod has. `pools`: which devices a node reaches. `selectors`: CEL over one device.
//! - `request`: what a claim asks for. `search`: devices for all of it, under constraints and counters. `result`: how it is
//!   written.
//!
//! Not here: devices that several claims share (`allowMultipleAllocations`), binding conditions, DeviceTaintRules, extended
//! resources that devices stand for.

pub mod claims;
mod constraints;
mod counters;
mod pools;
mod request;
mod result;
mod search;
mod selectors;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use sampan_reconcile::Object;

pub use request::check_classes;
pub use search::{Allocator, Problem};

/// What keeps an allocated claim from being deleted.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// How many may use a claim at once (upstream's `ResourceClaimReservedForMaxSize`).
pub const MOST_CONSUMERS: usize = 256;

/// A device, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// Its driver.
    pub driver: String,
    /// Its pool.
    pub pool: String,
    /// Its name in the pool.
    pub device: String,
}

impl std::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

/// A claim that a pod gets with its node.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The claim as it was.
    pub claim: Arc<ResourceClaim>,
    /// What it is to have; `None` if it has it already.
    pub allocation: Option<AllocationResult>,
}

impl Grant {
    /// `namespace/name` of the claim.
    pub fn key(&self) -> String {
        Object::key(&*self.claim).to_string()
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// By `namespace/name`.
    claims: BTreeMap<String, Arc<ResourceClaim>>,
    slices: BTreeMap<String, Arc<ResourceSlice>>,
    classes: BTreeMap<String, Arc<DeviceClass>>,
    /// Allocations that are being written, by claim.
    assumed: BTreeMap<String, AllocationResult>,
    /// How many allocations hold a device.
    held: BTreeMap<DeviceId, usize>,
}

/// Devices that an allocation takes from others.
fn taken(allocation: &AllocationResult) -> impl Iterator<Item = DeviceId> {
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    results.filter(|result| result.admin_access != Some(true)).map(|result| DeviceId {
        driver: result.driver.clone(),
        pool: result.pool.clone(),
        device: result.device.clone(),
    })
}

/// What a claim has.
pub fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

impl Devices {
    /// A claim came, changed or went. A state that is older than the known one says nothing.
    pub fn set_claim(&mut self, key: &str, claim: Option<Arc<ResourceClaim>>) {
        let known = self.claims.get(key);
        if let (Some(known), Some(claim)) = (known, &claim)
            && known.metadata.uid == claim.metadata.uid
            && known.version() > claim.version()
        {
            return;
        }
        let old = match claim {
            Some(claim) => {
                allocation(&claim).into_iter().flat_map(taken).for_each(|device| self.hold(device));
                self.claims.insert(key.to_owned(), claim)
            }
            None => self.claims.remove(key),
        };
        let old = old.as_deref().and_then(allocation);
        old.into_iter().flat_map(taken).for_each(|device| self.free(&device));
    }

    /// A slice came, changed or went.
    pub fn set_slice(&mut self, name: &str, slice: Option<Arc<ResourceSlice>>) {
        match slice {
            Some(slice) => _ = self.slices.insert(name.to_owned(), slice),
            None => _ = self.slices.remove(name),
        }
    }

    /// A class came, changed or went.
    pub fn set_class(&mut self, name: &str, class: Option<Arc<DeviceClass>>) {
        match class {
            Some(class) => _ = self.classes.insert(name.to_owned(), class),
            None => _ = self.classes.remove(name),
        }
    }

    /// The claim under `namespace/name`.
    pub fn claim(&self, key: &str) -> Option<&Arc<ResourceClaim>> {
        self.claims.get(key)
    }

    /// The class of this name.
    pub fn class(&self, name: &str) -> Option<&Arc<DeviceClass>> {
        self.classes.get(name)
    }

    /// Whether an allocation of the claim is being written.
    pub fn is_assumed(&self, key: &str) -> bool {
        self.assumed.contains_key(key)
    }

    /// Whether an allocation holds the device.
    pub fn is_held(&self, device: &DeviceId) -> bool {
        self.held.contains_key(device)
    }

    /// What was chosen for a pod counts.
    pub fn assume(&mut self, grants: &[Grant]) {
        for grant in grants {
            if let Some(allocation) = &grant.allocation {
                taken(allocation).for_each(|device| self.hold(device));
                self.assumed.insert(grant.key(), allocation.clone());
            }
        }
    }

    /// What was chosen for a pod counts no more than the objects say.
    pub fn give_up(&mut self, grants: &[Grant]) {
        for grant in grants.iter().filter(|grant| grant.allocation.is_some()) {
            if let Some(allocation) = self.assumed.remove(&grant.key()) {
                taken(&allocation).for_each(|device| self.free(&device));
            }
        }
    }

    fn hold(&mut self, device: DeviceId) {
        *self.held.entry(device).or_default() += 1;
    }

    fn free(&mut self, device: &DeviceId) {
        if let Some(count) = self.held.get_mut(device) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(device);
            }
        }
    }
}

#[cfg(test)]
mod tests;
