//! HorizontalPodAutoscalers: bounds, metrics and how fast: `pkg/apis/autoscaling/validation`, of both versions.

use serde_json::Value;

use super::access::*;
use super::container;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_path_segment};

const MOST_WINDOW_SECONDS: i64 = 3600;
const MOST_PERIOD_SECONDS: i64 = 1800;
/// In upstream's order: of two sources the first is looked into.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const TARGETS: &[&str] = &["Utilization", "Value", "AverageValue"];

/// Which `apiVersion`s of a reference are let be.
#[derive(Clone, Copy, PartialEq)]
enum Versions {
    Any,
    WithGroup,
    All,
}

/// Checks an autoscaler, new or as a change of `old`.
pub(super) fn autoscaler(object: &Value, old: &Value, errors: &mut Errors) {
    let (spec, before) = (get(object, "spec"), get(old, "spec"));
    let (least, most) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or(0));
    let bound = if int(before, "minReplicas") == Some(0) { 0 } else { 1 };
    if let Some(least) = least.filter(|least| *least < bound) {
        let why = format!("must be greater than or equal to {bound}");
        errors.push(FieldError::invalid("spec.minReplicas", least, why));
    }
    match most {
        0 => errors.push(FieldError::required("spec.maxReplicas", "must be set and greater than 0")),
        ..0 => {
            let why = "must be greater than or equal to 1";
            errors.push(FieldError::invalid("spec.maxReplicas", most, why));
        }
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, why));
    }
    let (target, was) = (get(spec, "scaleTargetRef"), get(before, "scaleTargetRef"));
    let same = |key: &str| text(target, key) == text(was, key);
    let versions = match () {
        () if !old.is_null() && same("apiVersion") && same("kind") => Versions::Any,
        () if text(target, "kind") == "ReplicationController" => Versions::All,
        () => Versions::WithGroup,
    };
    reference(target, "spec.scaleTargetRef", versions, errors);
    for (at, metric) in each(spec, "metrics", "spec") {
        self::metric(metric, &at, errors);
    }
    let of_others = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if least == Some(0) && !list(spec, "metrics").iter().any(of_others) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", why));
    }
    if let Some(percent) = int(spec, "targetCPUUtilizationPercentage").filter(|percent| *percent < 1) {
        // of v1, where it is the only metric
        let at = "spec.metrics[0].resource.target.averageUtilization";
        errors.push(FieldError::invalid(at, percent, "must be greater than 0"));
    }
    for key in ["scaleUp", "scaleDown"] {
        let rules = get(get(spec, "behavior"), key);
        if !rules.is_null() {
            scaling_rules(rules, &join("spec.behavior", key), errors);
        }
    }
}

/// `ValidateHorizontalPodAutoscalerStatusUpdate`.
pub(super) fn status(object: &Value, errors: &mut Errors) {
    non_negative(get(object, "status"), &["currentReplicas", "desiredReplicas"], "status", errors);
}

/// `ValidateCrossVersionObjectReference`.
fn reference(reference: &Value, at: &str, versions: Versions, errors: &mut Errors) {
    for key in ["kind", "name"] {
        required_text(reference, key, at, |name| is_path_segment(name, false), errors);
    }
    let version = text(reference, "apiVersion");
    let why = match version.matches('/').count() {
        _ if versions == Versions::Any => return,
        0 if versions == Versions::All => return,
        0 => "apiVersion must specify API group".to_owned(),
        1 if version == "/" || version.starts_with('/') => "apiVersion must specify API group".to_owned(),
        1 => return,
        _ => format!("unexpected GroupVersion string: {version}"),
    };
    errors.push(FieldError::invalid(join(at, "apiVersion"), version, why));
}

fn scaling_rules(rules: &Value, at: &str, errors: &mut Errors) {
    if let Some(seconds) = int(rules, "stabilizationWindowSeconds") {
        let why = match seconds {
            ..0 => Some("must be greater than or equal to zero".to_owned()),
            _ if seconds > MOST_WINDOW_SECONDS => {
                Some(format!("must be less than or equal to {MOST_WINDOW_SECONDS}"))
            }
            _ => None,
        };
        let at = join(at, "stabilizationWindowSeconds");
        errors.extend(why.map(|why| FieldError::invalid(at, seconds, why)));
    }
    one_of(rules, "selectPolicy", at, &["Disabled", "Max", "Min"], errors);
    if list(rules, "policies").is_empty() {
        errors.push(FieldError::required(join(at, "policies"), "must specify at least one Policy"));
    }
    for (at, policy) in each(rules, "policies", at) {
        listed(policy, "type", &at, &["Percent", "Pods"], errors);
        for key in ["value", "periodSeconds"] {
            let number = int(policy, key).unwrap_or(0);
            if number <= 0 {
                errors.push(FieldError::invalid(join(&at, key), number, "must be greater than zero"));
            }
        }
        if let Some(seconds) = int(policy, "periodSeconds").filter(|n| *n > MOST_PERIOD_SECONDS) {
            let why = format!("must be less than or equal to {MOST_PERIOD_SECONDS}");
            errors.push(FieldError::invalid(join(&at, "periodSeconds"), seconds, why));
        }
    }
    if let Some(tolerance) = quantity(get(rules, "tolerance")).filter(|tolerance| tolerance.sign() < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(join(at, "tolerance"), tolerance.to_string(), why));
    }
}

