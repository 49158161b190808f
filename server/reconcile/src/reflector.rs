//! Keeps an informer equal to the API: list in pages, watch with bookmarks, list again on 410. Or, where that is cheaper, the
//! watch begins with what there is (`sendInitialEvents`), whose end a bookmark tells, and no list is asked for.
//!
//! ```text
//!          ┌──────────── 410 ─────────────┐
//!          ▼                              │
//!        list ──ok──► watch(version) ─────┤
//!          ▲  error     ▲  end, error     │
//!          └─ back-off  └──── back-off ◄──┘
//! ```

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use kube::core::Request;
use kube::core::params::{ListParams, WatchParams};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use crate::held::{Held, Text};
use crate::informer::Informer;
use crate::key::{Key, Object, parse_version};

const PAGE: u32 = 500;
/// How long one watch lives before it is resumed, in seconds; kube allows less than 295.
const WATCH_SECONDS: u32 = 290;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// When the metadata alone is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Only {
    #[default]
    Never,
    /// In lists. In this process what is watched is the store's own bytes, which cost less than an excerpt.
    Listed,
    Always,
}

/// What to list and watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub path: String,
    pub metadata_only: Only,
    pub labels: Option<String>,
    pub fields: Option<String>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default, borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// One line of a watch; the object is decoded by whom it is for.
#[derive(Debug, PartialEq)]
struct Event<'a> {
    what: &'a str,
    object: &'a str,
}

impl<'a> Event<'a> {
    /// Reads a line. One of this API server is cut where the object lies, which nobody has to read through for that.
    fn of(line: &'a str) -> serde_json::Result<Self> {
        Self::cut(line).map_or_else(|| Self::parse(line), Ok)
    }

    fn cut(line: &'a str) -> Option<Self> {
        let (what, rest) = line.strip_prefix("{\"type\":\"")?.split_once("\",\"object\":")?;
        let object = rest.strip_suffix('}').filter(|_| what.bytes().all(|byte| byte.is_ascii_uppercase()))?;
        Some(Self { what, object })
    }

