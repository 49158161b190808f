//! What a Scale needs of an object: whole numbers and a text where its definition says (`registry/customresource`'s
//! `ValidateScaleSpec` and `ValidateScaleStatus`).

use serde_json::Value;

use super::head::{Scale, VersionHead};
use crate::status::FieldError;

/// What is wrong with the replicas that are wanted and those that there are.
pub fn scale_errors(version: &VersionHead, object: &Value) -> Vec<FieldError> {
    let Some(scale) = version.scale() else { return Vec::new() };
    let mut errors = replicas(object, &scale.spec_replicas_path);
    errors.extend(status(scale, object));
    errors
}

/// What is wrong with those that there are.
pub fn scale_status_errors(version: &VersionHead, object: &Value) -> Vec<FieldError> {
    version.scale().map_or_else(Vec::new, |scale| status(scale, object))
}

fn status(scale: &Scale, object: &Value) -> Vec<FieldError> {
    let mut errors = replicas(object, &scale.status_replicas_path);
    if let Some(path) = scale.label_selector_path.as_deref().filter(|path| !path.is_empty()) {
        let fault = match find(object, path) {
            Ok(None | Some(Value::String(_))) => None,
            Ok(Some(other)) => Some(of_type(path, other, "string")),
            Err(why) => Some(why),
        };
        errors.extend(fault.map(|why| FieldError::invalid(path, "", why)));
    }
    errors
}

fn replicas(object: &Value, path: &str) -> Vec<FieldError> {
    let wrong = |value: i64, why: String| vec![FieldError::invalid(path, value, why)];
    let count = match find(object, path) {
        Ok(None) => return Vec::new(),
        Ok(Some(value)) => match value.as_i64() {
            Some(count) => count,
            None => return wrong(0, of_type(path, value, "int64")),
        },
        Err(why) => return wrong(0, why),
    };
    match count {
        count if count < 0 => wrong(count, "should be a non-negative integer".to_owned()),
        count if count > i64::from(i32::MAX) => {
            wrong(count, format!("should be less than or equal to {}", i32::MAX))
        }
        _ => Vec::new(),
    }
}

/// The value at a path such as `.spec.replicas`; why there can be none, in the words of `unstructured.NestedFieldNoCopy`.
fn find<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let (mut here, mut way) = (object, String::new());
    for step in path.trim_start_matches('.').split('.') {
        let Value::Object(map) = here else {
            return Err(of_type(&way, here, "map[string]interface{}"));
        };
        let Some(next) = map.get(step) else { return Ok(None) };
        here = next;
        way.push('.');
        way.push_str(step);
    }
    Ok(Some(here))
}

fn of_type(path: &str, value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let dot = if path.starts_with('.') { "" } else { "." };
    format!("{dot}{path} accessor error: {shown} is of the type {found}, expected {wanted}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_are_counts_and_selectors_texts() {
        let version: VersionHead = serde_json::from_value(json!({"name": "v1", "subresources": {"scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector"}}}))
        .expect("a version");
        let cases = [
            (json!({}), ""),
            (json!({"spec": {"replicas": 3}, "status": {"replicas": 0, "selector": "a=b"}}), ""),
            (json!({"spec": {"replicas": -1}}), "should be a non-negative integer"),
            (json!({"spec": {"replicas": i64::MAX}}), "should be less than or equal to 2147483647"),
            (
                json!({"spec": {"replicas": "x"}}),
                ".spec.replicas accessor error: x is of the type string, expected int64",
            ),
            (
                json!({"spec": 1}),
                ".spec accessor error: 1 is of the type int64, expected map[string]interface{}",
            ),
            (
                json!({"status": {"selector": true}}),
                ".status.selector accessor error: true is of the type bool, expected string",
            ),
        ];
        for (object, wanted) in cases {
            let errors = scale_errors(&version, &object);
            let said = errors.first().map_or("", |error| error.detail.as_str());
            assert_eq!(said, wanted, "{object}");
        }
    }
}
