//! What of a pod may change: `ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate` and `ValidatePodStatusUpdate`.

use serde_json::{Map, Value};

use super::access::*;
use super::diff;
use super::pod;
use crate::go::Quote as _;
use crate::status::FieldError;
use crate::validation::{FIELD_IS_IMMUTABLE, is_dns1123_subdomain, is_ip, is_ipv6, range_error};

const MAY_CHANGE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn update(new: &Value, old: &Value, mut errors: Errors) -> Errors {
    pod::pod(new, &mut errors);
    annotations(new, old, &mut errors);
    let (new, old) = (get(new, "spec"), get(old, "spec"));
    for key in ["containers", "initContainers"] {
        if list(new, key).len() != list(old, key).len() {
            let why = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(join("spec", key), why));
            return errors;
        }
    }
    if !active_deadline(new, old, &mut errors) {
        return errors;
    }
    tolerations(new, old, &mut errors);
    scheduling_gates(new, old, &mut errors);
    if !list(old, "schedulingGates").is_empty() {
        gated(new, old, &mut errors);
    }
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
    let is_gated = !list(old, "schedulingGates").is_empty();
    if is_gated {
        keep.push("nodeSelector");
    }
    for key in keep {
        restore(map, old, key);
    }
    if is_gated {
        restore_node_affinity(map, old);
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

/// Affinity to nodes as `old` has it, and to pods as it is.
fn restore_node_affinity(map: &mut Map<String, Value>, old: &Value) {
    const KEY: &str = "nodeAffinity";
    let before = get(old, "affinity");
    let affinity = map.entry("affinity").or_insert(Value::Null);
    if affinity.is_null() {
        *affinity = Value::Object(Map::new());
    }
    if let Value::Object(affinity) = affinity {
        restore(affinity, before, KEY);
        if affinity.is_empty() && before.is_null() {
            map.shift_remove("affinity");
        }
    }
}

/// What a pod that waits for its gates may change of where it will run: only to fewer nodes.
fn gated(new: &Value, old: &Value, errors: &mut Errors) {
    let kept = |(key, value): (&String, &Value)| get(new, "nodeSelector").get(key) == Some(value);
    if !entries(old, "nodeSelector").all(kept) {
        let shown = get(new, "nodeSelector").clone();
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", shown, why));
    }
    let required = |spec: &Value| {
        let affinity = get(get(spec, "affinity"), "nodeAffinity");
        get(affinity, "requiredDuringSchedulingIgnoredDuringExecution").clone()
    };
    let (after, before) = (required(new), required(old));
    let (after, before) = (list(&after, "nodeSelectorTerms"), list(&before, "nodeSelectorTerms"));
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    if !before.is_empty() && before.len() != after.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.push(FieldError::invalid(at, after.to_vec(), why));
    }
    let keys = ["matchExpressions", "matchFields"];
    for (index, (after, before)) in after.iter().zip(before).enumerate() {
        let nothing = |term: &Value| keys.iter().all(|key| list(term, key).is_empty());
        let grown = keys.iter().all(|key| list(after, key).starts_with(list(before, key)));
        if !grown || nothing(before) && !nothing(after) {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(format!("{at}[{index}]"), after.clone(), why));
        }
    }
}

