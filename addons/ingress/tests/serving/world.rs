//! A cluster's objects, the addon that serves them, and a client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rustls::pki_types::ServerName;
use sampan_addon::{Context, Drain, GroupHandler, Host, Native, Report, Reporter, Served, Site};
use sampan_process::{Component, Tasks};
use sampan_reconcile::{Informer, Informers};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

/// Nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

struct NoHost;

impl Host for NoHost {
    fn serve_group(&self, _: &'static str, _: &'static str, _: GroupHandler) -> Served {
        Box::new(())
    }

    fn content_store(&self) -> Option<PathBuf> {
        None
    }
}

pub struct World {
    pub context: Context,
    pub http: u16,
    pub https: u16,
    pub config: Value,
    drain: Drain,
    running: Option<JoinHandle<Result<(), sampan_addon::Error>>>,
    ingresses: Informer<Ingress>,
    events: Informer<Event>,
    _data: TempDir,
}

/// Ports that nobody has now.
pub fn free_ports() -> [u16; 2] {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let both = [bind(), bind()];
    both.map(|listener| listener.local_addr().unwrap().port())
}

impl World {
    /// A running addon with `config` besides its ports.
    pub async fn start(config: Value) -> Self {
        let mut world = Self::prepare(config);
        world.run();
        world.health(|report| *report == Report::Healthy).await;
        world
    }

    pub fn prepare(mut config: Value) -> Self {
        let client = sampan_client::loopback(Arc::new(crate::fake::Fake::default()), "default");
        let tasks = Tasks::new(Component::ControllerManager);
        let informers = Informers::new(client.clone(), tasks.clone());
        let data = tempfile::tempdir().unwrap();
        let [http, https] = free_ports();
        config["http"] = json!({"port": http});
        config["https"] = json!({"port": https});
        config["addresses"] = json!(["127.0.0.1"]);
        config["publishAddress"] = json!("192.0.2.1");
        let site = Site {
            profile: "test".into(),
            node_name: "n1".into(),
            node_ips: vec!["192.0.2.1".parse().unwrap()],
            bridge: "none".into(),
            gateway: [10, 201, 0, 1].into(),
            pod_cidr: "10.201.0.0/16".into(),
            service_cidr: "10.96.0.0/12".into(),
            dns_ip: [10, 96, 0, 10].into(),
            cluster_domain: "cluster.local".into(),
        };
        let (ingresses, events) = (informers.of(), informers.of());
        let path = data.path().to_owned();
        let (health, host) = (Reporter::new(), Arc::new(NoHost));
        let context = Context { client, informers, site, data: path, health, tasks, host };
        let drain = Drain::new();
        Self { context, http, https, config, drain, running: None, ingresses, events, _data: data }
    }

    pub fn run(&mut self) {
        let (config, context, drain) = (self.config.clone(), self.context.clone(), self.drain.clone());
        let run = async move { Native::run(&sampan_addon_ingress::Ingress, &config, context, drain).await };
        self.running = Some(tokio::spawn(run));
    }

    /// Drains the addon, as on disable.
    pub async fn stop(&mut self) {
        self.drain.start();
        within(self.running.take().unwrap()).await.unwrap().unwrap();
    }

