//! The garbage collector and objects of custom kinds, against an API in memory.
#![allow(clippy::unwrap_used)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::Fake;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject};
use sampan_controllers::{Config, ControllerManager};
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::{Informer, Informers, Key};
use serde_json::{Value, json};

struct Cluster {
    fake: Arc<Fake>,
    client: kube::Client,
    informers: Informers,
    tasks: Tasks,
}

fn cluster() -> Cluster {
    let fake = Arc::new(Fake::default());
    let client = sampan_client::loopback(fake.clone(), "default");
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
    Cluster { fake, client, informers, tasks }
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

async fn limited<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .unwrap_or_else(|_| panic!("timed out: {what}"))
}

impl Cluster {
    fn definitions(&self) -> Api<DynamicObject> {
        let kind = resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions");
        Api::all_with(self.client.clone(), &kind)
    }

    fn things(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), "default", &resource("example.com", "Thing", "things"))
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn define(&self) {
        let names = json!({"plural": "things", "kind": "Thing"});
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names,
                "versions": [{"name": "v1", "served": true, "storage": true}]},
            "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]}});
        let typed = serde_json::from_value(definition).unwrap();
        self.definitions().create(&PostParams::default(), &typed).await.unwrap();
    }

    /// Makes a thing; an owner reference to it.
    async fn thing(&self, name: &str, owners: &[&Value]) -> Value {
        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing",
            "metadata": {"name": name, "ownerReferences": owners}});
        let typed = serde_json::from_value(thing).unwrap();
        let made = self.things().create(&PostParams::default(), &typed).await.unwrap();
        reference(name, &made.metadata.uid.unwrap())
    }

    async fn map(&self, name: &str, owners: &[&Value]) {
        let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
        let typed = serde_json::from_value(map).unwrap();
        self.maps().create(&PostParams::default(), &typed).await.unwrap();
    }

    async fn delete(&self, thing: &str, policy: PropagationPolicy) {
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        self.things().delete(thing, &params).await.unwrap();
    }

    async fn wait(&self, what: &str, condition: impl Fn(&Informer<ConfigMap>) -> bool + Send + Sync) {
        let informer = self.informers.of::<ConfigMap>();
        limited("the first list", informer.synced()).await;
        limited(what, informer.until(condition)).await;
    }

    async fn goes(&self, map: &str) {
        let key = Key::namespaced("default", map);
        self.wait(&format!("{map} goes"), |maps| maps.get(&key).is_none()).await;
    }

    async fn end(self) {
        assert_eq!(self.tasks.finish(Duration::from_secs(10)).await, 0);
    }
}

fn reference(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": name, "uid": uid, "blockOwnerDeletion": true})
}

#[tokio::test]
async fn what_a_custom_object_owned_goes_with_it() {
    let cluster = cluster();
    cluster.define().await;
    let thing = cluster.thing("a", &[]).await;
    let inner = cluster.thing("b", &[&thing]).await;
    cluster.map("of-a", &[&thing]).await;
    cluster.map("of-b", &[&inner]).await;
    cluster.delete("a", PropagationPolicy::Background).await;
    cluster.goes("of-a").await;
    cluster.goes("of-b").await;
    cluster.end().await;
}

#[tokio::test]
async fn a_custom_object_waits_for_its_dependents() {
    let cluster = cluster();
    cluster.define().await;
    let thing = cluster.thing("a", &[]).await;
    cluster.map("of-a", &[&thing]).await;
    let things = cluster.informers.reduced::<DynamicMeta>("/apis/example.com/v1/things");
    limited("things", things.until(|things| things.len() == 1)).await;
    cluster.delete("a", PropagationPolicy::Foreground).await;
    limited("a goes", things.until(Informer::is_empty)).await;
    // it went last
    assert!(cluster.maps().get_opt("of-a").await.unwrap().is_none());
    cluster.end().await;
}

#[tokio::test]
async fn orphans_of_a_custom_object_stay() {
    let cluster = cluster();
    cluster.define().await;
    let thing = cluster.thing("a", &[]).await;
    cluster.map("of-a", &[&thing]).await;
    let things = cluster.informers.reduced::<DynamicMeta>("/apis/example.com/v1/things");
    limited("things", things.until(|things| things.len() == 1)).await;
    cluster.delete("a", PropagationPolicy::Orphan).await;
    limited("a goes", things.until(Informer::is_empty)).await;
    let map = cluster.maps().get("of-a").await.unwrap();
    assert_eq!(map.metadata.owner_references.unwrap_or_default(), []);
    cluster.end().await;
}

#[tokio::test]
async fn owners_are_judged_once_their_kind_is_known() {
    let cluster = cluster();
    cluster.map("of-nobody", &[&reference("a", "no-such-uid")]).await;
    cluster
        .map(
            "of-an-unknown-kind",
            &[&json!({"apiVersion": "example.org/v1", "kind": "Other", "name": "x", "uid": "u"})],
        )
        .await;
    cluster
        .map("of-a-gone-pod", &[&json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u"})])
        .await;
    cluster.goes("of-a-gone-pod").await;
    assert!(cluster.maps().get_opt("of-nobody").await.unwrap().is_some());
    cluster.define().await;
    cluster.goes("of-nobody").await;
    assert!(cluster.maps().get_opt("of-an-unknown-kind").await.unwrap().is_some());
    cluster.end().await;
}

#[tokio::test]
async fn a_kind_that_goes_takes_its_informer_and_its_dependents_with_it() {
    let cluster = cluster();
    cluster.define().await;
    let thing = cluster.thing("a", &[]).await;
    cluster.map("of-a", &[&thing]).await;
    cluster.map("of-nobody", &[&reference("x", "no-such-uid")]).await;
    // its kind is known
    cluster.goes("of-nobody").await;
    cluster.delete("a", PropagationPolicy::Background).await;
    cluster.definitions().delete("things.example.com", &DeleteParams::default()).await.unwrap();
    cluster.goes("of-a").await;
    limited("nobody watches", cluster.fake.unwatched("things")).await;
    cluster.end().await;
}

/// A thing, as far as these tests look.
#[derive(Clone, Debug, serde::Deserialize)]
struct DynamicMeta {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
}

sampan_reconcile::decoded!(DynamicMeta);

impl sampan_reconcile::Object for DynamicMeta {
    fn key(&self) -> Key {
        Key::namespaced("default", self.metadata.name.as_deref().unwrap_or_default())
    }

    fn version(&self) -> u64 {
        self.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
    }
}
