//! Mounts below a pod's directory: found in the kernel's table, taken off before anything is removed.
//!
//! Removing never follows a link and never crosses into another mount, of whatever kind: a hostPath bound into the
//! pod's directory is the host's, and what could not be unmounted is left alone.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Whether another file system than its parent's is at `path`; not true of a bind mount of the same one.
pub fn is_mount(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let parent = path.parent().unwrap_or(path);
    Ok(std::fs::metadata(path)?.dev() != std::fs::metadata(parent)?.dev())
}

/// Mounts a tmpfs at `path`.
pub fn tmpfs(path: &Path, options: Option<&str>) -> io::Result<()> {
    Ok(nix::mount::mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), options)?)
}

/// Unmounts whatever is mounted at `path`; fine if nothing is.
pub fn unmount(path: &Path) -> io::Result<()> {
    make_private(path, MsFlags::MS_REC);
    loop {
        match nix::mount::umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Without this the host would lose what is mounted below a directory that was bound here: unmounting a copy
/// unmounts the original's children, too, while the two share them.
fn make_private(path: &Path, more: MsFlags) {
    // nothing is mounted there: nothing to do
    let _ = nix::mount::mount(None::<&str>, path, None::<&str>, MsFlags::MS_PRIVATE | more, None::<&str>);
}

/// Unmounts everything at and below a directory, deepest first.
pub fn unmount_below(directory: &Path) -> io::Result<()> {
    // the kernel's table has no links in it
    let directory = match directory.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let points = below(&std::fs::read("/proc/self/mountinfo")?, &directory);
    points.iter().for_each(|point| make_private(point, MsFlags::empty()));
    points.iter().try_for_each(|point| unmount(point))
}

/// Mount points of a mountinfo table at and below `directory`, deepest first.
fn below(table: &[u8], directory: &Path) -> Vec<PathBuf> {
    let point = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescape);
    let lines = table.split(|byte| *byte == b'\n');
    let mut points: Vec<PathBuf> =
        lines.filter_map(point).filter(|point| point.starts_with(directory)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    points
}

/// The kernel writes blanks and backslashes as `\040`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *byte == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        out.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(out))
}

/// Removes a directory and all below it, but nothing of another mount; fine if it is not there.
pub fn remove(directory: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match nix::fcntl::open(parent, flags, Mode::empty()) {
        Err(Errno::ENOENT) => Ok(()),
        Ok(parent) => Ok(remove_at(parent.as_fd(), Path::new(name))?),
        Err(error) => Err(error.into()),
    }
}

fn remove_at(parent: BorrowedFd<'_>, name: &Path) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(Errno::ENOENT) => return Ok(()),
        result => return result,
    }
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut directory = nix::dir::Dir::from_fd(openat2(parent, name, how)?)?;
    let entries: Vec<OsString> = directory
        .iter()
        .map(|entry| Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec())))
        .collect::<nix::Result<_>>()?;
    for entry in entries.iter().filter(|entry| !matches!(entry.as_bytes(), b"." | b"..")) {
        remove_at(directory.as_fd(), Path::new(entry))?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mounts_of_a_directory_come_deepest_first() {
        let table = b"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
            30 22 0:5 / /pods/u/volumes/t rw - tmpfs tmpfs rw\n\
            31 30 0:6 / /pods/u/volumes/t/a\\040b rw - tmpfs tmpfs rw\n\
            32 22 0:7 / /pods/u2/volumes/t rw - tmpfs tmpfs rw\n";
        let points = below(table, Path::new("/pods/u"));
        assert_eq!(points, [Path::new("/pods/u/volumes/t/a b"), Path::new("/pods/u/volumes/t")]);
        assert_eq!(unescape(b"\\134x\\9"), Path::new("\\x\\9"));
    }

    #[test]
    fn removing_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        let (doomed, kept) = (root.path().join("doomed"), root.path().join("kept"));
        std::fs::create_dir_all(doomed.join("a/b")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, doomed.join("a/link")).unwrap();
        remove(&doomed).unwrap();
        assert_eq!((doomed.exists(), kept.join("file").exists()), (false, true));
        remove(&doomed).unwrap();
        remove(&root.path().join("none/such")).unwrap();
    }
}
