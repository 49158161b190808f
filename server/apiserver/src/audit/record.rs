//! One request as it is recorded: an `audit.k8s.io/v1` `Event`, field by field as upstream writes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::policy::{Stage, Verdict};
use crate::pipeline::info::RequestInfo;
use crate::value::{at, items, meta, text};
use crate::{Peer, UserInfo};

/// Upstream's `maxUserAgentLength`.
const LONGEST_AGENT: usize = 1024;

/// What is known of a request so far.
pub(super) struct Record {
    pub verdict: Verdict,
    id: String,
    uri: String,
    verb: String,
    user: Option<UserInfo>,
    pub impersonated: Option<UserInfo>,
    sources: Vec<String>,
    agent: String,
    object: Option<Reference>,
    pub request: Option<Value>,
    pub status: Option<Value>,
    pub response: Option<Value>,
    received: Timestamp,
    pub annotations: BTreeMap<String, String>,
}

/// `ObjectReference`.
#[derive(Default)]
struct Reference {
    resource: String,
    namespace: String,
    name: String,
    uid: String,
    group: String,
    version: String,
    revision: String,
    subresource: String,
}

impl Record {
    /// What the head of a request says.
    pub fn new(
        verdict: Verdict,
        head: &Parts,
        peer: &Peer,
        info: &RequestInfo,
        user: Option<UserInfo>,
        received: Timestamp,
    ) -> Self {
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        let object = info.is_resource.then(|| Reference {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            group: info.group.clone(),
            version: info.version.clone(),
            subresource: info.subresource.clone(),
            ..Reference::default()
        });
        Self {
            verdict,
            id: header(super::HEADER).to_owned(),
            uri: head.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned(),
            verb: info.verb.clone(),
            user,
            impersonated: None,
            sources: sources(&head.headers, peer),
            agent: agent(header("user-agent")),
            object,
            request: None,
            status: None,
            response: None,
            received,
            annotations: BTreeMap::new(),
        }
    }

    /// What the request's body says of the object that it is about.
    pub fn complete_reference(&mut self, body: &Value) {
        let Some(object) = &mut self.object else { return };
        let fill = |slot: &mut String, field: &str| {
            if slot.is_empty() {
                meta(body, field).clone_into(slot);
            }
        };
        fill(&mut object.namespace, "namespace");
        fill(&mut object.name, "name");
        fill(&mut object.uid, "uid");
        fill(&mut object.revision, "resourceVersion");
    }

    /// The event of a stage, as a line of JSON without its end.
    pub fn line(&self, stage: Stage, now: Timestamp) -> Bytes {
        let mut event = Map::new();
        let mut put = |key: &str, value: Value| drop(event.insert(key.to_owned(), value));
        put("kind", "Event".into());
        put("apiVersion", "audit.k8s.io/v1".into());
        put("level", self.verdict.level.name().into());
        put("auditID", self.id.as_str().into());
        put("stage", stage.name().into());
        put("requestURI", self.uri.as_str().into());
        put("verb", self.verb.as_str().into());
        put("user", self.user.as_ref().map_or_else(|| json!({}), user));
        if let Some(impersonated) = &self.impersonated {
            put("impersonatedUser", user(impersonated));
        }
        if !self.sources.is_empty() {
            put("sourceIPs", self.sources.clone().into());
        }
        if !self.agent.is_empty() {
            put("userAgent", self.agent.as_str().into());
        }
        if let Some(object) = &self.object {
            put("objectRef", reference(object));
        }
        let later = [
            ("responseStatus", &self.status),
            ("requestObject", &self.request),
            ("responseObject", &self.response),
        ];
        for (key, value) in later {
            if let Some(value) = value {
                put(key, value.clone());
            }
        }
        put("requestReceivedTimestamp", micro(self.received).into());
        put("stageTimestamp", micro(now).into());
        if !self.annotations.is_empty() {
            put("annotations", json!(self.annotations));
        }
        Value::Object(event).to_string().into()
    }
}

/// `metav1.MicroTime`.
fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn user(user: &UserInfo) -> Value {
    let mut out = Map::new();
    if !user.name.is_empty() {
        out.insert("username".into(), user.name.as_str().into());
    }
    if !user.uid.is_empty() {
        out.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        out.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        out.insert("extra".into(), json!(user.extra));
    }
    out.into()
}

