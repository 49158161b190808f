//! The Leases that API servers say by that they are there.

use super::*;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const BUCKET: &str = "leases.coordination.k8s.io";

fn lease(name: &str, renewed: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"apiserver.kubernetes.io/identity": label}},
        "spec": {"holderIdentity": "h", "leaseDurationSeconds": 3600, "renewTime": renewed}})
}

/// Never lets a Lease go.
struct Silent;

impl crate::registry::WaitingPlugin for Silent {
    fn validate<'a>(
        &'a self,
        _: &'a crate::registry::Review<'a>,
        _: &'a Value,
    ) -> futures::future::BoxFuture<'a, Result<(), sampan_api::status::ApiError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn nobody_keeps_a_server_from_its_end_who_is_asked_about_it() {
    let w = world().await;
    let identity = crate::identity::Identity::of("n2");
    let name = identity.name();
    assert_eq!(w.post(LEASES, lease(name, "2120-01-01T00:00:00.000000Z", "kube-apiserver")).await.code, 201);
    w.server.set_plugins(vec![crate::registry::Admission::Waiting(Arc::new(Silent))]);
    tokio::time::pause();
    identity.leave_soon(w.server.registry()).await;
    assert_eq!(w.get(&format!("{LEASES}/{name}")).await.code, 200);
}

#[tokio::test]
async fn a_server_has_one_and_ends_those_that_are_over() {
    let w = world().await;
    let (long_ago, far) = ("2020-01-01T00:00:00.000000Z", "2120-01-01T00:00:00.000000Z");
    for (name, renewed, label) in [
        ("apiserver-gone", long_ago, "kube-apiserver"),
        ("apiserver-there", far, "kube-apiserver"),
        ("others", long_ago, "sample-apiserver"),
    ] {
        assert_eq!(w.post(LEASES, lease(name, renewed, label)).await.code, 201, "{name}");
    }
    let store = w.server.store();
    let mut changes = store.watch(BUCKET, "kube-system/", store.revision()).unwrap();
    w.server.secure(w.server.tasks()).await.unwrap();
    loop {
        let event = changes.next().await.unwrap().unwrap();
        if event.kind == sampan_store::EventKind::Deleted {
            assert_eq!(&*event.entry.key.name, "kube-system/apiserver-gone");
            break;
        }
    }
    let entries = store.list(BUCKET);
    let names: Vec<&str> = entries.prefix("kube-system/").map(|entry| &*entry.key.name).collect();
    let (own, others): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| name.len() == "kube-system/apiserver-".len() + 26);
    assert_eq!(others, ["kube-system/apiserver-there", "kube-system/others"]);
    let [own] = own[..] else { panic!("{own:?}") };
    let object: Value = serde_json::from_slice(&entries.get(own).unwrap().value).unwrap();
    assert_eq!(
        object["metadata"]["labels"],
        json!({"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": "n1"})
    );
    assert_eq!(object["spec"]["leaseDurationSeconds"], 3600);
    let id = object["metadata"]["name"].as_str().unwrap();
    assert!(object["spec"]["holderIdentity"].as_str().unwrap().starts_with(&format!("{id}_")));
}
