//! Printer columns: the calls into `sampan-api`'s tables.

use sampan_api::kinds::Kind;
use serde_json::{Value, json};

/// `columnDefinitions`.
pub fn definitions(_kind: &'static Kind) -> Value {
    json!([
        {"name": "Name", "type": "string", "format": "name", "description": "Name must be unique within a namespace.", "priority": 0},
        {"name": "Age", "type": "date", "format": "", "description": "CreationTimestamp is a timestamp representing the server time when this object was created.", "priority": 0},
    ])
}

/// One row, without its object.
pub fn row(_kind: &'static Kind, object: &Value, _now: jiff::Timestamp) -> Value {
    let text = |field| crate::value::meta(object, field).to_owned();
    json!({"cells": [text("name"), text("creationTimestamp")]})
}
