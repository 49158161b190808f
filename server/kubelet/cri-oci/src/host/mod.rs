//! The container host: a small single-threaded process per node that owns what must outlive the daemon.
//!
//! ```text
//!  daemon ──(seqpacket: verbs, descriptors)──► host ──fork──► builder ──fork──► container
//!                                               │  ◄── SIGCHLD: it is the subreaper of all of them
//!                                               └── log pipes, terminals, exit codes
//! ```
//!
//! It keeps log pipes, terminals and exit codes, and nothing else: no images, no sandboxes, no policy. The
//! daemon may stop, be killed or be replaced; exits that nobody heard are kept in memory and in the
//! container's exit file. All waiting is one epoll.

pub mod child;
mod command;
pub mod epoll;
pub mod filter;
mod init;
pub mod log;
pub mod output;
mod place;
pub mod protocol;
mod server;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::unistd::{ForkResult, fork};

/// Runs the container host. `args` are those after `container-host`: the socket's path and the cgroup to
/// move to. Must be called before any thread or runtime exists.
///
/// The caller's process ends with success as soon as the socket listens; the host goes on in a child with a
/// session of its own.
pub fn container_host_main(args: impl IntoIterator<Item = String>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(path), Some(cgroup)) = (args.next(), args.next()) else {
        eprintln!("usage: sampan container-host SOCKET CGROUP");
        return ExitCode::from(2);
    };
    match listening(Path::new(&path)) {
        Ok(listener) => detach(listener, PathBuf::from(path), &cgroup),
        Err(error) => {
            eprintln!("container host: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn listening(path: &Path) -> nix::Result<OwnedFd> {
    let _ = std::fs::remove_file(path);
    let fd = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    // others must not even connect
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let bound = bind(fd.as_raw_fd(), &UnixAddr::new(path)?);
    nix::sys::stat::umask(old);
    bound?;
    listen(&fd, Backlog::new(16)?)?;
    Ok(fd)
}

fn detach(listener: OwnedFd, path: PathBuf, cgroup: &str) -> ExitCode {
    // SAFETY: called before any thread exists
    match unsafe { fork() } {
        Ok(ForkResult::Parent { .. }) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("container host: fork: {error}");
            ExitCode::FAILURE
        }
        Ok(ForkResult::Child) => {
            settle(cgroup);
            match server::run(listener, path) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// A session, a cgroup and standard streams of its own, and the right to reap.
fn settle(cgroup: &str) {
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir("/");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    if let Ok(groups) = crate::cgroup::Cgroups::detect() {
        groups.move_self(cgroup);
    }
    // SAFETY: plain calls; /dev/null is open while it is duplicated
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"container-host".as_ptr());
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        for fd in 0..3 {
            libc::dup2(null, fd);
        }
        if null > 2 {
            libc::close(null);
        }
    }
}
