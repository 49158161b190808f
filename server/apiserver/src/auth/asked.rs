//! What may be asked of a review of access: ported from `pkg/apis/authorization/validation`.

use sampan_api::status::{ApiError, FieldError};
use sampan_api::validation::label_requirement_errors;
use serde_json::{Map, Value, json};

use super::reviews::GROUP;
use crate::value::{at, items, text};

/// Everything that is wrong with a review of `kind` in `namespace` (empty for the cluster's).
pub(super) fn check(kind: &str, namespace: &str, review: &Value) -> Result<(), ApiError> {
    let spec = at(review, &["spec"]);
    let (resource, path) = (at(spec, &["resourceAttributes"]), at(spec, &["nonResourceAttributes"]));
    let mut errors = Vec::new();
    match (resource.is_null(), path.is_null()) {
        (false, false) => errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            shown(path),
            "cannot be specified in combination with resourceAttributes",
        )),
        (true, true) => errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let nobody = text(spec, &["user"]).is_empty() && items(at(spec, &["groups"])).is_empty();
    if kind != "SelfSubjectAccessReview" && nobody {
        errors.push(FieldError::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    for name in ["fieldSelector", "labelSelector"] {
        errors.extend(selector_errors(at(resource, &[name]), name));
    }
    let local = kind == "LocalSubjectAccessReview";
    errors.extend(metadata_errors(at(review, &["metadata"]), local));
    let asked = text(resource, &["namespace"]);
    if local && !resource.is_null() && asked != namespace {
        let place = "spec.resourceAttributes.namespace";
        errors.push(FieldError::invalid(place, asked, "must match metadata.namespace"));
    }
    if local && !path.is_null() {
        let why = "disallowed on this kind of request";
        errors.push(FieldError::invalid("spec.nonResourceAttributes", shown(path), why));
    }
    // upstream asks the decoded object for its kind, which has lost it
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(GROUP, "", "", errors)) }
}

/// As upstream's internal type shows itself.
fn shown(path: &Value) -> Value {
    json!({"Path": text(path, &["path"]), "Verb": text(path, &["verb"])})
}

fn metadata_errors(metadata: &Value, local: bool) -> Option<FieldError> {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    };
    let said = metadata.as_object().into_iter().flatten();
    // that of the cluster's is taken back
    let said: Map<String, Value> = said
        .filter(|(key, value)| !empty(value) && (local || *key != "namespace"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let counts = said.keys().any(|key| key != "managedFields" && !(local && key == "namespace"));
    let why = if local { "must be empty except for namespace" } else { "must be empty" };
    counts.then(|| FieldError::invalid("metadata", said, why))
}

/// What is asked of fields or labels is one text or a list.
fn selector_errors(selector: &Value, name: &str) -> Vec<FieldError> {
    if selector.is_null() {
        return vec![];
    }
    let place = format!("spec.resourceAttributes.{name}");
    let (raw, listed) = (text(selector, &["rawSelector"]), items(at(selector, &["requirements"])));
    let mut errors = match (raw.is_empty(), listed.is_empty()) {
        (false, false) => vec![FieldError::invalid(
            format!("{place}.rawSelector"),
            raw,
            "may not specified at the same time as requirements",
        )],
        (true, true) => vec![FieldError::required(
            format!("{place}.requirements"),
            format!("when {place} is specified, requirements or rawSelector is required"),
        )],
        _ => vec![],
    };
    for (index, requirement) in listed.iter().enumerate() {
        let place = format!("{place}.requirements[{index}]");
        let operator = format!("{place}.operator");
        let found = label_requirement_errors(requirement, &place);
        // an operator may be one that only newer servers know
        let found = found.into_iter().filter(|error| error.field != operator);
        if name == "labelSelector" {
            errors.extend(found);
            continue;
        }
        if text(requirement, &["key"]).is_empty() {
            errors.push(FieldError::required(format!("{place}.key"), "must be specified"));
        }
        errors.extend(found.filter(|error| error.field == format!("{place}.values")));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_ask_of_one_thing_about_somebody() {
        const NEITHER: &str = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        const NOBODY: &str =
            "spec.user: Invalid value: \"\": at least one of user or group must be specified";
        let (resource, path) = (json!({"verb": "get", "namespace": "n"}), json!({"path": "/a"}));
        let (sar, own, local) =
            ("SubjectAccessReview", "SelfSubjectAccessReview", "LocalSubjectAccessReview");
        #[rustfmt::skip]
        let cases = [
            (sar, json!({"spec": {"user": "a", "resourceAttributes": resource}}), String::new()),
            (sar, json!({"metadata": {"namespace": "n"}, "spec": {"groups": ["a"], "nonResourceAttributes": path}}), String::new()),
            (own, json!({"spec": {"resourceAttributes": resource}}), String::new()),
            (local, json!({"metadata": {"namespace": "n"}, "spec": {"user": "a", "resourceAttributes": resource}}), String::new()),
            (sar, json!({}), format!("[{NEITHER}, {NOBODY}]")),
            (own, json!({"spec": {}}), NEITHER.to_owned()),
            (
                sar, json!({"spec": {"user": "a", "resourceAttributes": resource, "nonResourceAttributes": path}}),
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/a\",\"Verb\":\"\"}: cannot be specified in combination \
                    with resourceAttributes".to_owned(),
            ),
            (
                own, json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": resource}}),
                "metadata: Invalid value: {\"name\":\"x\"}: must be empty".to_owned(),
            ),
            (
                local, json!({"spec": {"user": "a", "resourceAttributes": {"namespace": "o"}}}),
                "spec.resourceAttributes.namespace: Invalid value: \"o\": must match metadata.namespace".to_owned(),
            ),
            (
                local, json!({"spec": {"user": "a", "nonResourceAttributes": path}}),
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/a\",\"Verb\":\"\"}: disallowed on this kind of request"
                    .to_owned(),
            ),
            (
                own, json!({"spec": {"resourceAttributes": {
                    "fieldSelector": {"requirements": [{"operator": "In"}, {"key": "a", "operator": "Newer"}]},
                    "labelSelector": {"rawSelector": "a", "requirements": [{"key": "-", "operator": "Exists", "values": ["b"]}]}}}}),
                "[spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified, \
                    spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when \
                    `operator` is 'In' or 'NotIn', spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may \
                    not specified at the same time as requirements, \
                    spec.resourceAttributes.labelSelector.requirements[0].values: Forbidden: may not be specified when \
                    `operator` is 'Exists' or 'DoesNotExist', spec.resourceAttributes.labelSelector.requirements[0].key: Invalid \
                    value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]".to_owned(),
            ),
        ];
        for (kind, review, want) in cases {
            let said = check(kind, "n", &review).err().map(|error| error.message).unwrap_or_default();
            let want =
                if want.is_empty() { want } else { format!(".authorization.k8s.io \"\" is invalid: {want}") };
            assert_eq!(said, want, "{review}");
        }
    }
}
