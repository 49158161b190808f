//! Conversion webhooks: a definition whose versions have different fields, and a webhook that knows both.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::webhooks::{Hook, Reply, hook};
use super::*;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "tunnels.net.example.com";
const V1: &str = "/apis/net.example.com/v1/namespaces/default/tunnels";
const V2: &str = "/apis/net.example.com/v2/namespaces/default/tunnels";
const BY: &str = "conversion webhook for net.example.com/v1, Kind=Tunnel";

fn definition(hook: &Hook, storage: &str) -> Value {
    let version = |name: &str, spec: Value, selectable: &str| {
        json!({"name": name, "served": true, "storage": name == storage, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": selectable}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": spec},
                "status": {"type": "object", "properties": {"up": {"type": "boolean"}}}}}}})
    };
    let first = json!({"hostPort": {"type": "string"}, "mode": {"type": "string", "default": "plain"}});
    let second = json!({"host": {"type": "string"}, "port": {"type": "string"}, "mode": {"type": "string"},
        "zone": {"type": "string", "default": "here"}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
        "spec": {"group": "net.example.com", "scope": "Namespaced", "names": {"plural": "tunnels", "kind": "Tunnel"},
            "versions": [version("v1", first, ".spec.hostPort"), version("v2", second, ".spec.host")],
            "conversion": {"strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": hook.config()}}}})
}

/// The object in that version: `hostPort` is `host:port`.
fn convert(object: &Value, wanted: &str) -> Value {
    let mut object = object.clone();
    let from = object["apiVersion"].clone();
    object["apiVersion"] = wanted.into();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return object };
    if from == wanted {
        return object;
    }
    if wanted.ends_with("v2") {
        if let Some(both) = spec.remove("hostPort") {
            let (host, port) = both.as_str().unwrap().split_once(':').unwrap();
            spec.insert("host".into(), host.into());
            spec.insert("port".into(), port.into());
        }
    } else if let (Some(host), Some(port)) = (spec.remove("host"), spec.remove("port")) {
        spec.insert(
            "hostPort".into(),
            format!("{}:{}", host.as_str().unwrap(), port.as_str().unwrap()).into(),
        );
    }
    object
}

fn reply(request: &Value, response: Value) -> Reply {
    let mut response = response;
    if response.get("uid").is_none() {
        response["uid"] = request["uid"].clone();
    }
    let review =
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
    Reply::Raw(200, review.to_string().into())
}

/// All objects, each changed once more by `change`.
fn converted(request: &Value, change: impl Fn(&mut Value)) -> Reply {
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let objects = request["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = convert(object, wanted);
        change(&mut object);
        object
    });
    let objects: Vec<Value> = objects.collect();
    reply(request, json!({"convertedObjects": objects, "result": {"status": "Success"}}))
}

fn tunnel(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("net.example.com/{version}"), "kind": "Tunnel", "metadata": {"name": name}, "spec": spec})
}

