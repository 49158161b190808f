//! What runs between fork and exec: a container's main process ([`init`]), joining one for exec, and the first
//! process of a shared PID namespace.
//!
//! Each runs in a child of the host, so that whatever a library allocates, leaks or crashes on ends with it
//! and the host stays small. Success is the end of the status socket: all its ends close on exec.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, Pid, fork};
use serde::{Deserialize, Serialize};

use super::command::{Command, become_command};
use super::filter::Filter;
use super::place::Place;
use super::protocol::{self, StartContainer};
use super::{epoll, init};

/// What a child tells the host before it execs.
#[derive(Debug, Serialize, Deserialize)]
pub enum Status {
    /// The process that will be (or is) the command.
    Pid(i32),
    /// The terminal's master came along.
    Terminal,
    /// What libcontainer logged as an error: its error values drop their causes.
    Note(String),
    /// It will not run.
    Failed {
        /// In words.
        message: String,
        /// 127, 126 or 128.
        exit_code: i32,
    },
}

/// Standard streams of a command, as numbers valid in the child.
#[derive(Clone, Copy)]
pub struct Stdio(pub [RawFd; 3]);

/// Forks; `work` runs in the child with fresh signals and the write end of the status socket.
pub fn spawn(work: impl FnOnce(RawFd)) -> nix::Result<(Pid, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the host is single-threaded, so the child may do all that its parent could
    match unsafe { fork()? } {
        ForkResult::Parent { child } => Ok((child, ours)),
        ForkResult::Child => {
            drop(ours);
            epoll::reset_signals();
            work(theirs.as_raw_fd());
            // SAFETY: leaves without the parent's exit handlers
            unsafe { libc::_exit(0) }
        }
    }
}

fn fail(status: RawFd, message: String) {
    let (message, exit_code) = explain(&message);
    let _ = protocol::send(status, &Status::Failed { message, exit_code }, &[]);
}

/// Words and exit code of a start that failed; the code is read off the words, as the kubelet's users do.
fn explain(message: &str) -> (String, i32) {
    let text = message.rfind("exec: \"").map_or(message, |at| &message[at..]);
    let exit_code = match text {
        text if text.contains("executable file not found") || text.contains("no such file or directory") => {
            127
        }
        text if text.starts_with("exec: ") => 126,
        _ => 128,
    };
    (format!("unable to start container process: {text}"), exit_code)
}

/// Sends what a library logs as an error to the host.
struct Notes(RawFd);

struct Words(String);

impl tracing::field::Visit for Words {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}

impl tracing::Subscriber for Notes {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        let _ = protocol::send(self.0, &Status::Note(words.0.trim_end().to_owned()), &[]);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Starts a container; ends when it runs or cannot.
pub fn start(request: &StartContainer, stdio: Stdio, status: RawFd) {
    let _ = tracing::subscriber::set_global_default(Notes(status));
    if let Err(message) = init::launch(request, stdio, status) {
        fail(status, message);
    }
}

/// An error with its causes, those that it does not name itself.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

/// Where and how a command joins a container.
pub struct Join<'a> {
    /// The container's main process.
    pub pid: i32,
    /// Its bundle.
    pub bundle: &'a Path,
    /// `cgroup.procs` files of its cgroup.
    pub cgroup_procs: &'a [PathBuf],
    /// The command line.
    pub command: &'a [String],
    /// Streams; `None` for a new terminal.
    pub stdio: Option<Stdio>,
}

/// Enters a container and execs; the PID namespace asks for one more fork.
pub fn exec(join: &Join<'_>, status: RawFd) {
    if let Err(message) = enter(join, status) {
        fail(status, message);
    }
}

fn enter(join: &Join<'_>, status: RawFd) -> Result<(), String> {
    let spec = Spec::load(join.bundle.join("config.json")).map_err(|error| chain(&error))?;
    let filter = Filter::load(join.bundle).map_err(|error| error.to_string())?;
    let place = Place::open(join.cgroup_procs).map_err(|error| format!("cgroup: {error}"))?;
    let mut process = spec.process().clone().ok_or("container has no process")?;
    process.set_args(Some(join.command.to_vec()));
    if let Some(score) = process.oom_score_adj() {
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    // SAFETY: prctl without pointers; the container's processes cannot look into this one
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    set_namespaces(join.pid).map_err(|error| format!("joining the container's namespaces: {error}"))?;
    // SAFETY: single-threaded
    match unsafe { place.fork() }.map_err(|error| format!("cgroup: {error}"))? {
        ForkResult::Parent { child } => {
            let _ = protocol::send(status, &Status::Pid(child.as_raw()), &[]);
            Ok(())
        }
        ForkResult::Child => become_command(&Command {
            process: &process,
            filter: &filter,
            stdio: join.stdio,
            console: false,
            status,
        }),
    }
}

fn set_namespaces(pid: i32) -> std::io::Result<()> {
    let all = libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP;
    // SAFETY: system calls without pointers
    let result = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as RawFd;
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::setns(fd, all)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The first process of a pod's shared PID namespace: it only reaps. It is a fork of the host, so its memory
/// is the host's; the kernel kills all in the namespace when it ends.
pub fn shared_init(namespaces: &[PathBuf], cgroup_procs: &[PathBuf], status: RawFd) {
    for file in cgroup_procs {
        if let Err(error) = std::fs::write(file, "0") {
            return fail(status, format!("cgroup: {}: {error}", file.display()));
        }
    }
    for namespace in namespaces {
        if let Ok(file) = std::fs::File::open(namespace) {
            // SAFETY: no pointers
            unsafe { libc::setns(file.as_raw_fd(), 0) };
        }
    }
    // SAFETY: single-threaded; the grandchild is the namespace's first process
    let child = unsafe {
        if libc::unshare(libc::CLONE_NEWPID) != 0 {
            return fail(status, std::io::Error::last_os_error().to_string());
        }
        fork()
    };
    match child {
        Ok(ForkResult::Parent { child }) => {
            let _ = protocol::send(status, &Status::Pid(child.as_raw()), &[]);
        }
        Ok(ForkResult::Child) => reap_forever(),
        Err(error) => fail(status, error.to_string()),
    }
}

fn reap_forever() -> ! {
    // SAFETY: signal calls on an initialised set; descriptors of the host are not this process's business
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"pause".as_ptr());
        libc::setsid();
        libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        loop {
            libc::sigwaitinfo(&set, std::ptr::null_mut());
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_upstream_words_and_codes() {
        for (message, code) in [
            ("x: exec: \"foo\": executable file not found in $PATH", 127),
            ("exec: \"/foo\": stat /foo: no such file or directory", 127),
            ("exec: \"/etc\": is a directory", 126),
            ("exec: \"/a\": permission denied", 126),
            ("mount failed", 128),
        ] {
            assert_eq!(explain(message).1, code, "{message}");
        }
        assert_eq!(
            explain("a: exec: \"foo\": executable file not found in $PATH").0,
            "unable to start container process: exec: \"foo\": executable file not found in $PATH"
        );
    }
}
