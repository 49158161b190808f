//! The handle.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use sampan_process::Tasks;
use sqlx::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::backup;
use crate::config::Config;
use crate::disk::Disk;
use crate::error::{BackupError, Compacted, OpenError, WriteError};
use crate::hub::{Hub, Watcher};
use crate::inspect::{self, Found};
use crate::load::{Loaded, load};
use crate::memory::{Memory, Snapshot, undo};
use crate::types::{Entry, Event, Key, Write};
use crate::watch::Watch;
use crate::writer::{Delivery, Request, Writer, Written, deliver};

/// Requests that may queue for the writer before those who ask wait.
const QUEUE: usize = 65_536;

/// Wall-clock milliseconds that only go forward while the process lives.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    started_at: i64,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started_at = i64::try_from(since.as_millis()).unwrap_or(0);
        Self { started: Instant::now(), started_at }
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.started_at + i64::try_from(self.started.elapsed().as_millis()).unwrap_or(0)
    }
}

/// What readers, watchers and the writer share. Lock order: hub, memory, a watcher's queue.
#[derive(Debug)]
pub struct Shared {
    /// State and history.
    pub memory: RwLock<Memory>,
    /// Watchers.
    pub hub: Mutex<Hub>,
    /// The last published revision.
    pub revision: watch::Sender<u64>,
    /// The time.
    pub clock: Clock,
}

impl Shared {
    /// Makes `events` what readers see. Watchers are told by the hub.
    pub fn publish(&self, events: &[Arc<Event>]) {
        self.memory.write().apply(events);
        if let Some(last) = events.last() {
            self.revision.send_replace(last.revision);
        }
    }
}

/// An open store. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    config: Arc<Settings>,
}

struct Settings {
    config: Config,
    uid: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("path", &self.config.path).field("uid", &self.uid).finish()
    }
}

impl Store {
    /// Opens the store, making its file if there is none. A file that cannot be opened is left as it is.
    /// The writer outlives the drain of `tasks`, for others write while they drain: end it by
    /// [`Store::close`] or by dropping the last handle.
    pub async fn open(config: Config, tasks: Tasks) -> Result<Store, OpenError> {
        let lock = inspect::lock(&config.path)?;
        let (disk, loaded) = open_and_load(&config).await?;
        let (requests, receiver) = mpsc::channel(QUEUE);
        let revision = loaded.memory.revision();
        let shared = Arc::new(Shared {
            memory: RwLock::new(loaded.memory),
            hub: Mutex::new(Hub::new(revision)),
            revision: watch::Sender::new(revision),
            clock: Clock::new(),
        });
        let (events, published) = mpsc::unbounded_channel();
        let task = tasks.spawn("store-watches", deliver(shared.clone(), published));
        let delivery = Delivery { events, task };
        let writer =
            Writer::new(shared.clone(), config.clone(), disk, loaded.marks, receiver, delivery, lock);
        tasks.spawn("store-writer", writer.run());
        Ok(Store { shared, requests, config: Arc::new(Settings { config, uid: loaded.uid }) })
    }

    /// The database's own identity, made with the file.
    pub fn uid(&self) -> &str {
        &self.config.uid
    }

    /// The last published revision.
    pub fn revision(&self) -> u64 {
        self.shared.memory.read().revision()
    }

    /// The oldest revision that [`Store::list_at`] and [`Store::watch`] can go back to.
    pub fn oldest(&self) -> u64 {
        self.shared.memory.read().oldest()
    }

