//! Protobuf bodies into the values that everything else works on ([`decode`]), and JSON into protobuf
//! ([`encode`]); driven by the field table.
//!
//! Typed Go clients (`kubectl create`, CoreDNS, upstream's e2e suite) send and take objects as
//! `application/vnd.kubernetes.protobuf`: four magic bytes and a `runtime.Unknown` around the message.
//!
//! Go writes a field that is not a pointer even when it is zero, and on the way to JSON drops the zero again,
//! unless the field has no `omitempty`: the table says which zeros stay (`keeps_zero`).
//!
//! Ported from `apimachinery/pkg/runtime/serializer/protobuf` and the `generated.pb.go` of `k8s.io/api`.

mod encode;
mod wire;

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::fields::{self, Field, FieldType, Type};
pub use encode::{encode, encode_metadata, list_of, watch_event};
use wire::{Item, Reader};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Nesting allowed, as in the JSON parser.
const DEPTH: usize = 128;

/// Whether the bytes begin like a protobuf body.
pub fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// Decodes a whole body as an object of `schema`; apiVersion and kind come from the envelope.
pub fn decode(body: &[u8], schema: &str) -> Result<Value, String> {
    let inner = body.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
    let ty = fields::type_of(schema).ok_or_else(|| format!("no schema {schema}"))?;
    let envelope = Envelope::read(inner)?;
    let mut object = Map::new();
    for (key, text) in [("kind", envelope.kind), ("apiVersion", envelope.api_version)] {
        if !text.is_empty() {
            object.insert(key.into(), text.into());
        }
    }
    message(envelope.raw, ty, &[], &mut object, 0)?;
    Ok(object.into())
}

/// `runtime.Unknown`.
#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(body: &'a [u8]) -> Result<Self, String> {
        let mut envelope = Self::default();
        let mut reader = Reader(body);
        while let Some((number, item)) = reader.next()? {
            match (number, item) {
                (1, Item::Bytes(meta)) => envelope.type_meta(meta)?,
                (2, Item::Bytes(raw)) => envelope.raw = raw,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn type_meta(&mut self, meta: &[u8]) -> Result<(), String> {
        let mut reader = Reader(meta);
        while let Some((number, item)) = reader.next()? {
            match number {
                1 => self.api_version = item.text()?,
                2 => self.kind = item.text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads one message into `object`. `path` leads through messages that JSON inlines.
fn message(
    bytes: &[u8],
    ty: &'static Type,
    path: &[u32],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH {
        return Err("exceeded max depth".to_owned());
    }
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        let here: Vec<u32> = path.iter().copied().chain([number]).collect();
        if let Some(field) = ty.fields.iter().find(|field| field.tags == here) {
            take(field, item, object, depth)?;
        } else if ty.fields.iter().any(|field| field.tags.starts_with(&here)) {
            message(item.bytes()?, ty, &here, object, depth + 1)?;
        }
    }
    Ok(())
}

/// One occurrence of a field.
fn take(
    field: &'static Field,
    item: Item<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    match field.ty {
        FieldType::List(inner) => {
            let list = object.entry(field.json).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                elements(inner, item, list, depth)?;
            }
        }
        FieldType::Map(inner) => {
            let map = object.entry(field.json).or_insert_with(|| Map::new().into());
            if let Value::Object(map) = map {
                let (key, value) = entry(inner, item.bytes()?, depth)?;
                map.insert(key, value);
            }
        }
        ref ty => {
            let value = single(ty, item, depth)?;
            if value.is_null() || means_absent(field, &value) {
                object.shift_remove(field.json);
            } else {
                object.insert(field.json.into(), value);
            }
        }
    }
    Ok(())
}

/// Whether `value` is what Go writes for a field that is not set, and leaves out of JSON.
fn means_absent(field: &Field, value: &Value) -> bool {
    let zero = match (&field.ty, value) {
        // maxSurge and its like are pointers, targetPort is not
        (FieldType::IntOrString, value) => return field.json == "targetPort" && value.as_i64() == Some(0),
        (FieldType::Bool, value) => value.as_bool() == Some(false),
        (FieldType::String | FieldType::Bytes, value) => value.as_str() == Some(""),
        (FieldType::Int32 | FieldType::Int64, value) => value.as_i64() == Some(0),
        (FieldType::Float, value) => value.as_f64() == Some(0.0),
        _ => false,
    };
    zero && !field.keeps_zero
}

/// List items: one at a time, or numbers packed into bytes.
fn elements(inner: &FieldType, item: Item<'_>, list: &mut Vec<Value>, depth: usize) -> Result<(), String> {
    let number = matches!(inner, FieldType::Int32 | FieldType::Int64 | FieldType::Bool);
    if let (true, Item::Bytes(bytes)) = (number, item) {
        let mut reader = Reader(bytes);
        while !reader.0.is_empty() {
            list.push(single(inner, Item::Number(reader.varint()?), depth)?);
        }
        return Ok(());
    }
    list.push(single(inner, item, depth)?);
    Ok(())
}

/// A map's entry: a message of key and value.
fn entry(inner: &FieldType, bytes: &[u8], depth: usize) -> Result<(String, Value), String> {
    let (mut key, mut value) = (String::new(), single(inner, Item::Bytes(&[]), depth).unwrap_or_default());
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => key = item.text()?,
            2 => value = single(inner, item, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn single(ty: &FieldType, item: Item<'_>, depth: usize) -> Result<Value, String> {
    Ok(match ty {
        FieldType::String => item.text()?.into(),
        FieldType::Int32 | FieldType::Int64 => item.number()?.cast_signed().into(),
        FieldType::Bool => (item.number()? != 0).into(),
        FieldType::Float => item.float()?.into(),
        FieldType::Bytes => base64::engine::general_purpose::STANDARD.encode(item.bytes()?).into(),
        FieldType::Time => time(item.bytes()?, 0)?,
        FieldType::MicroTime => time(item.bytes()?, 6)?,
        FieldType::Duration => duration(item.bytes()?)?,
        FieldType::Quantity => quantity(item.bytes()?)?,
        FieldType::IntOrString => int_or_string(item.bytes()?)?,
        FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Json => raw(item.bytes()?)?,
        FieldType::SchemaOrArray => one_of(item.bytes()?, Other::Schemas, depth)?,
        FieldType::SchemaOrBool => one_of(item.bytes()?, Other::Bool, depth)?,
        FieldType::SchemaOrStrings => one_of(item.bytes()?, Other::Strings, depth)?,
        FieldType::Object(reference) => {
            let ty = reference.get();
            match &ty.scalar {
                Some(scalar) => single(scalar, item, depth)?,
                None => {
                    let mut object = Map::new();
                    message(item.bytes()?, ty, &[], &mut object, depth + 1)?;
                    object.into()
                }
            }
        }
        // a list inside a map (`ExtraValue`): a message of items
        FieldType::List(inner) => {
            let mut list = Vec::new();
            let mut reader = Reader(item.bytes()?);
            while let Some((number, item)) = reader.next()? {
                if number == 1 {
                    elements(inner, item, &mut list, depth)?;
                }
            }
            list.into()
        }
        FieldType::Map(_) => Map::new().into(),
    })
}

/// `{seconds, nanos}`; an empty one is Go's zero time, which JSON writes as null.
fn time(bytes: &[u8], digits: u8) -> Result<Value, String> {
    let (mut seconds, mut nanos, mut reader) = (0, 0, Reader(bytes));
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => seconds = item.number()?.cast_signed(),
            2 => nanos = item.number()?.cast_signed(),
            _ => {}
        }
    }
    if seconds == 0 && nanos == 0 {
        return Ok(Value::Null);
    }
    let nanos = i32::try_from(nanos).map_err(|why| why.to_string())?;
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|why| why.to_string())?;
    let printer = jiff::fmt::temporal::DateTimePrinter::new().precision(Some(digits));
    let mut out = String::new();
    printer.print_timestamp(&time, &mut out).map_err(|why| why.to_string())?;
    Ok(out.into())
}

/// Nanoseconds, written as Go does for whole seconds, which is all that the API uses.
fn duration(bytes: &[u8]) -> Result<Value, String> {
    let (mut nanos, mut reader) = (0, Reader(bytes));
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            nanos = item.number()?.cast_signed();
        }
    }
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
    .into())
}

