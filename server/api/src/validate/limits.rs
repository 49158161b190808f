//! ResourceQuota and LimitRange: `ValidateResourceQuotaSpec`, `ValidateLimitRange`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::access::*;
use crate::quantity::{Format, Quantity};
use crate::quota::{self, Amounts};
use crate::status::FieldError;
use crate::validation::{FIELD_IS_IMMUTABLE, is_qualified_name};

const COMPUTE: &[&str] = &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const STORAGE: &[&str] =
    &["ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage", "requests.storage"];
const EXISTENTIAL: &[&str] = &["BestEffort", "NotBestEffort", "Terminating", "NotTerminating"];
const SCOPES: &[&str] = &[
    "BestEffort",
    "NotBestEffort",
    "Terminating",
    "NotTerminating",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// `IsStandardQuotaResourceName`.
fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name) || COUNTED.contains(&name) || STORAGE.contains(&name) || is_huge_page(name)
}

/// `IsNativeResource`.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_integer(name: &str) -> bool {
    COUNTED.contains(&name) || (!is_native(name) && !name.starts_with("requests."))
}

/// A name without a domain has to be one that is known.
fn resource_name(name: &str, known: bool, unknown: &str, at: &str, errors: &mut Errors) {
    let why = is_qualified_name(name);
    if why.is_empty() && !name.contains('/') && !known {
        errors.push(FieldError::invalid(at, name, unknown));
    }
    invalid_each(errors, at, name, why);
}

/// The spec of a ResourceQuota.
pub(super) fn quota(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    amounts(spec, "hard", "spec", errors);
    let hard: Vec<&str> = entries(spec, "hard").map(|(name, _)| name.as_str()).collect();
    scopes(spec, &hard, errors);
    selector(get(spec, "scopeSelector"), &hard, errors);
}

/// The status of a ResourceQuota.
pub(super) fn quota_status(object: &Value, errors: &mut Errors) {
    for list in ["hard", "used"] {
        amounts(get(object, "status"), list, "status", errors);
    }
}

/// What a ResourceQuota is about stays.
pub(super) fn quota_update(new: &Value, old: &Value, errors: &mut Errors) {
    let set = |object: &Value| -> BTreeSet<String> {
        list(get(object, "spec"), "scopes").iter().filter_map(|s| s.as_str().map(str::to_owned)).collect()
    };
    if set(new) != set(old) {
        let scopes = get(get(new, "spec"), "scopes").clone();
        errors.push(FieldError::invalid("spec.scopes", scopes, FIELD_IS_IMMUTABLE));
    }
}

fn amounts(holder: &Value, key: &str, at: &str, errors: &mut Errors) {
    for (name, amount) in entries(holder, key) {
        let at = format!("{}[{name}]", join(at, key));
        resource_name(name, is_standard(name), "must be a standard resource for quota", &at, errors);
        let Ok(quantity) = Quantity::from_value(amount) else { continue };
        if quantity < Quantity::ZERO {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(at.as_str(), quantity.to_string(), why));
        }
        if is_integer(name) && !quantity.is_whole() {
            errors.push(FieldError::invalid(at.as_str(), quantity.to_string(), "must be an integer"));
        }
    }
}

/// `IsResourceQuotaScopeValidForResource`, of names that are known.
fn fits(scope: &str, resource: &str) -> bool {
    if !is_standard(resource) {
        return true;
    }
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => resource == "pods" || COMPUTE.contains(&resource),
        _ => true,
    }
}

/// Scopes of which no object has both.
fn contradict(scopes: &[&str]) -> usize {
    let pairs = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];
    pairs.iter().filter(|(a, b)| scopes.contains(a) && scopes.contains(b)).count()
}

fn scopes(spec: &Value, hard: &[&str], errors: &mut Errors) {
    let all: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let mut wrong =
        |why: &str| errors.push(FieldError::invalid("spec.scopes", get(spec, "scopes").clone(), why));
    for scope in &all {
        if !SCOPES.contains(scope) {
            wrong("unsupported scope");
        }
        for _ in hard.iter().filter(|resource| !fits(scope, resource)) {
            wrong("unsupported scope applied to resource");
        }
    }
    for _ in 0..contradict(&all) {
        wrong("conflicting scopes");
    }
}

