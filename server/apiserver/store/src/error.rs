//! What can go wrong, in words for whoever has to put it right.

use std::path::PathBuf;
use std::sync::Arc;

use crate::types::Entry;

/// Why a store could not be opened. The file is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder that is to hold the file is missing or not a folder.
    #[error("{}: no such folder to keep the database in: create it, or start with another data folder", .0.display())]
    Directory(PathBuf),
    /// Another process has the store open.
    #[error("{}: in use by another process: stop that one first (sampan stop)", .0.display())]
    Locked(PathBuf),
    /// The file, its folder or its file system cannot be written.
    #[error("{}: cannot be written: make the file and its folder writable: {reason}", path.display())]
    ReadOnly {
        /// The database file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Something else lies where the database should be.
    #[error("{}: not a sampan database: {reason}: move the file away, or start with another data folder", path.display())]
    NotADatabase {
        /// The database file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file is a database, but a broken one.
    #[error("{}: damaged, left untouched: {reason}: put back a backup (sampan backup), or move the file away to start empty", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A later version of sampan wrote the file.
    #[error("{}: written by a newer sampan (schema {found}, this one knows {known}), left untouched: use that version, or put back a backup made before the upgrade", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The file's schema version.
        found: i64,
        /// The newest schema version known here.
        known: i64,
    },
    /// The disk is full.
    #[error("{}: no space left to open the database: free some space on that disk", .0.display())]
    Full(PathBuf),
    /// Anything else.
    #[error("{}: cannot open the database: {reason}", path.display())]
    Failed {
        /// The database file.
        path: PathBuf,
        /// SQLite's or the system's words.
        reason: String,
    },
}

/// Why a write was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The key was to be absent but is not.
    #[error("the key exists at revision {}", .0.revision)]
    Exists(Arc<Entry>),
    /// The key is absent.
    #[error("the key does not exist")]
    Missing,
    /// The key is at another revision than the condition named.
    #[error("the key has changed; it is at revision {}", .0.revision)]
    Changed(Arc<Entry>),
    /// The value is larger than whoever writes here lets it be.
    #[error("the value is too large")]
    TooLarge,
    /// No space is left on the disk. The next write tries again.
    #[error("no space left on the disk of the database: {0}")]
    Full(String),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// The disk or the file failed.
    #[error("the database failed: {0}")]
    Failed(String),
}

/// The revision asked for is older than the history kept, or was lost in a crash: list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: the oldest is {oldest}")]
pub struct Compacted {
    /// The oldest revision that can be asked for.
    pub oldest: u64,
}

/// The watcher did not keep up and was dropped: list and watch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watcher fell too far behind and was dropped")]
pub struct Lagged;

/// Why a backup was not made. No file is left behind.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is there already.
    #[error("{}: exists already: choose another name", .0.display())]
    Exists(PathBuf),
    /// Writing it failed.
    #[error("{}: cannot write the backup: {reason}", path.display())]
    Failed {
        /// The backup file.
        path: PathBuf,
        /// SQLite's or the system's words.
        reason: String,
    },
}
