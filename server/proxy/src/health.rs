//! `healthCheckNodePort`: a load balancer in front of the cluster asks each node whether it has endpoints of a service
//! (upstream's `pkg/proxy/healthcheck/service_health.go`).

use std::collections::HashMap;
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
use tokio::net::TcpListener;

/// Between attempts to accept, if one failed.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

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
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
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
        let answering = answering.clone();
        let answer = service_fn(move |_: Request<hyper::body::Incoming>| {
            let answer = answering.answer();
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // a peer that breaks off is its own affair
        connections.spawn(async move { drop(connection.await) });
    }
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
    use super::*;

    #[test]
    fn the_body_is_upstreams() {
        let text = body(&Key::namespaced("default", "api"), 2, true);
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"api\"\n\t},\n\t\
                        \"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(text, expected);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
