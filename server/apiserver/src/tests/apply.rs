//! Managed fields and server-side apply, as conversations.

use super::*;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

impl World {
    async fn as_agent(&self, method: &str, uri: &str, agent: &str, content: &str, body: &str) -> Got {
        let request = Request::builder().method(method).uri(uri).header("user-agent", agent);
        let request = request.header("content-type", content).body(Bytes::from(body.to_owned())).unwrap();
        let user = Arc::new(UserInfo::new("test", &["system:masters"]));
        let response = self.server.handle(request, Peer::Loopback(user)).await;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Got { code, headers, body: serde_json::from_slice(&bytes).unwrap() }
    }
    async fn apply(&self, uri: &str, query: &str, config: Value) -> Got {
        self.call("PATCH", &format!("{uri}?{query}"), "application/apply-patch+yaml", &config.to_string())
            .await
    }
}

/// `manager operation subresource` → fields.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let part = |entry: &Value, key: &str| entry[key].as_str().unwrap_or("").to_owned();
    let name = |e: &Value| [part(e, "manager"), part(e, "operation"), part(e, "subresource")].join(" ");
    list.iter().map(|e| (name(e).trim_end().to_owned(), e["fieldsV1"].clone())).collect()
}

fn fields_of(object: &Value, manager: &str) -> Value {
    managers(object).into_iter().find(|(name, _)| name == manager).map_or(Value::Null, |(_, fields)| fields)
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

#[tokio::test]
async fn every_write_says_who_made_it() {
    let w = world().await;
    let made =
        w.as_agent("POST", PODS, "kubectl/v1.36.0 (linux)", "application/json", &pod("a").to_string()).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let entry = &made.body["metadata"]["managedFields"][0];
    assert_eq!(entry["time"], made.body["metadata"]["creationTimestamp"]);
    assert_eq!(
        (&entry["manager"], &entry["operation"], &entry["apiVersion"], &entry["fieldsType"]),
        (&json!("kubectl"), &json!("Update"), &json!("v1"), &json!("FieldsV1"))
    );
    // what upstream writes for the same pod; what admission added is nobody's
    assert_eq!(
        entry["fieldsV1"],
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
                    "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
                }},
                "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {},
                "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
            },
        })
    );
    // the scheduler binds: nobody's, as upstream
    let binding = json!({"metadata": {"name": "a"}, "target": {"name": "n1"}});
    assert_eq!(w.post(&format!("{PODS}/a/binding"), binding).await.code, 201);
    let status =
        json!({"status": {"podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]}});
    let uri = format!("{PODS}/a/status");
    let content = "application/strategic-merge-patch+json";
    let got = w.as_agent("PATCH", &uri, "kubelet/v1.36.0", content, &status.to_string()).await;
    assert_eq!(
        fields_of(&got.body, "kubelet Update status"),
        json!({"f:status": {
            "f:conditions": {"k:{\"type\":\"Ready\"}": {
                ".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {},
            }},
            "f:podIP": {},
            "f:podIPs": {".": {}, "k:{\"ip\":\"10.0.0.9\"}": {".": {}, "f:ip": {}}},
        }})
    );
    assert_eq!(managers(&got.body).len(), 2);
    let label = json!({"metadata": {"labels": {"b": "1"}}}).to_string();
    let uri = format!("{PODS}/a?fieldManager=kubectl-label");
    let got = w.as_agent("PATCH", &uri, "kubectl/v1", "application/merge-patch+json", &label).await;
    assert_eq!(
        fields_of(&got.body, "kubectl-label Update"),
        json!({"f:metadata": {"f:labels": {"f:b": {}}}})
    );
    // nothing new, nothing written
    let again = w.as_agent("PATCH", &uri, "kubectl/v1", "application/merge-patch+json", &label).await;
    assert_eq!(again.body, got.body);
}

#[tokio::test]
async fn two_appliers_meet() {
    let w = world().await;
    let uri = &format!("{DEPLOYMENTS}/d");
    let made = w.apply(uri, "fieldManager=one", deployment(Some(1), "i:1")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["metadata"]["generation"], 1);
    assert_eq!(made.body["spec"]["strategy"]["type"], "RollingUpdate");
    assert_eq!(
        managers(&made.body),
        [(
            "one Apply".to_owned(),
            json!({"f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {"f:app": {}}},
                    "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}},
                },
            }})
        )]
    );
    // again: 200, and the same object to the revision
    let again = w.apply(uri, "fieldManager=one", deployment(Some(1), "i:1")).await;
    assert_eq!((again.code, &again.body), (200, &made.body));
    let refused = w.apply(uri, "fieldManager=two", deployment(Some(3), "i:2")).await;
    assert_eq!(refused.code, 409);
    assert_eq!(
        refused.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict", "code": 409,
            "message": "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image",
            "details": {"causes": [
                {"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".spec.replicas"},
                {"reason": "FieldManagerConflict", "message": "conflict with \"one\"",
                    "field": ".spec.template.spec.containers[name=\"c\"].image"},
            ]},
        })
    );
    let forced = w.apply(uri, "fieldManager=two&force=true", deployment(Some(3), "i:2")).await;
    assert_eq!((forced.code, &forced.body["spec"]["replicas"]), (200, &json!(3)));
    assert_eq!(fields_of(&forced.body, "one Apply")["f:spec"].get("f:replicas"), None);
    // what it mentions no more goes, and the default comes
    let less = w.apply(uri, "fieldManager=two", deployment(None, "i:2")).await;
    assert_eq!((less.code, &less.body["spec"]["replicas"]), (200, &json!(1)));
    assert_eq!(w.get(uri).await.body, less.body);
}

