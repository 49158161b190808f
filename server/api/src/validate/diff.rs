//! What differs between two states of an object, as refusals of a change show it.

use serde_json::Value;

use super::access::*;

/// What differs, a line for each place and side.
pub(super) fn lines(new: &Value, old: &Value, at: &str) -> String {
    let mut lines = Vec::new();
    walk(new, old, at, &mut lines);
    lines.join("\n")
}

fn walk(new: &Value, old: &Value, at: &str, lines: &mut Vec<String>) {
    match (new, old) {
        (Value::Object(after), Value::Object(before)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                walk(get(new, key), get(old, key), &join(at, key), lines);
            }
        }
        (Value::Array(after), Value::Array(before)) if after.len() == before.len() => {
            for (index, (after, before)) in after.iter().zip(before).enumerate() {
                walk(after, before, &format!("{at}[{index}]"), lines);
            }
        }
        _ if zero(new) && zero(old) => {}
        _ if new == old => {}
        _ => {
            lines.push(format!("- \t{at}: {old}"));
            lines.push(format!("+ \t{at}: {new}"));
        }
    }
}

/// Whether Go would not tell the value from an absent one.
fn zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
