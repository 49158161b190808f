//! The description of the API, made from the table of routes and the types that are sent. Pure.

use sampan_addons::{Details, Status};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::PREFIX;
use super::routes::{Action, Add, Configure, Enable, ROUTES, Route};

/// OpenAPI 3.0, as JSON.
pub fn document() -> Value {
    let mut schemas = SchemaSettings::openapi3().into_generator();
    let mut paths = Map::new();
    for route in &ROUTES {
        let path = paths.entry(format!("{PREFIX}{}", route.path)).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route, &mut schemas);
    }
    let mut components = schemas.take_definitions(true);
    components.insert("Refusal".to_owned(), refusal());
    json!({
        "openapi": "3.0.3",
        "info": {"title": "sampan", "version": env!("CARGO_PKG_VERSION"),
            "description": "What `sampan addons` does, for tools. Callers are the cluster's users; RBAC's nonResourceURLs \
                say who may. Verbs that take time send their steps to clients that accept application/x-ndjson."},
        "paths": paths,
        "components": {"schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        "security": [{"bearer": []}],
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": id(route.action),
        "summary": route.summary,
        "responses": {
            "200": {"description": "Done", "content": answer(route.action, schemas)},
            "default": {"description": "Refused, with what to do", "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}},
        },
    });
    let mut parameters = Vec::new();
    if route.path.contains("{name}") {
        parameters
            .push(json!({"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    if route.action == Action::Logs {
        parameters
            .push(json!({"name": "tail", "in": "query", "description": "How many lines, the last ones",
            "schema": {"type": "integer", "minimum": 0, "default": 200}}));
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(content) = sent(route.action, schemas) {
        let required = route.action == Action::Add;
        operation["requestBody"] = json!({"required": required, "content": content});
    }
    operation
}

fn id(action: Action) -> &'static str {
    match action {
        Action::OpenApi => "describe",
        Action::List => "listAddons",
        Action::Add => "addAddon",
        Action::Show => "getAddon",
        Action::Remove => "removeAddon",
        Action::Enable => "enableAddon",
        Action::Disable => "disableAddon",
        Action::Configure => "configureAddon",
        Action::Images => "getAddonImages",
        Action::Page => "getAddonPage",
        Action::Logs => "getAddonLogs",
    }
}

fn sent(action: Action, schemas: &mut SchemaGenerator) -> Option<Value> {
    let schema = match action {
        Action::Enable => schemas.subschema_for::<Enable>(),
        Action::Configure => schemas.subschema_for::<Configure>(),
        Action::Add => {
            let schema = schemas.subschema_for::<Add>();
            return Some(json!({"application/json": {"schema": schema},
                "application/gzip": {"schema": {"type": "string", "format": "binary"}}}));
        }
        _ => return None,
    };
    Some(json!({"application/json": {"schema": schema}}))
}

fn answer(action: Action, schemas: &mut SchemaGenerator) -> Value {
    let object =
        |name: &str, of: Value| json!({"type": "object", "required": [name], "properties": {name: of}});
    let schema = match action {
        Action::Logs => return json!({"text/plain": {"schema": {"type": "string"}}}),
        Action::OpenApi => json!({"type": "object"}),
        Action::List => object("items", json!({"type": "array", "items": schemas.subschema_for::<Status>()})),
        Action::Add | Action::Show | Action::Configure => json!(schemas.subschema_for::<Details>()),
        Action::Remove | Action::Enable | Action::Disable => json!(schemas.subschema_for::<Status>()),
        Action::Images => {
            object("images", json!({"type": "object", "additionalProperties": {"type": "string"}}))
        }
        Action::Page => object("url", json!({"type": "string"})),
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
            "details": {"type": "object", "properties": {"kind": text, "causes": {"type": "array", "items": {
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
        assert_eq!(ids.len(), ROUTES.len());
        let mut named = BTreeSet::new();
        references(&document, &mut named);
        assert!(named.contains("#/components/schemas/Status"), "{named:?}");
        for name in named {
            assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
        }
    }
}
