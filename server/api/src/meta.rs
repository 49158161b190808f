//! Reading and writing an object's metadata, on plain values.
//!
//! The API server keeps objects as [`Value`]s; these are the handful of places it looks at in every one of
//! them. Readers take what is there and answer with nothing for what is not, or is of another type: types
//! are [`crate::strict`]'s business. [`encode()`] is how an object becomes the bytes that the store keeps.

mod encode;
#[cfg(test)]
mod tests;

pub use encode::{encode, encode_with};

use serde_json::{Map, Value};

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `apiVersion`.
pub fn api_version(object: &Value) -> &str {
    text(object, "apiVersion")
}
/// `kind`.
pub fn kind(object: &Value) -> &str {
    text(object, "kind")
}
/// `apiVersion` as group and version; the core group is the empty string.
pub fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}
/// Group and version as `apiVersion`.
pub fn to_api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A text of `metadata`, empty when absent.
pub fn meta_text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get("metadata").map_or("", |metadata| text(metadata, key))
}
/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    meta_text(object, "name")
}
/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> &str {
    meta_text(object, "generateName")
}
/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    meta_text(object, "namespace")
}
/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    meta_text(object, "uid")
}
/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    meta_text(object, "resourceVersion")
}
/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> &str {
    meta_text(object, "creationTimestamp")
}
/// `metadata.deletionTimestamp`, when the object is being deleted.
pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    Some(meta_text(object, "deletionTimestamp")).filter(|t| !t.is_empty())
}
/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    object.get("metadata")?.get("deletionGracePeriodSeconds")?.as_i64()
}
/// `metadata.generation`, 0 when absent.
pub fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
}

fn meta_map<'a>(object: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    object.get("metadata")?.get(key)?.as_object()
}
/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    meta_map(object, "labels")
}
/// One label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}
/// `metadata.annotations`.
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    meta_map(object, "annotations")
}
/// One annotation's value.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

fn meta_list<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    object.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_array).into_iter().flatten()
}
/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    meta_list(object, "finalizers").filter_map(Value::as_str)
}
/// Whether `finalizer` is set.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    finalizers(object).any(|f| f == finalizer)
}
/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> impl Iterator<Item = &Value> {
    meta_list(object, "ownerReferences")
}
/// The owner reference with `controller: true`.
pub fn controller(object: &Value) -> Option<&Value> {
    owner_references(object).find(|r| r.get("controller").and_then(Value::as_bool) == Some(true))
}

/// `metadata`, made when it is not there. What is no object becomes one.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    as_map(as_map(object).entry("metadata").or_insert_with(|| Map::new().into()))
}

/// `value` as a map; whatever else it was is replaced by an empty one.
pub fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Map::new().into();
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object above"),
    }
}

/// Sets a key of `metadata`; null removes it.
pub fn set_meta(object: &mut Value, key: &str, value: impl Into<Value>) {
    match value.into() {
        Value::Null => drop(metadata_mut(object).shift_remove(key)),
        value => drop(metadata_mut(object).insert(key.to_owned(), value)),
    }
}
/// Sets `metadata.name`.
pub fn set_name(object: &mut Value, name: &str) {
    set_meta(object, "name", name);
}
/// Sets `metadata.namespace`; the empty string removes it.
pub fn set_namespace(object: &mut Value, namespace: &str) {
    let value = if namespace.is_empty() { Value::Null } else { namespace.into() };
    set_meta(object, "namespace", value);
}
/// Sets `metadata.uid`.
pub fn set_uid(object: &mut Value, uid: &str) {
    set_meta(object, "uid", uid);
}
/// Sets `metadata.resourceVersion`; the empty string removes it.
pub fn set_resource_version(object: &mut Value, version: &str) {
    let value = if version.is_empty() { Value::Null } else { version.into() };
    set_meta(object, "resourceVersion", value);
}
/// Sets `metadata.generation`.
pub fn set_generation(object: &mut Value, generation: i64) {
    set_meta(object, "generation", generation);
}
/// Sets a label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    set_in(object, "labels", key, value);
}
/// Sets an annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    set_in(object, "annotations", key, value);
}

fn set_in(object: &mut Value, map: &str, key: &str, value: &str) {
    let map = metadata_mut(object).entry(map).or_insert_with(|| Map::new().into());
    as_map(map).insert(key.to_owned(), value.into());
}

/// Adds `finalizer` unless it is there; says whether it was added.
pub fn add_finalizer(object: &mut Value, finalizer: &str) -> bool {
    if has_finalizer(object, finalizer) {
        return false;
    }
    let list = metadata_mut(object).entry("finalizers").or_insert_with(|| Value::Array(Vec::new()));
    match list {
        Value::Array(list) => list.push(finalizer.into()),
        other => *other = vec![Value::from(finalizer)].into(),
    }
    true
}

/// Removes `finalizer`; says whether it was there.
pub fn remove_finalizer(object: &mut Value, finalizer: &str) -> bool {
    let had = has_finalizer(object, finalizer);
    let metadata = metadata_mut(object);
    let Some(Value::Array(list)) = metadata.get_mut("finalizers") else { return false };
    list.retain(|f| f.as_str() != Some(finalizer));
    if list.is_empty() {
        metadata.shift_remove("finalizers");
    }
    had
}
