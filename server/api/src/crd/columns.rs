//! Tables of custom resources (`registry/customresource/tableconvertor`), and the simple JSONPath they are written in.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::head::{PrinterColumn, Scale, VersionHead};
use crate::table;

/// `columnDefinitions`.
pub fn column_definitions(version: &VersionHead) -> Value {
    definitions(&columns(version))
}

/// The cells of one object.
pub fn cells(version: &VersionHead, object: &Value, now: Timestamp) -> Vec<Value> {
    row(&columns(version), object, now)
}

/// `columnDefinitions` of a Scale (`getScaleColumnsForVersion`).
pub fn scale_column_definitions(scale: &Scale) -> Value {
    definitions(&scale_columns(scale))
}

/// The cells of a Scale.
pub fn scale_cells(scale: &Scale, object: &Value, now: Timestamp) -> Vec<Value> {
    row(&scale_columns(scale), object, now)
}

fn columns(version: &VersionHead) -> Cow<'_, [PrinterColumn]> {
    match version.additional_printer_columns.as_slice() {
        [] => vec![age()].into(),
        columns => columns.into(),
    }
}

fn age() -> PrinterColumn {
    PrinterColumn {
        name: "Age".to_owned(),
        ty: "date".to_owned(),
        description: table::default_columns()[1].description.to_owned(),
        json_path: ".metadata.creationTimestamp".to_owned(),
        ..PrinterColumn::default()
    }
}

fn scale_columns(scale: &Scale) -> Vec<PrinterColumn> {
    let count = |name: &str, what: &str, json_path: &str| PrinterColumn {
        name: name.to_owned(),
        ty: "integer".to_owned(),
        description: format!("Number of {what} replicas"),
        json_path: json_path.to_owned(),
        ..PrinterColumn::default()
    };
    let mut columns = Vec::with_capacity(3);
    if !scale.spec_replicas_path.is_empty() {
        columns.push(count("Desired", "desired", ".spec.replicas"));
    }
    if !scale.status_replicas_path.is_empty() {
        columns.push(count("Available", "actual", ".status.replicas"));
    }
    columns.push(age());
    columns
}

fn definitions(columns: &[PrinterColumn]) -> Value {
    let name = table::default_columns()[0].to_json();
    std::iter::once(name).chain(columns.iter().map(definition)).collect()
}

fn definition(column: &PrinterColumn) -> Value {
    let description = match column.description.as_str() {
        "" => format!("Custom resource definition column (in JSONPath format): {}", column.json_path),
        text => text.to_owned(),
    };
    json!({"name": column.name, "type": column.ty, "format": column.format, "description": description,
        "priority": column.priority})
}

fn row(columns: &[PrinterColumn], object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    let cells = columns.iter().map(|column| cell(&column.ty, &json_path(&column.json_path, object), now));
    std::iter::once(name).chain(cells).collect()
}

fn cell(ty: &str, found: &[&Value], now: Timestamp) -> Value {
    let Some(value) = found.first() else { return Value::Null };
    match (ty, value) {
        ("integer", Value::Number(n)) => {
            n.as_i64().map_or_else(|| n.as_f64().map_or(Value::Null, |f| (f as i64).into()), Value::from)
        }
        ("number", Value::Number(n)) => n.as_f64().map_or(Value::Null, Value::from),
        ("boolean", Value::Bool(b)) => (*b).into(),
        ("string", value) => printed(value).into(),
        ("date", Value::String(text)) if text.parse::<Timestamp>().is_ok() => table::since(text, now).into(),
        ("date", Value::String(text)) => text.as_str().into(),
        _ => Value::Null,
    }
}

/// As JSONPath prints it: texts plainly, null as nothing, the rest as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What `path` leads to. `.a.b`, `['a.b']`, `[0]`, `[-1]`, `[*]`, `[1:2]`, `[?(@.type=="Ready")]`, `..a` is not.
pub(crate) fn json_path<'a>(path: &str, object: &'a Value) -> Vec<&'a Value> {
    let mut here = vec![object];
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        let (step, after) = match rest.as_bytes()[0] {
            b'[' => match closing(rest) {
                Some(end) => (Step::bracket(&rest[1..end]), &rest[end + 1..]),
                None => return Vec::new(),
            },
            _ => {
                let (name, after) = name(rest.trim_start_matches('.'));
                (if name == "*" { Step::All } else { Step::Name(name) }, after)
            }
        };
        here = here.into_iter().flat_map(|value| step.of(value)).collect();
        rest = after;
    }
    here
}

/// A name up to the next dot or bracket; a backslash takes the next character as it is.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket that `text` begins with closes, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

enum Step {
    Name(String),
    All,
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Filter(String, String, String),
    Nothing,
}

impl Step {
    fn bracket(text: &str) -> Self {
        let text = text.trim();
        if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
            return Self::filter(filter.trim());
        }
        if text == "*" {
            return Self::All;
        }
        if let Some(quoted) = unquoted(text) {
            return Self::Name(quoted.to_owned());
        }
        if let Some((from, to)) = text.split_once(':') {
            return Self::Slice(from.trim().parse().ok(), to.trim().parse().ok());
        }
        text.parse().map_or(Self::Nothing, Self::Index)
    }

    fn filter(text: &str) -> Self {
        let Some(left) = text.strip_prefix('@') else { return Self::Nothing };
        for op in ["==", "!=", "<=", ">=", "<", ">"] {
            if let Some((path, right)) = left.split_once(op) {
                return Self::Filter(path.trim().to_owned(), op.to_owned(), right.trim().to_owned());
            }
        }
        Self::Filter(left.trim().to_owned(), String::new(), String::new())
    }

    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Name(name), value) => value.get(name.as_str()).into_iter().collect(),
            (Self::All, Value::Array(list)) => list.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Index(index), Value::Array(list)) => {
                place(*index, list.len()).and_then(|i| list.get(i)).into_iter().collect()
            }
            (Self::Slice(from, to), Value::Array(list)) => {
                let from = from.map_or(Some(0), |i| place(i, list.len())).unwrap_or(0);
                let to = to.map_or(list.len(), |i| place(i, list.len()).unwrap_or(0)).min(list.len());
                list.get(from..to).unwrap_or_default().iter().collect()
            }
            (Self::Filter(path, op, right), Value::Array(list)) => {
                list.iter().filter(|item| holds(json_path(path, item).first().copied(), op, right)).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { length + index } else { index }).ok()
}

fn unquoted(text: &str) -> Option<&str> {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
    inner('\'').or_else(|| inner('"'))
}

fn holds(left: Option<&Value>, op: &str, right: &str) -> bool {
    let Some(left) = left else { return false };
    if op.is_empty() {
        return true;
    }
    let order = match (left, unquoted(right)) {
        (Value::String(text), Some(right)) => text.as_str().partial_cmp(right),
        (left, None) => match (left.as_f64(), right.parse::<f64>().ok()) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => left.to_string().as_str().partial_cmp(right),
        },
        _ => None,
    };
    let Some(order) = order else { return op == "!=" };
    match op {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}