fn reference(object: &Reference) -> Value {
    let fields = [
        ("resource", &object.resource),
        ("namespace", &object.namespace),
        ("name", &object.name),
        ("uid", &object.uid),
        ("apiGroup", &object.group),
        ("apiVersion", &object.version),
        ("resourceVersion", &object.revision),
        ("subresource", &object.subresource),
    ];
    let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(key, value)| (key.to_owned(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

/// `utilnet.SourceIPs`: whom proxies name, then the other end, each once in a row.
fn sources(headers: &HeaderMap, peer: &Peer) -> Vec<String> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut found: Vec<IpAddr> = header("x-forwarded-for").split(',').filter_map(address).collect();
    if let Some(real) = address(header("x-real-ip"))
        && !found.contains(&real)
    {
        found.push(real);
    }
    let remote = match peer {
        Peer::Tls { remote, .. } => SocketAddr::ip(remote),
        Peer::Loopback(_) => IpAddr::from([127, 0, 0, 1]),
    };
    if found.last() != Some(&remote) {
        found.push(remote);
    }
    found.iter().map(IpAddr::to_string).collect()
}

fn agent(text: &str) -> String {
    if text.len() <= LONGEST_AGENT {
        return text.to_owned();
    }
    let end = (0..=LONGEST_AGENT).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}...TRUNCATED", &text[..end])
}

/// A `Status` object's bounded fields, as `responseStatus` has them.
pub(super) fn status_of(object: &Value, code: u16) -> Value {
    let mut status = Map::new();
    status.insert("metadata".into(), json!({}));
    for key in ["status", "message", "reason", "details"] {
        match at(object, &[key]) {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            value => drop(status.insert(key.into(), value.clone())),
        }
    }
    status.insert("code".into(), code.into());
    status.into()
}

/// Whether `object` is a `Status`.
pub(super) fn is_status(object: &Value) -> bool {
    text(object, &["kind"]) == "Status" && text(object, &["apiVersion"]) == "v1"
}

/// Takes the managed fields out of an object, a list's items and a table's rows.
pub(super) fn without_managed_fields(object: &mut Value) {
    crate::value::remove(object, &["metadata", "managedFields"]);
    if !items(at(object, &["items"])).is_empty()
        && let Some(all) = object["items"].as_array_mut()
    {
        all.iter_mut().for_each(|item| drop(crate::value::remove(item, &["metadata", "managedFields"])));
    }
    if text(object, &["kind"]) == "Table"
        && let Some(rows) = object.get_mut("rows").and_then(Value::as_array_mut)
    {
        rows.iter_mut()
            .for_each(|row| drop(crate::value::remove(row, &["object", "metadata", "managedFields"])));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    #[test]
    fn sources_are_proxies_and_the_other_end() {
        let tls = Peer::Tls { certificates: Default::default(), remote: "10.0.0.9:5".parse().unwrap() };
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Headers<'_>, &Peer, &[&str]); 5] = [
            (&[], &tls, &["10.0.0.9"]),
            (&[("x-forwarded-for", "1.1.1.1, junk, 2.2.2.2")], &tls, &["1.1.1.1", "2.2.2.2", "10.0.0.9"]),
            (&[("x-real-ip", "3.3.3.3")], &tls, &["3.3.3.3", "10.0.0.9"]),
            (&[("x-forwarded-for", "10.0.0.9")], &tls, &["10.0.0.9"]),
            (&[], &Peer::Loopback(Arc::new(UserInfo::anonymous())), &["127.0.0.1"]),
        ];
        for (headers, peer, wanted) in cases {
            let name = |name: &str| http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            let map = headers.iter().map(|(n, v)| (name(n), v.parse().unwrap())).collect();
            assert_eq!(sources(&map, peer), wanted, "{headers:?}");
        }
    }

    #[test]
    fn a_long_agent_is_cut() {
        let cut = agent(&"ä".repeat(600));
        assert!(cut.ends_with("...TRUNCATED") && cut.len() <= LONGEST_AGENT + 12, "{}", cut.len());
        assert_eq!(agent("curl/8"), "curl/8");
    }

    #[test]
    fn managed_fields_go_from_objects_lists_and_tables() {
        let one = json!({"metadata": {"name": "a", "managedFields": [1]}});
        let mut list = json!({"kind": "PodList", "items": [one]});
        let mut table = json!({"kind": "Table", "rows": [{"object": one}]});
        let mut single = one.clone();
        for object in [&mut single, &mut list, &mut table] {
            without_managed_fields(object);
            assert!(!object.to_string().contains("managedFields"), "{object}");
        }
    }

    #[test]
    fn times_have_microseconds() {
        assert_eq!(micro("2026-01-02T03:04:05Z".parse().unwrap()), "2026-01-02T03:04:05.000000Z");
    }
}