    pub async fn health(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        let mut reports = self.context.health.watch();
        within(reports.wait_for(|report| wanted(report))).await.unwrap().clone()
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), "default")
    }

    /// Creates an object, or merges into the one that is there.
    async fn put<K>(&self, name: &str, mut object: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + serde::Serialize,
    {
        object["metadata"]["name"] = json!(name);
        let typed: K = serde_json::from_value(object.clone()).unwrap();
        match self.api::<K>().create(&PostParams::default(), &typed).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(object)).await.unwrap();
            }
            created => _ = created.unwrap(),
        }
    }

    /// A Service whose port 80 leads to `ports` of this host.
    pub async fn service(&self, name: &str, ports: &[u16], app_protocol: Option<&str>) {
        let port = json!({"name": "web", "port": 80, "appProtocol": app_protocol});
        self.put::<Service>(name, json!({"spec": {"ports": [port]}})).await;
        let slice = |port: u16| format!("{name}-{port}");
        for port in ports {
            // ports that differ make a slice each
            self.put::<EndpointSlice>(
                &slice(*port),
                json!({
                    "metadata": {"labels": {"kubernetes.io/service-name": name}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": ["127.0.0.1"]}],
                    "ports": [{"name": "web", "port": port}],
                }),
            )
            .await;
        }
        // the new ones come before the old ones go, as with a Deployment
        let slices = self.api::<EndpointSlice>();
        for old in slices.list(&Default::default()).await.unwrap() {
            let (labels, old) = (old.metadata.labels.unwrap(), old.metadata.name.unwrap());
            if labels["kubernetes.io/service-name"] == name && !ports.iter().any(|port| slice(*port) == old) {
                slices.delete(&old, &DeleteParams::default()).await.unwrap();
            }
        }
    }

    pub async fn ingress(&self, name: &str, annotations: Value, spec: Value) {
        self.put::<Ingress>(name, json!({"metadata": {"annotations": annotations}, "spec": spec})).await;
    }

    pub async fn delete_ingress(&self, name: &str) {
        self.api::<Ingress>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn secret(&self, name: &str, chain: &str, key: &str) {
        let data = json!({"tls.crt": encoded(chain), "tls.key": encoded(key)});
        self.put::<Secret>(name, json!({"type": "kubernetes.io/tls", "data": data})).await;
    }

    /// The status that an Ingress comes to have: address, and errors by port.
    pub async fn shows(&self, name: &str, wanted: &[(i32, &str)]) {
        let (http, https) = (i32::from(self.http), i32::from(self.https));
        let has = |ingress: &Ingress| {
            let status = ingress.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.clone();
            assert_eq!(status.ip.as_deref(), Some("192.0.2.1"));
            let errors = status.ports?.into_iter().filter_map(|port| Some((port.port, port.error?)));
            Some(
                errors.map(|(port, error)| (if port == https { 443 } else { 80 }, error)).collect::<Vec<_>>(),
            )
        };
        let _ = http;
        let wanted: Vec<_> = wanted.iter().map(|(port, error)| (*port, (*error).to_owned())).collect();
        let key = sampan_reconcile::Key::namespaced("default", name);
        let shown = |all: &Informer<Ingress>| all.get(&key).and_then(|one| has(&one));
        within(self.ingresses.until(|all| shown(all) == Some(wanted.clone()))).await;
    }

    pub async fn shows_nothing(&self, name: &str) {
        let key = sampan_reconcile::Key::namespaced("default", name);
        let empty = |ingress: &Ingress| {
            let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            status.and_then(|status| status.ingress.as_ref()).is_none_or(Vec::is_empty)
        };
        within(self.ingresses.until(|all| all.get(&key).is_some_and(|one| empty(&one)))).await;
    }

    pub async fn event(&self, name: &str, reason: &str) -> String {
        let found = |events: &Informer<Event>| {
            let all = events.list();
            let event = all.iter().find(|event| {
                event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
            })?;
            event.message.clone()
        };
        within(self.events.until(|events| found(events).is_some())).await;
        found(&self.events).unwrap()
    }

    /// A connection over which requests can be sent one after another.
    pub async fn connect(&self) -> http1::SendRequest<Full<Bytes>> {
        connect(TcpStream::connect(("127.0.0.1", self.http)).await.unwrap()).await
    }

    /// One GET by plain HTTP.
    pub async fn get(&self, host: &str, path: &str) -> Seen {
        self.request(Request::get(path).header("host", host)).await
    }

    pub async fn request(&self, request: http::request::Builder) -> Seen {
        let mut sender = self.connect().await;
        seen(within(sender.send_request(request.body(Full::default()).unwrap())).await.unwrap()).await
    }

    /// Until the route is there: the change is live a moment after it is made.
    pub async fn until(&self, host: &str, path: &str, status: u16) -> Seen {
        within(async {
            loop {
                let seen = self.get(host, path).await;
                if seen.status == status {
                    return seen;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// What comes back for bytes as they are, up to the end of the connection.
    pub async fn raw(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // a reset after the answer is an end as well
        let _ = within(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A TLS connection that asks for `name`, believing whatever it is shown.
    pub async fn tls(&self, name: &str, protocols: &[&str]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.https)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(believing(protocols)));
        within(connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream)).await.unwrap()
    }

    /// The certificate that is shown for a name.
    pub async fn certificate(&self, name: &str) -> Vec<u8> {
        self.tls(name, &[]).await.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

pub async fn connect<T>(stream: T) -> http1::SendRequest<Full<Bytes>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An answer, whole.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What the echo says it was sent.
    pub fn echo(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

pub async fn seen(response: Response<Incoming>) -> Seen {
    let (parts, body) = response.into_parts();
    let body = within(body.collect()).await.unwrap().to_bytes();
    Seen { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

fn encoded(text: &str) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap()
}

/// A certificate for `name` that signs itself: PEM of it and its key, and its bytes.
pub fn certificate(name: &str) -> (String, String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().to_vec())
}

pub fn rule(host: &str, kind: &str, path: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}})
}

fn believing(protocols: &[&str]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believes(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

#[derive(Debug)]
struct Believes(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
