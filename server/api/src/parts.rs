//! A few parts of a large JSON object, read in one pass without building the rest.
//!
//! Most questions about a stored object (is it selected, what does its row show) are about a twentieth of it. What
//! nobody asks for is passed over byte by byte; a path goes through lists as if each element stood alone.
//!
//! ```text
//! Parts::of(&["metadata.labels", "status.containerStatuses.ready"])
//!   {"metadata":{"labels":{…}},"status":{"containerStatuses":[{"ready":true}]}}
//! ```

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Which parts: a tree of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Nothing below: all of it.
    below: Vec<(&'static str, Parts)>,
}

/// An object's parts, and its metadata as it is written.
#[derive(Debug)]
pub struct Read<'a> {
    /// The JSON of `metadata`; empty if there is none.
    pub metadata: &'a str,
    /// What lies at the paths.
    pub object: Value,
}

impl Parts {
    /// Paths, their keys joined by dots.
    pub fn of(paths: &[&'static str]) -> Self {
        let mut root = Self::default();
        paths.iter().for_each(|path| root.add(path.split('.')));
        root
    }

    /// One more path, by its keys; none below what is wanted whole.
    pub fn add(&mut self, keys: impl IntoIterator<Item = &'static str>) {
        let mut here = self;
        for key in keys {
            let at = here.below.iter().position(|(own, _)| *own == key).unwrap_or_else(|| {
                here.below.push((key, Self::default()));
                here.below.len() - 1
            });
            here = &mut here.below[at].1;
        }
        here.below.clear();
    }

    /// The parts of an object; none if it is no JSON.
    pub fn read(&self, json: &[u8]) -> Option<Value> {
        Seed(self).deserialize(&mut serde_json::Deserializer::from_slice(json)).ok()
    }

    /// The parts of an object, and its metadata as it is written.
    pub fn read_with_metadata<'a>(&self, json: &'a [u8]) -> Option<Read<'a>> {
        if self.below.is_empty() {
            return Some(Read { metadata: metadata(json)?, object: serde_json::from_slice(json).ok()? });
        }
        WithMetadata(self).deserialize(&mut serde_json::Deserializer::from_slice(json)).ok()
    }

    fn at(&self, key: &str) -> Option<&(&'static str, Parts)> {
        self.below.iter().find(|(own, _)| *own == key)
    }
}

/// The JSON of an object's `metadata` as it is written; empty if there is none.
pub fn metadata(json: &[u8]) -> Option<&str> {
    // a tree of no keys reads nothing else
    let read = WithMetadata(&Parts::default()).deserialize(&mut serde_json::Deserializer::from_slice(json));
    read.ok().map(|read| read.metadata)
}

/// Reads a value's parts.
struct Seed<'a>(&'a Parts);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        match self.0.below.is_empty() {
            true => serde::Deserialize::deserialize(source),
            false => source.deserialize_any(self),
        }
    }
}

/// What is no object where a path goes on has nothing there.
impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(element) = list.next_element_seed(Seed(self.0))? {
            found.push(element);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(key) = map.next_key_seed(Key(self.0))? {
            match key {
                Some((key, parts)) => {
                    found.insert((*key).to_owned(), map.next_value_seed(Seed(parts))?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(found))
    }
}

/// Which of the parts below a key names, without a copy of the key.
struct Key<'a>(&'a Parts);

impl<'a, 'de> DeserializeSeed<'de> for Key<'a> {
    type Value = Option<&'a (&'static str, Parts)>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Key<'a> {
    type Value = Option<&'a (&'static str, Parts)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.at(key))
    }
}

struct WithMetadata<'a>(&'a Parts);

impl<'de> DeserializeSeed<'de> for WithMetadata<'_> {
    type Value = Read<'de>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Read<'de>, D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WithMetadata<'_> {
    type Value = Read<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read<'de>, A::Error> {
        let (mut found, mut metadata) = (Map::new(), "");
        while let Some(key) = map.next_key_seed(TopKey(self.0))? {
            match key {
                Top::Metadata(parts) => {
                    metadata = map.next_value::<&'de RawValue>()?.get();
                    let value = parts.map(|parts| {
                        Seed(parts).deserialize(&mut serde_json::Deserializer::from_str(metadata))
                    });
                    let value = value.transpose().map_err(serde::de::Error::custom)?;
                    found.extend(value.map(|value| ("metadata".to_owned(), value)));
                }
                Top::Part((key, parts)) => {
                    found.insert((*key).to_owned(), map.next_value_seed(Seed(parts))?);
                }
                Top::Rest => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Read { metadata, object: Value::Object(found) })
    }
}

