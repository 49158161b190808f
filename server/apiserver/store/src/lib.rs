//! Revisions over keys: the cluster's state on disk, its recent history in memory.
//!
//! The store knows keys, bytes and revisions; it knows no Kubernetes object. Each write carries a condition
//! on the key's last revision and gets a revision of its own, greater than all before.
//!
//! - **Reads and watches never touch SQLite.** Current state is an immutable map per bucket ([`Snapshot`]),
//!   history a ring that can be undone ([`Store::list_at`]) or replayed ([`Store::watch`]).
//! - **One writer.** A single task owns the only connection. Requests queue while a commit runs and go down
//!   together in the next one, in a single call to SQLite's thread; they are published, in revision order,
//!   and acknowledged after the commit.
//! - **Nothing is published that was not committed**, except for keys that [`Config::relaxed`] names: those
//!   are published at once and written within [`Config::relaxed_delay`]. A crash may lose that much of
//!   them, and nothing else. A revision is never used twice: the file reserves revisions ahead, and after a
//!   crash the store goes on above the reservation. A watch resumed at a revision that may have been lost is
//!   [`Compacted`].
//! - **A slow watcher is dropped** ([`Lagged`]), never waited for.
//!
//! Not here: what values mean, encodings, selectors, access control. This is the only crate that may use
//! sqlx.

mod backup;
mod checkpoint;
mod config;
mod disk;
mod error;
mod hub;
mod inspect;
mod load;
mod memory;
mod migrations;
mod plan;
mod store;
mod types;
mod watch;
mod writer;

pub use config::{Config, Plain, Seal};
pub use error::{BackupError, Compacted, Lagged, OpenError, WriteError};
pub use memory::Snapshot;
pub use store::Store;
pub use types::{Action, Columns, Condition, Entry, Event, EventKind, Frames, Key, Value, Write};
pub use watch::Watch;
