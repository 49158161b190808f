//! What is due when: one deadline a key, the earliest first. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hash;

use sampan_reconcile::HashMap;
use tokio::time::Instant;

/// Deadlines by key. A key has one; setting another replaces it.
pub(crate) struct Timers<K> {
    due: HashMap<K, Instant>,
    /// With those that were replaced since, which are passed over when their time comes.
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K> Default for Timers<K>
where
    K: Ord,
{
    fn default() -> Self {
        Self { due: HashMap::default(), heap: BinaryHeap::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Timers<K> {
    /// Sets the deadline of a key.
    pub fn set(&mut self, key: K, at: Instant) {
        if self.due.insert(key.clone(), at) != Some(at) {
            self.heap.push(Reverse((at, key)));
        }
        if self.heap.len() > 64 + 4 * self.due.len() {
            let due = &self.due;
            self.heap.retain(|Reverse((at, key))| due.get(key) == Some(at));
        }
    }

    /// Takes the deadline of a key away.
    pub fn cancel(&mut self, key: &K) {
        self.due.remove(key);
    }

    /// The earliest deadline.
    pub fn next(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, key))) = self.heap.peek() {
            if self.due.get(key) == Some(at) {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// A key whose deadline has passed; it has none any more.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, key)) = self.heap.pop()?;
        self.due.remove(&key);
        Some(key)
    }

    /// How many keys have a deadline.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_last_deadline_of_a_key_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set("a", at(5));
        timers.set("b", at(3));
        timers.set("a", at(1));
        timers.set("c", at(2));
        timers.cancel(&"c");
        assert_eq!((timers.next(), timers.len()), (Some(at(1)), 2));
        assert_eq!(timers.pop(at(0)), None);
        assert_eq!([timers.pop(at(9)), timers.pop(at(9)), timers.pop(at(9))], [Some("a"), Some("b"), None]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn what_was_replaced_does_not_pile_up() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for second in 0..10_000 {
            timers.set("a", start + Duration::from_secs(20_000 - second));
        }
        assert!(timers.heap.len() <= 70, "{}", timers.heap.len());
        assert_eq!(timers.next(), Some(start + Duration::from_secs(10_001)));
    }
}
