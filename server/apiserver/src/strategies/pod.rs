//! Pods: `pkg/registry/core/pod/strategy.go`.

use sampan_api::meta as words;
use sampan_api::quota::computed_class;
use sampan_api::status::FieldError;
use sampan_api::validate;
use serde_json::{Value, json};

use crate::value::{at, items, keep, set, text};

/// `podStrategy.CheckGracefulDelete`.
pub fn deletion_grace(old: &Value, asked: Option<i64>) -> i64 {
    let own = at(old, &["spec", "terminationGracePeriodSeconds"]).as_i64();
    let grace = asked.or(own).unwrap_or(30);
    // a negative period means one second, as upstream
    let grace = if grace < 0 { 1 } else { grace };
    let unscheduled = text(old, &["spec", "nodeName"]).is_empty();
    let finished = matches!(text(old, &["status", "phase"]), "Failed" | "Succeeded");
    if unscheduled || finished { 0 } else { grace }
}

/// `PrepareForCreate`: the system begins the status; only creators of bound pods keep a node name.
pub fn prepare_create(new: &mut Value) {
    let qos = computed_class(new);
    set(new, &["status"], json!({"phase": "Pending", "qosClass": qos}));
    if gated(new) {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": crate::value::now(),
        });
        set(new, &["status", "conditions"], json!([condition]));
    }
}

/// `PrepareForUpdate` of the pod and its subresources.
pub fn prepare_update(subresource: &str, old: &Value, new: &mut Value) {
    match subresource {
        "status" => {
            keep(new, old, &["status", "qosClass"]);
        }
        "ephemeralcontainers" => {
            let mut kept = kept_metadata(old, new);
            keep(&mut kept, new, &["spec", "ephemeralContainers"]);
            *new = kept;
        }
        "resize" => resize(old, new),
        "binding" => {}
        _ => {
            keep(new, old, &["status"]);
        }
    }
}

/// `dropNonResizeUpdates`: takes over resources and resize policies, nothing else. Where containers come, go or change
/// places, all stays for the validation to refuse.
fn resize(old: &Value, new: &mut Value) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let count = |pod: &Value, list: &str| items(at(pod, &["spec", list])).len();
    if LISTS.iter().any(|list| count(old, list) != count(new, list)) {
        return;
    }
    let mut kept = kept_metadata(old, new);
    keep(&mut kept, new, &["spec", "resources"]);
    for list in LISTS {
        let wanted = items(at(new, &["spec", list]));
        let names = |pod: &Value| container_names(pod, list);
        if names(old) != names(new) {
            set(&mut kept, &["spec", list], wanted.to_vec());
            continue;
        }
        let Some(Value::Array(containers)) = kept.get_mut("spec").and_then(|s| s.get_mut(list)) else {
            continue;
        };
        for (container, wanted) in containers.iter_mut().zip(wanted) {
            keep(container, wanted, &["resources"]);
            keep(container, wanted, &["resizePolicy"]);
        }
    }
    *new = kept;
}

/// `old` with the metadata of `new` that a change through a subresource has: `ResetObjectMetaForStatus`.
fn kept_metadata(old: &Value, new: &Value) -> Value {
    const OLD: [&str; 6] =
        ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"];
    let mut kept = old.clone();
    set(&mut kept, &["metadata"], at(new, &["metadata"]).clone());
    for field in OLD {
        keep(&mut kept, old, &["metadata", field]);
    }
    kept
}

/// Rules of subresources: `ValidatePodEphemeralContainersUpdate`, `ValidatePodResize`.
pub fn subresource_errors(subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    match subresource {
        "ephemeralcontainers" => validate::ephemeral_containers(new, old),
        "resize" => validate::pod_resize(new, old),
        _ => Vec::new(),
    }
}

/// Names of all containers, of all three sorts.
pub fn container_names(pod: &Value, list: &str) -> Vec<String> {
    items(at(pod, &["spec", list])).iter().map(|c| text(c, &["name"]).to_owned()).collect()
}

/// Whether the pod is bound already.
pub fn node(pod: &Value) -> Option<&str> {
    Some(text(pod, &["spec", "nodeName"])).filter(|n| !n.is_empty())
}

/// Whether the pod is being deleted.
pub fn deleting(pod: &Value) -> bool {
    words::deletion_timestamp(pod).is_some()
}

/// Scheduling gates that still hold the pod.
pub fn gated(pod: &Value) -> bool {
    !items(at(pod, &["spec", "schedulingGates"])).is_empty()
}
