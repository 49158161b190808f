//! What a store is opened with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::types::{Columns, Key};

/// Seals values at rest. Values in memory, and all that this crate hands out, are plain.
pub trait Seal: Send + Sync {
    /// The sealed form of `plain`, or `None` to store this key's values as they are.
    fn seal(&self, key: &Key, plain: &[u8]) -> Option<Vec<u8>>;
    /// The plain form of what [`Seal::seal`] returned.
    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, String>;
}

/// Seals nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Seal for Plain {
    fn seal(&self, _: &Key, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn open(&self, _: &Key, _: &[u8]) -> Result<Vec<u8>, String> {
        Err("the value is sealed, but no key to open it was given".to_owned())
    }
}

/// Reads the columns out of a value.
pub type ReadColumns = Arc<dyn Fn(&Key, &[u8]) -> Columns + Send + Sync>;

/// How to open a store. Start from [`Config::new`].
#[derive(Clone)]
pub struct Config {
    /// The database file. Its folder has to exist; the file is made when missing.
    pub path: PathBuf,
    /// Reads the columns out of a value, once per value: when written and when loaded.
    pub columns: ReadColumns,
    /// Seals values at rest.
    pub seal: Arc<dyn Seal>,
    /// How far back watches may resume and lists may reach.
    pub history: Duration,
    /// Bytes of history kept in memory and in the file, whatever its age.
    pub history_max_bytes: u64,
    /// Names the keys whose writes are published at once and written later: leases of nodes, events.
    pub relaxed: fn(&Key) -> bool,
    /// How long a relaxed write may wait for the disk; what a crash can lose.
    pub relaxed_delay: Duration,
    /// Events that may wait in one watcher before it is dropped.
    pub watch_queue: usize,
    /// A limit on the file's pages (of 8 KiB): `None` leaves it to the disk.
    pub max_pages: Option<u32>,
}

impl Config {
    /// A store at `path` with upstream's five minutes of history, nothing sealed, nothing relaxed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            columns: Arc::new(|_, _| Columns::default()),
            seal: Arc::new(Plain),
            history: Duration::from_secs(300),
            history_max_bytes: 128 << 20,
            relaxed: |_| false,
            relaxed_delay: Duration::from_secs(1),
            watch_queue: 16_384,
            max_pages: None,
        }
    }
}
