//! The server through its front door, `handle()`, on a store in a temporary folder.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use sampan_process::{Component, Health, Tasks};
use serde_json::{Value, json};

use crate::{ApiServer, Config, Peer, ServiceBlock, UserInfo};

mod aggregated;
mod api_services;
mod apply;
mod conversion;
mod custom;
mod definitions;
mod gates;
mod groups;
mod identity;
mod issuer;
mod issuers;
mod legacy_tokens;
mod listeners;
mod pages;
mod policies;
mod quota;
mod resize;
mod rights;
mod rules;
mod services;
mod storage;
mod unsaid;
mod upstream;
mod webhooks;

struct World {
    server: ApiServer,
    _folder: tempfile::TempDir,
}

struct Got {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

async fn world() -> World {
    world_with(|_| {}).await
}

/// A world whose server is configured otherwise.
async fn world_with(change: impl FnOnce(&mut Config)) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder, ServiceBlock::new(Ipv4Addr::new(10, 96, 0, 0), 12));
    change(&mut config);
    World { server: ApiServer::new(config).await.unwrap(), _folder: folder }
}

fn config(folder: &tempfile::TempDir, services: ServiceBlock) -> Config {
    Config {
        data: folder.path().to_owned(),
        tasks: Tasks::new(Component::ApiServer),
        health: Health::new(),
        bind: Ipv4Addr::LOCALHOST.into(),
        port: 26443,
        port_fixed: false,
        services,
        node_name: "n1".into(),
        addresses: vec![],
        history: Duration::from_secs(300),
        audit: Default::default(),
        authentication: None,
    }
}

