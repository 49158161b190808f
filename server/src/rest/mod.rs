//! The REST API for tools, `/sampan/v1`: the verbs of `sampan addons` for whoever speaks HTTP.
//!
//! It is served by the API server's listeners, behind its authentication and authorization: a path that is no resource,
//! so RBAC's `nonResourceURLs` say who may. What is answered and refused is decided by [`sampan_addons`], as for the
//! control socket; `routes` says which request is which verb, and `openapi` describes the same table.

mod openapi;
mod reply;
mod routes;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use sampan_addons::{Addons, Sort};
use sampan_apiserver::{GroupHandler, ResponseBody};
use sampan_process::Tasks;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use reply::Refusal;
use routes::{Asked, Call};

/// Where it is.
pub const PREFIX: &str = "/sampan/v1";
/// What a client accepts that wants to see the steps: a JSON value in each line.
const LINES: &str = "application/x-ndjson";

/// What the API is made of.
#[derive(Clone)]
pub struct Rest {
    /// The platform.
    pub addons: Addons,
    /// Where components and native addons write what they say.
    pub logs: PathBuf,
    /// Verbs go on in them when the client is gone.
    pub tasks: Tasks,
}

impl Rest {
    /// As the API server calls it.
    pub fn handler(self) -> GroupHandler {
        let rest = Arc::new(self);
        Arc::new(move |request, _user| -> BoxFuture<'static, Response<ResponseBody>> {
            let rest = rest.clone();
            async move { rest.answer(&request).await.unwrap_or_else(|refusal| reply::refusal(&refusal)) }
                .boxed()
        })
    }

    async fn answer(&self, request: &Request<Bytes>) -> Result<Response<ResponseBody>, Refusal> {
        let query = request.uri().query().unwrap_or_default();
        match routes::read(request.method(), request.uri().path(), query, request.headers(), request.body())?
        {
            Call::OpenApi => Ok(reply::json(200, &openapi::document())),
            Call::Logs { name, tail } => self.log(&name, tail).await,
            Call::Verb(asked) => self.verb(asked, wants_lines(request.headers())).await,
        }
    }

    /// A verb runs to its end also when whoever asked goes away, as for the control socket.
    async fn verb(&self, asked: Asked, lines: bool) -> Result<Response<ResponseBody>, Refusal> {
        let (tell, mut told) = mpsc::unbounded_channel();
        let addons = self.addons.clone();
        let Asked { request, shape } = asked;
        self.tasks.spawn_until_drain("rest verb", async move {
            let steps = tell.clone();
            let progress = move |step: sampan_addons::Step| {
                // nobody may be listening any more
                let _ = steps.send(Told::Step(serde_json::to_value(step).unwrap_or_default()));
            };
            let result = addons.answer(request, &progress).await;
            let _ = tell.send(Told::End(result.map(shape).map_err(|error| Refusal::of(&error))));
        });
        if lines {
            let line = |told: Told| {
                let value = match told {
                    Told::Step(step) => json!({"progress": step}),
                    Told::End(Ok(value)) => json!({"done": value}),
                    Told::End(Err(refusal)) => json!({"failed": refusal.status()}),
                };
                Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{value}\n"))))
            };
            let all =
                futures::stream::unfold(told, |mut told| async { told.recv().await.map(|one| (one, told)) });
            let body = StreamBody::new(all.map(line));
            return Ok(reply::of(200, LINES, body.map_err(|never| match never {}).boxed_unsync()));
        }
        loop {
            match told.recv().await {
                Some(Told::Step(_)) => {}
                Some(Told::End(result)) => return result.map(|value| reply::json(200, &value)),
                None => return Err(Refusal::ending()),
            }
        }
    }

    /// What the code of a native addon said, its last lines.
    async fn log(&self, name: &str, tail: usize) -> Result<Response<ResponseBody>, Refusal> {
        let details = self.addons.show(name).map_err(|error| Refusal::of(&error))?;
        if details.status.sort == Sort::Package {
            return Err(Refusal::package_log(name));
        }
        let text = match tokio::fs::read(self.logs.join(format!("{name}.log"))).await {
            Ok(text) => text,
            // it has said nothing yet
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Refusal::internal(&error.to_string())),
        };
        Ok(reply::text(last_lines(&text, tail)))
    }
}

enum Told {
    Step(Value),
    End(Result<Value, Refusal>),
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(LINES));
    headers.get(ACCEPT).is_some_and(accepts)
}

/// The end of a text, from the start of a line on.
fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let start = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match lines {
        0 => &[],
        lines => &text[start.take(lines).nth(lines - 1).unwrap_or(0)..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_whole_lines() {
        let text = b"one\ntwo\nthree\n";
        for (lines, tail) in
            [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n"), (9, "one\ntwo\nthree\n")]
        {
            assert_eq!(last_lines(text, lines), tail.as_bytes(), "{lines}");
        }
        assert_eq!(last_lines(b"", 5), b"");
        assert_eq!(last_lines(b"half", 1), b"half");
    }
}
