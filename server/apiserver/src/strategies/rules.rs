//! Defaults and validation of each kind: the calls into `sampan-api`.

use sampan_api::kinds::Kind;
use sampan_api::status::FieldError;
use sampan_api::{defaults as words, validate};
use serde_json::Value;

use crate::crd::rules as custom;

/// Fills in defaults.
pub fn defaults(kind: &'static Kind, object: &mut Value) {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        return sampan_api::crd::default(object, version.schema());
    }
    words::apply(kind.kind, kind.group, kind.version, object);
}

/// What is wrong with a new object.
pub fn create_errors(kind: &'static Kind, new: &Value) -> Vec<FieldError> {
    let mut errors = validate::create(kind, new);
    errors.extend(crate::dynamic::validate::errors(kind, new, None));
    in_cel(kind, new, None, &mut errors, &mut Vec::new());
    errors
}

/// What is wrong with a change; `warnings` gets what is let pass because it was so before.
pub fn update_errors(
    kind: &'static Kind,
    new: &Value,
    old: &Value,
    warnings: &mut Vec<String>,
) -> Vec<FieldError> {
    let mut errors = validate::update(kind, new, old);
    errors.extend(crate::dynamic::validate::errors(kind, new, Some(old)));
    in_cel(kind, new, Some(old), &mut errors, warnings);
    errors
}

/// What is wrong with a change of the status.
pub fn status_errors(
    kind: &'static Kind,
    new: &Value,
    old: &Value,
    warnings: &mut Vec<String>,
) -> Vec<FieldError> {
    let mut errors = validate::update_status(kind, new, old);
    if kind.custom.is_some() {
        in_cel(kind, new, Some(old), &mut errors, warnings);
    }
    errors
}

/// The rules of custom resources, and what definitions say in them.
fn in_cel(
    kind: &'static Kind,
    new: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
    warnings: &mut Vec<String>,
) {
    if (kind.group, kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition") {
        errors.extend(custom::definition_errors(new, old, errors));
        *errors = sampan_api::crd::placed_errors(new, std::mem::take(errors));
    }
    custom::check(kind, new, old, errors, warnings);
}

/// What is wrong with changed metadata, for subresources with rules of their own.
pub fn metadata_errors(kind: &'static Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    validate::changed_metadata(kind, new, old)
}
