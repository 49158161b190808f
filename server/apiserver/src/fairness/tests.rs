//! Requests that wait and requests that are refused, on a store with real objects.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures::FutureExt;
use http::Request;
use sampan_process::{Component, Health, Tasks};
use serde_json::json;

use super::*;
use crate::pipeline::info;
use crate::pipeline::query::Query;
use crate::{ApiServer, Config, Peer, ServiceBlock, UserInfo};

const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

struct World {
    server: ApiServer,
    _folder: tempfile::TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(Component::ApiServer);
    let config = Config {
        data: folder.path().to_owned(),
        tasks: tasks.clone(),
        health: Health::new(),
        bind: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 29443,
        port_fixed: false,
        services: ServiceBlock::new(std::net::Ipv4Addr::new(10, 96, 0, 0), 12),
        node_name: "n1".into(),
        addresses: vec![],
        history: Duration::from_secs(300),
        audit: Default::default(),
        authentication: None,
    };
    let server = ApiServer::new(config).await.unwrap();
    server.secure(&tasks).await.unwrap();
    World { server, _folder: folder }
}

fn user(name: &str) -> UserInfo {
    UserInfo::new(name, if name == "admin" { &["system:masters"] } else { &[] })
}

fn context(name: &str, uri: &str) -> Context {
    let request = Request::builder().uri(uri).body(Bytes::new()).unwrap();
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or(""));
    let info = Arc::new(info::parse(&head.method, head.uri.path(), &query));
    Context { head, body, query, info, user: Arc::new(user(name)) }
}

