//! The answer to a binding is lost: the pod itself says what became of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::PostParams;
use sampan_client::{BoxError, Handler, ResponseFuture};
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::Informers;
use sampan_scheduler::config::Configuration;
use sampan_scheduler::{Config, Scheduler};
use serde_json::json;

use crate::fake::Fake;

/// Binds, and does not say so.
struct Silent(Arc<Fake>);

impl Handler for Silent {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        let binds = request.uri().path().ends_with("/binding");
        let answer = self.0.clone().handle(request);
        if !binds {
            return answer;
        }
        Box::pin(async move {
            answer.await;
            let never = |error: std::convert::Infallible| -> BoxError { match error {} };
            let mut response = Response::new(Full::from("upstream timed out").map_err(never).boxed_unsync());
            *response.status_mut() = http::StatusCode::GATEWAY_TIMEOUT;
            response
        })
    }
}

#[tokio::test]
async fn a_binding_whose_answer_is_lost_takes_its_room() {
    let client = sampan_client::loopback(Arc::new(Silent(Arc::default())), "default");
    let tasks = Tasks::new(Component::Scheduler);
    let informers = Informers::new(client.clone(), tasks.clone());
    let config = Config {
        client: client.clone(),
        informers: informers.clone(),
        health: Health::new(),
        configuration: Configuration::default(),
    };
    let (scheduler, drain) = (Scheduler::new(config, &tasks), tasks.drain());
    tasks.spawn("scheduler", async move { scheduler.run(drain).await });
    let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "1", "pods": "9"}}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"schedulerName": "default-scheduler",
        "containers": [{"name": "a", "image": "b", "resources": {"requests": {"cpu": "1"}}}]}});
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let events = informers.of::<Event>();
    let said = events.until(|events| !events.is_empty());
    tokio::time::timeout(Duration::from_secs(20), said).await.unwrap();
    let messages: Vec<_> = events.list().iter().map(|event| event.message.clone().unwrap()).collect();
    assert_eq!(messages, ["Successfully assigned default/p to n"]);
}
