//! Webhooks over real HTTPS: a server with a certificate of its own on loopback, asked by URL and by Service.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;

/// What a webhook does with a review's request: the response, or no JSON at all.
type Behaviour = dyn Fn(&Value) -> Reply + Send + Sync;

pub(super) enum Reply {
    Response(Value),
    Raw(u16, Bytes),
    /// It never answers.
    Never,
}

pub(super) struct Hook {
    pub address: SocketAddr,
    pub ca: String,
    /// The requests that it got.
    seen: Arc<Mutex<VecDeque<Value>>>,
}

/// A webhook server for `localhost`, 127.0.0.1 and the Service `hook` of `default`.
pub(super) async fn hook(behaviour: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Hook {
    let names = ["localhost", "127.0.0.1", "hook.default.svc"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names.to_vec()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(VecDeque::new()));
    let (behaviour, told): (Arc<Behaviour>, _) = (Arc::new(behaviour), seen.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behaviour, told) = (acceptor.clone(), behaviour.clone(), told.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| answer(request, behaviour.clone(), told.clone()));
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Hook { address, ca: STANDARD.encode(made.cert.pem()), seen }
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    behaviour: Arc<Behaviour>,
    told: Arc<Mutex<VecDeque<Value>>>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    // what is not posted is a question for a document
    let review: Value = match body.is_empty() {
        true => json!({"request": {"path": path}}),
        false => serde_json::from_slice(&body).unwrap(),
    };
    told.lock().push_back(review["request"].clone());
    let (code, bytes) = match behaviour(&review["request"]) {
        Reply::Never => return std::future::pending().await,
        Reply::Raw(code, bytes) => (code, bytes),
        Reply::Response(mut response) => {
            response["uid"] = review["request"]["uid"].clone();
            let all =
                json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
            (200, all.to_string().into())
        }
    };
    let mut response = http::Response::new(Full::new(bytes));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    Ok(response)
}

fn allow() -> Reply {
    Reply::Response(json!({"allowed": true}))
}

fn patch(operations: Value) -> Reply {
    let patch = STANDARD.encode(operations.to_string());
    Reply::Response(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

impl Hook {
    pub fn config(&self) -> Value {
        json!({"url": format!("https://{}/check", self.address), "caBundle": self.ca})
    }

    /// A webhook for ConfigMaps that are created, changed.
    fn entry(&self, name: &str, change: Value) -> Value {
        let mut hook = json!({
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": self.config(),
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        });
        for (key, value) in change.as_object().unwrap() {
            hook[key] = value.clone();
        }
        hook
    }

    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().drain(..).collect()
    }
}

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

impl World {
    async fn secured() -> World {
        let world = world().await;
        let tasks = Tasks::new(Component::ApiServer);
        world.server.secure(&tasks).await.unwrap();
        world
    }

    async fn configure(&self, sort: &str, name: &str, webhooks: Vec<Value>) {
        let body = json!({"metadata": {"name": name}, "webhooks": webhooks});
        let made = self.post(&format!("{GROUP}/{sort}webhookconfigurations"), body).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }

    async fn map(&self, name: &str) -> Got {
        self.post(MAPS, json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"a": "1"}}))
            .await
    }
}

