//! Where a pod may run: affinity, tolerations, topology spread.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::{
    is_dns1123_label, is_dns1123_subdomain, is_label_value, is_qualified_name, validate_label_selector,
};

pub(super) fn affinity(affinity: &Value, at: &str, errors: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = get(affinity, "nodeAffinity");
    let node_at = join(at, "nodeAffinity");
    if has(node, REQUIRED) {
        node_selector(get(node, REQUIRED), &join(&node_at, REQUIRED), errors);
    }
    for (at, preferred) in each(node, PREFERRED, &node_at) {
        weight(preferred, &at, errors);
        node_term(get(preferred, "preference"), &join(&at, "preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = get(affinity, kind);
        for (at, term) in each(pods, REQUIRED, &join(at, kind)) {
            pod_term(term, &at, errors);
        }
        for (at, preferred) in each(pods, PREFERRED, &join(at, kind)) {
            weight(preferred, &at, errors);
            pod_term(get(preferred, "podAffinityTerm"), &join(&at, "podAffinityTerm"), errors);
        }
    }
}

fn weight(preferred: &Value, at: &str, errors: &mut Errors) {
    let weight = int(preferred, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(join(at, "weight"), weight, "must be in the range 1-100"));
    }
}

pub(super) fn node_selector(selector: &Value, at: &str, errors: &mut Errors) {
    if list(selector, "nodeSelectorTerms").is_empty() {
        let why = "must have at least one node selector term";
        errors.push(FieldError::required(join(at, "nodeSelectorTerms"), why));
    }
    for (at, term) in each(selector, "nodeSelectorTerms", at) {
        node_term(term, &at, errors);
    }
}

fn node_term(term: &Value, at: &str, errors: &mut Errors) {
    for (at, expression) in each(term, "matchExpressions", at) {
        let values = list(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                join(&at, "values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                join(&at, "values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Gt" | "Lt" if values.len() != 1 => errors.push(FieldError::required(
                join(&at, "values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                errors.push(FieldError::invalid(
                    join(&at, "operator"),
                    other,
                    "not a valid selector operator",
                ));
            }
        }
        let key = text(expression, "key");
        invalid_each(errors, &join(&at, "key"), key, is_qualified_name(key));
        for (at, value) in each(expression, "values", &at) {
            let value = value.as_str().unwrap_or_default();
            invalid_each(errors, &at, value, is_label_value(value));
        }
    }
    for (at, expression) in each(term, "matchFields", at) {
        node_field(expression, &at, errors);
    }
}

/// `ValidateNodeFieldSelectorRequirement`: a node by its name.
fn node_field(expression: &Value, at: &str, errors: &mut Errors) {
    match text(expression, "operator") {
        "In" | "NotIn" if list(expression, "values").len() != 1 => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(join(at, "values"), why));
        }
        "In" | "NotIn" => {}
        other => {
            errors.push(FieldError::invalid(join(at, "operator"), other, "not a valid selector operator"));
        }
    }
    if text(expression, "key") != "metadata.name" {
        let key = text(expression, "key");
        return errors.push(FieldError::invalid(join(at, "key"), key, "not a valid field selector key"));
    }
    for (at, value) in each(expression, "values", at) {
        let value = value.as_str().unwrap_or_default();
        invalid_each(errors, &at, value, is_dns1123_subdomain(value));
    }
}

fn pod_term(term: &Value, at: &str, errors: &mut Errors) {
    for key in ["labelSelector", "namespaceSelector"] {
        if has(term, key) {
            errors.extend(validate_label_selector(get(term, key), &join(at, key)));
        }
    }
    for name in list(term, "namespaces").iter().filter_map(Value::as_str) {
        // the field is upstream's
        invalid_each(errors, &join(at, "namespace"), name, is_dns1123_label(name));
    }
    label_keys(term, at, errors);
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(join(at, "topologyKey"), "can not be empty"));
    }
    invalid_each(errors, &join(at, "topologyKey"), key, is_qualified_name(key));
}

