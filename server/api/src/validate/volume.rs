//! Volumes of pods: a name, and exactly one source.

use serde_json::Value;

use super::access::*;
use super::pod::Holder;
use super::{storage, volume_sources};
use crate::go::Quote as _;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_dns1123_subdomain, validate_annotations, validate_labels};

/// In upstream's order: of two sources the first is the one, and the others are too many.
const KINDS: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// The volumes that containers may have mounted: those with nothing wrong about them.
pub(super) struct Volumes<'a> {
    own: Vec<&'a Value>,
    claims: &'a [&'a str],
}

impl Volumes<'_> {
    /// The volume of that name.
    pub(super) fn source(&self, name: &str) -> Option<&Value> {
        static CLAIM: std::sync::LazyLock<Value> =
            std::sync::LazyLock::new(|| serde_json::json!({"persistentVolumeClaim": {}}));
        let own = || self.own.iter().copied().rfind(|volume| text(volume, "name") == name);
        if self.claims.contains(&name) { Some(&CLAIM) } else { own() }
    }
}

/// `ValidateVolumes`: checks all, and gives the good ones.
pub(super) fn volumes<'a>(spec: &'a Value, at: &str, holder: Holder<'a>, errors: &mut Errors) -> Volumes<'a> {
    let mut good: Vec<&Value> = Vec::new();
    for (at, volume) in each(spec, "volumes", at) {
        let name = text(volume, "name");
        if holder.claims().contains(&name) {
            continue;
        }
        let before = errors.len();
        source(volume, &at, holder, errors);
        required_text(volume, "name", &at, is_dns1123_label, errors);
        if good.iter().any(|other| text(other, "name") == name) {
            errors.push(FieldError::duplicate(join(&at, "name"), name));
        }
        if errors.len() == before {
            good.push(volume);
        }
        made_for_another(spec, volume, &at, holder, errors);
    }
    Volumes { own: good, claims: holder.claims() }
}

/// A claim that comes into being for a volume is that one's alone.
fn made_for_another(spec: &Value, volume: &Value, at: &str, holder: Holder, errors: &mut Errors) {
    let claim = text(get(volume, "persistentVolumeClaim"), "claimName");
    let pod = holder.pod_name();
    if claim.is_empty() || pod.is_empty() {
        return;
    }
    let made = |volume: &&Value| {
        let rest = claim.strip_prefix(pod).and_then(|rest| rest.strip_prefix('-'));
        has(volume, "ephemeral") && rest == Some(text(volume, "name"))
    };
    if list(spec, "volumes").iter().any(|volume| made(&volume)) {
        let why = "must not reference a PVC that gets created for an ephemeral volume";
        errors.push(FieldError::invalid(join(at, "persistentVolumeClaim.claimName"), claim, why));
    }
}

fn source(volume: &Value, at: &str, holder: Holder, errors: &mut Errors) {
    let mut kinds = KINDS.iter().filter(|kind| has(volume, kind));
    match kinds.next() {
        None => errors.push(FieldError::required(at, "must specify a volume type")),
        Some(&kind) => {
            let (source, source_at) = (get(volume, kind), join(at, kind));
            match kind {
                "ephemeral" => ephemeral(volume, &source_at, at, holder, errors),
                "image" => image(source, &source_at, holder, errors),
                _ => volume_sources::source(kind, source, &source_at, errors),
            }
        }
    }
    for kind in kinds {
        errors.push(FieldError::forbidden(join(at, kind), "may not specify more than 1 volume type"));
    }
}

/// `validateImageVolumeSource`: in a template the reference may come later.
fn image(source: &Value, at: &str, holder: Holder, errors: &mut Errors) {
    if holder.is_pod() && text(source, "reference").is_empty() {
        errors.push(FieldError::required(join(at, "reference"), ""));
    }
    required_one_of(source, "pullPolicy", at, &["Always", "IfNotPresent", "Never"], errors);
}

/// `validateEphemeralVolumeSource`, and the name of the claim that will be made.
fn ephemeral(volume: &Value, at: &str, volume_at: &str, holder: Holder, errors: &mut Errors) {
    let (template, at) =
        (get(get(volume, "ephemeral"), "volumeClaimTemplate"), join(at, "volumeClaimTemplate"));
    if template.is_null() {
        errors.push(FieldError::required(at, ""));
    } else {
        let (metadata, at_metadata) = (get(template, "metadata"), join(&at, "metadata"));
        errors.extend(validate_annotations(metadata.get("annotations"), &join(&at_metadata, "annotations")));
        errors.extend(validate_labels(metadata.get("labels"), &join(&at_metadata, "labels")));
        let others = metadata.as_object().into_iter().flatten().filter(|(key, value)| {
            !value.is_null()
                && value.as_str() != Some("")
                && !matches!(key.as_str(), "annotations" | "labels")
        });
        errors.extend(
            // Go's name of it, but for its first letter
            others
                .map(|(key, _)| if key == "uid" { "uID" } else { key.as_str() })
                .map(|key| FieldError::forbidden(join(&at_metadata, key), "cannot be set")),
        );
        storage::claim_at(get(template, "spec"), &join(&at, "spec"), errors);
    }
    let (pod, name) = (holder.pod_name(), text(volume, "name"));
    if !pod.is_empty() && !name.is_empty() {
        let claim = format!("{pod}-{name}");
        let why = is_dns1123_subdomain(&claim);
        let why = why.into_iter().map(|why| format!("PVC name {}: {why}", claim.quoted())).collect();
        invalid_each(errors, &join(volume_at, "name"), name, why);
    }
}
