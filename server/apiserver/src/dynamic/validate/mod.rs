//! What configurations have to be: `pkg/apis/admissionregistration/validation`.
//!
//! Metadata is validated with all kinds'. On update, rules that an object broke before may stay broken, as upstream's.

mod policies;
mod resources;
mod webhooks;

use sampan_api::kinds::Kind;
use sampan_api::status::FieldError;
use serde_json::Value;

pub(crate) use webhooks::ca_error;

use super::expressions::Expression;
use crate::value::{at, items, text};

/// What is wrong with a configuration; `old` is what it was before.
pub(crate) fn errors(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if kind.group == "admissionregistration.k8s.io" {
        match kind.kind {
            "MutatingWebhookConfiguration" => webhooks::check(new, old, true, &mut errors),
            "ValidatingWebhookConfiguration" => webhooks::check(new, old, false, &mut errors),
            "ValidatingAdmissionPolicy" => policies::validating(new, &mut errors),
            "MutatingAdmissionPolicy" => policies::mutating(new, &mut errors),
            "ValidatingAdmissionPolicyBinding" => policies::binding(new, true, &mut errors),
            "MutatingAdmissionPolicyBinding" => policies::binding(new, false, &mut errors),
            _ => {}
        }
    }
    if (kind.group, kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition") {
        webhooks::conversion(new, old, &mut errors);
    }
    errors
}

type Errors = Vec<FieldError>;

/// One of a closed list of words, if it is there.
fn one_of(object: &Value, at_path: &str, field: &str, words: &[&str], errors: &mut Errors) {
    if let Some(value) = object.get(field).filter(|value| !value.is_null()) {
        let known = value.as_str().is_some_and(|value| words.contains(&value));
        if !known {
            errors.push(FieldError::not_supported(format!("{at_path}.{field}"), value.clone(), words));
        }
    }
}

/// An expression that has to compile.
fn compiles(expression: &Expression, field: String, errors: &mut Errors) {
    if let Err(why) = &expression.program {
        errors.push(FieldError::invalid(field, expression.source.as_str(), why.as_str()));
    }
}

/// `matchConditions`.
fn conditions(holder: &Value, path: &str, params: bool, errors: &mut Errors) {
    let all = items(at(holder, &["matchConditions"]));
    let path = format!("{path}.matchConditions");
    if all.len() > 64 {
        errors.push(FieldError::too_many(path.as_str(), all.len(), 64));
    }
    let env = super::expressions::env(params, true);
    let mut names: Vec<&str> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let (name, source) = (text(one, &["name"]), text(one, &["expression"]).trim());
        let here = format!("{path}[{index}]");
        if source.is_empty() {
            errors.push(FieldError::required(format!("{here}.expression"), ""));
        } else {
            let compiled = Expression::new(&env, source, &[sampan_cel::Type::Bool]);
            compiles(&compiled, format!("{here}.expression"), errors);
        }
        if name.is_empty() {
            errors.push(FieldError::required(format!("{here}.name"), ""));
            continue;
        }
        for why in sampan_api::validation::is_qualified_name(name) {
            errors.push(FieldError::invalid(format!("{here}.name"), name, why));
        }
        if names.contains(&name) {
            errors.push(FieldError::duplicate(format!("{here}.name"), name));
        }
        names.push(name);
    }
}

#[cfg(test)]
mod tests;
