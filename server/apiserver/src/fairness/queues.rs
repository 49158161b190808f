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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const SHAPE: Shape = Shape { queues: 64, hand: 6, length: 50 };
    const MS: u64 = 1_000_000;

    #[test]
    fn hands_are_of_different_cards() {
        for hash in (0..10_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let mut cards = Vec::new();
            deal(hash, 64, 6, |card| cards.push(card));
            let distinct: BTreeSet<_> = cards.iter().copied().collect();
            assert!(distinct.len() == 6 && cards.iter().all(|card| *card < 64), "{hash} {cards:?}");
        }
        let mut whole = Vec::new();
        deal(u64::MAX, 4, 9, |card| whole.push(card));
        whole.sort_unstable();
        assert_eq!(whole, [0, 1, 2, 3]);
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let mut queues = Queues::new(Shape { queues: 1, hand: 1, length: 2 });
        let arrivals: Vec<Arrival> = (0..3).map(|id| queues.arrive(0, 1, 7, id, 1)).collect();
        assert_eq!(arrivals, [Arrival::Queued(0), Arrival::Queued(0), Arrival::Full]);
        assert!(queues.leave(0, 1, 0, 1) && !queues.leave(0, 1, 0, 1));
        assert_eq!(queues.arrive(0, 1, 7, 9, 1), Arrival::Queued(0));
        assert_eq!(queues.begin(0, 1, |_| true), Some((0, 0, 1)));
        assert_eq!(queues.begin(0, 1, |_| false), None);
        assert_eq!(queues.begin(0, 1, |_| true).map(|begun| begun.0), Some(9));
        assert_eq!((queues.begin(0, 1, |_| true), queues.waiting()), (None, 0));
    }

    /// Serves flows, each of which always has `depth` requests waiting, for a while; how many seats each got.
    fn serve(flows: &[(u64, u32, u64, usize)], limit: u32, length: u64) -> BTreeMap<u64, u64> {
        let mut queues = Queues::new(SHAPE);
        let (mut now, mut next, mut free) = (0u64, 0u64, limit);
        let mut of: BTreeMap<Id, usize> = BTreeMap::new();
        let mut running: Vec<(u64, Id, usize, u32, u64)> = Vec::new();
        let mut served: BTreeMap<u64, u64> = BTreeMap::new();
        let mut waiting = vec![0usize; flows.len()];
        while now < length {
            for (i, (hash, seats, _, depth)) in flows.iter().enumerate() {
                while waiting[i] < *depth {
                    next += 1;
                    if queues.arrive(now, limit, *hash, next, *seats) == Arrival::Full {
                        break;
                    }
                    of.insert(next, i);
                    waiting[i] += 1;
                }
            }
            while let Some((id, queue, seats)) = queues.begin(now, limit, |seats| seats <= free) {
                let flow = of.remove(&id).unwrap();
                waiting[flow] -= 1;
                free -= seats;
                running.push((now + flows[flow].2, id, queue, seats, now));
                *served.entry(flows[flow].0).or_default() += u64::from(seats) * flows[flow].2 / MS;
            }
            running.sort_unstable();
            let (end, _, queue, seats, began) = running.remove(0);
            now = end;
            free += seats;
            queues.end(now, limit, queue, seats, now - began);
        }
        served
    }

    #[test]
    fn a_storm_of_one_flow_leaves_the_others_their_share() {
        // hash, seats, duration, depth; few queues are shared by these hashes
        let storm = (11, 1, 10 * MS, 40);
        for other in [(1_000_003, 1, 10 * MS, 4), (77_777_777, 1, 10 * MS, 4), (123_456_789, 1, 10 * MS, 4)] {
            let served = serve(&[storm, other], 4, 4000 * MS);
            let share = |hash: u64| served.get(&hash).copied().unwrap_or(0);
            // the storm fills up to six queues; the other has at least one of seven
            assert!(share(other.0) * 8 >= share(storm.0), "{served:?}");
        }
    }

    #[test]
    fn seats_and_time_count_not_requests() {
        let hand = |hash| {
            let mut cards = Vec::new();
            deal(hash, SHAPE.queues, SHAPE.hand, |card| cards.push(card));
            cards
        };
        // flows whose hands do not meet
        let apart = |hash: &u64| !hand(*hash).iter().any(|card| hand(0).contains(card));
        let wide = (0, 4, 10 * MS, 3);
        let narrow =
            ((1..).map(|i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).find(apart).unwrap(), 1, 10 * MS, 12);
        let served = serve(&[wide, narrow], 8, 4000 * MS);
        let (a, b) = (served[&wide.0], served[&narrow.0]);
        assert!(a * 3 >= b && b * 3 >= a, "{served:?}");
    }

    #[test]
    fn everything_that_came_is_served_or_refused_once() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut step = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for _ in 0..200 {
            let mut queues = Queues::new(Shape { queues: 5, hand: 2, length: 3 });
            let (mut here, mut inside, mut now, mut came, mut gone) =
                (BTreeMap::new(), Vec::new(), 0, 0u64, 0u64);
            for _ in 0..300 {
                now += step() % 5_000_000;
                match step() % 4 {
                    0 | 1 => {
                        came += 1;
                        match queues.arrive(now, 3, step(), came, 1 + (step() % 3) as u32) {
                            Arrival::Queued(queue) => drop(here.insert(came, queue)),
                            Arrival::Full => gone += 1,
                        }
                    }
                    2 => {
                        let free = 6u32.saturating_sub(inside.iter().map(|(_, seats, _)| *seats).sum());
                        if let Some((id, queue, seats)) = queues.begin(now, 3, |seats| seats <= free) {
                            assert_eq!(here.remove(&id), Some(queue));
                            inside.push((queue, seats, now));
                        }
                    }
                    _ if step() % 2 == 0 => {
                        if let Some((queue, seats, began)) = inside.pop() {
                            queues.end(now, 3, queue, seats, now - began);
                            gone += 1;
                        }
                    }
                    _ => {
                        if let Some((id, queue)) = here.pop_first() {
                            assert!(queues.leave(now, 3, queue, id));
                            gone += 1;
                        }
                    }
                }
                assert_eq!(queues.waiting(), here.len());
                assert_eq!(came, gone + here.len() as u64 + inside.len() as u64);
                let seats: u32 = inside.iter().map(|(_, seats, _)| *seats).sum();
                assert_eq!(queues.executing_seats, seats);
                assert_eq!(queues.busy as usize, queues.queues.iter().filter(|queue| queue.busy()).count());
            }
        }
    }
}
