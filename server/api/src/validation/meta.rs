//! `ObjectMeta`, on create and on update: `pkg/api/validation/objectmeta.go`.

use serde_json::{Map, Value};

use super::FIELD_IS_IMMUTABLE;
use super::names::{NameRule, name_errors};
use super::text::{is_dns1123_label, is_label_value, is_qualified_name};
use crate::go::Quote as _;
use crate::status::FieldError;

/// 256 KiB: keys and values of all annotations together.
const ANNOTATIONS_SIZE_LIMIT: usize = 256 << 10;

fn text<'a>(meta: &'a Value, key: &str) -> &'a str {
    meta.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(meta: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    meta.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn strings<'a>(meta: &'a Value, key: &str) -> Vec<&'a str> {
    items(meta, key).filter_map(Value::as_str).collect()
}

fn each_invalid(field: &str, value: &str, errors: Vec<String>) -> impl Iterator<Item = FieldError> {
    errors.into_iter().map(move |why| FieldError::invalid(field, value, why))
}

/// `ValidateObjectMeta`: `metadata` of a new object, its name already generated.
pub fn object_meta(metadata: &Value, namespaced: bool, rule: NameRule) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let generate = text(metadata, "generateName");
    if !generate.is_empty() {
        errors.extend(each_invalid("metadata.generateName", generate, name_errors(rule, generate, true)));
    }
    match text(metadata, "name") {
        "" => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        name => errors.extend(each_invalid("metadata.name", name, name_errors(rule, name, false))),
    }
    match (namespaced, text(metadata, "namespace")) {
        (true, "") => errors.push(FieldError::required("metadata.namespace", "")),
        (true, namespace) => {
            errors.extend(each_invalid("metadata.namespace", namespace, is_dns1123_label(namespace)));
        }
        (false, "") => {}
        (false, _) => errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type")),
    }
    errors.extend(common(metadata));
    errors
}