/// `validateMetricSpec`: one source, and the one that the type says.
fn metric(metric: &Value, at: &str, errors: &mut Errors) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(join(at, "type"), "must specify a metric source type"));
    }
    listed(metric, "type", at, TYPES, errors);
    let present: Vec<&str> = SOURCES.iter().map(|(key, _)| *key).filter(|key| has(metric, key)).collect();
    if let Some(key) = present.first() {
        source(key, get(metric, key), &join(at, key), errors);
    }
    let expected = SOURCES.iter().find(|(_, name)| *name == kind).map(|(key, _)| *key);
    match expected {
        Some(key) if !has(metric, key) => {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(join(at, key), why));
        }
        Some(_) => {}
        None => listed(metric, "type", at, TYPES, errors),
    }
    if present.len() != 1 {
        for key in present.into_iter().filter(|key| Some(*key) != expected) {
            let why = "must populate the given metric source only";
            errors.push(FieldError::forbidden(join(at, key), why));
        }
    }
}

fn source(kind: &str, source: &Value, at: &str, errors: &mut Errors) {
    match kind {
        "object" => {
            reference(get(source, "describedObject"), &join(at, "describedObject"), Versions::All, errors);
        }
        "containerResource" => {
            match text(source, "name") {
                "" => errors.push(FieldError::required(join(at, "name"), "must specify a resource name")),
                name => container::resource_name(name, &join(at, "name"), errors),
            }
            match text(source, "container") {
                "" => errors.push(FieldError::required(join(at, "container"), "must specify a container")),
                name => invalid_each(errors, &join(at, "container"), name, is_dns1123_label(name)),
            }
        }
        "resource" if text(source, "name").is_empty() => {
            errors.push(FieldError::required(join(at, "name"), "must specify a resource name"));
        }
        _ => {}
    }
    if matches!(kind, "object" | "external" | "pods") {
        let (name, at) = (text(get(source, "metric"), "name"), join(at, "metric.name"));
        match name {
            "" => errors.push(FieldError::required(at, "must specify a metric name")),
            name => invalid_each(errors, &at, name, is_path_segment(name, false)),
        }
    }
    let (target, at) = (get(source, "target"), join(at, "target"));
    self::target(target, &at, errors);
    amounts(kind, target, &at, errors);
}

/// Which of its amounts the target of each kind of source has.
fn amounts(kind: &str, target: &Value, at: &str, errors: &mut Errors) {
    let [value, average, utilization] =
        ["value", "averageValue", "averageUtilization"].map(|key| has(target, key));
    let missing = match kind {
        "object" if !value && !average => {
            Some(("averageValue", "must set either a target value or averageValue"))
        }
        "external" if !value && !average => {
            Some(("averageValue", "must set either a target value for metric or a per-pod target"))
        }
        "pods" if !average => Some(("averageValue", "must specify a positive target averageValue")),
        "resource" | "containerResource" if !utilization && !average => {
            Some(("averageUtilization", "must set either a target raw value or a target utilization"))
        }
        _ => None,
    };
    errors.extend(missing.map(|(key, why)| FieldError::required(join(at, key), why)));
    let both = match kind {
        "external" if value && average => {
            Some(("value", "may not set both a target value for metric and a per-pod target"))
        }
        "resource" | "containerResource" if utilization && average => {
            Some(("averageValue", "may not set both a target raw value and a target utilization"))
        }
        _ => None,
    };
    errors.extend(both.map(|(key, why)| FieldError::forbidden(join(at, key), why)));
}

/// `validateMetricTarget`.
fn target(target: &Value, at: &str, errors: &mut Errors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(join(at, "type"), "must specify a metric target type"));
    }
    if !TARGETS.contains(&kind) {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(join(at, "type"), kind, why));
    }
    for key in ["value", "averageValue"] {
        if let Some(amount) = quantity(get(target, key)).filter(|amount| amount.sign() <= 0) {
            errors.push(FieldError::invalid(join(at, key), amount.to_string(), "must be positive"));
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|percent| *percent < 1) {
        errors.push(FieldError::invalid(join(at, "averageUtilization"), percent, "must be greater than 0"));
    }
}
