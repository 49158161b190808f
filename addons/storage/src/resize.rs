//! A claim that asks for more than it has (`pkg/controller/expand_and_recover.go` of external-resizer). Pure.
//!
//! A directory has no size of its own: to grow is to write down a larger one, once there is room for it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition, PersistentVolumeClaimStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::words::{
    STORAGE, bytes, capacity, claim_phase, granted, is_ours, name, request_text, requested, uid,
};

const RESIZING: &str = "Resizing";
const FAILED: &str = "ControllerResizeError";
/// Conditions that a growth that has ended takes along.
const CONDITIONS: &[&str] = &[RESIZING, FAILED, "FileSystemResizePending", "NodeResizeError"];

/// A growth that is to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Growth {
    /// The size afterwards.
    pub size: Amount,
    /// Whether the volume has to be written.
    pub grows: bool,
    /// Bytes more than the volume has now.
    pub more: u64,
}

/// What a claim lacks; `None` if nothing, or if its volume is not ours on `node`.
pub(crate) fn growth(claim: &PersistentVolumeClaim, volume: &PersistentVolume, node: &str) -> Option<Growth> {
    let spec = volume.spec.as_ref()?;
    let bound = spec.claim_ref.as_ref().and_then(|claim| claim.uid.as_deref()) == Some(uid(&claim.metadata));
    let wanted = requested(claim);
    if !bound || !is_ours(volume, node) || claim_phase(claim) != "Bound" || wanted <= granted(claim) {
        return None;
    }
    let has = capacity(volume);
    Some(match wanted > has {
        true => Growth {
            size: request_text(claim)?.clone(),
            grows: true,
            more: bytes(wanted).saturating_sub(bytes(has)),
        },
        // the volume was written, the claim was not
        false => Growth { size: spec.capacity.as_ref()?.get(STORAGE)?.clone(), grows: false, more: 0 },
    })
}

/// The volume with its new size.
pub(crate) fn grown(volume: &PersistentVolume, growth: &Growth) -> PersistentVolume {
    let mut new = volume.clone();
    let spec = new.spec.get_or_insert_default();
    spec.capacity.get_or_insert_default().insert(STORAGE.to_owned(), growth.size.clone());
    new
}

/// The claim with its new size, and with nothing said of the growth any more.
pub(crate) fn finished(claim: &PersistentVolumeClaim, growth: &Growth) -> PersistentVolumeClaim {
    let mut new = claim.clone();
    let status = new.status.get_or_insert_default();
    put(&mut status.capacity, growth.size.clone());
    put(&mut status.allocated_resources, growth.size.clone());
    if let Some(statuses) = &mut status.allocated_resource_statuses {
        statuses.remove(STORAGE);
    }
    status.allocated_resource_statuses.take_if(|statuses| statuses.is_empty());
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| !CONDITIONS.contains(&condition.type_.as_str()));
    }
    status.conditions.take_if(|conditions| conditions.is_empty());
    new
}

/// The claim that says of a growth that it failed, and why; `None` if it says so.
pub(crate) fn stuck(
    claim: &PersistentVolumeClaim,
    growth: &Growth,
    why: &str,
    now: Timestamp,
) -> Option<PersistentVolumeClaim> {
    let mut new = claim.clone();
    let status = new.status.get_or_insert_default();
    put(&mut status.allocated_resources, growth.size.clone());
    put(&mut status.allocated_resource_statuses, "ControllerResizeInProgress".to_owned());
    condition(status, RESIZING, "", now);
    condition(status, FAILED, &format!("failed to expand pvc with {why}"), now);
    (new.status != claim.status).then_some(new)
}

fn put<T>(map: &mut Option<BTreeMap<String, T>>, value: T) {
    map.get_or_insert_default().insert(STORAGE.to_owned(), value);
}

fn condition(status: &mut PersistentVolumeClaimStatus, kind: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let message = Some(message).filter(|message| !message.is_empty()).map(str::to_owned);
    if let Some(there) = conditions.iter_mut().find(|one| one.type_ == kind && one.status == "True") {
        there.message = message;
        return;
    }
    conditions.retain(|one| one.type_ != kind);
    conditions.push(PersistentVolumeClaimCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(now)),
        message,
        ..PersistentVolumeClaimCondition::default()
    });
}

/// The text that tells of a beginning.
pub(crate) fn beginning(volume: &PersistentVolume) -> String {
    format!("External resizer is resizing volume {}", name(&volume.metadata))
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
