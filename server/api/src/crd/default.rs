//! Defaults (`schema/defaulting/algorithm.go`, `prunenulls.go`): nulls that a schema does not allow give way.

use serde_json::Value;

use super::schema::{Additional, Schema};

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