#[tokio::test]
async fn a_webhook_changes_what_is_created_and_another_says_no() {
    let w = World::secured().await;
    let mutating = hook(|_| patch(json!([{"op": "add", "path": "/data/mutated", "value": "yes"}]))).await;
    let validating = hook(|request| match request["object"]["data"]["mutated"].as_str() {
        Some("yes") if request["name"] == "good" => {
            Reply::Response(json!({"allowed": true, "warnings": ["careful"]}))
        }
        _ => Reply::Response(json!({"allowed": false, "status": {"message": "I do not like it"}})),
    })
    .await;
    w.configure("mutating", "m", vec![mutating.entry("m.x.io", json!({}))]).await;
    w.configure("validating", "v", vec![validating.entry("v.x.io", json!({}))]).await;
    let good = w.map("good").await;
    assert_eq!((good.code, &good.body["data"]["mutated"]), (201, &json!("yes")), "{}", good.body);
    assert!(good.headers["warning"].to_str().unwrap().contains("careful"));
    let bad = w.map("bad").await;
    let text = "admission webhook \"v.x.io\" denied the request: I do not like it";
    assert_eq!((bad.code, &bad.body["message"]), (400, &json!(text)));
    let seen = &validating.seen()[0];
    assert_eq!(seen["operation"], "CREATE");
    assert_eq!(seen["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(seen["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&seen["namespace"], &seen["name"]), (&json!("default"), &json!("good")));
    assert_eq!(seen["userInfo"]["username"], "test");
    assert_eq!((&seen["oldObject"], &seen["dryRun"]), (&Value::Null, &json!(false)));
    assert_eq!(seen["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn what_a_webhook_is_for_decides_whether_it_is_asked() {
    let w = World::secured().await;
    let deny = hook(|_| Reply::Response(json!({"allowed": false}))).await;
    let cases = [
        json!({"objectSelector": {"matchLabels": {"app": "other"}}}),
        json!({"namespaceSelector": {"matchLabels": {"app": "other"}}}),
        json!({"matchConditions": [{"name": "c", "expression": "object.metadata.name != 'a' || request.userInfo.username == 'x'"}]}),
        json!({"rules": [{"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]}),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        w.configure("validating", &format!("v{index}"), vec![deny.entry(&format!("v{index}.x.io"), change)])
            .await;
    }
    let made = w.map("a").await;
    assert_eq!(made.code, 201, "{}", made.body);
    // configurations themselves are never asked about
    let all = json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]});
    w.configure("validating", "all", vec![deny.entry("all.x.io", all)]).await;
    assert_eq!(
        w.map("b").await.body["message"],
        "admission webhook \"all.x.io\" denied the request without explanation"
    );
    let gone = w.delete(&format!("{GROUP}/validatingwebhookconfigurations/all")).await;
    assert_eq!(gone.code, 200, "{}", gone.body);
    // an update and its deletion are seen with what was before
    let changed = w.merge(&format!("{MAPS}/a"), json!({"data": {"a": "2"}})).await;
    assert_eq!(changed.code, 400, "{}", changed.body);
    let seen = deny.seen();
    let last = seen.last().unwrap();
    assert_eq!((&last["oldObject"]["data"]["a"], &last["object"]["data"]["a"]), (&json!("1"), &json!("2")));
}

#[tokio::test]
async fn deletion_and_connection_are_asked_about() {
    let w = World::secured().await;
    let deny = hook(|request| match request["operation"].as_str() {
        Some("DELETE" | "CONNECT") => Reply::Response(
            json!({"allowed": false, "status": {"message": "no", "code": 409, "reason": "Conflict"}}),
        ),
        _ => allow(),
    })
    .await;
    let rules = json!({"rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps", "pods/exec"]}]});
    w.configure("validating", "v", vec![deny.entry("v.x.io", rules)]).await;
    assert_eq!(w.map("a").await.code, 201);
    let kept = w.delete(&format!("{MAPS}/a")).await;
    assert_eq!((kept.code, &kept.body["reason"]), (409, &json!("Conflict")), "{}", kept.body);
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(w.post("/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    assert_eq!(w.post(PODS, pod("p")).await.code, 201);
    let refused = w.post(&format!("{PODS}/p/exec?command=ls&stdin=true&container=c"), json!({})).await;
    assert_eq!(refused.code, 409, "{}", refused.body);
    let seen = deny.seen();
    let of = |operation: &str| seen.iter().find(|one| one["operation"] == operation).unwrap();
    let deletion = of("DELETE");
    assert_eq!((&deletion["object"], &deletion["oldObject"]["data"]["a"]), (&Value::Null, &json!("1")));
    let connect = of("CONNECT");
    assert_eq!(
        (&connect["kind"]["kind"], &connect["subResource"]),
        (&json!("PodExecOptions"), &json!("exec"))
    );
    let options = json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "container": "c", "command": ["ls"]});
    assert_eq!(connect["object"], options);
}

