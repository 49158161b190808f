//! An API server behind a Service: a real TLS server that says who asked it for what.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::TakeoverSlot;

const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const BOATS: &str = "/apis/boats.example/v1/namespaces/default/boats";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The server's end: its port and its CA.
struct Harbour {
    port: u16,
    ca: String,
    well: Arc<AtomicBool>,
}

fn answer(request: Request<Incoming>, well: bool) -> http::Response<http_body_util::Full<Bytes>> {
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    let body = match request.uri().path() {
        "/apis/boats.example/v1" => {
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "boats.example/v1",
            "resources": [{"name": "boats", "singularName": "boat", "namespaced": true, "kind": "Boat", "verbs": ["get", "list"]}]})
        }
        "/openapi/v3" => {
            json!({"paths": {"apis/boats.example/v1": {"serverRelativeURL": "/openapi/v3/apis/boats.example/v1?hash=B"}}})
        }
        "/openapi/v2" => {
            json!({"swagger": "2.0", "paths": {BOATS: {"get": {"$ref": "#/definitions/example.Boat"}}}, "definitions": {"example.Boat": {}}})
        }
        path => {
            json!({"path": path, "query": request.uri().query(), "method": request.method().as_str(), "headers": headers})
        }
    };
    if !well {
        return http::Response::builder().status(500).body(Bytes::from("unwell").into()).unwrap();
    }
    if request.headers().contains_key("upgrade") {
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let mut word = [0; 4];
            io.read_exact(&mut word).await.unwrap();
            io.write_all(&word.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
        });
        let switching =
            http::Response::builder().status(101).header("connection", "upgrade").header("upgrade", "shout");
        return switching.body(Bytes::new().into()).unwrap();
    }
    http::Response::builder()
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_string()).into())
        .unwrap()
}

