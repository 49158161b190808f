//! Takes a connection over: chooses the protocol, writes the head, serves.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use sampan_api::status::{ApiError, Reason};
use sampan_cri::{AttachRequest, ExecRequest, ExecSession, RuntimeError};
use sampan_process::BoxedIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::exec::{self, Open};
use super::forward::{self, Connect};
use super::remote::{Opened, Wanted};
use super::routes::{Route, query, route, wanted};
use super::websocket;
use crate::Kubelet;
use crate::pod::driver::Handle;
use crate::pod::state::Sandbox;

/// What a request wants the connection turned into.
enum Kind {
    WebSocket { key: String, offered: Vec<String> },
    Spdy { offered: Vec<String> },
}

fn list(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|item| item.trim().to_owned())
        .filter(|i| !i.is_empty())
        .collect()
}

fn kind(request: &Request<Bytes>) -> Result<Kind, ApiError> {
    let headers = request.headers();
    let upgrade = list(headers, "upgrade").first().map(|u| u.to_lowercase()).unwrap_or_default();
    match upgrade.as_str() {
        "websocket" => {
            let key = headers.get("sec-websocket-key").and_then(|key| key.to_str().ok());
            let key = key.ok_or_else(|| ApiError::bad_request("missing Sec-WebSocket-Key"))?.to_owned();
            Ok(Kind::WebSocket { key, offered: list(headers, "sec-websocket-protocol") })
        }
        "spdy/3.1" => Ok(Kind::Spdy { offered: list(headers, "x-stream-protocol-version") }),
        _ => Err(ApiError::bad_request("Upgrade request required")),
    }
}

/// The first of our protocols that the client offers; clients that offer nothing mean the oldest.
fn choose(ours: &[&'static str], offered: &[String], oldest: &'static str) -> Result<&'static str, ApiError> {
    if offered.is_empty() {
        return Ok(oldest);
    }
    ours.iter().find(|p| offered.iter().any(|o| o == *p)).copied().ok_or_else(|| {
        ApiError::new(
            Reason::Forbidden,
            format!("unable to negotiate protocol: client supports {offered:?}, server accepts {ours:?}"),
        )
    })
}

/// Serves a request whose connection is handed over.
pub async fn serve(kubelet: Arc<Kubelet>, request: Request<Bytes>, mut io: BoxedIo) {
    match prepare(&kubelet, &request) {
        Ok(plan) => plan.run(io).await,
        Err(refused) => {
            let _ = io.write_all(refused.answer().as_bytes()).await;
            let _ = io.shutdown().await;
        }
    }
}

/// Why a connection is not taken over.
#[derive(Debug)]
enum Refused {
    /// As the API says it.
    Status(ApiError),
    /// In upstream's bare words: a client says `unable to upgrade connection: …`.
    Text(StatusCode, String),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Status(error)
    }
}