async fn with_tunnels(hook: &Hook) -> World {
    let world = world().await;
    let made = world.post(CRDS, definition(hook, "v1")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert!(made.headers.get("warning").is_none());
    world.until(NAME, "Established", "True").await;
    world
}

impl World {
    fn stored(&self, name: &str) -> Value {
        let entry =
            self.server.store().get(&sampan_store::Key::new(NAME, format!("default/{name}"))).unwrap();
        serde_json::from_slice(&entry.value).unwrap()
    }
}

#[tokio::test]
async fn objects_are_written_and_read_in_either_version() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    let first = world.post(V1, tunnel("v1", "a", json!({"hostPort": "a.example:1"}))).await;
    assert_eq!(first.code, 201, "{}", first.body);
    assert!(hook.seen().is_empty(), "what is in the storage version already is nobody's business");
    let second =
        world.post(V2, tunnel("v2", "b", json!({"host": "b.example", "port": "2", "junk": 1}))).await;
    assert_eq!(second.code, 201, "{}", second.body);
    let spec = json!({"host": "b.example", "port": "2", "zone": "here", "mode": "plain"});
    // v1 knows no zone, and fills its own default in when it is read
    let mut read = spec.clone();
    read.as_object_mut().unwrap().remove("zone");
    assert_eq!((&second.body["apiVersion"], &second.body["spec"]), (&json!("net.example.com/v2"), &read));
    let seen = hook.seen();
    assert_eq!(seen.len(), 2, "to the storage version and back");
    assert_eq!(seen[0]["desiredAPIVersion"], "net.example.com/v1");
    assert_eq!(seen[0]["objects"][0]["spec"], json!({"host": "b.example", "port": "2", "zone": "here"}));
    let stored = world.stored("b");
    assert_eq!(
        (&stored["apiVersion"], &stored["spec"]),
        (&json!("net.example.com/v1"), &json!({"hostPort": "b.example:2"}))
    );
    let got = world.get(&format!("{V1}/b")).await.body;
    assert_eq!(got["spec"], json!({"hostPort": "b.example:2", "mode": "plain"}));
    assert!(hook.seen().is_empty());
    let got = world.get(&format!("{V2}/a")).await.body;
    assert_eq!(got["spec"], json!({"host": "a.example", "port": "1", "mode": "plain"}));
    assert_eq!(hook.seen().len(), 1);
    world.get(&format!("{V2}/a?resourceVersion=0")).await;
    world.get(V2).await;
    let seen = hook.seen();
    assert_eq!(
        (seen.len(), &seen[0]["objects"][0]["metadata"]["name"]),
        (1, &json!("b")),
        "a's answer is kept"
    );

    let patched = world.merge(&format!("{V2}/a"), json!({"spec": {"port": "3"}})).await;
    assert_eq!((patched.code, &patched.body["spec"]["port"]), (200, &json!("3")), "{}", patched.body);
    assert_eq!(patched.body["metadata"]["generation"], 2);
    assert_eq!(world.stored("a")["spec"]["hostPort"], "a.example:3");
    let mut status = patched.body.clone();
    status["status"] = json!({"up": true});
    let told = world.call("PUT", &format!("{V2}/a/status"), "application/json", &status.to_string()).await;
    assert_eq!((told.code, &told.body["status"]), (200, &json!({"up": true})), "{}", told.body);
    let gone = world.delete(&format!("{V2}/a")).await;
    assert_eq!((gone.code, &gone.body["status"]), (200, &json!("Success")));
    assert_eq!(world.get(&format!("{V2}/a")).await.code, 404);
}

#[tokio::test]
async fn lists_and_watches_are_converted_together() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    for index in 0..7 {
        let spec = json!({"hostPort": format!("h{index}.example:1")});
        assert_eq!(world.post(V1, tunnel("v1", &format!("t{index}"), spec)).await.code, 201);
    }
    let list = world.get(&format!("{V2}?limit=5")).await.body;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("TunnelList"), &json!("net.example.com/v2")));
    let hosts: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|one| one["spec"]["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["h0.example", "h1.example", "h2.example", "h3.example", "h4.example"]);
    assert_eq!(list["metadata"]["remainingItemCount"], 2);
    let seen = hook.seen();
    assert_eq!((seen.len(), seen[0]["objects"].as_array().unwrap().len()), (1, 5), "in one review");
    // selectors ask of the version that is read
    let one = world.get(&format!("{V2}?fieldSelector=spec.host%3Dh6.example")).await.body;
    assert_eq!(one["items"][0]["metadata"]["name"], "t6");
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(hook.seen()[0]["objects"].as_array().unwrap().len(), 2, "the others are known");

    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let port = json!({"spec": {"hostPort": "h1.example:9"}});
    assert_eq!(world.merge(&format!("{V1}/t1"), port).await.code, 200);
    assert_eq!(world.delete(&format!("{V1}/t2")).await.code, 200);
    assert_eq!(world.merge(&format!("{V1}/t6"), json!({"spec": {"hostPort": "x:1"}})).await.code, 200);
    let told = async |selector: &str| {
        let uri = format!("{V2}?watch=1&timeoutSeconds=1&resourceVersion={from}{selector}");
        let events = world.events(&uri).await;
        let event = |(kind, object): &(String, Value)| {
            format!(
                "{kind} {} {}",
                object["spec"]["host"].as_str().unwrap(),
                object["spec"]["port"].as_str().unwrap()
            )
        };
        events.iter().map(event).collect::<Vec<_>>()
    };
    assert_eq!(told("").await, ["MODIFIED h1.example 9", "DELETED h2.example 1", "MODIFIED x 1"]);
    let selector = "&fieldSelector=spec.host%3Dh6.example";
    assert_eq!(told(selector).await, ["DELETED h6.example 1"], "who leaves is shown as it was");
    let initial = world.events(&format!("{V2}?watch=1&timeoutSeconds=1")).await;
    assert_eq!((initial.len(), &initial[0].1["apiVersion"]), (6, &json!("net.example.com/v2")));
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = world.raw("GET", &format!("{V2}?includeObject=Object"), "", accept, "").await;
    let table: Value =
        serde_json::from_slice(&table.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(table["rows"][0]["object"]["spec"]["host"], "h0.example");
}

#[tokio::test]
async fn a_repaired_converter_counts_for_the_next_read_and_write() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = broken.clone();
    let hook = hook(move |request| {
        let broken = state.load(Ordering::Relaxed) && request["desiredAPIVersion"] == "net.example.com/v2";
        converted(request, |object| {
            if broken {
                object["spec"]["host"] = "lost".into();
            }
        })
    })
    .await;
    let world = with_tunnels(&hook).await;
    world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await;
    let host = async |uri: &str| world.get(uri).await.body.pointer("/spec/host").cloned();
    assert_eq!(host(&format!("{V2}/a")).await, Some(json!("lost")));
    broken.store(false, Ordering::Relaxed);
    let patched = world.merge(&format!("{V2}/a"), json!({"spec": {"port": "2"}})).await;
    assert_eq!(patched.code, 200, "{}", patched.body);
    assert_eq!(world.stored("a")["spec"]["hostPort"], "a:2", "nothing that is stale is written back");
    // what is kept for lists goes with time
    let second = world.post(V1, tunnel("v1", "b", json!({"hostPort": "b:1"}))).await;
    assert_eq!(second.code, 201);
    let one = format!("{V2}/b");
    broken.store(true, Ordering::Relaxed);
    world.get(V2).await;
    broken.store(false, Ordering::Relaxed);
    assert_eq!(host(&format!("{one}?resourceVersion=0")).await, Some(json!("lost")));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(121)).await;
    tokio::time::resume();
    assert_eq!(host(&format!("{one}?resourceVersion=0")).await, Some(json!("b")));
}

