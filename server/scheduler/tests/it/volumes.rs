//! The scheduler against an API in memory: pods wait for their volumes, and the volumes follow their pods. What the
//! binder and a provisioner do, the tests do.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
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

/// With a node `n` and a class `late` that waits for consumers.
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
    let cluster = Cluster { client, informers };
    let node = json!({"metadata": {"name": "n", "labels": {"host": "n"}},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9"}}});
    cluster.create::<Node>(&Api::all(cluster.client.clone()), node).await;
    let class = json!({"metadata": {"name": "late"}, "provisioner": "a.b/c",
        "volumeBindingMode": "WaitForFirstConsumer"});
    cluster.create::<StorageClass>(&Api::all(cluster.client.clone()), class).await;
    cluster
}

impl Cluster {
    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, api: &Api<K>, object: Value)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned + serde::Serialize,
    {
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    async fn claim(&self, class: &str) {
        let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Pending"}});
        self.create(&self.claims(), claim).await;
    }

    async fn volume(&self, host: &str) {
        let term = json!({"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]});
        let volume = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "2Gi"}, "storageClassName": "late",
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}, "status": {"phase": "Available"}});
        self.create::<PersistentVolume>(&Api::all(self.client.clone()), volume).await;
    }

    async fn pod(&self, name: &str) {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "b"}],
            "schedulerName": "default-scheduler",
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]}});
        self.create(&self.pods(), pod).await;
    }

    /// What the binder does in the end.
    async fn bind(&self) {
        self.bind_but_for_its_status().await;
        self.merge(json!({"status": {"phase": "Bound"}})).await;
    }

    async fn bind_but_for_its_status(&self) {
        let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "v"}});
        self.merge(bound).await;
    }

    async fn merge(&self, change: Value) {
        self.claims().patch("c", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    async fn until<K>(&self, key: Key, what: &str, condition: impl Fn(&Value) -> bool + Send + Sync) -> Value
    where
        K: Resource<DynamicType = ()> + Object + Debug + serde::Serialize,
    {
        let informer = self.informers.of::<K>();
        let now = || informer.get(&key).map_or(Value::Null, |object| serde_json::to_value(&*object).unwrap());
        let live = informer.until(|_| condition(&now()));
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        assert!(ended.is_ok(), "timed out: {what}: {:#}", now());
        now()
    }

    async fn scheduled(&self, pod: &str) {
        let key = Key::namespaced("default", pod);
        self.until::<Pod>(key, "on its node", |pod| pod["spec"]["nodeName"] == "n").await;
    }

    async fn node_of(&self, pod: &str) -> Option<String> {
        self.pods().get(pod).await.unwrap().spec.unwrap().node_name
    }

    async fn selected(&self, node: &str) {
        let key = Key::namespaced("default", "c");
        let is =
            |claim: &Value| claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == node;
        self.until::<PersistentVolumeClaim>(key, "a node for the claim", is).await;
    }

    async fn told(&self, message: &str) {
        let events = self.informers.of::<Event>();
        let is = |event: &Arc<Event>| {
            event.reason.as_deref() == Some("FailedScheduling") && event.message.as_deref() == Some(message)
        };
        let live = events.until(|events| events.list().iter().any(is));
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        let all: Vec<_> = events.list().iter().map(|event| event.message.clone()).collect();
        assert!(ended.is_ok(), "nobody told {message}: {all:#?}");
    }
}

#[tokio::test]
async fn a_volume_is_chosen_with_the_node_and_bound_before_the_pod() {
    let cluster = cluster().await;
    cluster.volume("n").await;
    cluster.claim("late").await;
    cluster.pod("p").await;
    let claimed = |volume: &Value| volume["spec"]["claimRef"]["name"] == "c";
    let volume = cluster.until::<PersistentVolume>(Key::cluster("v"), "claimed", claimed).await;
    assert_eq!(volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"], "yes");
    assert_eq!(cluster.node_of("p").await, None, "its volume is not bound yet");
    cluster.bind_but_for_its_status().await;
    assert_eq!(cluster.node_of("p").await, None, "no kubelet would mount it yet");
    cluster.bind().await;
    cluster.scheduled("p").await;
}

#[tokio::test]
async fn a_volume_is_made_for_the_node_and_made_again_if_that_fails() {
    let cluster = cluster().await;
    cluster.claim("late").await;
    cluster.pod("p").await;
    cluster.selected("n").await;
    cluster.merge(json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": null}}})).await;
    cluster
        .told("running PreBind plugin \"VolumeBinding\": binding volumes: provisioning failed for PVC \"c\"")
        .await;
    cluster.selected("n").await;
    assert_eq!(cluster.node_of("p").await, None);
    cluster.volume("n").await;
    cluster.bind().await;
    cluster.scheduled("p").await;
}

#[tokio::test]
async fn a_pod_waits_for_its_claim() {
    let cluster = cluster().await;
    cluster.pod("p").await;
    let all = |why: &str| {
        format!(
            "0/1 nodes are available: {why}. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        )
    };
    cluster.told(&all("persistentvolumeclaim \"c\" not found")).await;
    cluster.claim("now").await;
    cluster.told(&all("pod has unbound immediate PersistentVolumeClaims")).await;
    cluster.volume("n").await;
    cluster.bind().await;
    cluster.scheduled("p").await;
}

#[tokio::test]
async fn a_pod_does_not_leave_its_volume() {
    let cluster = cluster().await;
    cluster.volume("elsewhere").await;
    cluster.claim("late").await;
    cluster.bind().await;
    cluster.pod("p").await;
    cluster
        .told("0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
        .await;
    let moved = json!({"metadata": {"labels": {"host": "elsewhere"}}});
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.patch("n", &PatchParams::default(), &Patch::Merge(moved)).await.unwrap();
    cluster.scheduled("p").await;
}

#[tokio::test]
async fn a_pod_that_goes_frees_what_was_chosen_for_it() {
    let cluster = cluster().await;
    cluster.claim("late").await;
    cluster.pod("p").await;
    cluster.selected("n").await;
    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.pod("q").await;
    cluster.volume("n").await;
    cluster.bind().await;
    cluster.scheduled("q").await;
    assert!(cluster.pods().get_opt("p").await.unwrap().is_none());
}