#[tokio::test]
async fn requests_that_upstream_refuses_are_refused() {
    let w = world().await;
    let uri = &format!("{MAPS}/m");
    let mut unknown = map(json!({"a": "1"}));
    unknown["spec"] = json!({});
    let mut managed = map(json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    let mut nameless = map(json!({}));
    nameless["metadata"] = json!({});
    let mut identified = map(json!({}));
    identified["metadata"]["uid"] = json!("u");
    for (query, config, code, message) in [
        (
            "",
            map(json!({})),
            422,
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
        ),
        (
            "fieldManager=a",
            unknown,
            500,
            "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .spec: field not declared in schema",
        ),
        ("fieldManager=a", managed, 400, "metadata.managedFields must be nil"),
        (
            "fieldManager=a",
            nameless,
            400,
            "the name of the object (based on URL) was undeterminable: name must be provided",
        ),
        ("fieldManager=a", deployment(None, "i"), 400, "invalid object type: apps/v1, Kind=Deployment"),
        (
            "fieldManager=a",
            identified,
            409,
            r#"Operation cannot be fulfilled on configmaps "m": uid mismatch: the provided object specified uid u, and no existing object was found"#,
        ),
    ] {
        let got = w.apply(uri, query, config).await;
        assert_eq!((got.code, got.body["message"].as_str().unwrap()), (code, message));
    }
    let other = w.apply(&format!("{MAPS}/n"), "fieldManager=a", map(json!({}))).await;
    assert_eq!(other.body["message"], "the name of the object (m) does not match the name on the URL (n)");
    let forced = w.call("PATCH", &format!("{uri}?force=true"), "application/merge-patch+json", "{}").await;
    assert_eq!(forced.code, 422);
    let wrong = w.call("PATCH", uri, "application/x-patch", "{}").await;
    assert_eq!(wrong.code, 415);
    assert!(
        wrong.body["message"].as_str().unwrap().contains("application/apply-patch+yaml"),
        "{}",
        wrong.body
    );
    let missing = w.apply(&format!("{DEPLOYMENTS}/d/status"), "fieldManager=a", deployment(None, "i")).await;
    assert_eq!(missing.code, 404);
}

#[tokio::test]
async fn who_may_only_patch_may_not_make() {
    let w = world().await;
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let role = json!({"metadata": {"name": "patcher"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(w.post(&format!("{roles}/roles"), role).await.code, 201);
    let binding = json!({"metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "pat"}]});
    assert_eq!(w.post(&format!("{roles}/rolebindings"), binding).await.code, 201);
    let pat = async || {
        let request = Request::builder().method("PATCH").uri(format!("{MAPS}/m?fieldManager=pat"));
        let request = request.header("content-type", "application/apply-patch+yaml");
        let request = request.body(Bytes::from(map(json!({"a": "1"})).to_string())).unwrap();
        let peer = Peer::Loopback(Arc::new(UserInfo::new("pat", &[])));
        w.server.handle(request, peer).await.status().as_u16()
    };
    assert_eq!(pat().await, 403);
    assert_eq!(w.post(MAPS, map(json!({}))).await.code, 201);
    assert_eq!(pat().await, 200);
}

#[tokio::test]
async fn keys_given_twice_are_told_by_their_lines() {
    let w = world().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: '1'\n  a: '2'\n";
    let uri = |mode: &str| format!("{MAPS}/m?fieldManager=x&dryRun=All&fieldValidation={mode}");
    let put = async |mode| w.call("PATCH", &uri(mode), "application/apply-patch+yaml", yaml).await;
    let strict = put("Strict").await;
    assert_eq!(
        (strict.code, strict.body["message"].as_str().unwrap()),
        (
            400,
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"a\" already set in map"
        )
    );
    let warned = put("Warn").await;
    assert_eq!((warned.code, &warned.body["data"]), (201, &json!({"a": "2"})));
    assert_eq!(warned.headers["warning"], "299 - \"line 7: key \\\"a\\\" already set in map\"");
    assert!(put("Ignore").await.headers.get("warning").is_none());
    // it was a rehearsal each time
    assert_eq!(w.get(&format!("{MAPS}/m")).await.code, 404);
}

#[tokio::test]
async fn a_status_is_applied_through_its_door_only() {
    let w = world().await;
    w.apply(&format!("{DEPLOYMENTS}/d"), "fieldManager=one", deployment(Some(2), "i")).await;
    let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    config["spec"] = json!({"replicas": 9});
    config["status"] = json!({"replicas": 7});
    let got = w.apply(&format!("{DEPLOYMENTS}/d/status"), "fieldManager=ctl", config.clone()).await;
    assert_eq!(got.code, 200, "{}", got.body);
    assert_eq!((&got.body["spec"]["replicas"], &got.body["status"]["replicas"]), (&json!(2), &json!(7)));
    assert_eq!(fields_of(&got.body, "ctl Apply status"), json!({"f:status": {"f:replicas": {}}}));
    // and through the front door it is nobody's
    config["spec"] = json!({"replicas": 2});
    config["status"] = json!({"replicas": 1});
    let got = w.apply(&format!("{DEPLOYMENTS}/d"), "fieldManager=two", config).await;
    assert_eq!((got.code, &got.body["status"]["replicas"]), (200, &json!(7)), "{}", got.body);
    assert_eq!(fields_of(&got.body, "two Apply"), json!({"f:spec": {"f:replicas": {}}}));
}

#[tokio::test]
async fn scaling_takes_the_replicas_over() {
    let w = world().await;
    let uri = &format!("{DEPLOYMENTS}/d");
    w.apply(uri, "fieldManager=one", deployment(Some(1), "i")).await;
    let scale = |n: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": n}});
    let door = &format!("{uri}/scale");
    let refused = w.apply(door, "fieldManager=hpa", scale(4)).await;
    assert_eq!(
        refused.body["message"],
        r#"Apply failed with 1 conflict: conflict with "one": .spec.replicas"#
    );
    let patch = json!({"spec": {"replicas": 5}}).to_string();
    let got = w.as_agent("PATCH", door, "kubectl/v1", "application/merge-patch+json", &patch).await;
    assert_eq!((got.code, &got.body["spec"]["replicas"]), (200, &json!(5)), "{}", got.body);
    let now = w.get(uri).await.body;
    assert_eq!(fields_of(&now, "kubectl Update scale"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields_of(&now, "one Apply")["f:spec"].get("f:replicas"), None);
    let refused = w.apply(uri, "fieldManager=one", deployment(Some(1), "i")).await;
    assert_eq!(
        refused.body["message"],
        r#"Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas"#
    );
    let got = w.apply(door, "fieldManager=hpa&force=true", scale(6)).await;
    assert_eq!((got.code, &got.body["spec"]["replicas"]), (200, &json!(6)));
    let now = w.get(uri).await.body;
    assert_eq!(fields_of(&now, "hpa Apply scale"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields_of(&now, "kubectl Update scale"), Value::Null);
}

#[tokio::test]
async fn managed_fields_are_kept_cleared_and_replaced() {
    let w = world().await;
    let uri = &format!("{MAPS}/m");
    let made = w.post(&format!("{MAPS}?fieldManager=a"), map(json!({"x": "1"}))).await.body;
    // a client that does not know them loses nothing
    let got = w
        .call(
            "PUT",
            &format!("{uri}?fieldManager=b"),
            "application/json",
            &map(json!({"x": "2"})).to_string(),
        )
        .await;
    assert_eq!(fields_of(&got.body, "b Update"), json!({"f:data": {"f:x": {}}}));
    assert_eq!(fields_of(&got.body, "a Update"), json!({"f:data": {}}));
    // kubectl's migration replaces the list by a JSON patch
    let entry = json!({"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:x": {}}}});
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]).to_string();
    let got = w.call("PATCH", uri, "application/json-patch+json", &patch).await;
    assert_eq!(got.body["metadata"]["managedFields"], json!([entry]));
    let got = w.merge(uri, json!({"metadata": {"managedFields": [{}]}})).await;
    assert_eq!((got.code, got.body["metadata"].get("managedFields")), (200, None));
    let got = w.merge(uri, json!({"data": {"x": "3"}})).await;
    assert_eq!(got.body["metadata"].get("managedFields"), None);
    let got = w.apply(uri, "fieldManager=a", map(json!({"x": "3"}))).await;
    let names: Vec<String> = managers(&got.body).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a Apply", "before-first-apply Update"]);
    assert_eq!(managers(&made).len(), 1);
}

#[tokio::test]
async fn versions_name_fields_their_own_way() {
    let w = world().await;
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let config = |version: &str, spec: Value| {
        let mut spec = spec;
        spec["scaleTargetRef"] = target.clone();
        json!({"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec})
    };
    let one = config("autoscaling/v1", json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
    let got = w.apply(&format!("{v1}/h"), "fieldManager=one", one).await;
    assert_eq!(got.code, 201, "{}", got.body);
    let metrics = |percent: i64| {
        json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}}])
    };
    let two = config("autoscaling/v2", json!({"maxReplicas": 3, "metrics": metrics(80)}));
    let refused = w.apply(&format!("{v2}/h"), "fieldManager=two", two).await;
    assert_eq!(
        refused.body["message"],
        r#"Apply failed with 1 conflict: conflict with "one": .spec.targetCPUUtilizationPercentage"#
    );
    // the same applier in another version: still one, and what it drops goes
    let again = config("autoscaling/v2", json!({"maxReplicas": 3, "metrics": metrics(50)}));
    let got = w.apply(&format!("{v2}/h"), "fieldManager=one", again).await;
    assert_eq!(got.code, 200, "{}", got.body);
    assert_eq!(managers(&got.body).len(), 1);
    assert_eq!(got.body["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v2");
    assert_eq!(got.body["spec"]["metrics"], metrics(50));
}

#[tokio::test]
async fn the_first_objects_are_the_api_servers() {
    let w = world().await;
    let got = w.get("/api/v1/namespaces/kube-system").await.body;
    assert_eq!(
        managers(&got),
        [(
            "kube-apiserver Update".to_owned(),
            json!({"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}})
        )]
    );
    let class = w.get("/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical").await.body;
    assert_eq!(managers(&class).first().map(|(name, _)| name.as_str()), Some("kube-apiserver Update"));
}

#[tokio::test]
async fn a_secrets_plain_data_is_managed_as_data() {
    let w = world().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "1"}, "data": {"b": "Mg=="}});
    let got = w.post(&format!("{secrets}?fieldManager=a"), secret).await.body;
    assert_eq!(
        managers(&got),
        [("a Update".to_owned(), json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}, "f:type": {}}))]
    );
}
