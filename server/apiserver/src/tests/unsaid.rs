//! What is answered of fields of which nothing was said.

use sampan_store::{Action, Condition, Key, Write};

use super::*;

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";

#[tokio::test]
async fn what_go_always_writes_is_written() {
    let w = world().await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let maps = "/api/v1/namespaces/default/configmaps";
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = json!({"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"});
    #[rustfmt::skip]
    let cases = [
        (ROLES, json!({"metadata": {"name": "a"}}), "/rules", Some(Value::Null)),
        (ROLES, json!({"metadata": {"name": "b"}, "rules": []}), "/rules", Some(Value::Null)),
        (slices, json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": []}), "/endpoints", Some(Value::Null)),
        (maps, json!({"metadata": {"name": "a", "annotations": {}, "finalizers": []}, "data": {}}), "/metadata/finalizers", None),
        (maps, json!({"metadata": {"name": "b", "annotations": {}}, "data": {}}), "/metadata/annotations", None),
        (jobs, json!({"metadata": {"name": "a"}, "spec": {"template": {"spec": job}}}), "/status", Some(json!({}))),
    ];
    for (uri, body, at, expected) in cases {
        let made = w.post(uri, body.clone()).await;
        assert_eq!(made.code, 201, "{}", made.body);
        assert_eq!(made.body.pointer(at), expected.as_ref(), "{body}");
    }
    let owned = w.get(&format!("{ROLES}/a")).await.body["metadata"]["managedFields"].to_string();
    assert!(!owned.contains("f:rules"), "nobody said it: {owned}");
    let spec = json!({"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}});
    let review = w.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", spec).await.body;
    assert_eq!(review["metadata"], json!({}), "{review}");
}

#[tokio::test]
async fn what_was_stored_without_it_has_not_changed() {
    let w = world().await;
    let made = w.post(ROLES, json!({"metadata": {"name": "a"}})).await.body;
    let mut bare = made.clone();
    bare.as_object_mut().unwrap().remove("rules");
    bare["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let key = Key::new("roles.rbac.authorization.k8s.io", "default/a");
    let revision = made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let action = Action::Put(crate::registry::encoded(&bare));
    w.server.store().write(Write { key, condition: Condition::Revision(revision), action }).await.unwrap();
    let was = w.get(&format!("{ROLES}/a")).await.body;
    assert_eq!(was.get("rules"), None);
    for body in [was.clone(), json!({"metadata": {"name": "a"}, "rules": []})] {
        let got = w.call("PUT", &format!("{ROLES}/a"), "application/json", &body.to_string()).await;
        assert_eq!(
            (got.code, &got.body["metadata"]["resourceVersion"]),
            (200, &was["metadata"]["resourceVersion"])
        );
    }
}

#[tokio::test]
async fn workloads_without_a_template_have_an_empty_one() {
    let w = world().await;
    let deployment = json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}}}});
    let refused = w.post("/apis/apps/v1/namespaces/default/deployments", deployment).await;
    assert_eq!(
        (refused.code, refused.body["message"].as_str().unwrap()),
        (
            422,
            "Deployment.apps \"a\" is invalid: [spec.template.metadata.labels: Invalid value: null: `selector` does not match \
             template `labels`, spec.template.spec.containers: Required value]"
        )
    );
    let refused = w.post("/apis/batch/v1/namespaces/default/jobs", json!({"metadata": {"name": "a"}})).await;
    assert_eq!(
        (refused.code, refused.body["message"].as_str().unwrap()),
        (
            422,
            "Job.batch \"a\" is invalid: [spec.template.spec.containers: Required value, \
             spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"]"
        )
    );
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// With empty lists and maps that are not stored.
fn full_of_nothing(name: &str) -> Value {
    let container =
        json!({"name": "c", "image": "i", "securityContext": {"capabilities": {"drop": []}}, "env": []});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": {}},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}, "matchExpressions": []},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [container], "volumes": [], "nodeSelector": {}, "tolerations": []},
            },
        },
    })
}

