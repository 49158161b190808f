//! How much of the disk is in use below a directory.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of `stat`'s block counts, whatever the file system's blocks are.
const BLOCK_BYTES: u64 = 512;

/// Bytes on disk of a file or of all below a directory, on its own file system; what goes away meanwhile does not count.
/// Blocking.
///
/// # Errors
/// `path` itself cannot be looked at.
pub fn disk_bytes(path: &Path) -> std::io::Result<u64> {
    let top = std::fs::symlink_metadata(path)?;
    let mut bytes = top.blocks() * BLOCK_BYTES;
    // files with more than one name count once
    let mut seen = HashSet::new();
    let mut open: Vec<PathBuf> = if top.is_dir() { vec![path.to_owned()] } else { Vec::new() };
    while let Some(directory) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() || (meta.nlink() > 1 && !meta.is_dir() && !seen.insert(meta.ino())) {
                continue;
            }
            bytes += meta.blocks() * BLOCK_BYTES;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(bytes)
}
