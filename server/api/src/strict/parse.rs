//! One pass over a document: values in, unknown and duplicate fields out.
//!
//! A serde visitor rather than `serde_json::Value`'s own, because that one silently keeps the last of two
//! equal keys. Nesting is bounded by both parsers (128), so that nothing downstream can overflow the stack.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use super::alias::{self, Expansion};
use super::node::{Node, Shape};
use super::{depth, syntax, yaml};
use crate::go::Quote as _;

/// How the body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Json,
    Yaml,
}

/// A document and what strict decoding holds against it.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Pruned by the schema; duplicates resolved to the last.
    pub value: Value,
    /// `unknown field "a.b"`, `duplicate field "c"`, in document order; not more than upstream keeps.
    pub problems: Vec<String>,
}

/// Reads one document. Without a `node` nothing is unknown. What cannot be read is told in Go's words.
pub fn parse<N: Node>(body: &[u8], format: Format, node: Option<N>) -> Result<Parsed, String> {
    match format {
        Format::Json => json(body, node),
        Format::Yaml => yaml(body, node),
    }
}

fn json<N: Node>(body: &[u8], node: Option<N>) -> Result<Parsed, String> {
    let mut found = Found::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seed = Seed { node, path: &Path::Root, found: &mut found, keep: true };
    match seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(Parsed { value, problems: found.problems }),
        Err(error) => match (syntax::fault(body), std::str::from_utf8(body)) {
            (Some(fault), _) => Err(fault),
            // what is no UTF-8 Go replaces
            (None, Err(_)) => json(String::from_utf8_lossy(body).as_bytes(), node),
            (None, Ok(text)) => match syntax::paired(text) {
                Some(paired) => json(paired.as_bytes(), node),
                None => Err(syntax::too_deep(body).unwrap_or_else(|| error.to_string())),
            },
        },
    }
}

fn yaml<N: Node>(body: &[u8], node: Option<N>) -> Result<Parsed, String> {
    let text = std::str::from_utf8(body).map_err(|_| "yaml: invalid UTF-8".to_owned())?;
    if let Some(fault) = depth::fault(text) {
        return Err(fault);
    }
    let expansion = Expansion::of(text);
    // an alias would be passed over when it is asked where it is
    let located = expansion.is_none();
    let mut found = Found { yaml: true, located, expansion, ..Found::default() };
    let seed = Seed { node, path: &Path::Root, found: &mut found, keep: true };
    let read = seed.deserialize(serde_yaml_ng::Deserializer::from_str(text));
    let value = match read {
        Ok(value) => value,
        Err(_) if found.excessive => return Err(alias::EXCESSIVE.to_owned()),
        Err(error) => return Err(yaml::words(&error.to_string())),
    };
    let mut problems = Vec::new();
    if !found.twice.is_empty() {
        problems.push(yaml::already_set(text, &found.twice));
    }
    problems.extend(found.problems);
    Ok(Parsed { value, problems })
}

/// How many problems upstream keeps (`saveStrictError`).
const MOST_PROBLEMS: usize = 100;
/// What may be written to name places: each is as long as the keys above it, and there are as many as there are keys.
const MOST_SAID_BYTES: usize = 16 << 20;

#[derive(Default)]
struct Found {
    /// In YAML in the order of their texts: upstream looks for unknown fields in the YAML turned into JSON, whose keys are
    /// sorted.
    problems: Vec<String>,
    /// What was written to name places.
    said_bytes: usize,
    /// What YAML's aliases may still become, if there are any.
    expansion: Option<Expansion>,
    /// Whether they became too much.
    excessive: bool,
    /// Keys given twice in YAML, which upstream words by line.
    twice: Vec<Twice>,
    yaml: bool,
    /// Whether lines can be asked for.
    located: bool,
}

/// A key that its map had already, and the line of the value that it has this time.
pub(super) struct Twice {
    pub key: Key,
    pub line: Option<usize>,
}

/// Where we are; written out only when there is something to say.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Seed<'a, N> {
    node: Option<N>,
    path: &'a Path<'a>,
    found: &'a mut Found,
    /// Whether anybody wants the value: if not, null is as good as any.
    keep: bool,
}

impl<N> Seed<'_, N> {
    fn text(self, text: impl AsRef<str> + Into<Value>) -> Result<Value, TooMuch> {
        self.found.text(text.as_ref())?;
        Ok(if self.keep { text.into() } else { Value::Null })
    }
}

/// More than YAML's aliases may become.
struct TooMuch;

impl TooMuch {
    fn error<E: Error>(self) -> E {
        E::custom(alias::EXCESSIVE)
    }
}

impl<'de, N: Node> DeserializeSeed<'de> for Seed<'_, N> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.found.value().map_err(TooMuch::error)?;
        deserializer.deserialize_any(self)
    }
}

/// A map's key; YAML's numbers and booleans become text, as upstream turns them into JSON.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub text: String,
    was: Was,
}

/// What a key was written as: a number is not the text that looks like it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Was {
    Text,
    Whole,
    Fraction,
    Other,
}

impl Key {
    /// Go's `%#v`.
    pub(super) fn shown(&self) -> String {
        if self.was == Was::Text { self.text.quoted().to_string() } else { self.text.clone() }
    }
}

