//! What the status of a definition says.

use super::*;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(group: &str, annotations: Value) -> Value {
    json!({"metadata": {"name": format!("sloops.{group}"), "annotations": annotations}, "spec": {"group": group,
        "scope": "Cluster", "names": {"plural": "sloops", "kind": "Sloop"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

#[tokio::test]
async fn a_group_of_the_community_says_who_approved_it() {
    const APPROVAL: &str = "KubernetesAPIApprovalPolicyConformant";
    let w = world().await;
    let approved = json!({"api-approved.kubernetes.io": "https://example.com/pull/1"});
    let made = w.post(CRDS, definition("boats.k8s.io", approved)).await;
    assert_eq!(
        (made.code, &made.body["status"]),
        (
            201,
            &json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": ["v1"]})
        )
    );
    let name = "sloops.boats.k8s.io";
    let now = w.until(name, APPROVAL, "True").await;
    let condition = &now["status"]["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("ApprovedAnnotation"), &json!("approved in https://example.com/pull/1"))
    );
    assert!(condition.get("observedGeneration").is_none());
    let change = json!({"metadata": {"annotations": {"api-approved.kubernetes.io": "unapproved, a test"}}});
    assert_eq!(w.merge(&format!("{CRDS}/{name}"), change).await.code, 200);
    let now = w.until(name, APPROVAL, "False").await;
    assert_eq!(now["status"]["conditions"][0]["message"], "not approved: \"unapproved, a test\"");
    assert_eq!(now["status"]["conditions"].as_array().unwrap().len(), 3);
    // nobody asks others
    assert_eq!(w.post(CRDS, definition("boats.example", json!({}))).await.code, 201);
    let other = w.until("sloops.boats.example", "Established", "True").await;
    let types: Vec<&str> =
        other["status"]["conditions"].as_array().unwrap().iter().filter_map(|c| c["type"].as_str()).collect();
    assert_eq!(types, ["NamesAccepted", "Established"]);
}

/// A definition that has the name of a kind of the registry, and a version that the registry has, and one that it has not.
fn namesake() -> Value {
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!({"metadata": {"name": "networkpolicies.networking.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved"}},
        "spec": {"group": "networking.k8s.io", "scope": "Namespaced",
            "names": {"plural": "networkpolicies", "kind": "NetworkPolicy"}, "versions": [version("v1"), version("v9")]}})
}

#[tokio::test]
async fn a_definition_has_nothing_of_the_kind_that_it_is_named_as() {
    let w = world().await;
    let name = "networkpolicies.networking.k8s.io";
    let own = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let custom = "/apis/networking.k8s.io/v9/namespaces/default/networkpolicies";
    let policy = json!({"metadata": {"name": "a"}, "spec": {"podSelector": {}}});
    let made = w.post(own, policy).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(w.post(CRDS, namesake()).await.code, 201);
    w.until(name, "Established", "True").await;
    assert_eq!(w.get(custom).await.body["items"], json!([]));
    let object = json!({"apiVersion": "networking.k8s.io/v9", "kind": "NetworkPolicy", "metadata": {"name": "a"}, "size": 1});
    let other = w.post(custom, object).await;
    assert_eq!((other.code, &other.body["size"]), (201, &json!(1)), "{}", other.body);
    assert_eq!(w.get(&format!("{own}/a")).await.body, made.body);
    assert_eq!(w.post(own, json!({"metadata": {"name": "b"}, "spec": {"podSelector": {}}})).await.code, 201);
    let listed = w.get(custom).await.body["items"].as_array().unwrap().len();
    assert_eq!(listed, 1);
    let resources = w.get("/apis/networking.k8s.io/v1").await.body["resources"].clone();
    let of_it = resources.as_array().unwrap().iter().filter(|one| one["name"] == "networkpolicies").count();
    assert_eq!(of_it, 1);
    let store = w.server.store();
    let mut watch = store.watch(crate::crd::DEFINITIONS, name, store.revision()).unwrap();
    w.delete(&format!("{CRDS}/{name}")).await;
    while watch.next().await.unwrap().unwrap().kind != sampan_store::EventKind::Deleted {}
    assert_eq!(w.get(&format!("{custom}/a")).await.code, 404);
    assert_eq!(w.get(&format!("{own}/a")).await.body, made.body);
    assert_eq!(w.get(own).await.body["items"].as_array().unwrap().len(), 2);
    // what comes again begins with nothing
    assert_eq!(w.post(CRDS, namesake()).await.code, 201);
    w.until(name, "Established", "True").await;
    assert_eq!(w.get(custom).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_version_is_added_to_a_group_of_the_registry() {
    let w = world().await;
    let listed = async |accept: &str, list: &str| {
        let response = w.raw("GET", "/apis", "", accept, "").await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let all: Value = serde_json::from_slice(&bytes).unwrap();
        let is = |group: &&Value| {
            group["name"] == "networking.k8s.io" || group["metadata"]["name"] == "networking.k8s.io"
        };
        all[list].as_array().unwrap().iter().filter(is).cloned().collect::<Vec<Value>>()
    };
    let versions = |group: &Value| {
        let versions = group["versions"].as_array().unwrap().iter();
        versions.map(|one| one["version"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = versions(&w.get("/apis/networking.k8s.io").await.body);
    assert_eq!(w.post(CRDS, namesake()).await.code, 201);
    w.until("networkpolicies.networking.k8s.io", "Established", "True").await;
    let expected: Vec<String> = ["v9".to_owned()].into_iter().chain(before).collect();
    let group = w.get("/apis/networking.k8s.io").await.body;
    assert_eq!((versions(&group), &group["preferredVersion"]["version"]), (expected.clone(), &json!("v9")));
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    for (accept, list) in [("application/json", "groups"), (aggregated, "items")] {
        let found = listed(accept, list).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(versions(&found[0]), expected);
    }
    let paths = w.get("/").await.body["paths"].clone();
    let count = |path: &str| paths.as_array().unwrap().iter().filter(|one| *one == path).count();
    assert_eq!((count("/apis/networking.k8s.io"), count("/apis/networking.k8s.io/v9")), (1, 1));
    let index = w.get("/openapi/v3").await.body;
    let url = index["paths"]["apis/networking.k8s.io/v9"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = w.get(&url).await;
    assert_eq!(document.code, 200, "{}", document.body);
    assert!(document.body["components"]["schemas"]["io.k8s.networking.v9.NetworkPolicy"].is_object());
    let moved = w.get("/openapi/v3/apis/networking.k8s.io/v9?hash=OLD").await;
    assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, &*url));
    let own = index["paths"]["apis/networking.k8s.io/v1"]["serverRelativeURL"].as_str().unwrap();
    let moved = w.get("/openapi/v3/apis/networking.k8s.io/v1?hash=OLD").await;
    assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, own));
    let proto = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    let mut made = Vec::new();
    for _ in 0..2 {
        let response = w.raw("GET", &url, "", proto, "").await;
        assert_eq!(response.headers()["content-type"], proto);
        made.push(response.into_body().collect().await.unwrap().to_bytes());
    }
    assert!(!made[0].is_empty() && made[0] == made[1]);
}

#[tokio::test]
async fn a_definition_goes_with_its_last_word() {
    let w = world().await;
    let last = async |name: &str, reason: &str| {
        let store = w.server.store();
        let mut watch = store.watch(crate::crd::DEFINITIONS, name, store.revision()).unwrap();
        let deleted = w.delete(&format!("{CRDS}/{name}")).await;
        let pending = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        let conditions = deleted.body["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.last().unwrap()["message"], pending);
        let gone = loop {
            let event = watch.next().await.unwrap().unwrap();
            if event.kind == sampan_store::EventKind::Deleted {
                break serde_json::from_slice::<Value>(&event.entry.value).unwrap();
            }
        };
        let conditions = gone["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.last().unwrap()["reason"], reason);
        assert_eq!(gone["metadata"].get("finalizers"), None);
    };
    assert_eq!(w.post(CRDS, definition("boats.example", json!({}))).await.code, 201);
    w.until("sloops.boats.example", "Established", "True").await;
    last("sloops.boats.example", "InstanceDeletionCompleted").await;
    // whoever is to convert cannot be believed: never established
    let mut never = definition("other.example", json!({}));
    never["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://localhost/convert", "caBundle": "Cg=="}}});
    assert_eq!(w.post(CRDS, never).await.code, 201);
    w.until("sloops.other.example", "Established", "False").await;
    last("sloops.other.example", "NeverEstablished").await;
}
