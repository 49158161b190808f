//! The host's resolvers: which file names them, what it says, and when it changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::net::if_::if_nametoindex;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// The stub of systemd-resolved, which answers only some questions as its servers would.
const RESOLVED_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
/// How many servers a resolver takes (`MAXNS`).
const MOST: usize = 3;

/// The files that name the host's resolvers.
#[derive(Clone, Debug)]
pub struct Files {
    /// `/etc/resolv.conf`.
    pub usual: PathBuf,
    /// What systemd-resolved itself asks: read when the usual one names its stub.
    pub resolved: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { usual: "/etc/resolv.conf".into(), resolved: "/run/systemd/resolve/resolv.conf".into() }
    }
}

impl Files {
    /// The resolvers that the host uses now.
    ///
    /// # Errors
    /// A file cannot be read; it is named.
    pub fn servers(&self) -> io::Result<Vec<SocketAddr>> {
        let usual = servers(&read(&self.usual)?);
        if usual.first().is_none_or(|server| server.ip() != RESOLVED_STUB) {
            return Ok(usual);
        }
        match read(&self.resolved) {
            Ok(text) => Ok(servers(&text)),
            // then the stub is someone's who took its address
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(usual),
            Err(error) => Err(error),
        }
    }

    /// Watches both files, also through links, and where they do not exist yet.
    ///
    /// # Errors
    /// The kernel gives no watch.
    // the replacement is unsafe to call, which this crate may not; `Descriptor` owns what it wraps and never changes it
    #[expect(deprecated)]
    pub fn watch(&self) -> io::Result<Changes> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let changes = Changes(AsyncFd::new(Descriptor(inotify))?);
        changes.add(self);
        Ok(changes)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = std::fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The `nameserver` lines of a resolv.conf(5), at most three as everywhere.
pub fn servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten().and_then(scoped)
    };
    text.lines().filter_map(address).take(MOST).collect()
}

/// An address, with the interface after a `%` for those of a link.
fn scoped(text: &str) -> Option<SocketAddr> {
    let Some((ip, interface)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, 53));
    };
    let index = interface.parse().ok().or_else(|| if_nametoindex(interface).ok())?;
    Some(SocketAddrV6::new(ip.parse().ok()?, 53, 0, index).into())
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Tells that the files may have changed.
pub struct Changes(AsyncFd<Descriptor>);

impl Changes {
    /// Programs replace the file by renaming another, so it is folders that are watched: where the file is, and where it
    /// is in truth.
    fn add(&self, files: &Files) {
        let truth = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let paths = [files.usual.clone(), truth(&files.usual), truth(&files.resolved)];
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE;
        for folder in paths.iter().filter_map(|path| path.parent()) {
            // a folder that is not there has no file; watching one twice is one watch
            let _ = self.0.get_ref().0.add_watch(folder, flags);
        }
    }

    /// Resolves when something happened in the folders of `files`.
    ///
    /// # Errors
    /// The watch is gone.
    pub async fn next(&self, files: &Files) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|inner| inner.get_ref().0.read_events().map_err(io::Error::from));
            if let Ok(read) = read {
                let names = [files.usual.file_name(), files.resolved.file_name()];
                let ours = read?.iter().any(|event| {
                    event
                        .name
                        .as_deref()
                        .is_none_or(|name| names.contains(&Some(name)) || is_target(files, name))
                });
                if ours {
                    // it may lead elsewhere now
                    self.add(files);
                    return Ok(());
                }
            }
        }
    }
}

fn is_target(files: &Files, name: &std::ffi::OsStr) -> bool {
    let target = |path: &PathBuf| std::fs::canonicalize(path).ok();
    [&files.usual, &files.resolved].into_iter().filter_map(target).any(|path| path.file_name() == Some(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_read_as_a_resolver_reads_them() {
        let text = "# nameserver 9.9.9.9\nsearch example.com\n nameserver\t192.0.2.1 # ours\nnameserver nonsense\n\
                    nameserver ::1\nnameserver fe80::1%lo\nnameserver 192.0.2.4\nnameservers 1.1.1.1\n";
        let read: Vec<String> = servers(text).iter().map(SocketAddr::to_string).collect();
        assert_eq!(read, ["192.0.2.1:53", "[::1]:53", "[fe80::1%1]:53"]);
    }

    #[tokio::test]
    async fn the_stub_leads_to_its_servers_and_changes_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            Files { usual: folder.path().join("resolv.conf"), resolved: folder.path().join("resolved.conf") };
        assert!(files.servers().unwrap_err().to_string().contains("resolv.conf"));
        let changes = files.watch().unwrap();
        std::fs::write(&files.usual, "nameserver 127.0.0.53\n").unwrap();
        changes.next(&files).await.unwrap();
        assert_eq!(files.servers().unwrap(), ["127.0.0.53:53".parse().unwrap()]);
        std::fs::write(&files.resolved, "nameserver 192.0.2.1\n").unwrap();
        changes.next(&files).await.unwrap();
        assert_eq!(files.servers().unwrap(), ["192.0.2.1:53".parse().unwrap()]);
        std::fs::write(folder.path().join("next"), "nameserver 192.0.2.2\n").unwrap();
        std::fs::rename(folder.path().join("next"), &files.usual).unwrap();
        changes.next(&files).await.unwrap();
        assert_eq!(files.servers().unwrap(), ["192.0.2.2:53".parse().unwrap()]);
    }
}
