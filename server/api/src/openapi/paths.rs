//! Paths and operations of kinds, after upstream's `endpoints/installer.go`.

use serde_json::{Map, Value, json};

use crate::kinds::{Kind, Subresource};

use super::META;
use super::parameters::{DELETE, FORCE, LIST, LOG, PATH, PORTS, PRETTY, Parameter, STREAMS, WRITE};
use super::schemas::{Dialect, gvk};

const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// Of custom resources, which have no strategies: kubectl takes from here how to patch.
const CUSTOM_PATCH_TYPES: [&str; 3] = [PATCH_TYPES[0], PATCH_TYPES[1], PATCH_TYPES[3]];

/// One operation, in no dialect yet.
struct Operation {
    method: &'static str,
    id: String,
    action: &'static str,
    kind: Value,
    description: String,
    query: Vec<Parameter>,
    body: Option<String>,
    /// The schema of the answer; plain text if there is none.
    answer: Option<String>,
    codes: &'static [&'static str],
}

/// Every path of these kinds with its item, in order of path.
pub(super) fn of_kinds<'a>(
    kinds: &'a [&'a Kind],
    dialect: Dialect,
) -> impl Iterator<Item = (String, Value)> + 'a {
    let mut kinds = kinds.to_vec();
    kinds.sort_by_key(|kind| (kind.group, kind.version, kind.plural));
    kinds.into_iter().flat_map(move |kind| of_kind(kind, dialect))
}

fn of_kind(kind: &Kind, dialect: Dialect) -> Vec<(String, Value)> {
    let root = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", kind.plural);
    let tag = tag(kind.group, kind.version);
    let patches: &[&str] = if kind.custom.is_some() { &CUSTOM_PATCH_TYPES } else { &PATCH_TYPES };
    let face = Face { dialect, tag: &tag, patches, custom: kind.custom.is_some() };
    let item = |operations: Vec<Operation>, parameters: &[&str]| render(face, operations, parameters);
    let (outer, inner): (&[&str], &[&str]) = match kind.namespaced {
        true => (&["namespace"], &["name", "namespace"]),
        false => (&[], &["name"]),
    };
    let mut paths = vec![(collection.clone(), item(of_collection(kind), outer))];
    let single = of_object(kind);
    if !single.is_empty() {
        paths.push((format!("{collection}/{{name}}"), item(single, inner)));
    }
    for sub in kind.subresources {
        let path = format!("{collection}/{{name}}/{}", sub.name);
        paths.push((path.clone(), item(of_subresource(kind, sub, false), inner)));
        if sub.name == "proxy" {
            let inner = [inner, &["path"]].concat();
            paths.push((format!("{path}/{{path}}"), item(of_subresource(kind, sub, true), &inner)));
        }
    }
    if kind.namespaced && kind.allows("list") {
        let mut everywhere = list(kind);
        everywhere.id = format!("list{}{}{ALL}", camel_of(kind), kind.kind);
        paths.push((format!("{root}/{}", kind.plural), item(vec![everywhere], &[])));
    }
    if kind.custom.is_none() && kind.allows("watch") {
        let watched = format!("{root}/watch{scope}/{}", kind.plural);
        paths.push((watched.clone(), item(vec![watch_list(kind, "")], outer)));
        paths.push((format!("{watched}/{{name}}"), item(vec![watch(kind)], inner)));
        if kind.namespaced {
            paths.push((format!("{root}/watch/{}", kind.plural), item(vec![watch_list(kind, ALL)], &[])));
        }
    }
    paths
}

/// What identifiers of operations on all namespaces end with.
const ALL: &str = "ForAllNamespaces";

/// The older way to watch a list.
fn watch_list(kind: &Kind, everywhere: &str) -> Operation {
    let scoped = if everywhere.is_empty() { scoped(kind) } else { kind.kind.to_owned() };
    Operation {
        id: format!("watch{}{scoped}List{everywhere}", camel_of(kind)),
        action: "watchlist",
        description: format!(
            "watch individual changes to a list of {}. deprecated: use the 'watch' parameter with a list operation instead.",
            kind.kind
        ),
        answer: Some(format!("{META}.WatchEvent")),
        ..list(kind)
    }
}

