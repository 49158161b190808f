//! Merging an apply configuration into an object: maps and structs by field, lists as their type says. What is replaced as
//! a whole may not be in it. Ported from upstream's `mutating/patch/smd.go`; nobody's ownership is tracked here.

use sampan_api::fields::{Field, FieldType, ListType, Type};
use serde_json::{Map, Value};

/// How a place is merged.
#[derive(Clone, Copy)]
enum Shape {
    Struct(&'static Type),
    Map(FieldType),
    /// Items by keys, each with the default that it has where it is absent.
    Keyed(FieldType, &'static [&'static str]),
    Set,
    Atomic,
    Scalar,
}

impl Shape {
    /// Of a field, or of what has no field of its own: an item, a map's value.
    fn of(ty: FieldType, field: Option<&'static Field>) -> Self {
        match ty {
            FieldType::Object(reference) => {
                let ty = reference.get();
                match ty.scalar {
                    Some(scalar) => Self::of(scalar, None),
                    None if ty.atomic || field.is_some_and(|field| field.map_atomic) => Self::Atomic,
                    None => Self::Struct(ty),
                }
            }
            FieldType::Map(_) if field.is_some_and(|field| field.map_atomic) => Self::Atomic,
            FieldType::Map(value) => Self::Map(*value),
            FieldType::List(item) => match field.and_then(|field| field.list_type) {
                Some(ListType::Map) => Self::Keyed(*item, field.map_or(&[], |field| field.map_keys)),
                Some(ListType::Set) => Self::Set,
                Some(ListType::Atomic) | None => Self::Atomic,
            },
            _ => Self::Scalar,
        }
    }
}

/// Places of `applied` that are replaced as a whole; a root without a schema has them at every list.
pub(super) fn atomics(applied: &Value, root: Option<&'static Type>) -> Vec<String> {
    let mut found = Vec::new();
    match root {
        Some(ty) => walk(applied, Shape::Struct(ty), "", &mut found),
        None => walk_unknown(applied, "", &mut found),
    }
    found
}

fn walk(value: &Value, shape: Shape, path: &str, found: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Atomic, Value::Object(_) | Value::Array(_)) => found.push(path.to_owned()),
        (Shape::Struct(ty), Value::Object(fields)) => {
            for (name, inner) in fields {
                if let Some(field) = ty.field(name) {
                    walk(inner, Shape::of(field.ty, Some(field)), &format!("{path}.{name}"), found);
                }
            }
        }
        (Shape::Map(ty), Value::Object(entries)) => {
            entries
                .iter()
                .for_each(|(name, inner)| walk(inner, Shape::of(ty, None), &format!("{path}.{name}"), found));
        }
        (Shape::Keyed(ty, _), Value::Array(items)) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| walk(item, Shape::of(ty, None), &format!("{path}[{at}]"), found));
        }
        _ => {}
    }
}

fn walk_unknown(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(_) => found.push(path.to_owned()),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| walk_unknown(inner, &format!("{path}.{name}"), found));
        }
        _ => {}
    }
}

/// Merges `applied` into `object`.
pub(super) fn merge(object: &mut Value, applied: &Value, root: Option<&'static Type>) {
    match root {
        Some(ty) => merge_shape(object, applied, Shape::Struct(ty)),
        None => merge_unknown(object, applied),
    }
}

fn merge_unknown(object: &mut Value, applied: &Value) {
    match (object, applied) {
        (Value::Object(object), Value::Object(applied)) => {
            for (name, inner) in applied {
                merge_unknown(object.entry(name.clone()).or_insert(Value::Null), inner);
            }
        }
        (object, applied) => *object = applied.clone(),
    }
}

fn merge_shape(object: &mut Value, applied: &Value, shape: Shape) {
    match (shape, &mut *object, applied) {
        (Shape::Struct(ty), Value::Object(object), Value::Object(applied)) => {
            merge_fields(object, applied, |name| {
                ty.field(name).map(|field| Shape::of(field.ty, Some(field)))
            });
        }
        (Shape::Map(ty), Value::Object(object), Value::Object(applied)) => {
            merge_fields(object, applied, |_| Some(Shape::of(ty, None)));
        }
        (Shape::Keyed(ty, keys), Value::Array(items), Value::Array(applied)) => {
            for item in applied {
                match items.iter_mut().find(|old| key(old, keys, ty) == key(item, keys, ty)) {
                    Some(old) => merge_shape(old, item, Shape::of(ty, None)),
                    None => items.push(item.clone()),
                }
            }
        }
        (Shape::Set, Value::Array(items), Value::Array(applied)) => {
            for item in applied {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
        }
        _ => *object = applied.clone(),
    }
}

fn merge_fields(
    object: &mut Map<String, Value>,
    applied: &Map<String, Value>,
    shape: impl Fn(&str) -> Option<Shape>,
) {
    for (name, inner) in applied {
        let place = object.entry(name.clone()).or_insert(Value::Null);
        merge_shape(place, inner, shape(name).unwrap_or(Shape::Scalar));
    }
}

/// What an item is told apart by.
fn key(item: &Value, keys: &[&str], ty: FieldType) -> Vec<Value> {
    let default = |key: &str| {
        let text = ty.object().and_then(|ty| ty.field(key)).and_then(|field| field.default);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    };
    keys.iter().map(|key| item.get(*key).cloned().unwrap_or_else(|| default(key))).collect()
}

#[cfg(test)]
mod tests {
    use sampan_api::fields::type_of;
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_merged_by_their_keys_and_maps_by_field() {
        let pod = type_of("io.k8s.api.core.v1.Pod");
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
        let pod = type_of("io.k8s.api.core.v1.Pod");
        let applied =
            json!({"spec": {"nodeSelector": {"a": "b"}, "containers": [{"name": "one", "args": ["x"]}]}});
        assert_eq!(atomics(&applied, pod), [".spec.nodeSelector", ".spec.containers[0].args"]);
        assert_eq!(atomics(&json!({"spec": {"list": [1], "map": {"a": 1}}}), None), [".spec.list"]);
    }
}
