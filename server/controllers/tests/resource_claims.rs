//! The controller of claims for devices against an API in memory: claims are made for pods, told, and go with their users.
#![allow(clippy::unwrap_used)]

mod fake;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use fake::Fake;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
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

async fn create<K>(api: &Api<K>, object: Value)
where
    K: Resource<DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

impl Cluster {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn template(&self) {
        let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu"}});
        let template =
            json!({"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": [request]}}}});
        create(&self.api::<ResourceClaimTemplate>(), template).await;
    }

    async fn pod(&self, name: &str, claim: Value) {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}],
            "resourceClaims": [claim]}});
        create(&self.api::<Pod>(), pod).await;
    }

    /// What a scheduler writes for pods.
    async fn give(&self, claim: &str, pods: &[&str]) {
        let mut users = Vec::new();
        for pod in pods {
            let uid = self.api::<Pod>().get(pod).await.unwrap().metadata.uid;
            users.push(json!({"resource": "pods", "name": pod, "uid": uid}));
        }
        let given = json!({"metadata": {"finalizers": ["resource.kubernetes.io/delete-protection"]},
            "status": {"allocation": {"devices": {"results": []}}, "reservedFor": users}});
        self.api::<ResourceClaim>()
            .patch(claim, &PatchParams::default(), &Patch::Merge(given))
            .await
            .unwrap();
    }

    async fn status(&self, pod: &str, status: Value) {
        let change = Patch::Merge(json!({"status": status}));
        self.api::<Pod>().patch_status(pod, &PatchParams::default(), &change).await.unwrap();
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
        assert!(ended.is_ok(), "timed out: {what}: {:#}", now());
        now()
    }

    /// The claim that the pod's status names.
    async fn claim_of(&self, pod: &str) -> String {
        let told = |pod: &Value| pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].is_string();
        let pod = self.until::<Pod>(pod, "a claim", told).await;
        pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().unwrap().to_owned()
    }
}

fn from_template() -> Value {
    json!({"name": "gpu", "resourceClaimTemplateName": "t"})
}

#[tokio::test]
async fn a_pod_gets_a_claim_from_its_template_and_loses_it_when_it_is_done() {
    let cluster = cluster();
    cluster.pod("p", from_template()).await;
    let events = cluster.informers.of::<Event>();
    let message = "PodResourceClaim gpu: resource claim template \"t\": resourceclaimtemplate.resource.k8s.io \"t\" not found";
    let is = |event: &Arc<Event>| {
        event.reason.as_deref() == Some("FailedResourceClaimCreation")
            && event.message.as_deref() == Some(message)
    };
    let told = events.until(|events| events.list().iter().any(is));
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    cluster.template().await;
    let name = cluster.claim_of("p").await;
    assert!(name.starts_with("p-gpu-"), "{name}");
    let claim = cluster.api::<ResourceClaim>().get(&name).await.unwrap();
    let claim = serde_json::to_value(claim).unwrap();
    assert_eq!(claim["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"], "gpu");
    assert_eq!(claim["metadata"]["ownerReferences"][0]["name"], "p");
    assert_eq!(claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"], "gpu");
    // one that goes by mistake is made again
    cluster.api::<ResourceClaim>().delete(&name, &DeleteParams::default()).await.unwrap();
    let other = |pod: &Value| {
        let named = &pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"];
        named.is_string() && *named != name.as_str()
    };
    cluster.until::<Pod>("p", "another claim", other).await;
    let name = cluster.claim_of("p").await;
    cluster.give(&name, &["p"]).await;
    cluster.status("p", json!({"phase": "Succeeded"})).await;
    cluster.until::<ResourceClaim>(&name, "gone with its pod's end", Value::is_null).await;
}

#[tokio::test]
async fn a_shared_claim_gives_its_devices_back_with_its_last_user() {
    let cluster = cluster();
    create(&cluster.api::<ResourceClaim>(), json!({"metadata": {"name": "c"}, "spec": {}})).await;
    let shared = || json!({"name": "gpu", "resourceClaimName": "c"});
    cluster.pod("p", shared()).await;
    cluster.pod("q", shared()).await;
    cluster.give("c", &["p", "q"]).await;
    cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    let one = |claim: &Value| claim["status"]["reservedFor"].as_array().is_some_and(|all| all.len() == 1);
    let claim = cluster.until::<ResourceClaim>("c", "one user", one).await;
    assert!(claim["status"]["allocation"].is_object(), "{claim:#}");
    cluster.status("q", json!({"phase": "Failed"})).await;
    let free = |claim: &Value| {
        let status = &claim["status"];
        let finalizers = claim["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        status["allocation"].is_null() && status["reservedFor"].is_null() && finalizers
    };
    cluster.until::<ResourceClaim>("c", "free", free).await;
}

#[tokio::test]
async fn a_claim_that_is_deleted_goes_when_nobody_uses_it() {
    let cluster = cluster();
    create(&cluster.api::<ResourceClaim>(), json!({"metadata": {"name": "c"}, "spec": {}})).await;
    cluster.pod("p", json!({"name": "gpu", "resourceClaimName": "c"})).await;
    cluster.give("c", &["p"]).await;
    cluster.api::<ResourceClaim>().delete("c", &DeleteParams::default()).await.unwrap();
    let kept = |claim: &Value| claim["metadata"]["deletionTimestamp"].is_string();
    cluster.until::<ResourceClaim>("c", "kept by its user", kept).await;
    cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.until::<ResourceClaim>("c", "gone", Value::is_null).await;
}

#[tokio::test]
async fn who_is_placed_without_the_scheduler_gets_its_place_at_the_claim() {
    let cluster = cluster();
    create(&cluster.api::<ResourceClaim>(), json!({"metadata": {"name": "c"}, "spec": {}})).await;
    cluster.give("c", &[]).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n",
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}});
    create(&cluster.api::<Pod>(), pod).await;
    let used = |claim: &Value| claim["status"]["reservedFor"][0]["name"] == "p";
    cluster.until::<ResourceClaim>("c", "reserved", used).await;
}