#[tokio::test]
async fn managers_of_either_version_keep_their_fields() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    let apply = async |manager: &str, version: &str, force: bool, spec: Value| {
        let uri = if version == "v1" { V1 } else { V2 };
        let uri = format!("{uri}/a?fieldManager={manager}&force={force}");
        let body = tunnel(version, "a", spec).to_string();
        world.call("PATCH", &uri, "application/apply-patch+yaml", &body).await
    };
    let made = apply("one", "v1", false, json!({"hostPort": "h:1"})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let fields = json!({"f:spec": {"f:hostPort": {}}});
    assert_eq!(made.body["metadata"]["managedFields"][0]["fieldsV1"], fields);
    let other = apply("two", "v2", false, json!({"mode": "tls"})).await;
    assert_eq!((other.code, &other.body["spec"]["mode"]), (200, &json!("tls")), "{}", other.body);
    assert_eq!(other.body["spec"]["host"], "h");
    // what one says in words of v1 is lost when it says it no more, also in v2
    let less = apply("one", "v2", false, json!({"host": "h"})).await;
    assert_eq!(less.code, 200, "{}", less.body);
    let managers: Vec<(&str, &str)> = less.body["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["manager"].as_str().unwrap(), one["apiVersion"].as_str().unwrap()))
        .collect();
    assert!(managers.contains(&("two", "net.example.com/v2")), "{managers:?}");
    assert!(managers.contains(&("one", "net.example.com/v2")), "{managers:?}");
    let clash = apply("three", "v2", false, json!({"mode": "plain"})).await;
    assert_eq!(clash.code, 409);
    assert_eq!(clash.body["message"], "Apply failed with 1 conflict: conflict with \"two\": .spec.mode");
    let patched = world.merge(&format!("{V1}/a"), json!({"spec": {"mode": "x"}})).await;
    assert_eq!(patched.code, 200, "{}", patched.body);
    assert_eq!(patched.body["spec"]["mode"], "x");
}

#[tokio::test]
async fn labels_and_annotations_may_be_changed_and_nothing_else_of_metadata() {
    let hook = hook(|request| {
        converted(request, |object| {
            object["metadata"]["labels"] =
                json!({"to": object["apiVersion"].as_str().unwrap().replace('/', ".")});
            object["metadata"]["annotations"]["by"] = "hook".into();
            object["metadata"]["finalizers"] = json!(["x"]);
            object["metadata"]["resourceVersion"] = "42".into();
        })
    })
    .await;
    let world = with_tunnels(&hook).await;
    let made = world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await.body;
    let read = world.get(&format!("{V2}/a")).await.body;
    assert_eq!(read["metadata"]["labels"], json!({"to": "net.example.com.v2"}));
    assert_eq!(read["metadata"]["annotations"], json!({"by": "hook"}));
    assert_eq!(read["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert!(read["metadata"].get("finalizers").is_none());
    let selected = world.get(&format!("{V2}?labelSelector=to%3Dnet.example.com.v2")).await.body;
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    let selected = world.get(&format!("{V1}?labelSelector=to%3Dnet.example.com.v2")).await.body;
    assert!(selected["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn failures_are_told_in_upstreams_words() {
    #[allow(clippy::type_complexity)] // a table of cases
    let cases: Vec<(fn(&Value) -> Reply, &str)> = vec![
        (
            |_| Reply::Raw(500, "broken".into()),
            "failed: an error on the server (\"broken\") has prevented the request from succeeding",
        ),
        (
            |request| reply(request, json!({"result": {"status": "Failure", "message": "no way"}})),
            "failed: no way",
        ),
        (
            |request| reply(request, json!({"result": {"status": "Failed"}})),
            "failed: response.result.status was 'Failed', not 'Success'",
        ),
        (
            |request| reply(request, json!({"uid": "x", "result": {"status": "Success"}})),
            "failed: expected response.uid=",
        ),
        (
            |request| reply(request, json!({"result": {"status": "Success"}, "convertedObjects": []})),
            "returned 0 objects, expected 1",
        ),
        (
            |request| converted(request, |object| object["apiVersion"] = "net.example.com/v3".into()),
            "returned invalid object at index 0: invalid groupVersion (expected net.example.com/v2, received net.example.com/v3)",
        ),
        (
            |request| converted(request, |object| object["kind"] = "Bridge".into()),
            "returned invalid object at index 0: invalid kind (expected Tunnel, received Bridge)",
        ),
        (
            |request| converted(request, |object| object["metadata"]["name"] = "b".into()),
            "returned invalid object: must have the same name: a != b",
        ),
        (
            |request| converted(request, |object| object["metadata"]["labels"] = json!({"a": 1})),
            "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
        ),
    ];
    for (behaviour, why) in cases {
        let hook = hook(behaviour).await;
        let world = with_tunnels(&hook).await;
        let made = world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await.body;
        let mut newer = convert(&made, "net.example.com/v2");
        let one = format!("{V2}/a");
        newer["spec"]["zone"] = "there".into();
        let put = async |uri: &str, body: &Value| {
            world.call("PUT", uri, "application/json", &body.to_string()).await
        };
        let answers = [
            world.get(&one).await,
            world.get(V2).await,
            put(&one, &newer).await,
            world.merge(&one, json!({"metadata": {"labels": {"a": "b"}}})).await,
            world.delete(&one).await,
            world.delete(V2).await,
            world.get(&format!("{one}/status")).await,
            put(&format!("{one}/status"), &newer).await,
            world.get(&format!("{V2}?watch=1")).await,
        ];
        for got in answers {
            let message = got.body["message"].as_str().unwrap_or_default();
            assert!(message.starts_with(&format!("{BY} {why}")), "{message}\n{BY} {why}");
            assert_eq!((got.code, got.body.get("reason")), (500, None), "{}", got.body);
        }
        let refused = world.post(V2, tunnel("v2", "n", json!({"host": "n", "port": "1"}))).await;
        assert_eq!(refused.code, 500, "{}", refused.body);
        let by = "conversion webhook for net.example.com/v2, Kind=Tunnel";
        assert!(refused.body["message"].as_str().unwrap().starts_with(by), "{}", refused.body);
        assert_eq!(world.get(&format!("{V1}/n")).await.code, 404, "nothing was written");
        assert_eq!(world.get(&format!("{V1}/a")).await.body, made, "nothing was changed");
    }
}

#[tokio::test]
async fn a_watch_ends_where_an_object_cannot_be_read() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let hook = hook(move |request| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => converted(request, |_| {}),
        _ => reply(request, json!({"result": {"status": "Failure", "message": "enough"}})),
    })
    .await;
    let world = with_tunnels(&hook).await;
    world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await;
    let watch = world.raw("GET", &format!("{V2}?watch=1"), "", "application/json", "").await;
    assert_eq!(watch.status(), 200);
    world.post(V1, tunnel("v1", "b", json!({"hostPort": "b:1"}))).await;
    let text = watch.into_body().collect().await.unwrap().to_bytes();
    let lines: Vec<Value> = text
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let kinds: Vec<&Value> = lines.iter().map(|line| &line["type"]).collect();
    assert_eq!(kinds, ["ADDED", "ERROR"]);
    let status = &lines[1]["object"];
    assert_eq!(status["message"], format!("{BY} failed: enough"));
    assert_eq!((&status["reason"], &status["code"]), (&json!("InternalError"), &json!(500)));
}

#[tokio::test]
async fn a_new_storage_version_is_taken_by_the_next_write() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await;
    let versions = json!({"spec": {"versions": definition(&hook, "v2")["spec"]["versions"]}});
    let changed = world.merge(&format!("{CRDS}/{NAME}"), versions).await;
    assert_eq!((changed.code, &changed.body["status"]["storedVersions"]), (200, &json!(["v1", "v2"])));
    assert_eq!(world.get(&format!("{V2}/a")).await.body["spec"]["host"], "a");
    assert_eq!(world.stored("a")["apiVersion"], "net.example.com/v1");
    let same = world.merge(&format!("{V1}/a"), json!({})).await;
    assert_eq!((same.code, &same.body["spec"]["hostPort"]), (200, &json!("a:1")), "{}", same.body);
    let stored = world.stored("a");
    assert_eq!((&stored["apiVersion"], &stored["spec"]["host"]), (&json!("net.example.com/v2"), &json!("a")));
}

#[tokio::test]
async fn admission_sees_the_version_that_it_is_configured_for() {
    let converter = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&converter).await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let admit = hook(|request| {
        let host = request["object"]["spec"]["host"].as_str().unwrap_or_default().to_owned();
        Reply::Response(
            json!({"allowed": host == "good", "status": {"message": format!("host is {host:?}")}}),
        )
    })
    .await;
    let configuration = json!({"metadata": {"name": "hosts"}, "webhooks": [{
        "name": "hosts.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": admit.config(),
        "rules": [{"operations": ["CREATE"], "apiGroups": ["net.example.com"], "apiVersions": ["v2"], "resources": ["tunnels"]}]}]});
    let uri = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(world.post(uri, configuration).await.code, 201);
    let refused = world.post(V1, tunnel("v1", "a", json!({"hostPort": "bad:1"}))).await;
    assert_eq!(refused.code, 400, "{}", refused.body);
    assert_eq!(
        refused.body["message"],
        "admission webhook \"hosts.example.com\" denied the request: host is \"bad\""
    );
    assert_eq!(world.post(V1, tunnel("v1", "a", json!({"hostPort": "good:1"}))).await.code, 201);
    let policy = json!({"metadata": {"name": "ports"}, "spec": {"failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["net.example.com"],
            "apiVersions": ["v2"], "resources": ["tunnels"]}]},
        "validations": [{"expression": "object.spec.port != '13'", "message": "unlucky"}]}});
    let group = "/apis/admissionregistration.k8s.io/v1";
    assert_eq!(world.post(&format!("{group}/validatingadmissionpolicies"), policy).await.code, 201);
    let binding = json!({"metadata": {"name": "ports"}, "spec": {"policyName": "ports", "validationActions": ["Deny"]}});
    assert_eq!(world.post(&format!("{group}/validatingadmissionpolicybindings"), binding).await.code, 201);
    let refused = world.post(V1, tunnel("v1", "b", json!({"hostPort": "good:13"}))).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    assert!(
        refused.body["message"].as_str().unwrap().ends_with("denied request: unlucky"),
        "{}",
        refused.body
    );
}

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

