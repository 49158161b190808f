//! Definitions of custom resources: their structural schemas with what every object has
//! (`apiextensions-apiserver/pkg/controller/openapi/builder`).

use serde_json::{Map, Value, json};

use super::META;
use super::schemas::{Dialect, gvk};
use crate::crd::SelectableField;
use crate::kinds::Kind;

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

const EMBEDDED_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// Marks what keeps fields that nobody declared.
const PRESERVES: &str = "x-kubernetes-preserve-unknown-fields";
/// Marks what is a whole object itself.
const EMBEDDED: &str = "x-kubernetes-embedded-resource";

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn referred(dialect: Dialect, name: &str, description: &str) -> Value {
    let reference = dialect.reference(&format!("{META}.{name}"));
    let mut field = match dialect {
        Dialect::V2 => reference,
        // in v3 nothing may stand beside a $ref
        Dialect::V3 => json!({"allOf": [reference], "default": {}}),
    };
    field["description"] = description.into();
    field
}

/// The definition of a custom resource's objects.
pub(super) fn definition(kind: &Kind, dialect: Dialect) -> Value {
    let version = kind.custom.and_then(|custom| custom.version());
    let written = version.as_ref().map_or(Value::Null, |version| version.json().clone());
    let mut schema = match (dialect, written) {
        // kubectl takes what is declared for all there may be: so nothing is, not even metadata
        (_, Value::Null) => json!({"type": "object"}),
        (Dialect::V2, written) if is(&written, PRESERVES) => json!({"type": "object"}),
        (dialect, mut written) => {
            if dialect == Dialect::V2 {
                to_v2(&mut written);
            }
            meta_fields(&mut written, dialect);
            embed(&mut written, dialect);
            written
        }
    };
    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind.group, kind.version, kind.kind)]);
    let selectable = version.as_ref().map(|version| version.selectable()).unwrap_or_default();
    if !selectable.is_empty() {
        let path = |field: &SelectableField| json!({"fieldPath": field.json_path.trim_start_matches('.')});
        schema["x-kubernetes-selectable-fields"] = selectable.iter().map(path).collect();
    }
    schema
}

/// The definition of their lists.
pub(super) fn list(kind: &Kind, dialect: Dialect) -> Value {
    let description = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        kind.plural
    );
    json!({
        "description": format!("{} is a list of {}", kind.list_kind(), kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text(API_VERSION),
            "items": {"description": description, "type": "array", "items": dialect.reference(kind.schema)},
            "kind": text(KIND),
            "metadata": referred(dialect, "ListMeta", "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"),
        },
        "x-kubernetes-group-version-kind": [gvk(kind.group, kind.version, &kind.list_kind())],
    })
}

fn meta_fields(schema: &mut Value, dialect: Dialect) {
    let Value::Object(object) = schema else { return };
    let properties = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    properties["apiVersion"] = text(API_VERSION);
    properties["kind"] = text(KIND);
    properties["metadata"] = referred(
        dialect,
        "ObjectMeta",
        "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
    );
}

/// Gives embedded resources their metadata; in v2 not to those that keep unknown fields, which kubectl would refuse then.
fn embed(schema: &mut Value, dialect: Dialect) {
    each_below(schema, &mut |below| embed(below, dialect));
    if !is(schema, EMBEDDED) || dialect == Dialect::V2 && is(schema, PRESERVES) {
        return;
    }
    meta_fields(schema, dialect);
    schema["properties"]["apiVersion"] = text(EMBEDDED_API_VERSION);
    schema["properties"]["kind"] = text(EMBEDDED_KIND);
    let Some(object) = schema.as_object_mut() else { return };
    let required = object.entry("required").or_insert_with(|| json!([]));
    for name in ["kind", "apiVersion"].map(Value::from) {
        if let Some(list) = required.as_array_mut().filter(|list| !list.contains(&name)) {
            list.push(name);
        }
    }
}

fn is(schema: &Value, key: &str) -> bool {
    schema.as_object().is_some_and(|object| is_true(object, key))
}

fn is_true(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key) == Some(&Value::Bool(true))
}

fn each_below(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    let Value::Object(object) = schema else { return };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(&mut *visit);
    }
    for key in ["items", "additionalProperties"] {
        object.get_mut(key).filter(|below| below.is_object()).into_iter().for_each(&mut *visit);
    }
}

/// `ToStructuralOpenAPIV2`: what v2 has no words for goes, with what follows from it for clients that check by it.
fn to_v2(schema: &mut Value) {
    let (nullable, preserves) = (is(schema, "nullable"), is(schema, PRESERVES));
    let Value::Object(object) = schema else { return };
    // of defaults upstream rids every document in v2
    let mut gone = vec!["allOf", "anyOf", "oneOf", "not", "default"];
    // kubectl refuses null for what has a type, and what is not declared where anything is
    if nullable {
        gone.extend(["nullable", "type", "items", "properties"]);
    }
    if preserves {
        gone.extend(["items", "properties"]);
    }
    for key in gone {
        object.shift_remove(key);
    }
    let kind = object.get("type").and_then(Value::as_str);
    let vague = kind == Some("array") && !object.contains_key("items") || preserves && kind == Some("object");
    if vague || is_true(object, "x-kubernetes-int-or-string") {
        object.shift_remove("type");
    }
    require_no_null(object);
    if object.get("additionalProperties").is_some_and(Value::is_boolean) {
        object.shift_remove("additionalProperties");
    }
    each_below(schema, &mut to_v2);
}

/// What may be null has no type any more, so that it may be absent too.
fn require_no_null(object: &mut Map<String, Value>) {
    if object.get("additionalProperties").is_some_and(|below| is(below, "nullable")) {
        object.shift_remove("required");
    }
    let Some(Value::Array(required)) = object.get("required") else { return };
    let properties = object.get("properties").unwrap_or(&Value::Null);
    let nullable = |name: &Value| name.as_str().is_some_and(|name| is(&properties[name], "nullable"));
    let left: Vec<Value> = required.iter().filter(|name| !nullable(name)).cloned().collect();
    if left.is_empty() {
        object.shift_remove("required");
    } else {
        object.insert("required".to_owned(), left.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_says_nothing_that_kubectl_would_take_for_all() {
        let table = [
            (
                json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string", "nullable": true}, "b": {"type": "string", "default": "x"}}}),
                json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
            ),
            (
                json!({"type": "object", "required": ["a"], "additionalProperties": {"type": "string", "nullable": true}}),
                json!({"type": "object", "additionalProperties": {}}),
            ),
            (
                json!({"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {"type": "object"}}),
                json!({"x-kubernetes-preserve-unknown-fields": true}),
            ),
            (
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
                json!({"x-kubernetes-int-or-string": true}),
            ),
        ];
        for (mut schema, wanted) in table {
            to_v2(&mut schema);
            assert_eq!(schema, wanted);
        }
    }

    #[test]
    fn an_embedded_resource_requires_what_names_its_type() {
        let schema = || json!({"properties": {"a": {"type": "object", "x-kubernetes-embedded-resource": true, "required": ["kind", "x"]}}});
        let mut embedded = schema();
        embed(&mut embedded, Dialect::V3);
        let a = &embedded["properties"]["a"];
        assert_eq!(a["required"], json!(["kind", "x", "apiVersion"]));
        assert!(a["properties"]["metadata"].is_object());
        let mut open = schema();
        open["properties"]["a"][PRESERVES] = true.into();
        let before = open.clone();
        embed(&mut open, Dialect::V2);
        assert_eq!(open, before);
    }
}
