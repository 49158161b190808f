//! One of `spec.mutations`: a JSON patch, or an object to be applied. Ported from upstream's `mutating/patch`.

use sampan_api::apply::{Shape, validate};
use sampan_api::go::Quote as _;
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
            return match request::patched(patch.to_string().as_bytes(), scene.object, kind) {
                // who tests says when there is something to patch
                Err(why) if why.ends_with(": test failed") => Ok(scene.object.clone()),
                patched => patched.map_err(|why| format!("JSON Patch: {why}")),
            };
        }
        if !matches!(made, Value::Struct(..)) {
            let ty = made.type_name();
            return Err(format!("unsupported return type from ApplyConfiguration expression: {ty}"));
        }
        check_names(&made)?;
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

/// A constructed object's type has to name the place that it stands at; lists and maps between are no places.
fn check_names(made: &Value<'_>) -> Result<(), String> {
    let mut wrong = Vec::new();
    misnamed(made, "Object", &mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(format!("type mismatch: {}", wrong.join("\n"))) }
}

fn misnamed(value: &Value<'_>, place: &str, wrong: &mut Vec<String>) {
    match value {
        Value::Struct(name, fields) => {
            if &**name != place {
                wrong.push(format!(
                    "unexpected type name {}, expected {}, which matches field name path from root Object type",
                    name.quoted(),
                    place.quoted()
                ));
            }
            fields.iter().for_each(|(field, inner)| misnamed(inner, &format!("{place}.{field}"), wrong));
        }
        Value::List(items) => items.iter().for_each(|item| misnamed(&item, place, wrong)),
        Value::Map(entries) => entries.entries().for_each(|(_, inner)| misnamed(&inner, place, wrong)),
        _ => {}
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
    let mut applied = applied.clone();
    for field in ["apiVersion", "kind"] {
        applied[field] = object.get(field).cloned().unwrap_or_default();
    }
    let refused = |why: String| format!("error applying patch: {why}");
    validate(shape, &applied)
        .map_err(|why| refused(format!("failed to convert patch object to typed object: {why}")))?;
    let whole = merge::atomics(&applied, shape);
    if !whole.is_empty() {
        let places = whole.join(", ");
        return Err(refused(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {places}"
        )));
    }
    let mut merged = object.clone();
    merge::merge(&mut merged, &applied, shape);
    if let Some(version) = &version {
        sampan_api::crd::conform(&mut merged, version.schema(), kind.into())
            .map_err(|why| refused(why.message))?;
    }
    if let Some(root) = root {
        // what is not known was refused above
        conform(&mut merged, Spot::of(root))?;
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
        check_names(&made)?;
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"containers": [
            {"name": "one", "image": "i"}, {"name": "two", "image": "j"}]}});
        let kind = kinds::by_kind("", "v1", "Pod").ok_or("no kind")?;
        applied_to(&pod, &made.to_json().ok_or("no JSON")?, kind)
    }

    #[test]
    fn lists_are_merged_by_their_keys() {
        let pod = applied(
            "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'two', image: 'k'}]}}",
        );
        let pod = pod.expect("it fits");
        let images: Vec<&Json> = ["/spec/containers/0/image", "/spec/containers/1/image"]
            .iter()
            .filter_map(|path| pod.pointer(path))
            .collect();
        assert_eq!(pod["spec"]["containers"].as_array().map(Vec::len), Some(2), "{pod}");
        assert!(images.contains(&&json!("i")) && images.contains(&&json!("k")), "{pod}");
    }

    #[test]
    fn what_does_not_fit_is_refused_in_upstreams_words() {
        let misnamed = |name: &str, place: &str| {
            format!(
                "unexpected type name \"{name}\", expected \"{place}\", which matches field name path from root Object type"
            )
        };
        let unfit = "error applying patch: failed to convert patch object to typed object: ";
        #[rustfmt::skip]
        let cases = [
            ("'a'", "must evaluate to Object".to_owned()),
            ("Object{spec: Object.metadata{}}", format!("type mismatch: {}", misnamed("Object.metadata", "Object.spec"))),
            (
                "Object{spec: Object.a{containers: [Object.spec.containers.item{}]}}",
                format!("type mismatch: {}\n{}", misnamed("Object.a", "Object.spec"),
                    misnamed("Object.spec.containers.item", "Object.spec.containers")),
            ),
            ("Object{spec: Object.spec{nope: 1}}", format!("{unfit}.spec.nope: field not declared in schema")),
            (
                "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'one', nope: 1}], hostNetwork: 'x'}}",
                format!("{unfit}errors:\n  .spec.containers[name=\"one\"].nope: field not declared in schema\n  \
                    .spec.hostNetwork: expected boolean, got &{{x}}"),
            ),
            (
                "Object{spec: Object.spec{nodeSelector: {'a': 'b'}}}",
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.nodeSelector"
                    .to_owned(),
            ),
        ];
        for (expression, why) in cases {
            assert_eq!(applied(expression).expect_err(expression), why);
        }
    }
}
