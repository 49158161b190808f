//! HTTPS calls to webhooks: by URL, or to a Service's ready endpoints; connections are kept.
//!
//! Also for conversion webhooks, whose `clientConfig` is the same. Errors are worded as Go's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sampan_api::go::Quote as _;
use sampan_api::strict;
use sampan_store::{Key, Store};
use serde_json::Value;
use tokio::net::TcpStream;

use super::trust;
use crate::value::{at, items, text};

/// The longest answer to a review of one object: etcd's limit of an object, doubled.
pub const LONGEST: usize = 3 << 20;
/// Connections kept for each place.
const KEPT: usize = 16;
/// Places remembered; when there are more, all are forgotten.
const PLACES: usize = 256;

/// Where a webhook is: `clientConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    address: Address,
    path: String,
    ca: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Address {
    /// Host and port.
    Url(String, u16),
    /// Namespace, name and port.
    Service(String, String, u16),
}

impl Place {
    /// Reads a `clientConfig`; what is wrong is said in words.
    pub fn parse(config: &Value) -> Result<Self, String> {
        let bundle = text(config, &["caBundle"]);
        let ca = STANDARD.decode(bundle).map_err(|why| format!("illegal caBundle: {why}"))?;
        if !ca.is_empty() {
            trust::authorities(&ca)?;
        }
        let service = at(config, &["service"]);
        if service.is_null() {
            let (address, path) = parse_url(text(config, &["url"]))?;
            return Ok(Self { address, path, ca });
        }
        let port = at(service, &["port"]).as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let (namespace, name) = (text(service, &["namespace"]), text(service, &["name"]));
        let path = text(service, &["path"]);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let address = Address::Service(namespace.to_owned(), name.to_owned(), port);
        Ok(Self { address, path: format!("{slash}{path}"), ca })
    }

    /// The name that its certificate has to be for.
    fn host(&self) -> String {
        match &self.address {
            Address::Url(host, _) => host.clone(),
            Address::Service(namespace, name, _) => format!("{name}.{namespace}.svc"),
        }
    }

    fn port(&self) -> u16 {
        match &self.address {
            Address::Url(_, port) | Address::Service(_, _, port) => *port,
        }
    }

    fn url(&self, timeout: Duration) -> String {
        format!("https://{}:{}{}", self.host(), self.port(), self.target(timeout))
    }

    fn target(&self, timeout: Duration) -> String {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        // a part of a second is told as a whole one
        format!("{}{mark}timeout={}s", self.path, timeout.as_millis().div_ceil(1000))
    }
}

fn parse_url(url: &str) -> Result<(Address, String), String> {
    let rest = url.strip_prefix("https://").ok_or_else(|| format!("{} is no https URL", url.quoted()))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| format!("invalid port in {}", url.quoted()))?)
        }
        _ => (authority, 443),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((Address::Url(host.to_owned(), port), path.to_owned()))
}

/// What comes of a call that fails.
#[derive(Debug, PartialEq, Eq)]
pub struct Nothing {
    pub why: String,
    /// The answer's, or 503 where there is none that can be read.
    pub code: u16,
}

impl Nothing {
    fn unavailable(why: String) -> Self {
        Self { why, code: 503 }
    }
}

/// Makes calls.
#[derive(Default)]
pub struct Caller {
    places: Mutex<HashMap<Place, Arc<Line>>>,
}

/// What is kept of a place.
struct Line {
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Line {
    fn new(place: &Place) -> Result<Self, String> {
        let host = place.host();
        let name =
            ServerName::try_from(host.clone()).map_err(|_| format!("invalid host name {}", host.quoted()))?;
        Ok(Self { tls: trust::config(&place.ca)?, name, idle: Mutex::default() })
    }
}

impl Caller {
    /// Posts JSON and reads JSON of at most `longest` bytes; what fails is told as Go's client does.
    pub async fn post(
        &self,
        store: &Store,
        place: &Place,
        body: Bytes,
        timeout: Duration,
        longest: usize,
    ) -> Result<Value, String> {
        self.ask_for(store, place, body, timeout, longest).await.map_err(|nothing| nothing.why)
    }

    /// As [`Caller::post`]; with what fails comes a code.
    pub async fn ask_for(
        &self,
        store: &Store,
        place: &Place,
        body: Bytes,
        timeout: Duration,
        longest: usize,
    ) -> Result<Value, Nothing> {
        let answer = tokio::time::timeout(timeout, self.exchange(store, place, body, timeout, longest)).await;
        let wrapped = |why: String| format!("Post {}: {why}", place.url(timeout).quoted());
        let (status, bytes) = match answer {
            Err(_) => return Err(Nothing::unavailable(wrapped("context deadline exceeded".into()))),
            Ok(Err(why)) => return Err(Nothing::unavailable(wrapped(why))),
            Ok(Ok(answer)) => answer,
        };
        if !status.is_success() {
            return Err(refused(status, &bytes));
        }
        strict::parse::<()>(&bytes, strict::Format::Json, None).map(|parsed| parsed.value).map_err(|why| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned();
            Nothing::unavailable(format!(
                "couldn't get version/kind; json parse error: {why} ({})",
                shown.quoted()
            ))
        })
    }