impl World {
    async fn call(&self, name: &str, method: &str, uri: &str, body: Value) -> (Response<()>, Value) {
        use http_body_util::BodyExt;
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request =
            Request::builder().method(method).uri(uri).header("content-type", content).body(body).unwrap();
        let response = self.server.handle(request, Peer::Loopback(Arc::new(user(name)))).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// A level of one seat and a queue for one, and a schema that sends whoever is named so to it.
    async fn narrow(&self, patience: Option<Duration>) -> Arc<Fairness> {
        let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": 1});
        let limited = json!({"nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": {"type": "Queue", "queuing": queuing}});
        let level = json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": limited}});
        let rule = json!({"subjects": [{"kind": "User", "user": {"name": "storm"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}]});
        let schema = json!({"metadata": {"name": "storm"}, "spec": {"priorityLevelConfiguration": {"name": "narrow"},
            "matchingPrecedence": 10, "distinguisherMethod": {"type": "ByUser"}, "rules": [rule]}});
        for (plural, object) in [("prioritylevelconfigurations", level), ("flowschemas", schema)] {
            let (made, told) = self.call("admin", "POST", &format!("{FLOW}/{plural}"), object).await;
            assert_eq!(made.status(), 201, "{told}");
        }
        Fairness::new(self.server.store().clone(), 100, patience)
    }
}

#[tokio::test]
async fn answers_say_what_the_request_was_of() {
    let w = world().await;
    let uid = async |plural: &str, name: &str| {
        let (_, object) = w.call("admin", "GET", &format!("{FLOW}/{plural}/{name}"), Value::Null).await;
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    for (name, uri, schema, level) in [
        ("admin", PODS, "exempt", "exempt"),
        ("jane", PODS, "global-default", "global-default"),
        ("jane", "/healthz", "probes", "exempt"),
        ("system:kube-scheduler", PODS, "kube-scheduler", "workload-high"),
    ] {
        let (head, _) = w.call(name, "GET", uri, Value::Null).await;
        assert_eq!(
            head.headers()["x-kubernetes-pf-flowschema-uid"],
            uid("flowschemas", schema).await,
            "{name} {uri}"
        );
        let told = &head.headers()["x-kubernetes-pf-prioritylevel-uid"];
        assert_eq!(told, &uid("prioritylevelconfigurations", level).await, "{name} {uri}");
    }
}

#[tokio::test]
async fn who_finds_no_seat_waits_and_who_finds_no_queue_is_refused() {
    let w = world().await;
    let fairness = w.narrow(None).await;
    let asked = context("storm", PODS);
    let first = fairness.admit(&asked).await.ok().unwrap().unwrap();
    let mut second = Box::pin(fairness.admit(&asked));
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    let refused = fairness.admit(&asked).await.err().unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(refused.headers().contains_key("x-kubernetes-pf-flowschema-uid"));
    // the storm is nobody else's
    assert!(fairness.admit(&context("jane", PODS)).now_or_never().unwrap().is_ok());
    assert!(fairness.admit(&context("admin", PODS)).now_or_never().unwrap().is_ok());
    drop(first);
    let second = second.await.ok().unwrap().unwrap();
    // whoever gives up leaves the queue
    let mut third = Box::pin(fairness.admit(&asked));
    assert!(third.as_mut().now_or_never().is_none());
    drop(third);
    let mut fourth = Box::pin(fairness.admit(&asked));
    assert!(fourth.as_mut().now_or_never().is_none());
    drop(second);
    drop(fourth.await.ok().unwrap().unwrap());
    assert!(fairness.state.lock().seats.iter().all(|seats| seats.used == 0));
}

#[tokio::test]
async fn waiting_has_an_end() {
    let w = world().await;
    let fairness = w.narrow(Some(Duration::ZERO)).await;
    let asked = context("storm", PODS);
    let first = fairness.admit(&asked).await.ok().unwrap();
    assert_eq!(fairness.admit(&asked).await.err().unwrap().status(), 429);
    drop(first);
    assert!(fairness.admit(&asked).await.is_ok());
}

#[tokio::test]
async fn seats_follow_the_objects() {
    let w = world().await;
    let fairness = w.narrow(None).await;
    let asked = context("storm", PODS);
    let first = fairness.admit(&asked).await.ok().unwrap();
    let wider = json!({"spec": {"limited": {"nominalConcurrencyShares": 50}}});
    let uri = format!("{FLOW}/prioritylevelconfigurations/narrow");
    assert_eq!(w.call("admin", "PATCH", &uri, wider).await.0.status(), 200);
    let second = fairness.admit(&asked).now_or_never().unwrap().ok().unwrap();
    // a schema whose level is gone matches nothing
    assert_eq!(w.call("admin", "DELETE", &uri, Value::Null).await.0.status(), 200);
    let third = fairness.admit(&asked).await.ok().unwrap();
    let global =
        w.call("jane", "GET", PODS, Value::Null).await.0.headers()["x-kubernetes-pf-flowschema-uid"].clone();
    let mut headers = HeaderMap::new();
    third.unwrap().mark(&mut headers);
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], global);
    drop((first, second));
    assert!(fairness.state.lock().seats.iter().all(|seats| seats.used == 0));
}

#[tokio::test]
async fn lists_take_more_seats_and_streams_none() {
    let w = world().await;
    let fairness = w.narrow(None).await;
    let width = |uri: &str| fairness.width(&context("storm", uri));
    // the roles that a cluster begins with
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let stored = w.server.store().list("clusterroles.rbac.authorization.k8s.io").len();
    assert_eq!(width(roles) as usize, stored.div_ceil(100).max(1));
    assert_eq!((width(&format!("{roles}?limit=5")), width(&format!("{roles}/admin"))), (1, 1));
    let streams = fairness.admit(&context("storm", &format!("{PODS}/a/log"))).now_or_never().unwrap();
    assert!(streams.ok().unwrap().is_none());
}

#[tokio::test]
async fn default_objects_come_back_and_conditions_are_true() {
    let w = world().await;
    let store = w.server.store();
    let mut levels = store.watch(LEVELS, "", store.revision()).unwrap();
    let uri = format!("{FLOW}/prioritylevelconfigurations/catch-all");
    assert_eq!(w.call("admin", "DELETE", &uri, Value::Null).await.0.status(), 200);
    levels.next().await.unwrap().unwrap();
    levels.next().await.unwrap().unwrap();
    assert_eq!(
        w.call("admin", "GET", &uri, Value::Null).await.1["spec"]["limited"]["nominalConcurrencyShares"],
        5
    );
    let mut schemas = store.watch(SCHEMAS, "", store.revision()).unwrap();
    let stray =
        json!({"metadata": {"name": "stray"}, "spec": {"priorityLevelConfiguration": {"name": "none"}}});
    assert_eq!(w.call("admin", "POST", &format!("{FLOW}/flowschemas"), stray).await.0.status(), 201);
    schemas.next().await.unwrap().unwrap();
    schemas.next().await.unwrap().unwrap();
    let (_, stray) = w.call("admin", "GET", &format!("{FLOW}/flowschemas/stray"), Value::Null).await;
    assert_eq!(stray["status"]["conditions"][0]["reason"], "NotFound");
}

/// The rows of a page below its header, without the spaces between columns.
fn rows(page: &str) -> Vec<Vec<String>> {
    let cells = |row: &str| row.split(',').map(|cell| cell.trim().to_owned()).collect();
    page.lines().skip(1).map(cells).collect()
}

#[tokio::test]
async fn who_debugs_sees_levels_queues_and_requests() {
    let w = world().await;
    let fairness = w.narrow(None).await;
    let asked = context("storm", PODS);
    let first = fairness.admit(&asked).await.ok().unwrap().unwrap();
    let mut second = Box::pin(fairness.admit(&asked));
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    assert!(fairness.admit(&asked).await.is_err(), "the queue is full");
    let exempt = fairness.admit(&context("admin", "/version")).await.ok().unwrap();
    let level = |name: &str| {
        let all = rows(&fairness.dump("dump_priority_levels", false).unwrap());
        all.into_iter().find(|row| row[0] == name).unwrap()[1..].join(" ")
    };
    assert_eq!(level("narrow"), "1 false false 1 1 1 1 0 0");
    assert_eq!(level("exempt"), "0 false false 0 1 1 0 0 0");
    assert_eq!(level("workload-low"), "0 true false 0 0 0 0 0 0");
    let queues = rows(&fairness.dump("dump_queues", false).unwrap());
    let narrow: Vec<_> = queues.iter().filter(|row| row[0] == "narrow").collect();
    assert_eq!(narrow.len(), 1);
    assert_eq!(narrow[0][1..5].join(" "), "0 1 1 1");
    assert_eq!(narrow[0][6..].join(" "), "1 1 0.00300000ss");
    let requests = rows(&fairness.dump("dump_requests", true).unwrap());
    let of: Vec<_> = requests.iter().filter(|row| row[0] == "narrow").collect();
    assert_eq!(of[0][1..5].join(" "), "storm 0 0 storm");
    assert_eq!(of[0][9], "0001-01-01T00:00:00Z");
    assert_eq!(of[1][1..5].join(" "), "storm 0 -1 storm");
    assert_eq!(of[1][10..].join(" "), format!("storm list {PODS} default  v1 pods "));
    let other: Vec<_> = requests.iter().filter(|row| row[0] == "exempt").collect();
    assert_eq!(other[0][2..4].join(" "), "-1 -1");
    assert_eq!(requests.len(), 3);
    drop((first, exempt));
    drop(second.await.ok().unwrap());
    assert_eq!(level("narrow"), "0 true false 0 0 2 1 0 0");
    assert_eq!(level("exempt"), "0 true false 0 0 1 0 0 0");
    assert!(fairness.dump("dump_anything", false).is_none());
}

#[tokio::test]
async fn the_pages_of_who_debugs_are_for_those_who_may() {
    let w = world().await;
    let uri = "/debug/api_priority_and_fairness/dump_priority_levels";
    assert_eq!(w.call("jane", "GET", uri, Value::Null).await.0.status(), 403);
    let (head, _) = w.call("admin", "GET", uri, Value::Null).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(
        w.call("admin", "GET", "/debug/api_priority_and_fairness/x", Value::Null).await.0.status(),
        404
    );
}
