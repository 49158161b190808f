//! Whether a schema is structural (`schema/validation.go`): every field that values are asked about is also declared.
//!
//! Works on the JSON of the schema, for what is wrong with it is what [`super::schema`] would pass over.

use serde_json::Value;

use super::schema::PATTERN_BYTES;
use crate::go;
use crate::status::FieldError;

type Errors = Vec<FieldError>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

pub(super) fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// What keeps `schema` from being structural, in upstream's order.
pub(super) fn errors(schema: &Value, at: &str) -> Errors {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, at, &mut errors);
    completeness(schema, at, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors.dedup();
    errors
}

/// The schemas below `allOf`, `anyOf`, `oneOf` and `not`, with their steps.
fn junctors(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for key in ["allOf", "anyOf", "oneOf"] {
        found.extend(list(schema, key).iter().enumerate().map(|(i, s)| (format!("{key}[{i}]"), s)));
    }
    found.extend(schema.get("not").filter(|s| s.is_object()).map(|s| ("not".to_owned(), s)));
    found
}

fn invariants(schema: &Value, level: Level, at: &str, errors: &mut Errors) {
    let ty = text(schema, "type");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    match schema.get("items") {
        Some(items) => invariants(items, Level::Item, &format!("{at}.items"), errors),
        None if ty == "array" => {
            errors.push(FieldError::required(format!("{at}.items"), "must be specified"))
        }
        None => {}
    }
    for (name, field) in properties(schema) {
        invariants(field, Level::Field, &format!("{at}.properties[{name}]"), errors);
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|a| !a.is_null()) {
        let here = format!("{at}.additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&here, "must not be used at the root"));
        }
        if embedded {
            errors.push(FieldError::forbidden(
                &here,
                "must not be used if x-kubernetes-embedded-resource is set",
            ));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &here, errors);
        }
    }
    for (set, key) in
        [(preserve, "x-kubernetes-preserve-unknown-fields"), (embedded, "x-kubernetes-embedded-resource")]
    {
        if int_or_string && set {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(format!("{at}.{key}"), true, why));
        }
    }
    values(schema, is_int_or_string(schema, "anyOf"), is_all_of_int_or_string(schema), level, at, errors);
    types(schema, level, at, errors);
    let checked = level == Level::Root || embedded;
    for name in ["kind", "apiVersion"] {
        let Some(field) = schema.pointer(&format!("/properties/{name}")).filter(|_| checked) else {
            continue;
        };
        if text(field, "type") != "string" {
            let here = format!("{at}.properties[{name}].type");
            errors.push(FieldError::invalid(here, text(field, "type"), "must be string"));
        }
    }
    if let Some(metadata) = schema.pointer("/properties/metadata") {
        restricted(metadata, checked, level, &format!("{at}.properties[metadata]"), errors);
    }
    if embedded && !preserve && properties(schema).next().is_none() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(format!("{at}.properties"), why));
    }
}

fn types(schema: &Value, level: Level, at: &str, errors: &mut Errors) {
    let ty = text(schema, "type");
    let here = format!("{at}.type");
    if flag(schema, "x-kubernetes-embedded-resource") && ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match ty {
            "" => FieldError::required(here, why),
            ty => FieldError::invalid(here, ty, why),
        });
        return;
    }
    let free =
        flag(schema, "x-kubernetes-int-or-string") || flag(schema, "x-kubernetes-preserve-unknown-fields");
    match (ty, level) {
        ("", Level::Root) if !free => {
            errors.push(FieldError::required(here, "must not be empty at the root"))
        }
        ("", Level::Item) if !free => {
            errors.push(FieldError::required(here, "must not be empty for specified array items"));
        }
        ("", Level::Field) if !free => {
            errors.push(FieldError::required(here, "must not be empty for specified object fields"));
        }
        ("" | "object", _) => {}
        (ty, Level::Root) => errors.push(FieldError::invalid(here, ty, "must be object at the root")),
        _ => {}
    }
}

