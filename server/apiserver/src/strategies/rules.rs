//! Defaults and validation of each kind: the calls into `sampan-api`.

use sampan_api::kinds::Kind;
use sampan_api::status::FieldError;
use serde_json::Value;

/// Fills in defaults.
pub fn defaults(kind: &'static Kind, object: &mut Value) {
    let _ = (kind, object);
}

/// What is wrong with a new object, its metadata apart.
pub fn create_errors(kind: &'static Kind, new: &Value) -> Vec<FieldError> {
    let _ = (kind, new);
    Vec::new()
}

/// What is wrong with a change, its metadata apart.
pub fn update_errors(kind: &'static Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let _ = (kind, new, old);
    Vec::new()
}

/// What is wrong with a change of the status.
pub fn status_errors(kind: &'static Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let _ = (kind, new, old);
    Vec::new()
}
