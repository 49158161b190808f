//! The decoded copy of one kind: objects by key, indexes and subscribers. Pure of I/O.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::hashing::HashMap;
use crate::informer::Delta;
use crate::key::{Key, Object};

type IndexFn<K> = fn(&K) -> Vec<String>;

struct Index<K> {
    terms: IndexFn<K>,
    entries: HashMap<String, HashMap<Key, Arc<K>>>,
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Key, object: &Arc<K>) {
        for term in (self.terms)(object) {
            self.entries.entry(term).or_default().insert(key.clone(), object.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for term in (self.terms)(object) {
            let Some(keys) = self.entries.get_mut(&term) else { continue };
            keys.remove(key);
            if keys.is_empty() {
                self.entries.remove(&term);
            }
        }
    }
}

/// Objects of one kind with their indexes; every change goes to every subscriber.
pub(crate) struct Store<K> {
    objects: HashMap<Key, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
    subscribers: Vec<UnboundedSender<Delta<K>>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: HashMap::default(), indexes: HashMap::default(), subscribers: Vec::new() }
    }
}

impl<K: Object> Store<K> {
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    pub fn list(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn add_index(&mut self, name: &'static str, terms: IndexFn<K>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { terms, entries: HashMap::default() };
        for (key, object) in &self.objects {
            index.insert(key, object);
        }
        self.indexes.insert(name, index);
    }

    pub fn by_index(&self, name: &str, term: &str) -> Vec<Arc<K>> {
        let entries = self.indexes.get(name).and_then(|index| index.entries.get(term));
        entries.map(|keys| keys.values().cloned().collect()).unwrap_or_default()
    }

    /// Sends all present objects as additions, then every later change.
    pub fn subscribe(&mut self, sender: UnboundedSender<Delta<K>>) {
        for (key, object) in &self.objects {
            let delta = Delta { key: key.clone(), old: None, new: Some(object.clone()) };
            if sender.send(delta).is_err() {
                return;
            }
        }
        self.subscribers.push(sender);
    }

    /// Puts `new` (or takes the object away) and tells the subscribers, unless nothing changes.
    pub fn set(&mut self, key: Key, new: Option<Arc<K>>) {
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(&key),
        };
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            if let Some(new) = &new {
                index.insert(&key, new);
            }
        }
        if old.is_some() || new.is_some() {
            let delta = Delta { key, old, new };
            self.subscribers.retain(|subscriber| subscriber.send(delta.clone()).is_ok());
        }
    }

    /// Makes the store equal to a fresh list; what is unchanged by resourceVersion makes no delta.
    pub fn replace(&mut self, objects: Vec<K>) {
        let fresh: HashMap<Key, K> = objects.into_iter().map(|object| (object.key(), object)).collect();
        let gone: Vec<Key> = self.objects.keys().filter(|key| !fresh.contains_key(*key)).cloned().collect();
        for key in gone {
            self.set(key, None);
        }
        for (key, object) in fresh {
            let same = self.objects.get(&key).is_some_and(|old| old.version() == object.version());
            if !same || object.version() == 0 {
                self.set(key, Some(Arc::new(object)));
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

    fn apps(map: &ConfigMap) -> Vec<String> {
        map.metadata.labels.iter().flatten().map(|(_, v)| v.clone()).collect()
    }

    #[test]
    fn indexes_follow_changes_and_relists_tell_only_news() {
        let mut store = Store::default();
        store.add_index("app", apps);
        store.replace(vec![map("a", 1, "x"), map("b", 2, "x"), map("c", 3, "y")]);
        assert_eq!(store.by_index("app", "x").len(), 2);
        let (sender, mut deltas) = unbounded_channel();
        store.subscribe(sender);
        let first: Vec<_> = std::iter::from_fn(|| deltas.try_recv().ok()).collect();
        assert!(first.len() == 3 && first.iter().all(|d| d.old.is_none() && d.new.is_some()));
        store.replace(vec![map("a", 1, "x"), map("b", 4, "y")]);
        let mut news: Vec<_> = std::iter::from_fn(|| deltas.try_recv().ok())
            .map(|d| (d.key.name, d.old.map(|o| o.version()), d.new.map(|n| n.version())))
            .collect();
        news.sort();
        assert_eq!(news, [("b".to_owned(), Some(2), Some(4)), ("c".to_owned(), Some(3), None)]);
        assert_eq!((store.by_index("app", "x").len(), store.by_index("app", "y").len()), (1, 1));
    }
}
