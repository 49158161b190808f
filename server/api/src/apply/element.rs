//! One step of a path: structured-merge-diff's `fieldpath.PathElement`.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use super::value::{order, shown};

/// One step of a path.
#[derive(Clone, Debug)]
pub enum PathElement {
    /// A field or key of an object: `f:name`.
    Field(Box<str>),
    /// The item of a list with these fields, in order of their names: `k:{"name":"x"}`.
    Key(Box<[(Box<str>, Value)]>),
    /// The item of a set: `v:"x"`.
    Value(Value),
    /// The item at that place: `i:0`.
    Index(i64),
}

impl PathElement {
    /// A field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// Reads what [`PathElement::write`] writes. `None` for what a later version may know.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let bytes = text.as_bytes();
        if bytes.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if bytes[1] != b':' {
            return Err(format!("missing colon: {text}"));
        }
        let rest = &text[2..];
        Ok(Some(match bytes[0] {
            b'f' => Self::field(rest),
            b'v' => Self::Value(json(rest)?),
            b'k' => {
                let Value::Object(map) = json(rest)? else { return Err(format!("not an object: {rest}")) };
                Self::key(map.into_iter().map(|(name, value)| (name.into(), value)).collect())
            }
            b'i' => {
                let wrong = || format!("strconv.Atoi: parsing {rest:?}: invalid syntax");
                Self::Index(rest.parse().map_err(|_| wrong())?)
            }
            _ => return Ok(None),
        }))
    }

    /// The item with these fields.
    pub fn key(mut fields: Vec<(Box<str>, Value)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(fields.into())
    }

    /// The key in FieldsV1: `f:name`.
    pub fn write(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
            Self::Key(fields) => {
                let mut out = String::from("k:{");
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(&format!("{}:{value}", Value::from(&**name)));
                }
                out.push('}');
                out
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

impl Ord for PathElement {
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

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathElement {}

/// As paths are shown to people: `.spec.containers[name="x"].image`.
impl fmt::Display for PathElement {
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
