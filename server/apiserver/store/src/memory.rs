//! Current state and recent history in memory. Plain data: the writer changes it, everybody reads it.

use std::collections::{HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::error::Compacted;
use crate::types::{Entry, Event, EventKind, Key};

/// The entries of one bucket by name.
pub type Map = OrdMap<Arc<str>, Arc<Entry>>;

/// An entry as it was, and as it is.
pub type Change = (Option<Arc<Entry>>, Option<Arc<Entry>>);

/// One bucket at one revision; never changes, cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision at which the bucket looked so.
    pub revision: u64,
    /// Its entries by name.
    pub map: Map,
}

impl Snapshot {
    /// Entries with names above `after` (all when `None`), in order.
    pub fn after(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<Entry>> {
        let low = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.map.range::<_, str>((low, Bound::Unbounded)).map(|(_, entry)| entry)
    }

    /// Entries whose names begin with `prefix`, in order.
    pub fn prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.prefix_after(prefix, None)
    }

    /// Entries whose names begin with `prefix` and are above `after`, in order: a page of a paged list.
    pub fn prefix_after<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let low = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let range = self.map.range::<_, str>((low, Bound::Unbounded));
        range.take_while(move |(name, _)| name.starts_with(prefix)).map(|(_, entry)| entry)
    }

    /// The entry called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.map.get(name)
    }

    /// What is not as it was in another snapshot of the bucket: entries as they were, and as they are; all are new where
    /// there is no other. Costs what has changed, not what there is.
    pub fn changes(&self, before: Option<&Self>) -> Vec<Change> {
        let Some(before) = before else {
            return self.map.values().map(|new| (None, Some(new.clone()))).collect();
        };
        let change = |item: DiffItem<'_, '_, Arc<str>, Arc<Entry>>| match item {
            DiffItem::Add(_, new) => (None, Some(new.clone())),
            DiffItem::Update { old, new } => (Some(old.1.clone()), Some(new.1.clone())),
            DiffItem::Remove(_, old) => (Some(old.clone()), None),
        };
        before.map.diff(&self.map).map(change).collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

#[derive(Default, Debug)]
struct Bucket {
    current: Map,
    ring: VecDeque<Arc<Event>>,
}

/// Everything published.
#[derive(Default, Debug)]
pub struct Memory {
    revision: u64,
    /// History at and below this revision may be gone.
    compacted: u64,
    /// Revisions strictly between these were published before a crash and may have been lost.
    lost: (u64, u64),
    buckets: HashMap<Arc<str>, Bucket>,
    ring: VecDeque<Arc<Event>>,
    ring_bytes: u64,
}

impl Memory {
    /// State as loaded: current entries per bucket, history in revision order.
    pub fn loaded(
        buckets: HashMap<Arc<str>, Map>,
        history: Vec<Arc<Event>>,
        compacted: u64,
        written: u64,
        reserved: u64,
    ) -> Self {
        let buckets = buckets
            .into_iter()
            .map(|(name, current)| (name, Bucket { current, ring: VecDeque::new() }))
            .collect();
        let mut memory =
            Self { revision: reserved, compacted, lost: (written, reserved), buckets, ..Self::default() };
        for event in history {
            memory.remember(event);
        }
        memory
    }

    /// The last published revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision that lists may ask for and watches may resume after.
    pub fn oldest(&self) -> u64 {
        self.compacted
    }

    /// The current state of `key`.
    pub fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.buckets.get(&key.bucket)?.current.get(&key.name)
    }

    /// The bucket as it is.
    pub fn list(&self, bucket: &str) -> Snapshot {
        let map = self.buckets.get(bucket).map(|bucket| bucket.current.clone()).unwrap_or_default();
        Snapshot { revision: self.revision, map }
    }

    /// Names of all buckets that ever held something.
    pub fn buckets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.buckets.keys()
    }

    /// Whether the history after `revision` is whole.
    pub fn reaches(&self, revision: u64) -> Result<(), Compacted> {
        let lost = self.lost.0 < revision && revision < self.lost.1;
        match revision < self.compacted || lost {
            true if lost => Err(Compacted { oldest: self.lost.1 }),
            true => Err(Compacted { oldest: self.compacted }),
            false => Ok(()),
        }
    }

    /// Events of `bucket` under `prefix` after `revision`, in order.
    pub fn since(&self, bucket: &str, prefix: &str, revision: u64) -> VecDeque<Arc<Event>> {
        let Some(bucket) = self.buckets.get(bucket) else { return VecDeque::new() };
        let first = bucket.ring.partition_point(|event| event.revision <= revision);
        let later = bucket.ring.range(first..);
        later.filter(|event| event.entry.key.name.starts_with(prefix)).cloned().collect()
    }

    /// Publishes `events`, which follow all before.
    pub fn apply(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let key = &event.entry.key;
            let bucket = self.bucket(&key.bucket);
            match event.kind {
                EventKind::Deleted => bucket.current.remove(&key.name),
                _ => bucket.current.insert(key.name.clone(), event.entry.clone()),
            };
            self.remember(event.clone());
            self.revision = event.revision;
        }
    }

    fn bucket(&mut self, name: &Arc<str>) -> &mut Bucket {
        if !self.buckets.contains_key(name) {
            self.buckets.insert(name.clone(), Bucket::default());
        }
        self.buckets.entry(name.clone()).or_default()
    }

    fn remember(&mut self, event: Arc<Event>) {
        self.ring_bytes += event.bytes();
        self.bucket(&event.entry.key.bucket.clone()).ring.push_back(event.clone());
        self.ring.push_back(event);
    }

    /// What [`Store::list_at`](crate::Store::list_at) needs: the current map and the events to undo, newest
    /// first. Undoing is the caller's, outside the lock.
    pub fn before(&self, bucket: &str, revision: u64) -> Result<(Snapshot, Vec<Arc<Event>>), Compacted> {
        self.reaches(revision)?;
        let now = self.list(bucket);
        let ring = self.buckets.get(bucket).map(|bucket| &bucket.ring);
        let newest_first = ring.into_iter().flat_map(|ring| ring.iter().rev());
        let undo = newest_first.take_while(|event| event.revision > revision).cloned().collect();
        Ok((now, undo))
    }

    /// When the oldest event kept happened.
    pub fn oldest_event_at(&self) -> Option<i64> {
        self.ring.front().map(|event| event.at)
    }

    /// Whether the history is over `max_bytes`.
    pub fn over(&self, max_bytes: u64) -> bool {
        self.ring_bytes > max_bytes
    }

    /// Forgets up to `limit` events that happened at or before `cutoff`, or that are beyond `max_bytes`, and
    /// none above `written`. Returns them.
    pub fn compact(&mut self, cutoff: i64, max_bytes: u64, written: u64, limit: usize) -> Vec<Arc<Event>> {
        let mut gone = Vec::new();
        while gone.len() < limit
            && let Some(event) = self.ring.front()
            && event.revision <= written
            && (event.at <= cutoff || self.ring_bytes > max_bytes)
            && let Some(event) = self.ring.pop_front()
        {
            self.ring_bytes -= event.bytes();
            self.compacted = event.revision;
            if let Some(bucket) = self.buckets.get_mut(&event.entry.key.bucket) {
                bucket.ring.pop_front();
            }
            gone.push(event);
        }
        gone
    }
}

