//! Which requests are being executed, and how many there were: for whoever asks how it goes. A request costs two short
//! locks and a few counted references; what they refer to is written out when somebody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::limits::Level;
use super::state::Place;
use super::{View, metrics};
use crate::UserInfo;
use crate::pipeline::Context;
use crate::pipeline::info::RequestInfo;

/// A request that waits or is executed. Times are nanoseconds since priority and fairness began.
#[derive(Clone)]
pub(super) struct Record {
    view: Arc<View>,
    schema: usize,
    pub user: Arc<UserInfo>,
    pub info: Arc<RequestInfo>,
    pub arrived: u64,
    /// `None` while it waits.
    pub began: Option<u64>,
    pub seats: u32,
    pub queue: Option<usize>,
}

impl Record {
    pub(super) fn new(view: &Arc<View>, schema: usize, context: &Context, arrived: u64) -> Self {
        let (user, info) = (context.user.clone(), context.info.clone());
        Self { view: view.clone(), schema, user, info, arrived, began: None, seats: 1, queue: None }
    }

    /// As it is once it has its place; a level without seats has none.
    pub(super) fn seated(self, place: Option<Place>) -> Self {
        let began = place.map_or(self.arrived, |place| place.began);
        Self { began: Some(began), queue: place.and_then(|place| place.queue), ..self }
    }

    /// Where the level was in the view that the request was classified by.
    pub(super) fn level_index(&self) -> usize {
        self.view.schemas.get(self.schema).map_or(usize::MAX, |schema| schema.level)
    }

    pub(super) fn level(&self) -> Option<&Level> {
        self.view.levels.get(self.level_index())
    }

    /// The FlowSchema's name.
    pub(super) fn schema(&self) -> &str {
        self.view.schemas.get(self.schema).map_or("", |schema| &schema.is.name)
    }

    /// What tells its flow from the schema's others.
    pub(super) fn flow(&self) -> &str {
        self.view.schemas.get(self.schema).map_or("", |schema| schema.is.flow(&self.user, &self.info))
    }

    /// Upstream's `nonMutatingRequestVerbs` are the others.
    pub(super) fn mutates(&self) -> bool {
        !matches!(self.info.verb.as_str(), "get" | "list" | "watch")
    }

    /// It was executed without a seat, and is no more.
    pub(super) fn over(&self) {
        if let Some(told) = self.view.told.get(self.level_index()) {
            told.gauges.executing(self.seats, false);
        }
    }
}

/// The requests that are being executed.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    taken: Vec<Option<Record>>,
    free: Vec<usize>,
}

impl Ledger {
    /// Returns by what the request is removed again.
    pub(super) fn enter(&self, record: Record) -> usize {
        metrics::in_flight(record.mutates()).inc();
        let mut slots = self.0.lock();
        let Slots { taken, free } = &mut *slots;
        match free.pop().and_then(|at| Some((at, taken.get_mut(at)?))) {
            Some((at, slot)) => {
                *slot = Some(record);
                at
            }
            None => {
                taken.push(Some(record));
                taken.len() - 1
            }
        }
    }

    pub(super) fn remove(&self, at: usize) -> Option<Record> {
        let mut slots = self.0.lock();
        let record = slots.taken.get_mut(at)?.take()?;
        slots.free.push(at);
        metrics::in_flight(record.mutates()).dec();
        Some(record)
    }

    /// All of them, the oldest first.
    pub(super) fn executing(&self) -> Vec<Record> {
        let mut all: Vec<Record> = self.0.lock().taken.iter().flatten().cloned().collect();
        all.sort_by_key(|record| record.arrived);
        all
    }
}

/// What became of a level's requests so far.
#[derive(Default)]
pub(super) struct Tally {
    dispatched: AtomicU64,
    rejected: AtomicU64,
    cancelled: AtomicU64,
}

impl Tally {
    pub(super) fn dispatched(&self) {
        self.dispatched.fetch_add(1, Ordering::Relaxed);
    }

    /// It found neither a seat nor a place to wait.
    pub(super) fn refused(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// It waited in vain. Upstream counts that twice, and time-outs not by themselves.
    pub(super) fn gave_up(&self) {
        self.refused();
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// Dispatched, rejected, cancelled.
    pub(super) fn read(&self) -> [u64; 3] {
        [&self.dispatched, &self.rejected, &self.cancelled].map(|count| count.load(Ordering::Relaxed))
    }
}
