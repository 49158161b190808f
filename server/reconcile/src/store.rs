//! The copy of one kind: objects by key, indexes and subscribers. Pure of I/O.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::hashing::HashMap;
use crate::held::Held;
use crate::informer::Delta;
use crate::key::{Key, Object};

type IndexFn<K> = fn(&K) -> Vec<String>;

struct Index<K> {
    terms: IndexFn<K>,
    /// Each object by its number.
    entries: HashMap<String, HashMap<u64, Arc<Held<K>>>>,
}

impl<K> Index<K> {
    fn insert(&mut self, held: &Arc<Held<K>>, object: &K) {
        for term in (self.terms)(object) {
            self.entries.entry(term).or_default().insert(held.number, held.clone());
        }
    }

    fn remove(&mut self, held: &Arc<Held<K>>, object: &K) {
        for term in (self.terms)(object) {
            let Some(there) = self.entries.get_mut(&term) else { continue };
            there.remove(&held.number);
            if there.is_empty() {
                self.entries.remove(&term);
            }
        }
    }
}

/// Objects of one kind with their indexes; every change goes to every subscriber.
pub(crate) struct Store<K> {
    objects: HashMap<Key, Arc<Held<K>>>,
    indexes: HashMap<&'static str, Index<K>>,
    subscribers: Vec<UnboundedSender<Delta<K>>>,
    /// The last object's number.
    last: u64,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        let (objects, indexes) = (HashMap::default(), HashMap::default());
        Self { objects, indexes, subscribers: Vec::new(), last: 0 }
    }
}

impl<K> Store<K> {
    pub fn get(&self, key: &Key) -> Option<Arc<Held<K>>> {
        self.objects.get(key).cloned()
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Everything, as it is held.
    pub fn all(&self) -> Vec<Arc<Held<K>>> {
        self.objects.values().cloned().collect()
    }

    /// What an index has under `term`, as it is held.
    pub fn by_index(&self, name: &str, term: &str) -> Vec<Arc<Held<K>>> {
        let entries = self.indexes.get(name).and_then(|index| index.entries.get(term));
        entries.into_iter().flat_map(HashMap::values).cloned().collect()
    }

    pub fn count(&self, name: &str, term: &str) -> usize {
        self.indexes.get(name).and_then(|index| index.entries.get(term)).map_or(0, HashMap::len)
    }
}

impl<K: Object> Store<K> {
    pub fn add_index(&mut self, name: &'static str, terms: IndexFn<K>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { terms, entries: HashMap::default() };
        for held in self.objects.values() {
            if let Some(object) = held.get() {
                index.insert(held, &object);
            }
        }
        self.indexes.insert(name, index);
    }

    /// Sends all present objects as additions, then every later change.
    pub fn subscribe(&mut self, sender: UnboundedSender<Delta<K>>) {
        for (key, held) in &self.objects {
            let delta = Delta { key: key.clone(), old: None, new: held.get() };
            if sender.send(delta).is_err() {
                return;
            }
        }
        self.subscribers.push(sender);
    }

    /// Puts `new` (or takes the object away) and tells the subscribers, unless nothing changes.
    pub fn set(&mut self, key: Key, new: Option<Held<K>>) {
        self.last += 1;
        let new = new.map(|mut held| {
            held.number = self.last;
            Arc::new(held)
        });
        let old = match &new {
            Some(held) => self.objects.insert(key.clone(), held.clone()),
            None => self.objects.remove(&key),
        };
        if (old.is_none() && new.is_none()) || (self.indexes.is_empty() && self.subscribers.is_empty()) {
            return;
        }
        let (before, after) =
            (old.as_ref().and_then(|old| old.get()), new.as_ref().and_then(|new| new.get()));
        for index in self.indexes.values_mut() {
            if let (Some(held), Some(object)) = (&old, &before) {
                index.remove(held, object);
            }
            if let (Some(held), Some(object)) = (&new, &after) {
                index.insert(held, object);
            }
        }
        let delta = Delta { key, old: before, new: after };
        self.subscribers.retain(|subscriber| subscriber.send(delta.clone()).is_ok());
    }

    /// Makes the store equal to a fresh list; what is unchanged by resourceVersion makes no delta.
    pub fn replace(&mut self, objects: Vec<(Key, Held<K>)>) {
        let fresh: HashMap<Key, Held<K>> = objects.into_iter().collect();
        let gone: Vec<Key> = self.objects.keys().filter(|key| !fresh.contains_key(*key)).cloned().collect();
        for key in gone {
            self.set(key, None);
        }
        for (key, held) in fresh {
            let same = self.objects.get(&key).is_some_and(|old| old.version() == held.version());
            if !same || held.version() == 0 {
                self.set(key, Some(held));
            }
        }
        self.objects.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use tokio::sync::mpsc::unbounded_channel;

    fn map(name: &str, version: u64, label: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.metadata.namespace = Some("default".to_owned());
        map.metadata.resource_version = Some(version.to_string());
        map.metadata.labels = Some([("app".to_owned(), label.to_owned())].into());
        map
    }

    fn held(map: ConfigMap) -> (Key, Held<ConfigMap>) {
        (map.key(), Held::new(map, None))
    }

    fn apps(map: &ConfigMap) -> Vec<String> {
        map.metadata.labels.iter().flatten().map(|(_, v)| v.clone()).collect()
    }

    #[test]
    fn indexes_follow_changes_and_relists_tell_only_news() {
        let mut store = Store::default();
        store.add_index("app", apps);
        store.replace([map("a", 1, "x"), map("b", 2, "x"), map("c", 3, "y")].map(held).into());
        assert_eq!(store.by_index("app", "x").len(), 2);
        let (sender, mut deltas) = unbounded_channel();
        store.subscribe(sender);
        let first: Vec<_> = std::iter::from_fn(|| deltas.try_recv().ok()).collect();
        assert!(first.len() == 3 && first.iter().all(|d| d.old.is_none() && d.new.is_some()));
        store.replace([map("a", 1, "x"), map("b", 4, "y")].map(held).into());
        let mut news: Vec<_> = std::iter::from_fn(|| deltas.try_recv().ok())
            .map(|d| (d.key.name, d.old.map(|o| o.version()), d.new.map(|n| n.version())))
            .collect();
        news.sort();
        assert_eq!(news, [("b".to_owned(), Some(2), Some(4)), ("c".to_owned(), Some(3), None)]);
        assert_eq!((store.by_index("app", "x").len(), store.by_index("app", "y").len()), (1, 1));
    }
}
