//! Recorded requests, through the server's front door.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use sampan_process::{Component, Health, Tasks};
use serde_json::{Value, json};

use super::*;
use crate::{ApiServer, Config, Peer, ServiceBlock, UserInfo};

struct World {
    server: ApiServer,
    folder: tempfile::TempDir,
}

async fn world(policy: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut audit = Options { log_path: Some(folder.path().join("audit.log")), ..Options::default() };
    if !policy.is_empty() {
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{policy}"))
            .unwrap();
        audit.policy_file = Some(file);
    }
    let tasks = Tasks::new(Component::ApiServer);
    let config = Config {
        data: folder.path().to_owned(),
        tasks: tasks.clone(),
        health: Health::new(),
        bind: Ipv4Addr::LOCALHOST.into(),
        port: 28443,
        port_fixed: false,
        services: ServiceBlock::new(Ipv4Addr::new(10, 96, 0, 0), 12),
        node_name: "n1".into(),
        addresses: vec![],
        history: Duration::from_secs(300),
        audit,
        authentication: None,
    };
    let server = ApiServer::new(config).await.unwrap();
    server.secure(&tasks).await.unwrap();
    World { server, folder }
}

impl World {
    async fn ask(&self, user: &str, method: &str, uri: &str, body: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(uri).header("audit-id", "the-id");
        if method == "PATCH" {
            request = request.header("content-type", "application/merge-patch+json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = match user {
            "" => Peer::Tls { certificates: Default::default(), remote: "10.1.2.3:4".parse().unwrap() },
            user => Peer::Loopback(Arc::new(UserInfo::new(
                user,
                if user == "admin" { &["system:masters"] } else { &[] },
            ))),
        };
        let response = self.server.handle(request.body(Bytes::from(body.to_owned())).unwrap(), peer).await;
        assert_eq!(response.headers()["audit-id"], "the-id");
        let code = response.status().as_u16();
        drop(response.into_body().collect().await);
        code
    }

    /// Everything recorded, when nothing more will be.
    async fn events(&self) -> Vec<Value> {
        self.server.auditor().unwrap().close().await;
        let text = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_write_is_recorded_as_upstream_writes_it() {
    let w = world("- {level: RequestResponse, omitManagedFields: true}\n").await;
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}}).to_string();
    let agent = [("user-agent", "kubectl/v1.36"), ("content-type", "application/json")];
    assert_eq!(w.ask("admin", "POST", MAPS, &map, &agent).await, 201);
    let events = w.events().await;
    let [received, complete] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&received["stage"], received.get("responseStatus")), (&json!("RequestReceived"), None));
    let keys: Vec<&str> = complete.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = [
        "kind",
        "apiVersion",
        "level",
        "auditID",
        "stage",
        "requestURI",
        "verb",
        "user",
        "sourceIPs",
        "userAgent",
        "objectRef",
        "responseStatus",
        "requestObject",
        "responseObject",
        "requestReceivedTimestamp",
        "stageTimestamp",
        "annotations",
    ];
    assert_eq!(keys, wanted);
    assert_eq!(complete["auditID"], "the-id");
    assert_eq!(
        complete["user"],
        json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]})
    );
    assert_eq!(
        complete["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"})
    );
    assert_eq!(complete["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(complete["requestObject"]["data"], json!({"k": "v"}));
    assert_eq!(complete["responseObject"]["kind"], "ConfigMap");
    assert_eq!(
        complete["annotations"],
        json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""})
    );
}