impl World {
    /// A validating policy for ConfigMaps whose parameter is the Tunnel `param` in v2.
    async fn bound_to_tunnels(&self, failure: &str) {
        let rules = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps"]}]});
        let policy = json!({"metadata": {"name": "hosts"}, "spec": {"failurePolicy": failure, "matchConstraints": rules,
            "paramKind": {"apiVersion": "net.example.com/v2", "kind": "Tunnel"},
            "validations": [{"expression": "object.data.host == params.spec.host", "message": "another host"}]}});
        let made = self.post(&format!("{ADMISSION}/validatingadmissionpolicies"), policy).await;
        assert_eq!(made.code, 201, "{}", made.body);
        let binding = json!({"metadata": {"name": "hosts"}, "spec": {"policyName": "hosts", "validationActions": ["Deny"],
            "paramRef": {"name": "param", "parameterNotFoundAction": "Allow"}}});
        let made = self.post(&format!("{ADMISSION}/validatingadmissionpolicybindings"), binding).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }

    /// A policy for Tunnels of v2: it does not like a port, or changes the mode to `tls`.
    async fn of_tunnels(&self, sort: &str, failure: &str) {
        let rules = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["net.example.com"],
            "apiVersions": ["v2"], "resources": ["tunnels"]}]});
        let (mut spec, mut binding) =
            (json!({"failurePolicy": failure, "matchConstraints": rules}), json!({"policyName": "p"}));
        if sort == "mutating" {
            let expression = "Object{spec: Object.spec{mode: 'tls'}}";
            spec["reinvocationPolicy"] = "Never".into();
            spec["mutations"] = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]);
        } else {
            spec["validations"] = json!([{"expression": "object.spec.port != '13'"}]);
            binding["validationActions"] = json!(["Deny"]);
        }
        let policy = json!({"metadata": {"name": "p"}, "spec": spec});
        let made = self.post(&format!("{ADMISSION}/{sort}admissionpolicies"), policy).await;
        assert_eq!(made.code, 201, "{}", made.body);
        let binding = json!({"metadata": {"name": "b"}, "spec": binding});
        let made = self.post(&format!("{ADMISSION}/{sort}admissionpolicybindings"), binding).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }

    async fn map_for(&self, name: &str, host: &str) -> Got {
        self.post(MAPS, json!({"metadata": {"name": name}, "data": {"host": host}})).await
    }
}

