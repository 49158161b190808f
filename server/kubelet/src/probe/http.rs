//! One HTTP GET, as probes and hooks send it: upstream's `pkg/probe/http`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
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

    /// Where an answer of this one points: an address, or a path of the same server. `None` if it cannot be read.
    fn redirected(&self, location: &str) -> Option<Self> {
        let scheme = if self.tls { "https" } else { "http" };
        let whole = match location {
            whole if whole.contains("://") => whole.to_owned(),
            server if server.starts_with("//") => format!("{scheme}:{server}"),
            path => {
                let (here, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
                let folder = here.rsplit_once('/').map_or("", |(folder, _)| folder);
                let path = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
                return Some(Self { path, ..self.clone() });
            }
        };
        let uri: http::Uri = whole.parse().ok()?;
        let tls = uri.scheme_str()?.eq_ignore_ascii_case("https");
        Some(Self {
            tls,
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: self.headers.clone(),
        })
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

/// What a GET found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status from 200 on.
    Good,
    /// The answer points to another host, or nowhere: its body. As good as good.
    Redirected(String),
    /// Any other status.
    Bad(u16),
}

/// Redirects that are followed, as Go's client does.
const REDIRECTS: usize = 10;
/// Most bytes of a body that are told.
const BODY: usize = 10 * 1024;

/// Sends the request, and follows redirects on the same host.
pub async fn get(target: &Target, timeout: Duration) -> Result<Answer, String> {
    let quoted = format!("Get {:?}", target.url());
    match tokio::time::timeout(timeout, follow(target, timeout)).await {
        Ok(result) => result.map_err(|why| format!("{quoted}: {why}")),
        Err(_) => Err(format!(
            "{quoted}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(target: &Target, timeout: Duration) -> Result<Answer, String> {
    let mut at = target.clone();
    for _ in 0..REDIRECTS {
        let got = exchange(&at, timeout).await?;
        match got.status {
            200..300 => return Ok(Answer::Good),
            300..400 => match got.location.and_then(|location| at.redirected(&location)) {
                Some(next) if next.host == target.host => at = next,
                _ => return Ok(Answer::Redirected(got.body)),
            },
            status => return Ok(Answer::Bad(status)),
        }
    }
    Err(format!("stopped after {REDIRECTS} redirects"))
}

/// One answer.
struct Got {
    status: u16,
    /// Where it points, if it is of those statuses that do.
    location: Option<String>,
    /// Its body, unless it is neither.
    body: String,
}

async fn exchange(target: &Target, timeout: Duration) -> Result<Got, String> {
    let stream = connect(&target.host, target.port, timeout).await?;
    let io: BoxedIo =
        if target.tls { Box::new(tls::connect(&target.host, stream).await?) } else { Box::new(stream) };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(|e| e.to_string())?;
    let request = request(target)?;
    let answer = async { got(sender.send_request(request).await?).await };
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
    answer.map_err(|error| error.to_string())
}

async fn got(answer: http::Response<Incoming>) -> hyper::Result<Got> {
    let status = answer.status().as_u16();
    let points = matches!(status, 301 | 302 | 303 | 307 | 308);
    let location = answer.headers().get("location").filter(|_| points);
    let location = location.and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let (mut body, mut bytes) = (answer.into_body(), Vec::new());
    while (300..400).contains(&status) && bytes.len() < BODY {
        let Some(frame) = body.frame().await.transpose()? else { break };
        bytes.extend(frame.into_data().iter().flatten());
    }
    bytes.truncate(BODY);
    Ok(Got { status, location, body: String::from_utf8_lossy(&bytes).into_owned() })
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers by path, until it is dropped.
    async fn server() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = [0; 1024];
                let read = stream.read(&mut bytes).await.unwrap_or(0);
                let asked = String::from_utf8_lossy(&bytes[..read]).into_owned();
                let (status, location) = match asked.split(' ').nth(1).unwrap_or_default() {
                    "/good" => ("200 OK", String::new()),
                    "/bad" => ("500 No", String::new()),
                    "/a/loop" => ("302 Found", "loop".to_owned()),
                    "/to/bad" => ("302 Found", "/bad".to_owned()),
                    "/to/good" => ("307 Moved", format!("http://127.0.0.1:{port}/good")),
                    "/away" => ("302 Found", "http://0.0.0.0/".to_owned()),
                    _ => ("304 Same", String::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nConnection: close\r\n");
                let _ = stream.write_all(format!("{head}Content-Length: 4\r\n\r\nbody").as_bytes()).await;
            }
        });
        Target { tls: false, host: "127.0.0.1".to_owned(), port, path: String::new(), headers: Vec::new() }
    }

    #[tokio::test]
    async fn redirects_are_followed_on_the_same_host() {
        let server = server().await;
        let away = || Ok(Answer::Redirected("body".to_owned()));
        let looping = format!("Get \"http://127.0.0.1:{}/a/loop\": stopped after 10 redirects", server.port);
        for (path, wanted) in [
            ("/good", Ok(Answer::Good)),
            ("/bad", Ok(Answer::Bad(500))),
            ("/to/bad", Ok(Answer::Bad(500))),
            ("/to/good", Ok(Answer::Good)),
            ("/away", away()),
            ("/a/loop", Err(looping)),
        ] {
            let target = Target { path: path.to_owned(), ..server.clone() };
            assert_eq!(get(&target, Duration::from_secs(5)).await, wanted, "{path}");
        }
    }
}
