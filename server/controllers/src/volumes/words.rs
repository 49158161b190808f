//! What the controllers of volumes ask of claims, volumes, classes and pods. Pure.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sampan_api::quantity::Quantity;
use sampan_reconcile::{EventType, Key, Object};

use crate::words::{annotation, name, namespace};

pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub(crate) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub(crate) const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
pub(crate) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
pub(crate) const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What came before `storageClassName`.
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
const STORAGE: &str = "storage";

/// Index of pods by the claims that they use, as `namespace/name`.
pub(crate) const BY_CLAIM: &str = "claim";

/// An event about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

impl Told {
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind: EventType::Normal, reason, message: message.into() }
    }

    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind: EventType::Warning, reason, message: message.into() }
    }
}

/// The class a claim asks for; empty for none.
pub(crate) fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS_BETA).or(field).unwrap_or_default()
}

/// Whether a claim says which class it wants; an empty one is one, too.
pub(crate) fn has_class(claim: &PersistentVolumeClaim) -> bool {
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotation(&claim.metadata, CLASS_BETA).is_some() || field.is_some()
}

/// The class of a volume; empty for none.
pub(crate) fn volume_class(volume: &PersistentVolume) -> &str {
    let field = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&volume.metadata, CLASS_BETA).or(field).unwrap_or_default()
}

/// The volume a claim names; empty for none.
pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

/// The claim a volume is bound to, or kept for.
pub(crate) fn claim_key(volume: &PersistentVolume) -> Option<Key> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(Key::namespaced(&part(&reference.namespace), &part(&reference.name)))
}

/// The uid of the claim a volume is bound to; empty if it is only kept for it.
pub(crate) fn claim_uid(volume: &PersistentVolume) -> &str {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    reference.and_then(|reference| reference.uid.as_deref()).unwrap_or_default()
}

pub(crate) fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn storage(amounts: Option<&std::collections::BTreeMap<String, Amount>>) -> Option<Quantity> {
    Quantity::parse(&amounts?.get(STORAGE)?.0).ok()
}

fn zero() -> Quantity {
    Quantity::new(0, sampan_api::quantity::Format::BinarySI)
}

/// How much a claim asks for.
pub(crate) fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    storage(resources.and_then(|resources| resources.requests.as_ref())).unwrap_or_else(zero)
}

/// How much a claim has, by its status.
pub(crate) fn granted(claim: &PersistentVolumeClaim) -> Quantity {
    storage(claim.status.as_ref().and_then(|status| status.capacity.as_ref())).unwrap_or_else(zero)
}

/// How much a volume holds.
pub(crate) fn capacity(volume: &PersistentVolume) -> Quantity {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref())).unwrap_or_else(zero)
}

/// Puts an annotation unless there is one; whether it did.
pub(crate) fn annotate(meta: &mut ObjectMeta, key: &str, value: &str) -> bool {
    let all = meta.annotations.get_or_insert_default();
    let missing = !all.contains_key(key);
    if missing {
        all.insert(key.to_owned(), value.to_owned());
    }
    missing
}

/// Whether a volume is bound to, or kept for, a claim (upstream's `IsVolumeBoundToClaim`).
pub(crate) fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let uid = claim_uid(volume);
    claim_key(volume).is_some_and(|key| key == claim.key())
        && (uid.is_empty() || claim.metadata.uid.as_deref() == Some(uid))
}

/// The claim that an inline volume of a pod is made into.
pub(crate) fn inline_claim(pod: &ObjectMeta, volume: &str) -> String {
    format!("{}-{volume}", name(pod))
}

/// The claim of one volume of a pod, and whether it is made for the pod.
pub(crate) fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((source.claim_name.clone(), false));
    }
    volume.ephemeral.as_ref().map(|_| (inline_claim(&pod.metadata, &volume.name), true))
}

/// The claims of a pod, and whether they are made for it.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = (String, bool)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| claim_of(pod, volume))
}

/// Keys of the claims of a pod.
pub(crate) fn claim_keys(pod: &Pod) -> Vec<Key> {
    claims_of(pod).map(|(claim, _)| Key::namespaced(namespace(&pod.metadata), &claim)).collect()
}

/// Whether a claim was made for a pod (upstream's `VolumeIsForPod`).
pub(crate) fn is_made_for(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let owner = crate::words::controller_of(&claim.metadata);
    claim.metadata.namespace == pod.metadata.namespace
        && owner.is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

pub(crate) fn has_node(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|node| !node.is_empty())
}

/// Keeps the index [`BY_CLAIM`].
pub(crate) fn index_by_claim(pods: &sampan_reconcile::Informer<Pod>) {
    pods.add_index(BY_CLAIM, |pod| claim_keys(pod).iter().map(Key::to_string).collect());
}
