//! A small API in memory: create, get, list, watch with history, put, merge patch, delete with finalizers. It
//! neither validates nor defaults.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use parking_lot::Mutex;
use sampan_client::{BoxError, Handler, ResponseBody, ResponseFuture};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<(String, String, String), Value>,
    log: Vec<(u64, String, Value)>,
    watchers: Vec<(String, mpsc::UnboundedSender<Value>)>,
}

/// The API; every write may be seen by tests through `watch`.
#[derive(Default)]
pub struct Fake(Mutex<State>);

#[allow(dead_code)] // not every test asks
impl Fake {
    /// Returns once nobody watches a resource any more.
    pub async fn unwatched(&self, resource: &str) {
        let watchers: Vec<_> = {
            let state = self.0.lock();
            let of = state.watchers.iter().filter(|(watched, _)| watched == resource);
            of.map(|(_, watcher)| watcher.clone()).collect()
        };
        for watcher in watchers {
            watcher.closed().await;
        }
    }
}

struct Path {
    resource: String,
    namespace: String,
    name: Option<String>,
    sub: Option<String>,
}

fn parse(path: &str) -> Path {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let mut namespace = String::new();
    if parts[0] == "namespaces" && parts.len() > 2 && parts[2] != "finalize" && parts[2] != "status" {
        namespace = parts[1].to_owned();
        parts.drain(..2);
    }
    let part = |n: usize| parts.get(n).map(|part| (*part).to_owned());
    Path { resource: part(0).unwrap(), namespace, name: part(1), sub: part(2) }
}

impl State {
    fn put(&mut self, kind: &str, key: (String, String, String), mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        if kind == "DELETED" {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key.clone(), object.clone());
        }
        let event = json!({"type": kind, "object": object});
        self.log.push((self.revision, key.0.clone(), event.clone()));
        self.watchers.retain(|(resource, watcher)| *resource != key.0 || watcher.send(event.clone()).is_ok());
        object
    }

    fn create(&mut self, path: &Path, mut object: Value) -> (u16, Value) {
        let meta = &mut object["metadata"];
        if meta["name"].is_null() {
            meta["name"] = json!(format!("{}{}", meta["generateName"].as_str().unwrap(), self.revision));
        }
        if !path.namespace.is_empty() {
            meta["namespace"] = json!(path.namespace);
        }
        meta["uid"] = json!(format!("uid-{}", self.revision));
        meta["generation"] = json!(1);
        meta["creationTimestamp"] = json!(k8s_openapi::jiff::Timestamp::now().to_string());
        let key = (path.resource.clone(), path.namespace.clone(), meta["name"].as_str().unwrap().to_owned());
        if self.objects.contains_key(&key) {
            return (409, failure(409, "AlreadyExists"));
        }
        (201, self.put("ADDED", key, object))
    }

    fn change(
        &mut self,
        key: (String, String, String),
        sub: Option<&str>,
        body: Value,
        patch: bool,
    ) -> (u16, Value) {
        let Some(old) = self.objects.get(&key).cloned() else { return (404, failure(404, "NotFound")) };
        let sent = &body["metadata"]["resourceVersion"];
        if !sent.is_null() && *sent != old["metadata"]["resourceVersion"] {
            return (409, failure(409, "Conflict"));
        }
        let mut new = old.clone();
        if patch {
            merge(&mut new, &body);
        } else if sub == Some("status") {
            new["status"] = body["status"].clone();
        } else {
            let status = new["status"].take();
            new = body;
            new["status"] = status;
        }
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap() + 1);
        }
        let held =
            |key: &str, at: &Value| at[key]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        let ends = !new["metadata"]["deletionTimestamp"].is_null();
        let kind =
            if ends && !held("metadata", &new) && !held("spec", &new) { "DELETED" } else { "MODIFIED" };
        (200, self.put(kind, key, new))
    }

    fn delete(&mut self, key: (String, String, String), options: &Value) -> (u16, Value) {
        let Some(mut object) = self.objects.get(&key).cloned() else {
            return (404, failure(404, "NotFound"));
        };
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        finalizers.extend(finalizer.map(|name| json!(name)));
        let held = !finalizers.is_empty() || key.0 == "namespaces";
        object["metadata"]["finalizers"] = json!(finalizers);
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(k8s_openapi::jiff::Timestamp::now().to_string());
        }
        (200, self.put(if held { "MODIFIED" } else { "DELETED" }, key, object))
    }

    /// Discovery of the kinds that definitions made; of no other.
    fn discover(&self, path: &str) -> Option<Value> {
        let definitions =
            self.objects.iter().filter(|((resource, ..), _)| resource == "customresourcedefinitions");
        let specs = definitions.map(|(_, definition)| &definition["spec"]);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts[..] {
            ["apis"] => {
                let groups = specs.map(|spec| {
                    let version = &spec["versions"][0]["name"];
                    let path = format!("{}/{}", spec["group"].as_str().unwrap(), version.as_str().unwrap());
                    let version = json!({"groupVersion": path, "version": version});
                    json!({"name": spec["group"], "versions": [version], "preferredVersion": version})
                });
                Some(
                    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()}),
                )
            }
            ["apis", group, version] => {
                let resources = specs.filter(|spec| spec["group"] == group).map(|spec| {
                    let namespaced = spec["scope"] == "Namespaced";
                    json!({"name": spec["names"]["plural"], "singularName": "", "namespaced": namespaced,
                        "kind": spec["names"]["kind"], "verbs": ["create", "delete", "get", "list", "watch"]})
                });
                let resources: Vec<_> = resources.collect();
                Some(json!({"kind": "APIResourceList", "apiVersion": "v1",
                    "groupVersion": format!("{group}/{version}"), "resources": resources}))
            }
            _ => None,
        }
    }

    fn list(&self, path: &Path) -> Value {
        let all = self.objects.iter().filter(|((resource, namespace, _), _)| {
            *resource == path.resource && (path.namespace.is_empty() || *namespace == path.namespace)
        });
        let items: Vec<&Value> = all.map(|(_, object)| object).collect();
        json!({"metadata": {"resourceVersion": self.revision.to_string()}, "items": items})
    }

    fn watch(&mut self, path: &Path, after: u64) -> mpsc::UnboundedReceiver<Value> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for (revision, resource, event) in &self.log {
            if *revision > after && *resource == path.resource {
                sender.send(event.clone()).unwrap();
            }
        }
        self.watchers.push((path.resource.clone(), sender));
        receiver
    }
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason})
}

