//! The published description of the API: OpenAPI v3 per group and version, and one OpenAPI v2 document.
//!
//! kubectl reads them for `explain`, for client-side validation, for the merge keys of `apply`, and to learn
//! whether the server knows `fieldValidation` and `dryRun`; old kubectl and Helm 3 read v2 as protobuf.
//! Documents are built on request, one schema at a time, and never kept: who serves them may keep compressed
//! bytes under [`hash`].

mod block;
mod custom;
mod discovery;
mod gnostic;
mod gnostic3;
mod parameters;
mod paths;
mod schemas;

use serde_json::{Map, Value, json};

use crate::fields::{self, Type};
use crate::kinds::{self, Kind};
use schemas::{Dialect, Schemas};

/// What clients accept when they want [`v2_proto`].
pub const V2_PROTO_ACCEPT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The content type of [`v2_proto`]: not what was asked for, since clients cannot parse a media type with an
/// `@` (kube-openapi's `handler.go` answers so too).
pub const V2_PROTO_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// A short text that changes when the documents do; the same for all of them, since one table makes them.
pub fn hash() -> String {
    format!("{:016X}", fields::fingerprint())
}

/// The path of a document below `/openapi/v3`: `api/v1` or `apis/apps/v1`.
pub fn v3_path(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        _ => format!("apis/{group}/{version}"),
    }
}

/// Where the document of a group and version of the registry is.
pub fn v3_own_place(group: &str, version: &str) -> Option<String> {
    kinds::of_version(group, version).next().map(|_| v3_place(group, version, &hash()))
}

/// Where a document is whose content has this hash.
pub fn v3_place(group: &str, version: &str, hash: &str) -> String {
    format!("/openapi/v3/{}?hash={hash}", v3_path(group, version))
}

