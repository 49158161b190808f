//! What a definition's schema may say besides being structural
//! (`ValidateCustomResourceDefinitionOpenAPISchema`, `specStandardValidatorV3`).

use serde_json::Value;

use super::field_path::field_path;
use super::path::Path;
use super::schema::Schema;
use super::structural::{flag, list, properties, text};
use super::{lists, prune, structural, validate};
use crate::status::FieldError;

type Errors = Vec<FieldError>;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// Where a schema is.
#[derive(Clone, Copy, Default)]
struct Place {
    root: bool,
    in_meta: bool,
    no_defaults: Option<&'static str>,
}

/// What is wrong with `openAPIV3Schema`, at `at`.
pub(super) fn errors(schema: &Value, at: &str, status: bool, errors: &mut Errors) {
    if status {
        at_root(schema, at, errors);
    }
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(format!("{at}.nullable"), "nullable cannot be true at the root"));
    }
    let found = structural::errors(schema, at);
    if found.is_empty() {
        defaults(schema, &Schema::read(schema), at, Within::Resource, errors);
    }
    errors.extend(found);
    walk(schema, at, Place { root: true, ..Place::default() }, errors);
}

/// With a status subresource the root may say only what does not reach into the status.
fn at_root(schema: &Value, at: &str, errors: &mut Errors) {
    const ALLOWED: [(&str, &str); 22] = [
        ("Description", "description"),
        ("Type", "type"),
        ("Format", "format"),
        ("Title", "title"),
        ("Maximum", "maximum"),
        ("ExclusiveMaximum", "exclusiveMaximum"),
        ("Minimum", "minimum"),
        ("ExclusiveMinimum", "exclusiveMinimum"),
        ("MaxLength", "maxLength"),
        ("MinLength", "minLength"),
        ("Pattern", "pattern"),
        ("MaxItems", "maxItems"),
        ("MinItems", "minItems"),
        ("UniqueItems", "uniqueItems"),
        ("MultipleOf", "multipleOf"),
        ("Required", "required"),
        ("Items", "items"),
        ("Properties", "properties"),
        ("ExternalDocs", "externalDocs"),
        ("Example", "example"),
        ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
        ("XValidations", "x-kubernetes-validations"),
    ];
    let ty = text(schema, "type");
    if !matches!(ty, "" | "object") {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(format!("{at}.type"), ty, why));
        return;
    }
    let set = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let said = schema.as_object().into_iter().flatten().filter(|(_, value)| set(value));
    let other = |key: &str| !ALLOWED.iter().any(|(_, json)| *json == key);
    if said.into_iter().any(|(key, _)| other(key)) {
        let names = ALLOWED.map(|(go, _)| go).join(" ");
        let why = format!(
            "only [{names}] fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(FieldError::invalid(at, schema.clone(), why));
    }
}

fn walk(schema: &Value, at: &str, place: Place, errors: &mut Errors) {
    if !schema.is_object() {
        return;
    }
    standard(schema, at, place, errors);
    if flag(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{at}.uniqueItems"), why));
    }
    let below = Place { root: false, ..place };
    if let Some(additional) = schema.get("additionalProperties").filter(|a| !a.is_null()) {
        let here = format!("{at}.additionalProperties");
        if properties(schema).next().is_some() && additional != &Value::Bool(true) {
            errors.push(FieldError::forbidden(
                &here,
                "additionalProperties and properties are mutual exclusive",
            ));
        }
        let no_defaults = place.in_meta.then_some("inside additionalProperties applying to object metadata");
        walk(additional, &here, Place { no_defaults: no_defaults.or(place.no_defaults), ..below }, errors);
    }
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    for (name, field) in properties(schema) {
        let mut inner = below;
        if (place.root || embedded) && META.contains(&name.as_str()) {
            inner.in_meta = true;
            if place.root {
                inner.no_defaults = Some(match name.as_str() {
                    "metadata" => "in top-level metadata",
                    "kind" => "in top-level kind",
                    _ => "in top-level apiVersion",
                });
            }
        }
        walk(field, &format!("{at}.properties[{name}]"), inner, errors);
    }
    if let Some(not) = schema.get("not") {
        walk(not, &format!("{at}.not"), below, errors);
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for (index, nested) in list(schema, key).iter().enumerate() {
            walk(nested, &format!("{at}.{key}[{index}]"), below, errors);
        }
    }
    if let Some(items) = schema.get("items") {
        walk(items, &format!("{at}.items"), below, errors);
    }
    extensions(schema, at, errors);
    rules(schema, at, errors);
}

