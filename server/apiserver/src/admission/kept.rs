//! Objects that many writes are judged by (namespaces, accounts, classes), decoded once and not for each of them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use sampan_store::{Entry, Key, Store};
use serde_json::Value;

/// As many are kept.
const MOST: usize = 256;

/// What was decoded of which entry; an entry never changes.
type Decoded = HashMap<Key, (Arc<Entry>, Arc<Value>)>;

static DECODED: LazyLock<Mutex<Decoded>> = LazyLock::new(Mutex::default);

/// The object of an entry.
pub(super) fn decoded(entry: &Arc<Entry>) -> Option<Arc<Value>> {
    if let Some((of, value)) = DECODED.lock().get(&entry.key)
        && Arc::ptr_eq(of, entry)
    {
        return Some(value.clone());
    }
    let value: Arc<Value> = Arc::new(serde_json::from_slice(&entry.value).ok()?);
    let mut all = DECODED.lock();
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(entry.key.clone(), (entry.clone(), value.clone()));
    Some(value)
}

/// The object `name` of `bucket`.
pub(super) fn look_up(store: &Store, bucket: &str, name: &str) -> Option<Arc<Value>> {
    decoded(&store.get(&Key::new(bucket, name))?)
}

/// All objects of `bucket`, by name.
pub(super) fn all(store: &Store, bucket: &str) -> impl Iterator<Item = Arc<Value>> {
    let entries: Vec<Arc<Entry>> = store.list(bucket).map.values().cloned().collect();
    entries.into_iter().filter_map(|entry| decoded(&entry))
}
