//! watch: a stream of events, from a revision on or beginning with what is there.
//!
//! What is stored is what most watchers are sent. For others each event is encoded once for all watchers of the same shape
//! (the store keeps the frames for a while); a watcher costs a queue and a timer. Bookmarks come from a timer of the watch that asked for them, and only then.
//! Ported semantics: `k8s.io/apiserver/pkg/storage/cacher` and `handlers/watch.go`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body, Frame};
use sampan_api::go;
use sampan_api::kinds::{self, Kind};
use sampan_api::status::{ApiError, FieldError, Reason};
use sampan_store::{Entry, Event, EventKind, Watch};
use serde_json::json;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Registry;
use super::list::{Filter, not_older, parse_revision};
use crate::BoxError;
use crate::pipeline::query::Query;

/// Upstream sends a bookmark about once a minute …
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// … and the last one shortly before the watch times out.
const BEFORE_TIMEOUT: Duration = Duration::from_secs(2);
/// A request of a component in this process, which may be answered by parts that are the store's own.
#[derive(Clone, Copy, Debug)]
pub struct InProcess;

/// Default length of a watch: between this and twice this, upstream's `--min-request-timeout`.
const MIN_TIMEOUT_SECONDS: u64 = 1800;
/// Most bytes of events put into one chunk.
const CHUNK: usize = 256 * 1024;

/// `metav1.ListOptions` of a watch, checked.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Selectors.
    pub filter: Filter,
    revision: String,
    bookmarks: bool,
    initial: bool,
    /// Whether the end of the initial state is told: only to who asked with sendInitialEvents.
    told_end: bool,
    timeout: Duration,
}

impl WatchOptions {
    /// Reads and checks the query.
    pub fn parse(kind: &'static Kind, query: &Query) -> Result<Self, ApiError> {
        let filter = Filter::parse(kind, query)?;
        let errors = errors(query);
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", errors));
        }
        let asked = match query.text("timeoutSeconds") {
            "" => 0,
            text => go::parse_int(text).map_err(ApiError::bad_request)?,
        };
        let seconds = match asked {
            0 => MIN_TIMEOUT_SECONDS + rand::random::<u64>() % MIN_TIMEOUT_SECONDS,
            // what is over before it began ends at once
            asked => u64::try_from(asked).unwrap_or(0),
        };
        let revision = query.text("resourceVersion").to_owned();
        // unset and "0" begin with what is there, as upstream's legacy watches do
        let legacy = query.get("sendInitialEvents").is_none() && matches!(revision.as_str(), "" | "0");
        Ok(Self {
            filter,
            initial: legacy || query.flag("sendInitialEvents"),
            told_end: query.flag("sendInitialEvents"),
            bookmarks: query.flag("allowWatchBookmarks"),
            timeout: Duration::from_secs(seconds),
            revision,
        })
    }
}

