//! Definitions of custom resources: their structural schemas with what every object has
//! (`apiextensions-apiserver/pkg/controller/openapi/builder`).

use serde_json::{Map, Value, json};

use super::META;
use super::schemas::{Dialect, gvk};
use crate::kinds::Kind;

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

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
        (_, Value::Null) => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        (Dialect::V3, mut written) => {
            embed(&mut written, dialect);
            written
        }
        // v2 clients take types literally, and would refuse what is not declared
        (Dialect::V2, written)
            if written.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) =>
        {
            let mut open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            if let Some(description) = written.get("description") {
                open["description"] = description.clone();
            }
            open
        }
        (Dialect::V2, mut written) => {
            to_v2(&mut written);
            embed(&mut written, dialect);
            written
        }
    };
    let bare = dialect == Dialect::V2 && schema.get("x-kubernetes-preserve-unknown-fields").is_some();
    if !bare {
        meta_fields(&mut schema, dialect);
    }
    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind.group, kind.version, kind.kind)]);
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

/// Gives embedded resources their metadata.
fn embed(schema: &mut Value, dialect: Dialect) {
    each_below(schema, &mut |below| {
        embed(below, dialect);
        if below.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
            meta_fields(below, dialect);
        }
    });
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
    each_below(schema, &mut to_v2);
    let Value::Object(object) = schema else { return };
    for key in ["default", "allOf", "anyOf", "oneOf", "not", "x-kubernetes-validations"] {
        object.shift_remove(key);
    }
    let is = |object: &Map<String, Value>, key: &str| object.get(key) == Some(&Value::Bool(true));
    let preserves = is(object, "x-kubernetes-preserve-unknown-fields");
    if is(object, "nullable") {
        // kubectl refuses null for what has a type
        for key in ["type", "items", "properties", "nullable"] {
            object.shift_remove(key);
        }
    }
    if is(object, "x-kubernetes-int-or-string") {
        object.shift_remove("type");
    }
    if preserves {
        for key in ["items", "properties", "type"] {
            object.shift_remove(key);
        }
    }
    if object.get("additionalProperties").is_some_and(Value::is_boolean) {
        object.shift_remove("additionalProperties");
    }
}
