//! ConfigMaps and Secrets that pods of this node refer to, each watched by itself while a pod needs it.
//!
//! One watch per object, not a shared informer: the Node authorizer lets a kubelet read exactly the objects
//! that its pods name, and a node should not hold secrets it has no use for. Upstream does the same
//! (`pkg/kubelet/util/manager/watch_based_manager.go`). Over loopback a watch costs one idle task.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kube::runtime::watcher;
use parking_lot::Mutex;
use sampan_process::{Component, Drain, Tasks};
use sampan_reconcile::{Informer, Informers, Key, Object};
use tokio::sync::Notify;

/// How long a pod waits for the first answer about an object.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// One object under watch. Dropping the last handle ends the watch.
pub struct Watched<K: Object> {
    key: Key,
    informer: Informer<K>,
    drain: Drain,
    interested: Arc<Mutex<Vec<Weak<Notify>>>>,
}

impl<K: Object> Drop for Watched<K> {
    fn drop(&mut self) {
        self.drain.start();
    }
}

impl<K: Object> Watched<K> {
    /// The object as it is now; `Err` if nothing is known yet.
    pub async fn get(&self) -> Result<Option<Arc<K>>, String> {
        match tokio::time::timeout(FIRST_ANSWER, self.informer.synced()).await {
            Ok(()) => Ok(self.informer.get(&self.key)),
            Err(_) => Err("timed out waiting for the condition".to_owned()),
        }
    }

    /// Wakes `notify` at each change from now on.
    pub fn wake(&self, notify: &Arc<Notify>) {
        let mut interested = self.interested.lock();
        interested.retain(|weak| weak.strong_count() > 0);
        if !interested.iter().any(|weak| weak.as_ptr() == Arc::as_ptr(notify)) {
            interested.push(Arc::downgrade(notify));
        }
    }
}

/// The objects of one kind that are under watch.
pub struct Objects<K: Object> {
    client: kube::Client,
    drain: Drain,
    watched: Mutex<HashMap<Key, Weak<Watched<K>>>>,
}

impl<K> Objects<K>
where
    K: kube::Resource<DynamicType = ()> + Object + std::fmt::Debug,
{
    /// Nothing is watched until asked for.
    pub fn new(client: kube::Client, drain: Drain) -> Self {
        Self { client, drain, watched: Mutex::default() }
    }

    /// The watch of one object, shared by all who ask for it.
    pub fn watch(&self, namespace: &str, name: &str) -> Arc<Watched<K>> {
        let key = Key::namespaced(namespace, name);
        let mut watched = self.watched.lock();
        if let Some(there) = watched.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        watched.retain(|_, weak| weak.strong_count() > 0);
        let fresh = Arc::new(self.start(key.clone()));
        watched.insert(key, Arc::downgrade(&fresh));
        fresh
    }

    fn start(&self, key: Key) -> Watched<K> {
        let drain = self.drain.child();
        let tasks = Tasks::under(Component::Kubelet, drain.clone());
        let fields = format!("metadata.name={}", key.name);
        let informer = Informers::new(self.client.clone(), tasks.clone())
            .within::<K>(key.namespace(), watcher::Config::default().fields(&fields));
        let interested: Arc<Mutex<Vec<Weak<Notify>>>> = Arc::default();
        let (mut deltas, listeners) = (informer.subscribe(), interested.clone());
        tasks.spawn_until_drain("watched object", async move {
            while deltas.next().await.is_some() {
                for notify in listeners.lock().iter().filter_map(Weak::upgrade) {
                    notify.notify_one();
                }
            }
        });
        Watched { key, informer, drain, interested }
    }
}