fn errors(query: &Query) -> Vec<FieldError> {
    let (matching, initial) = (query.text("resourceVersionMatch"), query.get("sendInitialEvents").is_some());
    let mut errors = Vec::new();
    if initial && matching != "NotOlderThan" {
        errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if !initial && !matching.is_empty() {
        errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if initial && query.flag("sendInitialEvents") && !query.flag("allowWatchBookmarks") {
        errors.push(FieldError::forbidden(
            "sendInitialEvents",
            "sendInitialEvents requires setting allowWatchBookmarks to true",
        ));
    }
    errors
}

/// How a watch's objects are written.
pub trait Shape: Send + Unpin {
    /// The frame's slot that watchers of this shape share; `None` if it is not worth keeping.
    fn slot(&self) -> Option<usize>;
    /// The object, encoded.
    fn object(&mut self, entry: &Entry) -> Bytes;
    /// A bookmark's object.
    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes;
    /// The Status of why the watch ends.
    fn failure(&self, error: &ApiError) -> Bytes {
        error.to_value().to_string().into()
    }
    /// An event with an encoded object.
    fn frame(&self, event: &str, object: &[u8]) -> Bytes {
        frame(event, object)
    }
    /// Appends an event of an object.
    fn write(&mut self, event: &'static str, entry: &Entry, out: &mut Out) {
        let object = self.object(entry);
        out.text.extend_from_slice(&self.frame(event, &object));
    }
    /// The media type of the stream.
    fn content_type(&self) -> &'static str {
        "application/json"
    }
}

/// Objects as they are.
pub struct Plain(pub &'static Kind);

impl Shape for Plain {
    /// What is stored is what is sent: there is nothing to encode.
    fn slot(&self) -> Option<usize> {
        None
    }
    fn object(&mut self, entry: &Entry) -> Bytes {
        super::in_version(entry, self.0)
    }
    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        bookmark(self.0.kind, &self.0.api_version(), revision, initial_end).into()
    }
    fn write(&mut self, event: &'static str, entry: &Entry, out: &mut Out) {
        let object = self.object(entry);
        // some kinds are written anew in the version that is asked for
        match out.by_parts && object.as_ptr() == entry.value.as_ptr() {
            true => out.event(event, object),
            false => write_frame(event, &object, &mut out.text),
        }
    }
}

/// What a watch is about to say.
#[derive(Default)]
pub struct Out {
    text: BytesMut,
    /// Said before the text.
    parts: VecDeque<Bytes>,
    /// Bytes of the parts.
    length: usize,
    /// Whether an object that is sent as it is stored is a part of its own: the same bytes, not a copy.
    by_parts: bool,
}

impl Out {
    fn len(&self) -> usize {
        self.text.len() + self.length
    }

    fn event(&mut self, event: &str, object: Bytes) {
        let head: &'static [u8] = match event {
            "ADDED" => b"{\"type\":\"ADDED\",\"object\":",
            "DELETED" => b"{\"type\":\"DELETED\",\"object\":",
            _ => b"{\"type\":\"MODIFIED\",\"object\":",
        };
        self.flush();
        for part in [Bytes::from_static(head), object, Bytes::from_static(b"}\n")] {
            self.push(part);
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            // not a part of a buffer, which the watch would keep as long as it lives
            let text = std::mem::take(&mut self.text).freeze();
            self.push(text);
        }
    }

    fn push(&mut self, part: Bytes) {
        self.length += part.len();
        self.parts.push_back(part);
    }

    /// The next piece of what is said.
    fn pop(&mut self) -> Option<Bytes> {
        self.flush();
        let part = self.parts.pop_front()?;
        self.length -= part.len();
        Some(part)
    }
}

/// A bookmark of `kind`: an object that says nothing but its version.
pub fn bookmark(kind: &str, api_version: &str, revision: u64, initial_end: bool) -> String {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let mut object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
    let (group, version) = sampan_api::meta::group_version(api_version);
    if let Some(kind) = kinds::by_kind(group, version, kind) {
        sampan_api::defaults::fill_object(&mut object, kind.schema);
    }
    object.to_string()
}

/// Why a watch ends before its time.
enum Broken {
    /// It was too slow.
    Lagged,
    /// An object could not be shown in the version that is watched.
    Unreadable(Box<ApiError>),
}

/// Changes of custom resources, in the version that is watched: those that are there are converted together.
struct Shown {
    registry: Registry,
    kind: &'static Kind,
    filter: Filter,
    busy: Option<BoxFuture<'static, Result<Vec<Arc<Event>>, ApiError>>>,
    ready: VecDeque<Arc<Event>>,
}

/// Most changes that are converted together.
const TOGETHER: usize = 100;

impl Shown {
    /// Whether changes were taken and not handed out yet.
    fn is_behind(&self) -> bool {
        self.busy.is_some() || !self.ready.is_empty()
    }

