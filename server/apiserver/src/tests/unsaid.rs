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
