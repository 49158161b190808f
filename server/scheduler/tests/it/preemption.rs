//! The scheduler against an API in memory: who is important has room made for it, in upstream's words.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::PostParams;
use kube::{Api, Resource};
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::{Informers, Key, Object};
use sampan_scheduler::config::Configuration;
use sampan_scheduler::{Config, Scheduler};
use serde_json::{Value, json};

use crate::fake::Fake;

struct Cluster {
    client: kube::Client,
    informers: Informers,
}

/// With a node of one CPU.
async fn cluster() -> Cluster {
    let client = sampan_client::loopback(Arc::new(Fake::default()), "default");
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
    let node = json!({"metadata": {"name": "n"},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9"}}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    Cluster { client, informers }
}

impl Cluster {
    /// A pod of a whole CPU. `ends` keeps it for a while after it was deleted.
    async fn pod(&self, name: &str, priority: i32, ends: bool) {
        let finalizers: &[&str] = if ends { &["a.io/b"] } else { &[] };
        let pod = json!({"metadata": {"name": name, "finalizers": finalizers}, "spec": {"priority": priority,
            "schedulerName": "default-scheduler",
            "containers": [{"name": "a", "image": "b", "resources": {"requests": {"cpu": "1"}}}]}});
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn until<K>(&self, key: Key, what: &str, condition: impl Fn(&Value) -> bool + Send + Sync)
    where
        K: Resource<DynamicType = ()> + Object + Debug + serde::Serialize,
    {
        let informer = self.informers.of::<K>();
        let now = || informer.get(&key).map_or(Value::Null, |object| serde_json::to_value(&*object).unwrap());
        let live = informer.until(|_| condition(&now()));
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        assert!(ended.is_ok(), "timed out: {what}: {:#}", now());
    }

    async fn pod_until(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool + Send + Sync) {
        self.until::<Pod>(Key::namespaced("default", name), what, condition).await;
    }

    async fn told(&self, reason: &str, message: &str) {
        let events = self.informers.of::<Event>();
        let is = |event: &Arc<Event>| {
            event.reason.as_deref() == Some(reason)
                && event.message.as_deref().is_some_and(|text| text.starts_with(message))
        };
        let live = events.until(|events| events.list().iter().any(is));
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        let all: Vec<_> = events.list().iter().map(|event| event.message.clone()).collect();
        assert!(ended.is_ok(), "nobody told {message}: {all:#?}");
    }
}

#[tokio::test]
async fn the_important_pod_gets_the_room_of_the_other() {
    let cluster = cluster().await;
    cluster.pod("low", 1, false).await;
    cluster.pod_until("low", "on its node", |pod| pod["spec"]["nodeName"] == "n").await;
    cluster.pod("high", 9, false).await;
    cluster.told("Preempted", "Preempted by pod ").await;
    cluster.told("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.").await;
    cluster.pod_until("low", "gone", Value::is_null).await;
    cluster.pod_until("high", "on its node", |pod| pod["spec"]["nodeName"] == "n").await;
}

#[tokio::test]
async fn a_victim_says_why_it_goes_and_the_room_is_promised() {
    let cluster = cluster().await;
    cluster.pod("low", 1, true).await;
    cluster.pod_until("low", "on its node", |pod| pod["spec"]["nodeName"] == "n").await;
    cluster.pod("high", 9, false).await;
    let says = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|one| {
            one["type"] == "DisruptionTarget"
                && one["reason"] == "PreemptionByScheduler"
                && one["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
        })
    };
    cluster.pod_until("low", "told why", says).await;
    cluster.pod_until("high", "nominated", |pod| pod["status"]["nominatedNodeName"] == "n").await;
    cluster.pod("middle", 5, false).await;
    cluster
        .told(
            "FailedScheduling",
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes",
        )
        .await;
}
