//! One of `spec.mutations`: a JSON patch, or an object to be applied. Ported from upstream's `mutating/patch`.

use sampan_api::apply::Shape;
use sampan_api::kinds::Kind;
use sampan_api::strict::{Spot, conform};
use sampan_cel::{Budget, Env, Type, Value};
use serde_json::Value as Json;

use super::merge;
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
        check_names(&made, "Object").map_err(|why| format!("type mismatch: {why}"))?;
        let applied = made.to_json().ok_or("applyConfiguration cannot be converted to JSON")?;
        applied_to(scene.object, &applied, kind)
    }
}

/// Compiles an expression of a JSON patch.
pub(in crate::dynamic) fn json_patch(env: &Env, source: &str) -> Expression {
    let mut compiled = Expression::new(env, source, &[]);
    let fits = |ty: &Type| match ty {
        Type::List(item, _) => matches!(&**item, Type::Dyn) || item.to_string() == "JSONPatch",
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

/// A constructed object's type has to name the place that it stands at; of a list's items also as `….item`.
fn check_names(value: &Value<'_>, expected: &str) -> Result<(), String> {
    match value {
        Value::Struct(name, fields) => {
            if name.strip_suffix(".item").unwrap_or(name) != expected {
                return Err(format!(
                    "unexpected type name {name:?}, expected {expected:?}, which matches field name path from root Object type"
                ));
            }
            fields.iter().try_for_each(|(field, inner)| match inner {
                Value::List(items) => {
                    items.iter().try_for_each(|item| check_names(&item, &format!("{name}.{field}")))
                }
                inner => check_names(inner, &format!("{name}.{field}")),
            })
        }
        Value::List(items) => items.iter().try_for_each(|item| check_names(&item, expected)),
        Value::Map(entries) => entries.entries().try_for_each(|(_, inner)| check_names(&inner, expected)),
        _ => Ok(()),
    }
}

/// The object with all that is applied merged in: maps by key, lists as their type says.
fn applied_to(object: &Json, applied: &Json, kind: &'static Kind) -> Result<Json, String> {
    let own = text(object, &["kind"]) == kind.kind;
    let version = kind.custom.and_then(|custom| custom.version()).filter(|_| own);
    let root = sampan_api::fields::type_of(kind.schema).filter(|_| own && version.is_none());
    let shape = match &version {
        Some(version) => Shape::Other(version.root()),
        None => root.and_then(|_| Shape::root(kind.schema)).unwrap_or(Shape::Deduced),
    };
    let whole = merge::atomics(applied, shape);
    if !whole.is_empty() {
        let places = whole.join(", ");
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {places}"
        ));
    }
    let mut merged = object.clone();
    merge::merge(&mut merged, applied, shape);
    let refused =
        |why: String| format!("error applying patch: failed to convert patch object to typed object: {why}");
    if let Some(version) = &version {
        sampan_api::crd::conform(&mut merged, version.schema(), kind.into())
            .map_err(|why| refused(why.message))?;
    }
    if let Some(root) = root {
        let unknown = conform(&mut merged, Spot::of(root)).map_err(refused)?;
        if !unknown.is_empty() {
            return Err(refused(unknown.join(", ")));
        }
    }
    request::settled(merged, object, kind)
}

#[cfg(test)]
mod tests {
    use sampan_api::kinds;
    use sampan_cel::Vars;
    use serde_json::json;

    use super::*;
    use crate::dynamic::policies::Envs;

    /// What applying the expression to a Pod makes of it.
    fn applied(expression: &str) -> Result<Json, String> {
        let expression = configuration(&Envs::new(false, true).env(true), expression);
        let program = expression.program.as_ref().map_err(Clone::clone)?;
        let made = program.eval(&Vars::new(), &Budget::default()).map_err(|why| why.to_string())?;
        check_names(&made, "Object")?;
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"containers": [
            {"name": "one", "image": "i"}, {"name": "two", "image": "j"}]}});
        let kind = kinds::by_kind("", "v1", "Pod").ok_or("no kind")?;
        applied_to(&pod, &made.to_json().ok_or("no JSON")?, kind)
    }

    #[test]
    fn lists_are_merged_by_their_keys() {
        for item in ["Object.spec.containers", "Object.spec.containers.item"] {
            let pod = applied(&format!(
                "Object{{spec: Object.spec{{containers: [{item}{{name: 'two', image: 'k'}}]}}}}"
            ));
            let pod = pod.expect(item);
            let images: Vec<&Json> = ["/spec/containers/0/image", "/spec/containers/1/image"]
                .iter()
                .filter_map(|path| pod.pointer(path))
                .collect();
            assert_eq!(pod["spec"]["containers"].as_array().map(Vec::len), Some(2), "{pod}");
            assert!(images.contains(&&json!("i")) && images.contains(&&json!("k")), "{pod}");
        }
    }

    #[test]
    fn types_name_their_places() {
        let wrong = applied("Object{spec: Object.metadata{}}").expect_err("a wrong place");
        assert!(
            wrong.starts_with("unexpected type name \"Object.metadata\", expected \"Object.spec\""),
            "{wrong}"
        );
        assert_eq!(applied("'a'").expect_err("no object"), "must evaluate to Object");
    }
}
