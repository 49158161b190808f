//! One kind's shared copy, as its readers see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Notify, watch};

use crate::held::{Cooled, Held, Kept};
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

/// Lets go of decoded objects that nobody asks for, for ever; `freed` is told how many bytes of text those had that went.
pub(crate) async fn cooling(copy: Arc<dyn Cools>, freed: impl Fn(usize)) {
    loop {
        copy.warmed().notified().await;
        tokio::time::sleep(REST).await;
        let mut bytes = 0;
        for some in copy.all() {
            bytes += some();
            // whoever has waited meanwhile comes first
            tokio::task::yield_now().await;
        }
        freed(bytes);
    }
}

/// A copy whose objects cool down.
pub(crate) trait Cools: Send + Sync {
    /// Told when something is decoded that may go.
    fn warmed(&self) -> &Notify;
    /// Ways to let go, some objects at a time, of what nobody has asked for since the last time; each tells how many bytes of
    /// text those have that went.
    fn all(&self) -> Vec<Box<dyn FnOnce() -> usize + Send>>;
}

impl<K: Object> Cools for Informer<K> {
    fn warmed(&self) -> &Notify {
        &self.0.warmed
    }

    fn all(&self) -> Vec<Box<dyn FnOnce() -> usize + Send>> {
        self.0.warm.store(false, Ordering::Relaxed);
        let all = self.0.store.read().all();
        let some = |some: &[Arc<Held<K>>]| {
            let (this, some) = (self.clone(), some.to_vec());
            let cool = move || some.iter().map(|held| this.cool(held)).sum();
            Box::new(cool) as Box<dyn FnOnce() -> usize + Send>
        };
        all.chunks(SOME).map(some).collect()
    }
}

/// How far the informer has come. Synced once `version` is known.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    synced: bool,
    version: u64,
}

/// Objects that are let go of without a pause.
const SOME: usize = 256;

/// Who has not been asked for between two such moments goes.
const REST: Duration = Duration::from_secs(10);

struct Shared<K> {
    store: RwLock<Store<K>>,
    progress: watch::Sender<Progress>,
    /// Whether anything may have been decoded since [`Cools::cool`]; told by `warmed`.
    warm: AtomicBool,
    warmed: Notify,
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
        let (warm, warmed) = (AtomicBool::new(false), Notify::new());
        Self(Arc::new(Shared { store: RwLock::default(), progress, warm, warmed }))
    }

    /// An informer that holds exactly `objects` and never changes: for tests of code that reads informers.
    pub fn fixed(objects: Vec<K>) -> Self {
        let informer = Self::empty();
        let version = objects.iter().map(Object::version).max().unwrap_or(0);
        let held = objects.into_iter().map(|object| (object.key(), Held::new(object, None)));
        informer.replace(held.collect(), version);
        informer
    }

    /// The object under `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        let held = self.0.store.read().get(key);
        self.decoded(held.into_iter()).pop()
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        let all = self.0.store.read().all();
        self.decoded(all.into_iter())
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
        self.warm_up();
        self.0.store.write().add_index(name, terms);
    }

    /// The objects that an index has under `term`; empty for an unknown index.
    pub fn by_index(&self, name: &str, term: &str) -> Vec<Arc<K>> {
        let found = self.0.store.read().by_index(name, term);
        self.decoded(found.into_iter())
    }

    /// The keys of those objects, which nobody has to decode for that.
    pub fn keys_by_index(&self, name: &str, term: &str) -> Vec<Key> {
        let found = self.0.store.read().by_index(name, term);
        found.iter().map(|held| held.key().clone()).collect()
    }

    /// How many those are.
    pub fn count(&self, name: &str, term: &str) -> usize {
        self.0.store.read().count(name, term)
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        self.0.store.read().all().iter().map(|held| held.key().clone()).collect()
    }

    /// The objects, decoded while nobody waits for that, and noted as such.
    fn decoded(&self, held: impl Iterator<Item = Arc<Held<K>>>) -> Vec<Arc<K>> {
        let objects = held.filter_map(|held| held.get()).collect();
        // after it: a look around that comes meanwhile finds either this or them
        self.warm();
        objects
    }

    /// Decodes everything ahead of what has to be done under a lock.
    fn warm_up(&self) {
        let all = self.0.store.read().all();
        self.decoded(all.into_iter());
    }

    /// Additions for all that is present, then every change, without loss or bound.
    pub fn subscribe(&self) -> Deltas<K> {
        let (sender, receiver) = unbounded_channel();
        self.warm_up();
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

    pub(crate) fn replace(&self, objects: Vec<(Key, Held<K>)>, version: u64) {
        self.0.store.write().replace(objects);
        self.warm();
        self.advance(version);
    }

    pub(crate) fn apply(&self, object: K, text: Option<Kept>) {
        let (key, version) = (object.key(), object.version());
        self.set(key, Some(Held::new(object, text)));
        self.advance(version);
    }

    pub(crate) fn remove(&self, object: &K) {
        self.set(object.key(), None);
        self.advance(object.version());
    }

    fn set(&self, key: Key, new: Option<Held<K>>) {
        // what it was is asked for below
        let before = self.get(&key);
        self.0.store.write().set(key, new);
        drop(before);
        self.warm();
    }

    /// Lets go of a decoded object, or sees to it that somebody comes again.
    fn cool(&self, held: &Held<K>) -> usize {
        match held.cool() {
            Cooled::Never => 0,
            Cooled::Later => {
                self.warm();
                0
            }
            Cooled::Now(bytes) => bytes,
        }
    }

    /// Something may be decoded from here on.
    fn warm(&self) {
        if !self.0.warm.load(Ordering::Relaxed) && !self.0.warm.swap(true, Ordering::Relaxed) {
            self.0.warmed.notify_one();
        }
    }

    pub(crate) fn advance(&self, version: u64) {
        self.0.progress.send_modify(|progress| {
            progress.synced = true;
            progress.version = progress.version.max(version);
        });
    }
}
