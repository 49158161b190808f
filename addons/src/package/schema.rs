//! The values of a package: a small part of JSON schema, checked by us.
//!
//! Known words: `type`, `description`, `default`, `enum`, `minimum`, `maximum`, `minLength`, `maxLength`, `properties`,
//! `items`. Another word is refused, so that nobody relies on what is not looked at.

use serde_json::{Map, Value, json};

const WORDS: [&str; 10] = [
    "type",
    "description",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "properties",
    "items",
];
const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// Looks at the `values` of an addon.yaml: the problem with the path of the value.
pub(crate) fn check_schema(values: &Map<String, Value>) -> Result<(), String> {
    values.iter().try_for_each(|(name, schema)| check_one(&format!("values.{name}"), schema))
}

fn check_one(path: &str, schema: &Value) -> Result<(), String> {
    let map = schema.as_object().ok_or_else(|| format!("{path}: is not a map with a type"))?;
    if let Some(word) = map.keys().find(|word| !WORDS.contains(&word.as_str())) {
        return Err(format!("{path}: {word:?} is not known; there are {}", WORDS.join(", ")));
    }
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if !TYPES.contains(&kind) {
        return Err(format!("{path}: type is one of {}", TYPES.join(", ")));
    }
    if let Some(default) = map.get("default") {
        validate(path, schema, default)?;
    }
    if let Some(items) = map.get("items") {
        check_one(&format!("{path}[]"), items)?;
    }
    let inner = map
        .get("properties")
        .map(|inner| inner.as_object().ok_or(format!("{path}.properties: is not a map")));
    for (name, schema) in inner.transpose()?.into_iter().flatten() {
        check_one(&format!("{path}.{name}"), schema)?;
    }
    Ok(())
}

/// The JSON schema of all values.
pub(crate) fn schema(values: &Map<String, Value>) -> Value {
    json!({"type": "object", "properties": values})
}

/// The values with their defaults.
///
/// # Errors
/// Field and problem of a value that the schema refuses, or of one that has neither value nor default.
pub(crate) fn fill(
    values: &Map<String, Value>,
    given: &Map<String, Value>,
) -> Result<Value, (String, String)> {
    let split = |text: String| {
        let (field, problem) = text.split_once(": ").unwrap_or(("", &text));
        (field.to_owned(), problem.to_owned())
    };
    validate("", &schema(values), &Value::Object(given.clone())).map_err(split)?;
    with_defaults("", values, given).map(Value::Object).map_err(split)
}

fn with_defaults(
    path: &str,
    schemas: &Map<String, Value>,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let mut full = Map::new();
    for (name, schema) in schemas {
        let path = join(path, name);
        let value = given.get(name).filter(|value| !value.is_null()).or_else(|| schema.get("default"));
        let inner = schema.get("properties").and_then(Value::as_object);
        let value = match (value, inner) {
            (value, Some(inner)) => {
                let empty = Map::new();
                let value = value.and_then(Value::as_object).unwrap_or(&empty);
                Value::Object(with_defaults(&path, inner, value)?)
            }
            (Some(value), None) => value.clone(),
            (None, None) => return Err(format!("{path}: has no default; give it with --set {path}=…")),
        };
        full.insert(name.clone(), value);
    }
    Ok(full)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn validate(path: &str, schema: &Value, value: &Value) -> Result<(), String> {
    let kind = schema["type"].as_str().unwrap_or_default();
    let fits = match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !fits {
        return Err(format!("{path}: {value} is not of type {kind}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{path}: {value} is none of {}", Value::Array(allowed.clone())));
    }
    let bound = |word: &str| schema[word].as_f64();
    let measure = match value {
        Value::Number(number) => number.as_f64().map(|number| (number, "minimum", "maximum")),
        Value::String(text) => Some((text.chars().count() as f64, "minLength", "maxLength")),
        _ => None,
    };
    if let Some((measure, least, most)) = measure {
        if let Some(bound) = bound(least).filter(|bound| measure < *bound) {
            return Err(format!("{path}: {value} is below the {least} of {bound}"));
        }
        if let Some(bound) = bound(most).filter(|bound| measure > *bound) {
            return Err(format!("{path}: {value} is above the {most} of {bound}"));
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            validate(&format!("{path}[{index}]"), items, item)?;
        }
    }
    if let (Some(inner), Some(map)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let path = join(path, name);
            let schema = inner.get(name).ok_or_else(|| {
                let names = inner.keys().cloned().collect::<Vec<_>>().join(", ");
                format!("{path}: there is no such value; there are: {names}")
            })?;
            validate(&path, schema, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn values() -> Map<String, Value> {
        let values = json!({
            "replicas": {"type": "integer", "default": 2, "minimum": 1, "maximum": 9},
            "greeting": {"type": "string", "maxLength": 5},
            "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "web": {"type": "object", "properties": {"port": {"type": "integer", "default": 80}, "hosts": {"type": "array", "items": {"type": "string"}, "default": []}}},
        });
        values.as_object().unwrap().clone()
    }

    #[test]
    fn defaults_are_filled_in_and_bad_values_named() {
        assert_eq!(check_schema(&values()), Ok(()));
        let fill = |given: Value| fill(&values(), given.as_object().unwrap());
        let full = json!({"replicas": 2, "greeting": "hi", "mode": "a", "web": {"port": 81, "hosts": []}});
        assert_eq!(fill(json!({"greeting": "hi", "web": {"port": 81}})), Ok(full));
        for (given, field, words) in [
            (json!({}), "greeting", "no default"),
            (json!({"greeting": 1}), "greeting", "not of type string"),
            (json!({"greeting": "longer"}), "greeting", "maxLength of 5"),
            (json!({"greeting": "", "replicas": 0}), "replicas", "minimum of 1"),
            (json!({"greeting": "", "replicas": 1.5}), "replicas", "not of type integer"),
            (json!({"greeting": "", "mode": "c"}), "mode", "none of"),
            (json!({"greeting": "", "web": {"hosts": ["a", 1]}}), "web.hosts[1]", "not of type string"),
            (
                json!({"greeting": "", "web": {"prot": 1}}),
                "web.prot",
                "no such value; there are: port, hosts",
            ),
        ] {
            let (at, problem) = fill(given).unwrap_err();
            assert!(at == field && problem.contains(words), "{at}: {problem}");
        }
    }

    #[test]
    fn a_schema_that_promises_what_is_not_checked_is_refused() {
        for (schema, words) in [
            (json!({"a": {"type": "string", "pattern": "x"}}), "values.a: \"pattern\" is not known"),
            (json!({"a": {"type": "text"}}), "values.a: type is one of"),
            (json!({"a": 3}), "values.a: is not a map"),
            (json!({"a": {"type": "integer", "default": "x"}}), "values.a: \"x\" is not of type integer"),
            (json!({"a": {"type": "object", "properties": {"b": {}}}}), "values.a.b: type is one of"),
        ] {
            let error = check_schema(schema.as_object().unwrap()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
