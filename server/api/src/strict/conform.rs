//! Types, nulls and canonical forms: what decoding into Go structs and encoding again would do to a value.
//!
//! Absent and null are the same for a field, so nulls go, and so do the zeros and what is empty that Go's `omitempty` leaves
//! out.
//! Quantities and times are rewritten as upstream writes them. Everything else stays as it was sent.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::node::{Node, Shape};
use crate::quantity::Quantity;

/// Field names from the root down to here, and the Go struct that holds the last.
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    key: Step<'a>,
    /// The struct that `key` is a field of.
    owner: &'static str,
    /// What Go calls the field's type, where its shape does not tell.
    go_type: Option<&'static str>,
    /// The structs that JSON inlines between `owner` and the field.
    embedded: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    const ROOT: Place<'static> =
        Place { parent: None, key: Step::Root, owner: "", go_type: None, embedded: None };

    fn step(&'a self, key: Step<'a>, owner: &'static str) -> Place<'a> {
        Place { parent: Some(self), key, owner, go_type: None, embedded: None }
    }

    /// What Go calls the type of what is here: its own name, or that of an item of a list or map that has one.
    fn named(&self) -> Option<&'static str> {
        match self.key {
            Step::Root => None,
            Step::Field(_) => self.go_type,
            Step::Index(_) => self.parent?.named()?.strip_prefix("[]"),
            Step::Key(_) => Some(self.parent?.named()?.strip_prefix("map[")?.split_once(']')?.1),
        }
    }

    /// `spec.containers`: upstream's errors of types name no indices.
    fn fields(&self) -> String {
        let mut names = Vec::new();
        let mut at = Some(self);
        while let Some(place) = at {
            if let Step::Field(name) = place.key {
                names.push(name);
                names.extend(place.embedded);
            }
            at = place.parent;
        }
        names.reverse();
        names.join(".")
    }

    /// `spec.containers[0].x`: with them, for unknown fields.
    fn path(&self) -> String {
        let mut out = self.parent.map(Place::path).unwrap_or_default();
        match self.key {
            Step::Root => {}
            Step::Index(index) => out.push_str(&format!("[{index}]")),
            Step::Field(key) | Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
        }
        out
    }

    fn unmarshal_error(&self, found: &str, wanted: &str) -> String {
        if self.owner.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
        }
        format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}",
            self.owner,
            self.fields()
        )
    }
}

/// Makes `value` conform to `node`; returns `unknown field "…"` for each field that it pruned.
pub fn conform<N: Node>(value: &mut Value, node: N) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    walk(value, node, &Place::ROOT, &mut unknown)?;
    Ok(unknown)
}

/// As [`conform`], for an object that came about by a patch: upstream's answer to a type error.
pub fn conform_object<N: Node>(
    value: &mut Value,
    node: N,
    expected: super::Expected<'_>,
) -> Result<Vec<String>, crate::status::ApiError> {
    conform(value, node).map_err(|why| expected.unfit(why))
}

/// Go's name for the type of a JSON value.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_type<N: Node>(node: N) -> String {
    match node.shape() {
        Shape::Any => "runtime.RawExtension".to_owned(),
        Shape::Text => "string".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Float => "float64".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::IntOrString => "intstr.IntOrString".to_owned(),
        Shape::Time => "v1.Time".to_owned(),
        Shape::MicroTime => "v1.MicroTime".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Object => format!("{}.{}", node.package(), node.name()),
        Shape::List(item) => format!("[]{}", go_type(item)),
        Shape::Map(item) => format!("map[string]{}", go_type(item)),
    }
}