/// `metadata` may restrict names only, and at the root nothing else.
fn restricted(metadata: &Value, checked: bool, level: Level, at: &str, errors: &mut Errors) {
    if checked && text(metadata, "type") != "object" {
        errors.push(FieldError::invalid(format!("{at}.type"), text(metadata, "type"), "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let said = metadata.as_object().into_iter().flatten();
    let other = said.filter(|(key, _)| !matches!(key.as_str(), "type" | "default" | "properties")).count();
    let fields = properties(metadata).any(|(name, _)| !matches!(name.as_str(), "name" | "generateName"));
    if other > 0 || fields {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(at, why));
    }
}

fn is_int_or_string(schema: &Value, key: &str) -> bool {
    let plain =
        |value: &Value, ty| value.as_object().is_some_and(|o| o.len() == 1) && text(value, "type") == ty;
    matches!(list(schema, key), [a, b] if plain(a, "integer") && plain(b, "string"))
}

fn is_all_of_int_or_string(schema: &Value) -> bool {
    list(schema, "allOf").first().is_some_and(|first| is_int_or_string(first, "anyOf"))
}

fn values(schema: &Value, skip_any: bool, skip_all: bool, level: Level, at: &str, errors: &mut Errors) {
    for (junctor, below) in junctors(schema) {
        if skip_any && junctor.starts_with("anyOf") {
            continue;
        }
        let skip = skip_all && junctor == "allOf[0]";
        nested(below, skip, level, &format!("{at}.{junctor}"), errors);
    }
    let pattern = text(schema, "pattern");
    if let Err(why) = go::regexp::compile(pattern, PATTERN_BYTES) {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(format!("{at}.pattern"), pattern, why));
    }
}

/// Below a junctor only values may be asked about.
fn nested(schema: &Value, skip_any: bool, level: Level, at: &str, errors: &mut Errors) {
    values(schema, skip_any, false, level, at, errors);
    if let Some(items) = schema.get("items").filter(|v| v.is_object()) {
        nested(items, false, level, &format!("{at}.items"), errors);
    }
    for (name, field) in properties(schema) {
        nested(field, false, Level::Field, &format!("{at}.properties[{name}]"), errors);
    }
    const FORBIDDEN: [(&str, &str); 13] = [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("externalDocs", "must be undefined to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
    ];
    let said = |key: &str| match schema.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    for (key, why) in FORBIDDEN.iter().filter(|(key, _)| said(key)) {
        errors.push(FieldError::forbidden(format!("{at}.{key}"), *why));
    }
    if said("x-kubernetes-validations") {
        errors.push(FieldError::forbidden(
            format!("{at}.x-kubernetes-validations"),
            "must be empty to be structural",
        ));
    }
    if schema.pointer("/properties/metadata").is_some() {
        let why = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(format!("{at}.properties[metadata]"), why));
    }
}

/// [`complete`] for a schema and all below it.
fn completeness(schema: &Value, at: &str, errors: &mut Errors) {
    for (junctor, below) in junctors(schema) {
        complete(schema, below, at, &format!("{at}.{junctor}"), errors);
    }
    for (name, field) in properties(schema) {
        completeness(field, &format!("{at}.properties[{name}]"), errors);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(key).filter(|below| below.is_object()) {
            completeness(below, &format!("{at}.{key}"), errors);
        }
    }
}

/// What values are asked about below `nested` has to be declared in `declared` (`schema/complete.go`).
fn complete(declared: &Value, nested: &Value, at: &str, here: &str, errors: &mut Errors) {
    for (name, below) in properties(nested) {
        let step = format!("{here}.properties[{name}]");
        match declared.get("properties").and_then(|p| p.get(name)) {
            Some(field) => complete(field, below, &format!("{at}.properties[{name}]"), &step, errors),
            None => {
                let missing = format!("{at}.properties[{name}]");
                errors
                    .push(FieldError::required(missing.clone(), format!("because it is defined in {step}")));
            }
        }
    }
    if let Some(items) = nested.get("items").filter(|v| v.is_object()) {
        let step = format!("{here}.items");
        match declared.get("items") {
            Some(declared) => complete(declared, items, &format!("{at}.items"), &step, errors),
            None => errors.push(FieldError::required(
                format!("{at}.items"),
                format!("because it is defined in {step}"),
            )),
        }
    }
    for (junctor, below) in junctors(nested) {
        complete(declared, below, at, &format!("{here}.{junctor}"), errors);
    }
}