    /// The current state of a key.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.shared.memory.read().get(key).cloned()
    }

    /// A bucket as it is.
    pub fn list(&self, bucket: &str) -> Snapshot {
        self.shared.memory.read().list(bucket)
    }

    /// A bucket as it was at `revision`. A revision not yet reached gives the bucket as it is; see
    /// [`Store::wait_for`].
    pub fn list_at(&self, bucket: &str, revision: u64) -> Result<Snapshot, Compacted> {
        let (now, events) = self.shared.memory.read().before(bucket, revision)?;
        Ok(undo(now, &events, revision))
    }

    /// Writes one key; done once it is on the disk, or, for a relaxed key, published.
    pub async fn write(&self, write: Write) -> Result<Arc<Entry>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::One(write, reply)).await;
        sent.map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Writes several keys in one commit, each with a revision and an outcome of its own.
    pub async fn write_all(&self, writes: Vec<Write>) -> Vec<Written> {
        let count = writes.len();
        let (reply, answer) = oneshot::channel();
        let closed = || vec![Err(WriteError::Closed); count];
        if self.requests.send(Request::Many(writes, reply)).await.is_err() {
            return closed();
        }
        answer.await.unwrap_or_else(|_| closed())
    }

    /// Writes several keys, all of them or, if one is refused, none; done as by [`Store::write`].
    pub async fn write_together(&self, writes: Vec<Write>) -> Result<Vec<Arc<Entry>>, WriteError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Together(writes, reply)).await;
        sent.map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Changes of names that begin with `prefix` in `bucket`, after revision `after`: past ones, then live.
    pub fn watch(&self, bucket: &str, prefix: &str, after: u64) -> Result<Watch, Compacted> {
        let mut hub = self.shared.hub.lock();
        let memory = self.shared.memory.read();
        memory.reaches(after)?;
        let replay = memory.since(bucket, prefix, after);
        let from = memory.revision().max(after);
        drop(memory);
        let watcher = Watcher::new(prefix, from, self.config.config.watch_queue);
        hub.add(bucket, &watcher);
        drop(hub);
        Ok(Watch::new(replay, watcher, self.shared.clone(), after))
    }

    /// Waits until `revision` is published; false if it was not within `timeout`.
    pub async fn wait_for(&self, revision: u64, timeout: Duration) -> bool {
        let mut published = self.shared.revision.subscribe();
        let reached = published.wait_for(|&published| published >= revision);
        matches!(tokio::time::timeout(timeout, reached).await, Ok(Ok(_)))
    }

    /// Writes the current state of everything, at one revision, into a new file at `to`, which opens as a
    /// store. Reads and writes go on meanwhile.
    pub async fn backup(&self, to: &Path) -> Result<u64, BackupError> {
        let (revision, entries) = {
            let memory = self.shared.memory.read();
            let lists: Vec<Snapshot> = memory.buckets().map(|bucket| memory.list(bucket)).collect();
            (memory.revision(), lists)
        };
        let (to, uid, seal) = (to.to_owned(), self.uid().to_owned(), self.config.config.seal.clone());
        let runtime = tokio::runtime::Handle::current();
        // a thread of its own: the work is long, and sqlx's futures cannot be shown to be `Send` here
        let writing = move || runtime.block_on(backup::write(&to, &uid, revision, entries, &*seal));
        match tokio::task::spawn_blocking(writing).await {
            Ok(written) => written.map(|()| revision),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Writes what is not written yet, ends all watches and closes the file. Writes are refused from here
    /// on; reads go on.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
        self.requests.closed().await;
    }
}

async fn open_and_load(config: &Config) -> Result<(Disk, Loaded), OpenError> {
    let path = &config.path;
    let failed = |error: sqlx::Error| inspect::open_error(path, &error);
    if let Found::Current(mut connection) = inspect::look(path).await? {
        // read before anything may write: what is found damaged stays as it is
        let loaded = load(&mut connection, config).await;
        let _ = connection.close().await;
        let _ = std::fs::remove_file(inspect::beside(path, "-shm"));
        let loaded = loaded?;
        return Ok((Disk::open(path, config.max_pages).await.map_err(failed)?, loaded));
    }
    let mut disk = Disk::open(path, config.max_pages).await.map_err(failed)?;
    let loaded = load(disk.connection(), config).await?;
    Ok((disk, loaded))
}