fn quantity(bytes: &[u8]) -> Result<Value, String> {
    let (mut text, mut reader) = (String::new(), Reader(bytes));
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            text = item.text()?;
        }
    }
    Ok(if text.is_empty() { "0".into() } else { text.into() })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number_value, mut text, mut reader) = (false, 0, String::new(), Reader(bytes));
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => is_text = item.number()? == 1,
            2 => number_value = item.number()?.cast_signed(),
            3 => text = item.text()?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number_value.into() })
}

/// A message whose only field is JSON text.
fn raw(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            return serde_json::from_slice(item.bytes()?).map_err(|why| why.to_string());
        }
    }
    Ok(Value::Null)
}

/// What `JSONSchemaPropsOr…` holds besides a schema.
enum Other {
    Schemas,
    Bool,
    Strings,
}

fn one_of(bytes: &[u8], other: Other, depth: usize) -> Result<Value, String> {
    let schema = |item: Item<'_>| {
        let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        let ty = fields::type_of(name).ok_or("no schema of schemas")?;
        let mut object = Map::new();
        message(item.bytes()?, ty, &[], &mut object, depth + 1)?;
        Ok::<_, String>(Value::from(object))
    };
    let (mut found, mut list, mut reader) = (None, Vec::new(), Reader(bytes));
    while let Some((number, item)) = reader.next()? {
        match (&other, number) {
            (Other::Bool, 1) => found = found.or(Some((item.number()? != 0).into())),
            (Other::Bool, 2) | (_, 1) => found = Some(schema(item)?),
            (Other::Schemas, 2) => list.push(schema(item)?),
            (Other::Strings, 2) => list.push(item.text()?.into()),
            _ => {}
        }
    }
    Ok(found.unwrap_or_else(|| list.into()))
}

#[cfg(test)]
mod tests;
