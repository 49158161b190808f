//! What extends an API server, for tests to run in pods: admission and conversion webhooks, an aggregated API, and a
//! client that asks the API server as the pod.
//!
//! - `testkit-extension serve PORT FOLDER`: HTTPS with `tls.crt` and `tls.key` of the folder. `/mutate` puts a label on,
//!   `/validate` refuses ConfigMaps with a key `forbidden`, `/convert` knows Tunnels of v1 (`hostPort`) and v2 (`host`,
//!   `port`), `/apis/boats.example.com/v1` has boats. Who is let in there the aggregator's certificate says, what they
//!   may a SubjectAccessReview: as any extension API server does it.
//! - `testkit-extension ask METHOD PATH [TOKEN-FILE [BODY]]`: prints status and body of the API server's answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", port, folder] => serve(port.parse()?, Path::new(folder)),
        ["ask", method, path, rest @ ..] => {
            let token = match rest.first() {
                Some(file) => std::fs::read_to_string(file).with_context(|| (*file).to_owned())?,
                None => std::fs::read_to_string(format!("{ACCOUNT}/token"))?,
            };
            let body = rest.get(1).copied().unwrap_or_default();
            let (status, answer) = Api::of_pod()?.ask(method, path, token.trim(), body)?;
            println!("{status} {answer}");
            Ok(())
        }
        _ => bail!("testkit-extension serve PORT FOLDER | ask METHOD PATH [TOKEN-FILE [BODY]]"),
    }
}

/// The cluster's API server, as a pod knows it.
struct Api {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
}

fn roots(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

impl Api {
    fn of_pod() -> Result<Self> {
        let roots = roots(&std::fs::read(format!("{ACCOUNT}/ca.crt"))?)?;
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let host = std::env::var("KUBERNETES_SERVICE_HOST")?;
        Ok(Self { host, port: std::env::var("KUBERNETES_SERVICE_PORT")?.parse()?, tls: Arc::new(tls) })
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Result<(u16, String)> {
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TcpStream::connect((self.host.as_str(), self.port))?;
        let mut stream = StreamOwned::new(ClientConnection::new(self.tls.clone(), name)?, stream);
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )?;
        stream.flush()?;
        let message = Message::read(&mut stream)?.context("no answer")?;
        let status = message.first.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, String::from_utf8_lossy(&message.body).into_owned()))
    }
}

