//! Defaults and validation of each kind: the calls into `sampan-api`.

use sampan_api::kinds::Kind;
use sampan_api::status::FieldError;
use sampan_api::{defaults as words, validate, validation};
use serde_json::Value;

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
    errors
}

/// What is wrong with a change.
pub fn update_errors(kind: &'static Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = validate::update(kind, new, old);
    errors.extend(crate::dynamic::validate::errors(kind, new, Some(old)));
    errors
}

/// What is wrong with a change of the status.
pub fn status_errors(kind: &'static Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    validate::update_status(kind, new, old)
}

/// What is wrong with changed metadata, for subresources with rules of their own.
pub fn metadata_errors(new: &Value, old: &Value) -> Vec<FieldError> {
    let metadata = |v: &Value| v.get("metadata").cloned().unwrap_or_default();
    validation::object_meta_update(&metadata(new), &metadata(old))
}
