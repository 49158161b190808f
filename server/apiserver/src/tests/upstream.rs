//! Small things that no client may tell from upstream: what was found different by reading both side by side.

use super::*;

const EVENTS: &str = "/api/v1/namespaces/default/events";

impl World {
    async fn text(&self, method: &str, uri: &str, accept: &str) -> (u16, HeaderMap, String) {
        let response = self.raw(method, uri, "", accept, "").await;
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, headers, String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test]
async fn a_watch_of_one_name_shows_that_object_only() {
    let w = world().await;
    for name in ["a", "b"] {
        assert_eq!(w.post(MAPS, map(name)).await.code, 201);
    }
    let watch = "/api/v1/watch/namespaces/default/configmaps";
    let shown = w.events(&format!("{watch}/a?timeoutSeconds=1")).await;
    let names: Vec<_> =
        shown.iter().map(|(kind, object)| (kind.as_str(), object["metadata"]["name"].clone())).collect();
    assert_eq!(names, [("ADDED", json!("a"))]);
    assert_eq!(w.events(&format!("{watch}?timeoutSeconds=1")).await.len(), 2);
    let refused = w.get(&format!("{watch}/a?fieldSelector=metadata.name%3Db")).await;
    assert_eq!(refused.code, 400);
    assert_eq!(refused.body["message"], "fieldSelector metadata.name doesn't match requested name");
    let listed = w.get(&format!("{MAPS}?fieldSelector=metadata.name%3Db")).await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn jobs_and_replication_controllers_leave_their_pods_unless_told() {
    let w = world().await;
    let containers = json!([{"name": "c", "image": "i"}]);
    let pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers, "restartPolicy": "Never"}});
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    for (name, options, finalizers) in [
        ("a", json!({}), json!(["orphan"])),
        ("b", json!({"propagationPolicy": "Foreground"}), json!(["foregroundDeletion"])),
    ] {
        let job = json!({"metadata": {"name": name}, "spec": {"template": pod}});
        assert_eq!(w.post(jobs, job).await.code, 201);
        let left =
            w.call("DELETE", &format!("{jobs}/{name}"), "application/json", &options.to_string()).await;
        assert_eq!(left.body["metadata"]["finalizers"], finalizers, "{}", left.body);
    }
    let job = json!({"metadata": {"name": "c"}, "spec": {"template": pod}});
    assert_eq!(w.post(jobs, job).await.code, 201);
    let background = json!({"propagationPolicy": "Background"}).to_string();
    let gone = w.call("DELETE", &format!("{jobs}/c"), "application/json", &background).await;
    assert_eq!(gone.body["kind"], "Status", "{}", gone.body);
}

#[tokio::test]
async fn a_timeout_is_a_duration() {
    let w = world().await;
    for good in ["0s", "32s", "1h", ""] {
        assert_eq!(w.get(&format!("{MAPS}?timeout={good}")).await.code, 200, "{good}");
    }
    let refused = w.get(&format!("{MAPS}?timeout=invalid")).await;
    assert_eq!(refused.code, 400);
    let why = "invalid timeout specified in the request URL - time: invalid duration \"invalid\"";
    assert_eq!(refused.body["message"], why);
}

#[tokio::test]
async fn what_has_a_status_begins_with_an_empty_one() {
    let w = world().await;
    let device = json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]});
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": device}});
    assert_eq!(w.post(claims, claim).await.body["status"], json!({}));
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "3"}}, "status": {"used": {"pods": "9"}}});
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    assert_eq!(w.post(quotas, quota).await.body["status"], json!({}));
}

#[tokio::test]
async fn events_are_checked_in_both_apis() {
    let w = world().await;
    let refused =
        w.post(EVENTS, json!({"metadata": {"name": "x"}, "involvedObject": {"namespace": "other"}})).await;
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.body["message"],
        "Event \"x\" is invalid: involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"
    );
    let newer = "/apis/events.k8s.io/v1/namespaces/default/events";
    let refused = w.post(newer, json!({"metadata": {"name": "x"}, "type": "Odd"})).await;
    assert_eq!(refused.code, 422);
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.starts_with("Event \"x\" is invalid: ["), "{message}");
    for part in ["eventTime: Required value", "type: Invalid value: \"\": has invalid value: Odd"] {
        assert!(message.contains(part), "{message}");
    }
    let event = json!({
        "metadata": {"name": "x"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a.io/c",
        "reportingInstance": "c-1", "action": "Look", "reason": "Seen", "type": "Normal", "note": "one",
    });
    assert_eq!(w.post(newer, event).await.code, 201);
    let changed = w.merge(&format!("{newer}/x"), json!({"note": "two"})).await;
    assert_eq!(
        (changed.code, &changed.body["message"]),
        (422, &json!("Event \"x\" is invalid: message: Invalid value: \"two\": field is immutable"))
    );
}

