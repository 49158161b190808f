//! The description of the API, made from the table of routes and the types that are sent. Pure.

use sampan_addons::{Details, Status};
use sampan_simulate::Wanted;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::operations::OperationStatus;
use super::routes::{Action, Add, Archive, Configure, Enable, Image, NewFile, ROUTES, Route, Stop, TAIL_MAX};
use super::shapes::{ClusterStatus, ComponentStatus, History, ImageSummary, NodeSummary, Saved, Versions};
use super::tokens::{NewToken, Token};
use super::{OPEN, PREFIX};
use crate::verbs::profile::Row;

const ABOUT: &str = "Everything that the `sampan` command does, for tools. Callers are the cluster's users, or tokens \
made by `sampan token`; RBAC's nonResourceURLs say who may. Verbs that take time are operations: their steps are told to \
clients that accept text/event-stream or application/x-ndjson, `Prefer: respond-async` answers at once with 202, and \
/operations/{name} tells them again.";

/// OpenAPI 3.1, as JSON.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for route in &ROUTES {
        let path = paths.entry(format!("{PREFIX}{}", route.path)).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route, &mut schemas);
    }
    paths.insert(format!("{PREFIX}{OPEN}"), opens());
    let mut components = schemas.take_definitions(true);
    components.insert("Refusal".to_owned(), refusal());
    json!({
        "openapi": "3.1.0",
        "info": {"title": "sampan", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "security": [{"bearer": []}],
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let code = if route.action == Action::CreateToken { "201" } else { "200" };
    let refused = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}});
    let mut operation = json!({
        "operationId": id(route.action),
        "summary": route.summary,
        "responses": {
            code: {"description": "Done", "content": answer(route.action, schemas)},
            "default": {"description": "Refused, with what to do", "content": refused},
        },
    });
    if takes_time(route.action) {
        let status = schemas.subschema_for::<OperationStatus>();
        operation["responses"]["202"] = json!({
            "description": "Begun (`Prefer: respond-async`); Location is the operation's",
            "content": {"application/json": {"schema": status}},
        });
    }
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some((content, required)) = sent(route.action, schemas) {
        operation["requestBody"] = json!({"required": required, "content": content});
    }
    operation
}

/// What the dashboard's own server answers: the way to the web page of a workload.
fn opens() -> Value {
    let word = |name: &str, schema: Value| json!({"name": name, "in": "query", "required": name != "scheme", "schema": schema});
    let text = || json!({"type": "string", "pattern": "^[A-Za-z0-9._-]+$"});
    let refused = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}});
    json!({"get": {
        "operationId": "openWorkload",
        "summary": "Open the web page of a pod or Service in a browser of the cluster's machine",
        "parameters": [
            word("kind", json!({"type": "string", "enum": ["services", "pods"]})),
            word("namespace", text()), word("name", text()), word("port", text()),
            word("scheme", json!({"type": "string", "enum": ["http", "https"], "default": "http"})),
        ],
        "responses": {
            "303": {"description": "To an origin of its own, with a ticket that is good once",
                "headers": {"Location": {"schema": {"type": "string"}}}},
            "404": {"description": "There is no such pod or Service", "content": refused},
            "default": {"description": "Refused, with what to do", "content": refused},
        },
    }})
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    if route.path.contains("{name}") {
        parameters.push(
            json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}),
        );
    }
    if matches!(route.action, Action::GetLog | Action::GetAddonLogs) {
        parameters
            .push(json!({"name": "tail", "in": "query", "description": "How many lines, the last ones",
            "schema": {"type": "integer", "minimum": 0, "maximum": TAIL_MAX, "default": 200}}));
        parameters.push(json!({"name": "follow", "in": "query", "description": "Go on as more is said",
            "schema": {"type": "boolean", "default": false}}));
    }
    parameters
}

/// `ListAddons` → `listAddons`.
fn id(action: Action) -> String {
    let name = format!("{action:?}");
    name[..1].to_lowercase() + &name[1..]
}

fn takes_time(action: Action) -> bool {
    use Action as A;
    matches!(
        action,
        A::LoadImages
            | A::PullImage
            | A::Backup
            | A::AddAddon
            | A::RemoveAddon
            | A::EnableAddon
            | A::DisableAddon
            | A::ConfigureAddon
            | A::Simulate
            | A::DeleteSimulation
            | A::FailZone
            | A::RecoverZone
    )
}