impl World {
    async fn raw(
        &self,
        method: &str,
        uri: &str,
        content: &str,
        accept: &str,
        body: &str,
    ) -> http::Response<crate::ResponseBody> {
        let mut request = Request::builder().method(method).uri(uri).header("accept", accept);
        if !content.is_empty() {
            request = request.header("content-type", content);
        }
        let request = request.body(Bytes::from(body.to_owned())).unwrap();
        let user = Arc::new(UserInfo::new("test", &["system:masters"]));
        self.server.handle(request, Peer::Loopback(user)).await
    }
    async fn call(&self, method: &str, uri: &str, content: &str, body: &str) -> Got {
        let response = self.raw(method, uri, content, "application/json", body).await;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Got {
            code,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()),
        }
    }
    async fn get(&self, uri: &str) -> Got {
        self.call("GET", uri, "", "").await
    }
    async fn post(&self, uri: &str, body: Value) -> Got {
        self.call("POST", uri, "application/json", &body.to_string()).await
    }
    async fn merge(&self, uri: &str, body: Value) -> Got {
        self.call("PATCH", uri, "application/merge-patch+json", &body.to_string()).await
    }
    async fn delete(&self, uri: &str) -> Got {
        self.call("DELETE", uri, "", "").await
    }
    /// The events of a watch that ends at once.
    async fn events(&self, uri: &str) -> Vec<(String, Value)> {
        let response = self.raw("GET", uri, "", "application/json", "").await;
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        lines
            .map(|l| serde_json::from_slice::<Value>(l).unwrap())
            .map(|e| (e["type"].as_str().unwrap().into(), e["object"].clone()))
            .collect()
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn a_pod_lives_and_dies() {
    let w = world().await;
    let made = w.post(PODS, pod("a")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!((&made.body["kind"], &made.body["apiVersion"]), (&json!("Pod"), &json!("v1")));
    assert_eq!(made.body["metadata"]["generation"], 1);
    assert_eq!(made.body["status"]["phase"], "Pending");
    assert_eq!(made.body["status"]["qosClass"], "BestEffort");
    assert!(made.body["metadata"]["uid"].as_str().unwrap().len() == 36);
    let got = w.get(&format!("{PODS}/a")).await;
    assert_eq!(got.body, made.body);
    let again = w.post(PODS, pod("a")).await;
    assert_eq!((again.code, &again.body["message"]), (409, &json!("pods \"a\" already exists")));
    let list = w.get(PODS).await;
    assert_eq!((&list.body["kind"], list.body["items"].as_array().unwrap().len()), (&json!("PodList"), 1));
    let patched = w.merge(&format!("{PODS}/a"), json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(
        (patched.code, &patched.body["metadata"]["labels"]["x"]),
        (200, &json!("y")),
        "{}",
        patched.body
    );
    assert_eq!(patched.body["metadata"]["generation"], 1);
    let same = w.merge(&format!("{PODS}/a"), json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(same.body["metadata"]["resourceVersion"], patched.body["metadata"]["resourceVersion"]);
    // not scheduled: gone at once, answered with the pod
    let gone = w.delete(&format!("{PODS}/a")).await;
    assert_eq!((gone.code, &gone.body["kind"]), (200, &json!("Pod")));
    assert_eq!(w.get(&format!("{PODS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_bound_pod_waits_for_its_kubelet() {
    let w = world().await;
    w.post(PODS, pod("a")).await;
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(w.post(&format!("{PODS}/a/binding"), binding.clone()).await.code, 201);
    let twice = w.post(&format!("{PODS}/a/binding"), binding).await;
    assert_eq!(twice.code, 409);
    assert!(twice.body["message"].as_str().unwrap().contains("pod a is already assigned to node \"n1\""));
    let waiting = w.delete(&format!("{PODS}/a")).await;
    assert_eq!(waiting.body["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(w.get(&format!("{PODS}/a")).await.code, 200);
    let gone =
        w.call("DELETE", &format!("{PODS}/a"), "application/json", r#"{"gracePeriodSeconds":0}"#).await;
    assert_eq!(gone.code, 200);
    assert_eq!(w.get(&format!("{PODS}/a")).await.code, 404);
}

#[tokio::test]
async fn clients_faults_are_4xx() {
    let w = world().await;
    let json = "application/json";
    let huge = "x".repeat(3 * 1024 * 1024 + 1);
    let cases = [
        ("POST", MAPS, json, "{", 400),
        ("POST", MAPS, json, "", 400),
        ("POST", MAPS, json, "[]", 400),
        ("POST", MAPS, json, r#"{"kind":"Pod","apiVersion":"v1"}"#, 400),
        ("POST", MAPS, json, r#"{"apiVersion":"v2","metadata":{"name":"a"}}"#, 400),
        ("POST", MAPS, json, r#"{"metadata":{"name":"a","namespace":"other"}}"#, 400),
        ("POST", MAPS, json, r#"{"metadata":{}}"#, 422),
        ("POST", MAPS, json, r#"{"metadata":{"name":"a","resourceVersion":"1"}}"#, 400),
        ("POST", MAPS, "text/plain", "{}", 415),
        ("POST", MAPS, json, &huge, 413),
        ("POST", "/api/v1/namespaces/nope/configmaps", json, r#"{"metadata":{"name":"a"}}"#, 404),
        ("POST", &format!("{MAPS}?dryRun=Maybe"), json, r#"{"metadata":{"name":"a"}}"#, 422),
        ("POST", &format!("{MAPS}?fieldValidation=Strict"), json, r#"{"metadata":{"name":"a"},"x":1}"#, 400),
        ("PUT", &format!("{MAPS}/a"), json, r#"{"metadata":{"name":"a"}}"#, 404),
        ("GET", "/api/v1/nothings", "", "", 404),
        ("POST", "/api/v1/configmaps", json, r#"{"metadata":{"name":"a"}}"#, 405),
        ("GET", &format!("{PODS}?fieldSelector=spec.nope=1"), "", "", 400),
        ("GET", &format!("{PODS}?labelSelector=a=b=c"), "", "", 400),
        ("GET", &format!("{PODS}?limit=x"), "", "", 400),
        ("GET", &format!("{PODS}?continue=x"), "", "", 400),
        ("GET", &format!("{PODS}?resourceVersion=x"), "", "", 422),
        ("GET", &format!("{PODS}?resourceVersionMatch=Exact"), "", "", 422),
        ("PATCH", "/api/v1/namespaces/default", "application/apply-patch+yaml", "{}", 422),
        ("PATCH", "/api/v1/namespaces/default", "application/apply-patch+cbor", "{}", 415),
        ("DELETE", &format!("{MAPS}/nope"), "", "", 404),
    ];
    for (method, uri, content, body, code) in cases {
        let got = w.call(method, uri, content, body).await;
        assert_eq!(got.code, code, "{method} {uri}: {}", got.body);
        assert_eq!(got.body["kind"], "Status", "{method} {uri}");
    }
}

#[tokio::test]
async fn pages_are_exact_at_their_revision() {
    let w = world().await;
    for i in 0..5 {
        w.post(MAPS, json!({"metadata": {"name": format!("m{i}")}})).await;
    }
    let first = w.get(&format!("{MAPS}?limit=2")).await.body;
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    w.post(MAPS, json!({"metadata": {"name": "m9"}})).await;
    w.delete(&format!("{MAPS}/m3")).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = w.get(&format!("{MAPS}?continue={token}")).await.body;
    let names: Vec<_> =
        rest["items"].as_array().unwrap().iter().map(|m| m["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["m2", "m3", "m4"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let second = w.get(&format!("{MAPS}?limit=1&continue={token}")).await.body;
    assert_eq!(second["metadata"]["remainingItemCount"], 2);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = w.get(&format!("{MAPS}?limit=2&continue={token}")).await.body;
    assert!(
        last["metadata"]["continue"].is_null() && last["metadata"]["remainingItemCount"].is_null(),
        "{last}"
    );
}

#[tokio::test]
async fn a_watch_sees_selection_enter_and_leave() {
    let w = world().await;
    let start = w.get(MAPS).await.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    w.post(MAPS, json!({"metadata": {"name": "m", "labels": {"a": "1"}}})).await;
    w.merge(&format!("{MAPS}/m"), json!({"data": {"k": "v"}})).await;
    w.merge(&format!("{MAPS}/m"), json!({"metadata": {"labels": {"a": "2"}}})).await;
    w.merge(&format!("{MAPS}/m"), json!({"metadata": {"labels": {"a": "1"}}})).await;
    w.delete(&format!("{MAPS}/m")).await;
    let events = w
        .events(&format!("{MAPS}?watch=true&labelSelector=a%3D1&resourceVersion={start}&timeoutSeconds=1"))
        .await;
    let types: Vec<&str> = events.iter().map(|(t, _)| t.as_str()).collect();
    assert_eq!(types, ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]);
    let initial = w.events("/api/v1/namespaces?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1").await;
    assert_eq!(initial.iter().filter(|(t, _)| t == "ADDED").count(), 4);
    let mark = initial.iter().find(|(t, _)| t == "BOOKMARK").unwrap();
    assert_eq!(mark.1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn updates_are_compared_and_swapped() {
    let w = world().await;
    let made = w.post(MAPS, json!({"metadata": {"name": "m"}})).await.body;
    let mut first = made.clone();
    first["data"] = json!({"k": "1"});
    assert_eq!(w.call("PUT", &format!("{MAPS}/m"), "application/json", &first.to_string()).await.code, 200);
    let stale = w.call("PUT", &format!("{MAPS}/m"), "application/json", &first.to_string()).await;
    assert_eq!(stale.code, 409);
    let why = "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your changes to the latest version and try again";
    assert_eq!(stale.body["message"], why);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let w = world().await;
    w.post(MAPS, json!({"metadata": {"name": "m", "finalizers": ["a.b/c"]}})).await;
    let held = w.delete(&format!("{MAPS}/m")).await;
    assert!(held.body["metadata"]["deletionTimestamp"].is_string(), "{}", held.body);
    let released = w.merge(&format!("{MAPS}/m"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(released.code, 200, "{}", released.body);
    assert_eq!(w.get(&format!("{MAPS}/m")).await.code, 404);
}

#[tokio::test]
async fn a_service_gets_an_address() {
    let w = world().await;
    let services = "/api/v1/namespaces/default/services";
    let body = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let made = w.post(services, body).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let ip = made.body["spec"]["clusterIP"].as_str().unwrap();
    assert!(ip.starts_with("10.") && made.body["spec"]["ports"][0]["nodePort"].as_u64().unwrap() >= 30000);
    let taken = json!({"metadata": {"name": "t"}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    let refused = w.post(services, taken.clone()).await;
    assert_eq!(refused.code, 422);
    assert!(refused.body["message"].as_str().unwrap().contains("provided IP is already allocated"));
    w.delete(&format!("{services}/s")).await;
    assert_eq!(w.post(services, taken).await.code, 201);
}

#[tokio::test]
async fn a_namespace_terminates() {
    let w = world().await;
    w.post("/api/v1/namespaces", json!({"metadata": {"name": "x"}})).await;
    let deleted = w.delete("/api/v1/namespaces/x").await;
    assert_eq!(deleted.body["status"]["phase"], "Terminating");
    let refused = w.post("/api/v1/namespaces/x/configmaps", json!({"metadata": {"name": "m"}})).await;
    assert_eq!(
        (refused.code, &refused.body["details"]["causes"][0]["reason"]),
        (403, &json!("NamespaceTerminating"))
    );
    let mut last = deleted.body.clone();
    last["spec"]["finalizers"] = json!([]);
    let done = w.call("PUT", "/api/v1/namespaces/x/finalize", "application/json", &last.to_string()).await;
    assert_eq!(done.code, 200, "{}", done.body);
    assert_eq!(w.get("/api/v1/namespaces/x").await.code, 404);
}

#[tokio::test]
async fn status_and_scale_are_separate() {
    let w = world().await;
    let sets = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}, "status": {"replicas": 9}});
    let made = w.post(sets, body).await;
    assert_eq!((made.code, &made.body["status"]["replicas"]), (201, &Value::Null), "{}", made.body);
    let scaled = w.merge(&format!("{sets}/d/scale"), json!({"spec": {"replicas": 5}})).await;
    assert_eq!((scaled.code, &scaled.body["spec"]["replicas"]), (200, &json!(5)), "{}", scaled.body);
    assert_eq!(scaled.body["status"]["selector"], "a=b");
    let now = w
        .merge(&format!("{sets}/d/status"), json!({"spec": {"replicas": 7}, "status": {"replicas": 3}}))
        .await;
    assert_eq!((&now.body["spec"]["replicas"], &now.body["status"]["replicas"]), (&json!(5), &json!(3)));
    assert_eq!(now.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn dry_runs_write_nothing() {
    let w = world().await;
    let made = w.post(&format!("{MAPS}?dryRun=All"), json!({"metadata": {"generateName": "m-"}})).await;
    assert_eq!(made.code, 201);
    assert_eq!(made.body["metadata"]["name"].as_str().unwrap().len(), 7);
    assert_eq!(w.get(MAPS).await.body["items"], json!([]));
}

#[tokio::test]
async fn events_are_one_thing_in_two_groups() {
    let w = world().await;
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default"}, "reason": "R", "message": "hello", "type": "Normal"});
    assert_eq!(w.post("/api/v1/namespaces/default/events", event).await.code, 201);
    let other = w.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await.body;
    assert_eq!(
        (&other["note"], &other["regarding"]["name"], &other["apiVersion"]),
        (&json!("hello"), &json!("a"), &json!("events.k8s.io/v1"))
    );
    let found = w
        .get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Da,reason%3DR")
        .await
        .body;
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
}

/// A Table says of a pod what kubectl prints, and carries of it what was asked for, as it is stored.
#[tokio::test]
async fn rows_carry_what_was_asked_for() {
    let w = world().await;
    let pod = w.post("/api/v1/namespaces/default/pods", pod("a")).await.body;
    let shaped = async |accept: &str, path: &str| -> Value {
        let response = w.raw("GET", path, "", accept, "").await;
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    };
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let list = "/api/v1/namespaces/default/pods";
    for (include, object) in [
        ("None", Value::Null),
        (
            "Metadata",
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": pod["metadata"]}),
        ),
        ("Object", pod.clone()),
    ] {
        for path in [list.to_owned(), format!("{list}/a")] {
            let table = shaped(table, &format!("{path}?includeObject={include}")).await;
            let cells = table["rows"][0]["cells"].as_array().unwrap();
            assert_eq!(cells[..4], [json!("a"), json!("0/1"), json!("Pending"), json!("0")]);
            assert_eq!(table["rows"][0]["object"], object, "{path} {include}");
            assert_eq!(table["columnDefinitions"].as_array().unwrap().len(), 9);
        }
    }
    let metadata = shaped("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", list).await;
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert_eq!(metadata["items"][0]["metadata"], pod["metadata"]);
    assert!(metadata["items"][0]["spec"].is_null());
}

#[tokio::test]
async fn other_shapes_and_paths() {
    let w = world().await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let response = w.raw("GET", "/api/v1/namespaces", "", accept, "").await;
    let table: Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&table["kind"], table["rows"].as_array().unwrap().len()), (&json!("Table"), 4));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    for (path, code) in [
        ("/", 200),
        ("/api", 200),
        ("/apis", 200),
        ("/apis/apps/v1", 200),
        ("/version", 200),
        ("/healthz", 200),
        ("/readyz?verbose", 200),
        ("/livez/ping", 200),
        ("/metrics", 200),
        ("/metrics/slis", 200),
        ("/openapi/v3", 200),
        ("/openapi/v3/apis/apps/v1", 200),
    ] {
        assert_eq!(w.get(path).await.code, code, "{path}");
    }
    assert_eq!(w.get("/version").await.body["gitVersion"], crate::VERSION);
    let service = w.get("/api/v1/namespaces/default/services/kubernetes").await.body;
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let warned = w.post(MAPS, json!({"metadata": {"name": "w"}, "nope": 1})).await;
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"nope\\\"\"");
}
