//! How far the volumes of a pod that has its node are (upstream's `BindPodVolumes` and `checkBindings`). Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use sampan_reconcile::{Object, reference};

use super::{
    BOUND_BY_CONTROLLER, Choice, SELECTED_NODE, Volumes, annotation, claim_key, is_settled, reachable,
    volume_name,
};

/// How far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something has to happen yet.
    Waiting,
    /// All claims have their volumes.
    Done,
    /// It will not come to that: why.
    Failed(String),
}

/// The volume as bound to the claim; `None` if it is already.
pub fn bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let key = Object::key(claim).to_string();
    let uid = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_deref());
    let kept = claim_key(volume).as_ref() == Some(&key);
    if kept && uid == claim.metadata.uid.as_deref() {
        return None;
    }
    let mut bound = volume.clone();
    bound.spec.get_or_insert_default().claim_ref = Some(reference(claim));
    if !kept || uid.is_some_and(|uid| !uid.is_empty()) {
        let annotations = bound.metadata.annotations.get_or_insert_default();
        annotations.entry(BOUND_BY_CONTROLLER.to_owned()).or_insert_with(|| "yes".to_owned());
    }
    Some(bound)
}

/// The claim as one whose volume is made for the node; `None` if it is already.
pub fn selecting(claim: &PersistentVolumeClaim, node: &str) -> Option<PersistentVolumeClaim> {
    if annotation(claim.metadata.annotations.as_ref(), SELECTED_NODE) == Some(node) {
        return None;
    }
    let mut selecting = claim.clone();
    let annotations = selecting.metadata.annotations.get_or_insert_default();
    annotations.insert(SELECTED_NODE.to_owned(), node.to_owned());
    Some(selecting)
}

/// `written` has the resourceVersions of what was written for the choice, by the name of the volume or the key of the
/// claim: what is older is not looked at.
pub fn progress(
    choice: &Choice,
    written: &BTreeMap<String, u64>,
    node: &Node,
    volumes: &Volumes,
) -> Progress {
    let mut so_far = Progress::Done;
    let bindings = choice.bind.iter().map(|(volume, claim)| binding(volume, claim, written, node, volumes));
    let provisions = choice.provision.iter().map(|claim| provision(claim, written, node, volumes));
    let settlings = choice.settle.iter().map(|claim| settling(claim, node, volumes));
    for one in bindings.chain(provisions).chain(settlings) {
        match one {
            Progress::Failed(why) => return Progress::Failed(format!("binding volumes: {why}")),
            Progress::Waiting => so_far = Progress::Waiting,
            Progress::Done => {}
        }
    }
    so_far
}

fn is_old(written: &BTreeMap<String, u64>, key: &str, version: u64) -> bool {
    written.get(key).is_some_and(|written| version < *written)
}

fn name(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, name)| name)
}

fn unreachable(volume: &PersistentVolume, node: &Node) -> Option<Progress> {
    let of = |name: &Option<String>| name.clone().unwrap_or_default();
    (!reachable(volume, node)).then(|| {
        Progress::Failed(format!(
            "pv {:?} node affinity doesn't match node {:?}: no matching NodeSelectorTerms",
            of(&volume.metadata.name),
            of(&node.metadata.name)
        ))
    })
}

fn whether(bound: bool) -> Progress {
    if bound { Progress::Done } else { Progress::Waiting }
}

fn binding(
    volume: &str,
    claim: &str,
    written: &BTreeMap<String, u64>,
    node: &Node,
    volumes: &Volumes,
) -> Progress {
    let missing = |what: &str, name: &str| {
        Progress::Failed(format!("failed to check binding: could not find {what} {name:?}"))
    };
    let Some(found) = volumes.volume(volume) else { return missing("v1.PersistentVolume", volume) };
    let Some(claim) = volumes.claim(claim) else { return missing("v1.PersistentVolumeClaim", claim) };
    if is_old(written, volume, found.version()) {
        return Progress::Waiting;
    }
    let uid = found.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_deref());
    match unreachable(found, node) {
        Some(failed) => failed,
        None if uid.unwrap_or_default().is_empty() => {
            Progress::Failed(format!("ClaimRef got reset for pv {volume:?}"))
        }
        None => whether(is_settled(claim)),
    }
}

fn provision(key: &str, written: &BTreeMap<String, u64>, node: &Node, volumes: &Volumes) -> Progress {
    let Some(claim) = volumes.claim(key) else {
        return Progress::Failed(format!(
            "failed to check provisioning pvc: could not find v1.PersistentVolumeClaim {key:?}"
        ));
    };
    if is_old(written, key, claim.version()) {
        return Progress::Waiting;
    }
    let selected = annotation(claim.metadata.annotations.as_ref(), SELECTED_NODE);
    if claim.metadata.annotations.is_none() {
        return Progress::Failed(format!("selectedNode annotation reset for PVC {:?}", name(key)));
    }
    // a provisioner that cannot make the volume takes the annotation away
    if selected != node.metadata.name.as_deref() {
        return Progress::Failed(format!("provisioning failed for PVC {:?}", name(key)));
    }
    match volumes.volume(volume_name(claim)) {
        None => Progress::Waiting,
        Some(volume) => unreachable(volume, node).unwrap_or_else(|| whether(is_settled(claim))),
    }
}

fn settling(key: &str, node: &Node, volumes: &Volumes) -> Progress {
    let Some(claim) = volumes.claim(key) else {
        return Progress::Failed(format!(
            "failed to check binding: could not find v1.PersistentVolumeClaim {key:?}"
        ));
    };
    match volumes.volume(volume_name(claim)) {
        None => Progress::Waiting,
        Some(volume) => unreachable(volume, node).unwrap_or_else(|| whether(is_settled(claim))),
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
