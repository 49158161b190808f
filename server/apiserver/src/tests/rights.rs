//! What a SubjectAccessReview says, and what the call itself comes to: they agree for each identity, verb and resource.

use super::*;

impl World {
    async fn call_as(&self, user: &UserInfo, method: &str, uri: &str, content: &str, body: &str) -> Got {
        let mut request = Request::builder().method(method).uri(uri).header("accept", "application/json");
        if !content.is_empty() {
            request = request.header("content-type", content);
        }
        let request = request.body(Bytes::from(body.to_owned())).unwrap();
        let response = self.server.handle(request, Peer::Loopback(Arc::new(user.clone()))).await;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Got { code, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// Binds `role` to a user: in the namespace `default`, or everywhere.
    async fn bind(&self, role: &str, user: &str, everywhere: bool) {
        let subject = json!({"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"});
        let reference = json!({"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"});
        let binding = json!({"metadata": {"name": format!("{user}-{role}")}, "roleRef": reference, "subjects": [subject]});
        let group = "/apis/rbac.authorization.k8s.io/v1";
        let uri = match everywhere {
            true => format!("{group}/clusterrolebindings"),
            false => format!("{group}/namespaces/default/rolebindings"),
        };
        let bound = self.post(&uri, binding).await;
        assert_eq!(bound.code, 201, "{}", bound.body);
    }

    async fn role(&self, name: &str, rules: Value) {
        let role = json!({"metadata": {"name": name}, "rules": rules});
        let made = self.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }

    async fn may(&self, user: &UserInfo, attributes: Value) -> bool {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user.name, "groups": user.groups, "resourceAttributes": attributes}});
        let told = self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review).await;
        told.body["status"]["allowed"].as_bool().unwrap()
    }
}

async fn secured() -> World {
    let world = world().await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    world
}

/// Group, version, resource, kind, whether it is in a namespace.
const RESOURCES: [(&str, &str, &str, &str, bool); 8] = [
    ("", "v1", "configmaps", "ConfigMap", true),
    ("", "v1", "secrets", "Secret", true),
    ("", "v1", "pods", "Pod", true),
    ("", "v1", "nodes", "Node", false),
    ("", "v1", "namespaces", "Namespace", false),
    ("apps", "v1", "deployments", "Deployment", true),
    ("coordination.k8s.io", "v1", "leases", "Lease", true),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
];
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

#[tokio::test]
async fn a_review_and_the_call_agree() {
    let w = secured().await;
    w.bind("view", "viewer", false).await;
    w.bind("edit", "editor", false).await;
    w.bind("cluster-admin", "boss", true).await;
    w.role(
        "one-map",
        json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["x"],
        "verbs": ["get", "update", "delete", "list"]}]),
    )
    .await;
    w.bind("one-map", "keeper", true).await;
    let identities = [
        UserInfo::new("root", &["system:masters"]),
        UserInfo::new("viewer", &[]),
        UserInfo::new("editor", &[]),
        UserInfo::new("boss", &[]),
        UserInfo::new("keeper", &[]),
        UserInfo::new("nobody", &[]),
        UserInfo::new("system:node:n1", &["system:nodes"]),
        UserInfo::new("system:kube-scheduler", &[]),
        UserInfo::new("system:serviceaccount:default:default", &["system:serviceaccounts"]),
        UserInfo::anonymous(),
    ];
    let (mut yes, mut no) = (0, 0);
    for user in &identities {
        for (group, version, resource, kind, namespaced) in RESOURCES {
            let root =
                if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
            let namespace = if namespaced { "default" } else { "" };
            let place = if namespaced {
                format!("{root}/namespaces/default/{resource}")
            } else {
                format!("{root}/{resource}")
            };
            for verb in VERBS {
                let named = matches!(verb, "get" | "update" | "patch" | "delete");
                let attributes = json!({"verb": verb, "group": group, "version": version, "resource": resource,
                    "namespace": namespace, "name": if named { "x" } else { "" }});
                let allowed = w.may(user, attributes).await;
                let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                let object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}}).to_string();
                let json = "application/json";
                let one = format!("{place}/x?dryRun=All");
                let got = match verb {
                    "get" => w.call_as(user, "GET", &format!("{place}/x"), "", "").await,
                    "list" => w.call_as(user, "GET", &place, "", "").await,
                    "watch" => {
                        w.call_as(
                            user,
                            "GET",
                            &format!("{place}?watch=1&timeoutSeconds=0&resourceVersion=x"),
                            "",
                            "",
                        )
                        .await
                    }
                    "create" => w.call_as(user, "POST", &format!("{place}?dryRun=All"), json, &object).await,
                    "update" => w.call_as(user, "PUT", &one, json, &object).await,
                    "patch" => w.call_as(user, "PATCH", &one, "application/merge-patch+json", "{}").await,
                    "delete" => w.call_as(user, "DELETE", &one, "", "").await,
                    _ => w.call_as(user, "DELETE", &format!("{place}?dryRun=All"), "", "").await,
                };
                // admission refuses with 403 as well, in other words; and who may update is not yet who may create
                let words = format!("cannot {verb} resource \"{resource}\"");
                let refused =
                    got.code == 403 && got.body["message"].as_str().is_some_and(|said| said.contains(&words));
                assert_eq!(allowed, !refused, "{} {verb} {resource}: {} {}", user.name, got.code, got.body);
                if allowed { yes += 1 } else { no += 1 }
            }
        }
    }
    assert_eq!(yes + no, identities.len() * RESOURCES.len() * VERBS.len());
    assert!(yes > 100 && no > 100, "{yes} allowed, {no} not");
}

#[tokio::test]
async fn who_puts_what_is_not_there_has_to_be_allowed_to_create() {
    let w = secured().await;
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}})
        .to_string();
    let uri = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let rule = |verbs: Value| json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}]);
    w.role("updates", rule(json!(["update"]))).await;
    w.role("creates", rule(json!(["create"]))).await;
    w.bind("updates", "eve", false).await;
    let eve = UserInfo::new("eve", &[]);
    let put = async || w.call_as(&eve, "PUT", uri, "application/json", &lease).await;
    let refused = put().await;
    assert_eq!(refused.code, 403, "{}", refused.body);
    assert_eq!(
        refused.body["message"],
        "leases.coordination.k8s.io \"l\" is forbidden: User \"eve\" cannot create resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"default\""
    );
    w.bind("creates", "eve", false).await;
    assert_eq!(put().await.code, 201);
}
