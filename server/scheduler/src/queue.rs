//! Pods that wait for a node: those to try now, and those that fit nowhere until something changes.
//!
//! Most important first, then oldest. A pod that fitted nowhere comes back when the world changed, not
//! earlier than its back-off (1 s, doubling to 10 s, as upstream's) unless there is no other to try: then the
//! back-off spares nobody anything (upstream's `SchedulerPopFromBackoffQ`). One that could not be bound waits in
//! any case.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sampan_reconcile::HashMap;
use tokio::time::Instant;

use crate::config::Configuration;
use crate::pods::PodInfo;

type Order = (Reverse<i32>, Option<Timestamp>, String);

/// A pod that was tried without success.
struct Waiting {
    pod: Arc<PodInfo>,
    /// Not before this moment.
    ready_at: Instant,
    /// What may help it.
    hope: Hope,
}

/// What may help a pod that was tried without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hope {
    /// An event that hints say matters to it.
    Hint,
    /// Any event: who refused it gives no hints.
    Event,
    /// Another try, after its back-off.
    Time,
}

/// What was done for a pod that has no node yet.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// How often it was tried.
    pub count: u32,
    /// When it was tried first.
    pub first: Instant,
    /// When it was tried last.
    pub last: Instant,
}

/// How many pods wait, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// To be tried now.
    pub active: usize,
    /// To be tried when their back-off ends.
    pub back_off: usize,
    /// Until something changes.
    pub unschedulable: usize,
}

/// All pods that wait.
pub struct Queue {
    back_off: Duration,
    back_off_max: Duration,
    active: BTreeMap<Order, Arc<PodInfo>>,
    /// Where in `active` a pod is.
    orders: HashMap<String, Order>,
    waiting: HashMap<String, Waiting>,
    /// The hopeful of `waiting`, by when they are ready.
    due: BTreeSet<(Instant, String)>,
    /// Those that are tried again in any case, by when.
    refused: BTreeSet<(Instant, String)>,
    /// How often a pod failed.
    attempts: HashMap<String, u32>,
    tries: HashMap<String, Tries>,
}

fn order(pod: &PodInfo) -> Order {
    let created = pod.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (Reverse(pod.priority()), created, pod.key())
}

impl Default for Queue {
    fn default() -> Self {
        let Configuration { back_off, back_off_max, .. } = Configuration::default();
        Self::new(back_off, back_off_max)
    }
}

impl Queue {
    /// Empty; with the first pause of a pod that fitted nowhere, and the longest.
    pub fn new(back_off: Duration, back_off_max: Duration) -> Self {
        Self {
            back_off,
            back_off_max,
            active: BTreeMap::new(),
            orders: HashMap::default(),
            waiting: HashMap::default(),
            due: BTreeSet::new(),
            refused: BTreeSet::new(),
            attempts: HashMap::default(),
            tries: HashMap::default(),
        }
    }

