#![allow(clippy::unwrap_used)]
//! Identity × verb × resource over upstream's bootstrap policy, in a real store.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use sampan_process::{Component, Tasks};
use sampan_store::{Action, Condition, Config, Key, Write};
use serde_json::{Value, json};

use super::*;
use crate::pki::{self, Pki, Subject};

pub(crate) struct World {
    pub store: Store,
    pub auth: Arc<Auth>,
    pub pki: Pki,
    _dir: tempfile::TempDir,
}

pub(crate) async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(pki::Config {
        folder: dir.path().join("pki"),
        node_name: "boat".into(),
        addresses: Vec::new(),
        service_ip: "10.96.0.1".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
    })
    .unwrap();
    let store =
        Store::open(Config::new(dir.path().join("state.db")), Tasks::new(Component::Store)).await.unwrap();
    bootstrap::ensure(&store).await.unwrap();
    let auth =
        Arc::new(Auth::new(store.clone(), pki.token_key(), "https://kubernetes.default.svc.cluster.local"));
    World { store, auth, pki, _dir: dir }
}

impl World {
    pub async fn put(&self, bucket: &str, name: &str, object: Value) {
        let (bytes, at) = sampan_api::meta::encode(&object);
        let value = sampan_store::Value { bytes, at };
        let write =
            Write { key: Key::new(bucket, name), condition: Condition::Any, action: Action::Put(value) };
        self.store.write(write).await.unwrap();
    }

    fn may(&self, user: &UserInfo, ask: &str) -> bool {
        self.auth.authorize(user, &attributes(ask)).allowed()
    }
}

/// `verb group resource[/sub] namespace name`, `-` for nothing; or `verb /path`.
fn attributes(text: &str) -> Attributes<'_> {
    let words: Vec<&str> = text.split(' ').map(|w| if w == "-" { "" } else { w }).collect();
    match words[..] {
        [verb, path] => Attributes { verb, path, ..Attributes::default() },
        [verb, group, resource, namespace, name] => {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            Attributes {
                verb,
                group,
                resource,
                subresource,
                namespace,
                name,
                version: "v1",
                is_resource: true,
                ..Attributes::default()
            }
        }
        _ => unreachable!("{text}"),
    }
}

fn pod(name: &str, node: &str, account: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"nodeName": node, "serviceAccountName": account, "volumes": [
            {"name": "a", "secret": {"secretName": format!("of-{name}")}},
            {"name": "b", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
        ]},
    })
}

#[tokio::test]
async fn the_bootstrap_policy_is_written_once_and_decides() {
    let world = world().await;
    assert_eq!(bootstrap::ensure(&world.store).await.unwrap(), 0);
    let view =
        world.store.get(&sampan_store::Key::new("clusterroles.rbac.authorization.k8s.io", "view")).unwrap();
    let view: serde_json::Value = serde_json::from_slice(&view.value).unwrap();
    assert_eq!(view["metadata"]["managedFields"][0]["manager"], "kube-apiserver");
    let binding = json!({
        "metadata": {"name": "e", "namespace": "default"}, "roleRef": {"kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": "eve"}, {"kind": "ServiceAccount", "name": "robot"}],
    });
    world.put(index::BINDINGS, "default/e", binding).await;
    let admin = UserInfo::new("kubernetes-admin", &[MASTERS]);
    let scheduler = UserInfo::new("system:kube-scheduler", &[]);
    let controllers = UserInfo::new("system:kube-controller-manager", &[]);
    let eve = UserInfo::new("eve", &[]);
    let robot = tokens::account_user("default", "robot", "1");
    let anonymous = UserInfo::anonymous();
    let cases = [
        (&admin, "delete apps deployments default web", true),
        (&admin, "get /metrics", true),
        (&scheduler, "create - pods/binding default a", true),
        (&scheduler, "list - pods - -", true),
        (&scheduler, "get - secrets default s", false),
        (&controllers, "create - pods default -", true),
        (&controllers, "list - secrets - -", true),
        (&controllers, "update apps replicasets/status default r", true),
        (&eve, "create apps deployments default -", true),
        (&eve, "get - pods/log default a", true),
        (&eve, "list - pods kube-system -", false),
        (&eve, "list - pods - -", false),
        (&eve, "create rbac.authorization.k8s.io roles default -", false),
        (&eve, "create authorization.k8s.io selfsubjectaccessreviews - -", true),
        (&eve, "get /apis/apps", true),
        (&eve, "get /metrics", false),
        (&robot, "get - secrets default s", true),
        (&robot, "get - secrets other s", false),
        (&anonymous, "get /healthz", true),
        (&anonymous, "get /version", true),
        (&anonymous, "get /api", false),
        (&anonymous, "list - pods default -", false),
    ];
    for (user, ask, want) in cases {
        assert_eq!(world.may(user, ask), want, "{} {ask}", user.name);
        assert_eq!(review_says(&world, user, ask), want, "review: {} {ask}", user.name);
    }
    let error = forbidden(&eve, &attributes("list - pods - -"), "");
    assert_eq!(
        error.message,
        r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" at the cluster scope"#
    );
}