/// The body's content, and whether it has to be there.
fn sent(action: Action, schemas: &mut SchemaGenerator) -> Option<(Value, bool)> {
    let (schema, required) = match action {
        Action::EnableAddon => (schemas.subschema_for::<Enable>(), false),
        Action::ConfigureAddon => (schemas.subschema_for::<Configure>(), false),
        Action::Stop => (schemas.subschema_for::<Stop>(), false),
        Action::LoadImages => (schemas.subschema_for::<Archive>(), true),
        Action::PullImage | Action::RemoveImage => (schemas.subschema_for::<Image>(), true),
        Action::Backup => (schemas.subschema_for::<NewFile>(), true),
        Action::Simulate => (schemas.subschema_for::<Wanted>(), true),
        Action::CreateToken => (schemas.subschema_for::<NewToken>(), true),
        Action::AddAddon => {
            let schema = schemas.subschema_for::<Add>();
            let content = json!({"application/json": {"schema": schema}, "application/gzip": {}});
            return Some((content, true));
        }
        _ => return None,
    };
    Some((json!({"application/json": {"schema": schema}}), required))
}

fn answer(action: Action, schemas: &mut SchemaGenerator) -> Value {
    use Action as A;
    let object =
        |name: &str, of: Value| json!({"type": "object", "required": [name], "properties": {name: of}});
    let items = |of: Value| object("items", json!({"type": "array", "items": of}));
    let text = || json!({"type": "string"});
    let schema = match action {
        A::GetLog | A::GetAddonLogs => return json!({"text/plain; charset=utf-8": {"schema": text()}}),
        A::Read => return json!({"text/html; charset=utf-8": {"schema": text()}}),
        A::GetKubeconfig => return json!({"application/yaml": {"schema": {"type": "object"}}}),
        A::WatchEvents => {
            return json!({"application/x-ndjson": {"schema": text()}, "text/event-stream": {"schema": text()}});
        }
        A::ListAddons => items(json!(schemas.subschema_for::<Status>())),
        A::ListTokens => items(json!(schemas.subschema_for::<Token>())),
        A::ListOperations => items(json!(schemas.subschema_for::<OperationStatus>())),
        A::ListLogs => items(text()),
        A::ListComponents => items(json!(schemas.subschema_for::<ComponentStatus>())),
        A::ListNodes => items(json!(schemas.subschema_for::<NodeSummary>())),
        A::ListProfiles => items(json!(schemas.subschema_for::<Row>())),
        A::ListImages | A::LoadImages => items(json!(schemas.subschema_for::<ImageSummary>())),
        A::PullImage => json!(schemas.subschema_for::<ImageSummary>()),
        A::GetStatus => json!(schemas.subschema_for::<ClusterStatus>()),
        A::GetVersion => json!(schemas.subschema_for::<Versions>()),
        A::GetMetricsHistory => items(json!(schemas.subschema_for::<History>())),
        A::Backup => json!(schemas.subschema_for::<Saved>()),
        A::Stop => object("running", json!({"type": "integer", "minimum": 0})),
        A::GetOperation => json!(schemas.subschema_for::<OperationStatus>()),
        A::CreateToken => json!(schemas.subschema_for::<Token>()),
        A::AddAddon | A::GetAddon | A::ConfigureAddon => json!(schemas.subschema_for::<Details>()),
        A::RemoveAddon | A::EnableAddon | A::DisableAddon => json!(schemas.subschema_for::<Status>()),
        A::GetAddonImages => object("images", json!({"type": "object", "additionalProperties": text()})),
        A::GetAddonPage => object("url", text()),
        A::OpenDashboard => json!({"type": "object", "required": ["url", "publicUrls"], "properties": {
            "url": text(), "publicUrls": {"type": "array", "items": text()}}}),
        A::GetSimulation | A::Simulate | A::DeleteSimulation | A::FailZone | A::RecoverZone => {
            json!(schemas.subschema_for::<sampan_simulate::Status>())
        }
        A::RemoveImage => object("image", text()),
        A::RevokeToken => object("name", text()),
        A::Describe => json!({"type": "object"}),
    };
    json!({"application/json": {"schema": schema}})
}

fn refusal() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "description": "A Kubernetes Status. The reason of its cause is stable, such as ADDON_NOT_FOUND.",
        "required": ["kind", "status", "message", "reason", "code"],
        "properties": {
            "kind": text, "apiVersion": text, "status": text, "message": text, "reason": text,
            "code": {"type": "integer"},
            "details": {"type": "object", "properties": {"causes": {"type": "array", "items": {
                "type": "object", "properties": {"reason": text, "message": text, "field": text}}}}},
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| references(field, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        let operations =
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
        let ids: BTreeSet<&str> = operations.map(|(_, one)| one["operationId"].as_str().unwrap()).collect();
        // and the one that the dashboard's server answers
        assert_eq!(ids.len(), ROUTES.len() + 1);
        assert!(ids.contains("openWorkload"));
        assert!(ids.contains("listAddons"));
        let mut named = BTreeSet::new();
        references(&document, &mut named);
        assert!(named.contains("#/components/schemas/Status"), "{named:?}");
        for name in named {
            assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
        }
    }
}