fn common(metadata: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|g| *g < 0) {
        errors.push(FieldError::invalid(
            "metadata.generation",
            generation,
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(validate_labels(metadata.get("labels"), "metadata.labels"));
    errors.extend(validate_annotations(metadata.get("annotations"), "metadata.annotations"));
    errors.extend(owner_references(metadata));
    errors.extend(finalizers(metadata));
    errors
}

/// `ValidateLabels`.
pub fn validate_labels(labels: Option<&Value>, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(each_invalid(field, key, is_qualified_name(key)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(each_invalid(field, value, is_label_value(value)));
    }
    errors
}

/// `ValidateAnnotations`.
pub fn validate_annotations(annotations: Option<&Value>, field: &str) -> Vec<FieldError> {
    let empty = Map::new();
    let annotations = annotations.and_then(Value::as_object).unwrap_or(&empty);
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations {
        errors.extend(each_invalid(field, key, is_qualified_name(&key.to_lowercase())));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_SIZE_LIMIT {
        errors.push(FieldError::too_long(field, ANNOTATIONS_SIZE_LIMIT));
    }
    errors
}

/// `ValidateLabelSelector` of a `metav1.LabelSelector` at `field`.
pub fn validate_label_selector(selector: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = validate_labels(selector.get("matchLabels"), &format!("{field}.matchLabels"));
    for (index, expression) in items(selector, "matchExpressions").enumerate() {
        errors.extend(label_requirement_errors(expression, &format!("{field}.matchExpressions[{index}]")));
    }
    errors
}

/// `ValidateLabelSelectorRequirement` at `at`.
pub fn label_requirement_errors(expression: &Value, at: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let values = strings(expression, "values");
    match text(expression, "operator") {
        "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
            format!("{at}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
            format!("{at}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            errors.push(FieldError::invalid(format!("{at}.operator"), other, "not a valid selector operator"))
        }
    }
    let key = text(expression, "key");
    errors.extend(each_invalid(&format!("{at}.key"), key, is_qualified_name(key)));
    for (index, value) in values.iter().enumerate() {
        errors.extend(each_invalid(&format!("{at}.values[{index}]"), value, is_label_value(value)));
    }
    errors
}

fn owner_references(metadata: &Value) -> Vec<FieldError> {
    const FIELD: &str = "metadata.ownerReferences";
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for reference in items(metadata, "ownerReferences") {
        errors.extend(owner_reference(reference));
        if reference.get("controller").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let name = format!("{}/{}", text(reference, "kind"), text(reference, "name"));
        match &controller {
            None => controller = Some(name),
            Some(first) => errors.push(FieldError::invalid(
                FIELD,
                metadata["ownerReferences"].clone(),
                format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"),
            )),
        }
    }
    errors
}

fn owner_reference(reference: &Value) -> Vec<FieldError> {
    const FIELD: &str = "metadata.ownerReferences";
    let mut errors = Vec::new();
    for (key, why) in [
        ("apiVersion", "version must not be empty"),
        ("kind", "must not be empty"),
        ("name", "must not be empty"),
        ("uid", "must not be empty"),
    ] {
        if text(reference, key).is_empty() {
            errors.push(FieldError::invalid(format!("{FIELD}.{key}"), "", why));
        }
    }
    if text(reference, "apiVersion") == "v1" && text(reference, "kind") == "Event" {
        let why = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(FieldError::invalid(FIELD, reference.clone(), why));
    }
    errors
}

fn finalizers(metadata: &Value) -> Vec<FieldError> {
    const FIELD: &str = "metadata.finalizers";
    let all = strings(metadata, "finalizers");
    let mut errors: Vec<FieldError> =
        all.iter().flat_map(|f| each_invalid(FIELD, f, is_qualified_name(f))).collect();
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(FIELD, metadata["finalizers"].clone(), why));
    }
    errors
}

/// `validateKubeFinalizerName` of the kinds that are Kubernetes' own: a name without a domain has to be one of three.
pub fn own_finalizers(metadata: &Value) -> Vec<FieldError> {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    let all = strings(metadata, "finalizers").into_iter().enumerate();
    let odd = all.filter(|(_, name)| !name.contains('/') && !STANDARD.contains(name));
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    odd.map(|(at, name)| FieldError::invalid(format!("metadata.finalizers[{at}]"), name, why)).collect()
}

/// `ValidateObjectMetaUpdate`: `new` metadata over `old`.
pub fn object_meta_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old.get("deletionTimestamp").is_some_and(|t| !t.is_null()) {
        errors.extend(new_finalizers(new, old));
    }
    if text(new, "resourceVersion").is_empty() {
        errors.push(FieldError::invalid("metadata.resourceVersion", "", "must be specified for an update"));
    }
    let generation = |m: &Value| m.get("generation").and_then(Value::as_i64).unwrap_or(0);
    if generation(new) < generation(old) {
        errors.push(FieldError::invalid("metadata.generation", generation(new), "must not be decremented"));
    }
    for key in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let (after, before) = (present(new, key), present(old, key));
        if after != before {
            let shown = after.cloned().unwrap_or(Value::Null);
            errors.push(FieldError::invalid(format!("metadata.{key}"), shown, FIELD_IS_IMMUTABLE));
        }
    }
    errors.extend(validate_labels(new.get("labels"), "metadata.labels"));
    errors.extend(validate_annotations(new.get("annotations"), "metadata.annotations"));
    errors.extend(owner_references(new));
    errors
}

fn present<'a>(meta: &'a Value, key: &str) -> Option<&'a Value> {
    meta.get(key).filter(|v| !v.is_null() && v.as_str() != Some(""))
}

fn new_finalizers(new: &Value, old: &Value) -> Option<FieldError> {
    let known = strings(old, "finalizers");
    let mut extra: Vec<&str> =
        strings(new, "finalizers").into_iter().filter(|f| !known.contains(f)).collect();
    extra.sort_unstable();
    extra.dedup();
    let shown: Vec<String> = extra.iter().map(|f| f.quoted().to_string()).collect();
    (!extra.is_empty()).then(|| {
        let shown = shown.join(", ");
        FieldError::forbidden(
            "metadata.finalizers",
            format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"),
        )
    })
}
