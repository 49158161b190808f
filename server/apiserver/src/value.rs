//! Small reads and writes on JSON objects, so that the registry's rules read as rules.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// The value at `path`, or null.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |v, key| v.get(key).unwrap_or(&NULL))
}

/// The text at `path`, or "".
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or("")
}

/// Text of a metadata field.
pub(crate) fn meta<'a>(value: &'a Value, field: &str) -> &'a str {
    text(value, &["metadata", field])
}

/// The object at `path`, made where it is missing (or is no object).
pub(crate) fn object<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut here = value;
    for key in path {
        here = map(here).entry(*key).or_insert_with(|| Value::Object(Map::new()));
    }
    map(here)
}

fn map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// A new uid. Of the thread's own generator: the system's would be asked once or twice for each request.
pub(crate) fn uid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// Sets the value at `path`.
pub(crate) fn set(value: &mut Value, path: &[&str], to: impl Into<Value>) {
    if let Some((last, parents)) = path.split_last() {
        object(value, parents).insert((*last).to_owned(), to.into());
    }
}

/// Removes the value at `path`; nothing happens where a parent is missing.
pub(crate) fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut here = value;
    for key in parents {
        here = here.get_mut(key)?;
    }
    here.as_object_mut()?.shift_remove(*last)
}

/// Puts `from`'s value at `path` into `to`, or removes it there if `from` has none.
pub(crate) fn keep(to: &mut Value, from: &Value, path: &[&str]) {
    match at(from, path) {
        Value::Null => drop(remove(to, path)),
        value => set(to, path, value.clone()),
    }
}

/// Strings of an array.
pub(crate) fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Items of an array; none where there is no array.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Now, as metav1.Time prints it: seconds, UTC.
pub(crate) fn now() -> String {
    let now = jiff::Timestamp::now();
    let seconds = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
    seconds.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
