//! API priority and fairness: which requests wait for others, and which are refused.
//!
//! - [`schema`]: FlowSchemas, which request belongs to which flow. [`limits`]: how many seats a level has.
//!   [`queues`]: whose turn it is. All pure.
//! - `state`: who sits and who waits. `ledger`: which requests are being executed. `dump`: both, for whoever debugs.
//! - `objects`: the default objects, and the conditions. `metrics`: upstream's.
//!
//! One lock guards all levels; it is held for a classification's worth of arithmetic, never while anyone waits. A request
//! that finds a seat costs a comparison of snapshots, the match of a few rules and that lock. Waiting is a oneshot
//! channel: who leaves a seat looks whose turn it is and wakes them.
//!
//! What is not here: seats for the watch events that a write causes (upstream's `finalSeats`).

mod dump;
mod ledger;
mod limits;
mod metrics;
mod objects;
mod queues;
mod schema;
mod state;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response};
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::gauge::Gauge;
use sampan_api::kinds;
use sampan_store::{Snapshot, Store};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::ResponseBody;
use crate::pipeline::{Context, respond};
use ledger::{Ledger, Record, Tally};
use limits::{Kind, Level, Seats};
use queues::Id;
use schema::FlowSchema;
use state::{Come, Place, State};

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
    ledger: Ledger,
    /// What became of requests, by level: it outlives views.
    tallies: Mutex<HashMap<String, Arc<Tally>>>,
    began: Instant,
    /// When that was.
    began_at: jiff::Timestamp,
}

/// The objects, parsed, as they were in two snapshots.
struct View {
    schemas_seen: Snapshot,
    levels_seen: Snapshot,
    schemas: Vec<Schema>,
    levels: Vec<Level>,
    seats: Vec<Seats>,
    told: Vec<Told>,
    /// Told apart by this.
    version: u64,
}

/// What is told of a level.
struct Told {
    gauges: metrics::Gauges,
    tally: Arc<Tally>,
}

struct Schema {
    is: FlowSchema,
    level: usize,
    headers: [HeaderValue; 2],
    counts: metrics::Counts,
}

/// A request's leave to be executed. It ends when this is dropped.
pub(crate) struct Ticket {
    headers: [HeaderValue; 2],
    _leave: Option<Leave>,
    waited: Duration,
}

/// A place in the ledger, and a seat where the level has any.
struct Leave {
    fairness: Arc<Fairness>,
    at: usize,
    place: Option<Place>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let Some(record) = self.fairness.ledger.remove(self.at) else { return };
        match (self.place, record.level()) {
            (Some(place), Some(level)) => self.fairness.leave(&level.name, place),
            (None, _) => record.over(),
            (Some(_), None) => {}
        }
    }
}

impl Ticket {
    /// How long the request was in a queue.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

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
    gauge: &'static Gauge,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
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
            ledger: Ledger::default(),
            tallies: Mutex::default(),
            began: Instant::now(),
            began_at: jiff::Timestamp::now(),
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
        let of = view.schemas.iter().position(|schema| schema.is.matches(&context.user, info));
        let Some((at, schema)) = of.and_then(|at| Some((at, view.schemas.get(at)?))) else {
            // without the mandatory objects there is nothing to go by
            return Ok(None);
        };
        let (Some(level), Some(told)) = (view.levels.get(schema.level), view.told.get(schema.level)) else {
            return Ok(None);
        };
        let mut record = Record::new(&view, at, context, self.now());
        let seated = |record: Record, place: Option<Place>, waited: Duration| {
            schema.counts.dispatched();
            told.tally.dispatched();
            if waited.is_zero() && place.is_some_and(|place| place.queue.is_some()) {
                schema.counts.at_once();
            }
            let at = self.ledger.enter(record.seated(place));
            let leave = Leave { fairness: self.clone(), at, place };
            Ok(Some(Ticket { headers: schema.headers.clone(), _leave: Some(leave), waited }))
        };
        if level.kind == Kind::Exempt {
            told.gauges.executing(record.seats, true);
            return seated(record, None, Duration::ZERO);
        }
        let hash = self.hasher.hash_one((&schema.is.name, record.flow()));
        let most = limits::most(view.seats.get(schema.level).map_or(1, |seats| seats.nominal));
        record.seats = self.width(context).min(most);
        let refused = |reason: &'static str| {
            schema.counts.refused(reason);
            let mut response = too_many();
            Ticket { headers: schema.headers.clone(), _leave: None, waited: Duration::ZERO }
                .mark(response.headers_mut());
            response
        };
        match self.arrive(&view, &record, level, hash) {
            Come::Seated(place) => seated(record, Some(place), Duration::ZERO),
            Come::Refused(reason) => {
                told.tally.refused();
                Err(refused(reason))
            }
            Come::Waits(id, queue, seat) => {
                let gauge = metrics::in_queue(record.mutates());
                gauge.inc();
                let mut waits = Waits { fairness: self, level: &level.name, queue, id, seated: seat, gauge };
                let since = Instant::now();
                let outcome = tokio::time::timeout(self.patience, &mut waits.seated).await;
                let waited = since.elapsed();
                schema.counts.waited(waited, matches!(outcome, Ok(Ok(_))));
                match outcome {
                    Ok(Ok(place)) => seated(record, Some(place), waited),
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
        let made = View::new(schemas, levels, self.server, version, &mut self.tallies.lock());
        let made = Arc::new(made);
        *kept = Some(made.clone());
        made
    }
}

impl View {
    fn new(
        schemas_seen: Snapshot,
        levels_seen: Snapshot,
        server: u32,
        version: u64,
        tallies: &mut HashMap<String, Arc<Tally>>,
    ) -> Self {
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
        let tell = |level: &Level| Told {
            gauges: metrics::Gauges::of(&level.name),
            tally: tallies.entry(level.name.clone()).or_default().clone(),
        };
        let told = levels.iter().map(tell).collect();
        Self { schemas_seen, levels_seen, schemas, levels, seats, told, version }
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
