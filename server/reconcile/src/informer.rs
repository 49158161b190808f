//! One kind's shared copy, as its readers see it.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use crate::key::{Key, Object};
use crate::store::Store;

/// One change of one object: `old` is absent for an addition, `new` for a removal.
#[derive(Debug)]
pub struct Delta<K> {
    /// The object.
    pub key: Key,
    /// What it was.
    pub old: Option<Arc<K>>,
    /// What it is.
    pub new: Option<Arc<K>>,
}

impl<K> Clone for Delta<K> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), old: self.old.clone(), new: self.new.clone() }
    }
}

impl<K> Delta<K> {
    /// The object as it is or, if it is gone, as it was last.
    pub fn latest(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// Both states there are, old first.
    pub fn states(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(self.new.iter())
    }
}

/// A stream of deltas that never loses one: first an addition for each object present, then every change.
pub struct Deltas<K>(UnboundedReceiver<Delta<K>>);

impl<K> Deltas<K> {
    /// The next delta; `None` only when the informer has ended with the process's drain.
    pub async fn next(&mut self) -> Option<Delta<K>> {
        self.0.recv().await
    }

    /// A delta that has already arrived.
    pub fn try_next(&mut self) -> Option<Delta<K>> {
        self.0.try_recv().ok()
    }

    /// As a `Stream`.
    pub fn into_stream(self) -> impl futures::Stream<Item = Delta<K>> + Send + Unpin
    where
        K: Send + Sync + 'static,
    {
        Box::pin(futures::stream::unfold(self, |mut deltas| async {
            deltas.next().await.map(|d| (d, deltas))
        }))
    }
}

/// How far the informer has come. Synced once `version` is known.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    synced: bool,
    version: u64,
}

struct Shared<K> {
    store: RwLock<Store<K>>,
    progress: watch::Sender<Progress>,
}

/// The process's copy of one kind. Cheap to clone.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Object> Informer<K> {
    pub(crate) fn empty() -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self(Arc::new(Shared { store: RwLock::default(), progress }))
    }

    /// An informer that holds exactly `objects` and never changes: for tests of code that reads informers.
    pub fn fixed(objects: Vec<K>) -> Self {
        let informer = Self::empty();
        let version = objects.iter().map(Object::version).max().unwrap_or(0);
        informer.replace(objects, version);
        informer
    }

    /// The object under `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.0.store.read().get(key)
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.store.read().list()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.store.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps an index: `terms` names what an object is found under. The first function given for a name stays.
    pub fn add_index(&self, name: &'static str, terms: fn(&K) -> Vec<String>) {
        self.0.store.write().add_index(name, terms);
    }

    /// The objects that an index has under `term`; empty for an unknown index.
    pub fn by_index(&self, name: &str, term: &str) -> Vec<Arc<K>> {
        self.0.store.read().by_index(name, term)
    }

    /// Additions for all that is present, then every change, without loss or bound.
    pub fn subscribe(&self) -> Deltas<K> {
        let (sender, receiver) = unbounded_channel();
        self.0.store.write().subscribe(sender);
        Deltas(receiver)
    }

    /// Resolves once the first list is in.
    pub async fn synced(&self) {
        let mut progress = self.0.progress.subscribe();
        // the sender lives in self: it cannot be closed
        let _ = progress.wait_for(|p| p.synced).await;
    }

    /// Whether the first list is in.
    pub fn has_synced(&self) -> bool {
        self.0.progress.borrow().synced
    }

    /// The resourceVersion up to which this copy is complete.
    pub fn version(&self) -> u64 {
        self.0.progress.borrow().version
    }

    /// Resolves once this copy shows everything up to `version`: the write-after-read guard.
    pub async fn reached(&self, version: u64) {
        let mut progress = self.0.progress.subscribe();
        let _ = progress.wait_for(|p| p.version >= version).await;
    }

    /// Resolves once `condition` holds; it is asked again after every change.
    pub async fn until(&self, mut condition: impl FnMut(&Self) -> bool + Send) {
        let mut progress = self.0.progress.subscribe();
        while !condition(self) {
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn replace(&self, mut objects: Vec<K>, version: u64) {
        objects.iter_mut().for_each(Object::trim);
        self.0.store.write().replace(objects);
        self.advance(version);
    }

    pub(crate) fn apply(&self, mut object: K) {
        object.trim();
        let version = object.version();
        self.0.store.write().set(object.key(), Some(Arc::new(object)));
        self.advance(version);
    }

    pub(crate) fn remove(&self, object: &K) {
        self.0.store.write().set(object.key(), None);
        self.advance(object.version());
    }

    pub(crate) fn advance(&self, version: u64) {
        self.0.progress.send_modify(|progress| {
            progress.synced = true;
            progress.version = progress.version.max(version);
        });
    }
}