/// What a SubjectAccessReview answers to the same question.
fn review_says(world: &World, user: &UserInfo, ask: &str) -> bool {
    let a = attributes(ask);
    let mut spec = json!({"user": user.name, "groups": user.groups});
    match a.is_resource {
        true => {
            spec["resourceAttributes"] = json!({
                "verb": a.verb, "group": a.group, "resource": a.resource, "subresource": a.subresource, "namespace": a.namespace, "name": a.name,
            })
        }
        false => spec["nonResourceAttributes"] = json!({"verb": a.verb, "path": a.path}),
    }
    let admin = UserInfo::new("admin", &[MASTERS]);
    let answer = world.auth.answer(&admin, "SubjectAccessReview", "", json!({"spec": spec})).unwrap();
    answer["status"]["allowed"] == true
}

#[tokio::test]
async fn a_node_reaches_what_its_pods_need() {
    let world = world().await;
    world.put("pods", "default/here", pod("here", "boat", "default")).await;
    world.put("pods", "default/there", pod("there", "other", "robot")).await;
    let node = UserInfo::new("system:node:boat", &["system:nodes"]);
    let cases = [
        ("get - secrets default of-here", true),
        ("get - secrets default of-there", false),
        ("list - secrets default -", false),
        ("watch - configmaps default kube-root-ca.crt", true),
        ("create - serviceaccounts/token default default", true),
        ("create - serviceaccounts/token default robot", false),
        ("get - pods default here", true),
        ("get - pods default there", false),
        ("list - pods - -", false),
        ("get - nodes - boat", true),
        ("get - nodes - other", false),
        ("update coordination.k8s.io leases kube-node-lease boat", true),
        ("update coordination.k8s.io leases kube-node-lease other", false),
        ("create - pods/eviction default here", true),
        ("create apps deployments default -", false),
        ("list - services - -", true),
    ];
    for (ask, want) in cases {
        assert_eq!(world.may(&node, ask), want, "{ask}");
    }
    let own = Attributes { field_selector: "spec.nodeName=boat", ..attributes("list - pods - -") };
    assert!(world.auth.authorize(&node, &own).allowed());
    let denied = world.auth.authorize(&node, &attributes("get - secrets default of-there"));
    assert_eq!(denied, Decision::Deny("no relationship found between node 'boat' and this object".into()));
}