/// An event of the newer API, as the older one shows it.
fn core_event(event: &mut Value) {
    let Some(event) = event.as_object_mut() else { return };
    if event.contains_key("apiVersion") {
        event.insert("apiVersion".to_owned(), json!("v1"));
    }
    for (new, old) in [("note", "message"), ("regarding", "involvedObject")] {
        if let Some(value) = event.remove(new) {
            event.insert(old.to_owned(), value);
        }
    }
}

/// A merge patch; conditions merge by type, and `$patch: delete` takes a list's entry away.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    for (key, value) in patch {
        match (key.as_str(), value) {
            (_, Value::Null) => _ = target.as_object_mut().map(|object| object.remove(key)),
            ("conditions", Value::Array(new)) if target[key].is_array() => {
                let list = target[key].as_array_mut().unwrap();
                list.retain(|old| !new.iter().any(|new| new["type"] == old["type"]));
                list.extend(new.clone());
            }
            (_, Value::Object(_)) => merge(&mut target[key], value),
            _ => target[key] = value.clone(),
        }
    }
}

fn whole(code: u16, body: &Value) -> Response<ResponseBody> {
    let never = |error: Infallible| -> BoxError { match error {} };
    let mut response = Response::new(Full::from(body.to_string()).map_err(never).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

impl Handler for Fake {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        if let Some(found) = self.0.lock().discover(request.uri().path()) {
            return Box::pin(async move { whole(200, &found) });
        }
        let path = parse(request.uri().path());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut body: Value = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        if request.uri().path().starts_with("/apis/events.k8s.io/") {
            core_event(&mut body);
        }
        let mut state = self.0.lock();
        if query.contains("watch=true") {
            let after =
                query.split("resourceVersion=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok());
            let mut events = state.watch(&path, after.unwrap_or(0));
            let events = futures::stream::poll_fn(move |context| events.poll_recv(context));
            let lines = events.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
            return Box::pin(async move { Response::new(StreamBody::new(lines).boxed_unsync()) });
        }
        let key = (path.resource.clone(), path.namespace.clone(), path.name.clone().unwrap_or_default());
        let (code, answer) = match (request.method(), &path.name) {
            (&Method::GET, None) => (200, state.list(&path)),
            (&Method::GET, Some(_)) => match state.objects.get(&key) {
                Some(object) => (200, object.clone()),
                None => {
                    let mut status = failure(404, "NotFound");
                    status["details"] = json!({"name": key.2});
                    (404, status)
                }
            },
            (&Method::POST, Some(_)) if path.sub.as_deref() == Some("binding") => {
                let node = json!({"spec": {"nodeName": body["target"]["name"]}});
                state.change(key, None, node, true)
            }
            (&Method::POST, Some(name)) if path.sub.as_deref() == Some("token") => {
                let (secret, seconds) =
                    (&body["spec"]["boundObjectRef"]["name"], &body["spec"]["expirationSeconds"]);
                let token = format!("{name} {} {seconds}", secret.as_str().unwrap());
                let status = json!({"token": token, "expirationTimestamp": "2162-01-01T00:00:00Z"});
                (201, json!({"metadata": {}, "spec": {"audiences": []}, "status": status}))
            }
            (&Method::POST, _) => state.create(&path, body),
            (&Method::PUT, _) => state.change(key, path.sub.as_deref(), body, false),
            (&Method::PATCH, _) => state.change(key, path.sub.as_deref(), body, true),
            (&Method::DELETE, Some(_)) => state.delete(key, &body),
            (&Method::DELETE, None) => {
                let items = state.list(&path)["items"].clone();
                for item in items.as_array().unwrap() {
                    let name = item["metadata"]["name"].as_str().unwrap().to_owned();
                    state.delete((path.resource.clone(), path.namespace.clone(), name), &body);
                }
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            _ => (405, failure(405, "MethodNotAllowed")),
        };
        drop(state);
        Box::pin(async move { whole(code, &answer) })
    }
}