#[tokio::test]
async fn finalizers_of_built_in_kinds_have_a_domain() {
    let w = world().await;
    let with = |finalizer: &str| json!({"metadata": {"name": "f", "finalizers": [finalizer]}});
    let refused = w.post(MAPS, with("keeper")).await;
    assert_eq!(refused.code, 422);
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    assert_eq!(
        refused.body["message"],
        format!("ConfigMap \"f\" is invalid: metadata.finalizers[0]: Invalid value: \"keeper\": {why}")
    );
    assert_eq!(w.post(MAPS, with("example.com/keeper")).await.code, 201);
    assert_eq!(w.merge(&format!("{MAPS}/f"), with("keeper")).await.code, 422);
    assert_eq!(w.merge(&format!("{MAPS}/f"), json!({"metadata": {"finalizers": null}})).await.code, 200);
}

#[tokio::test]
async fn an_ephemeral_container_comes_once_and_stays() {
    let w = world().await;
    assert_eq!(w.post(PODS, pod("p")).await.code, 201);
    let uri = format!("{PODS}/p/ephemeralcontainers");
    let add = async |containers: Value| {
        let patch = json!({"spec": {"ephemeralContainers": containers}});
        let got = w.merge(&uri, patch).await;
        (got.code, got.body["message"].as_str().unwrap_or("").to_owned())
    };
    let one = json!({"name": "debug", "image": "i"});
    let (code, message) = add(json!([one, one])).await;
    assert_eq!(code, 422, "{message}");
    assert!(message.contains("spec.ephemeralContainers[1].name: Duplicate value: \"debug\""), "{message}");
    let (code, message) = add(
        json!([{"name": "debug", "image": "i", "targetContainerName": "x", "ports": [{"containerPort": 1}]}]),
    )
    .await;
    assert_eq!(code, 422);
    assert!(
        message.contains("spec.ephemeralContainers[0].targetContainerName: Not found: \"x\""),
        "{message}"
    );
    assert!(
        message.contains(
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"
        ),
        "{message}"
    );
    assert_eq!(add(json!([one])).await.0, 200);
    let (code, message) = add(json!([])).await;
    assert_eq!(code, 422);
    assert!(message.contains("existing ephemeral containers \"debug\" may not be removed"), "{message}");
    let (code, message) = add(json!([{"name": "debug", "image": "other"}])).await;
    assert_eq!(code, 422);
    assert!(message.contains("existing ephemeral containers \"debug\" may not be changed"), "{message}");
}

#[tokio::test]
async fn an_empty_name_of_a_pull_secret_is_a_warning() {
    let w = world().await;
    let mut odd = pod("p");
    odd["spec"]["imagePullSecrets"] = json!([{"name": ""}]);
    let made = w.post(PODS, odd).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(
        made.headers.get("warning").unwrap(),
        "299 - \"spec.imagePullSecrets[0].name: invalid empty name \\\"\\\"\""
    );
}

#[tokio::test]
async fn unknown_paths_are_answered_with_text_and_unknown_resources_with_a_status() {
    let w = world().await;
    for (method, uri) in [
        ("GET", "/nothing"),
        ("POST", "/nothing"),
        ("GET", "/healthz/nothing"),
        ("GET", "/apis/nobody.example.com"),
        ("GET", "/apis/nobody.example.com/v1"),
        ("GET", "/apis/nobody.example.com/v1/things"),
        ("DELETE", "/apis/nobody.example.com/v1/namespaces/default/things/a"),
    ] {
        let (code, headers, body) = w.text(method, uri, "application/json").await;
        assert_eq!((code, body.as_str()), (404, "404 page not found\n"), "{method} {uri}");
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the server could not find the requested resource", "reason": "NotFound", "details": {}, "code": 404,
    });
    for uri in [
        "/api/v1/nothings",
        "/api/v9/pods",
        "/api/v9",
        "/apis/apps/v1/nothings",
        "/apis/apps/v9",
        "/apis/apps/v9/deployments",
    ] {
        let got = w.get(uri).await;
        assert_eq!(got.body, status, "{uri}");
    }
    let got = w.call("PUT", MAPS, "application/json", "{}").await;
    assert_eq!((got.code, &got.body["details"]), (405, &json!({})));
}

