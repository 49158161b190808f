//! A work queue of keys: each waits at most once, is worked on by one worker at a time, may be delayed, and
//! backs off on its own (client-go `util/workqueue`, default controller rate limiter: 5 ms … 1000 s).

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hashing::{HashMap, HashSet};

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1000);

struct State<T> {
    ready: VecDeque<T>,
    /// What is in `ready`, or was added while it was being worked on.
    dirty: HashSet<T>,
    working: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    sequence: u64,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            dirty: HashSet::default(),
            working: HashSet::default(),
            delayed: BTreeMap::new(),
            due: HashMap::default(),
            failures: HashMap::default(),
            sequence: 0,
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, item: T) {
        if !self.dirty.insert(item.clone()) || self.working.contains(&item) {
            return;
        }
        self.ready.push_back(item);
    }

    /// Keeps the earlier of two delays, as upstream does.
    fn delay(&mut self, item: T, at: Instant) {
        match self.due.get(&item) {
            Some((earlier, _)) if *earlier <= at => return,
            Some(later) => _ = self.delayed.remove(later),
            None => {}
        }
        self.sequence += 1;
        self.due.insert(item.clone(), (at, self.sequence));
        self.delayed.insert((at, self.sequence), item);
    }

    /// Moves what is due to the ready ones; returns when the next will be.
    fn ripen(&mut self, now: Instant) -> Option<Instant> {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            let item = entry.remove();
            self.due.remove(&item);
            self.add(item);
        }
        None
    }

    fn take(&mut self) -> Option<T> {
        let item = self.ready.pop_front()?;
        self.dirty.remove(&item);
        self.working.insert(item.clone());
        Some(item)
    }
}

/// The queue. Cheap to clone; clones share their items.
pub struct Queue<T>(Arc<(Mutex<State<T>>, Notify)>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + Eq + Hash> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self(Arc::new((Mutex::new(State::default()), Notify::new())))
    }

    /// Adds `item`, unless it already waits. An item being worked on comes again when that is done.
    pub fn add(&self, item: T) {
        self.with(|state| state.add(item));
    }

    /// Adds `item` after `delay`; of several delays of one item the earliest holds.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let now = Instant::now();
        let at = now.checked_add(delay).unwrap_or(now + Duration::from_secs(86_400 * 365));
        self.with(|state| state.delay(item, at));
    }

    /// Adds `item` after its own back-off, which doubles at each call until [`Queue::forget`].
    pub fn add_failed(&self, item: T) {
        let failures = {
            let mut state = self.0.0.lock();
            let count = state.failures.entry(item.clone()).or_default();
            *count += 1;
            *count
        };
        self.add_after(item, backoff(failures));
    }

    /// Resets the back-off of `item`.
    pub fn forget(&self, item: &T) {
        self.0.0.lock().failures.remove(item);
    }

    /// How often [`Queue::add_failed`] was called since the last [`Queue::forget`].
    pub fn failures(&self, item: &T) -> u32 {
        self.0.0.lock().failures.get(item).copied().unwrap_or(0)
    }

    /// The next item; it stays with the caller until [`Queue::done`]. Cancel-safe.
    pub async fn next(&self) -> T {
        loop {
            let wake = self.0.1.notified();
            let due = {
                let mut state = self.0.0.lock();
                let due = state.ripen(Instant::now());
                if let Some(item) = state.take() {
                    if !state.ready.is_empty() {
                        self.0.1.notify_one();
                    }
                    return item;
                }
                due
            };
            match due {
                Some(at) => tokio::select! {
                    biased;
                    () = wake => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => wake.await,
            }
        }
    }

    /// The caller has finished with `item`.
    pub fn done(&self, item: &T) {
        self.with(|state| {
            state.working.remove(item);
            if state.dirty.contains(item) {
                state.ready.push_back(item.clone());
            }
        });
    }

    /// How many items are ready now.
    pub fn len(&self) -> usize {
        self.0.0.lock().ready.len()
    }

    /// Whether no item is ready now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with(&self, change: impl FnOnce(&mut State<T>)) {
        change(&mut self.0.0.lock());
        self.0.1.notify_one();
    }
}

/// The pause after the n-th failure in a row.
fn backoff(failures: u32) -> Duration {
    let factor = 2u32.saturating_pow(failures.saturating_sub(1));
    BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::FutureExt;

    #[test]
    fn back_off_doubles_from_5_ms_to_1000_s() {
        let millis: Vec<u128> = [1, 2, 3, 10, 18, 19, 90].map(|n| backoff(n).as_millis()).to_vec();
        assert_eq!(millis, [5, 10, 20, 2560, 655_360, 1_000_000, 1_000_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_per_item_and_no_doubles() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert!(queue.next().now_or_never().is_none(), "a is being worked on");
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn delays_keep_the_earliest_and_come_in_order() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(9));
        queue.add_after("early", Duration::from_secs(60));
        queue.add_after("early", Duration::from_secs(3));
        queue.add_after("early", Duration::from_secs(30));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let item = queue.next().await;
            seen.push((item, start.elapsed().as_secs()));
            queue.done(&item);
        }
        assert_eq!(seen, [("early", 3), ("late", 9)]);
    }

    #[tokio::test(start_paused = true)]
    async fn two_waiting_workers_get_two_items() {
        let queue = Queue::new();
        let (one, two) = (queue.clone(), queue.clone());
        let workers = futures::future::join(async move { one.next().await }, async move { two.next().await });
        let feed = async {
            tokio::task::yield_now().await;
            queue.add(1);
            queue.add(2);
        };
        let ((a, b), ()) = futures::join!(workers, feed);
        assert_eq!(a + b, 3);
    }
}
