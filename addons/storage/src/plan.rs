//! What is to be done about a claim or a volume. Pure.
//!
//! Ported from `controller/controller.go` of `sig-storage-lib-external-provisioner`, with one difference: a claim that
//! is being deleted gets no volume.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sampan_reconcile::{Object, reference};

use crate::PROVISIONER;
use crate::directory::Space;
use crate::words::{
    FINALIZER, HOSTNAME, PROVISIONED_BY, STORAGE, bytes, class_of, has_finalizer, is_ours, people, policy,
    provisioner, request_text, requested, selected_node, volume_for, volume_name, volume_phase,
};

/// What a claim wants of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing, or nothing yet.
    Nothing,
    /// A volume; its class is not known yet.
    Unclassed,
    /// A volume.
    Volume,
}

/// Whether a claim is to get a volume from us, on `node`.
pub(crate) fn wish(claim: &PersistentVolumeClaim, class: Option<&StorageClass>, node: &str) -> Wish {
    let elsewhere = selected_node(claim).is_some_and(|selected| selected != node);
    if !volume_name(claim).is_empty()
        || claim.metadata.deletion_timestamp.is_some()
        || provisioner(claim) != Some(PROVISIONER)
        || elsewhere
    {
        return Wish::Nothing;
    }
    let Some(class) = class else { return Wish::Unclassed };
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    match class.provisioner == PROVISIONER && (!waits || selected_node(claim).is_some()) {
        true => Wish::Volume,
        false => Wish::Nothing,
    }
}

/// Why a claim gets no volume, as the text of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It never will; the claim has to be another one.
    Never(String),
    /// It may when its class or its options change.
    Unfit(String),
    /// It may on another node, or when there is room.
    Full(String),
}

impl Refusal {
    pub fn text(&self) -> &str {
        match self {
            Refusal::Never(text) | Refusal::Unfit(text) | Refusal::Full(text) => text,
        }
    }
}

/// What is asked that directories cannot give.
pub(crate) fn refusal(claim: &PersistentVolumeClaim, class: &StorageClass) -> Option<Refusal> {
    let spec = claim.spec.as_ref();
    if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        return Some(Refusal::Never(format!("{PROVISIONER} does not support block volume provisioning")));
    }
    let parameter = class.parameters.iter().flatten().map(|(key, _)| key).next();
    let sourced = spec.is_some_and(|spec| spec.data_source.is_some() || spec.data_source_ref.is_some());
    let why = match () {
        () if spec.is_some_and(|spec| spec.selector.is_some()) => {
            "claim Selector is not supported".to_owned()
        }
        () if sourced => format!("{PROVISIONER} does not support data sources"),
        () if parameter.is_some() => format!("unknown parameter {:?}", parameter.map_or("", String::as_str)),
        () if class.mount_options.iter().flatten().next().is_some() => {
            format!("{PROVISIONER} does not support mount options")
        }
        () => return None,
    };
    Some(Refusal::Unfit(failed(class_of(claim), &why)))
}

/// Whether a claim asks for more than there is. How much others were promised does not count: nothing is set aside.
pub(crate) fn shortage(
    claim: &PersistentVolumeClaim,
    space: Space,
    node: &str,
    root: &Path,
) -> Option<Refusal> {
    let wanted = bytes(requested(claim));
    let text = request_text(claim).map_or("0", |amount| &amount.0);
    (wanted > space.free).then(|| {
        let why = format!(
            "not enough free space on node {node:?}: {text} requested, {} of {} free at {}",
            people(space.free),
            people(space.total),
            root.display(),
        );
        Refusal::Full(failed(class_of(claim), &why))
    })
}

/// The text of a failure.
pub(crate) fn failed(class: &str, why: &str) -> String {
    format!("failed to provision volume with StorageClass {class:?}: {why}")
}

/// The volume for a claim: of the type `local`, which is tied to its node, whose directory is never made by mounting it
/// (one that is lost is missed), and whose files are given to a pod's fsGroup; hostPath has none of that.
pub(crate) fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &str,
    path: &Path,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let host = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![host]), match_fields: None };
    let text = |text: &str| text.to_owned();
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume_for(claim)),
            annotations: Some(BTreeMap::from([(text(PROVISIONED_BY), text(PROVISIONER))])),
            finalizers: Some(vec![text(FINALIZER)]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: request_text(claim).map(|amount| BTreeMap::from([(text(STORAGE), amount.clone())])),
            claim_ref: Some(reference(claim)),
            local: Some(LocalVolumeSource { fs_type: None, path: path.display().to_string() }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone().or(Some(text("Delete"))),
            storage_class_name: Some(text(class_of(claim))),
            volume_mode: spec.volume_mode.or(Some(text("Filesystem"))),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// What is to become of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is none of ours, or goes on as it is.
    Leave,
    /// It needs our finalizer, so that its files are deleted before its object is.
    Protect,
    /// It needs our finalizer no more: its files stay.
    Unprotect,
    /// Its files are to be deleted, then its object.
    Delete,
}

/// What is to become of a volume, by somebody on `node`.
pub(crate) fn fate(volume: &PersistentVolume, node: &str) -> Fate {
    if !is_ours(volume, node) {
        return Fate::Leave;
    }
    let (leaving, protected) = (volume.metadata.deletion_timestamp.is_some(), has_finalizer(volume));
    match (policy(volume), volume_phase(volume)) {
        ("Delete", "Released") if protected || !leaving => Fate::Delete,
        ("Delete", "Bound") if !protected && !leaving => Fate::Protect,
        ("Retain" | "Recycle", _) if protected => Fate::Unprotect,
        _ => Fate::Leave,
    }
}

/// Whether a change of a claim is anything to us: the rest of its status is others', or what we wrote.
pub(crate) fn concerns(old: Option<&PersistentVolumeClaim>, new: &PersistentVolumeClaim) -> bool {
    let status = |claim: &PersistentVolumeClaim| {
        let status = claim.status.clone().unwrap_or_default();
        (status.phase, status.capacity)
    };
    old.is_none_or(|old| {
        old.spec != new.spec
            || old.metadata.annotations != new.metadata.annotations
            || old.metadata.uid != new.metadata.uid
            || status(old) != status(new)
    })
}

/// The text that tells of a beginning.
pub(crate) fn beginning(claim: &PersistentVolumeClaim) -> String {
    format!("External provisioner is provisioning volume for claim {:?}", claim.key().to_string())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