/// What OpenAPI has and Kubernetes has not.
fn standard(schema: &Value, at: &str, place: Place, errors: &mut Errors) {
    let ty = text(schema, "type");
    if !ty.is_empty() && !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported(format!("{at}.type"), ty, &TYPES));
    }
    if let (Some(reason), true) = (place.no_defaults, schema.get("default").is_some_and(|d| !d.is_null())) {
        errors.push(FieldError::forbidden(format!("{at}.default"), format!("must not be set {reason}")));
    }
    let said = |key: &str| match schema.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    };
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if said(key) {
            errors.push(FieldError::forbidden(format!("{at}.{key}"), format!("{key} is not supported")));
        }
    }
    if ty == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(format!("{at}.type"), why));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        errors.push(FieldError::forbidden(
            format!("{at}.items"),
            "items must be a schema object and not an array",
        ));
    }
    if place.in_meta && flag(schema, "x-kubernetes-embedded-resource") {
        let why = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(format!("{at}.x-kubernetes-embedded-resource"), why));
    }
}

fn extensions(schema: &Value, at: &str, errors: &mut Errors) {
    let here = |key: &str| format!("{at}.{key}");
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let field = here("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(field, false, "must be true or undefined"));
    }
    let must_be = |wanted: &str, why: &str| match text(schema, "type") {
        "" => Some(FieldError::required(here("type"), why)),
        ty if ty != wanted => Some(FieldError::invalid(here("type"), ty, why)),
        _ => None,
    };
    if let Some(map_type) = schema.get("x-kubernetes-map-type").and_then(Value::as_str) {
        errors.extend(must_be("object", "must be object if x-kubernetes-map-type is specified"));
        if !matches!(map_type, "atomic" | "granular") {
            errors.push(FieldError::not_supported(
                here("x-kubernetes-map-type"),
                map_type,
                &["atomic", "granular"],
            ));
        }
    }
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    if let Some(list_type) = list_type {
        let wrong = must_be("array", "must be array if x-kubernetes-list-type is specified");
        if wrong.is_none() && list_type == "set" {
            set_items(schema, at, errors);
        }
        errors.extend(wrong);
        if !matches!(list_type, "atomic" | "set" | "map") {
            let field = here("x-kubernetes-list-type");
            errors.push(FieldError::not_supported(field, list_type, &["atomic", "set", "map"]));
        }
    }
    let keys = list(schema, "x-kubernetes-list-map-keys");
    let why = "must be map if x-kubernetes-list-map-keys is non-empty";
    match list_type {
        _ if keys.is_empty() => {}
        None => errors.push(FieldError::required(here("x-kubernetes-list-type"), why)),
        Some("map") => {}
        Some(other) => errors.push(FieldError::invalid(here("x-kubernetes-list-type"), other, why)),
    }
    if list_type == Some("map") {
        map_list(schema, keys, at, errors);
    }
    let uniques = list_type.filter(|list_type| matches!(*list_type, "set" | "map"));
    if let Some(list_type) =
        uniques.filter(|_| schema.get("items").is_some_and(|items| flag(items, "nullable")))
    {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(here("items.nullable"), why));
    }
}

fn set_items(schema: &Value, at: &str, errors: &mut Errors) {
    let Some(items) = schema.get("items") else { return };
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (list_type, map_type) = (text(items, "x-kubernetes-list-type"), text(items, "x-kubernetes-map-type"));
    let shown = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
    match text(items, "type") {
        "array" if !matches!(list_type, "" | "atomic") => {
            errors.push(FieldError::invalid(format!("{at}.items.x-kubernetes-list-type"), shown, why));
        }
        "object" if map_type != "atomic" => {
            errors.push(FieldError::invalid(format!("{at}.items.x-kubernetes-map-type"), shown, why));
        }
        _ => {}
    }
}

fn map_list(schema: &Value, keys: &[Value], at: &str, errors: &mut Errors) {
    let here = |key: &str| format!("{at}.{key}");
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(here("x-kubernetes-list-map-keys"), why));
    }
    let Some(items) = schema.get("items") else {
        let why = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(here("items"), why));
        return;
    };
    if text(items, "type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(here("items.type"), text(items, "type"), why));
        return;
    }
    let all = Value::from(keys.to_vec());
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        let field = format!("{at}.items.properties[{name}]");
        let mut wrong = |why: &str| {
            errors.push(FieldError::invalid(here("x-kubernetes-list-map-keys"), all.clone(), why));
        };
        if keys[..index].contains(key) {
            wrong("must not contain duplicate entries");
        }
        let Some(declared) = items.get("properties").and_then(|p| p.get(name)) else {
            wrong("entries must all be names of item properties");
            continue;
        };
        if matches!(text(declared, "type"), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(format!("{field}.type"), text(items, "type"), why));
        }
        if !list(items, "required").contains(key) && declared.get("default").is_none_or(Value::is_null) {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(format!("{field}.default"), why));
        }
        if flag(declared, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(format!("{field}.nullable"), why));
        }
    }
}

