//! How commands speak to the daemon: the REST API over `daemon.sock`, its steps as lines.
//!
//! The socket (mode 0600) belongs to whoever started the cluster, so the file's mode is the authorization; the
//! directory that it lies in is root's.

use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

use crate::failure::{Failure, Kind};
use crate::rest::{NewToken, PREFIX};

/// What a command asks.
#[derive(Clone, Debug)]
pub enum Request {
    /// Components, node, versions, address.
    Status,
    /// The administrator's kubeconfig: a text.
    Kubeconfig,
    /// Drain and end; stop the pods first unless `keep_pods`.
    Stop {
        /// Leave containers running.
        keep_pods: bool,
    },
    /// All images.
    ImageList,
    /// Pull an image.
    ImagePull {
        /// Its name.
        image: String,
    },
    /// Load an archive that the daemon can read.
    ImageLoad {
        /// Absolute path.
        archive: PathBuf,
    },
    /// Remove an image.
    ImageRemove {
        /// Its name.
        image: String,
    },
    /// Anything about addons; what comes before the result is a [`sampan_addons::Step`].
    Addons(sampan_addons::Request),
    /// Addresses that sign a browser in, each once.
    Dashboard,
    /// The tokens for tools.
    TokenList,
    /// A new one.
    TokenCreate(NewToken),
    /// Revoke one.
    TokenRemove {
        /// Its name.
        name: String,
    },
    /// The simulated nodes, in numbers.
    Simulation,
    /// Have so many of them; what comes before the result is a [`sampan_simulate::Progress`].
    Simulate(Value),
    /// Remove them.
    SimulateDelete,
    /// Have the simulated nodes of a zone fall silent, or come back.
    SimulateZone {
        /// Its name.
        zone: String,
        /// `fail` or `recover`.
        verb: &'static str,
    },
    /// Back the database up.
    Backup {
        /// Absolute path of a file that does not exist.
        file: PathBuf,
    },
}

impl Request {
    /// Method, path below [`PREFIX`], and body.
    fn http(&self) -> Result<(Method, String, Option<Value>), Failure> {
        use sampan_addons::Request as A;
        let get = |path: String| Ok((Method::GET, path, None));
        let post = |path: String, body: Value| Ok((Method::POST, path, Some(body)));
        match self {
            Request::Status => get("/status".into()),
            Request::Kubeconfig => get("/kubeconfig".into()),
            Request::Stop { keep_pods } => post("/stop".into(), json!({"keepPods": keep_pods})),
            Request::ImageList => get("/images".into()),
            Request::ImagePull { image } => post("/images/pull".into(), json!({"image": image})),
            Request::ImageLoad { archive } => post("/images".into(), json!({"archive": archive})),
            Request::ImageRemove { image } => post("/images/remove".into(), json!({"image": image})),
            Request::Dashboard => post("/dashboard".into(), Value::Null),
            Request::TokenList => get("/tokens".into()),
            Request::TokenCreate(token) => post("/tokens".into(), json!(token)),
            Request::TokenRemove { name } => Ok((Method::DELETE, format!("/tokens/{}", segment(name)), None)),
            Request::Backup { file } => post("/backup".into(), json!({"file": file})),
            Request::Simulation => get("/simulate".into()),
            Request::Simulate(wanted) => post("/simulate".into(), wanted.clone()),
            Request::SimulateDelete => Ok((Method::DELETE, "/simulate".into(), None)),
            Request::SimulateZone { zone, verb } => {
                post(format!("/simulate/zones/{}/{verb}", segment(zone)), json!({}))
            }
            Request::Addons(A::List) => get("/addons".into()),
            Request::Addons(A::Show { name }) => get(addon(name, "")),
            Request::Addons(A::Images { name }) => get(addon(name, "/images")),
            Request::Addons(A::Page { name }) => get(addon(name, "/page")),
            Request::Addons(A::Disable { name }) => post(addon(name, "/disable"), json!({})),
            Request::Addons(A::Remove { name }) => Ok((Method::DELETE, addon(name, ""), None)),
            Request::Addons(A::Enable { name, set, timeout_seconds }) => {
                let body = json!({"set": values(set)?, "timeoutSeconds": timeout_seconds});
                post(addon(name, "/enable"), body)
            }
            Request::Addons(A::Configure { name, set, unset }) => {
                post(addon(name, "/configure"), json!({"set": values(set)?, "unset": unset}))
            }
            Request::Addons(A::Add { files, name }) => {
                post("/addons".into(), json!({"files": files, "name": name}))
            }
        }
    }

