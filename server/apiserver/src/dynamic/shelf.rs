//! The objects of one bucket, parsed: again only those whose revision moved, and only when the bucket changed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sampan_store::{Snapshot, Store};
use serde_json::Value;

/// A bucket's objects, parsed, in the order of their names.
pub(super) struct Shelf<T> {
    bucket: &'static str,
    parse: fn(&Value) -> T,
    state: Mutex<State<T>>,
}

struct State<T> {
    seen: Option<Snapshot>,
    known: HashMap<Arc<str>, (u64, Arc<T>)>,
    all: Arc<[Arc<T>]>,
}

impl<T> Shelf<T> {
    pub(super) fn new(bucket: &'static str, parse: fn(&Value) -> T) -> Self {
        let state = State { seen: None, known: HashMap::new(), all: Arc::new([]) };
        Self { bucket, parse, state: Mutex::new(state) }
    }

    /// What the store holds now.
    pub(super) fn now(&self, store: &Store) -> Arc<[Arc<T>]> {
        let snapshot = store.list(self.bucket);
        let mut state = self.state.lock();
        if state.seen.as_ref().is_some_and(|seen| seen.map.ptr_eq(&snapshot.map)) {
            return state.all.clone();
        }
        let mut old = std::mem::take(&mut state.known);
        let mut all = Vec::new();
        for entry in snapshot.map.values() {
            let kept = old.remove(&entry.key.name).filter(|(revision, _)| *revision == entry.revision);
            let parsed = kept.or_else(|| {
                let object = serde_json::from_slice(&entry.value).ok()?;
                Some((entry.revision, Arc::new((self.parse)(&object))))
            });
            if let Some(parsed) = parsed {
                all.push(parsed.1.clone());
                state.known.insert(entry.key.name.clone(), parsed);
            }
        }
        state.all = all.into();
        state.seen = Some(snapshot);
        state.all.clone()
    }
}
