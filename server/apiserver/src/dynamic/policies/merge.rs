//! Merging an apply configuration into an object: maps and structs by field, lists as their type says. What is replaced as
//! a whole may not be in it. Ported from upstream's `mutating/patch/smd.go`; nobody's ownership is tracked here.
//!
//! Types are server-side apply's ([`Shape`]), so that built-in kinds and custom resources are merged alike.

use sampan_api::apply::Shape;
use sampan_api::apply::shape::{Keys, Relation};
use serde_json::{Map, Value};

/// Places of `applied` that are replaced as a whole; without a schema they are at every list.
pub(super) fn atomics(applied: &Value, root: Shape<'_>) -> Vec<String> {
    let mut found = Vec::new();
    walk(applied, root, "", &mut found);
    found
}

fn walk(value: &Value, shape: Shape<'_>, path: &str, found: &mut Vec<String>) {
    let atom = shape.atom();
    match value {
        Value::Object(fields) => {
            let Some(map) = atom.map else { return };
            if map.atomic {
                return found.push(path.to_owned());
            }
            for (name, inner) in fields {
                if let Some(below) = shape.field(name).or(map.others) {
                    walk(inner, below, &format!("{path}.{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            let Some(list) = atom.list else { return };
            match list.relation {
                Relation::Atomic => found.push(path.to_owned()),
                Relation::Set => {}
                Relation::Map(_) => {
                    items
                        .iter()
                        .enumerate()
                        .for_each(|(at, item)| walk(item, list.item, &format!("{path}[{at}]"), found));
                }
            }
        }
        _ => {}
    }
}

/// Merges `applied` into `object`.
pub(super) fn merge(object: &mut Value, applied: &Value, shape: Shape<'_>) {
    let atom = shape.atom();
    match (&mut *object, applied) {
        (Value::Object(object), Value::Object(applied)) if atom.map.is_some_and(|map| !map.atomic) => {
            let others = atom.map.and_then(|map| map.others);
            merge_fields(object, applied, |name| shape.field(name).or(others));
        }
        (Value::Array(items), Value::Array(applied)) => {
            match atom.list.map(|list| (list.relation, list.item)) {
                Some((Relation::Map(keys), below)) => merge_items(items, applied, keys, below),
                Some((Relation::Set, _)) => {
                    for item in applied {
                        if !items.contains(item) {
                            items.push(item.clone());
                        }
                    }
                }
                _ => items.clone_from(applied),
            }
        }
        (object, applied) => *object = applied.clone(),
    }
}

fn merge_fields<'s>(
    object: &mut Map<String, Value>,
    applied: &Map<String, Value>,
    shape: impl Fn(&str) -> Option<Shape<'s>>,
) {
    for (name, inner) in applied {
        let place = object.entry(name.clone()).or_insert(Value::Null);
        match shape(name) {
            Some(below) => merge(place, inner, below),
            None => *place = inner.clone(),
        }
    }
}

fn merge_items(items: &mut Vec<Value>, applied: &[Value], keys: Keys<'_>, below: Shape<'_>) {
    for item in applied {
        match items.iter_mut().find(|old| key(old, keys, below) == key(item, keys, below)) {
            Some(old) => merge(old, item, below),
            None => items.push(item.clone()),
        }
    }
}

/// What an item is told apart by: its keys, each with the default that it has where it is absent.
fn key(item: &Value, keys: Keys<'_>, shape: Shape<'_>) -> Vec<Value> {
    let default = |key: &str| shape.field(key).and_then(Shape::default).unwrap_or_default();
    keys.names().map(|key| item.get(key).cloned().unwrap_or_else(|| default(key))).collect()
}

#[cfg(test)]
mod tests {
    use sampan_api::crd::Schema;
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_merged_by_their_keys_and_maps_by_field() {
        let pod = Shape::root("io.k8s.api.core.v1.Pod").expect("a type");
        let mut object = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x"]}, "spec": {"containers": [
            {"name": "one", "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]},
            {"name": "two"}]}});
        let applied = json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["y", "x"]}, "spec": {"containers": [
            {"name": "three"}, {"name": "one", "image": "i", "ports": [{"containerPort": 80, "name": "http"}]}]}});
        assert_eq!(atomics(&applied, pod), Vec::<String>::new());
        merge(&mut object, &applied, pod);
        let expected = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y"]}, "spec": {"containers": [
            {"name": "one", "image": "i", "ports": [
                {"containerPort": 80, "protocol": "TCP", "name": "http"}, {"containerPort": 80, "protocol": "UDP"}]},
            {"name": "two"}, {"name": "three"}]}});
        assert_eq!(object, expected);
    }

    #[test]
    fn what_is_replaced_as_a_whole_is_found() {
        let pod = Shape::root("io.k8s.api.core.v1.Pod").expect("a type");
        let applied =
            json!({"spec": {"nodeSelector": {"a": "b"}, "containers": [{"name": "one", "args": ["x"]}]}});
        assert_eq!(atomics(&applied, pod), [".spec.nodeSelector", ".spec.containers[0].args"]);
        assert_eq!(atomics(&json!({"spec": {"list": [1], "map": {"a": 1}}}), Shape::Deduced), [".spec.list"]);
    }

    #[test]
    fn custom_schemas_say_how_their_lists_are_merged() {
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string", "default": "x"}, "v": {"type": "integer"}}}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "plain": {"type": "array", "items": {"type": "string"}}}}));
        let mut object = json!({"keyed": [{"v": 1}, {"k": "y"}], "set": ["a"]});
        let applied = json!({"keyed": [{"k": "x", "v": 2}], "set": ["b", "a"]});
        merge(&mut object, &applied, Shape::Other(&schema));
        assert_eq!(object, json!({"keyed": [{"v": 2, "k": "x"}, {"k": "y"}], "set": ["a", "b"]}));
        let applied = json!({"whole": {"a": "b"}, "plain": []});
        assert_eq!(atomics(&applied, Shape::Other(&schema)), [".whole", ".plain"]);
    }
}
