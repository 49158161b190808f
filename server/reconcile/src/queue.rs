//! A work queue of keys: each waits at most once, is worked on by one worker at a time, may be delayed, and
//! backs off on its own (client-go `util/workqueue`, default controller rate limiter: 5 ms … 1000 s). One with a name
//! tells of itself in the metrics.

mod metrics;

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hashing::HashMap;
use metrics::{Load, Measured, Meter};

const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1000);

struct State<T> {
    ready: VecDeque<T>,
    /// What is in `ready`, or was added while it was being worked on; since when.
    dirty: HashMap<T, Instant>,
    /// What is being worked on, since when.
    working: HashMap<T, Instant>,
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    sequence: u64,
    meter: Option<Meter>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            dirty: HashMap::default(),
            working: HashMap::default(),
            delayed: BTreeMap::new(),
            due: HashMap::default(),
            failures: HashMap::default(),
            sequence: 0,
            meter: None,
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, item: T) {
        if self.dirty.contains_key(&item) {
            return;
        }
        self.dirty.insert(item.clone(), Instant::now());
        if let Some(meter) = &self.meter {
            meter.adds.inc();
        }
        if !self.working.contains_key(&item) {
            self.ready.push_back(item);
        }
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
        let (item, now) = (self.ready.pop_front()?, Instant::now());
        if let (Some(since), Some(meter)) = (self.dirty.remove(&item), &self.meter) {
            meter.waited.observe((now - since).as_secs_f64());
        }
        self.working.insert(item.clone(), now);
        Some(item)
    }

    fn done(&mut self, item: &T) {
        if let (Some(since), Some(meter)) = (self.working.remove(item), &self.meter) {
            meter.worked.observe(since.elapsed().as_secs_f64());
        }
        if self.dirty.contains_key(item) {
            self.ready.push_back(item.clone());
        }
    }
}

/// The queue. Cheap to clone; clones share their items.
pub struct Queue<T>(Arc<Shared<T>>);

struct Shared<T>(Mutex<State<T>>, Notify);

impl<T: Send> Measured for Shared<T> {
    fn load(&self) -> Load {
        let state = self.0.lock();
        let ages = state.working.values().map(|since| since.elapsed().as_secs_f64());
        ages.fold(Load { depth: state.dirty.len(), ..Load::default() }, |load, age| Load {
            unfinished_seconds: load.unfinished_seconds + age,
            longest_seconds: load.longest_seconds.max(age),
            ..load
        })
    }
}

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
        Self(Arc::new(Shared(Mutex::new(State::default()), Notify::new())))
    }

    /// An empty queue that the metrics tell of under that name.
    pub fn named(name: &'static str) -> Self
    where
        T: Send + 'static,
    {
        let shared = Arc::new(Shared(Mutex::new(State::default()), Notify::new()));
        let measured: Arc<dyn Measured> = shared.clone();
        shared.0.lock().meter = Some(metrics::meter(name, Arc::downgrade(&measured)));
        Self(shared)
    }

    /// Adds `item`, unless it already waits. An item being worked on comes again when that is done.
    pub fn add(&self, item: T) {
        self.with(|state| state.add(item));
    }

    /// Adds `item` after `delay`; of several delays of one item the earliest holds.
    pub fn add_after(&self, item: T, delay: Duration) {
        let now = Instant::now();
        let at = now.checked_add(delay).unwrap_or(now + Duration::from_secs(86_400 * 365));
        self.with(|state| {
            if let Some(meter) = &state.meter {
                meter.retries.inc();
            }
            match delay.is_zero() {
                true => state.add(item),
                false => state.delay(item, at),
            }
        });
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
        self.with(|state| state.done(item));
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
    async fn a_named_queue_tells_of_itself() {
        let queue = Queue::named("told");
        queue.add("a");
        queue.add("a");
        queue.add("b");
        tokio::time::advance(Duration::from_secs(2)).await;
        let item = queue.next().await;
        queue.add(item);
        tokio::time::advance(Duration::from_secs(3)).await;
        let load = Load { depth: 2, unfinished_seconds: 3.0, longest_seconds: 3.0 };
        assert_eq!(queue.0.load(), load);
        queue.add_after("c", Duration::ZERO);
        queue.done(&item);
        let text = sampan_process::metrics::encode();
        for line in [
            "workqueue_adds_total{name=\"told\"} 4",
            "workqueue_retries_total{name=\"told\"} 1",
            "workqueue_depth{name=\"told\"} 3",
            "workqueue_unfinished_work_seconds{name=\"told\"} 0.0",
            "workqueue_longest_running_processor_seconds{name=\"told\"} 0.0",
            "workqueue_queue_duration_seconds_sum{name=\"told\"} 2.0",
            "workqueue_work_duration_seconds_sum{name=\"told\"} 3.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        drop(queue);
        assert!(!sampan_process::metrics::encode().contains("workqueue_depth{name=\"told\"}"));
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