#[tokio::test]
async fn a_dry_run_of_a_new_object_has_no_revision() {
    let w = world().await;
    let tried = w.post(&format!("{MAPS}?dryRun=All"), map("m")).await;
    assert_eq!(tried.code, 201);
    assert_eq!(tried.body["metadata"].get("resourceVersion"), None, "{}", tried.body);
    assert_eq!(tried.body["metadata"]["name"], "m");
}

#[tokio::test]
async fn the_log_of_a_pod_whose_node_is_gone_names_the_node() {
    let w = world().await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "gone".into();
    assert_eq!(w.post(PODS, bound).await.code, 201);
    for sub in ["log", "exec?command=ls", "portforward"] {
        let got = w.get(&format!("{PODS}/p/{sub}")).await;
        assert_eq!((got.code, &got.body["message"]), (404, &json!("nodes \"gone\" not found")), "{sub}");
    }
}

#[tokio::test]
async fn rows_without_objects_say_so() {
    let w = world().await;
    assert_eq!(w.post(MAPS, map("m")).await.code, 201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (_, _, body) = w.text("GET", &format!("{MAPS}/m?includeObject=None"), accept).await;
    let table: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(table["rows"][0].get("object"), Some(&Value::Null));
}

#[tokio::test]
async fn a_job_is_not_finished_while_pods_run() {
    let w = world().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let made = w.post(jobs, json!({"metadata": {"name": "j"}, "spec": {"template": template}})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let status = format!("{jobs}/j/status");
    let running = json!({"status": {"active": 1, "startTime": "2026-01-01T00:00:00Z"}});
    assert_eq!(w.merge(&status, running).await.code, 200);
    let done = json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    let refused = w.merge(&status, done).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    let message = refused.body["message"].as_str().unwrap();
    assert!(
        message.contains("status.active: Invalid value: 1: active>0 is invalid for finished job"),
        "{message}"
    );
}

#[tokio::test]
async fn a_deployments_wrong_labels_come_before_its_selector() {
    let w = world().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let of = |selected: &str, labelled: &str| {
        let template = json!({
            "metadata": {"labels": {"app": labelled}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        let spec = json!({"selector": {"matchLabels": {"app": selected}}, "template": template});
        json!({"metadata": {"name": "d"}, "spec": spec})
    };
    assert_eq!(w.post(deployments, of("a", "a")).await.code, 201);
    let refused =
        w.call("PUT", &format!("{deployments}/d"), "application/json", &of("b", "a").to_string()).await;
    let fields: Vec<&Value> =
        refused.body["details"]["causes"].as_array().unwrap().iter().map(|cause| &cause["field"]).collect();
    assert_eq!(fields, ["spec.template.metadata.labels", "spec.selector"]);
}

#[tokio::test]
async fn bodies_of_other_kinds_are_told_apart_by_what_the_scheme_knows() {
    let w = world().await;
    let refused =
        w.post(MAPS, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})).await;
    assert_eq!(refused.code, 400);
    assert_eq!(
        refused.body["message"],
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"
    );
    let patch = w.call("PATCH", "/api/v1/namespaces/default", "application/json-patch+json", "{}").await;
    assert_eq!(patch.code, 400);
    assert_eq!(
        patch.body["message"],
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    );
    let lax = w
        .call(
            "PATCH",
            "/api/v1/namespaces/default?fieldValidation=Ignore",
            "application/json-patch+json",
            "{}",
        )
        .await;
    assert_eq!(lax.body["message"], "json: cannot unmarshal object into Go value of type jsonpatch.Patch");
}

#[tokio::test]
async fn yaml_has_quotes_where_older_readers_need_them() {
    let w = world().await;
    assert_eq!(w.post(MAPS, map("m")).await.code, 201);
    let (_, _, body) = w.text("GET", &format!("{MAPS}/m"), "application/yaml").await;
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!(lines[..4], ["apiVersion: v1", "data:", "  k: v", "kind: ConfigMap"]);
    let time = lines.iter().find(|line| line.starts_with("  creationTimestamp: ")).unwrap();
    assert!(time.contains(": \"20") && time.ends_with("Z\""), "{time}");
}

#[tokio::test]
async fn only_a_proxy_is_asked_with_options() {
    let w = world().await;
    assert_eq!(w.post(MAPS, map("a")).await.code, 201);
    let not_allowed = "the server does not allow this method on the requested resource";
    for (uri, code, message) in [
        (format!("{MAPS}/a"), 405, not_allowed),
        ("/api/v1/namespaces/default/pods/p/log".into(), 405, not_allowed),
        ("/api/v1/namespaces/default/pods/p/proxy/x".into(), 404, "pods \"p\" not found"),
        ("/api/v1/namespaces/default/services/s/proxy/x".into(), 404, "services \"s\" not found"),
    ] {
        let (got, _, text) = w.text("OPTIONS", &uri, "application/json").await;
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got, body["message"].as_str()), (code, Some(message)), "{uri}");
    }
}

#[tokio::test]
async fn a_watch_is_sent_in_messages_to_whoever_asks_for_a_websocket() {
    use futures::StreamExt;
    use tokio::io::AsyncReadExt;
    use tokio_tungstenite::tungstenite::protocol::Role;

    let w = world().await;
    assert_eq!(w.post(MAPS, map("a")).await.code, 201);
    let request = Request::get(format!("{MAPS}?watch=1&timeoutSeconds=1"))
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Bytes::new())
        .unwrap();
    let user = Arc::new(UserInfo::new("test", &["system:masters"]));
    let mut response = w.server.handle(request, Peer::Loopback(user)).await;
    assert_eq!(response.status(), 101);
    let takeover = response.extensions_mut().remove::<crate::TakeoverSlot>().unwrap().take().unwrap();
    let (mut near, far) = tokio::io::duplex(4096);
    tokio::spawn((takeover.0)(Box::new(far)));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await.unwrap());
    }
    let mut client = tokio_tungstenite::WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let first = client.next().await.unwrap().unwrap().into_text().unwrap();
    let event: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));
    assert!(client.next().await.unwrap().unwrap().is_close(), "the watch ends");
}

