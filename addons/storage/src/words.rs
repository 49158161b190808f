//! What is asked of claims, volumes and classes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sampan_api::quantity::Quantity;

pub(crate) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Keeps a volume's object until its files are deleted.
pub(crate) const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
pub(crate) const STORAGE: &str = "storage";
const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const STORAGE_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// What came before `storageClassName`.
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

pub(crate) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// The node chosen for a claim.
pub(crate) fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(&claim.metadata, SELECTED_NODE).filter(|node| !node.is_empty())
}

/// Whose business it is to make a claim's volume.
pub(crate) fn provisioner(claim: &PersistentVolumeClaim) -> Option<&str> {
    let meta = &claim.metadata;
    annotation(meta, STORAGE_PROVISIONER).or_else(|| annotation(meta, STORAGE_PROVISIONER_BETA))
}

/// The class a claim asks for; empty for none.
pub(crate) fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS_BETA).or(field).unwrap_or_default()
}

/// The name of the volume that is made for a claim.
pub(crate) fn volume_for(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", uid(&claim.metadata))
}

/// The volume that a claim names; empty for none.
pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

pub(crate) fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// What becomes of a volume whose claim is gone.
pub(crate) fn policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

pub(crate) fn has_finalizer(volume: &PersistentVolume) -> bool {
    volume.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER)
}

/// The node that a volume is on, by the label of its host name.
pub(crate) fn host_of(volume: &PersistentVolume) -> Option<&str> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let expressions =
        required.node_selector_terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
    let host = expressions.into_iter().find(|one| one.key == HOSTNAME && one.operator == "In")?;
    match host.values.as_deref() {
        Some([only]) => Some(only),
        _ => None,
    }
}

/// Whether a volume was made here.
pub(crate) fn is_ours(volume: &PersistentVolume, node: &str) -> bool {
    annotation(&volume.metadata, PROVISIONED_BY) == Some(crate::PROVISIONER) && host_of(volume) == Some(node)
}

fn storage(amounts: Option<&BTreeMap<String, Amount>>) -> Option<Quantity> {
    Quantity::parse(&amounts?.get(STORAGE)?.0).ok()
}

/// How much a claim asks for, as it is written.
pub(crate) fn request_text(claim: &PersistentVolumeClaim) -> Option<&Amount> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get(STORAGE)
}

/// How much a claim asks for.
pub(crate) fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    request_text(claim).and_then(|text| Quantity::parse(&text.0).ok()).unwrap_or(Quantity::ZERO)
}

/// How much a claim has, by its status.
pub(crate) fn granted(claim: &PersistentVolumeClaim) -> Quantity {
    storage(claim.status.as_ref().and_then(|status| status.capacity.as_ref())).unwrap_or(Quantity::ZERO)
}

/// How much a volume holds.
pub(crate) fn capacity(volume: &PersistentVolume) -> Quantity {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref())).unwrap_or(Quantity::ZERO)
}

/// Whole bytes of a quantity.
pub(crate) fn bytes(amount: Quantity) -> u64 {
    u64::try_from(amount.value()).unwrap_or_default()
}

/// Bytes for people: `3.2Gi`.
pub(crate) fn people(bytes: u64) -> String {
    for (shift, unit) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
        let tenths = (u128::from(bytes) * 10) >> shift;
        if tenths >= 10 {
            return match tenths % 10 {
                0 => format!("{}{unit}", tenths / 10),
                rest => format!("{}.{rest}{unit}", tenths / 10),
            };
        }
    }
    format!("{bytes} bytes")
}
