//! RBAC, coordination, disruption, scheduling, discovery and networking.

use serde_json::Value;

use super::access::*;
use super::workload::int_or_percent;
use crate::status::FieldError;
use crate::validation::{
    is_dns1123_label, is_dns1123_subdomain, is_ip, is_wildcard_dns1123_subdomain, validate_label_selector,
};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Whether the kind has rules here; if so they have been applied.
pub(super) fn validate(group: &str, kind: &str, object: &Value, errors: &mut Errors) -> bool {
    match (group, kind) {
        (RBAC, "Role" | "ClusterRole") => rules(kind, object, errors),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => binding(kind, object, errors),
        ("coordination.k8s.io", "Lease") => lease(object, errors),
        ("policy", "PodDisruptionBudget") => disruption_budget(object, errors),
        ("scheduling.k8s.io", "PriorityClass") => priority_class(object, errors),
        ("discovery.k8s.io", "EndpointSlice") => endpoint_slice(object, errors),
        ("networking.k8s.io", "Ingress") => ingress(object, errors),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object, errors),
        ("storage.k8s.io", "StorageClass") => storage_class(object, errors),
        ("" | "events.k8s.io", "Event") => {}
        ("", "Namespace" | "ServiceAccount" | "Endpoints" | "ResourceQuota" | "LimitRange") => {}
        _ => return false,
    }
    true
}

pub(super) fn update(group: &str, kind: &str, new: &Value, old: &Value, errors: &mut Errors) {
    match (group, kind) {
        (RBAC, "RoleBinding" | "ClusterRoleBinding") if get(new, "roleRef") != get(old, "roleRef") => {
            errors.push(FieldError::invalid("roleRef", get(new, "roleRef").clone(), "cannot change roleRef"));
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            if int(new, "value") != int(old, "value") {
                errors.push(FieldError::forbidden("value", "may not be changed in an update."));
            }
            immutable(new, old, "preemptionPolicy", "", errors);
        }
        ("discovery.k8s.io", "EndpointSlice") => immutable(new, old, "addressType", "", errors),
        ("storage.k8s.io", "StorageClass") => storage_class_update(new, old, errors),
        _ => {}
    }
}

fn rules(kind: &str, object: &Value, errors: &mut Errors) {
    for (at, rule) in each(object, "rules", "") {
        let (urls, resources) = (list(rule, "nonResourceURLs"), list(rule, "resources"));
        if list(rule, "verbs").is_empty() {
            errors.push(FieldError::required(join(&at, "verbs"), "verbs must contain at least one value"));
        }
        if !urls.is_empty() {
            let shown = get(rule, "nonResourceURLs").clone();
            let at = join(&at, "nonResourceURLs");
            if kind == "Role" {
                errors.push(FieldError::invalid(
                    at.as_str(),
                    shown.clone(),
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            if !list(rule, "apiGroups").is_empty()
                || !resources.is_empty()
                || !list(rule, "resourceNames").is_empty()
            {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(at.as_str(), shown, why));
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(join(&at, "apiGroups"), why));
        }
        if resources.is_empty() {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(join(&at, "resources"), why));
        }
    }
    for (at, selector) in each(get(object, "aggregationRule"), "clusterRoleSelectors", "aggregationRule") {
        errors.extend(validate_label_selector(selector, &at));
    }
}

fn binding(kind: &str, object: &Value, errors: &mut Errors) {
    let role = get(object, "roleRef");
    let kinds: &[&str] = if kind == "RoleBinding" { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
    if text(role, "apiGroup") != RBAC {
        errors.push(FieldError::not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[RBAC]));
    }
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported("roleRef.kind", text(role, "kind"), kinds));
    }
    required_text(role, "name", "roleRef", |name| crate::validation::is_path_segment(name, false), errors);
    for (at, subject) in each(object, "subjects", "") {
        required_text(subject, "name", &at, any_text, errors);
        let group = text(subject, "apiGroup");
        match text(subject, "kind") {
            "ServiceAccount" => {
                optional_text(subject, "name", &at, is_dns1123_subdomain, errors);
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(join(&at, "apiGroup"), group, &[""]));
                }
                if text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(join(&at, "namespace"), ""));
                }
            }
            "User" | "Group" if group != RBAC => {
                errors.push(FieldError::not_supported(join(&at, "apiGroup"), group, &[RBAC]));
            }
            "User" | "Group" => {}
            other => {
                let kinds = ["Group", "ServiceAccount", "User"];
                errors.push(FieldError::not_supported(join(&at, "kind"), other, &kinds));
            }
        }
    }
}

