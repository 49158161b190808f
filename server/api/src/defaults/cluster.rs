//! The other groups: networking, storage, RBAC, scheduling, extension of the API.

use serde_json::{Map, Value, json};

use super::{Object, child, is_empty, items, made, set, set_pointer, text};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn apply(kind: &str, group: &str, object: &mut Object) {
    match (group, kind) {
        ("discovery.k8s.io", "EndpointSlice") => endpoint_slice(object),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("networking.k8s.io", "IngressClass") => ingress_class(object),
        ("storage.k8s.io", "StorageClass") => storage_class(object),
        ("storage.k8s.io", "CSIDriver") => csi_driver(object),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("scheduling.k8s.io", "PriorityClass") => {
            set_pointer(object, "preemptionPolicy", "PreemptLowerPriority")
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => custom_resource_definition(object),
        ("apiregistration.k8s.io", "APIService") => api_service(object),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow_schema(object),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => priority_level(object),
        ("admissionregistration.k8s.io", _) => admission(kind, object),
        _ => {}
    }
}

fn endpoint_slice(object: &mut Object) {
    for port in items(object, "ports") {
        set_pointer(port, "name", "");
        set_pointer(port, "protocol", "TCP");
    }
}

fn network_policy(object: &mut Object) {
    let Some(spec) = made(object, "spec") else { return };
    set_pointer(spec, "podSelector", Map::new());
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            items(rule, "ports").for_each(|port| set_pointer(port, "protocol", "TCP"));
        }
    }
    if is_empty(spec.get("policyTypes")) {
        let types =
            if is_empty(spec.get("egress")) { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
}

fn ingress_class(object: &mut Object) {
    if let Some(parameters) = child(object, "spec").and_then(|spec| child(spec, "parameters")) {
        set_pointer(parameters, "scope", "Cluster");
    }
}

fn storage_class(object: &mut Object) {
    set_pointer(object, "reclaimPolicy", "Delete");
    set_pointer(object, "volumeBindingMode", "Immediate");
}

fn csi_driver(object: &mut Object) {
    let Some(spec) = made(object, "spec") else { return };
    set_pointer(spec, "attachRequired", true);
    set_pointer(spec, "podInfoOnMount", false);
    set_pointer(spec, "storageCapacity", false);
    set_pointer(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if is_empty(spec.get("volumeLifecycleModes")) {
        spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
    }
    set_pointer(spec, "requiresRepublish", false);
    set_pointer(spec, "seLinuxMount", false);
}

fn binding(object: &mut Object) {
    if let Some(role) = made(object, "roleRef") {
        set(role, "apiGroup", RBAC);
    }
    for subject in items(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set(subject, "apiGroup", RBAC);
        }
    }
}

fn custom_resource_definition(object: &mut Object) {
    let Some(spec) = made(object, "spec") else { return };
    if let Some(names) = child(spec, "names") {
        let kind = text(names, "kind").to_owned();
        set(names, "singular", kind.to_lowercase());
        if !kind.is_empty() {
            set(names, "listKind", format!("{kind}List"));
        }
    }
    let Some(conversion) = made(spec, "conversion") else { return };
    set(conversion, "strategy", "None");
    if let Some(config) = child(conversion, "webhook").and_then(|webhook| child(webhook, "clientConfig")) {
        service_port(config);
    }
}

fn service_port(config: &mut Object) {
    if let Some(service) = child(config, "service") {
        set_pointer(service, "port", 443);
    }
}

fn api_service(object: &mut Object) {
    if let Some(spec) = child(object, "spec") {
        service_port(spec);
    }
}

fn flow_schema(object: &mut Object) {
    let Some(spec) = made(object, "spec") else { return };
    if spec.get("matchingPrecedence").is_none_or(|p| p.as_i64() == Some(0)) {
        spec.insert("matchingPrecedence".to_owned(), 1000.into());
    }
}

fn priority_level(object: &mut Object) {
    let Some(spec) = made(object, "spec") else { return };
    if let Some(exempt) = child(spec, "exempt") {
        set_pointer(exempt, "nominalConcurrencyShares", 0);
        set_pointer(exempt, "lendablePercent", 0);
    }
    let Some(limited) = child(spec, "limited") else { return };
    set_pointer(limited, "nominalConcurrencyShares", 30);
    set_pointer(limited, "lendablePercent", 0);
    let Some(queuing) = child(limited, "limitResponse").and_then(|response| child(response, "queuing"))
    else {
        return;
    };
    for (key, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
        if queuing.get(key).is_none_or(|v| v.as_i64() == Some(0)) {
            queuing.insert(key.to_owned(), value.into());
        }
    }
}

fn admission(kind: &str, object: &mut Object) {
    match kind {
        "MutatingWebhookConfiguration" => items(object, "webhooks").for_each(|hook| {
            webhook(hook);
            set_pointer(hook, "reinvocationPolicy", "Never");
        }),
        "ValidatingWebhookConfiguration" => items(object, "webhooks").for_each(webhook),
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
            if let Some(spec) = made(object, "spec") {
                set_pointer(spec, "failurePolicy", "Fail");
                child(spec, "matchConstraints").into_iter().for_each(match_resources);
            }
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            let spec = child(object, "spec").and_then(|spec| child(spec, "matchResources"));
            spec.into_iter().for_each(match_resources);
        }
        _ => {}
    }
}

fn webhook(hook: &mut Object) {
    set_pointer(hook, "failurePolicy", "Fail");
    set_pointer(hook, "timeoutSeconds", 10);
    match_resources(hook);
    if let Some(config) = child(hook, "clientConfig") {
        service_port(config);
    }
}

/// What webhooks and admission policies share.
fn match_resources(holder: &mut Object) {
    set_pointer(holder, "matchPolicy", "Equivalent");
    set_pointer(holder, "namespaceSelector", Map::new());
    set_pointer(holder, "objectSelector", Map::new());
    for list in ["rules", "resourceRules", "excludeResourceRules"] {
        items(holder, list).for_each(|rule| set_pointer(rule, "scope", Value::from("*")));
    }
}
