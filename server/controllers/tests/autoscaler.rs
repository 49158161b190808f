//! Autoscalers against metrics adapters in memory: what is asked of them, what becomes of their answers, and the words of
//! the status.
#![allow(clippy::unwrap_used)]

mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fake::Fake;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use sampan_client::{BoxError, Handler, ResponseFuture};
use sampan_controllers::{Config, ControllerManager};
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::{Informers, Key};
use serde_json::{Value, json};

const METRICS: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default";
const OUTSIDE: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";

/// An API with a kind that only has a scale, and with adapters that know the values of some paths.
struct World {
    objects: Arc<Fake>,
    scales: Mutex<BTreeMap<String, Value>>,
    metrics: BTreeMap<String, Value>,
}

fn answer(code: u16, body: String) -> ResponseFuture {
    let never = |error: std::convert::Infallible| -> BoxError { match error {} };
    let mut response = Response::new(Full::from(body).map_err(never).boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    Box::pin(async move { response })
}

impl World {
    fn own(&self, request: &Request<Bytes>) -> Option<(u16, String)> {
        let path = request.uri().path_and_query().unwrap().as_str();
        if path.trim_end_matches('/') == "/apis" {
            let version = |name: &str| json!({"groupVersion": format!("custom.metrics.k8s.io/{name}"), "version": name});
            let group = json!({
                "name": "custom.metrics.k8s.io", "versions": [version("v1"), version("v1beta2"), version("v1beta1")]});
            return Some((
                200,
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}).to_string(),
            ));
        }
        if path == "/apis/example.com/v1" {
            let thing = json!({
                "name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get"]});
            let list = json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "example.com/v1", "resources": [thing]});
            return Some((200, list.to_string()));
        }
        if path.starts_with(METRICS) || path.starts_with(OUTSIDE) {
            return Some(match self.metrics.get(path) {
                Some(items) => (200, json!({"kind": "MetricValueList", "items": items}).to_string()),
                None => (404, "404 page not found\n".to_owned()),
            });
        }
        let name = request.uri().path().strip_prefix(THINGS)?.strip_prefix('/')?.strip_suffix("/scale")?;
        let mut scales = self.scales.lock();
        if request.method() == Method::PUT {
            scales.insert(name.to_owned(), serde_json::from_slice(request.body()).unwrap());
        }
        Some((200, scales[name].to_string()))
    }
}

impl Handler for World {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        match self.own(&request) {
            Some((code, body)) => answer(code, body),
            None => self.objects.clone().handle(request),
        }
    }
}

struct Cluster {
    world: Arc<World>,
    client: kube::Client,
    informers: Informers,
}

/// Things of two replicas each.
fn cluster(things: &[&str], metrics: &[(&str, Value)]) -> Cluster {
    let scale = |name: &&str| {
        let scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": 2}, "status": {"replicas": 2, "selector": format!("app={name}")}});
        ((*name).to_owned(), scale)
    };
    let world = Arc::new(World {
        objects: Arc::new(Fake::default()),
        scales: Mutex::new(things.iter().map(scale).collect()),
        metrics: metrics.iter().map(|(path, items)| ((*path).to_owned(), items.clone())).collect(),
    });
    let client = sampan_client::loopback(world.clone(), "default");
    let tasks = Tasks::new(Component::ControllerManager);
    let informers = Informers::new(client.clone(), tasks.clone());
    let config = Config {
        client: client.clone(),
        informers: informers.clone(),
        root_ca_pem: "PEM".to_owned(),
        certificates: None,
        health: Health::new(),
        collect_after: None,
    };
    let (manager, drain) = (ControllerManager::new(config, tasks.clone()), tasks.drain());
    tasks.spawn("manager", async move { manager.run(drain).await });
    Cluster { world, client, informers }
}