fn lease(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    if get(spec, "holderIdentity").as_str() == Some("") {
        errors.push(FieldError::invalid("spec.holderIdentity", "", "must not be empty"));
    }
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|s| *s <= 0) {
        errors.push(FieldError::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
    }
    non_negative(spec, &["leaseTransitions"], "spec", errors);
}

fn disruption_budget(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec.clone(), why));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        int_or_percent(spec, key, "spec", errors);
    }
    if has(spec, "selector") {
        errors.extend(validate_label_selector(get(spec, "selector"), "spec.selector"));
    }
    one_of(spec, "unhealthyPodEvictionPolicy", "spec", &["AlwaysAllow", "IfHealthyBudget"], errors);
}

fn priority_class(object: &Value, errors: &mut Errors) {
    let name = text(get(object, "metadata"), "name");
    if name.starts_with("system-") && !matches!(name, "system-node-critical" | "system-cluster-critical") {
        let why = "priority class names with 'system-' prefix are reserved for system use only";
        errors.push(FieldError::forbidden("metadata.name", why));
    } else if !name.starts_with("system-") && int(object, "value").is_some_and(|v| v > 1_000_000_000) {
        let why = "maximum allowed value of a user defined priority is 1000000000";
        errors.push(FieldError::forbidden("value", why));
    }
    one_of(object, "preemptionPolicy", "", &["Never", "PreemptLowerPriority"], errors);
}

