//! Pruning: fields that a schema does not name are taken away (`schema/pruning/algorithm.go`).

use serde_json::Value;

use super::path::Path;
use super::schema::{Additional, Schema};

/// What every object with a kind has.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes away what `schema` does not know; returns `unknown field "…"` for each.
pub fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut gone = Vec::new();
    walk(object, Some(schema), true, &Path::Root, &mut gone);
    gone
}

/// As [`prune`], for a value inside of an object.
pub(super) fn prune_inside(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut gone = Vec::new();
    walk(value, Some(schema), false, &Path::Root, &mut gone);
    gone
}

fn walk(value: &mut Value, schema: Option<&Schema>, root: bool, at: &Path<'_>, gone: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let meta = root || schema.is_some_and(|schema| schema.embedded);
            map.retain(|key, value| {
                let here = at.key(key);
                if meta && META.contains(&key.as_str()) {
                    return true;
                }
                let Some(schema) = schema else {
                    gone.push(format!("unknown field \"{here}\""));
                    return false;
                };
                match (schema.properties.get(key), &schema.additional) {
                    (Some(field), _) => walk(value, Some(field), false, &here, gone),
                    (None, Some(Additional::Of(of))) => walk(value, Some(of), false, &here, gone),
                    (None, _) if schema.keeps() => {}
                    _ => {
                        gone.push(format!("unknown field \"{here}\""));
                        return false;
                    }
                }
                true
            });
        }
        Value::Array(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            if items.is_none() && schema.is_none_or(|schema| schema.keeps()) {
                return;
            }
            for (index, item) in list.iter_mut().enumerate() {
                walk(item, items, false, &at.index(index), gone);
            }
        }
        _ => {}
    }
}
