//! One of `spec.mutations`: a JSON patch, or an object to be applied. Ported from upstream's `mutating/patch`.

use sampan_api::kinds::Kind;
use sampan_api::patch::{PatchType, apply};
use sampan_api::strict::{Expected, FieldValidation};
use sampan_cel::{Budget, Env, Type, Value};
use serde_json::Value as Json;

use crate::dynamic::expressions::{Expression, Scene};
use crate::dynamic::request;
use crate::value::text;

/// A mutation.
pub(super) enum Mutation {
    /// `applyConfiguration`
    Apply(Expression),
    /// `jsonPatch`
    Patch(Expression),
}

impl Mutation {
    pub(super) fn parse(mutation: &Json, env: &Env) -> Self {
        match text(mutation, &["patchType"]) {
            "JSONPatch" => Self::Patch(json_patch(env, text(mutation, &["jsonPatch", "expression"]))),
            _ => Self::Apply(configuration(env, text(mutation, &["applyConfiguration", "expression"]))),
        }
    }

    /// The object as it makes it.
    pub(super) fn apply<'a>(
        &'a self,
        scene: &Scene<'a>,
        budget: &Budget,
        kind: &'static Kind,
    ) -> Result<Json, String> {
        let (Self::Apply(expression) | Self::Patch(expression)) = self;
        let made = expression.eval(&scene.vars(), budget).map_err(|why| why.to_string())?;
        if matches!(self, Self::Patch(_)) {
            let patch = made.to_json().ok_or("JSONPatch value cannot be converted to JSON")?;
            return request::patched(patch.to_string().as_bytes(), scene.object, kind)
                .map_err(|why| format!("JSON Patch: {why}"));
        }
        check_names(&made, "Object")?;
        let applied = made.to_json().ok_or("applyConfiguration cannot be converted to JSON")?;
        applied_to(scene.object, &applied, kind)
    }
}

/// Compiles an expression of a JSON patch.
pub(in crate::dynamic) fn json_patch(env: &Env, source: &str) -> Expression {
    let mut compiled = Expression::new(env, source, &[]);
    let fits = |ty: &Type| match ty {
        Type::List(item) => matches!(&**item, Type::Dyn) || item.to_string() == "JSONPatch",
        other => matches!(other, Type::Dyn),
    };
    if compiled.program.as_ref().is_ok_and(|program| !fits(program.result_type())) {
        compiled.program = Err("must evaluate to list(JSONPatch)".into());
    }
    compiled
}

/// Compiles an expression of an object to be applied.
pub(in crate::dynamic) fn configuration(env: &Env, source: &str) -> Expression {
    let mut compiled = Expression::new(env, source, &[]);
    let fits = |ty: &Type| matches!(ty, Type::Dyn) || ty.to_string() == "Object";
    if compiled.program.as_ref().is_ok_and(|program| !fits(program.result_type())) {
        compiled.program = Err("must evaluate to Object".into());
    }
    compiled
}

/// A constructed object's type has to name the place that it stands at.
fn check_names(value: &Value<'_>, expected: &str) -> Result<(), String> {
    match value {
        Value::Struct(name, fields) => {
            if &**name != expected {
                return Err(format!(
                    "unexpected type name {name:?}, expected {expected:?}, which matches field name path from root Object type"
                ));
            }
            fields.iter().try_for_each(|(field, inner)| check_names(inner, &format!("{expected}.{field}")))
        }
        Value::List(items) => items.iter().try_for_each(|item| check_names(&item, expected)),
        Value::Map(entries) => entries.entries().try_for_each(|(_, inner)| check_names(&inner, expected)),
        _ => Ok(()),
    }
}

/// The object with all that is applied merged in: maps by key, lists as their type says.
fn applied_to(object: &Json, applied: &Json, kind: &'static Kind) -> Result<Json, String> {
    let expected = Expected { group: kind.group, version: kind.version, kind: kind.kind };
    let body = applied.to_string();
    let body = body.as_bytes();
    let merged = match crate::pipeline::body::spot(kind.schema) {
        Ok(spot) => apply(PatchType::Strategic, body, object, spot, expected, FieldValidation::Strict),
        Err(_) => apply(PatchType::Merge, body, object, (), expected, FieldValidation::Ignore),
    };
    let mut merged = merged.map_err(|why| format!("error applying patch: {}", why.message))?.value;
    crate::strategies::rules::defaults(kind, &mut merged);
    Ok(merged)
}
