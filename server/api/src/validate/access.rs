//! Reading values, and the checks that every kind uses.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::status::FieldError;

pub(super) type Errors = Vec<FieldError>;

static NULL: Value = Value::Null;

/// The value under `key`, null when absent.
pub(super) fn get<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&NULL)
}
/// The text under `key`, empty when absent.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    get(value, key).as_str().unwrap_or_default()
}
/// The number under `key`.
pub(super) fn int(value: &Value, key: &str) -> Option<i64> {
    get(value, key).as_i64()
}
/// Whether the boolean under `key` is true.
pub(super) fn is_true(value: &Value, key: &str) -> bool {
    get(value, key).as_bool() == Some(true)
}
/// Whether there is anything under `key`.
pub(super) fn has(value: &Value, key: &str) -> bool {
    !get(value, key).is_null()
}
/// The list under `key`.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    get(value, key).as_array().map_or(&[], Vec::as_slice)
}
/// The list under `key`, each with its path.
pub(super) fn each<'a>(value: &'a Value, key: &str, at: &str) -> impl Iterator<Item = (String, &'a Value)> {
    let prefix = join(at, key);
    list(value, key).iter().enumerate().map(move |(index, item)| (indexed(&prefix, index), item))
}
/// The entries of the map under `key`.
pub(super) fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    get(value, key).as_object().into_iter().flatten()
}
/// `a.b`, or `b` at the root.
pub(super) fn join(at: &str, key: &str) -> String {
    match at {
        "" => key.to_owned(),
        // for almost every field of every object: formatting takes three times as long
        at => [at, ".", key].concat(),
    }
}

/// `a[0]`.
fn indexed(at: &str, index: usize) -> String {
    [at, "[", &index.to_string(), "]"].concat()
}

/// One `Invalid` for each of `why`.
pub(super) fn invalid_each(errors: &mut Errors, field: &str, value: &str, why: Vec<String>) {
    errors.extend(why.into_iter().map(|why| FieldError::invalid(field, value, why)));
}

/// `ValidateNonnegativeField` of the number under `key`.
pub(super) fn non_negative(value: &Value, keys: &[&str], at: &str, errors: &mut Errors) {
    for key in keys {
        if let Some(number) = int(value, key).filter(|n| *n < 0) {
            errors.push(FieldError::invalid(join(at, key), number, "must be greater than or equal to 0"));
        }
    }
}

/// `Required` for an empty text, else what `rule` finds.
pub(super) fn required_text(
    value: &Value,
    key: &str,
    at: &str,
    rule: fn(&str) -> Vec<String>,
    errors: &mut Errors,
) {
    match text(value, key) {
        "" => errors.push(FieldError::required(join(at, key), "")),
        found => invalid_each(errors, &join(at, key), found, rule(found)),
    }
}

/// No rule beyond being there.
pub(super) fn any_text(_: &str) -> Vec<String> {
    Vec::new()
}

/// What `rule` finds, unless the text is empty.
pub(super) fn optional_text(
    value: &Value,
    key: &str,
    at: &str,
    rule: fn(&str) -> Vec<String>,
    errors: &mut Errors,
) {
    match text(value, key) {
        "" => {}
        found => invalid_each(errors, &join(at, key), found, rule(found)),
    }
}

/// `NotSupported` for a text that is there and not one of `supported`.
pub(super) fn one_of(value: &Value, key: &str, at: &str, supported: &[&str], errors: &mut Errors) {
    let found = get(value, key);
    if found.as_str().is_some_and(|text| !supported.contains(&text)) {
        errors.push(FieldError::not_supported(join(at, key), found.clone(), supported));
    }
}

/// As [`one_of`], but absent is not supported either.
pub(super) fn listed(value: &Value, key: &str, at: &str, supported: &[&str], errors: &mut Errors) {
    let found = text(value, key);
    if !supported.contains(&found) {
        errors.push(FieldError::not_supported(join(at, key), found, supported));
    }
}

/// As [`one_of`], but absent is `Required`.
pub(super) fn required_one_of(value: &Value, key: &str, at: &str, supported: &[&str], errors: &mut Errors) {
    if text(value, key).is_empty() {
        errors.push(FieldError::required(join(at, key), ""));
    } else {
        one_of(value, key, at, supported, errors);
    }
}

/// `ValidateImmutableField`: absent, null and an empty list are the same.
pub(super) fn immutable(new: &Value, old: &Value, key: &str, at: &str, errors: &mut Errors) {
    let (after, before) = (get(new, key), get(old, key));
    let nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if after != before && !(nothing(after) && nothing(before)) {
        errors.push(FieldError::invalid(join(at, key), after.clone(), crate::validation::FIELD_IS_IMMUTABLE));
    }
}

/// As [`immutable`], of a field that holds lists or maps: that of an object of this schema (`api.apps.v1.DeploymentSpec`), in
/// which empty ones are the same as none.
pub(super) fn immutable_in(schema: &str, new: &Value, old: &Value, key: &str, at: &str, errors: &mut Errors) {
    if !crate::defaults::same_field(&format!("io.k8s.{schema}"), key, new, old) {
        immutable(new, old, key, at, errors);
    }
}

/// An amount, where one can be read.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    Quantity::from_value(value).ok()
}
