#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use futures::FutureExt;
use http_body_util::BodyExt;

use super::*;
use crate::store::testing::{summary, time};

const SECOND: u64 = 1_000_000_000;

fn pods() -> Informer<Pod> {
    let pod = |namespace: &str, name: &str, phase: &str| -> Pod {
        serde_json::from_value(
            json!({"metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
            "status": {"phase": phase}}),
        )
        .unwrap()
    };
    Informer::fixed(vec![
        pod("default", "b", "Running"),
        pod("default", "a", "Running"),
        pod("default", "done", "Succeeded"),
        pod("other", "c", "Running"),
    ])
}

fn ask(method: &str, path: &str, accept: &str) -> (u16, Value) {
    let mut store = Store::default();
    let containers = |nanos: u64| {
        summary(
            if nanos == 0 { 100_000 } else { 115_000 },
            nanos * 3,
            &[
                ("a", "x", 1000, nanos),
                ("a", "y", 1000, 2 * nanos),
                ("b", "z", 1000, nanos),
                ("done", "z", 1000, nanos),
            ],
        )
    };
    store.put(&[containers(0)]);
    store.put(&[containers(15 * SECOND / 4)]);
    let mut history = History::new(4);
    history.add(time(1000), HashMap::from([(Subject::Node("n1".into()), [0.5, 1e9])]), |_| true);
    let mut node = Node::default();
    node.metadata.name = Some("n1".into());
    let (nodes, pods) = (Informer::fixed(vec![node]), pods());
    let world = World {
        nodes: &nodes,
        pods: &pods,
        store: &store,
        history: &history,
        resolution: Duration::from_secs(15),
        now: time(116_000),
    };
    let request =
        Request::builder().method(method).uri(path).header("accept", accept).body(Bytes::new()).unwrap();
    let response = answer(&world, &request);
    let code = response.status().as_u16();
    let body = response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap())
}

fn get(path: &str) -> (u16, Value) {
    ask("GET", &format!("/apis/metrics.k8s.io/v1beta1{path}"), "application/json")
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[test]
fn objects_are_as_metrics_servers() {
    let (code, node) = get("/nodes/n1");
    assert_eq!(
        (code, node),
        (
            200,
            json!({"kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {"name": "n1", "creationTimestamp": "1970-01-01T00:01:56Z"},
                "timestamp": "1970-01-01T00:01:55Z", "window": "15s", "usage": {"cpu": "750m", "memory": "2Ki"}})
        )
    );
    let (_, pod) = get("/namespaces/default/pods/a");
    assert_eq!(
        pod["containers"],
        json!([{"name": "x", "usage": {"cpu": "250m", "memory": "2Ki"}},
               {"name": "y", "usage": {"cpu": "500m", "memory": "2Ki"}}])
    );
    assert_eq!(pod["metadata"]["labels"], json!({"app": "a"}));
    let (_, resources) = get("");
    assert_eq!(resources["groupVersion"], "metrics.k8s.io/v1beta1");
    assert_eq!(resources["resources"][1]["kind"], "PodMetrics");
}

#[test]
fn lists_are_sorted_and_narrowed() {
    for (path, expect) in [
        ("/pods", vec!["a", "b"]),
        ("/namespaces/default/pods?labelSelector=app%3Db", vec!["b"]),
        ("/pods?labelSelector=app+notin+(b),app", vec!["a"]),
        ("/pods?fieldSelector=metadata.name%3Db", vec!["b"]),
        ("/pods?fieldSelector=metadata.namespace!=default", vec![]),
        ("/namespaces/other/pods", vec![]),
        ("/nodes", vec!["n1"]),
        ("/nodes?labelSelector=x", vec![]),
    ] {
        let (code, list) = get(path);
        assert_eq!((code, names(&list)), (200, expect), "{path}");
    }
}

#[test]
fn refusals_are_statuses() {
    for (method, path, code, words) in [
        ("GET", "/nodes/x", 404, "nodes \"x\" not found"),
        ("GET", "/namespaces/default/pods/x", 404, "pods \"x\" not found"),
        ("GET", "/namespaces/other/pods/c", 404, "podmetrics.metrics.k8s.io \"other/c\" not found"),
        ("GET", "/namespaces/default/pods/done", 404, "podmetrics.metrics.k8s.io \"default/done\" not found"),
        ("GET", "/services", 404, "the server could not find the requested resource"),
        ("GET", "/pods?watch=true", 405, "is not supported on resources of kind"),
        ("DELETE", "/nodes/n1", 405, "is not supported on resources of kind"),
        ("GET", "/pods?labelSelector=%3D%3D", 400, ""),
        ("GET", "/pods?fieldSelector=spec.nodeName%3Dx", 400, "field label not supported: spec.nodeName"),
    ] {
        let (got, status) = ask(method, &format!("/apis/metrics.k8s.io/v1beta1{path}"), "*/*");
        let message = status["message"].as_str().unwrap();
        assert!(
            got == code && status["kind"] == "Status" && message.contains(words),
            "{path}: {got} {status}"
        );
    }
}

#[test]
fn tables_have_the_columns_of_what_is_used() {
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (_, table) = ask("GET", "/apis/metrics.k8s.io/v1beta1/pods", accept);
    let heads: Vec<&Value> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(heads, ["Name", "cpu", "memory", "Window"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "750m", "4Ki", "15s"]));
    assert_eq!(table["rows"][0]["object"]["metadata"]["namespace"], "default");
}

#[test]
fn the_history_is_a_group_of_its_own() {
    let past =
        |path: &str| ask("GET", &format!("/apis/metrics.sampan.dev/v1alpha1{path}"), "application/json");
    let (code, series) = past("/nodes/n1");
    assert_eq!(
        (code, &series["kind"], &series["resolutionSeconds"]),
        (200, &json!("NodeHistory"), &json!(15))
    );
    assert_eq!((&series["timestamps"], &series["cpuCores"]), (&json!([1]), &json!([0.5])));
    assert_eq!(names(&past("/nodes").1), ["n1"]);
    assert_eq!(past("/namespaces/default/pods/a").0, 404);
    assert_eq!(past("").1["resources"][0]["kind"], "NodeHistory");
}

#[test]
fn durations_are_gos() {
    for (nanos, text) in [
        (0, "0s"),
        (15_000_000_000, "15s"),
        (15_320_000_000, "15.32s"),
        (60_500_000_000, "1m0.5s"),
        (3_600_000_000_000, "1h0m0s"),
        (1_500_000, "1.5ms"),
        (7, "7ns"),
    ] {
        assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
    }
    assert_eq!((nano_cores(156_340_283), bytes(1536)), ("156340283n".to_owned(), "1536".to_owned()));
}

proptest::proptest! {
    #[test]
    fn no_request_panics(path in r"(/apis/metrics\.k8s\.io/v1beta1)?/[a-z/]{0,20}", query in "[A-Za-z0-9%=&+!(),._~/-]{0,40}") {
        let uri = format!("{path}?{query}");
        if uri.parse::<http::Uri>().is_ok() {
            ask("GET", &uri, "as=Table");
        }
        pairs(&query);
    }
}
