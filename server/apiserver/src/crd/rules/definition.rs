//! Which rules a definition may not have (`ValidateCustomResourceDefinitionOpenAPISchema`, its part on CEL).

use sampan_api::crd::Schema;
use sampan_api::status::{Cause, FieldError};
use serde_json::{Value, json};

use super::compile::{Node, Rule};
use super::judge;
use crate::value::{at, items};

/// What is wrong with the rules of a definition. Those of a schema that is itself `known` to be wrong are not looked at.
pub(crate) fn errors(definition: &Value, known: &[FieldError]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, version) in items(at(definition, &["spec", "versions"])).iter().enumerate() {
        let place = format!("spec.versions[{index}].schema.openAPIV3Schema");
        let json = at(version, &["schema", "openAPIV3Schema"]);
        let wrong = known.iter().any(|error| error.field.starts_with(&place));
        if json.is_null() || wrong {
            continue;
        }
        let schema = Schema::read(json);
        if schema.has_rules {
            let node = Node::root(json, &schema);
            of_node(&node, &schema, &place, None, &mut errors);
            defaults(&node, &place, &mut errors);
        }
    }
    errors
}

/// `apart`: the nearest list above whose items do not correspond to older ones.
fn of_node(node: &Node, schema: &Schema, place: &str, apart: Option<&str>, errors: &mut Vec<FieldError>) {
    for (name, below) in &node.properties {
        if let Some(field) = schema.properties.get(name) {
            of_node(below, field, &format!("{place}.properties[{name}]"), apart, errors);
        }
    }
    if let (Some(below), Some(sampan_api::crd::Additional::Of(of))) = (&node.additional, &schema.additional) {
        of_node(below, of, &format!("{place}.additionalProperties"), apart, errors);
    }
    if let (Some(below), Some(items)) = (&node.items, &schema.items) {
        let apart = apart.or(node.keys.is_none().then_some(place));
        of_node(below, items, &format!("{place}.items"), apart, errors);
    }
    if node.ty.is_none() && !schema.rules.is_empty() {
        let detail =
            "internal error: failed to retrieve type information for x-kubernetes-validations".into();
        let field = format!("{place}.x-kubernetes-validations");
        errors.push(FieldError { field, cause: Cause::InternalError, value: None, detail });
    }
    for (index, (rule, json)) in node.rules.iter().zip(&schema.rules).enumerate() {
        of_rule(rule, json, &format!("{place}.x-kubernetes-validations[{index}]"), apart, errors);
    }
}

fn of_rule(rule: &Rule, json: &Value, place: &str, apart: Option<&str>, errors: &mut Vec<FieldError>) {
    if let Err(why) = &rule.program {
        errors.push(FieldError::invalid(format!("{place}.rule"), shown(json), why.as_str()));
    }
    if let Some(Err(why)) = &rule.message_expression {
        errors.push(FieldError::invalid(format!("{place}.messageExpression"), shown(json), why.as_str()));
    }
    if rule.uses_old {
        if let Some(apart) = apart {
            let why =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}");
            errors.push(FieldError::invalid(format!("{place}.rule"), rule.source.as_str(), why));
        }
    } else if let Some(given) = json.get("optionalOldSelf").filter(|given| !given.is_null()) {
        let why = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(format!("{place}.optionalOldSelf"), given.clone(), why));
    }
}

/// A rule as upstream prints its internal type.
fn shown(rule: &Value) -> Value {
    let text = |key: &str| rule.get(key).cloned().unwrap_or_else(|| "".into());
    let optional = |key: &str| rule.get(key).cloned().unwrap_or_default();
    json!({
        "Rule": text("rule"), "Message": text("message"), "MessageExpression": text("messageExpression"),
        "Reason": optional("reason"), "FieldPath": text("fieldPath"), "OptionalOldSelf": optional("optionalOldSelf"),
    })
}

/// Defaults obey the rules.
fn defaults(node: &Node, place: &str, errors: &mut Vec<FieldError>) {
    if let Some(default) = &node.default {
        errors.extend(judge::default(node, &format!("{place}.default"), default));
    }
    for (name, below) in &node.properties {
        defaults(below, &format!("{place}.properties[{name}]"), errors);
    }
    if let Some(below) = &node.additional {
        defaults(below, &format!("{place}.additionalProperties"), errors);
    }
    if let Some(below) = &node.items {
        defaults(below, &format!("{place}.items"), errors);
    }
}