impl Cluster {
    async fn pods(&self, app: &str) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        for number in 0..2 {
            let ready =
                json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let pod = json!({
                "metadata": {"name": format!("{app}-{number}"), "labels": {"app": app}},
                "spec": {"containers": [{"name": "c", "image": "a"}]},
                "status": {"phase": "Running", "conditions": [ready]}});
            api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        }
    }

    async fn scale(&self, thing: &str, metrics: Value) {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), "default");
        let hpa = json!({"metadata": {"name": thing}, "spec": {
            "scaleTargetRef": {"apiVersion": "example.com/v1", "kind": "Thing", "name": thing},
            "minReplicas": 1, "maxReplicas": 9, "metrics": metrics}});
        api.create(&PostParams::default(), &serde_json::from_value(hpa).unwrap()).await.unwrap();
    }

    /// The status once it says whether scaling is active.
    async fn status(&self, thing: &str) -> Value {
        let informer = self.informers.of::<HorizontalPodAutoscaler>();
        let key = Key::namespaced("default", thing);
        let status = || informer.get(&key).and_then(|hpa| hpa.status.clone());
        let judged = informer.until(|_| {
            let conditions = status().and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "ScalingActive")
        });
        tokio::time::timeout(Duration::from_secs(20), judged).await.unwrap();
        serde_json::to_value(status().unwrap()).unwrap()
    }

    fn replicas(&self, thing: &str) -> i64 {
        self.world.scales.lock()[thing]["spec"]["replicas"].as_i64().unwrap()
    }

    async fn event(&self, reason: &str, thing: &str) -> String {
        let events = self.informers.of::<Event>();
        let about = |event: &Event| {
            event.reason.as_deref() == Some(reason) && event.involved_object.name.as_deref() == Some(thing)
        };
        let seen = events.until(|events| events.list().iter().any(|event| about(event)));
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
        let event = events.list().into_iter().find(|event| about(event)).unwrap();
        event.message.clone().unwrap()
    }
}

