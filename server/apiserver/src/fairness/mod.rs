//! API priority and fairness: which requests wait for others, and which are refused.
//!
//! - [`schema`]: FlowSchemas, which request belongs to which flow. [`limits`]: how many seats a level has.
//!   [`queues`]: whose turn it is. All pure.
//! - `objects`: the default objects, and the conditions. `metrics`: upstream's.
//!
//! One lock guards all levels; it is held for a classification's worth of arithmetic, never while anyone waits. A request
//! that finds a seat costs a comparison of snapshots, the match of a few rules and that lock. Waiting is a oneshot
//! channel: who leaves a seat looks whose turn it is and wakes them.
//!
//! What is not here: seats for the watch events that a write causes (upstream's `finalSeats`).

mod limits;
mod metrics;
mod objects;
mod queues;
mod schema;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response};
use parking_lot::{Mutex, RwLock};
use sampan_api::kinds;
use sampan_store::{Snapshot, Store};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::ResponseBody;
use crate::pipeline::{Context, respond};
use limits::{Kind, Level, Seats};
use queues::{Arrival, Id, Queues};
use schema::FlowSchema;

const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";
/// Upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight` together.
pub(crate) const SEATS: u32 = 400 + 200;
/// How long a request waits at most: a quarter of upstream's `--request-timeout`.
const PATIENCE: Duration = Duration::from_secs(15);
/// Objects of a list that take one seat: `WorkEstimatorConfig`.
const OBJECTS_PER_SEAT: usize = 100;

/// Classifies requests, and lets them in.
pub(crate) struct Fairness {
    store: Store,
    server: u32,
    patience: Duration,
    hasher: RandomState,
    view: RwLock<Option<Arc<View>>>,
    state: Mutex<State>,
    began: Instant,
}

/// The objects, parsed, as they were in two snapshots.
struct View {
    schemas_seen: Snapshot,
    levels_seen: Snapshot,
    schemas: Vec<Schema>,
    levels: Vec<Level>,
    seats: Vec<Seats>,
    /// Told apart by this.
    version: u64,
}

struct Schema {
    is: FlowSchema,
    level: usize,
    headers: [HeaderValue; 2],
    counts: metrics::Counts,
}

#[derive(Default)]
struct State {
    /// Of which view the levels are.
    version: u64,
    levels: Vec<Running>,
    seats: Vec<Seats>,
    next: Id,
}

struct Running {
    name: String,
    queues: Option<Queues>,
    waiting: HashMap<Id, oneshot::Sender<Place>>,
    gauges: metrics::Gauges,
}

/// Where a request is executed.
#[derive(Clone, Copy, Debug)]
struct Place {
    queue: Option<usize>,
    seats: u32,
    began: u64,
}

/// A request's leave to be executed. It ends when this is dropped.
pub(crate) struct Ticket {
    headers: [HeaderValue; 2],
    _seat: Option<Seat>,
}

struct Seat {
    fairness: Arc<Fairness>,
    level: String,
    place: Place,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fairness.leave(&self.level, self.place);
    }
}

impl Ticket {
    /// Says in the answer which schema and level the request was of.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        let [schema, level] = &self.headers;
        headers.insert("x-kubernetes-pf-flowschema-uid", schema.clone());
        headers.insert("x-kubernetes-pf-prioritylevel-uid", level.clone());
    }
}

/// Waits in a queue; whoever drops it gives up.
struct Waits<'a> {
    fairness: &'a Arc<Fairness>,
    level: &'a str,
    queue: usize,
    id: Id,
    seated: oneshot::Receiver<Place>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.fairness.give_up(self);
    }
}