/// The older way to watch one object.
fn watch(kind: &Kind) -> Operation {
    Operation {
        id: format!("watch{}{}", camel_of(kind), scoped(kind)),
        action: "watch",
        description: format!(
            "watch changes to an object of kind {}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.",
            kind.kind
        ),
        ..watch_list(kind, "")
    }
}

/// The words of a group's name in identifiers: `core`, `rbac` and `authorization`.
fn words(group: &str) -> impl Iterator<Item = &str> {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    group.split('.')
}

fn capital(word: &str) -> String {
    word.chars()
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(word.chars().skip(1)).collect())
}

/// `CoreV1`, `RbacAuthorizationV1`: how operation ids spell a group and version.
pub(super) fn camel(group: &str, version: &str) -> String {
    words(group).chain([version]).map(capital).collect()
}

fn camel_of(kind: &Kind) -> String {
    camel(kind.group, kind.version)
}

/// `core_v1`, `rbacAuthorization_v1`; without a version that of the group.
pub(super) fn tag(group: &str, version: &str) -> String {
    let mut words = words(group);
    let first = words.next().unwrap_or_default().to_owned();
    let name = first + &words.map(capital).collect::<String>();
    if version.is_empty() { name } else { format!("{name}_{version}") }
}

/// `a Pod`, `an Ingress`, and plurals as they are.
fn article(kind: &str) -> String {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        return kind.to_owned();
    }
    let vowel = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

fn scoped(kind: &Kind) -> String {
    format!("{}{}", if kind.namespaced { "Namespaced" } else { "" }, kind.kind)
}

fn own(kind: &Kind) -> Value {
    gvk(kind.group, kind.version, kind.kind)
}

fn list(kind: &Kind) -> Operation {
    Operation {
        method: "get",
        id: format!("list{}{}", camel_of(kind), scoped(kind)),
        action: "list",
        kind: own(kind),
        description: match kind.allows("watch") {
            true => format!("list or watch objects of kind {}", kind.kind),
            false => format!("list objects of kind {}", kind.kind),
        },
        query: LIST.to_vec(),
        body: None,
        answer: Some(format!("{}List", kind.schema)),
        codes: &["200"],
    }
}

fn of_collection(kind: &Kind) -> Vec<Operation> {
    let mut operations = Vec::new();
    if kind.allows("list") {
        operations.push(list(kind));
    }
    if kind.allows("create") {
        let id = format!("create{}{}", camel_of(kind), scoped(kind));
        let what = article(kind.kind);
        operations.push(write("post", id, own(kind), kind.schema, &what));
    }
    if kind.allows("deletecollection") {
        let mut query = [&LIST[..], &DELETE[..]].concat();
        query.sort_unstable();
        operations.push(Operation {
            id: format!("delete{}Collection{}", camel_of(kind), scoped(kind)),
            action: "deletecollection",
            description: format!("delete collection of {}", kind.kind),
            query,
            codes: &["200"],
            ..delete(kind)
        });
    }
    operations
}

fn delete(kind: &Kind) -> Operation {
    Operation {
        method: "delete",
        id: format!("delete{}{}", camel_of(kind), scoped(kind)),
        action: "delete",
        kind: own(kind),
        description: format!("delete {}", article(kind.kind)),
        query: DELETE.to_vec(),
        body: Some(format!("{META}.DeleteOptions")),
        answer: Some(format!("{META}.Status")),
        codes: &["200", "202"],
    }
}

fn of_object(kind: &Kind) -> Vec<Operation> {
    let id = |verb: &str| format!("{verb}{}{}", camel_of(kind), scoped(kind));
    let what = format!("the specified {}", kind.kind);
    let mut operations = Vec::new();
    if kind.allows("get") {
        operations.push(read(id("read"), own(kind), kind.schema, &what));
    }
    if kind.allows("update") {
        operations.push(write("put", id("replace"), own(kind), kind.schema, &what));
    }
    if kind.allows("patch") {
        operations.push(write("patch", id("patch"), own(kind), kind.schema, &what));
    }
    if kind.allows("delete") {
        operations.push(delete(kind));
    }
    operations
}

