//! Extenders that are asked over HTTP: what they are sent, and what becomes of pods by what they say.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::{Informers, Key};
use sampan_scheduler::config::read;
use sampan_scheduler::{Config, Scheduler};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::fake::Fake;

/// Verb and body of a request in, status and answer out; an answer of `null` never comes.
type Answers = fn(&str, &Value) -> (u16, Value);

/// An extender, and what it was asked.
struct Extender {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Extender {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/scheduler", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, answers, log.clone()));
            }
        });
        Self { url, asked }
    }

    /// Over TLS; returns its certificate as PEM text, too. The name in it is `extender.test`.
    async fn start_tls(answers: Answers) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["extender.test".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/scheduler", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), log.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, answers, log).await;
                    }
                });
            }
        });
        (Self { url, asked }, made.cert.pem())
    }

    fn asked(&self, verb: &str) -> Vec<Value> {
        self.asked.lock().iter().filter(|(asked, _)| asked == verb).map(|(_, body)| body.clone()).collect()
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: Answers,
    log: Arc<Mutex<Vec<(String, Value)>>>,
) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let log = log.clone();
        async move {
            let verb = request.uri().path().strip_prefix("/scheduler/").unwrap().to_owned();
            assert_eq!(request.headers()["content-type"], "application/json");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let (status, answer) = answers(&verb, &body);
            log.lock().push((verb, body));
            if answer.is_null() {
                std::future::pending::<()>().await;
            }
            let mut response = Response::new(Full::<Bytes>::from(answer.to_string()));
            *response.status_mut() = status.try_into().unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    // the scheduler may hang up
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

struct Cluster {
    client: kube::Client,
    informers: Informers,
}

/// With nodes `a` and `b` of one CPU each, and these extenders.
async fn cluster(extenders: Value) -> Cluster {
    let client = sampan_client::loopback(Arc::new(Fake::default()), "default");
    let tasks = Tasks::new(Component::Scheduler);
    let informers = Informers::new(client.clone(), tasks.clone());
    let configuration = read(json!({"apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration", "extenders": extenders}));
    let config = Config {
        client: client.clone(),
        informers: informers.clone(),
        health: Health::new(),
        configuration: configuration.unwrap(),
    };
    for name in ["a", "b"] {
        let node = json!({"metadata": {"name": name},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9", "example.com/gpu": "1"}}});
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }
    let (scheduler, drain) = (Scheduler::new(config, &tasks), tasks.drain());
    tasks.spawn("scheduler", async move { scheduler.run(drain).await });
    Cluster { client, informers }
}

impl Cluster {
    async fn pod(&self, name: &str, resource: (&str, &str), priority: i32) {
        let pod = json!({"metadata": {"name": name}, "spec": {"schedulerName": "default-scheduler",
            "priority": priority,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {resource.0: resource.1}}}]}});
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn node_of(&self, name: &str) -> String {
        let pods = self.informers.of::<Pod>();
        let node = || pods.get(&Key::namespaced("default", name))?.spec.as_ref()?.node_name.clone();
        let bound = pods.until(|_| node().is_some());
        let ended = tokio::time::timeout(Duration::from_secs(30), bound).await;
        assert!(ended.is_ok(), "{name} is not bound: {:#?}", self.messages());
        node().unwrap()
    }

    fn messages(&self) -> Vec<String> {
        self.informers.of::<Event>().list().iter().filter_map(|event| event.message.clone()).collect()
    }

    async fn told(&self, message: &str) {
        let events = self.informers.of::<Event>();
        let live = events.until(|_| self.messages().iter().any(|said| said == message));
        let ended = tokio::time::timeout(Duration::from_secs(30), live).await;
        assert!(ended.is_ok(), "nobody told {message}: {:#?}", self.messages());
    }

    async fn condition(&self, name: &str, reason: &str, message: &str) {
        let pods = self.informers.of::<Pod>();
        let is = || {
            let pod = pods.get(&Key::namespaced("default", name));
            let pod = serde_json::to_value(pod.as_deref()).unwrap();
            let first = pod.pointer("/status/conditions/0").cloned().unwrap_or_default();
            first["reason"] == reason && first["message"] == message
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), pods.until(|_| is())).await;
        assert!(ended.is_ok(), "no condition {reason}: {message}");
    }
}

