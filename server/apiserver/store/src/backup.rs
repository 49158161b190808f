//! Online backup: a new database file made from an immutable snapshot, so that nobody waits for it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::config::Seal;
use crate::disk::{Disk, Marks, Rows};
use crate::error::BackupError;
use crate::inspect::beside;
use crate::memory::Snapshot;
use crate::types::Entry;

/// Bytes of values that go down in one transaction.
const CHUNK: usize = 4 << 20;

/// Writes `lists`, all at `revision`, to a new file at `to`; it appears there when it is whole.
pub async fn write(
    to: &Path,
    uid: &str,
    revision: u64,
    lists: Vec<Snapshot>,
    seal: &dyn Seal,
) -> Result<(), BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let partial = beside(to, ".partial");
    remove(&partial);
    let written = fill(&partial, uid, revision, lists, seal).await;
    let placed = written.and_then(|()| place(&partial, to).map_err(|error| error.to_string()));
    placed.map_err(|reason| {
        remove(&partial);
        BackupError::Failed { path: to.to_owned(), reason }
    })
}

async fn fill(
    path: &Path,
    uid: &str,
    revision: u64,
    lists: Vec<Snapshot>,
    seal: &dyn Seal,
) -> Result<(), String> {
    let mut entries: Vec<&Arc<Entry>> = lists.iter().flat_map(|list| list.map.values()).collect();
    entries.sort_unstable_by_key(|entry| entry.revision);
    let mut disk = Disk::open(path, None).await.map_err(|error| error.to_string())?;
    disk.set_uid(uid).await.map_err(|error| error.to_string())?;
    let marks = Marks { written: revision, reserved: revision, compacted: revision };
    let mut rows = Rows::default();
    for entry in entries {
        rows.state(entry, seal);
        if rows.len() > CHUNK {
            let full = std::mem::take(&mut rows);
            disk.commit(full, &[], marks).await.map_err(|error| error.to_string())?;
        }
    }
    disk.commit(rows, &[], marks).await.map_err(|error| error.to_string())?;
    disk.tidy().await.map_err(|error| error.to_string())?;
    disk.close().await.map_err(|error| error.to_string())
}

fn place(partial: &Path, to: &Path) -> std::io::Result<()> {
    File::open(partial)?.sync_all()?;
    std::fs::hard_link(partial, to)?;
    std::fs::remove_file(partial)?;
    File::open(to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()
}

fn remove(partial: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(partial, suffix));
    }
}
