//! The descriptions that aggregated API servers publish, beside the registry's: `kube-aggregator`'s
//! `pkg/controllers/openapi` and `openapiv3`.
//!
//! v3 documents stay where they are: the index names them, and who asks is passed on. v2 is one document, so what a
//! server says of its own group and version is put into it, as text.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Place;
use crate::value::{at, text};

/// What one server publishes for one group and version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// `serverRelativeURL` of its v3 document.
    pub v3: Option<String>,
    /// Its paths in v2.
    paths: Map<String, Value>,
    /// The definitions that they need.
    definitions: Map<String, Value>,
}

impl Published {
    /// Reads a server's v3 index and v2 document, of which it may have neither.
    pub(super) fn read(place: &Place, index: &Value, v2: &Value) -> Self {
        let below = format!("/apis/{}/{}", place.0, place.1);
        let url = text(index, &["paths", below.trim_start_matches('/'), "serverRelativeURL"]);
        let own = |path: &str| {
            path.strip_prefix(&below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let all = |key: &str| at(v2, &[key]).as_object().cloned().unwrap_or_default();
        let paths: Map<String, Value> = all("paths").into_iter().filter(|(path, _)| own(path)).collect();
        let mut known = all("definitions");
        let (mut definitions, mut seen) = (Map::new(), BTreeSet::new());
        let mut wanted: Vec<String> = Vec::new();
        paths.values().for_each(|path| references(path, &mut wanted));
        while let Some(name) = wanted.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if let Some(definition) = known.remove(&name) {
                references(&definition, &mut wanted);
                definitions.insert(name, definition);
            }
        }
        Self { v3: Some(url.to_owned()).filter(|url| !url.is_empty()), paths, definitions }
    }
}

/// The definitions that a value refers to.
fn references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let name =
                map.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/definitions/"));
            into.extend(name.map(|name| name.replace("~1", "/").replace("~0", "~")));
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

/// The registry's v2 document with what others publish. A definition of a name that is there already stays out: it is
/// Kubernetes' own (`ObjectMeta` …), which every server repeats.
pub(super) fn merged<'a>(document: &str, others: impl Iterator<Item = &'a Published> + Clone) -> String {
    let mut text = document.to_owned();
    for key in ["definitions", "paths"] {
        let head = format!("\"{key}\":{{");
        let Some(at) = text.find(&head).map(|at| at + head.len()) else { continue };
        let mut more = String::new();
        let mut put = BTreeSet::new();
        for (name, value) in
            others.clone().flat_map(|one| if key == "paths" { &one.paths } else { &one.definitions })
        {
            let quoted = Value::from(name.as_str()).to_string();
            if put.insert(name) && !document.contains(&format!("{quoted}:{{")) {
                more.push_str(&format!("{quoted}:{value},"));
            }
        }
        if text[at..].starts_with('}') {
            more.pop();
        }
        text.insert_str(at, &more);
    }
    text
}

/// The same in protobuf.
pub(super) fn merged_proto<'a>(
    document: &[u8],
    others: impl Iterator<Item = &'a Published> + Clone,
) -> Vec<u8> {
    let own = |name: &str| sampan_api::fields::type_of(name).is_some();
    let (paths, definitions): (Map<_, _>, Map<_, _>) = (
        others.clone().flat_map(|one| one.paths.clone()).collect(),
        others.flat_map(|one| one.definitions.clone()).filter(|(name, _)| !own(name)).collect(),
    );
    let mut bytes = document.to_vec();
    bytes.extend(sampan_api::openapi::v2_proto_addition(paths.iter(), definitions.iter()));
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn published() -> Published {
        let reference = |name: &str| json!({"schema": {"$ref": format!("#/definitions/{name}")}});
        let v2 = json!({
            "paths": {"/apis/x.y/v1/boats": {"get": reference("Boat")}, "/apis/x.y/v12/boats": {}, "/healthz": {}},
            "definitions": {"Boat": {"items": [reference("Meta")]}, "Meta": {"type": "object"}, "Other": {}},
        });
        let index =
            json!({"paths": {"apis/x.y/v1": {"serverRelativeURL": "/openapi/v3/apis/x.y/v1?hash=A"}}});
        Published::read(&("x.y".into(), "v1".into()), &index, &v2)
    }

    #[test]
    fn a_server_speaks_of_its_own_group_and_version() {
        let published = published();
        assert_eq!(published.v3.as_deref(), Some("/openapi/v3/apis/x.y/v1?hash=A"));
        assert_eq!(published.paths.keys().collect::<Vec<_>>(), ["/apis/x.y/v1/boats"]);
        assert_eq!(published.definitions.len(), 2);
    }

    #[test]
    fn protobuf_is_merged_by_writing_behind() {
        let one = published();
        let bytes = merged_proto(b"own", [&one, &one].into_iter());
        assert!(bytes.starts_with(b"own"));
        let count = |text: &[u8]| bytes.windows(text.len()).filter(|window| *window == text).count();
        assert_eq!(count(b"/apis/x.y/v1/boats"), 1);
        assert_eq!((count(b"/apis/x.y/v12"), count(b"Other")), (0, 0));
    }

    #[test]
    fn documents_are_merged() {
        let own = json!({"swagger": "2.0", "paths": {"/api": {}}, "definitions": {"Meta": {"own": true}}})
            .to_string();
        for document in [own, json!({"definitions": {}, "paths": {}}).to_string()] {
            let one = published();
            let merged: Value = serde_json::from_str(&merged(&document, [&one, &one].into_iter())).unwrap();
            assert!(merged["paths"]["/apis/x.y/v1/boats"].is_object());
            assert_eq!(merged["definitions"].as_object().unwrap().len(), 2);
            let meta = &merged["definitions"]["Meta"];
            assert_eq!(meta.get("own").is_some(), document.contains("own"));
        }
    }
}