    fn poll_event(
        &mut self,
        watch: &mut Watch,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Arc<Event>, Broken>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(busy) = &mut self.busy {
                match std::task::ready!(busy.poll_unpin(context)) {
                    Ok(events) => self.ready.extend(events),
                    Err(error) => return Poll::Ready(Some(Err(Broken::Unreadable(Box::new(error))))),
                }
                self.busy = None;
                continue;
            }
            let mut events = Vec::new();
            while events.len() < TOGETHER {
                match watch.poll_event(context) {
                    Poll::Ready(Some(Ok(event))) => events.push(event),
                    _ if !events.is_empty() => break,
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(Err(_lagged))) => return Poll::Ready(Some(Err(Broken::Lagged))),
                }
            }
            // what is not watched is not converted
            events.retain(|event| self.filter.may_match(&event.entry));
            self.begin(events);
        }
    }

    fn begin(&mut self, events: Vec<Arc<Event>>) {
        // it matters to a selector what an object was before
        let (kind, selects) = (self.kind, !self.filter.is_everything());
        let as_they_are = |event: &Arc<Event>| {
            let same = |entry: &Arc<Entry>| {
                self.registry.shown_at_once(kind, entry).is_some_and(|shown| Arc::ptr_eq(&shown, entry))
            };
            same(&event.entry) && event.prev.iter().all(same)
        };
        if events.iter().all(as_they_are) {
            return self.ready.extend(events);
        }
        let registry = self.registry.clone();
        self.busy = Some(Box::pin(async move { shown(&registry, kind, selects, events).await }));
    }
}

async fn shown(
    registry: &Registry,
    kind: &'static Kind,
    selects: bool,
    events: Vec<Arc<Event>>,
) -> Result<Vec<Arc<Event>>, ApiError> {
    let prev = |event: &Event| event.prev.clone().filter(|_| selects);
    let states = events.iter().flat_map(|event| [Some(event.entry.clone()), prev(event)]).flatten().collect();
    let mut states = registry.shown(kind, states).await?.into_iter();
    let rewritten = |event: &Arc<Event>| {
        let entry = states.next()?;
        let prev = prev(event).and_then(|_| states.next()).or_else(|| event.prev.clone());
        Some(Arc::new(event.rewritten(entry, prev)))
    };
    Ok(events.iter().filter_map(rewritten).collect())
}