    /// A pod is new or changed in a way that may matter: it is tried now.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        let (key, order) = (pod.key(), order(&pod));
        self.take_out(&key);
        self.orders.insert(key, order.clone());
        self.active.insert(order, pod);
    }

    /// A newer state of a pod that already waits; where it waits does not change.
    pub fn refresh(&mut self, pod: &Arc<PodInfo>) {
        let key = pod.key();
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.pod = pod.clone();
        } else {
            self.add(pod.clone());
        }
    }

    /// A pod is gone or has a node.
    pub fn remove(&mut self, key: &str) {
        self.take_out(key);
        self.attempts.remove(key);
        self.tries.remove(key);
    }

    /// A pod is tried.
    pub fn tried(&mut self, key: String, now: Instant) {
        let tries = self.tries.entry(key).or_insert(Tries { count: 0, first: now, last: now });
        tries.count += 1;
        tries.last = now;
    }

    /// What was done for a pod so far.
    pub fn tries(&self, key: &str) -> Option<Tries> {
        self.tries.get(key).copied()
    }

    /// How many wait.
    pub fn lengths(&self) -> Lengths {
        let back_off = self.due.len() + self.refused.len();
        let unschedulable = self.waiting.len().saturating_sub(back_off);
        Lengths { active: self.active.len(), back_off, unschedulable }
    }

    fn take_out(&mut self, key: &str) {
        self.take_waiting(key);
        if let Some(order) = self.orders.remove(key) {
            self.active.remove(&order);
        }
    }

    fn take_waiting(&mut self, key: &str) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        let place = (waiting.ready_at, key.to_owned());
        if !self.due.remove(&place) {
            self.refused.remove(&place);
        }
        Some(waiting)
    }

    /// Whether a pod can be tried now.
    pub fn has_active(&self) -> bool {
        !self.active.is_empty() || !self.due.is_empty()
    }

    /// The pod to try next.
    pub fn pop(&mut self) -> Option<Arc<PodInfo>> {
        if let Some((_, pod)) = self.active.pop_first() {
            self.orders.remove(&pod.key());
            return Some(pod);
        }
        let (_, key) = self.due.pop_first()?;
        self.waiting.remove(&key).map(|waiting| waiting.pod)
    }

    /// A pod fitted nowhere, or could not be bound.
    pub fn failed(&mut self, pod: Arc<PodInfo>, hope: Hope, now: Instant) {
        let key = pod.key();
        let attempts = self.attempts.entry(key.clone()).or_default();
        let pause = self.back_off.saturating_mul(1 << (*attempts).min(16)).min(self.back_off_max);
        *attempts += 1;
        self.take_waiting(&key);
        let ready_at = now + pause;
        if hope == Hope::Time {
            self.refused.insert((ready_at, key.clone()));
        }
        self.waiting.insert(key, Waiting { pod, ready_at, hope });
    }

    /// Something changed: all that wait are tried again when their back-off ends.
    pub fn world_changed(&mut self) {
        if self.due.len() + self.refused.len() == self.waiting.len() {
            return;
        }
        for (key, waiting) in &mut self.waiting {
            if std::mem::replace(&mut waiting.hope, Hope::Time) != Hope::Time {
                self.due.insert((waiting.ready_at, key.clone()));
            }
        }
    }

    /// Something changed that matters to some: those that wait are tried again when their back-off ends.
    pub fn world_changed_for(&mut self, matters: impl Fn(&PodInfo) -> bool) {
        for (key, waiting) in &mut self.waiting {
            let helps = match waiting.hope {
                Hope::Hint => matters(&waiting.pod),
                Hope::Event => true,
                Hope::Time => false,
            };
            if helps {
                waiting.hope = Hope::Time;
                self.due.insert((waiting.ready_at, key.clone()));
            }
        }
    }

    /// Moves what is due to the pods to try; returns when the next is.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        for of in [&mut self.due, &mut self.refused] {
            let later = of.split_off(&(now + Duration::from_nanos(1), String::new()));
            for (_, key) in std::mem::replace(of, later) {
                if let Some(Waiting { pod, .. }) = self.waiting.remove(&key) {
                    let order = order(&pod);
                    self.orders.insert(key, order.clone());
                    self.active.insert(order, pod);
                }
            }
        }
        self.due.first().into_iter().chain(self.refused.first()).map(|(ready_at, _)| *ready_at).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const BACKOFF: Duration = Duration::from_secs(1);
    const BACKOFF_MAX: Duration = Duration::from_secs(10);

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let object = json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"containers": [], "priority": priority}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(object).unwrap())))
    }

    #[test]
    fn the_most_important_goes_first() {
        let mut queue = Queue::default();
        [pod("b", 0), pod("a", 0), pod("z", 5)].into_iter().for_each(|pod| queue.add(pod));
        let names: Vec<String> = std::iter::from_fn(|| queue.pop()).map(|pod| pod.key()).collect();
        assert_eq!(names, ["d/z", "d/a", "d/b"]);
    }

    #[test]
    fn tries_and_lengths_are_counted() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(pod("a", 0));
        queue.failed(pod("b", 0), Hope::Hint, now);
        queue.failed(pod("c", 0), Hope::Time, now);
        assert_eq!(queue.lengths(), Lengths { active: 1, back_off: 1, unschedulable: 1 });
        queue.tried("d/b".to_owned(), now);
        queue.tried("d/b".to_owned(), now + BACKOFF);
        let tries = queue.tries("d/b").unwrap();
        assert_eq!((tries.count, tries.first, tries.last), (2, now, now + BACKOFF));
        queue.remove("d/b");
        assert!(queue.tries("d/b").is_none());
        assert_eq!(queue.lengths().unschedulable, 0);
    }

    #[test]
    fn a_change_gives_hope_to_whom_it_matters() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        ["a", "b"].iter().for_each(|name| queue.failed(pod(name, 0), Hope::Hint, now));
        queue.world_changed_for(|pod| pod.key() == "d/b");
        queue.advance(now + BACKOFF_MAX);
        assert_eq!(queue.pop().map(|pod| pod.key()).as_deref(), Some("d/b"));
        assert!(queue.pop().is_none());
    }

    #[test]
    fn a_pod_that_was_refused_without_hints_is_brought_back_by_any_event() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.failed(pod("a", 0), Hope::Event, now);
        assert_eq!(queue.advance(now + BACKOFF_MAX), None, "time alone does not help");
        queue.world_changed_for(|_| false);
        assert_eq!(queue.advance(now), Some(now + BACKOFF));
    }

    #[test]
    fn a_failed_pod_waits_for_a_change_and_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.failed(pod("a", 0), Hope::Hint, now);
        assert_eq!(queue.advance(now + BACKOFF_MAX), None);
        queue.world_changed();
        assert_eq!(queue.advance(now), Some(now + BACKOFF));
        queue.add(pod("new", 0));
        assert_eq!(
            queue.pop().map(|pod| pod.key()).as_deref(),
            Some("d/new"),
            "who was not tried yet is first"
        );
        queue.advance(now + BACKOFF);
        assert!(queue.active.len() == 1 && queue.due.is_empty());
        let again = queue.pop().unwrap();
        queue.failed(again, Hope::Time, now);
        assert_eq!(queue.advance(now), Some(now + 2 * BACKOFF));
    }

    #[test]
    fn a_back_off_is_cut_short_while_nobody_else_is_to_be_tried_but_not_after_a_refused_binding() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.failed(pod("a", 0), Hope::Hint, now);
        queue.failed(pod("b", 0), Hope::Time, now);
        assert!(!queue.has_active() && queue.pop().is_none(), "nothing changed");
        queue.world_changed();
        assert!(queue.has_active());
        assert_eq!(queue.pop().map(|pod| pod.key()).as_deref(), Some("d/a"));
        assert!(queue.pop().is_none());
        queue.advance(now + BACKOFF);
        assert_eq!(queue.pop().map(|pod| pod.key()).as_deref(), Some("d/b"));
    }
}
