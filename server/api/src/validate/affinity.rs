//! Where a pod may run: affinity, tolerations, topology spread.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::{is_label_value, is_qualified_name, validate_label_selector};

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
    }
}

fn pod_term(term: &Value, at: &str, errors: &mut Errors) {
    for key in ["labelSelector", "namespaceSelector"] {
        if has(term, key) {
            errors.extend(validate_label_selector(get(term, key), &join(at, key)));
        }
    }
    match text(term, "topologyKey") {
        "" => errors.push(FieldError::required(join(at, "topologyKey"), "can not be empty")),
        key => invalid_each(errors, &join(at, "topologyKey"), key, is_qualified_name(key)),
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
            "" | "Equal" => invalid_each(errors, &join(&at, "operator"), value, is_label_value(value)),
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(join(&at, "operator"), toleration.clone(), why));
            }
            "Exists" => {}
            other => {
                errors.push(FieldError::not_supported(join(&at, "operator"), other, &["Equal", "Exists"]))
            }
        }
        if !effect.is_empty() {
            one_of(toleration, "effect", &at, &["NoExecute", "NoSchedule", "PreferNoSchedule"], errors);
        }
    }
}

/// `validateTopologySpreadConstraints`.
pub(super) fn spread(spec: &Value, at: &str, errors: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (at, constraint) in each(spec, "topologySpreadConstraints", at) {
        for key in ["maxSkew", "minDomains"] {
            if let Some(number) = int(constraint, key).filter(|n| *n <= 0) {
                errors.push(FieldError::invalid(join(&at, key), number, "must be greater than zero"));
            }
        }
        let key = text(constraint, "topologyKey");
        if key.is_empty() {
            errors.push(FieldError::required(join(&at, "topologyKey"), "can not be empty"));
        } else {
            invalid_each(errors, &join(&at, "topologyKey"), key, is_qualified_name(key));
        }
        let when = text(constraint, "whenUnsatisfiable");
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            let supported = ["DoNotSchedule", "ScheduleAnyway"];
            errors.push(FieldError::not_supported(join(&at, "whenUnsatisfiable"), when, &supported));
        }
        if seen.contains(&(key, when)) {
            let pair = format!("{{{key}, {when}}}");
            errors.push(FieldError::duplicate(format!("{at}.{{topologyKey, whenUnsatisfiable}}"), pair));
        }
        seen.push((key, when));
        if has(constraint, "labelSelector") {
            errors.extend(validate_label_selector(
                get(constraint, "labelSelector"),
                &join(&at, "labelSelector"),
            ));
        }
    }
}
