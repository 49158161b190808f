//! What the server fills into a definition (`registry/customresourcedefinition/strategy.go` and `etcd.go`).

use sampan_api::crd::CLEANUP;
use serde_json::{Value, json};

use crate::value::{at, items, meta, now, set, strings, text};

/// A new definition has a status without conditions, and its storage version as the only stored one.
pub(crate) fn prepare_create(new: &mut Value) {
    let stored: Vec<String> = storage_version(new).into_iter().collect();
    let status = json!({
        "conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored,
    });
    set(new, &["status"], status);
}

/// A new storage version is from now on a stored one.
pub(crate) fn prepare_update(new: &mut Value) {
    let Some(version) = storage_version(new) else { return };
    let mut stored = strings(at(new, &["status", "storedVersions"]));
    if !stored.contains(&version) {
        stored.push(version);
        set(new, &["status", "storedVersions"], stored);
    }
}

fn storage_version(definition: &Value) -> Option<String> {
    let versions = items(at(definition, &["spec", "versions"]));
    let storage = versions.iter().find(|version| at(version, &["storage"]) == true)?;
    Some(text(storage, &["name"]).to_owned())
}

/// A definition that is deleted waits for its objects.
pub(crate) fn before_delete(new: &mut Value) {
    if !meta(new, "deletionTimestamp").is_empty() {
        return;
    }
    let mut finalizers = strings(at(new, &["metadata", "finalizers"]));
    if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
        finalizers.push(CLEANUP.into());
        set(new, &["metadata", "finalizers"], finalizers);
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(new, "Terminating", "True", "InstanceDeletionPending", message);
}

/// Sets a condition; its time changes with its status.
pub(super) fn set_condition(definition: &mut Value, ty: &str, status: &str, reason: &str, message: &str) {
    let mut conditions = items(at(definition, &["status", "conditions"])).to_vec();
    let old = conditions.iter_mut().find(|condition| text(condition, &["type"]) == ty);
    let since = match &old {
        Some(old) if text(old, &["status"]) == status => text(old, &["lastTransitionTime"]).to_owned(),
        _ => now(),
    };
    let condition = json!({
        "type": ty, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    match old {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
    set(definition, &["status", "conditions"], conditions);
}
