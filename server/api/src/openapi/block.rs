//! YAML of values as gnostic writes them (`go.yaml.in/yaml/v3`, no style kept): what is short and plain, as all of it is
//! in our own document, to the letter; long texts of several lines are quoted instead of laid out.

use serde_json::{Map, Value};

/// What is no text though it is written like one.
const WORDS: [&str; 14] =
    ["null", "~", "true", "false", "y", "yes", "n", "no", "on", "off", ".inf", "+.inf", "-.inf", ".nan"];

/// The document of a value.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => sequence(&mut out, list, 0),
        other => leaf(&mut out, other),
    }
    out
}

fn begin(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// How far in is what belongs to a key.
fn within(indent: usize) -> usize {
    (indent / 4 + 1) * 4
}

fn mapping(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            begin(out, indent);
        }
        text(out, key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                begin(out, within(indent));
                mapping(out, map, within(indent));
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                begin(out, within(indent));
                sequence(out, list, within(indent));
            }
            other => {
                out.push(' ');
                leaf(out, other);
            }
        }
    }
}

fn sequence(out: &mut String, list: &[Value], indent: usize) {
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            begin(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, map, indent + 2),
            Value::Array(list) if !list.is_empty() => sequence(out, list, indent + 2),
            other => leaf(out, other),
        }
    }
}

fn leaf(out: &mut String, value: &Value) {
    match value {
        Value::String(value) => text(out, value),
        other => out.push_str(&other.to_string()),
    }
    out.push('\n');
}

fn text(out: &mut String, value: &str) {
    if value.chars().any(char::is_control) || is_another_type(value) {
        out.push_str(&Value::from(value).to_string());
    } else if is_plain(value) {
        out.push_str(value);
    } else {
        out.push('\'');
        out.push_str(&value.replace('\'', "''"));
        out.push('\'');
    }
}

/// Whether a parser would see a number, a date, a boolean or nothing.
fn is_another_type(value: &str) -> bool {
    let digits = value.trim_start_matches(['+', '-', '.']);
    value.is_empty()
        || value == "<<"
        || WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
        || digits.starts_with(|first: char| first.is_ascii_digit())
            && digits.chars().all(|one| one.is_ascii_hexdigit() || "_+-.:xoTZ ".contains(one))
}

/// Whether it needs no quotes.
fn is_plain(value: &str) -> bool {
    let marks = |mark: char| "#,[]{}&*!|>'\"%@`".contains(mark);
    let leads = value.starts_with(marks)
        || ["-", "?"].contains(&value)
        || ["- ", "? ", ":", "---", "..."].iter().any(|lead| value.starts_with(lead));
    let spaced = value.starts_with(' ') || value.ends_with(' ');
    !leads && !spaced && !value.ends_with(':') && !value.contains(": ") && !value.contains(" #")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_blocks() {
        let cases = [
            (json!("merge"), "merge\n"),
            (json!(true), "true\n"),
            (json!(""), "\"\"\n"),
            (json!("yes"), "\"yes\"\n"),
            (json!("10"), "\"10\"\n"),
            (json!("self.a > 1"), "self.a > 1\n"),
            (json!("a: b's"), "'a: b''s'\n"),
            (json!("a\nb"), "\"a\\nb\"\n"),
            (json!({}), "{}\n"),
            (json!(["port", "protocol"]), "- port\n- protocol\n"),
            (
                json!([{"group": "", "kind": "Pod", "version": "v1"}, {"kind": "B"}]),
                "- group: \"\"\n  kind: Pod\n  version: v1\n- kind: B\n",
            ),
            (
                json!([{"discriminator": "type", "fields": {"a": "A", "b": ["c", {"d": 1, "e": 2}]}}]),
                "- discriminator: type\n  fields:\n    a: A\n    b:\n        - c\n        - d: 1\n          e: 2\n",
            ),
        ];
        for (value, yaml) in cases {
            assert_eq!(document(&value), yaml);
            let back: Value = serde_yaml_ng::from_str(yaml).expect(yaml);
            assert_eq!(back, value);
        }
    }
}
