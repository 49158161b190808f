//! Printer columns: the calls into `sampan-api`'s tables.

use sampan_api::kinds::Kind;
use sampan_api::table;
use serde_json::{Value, json};

/// `columnDefinitions`.
pub fn definitions(kind: &'static Kind) -> Value {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        return sampan_api::crd::column_definitions(version.about());
    }
    table::columns(kind).iter().map(table::Column::to_json).collect()
}

/// One row, without its object.
pub fn row(kind: &'static Kind, object: &Value, now: jiff::Timestamp) -> Value {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        return json!({"cells": sampan_api::crd::cells(version.about(), object, now)});
    }
    let mut row = json!({"cells": table::row(kind, object, now)});
    if let Some(conditions) = table::row_conditions(kind, object) {
        row["conditions"] = conditions;
    }
    row
}
