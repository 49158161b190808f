//! Defaults (`schema/defaulting/algorithm.go`, `prunenulls.go`): nulls that a schema does not allow give way.

use serde_json::{Map, Value};

use super::coerce::tidy;
use super::prune::prune;
use super::schema::{Additional, Schema};

/// The way to a default.
enum Step<'a> {
    Key(&'a str),
    Item,
}

/// Takes out of a schema's defaults what an object could not have: unknown and malformed metadata of resources within
/// (`schema/defaulting/prune.go`). All else a definition is refused for.
pub fn prune_defaults(schema: &mut Schema) {
    if !schema.has_defaults || !embeds(schema) {
        return;
    }
    let mut left = Vec::new();
    collect(schema, schema, &mut Vec::new(), &mut left);
    put(schema, &mut left.into_iter());
}

fn embeds(schema: &Schema) -> bool {
    schema.embedded || schema.below().any(embeds)
}

/// What is left of each default, in the order of [`put`].
fn collect<'a>(schema: &'a Schema, root: &Schema, at: &mut Vec<Step<'a>>, left: &mut Vec<Option<Value>>) {
    if let Some(wanted) = &schema.default {
        left.push(in_place(wanted.clone(), root, at));
    }
    let additional = match &schema.additional {
        Some(Additional::Of(of)) => Some(("*", &**of)),
        _ => None,
    };
    for (name, field) in
        schema.properties.iter().map(|(name, field)| (name.as_str(), field)).chain(additional)
    {
        at.push(Step::Key(name));
        collect(field, root, at, left);
        at.pop();
    }
    if let Some(items) = &schema.items {
        at.push(Step::Item);
        collect(items, root, at, left);
        at.pop();
    }
}

fn put(schema: &mut Schema, left: &mut impl Iterator<Item = Option<Value>>) {
    if schema.default.is_some() {
        schema.default = left.next().flatten();
    }
    for field in schema.properties.values_mut() {
        put(field, left);
    }
    if let Some(Additional::Of(of)) = &mut schema.additional {
        put(of, left);
    }
    if let Some(items) = &mut schema.items {
        put(items, left);
    }
}

/// A default as an object would have it that has nothing else.
fn in_place(wanted: Value, root: &Schema, at: &[Step<'_>]) -> Option<Value> {
    let mut object = at.iter().rev().fold(wanted, |inside, step| match step {
        Step::Key(key) => Value::Object(Map::from_iter([((*key).to_owned(), inside)])),
        Step::Item => Value::Array(vec![inside]),
    });
    tidy(&mut object, root);
    prune(&mut object, root);
    at.iter().try_fold(object, |outside, step| match (step, outside) {
        (Step::Key(key), Value::Object(mut map)) => map.remove(*key),
        (Step::Item, Value::Array(list)) => list.into_iter().next(),
        _ => None,
    })
}

/// Fills in the defaults of `schema`, and takes nulls away where it allows none.
pub fn default(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                !(value.is_null() && schema.field(key).is_some_and(|s| !s.nullable && s.default.is_none()))
            });
            for (name, field) in &schema.properties {
                let Some(wanted) = &field.default else { continue };
                if map.get(name).is_none_or(|found| found.is_null() && !field.nullable) {
                    map.insert(name.clone(), wanted.clone());
                }
            }
            for (key, value) in map.iter_mut() {
                match (schema.properties.get(key), &schema.additional) {
                    (Some(field), _) => default(value, field),
                    (None, Some(Additional::Of(of))) => element(value, of),
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|item| element(item, items));
            }
        }
        _ => {}
    }
}

fn element(value: &mut Value, schema: &Schema) {
    if let (Value::Null, false, Some(wanted)) = (&*value, schema.nullable, &schema.default) {
        *value = wanted.clone();
    }
    default(value, schema);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_metadata_are_what_metadata_has() {
        let whole = json!({"kind": "Foo", "metadata": {"name": "Bar", "unknown": "unknown"}});
        let within = |fields: Value| {
            json!({"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true, "properties": fields})
        };
        let mut object = within(json!({}));
        object["default"] = whole.clone();
        let mut schema = Schema::read(&json!({"type": "object", "properties": {
            "object": object,
            "fields": within(json!({
                "kind": {"type": "string", "default": "Foo"},
                "metadata": {"type": "object", "default": {"name": "Bar"}, "properties": {
                    "unknown": {"type": "string", "default": "unknown"}}}})),
            "around": {"type": "object", "default": {"in": [whole]}, "properties": {
                "in": {"type": "array", "items": within(json!({}))}}},
            "plain": {"type": "object", "default": {"metadata": {"unknown": 1}},
                "x-kubernetes-preserve-unknown-fields": true},
        }}));
        prune_defaults(&mut schema);
        let mut value = json!({"fields": {}});
        default(&mut value, &schema);
        let known = json!({"kind": "Foo", "metadata": {"name": "Bar"}});
        let plain = json!({"metadata": {"unknown": 1}});
        assert_eq!(
            value,
            json!({"object": known, "fields": known, "around": {"in": [known]}, "plain": plain})
        );
    }
}