fn head(headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().uri("/api/v1/pods");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn tls(certificates: Vec<CertificateDer<'static>>) -> Peer {
    Peer::Tls { certificates: certificates.into(), remote: ([127, 0, 0, 1], 1).into() }
}

#[tokio::test]
async fn tokens_live_as_long_as_what_they_are_bound_to() {
    let world = world().await;
    world
        .put(
            "serviceaccounts",
            "default/robot",
            json!({"metadata": {"name": "robot", "namespace": "default", "uid": "sa-1"}}),
        )
        .await;
    world.put("pods", "default/p", pod("p", "boat", "robot")).await;
    let now = Timestamp::now();
    let request = |spec: Value| world.auth.tokens().request("default", "robot", json!({"spec": spec}), now);
    let bound = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "uid-p"}});
    let token = request(bound).unwrap()["status"]["token"].as_str().unwrap().to_owned();
    let identify = |token: &str| {
        world.auth.identify(&head(&[("authorization", &format!("Bearer {token}"))]), &tls(vec![]))
    };
    let user = identify(&token).unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:robot");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert!(user.in_group("system:serviceaccounts:default") && user.in_group(AUTHENTICATED));
    // every byte matters
    for at in [3, token.len() / 2, token.len() - 3] {
        let mut bad = token.clone().into_bytes();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(identify(std::str::from_utf8(&bad).unwrap()).unwrap_err().code, 401, "byte {at}");
    }
    let audiences = world.auth.tokens().api_audiences();
    let later = Timestamp::from_second(now.as_second() + 3600).unwrap();
    assert_eq!(
        world.auth.tokens().verify(&token, &audiences, later).err().unwrap(),
        "service account token has expired"
    );
    assert!(world.auth.tokens().verify(&token, &["vault".into()], now).is_err());
    // one that a finalizer holds is as good as gone a minute after it was to be
    let verified = |second: i64| {
        let at = Timestamp::from_second(now.as_second() + second).unwrap();
        world.auth.tokens().verify(&token, &audiences, at).err().unwrap_or_default()
    };
    let mut held = pod("p", "boat", "robot");
    held["metadata"]["deletionTimestamp"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    world.put("pods", "default/p", held).await;
    for _ in 0..2 {
        // the second is answered from memory
        assert_eq!((verified(1), verified(60)), (String::new(), String::new()));
    }
    assert_eq!(verified(61), "service account token has been invalidated");
    world.put("pods", "default/p", pod("p", "boat", "robot")).await;
    assert_eq!(verified(61), "");
    let mut account = json!({"metadata": {"name": "robot", "namespace": "default", "uid": "sa-1"}});
    account["metadata"]["deletionTimestamp"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    world.put("serviceaccounts", "default/robot", account.clone()).await;
    assert_eq!(verified(61), "service account default/robot has been deleted");
    account["metadata"].as_object_mut().unwrap().shift_remove("deletionTimestamp");
    world.put("serviceaccounts", "default/robot", account).await;
    // another pod of the same name is another pod
    let mut other = pod("p", "boat", "robot");
    other["metadata"]["uid"] = "uid-2".into();
    world.put("pods", "default/p", other).await;
    assert_eq!(identify(&token).unwrap_err().code, 401);
    let cases = [
        (json!({"expirationSeconds": 60}), "may not specify a duration less than 10 minutes"),
        (
            json!({"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "uid-p"}}),
            "does not match the UID in record",
        ),
        (json!({"boundObjectRef": {"kind": "Pod", "name": "none"}}), r#"pods "none" not found"#),
        (
            json!({"boundObjectRef": {"kind": "Job", "apiVersion": "v1", "name": "j"}}),
            "cannot bind token to object of type /v1, Kind=Job",
        ),
    ];
    for (spec, want) in cases {
        let error = request(spec).unwrap_err().message;
        assert!(error.contains(want), "{error}");
    }
}

#[tokio::test]
async fn certificates_and_bootstrap_tokens_name_users_and_bad_tokens_are_refused() {
    let world = world().await;
    let admin = world.pki.admin().certificate();
    let user = world.auth.identify(&head(&[]), &tls(vec![admin])).unwrap();
    assert_eq!((user.name.as_str(), user.in_group(MASTERS)), ("kubernetes-admin", true));
    let node = world.pki.issue(&Subject::client("system:node:boat", &["system:nodes"])).unwrap();
    let user = world.auth.identify(&head(&[]), &tls(vec![node.certificate()])).unwrap();
    assert_eq!(user.node_name(), Some("boat"));
    assert_eq!(world.auth.identify(&head(&[]), &tls(vec![])).unwrap(), UserInfo::anonymous().into());
    assert_eq!(
        world.auth.identify(&head(&[("authorization", "Bearer nonsense")]), &tls(vec![])).unwrap_err().code,
        401
    );
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}, "type": "bootstrap.kubernetes.io/token",
        "data": {"token-id": "YWJjZGVm", "token-secret": "MDEyMzQ1Njc4OWFiY2RlZg==", "usage-bootstrap-authentication": "dHJ1ZQ=="},
    });
    world.put("secrets", "kube-system/bootstrap-token-abcdef", secret).await;
    let user = world
        .auth
        .identify(&head(&[("authorization", "Bearer abcdef.0123456789abcdef")]), &tls(vec![]))
        .unwrap();
    assert_eq!(
        (user.name.as_str(), user.in_group("system:bootstrappers")),
        ("system:bootstrap:abcdef", true)
    );
    assert!(
        world
            .auth
            .identify(&head(&[("authorization", "Bearer abcdef.0123456789abcdee")]), &tls(vec![]))
            .is_err()
    );
}

#[tokio::test]
async fn impersonation_is_authorised_part_by_part() {
    let world = world().await;
    let act = |user: &UserInfo, headers: &[(&str, &str)]| {
        world.auth.identify(&head(headers), &Peer::Loopback(Arc::new(user.clone())))
    };
    let admin = UserInfo::new("kubernetes-admin", &[MASTERS]);
    let user = act(
        &admin,
        &[("impersonate-user", "bob"), ("impersonate-group", "dev"), ("impersonate-extra-a%2fb", "c")],
    )
    .unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups.as_slice()),
        ("bob", ["dev".to_owned(), AUTHENTICATED.to_owned()].as_slice())
    );
    assert_eq!(user.extra["a/b"], ["c"]);
    let account = act(&admin, &[("impersonate-user", "system:serviceaccount:ns:sa")]).unwrap();
    assert!(account.in_group("system:serviceaccounts:ns"));
    let error = act(&UserInfo::new("eve", &[]), &[("impersonate-user", "bob")]).unwrap_err();
    assert_eq!(
        error.message,
        r#"users "bob" is forbidden: User "eve" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );
    assert!(act(&admin, &[("impersonate-group", "dev")]).is_err());
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_have() {
    let world = world().await;
    let binding = json!({
        "metadata": {"name": "a", "namespace": "default"}, "roleRef": {"kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "User", "name": "ann"}],
    });
    world.put(index::BINDINGS, "default/a", binding).await;
    let ann = UserInfo::new("ann", &[]);
    let check = |resource: &str, object: Value| {
        world.auth.check_escalation(&ann, resource, "default", "x", &object, None)
    };
    let role = |group: &str, resource: &str| json!({"rules": [{"verbs": ["get"], "apiGroups": [group], "resources": [resource]}]});
    assert!(check("roles", role("", "pods")).is_ok());
    let error = check("roles", role("", "nodes")).unwrap_err().message;
    assert!(error.contains("attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"), "{error}");
    let bind = |role: &str| json!({"roleRef": {"kind": "ClusterRole", "name": role}, "subjects": [{"kind": "User", "name": "b"}]});
    assert!(check("rolebindings", bind("view")).is_ok());
    assert_eq!(check("rolebindings", bind("cluster-admin")).unwrap_err().code, 403);
    assert_eq!(check("rolebindings", bind("no-such")).unwrap_err().code, 404);
}