/// `/openapi/v3`: where the document of each group and version is.
pub fn v3_index() -> Value {
    let (hash, mut paths) = (hash(), Map::new());
    for group in kinds::groups() {
        for version in group.versions {
            let url = v3_place(group.name, version, &hash);
            paths.insert(v3_path(group.name, version), json!({"serverRelativeURL": url}));
        }
    }
    for place in others() {
        let url = format!("/openapi/v3/{}?hash={hash}", place.document());
        paths.insert(place.document().to_owned(), json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// What has a document of its own, and is of no version.
fn others() -> impl Iterator<Item = discovery::Place> {
    kinds::groups().iter().map(|group| discovery::of_group(group.name)).chain(discovery::of_server())
}

/// A document that is of no group and version: `api`, `apis/apps`, `version`.
pub fn v3_other(path: &str, server_version: &str) -> Option<String> {
    let place = others().find(|place| place.document() == path)?;
    let item = place.item(Dialect::V3);
    let roots: Vec<&'static Type> = place.schema.iter().filter_map(|name| fields::type_of(name)).collect();
    Some(v3_text([(place.path, item)].into_iter(), &roots, &[], server_version))
}

/// The document of one group and version as JSON text; `server_version` is what `/version` says.
pub fn v3(group: &str, version: &str, server_version: &str) -> Option<String> {
    let kinds: Vec<&'static Kind> = kinds::of_version(group, version).collect();
    v3_of(&kinds, server_version)
}

/// As [`v3`], for kinds of one group and version that may be custom resources; `None` without any.
pub fn v3_of(kinds: &[&'static Kind], server_version: &str) -> Option<String> {
    let first = kinds.first()?;
    let own = first.custom.is_none().then(|| discovery::of_version(first.group, first.version));
    let own = own.map(|place| (place.path.clone(), place.item(Dialect::V3)));
    let paths = own.into_iter().chain(paths::of_kinds(kinds, Dialect::V3));
    Some(v3_text(paths, &roots(kinds), kinds, server_version))
}

fn v3_text(
    paths: impl Iterator<Item = (String, Value)>,
    roots: &[&'static Type],
    kinds: &[&'static Kind],
    server_version: &str,
) -> String {
    let mut writer = Writer::default();
    let info = json!({"title": "Kubernetes", "version": server_version});
    writer.text.push_str(&format!(r#"{{"openapi":"3.0.0","info":{info},"paths":{{"#));
    for (path, item) in paths {
        writer.member(&path, &item);
    }
    writer.text.push_str(r#"},"components":{"schemas":{"#);
    writer.open();
    let mut schemas = Schemas::new(Dialect::V3);
    for ty in schemas::reachable(roots) {
        writer.member(ty.name, &schemas.definition(ty));
    }
    custom_definitions(kinds, Dialect::V3, |name, definition| writer.member(name, &definition));
    let bearer = json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"});
    writer.text.push_str(&format!(r#"}},"securitySchemes":{{"BearerToken":{bearer}}}}}}}"#));
    writer.text
}

/// A document of [`v3`] as gnostic's protobuf, package `openapi.v3`; `None` if it is no JSON object.
pub fn v3_proto(document: &[u8]) -> Option<Vec<u8>> {
    gnostic3::document(document)
}

/// `/openapi/v2` as JSON text.
pub fn v2(server_version: &str) -> String {
    v2_with(&[], server_version)
}

/// As [`v2`], with custom resources.
pub fn v2_with(custom: &[&'static Kind], server_version: &str) -> String {
    let mut writer = Writer::default();
    let info = json!({"title": "Kubernetes", "version": server_version});
    writer.text.push_str(&format!(r#"{{"swagger":"2.0","info":{info},"paths":{{"#));
    let kinds = all_kinds(custom);
    for (path, item) in v2_paths(&kinds) {
        writer.member(&path, &item);
    }
    writer.text.push_str(r#"},"definitions":{"#);
    writer.open();
    let mut schemas = Schemas::new(Dialect::V2);
    for ty in schemas::reachable(&v2_roots(&kinds)) {
        writer.member(ty.name, &schemas.definition(ty));
    }
    custom_definitions(custom, Dialect::V2, |name, definition| writer.member(name, &definition));
    let bearer = json!({"BearerToken": {"description": "Bearer Token authentication", "type": "apiKey",
        "name": "authorization", "in": "header"}});
    writer
        .text
        .push_str(&format!(r#"}},"securityDefinitions":{bearer},"security":[{{"BearerToken":[]}}]}}"#));
    writer.text
}

/// `/openapi/v2` as gnostic's protobuf, package `openapi.v2`.
pub fn v2_proto(server_version: &str) -> Vec<u8> {
    v2_proto_with(&[], server_version)
}

/// As [`v2_proto`], with custom resources.
pub fn v2_proto_with(custom: &[&'static Kind], server_version: &str) -> Vec<u8> {
    let kinds = all_kinds(custom);
    let mut document = gnostic::Document::new("Kubernetes", server_version);
    for (path, item) in v2_paths(&kinds) {
        document.path(&path, &item);
    }
    let mut schemas = Schemas::new(Dialect::V2);
    for ty in schemas::reachable(&v2_roots(&kinds)) {
        document.definition(ty.name, &schemas.definition(ty));
    }
    custom_definitions(custom, Dialect::V2, |name, definition| document.definition(name, &definition));
    document.finish()
}

/// Paths and definitions of others, in JSON's form, to be written behind [`v2_proto`]'s bytes.
pub fn v2_proto_addition<'a>(
    paths: impl Iterator<Item = (&'a String, &'a Value)>,
    definitions: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Vec<u8> {
    let mut document = gnostic::Document::addition();
    paths.for_each(|(path, item)| document.path(path, item));
    definitions.for_each(|(name, definition)| document.definition(name, definition));
    document.finish()
}

fn v2_paths<'a>(kinds: &'a [&'a Kind]) -> impl Iterator<Item = (String, Value)> + 'a {
    let places = discovery::all(kinds::groups());
    let places = places.into_iter().map(|place| (place.path.clone(), place.item(Dialect::V2)));
    places.chain(paths::of_kinds(kinds, Dialect::V2))
}

fn v2_roots(kinds: &[&Kind]) -> Vec<&'static Type> {
    let places = discovery::all(kinds::groups());
    let named = places.iter().filter_map(|place| fields::type_of(place.schema.as_deref()?));
    roots(kinds).into_iter().chain(named).collect()
}

fn all_kinds(custom: &[&'static Kind]) -> Vec<&'static Kind> {
    kinds::all().iter().chain(custom.iter().copied()).collect()
}

/// The definitions of those kinds that are custom resources.
fn custom_definitions(kinds: &[&'static Kind], dialect: Dialect, mut write: impl FnMut(&str, Value)) {
    for kind in kinds.iter().filter(|kind| kind.custom.is_some()) {
        write(kind.schema, custom::definition(kind, dialect));
        write(&format!("{}List", kind.schema), custom::list(kind, dialect));
    }
}

/// The types that the paths of these kinds name.
fn roots(kinds: &[&Kind]) -> Vec<&'static Type> {
    let mut names: Vec<String> =
        ["DeleteOptions", "Status", "Patch", "WatchEvent"].map(|name| format!("{META}.{name}")).into();
    if kinds.iter().any(|kind| kind.custom.is_none()) {
        names.push(format!("{META}.APIResourceList"));
    }
    if kinds.iter().any(|kind| kind.custom.is_some()) {
        names.extend(["ObjectMeta", "ListMeta"].map(|name| format!("{META}.{name}")));
    }
    for kind in kinds {
        names.push(kind.schema.to_owned());
        names.push(format!("{}List", kind.schema));
        names.extend(kind.subresources.iter().map(|sub| sub.schema.to_owned()));
    }
    names.iter().filter_map(|name| fields::type_of(name)).collect()
}

/// Members of a JSON object, written one by one so that a whole document is never held as a tree.
#[derive(Default)]
struct Writer {
    text: String,
    started: bool,
}

impl Writer {
    fn open(&mut self) {
        self.started = false;
    }

    fn member(&mut self, name: &str, value: &Value) {
        if self.started {
            self.text.push(',');
        }
        self.started = true;
        self.text.push_str(&Value::from(name).to_string());
        self.text.push(':');
        self.text.push_str(&value.to_string());
    }
}

#[cfg(test)]
mod tests;