impl Fairness {
    pub(crate) fn new(store: Store, server: u32, patience: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            store,
            server,
            patience: patience.unwrap_or(PATIENCE),
            hasher: RandomState::new(),
            view: RwLock::default(),
            state: Mutex::default(),
            began: Instant::now(),
        })
    }

    /// Makes the default objects; before the first request that is to be classified.
    pub(crate) async fn ensure(&self) {
        objects::ensure(&self.store).await;
    }

    /// Keeps the default objects and the conditions until the store closes.
    pub(crate) fn follow(&self) -> impl Future<Output = ()> + Send + 'static {
        objects::follow(self.store.clone())
    }

    /// Lets a request in, at once or when it is its turn. Refusals are answers: 429, and when to come again.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        context: &Context,
    ) -> Result<Option<Ticket>, Response<ResponseBody>> {
        let info = &context.info;
        if crate::audit::long_running(info) && info.verb != "watch" {
            return Ok(None);
        }
        let view = self.view();
        let Some(schema) = view.schemas.iter().find(|schema| schema.is.matches(&context.user, info)) else {
            // without the mandatory objects there is nothing to go by
            return Ok(None);
        };
        let Some(level) = view.levels.get(schema.level) else { return Ok(None) };
        let ticket = |seat| Ticket { headers: schema.headers.clone(), _seat: seat };
        if level.kind == Kind::Exempt {
            schema.counts.dispatched();
            return Ok(Some(ticket(None)));
        }
        let flow = schema.is.flow(&context.user, info);
        let hash = self.hasher.hash_one((&schema.is.name, flow));
        let most = limits::most(view.seats.get(schema.level).map_or(1, |seats| seats.nominal));
        let wanted = self.width(context).min(most);
        let seat = |place| Seat { fairness: self.clone(), level: level.name.clone(), place };
        let refused = |reason: &'static str| {
            schema.counts.refused(reason);
            let mut response = too_many();
            ticket(None).mark(response.headers_mut());
            response
        };
        match self.arrive(&view, schema.level, level, hash, wanted) {
            Come::Seated(place) => {
                schema.counts.dispatched();
                Ok(Some(ticket(Some(seat(place)))))
            }
            Come::Refused(reason) => Err(refused(reason)),
            Come::Waits(id, queue, seated) => {
                let mut waits = Waits { fairness: self, level: &level.name, queue, id, seated };
                let since = Instant::now();
                let outcome = tokio::time::timeout(self.patience, &mut waits.seated).await;
                schema.counts.waited(since.elapsed(), matches!(outcome, Ok(Ok(_))));
                match outcome {
                    Ok(Ok(place)) => {
                        schema.counts.dispatched();
                        Ok(Some(ticket(Some(seat(place)))))
                    }
                    Ok(Err(_)) => Err(refused("cancelled")),
                    Err(_) => Err(refused("time-out")),
                }
            }
        }
    }

    /// How many seats a request takes: one, or more for lists.
    fn width(&self, context: &Context) -> u32 {
        let (info, query) = (&context.info, &context.query);
        let lists = info.verb == "list" || info.verb == "watch" && query.flag("sendInitialEvents");
        if !lists || !info.name.is_empty() {
            return 1;
        }
        let Some(kind) = kinds::by_resource(&info.group, &info.version, &info.resource) else { return 1 };
        let stored = self.store.list(kind.storage_group).len();
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        let objects = stored.min(limit.unwrap_or(usize::MAX));
        u32::try_from(objects.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(u32::MAX).max(1)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The objects as they are now.
    fn view(&self) -> Arc<View> {
        let (schemas, levels) = (self.store.list(SCHEMAS), self.store.list(LEVELS));
        let same = |view: &Arc<View>| {
            view.schemas_seen.map.ptr_eq(&schemas.map) && view.levels_seen.map.ptr_eq(&levels.map)
        };
        if let Some(view) = self.view.read().as_ref().filter(|view| same(view)) {
            return view.clone();
        }
        let mut kept = self.view.write();
        if let Some(view) = kept.as_ref().filter(|view| same(view)) {
            return view.clone();
        }
        let version = kept.as_ref().map_or(0, |view| view.version) + 1;
        let made = Arc::new(View::new(schemas, levels, self.server, version));
        *kept = Some(made.clone());
        made
    }

    fn arrive(&self, view: &View, index: usize, level: &Level, hash: u64, wanted: u32) -> Come {
        let now = self.now();
        let mut state = self.state.lock();
        state.follow(view);
        let State { levels, seats, next, .. } = &mut *state;
        // the state may be of a later view than this one
        let Some(at) = position(levels, index, &level.name) else {
            return Come::Refused("concurrency-limit");
        };
        let room = limits::room(seats, at, wanted);
        let (Some(running), Some(own)) = (levels.get_mut(at), seats.get_mut(at)) else {
            return Come::Refused("concurrency-limit");
        };
        let limit = own.nominal;
        let Some(queues) = &mut running.queues else {
            if !room {
                return Come::Refused("concurrency-limit");
            }
            own.used += wanted;
            running.gauges.executing(wanted, true);
            return Come::Seated(Place { queue: None, seats: wanted, began: now });
        };
        *next += 1;
        let id = *next;
        let queue = match queues.arrive(now, limit, hash, id, wanted) {
            Arrival::Queued(queue) => queue,
            Arrival::Full => return Come::Refused("queue-full"),
        };
        if queues.waiting() == 1 && room && queues.begin(now, limit, |_| true).is_some() {
            own.used += wanted;
            running.gauges.executing(wanted, true);
            return Come::Seated(Place { queue: Some(queue), seats: wanted, began: now });
        }
        let (tell, seated) = oneshot::channel();
        running.waiting.insert(id, tell);
        running.gauges.waiting(1);
        state.dispatch(now);
        Come::Waits(id, queue, seated)
    }

    fn leave(&self, level: &str, place: Place) {
        let now = self.now();
        let mut state = self.state.lock();
        state.vacate(now, level, place);
        state.dispatch(now);
    }

    fn give_up(&self, waits: &mut Waits<'_>) {
        let now = self.now();
        let mut state = self.state.lock();
        let Some(at) = position(&state.levels, usize::MAX, waits.level) else { return };
        let limit = state.seats.get(at).map_or(1, |seats| seats.nominal);
        if let Some(running) = state.levels.get_mut(at)
            && running.waiting.remove(&waits.id).is_some()
        {
            running.gauges.waiting(-1);
            if let Some(queues) = &mut running.queues {
                queues.leave(now, limit, waits.queue, waits.id);
            }
        }
        // seated in the very moment, and nobody took the seat
        if let Ok(place) = waits.seated.try_recv() {
            state.vacate(now, waits.level, place);
        }
        state.dispatch(now);
    }
}

/// What became of a request that came.
enum Come {
    Seated(Place),
    Waits(Id, usize, oneshot::Receiver<Place>),
    Refused(&'static str),
}

fn position(levels: &[Running], guess: usize, name: &str) -> Option<usize> {
    match levels.get(guess) {
        Some(level) if level.name == name => Some(guess),
        _ => levels.iter().position(|level| level.name == name),
    }
}

impl State {
    /// Becomes that of `view`: levels of the same name keep who waits and who sits. A level that is no more is kept
    /// until it is empty.
    fn follow(&mut self, view: &View) {
        if self.version >= view.version {
            return;
        }
        self.version = view.version;
        let mut old: HashMap<String, (Running, Seats)> = std::mem::take(&mut self.levels)
            .into_iter()
            .zip(std::mem::take(&mut self.seats))
            .map(|(running, seats)| (running.name.clone(), (running, seats)))
            .collect();
        for (level, seats) in view.levels.iter().zip(&view.seats) {
            let shape = match level.kind {
                Kind::Queue(shape) => Some(shape),
                Kind::Exempt | Kind::Reject => None,
            };
            let before = old.remove(&level.name);
            let used = before.as_ref().map_or(0, |(_, seats)| seats.used);
            let mut running = before.map_or_else(|| Running::new(&level.name), |(running, _)| running);
            if running.waiting.is_empty() && running.queues.as_ref().map(Queues::shape) != shape {
                running.queues = shape.map(Queues::new);
            }
            running.gauges.limit(seats.nominal);
            self.levels.push(running);
            self.seats.push(Seats { used, ..*seats });
        }
        for (_, (running, seats)) in
            old.into_iter().filter(|(_, (running, seats))| seats.used > 0 || !running.waiting.is_empty())
        {
            self.levels.push(running);
            self.seats.push(Seats { lendable: 0, ..seats });
        }
    }

    /// Takes a seat back.
    fn vacate(&mut self, now: u64, level: &str, place: Place) {
        let Some(at) = position(&self.levels, usize::MAX, level) else { return };
        let (Some(running), Some(seats)) = (self.levels.get_mut(at), self.seats.get_mut(at)) else { return };
        seats.used = seats.used.saturating_sub(place.seats);
        running.gauges.executing(place.seats, false);
        if let (Some(queues), Some(queue)) = (&mut running.queues, place.queue) {
            queues.end(now, seats.nominal, queue, place.seats, now.saturating_sub(place.began));
        }
    }

    /// Seats whoever can be seated.
    fn dispatch(&mut self, now: u64) {
        for at in 0..self.levels.len() {
            loop {
                let seats = &self.seats;
                let limit = seats.get(at).map_or(1, |own| own.nominal);
                let Some(running) = self.levels.get_mut(at) else { break };
                let Some(queues) = running.queues.as_mut().filter(|queues| queues.waiting() > 0) else {
                    break;
                };
                let Some((id, queue, wanted)) =
                    queues.begin(now, limit, |wanted| limits::room(seats, at, wanted))
                else {
                    break;
                };
                let place = Place { queue: Some(queue), seats: wanted, began: now };
                running.gauges.waiting(-1);
                let taken = running.waiting.remove(&id).is_some_and(|tell| tell.send(place).is_ok());
                if taken {
                    running.gauges.executing(wanted, true);
                    if let Some(own) = self.seats.get_mut(at) {
                        own.used += wanted;
                    }
                } else {
                    queues.end(now, limit, queue, wanted, 0);
                }
            }
        }
    }
}

impl Running {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            queues: None,
            waiting: HashMap::new(),
            gauges: metrics::Gauges::of(name),
        }
    }
}

impl View {
    fn new(schemas_seen: Snapshot, levels_seen: Snapshot, server: u32, version: u64) -> Self {
        let values = |snapshot: &Snapshot| -> Vec<Value> {
            snapshot.map.values().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect()
        };
        let levels: Vec<Level> = values(&levels_seen).iter().map(Level::parse).collect();
        let mut schemas: Vec<Schema> = values(&schemas_seen)
            .iter()
            .map(FlowSchema::parse)
            // a schema without a level matches nothing
            .filter_map(|is| {
                let level = levels.iter().position(|level| level.name == is.level)?;
                let uid = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
                let headers = [uid(&is.uid), uid(&levels[level].uid)];
                let counts = metrics::Counts::of(&is.level, &is.name);
                Some(Schema { is, level, headers, counts })
            })
            .collect();
        schemas.sort_by(|a, b| a.is.order().cmp(&b.is.order()));
        let seats = limits::seats(&levels, server);
        Self { schemas_seen, levels_seen, schemas, levels, seats, version }
    }
}

/// Upstream's `tooManyRequests`.
fn too_many() -> Response<ResponseBody> {
    let text = "Too many requests, please try again later.\n";
    let mut response = respond::raw(429, "text/plain; charset=utf-8", text);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
