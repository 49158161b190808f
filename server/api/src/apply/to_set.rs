//! The paths that a configuration mentions: leaves, items, and keys that no schema declares.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::PathElement;
use super::items::element;
use super::set::Set;
use super::shape::{Is, List, Map, Relation, Shape};

/// Every leaf and item that `value` mentions.
pub fn to_set(shape: Shape<'_>, value: &Value) -> Set {
    place(shape, value).1
}

/// Whether the place itself is mentioned, and what is below it.
fn place(shape: Shape<'_>, value: &Value) -> (bool, Set) {
    match (shape.atom().of(Some(value)), value) {
        (Some(Is::Scalar(_)), _)
        | (Some(Is::List(List { relation: Relation::Atomic, .. })), _)
        | (Some(Is::Map(Map { atomic: true, .. })), _) => (true, Set::default()),
        (Some(Is::List(list)), Value::Array(list_items)) => (false, items(&list, list_items)),
        (Some(Is::Map(map)), Value::Object(object)) => (false, fields(shape, &map, object)),
        _ => (false, Set::default()),
    }
}

fn fields(shape: Shape<'_>, map: &Map<'_>, object: &serde_json::Map<String, Value>) -> Set {
    let mut set = Set::default();
    for (name, value) in object {
        let Some(field) = shape.under(name, map) else { continue };
        let (mentioned, below) = place(field, value);
        let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
        let member = mentioned || empty || !shape.declares(name);
        if member || !below.is_empty() {
            set.put(PathElement::field(name), member, below);
        }
    }
    set
}

fn items(list: &List<'_>, items: &[Value]) -> Set {
    let named: Vec<_> = items.iter().filter_map(|item| Some((element(list, item).ok()?, item))).collect();
    let mut count: BTreeMap<&PathElement, usize> = BTreeMap::new();
    for (element, _) in &named {
        *count.entry(element).or_default() += 1;
    }
    let mut set = Set::default();
    for (element, item) in &named {
        let below = match count.get(element) {
            Some(1) => place(list.item, item).1,
            _ => Set::default(),
        };
        set.put(element.clone(), true, below);
    }
    set
}
