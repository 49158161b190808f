//! How long a node's failed daemon pod stays before it is replaced, so that a kubelet which refuses each one is not asked
//! in a loop: a second, doubling, fifteen minutes at most. Pure.

use std::time::Duration;

use sampan_reconcile::HashMap;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(15 * 60);

/// The DaemonSet's uid and generation, and the node.
pub(super) type Place = (String, i64, String);

/// The pauses of all places where a pod failed lately.
#[derive(Debug, Default)]
pub(super) struct Backoff(HashMap<Place, (Instant, Duration)>);

impl Backoff {
    /// What is left of a place's pause; `None` if its failed pod may be replaced.
    pub fn left(&self, place: &Place, now: Instant) -> Option<Duration> {
        let (since, pause) = self.0.get(place)?;
        pause.checked_sub(now.duration_since(*since)).filter(|left| !left.is_zero())
    }

    /// A failed pod is replaced: the next one that fails there waits for longer. Places where nothing failed for twice
    /// the longest pause are forgotten.
    pub fn failed(&mut self, place: Place, now: Instant) {
        self.0.retain(|_, (since, _)| now.duration_since(*since) <= 2 * MAX);
        let next = self.0.get(&place).map_or(FIRST, |(_, pause)| (*pause * 2).min(MAX));
        self.0.insert(place, (now, next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_forgotten() {
        let (mut backoff, began) = (Backoff::default(), Instant::now());
        let place = |node: &str| ("uid".to_owned(), 1, node.to_owned());
        assert_eq!(backoff.left(&place("a"), began), None);
        let mut now = began;
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            backoff.failed(place("a"), now);
            assert_eq!(backoff.left(&place("a"), now), Some(Duration::from_secs(expected)));
            assert_eq!(backoff.left(&place("b"), now), None, "another node waits for nobody");
            now += Duration::from_secs(expected);
            assert_eq!(backoff.left(&place("a"), now), None);
        }
        now += 2 * MAX;
        backoff.failed(place("b"), now);
        backoff.failed(place("a"), now);
        assert_eq!(backoff.left(&place("a"), now), Some(FIRST));
    }
}
