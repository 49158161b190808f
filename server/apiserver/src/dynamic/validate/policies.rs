//! Policies and bindings.

use sampan_api::status::FieldError;
use sampan_api::validation;
use sampan_cel::Type;
use serde_json::Value;

use super::{Errors, compiles, conditions, one_of, resources};
use crate::dynamic::expressions::Expression;
use crate::dynamic::policies::{Envs, configuration, json_patch};
use crate::value::{at, items, meta, strings, text};

const BOTH: &str = "validations or auditAnnotations must contain at least one item";

pub(super) fn validating(policy: &Value, errors: &mut Errors) {
    let spec = at(policy, &["spec"]);
    let envs = common(spec, false, errors);
    let (validations, annotations) =
        (items(at(spec, &["validations"])), items(at(spec, &["auditAnnotations"])));
    if validations.is_empty() && annotations.is_empty() {
        errors.push(FieldError::required("spec.validations", BOTH));
        errors.push(FieldError::required("spec.auditAnnotations", BOTH));
    }
    for (index, one) in validations.iter().enumerate() {
        validation(one, &envs, &format!("spec.validations[{index}]"), errors);
    }
    if annotations.len() > 20 {
        let why = "must not have more than 20 auditAnnotations";
        errors.push(FieldError::invalid("spec.auditAnnotations", annotations.to_vec(), why));
    }
    for (index, one) in annotations.iter().enumerate() {
        let path = format!("spec.auditAnnotations[{index}]");
        annotation(one, meta(policy, "name"), &envs, &path, errors);
        let key = text(one, &["key"]);
        if annotations[..index].iter().any(|other| text(other, &["key"]) == key) {
            errors.push(FieldError::duplicate(format!("{path}.key"), key));
        }
    }
}

pub(super) fn mutating(policy: &Value, errors: &mut Errors) {
    let spec = at(policy, &["spec"]);
    let envs = common(spec, true, errors);
    let mutations = items(at(spec, &["mutations"]));
    if mutations.is_empty() {
        errors.push(FieldError::required("spec.mutations", "mutations must contain at least one item"));
    }
    for (index, one) in mutations.iter().enumerate() {
        mutation(one, &envs, &format!("spec.mutations[{index}]"), errors);
    }
    match text(spec, &["reinvocationPolicy"]) {
        "" => errors.push(FieldError::required("spec.reinvocationPolicy", "")),
        _ => one_of(spec, "spec", "reinvocationPolicy", &["IfNeeded", "Never"], errors),
    }
}

/// What both sorts share; the environments of what comes after.
fn common(spec: &Value, mutation: bool, errors: &mut Errors) -> Envs {
    if at(spec, &["failurePolicy"]).is_null() {
        errors.push(FieldError::required("spec.failurePolicy", ""));
    }
    one_of(spec, "spec", "failurePolicy", &["Fail", "Ignore"], errors);
    let params = at(spec, &["paramKind"]);
    if params.is_object() {
        param_kind(params, errors);
    }
    let matched = at(spec, &["matchConstraints"]);
    if matched.is_null() {
        errors.push(FieldError::required("spec.matchConstraints", ""));
    } else {
        resources::matched(matched, "spec.matchConstraints", errors);
        if items(at(matched, &["resourceRules"])).is_empty() {
            errors.push(FieldError::required("spec.matchConstraints.resourceRules", ""));
        }
    }
    conditions(spec, "spec", params.is_object(), errors);
    let mut envs = Envs::new(params.is_object(), mutation);
    for (index, one) in items(at(spec, &["variables"])).iter().enumerate() {
        variable(one, &mut envs, &format!("spec.variables[{index}]"), errors);
    }
    envs
}

fn param_kind(kind: &Value, errors: &mut Errors) {
    let (version, name) = (text(kind, &["apiVersion"]), text(kind, &["kind"]));
    let field = "spec.paramKind.apiVersion";
    let (group, short) = version.split_once('/').unwrap_or(("", version));
    if version.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if short.contains('/') {
        errors.push(FieldError::invalid(
            field,
            version,
            format!("unexpected GroupVersion string: {version}"),
        ));
    } else {
        let wrong = validation::is_dns1123_subdomain(group);
        if !group.is_empty() && !wrong.is_empty() {
            errors.push(FieldError::invalid(field, group, wrong.join(",")));
        }
        let wrong = validation::is_dns1035_label(short);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(field, short, wrong.join(",")));
        }
    }
    let wrong = validation::is_dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.push(FieldError::required("spec.paramKind.kind", ""));
    } else if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.push(FieldError::invalid("spec.paramKind.kind", name, why));
    }
}

fn variable(one: &Value, envs: &mut Envs, path: &str, errors: &mut Errors) {
    let (name, source) = (text(one, &["name"]), text(one, &["expression"]));
    if name.trim().is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), "name is not specified"));
    } else if !is_identifier(name) {
        errors.push(FieldError::invalid(format!("{path}.name"), name, "name is not a valid CEL identifier"));
    }
    if source.trim().is_empty() {
        errors.push(FieldError::required(format!("{path}.expression"), "expression is not specified"));
    } else {
        compiles(&envs.variable(name, source), format!("{path}.expression"), errors);
    }
}

fn is_identifier(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(word)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !sampan_cel::is_reserved(name)
}

