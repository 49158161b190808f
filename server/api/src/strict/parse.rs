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

use super::node::{Node, Shape};
use super::{syntax, yaml};
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
    /// `unknown field "a.b"`, `duplicate field "c"`, in document order.
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
    let seed = Seed { node, path: &Path::Root, found: &mut found };
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
    // an alias would be passed over when it is asked where it is
    let located = !(text.contains('&') && text.contains('*'));
    let mut found = Found { yaml: true, located, ..Found::default() };
    let seed = Seed { node, path: &Path::Root, found: &mut found };
    let value = seed
        .deserialize(serde_yaml_ng::Deserializer::from_str(text))
        .map_err(|error| yaml::words(&error.to_string()))?;
    let mut problems = Vec::new();
    if !found.twice.is_empty() {
        problems.push(yaml::already_set(text, &found.twice));
    }
    // upstream looks for unknown fields in the YAML turned into JSON, whose keys are sorted
    found.problems.sort();
    problems.extend(found.problems);
    Ok(Parsed { value, problems })
}

#[derive(Default)]
struct Found {
    problems: Vec<String>,
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
}

impl<'de, N: Node> DeserializeSeed<'de> for Seed<'_, N> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
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

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Key, E> {
        self.visit_string(v.to_owned())
    }
    fn visit_string<E: Error>(self, v: String) -> Result<Key, E> {
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
        Ok(v.into())
    }
    fn visit_string<E: Error>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
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
        let mut list = Vec::new();
        loop {
            let path = Path::Index(self.path, list.len());
            match items.next_element_seed(Seed { node, path: &path, found: &mut *self.found })? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut unknown: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key_seed(KeySeed)? {
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
                        if !unknown.contains(&key) {
                            self.found.problems.push(format!("unknown field \"{path}\""));
                            unknown.push(key);
                        }
                        continue;
                    }
                },
                Some((_, Shape::Map(item))) => Some(item),
                _ => None,
            };
            if !self.found.yaml && map.contains_key(&key) {
                self.found.duplicate(&path);
            }
            let value = entries.next_value_seed(Seed { node, path: &path, found: &mut *self.found })?;
            self.found.twice.extend(twice);
            map.insert(key, value);
        }
        if self.found.yaml {
            yaml::merge_keys(&mut map);
        }
        Ok(map.into())
    }
}

impl Found {
    fn duplicate(&mut self, path: &Path<'_>) {
        let text = format!("duplicate field \"{path}\"");
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    /// A value that nobody wants; in YAML, keys given twice below it are told of all the same.
    fn skip<'de, N: Node, A: MapAccess<'de>>(
        &mut self,
        entries: &mut A,
        path: &Path<'_>,
    ) -> Result<(), A::Error> {
        if self.yaml {
            entries.next_value_seed(Seed { node: None::<N>, path, found: self }).map(drop)
        } else {
            entries.next_value::<IgnoredAny>().map(drop)
        }
    }

    /// The line of the value that comes next.
    fn line<'de, A: MapAccess<'de>>(&self, entries: &mut A) -> Option<usize> {
        if !self.located {
            return None;
        }
        let said = entries.next_value_seed(Probe).err()?.to_string();
        Some(yaml::line(&said).unwrap_or(1))
    }
}
