//! One step of a path: structured-merge-diff's `fieldpath.PathElement`.
//!
//! It borrows what it names from the value or schema that it was found in: sets of paths are made and dropped
//! with each write.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::ops::Deref;

use serde_json::Value;

use super::value::{order, shown};
use crate::go::Quote as _;

/// One step of a path.
#[derive(Clone, Debug)]
pub enum PathElement<'v> {
    /// A field or key of an object: `f:name`.
    Field(&'v str),
    /// The item of a list with these fields, in order of their names: `k:{"name":"x"}`.
    Key(Box<[(Cow<'v, str>, Held<'v>)]>),
    /// The item of a set: `v:"x"`.
    Value(Held<'v>),
    /// The item at that place: `i:0`.
    Index(i64),
}

/// A value of an object, or one that is in none: a default, or out of FieldsV1. Smaller than a `Cow`.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names say it
pub enum Held<'v> {
    Borrowed(&'v Value),
    Owned(Box<Value>),
}

impl Deref for Held<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        match self {
            Self::Borrowed(value) => value,
            Self::Owned(value) => value,
        }
    }
}

impl From<Value> for Held<'_> {
    fn from(value: Value) -> Self {
        Self::Owned(value.into())
    }
}

impl<'v> PathElement<'v> {
    /// Reads what [`PathElement::write`] writes. `None` for what a later version may know.
    pub fn parse(text: &'v str) -> Result<Option<Self>, String> {
        let bytes = text.as_bytes();
        if bytes.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if bytes[1] != b':' {
            return Err(format!("missing colon: {text}"));
        }
        let rest = &text[2..];
        Ok(Some(match bytes[0] {
            b'f' => Self::Field(rest),
            b'v' => Self::Value(json(rest)?.into()),
            b'k' => {
                let Value::Object(map) = json(rest)? else { return Err(format!("not an object: {rest}")) };
                Self::key(map.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
            }
            b'i' => {
                let wrong = || format!("strconv.Atoi: parsing {}: invalid syntax", rest.quoted());
                Self::Index(rest.parse().map_err(|_| wrong())?)
            }
            _ => return Ok(None),
        }))
    }

    /// The item with these fields.
    pub fn key(mut fields: Vec<(Cow<'v, str>, Held<'v>)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(fields.into())
    }

    /// The key in FieldsV1: `f:name`.
    pub fn write(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            _ => {
                let mut out = String::with_capacity(self.length());
                self.write_to(&mut out);
                out
            }
        }
    }

    /// About how long its text is.
    fn length(&self) -> usize {
        let value = |value: &Value| value.as_str().map_or(5, |text| text.len() + 2);
        match self {
            Self::Field(name) => 2 + name.len(),
            Self::Index(_) => 4,
            Self::Value(item) => 2 + value(item),
            Self::Key(fields) => {
                3 + fields.iter().map(|(name, key)| name.len() + 4 + value(key)).sum::<usize>()
            }
        }
    }

    /// As [`PathElement::write`], after what is in `out`.
    pub(super) fn write_to(&self, out: &mut String) {
        match self {
            Self::Field(name) => out.extend(["f:", name]),
            Self::Value(value) => {
                out.push_str("v:");
                write_json(value, out);
            }
            Self::Index(index) => {
                // a String takes all
                let _ = write!(out, "i:{index}");
            }
            Self::Key(fields) => {
                out.push_str("k:{");
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    write_json(value, out);
                }
                out.push('}');
            }
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|why| why.to_string())
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, out),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    if text.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        out.push_str(&Value::from(text).to_string());
    } else {
        out.extend(["\"", text, "\""]);
    }
}

impl Ord for PathElement<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Value(a), Self::Value(b)) => order(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let steps =
                    a.iter().zip(b.iter()).map(|(a, b)| a.0.cmp(&b.0).then_with(|| order(&a.1, &b.1)));
                steps.into_iter().find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for PathElement<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathElement<'_> {}

/// As paths are shown to people: `.spec.containers[name="x"].image`.
impl fmt::Display for PathElement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(value) => write!(f, "[={}]", shown(value)),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", fields.join(","))
            }
        }
    }
}

/// `path` as it is shown to people.
pub(super) fn shown_path(path: &[PathElement<'_>]) -> String {
    path.iter().map(ToString::to_string).collect()
}
