//! The queues of one priority level: fair queuing by seats, with flows dealt to queues by shuffle sharding. Ported from
//! `k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset` and `util/shufflesharding`. Pure: time comes in as a
//! number of nanoseconds, requests are numbers, and whoever owns this does the waiting.
//!
//! Virtual time goes on at the pace at which each busy queue would be served if all were served at once. A queue has the
//! virtual time at which its next request would begin; the one whose next request would be *finished* first goes first.
//! A request is charged a guess when it begins, and what it really took when it ends.

use std::collections::VecDeque;

/// Upstream's `initial` guess of how long a request takes: 3 ms, in nanoseconds.
const GUESS: f64 = 3_000_000.0;

/// Names a request.
pub(super) type Id = u64;

/// A level's queuing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub queues: usize,
    pub hand: usize,
    pub length: usize,
}

/// What became of a request that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is in the queue of this number.
    Queued(usize),
    /// Its queue is full.
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: Id,
    seats: u32,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    waiting_seats: u32,
    executing_seats: u32,
    executing: u32,
    /// Virtual time at which the next request would begin.
    next: f64,
}

impl Queue {
    fn busy(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }
    fn work(&self) -> u32 {
        self.waiting_seats + self.executing_seats
    }
}

/// One level's queues.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    shape: Shape,
    queues: Vec<Queue>,
    /// Virtual time, and the real time that it belongs to.
    virtual_now: f64,
    real_now: u64,
    busy: u32,
    waiting: usize,
    waiting_seats: u32,
    executing_seats: u32,
    /// Where looking for the next begins, so that equals take turns.
    turn: usize,
}