    async fn exchange(
        &self,
        store: &Store,
        place: &Place,
        body: Bytes,
        timeout: Duration,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), String> {
        let line = self.line(place)?;
        loop {
            let idle = line.idle.lock().pop();
            let (mut sender, fresh) = match idle {
                Some(sender) => (sender, false),
                None => (connect(store, place, &line).await?, true),
            };
            match send(&mut sender, request(place, body.clone(), timeout)?, longest).await {
                Ok(answer) => {
                    let mut idle = line.idle.lock();
                    if idle.len() < KEPT && !sender.is_closed() {
                        idle.push(sender);
                    }
                    return Ok(answer);
                }
                // the other end had closed a connection that was kept: nothing has been answered
                Err(Failed::Connection(_)) if !fresh => {}
                Err(Failed::Connection(why) | Failed::Answer(why)) => return Err(why),
            }
        }
    }

    fn line(&self, place: &Place) -> Result<Arc<Line>, String> {
        let mut places = self.places.lock();
        if let Some(line) = places.get(place) {
            return Ok(line.clone());
        }
        if places.len() >= PLACES {
            places.clear();
        }
        let line = Arc::new(Line::new(place)?);
        places.insert(place.clone(), line.clone());
        Ok(line)
    }
}

fn request(place: &Place, body: Bytes, timeout: Duration) -> Result<Request<Full<Bytes>>, String> {
    let mut headers = HeaderMap::new();
    let host = HeaderValue::try_from(format!("{}:{}", place.host(), place.port()));
    headers.insert(HOST, host.map_err(|why| why.to_string())?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
    headers.insert(USER_AGENT, HeaderValue::from_static("kube-apiserver-admission"));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = place.target(timeout).parse().map_err(|why| format!("invalid path: {why}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

enum Failed {
    Connection(String),
    Answer(String),
}

async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    longest: usize,
) -> Result<(StatusCode, Bytes), Failed> {
    sender.ready().await.map_err(|why| Failed::Connection(why.to_string()))?;
    let response = sender.send_request(request).await.map_err(|why| {
        Failed::Connection(if why.is_incomplete_message() { "EOF".into() } else { why.to_string() })
    })?;
    let status = response.status();
    let body = Limited::new(response.into_body(), longest).collect().await;
    let body = body.map_err(|why| match why.is::<http_body_util::LengthLimitError>() {
        true => Failed::Answer(format!("http: response body too large (more than {longest} bytes)")),
        false => Failed::Answer(format!("error reading response body: {why}")),
    })?;
    Ok((status, body.to_bytes()))
}

async fn connect(store: &Store, place: &Place, line: &Line) -> Result<SendRequest<Full<Bytes>>, String> {
    let (host, port) = match &place.address {
        Address::Url(host, port) => (host.clone(), *port),
        Address::Service(namespace, name, port) => endpoint(store, namespace, name, *port)?,
    };
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let stream = TcpStream::connect((host.as_str(), port)).await;
    let stream = stream.map_err(|why| format!("dial tcp {shown}: {}", dial(&why)))?;
    let _ = stream.set_nodelay(true);
    let connector = tokio_rustls::TlsConnector::from(line.tls.clone());
    let stream = connector.connect(line.name.clone(), stream).await.map_err(|why| trust::describe(&why))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|why| why.to_string())?;
    // ends with its last sender, which is kept here, or with the other end
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn dial(why: &std::io::Error) -> String {
    match why.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        std::io::ErrorKind::TimedOut => "i/o timeout".into(),
        _ => why.to_string(),
    }
}

/// A ready endpoint of a Service's port. Nearer than its ClusterIP, and there without a proxy.
fn endpoint(store: &Store, namespace: &str, name: &str, port: u16) -> Result<(String, u16), String> {
    let entry = store.get(&Key::new("services", format!("{namespace}/{name}")));
    let service: Value = entry
        .and_then(|entry| serde_json::from_slice(&entry.value).ok())
        .ok_or_else(|| format!("service {} not found", name.quoted()))?;
    if text(&service, &["spec", "type"]) == "ExternalName" {
        return Ok((text(&service, &["spec", "externalName"]).to_owned(), port));
    }
    let ports = items(at(&service, &["spec", "ports"]));
    let wanted = ports.iter().find(|one| at(one, &["port"]).as_u64() == Some(u64::from(port)));
    let wanted =
        wanted.ok_or_else(|| format!("no service port {port} found for service {}", name.quoted()))?;
    let slices = store.list("endpointslices.discovery.k8s.io");
    let prefix = format!("{namespace}/");
    let parsed = slices.prefix(&prefix).filter_map(|entry| serde_json::from_slice(&entry.value).ok());
    let mut found: Vec<(String, u16)> = Vec::new();
    for slice in
        parsed.filter(|slice| text(slice, &["metadata", "labels", "kubernetes.io/service-name"]) == name)
    {
        found.extend(ready(&slice, text(wanted, &["name"])));
    }
    let chosen = found.get(rand::random_range(0..found.len().max(1)));
    chosen.cloned().ok_or_else(|| format!("no endpoints available for service {}", name.quoted()))
}

fn ready(slice: &Value, port: &str) -> Vec<(String, u16)> {
    let ports = items(at(slice, &["ports"]));
    let Some(port) = ports.iter().find(|one| text(one, &["name"]) == port) else { return Vec::new() };
    let Some(number) = at(port, &["port"]).as_u64().and_then(|port| u16::try_from(port).ok()) else {
        return Vec::new();
    };
    let endpoints = items(at(slice, &["endpoints"])).iter();
    let ready = endpoints.filter(|one| at(one, &["conditions", "ready"]).as_bool() != Some(false));
    let addresses = ready.filter_map(|one| items(at(one, &["addresses"])).first()?.as_str());
    addresses.map(|address| (address.to_owned(), number)).collect()
}

/// An answer that is none: client-go's words.
fn refused(status: StatusCode, body: &[u8]) -> Nothing {
    if let Ok(told) = serde_json::from_slice::<Value>(body)
        && text(&told, &["kind"]) == "Status"
    {
        let code = at(&told, &["code"]).as_u64().and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| *code != 0).unwrap_or(status.as_u16());
        return Nothing { why: text(&told, &["message"]).to_owned(), code };
    }
    let shown = String::from_utf8_lossy(&body[..body.len().min(1024)]).trim().to_owned();
    let why = match status.as_u16() {
        404 => "the server could not find the requested resource".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 => format!("forbidden: {shown}"),
        405 => "the server does not allow this method on the requested resource".into(),
        415 => "the body of the request was in an unknown format - accepted media types include: ".into(),
        503 => "the server is currently unable to handle the request".into(),
        code if code >= 500 => {
            format!("an error on the server ({}) has prevented the request from succeeding", shown.quoted())
        }
        code if code >= 400 => "the server rejected our request for an unknown reason".into(),
        code => format!("unexpected status {code}"),
    };
    Nothing { why, code: status.as_u16() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_read() {
        let of = |config: Value| Place::parse(&config).map(|place| place.url(Duration::from_secs(5)));
        let cases = [
            (json!({"url": "https://a.b/c"}), "https://a.b:443/c?timeout=5s"),
            (json!({"url": "https://a.b:8443"}), "https://a.b:8443/?timeout=5s"),
            (json!({"url": "https://[::1]:8443/x"}), "https://::1:8443/x?timeout=5s"),
            (json!({"service": {"namespace": "n", "name": "s"}}), "https://s.n.svc:443/?timeout=5s"),
            (
                json!({"service": {"namespace": "n", "name": "s", "path": "/a", "port": 8443}}),
                "https://s.n.svc:8443/a?timeout=5s",
            ),
        ];
        for (config, url) in cases {
            assert_eq!(of(config.clone()).as_deref(), Ok(url), "{config}");
        }
        assert!(of(json!({"url": "http://a"})).is_err());
        assert!(of(json!({"url": "https://a", "caBundle": "?"})).is_err());
    }

    #[test]
    fn only_ready_endpoints_of_the_port_are_called() {
        let slice = json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.3"]}]});
        assert_eq!(ready(&slice, "b"), [("10.0.0.2".to_owned(), 2), ("10.0.0.3".to_owned(), 2)]);
        assert_eq!(ready(&slice, "c"), []);
    }
    #[test]
    fn what_is_refused_has_a_code() {
        let of = |status: u16, body: &str| {
            let Nothing { why, code } =
                refused(StatusCode::from_u16(status).expect("a status"), body.as_bytes());
            (why, code)
        };
        let status = json!({"kind": "Status", "message": "no", "code": 418}).to_string();
        assert_eq!(of(400, &status), ("no".to_owned(), 418));
        assert_eq!(of(409, "{\"kind\": \"Status\", \"message\": \"no\"}"), ("no".to_owned(), 409));
        assert_eq!(of(403, "oh"), ("forbidden: oh".to_owned(), 403));
    }
}