#[tokio::test]
async fn only_what_is_served_is_told_of_as_deprecated() {
    let w = world().await;
    const ADDRESSES: &str = "/apis/networking.k8s.io/v1beta1/ipaddresses";
    let warned = |got: &Got| got.headers.contains_key("warning");
    let counted = |labels: &str| {
        let text = sampan_process::metrics::encode();
        text.lines()
            .any(|line| line.starts_with("apiserver_requested_deprecated_apis{") && line.contains(labels))
    };
    // a subresource that there is not is the client's word
    let got = w.get(&format!("{ADDRESSES}/10.0.0.1/nonsense")).await;
    assert_eq!((got.code, warned(&got)), (404, false));
    assert!(!counted("subresource=\"nonsense\""));
    let got = w.get(ADDRESSES).await;
    assert_eq!((got.code, warned(&got)), (200, true));
    assert!(counted("resource=\"ipaddresses\",subresource=\"\""));
}

#[tokio::test]
async fn the_apis_own_service_comes_back() {
    let w = world().await;
    for path in [
        "/api/v1/namespaces/default/services/kubernetes",
        "/api/v1/namespaces/default/endpoints/kubernetes",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
    ] {
        let before = w.get(path).await.body["metadata"]["uid"].clone();
        assert_eq!(w.delete(path).await.code, 200, "{path}");
        let back = async {
            loop {
                let now = w.get(path).await;
                if now.code == 200 && now.body["metadata"]["uid"] != before {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), back).await.expect(path);
    }
}

#[tokio::test]
async fn system_priority_classes_stay() {
    let w = world().await;
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let refused = w.delete(&format!("{classes}/system-node-critical")).await;
    let why = "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and cannot be deleted";
    assert_eq!((refused.code, &refused.body["message"]), (403, &json!(why)));
    let own = json!({"metadata": {"name": "mine"}, "value": 5});
    assert_eq!(w.post(classes, own).await.code, 201);
    assert_eq!(w.delete(&format!("{classes}/mine")).await.code, 200);
}

#[tokio::test]
async fn a_path_means_what_was_authorized_by_it() {
    let w = world().await;
    let nowhere = "the server could not find the requested resource";
    for (method, path, code, message) in [
        // authorized as of one namespace
        ("GET", "/api/v1/namespaces/default/namespaces", 404, nowhere),
        ("GET", "/api/v1/namespaces/default/namespaces/kube-system", 404, nowhere),
        ("DELETE", "/api/v1/namespaces/default/namespaces/kube-public", 404, nowhere),
        ("GET", "/api/v1/watch/namespaces/default/namespaces", 404, nowhere),
        ("GET", "/api/v1/namespaces/default/nodes", 404, nowhere),
    ] {
        let refused = w.call(method, path, "application/json", "").await;
        assert_eq!((refused.code, &refused.body["message"]), (code, &json!(message)), "{method} {path}");
    }
    assert_eq!(w.get("/api/v1/namespaces/default").await.code, 200);
    // authorized by that name, and of another
    let refused = w.post(&format!("{MAPS}/told"), map("other")).await;
    assert_eq!((refused.code, &refused.body["reason"]), (405, &json!("MethodNotAllowed")));
    assert_eq!(w.get(&format!("{MAPS}/other")).await.code, 404);
}

#[tokio::test]
async fn only_options_of_a_deletion_delete() {
    let w = world().await;
    assert_eq!(w.post(MAPS, map("m")).await.code, 201);
    let delete = async |body: Value| {
        let left = w.call("DELETE", &format!("{MAPS}/m"), "application/json", &body.to_string()).await;
        (left.code, left.body["message"].as_str().unwrap_or_default().to_owned())
    };
    let (code, why) = delete(json!({"kind": "Pod", "apiVersion": "v1"})).await;
    assert!(code == 400 && why.starts_with("no kind \"Pod\" is registered for version \"v1\""), "{why}");
    let (code, why) = delete(json!({"kind": "Status", "apiVersion": "v1"})).await;
    assert_eq!((code, &*why), (400, "converting (v1.Status) to (v1.DeleteOptions): unknown conversion"));
    let (code, why) = delete(json!("x")).await;
    let words = "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string ";
    assert_eq!((code, why.starts_with(words)), (400, true), "{why}");
    assert_eq!(delete(Value::Null).await.0, 200);
    assert_eq!(w.post(MAPS, map("m")).await.code, 201);
    assert_eq!(delete(json!({"kind": "DeleteOptions", "apiVersion": "apps/v1"})).await.0, 200);
}

#[tokio::test]
async fn what_is_asked_in_a_query_is_checked() {
    let w = world().await;
    for name in ["a", "b"] {
        assert_eq!(w.post(MAPS, map(name)).await.code, 201);
    }
    let (code, _, body) = w
        .text("GET", &format!("{MAPS}?includeObject=Foo"), "application/json;as=Table;v=v1;g=meta.k8s.io")
        .await;
    assert!(code == 400 && body.contains("must be 'Metadata', 'Object', 'None', or empty"), "{body}");
    assert_eq!(w.get(&format!("{MAPS}?timeoutSeconds=foo")).await.code, 400);
    let all = w.get(&format!("{MAPS}?resourceVersion=0&limit=1")).await;
    assert_eq!(all.body["items"].as_array().unwrap().len(), 2, "a cache gives all");
    let slices = "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=";
    assert_eq!(w.get(&format!("{slices}spec.nodeName%3Dx,spec.driver%3Dy")).await.code, 200);
    let refused = w.get(&format!("{slices}spec.pool%3Dx")).await;
    let why = "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.pool";
    assert_eq!((refused.code, &refused.body["message"]), (400, &json!(why)));
    let events = "/apis/events.k8s.io/v1/events?fieldSelector=";
    assert_eq!(w.get(&format!("{events}regarding.fieldPath%3Dx")).await.code, 200);
    assert_eq!(w.get(&format!("{events}involvedObject.kind%3DPod")).await.code, 400);
}
