//! `healthCheckNodePort`: a load balancer in front of the cluster asks each node whether it has endpoints of a service
//! (upstream's `pkg/proxy/healthcheck/service_health.go`).
//!
//! The port is open to everybody: a connection is for one question and has its time, and if there are too many the oldest
//! goes, so that silent ones keep nobody from asking.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sampan_process::{Component, Drain, Health, State, Tasks};
use sampan_reconcile::Key;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{Duration, timeout};

/// Between attempts to accept, if one failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one connection may take.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// How many there may be to one port.
const CONNECTIONS: usize = 64;

struct Server {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    drain: Drain,
    task: tokio::task::JoinHandle<()>,
}

/// The servers of all services that need one.
pub struct Servers {
    tasks: Tasks,
    health: Health,
    servers: HashMap<Key, Server>,
}

impl Servers {
    /// None yet.
    pub fn new(tasks: Tasks, health: Health) -> Self {
        Self { tasks, health, servers: HashMap::new() }
    }

    /// A service's port and how many endpoints this node has for it; `None`: it needs no server any more.
    pub async fn set(&mut self, key: &Key, wanted: Option<(u16, usize)>) -> std::io::Result<()> {
        if let Some((port, endpoints)) = wanted
            && let Some(server) = self.servers.get(key).filter(|server| server.port == port)
        {
            server.endpoints.store(endpoints, Ordering::Relaxed);
            return Ok(());
        }
        if let Some(old) = self.servers.remove(key) {
            old.drain.start();
            // its port is free then
            let _ = old.task.await;
        }
        let Some((port, endpoints)) = wanted else { return Ok(()) };
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        let drain = self.tasks.drain().child();
        let endpoints = Arc::new(AtomicUsize::new(endpoints));
        let answering =
            Answering { key: key.clone(), endpoints: endpoints.clone(), health: self.health.clone() };
        let until = drain.clone();
        let task = self.tasks.spawn("service health check", async move {
            tokio::select! {
                () = until.wait() => {}
                () = serve(listener, answering) => {}
            }
        });
        self.servers.insert(key.clone(), Server { port, endpoints, drain, task });
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.servers.values().for_each(|server| server.drain.start());
    }
}

#[derive(Clone)]
struct Answering {
    key: Key,
    endpoints: Arc<AtomicUsize>,
    health: Health,
}

async fn serve(listener: TcpListener, answering: Answering) {
    let mut connections = tokio::task::JoinSet::new();
    let mut open: VecDeque<tokio::task::AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => {
                open.retain(|one| !one.is_finished());
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // too many open files, say: whoever asks waits until there are fewer
                tracing::warn!(%error, service = %answering.key, "its health check");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(connections.spawn(answer(stream, answering.clone())));
    }
}

/// Answers one question.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, answering: Answering) {
    let answer = service_fn(move |_: Request<hyper::body::Incoming>| {
        let answer = answering.answer();
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    let connection = http.keep_alive(false).serve_connection(TokioIo::new(stream), answer);
    // a peer that breaks off, or does not come to an end, is its own affair
    let _ = timeout(CONNECTION_MAX, connection).await;
}

impl Answering {
    fn answer(&self) -> Response<Full<Bytes>> {
        let endpoints = self.endpoints.load(Ordering::Relaxed);
        let healthy = self.health.get(Component::Proxy).state == State::Ready;
        let status = if endpoints > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = Response::new(Full::from(body(&self.key, endpoints, healthy)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        headers.insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
        headers.insert("x-load-balancing-endpoint-weight", http::HeaderValue::from(endpoints));
        response
    }
}

fn body(key: &Key, endpoints: usize, healthy: bool) -> String {
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {:?},\n\t\t\"name\": {:?}\n\t}},\n\t\"localEndpoints\": {endpoints},\n\t\
         \"serviceProxyHealthy\": {healthy}\n}}",
        key.namespace(),
        key.name,
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    fn answering() -> Answering {
        Answering {
            key: Key::namespaced("default", "api"),
            endpoints: Arc::new(AtomicUsize::new(2)),
            health: Health::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_come_to_an_end_is_cut_off() {
        for begun in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
            let (mut client, server) = tokio::io::duplex(1 << 10);
            client.write_all(begun.as_bytes()).await.expect("write");
            let began = Instant::now();
            tokio::spawn(answer(server, answering()));
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("the end");
            assert_eq!((began.elapsed(), text.as_str()), (CONNECTION_MAX, ""), "{begun}");
        }
    }

    #[tokio::test]
    async fn silent_connections_keep_nobody_from_asking() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listener");
        let address = listener.local_addr().expect("address");
        tokio::spawn(serve(listener, answering()));
        let connect = || tokio::net::TcpStream::connect(address);
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS * 2 {
            silent.push(connect().await.expect("connect"));
        }
        let mut asking = connect().await.expect("connect");
        asking.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("write");
        let mut text = String::new();
        asking.read_to_string(&mut text).await.expect("read");
        assert!(text.contains("\"localEndpoints\": 2"), "{text}");
        // the first of them made room, which is no failure of theirs
        let end = silent[0].read(&mut [0]).await;
        assert!(!matches!(end, Ok(1..)), "{end:?}");
    }

    #[test]
    fn the_body_is_upstreams() {
        let text = body(&Key::namespaced("default", "api"), 2, true);
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"api\"\n\t},\n\t\
                        \"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(text, expected);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
