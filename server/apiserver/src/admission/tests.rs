#![allow(clippy::unwrap_used)]
//! The plugins as one chain, over a real store.

use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::UserInfo;
use crate::auth::tests::{World, world};
use crate::value::at;
use sampan_api::status::ApiError;

fn admit(
    world: &World,
    user: &UserInfo,
    operation: Operation,
    what: &str,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (group, plural) = resource.split_once('|').unwrap_or(("", resource));
    let kind = sampan_api::kinds::by_resource(group, "v1", plural).unwrap();
    let name = crate::value::meta(object, "name").to_owned();
    let namespace =
        if kind.namespaced { crate::value::meta(object, "namespace").to_owned() } else { String::new() };
    let warnings = Default::default();
    let review = Review {
        operation,
        kind,
        subresource,
        namespace: &namespace,
        name: &name,
        user,
        old,
        dry_run: false,
        said: &Default::default(),
        store: &world.store,
        converter: &Default::default(),
        warnings: &warnings,
        notes: Default::default(),
    };
    let plugins = plugins(world.auth.clone(), crate::crd::Customs::new(world.store.clone()));
    let chain = async {
        for plugin in &plugins {
            plugin.admit(&review, object).await?;
        }
        for plugin in &plugins {
            plugin.validate(&review, object).await?;
        }
        Ok(())
    };
    chain.now_or_never().expect("none of these plugins waits")
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
}

