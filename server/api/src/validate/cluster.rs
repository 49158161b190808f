//! RBAC, coordination, disruption, scheduling.

use serde_json::Value;

use super::access::*;
use super::workload::{int_or_percent, no_more_than_all};
use crate::status::FieldError;
use crate::validation::{is_dns1123_subdomain, validate_label_selector};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Whether the kind has rules here; if so they have been applied.
pub(super) fn validate(group: &str, kind: &str, object: &Value, errors: &mut Errors) -> bool {
    match (group, kind) {
        (RBAC, "Role" | "ClusterRole") => rules(kind, object, errors),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => binding(kind, object, errors),
        ("coordination.k8s.io", "Lease") => lease(object, errors),
        ("policy", "PodDisruptionBudget") => disruption_budget(object, errors),
        ("scheduling.k8s.io", "PriorityClass") => priority_class(object, errors),
        ("", "Namespace" | "ServiceAccount") => {}
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
        _ => super::fixed::update(group, kind, new, old, errors),
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
    let namespaced = kind == "RoleBinding";
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if text(role, "apiGroup") != RBAC {
        errors.push(FieldError::not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[RBAC]));
    }
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported_as_listed("roleRef.kind", text(role, "kind"), kinds));
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
                if !namespaced && text(subject, "namespace").is_empty() {
                    errors.push(FieldError::required(join(&at, "namespace"), ""));
                }
            }
            "User" | "Group" if group != RBAC => {
                errors.push(FieldError::not_supported(join(&at, "apiGroup"), group, &[RBAC]));
            }
            "User" | "Group" => {}
            other => {
                let kinds = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported_as_listed(join(&at, "kind"), other, &kinds));
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

/// `ValidatePodDisruptionBudgetStatusUpdate`.
pub(super) fn disruption_status(budget: &Value, errors: &mut Errors) {
    let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    non_negative(get(budget, "status"), &counts, "status", errors);
}

fn disruption_budget(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec.clone(), why));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        int_or_percent(spec, key, "spec", errors);
        no_more_than_all(spec, key, "spec", errors);
    }
    if has(spec, "selector") {
        errors.extend(validate_label_selector(get(spec, "selector"), "spec.selector"));
    }
    one_of(spec, "unhealthyPodEvictionPolicy", "spec", &["AlwaysAllow", "IfHealthyBudget"], errors);
}

/// `IsKnownSystemPriorityClass`.
fn system_class_error(name: &str, class: &Value) -> Option<String> {
    let known = match name {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        _ if name.starts_with("system-") => {
            return Some(format!("{name} is not a known system priority class"));
        }
        _ => return None,
    };
    if int(class, "value").unwrap_or(0) != known {
        return Some(format!("value of {name} PriorityClass must be {known}"));
    }
    is_true(class, "globalDefault").then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

fn priority_class(object: &Value, errors: &mut Errors) {
    let name = text(get(object, "metadata"), "name");
    if let Some(why) = system_class_error(name, object) {
        let why = format!(
            "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
        );
        errors.push(FieldError::forbidden("metadata.name", why));
    } else if !name.starts_with("system-") && int(object, "value").is_some_and(|v| v > 1_000_000_000) {
        let why = "maximum allowed value of a user defined priority is 1000000000";
        errors.push(FieldError::forbidden("value", why));
    }
    one_of(object, "preemptionPolicy", "", &["Never", "PreemptLowerPriority"], errors);
}