fn read(id: String, kind: Value, schema: &str, name: &str) -> Operation {
    Operation {
        method: "get",
        id,
        action: "get",
        kind,
        description: format!("read {name}"),
        query: Vec::new(),
        body: None,
        answer: Some(schema.to_owned()),
        codes: &["200"],
    }
}

fn write(method: &'static str, id: String, kind: Value, schema: &str, name: &str) -> Operation {
    let (verb, codes): (_, &[&str]) = match method {
        "post" => ("create", &["200", "201", "202"]),
        "patch" => ("partially update", &["200", "201"]),
        _ => ("replace", &["200", "201"]),
    };
    let mut query = WRITE.to_vec();
    if method == "patch" {
        query.push(FORCE);
    }
    let body = if method == "patch" { format!("{META}.Patch") } else { schema.to_owned() };
    Operation {
        method,
        id,
        action: method,
        kind,
        description: format!("{verb} {name}"),
        query,
        body: Some(body),
        answer: Some(schema.to_owned()),
        codes,
    }
}

fn of_subresource(kind: &Kind, sub: &Subresource, with_path: bool) -> Vec<Operation> {
    let suffix: String = sub.name[..1].to_uppercase() + &sub.name[1..];
    let target = gvk(sub.group, sub.version, sub.kind);
    if sub.kind.ends_with("Options") {
        let suffix = if with_path { format!("{suffix}WithPath") } else { suffix };
        return connects(kind, sub, &suffix, &target);
    }
    let id = |verb: &str| format!("{verb}{}{}{suffix}", camel_of(kind), scoped(kind));
    let mut operations = Vec::new();
    let what = format!("{} of the specified {}", sub.name, kind.kind);
    for verb in sub.verbs {
        operations.push(match *verb {
            "get" if sub.name == "log" => Operation {
                query: LOG.to_vec(),
                answer: None,
                ..read(id("read"), target.clone(), sub.schema, &what)
            },
            "get" => read(id("read"), target.clone(), sub.schema, &what),
            "update" => write("put", id("replace"), target.clone(), sub.schema, &what),
            "patch" => write("patch", id("patch"), target.clone(), sub.schema, &what),
            _ => {
                let what = format!("{} of {}", sub.name, article(kind.kind));
                write("post", id("create"), target.clone(), sub.schema, &what)
            }
        });
    }
    operations
}

fn connects(kind: &Kind, sub: &Subresource, suffix: &str, target: &Value) -> Vec<Operation> {
    let query: &[Parameter] = match sub.name {
        "exec" => &STREAMS,
        "attach" => &STREAMS[1..],
        "portforward" => &PORTS,
        _ => &PATH,
    };
    let connect = |verb: &&str| {
        let (method, name) = match *verb {
            "create" => ("post", "Post"),
            "update" => ("put", "Put"),
            "patch" => ("patch", "Patch"),
            "delete" => ("delete", "Delete"),
            _ => ("get", "Get"),
        };
        Operation {
            method,
            id: format!("connect{}{name}{}{suffix}", camel_of(kind), scoped(kind)),
            action: "connect",
            kind: target.clone(),
            description: format!("connect {} requests to {} of {}", name.to_uppercase(), sub.name, kind.kind),
            query: query.to_vec(),
            body: None,
            answer: None,
            codes: &["200"],
        }
    };
    sub.verbs.iter().map(connect).collect()
}

/// What all operations of a kind have in common.
#[derive(Clone, Copy)]
struct Face<'a> {
    dialect: Dialect,
    tag: &'a str,
    /// The media types of a patch.
    patches: &'a [&'a str],
    /// A custom resource has no protobuf.
    custom: bool,
}