fn selector(selector: &Value, hard: &[&str], errors: &mut Errors) {
    let at = "spec.scopeSelector.matchExpressions";
    let expressions = list(selector, "matchExpressions");
    for expression in expressions {
        let scope = text(expression, "scopeName");
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(format!("{at}.scopeName"), scope, "unsupported scope"));
        }
        for _ in hard.iter().filter(|resource| !fits(scope, resource)) {
            errors.push(FieldError::invalid(at, selector.clone(), "unsupported scope applied to resource"));
        }
        operator(scope, expression, at, errors);
    }
    let names: Vec<&str> = expressions.iter().map(|expression| text(expression, "scopeName")).collect();
    for _ in 0..contradict(&names) {
        errors.push(FieldError::invalid(at, selector.clone(), "conflicting scopes"));
    }
}

fn operator(scope: &str, expression: &Value, at: &str, errors: &mut Errors) {
    let (operator, values) = (text(expression, "operator"), list(expression, "values"));
    if EXISTENTIAL.contains(&scope) && operator != "Exists" {
        let why = "must be 'Exist' only operator when scope is any of ResourceQuotaScopeTerminating, \
                   ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort and ResourceQuotaScopeNotBestEffort";
        errors.push(FieldError::invalid(format!("{at}.operator"), operator, why));
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(format!("{at}.values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(format!("{at}.values"), get(expression, "values").clone(), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let why = "not a valid selector operator";
            errors.push(FieldError::invalid(format!("{at}.operator"), other, why));
        }
    }
}

/// A LimitRange.
pub(super) fn limit_range(object: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, limit) in each(get(object, "spec"), "limits", "spec") {
        let kind = text(limit, "type");
        let known = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind);
        let unknown = "must be a standard limit type or fully qualified";
        resource_name(kind, known, unknown, &join(&at, "type"), errors);
        if !seen.insert(kind.to_owned()) {
            errors.push(FieldError::duplicate(join(&at, "type"), kind));
        }
        limit_item(kind, limit, &at, errors);
    }
}

fn limit_item(kind: &str, limit: &Value, at: &str, errors: &mut Errors) {
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if kind == "Pod" && list.starts_with("default") {
            if entries(limit, list).next().is_some() {
                let why = "may not be specified when `type` is 'Pod'";
                errors.push(FieldError::forbidden(join(at, list), why));
            }
            continue;
        }
        for (name, _) in entries(limit, list) {
            let at = format!("{}[{name}]", join(at, list));
            let (known, unknown) = match kind {
                "Pod" | "Container" => (
                    ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) || is_huge_page(name),
                    "must be a standard resource for containers",
                ),
                _ => (
                    is_standard(name) || name == "storage",
                    "must be a standard resource type or fully qualified",
                ),
            };
            resource_name(name, known, unknown, &at, errors);
        }
    }
    let found = |list: &str| entries(limit, list).any(|(name, _)| name == "storage");
    if kind == "PersistentVolumeClaim" && !found("min") && !found("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(join(at, "limits"), why));
    }
    relations(kind, limit, at, errors);
}