struct KeySeed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        self.0.value().map_err(TooMuch::error)?;
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Key, E> {
        self.visit_string(v.to_owned())
    }
    fn visit_string<E: Error>(self, v: String) -> Result<Key, E> {
        self.0.text(&v).map_err(TooMuch::error)?;
        Ok(Key { text: v, was: Was::Text })
    }
    fn visit_bool<E: Error>(self, v: bool) -> Result<Key, E> {
        Ok(Key { text: v.to_string(), was: Was::Other })
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<Key, E> {
        Ok(Key { text: v.to_string(), was: Was::Whole })
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Key, E> {
        Ok(Key { text: v.to_string(), was: Was::Whole })
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Key, E> {
        Ok(Key { text: v.to_string(), was: Was::Fraction })
    }
    fn visit_unit<E: Error>(self) -> Result<Key, E> {
        Ok(Key { text: "null".to_owned(), was: Was::Other })
    }
}

/// Asks YAML's reader for a value that it refuses to give, and leaves where it is: what it says has the line.
struct Probe;

impl<'de> DeserializeSeed<'de> for Probe {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_enum("", &[], self)
    }
}

impl<'de> Visitor<'de> for Probe {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("here"))
    }
}

impl<'de, N: Node> Visitor<'de> for Seed<'_, N> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        self.text(v).map_err(TooMuch::error)
    }
    fn visit_string<E: Error>(self, v: String) -> Result<Value, E> {
        self.text(v).map_err(TooMuch::error)
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let node = match self.node.map(Node::shape) {
            Some(Shape::List(item)) => Some(item),
            _ => None,
        };
        let (mut list, mut length) = (Vec::new(), 0);
        loop {
            let path = Path::Index(self.path, length);
            let item = Seed { node, path: &path, found: &mut *self.found, keep: self.keep };
            match items.next_element_seed(item)? {
                Some(item) if self.keep => list.push(item),
                Some(_) => {}
                None => return Ok(list.into()),
            }
            length += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        // what was said of this map's keys already
        let mut told = HashSet::new();
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key_seed(KeySeed(&mut *self.found))? {
            let merges = self.found.yaml && key.text == "<<";
            // told of when all below it was
            let twice = (self.found.yaml && !merges && !seen.insert(key.clone()))
                .then(|| Twice { key: key.clone(), line: self.found.line(&mut entries) });
            let Key { text: key, .. } = key;
            let path = Path::Key(self.path, &key);
            let node = match self.node.map(|node| (node, node.shape())) {
                Some((node, Shape::Object)) => match node.field(&key) {
                    Some(field) => Some(field),
                    None if merges => Some(node),
                    None => {
                        self.found.skip::<N, A>(&mut entries, &path)?;
                        self.found.twice.extend(twice);
                        if !told.contains(&key) {
                            self.found.tell("unknown", &path);
                            told.insert(key);
                        }
                        continue;
                    }
                },
                Some((_, Shape::Map(item))) => Some(item),
                _ => None,
            };
            if !self.found.yaml && map.contains_key(&key) && !told.contains(&key) {
                self.found.tell("duplicate", &path);
                told.insert(key.clone());
            }
            let seed = Seed { node, path: &path, found: &mut *self.found, keep: self.keep };
            let value = entries.next_value_seed(seed)?;
            self.found.twice.extend(twice);
            if self.keep {
                map.insert(key, value);
            }
        }
        if self.found.yaml {
            yaml::merge_keys(&mut map);
        }
        Ok(map.into())
    }
}

impl Found {
    /// One more value or key was met.
    fn value(&mut self) -> Result<(), TooMuch> {
        self.bounded(Expansion::value)
    }

    fn text(&mut self, text: &str) -> Result<(), TooMuch> {
        self.bounded(|expansion| expansion.text(text.len()))
    }

    fn bounded(&mut self, allows: impl FnOnce(&mut Expansion) -> bool) -> Result<(), TooMuch> {
        if self.expansion.as_mut().is_none_or(allows) {
            return Ok(());
        }
        self.excessive = true;
        Err(TooMuch)
    }

    /// Holds a field against the document, once.
    fn tell(&mut self, what: &str, path: &Path<'_>) {
        let full = !self.yaml && self.problems.len() >= MOST_PROBLEMS;
        if full || self.said_bytes >= MOST_SAID_BYTES {
            return;
        }
        let text = format!("{what} field {}", path.to_string().quoted());
        self.said_bytes += text.len();
        if !self.yaml {
            if !self.problems.contains(&text) {
                self.problems.push(text);
            }
        } else if let Err(at) = self.problems.binary_search(&text) {
            self.problems.insert(at, text);
            self.problems.truncate(MOST_PROBLEMS);
        }
    }

    /// A value that nobody wants; in YAML, keys given twice below it are told of all the same.
    fn skip<'de, N: Node, A: MapAccess<'de>>(
        &mut self,
        entries: &mut A,
        path: &Path<'_>,
    ) -> Result<(), A::Error> {
        if self.yaml {
            entries.next_value_seed(Seed { node: None::<N>, path, found: self, keep: false }).map(drop)
        } else {
            entries.next_value::<IgnoredAny>().map(drop)
        }
    }

    /// The line of the value that comes next.
    fn line<'de, A: MapAccess<'de>>(&mut self, entries: &mut A) -> Option<usize> {
        if !self.located || self.said_bytes >= MOST_SAID_BYTES {
            return None;
        }
        let said = entries.next_value_seed(Probe).err()?.to_string();
        self.said_bytes += said.len();
        Some(yaml::line(&said).unwrap_or(1))
    }
}
