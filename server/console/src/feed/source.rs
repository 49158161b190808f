//! One list and watch of the API, as the user: pages that are exact at one revision, then what happens.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{Api, BoxError, User};

/// The longest wait before a source that fails is asked again.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A line of a watch: an object may be 3 MB, and its JSON escaped.
const MAX_LINE: usize = 32 * 1024 * 1024;

/// In which form objects are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// As a Table, its rows with metadata.
    Row,
    /// As a Table, its rows with whole objects.
    RowWithObject,
    /// As they are.
    Object,
}

/// Why a source gives no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The revision is not known any more: list anew.
    Expired,
    /// Refused, and will be again: HTTP status, the API's word, its message.
    Refused(u16, String, String),
    /// Broken off, or asked to come again: ask again after a pause.
    Broken,
}

/// A page of a list.
pub struct Page<T> {
    /// The list.
    pub list: T,
    /// The list's revision.
    pub revision: String,
    /// Where the next page begins.
    pub next: Option<String>,
    /// How many items come after this page; 0 if that is not known.
    pub remaining: u32,
}

/// What a watch told.
#[derive(Debug)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`.
    pub kind: String,
    /// The object, or a Table of one row.
    pub object: Box<RawValue>,
}

impl Event {
    /// Whether something happened; a bookmark only says where we are.
    pub fn is_change(&self) -> bool {
        self.kind != "BOOKMARK"
    }
}

/// A list and watch of one path.
pub struct Source {
    api: Api,
    user: User,
    /// Path, with a query that begins with `?` if there is one.
    target: String,
    wanted: Wanted,
    watch: Option<Watch>,
    pause: Duration,
}

struct Watch {
    body: UnsyncBoxBody<Bytes, BoxError>,
    buffer: BytesMut,
    /// How much of the buffer is known to have no end of a line in it.
    searched: usize,
}

/// A form in which a list is read; its bytes are gone through once.
pub trait Listed: serde::de::DeserializeOwned {
    /// Its metadata, which is asked for once.
    fn take_meta(&mut self) -> ListMeta;
}

/// Of a list, nothing but its metadata.
#[derive(serde::Deserialize)]
pub struct ListHead {
    #[serde(default)]
    metadata: ListMeta,
}

impl Listed for ListHead {
    fn take_meta(&mut self) -> ListMeta {
        std::mem::take(&mut self.metadata)
    }
}

impl Listed for Value {
    fn take_meta(&mut self) -> ListMeta {
        serde_json::from_value(self["metadata"].clone()).unwrap_or_default()
    }
}

/// A list's metadata.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
    remaining_item_count: Option<i64>,
}

#[derive(serde::Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Box<RawValue>,
}

impl Source {
    /// Asks nothing yet.
    pub fn new(api: Api, user: User, target: String, wanted: Wanted) -> Self {
        Self { api, user, target, wanted, watch: None, pause: Duration::ZERO }
    }

    /// Waits before the next try, longer each time that nothing came in between.
    pub async fn pause(&mut self) {
        let wait = self.pause.max(Duration::from_millis(100));
        self.pause = (wait * 2).min(MAX_PAUSE);
        tokio::time::sleep(wait).await;
    }

    /// A page of the list.
    pub async fn list_page<T: Listed>(
        &mut self,
        limit: usize,
        next: Option<&str>,
    ) -> Result<Page<T>, Failure> {
        let next =
            next.map(|next| format!("&continue={}", sampan_view::place::encode(next))).unwrap_or_default();
        let body = self.ask(&format!("limit={limit}{next}")).await?;
        let body = body.collect().await.map_err(|_| Failure::Broken)?.to_bytes();
        let mut list: T = serde_json::from_slice(&body).map_err(|_| Failure::Broken)?;
        let ListMeta { resource_version: revision, next, remaining_item_count } = list.take_meta();
        self.pause = Duration::ZERO;
        Ok(Page {
            list,
            revision,
            next: (!next.is_empty()).then_some(next),
            remaining: remaining_item_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        })
    }