#[tokio::test]
async fn the_same_manifest_again_changes_nothing() {
    let w = world().await;
    let made = w.post(DEPLOYMENTS, full_of_nothing("a")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let owned = made.body["metadata"]["managedFields"].to_string();
    assert!(owned.contains("f:capabilities") && !owned.contains("f:drop"), "{owned}");
    let apply = "application/apply-patch+yaml";
    let applied = format!("{DEPLOYMENTS}/b?fieldManager=m");
    let manifest = full_of_nothing("b").to_string();
    let first = w.call("PATCH", &applied, apply, &manifest).await;
    assert_eq!(first.code, 201, "{}", first.body);
    // managers' times are in seconds: that they differ is not left to chance
    let mut aged = first.body.clone();
    aged["metadata"]["managedFields"][0]["time"] = "2020-01-01T00:00:00Z".into();
    aged["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let key = Key::new("deployments.apps", "default/b");
    let revision = first.body["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let action = Action::Put(crate::registry::encoded(&aged));
    w.server.store().write(Write { key, condition: Condition::Revision(revision), action }).await.unwrap();
    let first = w.get(&format!("{DEPLOYMENTS}/b")).await;
    for _ in 0..2 {
        let body = full_of_nothing("a").to_string();
        let again = w.call("PUT", &format!("{DEPLOYMENTS}/a"), "application/json", &body).await;
        assert_eq!((again.code, &again.body["metadata"]), (200, &made.body["metadata"]), "{}", again.body);
        let again = w.call("PATCH", &applied, apply, &manifest).await;
        assert_eq!((again.code, &again.body["metadata"]), (200, &first.body["metadata"]), "{}", again.body);
    }
    let mut other = full_of_nothing("a");
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "j".into();
    let changed = w.call("PUT", &format!("{DEPLOYMENTS}/a"), "application/json", &other.to_string()).await;
    assert_eq!((changed.code, &changed.body["metadata"]["generation"]), (200, &json!(2)), "{}", changed.body);
}

#[tokio::test]
async fn policies_tell_an_empty_list_from_none() {
    let w = world().await;
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = json!({"metadata": {"name": "a"}, "spec": {"podSelector": {}, "ingress": [], "policyTypes": ["Ingress"]}});
    assert_eq!(w.post(policies, policy.clone()).await.code, 201);
    let again = w.call("PUT", &format!("{policies}/a"), "application/json", &policy.to_string()).await;
    assert_eq!((again.code, &again.body["metadata"]["generation"]), (200, &json!(2)), "{}", again.body);
}

#[tokio::test]
async fn what_was_stored_with_empty_lists_has_not_changed() {
    let w = world().await;
    let mut body = full_of_nothing("a");
    let made = w.post(DEPLOYMENTS, body.clone()).await.body;
    let mut stored = made.clone();
    stored["spec"]["selector"]["matchExpressions"] = json!([]);
    stored["spec"]["template"]["spec"]["volumes"] = json!([]);
    stored["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let key = Key::new("deployments.apps", "default/a");
    let revision = made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let action = Action::Put(crate::registry::encoded(&stored));
    w.server.store().write(Write { key, condition: Condition::Revision(revision), action }).await.unwrap();
    let was = w.get(&format!("{DEPLOYMENTS}/a")).await.body;
    assert_eq!(was["spec"]["template"]["spec"]["volumes"], json!([]));
    body["metadata"] = was["metadata"].clone();
    for body in [was.clone(), made_of(&made, &was), body] {
        let got = w.call("PUT", &format!("{DEPLOYMENTS}/a"), "application/json", &body.to_string()).await;
        assert_eq!((got.code, &got.body["metadata"]), (200, &was["metadata"]), "{}", got.body);
    }
}

/// `object` at the revision of `other`.
fn made_of(object: &Value, other: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"] = other["metadata"].clone();
    object
}

#[tokio::test]
async fn definitions_keep_their_empty_lists() {
    let w = world().await;
    let definition = json!({"metadata": {"name": "boats.x.io"}, "spec": {
        "group": "x.io", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat", "shortNames": []},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let made = w.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["spec"]["names"].get("shortNames"), None);
}
