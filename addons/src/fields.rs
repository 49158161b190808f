//! A configuration for people: its fields one by one, with what they mean and what they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::set::resolve;

/// Schemas within schemas are followed so far: more is a value of its own.
const DEPTH: usize = 4;

/// One field of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// As `--set` takes it.
    pub path: String,
    /// `boolean`, `string`, `integer`, `number`, `words` (a list of texts), `list`, `map`, `value`, or the texts that it may be,
    /// such as `a|b`.
    pub kind: String,
    /// What it is now.
    pub value: Value,
    /// What it means; the first line of it.
    pub description: String,
}

/// The fields of a configuration, in the schema's order.
pub fn fields(schema: &Value, configuration: &Value) -> Vec<Field> {
    let mut all = Vec::new();
    collect(schema, schema, configuration, "", DEPTH, &mut all);
    all
}

/// A text with the values of the configuration in the place of their paths: `at port {http.port}`.
pub(crate) fn filled(text: &str, configuration: &Value) -> String {
    let mut pieces = text.split('{');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (path, after) = piece.split_once('}').unwrap_or(("", piece));
        let value = configuration.pointer(&format!("/{}", path.replace('.', "/")));
        filled += &match value {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "–".to_owned(),
        };
        filled += after;
    }
    filled
}

fn collect(root: &Value, schema: &Value, value: &Value, prefix: &str, depth: usize, all: &mut Vec<Field>) {
    let properties =
        resolve(root, schema).and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    for (name, outer) in properties.into_iter().flatten() {
        let name = name.replace('.', r"\.");
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let inner = resolve(root, outer).unwrap_or(outer);
        let value = value.get(&name).unwrap_or(&Value::Null);
        if depth > 0 && inner.get("properties").is_some() {
            collect(root, inner, value, &path, depth - 1, all);
            continue;
        }
        let said = |schema: &Value| schema.get("description").and_then(Value::as_str).map(str::to_owned);
        let description = said(outer).or_else(|| said(inner)).unwrap_or_default();
        // the first paragraph, whatever its lines
        let first = description.split("\n\n").next().unwrap_or_default();
        let description = first.split_whitespace().collect::<Vec<_>>().join(" ");
        all.push(Field { path, kind: kind_of(root, inner), value: value.clone(), description });
    }
}

fn kind_of(root: &Value, schema: &Value) -> String {
    let allowed = schema.get("enum").and_then(Value::as_array);
    let members = schema.get("oneOf").and_then(Value::as_array);
    let constants: Option<Vec<&Value>> =
        members.and_then(|all| all.iter().map(|one| one.get("const")).collect());
    if let Some(allowed) = allowed.map(|all| all.iter().collect()).or(constants) {
        let words: Vec<String> = allowed
            .into_iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect();
        return words.join("|");
    }
    let name = |kind: &Value| match kind.as_str() {
        Some("array") if resolve(root, &schema["items"]).is_some_and(|items| items["type"] == "string") => {
            "words".to_owned()
        }
        Some("array") => "list".to_owned(),
        Some("object") => "map".to_owned(),
        other => other.unwrap_or("value").to_owned(),
    };
    match &schema["type"] {
        Value::Array(kinds) => {
            kinds.iter().find(|kind| *kind != "null").map_or_else(|| "value".to_owned(), name)
        }
        kind => name(kind),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_has_values_in_it() {
        let configuration = json!({"http": {"port": 8080}, "name": "x"});
        assert_eq!(filled("at {http.port} as {name}, {none.such}.", &configuration), "at 8080 as x, –.");
        assert_eq!(filled("plain", &Value::Null), "plain");
    }

    #[test]
    fn fields_are_shown_one_by_one() {
        let schema = json!({"properties": {
            "port": {"type": "integer", "description": "Where it\nlistens.\n\nMore."},
            "mode": {"$ref": "#/$defs/Mode", "description": "How."},
            "tls": {"type": "object", "properties": {"secret": {"type": ["string", "null"], "description": "Whose."}}},
            "hosts": {"type": "array", "items": {"type": "string"}},
            "rules": {"type": "array", "items": {"type": "object"}},
        }, "$defs": {"Mode": {"oneOf": [{"const": "a"}, {"const": "b"}]}}});
        let configuration =
            json!({"port": 80, "mode": "a", "tls": {"secret": null}, "hosts": ["x"], "rules": []});
        let shown: Vec<_> = fields(&schema, &configuration)
            .into_iter()
            .map(|field| (field.path, field.kind, field.value, field.description))
            .collect();
        let row = |path: &str, kind: &str, value: Value, words: &str| {
            (path.to_owned(), kind.to_owned(), value, words.to_owned())
        };
        assert_eq!(
            shown,
            [
                row("port", "integer", json!(80), "Where it listens."),
                row("mode", "a|b", json!("a"), "How."),
                row("tls.secret", "string", json!(null), "Whose."),
                row("hosts", "words", json!(["x"]), ""),
                row("rules", "list", json!([]), ""),
            ]
        );
    }
}
