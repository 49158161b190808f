//! What has to be done about a volume (upstream's `syncVolume` in `pv_controller.go`). Pure.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::matching::kinds_differ;
use super::words::{
    BOUND_BY_CONTROLLER, MIGRATED_TO, PROVISIONED_BY, Told, claim_uid, volume_name, volume_phase,
};
use crate::words::{annotation, name};

/// One thing to do; they are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Say that it is in this phase, and why.
    Phase(&'static str, String),
    /// Let go of the claim.
    Unbind,
    /// Look at its claim.
    Claim,
    /// An event about the volume.
    Tell(Told),
    /// An event about its claim.
    TellClaim(Told),
}

/// `claim` is the one that the volume is bound to, if it is there and the same one.
pub(super) fn plan(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Vec<Step> {
    if claim_uid(volume).is_empty() {
        // nobody's, or kept for a claim that finds it
        return phase(volume, "Available");
    }
    let Some(claim) = claim else { return release(volume) };
    match volume_name(claim) {
        "" if kinds_differ(volume, claim) => mode_mismatch(volume, claim),
        "" => vec![Step::Claim],
        bound if bound == name(&volume.metadata) => phase(volume, "Bound"),
        _ if annotation(&volume.metadata, PROVISIONED_BY).is_some() && policy(volume) == "Delete" => {
            release(volume)
        }
        _ => vec![Step::Unbind],
    }
}

fn policy(volume: &PersistentVolume) -> &str {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

fn phase(volume: &PersistentVolume, phase: &'static str) -> Vec<Step> {
    match volume_phase(volume) == phase {
        true => Vec::new(),
        false => vec![Step::Phase(phase, String::new())],
    }
}

fn mode_mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Vec<Step> {
    let (volume, claim) = (name(&volume.metadata), name(&claim.metadata));
    let of_volume = format!(
        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {claim:?} due to incompatible volumeMode."
    );
    let of_claim = format!(
        "Cannot bind PersistentVolume {volume:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
    );
    vec![
        Step::Tell(Told::warning("VolumeMismatch", of_volume)),
        Step::TellClaim(Told::warning("VolumeMismatch", of_claim)),
    ]
}

/// Its claim is gone: what its policy says is done. A failure stays to be seen.
fn release(volume: &PersistentVolume) -> Vec<Step> {
    let mut steps = match volume_phase(volume) {
        "Released" | "Failed" => Vec::new(),
        _ => vec![Step::Phase("Released", String::new())],
    };
    if let Some(told) = reclaim(volume)
        && volume_phase(volume) != "Failed"
    {
        steps.push(Step::Phase("Failed", told.message.clone()));
        steps.push(Step::Tell(told));
    }
    steps
}

/// Why it cannot be reclaimed here. The phase `Released` tells an external provisioner to delete it.
fn reclaim(volume: &PersistentVolume) -> Option<Told> {
    if annotation(&volume.metadata, MIGRATED_TO).is_some_and(|to| !to.is_empty()) {
        return None;
    }
    match policy(volume) {
        "Retain" => None,
        "Recycle" => Some(Told::warning("VolumeFailedRecycle", "No recycler plugin found for the volume!")),
        "Delete" => undeletable(volume).map(|why| Told::warning("VolumeFailedDelete", why)),
        _ => Some(Told::warning(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy",
        )),
    }
}

fn undeletable(volume: &PersistentVolume) -> Option<String> {
    match annotation(&volume.metadata, PROVISIONED_BY).filter(|by| !by.is_empty()) {
        Some(by) if by.starts_with("kubernetes.io/") => Some(format!("no volume plugin matched name: {by}")),
        Some(_) => None,
        None => Some(format!(
            "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
            name(&volume.metadata)
        )),
    }
}

/// The volume without its claim; one that the user kept for the claim stays so.
pub(super) fn unbound(volume: &PersistentVolume) -> PersistentVolume {
    let mut free = volume.clone();
    let annotations = free.metadata.annotations.as_mut();
    let ours = annotations.is_some_and(|all| all.remove(BOUND_BY_CONTROLLER).is_some());
    let spec = free.spec.get_or_insert_default();
    match ours {
        true => spec.claim_ref = None,
        false => spec.claim_ref.iter_mut().for_each(|reference| reference.uid = None),
    }
    free
}

/// The volume in a phase.
pub(super) fn in_phase(volume: &PersistentVolume, phase: &str, message: &str) -> PersistentVolume {
    let mut new = volume.clone();
    let status = new.status.get_or_insert_default();
    status.phase = Some(phase.to_owned());
    status.message = Some(message.to_owned()).filter(|message| !message.is_empty());
    new
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
