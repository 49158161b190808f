//! The words between the daemon and its container host: one JSON value per packet of a `SOCK_SEQPACKET`
//! socket, descriptors beside it.
//!
//! Packets keep messages and descriptors together, so there is no framing to get wrong. Large things
//! (specifications) go through files in the bundle, not through here.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Raised when the words change; a daemon that meets another version still understands `Shutdown`.
pub const VERSION: u32 = 1;
/// Longest packet; env and command lines of an exec must fit.
pub const MAX_PACKET: usize = 192 * 1024;
const MAX_FDS: usize = 4;

/// A question of the daemon. Answered by a [`Reply`] with the same `call`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the daemon, not 0.
    pub call: u64,
    /// What is asked.
    pub verb: Verb,
}

/// What a container host does.
#[derive(Debug, Serialize, Deserialize)]
pub enum Verb {
    /// Who are you?
    Hello,
    /// Run a prepared bundle.
    Start(Box<StartContainer>),
    /// Signal a container's main process.
    Kill {
        /// The container.
        id: String,
        /// Signal number.
        signal: i32,
    },
    /// All containers the host knows.
    List,
    /// Open the log file again by its path.
    ReopenLog {
        /// The container.
        id: String,
    },
    /// Copy output to the descriptors sent along (standard output first); the answer carries standard input.
    Attach {
        /// The container.
        id: String,
        /// Wants to write.
        stdin: bool,
        /// A descriptor for standard output came along.
        stdout: bool,
        /// A descriptor for standard error came along.
        stderr: bool,
    },
    /// Run a command in a container: on the three descriptors sent along, or on a new terminal whose
    /// master comes back.
    Exec {
        /// The container.
        id: String,
        /// Name of this run in [`Reply::ExecExited`].
        exec: u64,
        /// Command line.
        command: Vec<String>,
        /// On a terminal.
        tty: bool,
    },
    /// Signal a command (its whole session).
    KillExec {
        /// Name of the run.
        exec: u64,
        /// Signal number.
        signal: i32,
    },
    /// Fork the first process of a PID namespace that the containers of a pod share.
    StartInit {
        /// The sandbox.
        sandbox: String,
        /// Network, ipc, uts namespaces to be in, as files.
        namespaces: Vec<PathBuf>,
        /// `cgroup.procs` files to enter.
        cgroup_procs: Vec<PathBuf>,
    },
    /// End it, and all in it.
    StopInit {
        /// The sandbox.
        sandbox: String,
    },
    /// The container is removed: forget its exit.
    Forget {
        /// The container.
        id: String,
    },
    /// Exit, killing all containers.
    Shutdown,
}

/// How a container's process is run.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartContainer {
    /// The container.
    pub id: String,
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// Log file.
    pub log_path: PathBuf,
    /// Where the exit is noted for a daemon that is not there.
    pub exit_path: PathBuf,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close it after the first attach.
    pub stdin_once: bool,
    /// On a terminal.
    pub tty: bool,
    /// Files of the container's cgroup that a process enters it by, one per hierarchy.
    pub cgroup_procs: Vec<PathBuf>,
    /// File whose `oom_kill` line counts kills.
    pub oom_file: Option<PathBuf>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit status, or 128 + signal.
    pub code: i32,
    /// The out-of-memory killer was at work in its cgroup.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
}

/// A container the host knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// The container.
    pub id: String,
    /// Its main process.
    pub pid: i32,
    /// When it was started.
    pub started_at: Timestamp,
    /// Set once it has ended.
    pub ended: Option<Ended>,
}

/// An answer (`call` of its request) or news (`call` 0).
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The request's, or 0.
    pub call: u64,
    /// What is said.
    pub reply: Reply,
}

/// What a container host says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To `Hello`.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// The host's process.
        pid: i32,
    },
    /// Done.
    Done,
    /// A process runs.
    Started {
        /// Its id on the node.
        pid: i32,
        /// Since when.
        at: Timestamp,
    },
    /// One of many; [`Reply::Done`] follows the last.
    Item(Item),
    /// It did not work.
    Failed {
        /// In words.
        message: String,
        /// Exit code to show: 127, 126, 128.
        exit_code: i32,
    },
    /// No such container.
    Unknown,
    /// News: a container ended.
    Exited {
        /// The container.
        id: String,
        /// How.
        ended: Ended,
    },
    /// News: a command ended.
    ExecExited {
        /// Name of the run.
        exec: u64,
        /// Exit status, or 128 + signal.
        code: i32,
    },
}

/// Sends one packet. `EAGAIN` comes back as an error: the caller decides whether to wait.
pub fn send<T: Serialize>(socket: RawFd, value: &T, fds: &[RawFd]) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(value).map_err(|_| Errno::EINVAL)?;
    if bytes.len() > MAX_PACKET {
        return Err(Errno::EMSGSIZE);
    }
    let iov = [IoSlice::new(&bytes)];
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage] = if fds.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(socket, &iov, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one packet; `Ok(None)` at the end of the connection.
pub fn receive<T: DeserializeOwned>(socket: RawFd) -> Result<Option<(T, Vec<OwnedFd>)>, Errno> {
    let mut buffer = vec![0u8; MAX_PACKET];
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let (length, fds) = loop {
        let mut iov = [IoSliceMut::new(&mut buffer)];
        match recvmsg::<()>(socket, &mut iov, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
            Ok(message) => {
                let mut fds = Vec::new();
                for item in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(received) = item {
                        // SAFETY: the kernel just made these descriptors for us and nobody else knows them
                        fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                break (message.bytes, fds);
            }
        }
    };
    if length == 0 {
        return Ok(None);
    }
    serde_json::from_slice(&buffer[..length]).map(|value| Some((value, fds))).map_err(|_| Errno::EBADMSG)
}

/// Raw numbers of owned descriptors, for sending.
pub fn raw(fds: &[OwnedFd]) -> Vec<RawFd> {
    fds.iter().map(AsRawFd::as_raw_fd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    #[test]
    fn packets_carry_values_and_descriptors() {
        let (a, b) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let request = Request { call: 7, verb: Verb::Forget { id: "x".into() } };
        send(a.as_raw_fd(), &request, &[file.as_raw_fd()]).unwrap();
        let (got, fds) = receive::<Request>(b.as_raw_fd()).unwrap().unwrap();
        assert_eq!(got.call, 7);
        assert_eq!(fds.len(), 1);
        drop(a);
        assert!(receive::<Request>(b.as_raw_fd()).unwrap().is_none());
    }
}