async fn harbour(front_proxy_ca: &str) -> Harbour {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let leaf = CertificateParams::new(vec!["boats.default.svc".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    roots.add(CertificateDer::from_pem_slice(front_proxy_ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let (acceptor, well) = (TlsAcceptor::from(Arc::new(config)), Arc::new(AtomicBool::new(true)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let harbour =
        Harbour { port: listener.local_addr().unwrap().port(), ca: ca_certificate.pem(), well: well.clone() };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, well) = (acceptor.clone(), well.clone());
            tokio::spawn(async move {
                // who has no certificate of the front proxy does not come in
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let well = well.load(Ordering::SeqCst);
                    async move { Ok::<_, Infallible>(answer(request, well)) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    harbour
}

impl World {
    async fn harbour(&self) -> Harbour {
        let harbour = harbour(self.server.pki().front_proxy_ca_pem()).await;
        let service = json!({"metadata": {"name": "boats"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
        assert_eq!(self.post("/api/v1/namespaces/default/services", service).await.code, 201);
        harbour
    }

    async fn register(&self, harbour: &Harbour, trust: Value) {
        let mut object = json!({"metadata": {"name": "v1.boats.example"}, "spec": {
            "group": "boats.example", "version": "v1", "groupPriorityMinimum": 17790, "versionPriority": 10,
            "service": {"namespace": "default", "name": "boats", "port": harbour.port},
        }});
        object["spec"].as_object_mut().unwrap().extend(trust.as_object().unwrap().clone());
        let made = self.post(APISERVICES, object).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }

    async fn boats(&self, status: &str) -> Value {
        let from = self.server.store().revision();
        let mut changes = self.server.store().watch("apiservices.apiregistration.k8s.io", "", from).unwrap();
        loop {
            let object = self.get(&format!("{APISERVICES}/v1.boats.example")).await.body;
            let condition = object["status"]["conditions"][0].clone();
            if condition["status"] == status {
                return condition;
            }
            changes.next().await.unwrap().unwrap();
        }
    }
}

fn bundle(harbour: &Harbour) -> Value {
    json!({"caBundle": STANDARD.encode(&harbour.ca)})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_a_service_is_a_part_of_the_api() {
    let w = world().await;
    let harbour = w.harbour().await;
    w.register(&harbour, bundle(&harbour)).await;
    let condition = w.boats("True").await;
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("Passed"), &json!("all checks passed"))
    );
    let got = w.get(&format!("{BOATS}?labelSelector=a%3Db")).await;
    assert_eq!(
        (got.code, &got.body["path"], &got.body["query"]),
        (200, &json!(BOATS), &json!("labelSelector=a%3Db"))
    );
    assert_eq!(got.body["headers"]["x-remote-user"], "test");
    assert_eq!(got.body["headers"]["host"], format!("localhost:{}", harbour.port));
    // in discovery, by its priority
    for (accept, key) in [("application/json", "groups"), (AGGREGATED, "items")] {
        let response = w.raw("GET", "/apis", "", accept, "").await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let groups = document[key].as_array().unwrap();
        let name =
            |group: &Value| group["name"].as_str().or(group["metadata"]["name"].as_str()).unwrap().to_owned();
        let place = groups.iter().position(|group| name(group) == "boats.example").unwrap();
        assert_eq!(
            (name(&groups[place - 1]), name(&groups[place + 1])),
            ("apps".into(), "events.k8s.io".into())
        );
        if key == "items" {
            let version = &groups[place]["versions"][0];
            assert_eq!(
                (&version["freshness"], &version["resources"][0]["resource"]),
                (&json!("Current"), &json!("boats"))
            );
        }
    }
    assert_eq!(w.get("/apis/boats.example").await.body["preferredVersion"]["version"], "v1");
    assert_eq!(w.get("/apis/boats.example/v1").await.body["resources"][0]["kind"], "Boat");
    // in what is published
    let index = w.get("/openapi/v3").await.body;
    assert_eq!(
        index["paths"]["apis/boats.example/v1"]["serverRelativeURL"],
        "/openapi/v3/apis/boats.example/v1?hash=B"
    );
    assert!(index["paths"]["api/v1"].is_object());
    assert_eq!(w.get("/openapi/v3/apis/boats.example/v1?hash=B").await.body["query"], "hash=B");
    let v2 = w.get("/openapi/v2").await.body;
    assert!(v2["definitions"]["example.Boat"].is_object() && v2["paths"][BOATS].is_object());
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    let proto = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let v2 = w.raw("GET", "/openapi/v2", "", proto, "").await;
    assert!(v2.headers()["content-type"].to_str().unwrap().contains("protobuf"));
    let bytes = v2.into_body().collect().await.unwrap().to_bytes();
    for name in [BOATS, "example.Boat", "/api/v1/pods"] {
        assert!(bytes.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_upgraded_through_it() {
    let w = world().await;
    let harbour = w.harbour().await;
    w.register(&harbour, json!({"insecureSkipTLSVerify": true})).await;
    w.boats("True").await;
    let request = Request::builder()
        .uri(format!("{BOATS}/b/shell"))
        .header("connection", "upgrade")
        .header("upgrade", "shout");
    let user = Arc::new(UserInfo::new("test", &["system:masters"]));
    let mut response = w.server.handle(request.body(Bytes::new()).unwrap(), Peer::Loopback(user)).await;
    assert_eq!(response.status(), 101);
    let takeover = response.extensions_mut().remove::<TakeoverSlot>().unwrap().take().unwrap();
    let (mut near, far) = tokio::io::duplex(1024);
    tokio::spawn((takeover.0)(Box::new(far)));
    near.write_all(b"ahoy").await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"AHOY") {
        assert_ne!(near.read_buf(&mut seen).await.unwrap(), 0);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_unwell_is_unavailable_until_it_is_well() {
    let w = world().await;
    let harbour = w.harbour().await;
    harbour.well.store(false, Ordering::SeqCst);
    w.register(&harbour, bundle(&harbour)).await;
    let condition = w.boats("False").await;
    assert_eq!(condition["reason"], "FailedDiscoveryCheck");
    let url = format!("https://localhost:{}/apis/boats.example/v1", harbour.port);
    let wanted = format!("failing or missing response from {url}: bad status from {url}: 500");
    assert_eq!(condition["message"], wanted);
    let got = w.get(BOATS).await;
    assert_eq!((got.code, got.body), (503, json!("service unavailable\n")));
    let response = w.raw("GET", "/apis", "", AGGREGATED, "").await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&bytes).contains(r#"{"version":"v1","freshness":"Stale"}"#));
    harbour.well.store(true, Ordering::SeqCst);
    // nothing tells of it: it is looked at again
    w.boats("True").await;
    assert_eq!(w.get(BOATS).await.code, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_ca_is_not_believed() {
    let w = world().await;
    let (harbour, stranger) = (w.harbour().await, harbour(w.server.pki().front_proxy_ca_pem()).await);
    w.register(&harbour, bundle(&stranger)).await;
    // as upstream's the check verifies nothing, the request does
    w.boats("True").await;
    let got = w.get(BOATS).await;
    assert_eq!(got.code, 503);
    assert!(got.body.as_str().unwrap().starts_with("error trying to reach service: tls: "), "{}", got.body);
}

#[tokio::test]
async fn what_such_servers_believe_is_kept() {
    let w = world().await;
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let uri = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let map = w.get(uri).await.body;
    assert_eq!(map["data"]["client-ca-file"], w.server.pki().ca_pem());
    assert_eq!(map["data"]["requestheader-client-ca-file"], w.server.pki().front_proxy_ca_pem());
    assert_ne!(map["data"]["client-ca-file"], map["data"]["requestheader-client-ca-file"]);
    let mut changes =
        w.server.store().watch("configmaps", "kube-system/", w.server.store().revision()).unwrap();
    w.merge(uri, json!({"data": {"requestheader-allowed-names": "[]", "mine": "x"}})).await;
    changes.next().await.unwrap().unwrap();
    changes.next().await.unwrap().unwrap();
    let map = w.get(uri).await.body;
    assert_eq!(
        (&map["data"]["requestheader-allowed-names"], &map["data"]["mine"]),
        (&json!(r#"["front-proxy-client"]"#), &json!("x"))
    );
    let services = w.get(APISERVICES).await.body;
    let names: Vec<&str> = services["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    assert!(
        names.contains(&"v1.") && names.contains(&"v1.apps") && !names.contains(&"v1.apiregistration.k8s.io")
    );
    assert_eq!(services["items"][0]["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(
        services["items"][0]["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"],
        "onstart"
    );
}
