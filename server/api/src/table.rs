//! What `kubectl get` prints: columns and cells of each kind, after upstream's
//! `pkg/printers/internalversion/printers.go`.
//!
//! The server fills every cell, wide ones too (priority 1); the client chooses. Functions of the object's
//! JSON and the time, so that both versions of a kind and half-filled objects print alike. Kinds without a
//! printer show name and creation time.

mod access;
mod age;
mod cluster;
mod network;
mod pods;
mod rules;
mod storage;
mod words;
mod workloads;

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::parts::Parts;

pub use age::{human_duration, since};

/// One column of a table, as `meta.k8s.io/v1` `TableColumnDefinition` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The head of the column.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub ty: &'static str,
    /// `name` for the column of the object's name.
    pub format: &'static str,
    /// What the column means.
    pub description: &'static str,
    /// 0 always shown, 1 only in wide output.
    pub priority: u8,
}

impl Column {
    /// The column as JSON.
    pub fn to_json(&self) -> Value {
        json!({"name": self.name, "type": self.ty, "format": self.format, "description": self.description,
            "priority": self.priority})
    }
}

type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// How one kind is printed; the bucket stands for all versions of the kind.
struct Printer {
    bucket: &'static str,
    columns: &'static [Column],
    cells: Cells,
    /// The paths that the cells are made of, for kinds of which there are many; none for the whole object.
    reads: &'static [&'static str],
}

const fn printer(bucket: &'static str, columns: &'static [Column], cells: Cells) -> Printer {
    Printer { bucket, columns, cells, reads: &[] }
}

impl Printer {
    /// Nothing but this decides the cells.
    const fn reading(self, reads: &'static [&'static str]) -> Self {
        Self { reads, ..self }
    }
}

const NAME: Column = Column {
    name: "Name",
    ty: "string",
    format: "name",
    description: "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    priority: 0,
};

const AGE: Column = text("Age", CREATED);

const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, ty: "string", format: "", description, priority: 0 }
}

const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, ty: "integer", format: "", description, priority: 0 }
}

const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column { name, ty: "boolean", format: "", description, priority: 0 }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, ty: "string", format: "", description, priority: 1 }
}

const CONTAINERS: Column = wide("Containers", "Names of each container in the template.");
const IMAGES: Column = wide("Images", "Images referenced by each container in the template.");
const SELECTOR: Column = wide("Selector", "Label query over pods that is matched against their labels.");

static DEFAULT: &[Column] =
    &[NAME, Column { name: "Created At", ty: "date", format: "", description: CREATED, priority: 0 }];

fn default_cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![access::name(object), access::text(object, "/metadata/creationTimestamp").into()]
}

static ROOMS: [&[Printer]; 6] = [
    pods::PRINTERS,
    workloads::PRINTERS,
    network::PRINTERS,
    storage::PRINTERS,
    cluster::PRINTERS,
    rules::PRINTERS,
];

fn printer_of(kind: &Kind) -> Option<&'static Printer> {
    ROOMS.into_iter().flatten().find(|printer| printer.bucket == kind.storage_group)
}

/// The columns of a kind.
pub fn columns(kind: &Kind) -> &'static [Column] {
    printer_of(kind).map_or(DEFAULT, |printer| printer.columns)
}

/// The cells of one object, as many as there are [`columns`].
pub fn row(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    printer_of(kind).map_or(default_cells as Cells, |printer| printer.cells)(object, now)
}

/// The parts of an object that [`row`] and [`row_conditions`] look at; none for all of it. Rows of the parts are the
/// rows of the whole, and quicker made.
pub fn reads(kind: &Kind) -> Option<&'static Parts> {
    static READS: LazyLock<HashMap<&'static str, Parts>> = LazyLock::new(|| {
        let printers = ROOMS.into_iter().flatten().filter(|printer| !printer.reads.is_empty());
        printers.map(|printer| (printer.bucket, Parts::of(printer.reads))).collect()
    });
    READS.get(kind.storage_group)
}

/// The columns of a kind without a printer, custom resources without printer columns among them.
pub fn default_columns() -> &'static [Column] {
    DEFAULT
}

/// The cells for [`default_columns`].
pub fn default_row(object: &Value) -> Vec<Value> {
    vec![access::name(object), access::text(object, "/metadata/creationTimestamp").into()]
}

/// The columns of a built-in kind's `Scale`.
pub fn scale_columns() -> &'static [Column] {
    workloads::SCALE_COLUMNS
}

/// The cells for [`scale_columns`].
pub fn scale_row(object: &Value, now: Timestamp) -> Vec<Value> {
    workloads::scale(object, now)
}

/// The conditions of a row: a pod that has ended says so, and kubectl can hide it.
pub fn row_conditions(kind: &Kind, object: &Value) -> Option<Value> {
    if kind.storage_group != "pods" {
        return None;
    }
    let (reason, message) = match access::text(object, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

#[cfg(test)]
mod tests;
