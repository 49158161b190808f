//! The paths that a configuration mentions: leaves, items, and keys that no schema declares.

use serde_json::Value;

use super::element::PathElement;
use super::set::{Node, Set};
use super::shape::{Is, List, Map, Relation, Shape};

/// Every leaf and item that `value` mentions.
pub fn to_set<'v>(shape: Shape<'v>, value: &'v Value) -> Set<'v> {
    place(shape, value).1
}

/// Whether the place itself is mentioned, and what is below it.
fn place<'v>(shape: Shape<'v>, value: &'v Value) -> (bool, Set<'v>) {
    match (shape.is(Some(value)), value) {
        (Some(Is::Scalar(_)), _)
        | (Some(Is::List(List { relation: Relation::Atomic, .. })), _)
        | (Some(Is::Map(Map { atomic: true, .. })), _) => (true, Set::default()),
        (Some(Is::List(list)), Value::Array(list_items)) => {
            (false, Set::of_items(&list, list_items, |item| place(list.item, item).1))
        }
        (Some(Is::Map(map)), Value::Object(object)) => (false, fields(shape, &map, object)),
        _ => (false, Set::default()),
    }
}

fn fields<'v>(shape: Shape<'v>, map: &Map<'v>, object: &'v serde_json::Map<String, Value>) -> Set<'v> {
    Set::of_nodes(
        object.len(),
        object.iter().filter_map(|(name, value)| {
            let declared = shape.field(name);
            let (mentioned, below) = place(declared.or(map.others)?, value);
            let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
            let member = mentioned || empty || declared.is_none();
            (member || !below.is_empty()).then(|| Node { element: PathElement::Field(name), member, below })
        }),
    )
}
