//! Pods: `pkg/registry/core/pod/strategy.go`.

use sampan_api::meta as words;
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
    let qos = quality(new);
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
            let added = at(new, &["spec", "ephemeralContainers"]).clone();
            let metadata = at(new, &["metadata"]).clone();
            *new = old.clone();
            set(new, &["metadata"], metadata);
            if !added.is_null() {
                set(new, &["spec", "ephemeralContainers"], added);
            }
        }
        "resize" => resize(old, new),
        "binding" => {}
        _ => {
            keep(new, old, &["status"]);
            // ephemeral containers are changed through their subresource only
            keep(new, old, &["spec", "ephemeralContainers"]);
        }
    }
}

/// Takes over resources and resize policies, nothing else.
fn resize(old: &Value, new: &mut Value) {
    let wanted = new.clone();
    let metadata = at(new, &["metadata"]).clone();
    *new = old.clone();
    set(new, &["metadata"], metadata);
    for list in ["containers", "initContainers"] {
        let Some(Value::Array(containers)) = new.get_mut("spec").and_then(|s| s.get_mut(list)) else {
            continue;
        };
        for container in containers {
            let name = text(container, &["name"]).to_owned();
            if let Some(from) =
                items(at(&wanted, &["spec", list])).iter().find(|c| text(c, &["name"]) == name)
            {
                keep(container, from, &["resources"]);
                keep(container, from, &["resizePolicy"]);
            }
        }
    }
}

/// Rules of `/ephemeralcontainers`: `ValidatePodEphemeralContainersUpdate`.
pub fn subresource_errors(subresource: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    match subresource {
        "ephemeralcontainers" => validate::ephemeral_containers(new, old),
        _ => Vec::new(),
    }
}

/// `qos.ComputePodQOS`: from cpu and memory of all containers.
fn quality(pod: &Value) -> &'static str {
    let spec = at(pod, &["spec"]);
    let all = items(at(spec, &["containers"])).iter().chain(items(at(spec, &["initContainers"])));
    let (mut any, mut guaranteed) = (false, true);
    for container in all {
        for resource in ["cpu", "memory"] {
            let request = positive(at(container, &["resources", "requests", resource]));
            let limit = positive(at(container, &["resources", "limits", resource]));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn positive(value: &Value) -> Option<&Value> {
    let zero = value.is_null() || value == "0" || value.as_f64() == Some(0.0);
    (!zero).then_some(value)
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