/// A key of the object itself.
enum Top<'a> {
    Metadata(Option<&'a Parts>),
    Part(&'a (&'static str, Parts)),
    Rest,
}

struct TopKey<'a>(&'a Parts);

impl<'a, 'de> DeserializeSeed<'de> for TopKey<'a> {
    type Value = Top<'a>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Top<'a>, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for TopKey<'a> {
    type Value = Top<'a>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Top<'a>, E> {
        Ok(match (key, self.0.at(key)) {
            ("metadata", found) => Top::Metadata(found.map(|(_, parts)| parts)),
            (_, Some(found)) => Top::Part(found),
            (_, None) => Top::Rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const POD: &str = r#"{"kind":"Pod","metadata":{"name":"a", "labels":{"app":"x"},"annotations":{"b":"c"}},
        "spec":{"nodeName":"n","containers":[{"name":"m","env":[{"name":"A"}]},{"name":"s"}],"\u0068ostNetwork":true},
        "status":{"phase":"Running","podIPs":[{"ip":"10.0.0.1"}],"conditions":[]}}"#;

    #[test]
    fn only_what_is_asked_for_is_read() {
        for (paths, found) in [
            (vec!["metadata.labels"], json!({"metadata": {"labels": {"app": "x"}}})),
            (
                vec!["spec.containers.name", "spec.hostNetwork", "spec.none"],
                json!({"spec": {"containers": [{"name": "m"}, {"name": "s"}], "hostNetwork": true}}),
            ),
            (
                vec!["status.podIPs", "status.podIPs.ip", "status.conditions.type"],
                json!({"status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": []}}),
            ),
            (vec!["spec.nodeName.deeper", "kind.x"], json!({"kind": null, "spec": {"nodeName": null}})),
            (vec!["spec.containers.name", "spec.containers"], {
                let all: Value = serde_json::from_str(POD).expect("json");
                json!({"spec": {"containers": all["spec"]["containers"]}})
            }),
        ] {
            assert_eq!(Parts::of(&paths).read(POD.as_bytes()), Some(found), "{paths:?}");
        }
    }

    fn json_of(text: &str) -> String {
        serde_json::from_str::<Value>(text).expect("json").to_string()
    }

    #[test]
    fn metadata_comes_as_it_is_written() {
        let raw = r#"{"name":"a", "labels":{"app":"x"},"annotations":{"b":"c"}}"#;
        let with = Parts::of(&["metadata.name", "status.phase"]).read_with_metadata(POD.as_bytes());
        let with = with.expect("an object");
        assert_eq!(with.metadata, raw);
        assert_eq!(with.object, json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}}));
        let without = Parts::of(&["status.phase"]).read_with_metadata(POD.as_bytes()).expect("an object");
        assert_eq!((without.metadata, without.object), (raw, json!({"status": {"phase": "Running"}})));
        let whole = Parts::default().read_with_metadata(POD.as_bytes()).expect("an object");
        assert_eq!((whole.metadata, whole.object.to_string()), (raw, json_of(POD)));
        assert_eq!(metadata(POD.as_bytes()), Some(raw));
        let none = Parts::of(&["a"]).read_with_metadata(b"{}").expect("an object");
        assert_eq!((none.metadata, none.object), ("", json!({})));
    }

    #[test]
    fn what_is_no_object_has_no_parts() {
        let parts = Parts::of(&["status.phase"]);
        assert_eq!(parts.read(b"{\"status\":null}"), Some(json!({"status": null})));
        assert_eq!(parts.read(b"{\"status\":7.5,\"a\":[-1,true,\"x\"]}"), Some(json!({"status": null})));
        for broken in ["{\"status\":{\"phase\"", "", "7"] {
            assert!(parts.read_with_metadata(broken.as_bytes()).is_none(), "{broken}");
        }
    }
}