fn walk<N: Node>(
    value: &mut Value,
    node: N,
    place: &Place<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let shape = node.shape();
    let wrong = |value: &Value| {
        let wanted = place.named().map_or_else(|| go_type(node), str::to_owned);
        Err(place.unmarshal_error(json_type(value), &wanted))
    };
    match (shape, &mut *value) {
        (Shape::Any, _)
        | (Shape::Text, Value::String(_))
        | (Shape::Bool, Value::Bool(_))
        | (Shape::Float, Value::Number(_)) => Ok(()),
        (Shape::Object, Value::Object(map)) => fields(map, node, place, unknown),
        (Shape::List(item), Value::Array(list)) => {
            for (index, element) in list.iter_mut().enumerate() {
                if element.is_null() {
                    *element = zero(item);
                }
                walk(element, item, &place.step(Step::Index(index), place.owner), unknown)?;
            }
            Ok(())
        }
        (Shape::Map(item), Value::Object(map)) => {
            for (key, element) in map.iter_mut() {
                if element.is_null() {
                    *element = zero(item);
                }
                walk(element, item, &place.step(Step::Key(key), place.owner), unknown)?;
            }
            Ok(())
        }
        (Shape::Int32 | Shape::Int64, Value::Number(number)) => {
            let limit = if matches!(shape, Shape::Int32) { i64::from(i32::MAX) } else { i64::MAX };
            match number.as_i64().filter(|n| *n <= limit && *n >= -limit - 1) {
                Some(_) => Ok(()),
                None => Err(place.unmarshal_error(&format!("number {number}"), &go_type(node))),
            }
        }
        (Shape::IntOrString, Value::String(_)) => Ok(()),
        (Shape::IntOrString, Value::Number(number)) => {
            match number.as_i64().filter(|n| i32::try_from(*n).is_ok()) {
                Some(_) => Ok(()),
                None => Err(place.unmarshal_error(&format!("number {number}"), "int32")),
            }
        }
        (Shape::Quantity, value) => quantity(value),
        (Shape::Time, Value::String(text)) => time(text, 0),
        (Shape::MicroTime, Value::String(text)) => time(text, 6),
        (Shape::Bytes, Value::String(text)) => bytes(text),
        // these decode themselves, into something simpler
        (Shape::Time | Shape::MicroTime, value) => Err(place.unmarshal_error(json_type(value), "string")),
        (Shape::IntOrString, value) => Err(place.unmarshal_error(json_type(value), "int32")),
        (_, value) => wrong(value),
    }
}

fn zero<N: Node>(node: N) -> Value {
    match node.shape() {
        Shape::Text | Shape::Bytes => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::Object | Shape::Map(_) => Map::new().into(),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Any | Shape::Time | Shape::MicroTime => Value::Null,
    }
}

/// Whether a scalar is what Go has where nothing was said.
fn is_zero<N: Node>(value: &Value, node: N) -> bool {
    match value {
        Value::Bool(value) => !value && matches!(node.shape(), Shape::Bool),
        Value::Number(number) => {
            number.as_f64() == Some(0.0)
                && matches!(node.shape(), Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString)
        }
        Value::String(text) => text.is_empty() && matches!(node.shape(), Shape::Text | Shape::Bytes),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn fields<N: Node>(
    map: &mut Map<String, Value>,
    node: N,
    place: &Place<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let owner = node.name();
    let mut failed = None;
    map.retain(|key, value| {
        if failed.is_some() {
            return true;
        }
        let mut here = place.step(Step::Field(key), owner);
        let Some(field) = node.field(key) else {
            unknown.push(format!("unknown field \"{}\"", here.path()));
            return false;
        };
        (here.go_type, here.embedded) = (field.go_type(), field.embedded());
        if value.is_null() {
            return false;
        }
        if let Err(why) = walk(value, field, &here, unknown) {
            failed = Some(why);
        }
        let unsaid =
            (is_zero(value, field) && !field.keeps_zero()) || (is_empty(value) && field.omits_empty(owner));
        !unsaid
    });
    failed.map_or(Ok(()), Err)
}

fn quantity(value: &mut Value) -> Result<(), String> {
    let parsed = Quantity::from_value(value).map_err(|why| why.to_string())?;
    *value = parsed.to_string().into();
    Ok(())
}

/// RFC 3339 in UTC, with `digits` of a second's fraction.
fn time(text: &mut String, digits: u8) -> Result<(), String> {
    let layout = if digits == 0 { "2006-01-02T15:04:05Z07:00" } else { "2006-01-02T15:04:05.000000Z07:00" };
    let parsed: jiff::Timestamp = text
        .parse()
        .map_err(|_| format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))?;
    let printer = jiff::fmt::temporal::DateTimePrinter::new().precision(Some(digits));
    let mut out = String::with_capacity(27);
    printer.print_timestamp(&parsed, &mut out).map_err(|why| why.to_string())?;
    *text = out;
    Ok(())
}

fn bytes(text: &str) -> Result<(), String> {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol};
    let engine = base64::engine::general_purpose::STANDARD;
    // Go's decoder skips line breaks
    let decoded = if text.contains(['\r', '\n']) {
        engine.decode(text.replace(['\r', '\n'], ""))
    } else {
        engine.decode(text)
    };
    decoded.map(drop).map_err(|why| {
        let at = match why {
            InvalidByte(at, _) => at,
            ref other if matches!(other, InvalidLastSymbol { .. }) => text.len().saturating_sub(1),
            _ => text.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}