fn condition(status: &Value, kind: &str) -> (String, String, String) {
    let all = status["conditions"].as_array().unwrap();
    let one = all.iter().find(|condition| condition["type"] == kind).unwrap();
    let text = |field: &str| one[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn value(name: &str, value: &str) -> Value {
    json!({"describedObject": {"kind": "Pod", "name": name}, "value": value, "timestamp": "2026-01-01T00:00:00Z"})
}

#[tokio::test]
async fn pods_objects_and_external_systems_scale() {
    let hits = format!("{METRICS}/pods/*/hits?labelSelector=app%3Dpods");
    let route = format!("{METRICS}/ingresses.networking.k8s.io/main/rate?metricLabelSelector=verb%3DGET");
    let (own, queue) =
        (format!("{METRICS}/metrics/backlog"), format!("{OUTSIDE}/queue?labelSelector=name%3Dx"));
    let cluster = cluster(
        &["pods", "object", "namespace", "external"],
        &[
            (&hits, json!([value("pods-0", "300"), value("pods-1", "100")])),
            (&route, json!([value("main", "6k")])),
            (&own, json!([value("default", "21")])),
            (&queue, json!([{"metricName": "queue", "value": "9"}, {"metricName": "queue", "value": "6"}])),
        ],
    );
    for app in ["pods", "object", "namespace", "external"] {
        cluster.pods(app).await;
    }
    let average = |value: &str| json!({"type": "AverageValue", "averageValue": value});
    cluster
        .scale(
            "pods",
            json!([{"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": average("100")}}]),
        )
        .await;
    let selector = json!({"matchLabels": {"verb": "GET"}});
    let about = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main"});
    cluster
        .scale(
            "object",
            json!([{"type": "Object", "object": {
            "describedObject": about, "metric": {"name": "rate", "selector": selector},
            "target": {"type": "Value", "value": "4k"}}}]),
        )
        .await;
    let about = json!({"apiVersion": "v1", "kind": "Namespace", "name": "default"});
    cluster
        .scale(
            "namespace",
            json!([{"type": "Object", "object": {
            "describedObject": about, "metric": {"name": "backlog"}, "target": average("7")}}]),
        )
        .await;
    let selector = json!({"matchLabels": {"name": "x"}});
    cluster
        .scale(
            "external",
            json!([{"type": "External", "external": {
            "metric": {"name": "queue", "selector": selector}, "target": average("5")}}]),
        )
        .await;

    let external = "external metric queue(&LabelSelector{MatchLabels:map[string]string{name: x,},MatchExpressions:[]LabelSelectorRequirement{},})";
    let shared = "external metric backlog(nil)";
    for (thing, replicas, metric, member, current) in [
        ("pods", 4, "pods metric hits", "pods", json!({"averageValue": "200"})),
        ("object", 3, "Ingress metric rate", "object", json!({"value": "6k"})),
        ("namespace", 3, shared, "object", json!({"averageValue": "10500m"})),
        ("external", 3, external, "external", json!({"averageValue": "7500m"})),
    ] {
        let status = cluster.status(thing).await;
        let found = format!("the HPA was able to successfully calculate a replica count from {metric}");
        assert_eq!(
            condition(&status, "ScalingActive"),
            ("True".to_owned(), "ValidMetricFound".to_owned(), found),
            "{thing}"
        );
        assert_eq!(condition(&status, "AbleToScale").1, "SucceededRescale", "{thing}");
        assert_eq!(status["currentMetrics"][0][member]["current"], current, "{status}");
        assert_eq!((status["desiredReplicas"].as_i64(), cluster.replicas(thing)), (Some(replicas), replicas));
        let message = cluster.event("SuccessfulRescale", thing).await;
        assert_eq!(message, format!("New size: {replicas}; reason: {metric} above target"));
    }
}

#[tokio::test]
async fn what_an_adapter_does_not_know_is_told_in_its_words() {
    let known = format!("{METRICS}/pods/*/hits?labelSelector=app%3Dmixed");
    let cluster = cluster(
        &["pods", "object", "external", "mixed"],
        &[(&known, json!([value("mixed-0", "100"), value("mixed-1", "500")]))],
    );
    cluster.pods("mixed").await;
    let average = json!({"type": "AverageValue", "averageValue": "100"});
    let of_pods = |name: &str| json!({"type": "Pods", "pods": {"metric": {"name": name}, "target": average}});
    cluster.scale("pods", json!([of_pods("misses")])).await;
    let about = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    cluster
        .scale("object", json!([{"type": "Object", "object": {
            "describedObject": about, "metric": {"name": "rate"}, "target": {"type": "Value", "value": "1"}}}]))
        .await;
    cluster
        .scale(
            "external",
            json!([{"type": "External", "external": {
            "metric": {"name": "queue"}, "target": {"type": "Value", "value": "1"}}}]),
        )
        .await;
    cluster.scale("mixed", json!([of_pods("misses"), of_pods("hits")])).await;

    let missing = "the server could not find the requested resource";
    let custom = "unable to fetch metrics from custom metrics API";
    for (thing, reason, why, prefix) in [
        (
            "pods",
            "FailedGetPodsMetric",
            format!("unable to get metric misses: {custom}: {missing} (get pods.custom.metrics.k8s.io *)"),
            "failed to get pods metric value: ",
        ),
        (
            "object",
            "FailedGetObjectMetric",
            format!(
                "unable to get metric rate: Deployment on default d/{custom}: {missing} (get deployments.apps.custom.metrics.k8s.io d)"
            ),
            "failed to get object metric value: ",
        ),
        (
            "external",
            "FailedGetExternalMetric",
            format!(
                "unable to get external metric default/queue/nil: unable to fetch metrics from external metrics API: {missing} (get queue.external.metrics.k8s.io)"
            ),
            "failed to get queue external metric value: failed to get external metric queue: ",
        ),
    ] {
        let status = cluster.status(thing).await;
        let unable = format!("the HPA was unable to compute the replica count: {why}");
        assert_eq!(condition(&status, "ScalingActive"), ("False".to_owned(), reason.to_owned(), unable));
        assert_eq!(cluster.event(reason, thing).await, why);
        let summary = cluster.event("FailedComputeMetricsReplicas", thing).await;
        assert_eq!(summary, format!("invalid metrics (1 invalid out of 1), first error is: {prefix}{why}"));
        assert_eq!(cluster.replicas(thing), 2);
    }
    // one metric that is known may ask for more; its status stands at its place
    let status = cluster.status("mixed").await;
    assert_eq!(condition(&status, "ScalingActive").1, "ValidMetricFound");
    assert_eq!(status["currentMetrics"][0]["type"], "");
    assert_eq!(status["currentMetrics"][1]["pods"]["current"]["averageValue"], "300");
    assert_eq!(cluster.replicas("mixed"), 4);
}