/// `ValidatePodSpecificAnnotationUpdates`: what says how the pod was made stays.
fn annotations(new: &Value, old: &Value, errors: &mut Errors) {
    let of = |pod: &Value| get(get(pod, "metadata"), "annotations").clone();
    let (after, before) = (of(new), of(old));
    let fixed = |key: &str| match key {
        super::pod_annotations::MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(super::pod_annotations::APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    let mut refuse = |key: &str, what: &str| {
        let why = fixed(key).map(|whose| format!("may not {what} {whose}"));
        errors.extend(why.map(|why| FieldError::forbidden(format!("metadata.annotations[{key}]"), why)));
    };
    for (key, value) in before.as_object().into_iter().flatten() {
        if after.get(key) != Some(value) {
            refuse(key, "remove or update");
        }
    }
    for (key, _) in after.as_object().into_iter().flatten() {
        if before.get(key).is_none() {
            refuse(key, "add");
        }
    }
}

/// Whether the rest is to be asked as well.
fn active_deadline(new: &Value, old: &Value, errors: &mut Errors) -> bool {
    let field = "spec.activeDeadlineSeconds";
    match (int(new, "activeDeadlineSeconds"), int(old, "activeDeadlineSeconds")) {
        (Some(after), _) if !(0..=i64::from(i32::MAX)).contains(&after) => {
            let why = range_error(0, i64::from(i32::MAX));
            errors.push(FieldError::invalid(field, after, why));
            return false;
        }
        (Some(after), Some(before)) if after > before => {
            errors.push(FieldError::invalid(field, after, "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(before)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(field, before, why));
        }
        _ => {}
    }
    true
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
    for (at, gate) in each(new, "schedulingGates", "spec") {
        let name = text(gate, "name");
        if !before.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(join(&at, "name"), why));
        }
    }
}

/// What is wrong with a change through `/ephemeralcontainers` beyond the metadata: old ones stay as they are.
pub fn ephemeral_containers(new: &Value, old: &Value) -> Errors {
    const FIELD: &str = "spec.ephemeralContainers";
    if has(get(get(old, "metadata"), "annotations"), "kubernetes.io/config.mirror") {
        return vec![FieldError::forbidden("[]", "static pods do not support ephemeral containers")];
    }
    let mut errors = Errors::new();
    pod::pod(new, &mut errors);
    let (new, old) = (get(new, "spec"), get(old, "spec"));
    for (at, before) in each(old, "ephemeralContainers", "spec") {
        let name = text(before, "name");
        // of two with one name the last counts
        let mut all = list(new, "ephemeralContainers").iter().rev();
        let Some(after) = all.find(|after| text(after, "name") == name) else {
            let why = format!("existing ephemeral containers {} may not be removed\n", name.quoted());
            errors.push(FieldError::forbidden(FIELD, why));
            continue;
        };
        let differences = diff::lines(after, before, &at);
        if !differences.is_empty() {
            let why =
                format!("existing ephemeral containers {} may not be changed\n{differences}", name.quoted());
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
    annotations(new, old, errors);
    if text(after, "nominatedNodeName") != text(before, "nominatedNodeName") {
        optional_text(after, "nominatedNodeName", "status", is_dns1123_subdomain, errors);
        if !text(get(old, "spec"), "nodeName").is_empty() && !text(after, "nominatedNodeName").is_empty() {
            let why = "may not be set on pods that are already bound to a node";
            errors.push(FieldError::forbidden("status.nominatedNodeName", why));
        }
    }
    for (at, holder) in each(after, "conditions", "status").chain([("status".to_owned(), after)]) {
        if let Some(generation) = int(holder, "observedGeneration").filter(|generation| *generation < 0) {
            let why = "must be a non-negative integer";
            errors.push(FieldError::invalid(join(&at, "observedGeneration"), generation, why));
        }
    }
    claim_statuses(after, get(new, "spec"), errors);
    addresses(after, before, "podIPs", errors);
    if let Some(first) =
        list(after, "hostIPs").first().filter(|first| text(first, "ip") != text(after, "hostIP"))
    {
        let why = "must be equal to `hostIP`";
        errors.push(FieldError::invalid("status.hostIPs[0].ip", text(first, "ip"), why));
    }
    addresses(after, before, "hostIPs", errors);
    let (class, was) = (text(after, "qosClass"), text(before, "qosClass"));
    if !class.is_empty() && !was.is_empty() && class != was {
        let shown = class.to_owned();
        errors.push(FieldError::invalid("status.qosClass", shown, FIELD_IS_IMMUTABLE));
    }
}

/// `validatePodIPs` and `validateHostIPs`: one of each family; what is there already may stay.
fn addresses(after: &Value, before: &Value, key: &str, errors: &mut Errors) {
    let all = list(after, key);
    for (at, address) in each(after, key, "status") {
        let ip = text(address, "ip");
        if !list(before, key).iter().any(|old| text(old, "ip") == ip) {
            invalid_each(errors, &at, ip, is_ip(ip));
        }
    }
    let mut families: Vec<_> = all.iter().map(|address| is_ipv6(text(address, "ip"))).collect();
    families.sort_unstable();
    if all.len() > 1 && families != [Some(false), Some(true)] {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(join("status", key), all.to_vec(), why));
    }
}

/// `validatePodResourceClaimStatuses`.
fn claim_statuses(status: &Value, spec: &Value, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, status) in each(status, "resourceClaimStatuses", "status") {
        let (name, name_at) = (text(status, "name"), join(&at, "name"));
        if !list(spec, "resourceClaims").iter().any(|claim| text(claim, "name") == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(name_at.as_str(), name, why));
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(name_at, name));
        }
        seen.push(name);
        if let Some(claim) = get(status, "resourceClaimName").as_str() {
            invalid_each(errors, &join(&at, "resourceClaimName"), claim, is_dns1123_subdomain(claim));
        }
    }
}
