//! What an object comes to under its rules (`cel/validation.go`).

use sampan_api::crd::{Schema, unchanged};
use sampan_api::go::Quote as _;
use sampan_api::status::{Cause, FieldError};
use sampan_cel::{Budget, EvalError, Type, Value as Cel, Vars};
use serde_json::{Map, Value};

use super::compile::{Node, Rule};

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
/// Upstream's `MaxEvaluatedMessageExpressionSizeBytes`.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub errors: Vec<FieldError>,
    /// What is wrong as it was before, and let pass.
    pub warnings: Vec<String>,
}

/// A new object, or with `old` a change.
pub(super) fn object(node: &Node, schema: &Schema, new: &Value, old: Option<&Value>) -> Found {
    let same = Same { here: old.map(|old| Pair { new, old, schema: Some(schema) }), above: None };
    at(node, "", new, old, same, Budget::default())
}

/// The default of a place.
pub(super) fn default(node: &Node, path: &str, value: &Value) -> Vec<FieldError> {
    at(node, path, value, Some(value), Same::default(), Budget::default()).errors
}

pub(super) fn at(
    node: &Node,
    path: &str,
    new: &Value,
    old: Option<&Value>,
    same: Same<'_>,
    budget: Budget,
) -> Found {
    let mut judge = Judge { budget, found: Found::default() };
    let _ = judge.value(node, path, new, old, same);
    judge.found
}

/// The old value that a place corresponds to for ratcheting, and that of the nearest place above that has one.
#[derive(Clone, Copy, Default)]
pub(super) struct Same<'a> {
    here: Option<Pair<'a>>,
    above: Option<Pair<'a>>,
}

#[derive(Clone, Copy)]
struct Pair<'a> {
    new: &'a Value,
    old: &'a Value,
    schema: Option<&'a Schema>,
}

impl<'a> Same<'a> {
    fn holds(self) -> bool {
        self.here.or(self.above).is_some_and(|pair| unchanged(pair.new, pair.old, pair.schema))
    }

    fn key(self, key: &str) -> Self {
        let Some(Pair { new, old, schema }) = self.here else { return self };
        if self.above.is_none() && matches!(key, "apiVersion" | "kind") {
            return Self::default();
        }
        let field = schema.and_then(|schema| schema.field(key));
        let values = new.get(key).zip(old.get(key)).filter(|_| field.is_some());
        Self { here: values.map(|(new, old)| Pair { new, old, schema: field }), above: self.here }
    }

    fn item(self, new: &'a Value, old: Option<&'a Value>) -> Self {
        let Some(Pair { schema, .. }) = self.here else { return self };
        let schema = schema.and_then(|schema| schema.items.as_deref());
        Self { here: old.map(|old| Pair { new, old, schema }), above: self.here }
    }
}

/// No further rules are to be run.
struct Over;

struct Judge {
    budget: Budget,
    found: Found,
}

impl Judge {
    fn value(
        &mut self,
        node: &Node,
        path: &str,
        new: &Value,
        old: Option<&Value>,
        same: Same<'_>,
    ) -> Result<(), Over> {
        // rules on what may be null are its parent's
        if new.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        if let Some(ty) = node.ty.as_ref().filter(|_| !node.rules.is_empty()) {
            let place = Place { node, path, ty, new, old, same };
            if self.budget.left() == 0 {
                return self.stop(place.wrong(OUT_OF_BUDGET));
            }
            node.rules.iter().try_for_each(|rule| self.rule(rule, &place))?;
        }
        match new {
            Value::Object(map) => self.map(node, path, map, old.and_then(Value::as_object), same),
            Value::Array(list) => self.list(node, path, list, old.and_then(Value::as_array), same),
            _ => Ok(()),
        }
    }

