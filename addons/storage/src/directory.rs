//! Directories of volumes: made and removed below roots of our own, never through a link.
//!
//! Whoever has a volume may put into it what they like, while we look: links, trees of any depth, mounts. So names are
//! resolved by the kernel beneath the root's descriptor, without links and without crossing into another mount
//! (`openat2`), and a tree is taken apart at its top, with two descriptors whatever its depth.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{AccessFlags, UnlinkatFlags, access, unlinkat};

/// Entries of a directory that are looked at in one go.
const BATCH: usize = 4096;

/// What a file system has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can be written.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The directory in which volumes are made, and those in which they once were.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    known: Vec<PathBuf>,
}

impl Root {
    /// Makes `path` unless it is there, open to nobody but root: volumes are open to everybody. Remembers it in the file
    /// `memory`, so that volumes below it can be deleted even when another path is configured.
    ///
    /// # Errors
    /// A directory or the file cannot be made.
    pub fn make(path: &Path, memory: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let text = match std::fs::read_to_string(memory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let mut known: Vec<PathBuf> = text.lines().map(PathBuf::from).collect();
        if !known.iter().any(|one| one == path) {
            known.push(path.to_owned());
            let lines: String = known.iter().map(|one| format!("{}\n", one.display())).collect();
            let fresh = memory.with_extension("new");
            std::fs::write(&fresh, lines)?;
            std::fs::rename(&fresh, memory)?;
        }
        Ok(Self { path: path.to_owned(), known })
    }

    /// Where volumes are made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the volume of this name is made.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory of a volume, for everybody to use (0777); fine if it is there.
    ///
    /// # Errors
    /// It cannot be made, or something else has its name.
    pub fn create(&self, name: &str) -> io::Result<()> {
        let (root, name) = (open_root(&self.path)?, plain(name)?);
        match mkdirat(&root, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // once more, without the umask
        Ok(fchmod(descend(&root, name)?, Mode::from_bits_truncate(0o777))?)
    }

    /// Removes the directory of a volume that is empty; whether there was one. Files are never lost this way.
    ///
    /// # Errors
    /// It is not empty, or cannot be removed.
    pub fn remove_empty(&self, name: &str) -> io::Result<bool> {
        Ok(gone(unlinkat(open_root(&self.path)?, plain(name)?, UnlinkatFlags::RemoveDir))?)
    }

    /// Removes the volume `name` at `path` with all its files; fine if it is not there.
    ///
    /// # Errors
    /// The path is not the volume's below one of our roots, or something in it cannot be removed: it is busy, immutable,
    /// or of another mount.
    pub fn delete(&self, name: &str, path: &Path) -> io::Result<()> {
        let name = plain(name)?;
        let Some(root) = self.known.iter().find(|root| root.join(name) == path) else {
            let text =
                format!("{} is not the directory of {name} below {}", path.display(), self.path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        };
        let root = match open_root(root) {
            // with the disk that it was on: nothing is left
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            root => root?,
        };
        match descend(&root, name) {
            Ok(volume) => clear(&volume)?,
            Err(Errno::ENOENT) => return Ok(()),
            // made of something else than we made it: the thing itself goes, not what it leads to
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return Ok(gone(unlinkat(&root, name, UnlinkatFlags::NoRemoveDir)).map(drop)?);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(gone(unlinkat(&root, name, UnlinkatFlags::RemoveDir)).map(drop)?)
    }

    /// Names of what is in the root.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<Option<String>>>>()?.into_iter().flatten().collect())
    }

    /// What the file system has.
    ///
    /// # Errors
    /// The root is not there, or cannot be written to.
    pub fn space(&self) -> io::Result<Space> {
        access(&self.path, AccessFlags::W_OK | AccessFlags::X_OK)?;
        let stat = fstatvfs(open_root(&self.path)?)?;
        let bytes = |blocks: u64| blocks * stat.fragment_size();
        Ok(Space { free: bytes(stat.blocks_available()), total: bytes(stat.blocks()) })
    }
}

/// A name that is one, and leads nowhere else.
fn plain(name: &str) -> io::Result<&str> {
    let good = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    good.then_some(name).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Links to the root are the administrator's, and followed.
fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// A directory in a directory, on the same mount.
fn descend<P: ?Sized + nix::NixPath>(parent: &OwnedFd, name: &P) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(parent, name, how)
}

/// The first entries of a directory.
fn entries(directory: &OwnedFd) -> nix::Result<Vec<CString>> {
    // opened anew: a descriptor remembers how far it was read
    let mut listing = Dir::from_fd(descend(directory, ".")?)?;
    let names = listing.iter().map(|entry| Ok(entry?.file_name().to_owned()));
    let named =
        |name: &nix::Result<CString>| !matches!(name, Ok(name) if matches!(name.as_bytes(), b"." | b".."));
    names.filter(named).take(BATCH).collect()
}

/// `false` for what was not there.
fn gone(result: nix::Result<()>) -> nix::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes an entry unless it is a directory with something in it; whether it is gone.
fn removed(parent: &OwnedFd, name: &CString) -> nix::Result<bool> {
    match gone(unlinkat(parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)) {
        Err(Errno::EISDIR) => {}
        result => return result.map(|_| true),
    }
    match gone(unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir)) {
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        result => result.map(|_| true),
    }
}

/// Removes all that is in a directory. What its directories contain is moved up into it first, so that no path grows.
fn clear(top: &OwnedFd) -> nix::Result<()> {
    let mut number = 0;
    loop {
        let names = entries(top)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if !removed(top, &name)? {
                lift(top, &name, &mut number)?;
            }
        }
    }
}

/// Takes a directory away and leaves in `top` what it contains.
fn lift(top: &OwnedFd, name: &CString, number: &mut u64) -> nix::Result<()> {
    let directory = descend(top, name.as_c_str())?;
    loop {
        let names = entries(&directory)?;
        if names.is_empty() {
            return gone(unlinkat(top, name.as_c_str(), UnlinkatFlags::RemoveDir)).map(drop);
        }
        for inner in names {
            if !removed(&directory, &inner)? {
                move_up(&directory, &inner, top, number)?;
            }
        }
    }
}

fn move_up(from: &OwnedFd, name: &CString, top: &OwnedFd, number: &mut u64) -> nix::Result<()> {
    loop {
        *number += 1;
        let fresh = format!(".{number}");
        match renameat(from.as_fd(), name.as_c_str(), top.as_fd(), fresh.as_str()) {
            // somebody's name
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
            result => return gone(result).map(drop),
        }
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
