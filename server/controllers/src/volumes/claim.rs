//! What has to be done about a claim (upstream's `syncClaim` in `pv_controller.go`). Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus};
use k8s_openapi::api::storage::v1::StorageClass;
use sampan_reconcile::{Object, reference};

use super::matching::{find, mismatch};
use super::words::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, PROVISIONER_BETA, SELECTED_NODE, Told, annotate,
    claim_class, claim_phase, claim_uid, has_class, is_bound_to, volume_name, volume_phase,
};
use crate::words::{annotation, created, name, uid};

const DEFAULT_CLASS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// What is known besides the claim.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// Volumes of the claim's class, and those kept for it.
    pub volumes: Vec<Arc<PersistentVolume>>,
    /// The volume that the claim names.
    pub named: Option<Arc<PersistentVolume>>,
    /// The class that the claim names.
    pub class: Option<Arc<StorageClass>>,
    /// The class of claims that name none.
    pub default_class: Option<String>,
    /// Pods that use the claim and have no node, by name.
    pub waiting_pods: Vec<String>,
}

/// One thing to do; they are done in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Bind it to this volume, or finish that.
    Bind(Arc<PersistentVolume>),
    /// Write the claim so.
    Write(Box<PersistentVolumeClaim>),
    /// Say that it is in this phase, which is not `Bound`.
    Phase(&'static str),
    Tell(Told),
    /// What cannot be; it is tried again later.
    Fail(String),
}

pub(super) fn plan(claim: &PersistentVolumeClaim, world: &World) -> Vec<Step> {
    match (annotation(&claim.metadata, BIND_COMPLETED).is_some(), volume_name(claim)) {
        (false, "") => find_volume(claim, world),
        (false, wanted) => take_named(claim, wanted, world.named.as_ref()),
        (true, "") => lost(
            claim,
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        ),
        (true, _) => keep(claim, world.named.as_ref()),
    }
}

/// `Phase`, unless it is in it.
fn phase(claim: &PersistentVolumeClaim, phase: &'static str) -> Vec<Step> {
    if claim_phase(claim) == phase { Vec::new() } else { vec![Step::Phase(phase)] }
}

fn lost(claim: &PersistentVolumeClaim, reason: &'static str, message: &str) -> Vec<Step> {
    let mut steps = phase(claim, "Lost");
    if !steps.is_empty() {
        steps.push(Step::Tell(Told::warning(reason, message)));
    }
    steps
}

/// A claim that was bound.
fn keep(claim: &PersistentVolumeClaim, volume: Option<&Arc<PersistentVolume>>) -> Vec<Step> {
    let Some(volume) = volume else {
        let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lost(claim, "ClaimLost", message);
    };
    let has_claim = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
    if has_claim && claim_uid(volume) != uid(&claim.metadata) {
        let message = "Two claims are bound to the same volume, this one is bound incorrectly";
        return lost(claim, "ClaimMisbound", message);
    }
    vec![Step::Bind(volume.clone())]
}

/// A claim that names a volume and is not bound.
fn take_named(
    claim: &PersistentVolumeClaim,
    wanted: &str,
    volume: Option<&Arc<PersistentVolume>>,
) -> Vec<Step> {
    let Some(volume) = volume else { return phase(claim, "Pending") };
    let refused = |told: Told| {
        let mut steps = vec![Step::Tell(told)];
        steps.extend(phase(claim, "Pending"));
        steps
    };
    let has_claim = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
    match () {
        () if !has_claim => match mismatch(volume, claim) {
            Some(why) => {
                let message = format!("Cannot bind to requested volume {wanted:?}: {why}");
                refused(Told::warning("VolumeMismatch", message))
            }
            None => vec![Step::Bind(volume.clone())],
        },
        () if is_bound_to(volume, claim) => vec![Step::Bind(volume.clone())],
        () if annotation(&claim.metadata, BOUND_BY_CONTROLLER).is_none() => {
            let message = format!("volume {wanted:?} already bound to a different claim.");
            refused(Told::warning("FailedBinding", message))
        }
        () => vec![Step::Fail(format!(
            "invalid binding of claim {:?} to volume {wanted:?}: volume already claimed by {:?}",
            claim.key().to_string(),
            super::words::claim_key(volume).map(|key| key.to_string()).unwrap_or_default(),
        ))],
    }
}

/// A claim that takes any volume.
fn find_volume(claim: &PersistentVolumeClaim, world: &World) -> Vec<Step> {
    let delayed = world
        .class
        .as_ref()
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    if let Some(volume) = find(claim, &world.volumes, delayed) {
        return vec![Step::Bind(volume)];
    }
    if let Some(class) = world.default_class.as_ref().filter(|_| !has_class(claim)) {
        let mut with_class = claim.clone();
        with_class.spec.get_or_insert_default().storage_class_name = Some(class.clone());
        return vec![Step::Write(Box::new(with_class))];
    }
    let told = match () {
        () if delayed && annotation(&claim.metadata, SELECTED_NODE).is_none() => wait(&world.waiting_pods),
        () if !claim_class(claim).is_empty() => return provision(claim, world.class.as_deref()),
        () => Told::normal(
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        ),
    };
    let mut steps = vec![Step::Tell(told)];
    steps.extend(phase(claim, "Pending"));
    steps
}