fn validation(one: &Value, envs: &Envs, path: &str, errors: &mut Errors) {
    let (source, message) = (text(one, &["expression"]), text(one, &["message"]));
    let made = text(one, &["messageExpression"]);
    if source.trim().is_empty() {
        errors.push(FieldError::required(format!("{path}.expression"), "expression is not specified"));
    } else {
        compiles(
            &Expression::new(&envs.env(true), source, &[Type::Bool]),
            format!("{path}.expression"),
            errors,
        );
    }
    let field = format!("{path}.messageExpression");
    if !made.is_empty() && made.trim().is_empty() {
        errors.push(FieldError::invalid(field, made, "must be non-empty if specified"));
    } else if !made.is_empty() {
        compiles(&Expression::new(&envs.env(false), made, &[Type::String]), field, errors);
    }
    let field = format!("{path}.message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid(field, message, "message must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(FieldError::invalid(field, message, "message must not contain line breaks"));
    }
    one_of(one, path, "reason", &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"], errors);
}

fn annotation(one: &Value, policy: &str, envs: &Envs, path: &str, errors: &mut Errors) {
    let (key, whole) = (text(one, &["key"]), text(one, &["valueExpression"]));
    let field = format!("{path}.key");
    if policy.is_empty() {
        errors.push(FieldError::invalid(field, key, "requires metadata.name be non-empty"));
    } else {
        let name = format!("{policy}/{key}");
        for why in validation::is_qualified_name(&name) {
            errors.push(FieldError::invalid(field.as_str(), name.as_str(), why));
        }
    }
    let (field, source) = (format!("{path}.valueExpression"), whole.trim());
    if source.is_empty() {
        errors.push(FieldError::required(field, "valueExpression is not specified"));
    } else if source.len() > 5 * 1024 {
        errors.push(FieldError::required(field, "must not exceed 5120 bytes in length"));
    } else {
        compiles(&Expression::new(&envs.env(true), source, &[Type::String, Type::Null]), field, errors);
    }
}

fn mutation(one: &Value, envs: &Envs, path: &str, errors: &mut Errors) {
    let other = |field: &str, errors: &mut Errors| {
        if at(one, &[field]).is_object() {
            let why = format!("must not be specified when patchType is {}", text(one, &["patchType"]));
            errors.push(FieldError::invalid(format!("{path}.{field}"), at(one, &[field]).clone(), why));
        }
    };
    let (field, compile): (_, fn(&sampan_cel::Env, &str) -> Expression) = match text(one, &["patchType"]) {
        "" => return errors.push(FieldError::required(format!("{path}.patchType"), "")),
        "ApplyConfiguration" => ("applyConfiguration", configuration),
        "JSONPatch" => ("jsonPatch", json_patch),
        _ => return one_of(one, path, "patchType", &["ApplyConfiguration", "JSONPatch"], errors),
    };
    other(if field == "jsonPatch" { "applyConfiguration" } else { "jsonPatch" }, errors);
    if at(one, &[field]).is_null() {
        let why = format!("must be specified when patchType is {}", text(one, &["patchType"]));
        return errors.push(FieldError::required(format!("{path}.{field}"), why));
    }
    let source = text(one, &[field, "expression"]);
    let place = format!("{path}.{field}.expression");
    if source.trim().is_empty() {
        return errors.push(FieldError::required(place, "expression is not specified"));
    }
    compiles(&compile(&envs.env(true), source), place, errors);
}

pub(super) fn binding(binding: &Value, validating: bool, errors: &mut Errors) {
    let spec = at(binding, &["spec"]);
    let name = text(spec, &["policyName"]);
    if name.is_empty() {
        errors.push(FieldError::required("spec.policyName", ""));
    } else {
        for why in validation::is_dns1123_subdomain(name) {
            errors.push(FieldError::invalid("spec.policyName", name, why));
        }
    }
    let reference = at(spec, &["paramRef"]);
    if reference.is_object() {
        param_ref(reference, errors);
    }
    let matched = at(spec, &["matchResources"]);
    if matched.is_object() {
        // upstream's spelling
        resources::matched(matched, "spec.matchResouces", errors);
    }
    if validating {
        actions(&strings(at(spec, &["validationActions"])), errors);
    }
}

fn param_ref(reference: &Value, errors: &mut Errors) {
    let (name, selector) = (text(reference, &["name"]), at(reference, &["selector"]));
    let exclusive = "name and selector are mutually exclusive";
    for why in validation::is_path_segment(name, false) {
        errors.push(FieldError::invalid("spec.paramRef.name", name, why));
    }
    match (name.is_empty(), selector.is_object()) {
        (true, false) => {
            errors.push(FieldError::required("spec.paramRef", "one of name or selector must be specified"))
        }
        (false, true) => {
            errors.push(FieldError::forbidden("spec.paramRef.name", exclusive));
            errors.push(FieldError::forbidden("spec.paramRef.selector", exclusive));
        }
        _ => {}
    }
    if selector.is_object() {
        errors.extend(validation::validate_label_selector(selector, "spec.paramRef.selector"));
    }
    match text(reference, &["parameterNotFoundAction"]) {
        "" => errors.push(FieldError::required("spec.paramRef.parameterNotFoundAction", "")),
        _ => one_of(reference, "spec.paramRef", "parameterNotFoundAction", &["Allow", "Deny"], errors),
    }
}

fn actions(actions: &[String], errors: &mut Errors) {
    let known = ["Audit", "Deny", "Warn"];
    for (index, action) in actions.iter().enumerate() {
        let field = format!("spec.validationActions[{index}]");
        if !known.contains(&action.as_str()) {
            errors.push(FieldError::not_supported(field.as_str(), action.as_str(), &known));
        }
        if actions[..index].contains(action) {
            errors.push(FieldError::duplicate(field, action.as_str()));
        }
    }
    let has = |wanted: &str| actions.iter().any(|action| action == wanted);
    if has("Deny") && has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid("spec.validationActions", actions.to_vec(), why));
    }
    if actions.is_empty() {
        errors.push(FieldError::required(
            "spec.validationActions",
            "at least one validation action is required",
        ));
    }
}
