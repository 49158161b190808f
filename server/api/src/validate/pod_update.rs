//! What of a pod may change: `ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate` and `ValidatePodStatusUpdate`.

use serde_json::{Map, Value};

use super::access::*;
use super::diff;
use super::pod;
use crate::status::FieldError;
use crate::validation::FIELD_IS_IMMUTABLE;

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn update(new: &Value, old: &Value, mut errors: Errors) -> Errors {
    let (new, old) = (get(new, "spec"), get(old, "spec"));
    pod::spec(new, "spec", &mut errors);
    for key in ["containers", "initContainers"] {
        if list(new, key).len() != list(old, key).len() {
            let what = if key == "containers" { "containers" } else { "initContainers" };
            let why = format!("pod updates may not add or remove {what}");
            errors.push(FieldError::forbidden(join("spec", key), why));
            return errors;
        }
    }
    active_deadline(new, old, &mut errors);
    tolerations(new, old, &mut errors);
    scheduling_gates(new, old, &mut errors);
    let munged = munge(new, old);
    let differences = diff::lines(&munged, old, "spec");
    if !differences.is_empty() {
        let why = format!("pod updates may not change fields other than {MAY_CHANGE}\n{differences}");
        errors.push(FieldError::forbidden("spec", why));
    }
    errors
}

/// `new` with what may change taken from `old`, and the alias `serviceAccount`, which says nothing of its own.
fn munge(new: &Value, old: &Value) -> Value {
    let mut munged = new.clone();
    let Value::Object(map) = &mut munged else { return munged };
    let mut keep = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates", "serviceAccount"];
    let grace = "terminationGracePeriodSeconds";
    if int(old, grace).is_some_and(|s| s < 0) && int(new, grace) == Some(1) {
        keep.push(grace);
    }
    if !list(old, "schedulingGates").is_empty() {
        keep.extend(["nodeSelector", "affinity"]);
    }
    for key in keep {
        restore(map, old, key);
    }
    for key in ["containers", "initContainers"] {
        let items = map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, before) in items.zip(list(old, key)) {
            if let Value::Object(container) = container {
                restore(container, before, "image");
            }
        }
    }
    munged
}

fn restore(map: &mut Map<String, Value>, old: &Value, key: &str) {
    match old.get(key) {
        Some(value) => drop(map.insert(key.to_owned(), value.clone())),
        None => drop(map.shift_remove(key)),
    }
}

fn active_deadline(new: &Value, old: &Value, errors: &mut Errors) {
    let field = "spec.activeDeadlineSeconds";
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(after), Some(before)) if after > before => {
            errors.push(FieldError::invalid(field, after, "must be less than or equal to previous value"));
        }
        (None, Some(before)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(field, before, why));
        }
        _ => {}
    }
}

/// Old tolerations stay, but for their seconds; new ones may come.
fn tolerations(new: &Value, old: &Value, errors: &mut Errors) {
    let bare = |toleration: &Value| {
        let mut bare = toleration.clone();
        bare.as_object_mut().map(|map| map.shift_remove("tolerationSeconds"));
        bare
    };
    let after: Vec<Value> = list(new, "tolerations").iter().map(bare).collect();
    if list(old, "tolerations").iter().any(|before| !after.contains(&bare(before))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", why));
    }
}

fn scheduling_gates(new: &Value, old: &Value, errors: &mut Errors) {
    let before: Vec<&str> = list(old, "schedulingGates").iter().map(|gate| text(gate, "name")).collect();
    for gate in list(new, "schedulingGates") {
        let name = text(gate, "name");
        if !before.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden("spec.schedulingGates", why));
        }
    }
}

/// What is wrong with a change through `/ephemeralcontainers` beyond the metadata: old ones stay as they are.
pub fn ephemeral_containers(new: &Value, old: &Value) -> Errors {
    const FIELD: &str = "spec.ephemeralContainers";
    if has(get(get(old, "metadata"), "annotations"), "kubernetes.io/config.mirror") {
        return vec![FieldError::forbidden("[]", "static pods do not support ephemeral containers")];
    }
    let (new, old) = (get(new, "spec"), get(old, "spec"));
    let mut errors = Errors::new();
    pod::spec(new, "spec", &mut errors);
    for (at, before) in each(old, "ephemeralContainers", "spec") {
        let name = text(before, "name");
        // of two with one name the last counts
        let mut all = list(new, "ephemeralContainers").iter().rev();
        let Some(after) = all.find(|after| text(after, "name") == name) else {
            let why = format!("existing ephemeral containers {name:?} may not be removed\n");
            errors.push(FieldError::forbidden(FIELD, why));
            continue;
        };
        let differences = diff::lines(after, before, &at);
        if !differences.is_empty() {
            let why = format!("existing ephemeral containers {name:?} may not be changed\n{differences}");
            errors.push(FieldError::forbidden(FIELD, why));
        }
    }
    errors
}

pub(super) fn status(new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "status"), get(old, "status"));
    if text(get(new, "spec"), "nodeName") != text(get(old, "spec"), "nodeName") {
        errors.push(FieldError::forbidden("status.nodeName", "may not be changed directly"));
    }
    optional_text(after, "nominatedNodeName", "status", crate::validation::is_dns1123_subdomain, errors);
    let (class, was) = (text(after, "qosClass"), text(before, "qosClass"));
    if !class.is_empty() && !was.is_empty() && class != was {
        let shown = class.to_owned();
        errors.push(FieldError::invalid("status.qosClass", shown, FIELD_IS_IMMUTABLE));
    }
}
