//! Printer columns: the calls into `sampan-api`'s tables.

use sampan_api::kinds::Kind;
use sampan_api::parts::Parts;
use sampan_api::table;
use serde_json::Value;

/// `columnDefinitions`.
pub fn definitions(kind: &'static Kind) -> Value {
    table::columns(kind).iter().map(table::Column::to_json).collect()
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
    table::reads(kind)
}

/// One row.
pub fn row(kind: &'static Kind, object: &Value, now: jiff::Timestamp) -> Row {
    Row { cells: table::row(kind, object, now), conditions: table::row_conditions(kind, object) }
}