fn wait(pods: &[String]) -> Told {
    match pods {
        [] => Told::normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        [pod] => Told::normal("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => {
            let message = format!("waiting for pods {} to be scheduled", pods.join(","));
            Told::normal("WaitForPodScheduled", message)
        }
    }
}

/// Asks the class's provisioner for a volume.
fn provision(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> Vec<Step> {
    let Some(class) = class else {
        let message = format!("storageclass.storage.k8s.io {:?} not found", claim_class(claim));
        return vec![Step::Tell(Told::warning("ProvisioningFailed", message))];
    };
    let provisioner = &class.provisioner;
    if provisioner.starts_with("kubernetes.io/") {
        let message = format!("no volume plugin matched name: {provisioner}");
        return vec![Step::Tell(Told::warning("ProvisioningFailed", message))];
    }
    let mut steps = Vec::new();
    if annotation(&claim.metadata, PROVISIONER) != Some(provisioner) {
        let mut asking = claim.clone();
        let annotations = asking.metadata.annotations.get_or_insert_default();
        for key in [PROVISIONER, PROVISIONER_BETA] {
            annotations.insert(key.to_owned(), provisioner.clone());
        }
        steps.push(Step::Write(Box::new(asking)));
    }
    steps.push(Step::Tell(Told::normal(
        "ExternalProvisioning",
        format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        ),
    )));
    steps
}

/// The class of claims that name none: the newest of those that say so, then the first by name.
pub(super) fn default_class(classes: &[Arc<StorageClass>]) -> Option<String> {
    let is_default = |class: &&Arc<StorageClass>| {
        DEFAULT_CLASS.iter().any(|key| annotation(&class.metadata, key) == Some("true"))
    };
    let order = |class: &&Arc<StorageClass>| {
        (std::cmp::Reverse(created(&class.metadata)), name(&class.metadata).to_owned())
    };
    let first = classes.iter().filter(is_default).min_by_key(order)?;
    Some(name(&first.metadata).to_owned())
}

/// The volume as bound to the claim; `None` if it is already (upstream's `GetBindVolumeToClaim`).
pub(super) fn volume_bound_to(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<PersistentVolume> {
    let mut bound = volume.clone();
    let by_us = !is_bound_to(volume, claim) && annotate(&mut bound.metadata, BOUND_BY_CONTROLLER, "yes");
    let whole = is_bound_to(volume, claim) && claim_uid(volume) == uid(&claim.metadata);
    if !whole {
        bound.spec.get_or_insert_default().claim_ref = Some(reference(claim));
    }
    (by_us || !whole).then_some(bound)
}

/// The claim as bound to the volume; `None` if it is already.
pub(super) fn claim_bound_to(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<PersistentVolumeClaim> {
    let mut bound = claim.clone();
    let elsewhere = volume_name(claim) != name(&volume.metadata);
    if elsewhere {
        bound.spec.get_or_insert_default().volume_name = volume.metadata.name.clone();
        annotate(&mut bound.metadata, BOUND_BY_CONTROLLER, "yes");
    }
    let completed = annotate(&mut bound.metadata, BIND_COMPLETED, "yes");
    (elsewhere || completed).then_some(bound)
}

/// The claim with the status of one that is bound; `None` if it has it. What it holds is told when it becomes bound
/// and not again: a file system may be smaller than its volume.
pub(super) fn bound_status(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<PersistentVolumeClaim> {
    let spec = volume.spec.as_ref();
    let mut new = claim.clone();
    let status = new.status.get_or_insert_default();
    status.access_modes = spec.and_then(|spec| spec.access_modes.clone());
    if claim_phase(claim) != "Bound" {
        status.phase = Some("Bound".to_owned());
        status.capacity = spec.and_then(|spec| spec.capacity.clone());
        status.current_volume_attributes_class_name =
            spec.and_then(|spec| spec.volume_attributes_class_name.clone());
    }
    (new.status != claim.status).then_some(new)
}

/// The claim in a phase in which it holds nothing.
pub(super) fn unbound_status(claim: &PersistentVolumeClaim, phase: &str) -> PersistentVolumeClaim {
    let mut new = claim.clone();
    let old = new.status.take().unwrap_or_default();
    new.status = Some(PersistentVolumeClaimStatus {
        phase: Some(phase.to_owned()),
        access_modes: None,
        capacity: None,
        current_volume_attributes_class_name: None,
        ..old
    });
    new
}

/// Whether a volume can be taken by claims that wait for any.
pub(super) fn is_offered(volume: &PersistentVolume) -> bool {
    volume_phase(volume) == "Available" && super::words::claim_key(volume).is_none()
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
