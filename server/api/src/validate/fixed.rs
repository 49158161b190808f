//! What may not change once it is there, of storage, devices and runtime classes: their `Validate…Update` upstream. Most say
//! what somebody acted upon already.

use serde_json::Value;

use super::access::*;
use crate::defaults::same_field;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, validate_labels};

const STORAGE: &str = "storage.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";
const DEVICES: &str = "resource.k8s.io";

pub(super) fn update(group: &str, kind: &str, new: &Value, old: &Value, errors: &mut Errors) {
    let spec = |key: &str, errors: &mut Errors| {
        immutable(get(new, "spec"), get(old, "spec"), key, "spec", errors);
    };
    match (group, kind) {
        (STORAGE, "CSIDriver") => {
            let (after, before) = (get(new, "spec"), get(old, "spec"));
            if get(after, "attachRequired") != get(before, "attachRequired") {
                // the field's name is wrong upstream as well
                let (shown, why) =
                    (get(after, "attachRequired").clone(), crate::validation::FIELD_IS_IMMUTABLE);
                errors.push(FieldError::invalid("spec.attachedRequired", shown, why));
            }
            spec("volumeLifecycleModes", errors);
        }
        (STORAGE, "VolumeAttachment") | (DEVICES, "ResourceClaim" | "ResourceClaimTemplate") => {
            let package = if group == STORAGE { "storage" } else { "resource" };
            immutable_in(&format!("api.{package}.v1.{kind}"), new, old, "spec", "", errors);
        }
        (STORAGE, "CSINode") => super::csi::node_update(new, old, errors),
        (STORAGE, "CSIStorageCapacity") => {
            immutable_in("api.storage.v1.CSIStorageCapacity", new, old, "nodeTopology", "", errors);
            immutable(new, old, "storageClassName", "", errors);
        }
        (STORAGE, "VolumeAttributesClass") => {
            for key in ["driverName", "parameters"] {
                if !same_field("io.k8s.api.storage.v1.VolumeAttributesClass", key, new, old) {
                    errors.push(FieldError::forbidden(key, format!("updates to {key} are forbidden.")));
                }
            }
        }
        (DEVICES, "ResourceSlice") => {
            spec("driver", errors);
            let pool = |of| get(get(of, "spec"), "pool");
            immutable(pool(new), pool(old), "name", "spec.pool", errors);
            spec("nodeName", errors);
        }
        (SCHEDULING, "Workload") => {
            let schema = "api.scheduling.v1alpha2.WorkloadSpec";
            immutable_in(schema, get(new, "spec"), get(old, "spec"), "podGroupTemplates", "spec", errors);
            spec("controllerRef", errors);
        }
        (SCHEDULING, "PodGroup") => {
            for key in ["schedulingPolicy", "podGroupTemplateRef", "resourceClaims"] {
                spec(key, errors);
            }
            // they are not to be had yet, and so not to be changed
            let (after, before) = (get(new, "spec"), get(old, "spec"));
            let later = ["schedulingConstraints", "disruptionMode", "priority", "priorityClassName"];
            for key in later.into_iter().filter(|key| get(after, key) != get(before, key)) {
                errors.push(FieldError::forbidden(join("spec", key), ""));
            }
        }
        ("node.k8s.io", "RuntimeClass") => immutable(new, old, "handler", "", errors),
        _ => {}
    }
}

/// The name by which a runtime is told how to run a pod.
pub(super) fn runtime_class(class: &Value, errors: &mut Errors) {
    required_text(class, "handler", "", is_dns1123_label, errors);
    if has(class, "overhead") {
        let overhead = serde_json::json!({"limits": get(get(class, "overhead"), "podFixed")});
        super::container::resources(&overhead, "overhead", errors);
    }
    let (scheduling, at) = (get(class, "scheduling"), "scheduling");
    errors.extend(validate_labels(scheduling.get("nodeSelector"), &join(at, "nodeSelector")));
    super::affinity::tolerations(scheduling, at, errors);
    let key = |toleration: &Value| {
        ["key", "operator", "value", "effect"].map(|key| text(toleration, key).to_owned())
    };
    let mut seen = Vec::new();
    for (at, toleration) in each(scheduling, "tolerations", at) {
        if seen.contains(&key(toleration)) {
            errors.push(FieldError::duplicate(at, toleration.clone()));
        } else {
            seen.push(key(toleration));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_somebody_acted_upon_stays() {
        let fixed = |field: &str, value: &str| format!("{field}: Invalid value: {value}: field is immutable");
        let claim = |class: &str| json!({"spec": {"devices": {"requests": [class]}}});
        let shown = "{\"devices\":{\"requests\":[\"b\"]}}";
        #[rustfmt::skip]
        let cases = [
            (STORAGE, "CSIDriver", json!({"spec": {"attachRequired": true}}), json!({"spec": {"attachRequired": false}}),
                fixed("spec.attachedRequired", "false")),
            (STORAGE, "CSIDriver", json!({"spec": {"podInfoOnMount": true}}), json!({"spec": {"podInfoOnMount": false}}), String::new()),
            (STORAGE, "CSIDriver", json!({"spec": {"volumeLifecycleModes": ["Persistent"]}}),
                json!({"spec": {"volumeLifecycleModes": ["Ephemeral"]}}), fixed("spec.volumeLifecycleModes", "[\"Ephemeral\"]")),
            (STORAGE, "VolumeAttachment", json!({"spec": {"nodeName": "a"}}), json!({"spec": {"nodeName": "b"}}),
                fixed("spec", "{\"nodeName\":\"b\"}")),
            (STORAGE, "CSIStorageCapacity", json!({"storageClassName": "a"}), json!({"storageClassName": "b"}),
                fixed("storageClassName", "\"b\"")),
            (STORAGE, "VolumeAttributesClass", json!({"driverName": "a"}), json!({"driverName": "b"}),
                "driverName: Forbidden: updates to driverName are forbidden.".into()),
            (DEVICES, "ResourceClaim", claim("a"), claim("b"), fixed("spec", shown)),
            (DEVICES, "ResourceClaimTemplate", claim("a"), claim("b"), fixed("spec", shown)),
            (DEVICES, "ResourceSlice", json!({"spec": {"pool": {"name": "a", "generation": 1}}}),
                json!({"spec": {"pool": {"name": "b", "generation": 2}}}), fixed("spec.pool.name", "\"b\"")),
            (SCHEDULING, "Workload", json!({"spec": {"controllerRef": "a"}}), json!({"spec": {"controllerRef": "b"}}),
                fixed("spec.controllerRef", "\"b\"")),
            (SCHEDULING, "PodGroup", json!({"spec": {"priority": 1, "schedulingPolicy": "a"}}),
                json!({"spec": {"priority": 2, "schedulingPolicy": "b"}}),
                format!("{}; spec.priority: Forbidden", fixed("spec.schedulingPolicy", "\"b\""))),
            ("node.k8s.io", "RuntimeClass", json!({"handler": "a"}), json!({"handler": "b"}), fixed("handler", "\"b\"")),
        ];
        for (group, kind, old, new, expected) in cases {
            let mut errors = Vec::new();
            update(group, kind, &new, &old, &mut errors);
            let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(said.join("; "), expected, "{kind}");
        }
    }

    #[test]
    fn a_handler_is_a_label() {
        for (handler, fits) in [("runc", true), ("kata-fc", true), ("UPPER", false), ("", false)] {
            let mut errors = Vec::new();
            runtime_class(&json!({"handler": handler}), &mut errors);
            assert_eq!(errors.is_empty(), fits, "{handler}: {errors:?}");
        }
    }
}
