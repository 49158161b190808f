//! What is wrong with a custom resource: metadata, then its schema, in the words of go-openapi's validator as
//! `apiserver/validation/validation.go` passes them on.

use serde_json::Value;

use super::path::Path;
use super::schema::{Additional, ListType, Schema, Type, Values};
use super::{formats, lists};
use crate::go::Quote as _;
use crate::kinds::Kind;
use crate::status::{Cause, FieldError};
use crate::validation::{NameRule, object_meta, object_meta_update};

type Errors = Vec<FieldError>;

fn metadata(object: &Value) -> Value {
    object.get("metadata").cloned().unwrap_or_default()
}

/// What is wrong with a new object.
pub fn create_errors(kind: &Kind, schema: &Schema, new: &Value) -> Errors {
    let mut errors = object_meta(&metadata(new), kind.namespaced, NameRule::Subdomain);
    body(schema, new, None, &mut errors);
    errors
}

/// What is wrong with a change.
pub fn update_errors(schema: &Schema, new: &Value, old: &Value) -> Errors {
    let mut errors = object_meta_update(&metadata(new), &metadata(old));
    body(schema, new, Some(old), &mut errors);
    errors
}

/// What is wrong with a change of the status: what was wrong before and is the same is let pass. Only the status is looked
/// at, and in the texts of what is wrong it is the object.
pub fn status_errors(schema: &Schema, new: &Value, old: &Value) -> Errors {
    let mut errors = object_meta_update(&metadata(new), &metadata(old));
    let status = |object: &'_ Value| object.get("status").cloned();
    if let (Some(schema), Some(status), before) = (schema.field("status"), status(new), status(old)) {
        let mut found = Vec::new();
        value(&status, schema, &Path::Root, false, &mut found);
        if let Some(before) = before {
            found.retain(|error| match error.field == ROOT {
                true => status != before,
                false => changed(error, schema, &status, &before),
            });
        }
        errors.extend(found.into_iter().map(|error| FieldError {
            field: match error.field.as_str() {
                ROOT => "status".to_owned(),
                below => format!("status.{below}"),
            },
            ..error
        }));
    }
    twice(schema, new, Some(old), &mut errors);
    errors
}

/// Items of sets and maps that are there twice; of a change, if none were before.
fn twice(schema: &Schema, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut found = Vec::new();
    lists::errors(new, schema, &Path::Root, &mut found);
    if let (Some(old), false) = (old, found.is_empty()) {
        let mut before = Vec::new();
        lists::errors(old, schema, &Path::Root, &mut before);
        found.retain(|_| before.is_empty());
    }
    errors.extend(found);
}

/// The object against its schema. Of a change, what is wrong within a value that is as it was before is let pass
/// (`CRDValidationRatcheting`), and items that are there twice if some were before.
fn body(schema: &Schema, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut found = Vec::new();
    value(new, schema, &Path::Root, true, &mut found);
    if let Some(old) = old {
        found.retain(|error| changed(error, schema, new, old));
    }
    errors.extend(found);
    twice(schema, new, old, errors);
    super::embedded::errors(new, schema, &Path::Root, errors);
}

/// Whether none of the values around what an error is about, nor that itself, is as it was before. A missing field is its
/// object's matter. Items of lists that are no maps have no value before: only the whole list has.
fn changed(error: &FieldError, schema: &Schema, new: &Value, old: &Value) -> bool {
    if error.field == ROOT {
        return true;
    }
    let mut way = steps(&error.field);
    if error.cause == Cause::Required {
        way.pop();
    }
    let (mut new, mut old, mut schema) = (new, old, Some(schema));
    for (depth, step) in way.into_iter().enumerate() {
        if unchanged(new, old, schema) {
            return false;
        }
        let within = match step {
            // old and new are of one version, whatever was sent
            Step::Key("apiVersion" | "kind") if depth == 0 => None,
            Step::Key(key) => {
                let within = new.get(key).zip(old.get(key));
                schema = schema.and_then(|s| s.field(key));
                within
            }
            Step::Index(index) => {
                let item = new.get(index);
                let within = item.and_then(|item| Some((item, same_item(item, old, schema)?)));
                schema = schema.and_then(|s| s.items.as_deref());
                within
            }
        };
        let Some(within) = within else { return true };
        (new, old) = within;
    }
    !unchanged(new, old, schema)
}

/// Whether two values are known to be the same, items of maps in any order: no field is that the schema does not name.
pub fn unchanged(new: &Value, old: &Value, schema: Option<&Schema>) -> bool {
    match (new, old) {
        (Value::Array(items), Value::Array(before)) => {
            let Some(map) = schema.filter(|schema| schema.list_type == ListType::Map) else {
                return new == old;
            };
            let of = map.items.as_deref();
            let same = |item| same_item(item, old, schema).is_some_and(|before| unchanged(item, before, of));
            items.len() == before.len() && items.iter().all(same)
        }
        (Value::Object(map), Value::Object(before)) => {
            let same = |(key, value): (&String, &Value)| {
                let field = schema.and_then(|schema| schema.field(key));
                let known = before.get(key).filter(|_| field.is_some());
                known.is_some_and(|before| unchanged(value, before, field))
            };
            map.len() == before.len() && map.iter().all(same)
        }
        (new, old) => new == old,
    }
}