/// Names of the nodes in a request.
fn nodes(body: &Value) -> Vec<String> {
    let items = body["Nodes"]["items"].as_array().into_iter().flatten();
    items.map(|node| node["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_pod_goes_where_an_extender_lets_it() {
    let extender = Extender::start(|verb, body| match verb {
        "filter" => {
            let left: Vec<_> = body["Nodes"]["items"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|n| n["metadata"]["name"] == "b")
                .collect();
            // names in any case, as Go reads them
            (200, json!({"nodes": {"items": left}, "failedNodes": {"a": "it is cold there"}, "Error": ""}))
        }
        _ => (404, json!({})),
    })
    .await;
    let cluster = cluster(json!([{"urlPrefix": extender.url, "filterVerb": "filter"}])).await;
    cluster.pod("p", ("cpu", "1"), 0).await;
    assert_eq!(cluster.node_of("p").await, "b");
    let asked = extender.asked("filter");
    assert_eq!(
        (asked[0]["Pod"]["metadata"]["name"].as_str(), nodes(&asked[0])),
        (Some("p"), vec!["a".into(), "b".into()])
    );
    assert_eq!(asked[0]["NodeNames"], Value::Null);
    // the other node is full for the plugins, the first for the extender
    cluster.pod("q", ("cpu", "1"), 0).await;
    let said = "0/2 nodes are available: 1 Insufficient cpu, 1 it is cold there. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    cluster.told(said).await;
    cluster.condition("q", "Unschedulable", said).await;
}

#[tokio::test]
async fn scores_of_an_extender_weigh_ten_times() {
    let extender = Extender::start(|verb, body| {
        assert_eq!((verb, &body["Nodes"]), ("prioritize", &Value::Null));
        (200, json!([{"Host": "a", "Score": 0}, {"Host": "b", "Score": 10}, {"Host": "nowhere", "Score": 9}]))
    })
    .await;
    let one = json!({"urlPrefix": format!("{}/", extender.url), "prioritizeVerb": "prioritize", "weight": 2,
        "nodeCacheCapable": true});
    let cluster = cluster(json!([one])).await;
    // the plugins prefer the emptier one; the extender weighs more
    for name in ["p", "q", "r"] {
        cluster.pod(name, ("cpu", "300m"), 0).await;
        assert_eq!(cluster.node_of(name).await, "b", "{name}");
    }
    assert_eq!(extender.asked("prioritize")[0]["NodeNames"], json!(["a", "b"]));
}

#[tokio::test]
async fn a_needed_extender_that_fails_holds_up_its_pods_and_an_ignorable_one_does_not() {
    let broken = Extender::start(|_, _| (500, json!({}))).await;
    let silent = Extender::start(|_, _| (200, Value::Null)).await;
    let liar = Extender::start(|_, _| (200, json!({"NodeNames": ["c"]}))).await;
    let gpus = json!([{"name": "example.com/gpu"}]);
    let one = |url: &str, more: Value| {
        let mut one = json!({"urlPrefix": url, "filterVerb": "filter", "managedResources": gpus});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one
    };
    // what one does not manage is not its business
    let cluster = cluster(json!([
        {"urlPrefix": broken.url, "filterVerb": "filter", "ignorable": true},
        one(&liar.url, json!({"nodeCacheCapable": true, "managedResources": [{"name": "example.com/other"}]})),
        one(&silent.url, json!({"httpTimeout": "50ms"})),
    ]))
    .await;
    cluster.pod("plain", ("cpu", "1"), 0).await;
    cluster.node_of("plain").await;
    assert_eq!((broken.asked("filter").len(), silent.asked("filter").len()), (1, 0));
    cluster.pod("gpu", ("example.com/gpu", "1"), 0).await;
    let said = format!(
        "Post \"{}/filter\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        silent.url
    );
    cluster.told(&said).await;
    cluster.condition("gpu", "SchedulerError", &said).await;
    assert_eq!(broken.asked("filter").len(), 1, "the ignorable one comes last, and is not reached");
    cluster.pod("other", ("example.com/other", "0"), 0).await;
    let said = format!(
        "extender \"{}\" claims a filtered node \"c\" which is not found in the input node list",
        liar.url
    );
    cluster.told(&said).await;
}

#[tokio::test]
async fn an_extender_binds() {
    let extender = Extender::start(|_, body| match body["PodName"].as_str() {
        Some("p") => (200, json!({"Error": "not now"})),
        _ => (200, json!({})),
    })
    .await;
    let cluster = cluster(json!([{"urlPrefix": extender.url, "bindVerb": "bind"}])).await;
    cluster.pod("p", ("cpu", "1"), 0).await;
    cluster.told("not now").await;
    cluster.pod("q", ("cpu", "100m"), 0).await;
    let (events, said) = (cluster.informers.of::<Event>(), "Successfully assigned default/q to ");
    let live = events.until(|_| cluster.messages().iter().any(|message| message.starts_with(said)));
    tokio::time::timeout(Duration::from_secs(30), live).await.unwrap();
    let asked = extender.asked("bind");
    let mine = asked.iter().find(|body| body["PodName"] == "q").unwrap();
    assert_eq!((&mine["PodNamespace"], mine["PodUID"].is_string()), (&json!("default"), true));
    assert!(["a", "b"].contains(&mine["Node"].as_str().unwrap()));
}

#[tokio::test]
async fn an_extender_spares_a_node() {
    let extender = Extender::start(|_, body| {
        // `a` is spared; the answer names pods by uid
        let mut left = body["NodeNameToMetaVictims"].clone();
        left.as_object_mut().unwrap().remove("a").unwrap();
        (200, json!({"NodeNameToMetaVictims": left}))
    })
    .await;
    let one = json!({"urlPrefix": extender.url, "preemptVerb": "preempt", "nodeCacheCapable": true});
    let cluster = cluster(json!([one])).await;
    // the lesser harm would be on whichever node `low` is; both are full
    cluster.pod("one", ("cpu", "1"), 1).await;
    cluster.pod("two", ("cpu", "1"), 1).await;
    let spared = if cluster.node_of("one").await == "a" { "one" } else { "two" };
    cluster.node_of("two").await;
    cluster.pod("high", ("cpu", "1"), 9).await;
    assert_eq!(cluster.node_of("high").await, "b");
    let pods = cluster.informers.of::<Pod>();
    assert!(pods.get(&Key::namespaced("default", spared)).is_some(), "the pod of `a` stays");
    let victims = &extender.asked("preempt")[0]["NodeNameToMetaVictims"];
    assert_eq!(victims["b"]["Pods"].as_array().unwrap().len(), 1, "{victims}");
    assert!(victims["b"]["Pods"][0]["UID"].is_string() && victims["b"]["NumPDBViolations"] == 0);
}

#[tokio::test]
async fn extenders_are_spoken_to_over_tls_as_configured() {
    let (extender, certificate) = Extender::start_tls(|_, _| (200, json!({"NodeNames": ["a"]}))).await;
    let authority = base64::engine::general_purpose::STANDARD.encode(certificate);
    let one = |more: Value| {
        let mut one = json!({"urlPrefix": extender.url, "filterVerb": "filter", "nodeCacheCapable": true});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([one])
    };
    for (more, trusts) in [
        (json!({"tlsConfig": {"caData": authority, "serverName": "extender.test"}}), true),
        (
            json!({"enableHTTPS": true, "tlsConfig": {"caData": authority, "serverName": "extender.test"}}),
            true,
        ),
        // without an authority nothing is verified
        (json!({"enableHTTPS": true}), true),
        (json!({"tlsConfig": {"insecure": true}}), true),
        (json!({"tlsConfig": {"caData": authority, "serverName": "other.test"}}), false),
    ] {
        let cluster = cluster(one(more.clone())).await;
        cluster.pod("p", ("cpu", "1"), 0).await;
        if trusts {
            assert_eq!(cluster.node_of("p").await, "a", "{more}");
        } else {
            let events = cluster.informers.of::<Event>();
            let said = format!("Post \"{}/filter\": ", extender.url);
            let live = events.until(|_| cluster.messages().iter().any(|message| message.starts_with(&said)));
            tokio::time::timeout(Duration::from_secs(30), live).await.unwrap();
        }
    }
}
