//! Printer columns: the calls into `sampan-api`'s tables.

use sampan_api::kinds::Kind;
use sampan_api::parts::Parts;
use sampan_api::table;
use serde_json::Value;

/// `columnDefinitions`.
pub fn definitions(kind: &'static Kind) -> Value {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        return sampan_api::crd::column_definitions(version.about());
    }
    table::columns(kind).iter().map(table::Column::to_json).collect()
}

/// `columnDefinitions` of the Scales of a kind.
pub fn scale_definitions(kind: &'static Kind) -> Value {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        let scale = version.about().scale();
        return scale.map(sampan_api::crd::scale_column_definitions).unwrap_or_default();
    }
    table::scale_columns().iter().map(table::Column::to_json).collect()
}

/// The cells of a Scale.
pub fn scale_row(kind: &'static Kind, scale: &Value, now: jiff::Timestamp) -> Vec<Value> {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        let cells = |paths| sampan_api::crd::scale_cells(paths, scale, now);
        return version.about().scale().map(cells).unwrap_or_default();
    }
    table::scale_row(scale, now)
}

/// One row, without its object.
pub struct Row {
    /// One for each column.
    pub cells: Vec<Value>,
    /// What is to be said of the row.
    pub conditions: Option<Value>,
}

/// The parts of an object that its row is made of; none for all of it.
pub fn reads(kind: &'static Kind) -> Option<&'static Parts> {
    if kind.custom.is_some() {
        return None;
    }
    table::reads(kind)
}

/// One row.
pub fn row(kind: &'static Kind, object: &Value, now: jiff::Timestamp) -> Row {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        return Row { cells: sampan_api::crd::cells(version.about(), object, now), conditions: None };
    }
    Row { cells: table::row(kind, object, now), conditions: table::row_conditions(kind, object) }
}
