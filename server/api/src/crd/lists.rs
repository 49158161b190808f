//! Uniqueness in lists of type set and map (`schema/listtype/validation.go`).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::path::Path;
use super::schema::{ListType, Schema};
use crate::status::FieldError;

/// What is twice in the lists of `value`.
pub(super) fn errors(value: &Value, schema: &Schema, at: &Path<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(field) = schema.field(key) {
                    self::errors(value, field, &at.key(key), errors);
                }
            }
        }
        Value::Array(list) => {
            match schema.list_type {
                ListType::Set => errors.extend(twice(list, at)),
                ListType::Map => keyed(list, schema, at, errors),
                ListType::Atomic => {}
            }
            if let Some(items) = &schema.items {
                for (index, item) in list.iter().enumerate() {
                    self::errors(item, items, &at.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

/// The second of each that comes more than once.
fn twice(list: &[Value], at: &Path<'_>) -> Vec<FieldError> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut errors = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let times = seen.entry(canonical(item)).or_default();
        *times += 1;
        if *times == 2 {
            errors.push(FieldError::duplicate(at.index(index).to_string(), item.clone()));
        }
    }
    errors
}

fn keyed(list: &[Value], schema: &Schema, at: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(index) = list.iter().position(|item| !item.is_null() && !item.is_object()) {
        let why = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(at.index(index).to_string(), list[index].clone(), why));
        return;
    }
    let key = |item: &Value| {
        let found = |name: &String| Some((name.clone(), item.get(name)?.clone()));
        Value::Object(schema.list_map_keys.iter().filter_map(found).collect::<Map<_, _>>())
    };
    let keys: Vec<Value> = list.iter().map(key).collect();
    errors.extend(twice(&keys, at));
}

/// The text by which two values are the same: keys sorted.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("{key:?}:{}", canonical(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
