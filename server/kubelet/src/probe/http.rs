//! One HTTP GET, as probes and hooks send it: upstream's `pkg/probe/http`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use sampan_process::BoxedIo;

use super::{connect, port, tls};

/// Where to send the request.
#[derive(Clone, Debug)]
pub struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

impl Target {
    fn url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}://{host}:{}{}", if self.tls { "https" } else { "http" }, self.port, self.path)
    }
}

/// The target of a GET action.
pub fn target(action: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<Target, String> {
    let path = action.path.as_deref().unwrap_or("/");
    Ok(Target {
        tls: action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
        host: action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
        port: port(&action.port, container)?,
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        headers: action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
    })
}

/// Sends the request; the answer's status. Redirects count as answers.
pub async fn get(target: &Target, timeout: Duration) -> Result<u16, String> {
    let quoted = format!("Get {:?}", target.url());
    match tokio::time::timeout(timeout, exchange(target, timeout)).await {
        Ok(result) => result.map_err(|why| format!("{quoted}: {why}")),
        Err(_) => Err(format!(
            "{quoted}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn exchange(target: &Target, timeout: Duration) -> Result<u16, String> {
    let stream = connect(&target.host, target.port, timeout).await?;
    let io: BoxedIo =
        if target.tls { Box::new(tls::connect(&target.host, stream).await?) } else { Box::new(stream) };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(|e| e.to_string())?;
    let answer = sender.send_request(request(target)?);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // a connection that ended in order may have left the answer in the channel
        result = connection => match result {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
}

fn request(target: &Target) -> Result<http::Request<Empty<Bytes>>, String> {
    let given = |name: &str| {
        target.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
    };
    let host = given("host").unwrap_or_else(|| format!("{}:{}", target.host, target.port));
    let mut builder = http::Request::get(&target.path)
        .header("host", host)
        .header("user-agent", given("user-agent").unwrap_or_else(|| "kube-probe/1.36".to_owned()))
        .header("accept", given("accept").unwrap_or_else(|| "*/*".to_owned()))
        .header("connection", "close");
    for (name, value) in &target.headers {
        if !["host", "user-agent", "accept"].iter().any(|n| name.eq_ignore_ascii_case(n)) {
            builder = builder.header(name, value);
        }
    }
    builder.body(Empty::new()).map_err(|e| e.to_string())
}
