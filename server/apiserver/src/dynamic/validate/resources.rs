//! Rules and selectors of webhooks and policies.

use sampan_api::status::FieldError;
use sampan_api::validation;
use serde_json::Value;

use super::{Errors, one_of};
use crate::value::{at, items, strings};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// `RuleWithOperations`.
pub(super) fn rule(rule: &Value, path: &str, errors: &mut Errors) {
    let list = |key: &str| strings(at(rule, &[key]));
    let operations = list("operations");
    alone(&operations, &format!("{path}.operations"), "operations", errors);
    for (index, operation) in
        operations.iter().enumerate().filter(|(_, one)| !OPERATIONS.contains(&one.as_str()))
    {
        let field = format!("{path}.operations[{index}]");
        errors.push(FieldError::not_supported(field, operation.as_str(), &OPERATIONS));
    }
    alone(&list("apiGroups"), &format!("{path}.apiGroups"), "API groups", errors);
    let versions = list("apiVersions");
    alone(&versions, &format!("{path}.apiVersions"), "API versions", errors);
    for (index, _) in versions.iter().enumerate().filter(|(_, one)| one.is_empty()) {
        errors.push(FieldError::required(format!("{path}.apiVersions[{index}]"), ""));
    }
    resources(&list("resources"), &format!("{path}.resources"), errors);
    one_of(rule, path, "scope", &["*", "Cluster", "Namespaced"], errors);
}

/// There has to be something, and a wildcard is alone.
fn alone(list: &[String], field: &str, others: &str, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(FieldError::required(field, ""));
    }
    if list.len() > 1 && list.iter().any(|one| one == "*") {
        errors.push(FieldError::invalid(
            field,
            list.to_vec(),
            format!("if '*' is present, must not specify other {others}"),
        ));
    }
}

fn resources(list: &[String], field: &str, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(FieldError::required(field, ""));
    }
    let (mut all_of, mut any_of): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut plain = false;
    for (index, one) in list.iter().enumerate() {
        let here = format!("{field}[{index}]");
        if one.is_empty() {
            errors.push(FieldError::required(here, ""));
            continue;
        }
        let Some((resource, subresource)) = one.split_once('/') else {
            plain = one != "*";
            continue;
        };
        if all_of.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {one}");
            errors.push(FieldError::invalid(here.as_str(), one.as_str(), why));
        }
        if any_of.contains(&subresource) {
            let why = format!("if '*/{subresource}' is present, must not specify {one}");
            errors.push(FieldError::invalid(here.as_str(), one.as_str(), why));
        }
        if subresource == "*" {
            all_of.push(resource);
        }
        if resource == "*" {
            any_of.push(subresource);
        }
    }
    let has = |wanted: &str| list.iter().any(|one| one == wanted);
    if list.len() > 1 && has("*/*") {
        errors.push(FieldError::invalid(
            field,
            list.to_vec(),
            "if '*/*' is present, must not specify other resources",
        ));
    }
    if has("*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(field, list.to_vec(), why));
    }
}

/// `MatchResources` of policies and bindings.
pub(super) fn matched(resources: &Value, path: &str, errors: &mut Errors) {
    for (field, words) in [
        ("matchPolicy", Some(["Equivalent", "Exact"])),
        ("namespaceSelector", None),
        ("objectSelector", None),
    ] {
        let value = at(resources, &[field]);
        match words {
            _ if value.is_null() => errors.push(FieldError::required(format!("{path}.{field}"), "")),
            Some(words) => one_of(resources, path, field, &words, errors),
            None => errors.extend(validation::validate_label_selector(value, &format!("{path}.{field}"))),
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, one) in items(at(resources, &[list])).iter().enumerate() {
            named(one, &format!("{path}.{list}[{index}]"), errors);
        }
    }
}

fn named(one: &Value, path: &str, errors: &mut Errors) {
    let names = strings(at(one, &["resourceNames"]));
    for (index, name) in names.iter().enumerate() {
        let field = format!("{path}.resourceNames[{index}]");
        for why in validation::is_path_segment(name, false) {
            errors.push(FieldError::invalid(field.as_str(), name.as_str(), why));
        }
        if names[..index].contains(name) {
            errors.push(FieldError::duplicate(field, name.as_str()));
        }
    }
    rule(one, path, errors);
}