fn render(face: Face<'_>, operations: Vec<Operation>, path_parameters: &[&str]) -> Value {
    let dialect = face.dialect;
    let mut item = Map::new();
    for operation in operations {
        item.insert(operation.method.into(), operation.render(face));
    }
    let mut parameters: Vec<Value> =
        path_parameters.iter().map(|name| path_parameter(dialect, name)).collect();
    parameters.push(query_parameter(dialect, &PRETTY));
    item.insert("parameters".into(), parameters.into());
    Value::Object(item)
}

fn path_parameter(dialect: Dialect, name: &str) -> Value {
    let description = match name {
        "namespace" => "object name and auth scope, such as for teams and projects",
        "path" => "path to the resource",
        _ => "name of the resource",
    };
    let mut value = json!({"name": name, "in": "path", "description": description, "required": true});
    set_type(dialect, &mut value, "string");
    value
}

fn query_parameter(dialect: Dialect, (name, ty, description): &Parameter) -> Value {
    let mut value = json!({"name": name, "in": "query", "description": description});
    set_type(dialect, &mut value, ty);
    value
}

fn set_type(dialect: Dialect, parameter: &mut Value, ty: &str) {
    match dialect {
        Dialect::V2 => {
            parameter["type"] = ty.into();
            parameter["uniqueItems"] = true.into();
        }
        Dialect::V3 => parameter["schema"] = json!({"type": ty, "uniqueItems": true}),
    }
}

impl Operation {
    fn render(self, face: Face<'_>) -> Value {
        let dialect = face.dialect;
        let mut parameters: Vec<Value> =
            self.query.iter().map(|parameter| query_parameter(dialect, parameter)).collect();
        let mut value = json!({"description": self.description, "operationId": self.id, "tags": [face.tag]});
        let media: &[&str] = if self.action == "patch" { face.patches } else { &["*/*"] };
        let produces = self.produces(face.custom);
        match (dialect, &self.body) {
            (Dialect::V2, Some(body)) => {
                let required = self.method != "delete";
                parameters.insert(0, json!({"name": "body", "in": "body", "required": required, "schema": dialect.reference(body)}));
            }
            (Dialect::V3, Some(body)) => value["requestBody"] = request_body(dialect, body, media),
            (_, None) => {}
        }
        if dialect == Dialect::V2 {
            value["consumes"] = json!(media);
            value["produces"] = json!(produces);
            value["schemes"] = json!(["https"]);
        }
        // upstream's field is `omitempty`
        if !parameters.is_empty() {
            value["parameters"] = parameters.into();
        }
        value["responses"] = self.responses(dialect, &produces);
        value["x-kubernetes-action"] = self.action.into();
        value["x-kubernetes-group-version-kind"] = self.kind;
        value
    }

    /// The media types of the answer.
    fn produces(&self, custom: bool) -> Vec<&'static str> {
        if self.action == "connect" {
            return vec!["*/*"];
        }
        let mut types = vec!["application/json", "application/yaml"];
        if custom {
            return types;
        }
        types.push("application/vnd.kubernetes.protobuf");
        if matches!(self.action, "list" | "watch" | "watchlist") {
            types.extend([
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ]);
        }
        if self.answer.is_none() {
            types.insert(0, "text/plain");
        }
        types
    }

    fn responses(&self, dialect: Dialect, types: &[&str]) -> Value {
        let mut responses = Map::new();
        for code in self.codes {
            let description = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let schema =
                self.answer.as_ref().map_or(json!({"type": "string"}), |name| dialect.reference(name));
            let content = || {
                let types = types.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema})));
                types.collect::<Map<String, Value>>()
            };
            let response = match dialect {
                Dialect::V2 => json!({"description": description, "schema": schema}),
                Dialect::V3 => json!({"description": description, "content": content()}),
            };
            responses.insert((*code).to_owned(), response);
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        Value::Object(responses)
    }
}

fn request_body(dialect: Dialect, body: &str, types: &[&str]) -> Value {
    let schema = |ty: &&str| ((*ty).to_owned(), json!({"schema": dialect.reference(body)}));
    let content: Map<String, Value> = types.iter().map(schema).collect();
    json!({"content": content})
}
