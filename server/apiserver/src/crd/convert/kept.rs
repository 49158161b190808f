//! Converted entries that are kept for lists and watches: for a while, as a converter may be repaired meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sampan_api::crd::Version;
use sampan_api::kinds::Kind;
use sampan_store::{Entry, Key};
use tokio::time::Instant;

/// The most that is kept, in bytes; when there is more, what is oldest goes.
const MOST: usize = 32 << 20;
/// How long one is kept.
const AGE: Duration = Duration::from_secs(120);

/// What a conversion makes: an entry, in a version, under a definition since that revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Made {
    key: Key,
    revision: u64,
    api_version: String,
    since: u64,
}

impl Made {
    pub fn of(entry: &Entry, kind: &Kind, version: &Version) -> Self {
        Self {
            key: entry.key.clone(),
            revision: entry.revision,
            api_version: kind.api_version(),
            since: version.since,
        }
    }
}

#[derive(Default)]
pub(super) struct Kept {
    entries: HashMap<Made, (Arc<Entry>, Instant)>,
    /// Since when each is kept, oldest first; also of those that were replaced meanwhile.
    order: VecDeque<(Made, Instant)>,
    bytes: usize,
}

impl Kept {
    pub fn get(&self, made: &Made) -> Option<Arc<Entry>> {
        let (entry, since) = self.entries.get(made)?;
        (since.elapsed() < AGE).then(|| entry.clone())
    }

    pub fn put(&mut self, made: Made, entry: Arc<Entry>) {
        let now = Instant::now();
        self.bytes += entry.value.len();
        self.order.push_back((made.clone(), now));
        if let Some((old, _)) = self.entries.insert(made, (entry, now)) {
            self.bytes -= old.value.len();
        }
        while let Some((oldest, since)) = self.order.front() {
            if self.bytes <= MOST && since.elapsed() < AGE {
                return;
            }
            if self.entries.get(oldest).is_some_and(|(_, at)| at == since)
                && let Some((old, _)) = self.entries.remove(oldest)
            {
                self.bytes -= old.value.len();
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> Made {
        let key = Key::new("tunnels.net.example.com", name);
        Made { key, revision: 1, api_version: "net.example.com/v2".into(), since: 1 }
    }

    fn entry(name: &str, bytes: usize) -> Arc<Entry> {
        let key = Key::new("tunnels.net.example.com", name);
        Arc::new(Entry { key, value: vec![b' '; bytes].into(), revision: 1, columns: Default::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_oldest_goes_first() {
        let mut kept = Kept::default();
        for name in ["a", "b", "c"] {
            kept.put(made(name), entry(name, MOST / 3));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // replaced, and so the youngest
        kept.put(made("a"), entry("a", MOST / 3));
        kept.put(made("d"), entry("d", MOST / 3));
        let there = ["a", "b", "c", "d"].map(|name| kept.get(&made(name)).is_some());
        assert_eq!(there, [true, false, true, true]);
        assert_eq!(kept.bytes, MOST / 3 * 3);
        tokio::time::advance(AGE).await;
        assert!(kept.get(&made("d")).is_none());
        kept.put(made("e"), entry("e", 1));
        assert_eq!((kept.bytes, kept.entries.len(), kept.order.len()), (1, 1, 1));
    }
}
