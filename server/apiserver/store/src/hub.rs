//! Delivers published events to watchers, each through a bounded queue of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::task::Waker;

use parking_lot::Mutex;

use crate::types::Event;

/// Where one watcher's events wait.
#[derive(Debug, Default)]
pub struct Queue {
    /// Events to deliver, in order.
    pub events: VecDeque<Arc<Event>>,
    /// Too many waited: the watcher is told and ends.
    pub lagged: bool,
    /// The store is closed: the watcher ends when the queue is empty.
    pub closed: bool,
    /// Who to wake.
    pub waker: Option<Waker>,
}

/// A watcher as the hub sees it.
#[derive(Debug)]
pub struct Watcher {
    prefix: Box<str>,
    /// Events at and below this revision were replayed.
    from: u64,
    limit: usize,
    queue: Mutex<Queue>,
}

impl Watcher {
    /// A watcher of names under `prefix` that has been replayed what happened up to `from`.
    pub fn new(prefix: &str, from: u64, limit: usize) -> Arc<Self> {
        Arc::new(Self { prefix: prefix.into(), from, limit, queue: Mutex::default() })
    }

    /// Its queue.
    pub fn queue(&self) -> &Mutex<Queue> {
        &self.queue
    }

    /// Queues those of `events` that are for this watcher; false once it is to be forgotten.
    fn push(&self, events: &[Arc<Event>]) -> bool {
        let wanted = |event: &&Arc<Event>| {
            event.revision > self.from && event.entry.key.name.starts_with(&*self.prefix)
        };
        let mut queue = self.queue.lock();
        let before = queue.events.len();
        queue.events.extend(events.iter().filter(wanted).cloned());
        if queue.events.len() == before {
            return true;
        }
        if queue.events.len() > self.limit {
            queue.lagged = true;
            queue.events = VecDeque::new();
        }
        let (keep, waker) = (!queue.lagged, queue.waker.take());
        drop(queue);
        wake(waker);
        keep
    }

    fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let waker = queue.waker.take();
        drop(queue);
        wake(waker);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// All watchers by bucket.
#[derive(Debug, Default)]
pub struct Hub {
    watchers: HashMap<Box<str>, Vec<Weak<Watcher>>>,
    revision: u64,
    closed: bool,
}

impl Hub {
    /// A hub that has delivered everything up to `revision`.
    pub fn new(revision: u64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// The last revision delivered to all queues.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Adds a watcher of `bucket`.
    pub fn add(&mut self, bucket: &str, watcher: &Arc<Watcher>) {
        if self.closed {
            watcher.close();
        }
        let watchers = self.watchers.entry(bucket.into()).or_default();
        if watchers.len() == watchers.capacity() {
            watchers.retain(|watcher| watcher.strong_count() > 0);
        }
        watchers.push(Arc::downgrade(watcher));
    }

    /// Delivers `events`, which are in revision order.
    pub fn publish(&mut self, events: &[Arc<Event>]) {
        for run in by_bucket(events) {
            let Some(watchers) = self.watchers.get_mut(&*run[0].entry.key.bucket) else { continue };
            watchers.retain(|watcher| watcher.upgrade().is_some_and(|watcher| watcher.push(&run)));
        }
        if let Some(last) = events.last() {
            self.revision = last.revision;
        }
    }

    /// Ends all watches.
    pub fn close(&mut self) {
        self.closed = true;
        for watcher in self.watchers.drain().flat_map(|(_, watchers)| watchers) {
            if let Some(watcher) = watcher.upgrade() {
                watcher.close();
            }
        }
    }
}

/// `events` grouped by bucket, in order within each.
fn by_bucket(events: &[Arc<Event>]) -> Vec<Vec<Arc<Event>>> {
    let mut groups: Vec<Vec<Arc<Event>>> = Vec::new();
    for event in events {
        match groups.iter_mut().find(|group| group[0].entry.key.bucket == event.entry.key.bucket) {
            Some(group) => group.push(event.clone()),
            None => groups.push(vec![event.clone()]),
        }
    }
    groups
}
