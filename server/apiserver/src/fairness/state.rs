//! Who has which seat and who waits, of all levels, under one lock.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::ledger::{Record, Tally};
use super::limits::{self, Kind, Level, Seats};
use super::queues::{Arrival, Id, Queues};
use super::{Fairness, View, Waits, metrics};

#[derive(Default)]
pub(super) struct State {
    /// Of which view the levels are.
    version: u64,
    pub(super) levels: Vec<Running>,
    pub(super) seats: Vec<Seats>,
    next: Id,
}

pub(super) struct Running {
    pub(super) name: String,
    pub(super) queues: Option<Queues>,
    pub(super) waiting: HashMap<Id, Waiting>,
    gauges: metrics::Gauges,
    pub(super) tally: Arc<Tally>,
}

/// Where a request is executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) queue: Option<usize>,
    pub(super) seats: u32,
    pub(super) began: u64,
}

/// Whom to tell of a seat, and what it is for.
pub(super) struct Waiting {
    tell: oneshot::Sender<Place>,
    pub(super) record: Record,
}

impl Fairness {
    /// Seats a request of `schema`, or has it wait.
    pub(super) fn arrive(&self, view: &Arc<View>, record: &Record, level: &Level, hash: u64) -> Come {
        let (now, wanted) = (record.arrived, record.seats);
        let mut state = self.state.lock();
        state.follow(view);
        let State { levels, seats, next, .. } = &mut *state;
        // the state may be of a later view than this one
        let Some(at) = position(levels, record.level_index(), &level.name) else {
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
        running.waiting.insert(id, Waiting { tell, record: record.clone() });
        running.gauges.waiting(1);
        state.dispatch(now);
        Come::Waits(id, queue, seated)
    }

    pub(super) fn leave(&self, level: &str, place: Place) {
        let now = self.now();
        let mut state = self.state.lock();
        state.vacate(now, level, place);
        state.dispatch(now);
    }

    pub(super) fn give_up(&self, waits: &mut Waits<'_>) {
        let now = self.now();
        let mut state = self.state.lock();
        let Some(at) = position(&state.levels, usize::MAX, waits.level) else { return };
        let limit = state.seats.get(at).map_or(1, |seats| seats.nominal);
        if let Some(running) = state.levels.get_mut(at)
            && running.waiting.remove(&waits.id).is_some()
        {
            running.gauges.waiting(-1);
            running.tally.gave_up();
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
pub(super) enum Come {
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
    pub(super) fn follow(&mut self, view: &View) {
        if self.version >= view.version {
            return;
        }
        self.version = view.version;
        let mut old: HashMap<String, (Running, Seats)> = std::mem::take(&mut self.levels)
            .into_iter()
            .zip(std::mem::take(&mut self.seats))
            .map(|(running, seats)| (running.name.clone(), (running, seats)))
            .collect();
        for ((level, seats), told) in view.levels.iter().zip(&view.seats).zip(&view.told) {
            let shape = match level.kind {
                Kind::Queue(shape) => Some(shape),
                Kind::Exempt | Kind::Reject => None,
            };
            let before = old.remove(&level.name);
            let used = before.as_ref().map_or(0, |(_, seats)| seats.used);
            let mut running = before.map_or_else(|| Running::new(&level.name, told), |(running, _)| running);
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
                let taken = running.waiting.remove(&id).is_some_and(|one| one.tell.send(place).is_ok());
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
    fn new(name: &str, told: &super::Told) -> Self {
        Self {
            name: name.to_owned(),
            queues: None,
            waiting: HashMap::new(),
            gauges: told.gauges.clone(),
            tally: told.tally.clone(),
        }
    }
}
