//! Claims, volumes and classes as the scheduler has decided them: apply and delete in, what a pod's claims allow out.
//!
//! Volumes that were chosen for a claim, and nodes chosen for one that is to be provisioned, count at once (they are
//! assumed), until the pod they were chosen for has its volumes or is given up.

mod claims;
pub mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, StorageClass};

use crate::selectors::term_matches;

pub use claims::{Choice, NodeVolumes, PodClaims, names};

pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What came before `storageClassName`.
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    /// By `namespace/name`.
    claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    classes: BTreeMap<String, Arc<StorageClass>>,
    /// Names of volumes by class.
    by_class: BTreeMap<String, BTreeSet<String>>,
    /// Names of volumes by the claim they are bound to or kept for.
    by_claim: BTreeMap<String, BTreeSet<String>>,
    /// Volumes that were chosen, by name: for which claim.
    chosen: BTreeMap<String, String>,
    /// How many volumes of a driver a node takes, by node and driver.
    limits: BTreeMap<String, BTreeMap<String, i64>>,
    /// Claims that are to be provisioned: for which node.
    selected: BTreeMap<String, String>,
}

impl Volumes {
    /// A claim came, changed or went.
    pub fn set_claim(&mut self, key: &str, claim: Option<Arc<PersistentVolumeClaim>>) {
        match claim {
            Some(claim) => _ = self.claims.insert(key.to_owned(), claim),
            None => _ = self.claims.remove(key),
        }
    }

    /// A class came, changed or went.
    pub fn set_class(&mut self, name: &str, class: Option<Arc<StorageClass>>) {
        match class {
            Some(class) => _ = self.classes.insert(name.to_owned(), class),
            None => _ = self.classes.remove(name),
        }
    }

    /// A node's drivers came, changed or went.
    pub fn set_drivers(&mut self, node: &str, drivers: Option<&CSINode>) {
        let Some(drivers) = drivers else {
            self.limits.remove(node);
            return;
        };
        let limit = |driver: &CSINodeDriver| {
            let count = driver.allocatable.as_ref()?.count?;
            Some((driver.name.clone(), i64::from(count)))
        };
        self.limits.insert(node.to_owned(), drivers.spec.drivers.iter().filter_map(limit).collect());
    }

    /// How many volumes a node takes, by driver; what is not said is not limited.
    pub fn limits(&self, node: &str) -> Option<&BTreeMap<String, i64>> {
        self.limits.get(node)
    }

    /// The driver of a claim's volume, and what it knows the volume by, or would.
    pub fn attachment(&self, key: &str) -> Option<(String, String)> {
        let claim = self.claims.get(key)?;
        match self.volumes.get(volume_name(claim)) {
            Some(volume) => {
                let source = volume.spec.as_ref()?.csi.as_ref()?;
                Some((source.driver.clone(), source.volume_handle.clone()))
            }
            None => {
                let class = self.class_of(claim)?;
                Some((class.provisioner.clone(), format!("{}-{key}", class.provisioner)))
            }
        }
    }

    /// A volume came, changed or went.
    pub fn set_volume(&mut self, name: &str, volume: Option<Arc<PersistentVolume>>) {
        if let Some(old) = self.volumes.remove(name) {
            forget(&mut self.by_class, volume_class(&old), name);
            claim_key(&old).iter().for_each(|key| forget(&mut self.by_claim, key, name));
        }
        let Some(volume) = volume else { return };
        let name = name.to_owned();
        self.by_class.entry(volume_class(&volume).to_owned()).or_default().insert(name.clone());
        if let Some(key) = claim_key(&volume) {
            self.by_claim.entry(key).or_default().insert(name.clone());
        }
        self.volumes.insert(name, volume);
    }

    /// The claim under `namespace/name`.
    pub fn claim(&self, key: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    /// The class that a claim names, if there is one.
    pub fn class_of(&self, claim: &PersistentVolumeClaim) -> Option<&Arc<StorageClass>> {
        self.classes.get(claim_class(claim))
    }

    /// What was chosen for a pod counts.
    pub fn assume(&mut self, node: &str, choice: &Choice) {
        for (volume, claim) in &choice.bind {
            self.chosen.insert(volume.clone(), claim.clone());
        }
        for claim in &choice.provision {
            self.selected.insert(claim.clone(), node.to_owned());
        }
    }

    /// What was chosen for a pod counts no more than the objects say.
    pub fn give_up(&mut self, choice: &Choice) {
        choice.bind.iter().for_each(|(volume, _)| _ = self.chosen.remove(volume));
        choice.provision.iter().for_each(|claim| _ = self.selected.remove(claim));
    }

    /// The node that a claim's volume is to be made for.
    fn selected_node<'a>(&'a self, key: &str, claim: &'a PersistentVolumeClaim) -> Option<&'a str> {
        let assumed = self.selected.get(key).map(String::as_str);
        assumed.or_else(|| annotation(claim.metadata.annotations.as_ref(), SELECTED_NODE))
    }

    /// For which claim a volume is taken.
    fn taken_for(&self, name: &str, volume: &PersistentVolume) -> Option<String> {
        self.chosen.get(name).cloned().or_else(|| claim_key(volume))
    }

    /// Volumes of a claim's class, and those kept for it.
    fn candidates<'a>(
        &'a self,
        key: &str,
        claim: &PersistentVolumeClaim,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<PersistentVolume>)> {
        let of_class = self.by_class.get(claim_class(claim)).into_iter().flatten();
        let kept = self.by_claim.get(key).into_iter().flatten();
        of_class.chain(kept).filter_map(|name| Some((name.as_str(), self.volumes.get(name)?)))
    }
}

fn forget(index: &mut BTreeMap<String, BTreeSet<String>>, term: &str, name: &str) {
    if let Some(names) = index.get_mut(term) {
        names.remove(name);
        if names.is_empty() {
            index.remove(term);
        }
    }
}

fn annotation<'a>(all: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    all?.get(key).map(String::as_str)
}

fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(claim.metadata.annotations.as_ref(), CLASS_BETA).or(field).unwrap_or_default()
}

fn volume_class(volume: &PersistentVolume) -> &str {
    let field = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(volume.metadata.annotations.as_ref(), CLASS_BETA).or(field).unwrap_or_default()
}

/// `namespace/name` of the claim that a volume is bound to or kept for.
pub fn claim_key(volume: &PersistentVolume) -> Option<String> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(format!("{}/{}", part(&reference.namespace), part(&reference.name)))
}

/// The volume a claim names; empty for none.
fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

/// Whether a claim has its volume for good.
fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let completed = annotation(claim.metadata.annotations.as_ref(), BIND_COMPLETED);
    !volume_name(claim).is_empty() && completed.is_some()
}

/// Whether its status says so, too: no kubelet mounts it before.
fn is_settled(claim: &PersistentVolumeClaim) -> bool {
    is_bound(claim) && claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// Whether a volume can be used on a node.
pub fn reachable(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, node)))
}