impl Queues {
    pub(super) fn new(shape: Shape) -> Self {
        let shape =
            Shape { queues: shape.queues.max(1), hand: shape.hand.clamp(1, shape.queues.max(1)), ..shape };
        Self {
            shape,
            queues: vec![Queue::default(); shape.queues],
            virtual_now: 0.0,
            real_now: 0,
            busy: 0,
            waiting: 0,
            waiting_seats: 0,
            executing_seats: 0,
            turn: 0,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Lets virtual time go on: `limit` is how many seats are served at once.
    fn advance(&mut self, now: u64, limit: u32) {
        let passed = now.saturating_sub(self.real_now);
        self.real_now = self.real_now.max(now);
        if self.busy > 0 {
            let served = (self.executing_seats + self.waiting_seats).min(limit.max(1));
            #[allow(clippy::cast_precision_loss, reason = "a day in nanoseconds is exact")]
            let passed = passed as f64;
            self.virtual_now += passed * f64::from(served) / f64::from(self.busy);
        }
    }

    /// Puts a request of the flow that `hash` stands for into the emptiest of its flow's queues.
    pub(super) fn arrive(&mut self, now: u64, limit: u32, hash: u64, id: Id, seats: u32) -> Arrival {
        self.advance(now, limit);
        let chosen = self.choose(hash);
        let length = self.shape.length;
        let Some(queue) = self.queues.get_mut(chosen) else { return Arrival::Full };
        if queue.waiting.len() >= length {
            return Arrival::Full;
        }
        if !queue.busy() {
            queue.next = self.virtual_now;
            self.busy += 1;
        }
        queue.waiting.push_back(Waiting { id, seats });
        queue.waiting_seats += seats;
        self.waiting += 1;
        self.waiting_seats += seats;
        Arrival::Queued(chosen)
    }

    /// The hand of a flow is always the same; of it the queue with the least work is taken.
    fn choose(&self, hash: u64) -> usize {
        let mut best = (u32::MAX, 0);
        deal(hash, self.shape.queues, self.shape.hand, |queue| {
            let work = self.queues.get(queue).map_or(u32::MAX, Queue::work);
            if work < best.0 {
                best = (work, queue);
            }
        });
        best.1
    }

    /// The request that is next, if there is `room` for its seats. It begins.
    pub(super) fn begin(
        &mut self,
        now: u64,
        limit: u32,
        room: impl Fn(u32) -> bool,
    ) -> Option<(Id, usize, u32)> {
        if self.waiting == 0 {
            return None;
        }
        self.advance(now, limit);
        let count = self.queues.len();
        let mut best: Option<(f64, usize, u32)> = None;
        for i in (0..count).map(|i| (self.turn + 1 + i) % count) {
            let Some((queue, head)) = self.queues.get(i).and_then(|q| Some((q, q.waiting.front()?))) else {
                continue;
            };
            let finish = queue.next + GUESS * f64::from(head.seats);
            if best.is_none_or(|(other, ..)| finish < other) {
                best = Some((finish, i, head.seats));
            }
        }
        // the next one waits for its seats: a smaller one does not overtake it
        let (_, index, seats) = best.filter(|(.., seats)| room(*seats))?;
        let queue = self.queues.get_mut(index)?;
        let begun = queue.waiting.pop_front()?;
        queue.waiting_seats -= seats;
        queue.executing_seats += seats;
        queue.executing += 1;
        // a queue never saves up time at which it had nothing to do
        queue.next = queue.next.max(self.virtual_now - GUESS * f64::from(seats)) + GUESS * f64::from(seats);
        self.turn = index;
        self.waiting -= 1;
        self.waiting_seats -= seats;
        self.executing_seats += seats;
        Some((begun.id, index, seats))
    }

    /// A request that began `took` ago is over.
    pub(super) fn end(&mut self, now: u64, limit: u32, index: usize, seats: u32, took: u64) {
        self.advance(now, limit);
        self.executing_seats = self.executing_seats.saturating_sub(seats);
        let Some(queue) = self.queues.get_mut(index) else { return };
        queue.executing = queue.executing.saturating_sub(1);
        queue.executing_seats = queue.executing_seats.saturating_sub(seats);
        #[allow(clippy::cast_precision_loss, reason = "a day in nanoseconds is exact")]
        let took = took as f64;
        queue.next += (took - GUESS) * f64::from(seats);
        if !queue.busy() {
            self.busy = self.busy.saturating_sub(1);
        }
    }

    /// A request gives up waiting; false if it does not wait.
    pub(super) fn leave(&mut self, now: u64, limit: u32, index: usize, id: Id) -> bool {
        self.advance(now, limit);
        let Some(queue) = self.queues.get_mut(index) else { return false };
        let Some(at) = queue.waiting.iter().position(|one| one.id == id) else { return false };
        let Some(gone) = queue.waiting.remove(at) else { return false };
        queue.waiting_seats -= gone.seats;
        self.waiting -= 1;
        self.waiting_seats -= gone.seats;
        if !queue.busy() {
            self.busy = self.busy.saturating_sub(1);
        }
        true
    }
}

/// One queue, as whoever debugs wants to see it. Work and virtual time are in seats times seconds.
pub(super) struct Seen {
    pub waiting: Vec<Id>,
    pub waiting_seats: u32,
    pub executing: u32,
    pub executing_seats: u32,
    pub next: f64,
    pub work: f64,
}

impl Queues {
    /// All of them, in order.
    pub(super) fn seen(&self) -> impl Iterator<Item = Seen> + '_ {
        self.queues.iter().map(|queue| Seen {
            waiting: queue.waiting.iter().map(|one| one.id).collect(),
            waiting_seats: queue.waiting_seats,
            executing: queue.executing,
            executing_seats: queue.executing_seats,
            next: queue.next / 1e9,
            work: f64::from(queue.waiting_seats) * GUESS / 1e9,
        })
    }
}

/// Deals `hand` different numbers below `deck`, which `hash` decides: `shufflesharding.Dealer`.
fn deal(mut hash: u64, deck: usize, hand: usize, mut take: impl FnMut(usize)) {
    // what upstream validates: no larger hand is allowed
    let mut dealt = [0usize; 16];
    let hand = hand.min(dealt.len()).min(deck);
    for i in 0..hand {
        let left = (deck - i) as u64;
        let mut card = usize::try_from(hash % left).unwrap_or(0);
        hash /= left;
        // numbers dealt before are passed over, in ascending order
        for before in &dealt[..i] {
            if *before <= card {
                card += 1;
            }
        }
        let place = dealt[..i].partition_point(|one| *one < card);
        dealt[place..=i].rotate_right(1);
        dealt[place] = card;
        take(card);
    }
}

#[cfg(test)]
mod tests;
