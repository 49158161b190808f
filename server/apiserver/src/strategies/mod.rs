//! What differs between kinds: generation, status split, grace, allocation, upserts.
//!
//! The registry asks; each answer here is a function of the kind and plain values. Defaults and validation are
//! `sampan-api`'s. Ported from the `strategy.go` files below `pkg/registry`.

pub mod admin_access;
mod claims;
pub mod columns;
pub mod convert;
mod daemonset;
mod gates;
pub mod pod;
pub mod rules;
pub mod services;

use sampan_api::defaults::same_field;
use sampan_api::kinds::Kind;
use sampan_api::meta as words;
use sampan_api::status::FieldError;
use serde_json::{Map, Value, json};

use crate::value::{at, keep, object, remove, set, text};

fn is(kind: &Kind, group: &str, name: &str) -> bool {
    kind.group == group && kind.kind == name
}

/// Whether upstream counts generations of this kind.
pub fn has_generation(kind: &Kind) -> bool {
    if kind.custom.is_some() {
        return true;
    }
    match kind.group {
        "" => matches!(kind.kind, "Pod" | "ReplicationController" | "PodTemplate"),
        "apps" => kind.kind != "ControllerRevision",
        "batch"
        | "admissionregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "policy"
        | "apiextensions.k8s.io" => true,
        "networking.k8s.io" => matches!(kind.kind, "Ingress" | "NetworkPolicy" | "IngressClass"),
        "discovery.k8s.io" => true,
        "scheduling.k8s.io" => kind.kind == "PriorityClass",
        "resource.k8s.io" => matches!(kind.kind, "DeviceClass" | "ResourceSlice"),
        _ => false,
    }
}

/// Whether the wanted state differs: everything but metadata and status.
pub fn generation_changes(kind: &Kind, old: &Value, new: &Value) -> bool {
    // the status of a custom resource without the subresource is like any other field
    let status = if kind.custom.is_none() || has_status_subresource(kind) { "status" } else { "" };
    let counts = |field: &str| !matches!(field, "metadata" | "apiVersion" | "kind") && field != status;
    let (Some(old_fields), Some(new_fields)) = (old.as_object(), new.as_object()) else { return old != new };
    let same = |field: &String| match (old.get(field), new.get(field)) {
        (one, other) if one == other => true,
        _ => !tells_empty_from_nothing(kind) && same_field(kind.schema, field, old, new),
    };
    let mut fields = old_fields.keys().chain(new_fields.keys()).filter(|field| counts(field));
    !fields.all(same)
}

/// Kinds in which an empty list is a change of none: their strategies ask `reflect.DeepEqual`, and those of custom resources
/// have no types to ask.
fn tells_empty_from_nothing(kind: &Kind) -> bool {
    kind.custom.is_some()
        || is(kind, "networking.k8s.io", "NetworkPolicy")
        || (kind.group == "admissionregistration.k8s.io" && kind.kind.ends_with("WebhookConfiguration"))
}

/// Whether `/status` exists.
pub fn has_status_subresource(kind: &Kind) -> bool {
    kind.subresource("status").is_some()
}

/// Kinds whose creators may say the status.
pub fn keeps_status_on_create(kind: &Kind) -> bool {
    is(kind, "", "Node") || is(kind, "", "Pod") || is(kind, "", "Namespace")
}

/// `AllowCreateOnUpdate`: PUT of an absent object creates it.
pub fn put_creates(kind: &Kind) -> bool {
    if kind.custom.is_some() {
        return false;
    }
    match kind.group {
        "" => matches!(kind.kind, "Endpoints" | "Event" | "LimitRange" | "Service"),
        "rbac.authorization.k8s.io" => true,
        "coordination.k8s.io" => kind.kind == "Lease",
        "events.k8s.io" => true,
        _ => false,
    }
}

/// `DefaultGarbageCollectionPolicy`: whether what an object owns stays when nobody says what is to become of it.
pub fn orphans_by_default(kind: &Kind) -> bool {
    is(kind, "", "ReplicationController") || is(kind, "batch", "Job")
}

/// `AllowUnconditionalUpdate`: whether a PUT may leave out the resourceVersion.
pub fn unconditional_update(kind: &Kind) -> bool {
    kind.custom.is_none()
        && !matches!(
            (kind.group, kind.kind),
            ("coordination.k8s.io", _)
                | ("policy", "PodDisruptionBudget")
                | ("apiextensions.k8s.io" | "apiregistration.k8s.io" | "admissionregistration.k8s.io", _)
                | ("storage.k8s.io", "CSIDriver" | "CSINode" | "VolumeAttachment" | "CSIStorageCapacity")
        )
}

/// How long a deletion waits; `None` for kinds that know no grace.
pub fn deletion_grace(kind: &Kind, old: &Value, asked: Option<i64>) -> Option<i64> {
    is(kind, "", "Pod").then(|| pod::deletion_grace(old, asked))
}

