//! A layer's tar becomes a directory that overlayfs can use: whiteouts become what overlayfs understands.
//!
//! Nothing an archive says can reach outside the directory: parents are opened below the root by the kernel
//! (`openat2`, `RESOLVE_IN_ROOT`), never by path.

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, mkdirat, mknodat};
use sha2::{Digest, Sha256};
use tar::{Entry, EntryType};

use super::diff_id::DiffId;
use super::zstd::Frames;

/// What came out of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Bytes of its files.
    pub size_bytes: u64,
}

/// Unpacks a plain or gzipped tar into an existing directory.
pub fn unpack(source: impl Read, into: &Path) -> io::Result<Unpacked> {
    let mut hashing = Hashing { inner: decompress(source)?, hash: Sha256::new() };
    let root = nix::fcntl::open(into, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut target = Target { root, parent: None, size_bytes: 0, times: Vec::new() };
    {
        let mut archive = tar::Archive::new(&mut hashing);
        for entry in archive.entries()? {
            target.entry(entry?)?;
        }
    }
    // what follows the archive's end is hashed too
    io::copy(&mut hashing, &mut io::sink())?;
    target.set_directory_times();
    let diff_id = DiffId::of(hashing.hash.finalize());
    Ok(Unpacked { diff_id, size_bytes: target.size_bytes })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at the first bytes and undoes the compression.
pub fn decompress<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0u8; 4];
    let mut have = 0;
    while have < magic.len() {
        match source.read(&mut magic[have..])? {
            0 => break,
            count => have += count,
        }
    }
    let whole = io::Cursor::new(magic).take(have as u64).chain(source);
    match &magic[..have] {
        [0x1f, 0x8b, ..] => {
            Ok(Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 16, whole))))
        }
        // a frame of zstd, or one that is passed over before the first
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Ok(Box::new(Frames::new(whole))),
        _ => Ok(Box::new(whole)),
    }
}

/// Makes a directory below a root that may hold hostile symlinks.
pub fn make_directory(root: &Path, path: &str) -> io::Result<()> {
    let fd = nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let target = Target { root: fd, parent: None, size_bytes: 0, times: Vec::new() };
    let path = clean(Path::new(path))?;
    match target.open_in_root(&path) {
        Ok(_) => Ok(()),
        Err(_) => target.make_parents(&path).map(drop),
    }
}

/// Reads a file below a root that may hold hostile symlinks; empty if it is not there.
pub fn read_inside(root: &Path, path: &str) -> String {
    let read = || -> io::Result<String> {
        let fd =
            nix::fcntl::open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let mut text = String::new();
        // an image's passwd is a page or two; a device or an endless file is not read to its end
        std::fs::File::from(openat2(&fd, path, how)?).take(1 << 20).read_to_string(&mut text)?;
        Ok(text)
    };
    read().unwrap_or_default()
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

struct Target {
    root: OwnedFd,
    parent: Option<(PathBuf, OwnedFd)>,
    size_bytes: u64,
    times: Vec<(PathBuf, i64)>,
}

/// Only plain names: leading slashes and dots go, `..` is refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::other(format!("layer entry {} leaves its directory", path.display())));
            }
        }
    }
    Ok(out)
}