/// How the amounts of one limit have to stand to each other.
fn relations(kind: &str, limit: &Value, at: &str, errors: &mut Errors) {
    let read = |list: &str| match kind {
        "Pod" if list.starts_with("default") => Amounts::new(),
        _ => quota::read(get(limit, list)),
    };
    let (min, max, ratios) = (read("min"), read("max"), read("maxLimitRequestRatio"));
    let (caps, requests) = (read("default"), read("defaultRequest"));
    let names: BTreeSet<&String> =
        [&min, &max, &ratios, &caps, &requests].into_iter().flat_map(|amounts| amounts.keys()).collect();
    for name in names {
        let of = |amounts: &Amounts| amounts.get(name).copied();
        let mut wrong = |list: &str, value: Quantity, why: String| {
            errors.push(FieldError::invalid(format!("{}[{name}]", join(at, list)), value.to_string(), why));
        };
        let (min, max, cap, request) = (of(&min), of(&max), of(&caps), of(&requests));
        for (low, low_word, high, high_word, list, shown) in [
            (min, "min", max, "max", "min", min),
            (min, "min", request, "default request", "defaultRequest", request),
            (request, "default request", max, "max", "defaultRequest", request),
            (request, "default request", cap, "default limit", "defaultRequest", request),
            (min, "min", cap, "default", "default", min),
            (cap, "default", max, "max", "default", max),
        ] {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low > high
            {
                let why = format!("{low_word} value {low} is greater than {high_word} value {high}");
                wrong(list, shown, why);
            }
        }
        if let Some(ratio) = of(&ratios) {
            if ratio < Quantity::new(1, Format::DecimalSI) {
                wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
            }
            let most = min.zip(max).map(|(min, max)| max.as_f64() / min.as_f64());
            if let Some(most) = most.filter(|most| ratio.as_f64() > *most) {
                let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
                wrong("maxLimitRequestRatio", ratio, why);
            }
        }
        if let (Some(cap), Some(request)) = (cap, request)
            && (!is_native(name) || is_huge_page(name))
            && cap != request
        {
            let why = format!("default value {cap} must equal to defaultRequest value {request} in {name}");
            wrong("defaultRequest", request, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(rule: fn(&Value, &mut Errors), object: Value, want: &[&str]) {
        let mut errors = Vec::new();
        rule(&object, &mut errors);
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn quotas_limit_what_is_known() {
        let hard = |hard: Value| json!({"spec": {"hard": hard}});
        check(
            quota,
            hard(json!({"pods": "1", "count/deployments.apps": "1", "requests.nvidia.com/gpu": "1",
                "x.storageclass.storage.k8s.io/requests.storage": "1Gi", "limits.ephemeral-storage": "1Gi"})),
            &[],
        );
        check(
            quota,
            hard(json!({"deployments": "1", "pods": "1500m", "cpu": "-1"})),
            &[
                "spec.hard[deployments]: Invalid value: \"deployments\": must be a standard resource for quota",
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
                "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        );
    }

    #[test]
    fn scopes_fit_what_is_limited() {
        let with = |hard: Value, scopes: Value| json!({"spec": {"hard": hard, "scopes": scopes}});
        check(quota, with(json!({"pods": "1"}), json!(["BestEffort", "Terminating"])), &[]);
        check(
            quota,
            with(json!({"cpu": "1"}), json!(["BestEffort", "NotBestEffort"])),
            &[
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes",
            ],
        );
        let selected = |expression: Value| json!({"spec": {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}}});
        check(quota, selected(json!({"scopeName": "PriorityClass", "operator": "In", "values": ["a"]})), &[]);
        check(
            quota,
            selected(json!({"scopeName": "PriorityClass", "operator": "In"})),
            &[
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ],
        );
        let mut errors = Vec::new();
        let (new, old) = (with(json!({}), json!(["BestEffort"])), with(json!({}), json!([])));
        quota_update(&new, &old, &mut errors);
        assert_eq!(errors[0].to_string(), "spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable");
    }

    #[test]
    fn limits_stand_to_each_other() {
        let limits = |limits: Value| json!({"spec": {"limits": limits}});
        check(
            limit_range,
            limits(json!([
                {"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "2"}},
                {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
            ])),
            &[],
        );
        check(
            limit_range,
            limits(json!([
                {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"memory": "500m"}},
                {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}},
                {"type": "Pod", "default": {"cpu": "1"}},
                {"type": "PersistentVolumeClaim"},
                {"type": "Boat"},
            ])),
            &[
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                "spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: \"500m\": ratio 500m is less than 1",
                "spec.limits[1].type: Duplicate value: \"Container\"",
                "spec.limits[1].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default limit value 1",
                "spec.limits[2].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[3].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                "spec.limits[4].type: Invalid value: \"Boat\": must be a standard limit type or fully qualified",
            ],
        );
    }
}