/// `PrepareForCreate`.
pub fn prepare_create(kind: &Kind, new: &mut Value) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::prepare_create(new),
        ("", "Namespace") => prepare_namespace(new),
        ("", "Secret") => string_data(new),
        ("", "PersistentVolumeClaim") => {
            set(new, &["status"], json!({"phase": "Pending"}));
        }
        ("", "PersistentVolume") => {
            let since = crate::value::now();
            set(new, &["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": since}));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crate::crd::prepare_create(new),
        ("apps", "DaemonSet") => {
            empty_status(new);
            daemonset::prepare_create(new);
        }
        ("batch", "Job") => {
            empty_status(new);
            job_selector(new);
        }
        // a pointer there, or said by the creator
        ("resource.k8s.io", "ResourcePoolStatusRequest") => {}
        _ if kind.custom.is_some() || keeps_status_on_create(kind) => {}
        _ if has_status_subresource(kind) => empty_status(new),
        _ => {}
    }
}

/// The part of `PrepareForCreate` and `PrepareForUpdate` that has to see what admission has made of the object.
pub fn prepare_admitted(kind: &Kind, subresource: &str, old: Option<&Value>, new: &mut Value) {
    gates::drop_disabled(kind, old, new);
    if is(kind, "", "PersistentVolumeClaim") && subresource.is_empty() {
        claims::data_sources(old, new);
    }
}

/// What decoding turns into other fields, before anyone looks at the object.
pub fn write_only(kind: &Kind, new: &mut Value) {
    if is(kind, "", "Secret") {
        string_data(new);
    }
    if is(kind, "apps", "DaemonSet") {
        daemonset::decoded(new);
    }
}

/// The status of what has just come to be: what Go's zero value says comes with the defaults.
fn empty_status(new: &mut Value) {
    set(new, &["status"], json!({}));
}

fn prepare_namespace(new: &mut Value) {
    let name = text(new, &["metadata", "name"]).to_owned();
    if !crate::value::strings(at(new, &["spec", "finalizers"])).iter().any(|f| f == "kubernetes") {
        let mut finalizers = crate::value::strings(at(new, &["spec", "finalizers"]));
        finalizers.push("kubernetes".into());
        set(new, &["spec", "finalizers"], finalizers);
    }
    set(new, &["status"], json!({"phase": "Active"}));
    if !name.is_empty() {
        words::set_label(new, "kubernetes.io/metadata.name", &name);
    }
}

/// A Job's pods are told from all others by its uid, unless the user said how (`generateSelectorIfNeeded`).
fn job_selector(new: &mut Value) {
    if at(new, &["spec", "manualSelector"]).as_bool() == Some(true) {
        return;
    }
    let uid = text(new, &["metadata", "uid"]).to_owned();
    let name = text(new, &["metadata", "name"]).to_owned();
    let labels = object(new, &["spec", "template", "metadata", "labels"]);
    for (label, value) in [("controller-uid", &uid), ("job-name", &name)] {
        for prefix in ["batch.kubernetes.io/", ""] {
            labels.entry(format!("{prefix}{label}")).or_insert_with(|| value.as_str().into());
        }
    }
    labels.sort_keys();
    let selector = object(new, &["spec", "selector", "matchLabels"]);
    selector.entry("batch.kubernetes.io/controller-uid").or_insert_with(|| uid.into());
}

/// `stringData` is a convenience of writing only.
fn string_data(new: &mut Value) {
    use base64::Engine;
    let Some(Value::Object(plain)) = remove(new, &["stringData"]) else { return };
    for (key, value) in plain {
        let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or(""));
        object(new, &["data"]).insert(key, encoded.into());
    }
}

/// `PrepareForUpdate`.
pub fn prepare_update(kind: &Kind, subresource: &str, old: &Value, new: &mut Value) {
    match (kind.group, kind.kind, subresource) {
        ("", "Pod", _) => pod::prepare_update(subresource, old, new),
        ("", "Secret", "") => {
            string_data(new);
            if text(new, &["type"]).is_empty() {
                keep(new, old, &["type"]);
            }
        }
        ("", "Namespace", "") => {
            keep(new, old, &["spec", "finalizers"]);
            keep(new, old, &["metadata", "labels", "kubernetes.io/metadata.name"]);
        }
        ("", "Namespace", "finalize") => keep(new, old, &["status"]),
        ("", "Node", "status") => keep(new, old, &["spec"]),
        ("", "PersistentVolume", "status") => phase_time(old, new),
        ("", "ServiceAccount", _) => {}
        ("apiextensions.k8s.io", "CustomResourceDefinition", "") => crate::crd::prepare_update(new),
        ("apps", "DaemonSet", _) => daemonset::prepare_update(old, new),
        _ => {}
    }
}

