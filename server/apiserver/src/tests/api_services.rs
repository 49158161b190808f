//! The APIServices of custom resources' groups.

use super::*;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const BUCKET: &str = "apiservices.apiregistration.k8s.io";

/// A definition of group `boats.example`, with the versions that it has, and of those the ones that it serves.
fn definition(plural: &str, versions: &[&str], served: &[&str]) -> Value {
    let version = |name: &&str| {
        json!({"name": name, "served": served.contains(name), "storage": *name == versions[0],
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!({"metadata": {"name": format!("{plural}.boats.example")}, "spec": {"group": "boats.example",
        "scope": "Cluster", "names": {"plural": plural, "kind": plural.to_uppercase()},
        "versions": versions.iter().map(version).collect::<Vec<_>>()}})
}

/// A server that keeps the objects.
async fn secured() -> World {
    let world = world().await;
    world.server.secure(world.server.tasks()).await.unwrap();
    world
}

impl World {
    /// Waits until the object of a version of the group is as wanted, or is not there.
    async fn service_until(&self, version: &str, wanted: impl Fn(Option<&Value>) -> bool) -> Value {
        self.named_until(&format!("{version}.boats.example"), wanted).await
    }

    /// The same, by the object's name.
    async fn named_until(&self, name: &str, wanted: impl Fn(Option<&Value>) -> bool) -> Value {
        let store = self.server.store();
        let mut watch = store.watch(BUCKET, name, store.revision()).unwrap();
        loop {
            let now = self.get(&format!("{SERVICES}/{name}")).await;
            if wanted(Some(&now.body).filter(|_| now.code == 200)) {
                return now.body;
            }
            watch.next().await.unwrap().unwrap();
        }
    }

    async fn define(&self, plural: &str, versions: &[&str], served: &[&str]) {
        let made = self.post(CRDS, definition(plural, versions, served)).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }
}

#[tokio::test]
async fn a_version_has_its_object_while_a_definition_serves_it() {
    let w = secured().await;
    w.define("sloops", &["v1", "v1beta1"], &["v1", "v1beta1"]).await;
    w.define("yawls", &["v1"], &["v1"]).await;
    let object = w.service_until("v1", |now| now.is_some()).await;
    assert_eq!(
        object["spec"],
        json!({"group": "boats.example", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100})
    );
    assert_eq!(object["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "true"}));
    let condition = &object["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"], &condition["message"]),
        (
            &json!("Available"),
            &json!("True"),
            &json!("Local"),
            &json!("Local APIServices are always available")
        )
    );
    w.service_until("v1beta1", |now| now.is_some()).await;
    let change =
        json!({"spec": {"versions": definition("sloops", &["v1", "v1beta1"], &["v1"])["spec"]["versions"]}});
    assert_eq!(w.merge(&format!("{CRDS}/sloops.boats.example"), change).await.code, 200);
    w.service_until("v1beta1", |now| now.is_none()).await;
    // another definition serves the version still
    w.delete(&format!("{CRDS}/sloops.boats.example")).await;
    let again = w.post(CRDS, definition("ketches", &["v2"], &["v2"])).await;
    assert_eq!(again.code, 201);
    w.service_until("v2", |now| now.is_some()).await;
    assert_eq!(
        w.get(&format!("{SERVICES}/v1.boats.example")).await.body["metadata"]["uid"],
        object["metadata"]["uid"]
    );
    w.delete(&format!("{CRDS}/yawls.boats.example")).await;
    w.service_until("v1", |now| now.is_none()).await;
}

#[tokio::test]
async fn an_object_comes_back_as_it_was_unless_somebody_took_it_over() {
    let w = secured().await;
    w.define("sloops", &["v1"], &["v1"]).await;
    let first = w.service_until("v1", |now| now.is_some()).await;
    let path = format!("{SERVICES}/v1.boats.example");
    assert_eq!(w.delete(&path).await.code, 200);
    let second = w
        .service_until("v1", |now| now.is_some_and(|now| now["metadata"]["uid"] != first["metadata"]["uid"]))
        .await;
    assert_eq!(second["spec"], first["spec"]);
    let changed = w.merge(&path, json!({"spec": {"versionPriority": 7}})).await;
    assert_eq!(changed.body["spec"]["versionPriority"], 7);
    w.service_until("v1", |now| now.is_some_and(|now| now["spec"]["versionPriority"] == 100)).await;
    let label = json!({"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": null}},
        "spec": {"versionPriority": 7}});
    assert_eq!(w.merge(&path, label).await.code, 200);
    // what comes after it is seen after it
    w.define("yawls", &["v2"], &["v2"]).await;
    w.service_until("v2", |now| now.is_some()).await;
    let store = w.server.store();
    let mut definitions = store.watch(crate::crd::DEFINITIONS, "", store.revision()).unwrap();
    w.delete(&format!("{CRDS}/sloops.boats.example")).await;
    while definitions.next().await.unwrap().unwrap().kind != sampan_store::EventKind::Deleted {}
    w.delete(&format!("{CRDS}/yawls.boats.example")).await;
    w.service_until("v2", |now| now.is_none()).await;
    assert_eq!(w.get(&path).await.body["spec"]["versionPriority"], 7);
}

/// What an object's condition says, and why.
fn said(object: &Value) -> [&str; 2] {
    ["status", "reason"].map(|field| object["status"]["conditions"][0][field].as_str().unwrap_or_default())
}

#[tokio::test]
async fn an_object_that_somebody_took_over_is_available_while_a_definition_serves_it() {
    let w = secured().await;
    let object = json!({"metadata": {"name": "v1.boats.example"}, "spec": {"group": "boats.example", "version": "v1",
        "groupPriorityMinimum": 100, "versionPriority": 100}});
    assert_eq!(w.post(SERVICES, object).await.code, 201);
    let is =
        |wanted: [&'static str; 2]| move |now: Option<&Value>| now.is_some_and(|now| said(now) == wanted);
    w.service_until("v1", is(["False", "ServiceNotFound"])).await;
    w.define("sloops", &["v1"], &["v1"]).await;
    let now = w.service_until("v1", is(["True", "Local"])).await;
    assert_eq!(now["metadata"].get("labels"), None);
    w.until("sloops.boats.example", "Established", "True").await;
    assert_eq!(w.get("/apis/boats.example/v1/sloops").await.code, 200);
    w.delete(&format!("{CRDS}/sloops.boats.example")).await;
    w.service_until("v1", is(["False", "ServiceNotFound"])).await;
    // one that is not established has nobody to answer for it, and no server is asked
    let mut never = definition("yawls", &["v1"], &["v1"]);
    never["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://localhost/convert", "caBundle": "Cg=="}}});
    assert_eq!(w.post(CRDS, never).await.code, 201);
    w.service_until("v1", is(["True", "Local"])).await;
    assert_eq!(w.get("/apis/boats.example/v1/yawls").await.code, 404);
}