    fn map(
        &mut self,
        node: &Node,
        path: &str,
        new: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        same: Same<'_>,
    ) -> Result<(), Over> {
        for (key, value) in new {
            let old = old.and_then(|old| old.get(key));
            if let Some(below) = &node.additional {
                self.value(below, &format!("{path}[{key}]"), value, old, same.key(key))?;
            }
            if let Some(below) = node.properties.get(key) {
                self.value(below, &child(path, key), value, old, same.key(key))?;
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        node: &Node,
        path: &str,
        new: &[Value],
        old: Option<&Vec<Value>>,
        same: Same<'_>,
    ) -> Result<(), Over> {
        let Some(below) = &node.items else { return Ok(()) };
        for (index, item) in new.iter().enumerate() {
            let old = node.keys.as_ref().zip(old).and_then(|(keys, old)| {
                let fits = |old: &&Value| keys.iter().all(|key| old.get(key) == item.get(key));
                old.iter().find(fits)
            });
            self.value(below, &format!("{path}[{index}]"), item, old, same.item(item, old))?;
        }
        Ok(())
    }

    fn stop(&mut self, error: FieldError) -> Result<(), Over> {
        self.found.errors.push(error);
        Err(Over)
    }

    fn rule(&mut self, rule: &Rule, place: &Place<'_>) -> Result<(), Over> {
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.found.errors.push(place.wrong(format!("rule compile error: {why}")));
                return Ok(());
            }
        };
        // a transition is judged only if there was something before
        if rule.uses_old && place.old.is_none() && !rule.optional {
            return Ok(());
        }
        let why = match program.eval(&place.vars(rule), &self.budget) {
            Ok(Cel::Bool(true)) => return Ok(()),
            Ok(_) => return self.failed(rule, place),
            Err(why) => why,
        };
        let shown = rule.shown();
        match why {
            EvalError::Budget => return self.stop(place.wrong(OUT_OF_BUDGET)),
            EvalError::CostLimit => {
                return self.stop(place.wrong(format!(
                    "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                )));
            }
            EvalError::Failed(text) if text.starts_with("no such overload") => {
                self.found.errors.push(place.wrong(format!(
                    "'{text}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                )));
            }
            EvalError::Failed(text) => {
                self.found.errors.push(place.wrong(format!("{text} evaluating rule: {shown}")));
            }
        }
        Ok(())
    }

    fn failed(&mut self, rule: &Rule, place: &Place<'_>) -> Result<(), Over> {
        let path = match rule.field_path.as_str() {
            "" => place.field(),
            below => child(place.path, below),
        };
        let (error, over) = match self.message(rule, place) {
            Ok(message) => (error_for(&rule.reason, path, place.shown(), message), false),
            Err(why) => (FieldError::invalid(path, place.node.type_name, why), true),
        };
        match !rule.uses_old && place.same.holds() {
            true => self.found.warnings.push(error.to_string()),
            false => self.found.errors.push(error),
        }
        if over { Err(Over) } else { Ok(()) }
    }

    /// What to say of a rule that does not hold; an error if making that cost too much.
    fn message(&self, rule: &Rule, place: &Place<'_>) -> Result<String, String> {
        let plain = || match rule.message.is_empty() {
            true => format!("failed rule: {}", rule.shown()),
            false => rule.message.clone(),
        };
        let Some(Ok(program)) = &rule.message_expression else { return Ok(plain()) };
        match program.eval(&place.vars(rule), &self.budget) {
            Err(EvalError::Budget) => {
                Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".into())
            }
            Err(EvalError::CostLimit) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                rule.message_source.quoted()
            )),
            Err(EvalError::Failed(why)) => {
                tracing::debug!(why, rule = rule.source, "messageExpression evaluation failed");
                Ok(plain())
            }
            Ok(made) => {
                let made = made.as_str().unwrap_or_default().trim().to_owned();
                let usable = !made.is_empty() && made.len() <= LONGEST_MESSAGE && !made.contains('\n');
                Ok(if usable { made } else { plain() })
            }
        }
    }
}

/// Where rules are asked, and of what.
struct Place<'a> {
    node: &'a Node,
    path: &'a str,
    ty: &'a Type,
    new: &'a Value,
    old: Option<&'a Value>,
    same: Same<'a>,
}

impl<'a> Place<'a> {
    fn field(&self) -> String {
        if self.path.is_empty() { "<nil>".to_owned() } else { self.path.to_owned() }
    }

    /// Something that is no verdict.
    fn wrong(&self, why: impl Into<String>) -> FieldError {
        FieldError::invalid(self.field(), self.node.type_name, why)
    }

    /// The value as errors show it: objects and lists are not shown.
    fn shown(&self) -> Option<Value> {
        (!matches!(self.node.type_name, "object" | "array")).then(|| self.new.clone())
    }

    fn vars(&self, rule: &Rule) -> Vars<'a> {
        let vars = Vars::new().with("self", Cel::json(self.new, self.ty));
        let old = self.old.map(|old| Cel::json(old, self.ty));
        match (rule.optional, old) {
            (true, old) => vars.with("oldSelf", Cel::optional(old)),
            (false, Some(old)) => vars.with("oldSelf", old),
            (false, None) => vars,
        }
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// `fieldErrorForReason`
fn error_for(reason: &str, field: String, value: Option<Value>, detail: String) -> FieldError {
    match reason {
        "FieldValueForbidden" => FieldError::forbidden(field, detail),
        "FieldValueRequired" => FieldError::required(field, detail),
        "FieldValueDuplicate" => FieldError { field, cause: Cause::Duplicate, value, detail: String::new() },
        _ => FieldError { field, cause: Cause::Invalid, value, detail },
    }
}
