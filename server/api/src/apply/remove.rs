//! Fields out of a value, or nothing but them.

use serde_json::Value;

use super::element::PathElement;
use super::items::element;
use super::set::Set;
use super::shape::{Is, List, Map, Relation, Shape};

/// `value` without what `set` lists: `RemoveItems`. A map or list that is left empty stays, it was not listed itself: as
/// a null, or as an empty object where Go has a struct by value, whose zero is one.
pub fn remove(shape: Shape<'_>, value: &Value, set: &Set<'_>) -> Value {
    walk(shape, value, set, Mode::Remove).unwrap_or(Value::Null)
}

/// Of `value` just what `set` lists, and the keys of the items it is in.
pub fn extract(shape: Shape<'_>, value: &Value, set: &Set<'_>) -> Value {
    walk(shape, value, set, Mode::Extract).unwrap_or(Value::Null)
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Remove,
    Extract,
}

fn walk(shape: Shape<'_>, value: &Value, set: &Set<'_>, mode: Mode) -> Option<Value> {
    match (shape.is(Some(value)), value) {
        (Some(Is::Scalar(_)), _) => Some(value.clone()),
        (Some(Is::List(List { relation: Relation::Atomic, .. })), Value::Array(list)) => {
            (mode == Mode::Extract && !list.is_empty()).then(|| value.clone())
        }
        (Some(Is::Map(Map { atomic: true, .. })), Value::Object(map)) => {
            (mode == Mode::Extract && !map.is_empty()).then(|| value.clone())
        }
        (Some(Is::List(list)), Value::Array(items)) => walk_items(&list, items, set, mode),
        (Some(Is::Map(map)), Value::Object(fields)) => walk_fields(shape, &map, fields, set, mode),
        _ => None,
    }
}

/// What is left of a field out of which all is taken.
fn nothing(field: Shape<'_>) -> Value {
    field.zero().filter(|zero| zero.is_object()).cloned().unwrap_or_default()
}

fn walk_items(list: &List<'_>, items: &[Value], set: &Set<'_>, mode: Mode) -> Option<Value> {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let (listed, below) = match element(list, item) {
            Ok(element) => set.at(&element),
            Err(_) => (false, None),
        };
        let inner = |below: Option<&Set<'_>>| match below {
            Some(below) => walk(list.item, item, below, mode),
            None => Some(item.clone()),
        };
        match mode {
            Mode::Remove if listed => {}
            Mode::Remove => out.push(inner(below).unwrap_or(Value::Null)),
            Mode::Extract if listed || below.is_some() => out.extend(inner(below)),
            Mode::Extract => {}
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

fn walk_fields(
    shape: Shape<'_>,
    map: &Map<'_>,
    fields: &serde_json::Map<String, Value>,
    set: &Set<'_>,
    mode: Mode,
) -> Option<Value> {
    let mut out = serde_json::Map::with_capacity(fields.len());
    for (name, value) in fields {
        let (listed, below) = set.at(&PathElement::Field(name));
        let kept = match (mode, listed, below, shape.under(name, map)) {
            (Mode::Remove, true, _, _) | (Mode::Extract, false, None, _) => None,
            (Mode::Remove, _, Some(below), Some(field)) => {
                Some(walk(field, value, below, mode).unwrap_or_else(|| nothing(field)))
            }
            (_, _, Some(below), Some(field)) => walk(field, value, below, mode),
            _ => Some(value.clone()),
        };
        if let Some(kept) = kept {
            out.insert(name.clone(), kept);
        }
    }
    (!out.is_empty()).then_some(out.into())
}