fn endpoint_slice(object: &Value, errors: &mut Errors) {
    required_one_of(object, "addressType", "", &["FQDN", "IPv4", "IPv6"], errors);
    if list(object, "endpoints").len() > 1000 {
        errors.push(FieldError::too_many("endpoints", list(object, "endpoints").len(), 1000));
    }
    for (at, endpoint) in each(object, "endpoints", "") {
        if list(endpoint, "addresses").is_empty() {
            let why = "must contain at least 1 address";
            errors.push(FieldError::required(join(&at, "addresses"), why));
        }
        for (at, address) in each(endpoint, "addresses", &at) {
            let address = address.as_str().unwrap_or_default();
            match text(object, "addressType") {
                "IPv4" | "IPv6" => invalid_each(errors, &at, address, is_ip(address)),
                _ => {}
            }
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for (at, port) in each(object, "ports", "") {
        let name = text(port, "name");
        if !name.is_empty() {
            invalid_each(errors, &join(&at, "name"), name, is_dns1123_label(name));
        }
        if names.contains(&name) {
            errors.push(FieldError::duplicate(join(&at, "name"), name));
        }
        names.push(name);
        one_of(port, "protocol", &at, &["SCTP", "TCP", "UDP"], errors);
    }
}

fn ingress(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", Value::Array(Vec::new()), why));
    }
    if has(spec, "defaultBackend") {
        backend(get(spec, "defaultBackend"), "spec.defaultBackend", errors);
    }
    for (at, rule) in each(spec, "rules", "spec") {
        let host = text(rule, "host");
        let check = if host.contains('*') { is_wildcard_dns1123_subdomain } else { is_dns1123_subdomain };
        optional_text(rule, "host", &at, check, errors);
        if !host.is_empty() && is_ip(host).is_empty() {
            errors.push(FieldError::invalid(
                join(&at, "host"),
                host,
                "must be a DNS name, not an IP address",
            ));
        }
        let http = get(rule, "http");
        if !http.is_null() && list(http, "paths").is_empty() {
            errors.push(FieldError::required(join(&at, "http.paths"), ""));
        }
        for (at, path) in each(http, "paths", &join(&at, "http")) {
            ingress_path(path, &at, errors);
        }
    }
}

fn ingress_path(path: &Value, at: &str, errors: &mut Errors) {
    let value = text(path, "path");
    match text(path, "pathType") {
        "" => errors.push(FieldError::required(join(at, "pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                errors.push(FieldError::invalid(join(at, "path"), value, "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|bad| value.contains(**bad)) {
                errors.push(FieldError::invalid(
                    join(at, "path"),
                    value,
                    format!("must not contain '{bad}'"),
                ));
            }
        }
        "ImplementationSpecific" if !value.is_empty() && !value.starts_with('/') => {
            errors.push(FieldError::invalid(join(at, "path"), value, "must be an absolute path"));
        }
        "ImplementationSpecific" => {}
        other => {
            let types = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(join(at, "pathType"), other, &types));
        }
    }
    backend(get(path, "backend"), &join(at, "backend"), errors);
}

fn backend(backend: &Value, at: &str, errors: &mut Errors) {
    let (service, resource) = (get(backend, "service"), get(backend, "resource"));
    match (service.is_null(), resource.is_null()) {
        (false, false) => {
            errors.push(FieldError::invalid(at, "", "cannot set both resource and service backends"))
        }
        (true, true) => errors.push(FieldError::required(at, "resource or service backend is required")),
        (true, false) => {}
        (false, true) => {
            let at = join(at, "service");
            required_text(service, "name", &at, is_dns1123_label, errors);
            let port = get(service, "port");
            let (name, number) = (text(port, "name"), int(port, "number").unwrap_or(0));
            if name.is_empty() && number == 0 {
                errors.push(FieldError::required(at, "port name or number is required"));
            } else if !name.is_empty() && number != 0 {
                errors.push(FieldError::invalid(at, "", "cannot set both port name & port number"));
            }
        }
    }
}

fn network_policy(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    errors.extend(validate_label_selector(get(spec, "podSelector"), "spec.podSelector"));
    for (at, kind) in each(spec, "policyTypes", "spec") {
        if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
            errors.push(FieldError::not_supported(at, kind.clone(), &["Egress", "Ingress"]));
        }
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in each(spec, direction, "spec") {
            for (at, peer) in each(rule, peers, &at) {
                network_peer(peer, &at, errors);
            }
            for (at, port) in each(rule, "ports", &at) {
                one_of(port, "protocol", &at, &["SCTP", "TCP", "UDP"], errors);
            }
        }
    }
}

fn network_peer(peer: &Value, at: &str, errors: &mut Errors) {
    for key in ["podSelector", "namespaceSelector"] {
        if has(peer, key) {
            errors.extend(validate_label_selector(get(peer, key), &join(at, key)));
        }
    }
    let selects = has(peer, "podSelector") || has(peer, "namespaceSelector");
    match (selects, has(peer, "ipBlock")) {
        (false, false) => errors.push(FieldError::required(at, "must specify a peer")),
        (true, true) => {
            let why = "may not specify both ipBlock and another peer";
            errors.push(FieldError::forbidden(at, why));
        }
        (false, true) => {
            let cidr = text(get(peer, "ipBlock"), "cidr");
            let at = join(at, "ipBlock.cidr");
            if cidr.is_empty() {
                errors.push(FieldError::required(at, ""));
            } else {
                invalid_each(errors, &at, cidr, crate::validation::is_cidr(cidr));
            }
        }
        (true, false) => {}
    }
}

fn storage_class(object: &Value, errors: &mut Errors) {
    required_text(object, "provisioner", "", any_text, errors);
    one_of(object, "reclaimPolicy", "", &["Delete", "Retain"], errors);
    one_of(object, "volumeBindingMode", "", &["Immediate", "WaitForFirstConsumer"], errors);
}

fn storage_class_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "parameters") != get(old, "parameters") {
        errors.push(FieldError::forbidden("parameters", "updates to parameters are forbidden."));
    }
    if text(new, "provisioner") != text(old, "provisioner") {
        errors.push(FieldError::forbidden("provisioner", "updates to provisioner are forbidden."));
    }
    if text(new, "reclaimPolicy") != text(old, "reclaimPolicy") {
        errors.push(FieldError::forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden."));
    }
    immutable(new, old, "volumeBindingMode", "", errors);
}
