//! Values while an expression runs. JSON is not copied: a value may be a place in a document, with the type its schema says.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::authorizer::Authz;
use crate::error::EvalError;
use crate::library::Special;
use crate::relation::{self, Relation};
use crate::types::Type;

/// A value.
#[derive(Clone)]
#[allow(missing_docs)] // the names are CEL's
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    List(List<'a>),
    Map(Map<'a>),
    /// An instant, within the years 1 to 9999.
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    /// A type as a value, by its name.
    Type(Arc<str>),
    Optional(Option<Arc<Value<'a>>>),
    /// A constructed object: its type and fields.
    Struct(Arc<str>, Arc<BTreeMap<Arc<str>, Value<'a>>>),
    /// A value of a library: a quantity, a URL …
    Special(Arc<Special>),
    /// A step of a question to the authorizer.
    Authz(Authz<'a>),
    /// A map whose values are made when they are asked for.
    Lazy(Arc<dyn Lazy<'a> + 'a>),
}

/// A map whose values are made when they are asked for: the `variables` of policies.
pub trait Lazy<'a>: Send + Sync {
    /// The value, or none if there is no such key.
    fn get(&self, key: &str) -> Option<Result<Value<'a>, EvalError>>;
}

/// A text, borrowed from a document or made.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Owned(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

/// A list, in a document or made.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum List<'a> {
    /// With the type of the items, and how they are told apart.
    Json(&'a [Json], &'a Type, &'a Relation),
    Made(Arc<Vec<Value<'a>>>),
}

/// A map, in a document or made.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Map<'a> {
    /// With the type of the whole map or object.
    Json(&'a serde_json::Map<String, Json>, &'a Type),
    Made(Arc<BTreeMap<Key, Value<'a>>>),
}

/// What maps are keyed by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Key {
    Bool(bool),
    /// Whole numbers of any type are equal when they are.
    Int(i128),
    String(Arc<str>),
}

static DYN: Type = Type::Dyn;

impl<'a> Value<'a> {
    /// The value at a place of a document whose type is known.
    pub fn json(json: &'a Json, ty: &'a Type) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::number(number, ty),
            Json::String(text) => Self::typed_text(text, ty),
            Json::Array(items) => Self::List(match ty {
                Type::List(item, relation) => List::Json(items, item, relation),
                _ => List::Json(items, &DYN, &Relation::Atomic),
            }),
            Json::Object(fields) => Self::Map(Map::Json(fields, ty)),
        }
    }

    /// The value at a place of a document without a schema.
    pub fn untyped(json: &'a Json) -> Self {
        Self::json(json, &DYN)
    }

    /// A text.
    pub fn text(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
    /// A text that was made.
    pub fn owned(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Owned(text.into()))
    }
    /// A list that was made.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Made(Arc::new(items)))
    }
    /// An optional with a value.
    pub fn some(self) -> Self {
        Self::Optional(Some(Arc::new(self)))
    }
    /// An optional with or without a value.
    pub fn optional(value: Option<Value<'a>>) -> Self {
        Self::Optional(value.map(Arc::new))
    }

    fn number(number: &serde_json::Number, ty: &Type) -> Self {
        let double = matches!(ty, Type::Double);
        match number.as_i64() {
            Some(value) if !double => Self::Int(value),
            _ => match number.as_u64() {
                Some(value) if !double => Self::Uint(value),
                _ => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
        }
    }

    fn typed_text(text: &'a str, ty: &Type) -> Self {
        use crate::library::convert;
        let typed = match ty {
            Type::Timestamp => convert::timestamp(text).map(Self::Timestamp),
            Type::Duration => convert::duration(text).map(Self::Duration),
            Type::Bytes => convert::base64(text).map(|bytes| Self::Bytes(bytes.into())),
            _ => None,
        };
        typed.unwrap_or(Self::text(text))
    }

    /// The name of its type at run time.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) | Self::Lazy(_) => "map",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Struct(name, _) => name,
            Self::Special(special) => special.type_name(),
            Self::Authz(authz) => authz.type_name(),
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }
    /// The truth, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// As a map's key.
    pub(crate) fn key(&self) -> Option<Key> {
        Some(match self {
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(i128::from(*value)),
            Self::Uint(value) => Key::Int(i128::from(*value)),
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 1e18 => Key::Int(*value as i128),
            Self::String(text) => Key::String((&**text).into()),
            _ => return None,
        })
    }

    /// `==`; things of different types are different.
    pub fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::String(a), Value::String(b)) => **a == **b,
            (Self::Bytes(a), Value::Bytes(b)) => a == b,
            (Self::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Self::Duration(a), Value::Duration(b)) => a == b,
            (Self::Type(a), Value::Type(b)) => a == b,
            (Self::List(a), Value::List(b)) => relation::same(a, b),
            (Self::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.entries().all(|(key, value)| b.get(&key).is_some_and(|other| value.equals(&other)))
            }
            (Self::Optional(a), Value::Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b),
                _ => false,
            },
            (Self::Struct(name, a), Value::Struct(other, b)) => {
                name == other
                    && a.len() == b.len()
                    && a.iter().all(|(k, v)| b.get(k).is_some_and(|o| v.equals(o)))
            }
            (Self::Special(a), Value::Special(b)) => a.equals(b),
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// `<` and its kin: none if the two have no order.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        use Value::{Double, Int, Uint};
        Some(match (self, other) {
            (Self::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Self::String(a), Value::String(b)) => (**a).cmp(&**b),
            (Self::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Self::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            (Self::Duration(a), Value::Duration(b)) => a.cmp(b),
            (Double(a), Double(b)) => return a.partial_cmp(b),
            (Double(a), Int(b)) => return against(*a, i128::from(*b)),
            (Double(a), Uint(b)) => return against(*a, i128::from(*b)),
            (Int(a), Double(b)) => return against(*b, i128::from(*a)).map(Ordering::reverse),
            (Uint(a), Double(b)) => return against(*b, i128::from(*a)).map(Ordering::reverse),
            (Int(a), Int(b)) => a.cmp(b),
            (Uint(a), Uint(b)) => a.cmp(b),
            (Int(a), Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
            (Uint(a), Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
            _ => return None,
        })
    }

    /// As JSON, for what an expression makes of an object. None: it has no such form.
    pub fn to_json(&self) -> Option<Json> {
        use base64::Engine as _;
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::from(*value),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Self::List(list) => Json::Array(list.iter().map(|item| item.to_json()).collect::<Option<_>>()?),
            Self::Map(map) => {
                let entries = map.entries().map(|(key, value)| match key {
                    Key::String(name) => Some((name.to_string(), value.to_json()?)),
                    _ => None,
                });
                Json::Object(entries.collect::<Option<_>>()?)
            }
            Self::Struct(_, fields) => {
                let entries = fields.iter().map(|(name, value)| Some((name.to_string(), value.to_json()?)));
                Json::Object(entries.collect::<Option<_>>()?)
            }
            Self::Timestamp(instant) => Json::String(instant.to_string()),
            Self::Duration(nanos) => Json::String(crate::library::convert::show_duration(*nanos)),
            Self::Special(special) => Json::String(special.to_string()),
            Self::Optional(_) | Self::Type(_) | Self::Authz(_) | Self::Lazy(_) => return None,
        })
    }
}

