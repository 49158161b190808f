//! Rows for custom resources. A row is leaked, for kinds are `&'static` everywhere; rows with the same content are used
//! again, so that applying, deleting and creating the same definition over and over leaks nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use parking_lot::Mutex;
use sampan_api::crd::{Custom, Names};
use sampan_api::fields;
use sampan_api::kinds::{self, Kind, Subresource};
use sha2::{Digest, Sha256};

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub group: String,
    pub version: String,
    pub names: Names,
    pub namespaced: bool,
    pub storage_version: String,
    pub status: bool,
    pub scale: bool,
    pub terminating: bool,
}

static FREE: LazyLock<Mutex<HashMap<Content, Vec<&'static Kind>>>> = LazyLock::new(Mutex::default);

/// A row in use; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Row {
    content: Content,
    /// The row.
    pub kind: &'static Kind,
}

impl Row {
    /// A row of that content.
    pub fn of(content: Content) -> Self {
        let free = FREE.lock().get_mut(&content).and_then(Vec::pop);
        let kind = free.unwrap_or_else(|| leak(&content));
        Self { content, kind }
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.content
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        // its slot keeps the last state, for a request that is still on its way
        FREE.lock().entry(self.content.clone()).or_default().push(self.kind);
    }
}

const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const LAST_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];
const SUB_VERBS: &[&str] = &["get", "patch", "update"];

fn text(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn texts(list: &[String]) -> &'static [&'static str] {
    Box::leak(list.iter().map(|one| text(one)).collect::<Vec<_>>().into_boxed_slice())
}

fn leak(content: &Content) -> &'static Kind {
    let names = &content.names;
    let (group, version, kind) = (text(&content.group), text(&content.version), text(&names.kind));
    let schema = text(&schema_name(group, version, kind));
    let mut subresources = Vec::new();
    if content.status {
        subresources.push(Subresource { name: "status", group, version, kind, verbs: SUB_VERBS, schema });
    }
    if content.scale {
        subresources.push(Subresource {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            verbs: SUB_VERBS,
            schema: "io.k8s.api.autoscaling.v1.Scale",
        });
    }
    Box::leak(Box::new(Kind {
        group,
        version,
        kind,
        plural: text(&names.plural),
        singular: text(&names.singular),
        short_names: texts(&names.short_names),
        categories: texts(&names.categories),
        namespaced: content.namespaced,
        verbs: if content.terminating { LAST_VERBS } else { VERBS },
        subresources: Box::leak(subresources.into_boxed_slice()),
        storage_group: text(&bucket(group, &names.plural)),
        storage_version: text(&content.storage_version),
        storage_hash: text(&storage_hash(group, &content.storage_version, kind)),
        virtual_: false,
        schema,
        custom: Some(Box::leak(Box::new(Custom::new(names.list_kind.clone())))),
    }))
}

/// Where objects are: the definition's name, but never where those of a kind of the registry are. As upstream's
/// `/registry/GROUP/PLURAL` that holds even for a definition that is named as such a kind.
fn bucket(group: &str, plural: &str) -> String {
    let name = format!("{plural}.{group}");
    match kinds::all().iter().any(|kind| kind.storage_group == name) {
        true => format!("{group}/{plural}"),
        false => name,
    }
}

/// `com.example.v1.CronTab`: the group's words backwards. One that is a type's of the registry is told from it as
/// kube-openapi tells the second of two that differ.
fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let mut words: Vec<&str> = group.split('.').collect();
    words.reverse();
    let name = format!("{}.{version}.{kind}", words.join("."));
    match fields::type_of(&name).is_some() || fields::type_of(&format!("{name}List")).is_some() {
        true => format!("{name}_v2"),
        false => name,
    }
}

/// `discovery.StorageVersionHash`.
fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_names_are_upstreams() {
        assert_eq!(storage_hash("", "v1", "Pod"), "xPOwRZ+Yhw8=");
        assert_eq!(schema_name("stable.example.com", "v1", "CronTab"), "com.example.stable.v1.CronTab");
    }

    #[test]
    fn nothing_lies_where_objects_of_the_registry_do() {
        assert_eq!(bucket("stable.example.com", "crontabs"), "crontabs.stable.example.com");
        for kind in kinds::all().iter().filter(|kind| !kind.group.is_empty()) {
            let bucket = bucket(kind.group, kind.plural);
            assert!(kinds::all().iter().all(|kind| kind.storage_group != bucket), "{bucket}");
        }
    }

    #[test]
    fn a_row_is_used_again() {
        let content = Content {
            group: "rows.example.com".into(),
            version: "v1".into(),
            names: Names { plural: "things".into(), kind: "Thing".into(), ..Names::default() },
            namespaced: true,
            storage_version: "v1".into(),
            status: true,
            scale: false,
            terminating: false,
        };
        let first = Row::of(content.clone());
        let other = Row::of(content.clone());
        assert!(!std::ptr::eq(first.kind, other.kind), "two servers of one process do not share");
        let was = first.kind;
        drop(first);
        assert!(std::ptr::eq(Row::of(content).kind, was));
    }
}
