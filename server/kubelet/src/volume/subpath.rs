//! Parts of volumes: made and found below the volume's root only, and held on to for the runtime.
//!
//! Whoever can write to a volume can put links in it, and can do so between a look and a use (CVE-2017-1002101,
//! CVE-2021-25741). So every name is resolved by the kernel beneath the volume's own root (`openat2`,
//! `RESOLVE_BENEATH`), and what it found is bound, by its descriptor, to a directory that no container can reach;
//! that is what the runtime is given. Upstream's `pkg/volume/util/subpath/subpath_linux.go` does the same, with more
//! steps.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};

use super::mounts;

/// A part of a volume that a container mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubPath {
    /// Name of the volume, for messages.
    pub volume: String,
    /// The volume's root on the host.
    pub root: PathBuf,
    /// Relative to it.
    pub path: PathBuf,
    /// Where it is bound to: `<pod>/volume-subpaths/<volume>/<container>/<index>`.
    pub at: PathBuf,
    /// What the container mounts below is to be seen by the host (`Bidirectional`).
    pub shared: bool,
}

/// Makes the part if it is missing, and binds it; what an earlier run had there is taken off.
pub fn prepare(wanted: &SubPath) -> io::Result<()> {
    let root = nix::fcntl::open(&wanted.root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let found = open_or_make(root.as_fd(), &wanted.path)?;
    mounts::unmount(&wanted.at)?;
    make_point(&wanted.at, is_directory(&found)?)?;
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    let nothing = None::<&str>;
    nix::mount::mount(Some(source.as_str()), &wanted.at, nothing, MsFlags::MS_BIND, nothing)?;
    if !wanted.shared {
        // it sees what the host mounts below later on, and the host loses nothing when it is taken off
        nix::mount::mount(nothing, &wanted.at, nothing, MsFlags::MS_SLAVE, nothing)?;
    }
    Ok(())
}

/// Bytes of a file that [`read`] takes in.
const LARGEST: u64 = 1 << 20;

/// The text of a file beneath a volume's root; links lead nowhere else.
pub fn read(root: &Path, path: &Path) -> io::Result<String> {
    let root = nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    // whoever writes to the volume may have put a pipe there, which nobody waits for
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let file = std::fs::File::from(open_as(root.as_fd(), path, flags, ResolveFlag::RESOLVE_IN_ROOT)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file of at most 1 MiB"));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn is_directory(file: &OwnedFd) -> nix::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(file)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// Something to mount upon, of the same kind as what is mounted.
fn make_point(at: &Path, directory: bool) -> io::Result<()> {
    if let Some(parent) = at.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // an earlier run may have mounted something of the other kind
    let _ = std::fs::remove_file(at);
    let _ = std::fs::remove_dir(at);
    if directory { std::fs::create_dir(at) } else { std::fs::File::create_new(at).map(drop) }
}

/// The file or directory at `path` beneath `root`. Missing directories are made with the root's permissions.
fn open_or_make(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    match open(root, path) {
        Err(Errno::ENOENT) => {}
        result => return result,
    }
    let mode = Mode::from_bits_truncate(fstat(root)?.st_mode & 0o7777);
    let (mut done, mut parent) = (PathBuf::new(), open(root, Path::new("."))?);
    for name in path.components().filter(|component| matches!(component, Component::Normal(_))) {
        done.push(name);
        parent = match open(root, &done) {
            Err(Errno::ENOENT) => {
                make(&parent, Path::new(&name), mode)?;
                open(root, &done)?
            }
            result => result?,
        };
    }
    Ok(parent)
}

fn make(parent: &OwnedFd, name: &Path, mode: Mode) -> nix::Result<()> {
    match mkdirat(parent, name, mode) {
        // somebody else was faster; whatever it is, it is opened beneath the root
        Err(Errno::EEXIST) => return Ok(()),
        result => result?,
    }
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    // once more, without the umask
    fchmod(openat2(parent, name, how)?, mode)
}

/// How often a lookup is tried that a rename elsewhere disturbs.
const TRIES: usize = 64;

fn open(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    open_as(root, path, OFlag::O_PATH, ResolveFlag::RESOLVE_BENEATH)
}

fn open_as(root: BorrowedFd<'_>, path: &Path, flags: OFlag, within: ResolveFlag) -> nix::Result<OwnedFd> {
    let how =
        OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(within | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut tries = (0..TRIES).map(|_| openat2(root, path, how));
    tries.find(|result| !matches!(result, Err(Errno::EAGAIN))).unwrap_or(Err(Errno::EAGAIN))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn look(root: &Path, path: &str) -> nix::Result<u64> {
        let root = nix::fcntl::open(root, OFlag::O_PATH, Mode::empty()).unwrap();
        Ok(fstat(open_or_make(root.as_fd(), Path::new(path))?)?.st_ino)
    }

    #[test]
    fn nothing_outside_of_the_volume_is_found_or_made() {
        let directory = tempfile::tempdir().unwrap();
        let (volume, outside) = (directory.path().join("volume"), directory.path().join("outside"));
        std::fs::create_dir(&volume).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, volume.join("absolute")).unwrap();
        symlink("../outside", volume.join("relative")).unwrap();
        symlink("../outside/new", volume.join("dangling")).unwrap();
        symlink("/proc/self/cwd", volume.join("magic")).unwrap();
        for path in
            ["absolute", "relative", "relative/new", "absolute/new", "dangling", "magic", "../outside"]
        {
            assert!(look(&volume, path).is_err(), "{path}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_read_beneath_the_volume_only() {
        let directory = tempfile::tempdir().unwrap();
        let volume = directory.path().join("volume");
        std::fs::create_dir_all(volume.join("etc")).unwrap();
        std::fs::write(directory.path().join("outside"), "secret").unwrap();
        std::fs::write(volume.join("etc/passwd"), "ours").unwrap();
        symlink("/etc/passwd", volume.join("absolute")).unwrap();
        symlink("../outside", volume.join("relative")).unwrap();
        nix::unistd::mkfifo(&volume.join("pipe"), Mode::S_IRWXU).unwrap();
        for (path, want) in [("etc/passwd", Some("ours")), ("absolute", Some("ours"))]
            .into_iter()
            .chain(["relative", "../outside", "pipe", "etc", "none"].map(|path| (path, None)))
        {
            assert_eq!(read(&volume, Path::new(path)).ok().as_deref(), want, "{path}");
        }
    }

    #[test]
    fn links_within_the_volume_lead_on() {
        let volume = tempfile::tempdir().unwrap();
        let root = volume.path();
        std::fs::create_dir(root.join("..2026")).unwrap();
        std::fs::write(root.join("..2026/key"), "").unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        symlink("..data/key", root.join("key")).unwrap();
        let inode = |path: &str| std::fs::metadata(root.join(path)).unwrap().ino();
        assert_eq!(look(root, "key"), Ok(inode("..2026/key")));
        assert_eq!(look(root, "..data/made/deep"), Ok(inode("..2026/made/deep")));
        assert_eq!(look(root, "./"), Ok(inode(".")));
    }

    #[test]
    fn what_is_made_has_the_permissions_of_the_root() {
        let volume = tempfile::tempdir().unwrap();
        std::fs::set_permissions(volume.path(), std::fs::Permissions::from_mode(0o2777)).unwrap();
        look(volume.path(), "a/b").unwrap();
        let mode = |path: &str| std::fs::metadata(volume.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b")), (0o2777, 0o2777));
    }
}
