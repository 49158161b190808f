//! Groups that are served by someone else in the process.

use super::*;
use crate::pipeline::respond;
use crate::{GroupHandler, ServedGroup};

const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Says who asked for what.
fn handler() -> GroupHandler {
    Arc::new(|request, user| {
        Box::pin(async move {
            let path = request.uri().path_and_query().map_or("", |path| path.as_str()).to_owned();
            let body = if path == "/apis/metrics.k8s.io/v1beta1" {
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
                    "resources": [{"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics",
                                   "verbs": ["get", "list"]}]})
            } else {
                json!({"method": request.method().as_str(), "path": path, "user": user.name,
                    "token": request.headers().contains_key("authorization")})
            };
            respond::raw(200, "application/json", body.to_string())
        })
    })
}

fn serve(w: &World) -> ServedGroup {
    w.server.serve_group("metrics.k8s.io", "v1beta1", handler())
}

fn api_service() -> Value {
    json!({"metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {"group": "metrics.k8s.io", "version": "v1beta1",
        "groupPriorityMinimum": 100, "versionPriority": 100}})
}

impl World {
    async fn group_names(&self, accept: &str) -> Vec<String> {
        let response = self.raw("GET", "/apis", "", accept, "").await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let names = document["groups"].as_array().or(document["items"].as_array()).unwrap().clone();
        let name =
            |group: &Value| group["name"].as_str().or(group["metadata"]["name"].as_str()).map(str::to_owned);
        names.iter().filter_map(name).collect()
    }

    async fn condition(&self, status: &str) -> Value {
        let from = self.server.store().revision();
        let mut changes = self.server.store().watch("apiservices.apiregistration.k8s.io", "", from).unwrap();
        loop {
            let object = self.get(&format!("{APISERVICES}/v1beta1.metrics.k8s.io")).await.body;
            let condition = object["status"]["conditions"][0].clone();
            if condition["status"] == status {
                return condition;
            }
            changes.next().await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_group_is_there_as_long_as_it_is_served() {
    let w = world().await;
    let pods = "/apis/metrics.k8s.io/v1beta1/namespaces/a/pods?labelSelector=x%3Dy";
    assert_eq!(w.get(pods).await.code, 404);
    let served = serve(&w);
    let got = w.get(pods).await;
    assert_eq!(
        (got.code, got.body),
        (200, json!({"method": "GET", "path": pods, "user": "test", "token": false}))
    );
    for accept in ["application/json", AGGREGATED] {
        assert_eq!(
            w.group_names(accept).await.last().map(String::as_str),
            Some("metrics.k8s.io"),
            "{accept}"
        );
    }
    assert_eq!(w.get("/apis/metrics.k8s.io").await.body["preferredVersion"]["version"], "v1beta1");
    assert_eq!(w.get("/apis/metrics.k8s.io/v1beta1").await.body["resources"][0]["kind"], "PodMetrics");
    assert!(
        w.get("/").await.body["paths"].as_array().unwrap().contains(&json!("/apis/metrics.k8s.io/v1beta1"))
    );
    // a second server takes the place, and the first one's end does not end it
    let second = serve(&w);
    drop(served);
    assert_eq!(w.get(pods).await.code, 200);
    drop(second);
    assert_eq!(w.get(pods).await.code, 404);
    assert!(!w.group_names(AGGREGATED).await.contains(&"metrics.k8s.io".to_owned()));
    assert_eq!(w.get("/openapi/v3").await.code, 200);
}

#[tokio::test]
async fn an_api_service_says_whether_its_group_answers() {
    let w = world().await;
    assert_eq!(w.post(APISERVICES, api_service()).await.code, 201);
    assert_eq!(w.condition("False").await["reason"], "ServiceNotFound");
    let got = w.get("/apis/metrics.k8s.io/v1beta1/nodes").await;
    assert_eq!((got.code, got.body), (503, json!("service unavailable\n")));
    assert_eq!(w.get("/apis/metrics.k8s.io/v1beta1").await.code, 503);
    let response = w.raw("GET", "/apis", "", AGGREGATED, "").await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    let stale = document["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(stale["versions"], json!([{"version": "v1beta1", "freshness": "Stale"}]));
    let served = serve(&w);
    assert_eq!(w.condition("True").await["reason"], "Local");
    assert_eq!(w.get("/apis/metrics.k8s.io/v1beta1/nodes").await.code, 200);
    drop(served);
    assert_eq!(w.condition("False").await["reason"], "ServiceNotFound");
    w.delete(&format!("{APISERVICES}/v1beta1.metrics.k8s.io")).await;
    assert_eq!(w.get("/apis/metrics.k8s.io/v1beta1/nodes").await.code, 404);
}

#[tokio::test]
async fn who_may_not_ask_does_not_reach_the_group() {
    let w = world().await;
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let _served = serve(&w);
    let ask = |user: &'static str| {
        let request = Request::builder().uri("/apis/metrics.k8s.io/v1beta1/namespaces/a/pods");
        let request = request.header("authorization", "Bearer x").body(Bytes::new()).unwrap();
        let user = Arc::new(UserInfo::new(user, &["system:authenticated"]));
        let server = w.server.clone();
        async move {
            let response = server.handle(request, Peer::Loopback(user)).await;
            let code = response.status().as_u16();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            (code, serde_json::from_slice::<Value>(&bytes).unwrap())
        }
    };
    let (code, body) = ask("jane").await;
    assert_eq!(code, 403);
    assert_eq!(
        body["message"],
        "pods.metrics.k8s.io is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"metrics.k8s.io\" in the namespace \"a\""
    );
    let role = json!({"metadata": {"name": "reader", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["get", "list"]}]});
    assert_eq!(w.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await.code, 201);
    let binding = json!({"metadata": {"name": "jane"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    assert_eq!(w.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await.code, 201);
    let (code, body) = ask("jane").await;
    assert_eq!((code, &body["user"], &body["token"]), (200, &json!("jane"), &json!(false)));
}