/// What of `x-kubernetes-validations` can be told without compiling.
fn rules(schema: &Value, at: &str, errors: &mut Errors) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let here = |key: &str| format!("{at}.x-kubernetes-validations[{index}].{key}");
        let (expression, message) = (text(rule, "rule"), text(rule, "message"));
        let (rule_text, message_text) = (expression.trim(), message.trim());
        let breaks = |text: &str| text.contains(['\n', '\r']);
        if rule_text.is_empty() {
            errors.push(FieldError::required(here("rule"), "rule is not specified"));
        } else if !message.is_empty() && message_text.is_empty() {
            errors.push(FieldError::invalid(
                here("message"),
                message,
                "message must be non-empty if specified",
            ));
        } else if breaks(message_text) {
            errors.push(FieldError::invalid(
                here("message"),
                message,
                "message must not contain line breaks",
            ));
        } else if breaks(rule_text) && message_text.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(here("message"), why));
        }
        let by = text(rule, "messageExpression");
        if !by.is_empty() && by.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(here("messageExpression"), why));
        }
        let reason = text(rule, "reason");
        if !reason.is_empty() && !REASONS.contains(&reason) {
            errors.push(FieldError::not_supported(here("reason"), reason, &REASONS));
        }
        let path = text(rule, "fieldPath");
        if !path.is_empty() && path.trim().is_empty() {
            errors.push(FieldError::invalid(
                here("fieldPath"),
                path,
                "fieldPath must be non-empty if specified",
            ));
        }
        if breaks(path) {
            errors.push(FieldError::invalid(
                here("fieldPath"),
                path,
                "fieldPath must not contain line breaks",
            ));
        }
        if !path.is_empty() && field_path(path, &Schema::read(schema)).is_err() {
            errors.push(FieldError::invalid(here("fieldPath"), path, "fieldPath must be a valid path"));
        }
    }
}

/// Where a schema is.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    /// Of something with metadata.
    Resource,
    /// Of metadata, or within: what is unknown there is taken out of defaults when they are set.
    Metadata,
    Else,
}

/// Defaults have to be pruned and valid (`schema/defaulting/validation.go`).
fn defaults(json: &Value, schema: &Schema, at: &str, place: Within, errors: &mut Errors) {
    if !schema.has_defaults {
        return;
    }
    if let Some(default) = &schema.default {
        let here = format!("{at}.default");
        let mut pruned = default.clone();
        if place != Within::Metadata && !prune::prune_inside(&mut pruned, schema).is_empty() {
            errors.push(FieldError::invalid(&here, default.clone(), "must not have unknown fields"));
        } else {
            let mut found = Vec::new();
            validate::value(default, schema, &Path::Root, false, &mut found);
            lists::errors(default, schema, &Path::Root, &mut found);
            errors.extend(found.into_iter().map(|error| FieldError {
                field: match error.field.as_str() {
                    "<nil>" => here.clone(),
                    below => format!("{here}.{below}"),
                },
                ..error
            }));
        }
    }
    for (name, field) in &schema.properties {
        let Some(below) = json.get("properties").and_then(|p| p.get(name)) else { continue };
        let inside = match place {
            Within::Metadata => Within::Metadata,
            Within::Resource if name == "metadata" => Within::Metadata,
            _ => below_of(field),
        };
        defaults(below, field, &format!("{at}.properties[{name}]"), inside, errors);
    }
    if let (Some(items), Some(below)) = (&schema.items, json.get("items")) {
        defaults(below, items, &format!("{at}.items"), inside_of(place, items), errors);
    }
    if let (Some(super::schema::Additional::Of(of)), Some(below)) =
        (&schema.additional, json.get("additionalProperties"))
    {
        defaults(below, of, &format!("{at}.additionalProperties"), inside_of(place, of), errors);
    }
}

/// The place of a schema that is not metadata itself.
fn below_of(schema: &Schema) -> Within {
    if schema.embedded { Within::Resource } else { Within::Else }
}

/// The place of what a list or map within holds.
fn inside_of(place: Within, schema: &Schema) -> Within {
    if place == Within::Metadata { place } else { below_of(schema) }
}
