//! Defaults and refusals of claims, volumes, classes and ingresses that admission makes.

use super::*;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

async fn admitting() -> World {
    let w = world().await;
    let auth = crate::auth::Auth::new(w.server.store().clone(), w.server.pki().token_key(), "issuer");
    w.server.set_plugins(crate::admission::plugins(Arc::new(auth), w.server.customs().clone()));
    w
}

fn claim(name: &str, spec: Value) -> Value {
    let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": all})
}

fn class(name: &str, default: bool, grows: bool) -> Value {
    json!({"metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
        "provisioner": "a.b/c", "allowVolumeExpansion": grows})
}

#[tokio::test]
async fn claims_get_the_default_class_and_a_finalizer() {
    let w = admitting().await;
    let none = w.post(CLAIMS, claim("none", json!({}))).await;
    assert_eq!((none.code, &none.body["spec"]["storageClassName"]), (201, &Value::Null), "{}", none.body);
    assert_eq!(none.body["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert!(none.headers.get("warning").is_none());
    for (name, default) in [("b", true), ("a", true), ("c", false)] {
        assert_eq!(w.post(CLASSES, class(name, default, false)).await.code, 201);
    }
    let made = w.post(CLAIMS, claim("made", json!({}))).await.body;
    assert_eq!(made["spec"]["storageClassName"], "a");
    let empty = w.post(CLAIMS, claim("empty", json!({"storageClassName": ""}))).await.body;
    assert_eq!(empty["spec"]["storageClassName"], "");
    let volume = json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}});
    let volume = w.post("/api/v1/persistentvolumes", volume).await.body;
    assert_eq!(volume["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    assert_eq!(volume["status"]["phase"], "Pending");
    let since = volume["status"]["lastPhaseTransitionTime"].as_str().unwrap().to_owned();
    let told = json!({"status": {"phase": "Available", "lastPhaseTransitionTime": null}});
    let bound = w.merge("/api/v1/persistentvolumes/v/status", told).await.body;
    assert!(bound["status"]["lastPhaseTransitionTime"].as_str().unwrap() >= since.as_str(), "{bound}");
    let from = json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "made"}});
    let copy = w.post(CLAIMS, claim("copy", from)).await.body;
    let source = json!({"apiGroup": null, "kind": "PersistentVolumeClaim", "name": "made"});
    assert_eq!(copy["spec"]["dataSourceRef"], source);
    // being deleted, it waits
    let gone = w.delete(&format!("{CLAIMS}/made")).await.body;
    assert!(gone["metadata"]["deletionTimestamp"].is_string(), "{gone}");
}

#[tokio::test]
async fn claims_grow_if_they_are_bound_and_their_class_lets_them() {
    let w = admitting().await;
    for (name, grows) in [("fixed", false), ("elastic", true)] {
        w.post(CLASSES, class(name, false, grows)).await;
    }
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    for (class, bound, expected) in [
        ("elastic", false, "persistentvolumeclaims \"elasticfalse\" is invalid"),
        (
            "fixed",
            true,
            "persistentvolumeclaims \"fixedtrue\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ),
        ("elastic", true, ""),
    ] {
        let name = format!("{class}{bound}");
        w.post(CLAIMS, claim(&name, json!({"storageClassName": class}))).await;
        if bound {
            let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
            assert_eq!(w.merge(&format!("{CLAIMS}/{name}/status"), status).await.code, 200);
        }
        let got = w.merge(&format!("{CLAIMS}/{name}"), grow.clone()).await;
        let message = got.body["message"].as_str().unwrap_or_default();
        match (class, bound) {
            ("elastic", false) => assert!(message.contains("spec is immutable after creation"), "{message}"),
            _ => assert_eq!(message, expected),
        }
    }
    let shrink = json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}});
    let got = w.merge(&format!("{CLAIMS}/elastictrue"), shrink).await;
    assert_eq!(
        got.body["message"],
        "PersistentVolumeClaim \"elastictrue\" is invalid: spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    );
}

#[tokio::test]
async fn ingresses_get_the_default_class() {
    let w = admitting().await;
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = |name: &str| json!({"metadata": {"name": name}, "spec": {"defaultBackend": backend}});
    let none = w.post(ingresses, ingress("none")).await;
    assert_eq!((none.code, &none.body["spec"]["ingressClassName"]), (201, &Value::Null));
    assert!(none.headers.get("warning").is_none());
    let class = json!({"metadata": {"name": "c", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "a.b/c"}});
    assert_eq!(w.post("/apis/networking.k8s.io/v1/ingressclasses", class).await.code, 201);
    assert_eq!(w.post(ingresses, ingress("some")).await.body["spec"]["ingressClassName"], "c");
    let mut other = ingress("other");
    other["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "x"});
    assert_eq!(w.post(ingresses, other).await.body["spec"]["ingressClassName"], Value::Null);
}