/// `ValidateMatchLabelKeysAndMismatchLabelKeys`: by the labels of the pod itself, which no selector says beside.
fn label_keys(holder: &Value, at: &str, errors: &mut Errors) {
    let selector = get(holder, "labelSelector");
    let [like, unlike] = ["matchLabelKeys", "mismatchLabelKeys"];
    for key in [like, unlike].into_iter().filter(|key| !list(holder, key).is_empty()) {
        if selector.is_null() {
            let why = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(join(at, key), why));
            continue;
        }
        for (at, name) in each(holder, key, at) {
            let name = name.as_str().unwrap_or_default();
            invalid_each(errors, &at, name, is_qualified_name(name));
        }
    }
    // the key's own requirement is there already; a second one is too many
    let mut seen: Vec<&str> = entries(selector, "matchLabels").map(|(key, _)| key.as_str()).collect();
    for key in list(selector, "matchExpressions").iter().map(|expression| text(expression, "key")) {
        let place = list(holder, like).iter().rposition(|one| one.as_str() == Some(key));
        if let Some(index) = place.filter(|_| seen.contains(&key)) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(format!("{at}[{index}]"), key, why));
        }
        seen.push(key);
    }
    for (at, key) in each(holder, like, at).filter(|(_, key)| list(holder, unlike).contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(at, key.clone(), why));
    }
}

/// `ValidateTolerations`.
pub(super) fn tolerations(holder: &Value, at: &str, errors: &mut Errors) {
    for (at, toleration) in each(holder, "tolerations", at) {
        let (key, operator, effect) =
            (text(toleration, "key"), text(toleration, "operator"), text(toleration, "effect"));
        if !key.is_empty() {
            invalid_each(errors, &join(&at, "key"), key, is_qualified_name(key));
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(join(&at, "operator"), operator, why));
        }
        if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(join(&at, "effect"), effect, why));
        }
        let value = text(toleration, "value");
        match operator {
            "" | "Equal" => {
                let why = is_label_value(value);
                if !why.is_empty() {
                    errors.push(FieldError::invalid(join(&at, "operator"), value, why.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(join(&at, "operator"), value, why));
            }
            "Exists" => {}
            // known, and not to be had yet
            "Lt" | "Gt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(FieldError::not_supported_as_listed(join(&at, "operator"), operator, &known));
            }
            other => {
                errors.push(FieldError::not_supported(join(&at, "operator"), other, &["Equal", "Exists"]))
            }
        }
        if !effect.is_empty() {
            taint_effect(effect, &join(&at, "effect"), errors);
        }
    }
}

/// `validateTaintEffect`.
pub(super) fn taint_effect(effect: &str, at: &str, errors: &mut Errors) {
    const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported_as_listed(at, effect, EFFECTS));
    }
}

/// `validateTopologySpreadConstraints`.
pub(super) fn spread(spec: &Value, at: &str, errors: &mut Errors) {
    let all = list(spec, "topologySpreadConstraints");
    let pair = |constraint: &Value| {
        (text(constraint, "topologyKey").to_owned(), text(constraint, "whenUnsatisfiable").to_owned())
    };
    for (index, (at, constraint)) in each(spec, "topologySpreadConstraints", at).enumerate() {
        let (key, when) = pair(constraint);
        let (skew, domains) = (int(constraint, "maxSkew").unwrap_or(0), int(constraint, "minDomains"));
        for (name, number) in [("maxSkew", Some(skew)), ("minDomains", domains)] {
            if let Some(number) = number.filter(|number| *number <= 0) {
                errors.push(FieldError::invalid(join(&at, name), number, "must be greater than zero"));
            }
        }
        if domains.is_some() && when != "DoNotSchedule" {
            let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
            errors.push(FieldError::invalid(join(&at, "minDomains"), domains, why));
        }
        if key.is_empty() {
            errors.push(FieldError::required(join(&at, "topologyKey"), "can not be empty"));
        }
        listed(constraint, "whenUnsatisfiable", &at, &["DoNotSchedule", "ScheduleAnyway"], errors);
        if all.iter().skip(index + 1).any(|other| pair(other) == (key.clone(), when.clone())) {
            let field = format!("{at}.{{topologyKey, whenUnsatisfiable}}");
            errors.push(FieldError::duplicate(field, format!("{{{key}, {when}}}")));
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of(constraint, policy, &at, &["Honor", "Ignore"], errors);
        }
        label_keys(constraint, &at, errors);
        let selector = get(constraint, "labelSelector");
        if !selector.is_null() {
            errors.extend(validate_label_selector(selector, &join(&at, "labelSelector")));
        }
    }
}
