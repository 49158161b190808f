//! Where upstream sees what is wrong with a definition: what all versions say alike, it has moved out of them before it
//! validates (`apiextensions/v1/conversion.go`).

use serde_json::Value;

use super::structural::list;
use crate::status::FieldError;

/// What of a version is moved, and to where.
const MOVED: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// The errors at upstream's places, those of what has been moved once.
pub fn as_upstream(definition: &Value, errors: Vec<FieldError>) -> Vec<FieldError> {
    let versions = definition.get("spec").map(|spec| list(spec, "versions")).unwrap_or_default();
    let Some(first) = versions.first() else { return errors };
    let alike = |key: &str| versions.iter().all(|version| version.get(key) == first.get(key));
    let moved = |key: &str| match key {
        // a schema that is missing is missed in each version
        "schema" => alike(key) && first.pointer("/schema/openAPIV3Schema").is_some_and(Value::is_object),
        "selectableFields" => alike("schema") && alike(key),
        key => alike(key),
    };
    let moved: Vec<_> = MOVED.into_iter().filter(|(key, _)| moved(key)).collect();
    errors.into_iter().filter_map(|error| placed(error, &moved)).collect()
}

/// The error at its place; none if it is that of another version.
fn placed(mut error: FieldError, moved: &[(&str, &str)]) -> Option<FieldError> {
    for (from, to) in moved {
        let Some((index, rest)) = below(&error.field, from) else { continue };
        if index != "0" {
            return None;
        }
        let (old, new) = (format!("spec.versions[0].{from}"), format!("spec.{to}"));
        error.field = format!("{new}{rest}");
        error.detail = error.detail.replace(&old, &new);
        return Some(error);
    }
    Some(error)
}

/// The version and the rest of a place below `key` of a version.
fn below<'a>(field: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
    let (index, rest) = field.strip_prefix("spec.versions[")?.split_once("].")?;
    let rest = rest.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some((index, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_alike_is_seen_once_and_above() {
        let version =
            |schema: Value| json!({"schema": {"openAPIV3Schema": schema}, "selectableFields": [{}]});
        let error = |field: &str| FieldError::required(field, "see spec.versions[0].schema.x");
        let fields = [
            "spec.versions[0].name",
            "spec.versions[0].schema.openAPIV3Schema.type",
            "spec.versions[1].schema.openAPIV3Schema.type",
            "spec.versions[1].selectableFields[0].jsonPath",
        ];
        for (versions, wanted) in [
            (
                json!([version(json!({})), version(json!({}))]),
                vec!["spec.versions[0].name", "spec.validation.openAPIV3Schema.type"],
            ),
            (json!([version(json!({})), version(json!({"type": "object"}))]), fields.to_vec()),
            (json!([{}, {}]), fields[..3].to_vec()),
        ] {
            let definition = json!({"spec": {"versions": versions}});
            let found = as_upstream(&definition, fields.map(error).to_vec());
            let places: Vec<&str> = found.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(places, wanted);
            let said =
                if wanted.len() == 2 { "see spec.validation.x" } else { "see spec.versions[0].schema.x" };
            assert_eq!(found[1].detail, said);
        }
    }
}
