//! The scheduler against an API in memory: pods get the devices that their claims ask for, before they get their node.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
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

/// With nodes `a` and `b`, and a device on each.
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
    let cluster = Cluster { client, informers };
    for name in ["a", "b"] {
        let node = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "pods": "9"}}});
        cluster.create::<Node>(&Api::all(cluster.client.clone()), node).await;
        cluster.slice(name).await;
    }
    let class = json!({"metadata": {"name": "gpu"}, "spec": {}});
    cluster.create::<DeviceClass>(&Api::all(cluster.client.clone()), class).await;
    let (scheduler, drain) = (Scheduler::new(config, &tasks), tasks.drain());
    tasks.spawn("scheduler", async move { scheduler.run(drain).await });
    cluster
}

impl Cluster {
    fn claims(&self) -> Api<ResourceClaim> {
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

    async fn slice(&self, node: &str) {
        let slice = json!({"metadata": {"name": node}, "spec": {"driver": "gpu.io", "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "gpu0"}]}});
        self.create::<ResourceSlice>(&Api::all(self.client.clone()), slice).await;
    }

    async fn claim(&self, name: &str) {
        let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu"}});
        let claim = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}});
        self.create(&self.claims(), claim).await;
    }

    /// A pod that uses these claims.
    async fn pod(&self, name: &str, claims: &[&str]) {
        let claims: Vec<_> =
            claims.iter().map(|claim| json!({"name": claim, "resourceClaimName": claim})).collect();
        let pod = json!({"metadata": {"name": name}, "spec": {"schedulerName": "default-scheduler",
            "containers": [{"name": "c", "image": "i"}], "resourceClaims": claims}});
        self.create(&self.pods(), pod).await;
    }

    async fn until<K>(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool + Send + Sync,
    ) -> Value
    where
        K: Resource<DynamicType = ()> + Object + Debug + serde::Serialize,
    {
        let (informer, key) = (self.informers.of::<K>(), Key::namespaced("default", name));
        let now = || informer.get(&key).map_or(Value::Null, |object| serde_json::to_value(&*object).unwrap());
        let live = informer.until(|_| condition(&now()));
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        assert!(ended.is_ok(), "timed out: {what}: {:#}\n{:#?}", now(), self.messages());
        now()
    }

    fn messages(&self) -> Vec<String> {
        self.informers.of::<Event>().list().iter().filter_map(|event| event.message.clone()).collect()
    }

    async fn node_of(&self, pod: &str) -> String {
        let pod = self.until::<Pod>(pod, "on a node", |pod| pod["spec"]["nodeName"].is_string()).await;
        pod["spec"]["nodeName"].as_str().unwrap().to_owned()
    }

    async fn told(&self, message: &str) {
        let events = self.informers.of::<Event>();
        let live = events.until(|_| self.messages().iter().any(|said| said == message));
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        assert!(ended.is_ok(), "nobody told {message}: {:#?}", self.messages());
    }
}

#[tokio::test]
async fn a_claim_has_its_device_and_its_user_before_the_pod_has_its_node() {
    let cluster = cluster().await;
    cluster.claim("one").await;
    cluster.pod("p", &["one"]).await;
    let node = cluster.node_of("p").await;
    let claim = serde_json::to_value(cluster.claims().get("one").await.unwrap()).unwrap();
    let uid = cluster.pods().get("p").await.unwrap().metadata.uid.unwrap();
    assert_eq!(claim["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
    let status = &claim["status"];
    assert_eq!(status["reservedFor"], json!([{"resource": "pods", "name": "p", "uid": uid}]));
    let device = json!([{"request": "r", "driver": "gpu.io", "pool": node, "device": "gpu0"}]);
    assert_eq!(status["allocation"]["devices"]["results"], device);
    let term = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    assert_eq!(status["allocation"]["nodeSelector"]["nodeSelectorTerms"], term);
    assert!(status["allocation"]["allocationTimestamp"].is_string());
    // another pod may use the same claim, where it is
    cluster.pod("q", &["one"]).await;
    assert_eq!(cluster.node_of("q").await, node);
    let users = |claim: &Value| claim["status"]["reservedFor"].as_array().is_some_and(|all| all.len() == 2);
    cluster.until::<ResourceClaim>("one", "two users", users).await;
}

#[tokio::test]
async fn devices_run_out_and_come_back() {
    let cluster = cluster().await;
    for name in ["one", "two", "three"] {
        cluster.claim(name).await;
    }
    cluster.pod("p", &["one"]).await;
    cluster.pod("q", &["two"]).await;
    let (first, second) = (cluster.node_of("p").await, cluster.node_of("q").await);
    assert_ne!(first, second);
    cluster.pod("r", &["three"]).await;
    cluster.told("0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.").await;
    // what the controller does when nobody uses a claim any more
    let freed = json!({"status": {"allocation": null, "reservedFor": null}});
    cluster.claims().patch_status("one", &PatchParams::default(), &Patch::Merge(freed)).await.unwrap();
    assert_eq!(cluster.node_of("r").await, first);
}

#[tokio::test]
async fn a_pod_waits_in_silence_for_its_claims() {
    let cluster = cluster().await;
    cluster.pod("p", &["late"]).await;
    // a pod that needs none is placed meanwhile
    cluster.pod("q", &[]).await;
    cluster.node_of("q").await;
    assert!(!cluster.messages().iter().any(|said| said.contains("late")), "{:?}", cluster.messages());
    cluster.claim("late").await;
    cluster.node_of("p").await;
    // from a template: the controller tells the name
    let pod = json!({"metadata": {"name": "t"}, "spec": {"schedulerName": "default-scheduler",
        "containers": [{"name": "c", "image": "i"}],
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "template"}]}});
    cluster.create(&cluster.pods(), pod).await;
    let uid = cluster.pods().get("t").await.unwrap().metadata.uid.unwrap();
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "t", "uid": uid, "controller": true});
    let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu"}});
    let made = json!({"metadata": {"name": "t-gpu-x", "ownerReferences": [owner]},
        "spec": {"devices": {"requests": [request]}}});
    cluster.create(&cluster.claims(), made).await;
    let told =
        json!({"status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "t-gpu-x"}]}});
    cluster.pods().patch_status("t", &PatchParams::default(), &Patch::Merge(told)).await.unwrap();
    cluster.node_of("t").await;
}

#[tokio::test]
async fn a_claim_is_moved_when_nobody_else_uses_it() {
    let cluster = cluster().await;
    cluster.claim("one").await;
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gone"]}]});
    let there = json!({"status": {"allocation": {"nodeSelector": {"nodeSelectorTerms": [term]},
        "devices": {"results": [{"request": "r", "driver": "gpu.io", "pool": "gone", "device": "gpu0"}]}}}});
    cluster.claims().patch_status("one", &PatchParams::default(), &Patch::Merge(there)).await.unwrap();
    cluster.pod("p", &["one"]).await;
    cluster.told("0/2 nodes are available: 2 resourceclaim not available on the node. deallocation of ResourceClaim completed, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.").await;
    let node = cluster.node_of("p").await;
    let has = |claim: &Value| claim["status"]["allocation"]["devices"]["results"][0]["pool"] == node;
    cluster.until::<ResourceClaim>("one", "a device there", has).await;
}

#[tokio::test]
async fn two_claims_of_a_pod_need_two_devices_on_one_node() {
    let cluster = cluster().await;
    cluster.claim("one").await;
    cluster.claim("two").await;
    cluster.pod("p", &["one", "two"]).await;
    cluster.told("0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.").await;
    let slices: Api<ResourceSlice> = Api::all(cluster.client.clone());
    let more = json!({"spec": {"devices": [{"name": "gpu0"}, {"name": "gpu1"}]}});
    slices.patch("b", &PatchParams::default(), &Patch::Merge(more)).await.unwrap();
    assert_eq!(cluster.node_of("p").await, "b");
    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    assert!(cluster.pods().get_opt("p").await.unwrap().is_none());
}
