//! Pods that wait for a node: those to try now, and those that fit nowhere until something changes.
//!
//! Most important first, then oldest. A pod that fitted nowhere comes back when the world changed, not
//! earlier than its back-off (1 s, doubling to 10 s, as upstream's).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::pods::PodInfo;

const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

type Order = (Reverse<i32>, Option<Timestamp>, String);

/// A pod that was tried without success.
struct Waiting {
    pod: Arc<PodInfo>,
    /// Not before this moment.
    ready_at: Instant,
    /// Something changed since.
    hopeful: bool,
}

/// All pods that wait.
#[derive(Default)]
pub struct Queue {
    active: BTreeMap<Order, Arc<PodInfo>>,
    waiting: HashMap<String, Waiting>,
    attempts: HashMap<String, u32>,
}

fn order(pod: &PodInfo) -> Order {
    let created = pod.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (Reverse(pod.priority()), created, pod.key())
}

impl Queue {
    /// A pod is new or changed in a way that may matter: it is tried now.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.take_out(&pod.key());
        self.active.insert(order(&pod), pod);
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
    }

    fn take_out(&mut self, key: &str) {
        self.waiting.remove(key);
        self.active.retain(|(_, _, other), _| other != key);
    }

    /// Whether a pod can be tried now.
    pub fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The pod to try next.
    pub fn pop(&mut self) -> Option<Arc<PodInfo>> {
        self.active.pop_first().map(|(_, pod)| pod)
    }

    /// A pod fitted nowhere, or could not be bound (`hopeful`: try again after the back-off in any case).
    pub fn failed(&mut self, pod: Arc<PodInfo>, hopeful: bool, now: Instant) {
        let key = pod.key();
        let attempts = self.attempts.entry(key.clone()).or_default();
        let pause = BACKOFF.saturating_mul(1 << (*attempts).min(4)).min(BACKOFF_MAX);
        *attempts += 1;
        self.waiting.insert(key, Waiting { pod, ready_at: now + pause, hopeful });
    }

    /// Something changed: all that wait are tried again when their back-off ends.
    pub fn world_changed(&mut self) {
        self.waiting.values_mut().for_each(|waiting| waiting.hopeful = true);
    }

    /// Moves what is due to the pods to try; returns when the next is.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        let due: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.hopeful && waiting.ready_at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            if let Some(waiting) = self.waiting.remove(&key) {
                self.active.insert(order(&waiting.pod), waiting.pod);
            }
        }
        self.waiting.values().filter(|waiting| waiting.hopeful).map(|waiting| waiting.ready_at).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

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
    fn a_failed_pod_waits_for_a_change_and_its_back_off() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.failed(pod("a", 0), false, now);
        assert_eq!(queue.advance(now + BACKOFF_MAX), None);
        queue.world_changed();
        assert_eq!(queue.advance(now), Some(now + BACKOFF));
        assert!(queue.pop().is_none());
        queue.advance(now + BACKOFF);
        let again = queue.pop().unwrap();
        queue.failed(again, true, now);
        assert_eq!(queue.advance(now), Some(now + 2 * BACKOFF));
    }
}