impl Target {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> io::Result<()> {
        let path = clean(&entry.path()?)?;
        let kind = entry.header().entry_type();
        let Some(name) = path.file_name().map(|name| name.as_bytes().to_vec()) else {
            return self.root_entry(&entry);
        };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        let fd = self.open_parent(&parent)?;
        if name == b".wh..wh..opq" {
            return set_opaque(fd);
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            // "." and ".." are files like others to the calls below
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(io::Error::other(format!("layer entry {} hides no file", path.display())));
            }
            let hidden = CString::new(hidden)?;
            let _ = remove(fd, Path::new(std::ffi::OsStr::from_bytes(hidden.as_bytes())));
            mknod(fd, &hidden, SFlag::S_IFCHR, 0, 0)?;
            return Ok(());
        }
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(&name));
        self.place(fd, &name, &path, kind, &mut entry)?;
        if kind != EntryType::Link {
            self.attributes(fd, &name, &path, kind, &mut entry)?;
        }
        Ok(())
    }

    fn root_entry<R: Read>(&mut self, entry: &Entry<'_, R>) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
        let path = fd_path(self.root.as_raw_fd());
        nix::unistd::chown(
            &path,
            Some((entry.header().uid().unwrap_or(0) as u32).into()),
            Some((entry.header().gid().unwrap_or(0) as u32).into()),
        )?;
        nix::sys::stat::fchmodat(nix::fcntl::AT_FDCWD, &path, mode, FchmodatFlags::FollowSymlink)?;
        Ok(())
    }

    /// Entries of one directory usually follow each other: its descriptor is kept.
    fn open_parent(&mut self, path: &Path) -> io::Result<i32> {
        if self.parent.as_ref().is_none_or(|(have, _)| have != path) {
            let fd = match self.open_in_root(path) {
                Ok(fd) => fd,
                Err(nix::errno::Errno::ENOENT) => self.make_parents(path)?,
                Err(error) => return Err(error.into()),
            };
            self.parent = Some((path.to_owned(), fd));
        }
        Ok(self.parent.as_ref().map_or(-1, |(_, fd)| fd.as_raw_fd()))
    }

    fn open_in_root(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    fn make_parents(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut done = PathBuf::new();
        for component in path.components() {
            let parent = self.open_in_root(&done)?;
            match mkdirat(&parent, component.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            done.push(component);
        }
        Ok(self.open_in_root(path)?)
    }

    fn place<R: Read>(
        &mut self,
        fd: i32,
        name: &Path,
        path: &Path,
        kind: EntryType,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        let c = CString::new(name.as_os_str().as_bytes())?;
        let mode = entry.header().mode().unwrap_or(0o755) & 0o7777;
        if kind == EntryType::Directory {
            let made = mkdirat(borrowed(fd), name, Mode::from_bits_truncate(mode));
            if made == Err(nix::errno::Errno::EEXIST) && !is_directory(fd, name) {
                remove(fd, name)?;
                mkdirat(borrowed(fd), name, Mode::from_bits_truncate(mode))?;
            }
            self.times.push((path.to_owned(), entry.header().mtime().unwrap_or(0) as i64));
            return Ok(());
        }
        remove(fd, name)?;
        match kind {
            EntryType::Symlink => {
                let link = entry.link_name()?.ok_or_else(|| io::Error::other("symlink without target"))?;
                nix::unistd::symlinkat(link.as_os_str(), borrowed(fd), name)?;
            }
            EntryType::Link => {
                let link = entry.link_name()?.ok_or_else(|| io::Error::other("hard link without target"))?;
                let link = clean(&link)?;
                let parent = self.open_in_root(link.parent().unwrap_or(Path::new("")))?;
                let target = link.file_name().ok_or_else(|| io::Error::other("hard link to a directory"))?;
                nix::unistd::linkat(&parent, target, borrowed(fd), name, AtFlags::empty())?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let flag = match kind {
                    EntryType::Char => SFlag::S_IFCHR,
                    EntryType::Block => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                let major = entry.header().device_major()?.unwrap_or(0);
                let minor = entry.header().device_minor()?.unwrap_or(0);
                mknod(fd, &c, flag, major, minor)?;
            }
            _ => {
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = nix::fcntl::openat(borrowed(fd), name, flags, Mode::from_bits_truncate(0o600))?;
                self.size_bytes += io::copy(entry, &mut std::fs::File::from(file))?;
            }
        }
        Ok(())
    }

    fn attributes<R: Read>(
        &mut self,
        fd: i32,
        name: &Path,
        _path: &Path,
        kind: EntryType,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        let header = entry.header();
        let (uid, gid) = (header.uid().unwrap_or(0) as u32, header.gid().unwrap_or(0) as u32);
        let (mode, mtime) = (header.mode().unwrap_or(0o777) & 0o7777, header.mtime().unwrap_or(0) as i64);
        let no_follow = AtFlags::AT_SYMLINK_NOFOLLOW;
        nix::unistd::fchownat(borrowed(fd), name, Some(uid.into()), Some(gid.into()), no_follow)?;
        if kind != EntryType::Symlink {
            // after the owner: chown clears set-user-id
            fchmodat(borrowed(fd), name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)?;
        }
        let path = fd_path(fd).join(name);
        for extension in entry.pax_extensions()?.into_iter().flatten().flatten() {
            if let Ok(key) = extension.key()
                && let Some(attribute) = key.strip_prefix("SCHILY.xattr.")
            {
                set_xattr(&path, attribute, extension.value_bytes())?;
            }
        }
        let time = nix::sys::time::TimeSpec::new(mtime, 0);
        let _ = nix::sys::stat::utimensat(
            borrowed(fd),
            name,
            &time,
            &time,
            nix::sys::stat::UtimensatFlags::NoFollowSymlink,
        );
        Ok(())
    }

    /// Last, because filling a directory changes its time.
    fn set_directory_times(&self) {
        for (path, mtime) in self.times.iter().rev() {
            if let Ok(fd) = self.open_in_root(path) {
                let time = nix::sys::time::TimeSpec::new(*mtime, 0);
                let flag = nix::sys::stat::UtimensatFlags::FollowSymlink;
                let path = fd_path(fd.as_raw_fd());
                let _ = nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, &path, &time, &time, flag);
            }
        }
    }
}

fn borrowed<'a>(fd: i32) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: only used on descriptors that `Target` keeps open through the call
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

fn fd_path(fd: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

fn is_directory(fd: i32, name: &Path) -> bool {
    std::fs::symlink_metadata(fd_path(fd).join(name)).is_ok_and(|meta| meta.is_dir())
}

fn remove(fd: i32, name: &Path) -> io::Result<()> {
    let path = fd_path(fd).join(name);
    match std::fs::symlink_metadata(&path) {
        Err(_) => Ok(()),
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
        Ok(_) => std::fs::remove_file(&path),
    }
}

fn mknod(fd: i32, name: &CString, kind: SFlag, major: u32, minor: u32) -> io::Result<()> {
    let device = nix::sys::stat::makedev(u64::from(major), u64::from(minor));
    Ok(mknodat(borrowed(fd), name.as_c_str(), kind, Mode::from_bits_truncate(0o600), device)?)
}

/// Hides what lower layers have in a directory. The directory is opened anew: an `O_PATH` descriptor has no
/// attributes, and its name below /proc is a link that `lsetxattr` does not follow. Fails where overlayfs
/// would show the hidden files, also for lack of support.
fn set_opaque(fd: i32) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::openat(borrowed(fd), ".", flags, Mode::empty())?;
    // SAFETY: both strings are as long as said
    let result = unsafe {
        libc::fsetxattr(directory.as_raw_fd(), c"trusted.overlay.opaque".as_ptr(), c"y".as_ptr().cast(), 1, 0)
    };
    match (result, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        (_, error) => Err(io::Error::other(format!("trusted.overlay.opaque: {error}"))),
    }
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (CString::new(path.as_os_str().as_bytes())?, CString::new(name)?);
    // SAFETY: both strings end in NUL and the value is as long as said
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    match (result, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        // a file system without this kind of attribute: containerd goes on too
        (_, error) if error.raw_os_error() == Some(libc::ENOTSUP) => Ok(()),
        (_, error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    fn layer(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn file(builder: &mut tar::Builder<Vec<u8>>, path: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o4755);
        header.set_uid(7);
        // not through `set_path`, which refuses what a hostile archive has
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, path: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o777);
        builder.append_link(&mut header, path, target).unwrap();
    }

    #[test]
    fn owners_modes_whiteouts_and_hard_links_survive() {
        let directory = tempfile::tempdir().unwrap();
        let tar = layer(|builder| {
            file(builder, "a/file", b"hello");
            link(builder, EntryType::Link, "b", "a/file");
            file(builder, "a/.wh.gone", b"");
            file(builder, "c/.wh..wh..opq", b"");
        });
        let out = unpack(&tar[..], directory.path()).unwrap();
        assert_eq!(out.size_bytes, 5);
        let meta = std::fs::metadata(directory.path().join("a/file")).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777, meta.nlink()), (7, 0o4755, 2));
        let gone = std::fs::symlink_metadata(directory.path().join("a/gone")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        assert!(!directory.path().join("c/.wh..wh..opq").exists());
        assert_eq!(attribute(&directory.path().join("c"), c"trusted.overlay.opaque"), b"y");
    }

    fn attribute(path: &Path, name: &std::ffi::CStr) -> Vec<u8> {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut value = vec![0u8; 16];
        // SAFETY: the buffer is as long as said
        let size =
            unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        value.truncate(size.max(0) as usize);
        value
    }

    #[test]
    fn a_whiteout_names_a_file() {
        for name in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh..."] {
            let around = tempfile::tempdir().unwrap();
            let root = around.path().join("root");
            std::fs::create_dir(&root).unwrap();
            std::fs::write(around.path().join("kept"), b"x").unwrap();
            let tar = layer(|builder| {
                file(builder, "a/kept", b"x");
                file(builder, "b", b"x");
                file(builder, name, b"");
            });
            assert!(unpack(&tar[..], &root).is_err(), "{name}");
            for kept in ["kept", "root/a/kept", "root/b"] {
                assert!(around.path().join(kept).is_file(), "{name} removed {kept}");
            }
        }
    }

    #[test]
    fn nothing_reaches_outside() {
        let outside = tempfile::tempdir().unwrap();
        for tar in [
            layer(|builder| file(builder, "../evil", b"x")),
            layer(|builder| {
                link(builder, EntryType::Symlink, "out", outside.path().to_str().unwrap());
                file(builder, "out/evil", b"x");
            }),
            layer(|builder| link(builder, EntryType::Link, "shadow", "../../../../etc/passwd")),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let _ = unpack(&tar[..], directory.path());
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
            assert!(!directory.path().parent().unwrap().join("evil").exists());
            assert!(!directory.path().join("shadow").exists());
        }
    }

    #[test]
    fn compression_is_seen() {
        use std::io::Write;

        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        let tar = layer(|builder| file(builder, "f", b"x"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let zstd = compress_to_vec(&tar[..], CompressionLevel::Fastest);
        let directory = || tempfile::tempdir().unwrap();
        let plain = unpack(&tar[..], directory().path()).unwrap();
        assert_eq!(unpack(&gzip.finish().unwrap()[..], directory().path()).unwrap(), plain);
        assert_eq!(unpack(&zstd[..], directory().path()).unwrap(), plain);
        let error = unpack(&[0x28, 0xb5, 0x2f, 0xfd, 0][..], directory().path()).unwrap_err();
        assert!(error.to_string().contains("zstd"), "{error}");
    }
}
