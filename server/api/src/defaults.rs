//! What the API server fills in: upstream's `pkg/apis/*/v1/defaults.go`.
//!
//! [`apply`] runs on every object that is created, updated or patched, before validation; running it again
//! changes nothing. What depends on more than the object itself (names, UIDs, addresses, finalizers,
//! selectors of Jobs) is the registry's business, as it is upstream's strategies'.
//!
//! First comes what Go's structs have without being told ([`fill_object`]), as they have it when upstream's functions see them.

mod apps;
mod cluster;
mod core;
mod devices;
mod pod;
#[cfg(test)]
mod tests;
mod unsaid;

pub use pod::{image_pull_policy, pod_spec};
pub use unsaid::{fill_object, forget_empty, same, same_field, without_empty};

use serde_json::{Map, Value};

use crate::kinds;

type Object = Map<String, Value>;

/// Fills in the defaults of a `kind` of `group` and `version`.
pub fn apply(kind: &str, group: &str, version: &str, object: &mut Value) {
    if let Some(kind) = kinds::by_kind(group, version, kind) {
        fill_object(object, kind.schema);
    }
    let Value::Object(object) = object else { return };
    match group {
        "" => core::apply(kind, object),
        "resource.k8s.io" => devices::apply(kind, object),
        "apps" | "batch" | "autoscaling" => apps::apply(kind, version, object),
        _ => cluster::apply(kind, group, object),
    }
}

/// Whether upstream's Go would see the zero value: absent, null or the empty string.
fn is_unset(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        _ => false,
    }
}

/// Sets `key` unless it has a value.
fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    if is_unset(object.get(key)) {
        object.insert(key.to_owned(), value.into());
    }
}

/// Sets `key` unless it is there, even if it is the empty string (a pointer in Go).
fn set_pointer(object: &mut Object, key: &str, value: impl Into<Value>) {
    if object.get(key).is_none_or(Value::is_null) {
        object.insert(key.to_owned(), value.into());
    }
}

/// The object under `key`, if there is one.
fn child<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.get_mut(key).and_then(Value::as_object_mut)
}

/// The object under `key`, made if it is absent; `None` when something else is there.
fn made<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    set_pointer(object, key, Map::new());
    child(object, key)
}

/// The objects in the list under `key`.
fn items<'a>(object: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// An older field for one of several says the same as the first of the newer one, and counts where they differ, as
/// upstream's conversions have it. The items are texts, or have one under `key`.
fn agree(object: &mut Object, one: &str, many: &str, key: Option<&str>) {
    let item = object.get(many).and_then(|list| list.get(0));
    let item = key.map_or(item, |key| item.and_then(|item| item.get(key)));
    let first = item.and_then(Value::as_str).unwrap_or_default().to_owned();
    let said = text(object, one).to_owned();
    if said.is_empty() && !first.is_empty() {
        object.insert(one.to_owned(), first.into());
    } else if said != first {
        let item = match key {
            Some(key) => Value::Object(Map::from_iter([(key.to_owned(), said.into())])),
            None => said.into(),
        };
        object.insert(many.to_owned(), vec![item].into());
    }
}

fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => false,
    }
}
