//! From a Table of the API to columns and rows.

use jiff::Timestamp;
use sampan_view::{Cell, Column, Owner, Row};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::health;
use super::source::{ListMeta, Listed};

/// A `meta.k8s.io/v1` Table.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    #[serde(default)]
    metadata: ListMeta,
    /// None after the first event of a watch.
    pub column_definitions: Option<Vec<ColumnDefinition>>,
    /// One for each object.
    pub rows: Option<Vec<TableRow>>,
}

impl Listed for Table {
    fn take_meta(&mut self) -> ListMeta {
        std::mem::take(&mut self.metadata)
    }
}

/// A column of a Table.
#[derive(Clone, Deserialize)]
pub struct ColumnDefinition {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    priority: i32,
}

/// A row of a Table.
#[derive(Deserialize)]
pub struct TableRow {
    #[serde(default)]
    cells: Vec<Value>,
    object: Option<Object>,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    status: Value,
    #[serde(default, rename = "lastTimestamp")]
    last: Option<String>,
    #[serde(default, rename = "eventTime")]
    event_time: Option<String>,
    #[serde(default)]
    series: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: String,
    namespace: String,
    uid: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct OwnerReference {
    kind: String,
    name: String,
    uid: String,
    controller: Option<bool>,
}

/// How the rows of one list are made.
#[derive(Clone)]
pub struct Projection {
    group: String,
    resource: String,
    columns: Vec<ColumnDefinition>,
}

impl Projection {
    /// For a resource with its columns.
    pub fn new(group: &str, resource: &str, columns: Vec<ColumnDefinition>) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned(), columns }
    }

    /// Whether rows can only be made of whole objects: their times are in no metadata.
    pub fn wants_object(group: &str, resource: &str) -> bool {
        matches!((group, resource), ("" | "events.k8s.io", "events") | ("batch", "cronjobs"))
    }

    /// The columns, as the browser gets them.
    pub fn columns(&self) -> Vec<Column> {
        let column = |own: &ColumnDefinition| Column {
            name: own.name.clone(),
            sort: if self.is_time(own) { "date".to_owned() } else { self.sort(own) },
            description: own.description.clone(),
            priority: u8::try_from(own.priority.max(0)).unwrap_or(u8::MAX),
        };
        self.columns.iter().map(column).collect()
    }

    fn sort(&self, column: &ColumnDefinition) -> String {
        match column.name.as_str() {
            "Restarts" => "integer".to_owned(),
            _ => column.kind.clone(),
        }
    }

    fn is_time(&self, column: &ColumnDefinition) -> bool {
        column.name == "Age"
            || self.resource == "events" && ["Last Seen", "First Seen"].contains(&column.name.as_str())
            || self.resource == "cronjobs" && column.name == "Last Schedule"
    }

    /// A row.
    pub fn row(&self, row: TableRow) -> Row {
        let TableRow { cells, object } = row;
        let object = object.unwrap_or_default();
        let meta = &object.metadata;
        let created = seconds(meta.creation_timestamp.as_deref()).unwrap_or(0);
        let text = |name: &str| {
            let at = self.columns.iter().position(|column| column.name == name)?;
            cells.get(at).map(plain)
        };
        let deleting = seconds(meta.deletion_timestamp.as_deref());
        let (health, reason) = health::of(&self.group, &self.resource, deleting.is_some(), &text);
        let node = match self.resource.as_str() {
            "pods" => text("Node").filter(|node| node != "<none>").unwrap_or_default(),
            _ => String::new(),
        };
        let shown = self.columns.iter().enumerate();
        let shown = shown.map(|(at, column)| self.cell(column, cells.get(at), &object, created)).collect();
        let object = object.metadata;
        Row {
            health,
            reason,
            node,
            created,
            deleting,
            cells: shown,
            owner: owner(object.owner_references.unwrap_or_default()),
            labels: object.labels.unwrap_or_default().into_iter().collect(),
            uid: object.uid,
            namespace: object.namespace,
            name: object.name,
        }
    }

    fn cell(&self, column: &ColumnDefinition, value: Option<&Value>, object: &Object, created: i64) -> Cell {
        if self.is_time(column) {
            let time = match column.name.as_str() {
                "Last Seen" => seconds(object.series["lastObservedTime"].as_str())
                    .or(seconds(object.last.as_deref()))
                    .or(seconds(object.event_time.as_deref())),
                "Last Schedule" => seconds(object.status["lastScheduleTime"].as_str()),
                _ => (created > 0).then_some(created),
            };
            return time.map_or(Cell::Empty, Cell::Time);
        }
        let Some(value) = value else { return Cell::Empty };
        if column.kind == "date" || column.format == "date-time" {
            let text = plain(value);
            return seconds(Some(&text)).map_or_else(|| worded(text), Cell::Time);
        }
        match value {
            Value::Number(number) => Cell::Number(number.as_f64().unwrap_or(0.0), None),
            Value::String(text) if column.name == "Restarts" => restarts(text),
            Value::String(text) if column.name == "Capacity" => quantity(text)
                .map_or_else(|| worded(text.clone()), |bytes| Cell::Number(bytes, Some(text.clone()))),
            value => worded(plain(value)),
        }
    }
}