/// A volume says since when it is in its phase, unless its writer does.
fn phase_time(old: &Value, new: &mut Value) {
    const TIME: &[&str] = &["status", "lastPhaseTransitionTime"];
    let phase = |volume: &Value| text(volume, &["status", "phase"]).to_owned();
    let said = !at(new, TIME).is_null() && at(new, TIME) != at(old, TIME);
    match phase(old) == phase(new) {
        true if !said => keep(new, old, TIME),
        false if !said => set(new, TIME, crate::value::now()),
        _ => {}
    }
}

/// What a deletion leaves in an object that it does not remove at once.
pub fn before_delete(kind: &Kind, new: &mut Value) {
    if is(kind, "apiextensions.k8s.io", "CustomResourceDefinition") {
        crate::crd::before_delete(new);
    }
}

/// Kinds whose metadata stays when their status is written (`ResetObjectMetaForStatus`).
fn keeps_metadata(kind: &Kind) -> bool {
    match kind.group {
        "apiregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "internal.apiserver.k8s.io"
        | "resource.k8s.io"
        | "storagemigration.k8s.io" => true,
        "admissionregistration.k8s.io" => kind.kind == "ValidatingAdmissionPolicy",
        "certificates.k8s.io" => kind.kind == "PodCertificateRequest",
        "networking.k8s.io" => kind.kind == "ServiceCIDR",
        "scheduling.k8s.io" => kind.kind == "PodGroup",
        "storage.k8s.io" => kind.kind == "VolumeAttachment",
        _ => false,
    }
}

/// A write to `/status` changes the status (and, of some kinds, metadata) only.
pub fn keep_all_but_status(kind: &Kind, old: &Value, new: &mut Value) {
    // of a custom resource the metadata stays too, but for who manages what: an apply has said that already
    let written: &[&str] = if kind.custom.is_some() { &["status"] } else { &["metadata", "status"] };
    let managed = at(new, &["metadata"]).get("managedFields").cloned();
    let mut kept = Map::new();
    for (field, value) in old.as_object().into_iter().flatten() {
        let value = match written.contains(&field.as_str()) {
            true => new.get_mut(field).map(Value::take).filter(|value| !value.is_null()),
            false => Some(value.clone()),
        };
        kept.extend(value.map(|value| (field.clone(), value)));
    }
    for field in written {
        if kept.contains_key(*field) {
            continue;
        }
        let value = new.get_mut(*field).map(Value::take).filter(|value| !value.is_null());
        kept.extend(value.map(|value| ((*field).to_owned(), value)));
    }
    let mut kept = Value::Object(kept);
    let fields: &[&str] = if keeps_metadata(kind) {
        &["labels", "annotations", "finalizers", "ownerReferences"]
    } else if is(kind, "apps", "Deployment") {
        &["labels"]
    } else if is(kind, "", "Pod") {
        &["ownerReferences"]
    } else {
        &[]
    };
    for field in fields {
        keep(&mut kept, old, &["metadata", field]);
    }
    if let Some(managed) = managed.filter(|_| kind.custom.is_some()) {
        set(&mut kept, &["metadata", "managedFields"], managed);
    }
    *new = kept;
}

/// What is wrong with a change through a subresource that has rules of its own.
pub fn subresource_errors(
    kind: &'static Kind,
    subresource: &str,
    new: &Value,
    old: &Value,
) -> Vec<FieldError> {
    match (kind.kind, subresource) {
        ("Pod", _) => pod::subresource_errors(subresource, new, old),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gated_pod_says_so_from_the_beginning() {
        let begun = |gates: Value| {
            let mut pod = json!({"spec": {"containers": [], "schedulingGates": gates}});
            pod::prepare_create(&mut pod);
            pod["status"]["conditions"][0]["reason"].clone()
        };
        assert_eq!(begun(json!([{"name": "a.io/b"}])), "SchedulingGated");
        assert_eq!(begun(json!([])), Value::Null);
    }

    #[test]
    fn a_jobs_pods_are_told_by_its_uid_unless_the_user_said_how() {
        let job = |spec: Value| json!({"metadata": {"name": "j", "uid": "u"}, "spec": spec});
        let mut plain = job(json!({"template": {"metadata": {"labels": {"job-name": "mine"}}}}));
        job_selector(&mut plain);
        assert_eq!(
            plain["spec"]["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
        );
        let labels = json!({
            "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j",
            "controller-uid": "u", "job-name": "mine",
        });
        assert_eq!(plain["spec"]["template"]["metadata"]["labels"], labels);
        let by_hand =
            job(json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {}}));
        let mut same = by_hand.clone();
        job_selector(&mut same);
        assert_eq!(same, by_hand);
    }
}
