//! A volume's files are given to the pod's group: upstream's `pkg/volume/volume_linux.go`, `changeFilePermission`.
//!
//! Other pods may be writing there meanwhile, so nothing is reached by its path: each entry is opened beneath its
//! directory, links are not followed, and other mounts are left alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat};
use nix::unistd::{Gid, fchownat};

/// Everything at and below `path` belongs to the group, which may read and write it; directories hand the group on.
pub fn give(path: &Path, group: u32) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(path, flags, Mode::empty())?;
    Ok(give_one(root.as_fd(), group)?)
}

/// Whether `path` itself looks as [`give`] leaves it (`fsGroupChangePolicy: OnRootMismatch`).
pub fn is_given(path: &Path, group: u32) -> io::Result<bool> {
    let root = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let stat = fstat(&root)?;
    Ok(stat.st_gid == group && stat.st_mode & wanted(&stat) == wanted(&stat))
}

fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn wanted(stat: &FileStat) -> u32 {
    if is_kind(stat, SFlag::S_IFDIR) { 0o2770 } else { 0o660 }
}

fn give_one(entry: BorrowedFd<'_>, group: u32) -> nix::Result<()> {
    let stat = fstat(entry)?;
    let strange = stat.st_gid != group;
    if strange {
        fchownat(entry, "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?;
    }
    if is_kind(&stat, SFlag::S_IFLNK) {
        return Ok(());
    }
    // a change of group takes set-group-id away
    if strange || stat.st_mode & wanted(&stat) != wanted(&stat) {
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777 | wanted(&stat));
        let this = format!("/proc/self/fd/{}", entry.as_raw_fd());
        fchmodat(entry, this.as_str(), mode, FchmodatFlags::FollowSymlink)?;
    }
    if is_kind(&stat, SFlag::S_IFDIR) { give_entries(entry, group) } else { Ok(()) }
}

fn give_entries(directory: BorrowedFd<'_>, group: u32) -> nix::Result<()> {
    let beneath =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = |flags: OFlag| OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(beneath);
    let mut all = Dir::from_fd(openat2(directory, ".", how(OFlag::O_RDONLY | OFlag::O_DIRECTORY))?)?;
    for entry in all.iter() {
        let name = entry?.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match openat2(directory, name.as_c_str(), how(OFlag::O_PATH | OFlag::O_NOFOLLOW)) {
            Ok(entry) => give_one(entry.as_fd(), group)?,
            // somebody removed it; another mount has owners of its own
            Err(Errno::ENOENT | Errno::EXDEV) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn the_group_gets_what_is_there_already() {
        let root = tempfile::tempdir().unwrap();
        let (deep, file) = (root.path().join("v/deep"), root.path().join("v/deep/file"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", deep.join("link")).unwrap();
        // the own group: any may be given by root only
        let group = nix::unistd::getegid().as_raw();
        assert!(!is_given(&root.path().join("v"), group).unwrap());
        give(&root.path().join("v"), group).unwrap();
        assert!(is_given(&root.path().join("v"), group).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(
            (mode(&deep) & 0o2770, mode(&file), mode(Path::new("/etc/passwd"))),
            (0o2770, 0o660, 0o644)
        );
    }
}