#[tokio::test]
async fn a_plain_pod_gets_its_account_token_priority_and_tolerations() {
    let world = world().await;
    let user = UserInfo::new("eve", &[]);
    let mut plain = pod(json!({"containers": [{"name": "c"}]}));
    let mut robot = pod(json!({"serviceAccountName": "robot", "containers": [{"name": "c"}]}));
    let error = admit(&world, &user, Operation::Create, "pods", &mut robot, None).unwrap_err();
    assert_eq!(
        error.message,
        r#"pods "p" is forbidden: error looking up service account default/robot: serviceaccount "robot" not found"#
    );
    let account = json!({"metadata": {"name": "default", "namespace": "default", "uid": "1"}, "imagePullSecrets": [{"name": "pull"}]});
    world.put("serviceaccounts", "default/default", account).await;
    admit(&world, &user, Operation::Create, "pods", &mut plain, None).unwrap();
    let spec = &plain["spec"];
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(mount["name"], spec["volumes"][0]["name"]);
    assert_eq!(
        spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    let keys: Vec<&Value> = spec["tolerations"].as_array().unwrap().iter().map(|t| &t["key"]).collect();
    assert_eq!(keys, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
    let again = plain.clone();
    admit(&world, &user, Operation::Create, "pods", &mut plain, None).unwrap();
    assert_eq!(plain, again, "admission is idempotent");
    let mut without = pod(json!({"containers": [{"name": "c"}], "automountServiceAccountToken": false}));
    admit(&world, &user, Operation::Create, "pods", &mut without, None).unwrap();
    assert!(at(&without, &["spec", "volumes"]).is_null());
}

#[tokio::test]
async fn priorities_come_from_classes() {
    let world = world().await;
    world
        .put("serviceaccounts", "default/default", json!({"metadata": {"name": "default", "uid": "1"}}))
        .await;
    world
        .put(
            "priorityclasses.scheduling.k8s.io",
            "high",
            json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"}),
        )
        .await;
    let user = UserInfo::new("eve", &[]);
    let mut high = pod(json!({"containers": [], "priorityClassName": "high"}));
    admit(&world, &user, Operation::Create, "pods", &mut high, None).unwrap();
    assert_eq!((&high["spec"]["priority"], &high["spec"]["preemptionPolicy"]), (&json!(7), &json!("Never")));
    for (spec, want) in [
        (json!({"priorityClassName": "none"}), "no PriorityClass with name none was found"),
        (
            json!({"priority": 9}),
            "the integer value of priority (9) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name",
        ),
    ] {
        let error = admit(&world, &user, Operation::Create, "pods", &mut pod(spec), None).unwrap_err();
        assert!(error.message.contains(want), "{}", error.message);
    }
}

#[tokio::test]
async fn a_kubelet_changes_itself_and_its_own_pods_only() {
    let world = world().await;
    let kubelet = UserInfo::new("system:node:boat", &["system:nodes"]);
    let node = |name: &str, labels: Value, taints: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
    let mirror = |on: &str| {
        json!({
            "metadata": {"name": "p", "namespace": "default", "annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": {"nodeName": on},
        })
    };
    let running = |on: &str| pod(json!({"nodeName": on}));
    let plain = || node("boat", json!({"a": "b"}), json!([]));
    let cases = [
        (Operation::Create, "pods", mirror("boat"), None, ""),
        (
            Operation::Create,
            "pods",
            mirror("other"),
            None,
            "can only create pods with spec.nodeName set to itself",
        ),
        (Operation::Delete, "pods", running("boat"), Some(running("boat")), ""),
        (
            Operation::Delete,
            "pods",
            running("other"),
            Some(running("other")),
            "can only delete pods with spec.nodeName set to itself",
        ),
        (Operation::Update, "pods/status", running("boat"), Some(running("boat")), ""),
        (
            Operation::Update,
            "pods/status",
            running("other"),
            Some(running("other")),
            "can only update status",
        ),
        (
            Operation::Update,
            "nodes",
            node("other", json!({}), json!([])),
            Some(plain()),
            "not allowed to modify node",
        ),
        (Operation::Update, "nodes", node("boat", json!({"c": "d"}), json!([])), Some(plain()), ""),
        (
            Operation::Update,
            "nodes",
            node("boat", json!({"a": "b"}), json!([{"key": "x"}])),
            Some(plain()),
            "not allowed to modify taints",
        ),
        (
            Operation::Update,
            "nodes",
            node("boat", json!({"a": "b", "node-restriction.kubernetes.io/x": "y"}), json!([])),
            Some(plain()),
            "is not allowed to modify labels: node-restriction.kubernetes.io/x",
        ),
        (
            Operation::Create,
            "nodes",
            node("boat", json!({"kubernetes.io/hostname": "boat"}), json!([])),
            None,
            "",
        ),
        (
            Operation::Create,
            "nodes",
            node("boat", json!({"node-role.kubernetes.io/control-plane": ""}), json!([])),
            None,
            "not allowed to set the following labels",
        ),
        (Operation::Delete, "nodes", plain(), Some(plain()), "is not allowed to delete node"),
        (
            Operation::Update,
            "coordination.k8s.io|leases",
            json!({"metadata": {"name": "other", "namespace": "kube-node-lease"}}),
            None,
            "same name as the requesting node",
        ),
    ];
    for (operation, what, mut object, old, want) in cases {
        let got = admit(&world, &kubelet, operation, what, &mut object, old.as_ref());
        match want {
            "" => assert_eq!(got, Ok(()), "{operation:?} {what}"),
            want => assert!(got.clone().unwrap_err().message.contains(want), "{operation:?} {what}: {got:?}"),
        }
    }
    let admin = UserInfo::new("admin", &["system:masters"]);
    let mut system = json!({"metadata": {"name": "kube-system"}});
    let error = admit(&world, &admin, Operation::Delete, "namespaces", &mut system, None).unwrap_err();
    assert_eq!(error.message, r#"namespaces "kube-system" is forbidden: this namespace may not be deleted"#);
}

#[tokio::test]
async fn the_first_pod_of_a_namespace_waits_for_its_account() {
    let world = world().await;
    let user = UserInfo::new("eve", &[]);
    let warnings = Default::default();
    let review = Review {
        operation: Operation::Create,
        kind: sampan_api::kinds::by_resource("", "v1", "pods").unwrap(),
        subresource: "",
        namespace: "default",
        name: "p",
        user: &user,
        old: None,
        dry_run: false,
        said: &Default::default(),
        store: &world.store,
        converter: &Default::default(),
        warnings: &warnings,
        notes: Default::default(),
    };
    let waiting = Admission::Waiting(Arc::new(service_account::DefaultAccount));
    let mut other = pod(json!({"serviceAccountName": "robot"}));
    waiting.admit(&review, &mut other).now_or_never().unwrap().unwrap();
    let mut first = pod(json!({"containers": [{"name": "c"}]}));
    let mut admitted = Box::pin(waiting.admit(&review, &mut first));
    assert!(admitted.as_mut().now_or_never().is_none());
    let account = json!({"metadata": {"name": "default", "namespace": "default", "uid": "1"}});
    world.put("serviceaccounts", "default/default", account).await;
    admitted.as_mut().now_or_never().unwrap().unwrap();
}
