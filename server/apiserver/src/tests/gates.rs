//! Fields of feature gates that are off.

use sampan_store::{Action, Condition, Key, Write};

use super::*;

fn signalled(name: &str, signal: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["os"] = json!({"name": "linux"});
    pod["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": signal});
    pod
}

#[tokio::test]
async fn they_are_dropped_from_what_does_not_use_them() {
    let w = world().await;
    let made = w.post(&format!("{PODS}?fieldManager=tester"), signalled("new", "SIGUSR1")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["spec"]["containers"][0].get("lifecycle"), None);
    // whose name is told in metadata.managedFields asked for it, as upstream
    assert!(made.body["metadata"]["managedFields"].to_string().contains("f:stopSignal"));
    let claim = json!({"metadata": {"name": "copy"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "a", "namespace": "other"}}});
    let made = w.post("/api/v1/namespaces/default/persistentvolumeclaims", claim).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["spec"].get("dataSourceRef"), None);
    assert_eq!(made.body["spec"].get("dataSource"), None);
}

#[tokio::test]
async fn they_stay_where_they_were_in_use() {
    let w = world().await;
    let template = |signal: &str| json!({"metadata": {"labels": {"app": "a"}}, "spec": signalled("a", signal)["spec"].clone()});
    let plain = json!({"metadata": {"labels": {"app": "a"}}, "spec": pod("a")["spec"].clone()});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": plain}});
    let made = w.post(deployments, deployment).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let path = format!("{deployments}/a");
    let signal =
        |got: &Got| got.body["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["stopSignal"].clone();
    let mut object = made.body;
    object["spec"]["template"] = template("SIGINT");
    let put = |object: &Value| object.to_string();
    let got = w.call("PUT", &path, "application/json", &put(&object)).await;
    assert_eq!((got.code, signal(&got)), (200, Value::Null), "{}", got.body);
    // as a server with the gate on has left it
    let mut stored = got.body;
    stored["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGINT"});
    stored["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let key = Key::new("deployments.apps", "default/a");
    let action = Action::Put(crate::registry::encoded(&stored));
    w.server.store().write(Write { key, condition: Condition::Any, action }).await.unwrap();
    stored["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGTERM"});
    let got = w.call("PUT", &path, "application/json", &put(&stored)).await;
    assert_eq!((got.code, signal(&got)), (200, json!("SIGTERM")), "{}", got.body);
}