#[tokio::test]
async fn what_is_created_below_a_pod_is_asked_about_as_what_it_is() {
    let w = World::secured().await;
    let deny = hook(|_| Reply::Response(json!({"allowed": false, "status": {"message": "stay"}}))).await;
    let rules = json!({"rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["pods/eviction", "pods/binding", "serviceaccounts/token"]}]});
    w.configure("validating", "v", vec![deny.entry("v.x.io", rules)]).await;
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(w.post("/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    assert_eq!(w.post(PODS, pod("p")).await.code, 201);
    let eviction = json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}});
    let binding =
        json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"name": "n"}});
    for (uri, body) in [
        (format!("{PODS}/p/eviction"), eviction),
        (format!("{PODS}/p/binding"), binding),
        ("/api/v1/namespaces/default/serviceaccounts/default/token".to_owned(), json!({"spec": {}})),
    ] {
        let refused = w.post(&uri, body).await;
        assert_eq!(refused.code, 400, "{uri}: {}", refused.body);
        assert!(
            refused.body["message"].as_str().unwrap().ends_with("denied the request: stay"),
            "{}",
            refused.body
        );
    }
    let kinds: Vec<Value> = deny.seen().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(
        kinds,
        [
            json!({"group": "policy", "version": "v1", "kind": "Eviction"}),
            json!({"group": "", "version": "v1", "kind": "Binding"}),
            json!({"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}),
        ]
    );
}

#[tokio::test]
async fn a_webhook_that_fails_refuses_unless_it_is_to_be_ignored() {
    let w = World::secured().await;
    let long = Bytes::from(vec![b' '; 10 << 20]);
    let cases: Vec<(&str, Box<Behaviour>, &str)> = vec![
        ("hangs", Box::new(|_| Reply::Never), "context deadline exceeded"),
        ("long", Box::new(move |_| Reply::Raw(200, long.clone())), "http: response body too large"),
        (
            "broken",
            Box::new(|_| Reply::Raw(500, Bytes::from("oh"))),
            "an error on the server (\"oh\") has prevented the request from succeeding",
        ),
        ("text", Box::new(|_| Reply::Raw(200, Bytes::from("hello"))), "json parse error"),
        (
            "patch",
            Box::new(|_| patch(json!([{"op": "replace", "path": "/data/none/x", "value": 1}]))),
            "Internal error occurred: ",
        ),
        (
            "empty",
            Box::new(|_| Reply::Raw(200, Bytes::from("{}"))),
            "received invalid webhook response: webhook response was absent",
        ),
    ];
    for (name, behaviour, text) in cases {
        let failing = hook(move |request| behaviour(request)).await;
        let only = json!({"timeoutSeconds": 1, "objectSelector": {"matchLabels": {"app": name}}});
        w.configure("mutating", name, vec![failing.entry(&format!("{name}.x.io"), only)]).await;
        let refused = w.map(name).await;
        let message = refused.body["message"].as_str().unwrap();
        assert_eq!(refused.code, 500, "{name}: {message}");
        assert!(message.contains(text), "{name}: {message}");
        if name != "patch" {
            assert!(
                message.starts_with(&format!(
                    "Internal error occurred: failed calling webhook \"{name}.x.io\": "
                )),
                "{message}"
            );
            let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
            let uri = format!("{GROUP}/mutatingwebhookconfigurations/{name}");
            let changed = w.call("PATCH", &uri, "application/json-patch+json", &ignore.to_string()).await;
            assert_eq!(changed.code, 200, "{}", changed.body);
            assert_eq!(w.map(name).await.code, 201);
        }
    }
    let text = sampan_process::metrics::encode();
    let of = "name=\"hangs.x.io\",type=\"admit\"";
    let how = "operation=\"CREATE\"";
    for line in [
        format!(
            "rejection_count{{{of},{how},error_type=\"calling_webhook_error\",rejection_code=\"503\"}} 1\n"
        ),
        format!("fail_open_count{{{of}}} 1\n"),
        format!("request_total{{{of},{how},code=\"503\",rejected=\"false\"}} 1\n"),
        format!("admission_duration_seconds_count{{{of},{how},rejected=\"true\"}} 1\n"),
        format!(
            "request_total{{name=\"broken.x.io\",type=\"admit\",{how},code=\"500\",rejected=\"true\"}} 1\n"
        ),
        format!(
            "request_total{{name=\"text.x.io\",type=\"admit\",{how},code=\"503\",rejected=\"true\"}} 1\n"
        ),
        format!(
            "request_total{{name=\"empty.x.io\",type=\"admit\",{how},code=\"503\",rejected=\"true\"}} 1\n"
        ),
        format!(
            "rejection_count{{name=\"patch.x.io\",type=\"admit\",{how},error_type=\"apiserver_internal_error\",rejection_code=\"0\"}} 1\n"
        ),
    ] {
        assert!(text.contains(&format!("apiserver_admission_webhook_{line}")), "{line}: {text}");
    }
}

#[tokio::test]
async fn connections_are_refused_without_trust_or_listener() {
    let w = World::secured().await;
    let (asked, other) = (hook(|_| allow()).await, hook(|_| allow()).await);
    let mut entry = asked.entry("a.x.io", json!({}));
    entry["clientConfig"]["caBundle"] = other.ca.as_str().into();
    w.configure("validating", "a", vec![entry]).await;
    let refused = w.map("a").await;
    let url = format!("https://{}/check?timeout=10s", asked.address);
    let text = format!(
        "Internal error occurred: failed calling webhook \"a.x.io\": failed to call webhook: Post \"{url}\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    assert_eq!(refused.body["message"], text);
    let gone = w.delete(&format!("{GROUP}/validatingwebhookconfigurations/a")).await;
    assert_eq!(gone.code, 200);
    // a bundle of nothing is taken, and found out when it is needed
    let mut entry = asked.entry("c.x.io", json!({}));
    entry["clientConfig"]["caBundle"] = "Cg==".into();
    w.configure("validating", "c", vec![entry]).await;
    let refused = w.map("a").await;
    let text = "Internal error occurred: failed calling webhook \"c.x.io\": could not get REST client: unable to load root certificates: unable to parse bytes as PEM block";
    assert_eq!((refused.code, &refused.body["message"]), (500, &json!(text)));
    let gone = w.delete(&format!("{GROUP}/validatingwebhookconfigurations/c")).await;
    assert_eq!(gone.code, 200);
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut entry = asked.entry("b.x.io", json!({}));
    entry["clientConfig"]["url"] = format!("https://{free}/").into();
    w.configure("validating", "b", vec![entry]).await;
    let message = w.map("b").await.body["message"].clone();
    assert!(
        message.as_str().unwrap().contains(&format!("dial tcp {free}: connect: connection refused")),
        "{message}"
    );
}

#[tokio::test]
async fn a_service_is_asked_at_its_endpoints() {
    let w = World::secured().await;
    let asked = hook(|_| patch(json!([{"op": "add", "path": "/data/by", "value": "service"}]))).await;
    let mut entry = asked.entry("s.x.io", json!({}));
    entry["clientConfig"] =
        json!({"caBundle": asked.ca, "service": {"namespace": "default", "name": "hook", "path": "/x"}});
    w.configure("mutating", "s", vec![entry]).await;
    let missing = w.map("a").await.body["message"].clone();
    let text = "Internal error occurred: failed calling webhook \"s.x.io\": failed to call webhook: Post \"https://hook.default.svc:443/x?timeout=10s\": service \"hook\" not found";
    assert_eq!(missing, text);
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"name": "https", "port": 443}], "clusterIP": "None"}});
    assert_eq!(w.post("/api/v1/namespaces/default/services", service).await.code, 201);
    let without = w.map("a").await.body["message"].clone();
    assert!(without.as_str().unwrap().ends_with("no endpoints available for service \"hook\""), "{without}");
    let slice = json!({"metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}}, "addressType": "IPv4",
        "ports": [{"name": "https", "port": asked.address.port()}],
        "endpoints": [{"addresses": ["10.255.0.1"], "conditions": {"ready": false}}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let made = w.post(slices, slice).await;
    assert_eq!(made.code, 201, "{}", made.body);
    // loopback is no address that the API takes for an endpoint: the name's certificate is what this tests
    let unready = w.map("a").await.body["message"].clone();
    assert!(unready.as_str().unwrap().ends_with("no endpoints available for service \"hook\""), "{unready}");
}

#[tokio::test]
async fn those_that_ran_before_a_change_run_again_if_they_want() {
    let w = World::secured().await;
    let count = |request: &Value, field: &str| {
        let had = request["object"]["data"][field].as_str().map_or(0, |text| text.len());
        patch(json!([{"op": "add", "path": format!("/data/{field}"), "value": "x".repeat(had + 1)}]))
    };
    let first = hook(move |request| count(request, "first")).await;
    let second = hook(move |request| count(request, "second")).await;
    w.configure(
        "mutating",
        "m",
        vec![
            first.entry("a.x.io", json!({"reinvocationPolicy": "IfNeeded"})),
            second.entry("b.x.io", json!({})),
        ],
    )
    .await;
    let made = w.map("a").await;
    assert_eq!(
        (&made.body["data"]["first"], &made.body["data"]["second"]),
        (&json!("xx"), &json!("x")),
        "{}",
        made.body
    );
    assert_eq!((first.seen().len(), second.seen().len()), (2, 1));
}

#[tokio::test]
async fn a_changed_pod_is_defaulted_and_given_one_token() {
    let w = World::secured().await;
    let sidecar =
        json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "s:1"}}]);
    let adds = hook(move |_| patch(sidecar.clone())).await;
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
    w.configure("mutating", "m", vec![adds.entry("m.x.io", rules)]).await;
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(w.post("/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    let made = w.post(PODS, pod("p")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let spec = &made.body["spec"];
    assert_eq!(spec["volumes"].as_array().unwrap().len(), 1, "{spec}");
    let side = &spec["containers"][1];
    assert_eq!(side["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(side["imagePullPolicy"], "IfNotPresent");
    // the plugins before the webhooks have seen what they added
    for container in spec["containers"].as_array().unwrap() {
        assert_eq!(container["volumeMounts"].as_array().unwrap().len(), 1, "{container}");
    }
}

#[tokio::test]
async fn a_dry_run_asks_only_those_without_side_effects() {
    let w = World::secured().await;
    let asked = hook(|_| allow()).await;
    w.configure("validating", "v", vec![asked.entry("v.x.io", json!({"sideEffects": "NoneOnDryRun"}))]).await;
    let made = w.post(&format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "a"}})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let seen = asked.seen();
    assert_eq!(
        (seen.len(), &seen[0]["dryRun"], &seen[0]["options"]["dryRun"]),
        (1, &json!(true), &json!(["All"]))
    );
}

#[tokio::test]
async fn who_waits_no_longer_ends_the_asking() {
    let w = World::secured().await;
    let (hangs, next) = (hook(|_| Reply::Never).await, hook(|_| allow()).await);
    let ignored = json!({"timeoutSeconds": 5, "failurePolicy": "Ignore"});
    let both = vec![hangs.entry("a.x.io", ignored.clone()), next.entry("b.x.io", ignored)];
    w.configure("mutating", "m", both).await;
    let late = w.post(&format!("{MAPS}?timeout=1s"), json!({"metadata": {"name": "a"}})).await;
    assert_eq!((late.code, &late.body["reason"]), (504, &json!("Timeout")));
    assert_eq!((hangs.seen().len(), next.seen().len()), (1, 0));
}

#[tokio::test]
async fn managed_fields_that_nobody_can_read_are_taken_back() {
    let w = World::secured().await;
    let change = json!([{"op": "remove", "path": "/metadata/managedFields/0/apiVersion"}]);
    let breaks = hook(move |_| patch(change.clone())).await;
    w.configure("mutating", "m", vec![breaks.entry("a.x.io", json!({}))]).await;
    let made = w.map("a").await;
    assert_eq!((made.code, &made.body["metadata"]["managedFields"][0]["apiVersion"]), (201, &json!("v1")));
    let warned = made.headers["warning"].to_str().unwrap();
    assert!(warned.contains("managedFields was in an invalid state after admission"), "{warned}");
    assert!(warned.ends_with("please fix your requests: apiVersion must not be empty\""), "{warned}");
}
