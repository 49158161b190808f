//! Which volume suits a claim (upstream's `FindMatchingVolume` and `index.go`). Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::words::{capacity, claim_class, claim_key, is_bound_to, requested, volume_class, volume_phase};
use crate::words::{matches, name};

fn claim_modes(claim: &PersistentVolumeClaim) -> &[String] {
    claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

fn volume_modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

/// Whether a volume can be used in all the ways that a claim wants.
fn offers_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim_modes(claim).iter().all(|mode| volume_modes(volume).contains(mode))
}

/// Whether one is a file system and the other a block device.
pub(super) fn kinds_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of = |mode: Option<&String>| mode.map_or("Filesystem", String::as_str).to_owned();
    of(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
        != of(volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
}

fn attributes_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let has = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    wanted.unwrap_or_default() != has.unwrap_or_default()
}

/// Why a volume that a claim asks for by name does not satisfy it (upstream's `checkVolumeSatisfyClaim`).
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    match () {
        () if capacity(volume) < requested(claim) => Some("requested PV is too small"),
        () if volume_class(volume) != claim_class(claim) => Some("storageClassName does not match"),
        () if attributes_differ(volume, claim) => Some("volumeAttributesClassName does not match"),
        () if kinds_differ(volume, claim) => Some("incompatible volumeMode"),
        () if !offers_modes(volume, claim) => Some("incompatible accessMode"),
        () => None,
    }
}

/// The volume for a claim: one that is kept for it before any other, then one of the fewest access modes, then the
/// smallest. `delayed`: the scheduler chooses, unless a volume is kept for the claim.
pub(super) fn find(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    delayed: bool,
) -> Option<Arc<PersistentVolume>> {
    let fits = |volume: &&Arc<PersistentVolume>| {
        volume.metadata.deletion_timestamp.is_none()
            && capacity(volume) >= requested(claim)
            && !kinds_differ(volume, claim)
            && offers_modes(volume, claim)
    };
    let mut all: Vec<&Arc<PersistentVolume>> = volumes.iter().filter(fits).collect();
    all.sort_by(|one, other| {
        let of = |volume: &PersistentVolume| (volume_modes(volume).len(), capacity(volume));
        let ((modes, size), (other_modes, other_size)) = (of(one), of(other));
        let names = || name(&one.metadata).cmp(name(&other.metadata));
        modes.cmp(&other_modes).then_with(|| size.cmp(&other_size)).then_with(names)
    });
    let kept = all.iter().find(|volume| is_bound_to(volume, claim));
    let free = || all.iter().find(|volume| is_free_for(volume, claim));
    kept.or_else(|| if delayed { None } else { free() }).map(|volume| Arc::clone(volume))
}

fn is_free_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    claim_key(volume).is_none()
        && volume_phase(volume) == "Available"
        && selector.is_none_or(|selector| matches(selector, volume.metadata.labels.as_ref()))
        && volume_class(volume) == claim_class(claim)
        && !attributes_differ(volume, claim)
}