/// `12 (5m ago)`: the number alone, for the rest would be wrong a minute later.
fn restarts(text: &str) -> Cell {
    let number = text.split(' ').next().and_then(|first| first.parse().ok());
    number.map_or_else(|| worded(text.to_owned()), |number| Cell::Number(number, None))
}

fn worded(text: String) -> Cell {
    match text.as_str() {
        "" | "<none>" | "<unset>" => Cell::Empty,
        _ => Cell::Text(text),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

/// Bytes of `10Gi`; the suffixes of `k8s.io/apimachinery/pkg/api/resource`.
pub fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("", 1.0),
    ];
    SUFFIXES.iter().find_map(|(suffix, scale)| {
        text.strip_suffix(suffix).and_then(|number| number.parse::<f64>().ok()).map(|number| number * scale)
    })
}

fn owner(references: Vec<OwnerReference>) -> Option<Owner> {
    let found = references.into_iter().find(|reference| reference.controller == Some(true))?;
    Some(Owner { kind: found.kind, name: found.name, uid: found.uid })
}

/// Seconds since 1970 of an RFC 3339 time.
fn seconds(text: Option<&str>) -> Option<i64> {
    text?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sampan_view::Health;
    use serde_json::json;

    fn row(resource: &str, table: Value) -> Row {
        let mut table: Table = serde_json::from_value(table).expect("a table");
        let projection = Projection::new("", resource, table.column_definitions.take().unwrap_or_default());
        projection.row(table.rows.take().unwrap_or_default().remove(0))
    }

    fn column(name: &str, kind: &str) -> Value {
        json!({"name": name, "type": kind, "format": "", "description": "", "priority": 0})
    }

    #[test]
    fn a_pod_is_a_row() {
        let row = row(
            "pods",
            json!({
                "columnDefinitions": [column("Name", "string"), column("Ready", "string"), column("Status", "string"),
                    column("Restarts", "string"), column("Age", "string"), column("Node", "string")],
                "rows": [{"cells": ["web-1", "0/1", "CrashLoopBackOff", "12 (5m ago)", "3d", "worker"], "object": {
                    "kind": "PartialObjectMetadata", "metadata": {"name": "web-1", "namespace": "shop", "uid": "u",
                    "creationTimestamp": "1970-01-01T00:01:40Z", "labels": {"app": "web"},
                    "ownerReferences": [{"kind": "X", "name": "x", "uid": "1"},
                        {"kind": "ReplicaSet", "name": "web", "uid": "2", "controller": true}]}}}],
            }),
        );
        assert_eq!(
            (row.namespace.as_str(), row.name.as_str(), row.node.as_str()),
            ("shop", "web-1", "worker")
        );
        assert_eq!((row.health, row.reason.as_str()), (Health::Failed, "CrashLoopBackOff"));
        assert_eq!(row.owner.map(|owner| owner.name).as_deref(), Some("web"));
        assert_eq!(row.cells[3], Cell::Number(12.0, None));
        assert_eq!(row.cells[4], Cell::Time(100));
        assert_eq!(row.created, 100);
        assert_eq!(row.labels, [("app".to_owned(), "web".to_owned())]);
    }

    #[test]
    fn strange_tables_do_no_harm() {
        let row = row(
            "things",
            json!({"columnDefinitions": [column("A", "date"), column("B", "integer")],
            "rows": [{"cells": ["2024-01-01T00:00:00Z", null, 7, {"x": 1}]}]}),
        );
        assert_eq!(row.cells, [Cell::Time(1_704_067_200), Cell::Empty]);
        assert_eq!(row.health, Health::None);
    }

    #[test]
    fn a_watch_tells_its_columns_once() {
        let later = json!({"columnDefinitions": null, "rows": [{"cells": ["a"], "object": null}]});
        let table: Table = serde_json::from_value(later).expect("a table");
        assert!(table.column_definitions.is_none() && table.rows.is_some_and(|rows| rows.len() == 1));
    }

    #[test]
    fn quantities_are_numbers() {
        for (text, number) in [
            ("10Gi", Some(10_737_418_240.0)),
            ("250m", Some(0.25)),
            ("3", Some(3.0)),
            ("1e3", Some(1000.0)),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(quantity(text), number, "{text}");
        }
    }
}