    fn parse(line: &'a str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Line<'a> {
            r#type: &'a str,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let Line { r#type, object } = serde_json::from_str(line)?;
        Ok(Self { what: r#type, object: object.get() })
    }
}

/// What is read of a bookmark.
#[derive(Deserialize)]
struct Bookmark {
    metadata: PageMeta,
}

/// The copy that is kept: of one kind, which the reflector does not know.
pub(crate) trait Kept: Send + Sync {
    /// Decodes the objects of a page into those that the next [`Kept::replace`] takes.
    fn gather(&mut self, items: &[&RawValue]) -> serde_json::Result<()>;
    /// Has exactly what was gathered, as of `version`.
    fn replace(&mut self, version: u64);
    /// As [`Kept::gather`], of one object.
    fn gather_one(&mut self, object: Text<'_>) -> serde_json::Result<()>;
    /// Drops what was gathered.
    fn forget(&mut self);
    /// Adds or changes an object; its resourceVersion.
    fn apply(&self, object: Text<'_>) -> serde_json::Result<u64>;
    /// Removes an object; its resourceVersion.
    fn remove(&self, object: &str) -> serde_json::Result<u64>;
    /// Is complete up to `version`.
    fn advance(&self, version: u64);
}

/// An informer's copy, and the objects of the list that is coming in.
pub(crate) struct Copied<K> {
    pub informer: Informer<K>,
    pub gathered: Vec<(Key, Held<K>)>,
}

impl<K: Object> Kept for Copied<K> {
    fn gather(&mut self, items: &[&RawValue]) -> serde_json::Result<()> {
        self.gathered.reserve(items.len());
        items.iter().try_for_each(|item| self.gather_one(Text::Passing(item.get())))
    }

    fn gather_one(&mut self, object: Text<'_>) -> serde_json::Result<()> {
        let (object, text) = object.decode::<K>()?;
        self.gathered.push((object.key(), Held::new(object, text)));
        Ok(())
    }

    fn replace(&mut self, version: u64) {
        self.informer.replace(std::mem::take(&mut self.gathered), version);
    }

    fn forget(&mut self) {
        self.gathered = Vec::new();
    }

    fn apply(&self, object: Text<'_>) -> serde_json::Result<u64> {
        let (object, text) = object.decode::<K>()?;
        let version = object.version();
        self.informer.apply(object, text);
        Ok(version)
    }

    fn remove(&self, object: &str) -> serde_json::Result<u64> {
        let object = K::decode(object)?;
        self.informer.remove(&object);
        Ok(object.version())
    }

    fn advance(&self, version: u64) {
        self.informer.advance(version);
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Events out of pieces. In this process a piece is some lines, which are then read where they lie, or what is before, in and
/// behind an object's own bytes.
#[derive(Default)]
struct Lines {
    /// The beginning of a line whose end is to come.
    rest: Vec<u8>,
    /// An event's beginning, and the object, each a piece.
    apart: Vec<Bytes>,
}

/// An event that is to be read.
#[derive(Debug, PartialEq)]
enum Said<'a> {
    /// As a line.
    Line(&'a [u8]),
    /// As what happened and to which object.
    Apart(&'a str, &'a Bytes),
}

/// What is before and behind the kind of event, and the end of one.
const HEAD: (&[u8], &[u8]) = (b"{\"type\":\"", b"\",\"object\":");
const END: &[u8] = b"}\n";

/// What happens, if the piece says that alone.
fn happens(piece: &[u8]) -> Option<&str> {
    let what = piece.strip_prefix(HEAD.0)?.strip_suffix(HEAD.1)?;
    std::str::from_utf8(what).ok().filter(|what| what.bytes().all(|byte| byte.is_ascii_uppercase()))
}

impl Lines {
    fn take(
        &mut self,
        piece: &Bytes,
        mut with: impl FnMut(Said<'_>) -> kube::Result<()>,
    ) -> kube::Result<()> {
        match &self.apart[..] {
            [] if self.rest.is_empty() && happens(piece).is_some() => {
                self.apart.push(piece.clone());
                return Ok(());
            }
            [_] => {
                self.apart.push(piece.clone());
                return Ok(());
            }
            [head, object] if piece == END => {
                let done = happens(head).map_or(Ok(()), |what| with(Said::Apart(what, object)));
                self.apart.clear();
                return done;
            }
            _ => {}
        }
        // a network's pieces, which end anywhere
        for apart in std::mem::take(&mut self.apart) {
            self.lines(&apart, &mut with)?;
        }
        self.lines(piece, &mut with)
    }

    fn lines(
        &mut self,
        mut piece: &[u8],
        with: &mut impl FnMut(Said<'_>) -> kube::Result<()>,
    ) -> kube::Result<()> {
        while let Some(at) = memchr::memchr(b'\n', piece) {
            let (line, after) = (&piece[..at], &piece[at + 1..]);
            piece = after;
            if !self.rest.is_empty() {
                self.rest.extend_from_slice(line);
                let whole = std::mem::take(&mut self.rest);
                with(Said::Line(&whole))?;
            } else if !line.is_empty() {
                with(Said::Line(line))?;
            }
        }
        self.rest.extend_from_slice(piece);
        Ok(())
    }
}

/// The annotation of the bookmark behind what there is.
const ALL_TOLD: &str = "\"k8s.io/initial-events-end\":\"true\"";

/// How a watch ended.
#[derive(Debug, PartialEq)]
enum End {
    /// Normally, or with an error after which it can be resumed.
    Resume,
    /// The version is too old: list again.
    Expired,
}

pub(crate) struct Reflector {
    pub client: kube::Client,
    pub target: Target,
    pub copy: Box<dyn Kept>,
    /// Whether to begin with a watch.
    pub streams: bool,
    /// Whether what the watch tells is what there is, not what changes.
    pub gathering: bool,
}

impl Reflector {
    /// Runs for ever; dropped at the drain.
    pub async fn run(mut self) {
        let mut pause = Pause::new();
        loop {
            let begun = match self.streams {
                true => self.stream().await,
                false => self.list().await,
            };
            match begun {
                Ok(version) => {
                    pause = Pause::new();
                    self.watch_from(version).await;
                }
                Err(error) => {
                    tracing::warn!(path = self.target.path, %error, "list failed, trying again");
                    pause.wait().await;
                }
            }
        }
    }

    /// Watches from what there is on; the version that was reached when the watch ended.
    async fn stream(&mut self) -> kube::Result<u64> {
        self.copy.forget();
        self.gathering = true;
        let mut version = 0;
        let ended = self.watch(&mut version).await;
        if std::mem::take(&mut self.gathering) {
            let early = "the watch ended before it had told what there is";
            return ended.and_then(|_| Err(kube::Error::Service(early.into())));
        }
        // expired: the next watch is told so, too
        let _ = ended.map_err(|error| self.end_of(&error));
        Ok(version)
    }

    async fn list(&mut self) -> kube::Result<u64> {
        self.copy.forget();
        let request = Request::new(&self.target.path);
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector.clone_from(&self.target.labels);
        params.field_selector.clone_from(&self.target.fields);
        loop {
            let http = if self.target.metadata_only != Only::Never {
                request.list_metadata(&params)
            } else {
                request.list(&params)
            };
            let text = self.client.request_text(http.map_err(kube::Error::BuildRequest)?).await?;
            let page: Page<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
            self.copy.gather(&page.items.unwrap_or_default()).map_err(kube::Error::SerdeError)?;
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => {
                    let version = parse_version(page.metadata.resource_version.as_deref());
                    self.copy.replace(version);
                    return Ok(version);
                }
            }
        }
    }

    /// Watches from `version` on, resuming as often as needed, until it has expired.
    async fn watch_from(&mut self, mut version: u64) {
        let mut pause = Pause::new();
        loop {
            let before = version;
            let end = match self.watch(&mut version).await {
                Ok(end) => end,
                Err(error) => self.end_of(&error),
            };
            if end == End::Expired {
                return;
            }
            if version > before {
                pause = Pause::new();
            }
            pause.wait().await;
        }
    }

    async fn watch(&mut self, version: &mut u64) -> kube::Result<End> {
        let params = WatchParams {
            label_selector: self.target.labels.clone(),
            field_selector: self.target.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            send_initial_events: self.gathering,
        };
        let request = Request::new(&self.target.path);
        let from = version.to_string();
        let http = match self.target.metadata_only == Only::Always {
            true => request.watch_metadata(&params, &from),
            false => request.watch(&params, &from),
        };
        let http = http.map_err(kube::Error::BuildRequest)?;
        let answer = self.client.send(http.map(kube::client::Body::from)).await?;
        let refused = !answer.status().is_success();
        let mut lines = Lines::default();
        let mut frames = std::pin::pin!(answer.into_body());
        while let Some(frame) = frames.frame().await {
            // a watch that breaks is resumed
            let Ok(frame) = frame else { return Ok(End::Resume) };
            let Ok(bytes) = frame.into_data() else { continue };
            if refused {
                lines.rest.extend_from_slice(&bytes);
                continue;
            }
            lines.take(&bytes, |said| self.event(&said, version))?;
        }
        match refused {
            true => {
                Err(kube::Error::Api(serde_json::from_slice(&lines.rest).map_err(kube::Error::SerdeError)?))
            }
            false => Ok(End::Resume),
        }
    }

    /// One event; `version` follows.
    fn event(&mut self, said: &Said<'_>, version: &mut u64) -> kube::Result<()> {
        let (what, text) = match said {
            Said::Apart(what, object) => (*what, Text::Shared(object)),
            Said::Line(line) => {
                let line = std::str::from_utf8(line).map_err(serde_json::Error::custom);
                let event = line.and_then(Event::of).map_err(kube::Error::SerdeError)?;
                (event.what, Text::Passing(event.object))
            }
        };
        let read = match what {
            "ADDED" if self.gathering => self.copy.gather_one(text).map(|()| *version),
            "BOOKMARK" if self.gathering => text.read().and_then(|bookmark| {
                let told: Bookmark = serde_json::from_str(bookmark)?;
                if !bookmark.contains(ALL_TOLD) {
                    return Ok(*version);
                }
                let version = parse_version(told.metadata.resource_version.as_deref());
                self.gathering = false;
                self.copy.replace(version);
                Ok(version)
            }),
            "ADDED" | "MODIFIED" => self.copy.apply(text),
            "DELETED" => text.read().and_then(|text| self.copy.remove(text)),
            "BOOKMARK" => text.read().and_then(serde_json::from_str).map(|bookmark: Bookmark| {
                let version = parse_version(bookmark.metadata.resource_version.as_deref());
                self.copy.advance(version);
                version
            }),
            _ => {
                let status = text.read().and_then(serde_json::from_str).map_err(kube::Error::SerdeError)?;
                return Err(kube::Error::Api(status));
            }
        };
        *version = read.map_err(kube::Error::SerdeError)?;
        Ok(())
    }

    fn end_of(&self, error: &kube::Error) -> End {
        match error {
            kube::Error::Api(status) if status.code == 410 => End::Expired,
            // one undecodable object must not end the watch of the others for good: a list shows it again
            kube::Error::SerdeError(_) => {
                tracing::error!(path = self.target.path, %error, "an event could not be decoded, listing again");
                End::Expired
            }
            error => {
                tracing::debug!(path = self.target.path, %error, "watch broke, resuming");
                End::Resume
            }
        }
    }
}

/// A pause that doubles, with jitter so that many informers do not return at once.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(PAUSE_FIRST)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(crate::clock::jittered(self.0)).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Lines, Said};
    use bytes::Bytes;

    #[test]
    fn an_event_is_read_however_it_is_written() {
        let object = r#"{"metadata":{"name":"a \"type\":\"B\""}}"#;
        for line in [
            format!(r#"{{"type":"ADDED","object":{object}}}"#),
            format!(r#"{{ "type": "ADDED", "object": {object} }}"#),
            format!(r#"{{"object":{object},"type":"ADDED"}}"#),
        ] {
            assert_eq!(Event::of(&line).ok(), Some(Event { what: "ADDED", object }), "{line}");
        }
        assert!(Event::of(r#"{"type":"ADDED"}"#).is_err());
    }

    #[test]
    fn lines_are_what_is_between_line_ends_however_they_come() {
        for pieces in [&["ab\ncd\n", "e"][..], &["a", "b\nc", "d", "\n\ne"], &["ab\n", "cd\n", "e"]] {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in pieces {
                let keep = |said: Said<'_>| {
                    let Said::Line(line) = said else { return Err(kube::Error::TlsRequired) };
                    seen.push(String::from_utf8_lossy(line).into_owned());
                    Ok(())
                };
                assert!(lines.take(&Bytes::from_static(piece.as_bytes()), keep).is_ok());
            }
            assert_eq!(
                (seen, lines.rest),
                (vec!["ab".to_owned(), "cd".to_owned()], b"e".to_vec()),
                "{pieces:?}"
            );
        }
    }

    #[test]
    fn an_object_that_comes_apart_is_the_same_bytes_and_pieces_that_only_look_so_are_lines() {
        let (head, tail) = (r#"{"type":"ADDED","object":"#, "}\n");
        let whole = [head, "{\"a\":1}", tail].concat();
        for (pieces, expected) in [
            (vec![head, "{\"a\":1}", tail, &whole], vec!["apart ADDED {\"a\":1}", "line"]),
            (vec![head, "{\"a\"", ":1}}\n"], vec!["line"]),
            (vec![head, "{\"a\":1}", "}\n{\"type\"", ":\"X\"}\n"], vec!["line", "line"]),
            (vec!["\n", head, "{}", tail, head, "{}", tail], vec!["apart ADDED {}"; 2]),
        ] {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in &pieces {
                let piece = Bytes::copy_from_slice(piece.as_bytes());
                let keep = |said: Said<'_>| {
                    seen.push(match said {
                        Said::Line(line) if line == &whole.as_bytes()[..whole.len() - 1] => "line".to_owned(),
                        Said::Line(line) => format!("line {}", String::from_utf8_lossy(line)),
                        Said::Apart(what, object) => {
                            format!("apart {what} {}", String::from_utf8_lossy(object))
                        }
                    });
                    Ok(())
                };
                assert!(lines.take(&piece, keep).is_ok());
            }
            let seen: Vec<&str> =
                seen.iter().map(|one| one.strip_suffix(" {\"type\":\"X\"}").unwrap_or(one)).collect();
            assert_eq!((seen, lines.rest.len(), lines.apart.len()), (expected, 0, 0), "{pieces:?}");
        }
    }
}
