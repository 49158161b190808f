//! What is wrong with the kind and metadata of resources within an object (`schema/objectmeta/validation.go`).

use serde_json::Value;

use super::path::Path;
use super::schema::Schema;
use crate::status::FieldError;
use crate::validation::{NameRule, is_dns1035_label, object_meta};

/// Of all resources within `value`, which may be one itself.
pub(super) fn errors(value: &Value, schema: &Schema, at: &Path<'_>, found: &mut Vec<FieldError>) {
    if let (true, Value::Object(_)) = (schema.embedded, value) {
        resource(value, at, found);
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(field) = schema.field(key) {
                    errors(value, field, &at.key(key), found);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, item) in list.iter().enumerate() {
                errors(item, items, &at.index(index), found);
            }
        }
        _ => {}
    }
}

fn resource(value: &Value, at: &Path<'_>, found: &mut Vec<FieldError>) {
    for (key, fault) in [("apiVersion", version_fault as fn(&str) -> Option<String>), ("kind", kind_fault)] {
        let here = at.key(key).to_string();
        found.extend(match value.get(key) {
            None => Some(FieldError::required(here, "must not be empty")),
            Some(Value::String(text)) if text.is_empty() => {
                Some(FieldError::invalid(here, "", "must not be empty"))
            }
            Some(Value::String(text)) => fault(text).map(|why| FieldError::invalid(here, text.as_str(), why)),
            Some(other) => Some(FieldError::invalid(here, other.clone(), "must be a string")),
        });
    }
    let Some(metadata) = value.get("metadata").filter(|metadata| metadata.is_object()) else { return };
    let mut metadata = metadata.clone();
    let text = |metadata: &Value, key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    if text(&metadata, "name").is_none_or(|name| name.is_empty()) {
        metadata["name"] = "fakename".into();
    }
    let namespaced = text(&metadata, "namespace").is_some_and(|namespace| !namespace.is_empty());
    let wrong = object_meta(&metadata, namespaced, NameRule::PathSegment);
    found.extend(
        wrong.into_iter().map(|error| FieldError { field: format!("{at}.{}", error.field), ..error }),
    );
}

fn version_fault(version: &str) -> Option<String> {
    (version.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {version}"))
}

fn kind_fault(kind: &str) -> Option<String> {
    let wrong = is_dns1035_label(&kind.to_lowercase());
    let why = || format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
    (!wrong.is_empty()).then(why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_within_have_kinds_and_names() {
        let within = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true});
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "one": within, "list": {"type": "array", "items": within}}}));
        let object = json!({
            "one": {"apiVersion": "a/b/c", "kind": "%", "metadata": {"name": ".."}},
            "list": [{"apiVersion": "v1", "kind": "Pod"}, {"kind": 1, "metadata": {"labels": {"a": "x y"}}}],
        });
        let mut found = Vec::new();
        errors(&object, &schema, &Path::Root, &mut found);
        let fields: Vec<&str> = found.iter().map(|error| error.field.as_str()).collect();
        let wanted = [
            "one.apiVersion",
            "one.kind",
            "one.metadata.name",
            "list[1].apiVersion",
            "list[1].kind",
            "list[1].metadata.labels",
        ];
        for field in wanted {
            assert!(fields.contains(&field), "{field} in {fields:?}");
        }
        assert_eq!(fields.len(), wanted.len(), "{fields:?}");
    }
}