/// The body of a watch.
pub struct WatchBody {
    watch: Watch,
    shown: Option<Shown>,
    filter: Filter,
    shape: Box<dyn Shape>,
    out: Out,
    initial: VecDeque<Arc<Entry>>,
    /// The revision of the initial state, until its end has been told.
    initial_end: Option<u64>,
    bookmarks: bool,
    next_bookmark: Pin<Box<Sleep>>,
    end: Pin<Box<Sleep>>,
    deadline: Instant,
    last_bookmark: bool,
    state: BodyState,
    from: u64,
    /// Why nothing is to be told: upstream's `newErrWatcher`.
    failed: Option<ApiError>,
    /// What is watched is not served any more, or not as it was.
    over: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

#[derive(PartialEq, Eq)]
enum BodyState {
    Live,
    Ended,
}

/// Opens a watch.
pub async fn open(
    registry: &Registry,
    kind: &'static Kind,
    namespace: &str,
    options: WatchOptions,
    shape: Box<dyn Shape>,
) -> Result<WatchBody, ApiError> {
    let store = &registry.store;
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let asked = match options.revision.as_str() {
        "" | "0" => 0,
        text => parse_revision(text)?,
    };
    if asked > 0 && options.initial {
        not_older(store, asked).await?;
    }
    let (initial, from) = match options.initial {
        true => initial(registry, kind, &prefix, &options.filter).await?,
        false if asked == 0 => (VecDeque::new(), store.revision()),
        false => (VecDeque::new(), asked),
    };
    // what is wrong with a revision that could be read is told by an event, as where the watch is etcd's
    let mut failed = None;
    let watch = match store.watch(kind.storage_group, &prefix, from) {
        Ok(watch) => watch,
        Err(old) => {
            failed = Some(ApiError::too_old_resource_version(from, old.oldest));
            let again = store.watch(kind.storage_group, &prefix, store.revision());
            again.map_err(|old| ApiError::too_old_resource_version(from, old.oldest))?
        }
    };
    let now = Instant::now();
    let deadline = now + options.timeout;
    let shown = kind.custom.map(|_| Shown {
        registry: registry.clone(),
        kind,
        filter: options.filter.clone(),
        busy: None,
        ready: VecDeque::new(),
    });
    Ok(WatchBody {
        watch,
        shown,
        filter: options.filter,
        shape,
        out: Out::default(),
        initial,
        initial_end: (options.told_end && options.bookmarks).then_some(from),
        bookmarks: options.bookmarks,
        next_bookmark: Box::pin(tokio::time::sleep_until(first_bookmark(now, deadline))),
        end: Box::pin(tokio::time::sleep_until(deadline)),
        deadline,
        last_bookmark: false,
        state: BodyState::Live,
        from,
        failed,
        over: None,
    })
}

fn first_bookmark(now: Instant, deadline: Instant) -> Instant {
    let jitter = Duration::from_millis(rand::random::<u64>() % 5_000);
    (now + BOOKMARK_EVERY - jitter).min(deadline.checked_sub(BEFORE_TIMEOUT).unwrap_or(deadline)).max(now)
}

async fn initial(
    registry: &Registry,
    kind: &'static Kind,
    prefix: &str,
    filter: &Filter,
) -> Result<(VecDeque<Arc<Entry>>, u64), ApiError> {
    let snapshot = registry.store.list(kind.storage_group);
    let all: Vec<Arc<Entry>> = match kind.custom {
        None => snapshot.prefix(prefix).filter(|entry| filter.matches(entry)).cloned().collect(),
        Some(_) => {
            let all = snapshot.prefix(prefix).filter(|entry| filter.may_match(entry)).cloned().collect();
            let shown = registry.shown(kind, all).await?;
            shown.into_iter().filter(|entry| filter.matches(entry)).collect()
        }
    };
    Ok((all.into(), snapshot.revision))
}

/// What a watcher with `filter` sees of `event`: upstream's `watchCache` event mapping.
fn seen(event: &Event, filter: &Filter) -> Option<EventKind> {
    let now = event.kind != EventKind::Deleted && filter.matches(&event.entry);
    let before = event.prev.as_ref().is_some_and(|prev| filter.matches(prev));
    match (before, now) {
        (false, true) => Some(EventKind::Created),
        (true, true) => Some(EventKind::Updated),
        (true, false) => Some(EventKind::Deleted),
        (false, false) => None,
    }
}

/// `prev` with the revision of the change that replaced it: `updateResourceVersion` of upstream's watch cache.
fn restated(prev: &Entry, revision: u64) -> Entry {
    let value = match serde_json::from_slice::<serde_json::Value>(&prev.value) {
        Ok(mut object) => {
            crate::value::set(&mut object, &["metadata", "resourceVersion"], revision.to_string());
            Bytes::from(object.to_string())
        }
        Err(_) => prev.value.clone(),
    };
    Entry { key: prev.key.clone(), value, revision, columns: prev.columns.clone() }
}

fn type_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created => "ADDED",
        EventKind::Updated => "MODIFIED",
        EventKind::Deleted => "DELETED",
    }
}

fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    write_frame(kind, object, &mut out);
    out.freeze()
}

