//! An API in memory: what the registry does with objects, as far as controllers can tell. Defaults and strategic merge
//! patches are the API server's own.
//!
//! - `objects`: objects by kind, revisions, the log that watches are resumed from.
//! - `verbs`: create, replace, patch, delete. `pods`: binding, eviction, graceful deletion, what admission adds to pods.

pub mod objects;
mod pods;
mod verbs;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use sampan_api::selector::Selector;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::judge::Judge;
use objects::Objects;

/// Who asks: what one may do another may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    User,
    Controllers,
    Scheduler,
    Kubelets,
}

/// Namespace (empty for what has none) and name.
pub type Name = (String, String);

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub namespace: String,
    pub name: Option<String>,
    pub sub: Option<String>,
}

impl Place {
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let group = match parts.first() {
            Some(&"api") => {
                parts.drain(..1);
                ""
            }
            Some(&"apis") if parts.len() > 1 => {
                let group = parts[1];
                parts.drain(..2);
                group
            }
            _ => return None,
        };
        let version = (*parts.first()?).to_owned();
        parts.drain(..1);
        let mut namespace = String::new();
        let own = |part: &&str| matches!(*part, "status" | "finalize");
        if parts.first() == Some(&"namespaces") && parts.len() > 2 && !own(&parts[2]) {
            namespace = parts[1].to_owned();
            parts.drain(..2);
        }
        let part = |at: usize| parts.get(at).map(|part| (*part).to_owned());
        Some(Self {
            group: group.to_owned(),
            version,
            plural: part(0)?,
            namespace,
            name: part(1),
            sub: part(2),
        })
    }

    /// The key of its kind, whatever the version.
    pub fn kind(&self) -> String {
        format!("{}/{}", self.group, self.plural)
    }

    /// Where one object is.
    pub fn one(&self) -> Name {
        (self.namespace.clone(), self.name.clone().unwrap_or_default())
    }
}

/// A request.
pub struct Asked<'a> {
    pub who: Who,
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a str,
    pub content: &'a str,
    pub body: &'a [u8],
}

/// Code and body.
pub type Answer = (u16, Value);

/// All there is.
pub struct State {
    pub objects: Objects,
    pub judge: Judge,
}

/// The API.
pub struct Api(pub Mutex<State>);

pub fn failure(code: u16, reason: &str, message: &str) -> Answer {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
            "reason": reason, "message": message, "details": {}}),
    )
}

/// The value of a key of a query; the keys that are asked for are never escaped.
fn parameter(query: &str, key: &str) -> Option<String> {
    let pair =
        |pair: &str| pair.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned());
    let value = query.split('&').find_map(pair)?;
    let mut text = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                text.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            b'+' => text.push(b' '),
            byte => text.push(byte),
        }
    }
    String::from_utf8(text).ok()
}

impl Api {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { objects: Objects::default(), judge: Judge::default() })))
    }

    /// Answers a request that is no watch.
    pub fn ask(&self, asked: &Asked<'_>) -> Answer {
        if let Some(found) = discovery(asked.path) {
            return (200, found);
        }
        let Some(place) = Place::parse(asked.path) else {
            return failure(404, "NotFound", "404 page not found");
        };
        let body: Value = serde_json::from_slice(asked.body).unwrap_or(Value::Null);
        if place.plural == "events" {
            // nobody here reads them
            return (if *asked.method == Method::POST { 201 } else { 200 }, body);
        }
        let mut state = self.0.lock();
        match (asked.method.as_str(), &place.name, place.sub.as_deref()) {
            ("GET", None, _) => state.list(&place, asked.query),
            ("GET", Some(_), _) => state.get(&place),
            ("POST", Some(_), Some("binding")) => state.bind(asked.who, &place, &body),
            ("POST", Some(_), Some("eviction")) => state.evict(asked.who, &place),
            ("POST", Some(_), _) => (201, body),
            ("POST", None, _) => state.create(asked.who, &place, body),
            ("PUT", Some(_), sub) => state.replace(asked.who, &place, sub, body),
            ("PATCH", Some(_), sub) => state.patch(asked.who, &place, sub, asked.content, body),
            ("DELETE", Some(_), _) => state.delete(asked.who, &place, &body),
            _ => failure(405, "MethodNotAllowed", "the server does not allow this method"),
        }
    }

    /// Events after a version, as lines; `None` if that is too long ago.
    pub fn watch(&self, path: &str, query: &str) -> Option<mpsc::UnboundedReceiver<Arc<str>>> {
        let place = Place::parse(path)?;
        let after = parameter(query, "resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        self.0.lock().objects.watch(&place.kind(), &place.namespace, after)
    }

    /// An object as it is.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.lock().objects.get(kind, &(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        self.0.lock().objects.of(kind).map(|(_, object)| object.clone()).collect()
    }
}

impl State {
    fn list(&self, place: &Place, query: &str) -> Answer {
        let labels = parameter(query, "labelSelector").map(|text| Selector::parse(&text).unwrap());
        let field = parameter(query, "fieldSelector");
        let wanted = |name: &Name, object: &Value| {
            let named = field.as_deref().and_then(|field| field.strip_prefix("metadata.name="));
            (place.namespace.is_empty() || place.namespace == name.0)
                && labels.as_ref().is_none_or(|labels| labels.matches(&object["metadata"]["labels"]))
                && named.is_none_or(|named| named == name.1)
        };
        let items: Vec<&Value> = self
            .objects
            .of(&place.kind())
            .filter(|(name, object)| wanted(name, object))
            .map(|(_, object)| object)
            .collect();
        let version = self.objects.revision.to_string();
        (
            200,
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
        )
    }

    fn get(&self, place: &Place) -> Answer {
        match self.objects.get(&place.kind(), &place.one()) {
            Some(object) => (200, object.clone()),
            None => not_found(place),
        }
    }
}

fn not_found(place: &Place) -> Answer {
    let name = place.name.clone().unwrap_or_default();
    let mut answer = failure(404, "NotFound", &format!("{} {name:?} not found", place.plural));
    answer.1["details"] = json!({"name": name, "group": place.group, "kind": place.plural});
    answer
}

/// No kinds but the built-in ones, which nobody discovers.
fn discovery(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["apis"] => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        ["apis", group, version] => Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
            "resources": []})),
        _ => None,
    }
}

/// What a label selector of an object says of labels.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let empty = Value::Object(serde_json::Map::new());
    let labels = if labels.is_null() { &empty } else { labels };
    Selector::from_object(Some(selector)).is_ok_and(|selector| selector.matches(labels))
}

/// The uid, kind and name of an object's controller.
pub fn controller(object: &Value) -> Option<(&str, &str, &str)> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some((owner["uid"].as_str()?, owner["kind"].as_str()?, owner["name"].as_str()?))
}

/// By uid.
pub fn by_uid<'a>(all: impl Iterator<Item = &'a Value>) -> BTreeMap<&'a str, &'a Value> {
    all.filter_map(|object| Some((object["metadata"]["uid"].as_str()?, object))).collect()
}
