//! The controllers of volumes against an API in memory: claims are bound, kept, released and go.
#![allow(clippy::unwrap_used)]

mod fake;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use fake::Fake;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use sampan_controllers::{Config, ControllerManager};
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::{Informers, Key, Object};
use serde_json::{Value, json};

struct Cluster {
    client: kube::Client,
    informers: Informers,
}

fn cluster() -> Cluster {
    let client = sampan_client::loopback(Arc::new(Fake::default()), "default");
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
    Cluster { client, informers }
}

impl Cluster {
    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn claim(&self, name: &str, spec: Value) {
        let mut claim = json!({"metadata": {"name": name, "finalizers": ["kubernetes.io/pvc-protection"]},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Pending"}});
        claim["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        create(&self.claims(), claim).await;
    }

    async fn volume(&self, name: &str, meta: Value, spec: Value) {
        let mut volume = json!({"metadata": {"name": name, "finalizers": ["kubernetes.io/pv-protection"]},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}}});
        for (part, change) in [("metadata", meta), ("spec", spec)] {
            volume[part].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        }
        create(&self.volumes(), volume).await;
    }

    async fn class(&self, name: &str, mode: &str, default: bool) {
        let key = "storageclass.kubernetes.io/is-default-class";
        let meta = json!({"name": name, "annotations": {key: default.to_string()}});
        let class = json!({"metadata": meta, "provisioner": "a.b/c", "volumeBindingMode": mode});
        create(&Api::<StorageClass>::all(self.client.clone()), class).await;
    }

    /// Waits until the object, as JSON, is as `condition` wants it; `Null` stands for none.
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

    async fn claim_until(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool + Send + Sync,
    ) -> Value {
        self.until::<PersistentVolumeClaim>(Key::namespaced("default", name), what, condition).await
    }

    async fn volume_until(&self, name: &str, phase: &str) -> Value {
        let is = |volume: &Value| volume["status"]["phase"] == phase;
        self.until::<PersistentVolume>(Key::cluster(name), phase, is).await
    }

    async fn told(&self, object: &str, reason: &str) -> String {
        let events = self.informers.of::<Event>();
        let find = || {
            let all = events.list();
            let one = all.iter().find(|event| {
                event.involved_object.name.as_deref() == Some(object)
                    && event.reason.as_deref() == Some(reason)
            });
            one.map(|event| event.message.clone().unwrap_or_default())
        };
        let live = events.until(|_| find().is_some());
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        assert!(ended.is_ok(), "nobody told {reason} of {object}: {:#?}", events.list());
        find().unwrap()
    }
}

async fn create<K>(api: &Api<K>, object: Value)
where
    K: Resource<DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn merge<K>(api: &Api<K>, name: &str, change: Value)
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

fn phase(wanted: &'static str) -> impl Fn(&Value) -> bool + Send + Sync {
    move |object| object["status"]["phase"] == wanted
}

#[tokio::test]
async fn claims_and_volumes_find_each_other_and_part() {
    let cluster = cluster();
    cluster.claim("c", json!({})).await;
    let none = "no persistent volumes available for this claim and no storage class is set";
    assert_eq!(cluster.told("c", "FailedBinding").await, none);

    cluster
        .volume("big", json!({}), json!({"capacity": {"storage": "9Gi"}, "storageClassName": "else"}))
        .await;
    cluster.volume_until("big", "Available").await;
    cluster.volume("v", json!({}), json!({"persistentVolumeReclaimPolicy": "Retain"})).await;
    let claim = cluster.claim_until("c", "bound", phase("Bound")).await;
    assert_eq!(claim["spec"]["volumeName"], "v");
    assert_eq!(claim["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(claim["status"]["accessModes"], json!(["ReadWriteOnce"]));
    let yes =
        json!({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"});
    assert_eq!(claim["metadata"]["annotations"], yes);
    let volume = cluster.volume_until("v", "Bound").await;
    assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);

    // a bound volume does not go; a claim that nobody uses does
    cluster.volumes().delete("v", &DeleteParams::default()).await.unwrap();
    cluster.claims().delete("c", &DeleteParams::default()).await.unwrap();
    cluster.claim_until("c", "gone", Value::is_null).await;
    cluster.until::<PersistentVolume>(Key::cluster("v"), "gone after its claim", Value::is_null).await;
}

#[tokio::test]
async fn a_released_volume_is_taken_again_when_its_claim_is_cleared() {
    let cluster = cluster();
    cluster.volume("v", json!({}), json!({"persistentVolumeReclaimPolicy": "Retain"})).await;
    cluster.claim("one", json!({})).await;
    cluster.claim_until("one", "bound", phase("Bound")).await;
    cluster.claims().delete("one", &DeleteParams::default()).await.unwrap();
    cluster.volume_until("v", "Released").await;
    cluster.claim("two", json!({})).await;
    cluster.told("two", "FailedBinding").await;
    let clear = Patch::Merge(json!({"spec": {"claimRef": null}}));
    cluster.volumes().patch("v", &PatchParams::default(), &clear).await.unwrap();
    let two = cluster.claim_until("two", "bound", phase("Bound")).await;
    assert_eq!(two["spec"]["volumeName"], "v");
}

#[tokio::test]
async fn two_claims_get_two_volumes() {
    let cluster = cluster();
    for at in 0..20 {
        cluster.claim(&format!("c{at}"), json!({})).await;
    }
    for at in 0..20 {
        cluster.volume(&format!("v{at}"), json!({}), json!({})).await;
    }
    let mut taken = std::collections::BTreeSet::new();
    for at in 0..20 {
        let claim = cluster.claim_until(&format!("c{at}"), "bound", phase("Bound")).await;
        let volume = claim["spec"]["volumeName"].as_str().unwrap().to_owned();
        let bound = cluster.volume_until(&volume, "Bound").await;
        assert_eq!(bound["spec"]["claimRef"]["name"], format!("c{at}"));
        taken.insert(volume);
    }
    assert_eq!(taken.len(), 20);
}

#[tokio::test]
async fn a_provisioner_is_asked_and_its_volume_bound_and_released() {
    let cluster = cluster();
    cluster.claim("c", json!({})).await;
    cluster.told("c", "FailedBinding").await;
    // a default class that comes later is given to claims that named none
    cluster.class("fast", "Immediate", true).await;
    let asked = |claim: &Value| {
        let all = &claim["metadata"]["annotations"];
        all["volume.kubernetes.io/storage-provisioner"] == "a.b/c"
            && all["volume.beta.kubernetes.io/storage-provisioner"] == "a.b/c"
    };
    let claim = cluster.claim_until("c", "asks", asked).await;
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    assert!(cluster.told("c", "ExternalProvisioning").await.contains("external provisioner 'a.b/c'"));

    let by = json!({"annotations": {"pv.kubernetes.io/provisioned-by": "a.b/c"}});
    let reference = json!({"kind": "PersistentVolumeClaim", "namespace": "default", "name": "c",
        "uid": claim["metadata"]["uid"]});
    let spec =
        json!({"storageClassName": "fast", "claimRef": reference, "persistentVolumeReclaimPolicy": "Delete"});
    cluster.volume("pvc-1", by, spec).await;
    cluster.claim_until("c", "bound", phase("Bound")).await;
    cluster.volume_until("pvc-1", "Bound").await;
    cluster.claims().delete("c", &DeleteParams::default()).await.unwrap();
    cluster.volume_until("pvc-1", "Released").await;
}

#[tokio::test]
async fn a_delayed_claim_waits_for_its_consumer() {
    let cluster = cluster();
    cluster.class("late", "WaitForFirstConsumer", false).await;
    cluster.volume("v", json!({}), json!({"storageClassName": "late"})).await;
    cluster.volume_until("v", "Available").await;
    cluster.claim("c", json!({"storageClassName": "late"})).await;
    let waits = cluster.told("c", "WaitForFirstConsumer").await;
    assert_eq!(waits, "waiting for first consumer to be created before binding");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]}});
    create(&cluster.pods(), pod).await;
    assert_eq!(cluster.told("c", "WaitForPodScheduled").await, "waiting for pod p to be scheduled");
    // what the scheduler does when a node is found and no volume suits
    let chosen = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n"}}});
    merge(&cluster.claims(), "c", chosen).await;
    cluster.told("c", "ExternalProvisioning").await;
}