/// The old item that an item correlates with: of maps the one with the same keys, of other lists none.
fn same_item<'a>(item: &Value, old: &'a Value, schema: Option<&Schema>) -> Option<&'a Value> {
    let schema = schema.filter(|schema| schema.list_type == ListType::Map)?;
    let same = |old: &&Value| schema.list_map_keys.iter().all(|key| old.get(key) == item.get(key));
    old.as_array()?.iter().find(same)
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn steps(field: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in field.split('.') {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        if !key.is_empty() {
            steps.push(Step::Key(key));
        }
        let numbers = indices.split('[').filter_map(|n| n.trim_end_matches(']').parse().ok());
        steps.extend(numbers.map(Step::Index));
    }
    steps
}

/// What upstream prints for errors that belong to no field.
const ROOT: &str = "<nil>";

fn shown(at: &Path<'_>) -> String {
    match at {
        Path::Root => ROOT.to_owned(),
        at => at.to_string(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits(value: &Value, ty: Type) -> bool {
    match (ty, value) {
        (Type::Any, _)
        | (Type::Array, Value::Array(_))
        | (Type::Boolean, Value::Bool(_))
        | (Type::Number, Value::Number(_))
        | (Type::Object, Value::Object(_))
        | (Type::String, Value::String(_)) => true,
        (Type::Integer, Value::Number(n)) => {
            n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|f| f.fract() == 0.0)
        }
        _ => false,
    }
}

/// `value` against `schema`; the root's apiVersion, kind and metadata are the schema's business only as far as it names them.
pub(super) fn value(value: &Value, schema: &Schema, at: &Path<'_>, root: bool, errors: &mut Errors) {
    if value.is_null() && schema.nullable {
        return;
    }
    let wrong_type = |wanted: &str, errors: &mut Errors| {
        let found = type_name(value);
        let why = format!("{at} in body must be of type {wanted}: {}", found.quoted());
        errors.push(FieldError::type_invalid(shown(at), found, why));
    };
    if schema.int_or_string {
        let right = match value {
            Value::String(_) => true,
            Value::Number(n) => n.is_i64() || n.is_u64(),
            _ => false,
        };
        if !right {
            return wrong_type("integer,string", errors);
        }
    } else if !fits(value, schema.ty) {
        return wrong_type(schema.ty.name(), errors);
    }
    values(value, &schema.values, schema.ty, at, errors);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let meta =
                    (root || schema.embedded) && matches!(key.as_str(), "apiVersion" | "kind" | "metadata");
                let here = at.key(key);
                match (schema.properties.get(key), &schema.additional) {
                    // of metadata only the name can be restricted
                    (Some(field), _) => self::value(value, field, &here, false, errors),
                    (None, Some(Additional::Of(of))) if !meta => self::value(value, of, &here, false, errors),
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for (index, item) in list.iter().enumerate() {
                self::value(item, items, &at.index(index), false, errors);
            }
        }
        _ => {}
    }
}

fn values(value: &Value, rules: &Values, ty: Type, at: &Path<'_>, errors: &mut Errors) {
    match value {
        Value::Number(number) => numbers(number.as_f64().unwrap_or(0.0), value, rules, at, errors),
        Value::String(text) => texts(text, rules, ty, at, errors),
        Value::Array(list) => {
            let says = |why: String| FieldError::invalid(shown(at), value.clone(), why);
            if let Some(min) = rules.min_items.filter(|min| list.len() < *min) {
                errors.push(says(format!("{at} in body should have at least {min} items")));
            }
            if let Some(max) = rules.max_items.filter(|max| list.len() > *max) {
                errors.push(FieldError::too_many(shown(at), list.len(), max));
            }
            if rules.unique_items && list.iter().enumerate().any(|(i, item)| list[..i].contains(item)) {
                errors.push(says(format!("{at} in body shouldn't contain duplicates")));
            }
        }
        Value::Object(map) => {
            for name in rules.required.iter().filter(|name| !map.contains_key(*name)) {
                errors.push(FieldError::required(at.key(name).to_string(), ""));
            }
            if let Some(min) = rules.min_properties.filter(|min| map.len() < *min) {
                let why = format!("{at} in body should have at least {min} properties");
                errors.push(FieldError::invalid(shown(at), value.clone(), why));
            }
            if let Some(max) = rules.max_properties.filter(|max| map.len() > *max) {
                errors.push(FieldError::too_many(shown(at), map.len(), max));
            }
        }
        _ => {}
    }
    if !rules.allowed.is_empty() && !rules.allowed.iter().any(|allowed| same(allowed, value)) {
        errors.push(unsupported(value, &rules.allowed, at));
    }
    junctors(value, rules, at, errors);
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

fn unsupported(value: &Value, allowed: &[Value], at: &Path<'_>) -> FieldError {
    let quoted = allowed.iter().map(|v| match v {
        Value::String(text) => text.quoted().to_string(),
        other => other.to_string().quoted().to_string(),
    });
    let detail = format!("supported values: {}", quoted.collect::<Vec<_>>().join(", "));
    FieldError { field: shown(at), cause: Cause::NotSupported, value: Some(value.clone()), detail }
}

fn numbers(number: f64, value: &Value, rules: &Values, at: &Path<'_>, errors: &mut Errors) {
    let mut says = |why: String| errors.push(FieldError::invalid(shown(at), value.clone(), why));
    match (rules.maximum, rules.exclusive_maximum) {
        (Some(max), true) if number >= max => says(format!("{at} in body should be less than {max}")),
        (Some(max), false) if number > max => {
            says(format!("{at} in body should be less than or equal to {max}"))
        }
        _ => {}
    }
    match (rules.minimum, rules.exclusive_minimum) {
        (Some(min), true) if number <= min => says(format!("{at} in body should be greater than {min}")),
        (Some(min), false) if number < min => {
            says(format!("{at} in body should be greater than or equal to {min}"));
        }
        _ => {}
    }
    if let Some(of) = rules.multiple_of.filter(|of| *of != 0.0) {
        let times = number / of;
        if (times - times.round()).abs() > 1e-9 {
            says(format!("{at} in body should be a multiple of {of}"));
        }
    }
    let limits = match rules.format.as_str() {
        "int32" => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        _ => None,
    };
    if limits.is_some_and(|(low, high)| number < low || number > high) {
        says(format!("Checked value must be of type integer with format {} in {at}", rules.format));
    }
}

fn texts(text: &str, rules: &Values, ty: Type, at: &Path<'_>, errors: &mut Errors) {
    let mut says = |why: String| errors.push(FieldError::invalid(shown(at), text, why));
    let length = text.chars().count();
    if let Some(min) = rules.min_length.filter(|min| length < *min) {
        says(format!("{at} in body should be at least {min} chars long"));
    }
    if let Some(pattern) = rules.pattern.as_ref().and_then(|pattern| pattern.missed(text)) {
        says(format!("{at} in body should match '{pattern}'"));
    }
    if let Some(max) = rules.max_length.filter(|max| length > *max) {
        errors.push(FieldError::too_long(shown(at), max));
    }
    if ty == Type::String && !formats::fits(&rules.format, text) {
        let why = format!("{at} in body must be of type {}: {}", rules.format, text.quoted());
        errors.push(FieldError::type_invalid(shown(at), text, why));
    }
}

/// `allOf`, `anyOf`, `oneOf`, `not`.
fn junctors(value: &Value, rules: &Values, at: &Path<'_>, errors: &mut Errors) {
    let tried = |schemas: &[Schema]| -> Vec<Errors> {
        let try_one = |schema: &Schema| {
            let mut found = Vec::new();
            self::value(value, schema, at, false, &mut found);
            found
        };
        schemas.iter().map(try_one).collect()
    };
    let path = match at {
        Path::Root => String::new(),
        at => at.to_string(),
    };
    let mut says = |why: String| errors.push(FieldError::invalid(ROOT, "", why));
    let mut best = Vec::new();
    let closest = |all: &[Errors]| all.iter().min_by_key(|errors| errors.len()).cloned().unwrap_or_default();
    if !rules.any_of.is_empty() {
        let all = tried(&rules.any_of);
        if all.iter().all(|errors| !errors.is_empty()) {
            says(format!("{} must validate at least one schema (anyOf)", path.quoted()));
            best.extend(closest(&all));
        }
    }
    if !rules.one_of.is_empty() {
        let all = tried(&rules.one_of);
        match all.iter().filter(|errors| errors.is_empty()).count() {
            1 => {}
            0 => {
                says(format!(
                    "{} must validate one and only one schema (oneOf). Found none valid",
                    path.quoted()
                ));
                best.extend(closest(&all));
            }
            n => says(format!(
                "{} must validate one and only one schema (oneOf). Found {n} valid alternatives",
                path.quoted()
            )),
        }
    }
    if !rules.all_of.is_empty() {
        let all = tried(&rules.all_of);
        if all.iter().any(|errors| !errors.is_empty()) {
            let none = if all.iter().all(|errors| !errors.is_empty()) { ". None validated" } else { "" };
            says(format!("{} must validate all the schemas (allOf){none}", path.quoted()));
            best.extend(all.into_iter().flatten());
        }
    }
    if let Some(not) = &rules.not {
        let mut found = Vec::new();
        self::value(value, not, at, false, &mut found);
        if found.is_empty() {
            says(format!("{} must not validate the schema (not)", path.quoted()));
        }
    }
    errors.extend(best);
}