/// `now` with `events`, newest first, undone: the bucket as it was at `revision`.
pub fn undo(now: Snapshot, events: &[Arc<Event>], revision: u64) -> Snapshot {
    let mut map = now.map;
    for event in events {
        let name = &event.entry.key.name;
        match &event.prev {
            Some(prev) => map.insert(name.clone(), prev.clone()),
            None => map.remove(name),
        };
    }
    Snapshot { revision: revision.min(now.revision), map }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::types::{Columns, Frames, Value};

    /// `name=revision` or `-name=revision` (a deletion), each at the time of ten times its revision.
    fn memory(changes: &[&str]) -> Memory {
        let mut memory = Memory::default();
        for change in changes {
            let (name, revision) = change.split_once('=').unwrap();
            let (deletes, name) = (name.starts_with('-'), name.trim_start_matches('-'));
            let (key, revision): (_, u64) = (Key::new("pods", name), revision.parse().unwrap());
            let prev = memory.get(&key).cloned();
            let kind = match &prev {
                _ if deletes => EventKind::Deleted,
                Some(_) => EventKind::Updated,
                None => EventKind::Created,
            };
            let value = Value { bytes: vec![b'x'; 10], at: 10 }.splice(revision);
            let entry = Arc::new(Entry { key, value, revision, columns: Columns::default() });
            let at = i64::try_from(revision).unwrap() * 10;
            let event = Event { revision, kind, entry, prev, frames: Frames::default(), at };
            memory.apply(&[Arc::new(event)]);
        }
        memory
    }

    fn text(snapshot: &Snapshot) -> String {
        let one = |entry: &Arc<Entry>| format!("{}={}", entry.key.name, entry.revision);
        snapshot.map.values().map(one).collect::<Vec<_>>().join(" ")
    }

    const CHANGES: [&str; 6] = ["a=1", "b=2", "a=3", "-b=4", "c=5", "b=6"];

    #[test]
    fn the_past_is_the_present_undone() {
        let memory = memory(&CHANGES);
        let cases = [(0, ""), (1, "a=1"), (2, "a=1 b=2"), (3, "a=3 b=2"), (4, "a=3"), (6, "a=3 b=6 c=5")];
        for (revision, expected) in cases {
            let (now, events) = memory.before("pods", revision).unwrap();
            assert_eq!(text(&undo(now, &events, revision)), expected, "at {revision}");
        }
    }

    #[test]
    fn what_happened_since() {
        let memory = memory(&CHANGES);
        let since = |prefix: &str, revision: u64| {
            memory.since("pods", prefix, revision).iter().map(|event| event.revision).collect::<Vec<_>>()
        };
        assert_eq!(since("", 4), [5, 6]);
        assert_eq!(since("b", 0), [2, 4, 6]);
        assert!(since("", 6).is_empty() && memory.since("nodes", "", 0).is_empty());
    }

    #[test]
    fn compaction_by_time_and_size() {
        // cutoff, bytes, written, limit → the oldest revision left to ask for
        let cases = [
            (0, u64::MAX, 6, 9, 0),
            (30, u64::MAX, 6, 9, 3),
            (30, u64::MAX, 2, 9, 2),
            (60, u64::MAX, 6, 4, 4),
            (0, 0, 6, 9, 6),
        ];
        for (cutoff, bytes, written, limit, expected) in cases {
            let mut memory = memory(&CHANGES);
            let gone = memory.compact(cutoff, bytes, written, limit);
            assert_eq!(
                (memory.oldest(), gone.len() as u64),
                (expected, expected),
                "{cutoff} {bytes} {written}"
            );
            assert_eq!(memory.reaches(expected), Ok(()));
            assert!(expected == 0 || memory.reaches(expected - 1).is_err());
            assert_eq!(text(&memory.list("pods")), "a=3 b=6 c=5", "the present stays");
        }
    }

    #[test]
    fn revisions_lost_in_a_crash_are_not_answered_for() {
        let memory = Memory::loaded(HashMap::new(), Vec::new(), 3, 5, 9);
        let reached: Vec<_> = (0..12).map(|revision| memory.reaches(revision).is_ok()).collect();
        let expected = [false, false, false, true, true, true, false, false, false, true, true, true];
        assert_eq!(reached, expected);
    }
}