    /// The next event after `revision`; begins a watch if none runs. The revision is the caller's to move on.
    pub async fn next(&mut self, revision: &mut String) -> Result<Event, Failure> {
        loop {
            if self.watch.is_none() {
                let query = format!("watch=true&allowWatchBookmarks=true&resourceVersion={revision}");
                let body = self.ask(&query).await?;
                self.watch = Some(Watch { body, buffer: BytesMut::new(), searched: 0 });
            }
            let Some(watch) = self.watch.as_mut() else { continue };
            match watch.line().await {
                Ok(Some(line)) => {
                    self.pause = Duration::ZERO;
                    let event = self.event(&line)?;
                    if let Some(new) = revision_of(&event) {
                        *revision = new;
                    }
                    return Ok(event);
                }
                // the server ends each watch after a time
                Ok(None) if self.pause.is_zero() => {
                    self.watch = None;
                    self.pause = Duration::from_millis(100);
                }
                Ok(None) | Err(_) => {
                    self.watch = None;
                    return Err(Failure::Broken);
                }
            }
        }
    }

    fn event(&mut self, line: &[u8]) -> Result<Event, Failure> {
        let Ok(Line { kind, object }) = serde_json::from_slice(line) else {
            // what it said is lost, so what follows is of no use
            self.watch = None;
            return Err(Failure::Broken);
        };
        if kind == "ERROR" {
            self.watch = None;
            let status: Value = serde_json::from_str(object.get()).unwrap_or_default();
            return Err(refusal(
                status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500),
                &status,
            ));
        }
        Ok(Event { kind, object })
    }

    async fn ask(&mut self, query: &str) -> Result<UnsyncBoxBody<Bytes, BoxError>, Failure> {
        let joint = if self.target.contains('?') { '&' } else { '?' };
        let (accept, include) = match self.wanted {
            Wanted::Row => ("application/json;as=Table;v=v1;g=meta.k8s.io", "&includeObject=Metadata"),
            Wanted::RowWithObject => {
                ("application/json;as=Table;v=v1;g=meta.k8s.io", "&includeObject=Object")
            }
            Wanted::Object => ("application/json", ""),
        };
        let request = Request::builder()
            .uri(format!("{}{joint}{query}{include}", self.target))
            .header(http::header::ACCEPT, accept)
            .header(http::header::USER_AGENT, "sampan-dashboard")
            .body(Bytes::new())
            .map_err(|error| Failure::Refused(400, "BadRequest".into(), error.to_string()))?;
        let (head, body) = (self.api)(self.user.clone(), request).await.response.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(refusal(head.status.as_u16(), &serde_json::from_slice(&body).unwrap_or_default()))
    }
}

fn refusal(code: u16, status: &Value) -> Failure {
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    match code {
        410 => Failure::Expired,
        429 | 500.. => Failure::Broken,
        code => Failure::Refused(code, text("reason"), text("message")),
    }
}

#[derive(serde::Deserialize)]
struct ObjectHead {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    rows: Vec<RowHead>,
}

#[derive(serde::Deserialize)]
struct RowHead {
    object: Option<Box<ObjectHead>>,
}

/// The revision that an event brings: its object's, which for a Table is in its only row.
fn revision_of(event: &Event) -> Option<String> {
    let head: ObjectHead = serde_json::from_str(event.object.get()).ok()?;
    let row = head.rows.into_iter().next().and_then(|row| row.object);
    let revision = row.map_or(head.metadata.resource_version, |object| object.metadata.resource_version);
    (!revision.is_empty()).then_some(revision)
}

impl Watch {
    /// The next line, without its end; none when the watch ended.
    async fn line(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err("an event is too large".into());
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str) -> Event {
        Event { kind: "ADDED".into(), object: RawValue::from_string(object.to_owned()).expect("json") }
    }

    #[test]
    fn revisions_are_found_in_objects_and_tables() {
        for (object, revision) in [
            (r#"{"metadata":{"resourceVersion":"7"}}"#, Some("7")),
            (
                r#"{"kind":"Table","metadata":{},"rows":[{"cells":["a"],"object":{"metadata":{"resourceVersion":"8"}}}]}"#,
                Some("8"),
            ),
            (r#"{"kind":"Table","metadata":{"resourceVersion":"9"},"rows":[]}"#, Some("9")),
            (r#"{"rows":[{"cells":[],"object":null}]}"#, None),
            (r#"{"kind":"Status"}"#, None),
        ] {
            assert_eq!(revision_of(&event(object)).as_deref(), revision, "{object}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let status = serde_json::json!({"reason": "Forbidden", "message": "no"});
        assert_eq!(refusal(403, &status), Failure::Refused(403, "Forbidden".into(), "no".into()));
        assert_eq!(refusal(410, &status), Failure::Expired);
        assert_eq!((refusal(429, &status), refusal(503, &status)), (Failure::Broken, Failure::Broken));
    }
}
