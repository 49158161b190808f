//! The paths that a configuration mentions: leaves, items, and keys that no schema declares.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::PathElement;
use super::items::element;
use super::set::Set;
use super::shape::{Is, List, Map, Relation, Shape};

/// Every leaf and item that `value` mentions.
pub fn to_set(shape: Shape<'_>, value: &Value) -> Set {
    let mut walk = Walk { set: Set::default(), path: Vec::new() };
    walk.place(shape, value);
    walk.set
}

struct Walk {
    set: Set,
    path: Vec<PathElement>,
}

impl Walk {
    fn place(&mut self, shape: Shape<'_>, value: &Value) {
        match (shape.atom().of(Some(value)), value) {
            (Some(Is::Scalar(_)), _) | (Some(Is::List(List { relation: Relation::Atomic, .. })), _) => {
                self.here()
            }
            (Some(Is::Map(Map { atomic: true, .. })), _) => self.here(),
            (Some(Is::List(list)), Value::Array(items)) => self.items(&list, items),
            (Some(Is::Map(map)), Value::Object(fields)) => self.fields(shape, &map, fields),
            _ => {}
        }
    }

    fn here(&mut self) {
        self.set.insert(&self.path);
    }

    fn fields(&mut self, shape: Shape<'_>, map: &Map<'_>, fields: &serde_json::Map<String, Value>) {
        for (name, value) in fields {
            let Some(field) = shape.under(name, map) else { continue };
            self.path.push(PathElement::field(name));
            self.place(field, value);
            let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
            if empty || !shape.declares(name) {
                self.here();
            }
            self.path.pop();
        }
    }

    fn items(&mut self, list: &List<'_>, items: &[Value]) {
        let named: Vec<_> = items.iter().filter_map(|item| Some((element(list, item).ok()?, item))).collect();
        let mut count: BTreeMap<&PathElement, usize> = BTreeMap::new();
        for (element, _) in &named {
            *count.entry(element).or_default() += 1;
        }
        for (element, item) in &named {
            self.path.push(element.clone());
            if count.get(element) == Some(&1) {
                self.place(list.item, item);
            }
            self.here();
            self.path.pop();
        }
    }
}