fn write_frame(kind: &str, object: &[u8], out: &mut BytesMut) {
    out.reserve(object.len() + 32);
    let parts: [&[u8]; 5] = [b"{\"type\":\"", kind.as_bytes(), b"\",\"object\":", object, b"}\n"];
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

impl WatchBody {
    /// Ends when `over` is.
    pub fn until(mut self, over: WaitForCancellationFutureOwned) -> Self {
        self.over = Some(Box::pin(over));
        self
    }

    /// Says what is said as it is stored by parts, see [`InProcess`].
    pub fn by_parts(mut self, by_parts: bool) -> Self {
        self.out.by_parts = by_parts;
        self
    }

    /// The media type of the stream.
    pub fn content_type(&self) -> &'static str {
        self.shape.content_type()
    }

    /// Appends the event, if it is for this watch.
    fn write_event(&mut self, event: &Event, out: &mut Out) {
        let Some(kind) = seen(event, &self.filter) else { return };
        let left = kind == EventKind::Deleted && event.kind != EventKind::Deleted;
        let shape = &mut self.shape;
        // who leaves the selection is shown as it was last seen in it
        let departed = event.prev.as_deref().filter(|_| left).map(|prev| restated(prev, event.revision));
        let entry = departed.as_ref().unwrap_or(&event.entry);
        let slot = shape
            .slot()
            .map(|slot| slot * 3 + kind as usize)
            .filter(|slot| *slot < sampan_store::Frames::SLOTS && !left);
        match slot {
            Some(slot) => out.text.extend_from_slice(&event.frames.get_or_init(slot, || {
                let object = shape.object(entry);
                shape.frame(type_name(kind), &object)
            })),
            None => shape.write(type_name(kind), entry, out),
        }
    }

    fn bookmark_frame(&mut self, revision: u64, initial_end: bool) -> Bytes {
        let object = self.shape.bookmark(revision, initial_end);
        self.shape.frame("BOOKMARK", &object)
    }

    fn error_frame(&self, error: &ApiError) -> Bytes {
        self.shape.frame("ERROR", &self.shape.failure(error))
    }

    /// Appends the initial state.
    fn poll_initial(&mut self, out: &mut Out) {
        while out.len() < CHUNK {
            let Some(entry) = self.initial.pop_front() else {
                if let Some(revision) = self.initial_end.take() {
                    out.text.extend_from_slice(&self.bookmark_frame(revision, true));
                }
                return;
            };
            self.shape.write("ADDED", &entry, out);
        }
    }

    fn poll_events(&mut self, context: &mut Context<'_>, out: &mut Out) {
        while out.len() < CHUNK {
            let next = match &mut self.shown {
                Some(shown) => shown.poll_event(&mut self.watch, context),
                None => self.watch.poll_event(context).map_err(|_lagged| Broken::Lagged),
            };
            match next {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(event))) => self.write_event(&event, out),
                Poll::Ready(Some(Err(broken))) => {
                    let error = match broken {
                        Broken::Lagged => {
                            ApiError::too_old_resource_version(self.from, self.watch.caught_up_to())
                        }
                        // etcd3's `parseError`
                        Broken::Unreadable(error) => ApiError::new(Reason::InternalError, error.message),
                    };
                    out.text.extend_from_slice(&self.error_frame(&error));
                    self.state = BodyState::Ended;
                    return;
                }
                Poll::Ready(None) => {
                    self.state = BodyState::Ended;
                    return;
                }
            }
        }
    }

    fn poll_bookmark(&mut self, context: &mut Context<'_>, out: &mut Out) {
        // a bookmark says that all before it has been told
        let behind = self.shown.as_ref().is_some_and(Shown::is_behind);
        if behind
            || !self.bookmarks
            || self.last_bookmark
            || self.next_bookmark.as_mut().poll(context).is_pending()
        {
            return;
        }
        let revision = self.watch.caught_up_to().max(self.from);
        out.text.extend_from_slice(&self.bookmark_frame(revision, false));
        let now = Instant::now();
        let last = self.deadline.checked_sub(BEFORE_TIMEOUT).unwrap_or(self.deadline);
        self.last_bookmark = now >= last;
        let next = (now + BOOKMARK_EVERY).min(last).max(now + Duration::from_millis(1));
        self.next_bookmark.as_mut().reset(next);
        // registers the timer's waker; at most once more
        if !self.last_bookmark {
            let _ = self.next_bookmark.as_mut().poll(context);
        }
    }
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(piece) = this.out.pop() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if this.state == BodyState::Ended {
            return Poll::Ready(None);
        }
        if let Some(error) = this.failed.take() {
            this.state = BodyState::Ended;
            return Poll::Ready(Some(Ok(Frame::data(this.error_frame(&error)))));
        }
        let mut out = std::mem::take(&mut this.out);
        this.poll_initial(&mut out);
        if this.initial.is_empty() && this.initial_end.is_none() {
            this.poll_events(context, &mut out);
            this.poll_bookmark(context, &mut out);
        }
        this.out = out;
        if let Some(piece) = this.out.pop() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let over = this.over.as_mut().is_some_and(|over| over.as_mut().poll(context).is_ready());
        if over || this.state == BodyState::Ended || this.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
