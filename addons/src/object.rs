//! Objects of any kind: their references, what is made of a manifest before it is applied, and whose they are.

use std::fmt;

use base64::Engine;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The label that says to which addon an object belongs.
pub const OWNER: &str = "sampan.dev/addon";

/// An object that an addon owns, as its inventory has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// `v1`, `apps/v1` …
    pub api_version: String,
    /// `Service` …
    pub kind: String,
    /// `None` for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Which object of that name it is; empty until it has been made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Reference {
    /// Whether both mean the same place, whatever object is there. A kind stays itself in another version.
    pub fn same_place(&self, other: &Self) -> bool {
        let group = |reference: &Self| group_of(&reference.api_version).to_owned();
        group(self) == group(other)
            && self.kind == other.kind
            && self.namespace == other.namespace
            && self.name == other.name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// The group of an apiVersion; empty for core.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// A manifest as it is to be applied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub reference: Reference,
    pub value: Value,
    /// File and line; empty for native addons.
    pub origin: String,
}

/// Makes of a manifest what is applied: with its namespace and owner label, without what the server says.
///
/// `namespaced`: the namespace for objects that name none; `None` for cluster-scoped kinds.
///
/// # Errors
/// What the manifest lacks.
pub(crate) fn prepare(
    manifest: &Value,
    namespaced: Option<&str>,
    owner: &str,
    origin: &str,
) -> Result<Wanted, String> {
    let mut value = without_nulls(manifest.clone());
    let (api_version, kind, name) = identity(&value)?;
    let object = value.as_object_mut().ok_or("is not an object")?;
    object.shift_remove("status");
    if kind == "Secret" {
        string_data(object)?;
    }
    let meta = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or("has no metadata")?;
    for key in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"] {
        meta.shift_remove(key);
    }
    let namespace = match namespaced {
        Some(default) => {
            let said = meta.get("namespace").and_then(Value::as_str).unwrap_or(default).to_owned();
            meta.insert("namespace".to_owned(), said.clone().into());
            Some(said)
        }
        None => {
            meta.shift_remove("namespace");
            None
        }
    };
    let labels = meta.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    labels.as_object_mut().ok_or("metadata.labels is not a map")?.insert(OWNER.to_owned(), owner.into());
    let reference = Reference { api_version, kind, namespace, name, uid: String::new() };
    Ok(Wanted { reference, value, origin: origin.to_owned() })
}

/// apiVersion, kind and name of a manifest.
pub(crate) fn identity(value: &Value) -> Result<(String, String, String), String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let api_version = text(&value["apiVersion"]).ok_or("has no apiVersion")?;
    let kind = text(&value["kind"]).ok_or("has no kind")?;
    let name = text(&value["metadata"]["name"]).ok_or_else(|| format!("the {kind} has no metadata.name"))?;
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
    if !plain(&name)
        || name == "."
        || name == ".."
        || !plain(&kind)
        || !plain(&api_version.replacen('/', "", 1))
    {
        return Err(format!("{api_version} {kind} {name:?} is not the name of an object"));
    }
    if let Some(namespace) = value["metadata"].get("namespace") {
        let said = namespace.as_str().ok_or("metadata.namespace is not a text")?;
        if said.is_empty() || !said.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        {
            return Err(format!("{said:?} is not the name of a namespace"));
        }
    }
    Ok((api_version, kind, name))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// `stringData` is write-only: it is compared as the `data` that the server makes of it.
fn string_data(secret: &mut Map<String, Value>) -> Result<(), String> {
    let Some(Value::Object(texts)) = secret.shift_remove("stringData") else { return Ok(()) };
    let data = secret.entry("data").or_insert_with(|| Value::Object(Map::new()));
    let data = data.as_object_mut().ok_or("data is not a map")?;
    for (key, text) in texts {
        let text = text.as_str().ok_or_else(|| format!("stringData.{key} is not a text"))?;
        data.insert(key, base64::engine::general_purpose::STANDARD.encode(text).into());
    }
    Ok(())
}

/// Whose a live object is; `None` if nobody says so.
pub(crate) fn owner_of(live: &Value) -> Option<&str> {
    live["metadata"]["labels"].get(OWNER).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn manifests_are_prepared() {
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "uid": "x", "labels": {"a": "b"}},
            "stringData": {"p": "hi"}, "type": null, "status": {}});
        let wanted = prepare(&manifest, Some("demo"), "web", "a.yaml:1").unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": "aGk="},
            "metadata": {"name": "s", "namespace": "demo", "labels": {"a": "b", OWNER: "web"}}});
        assert_eq!(wanted.value, expected);
        assert_eq!(wanted.reference.to_string(), "Secret demo/s");
        assert_eq!(owner_of(&wanted.value), Some("web"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (manifest, words) in [
            (json!({}), "no apiVersion"),
            (json!({"apiVersion": "v1"}), "no kind"),
            (json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}), "no metadata.name"),
            (json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "../x"}}), "not the name"),
            (json!({"apiVersion": "../v1", "kind": "Po/d", "metadata": {"name": "x"}}), "not the name"),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "a/b"}}),
                "namespace",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": 3}}),
                "labels is not a map",
            ),
        ] {
            let error = prepare(&manifest, Some("default"), "o", "").unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_place_is_the_same_in_another_version() {
        let reference = |version: &str, uid: &str| Reference {
            api_version: version.into(),
            kind: "Job".into(),
            namespace: Some("a".into()),
            name: "j".into(),
            uid: uid.into(),
        };
        assert!(reference("batch/v1", "1").same_place(&reference("batch/v1beta1", "2")));
        assert!(!reference("batch/v1", "1").same_place(&reference("v1", "1")));
    }
}