#[tokio::test]
async fn parameters_are_read_in_the_version_that_a_policy_names() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let param = world.post(V1, tunnel("v1", "param", json!({"hostPort": "good:1"}))).await;
    assert_eq!(param.code, 201, "{}", param.body);
    world.bound_to_tunnels("Fail").await;
    let good = world.map_for("good", "good").await;
    assert_eq!(good.code, 201, "{}", good.body);
    let bad = world.map_for("bad", "bad").await;
    assert_eq!(bad.code, 422, "{}", bad.body);
    assert!(bad.body["message"].as_str().unwrap().ends_with("denied request: another host"), "{}", bad.body);
}

#[tokio::test]
async fn parameters_that_cannot_be_converted_are_a_failure_of_the_policy() {
    for (failure, code) in [("Fail", 422), ("Ignore", 201)] {
        let hook = hook(|_| Reply::Raw(500, "broken".into())).await;
        let world = with_tunnels(&hook).await;
        world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
        world.post(V1, tunnel("v1", "param", json!({"hostPort": "good:1"}))).await;
        world.bound_to_tunnels(failure).await;
        let got = world.map_for("a", "bad").await;
        assert_eq!(got.code, code, "{}", got.body);
        if code == 422 {
            let why =
                format!("with binding 'hosts' denied request: failed to configure binding: {BY} failed: ");
            assert!(got.body["message"].as_str().unwrap().contains(&why), "{}", got.body);
        }
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_converted_is_a_failure_of_the_policy() {
    for (sort, by) in [("validating", "ValidatingAdmissionPolicy"), ("mutating", "policy")] {
        for failure in ["Fail", "Ignore"] {
            let hook = hook(|_| Reply::Raw(500, "broken".into())).await;
            let world = with_tunnels(&hook).await;
            world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
            world.of_tunnels(sort, failure).await;
            let got = world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await;
            if failure == "Ignore" {
                assert_eq!(got.code, 201, "{sort} {}", got.body);
                continue;
            }
            assert_eq!(got.body["reason"], "Invalid", "{sort} {}", got.body);
            let why = format!(
                "{by} 'p' denied request: failed to configure policy: failed to convert object version: {BY} failed: "
            );
            assert!(got.body["message"].as_str().unwrap().contains(&why), "{}", got.body);
        }
    }
}

#[tokio::test]
async fn a_mutation_in_another_version_is_brought_back_only_if_it_changes_something() {
    let hook = hook(|request| {
        converted(request, |object| {
            if object["apiVersion"] == "net.example.com/v2" {
                object["spec"]["zone"] = "here".into();
            }
        })
    })
    .await;
    let world = with_tunnels(&hook).await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    world.of_tunnels("mutating", "Fail").await;
    let same = world.post(V1, tunnel("v1", "same", json!({"hostPort": "a:1", "mode": "tls"}))).await;
    assert_eq!((same.code, &same.body["spec"]["hostPort"]), (201, &json!("a:1")), "{}", same.body);
    assert!(hook.seen().iter().all(|one| one["desiredAPIVersion"] == "net.example.com/v2"));
    let other = world.post(V1, tunnel("v1", "other", json!({"hostPort": "a:1"}))).await;
    assert_eq!(other.code, 201, "{}", other.body);
    assert_eq!(other.body["spec"], json!({"mode": "tls", "hostPort": "a:1"}));
    assert!(hook.seen().iter().any(|one| one["desiredAPIVersion"] == "net.example.com/v1"));
}

#[tokio::test]
async fn a_request_is_converted_once_for_all_who_are_shown_it() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    world.of_tunnels("validating", "Fail").await;
    for name in ["c", "d"] {
        let body =
            json!({"metadata": {"name": name}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
        assert_eq!(
            world.post(&format!("{ADMISSION}/validatingadmissionpolicybindings"), body).await.code,
            201
        );
    }
    let made = world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(hook.seen().len(), 1);
}

#[tokio::test]
async fn a_definition_waits_for_authorities_that_can_be_read() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = world().await;
    let mut waiting = definition(&hook, "v1");
    waiting["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = "Cg==".into();
    let made = world.post(CRDS, waiting).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let told = world.until(NAME, "Established", "False").await;
    let reasons = told["status"]["conditions"].as_array().unwrap().iter().map(|one| &one["reason"]);
    assert_eq!(reasons.collect::<Vec<_>>(), ["NoConflicts", "InvalidCABundle"]);
    assert_eq!(world.get(V1).await.code, 404);
    let bundle = |ca: &str| json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": ca}}}}});
    let one = format!("{CRDS}/{NAME}");
    assert_eq!(world.merge(&one, bundle("YQ==")).await.code, 200);
    assert_eq!(world.merge(&one, bundle(&hook.ca)).await.code, 200);
    world.until(NAME, "Established", "True").await;
    assert_eq!(world.get(V1).await.code, 200);
    let refused = world.merge(&one, bundle("Cg==")).await;
    let why = "spec.conversion.webhookClientConfig.caBundle: Invalid value: \"Cg==\": unable to load root certificates: unable to parse bytes as PEM block";
    assert_eq!(refused.code, 422);
    assert!(refused.body["message"].as_str().unwrap().ends_with(why), "{}", refused.body);
}

#[tokio::test]
async fn deleting_needs_no_way_back_to_storage() {
    let shown = Arc::new(AtomicUsize::new(usize::MAX));
    let left = shown.clone();
    // to v2 as often as it is told, and never back
    let hook = hook(move |request| match request["desiredAPIVersion"].as_str() {
        Some("net.example.com/v2") if left.load(Ordering::Relaxed) > 0 => {
            left.fetch_sub(1, Ordering::Relaxed);
            converted(request, |_| {})
        }
        _ => reply(request, json!({"result": {"status": "Failure", "message": "no way"}})),
    })
    .await;
    let world = with_tunnels(&hook).await;
    for name in ["a", "b", "c"] {
        assert_eq!(world.post(V1, tunnel("v1", name, json!({"hostPort": "a:1"}))).await.code, 201);
    }
    shown.store(1, Ordering::Relaxed);
    let gone = world.delete(&format!("{V2}/a")).await;
    assert_eq!((gone.code, &gone.body["status"]), (200, &json!("Success")), "{}", gone.body);
    // the list, and each before it goes
    shown.store(3, Ordering::Relaxed);
    let gone = world.delete(V2).await;
    assert_eq!((gone.code, &gone.body["kind"]), (200, &json!("TunnelList")), "{}", gone.body);
    assert_eq!(world.get(V1).await.body["items"], json!([]));
}

#[tokio::test]
async fn what_is_marked_is_told_also_if_it_cannot_be_shown_any_more() {
    let shown = Arc::new(AtomicUsize::new(0));
    let left = shown.clone();
    let hook = hook(move |request| match request["desiredAPIVersion"].as_str() {
        Some("net.example.com/v2") if left.fetch_add(1, Ordering::Relaxed) > 0 => {
            reply(request, json!({"result": {"status": "Failure", "message": "no way"}}))
        }
        _ => converted(request, |_| {}),
    })
    .await;
    let world = with_tunnels(&hook).await;
    let mut held = tunnel("v1", "a", json!({"hostPort": "a:1"}));
    held["metadata"]["finalizers"] = json!(["example.com/x"]);
    assert_eq!(world.post(V1, held).await.code, 201);
    let marked = world.delete(&format!("{V2}/a")).await;
    assert_eq!((marked.code, &marked.body["spec"]["host"]), (200, &json!("a")), "{}", marked.body);
    let stored = world.get(&format!("{V1}/a")).await.body;
    assert!(stored["metadata"]["deletionTimestamp"].is_string(), "{stored}");
    assert_eq!(marked.body["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn an_apply_ends_although_every_conversion_says_something_else() {
    let count = AtomicUsize::new(0);
    let hook = hook(move |request| {
        let now = count.fetch_add(1, Ordering::Relaxed);
        converted(request, |object| object["metadata"]["annotations"]["asked"] = now.to_string().into())
    })
    .await;
    let world = with_tunnels(&hook).await;
    let apply = async |manager: &str, version: &str, uri: &str, spec: Value| {
        let uri = format!("{uri}/a?fieldManager={manager}&force=true");
        let body = tunnel(version, "a", spec).to_string();
        world.call("PATCH", &uri, "application/apply-patch+yaml", &body).await.code
    };
    assert_eq!(apply("one", "v1", V1, json!({"hostPort": "h:1"})).await, 201);
    assert_eq!(apply("two", "v2", V2, json!({"mode": "tls"})).await, 200);
    assert_eq!(apply("one", "v2", V2, json!({"host": "h", "port": "2"})).await, 200);
    assert_eq!(world.stored("a")["spec"], json!({"hostPort": "h:2", "mode": "tls"}));
}

#[tokio::test]
async fn what_a_selector_does_not_name_is_not_converted() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    for name in ["a", "b", "c"] {
        assert_eq!(world.post(V1, tunnel("v1", name, json!({"hostPort": "a:1"}))).await.code, 201);
    }
    let names = |seen: Vec<Value>| {
        let objects = seen.into_iter().flat_map(|one| one["objects"].as_array().unwrap().clone());
        objects.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let list = world.get(&format!("{V2}?fieldSelector=metadata.name%3Db")).await.body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(names(hook.seen()), ["b"]);
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    for name in ["a", "b"] {
        world.merge(&format!("{V1}/{name}"), json!({"spec": {"mode": "tls"}})).await;
    }
    let selector = "fieldSelector=metadata.name%3Da,metadata.namespace%3Ddefault";
    let uri = format!("{V2}?watch=1&timeoutSeconds=1&resourceVersion={from}&{selector}");
    let events = world.events(&uri).await;
    assert_eq!((events.len(), events[0].0.as_str()), (1, "MODIFIED"));
    assert!(names(hook.seen()).iter().all(|name| name == "a"));
}

#[tokio::test]
async fn watchers_of_one_change_ask_once() {
    let hook = hook(|request| converted(request, |_| {})).await;
    let world = with_tunnels(&hook).await;
    let uri = format!("{V2}?watch=1&timeoutSeconds=1");
    let watches = (0..5).map(|_| world.raw("GET", &uri, "", "application/json", ""));
    let watches = futures::future::join_all(watches).await;
    assert_eq!(world.post(V1, tunnel("v1", "a", json!({"hostPort": "a:1"}))).await.code, 201);
    let read = watches.into_iter().map(|watch| watch.into_body().collect());
    for text in futures::future::join_all(read).await {
        let text = String::from_utf8(text.unwrap().to_bytes().to_vec()).unwrap();
        assert!(text.contains("\"host\":\"a\""), "{text}");
    }
    assert_eq!(hook.seen().len(), 1);
}
