//! All informers of the process: each kind is listed and watched once.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::runtime::watcher;
use parking_lot::Mutex;
use sampan_process::Tasks;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::informer::{Cools, Informer, cooling};
use crate::key::Object;
use crate::reflector::{Copied, Only, Reflector, Target};

/// Bytes of text whose decoded form is much memory.
const MUCH: usize = 1 << 20;
/// From there being much to its being given back.
const TOGETHER: Duration = Duration::from_secs(1);
/// The least time from then to the next time.
const SELDOM: Duration = Duration::from_secs(60);

type Running = HashMap<(TypeId, String), Box<dyn Any + Send>>;

/// A task that lives as long as this.
#[derive(Debug)]
pub struct AbortOnDrop(AbortHandle);

impl From<JoinHandle<()>> for AbortOnDrop {
    fn from(task: JoinHandle<()>) -> Self {
        Self(task.abort_handle())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps a copy as the API is, and as small as its use allows. One for all kinds: tasks are large code.
async fn follow(reflector: Reflector, cools: Option<Arc<dyn Cools>>, freed: Arc<Freed>) {
    match cools {
        Some(copy) => drop(tokio::join!(reflector.run(), cooling(copy, |bytes| freed.add(bytes)))),
        None => reflector.run().await,
    }
}

/// Memory that was let go of and is not given back yet.
#[derive(Default)]
struct Freed {
    bytes: AtomicUsize,
    much: Notify,
}

impl Freed {
    fn add(&self, bytes: usize) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MUCH {
            self.much.notify_one();
        }
    }

    /// Calls `give_back` when there is much, but not all the time.
    async fn give_back(self: Arc<Self>, give_back: fn()) {
        loop {
            self.much.notified().await;
            // several kinds come to rest together
            tokio::time::sleep(TOGETHER).await;
            self.bytes.store(0, Ordering::Relaxed);
            let _ = tokio::task::spawn_blocking(give_back).await;
            tokio::time::sleep(SELDOM).await;
        }
    }
}

/// Gives out informers and starts each at its first use. Cheap to clone.
#[derive(Clone)]
pub struct Informers {
    client: kube::Client,
    tasks: Tasks,
    running: Arc<Mutex<Running>>,
    freed: Arc<Freed>,
    streams: bool,
}

impl Informers {
    /// Informers that read through `client` and end with the drain of `tasks`.
    pub fn new(client: kube::Client, tasks: Tasks) -> Self {
        Self { client, tasks, running: Arc::default(), freed: Arc::default(), streams: false }
    }

    /// The same, which begin with a watch that tells what there is, not with a list: in this process that is the stored bytes.
    pub fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    /// The same, which call this on a thread of its own after much memory has been let go of: what makes the allocator give
    /// it back.
    pub fn giving_back(self, give_back: fn()) -> Self {
        self.tasks.spawn_until_drain("memory", self.freed.clone().give_back(give_back));
        self
    }

    /// The one informer of all objects of a kind.
    pub fn of<K>(&self) -> Informer<K>
    where
        K: kube::Resource<DynamicType = ()> + Object,
    {
        self.shared(K::url_path(&(), None), Only::Never)
    }

    /// An informer of its own, narrowed by the selectors of `config`; not shared.
    pub fn with<K>(&self, config: watcher::Config) -> Informer<K>
    where
        K: kube::Resource<DynamicType = ()> + Object,
    {
        self.narrowed(K::url_path(&(), None), config)
    }

    /// As [`Informers::with`], of one namespace: what a user may do who has rights there alone.
    pub fn within<K>(&self, namespace: &str, config: watcher::Config) -> Informer<K>
    where
        K: kube::Resource<DynamicType = ()> + Object,
    {
        self.narrowed(K::url_path(&(), Some(namespace)), config)
    }

    /// An informer of its own of the objects under an API path that bear a label, decoded as the caller's own type; not
    /// shared. For kinds that are known only at run time.
    pub fn labelled<T: Object>(&self, path: &str, label: &str) -> Informer<T> {
        self.narrowed(path.to_owned(), watcher::Config::default().labels(label))
    }

    fn narrowed<K: Object>(&self, path: String, config: watcher::Config) -> Informer<K> {
        self.start(Target {
            path,
            labels: config.label_selector,
            fields: config.field_selector,
            metadata_only: Only::Never,
        })
    }

    /// The informer of the objects under an API path such as `/apis/apps/v1/deployments`, decoded as the caller's own type, which
    /// has something of their metadata only. A list of them is asked for so (PartialObjectMetadata); what a watch tells, also at its
    /// beginning, comes whole, as it is stored.
    pub fn metadata<T: Object>(&self, path: &str) -> Informer<T> {
        self.shared(path.to_owned(), Only::Listed)
    }

    /// As [`Informers::metadata`], changes too, but not shared, and read only as long as the second value lives: for kinds that may
    /// cease to be.
    pub fn passing_metadata<T: Object>(&self, path: &str) -> (Informer<T>, AbortOnDrop) {
        let (informer, task) =
            self.read(Target { path: path.to_owned(), metadata_only: Only::Always, ..Target::default() });
        (informer, task.into())
    }

    /// The informer of the objects under an API path, decoded as the caller's own type: one that keeps less than the kind's.
    pub fn reduced<T: Object>(&self, path: &str) -> Informer<T> {
        self.shared(path.to_owned(), Only::Never)
    }

    fn shared<T: Object>(&self, path: String, metadata_only: Only) -> Informer<T> {
        let mut running = self.running.lock();
        let slot = (TypeId::of::<T>(), path.clone());
        if let Some(informer) = running.get(&slot).and_then(|any| any.downcast_ref::<Informer<T>>()) {
            return informer.clone();
        }
        let informer = self.start(Target { path, metadata_only, ..Target::default() });
        running.insert(slot, Box::new(informer.clone()));
        informer
    }

    fn start<T: Object>(&self, target: Target) -> Informer<T> {
        self.read(target).0
    }

    fn read<T: Object>(&self, target: Target) -> (Informer<T>, JoinHandle<()>) {
        let informer = Informer::empty();
        let reflector = Reflector {
            client: self.client.clone(),
            target,
            copy: Box::new(Copied { informer: informer.clone(), gathered: Vec::new() }),
            streams: self.streams,
            gathering: false,
        };
        let cools: Option<Arc<dyn Cools>> = T::AS_TEXT.then(|| Arc::new(informer.clone()) as _);
        let task = self.tasks.spawn_until_drain("informer", follow(reflector, cools, self.freed.clone()));
        (informer, task)
    }
}