    /// What the command wants of the answer.
    fn wanted(&self, mut answer: Value) -> Value {
        use sampan_addons::Request as A;
        let field = match self {
            Request::ImageList
            | Request::ImageLoad { .. }
            | Request::TokenList
            | Request::Addons(A::List) => "items",
            Request::Addons(A::Images { .. }) => "images",
            Request::Addons(A::Page { .. }) => "url",
            _ => return answer,
        };
        answer.get_mut(field).map(Value::take).unwrap_or_default()
    }
}

fn addon(name: &str, verb: &str) -> String {
    format!("/addons/{}{verb}", segment(name))
}

/// A name as one part of a path: no name has what is encoded here, but the daemon should be the one to say so.
fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let part = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let text: String = name.bytes().map(part).collect();
    if text.is_empty() { "%00".to_owned() } else { text }
}

/// `KEY=VALUE` pairs; the platform reads the values.
fn values(set: &[String]) -> Result<Map<String, Value>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), json!(value))),
        None => Err(Failure::new(Kind::AddonConfiguration, format!("{text}: has to be KEY=VALUE"))),
    };
    set.iter().map(pair).collect()
}

/// Asks the daemon at `socket` and waits for the result; `progress` sees what comes before.
pub async fn ask(
    socket: &Path,
    request: &Request,
    mut progress: impl FnMut(Value),
) -> Result<Value, Failure> {
    let (method, path, body) = request.http()?;
    let stream = connect(socket).await?;
    // a daemon that was killed leaves a broken connection, one that ends a closed one
    let ended = || Failure::new(Kind::NotRunning, "the daemon ended before it answered");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| ended())?;
    let carrying = tokio::spawn(connection);
    let body = body.filter(|body| !body.is_null()).map(|body| body.to_string()).unwrap_or_default();
    let asked = http::Request::builder()
        .method(method)
        .uri(format!("{PREFIX}{path}"))
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/x-ndjson, application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(anyhow::Error::from)?;
    let response = sender.send_request(asked).await.map_err(|_| ended())?;
    let answer = read(response, &mut progress).await;
    carrying.abort();
    Ok(request.wanted(answer?.ok_or_else(ended)?))
}

/// The answer; none if it was cut off.
async fn read(
    response: Response<Incoming>,
    progress: &mut impl FnMut(Value),
) -> Result<Option<Value>, Failure> {
    let good = response.status().is_success();
    let content =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (lines, text) = (content.contains("ndjson"), content.contains("yaml"));
    let mut body = response.into_body();
    if lines && good {
        return read_lines(body, progress).await;
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Ok(None) };
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    if text && good {
        return Ok(Some(String::from_utf8_lossy(&bytes).into_owned().into()));
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(anyhow::Error::from)?;
    if good { Ok(Some(value)) } else { Err(failure(&value)) }
}

async fn read_lines(mut body: Incoming, progress: &mut impl FnMut(Value)) -> Result<Option<Value>, Failure> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Ok(None) };
        let Some(data) = frame.data_ref() else { continue };
        buffer.extend_from_slice(data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end);
            buffer.advance(1);
            let mut value: Value = serde_json::from_slice(&line).map_err(anyhow::Error::from)?;
            let mut take = |field: &str| value.get_mut(field).map(Value::take);
            if let Some(step) = take("progress") {
                progress(step);
            } else if let Some(done) = take("done") {
                return Ok(Some(done));
            } else if let Some(status) = take("failed") {
                return Err(failure(&status));
            }
        }
    }
    Ok(None)
}

/// The failure that a `Status` tells.
fn failure(status: &Value) -> Failure {
    let id = status["details"]["causes"][0]["reason"].as_str().unwrap_or_default();
    let message = status["message"].as_str().unwrap_or("the daemon refused without a word");
    Failure::of(id, message)
}

async fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Kind::PermissionDenied, format!("{} belongs to another user", socket.display()))
        }
        _ => Failure::new(Kind::NotRunning, format!("no daemon answers at {}", socket.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_part_of_a_path() {
        assert_eq!(addon("dns", "/enable"), "/addons/dns/enable");
        assert_eq!(addon("../x", ""), "/addons/..%2Fx");
        assert_eq!(addon("", ""), "/addons/%00");
    }

    #[test]
    fn a_value_without_a_key_is_refused() {
        let failure = values(&["a=1".into(), "b".into()]).expect_err("no pair");
        assert!(failure.kind == Kind::AddonConfiguration && failure.message.starts_with("b:"));
    }

    #[test]
    fn a_status_is_the_commands_own_failure() {
        let status = json!({"message": "no", "details": {"causes": [{"reason": "ADDON_NOT_FOUND"}]}});
        assert_eq!(failure(&status).kind, Kind::AddonNotFound);
        assert_eq!(failure(&json!({})).kind, Kind::Internal);
    }
}
