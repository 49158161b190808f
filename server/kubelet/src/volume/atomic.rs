//! Files that change all at once: upstream's `pkg/volume/util/atomic_writer.go`.
//!
//! ```text
//! volume/..2026_11_22_21_20_40.123456789/a   the files
//! volume/..data -> ..2026_11_22_…            moved by one rename
//! volume/a -> ..data/a                       what a container reads
//! ```

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// One file to show: contents, mode, owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Contents.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, if not root.
    pub uid: Option<u32>,
}

/// Relative path → file.
pub type Payload = BTreeMap<String, File>;

/// The link that leads to the files in force.
pub const DATA: &str = "..data";

/// Makes `directory` show exactly `payload`; does nothing if it does already. Returns whether it changed.
pub fn write(directory: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    std::fs::create_dir_all(directory)?;
    let data = directory.join(DATA);
    let old = std::fs::read_link(&data).ok();
    if old.as_ref().is_some_and(|old| shows(&directory.join(old), payload)) {
        link_names(directory, payload)?;
        return Ok(false);
    }
    let name = fresh_name(directory);
    let swapped = fill(&directory.join(&name), payload, group).and_then(|()| point(directory, &name));
    if let Err(error) = swapped {
        // nobody reads it, and a full disk needs the room
        let _ = std::fs::remove_dir_all(directory.join(&name));
        return Err(error);
    }
    link_names(directory, payload)?;
    unlink_stale(directory, payload)?;
    if let Some(old) = old {
        let _ = std::fs::remove_dir_all(directory.join(old));
    }
    Ok(true)
}

/// Writes all files into a directory of their own.
fn fill(fresh: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    std::fs::create_dir(fresh)?;
    std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(0o755))?;
    payload.iter().try_for_each(|(path, file)| write_file(fresh, path, file, group))
}

/// Moves `..data` to the directory of this name.
fn point(directory: &Path, name: &str) -> io::Result<()> {
    let temporary = directory.join("..data_tmp");
    let _ = std::fs::remove_file(&temporary);
    symlink(name, &temporary)?;
    std::fs::rename(&temporary, directory.join(DATA))
}

fn fresh_name(directory: &Path) -> String {
    let now = jiff::Timestamp::now();
    let mut nanos = now.subsec_nanosecond();
    loop {
        let name = format!("..{}.{nanos:09}", now.strftime("%Y_%m_%d_%H_%M_%S"));
        if !directory.join(&name).exists() {
            return name;
        }
        nanos += 1;
    }
}

fn write_file(root: &Path, path: &str, file: &File, group: Option<u32>) -> io::Result<()> {
    let target = root.join(path);
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&target, &file.data)?;
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    if file.uid.is_some() || group.is_some() {
        std::os::unix::fs::chown(&target, file.uid, group)?;
    }
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode))
}

/// Whether a data directory holds exactly these contents.
fn shows(data: &Path, payload: &Payload) -> bool {
    let mut count = 0;
    let same = payload.iter().all(|(path, file)| {
        count += 1;
        std::fs::read(data.join(path)).is_ok_and(|there| there == file.data)
    });
    same && count_files(data) == count
}

fn count_files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|e| if e.path().is_dir() { count_files(&e.path()) } else { 1 }).sum()
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn link_names(directory: &Path, payload: &Payload) -> io::Result<()> {
    for path in payload.keys() {
        let name = first(path);
        let link = directory.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    Ok(())
}

fn unlink_stale(directory: &Path, payload: &Payload) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !payload.keys().any(|path| first(path) == name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { data: text.into(), mode: 0o644, uid: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn swaps_all_files_at_once_and_leaves_nothing_behind() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("volume");
        assert!(write(&root, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap());
        assert!(!write(&root, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap());
        assert_eq!(std::fs::read_to_string(root.join("d/b")).unwrap(), "2");
        assert!(write(&root, &payload(&[("a", "3")]), None).unwrap());
        assert_eq!(std::fs::read_to_string(root.join("a")).unwrap(), "3");
        assert!(!root.join("d").exists());
        let left = std::fs::read_dir(&root).unwrap().count();
        assert_eq!(left, 3, "..data, its target and one link");
    }

    #[test]
    fn what_could_not_be_written_leaves_the_old_files_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &payload(&[("a", "1")]), None).unwrap();
        // one name cannot be a file and a directory
        write(root.path(), &payload(&[("b", "2"), ("b/c", "3")]), None).unwrap_err();
        assert_eq!(std::fs::read_to_string(root.path().join("a")).unwrap(), "1");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 3);
    }
}