impl Refused {
    /// The whole response.
    fn answer(&self) -> String {
        let (status, kind, body) = match self {
            Self::Status(error) => {
                let status = super::error_response(error).status();
                (status, "application/json", error.to_value().to_string())
            }
            Self::Text(status, text) => (*status, "text/plain; charset=utf-8", text.clone()),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    }

    /// Upstream's `GetExec` and `GetAttach` for a container that does not run.
    fn no_container(namespace: &str, pod: &str, container: &str, attach: bool) -> Self {
        let text = match attach {
            true => format!("container {container} not found in pod {pod}_{namespace}"),
            false => format!("container not found ({container:?})"),
        };
        Self::Text(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Upstream's `GetPortForward` for a pod of which nothing runs.
    fn not_running(namespace: &str, pod: &str) -> Self {
        let full_name = format!("{pod}_{namespace}");
        Self::Text(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found ({full_name:?})"))
    }
}

/// What will be done with the connection.
enum Plan {
    ExecWebSocket { head: String, protocol: &'static str, wanted: Wanted, open: Open },
    ExecSpdy { head: String, protocol: &'static str, wanted: Wanted, open: Open },
    ForwardWebSocket { head: String, base64: bool, ports: Vec<u16>, connect: Connect },
    ForwardTunnel { head: String, connect: Connect },
    ForwardSpdy { head: String, connect: Connect },
}

impl Plan {
    fn head(&self) -> &str {
        match self {
            Plan::ExecWebSocket { head, .. }
            | Plan::ExecSpdy { head, .. }
            | Plan::ForwardWebSocket { head, .. }
            | Plan::ForwardTunnel { head, .. }
            | Plan::ForwardSpdy { head, .. } => head,
        }
    }

    async fn run(self, mut io: BoxedIo) {
        if io.write_all(self.head().as_bytes()).await.is_err() || io.flush().await.is_err() {
            return;
        }
        match self {
            Plan::ExecWebSocket { protocol, wanted, open, .. } => {
                exec::websocket(io, protocol, wanted, open).await
            }
            Plan::ExecSpdy { protocol, wanted, open, .. } => exec::spdy(io, protocol, wanted, open).await,
            Plan::ForwardWebSocket { base64, ports, connect, .. } => {
                forward::websocket(io, ports, base64, connect).await;
            }
            Plan::ForwardSpdy { connect, .. } => forward::spdy(io, connect).await,
            Plan::ForwardTunnel { connect, .. } => {
                let (inner, work) = websocket::tunnel(io).await;
                tokio::join!(forward::spdy(inner, connect), work);
            }
        }
    }
}

fn websocket_head(key: &str, protocol: &str) -> String {
    let accept = derive_accept_key(key.as_bytes());
    let chosen =
        if protocol.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocol}\r\n") };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
    )
}

fn spdy_head(protocol: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\
         X-Stream-Protocol-Version: {protocol}\r\n\r\n"
    )
}

fn prepare(kubelet: &Arc<Kubelet>, request: &Request<Bytes>) -> Result<Plan, Refused> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(ApiError::new(
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )
        .into());
    }
    let query = query(request.uri().query().unwrap_or_default());
    let kind = kind(request)?;
    match route(request.uri().path()) {
        Some(Route::Exec { namespace, pod, container }) => {
            let command =
                query.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
            session(kubelet, kind, &namespace, &pod, &container, &query, Some(command))
        }
        Some(Route::Attach { namespace, pod, container }) => {
            session(kubelet, kind, &namespace, &pod, &container, &query, None)
        }
        Some(Route::PortForward { namespace, pod }) => port_forward(kubelet, kind, &namespace, &pod, &query),
        _ => Err(ApiError::new(Reason::NotFound, "404 page not found").into()),
    }
}

fn find(kubelet: &Kubelet, namespace: &str, pod: &str) -> Result<Handle, Refused> {
    if let Some(component) = kubelet.mirrored(namespace, pod) {
        let text = format!(
            "pod {pod:?} mirrors {component}, which runs inside the sampan daemon: there is no container to enter"
        );
        return Err(ApiError::bad_request(text).into());
    }
    let missing = || Refused::Text(StatusCode::NOT_FOUND, "pod does not exist".to_owned());
    kubelet.pods.named(namespace, pod).ok_or_else(missing)
}

fn session(
    kubelet: &Arc<Kubelet>,
    kind: Kind,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &[(String, String)],
    command: Option<Vec<String>>,
) -> Result<Plan, Refused> {
    let wanted = wanted(query);
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        let text = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(Refused::Text(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    let handle = find(kubelet, namespace, pod)?;
    let state = handle.state.read();
    let id = state.slot(container).and_then(|slot| slot.run()).map(|run| run.id.clone());
    let id = id.ok_or_else(|| Refused::no_container(namespace, pod, container, command.is_none()))?;
    let runtime = kubelet.context.runtime.clone();
    let open: Open = match command {
        Some(command) => {
            let Wanted { stdin, stdout, stderr, tty } = wanted;
            let request = ExecRequest { command, tty, stdin, stdout, stderr };
            Box::pin(async move { runtime.exec(&id, request).await.map(Opened::from) })
        }
        None => {
            let request = AttachRequest { stdin: wanted.stdin, stdout: wanted.stdout, stderr: wanted.stderr };
            let ends_with_input = !closes_with_input(&state.desired, container);
            Box::pin(async move {
                let session = runtime.attach(&id, request).await.map(without_exit_code)?;
                Ok(Opened { session, ends_with_input })
            })
        }
    };
    match kind {
        Kind::WebSocket { key, offered } => {
            let protocol = choose(&exec::WEBSOCKET, &offered, "")?;
            Ok(Plan::ExecWebSocket { head: websocket_head(&key, protocol), protocol, wanted, open })
        }
        Kind::Spdy { offered } => {
            let protocol = choose(&exec::SPDY, &offered, "channel.k8s.io")?;
            Ok(Plan::ExecSpdy { head: spdy_head(protocol), protocol, wanted, open })
        }
    }
}

/// Upstream's attach says Success whatever the container ended with; kubectl asks the pod for its exit code, and takes
/// anything else for an attach that failed.
pub fn without_exit_code(session: ExecSession) -> ExecSession {
    let exit = session.exit;
    ExecSession { exit: Box::pin(async move { exit.await.map(|_| 0) }), ..session }
}

/// Whether a container's standard input ends with the first client's, so that the container itself is what ends.
fn closes_with_input(pod: &Pod, container: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut found = all.filter(|one| one.name == container).map(|one| (one.stdin_once, one.tty));
    let ephemeral = spec.ephemeral_containers.iter().flatten().filter(|one| one.name == container);
    let found = found.next().or_else(|| ephemeral.map(|one| (one.stdin_once, one.tty)).next());
    found.is_some_and(|(once, tty)| once == Some(true) && tty != Some(true))
}

fn to_pod(kubelet: &Kubelet, namespace: &str, pod: &str) -> Result<Connect, Refused> {
    let handle = find(kubelet, namespace, pod)?;
    let Sandbox::Ready { id, .. } = handle.state.read().sandbox.clone() else {
        return Err(Refused::not_running(namespace, pod));
    };
    let runtime = kubelet.context.runtime.clone();
    Ok(Arc::new(move |port| {
        let (runtime, id) = (runtime.clone(), id.clone());
        Box::pin(async move { runtime.port_forward(&id, port).await })
    }))
}

/// All components of the control plane answer at one port: `/metrics`, `/healthz`, `/livez` and `/readyz` are there
/// for each of them.
fn to_component(component: String, api_server: u16) -> Connect {
    Arc::new(move |port| {
        let here = crate::mirror::listens(&component, port, api_server);
        Box::pin(async move {
            let fail =
                |why: String| RuntimeError::Internal(format!("failed to connect to localhost:{port}: {why}"));
            if !here {
                return Err(fail("connection refused".to_owned()));
            }
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, api_server)).await;
            Ok(Box::new(stream.map_err(|error| fail(error.to_string()))?) as BoxedIo)
        })
    })
}

fn port_forward(
    kubelet: &Arc<Kubelet>,
    kind: Kind,
    namespace: &str,
    pod: &str,
    query: &[(String, String)],
) -> Result<Plan, Refused> {
    let connect = match kubelet.mirrored(namespace, pod).zip(kubelet.config.mirror) {
        Some((component, api_server)) => to_component(component, api_server),
        None => to_pod(kubelet, namespace, pod)?,
    };
    match kind {
        Kind::Spdy { offered } => {
            let protocol = choose(&[forward::PROTOCOL], &offered, forward::PROTOCOL)?;
            Ok(Plan::ForwardSpdy { head: spdy_head(protocol), connect })
        }
        Kind::WebSocket { key, offered } => {
            let ours = [forward::TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
            let protocol = choose(&ours, &offered, "v4.channel.k8s.io")?;
            let head = websocket_head(&key, if offered.is_empty() { "" } else { protocol });
            if protocol == forward::TUNNEL {
                return Ok(Plan::ForwardTunnel { head, connect });
            }
            let ports = query.iter().filter(|(name, _)| name == "port" || name == "ports");
            let ports: Vec<u16> =
                ports.flat_map(|(_, value)| value.split(',')).filter_map(|p| p.parse().ok()).collect();
            if ports.is_empty() {
                return Err(ApiError::bad_request("query parameter \"port\" is required").into());
            }
            Ok(Plan::ForwardWebSocket { head, base64: protocol.contains("base64"), ports, connect })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_told_in_upstreams_words() {
        for (refused, first, last) in [
            (
                Refused::no_container("ns", "p", "c", false),
                "500 Internal Server Error",
                "container not found (\"c\")",
            ),
            (
                Refused::no_container("ns", "p", "c", true),
                "500 Internal Server Error",
                "container c not found in pod p_ns",
            ),
            (Refused::not_running("ns", "p"), "500 Internal Server Error", "pod not found (\"p_ns\")"),
            (
                Refused::Text(StatusCode::NOT_FOUND, "pod does not exist".to_owned()),
                "404 Not Found",
                "pod does not exist",
            ),
        ] {
            let answer = refused.answer();
            assert!(answer.starts_with(&format!("HTTP/1.1 {first}\r\n")), "{answer}");
            assert!(
                answer
                    .ends_with(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n{last}", last.len())),
                "{answer}"
            );
        }
        let status = Refused::from(ApiError::bad_request("no")).answer();
        assert!(status.contains("application/json") && status.contains("BadRequest"), "{status}");
    }
}