#[tokio::test]
async fn refusals_say_why() {
    let w = world("- {level: Request, omitStages: [RequestReceived]}\n").await;
    assert_eq!(w.ask("jane", "POST", MAPS, "{}", &[]).await, 403);
    assert_eq!(w.ask("admin", "GET", &format!("{MAPS}/none"), "", &[]).await, 404);
    assert_eq!(w.ask("", "GET", MAPS, "", &[("authorization", "Bearer x.y.z")]).await, 401);
    assert_eq!(w.ask("", "GET", "/version", "", &[]).await, 200);
    let events = w.events().await;
    let [forbidden, missing, stranger, anonymous] = &events[..] else { panic!("{events:?}") };
    assert_eq!(forbidden["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(forbidden["responseStatus"]["code"], 403);
    assert_eq!(forbidden["responseStatus"]["reason"], "Forbidden");
    assert_eq!(forbidden.get("requestObject"), None, "nobody has read it");
    assert_eq!(missing["responseStatus"]["details"], json!({"name": "none", "kind": "configmaps"}));
    assert_eq!(stranger["user"], json!({}));
    assert_eq!(stranger["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert_eq!(
        (&stranger["responseStatus"]["code"], &stranger["sourceIPs"]),
        (&json!(401), &json!(["10.1.2.3"]))
    );
    assert_eq!(anonymous["user"]["username"], "system:anonymous");
}

#[tokio::test]
async fn what_a_namespace_audits_is_in_the_record() {
    let w = world("- {level: Metadata, omitStages: [RequestReceived]}\n").await;
    let json = [("content-type", "application/json")];
    let namespace =
        json!({"metadata": {"name": "n", "labels": {"pod-security.kubernetes.io/audit": "baseline"}}});
    assert_eq!(w.ask("admin", "POST", "/api/v1/namespaces", &namespace.to_string(), &json).await, 201);
    let account = json!({"metadata": {"name": "default"}}).to_string();
    assert_eq!(w.ask("admin", "POST", "/api/v1/namespaces/n/serviceaccounts", &account, &json).await, 201);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(w.ask("admin", "POST", "/api/v1/namespaces/n/pods", &pod.to_string(), &json).await, 201);
    let events = w.events().await;
    let annotations = &events[2]["annotations"];
    assert_eq!(annotations["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    let told = annotations["pod-security.kubernetes.io/audit-violations"].as_str().unwrap();
    assert!(told.starts_with("would violate PodSecurity \"baseline:latest\": host namespaces"), "{told}");
}

#[tokio::test]
async fn acting_as_another_names_both() {
    let w = world("- {level: Metadata, users: [admin], omitStages: [RequestReceived]}\n").await;
    let headers = [("impersonate-user", "jane"), ("impersonate-group", "system:masters")];
    assert_eq!(w.ask("admin", "GET", MAPS, "", &headers).await, 200);
    let events = w.events().await;
    assert_eq!((events.len(), &events[0]["user"]["username"]), (1, &json!("admin")));
    assert_eq!(events[0]["impersonatedUser"]["username"], "jane");
    assert_eq!(events[0]["verb"], "list");
}

#[tokio::test]
async fn a_watch_begins_and_ends() {
    let w = world("- {level: Metadata, verbs: [watch]}\n").await;
    assert_eq!(w.ask("admin", "GET", &format!("{MAPS}?watch=1&timeoutSeconds=1"), "", &[]).await, 200);
    assert_eq!(w.ask("admin", "GET", MAPS, "", &[]).await, 200);
    let stages: Vec<Value> = w.events().await.iter().map(|event| event["stage"].clone()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
}

#[tokio::test]
async fn the_built_in_policy_keeps_secrets_to_itself() {
    let w = world("").await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}).to_string();
    let json = [("content-type", "application/json")];
    let secrets = "/api/v1/namespaces/default/secrets";
    assert_eq!(w.ask("admin", "POST", secrets, &secret, &json).await, 201);
    assert_eq!(w.ask("admin", "GET", &format!("{secrets}/s"), "", &[]).await, 200);
    let patch = r#"{"stringData":{"password":"hunter2"}}"#;
    assert_eq!(w.ask("admin", "PATCH", &format!("{secrets}/s"), patch, &[]).await, 200);
    let review = json!({"spec": {"token": "hunter2"}}).to_string();
    assert_eq!(
        w.ask("admin", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", &review, &json).await,
        201
    );
    assert_eq!(w.ask("admin", "DELETE", &format!("{secrets}/s"), "", &[]).await, 200);
    let account = json!({"metadata": {"name": "seen"}}).to_string();
    assert_eq!(
        w.ask("admin", "POST", "/api/v1/namespaces/default/serviceaccounts", &account, &json).await,
        201
    );
    let events = w.events().await;
    assert_eq!(events.len(), 6, "{events:?}");
    assert!(!Value::from(events.clone()).to_string().contains("hunter2"));
    assert_eq!(events[5]["requestObject"]["metadata"]["name"], "seen");
    // a deletion's Status is the record's
    assert_eq!(events[4]["responseStatus"]["status"], "Success");
}

#[tokio::test]
async fn the_webhook_gets_batches_and_is_asked_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for attempt in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let tell = tell.clone();
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    tell.send((attempt, body)).unwrap();
                    let code = if attempt == 0 { 503 } else { 200 };
                    http::Response::builder()
                        .status(code)
                        .header("connection", "close")
                        .body(http_body_util::Full::<Bytes>::default())
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    std::fs::write(
        &file,
        format!("current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\nclusters: [{{name: k, cluster: {{server: 'http://{address}/x'}}}}]\n"),
    )
    .unwrap();
    let millisecond = Duration::from_millis(1);
    let options = Options {
        webhook_config_file: Some(file),
        webhook_batch_size: 2,
        webhook_batch_wait: Duration::from_secs(600),
        webhook_backoff: millisecond,
        ..Options::default()
    };
    let auditor = Auditor::open(&options, &Tasks::new(Component::ApiServer)).unwrap().unwrap();
    for i in 0..3 {
        auditor.sinks[0].queue.try_send(format!("{{\"i\":{i}}}").into()).unwrap();
    }
    let batch = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["items"].clone();
    for attempt in [0, 1] {
        let (seen, body) = told.recv().await.unwrap();
        assert_eq!((seen, batch(&body)), (attempt, json!([{"i": 0}, {"i": 1}])));
    }
    auditor.close().await;
    let (_, body) = told.recv().await.unwrap();
    assert_eq!(batch(&body), json!([{"i": 2}]));
}

#[test]
fn a_bad_file_is_refused_by_its_name_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n").unwrap();
    let options = Options { policy_file: Some(file.clone()), ..Options::default() };
    let why = options.check().unwrap_err().to_string();
    assert!(
        why.starts_with(&format!(
            "--audit-policy-file={}: rules[0].level: Unsupported value",
            file.display()
        )),
        "{why}"
    );
    let options = Options { webhook_config_file: Some("/none".into()), ..Options::default() };
    assert!(
        options
            .check()
            .unwrap_err()
            .to_string()
            .starts_with("--audit-webhook-config-file=/none: No such file")
    );
}