fn against(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // beyond these a double is greater or less than any whole number of CEL
    if double >= 3.0e19 {
        return Some(Ordering::Greater);
    }
    if double <= -3.0e19 {
        return Some(Ordering::Less);
    }
    let order = (double.trunc() as i128).cmp(&whole);
    Some(order.then_with(|| double.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal)))
}

impl<'a> List<'a> {
    /// How its items are told apart.
    pub(crate) fn relation(&self) -> &Relation {
        match self {
            Self::Json(_, _, relation) => relation,
            Self::Made(_) => &Relation::Atomic,
        }
    }
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, ..) => items.len(),
            Self::Made(items) => items.len(),
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// One of them.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items, ty, _) => items.get(index).map(|item| Value::json(item, ty)),
            Self::Made(items) => items.get(index).cloned(),
        }
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(fields, _) => fields.len(),
            Self::Made(entries) => entries.len(),
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A field or entry by its name.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Json(fields, Type::Object(object)) => {
                let field = object.fields.get(name)?;
                fields.get(&field.json).map(|json| Value::json(json, &field.ty))
            }
            Self::Json(fields, ty) => fields.get(name).map(|json| Value::json(json, element(ty))),
            Self::Made(entries) => entries.get(&Key::String(name.into())).cloned(),
        }
    }
    /// An entry.
    pub fn get(&self, key: &Key) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Made(entries), key) => entries.get(key).cloned(),
            (Self::Json(..), Key::String(name)) => self.field(name),
            _ => None,
        }
    }
    /// The keys, in order.
    pub fn keys(&self) -> Vec<Key> {
        match self {
            Self::Json(fields, Type::Object(object)) => {
                let known = object.fields.iter().filter(|(_, field)| fields.contains_key(&field.json));
                known.map(|(name, _)| Key::String(name.as_str().into())).collect()
            }
            Self::Json(fields, _) => fields.keys().map(|name| Key::String(name.as_str().into())).collect(),
            Self::Made(entries) => entries.keys().cloned().collect(),
        }
    }
    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = (Key, Value<'a>)> + '_ {
        self.keys().into_iter().filter_map(|key| self.get(&key).map(|value| (key, value)))
    }
}

fn element(ty: &Type) -> &Type {
    if let Type::Map(_, value) = ty { value } else { &DYN }
}

impl Key {
    /// As a value.
    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => match i64::try_from(*value) {
                Ok(value) => Value::Int(value),
                Err(_) => Value::Uint(u64::try_from(*value).unwrap_or(u64::MAX)),
            },
            Self::String(name) => Value::owned(name.clone()),
        }
    }
}