#[tokio::test]
async fn a_claim_stays_as_long_as_a_pod_uses_it() {
    let cluster = cluster();
    cluster.claim("c", json!({})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [], "nodeName": "n",
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]}});
    create(&cluster.pods(), pod).await;
    cluster.claims().delete("c", &DeleteParams::default()).await.unwrap();
    let going = |claim: &Value| claim["metadata"]["deletionTimestamp"].is_string();
    cluster.claim_until("c", "is going", going).await;
    // a second claim, which nobody uses, goes meanwhile
    cluster.claim("free", json!({})).await;
    cluster.claims().delete("free", &DeleteParams::default()).await.unwrap();
    cluster.claim_until("free", "gone", Value::is_null).await;
    assert!(cluster.claims().get_opt("c").await.unwrap().is_some());
    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.claim_until("c", "gone", Value::is_null).await;
}

#[tokio::test]
async fn a_claim_without_its_volume_is_lost() {
    let cluster = cluster();
    cluster.volume("v", json!({}), json!({})).await;
    cluster.claim("c", json!({})).await;
    cluster.claim_until("c", "bound", phase("Bound")).await;
    cluster.volume_until("v", "Bound").await;
    cluster.volumes().delete("v", &DeleteParams::default()).await.unwrap();
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    cluster.volumes().patch("v", &PatchParams::default(), &free).await.unwrap();
    let lost = cluster.claim_until("c", "lost", phase("Lost")).await;
    assert_eq!(lost["status"], json!({"phase": "Lost"}));
    let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
    assert_eq!(cluster.told("c", "ClaimLost").await, why);
}

#[tokio::test]
async fn an_inline_volume_is_claimed() {
    let cluster = cluster();
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [],
        "volumes": [{"name": "d", "ephemeral": {"volumeClaimTemplate": template}}]}});
    create(&cluster.pods(), pod).await;
    let claim = cluster.claim_until("p-d", "made", |claim| !claim.is_null()).await;
    assert_eq!(claim["metadata"]["ownerReferences"][0]["name"], "p");
    cluster.pods().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.claim_until("p-d", "gone with its pod", Value::is_null).await;
}