#[tokio::test]
async fn a_definition_in_a_group_of_the_registry_leaves_its_objects_alone() {
    let w = world().await;
    let mut sloops = definition("sloops", &["v1", "v9"], &["v1", "v9"]);
    sloops["metadata"] =
        json!({"name": "sloops.storage.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved"}});
    sloops["spec"]["group"] = "storage.k8s.io".into();
    let made = w.post(CRDS, sloops).await;
    assert_eq!(made.code, 201, "{}", made.body);
    // as a definition has left it, before the version was the registry's
    let left = json!({"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": "v1.batch", "uid": "u", "labels": {"kube-aggregator.kubernetes.io/automanaged": "true"}},
        "spec": {"group": "batch", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 100}});
    let write = sampan_store::Write {
        key: sampan_store::Key::new(BUCKET, "v1.batch"),
        condition: sampan_store::Condition::Absent,
        action: sampan_store::Action::Put(crate::registry::encoded(&left)),
    };
    w.server.store().write(write).await.unwrap();
    w.server.secure(w.server.tasks()).await.unwrap();
    w.named_until("v9.storage.k8s.io", |now| now.is_some()).await;
    for name in ["v1.storage.k8s.io", "v1.batch"] {
        let object = w.get(&format!("{SERVICES}/{name}")).await.body;
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels, &json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"}), "{name}");
        assert_ne!(object["spec"]["groupPriorityMinimum"], 1000, "{name}");
    }
    w.delete(&format!("{CRDS}/sloops.storage.k8s.io")).await;
    w.named_until("v9.storage.k8s.io", |now| now.is_none()).await;
    assert_eq!(w.get(&format!("{SERVICES}/v1.storage.k8s.io")).await.code, 200);
}

#[tokio::test]
async fn groups_stand_in_discovery_by_the_priority_of_their_objects() {
    let w = secured().await;
    let handler: crate::GroupHandler = Arc::new(|_, _| {
        Box::pin(async {
            crate::pipeline::respond::raw(200, "application/json", json!({"resources": []}).to_string())
        })
    });
    let _served = w.server.serve_group("a.example", "v1", handler);
    let object = json!({"metadata": {"name": "v1.a.example"}, "spec": {"group": "a.example", "version": "v1",
        "groupPriorityMinimum": 100, "versionPriority": 100}});
    assert_eq!(w.post(SERVICES, object).await.code, 201);
    w.define("sloops", &["v1"], &["v1"]).await;
    w.service_until("v1", |now| now.is_some()).await;
    w.until("sloops.boats.example", "Established", "True").await;
    let document = w.get("/apis").await.body;
    let names: Vec<&str> =
        document["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
    assert_eq!(names[names.len() - 2..], ["boats.example", "a.example"]);
}