/// A request or an answer.
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn read(stream: &mut impl Read) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if more(stream, &mut bytes)? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| line.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
        let mut message = Self { first, headers: lines.filter_map(header).collect(), body: Vec::new() };
        let mut body = bytes.split_off(end + 4);
        match message.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => while body.len() < length && more(stream, &mut body)? > 0 {},
            // an answer without a length goes on until the end
            None if message.first.starts_with("HTTP/") => while more(stream, &mut body)? > 0 {},
            None => {}
        }
        message.body = body;
        Ok(Some(message))
    }

    fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn more(stream: &mut impl Read, into: &mut Vec<u8>) -> Result<usize> {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer) {
        Ok(count) => {
            into.extend_from_slice(&buffer[..count]);
            Ok(count)
        }
        // the other end closed without saying so in TLS
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// What every connection shares.
struct Server {
    tls: Arc<ServerConfig>,
    api: Api,
    boats: Mutex<BTreeMap<String, Value>>,
}

fn serve(port: u16, folder: &Path) -> Result<()> {
    let api = Api::of_pod()?;
    let chain = CertificateDer::pem_file_iter(folder.join("tls.crt"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key"))?;
    // whose certificates speak for users is told by the cluster
    let map = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let token = std::fs::read_to_string(format!("{ACCOUNT}/token"))?;
    let (status, told) = api.ask("GET", map, &token, "")?;
    let told: Value = serde_json::from_str(&told).with_context(|| format!("{status} {told}"))?;
    let authority =
        told["data"]["requestheader-client-ca-file"].as_str().with_context(|| told.to_string())?;
    let clients = WebPkiClientVerifier::builder(Arc::new(roots(authority.as_bytes())?));
    let tls = ServerConfig::builder()
        .with_client_cert_verifier(clients.allow_unauthenticated().build()?)
        .with_single_cert(chain, key)?;
    let server = Arc::new(Server { tls: Arc::new(tls), api, boats: Mutex::default() });
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("serving");
    for stream in listener.incoming().flatten() {
        let server = server.clone();
        std::thread::spawn(move || {
            if let Err(error) = server.connection(stream) {
                println!("{error:#}");
            }
        });
    }
    Ok(())
}

impl Server {
    fn connection(&self, stream: TcpStream) -> Result<()> {
        let mut stream = StreamOwned::new(ServerConnection::new(self.tls.clone())?, stream);
        while let Some(request) = Message::read(&mut stream)? {
            let certified = stream.conn.peer_certificates().is_some();
            println!("{} {}", request.first, request.header("x-remote-user").unwrap_or_default());
            let (status, body) = self.answer(&request, certified);
            let body = body.to_string();
            write!(
                stream,
                "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            stream.flush()?;
        }
        Ok(())
    }

    fn answer(&self, request: &Message, certified: bool) -> (u16, Value) {
        let mut words = request.first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.split('?').next().unwrap_or_default();
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
        match (method, path) {
            ("GET", "/readyz") => (200, "ok".into()),
            ("POST", "/mutate") => (200, mutate(&body())),
            ("POST", "/validate") => (200, validate(&body())),
            ("POST", "/convert") => (200, convert(&body())),
            _ => match path.strip_prefix("/apis") {
                Some(rest) => self.boat(request, method, rest, certified, body()),
                None => status(404, "NotFound", "the server could not find the requested resource"),
            },
        }
    }

    fn boat(
        &self,
        request: &Message,
        method: &str,
        path: &str,
        certified: bool,
        body: Value,
    ) -> (u16, Value) {
        const GROUP: &str = "boats.example.com";
        let version = json!({"groupVersion": format!("{GROUP}/v1"), "version": "v1"});
        let group = json!({"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version],
            "preferredVersion": version});
        let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
        let (namespace, name) = match steps.as_slice() {
            [] => return (200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})),
            [GROUP] => return (200, group),
            [GROUP, "v1"] => {
                let verbs = json!(["get", "list", "create"]);
                let boats = json!({"name": "boats", "singularName": "boat", "namespaced": true, "kind": "Boat",
                    "verbs": verbs, "shortNames": ["bt"]});
                let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1"),
                    "resources": [boats]});
                return (200, list);
            }
            [GROUP, "v1", "namespaces", namespace, "boats"] => (*namespace, ""),
            [GROUP, "v1", "namespaces", namespace, "boats", name] => (*namespace, *name),
            _ => return status(404, "NotFound", "the server could not find the requested resource"),
        };
        let Some(user) = request.header("x-remote-user").filter(|_| certified) else {
            return status(401, "Unauthorized", "Unauthorized");
        };
        let verb = match (method, name) {
            ("GET", "") => "list",
            ("GET", _) => "get",
            ("POST", "") => "create",
            _ => return status(405, "MethodNotAllowed", "the server does not allow this method"),
        };
        let groups: Vec<&str> = request.all("x-remote-group").collect();
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": user, "groups": groups, "resourceAttributes": {"group": GROUP, "version": "v1", "resource": "boats",
                "verb": verb, "namespace": namespace, "name": name}}});
        match self.allowed(&review) {
            Ok(true) => {}
            Ok(false) => {
                let why =
                    format!("boats.{GROUP} is forbidden: User {user:?} cannot {verb} resource \"boats\"");
                return status(403, "Forbidden", &why);
            }
            Err(error) => return status(500, "InternalError", &format!("{error:#}")),
        }
        let mut boats = self.boats.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |name: &str| format!("{namespace}/{name}");
        match verb {
            "create" => {
                let mut boat = body;
                boat["apiVersion"] = format!("{GROUP}/v1").into();
                boat["kind"] = "Boat".into();
                boat["metadata"]["namespace"] = namespace.into();
                boat["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
                boat["status"] = json!({"builtBy": user});
                boats.insert(key(boat["metadata"]["name"].as_str().unwrap_or_default()), boat.clone());
                (201, boat)
            }
            "get" => match boats.get(&key(name)) {
                Some(boat) => (200, boat.clone()),
                None => status(404, "NotFound", &format!("boats.{GROUP} {name:?} not found")),
            },
            _ => {
                let items: Vec<&Value> =
                    boats.iter().filter(|(at, _)| at.starts_with(&key(""))).map(|(_, boat)| boat).collect();
                let list = json!({"kind": "BoatList", "apiVersion": format!("{GROUP}/v1"),
                    "metadata": {"resourceVersion": "1"}, "items": items});
                (200, list)
            }
        }
    }

    fn allowed(&self, review: &Value) -> Result<bool> {
        let token = std::fs::read_to_string(format!("{ACCOUNT}/token"))?;
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let (status, answer) = self.api.ask("POST", path, &token, &review.to_string())?;
        let answer: Value = serde_json::from_str(&answer)?;
        answer["status"]["allowed"].as_bool().with_context(|| format!("{status} {answer}"))
    }
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message});
    (code, status)
}

fn review(body: &Value, response: Value) -> Value {
    let mut response = response;
    response["uid"] = body["request"]["uid"].clone();
    json!({"apiVersion": body["apiVersion"], "kind": body["kind"], "response": response})
}

fn mutate(body: &Value) -> Value {
    let operation = match body["request"]["object"]["metadata"]["labels"].is_object() {
        true => json!({"op": "add", "path": "/metadata/labels/extended", "value": "yes"}),
        false => json!({"op": "add", "path": "/metadata/labels", "value": {"extended": "yes"}}),
    };
    let patch = STANDARD.encode(json!([operation]).to_string());
    review(body, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

fn validate(body: &Value) -> Value {
    let forbidden = body["request"]["object"]["data"].get("forbidden").is_some();
    let message = "this key is forbidden";
    review(body, json!({"allowed": !forbidden, "status": {"message": message, "code": 422}}))
}

fn convert(body: &Value) -> Value {
    let wanted = &body["request"]["desiredAPIVersion"];
    let objects = body["request"]["objects"].as_array().into_iter().flatten();
    let converted: Vec<Value> = objects
        .map(|object| {
            let mut object = object.clone();
            object["apiVersion"] = wanted.clone();
            if let Some(spec) = object["spec"].as_object_mut() {
                turn(spec);
            }
            object
        })
        .collect();
    review(body, json!({"convertedObjects": converted, "result": {"status": "Success"}}))
}

/// `hostPort` into `host` and `port`, or back.
fn turn(spec: &mut serde_json::Map<String, Value>) {
    if let Some(Value::String(both)) = spec.remove("hostPort") {
        let (host, port) = both.split_once(':').unwrap_or((&both, ""));
        spec.insert("host".into(), host.into());
        spec.insert("port".into(), port.into());
    } else if let (Some(Value::String(host)), Some(Value::String(port))) =
        (spec.remove("host"), spec.remove("port"))
    {
        spec.insert("hostPort".into(), format!("{host}:{port}").into());
    }
}
