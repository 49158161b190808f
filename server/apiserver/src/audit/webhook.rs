//! Events in batches to a server elsewhere, as `EventList`s; tried again while it is away, from a bounded queue.

use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use sampan_process::Drain;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Options, metrics, next};
use crate::outbound::{Destination, kubeconfig};

/// Upstream's attempts at a batch (`webhook.DefaultRetryBackoffWithInitialDelay`).
const ATTEMPTS: u32 = 5;
const FACTOR: f64 = 1.5;
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the last events may take when the server ends.
const ENDING: Duration = Duration::from_secs(2);

/// Where batches go, and how.
pub(super) struct Webhook {
    destination: Destination,
    path: String,
    authorization: Option<HeaderValue>,
    most: usize,
    wait: Duration,
    backoff: Duration,
}

impl Webhook {
    /// Of a kubeconfig's current context.
    pub(super) fn open(file: &Path, options: &Options) -> Result<Self, String> {
        let target = kubeconfig::read(file)?;
        let or =
            |value: Duration, default| if value.is_zero() { Duration::from_secs(default) } else { value };
        Ok(Self {
            destination: target.destination,
            path: target.path,
            authorization: target.authorization,
            most: if options.webhook_batch_size == 0 { 400 } else { options.webhook_batch_size },
            wait: or(options.webhook_batch_wait, 30),
            backoff: or(options.webhook_backoff, 10),
        })
    }

    /// Sends what comes until `closing`, and what waits then, if it can be had off quickly.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Bytes>, closing: Drain) {
        loop {
            let mut batch = next(&mut queue, self.most, &closing).await;
            if batch.is_empty() {
                return;
            }
            let due = Instant::now() + self.wait;
            while batch.len() < self.most && !closing.started() {
                let more = timeout_at(due, next(&mut queue, self.most - batch.len(), &closing)).await;
                match more {
                    Ok(more) if !more.is_empty() => batch.extend(more),
                    _ => break,
                }
            }
            let count = batch.len() as u64;
            if let Err(why) = self.deliver(&batch, &closing).await {
                tracing::error!(%why, events = count, "audit events were lost: the webhook does not take them");
                metrics::lost("webhook", count);
            }
        }
    }

    async fn deliver(&self, batch: &[Bytes], closing: &Drain) -> Result<(), String> {
        let body = list(batch);
        let mut attempt = 1;
        loop {
            let patience = if closing.started() { ENDING } else { PATIENCE };
            let outcome = timeout(patience, self.post(body.clone())).await;
            let refused = match outcome.unwrap_or_else(|_| Err(Refused::retry("no answer in time"))) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if !refused.again || attempt == ATTEMPTS || closing.started() {
                return Err(refused.why);
            }
            let pause = refused.after.unwrap_or_else(|| pause(self.backoff, attempt, rand::random()));
            attempt += 1;
            tokio::select! {
                () = sleep(pause) => {}
                () = closing.wait() => {}
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Refused> {
        let mut request = Request::post(&self.path).header(CONTENT_TYPE, "application/json");
        request = request.header(HOST, self.destination.authority());
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization.clone());
        }
        let request = request.body(body).map_err(|error| Refused::for_good(error.to_string()))?;
        let response = self.destination.send(request).await.map_err(Refused::retry)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(());
        }
        let text = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
        let seconds = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        Err(Refused {
            why: format!("{status}: {text}"),
            again: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
            after: seconds.map(Duration::from_secs),
        })
    }
}

/// Why a batch was not taken.
struct Refused {
    why: String,
    again: bool,
    after: Option<Duration>,
}

impl Refused {
    fn retry(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: true, after: None }
    }
    fn for_good(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: false, after: None }
    }
}

/// The pause after a failed attempt, a fifth longer at most so that many do not come at once.
fn pause(first: Duration, attempt: u32, jitter: f64) -> Duration {
    let power = FACTOR.powi(i32::try_from(attempt).unwrap_or(1) - 1);
    first.mul_f64(power * (1.0 + jitter.clamp(0.0, 1.0) * 0.2))
}

/// Lines as one `EventList`.
fn list(batch: &[Bytes]) -> Bytes {
    const HEAD: &[u8] = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    let length: usize = batch.iter().map(|line| line.len() + 1).sum();
    let mut text = BytesMut::with_capacity(HEAD.len() + length + 2);
    text.put_slice(HEAD);
    for (i, line) in batch.iter().enumerate() {
        if i > 0 {
            text.put_u8(b',');
        }
        text.put_slice(line);
    }
    text.put_slice(b"]}");
    text.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_become_a_list() {
        let text = list(&[Bytes::from_static(br#"{"a":1}"#), Bytes::from_static(br#"{"b":2}"#)]);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&value["kind"], value["items"].as_array().unwrap().len()), (&"EventList".into(), 2));
    }

    #[test]
    fn pauses_grow() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, 1, 0.0), second);
        assert_eq!(pause(second, 3, 0.0), Duration::from_millis(2250));
        assert_eq!(pause(second, 1, 1.0), Duration::from_millis(1200));
    }
}
