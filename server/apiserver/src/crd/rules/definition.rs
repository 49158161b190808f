//! Which rules a definition may not have (`ValidateCustomResourceDefinitionOpenAPISchema`, its part on CEL).

use sampan_api::crd::{Additional, Schema};
use sampan_api::status::{Cause, FieldError};
use sampan_cel::{Bound, escape};
use serde_json::{Value, json};

use super::compile::{Node, Rule};
use super::costs::{Costs, Count, inside};
use super::judge;
use crate::value::{at, items};

/// What is wrong with the rules of a definition. Those of a schema that is itself `known` to be wrong are not looked at;
/// what those of a schema cost that `old` had as well is accepted.
pub(crate) fn errors(definition: &Value, old: Option<&Value>, known: &[FieldError]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, version) in items(at(definition, &["spec", "versions"])).iter().enumerate() {
        let place = format!("spec.versions[{index}].schema.openAPIV3Schema");
        let json = at(version, &["schema", "openAPIV3Schema"]);
        let wrong = known.iter().any(|error| error.field.starts_with(&place));
        if json.is_null() || wrong {
            continue;
        }
        let schema = Schema::read(json);
        if !schema.has_rules {
            continue;
        }
        let node = Node::root(json, &schema);
        let bound = Bound::of(json);
        let mut walk = Walk { errors: Vec::new(), costs: Costs::default() };
        let spot = Spot { place: &place, apart: None, bound: Some(&bound), count: Some(1) };
        walk.node(&node, &schema, spot);
        if !items(at(old.unwrap_or(&Value::Null), &["spec", "versions"])).iter().any(|old| same(old, version))
        {
            walk.costs.together(&place, &mut walk.errors);
        } else {
            walk.errors.retain(|error| error.cause != Cause::Forbidden);
        }
        errors.extend(walk.errors);
        defaults(&node, &place, &mut errors);
    }
    errors
}

/// Whether a version has the schema that it had.
fn same(old: &Value, new: &Value) -> bool {
    old.get("name") == new.get("name") && old.get("schema") == new.get("schema")
}

/// A place of a schema.
#[derive(Clone, Copy)]
struct Spot<'a> {
    place: &'a str,
    /// The nearest list above whose items do not correspond to older ones.
    apart: Option<&'a str>,
    /// How much a value may hold, and how many values there may be.
    bound: Option<&'a Bound>,
    count: Count,
}

struct Walk {
    errors: Vec<FieldError>,
    costs: Costs,
}

impl Walk {
    fn node(&mut self, node: &Node, schema: &Schema, spot: Spot<'_>) {
        let place = spot.place;
        for (name, below) in &node.properties {
            if let Some(field) = schema.properties.get(name) {
                let bound = escape(name).and_then(|name| spot.bound?.fields.get(&name));
                self.node(
                    below,
                    field,
                    Spot { place: &format!("{place}.properties[{name}]"), bound, ..spot },
                );
            }
        }
        let bound = spot.bound.and_then(|bound| bound.element.as_deref());
        let held = Spot { bound, count: inside(spot.count, spot.bound), ..spot };
        if let (Some(below), Some(Additional::Of(of))) = (&node.additional, &schema.additional) {
            self.node(below, of, Spot { place: &format!("{place}.additionalProperties"), ..held });
        }
        if let (Some(below), Some(items)) = (&node.items, &schema.items) {
            let apart = spot.apart.or(node.keys.is_none().then_some(place));
            self.node(below, items, Spot { place: &format!("{place}.items"), apart, ..held });
        }
        if node.ty.is_none() && !schema.rules.is_empty() {
            let detail =
                "internal error: failed to retrieve type information for x-kubernetes-validations".into();
            let field = format!("{place}.x-kubernetes-validations");
            self.errors.push(FieldError { field, cause: Cause::InternalError, value: None, detail });
        }
        for (index, (rule, json)) in node.rules.iter().zip(&schema.rules).enumerate() {
            let here = format!("{place}.x-kubernetes-validations[{index}]");
            self.costs.rule(rule, &here, spot.bound, spot.count, &mut self.errors);
            of_rule(rule, json, &here, spot.apart, &mut self.errors);
        }
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
