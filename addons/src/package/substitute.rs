//! `${value}` in manifests: no language, only names.
//!
//! Substitution happens after the YAML is read, in its texts, so that a value can never change the structure around it.
//!
//! - A text that is nothing but `${name}` becomes the value with its type: a number stays a number.
//! - `${name:text}` becomes the value as text, for fields such as a label or an environment variable.
//! - Within a longer text a value is written out; lists and maps cannot be.
//! - `$${` stands for `${` itself. A `$` that no brace follows is only a `$`.
//! - An unknown name is an error.

use serde_json::{Map, Value};

use crate::error::nearest;

/// The most that one text may grow to; a package is small.
const TEXT_MAX: usize = 1 << 20;

/// Replaces every `${name}` in `value` by what `values` has there.
///
/// # Errors
/// The problem, and the text of the reference that has it.
pub(crate) fn substitute(value: &Value, values: &Value) -> Result<Value, (String, String)> {
    match value {
        Value::String(text) => replace(text, values),
        Value::Array(list) => list.iter().map(|item| substitute(item, values)).collect(),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| Ok((key.clone(), substitute(value, values)?));
            map.iter().map(entry).collect::<Result<Map<_, _>, _>>().map(Value::Object)
        }
        other => Ok(other.clone()),
    }
}

fn replace(text: &str, values: &Value) -> Result<Value, (String, String)> {
    if let Some(name) = only(text)
        && !name.ends_with(":text")
    {
        return look_up(name, values).cloned();
    }
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if at > 0 && rest.as_bytes()[at - 1] == b'$' {
            made.push_str(&rest[..at - 1]);
            made.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        made.push_str(&rest[..at]);
        let end = rest[at..].find('}').map(|end| at + end);
        let end =
            end.ok_or_else(|| problem(&rest[at..], "has no closing brace; write $${ for the text itself"))?;
        let name = &rest[at + 2..end];
        made.push_str(&written(name, look_up(name, values)?)?);
        if made.len() > TEXT_MAX {
            return Err(problem(&rest[at..=end], "makes the text too long"));
        }
        rest = &rest[end + 1..];
    }
    made.push_str(rest);
    Ok(made.into())
}

/// The name, if the text is one reference and nothing else.
fn only(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    (!inner.contains(['{', '}'])).then_some(inner)
}

fn problem(reference: &str, words: &str) -> (String, String) {
    let shown: String = reference.chars().take(40).collect();
    (format!("{shown}: {words}"), shown)
}

fn look_up<'a>(name: &str, values: &'a Value) -> Result<&'a Value, (String, String)> {
    let path = name.strip_suffix(":text").unwrap_or(name);
    let found = path.split('.').try_fold(values, |place, step| place.get(step));
    found.ok_or_else(|| {
        let near = nearest(path, names("", values)).map(|near| format!("; did you mean ${{{near}}}?"));
        let near = near.unwrap_or_else(|| "; write $${ for the text itself".to_owned());
        problem(&format!("${{{name}}}"), &format!("there is no such value{near}"))
    })
}

/// All names that can be written.
fn names(prefix: &str, values: &Value) -> Vec<String> {
    let Value::Object(map) = values else { return Vec::new() };
    map.iter()
        .flat_map(|(key, value)| {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            let inner = names(&name, value);
            std::iter::once(name).chain(inner)
        })
        .collect()
}

fn written(name: &str, value: &Value) -> Result<String, (String, String)> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(problem(&format!("${{{name}}}"), "a list or map cannot stand within a text")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn references_become_values() {
        let values = json!({"port": 80, "name": "web", "on": true, "hosts": ["a", "b"], "image": {"tag": "1.0"}, "odd": "${name}: {x}\n- y"});
        for (text, expected) in [
            ("${port}", json!(80)),
            ("${port:text}", json!("80")),
            ("${on:text}", json!("true")),
            ("${hosts}", json!(["a", "b"])),
            ("http://${name}:${port}/", json!("http://web:80/")),
            ("app:${image.tag}", json!("app:1.0")),
            ("echo $${HOME} $HOME $$ $", json!("echo ${HOME} $HOME $$ $")),
            ("$${port}", json!("${port}")),
            // a value is data: neither YAML nor a reference
            ("${odd}", json!("${name}: {x}\n- y")),
            ("a ${odd}", json!("a ${name}: {x}\n- y")),
        ] {
            let manifest = json!({"a": [{"b": text}]});
            assert_eq!(substitute(&manifest, &values).unwrap(), json!({"a": [{"b": expected}]}), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        let values = json!({"port": 80, "hosts": ["a"]});
        for (text, words) in [
            ("${prot}", "${prot}: there is no such value; did you mean ${port}?"),
            ("${HOME}", "write $${ for the text itself"),
            ("a ${hosts}", "a list or map cannot stand within a text"),
            ("${hosts:text}", "a list or map cannot stand within a text"),
            ("a ${port", "has no closing brace"),
            ("${}", "there is no such value"),
        ] {
            let (error, _) = substitute(&json!(text), &values).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
