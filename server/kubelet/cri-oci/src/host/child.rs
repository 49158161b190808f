//! What runs between fork and exec: building a container with libcontainer, joining one for exec, and the
//! first process of a shared PID namespace.
//!
//! Each runs in a child of the host, so that whatever a library allocates, leaks or crashes on ends with it
//! and the host stays small. Success is the end of the status socket: all its ends close on exec.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::syscall::syscall::{SyscallType, create_syscall};
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, Gid, Pid, fork};
use serde::{Deserialize, Serialize};

use super::epoll;
use super::protocol::{self, StartContainer};

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
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
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
        text if text.contains("executable file not found") || text.contains("no such file or directory") => 127,
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

/// Builds and starts a container; ends when it runs or cannot.
pub fn start(request: &StartContainer, stdio: Stdio, status: RawFd) {
    let _ = tracing::subscriber::set_global_default(Notes(status));
    if let Err(message) = build(request, stdio, status) {
        fail(status, message);
    }
}

fn build(request: &StartContainer, stdio: Stdio, status: RawFd) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| chain(error);
    let mut builder = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_root_path(&request.oci_root)
        .map_err(|error| text(&error))?
        .with_executor(Workload { status });
    let console = request.bundle.join("console");
    let listener = if request.tty {
        let _ = std::fs::remove_file(&console);
        builder = builder.with_console_socket(Some(&console));
        Some(UnixListener::bind(&console).map_err(|error| text(&error))?)
    } else {
        let own = |fd: RawFd| {
            // SAFETY: the number is open in this child and duplicated before it is owned
            unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
        };
        builder = builder
            .with_stdin(own(stdio.0[0]).map_err(|error| text(&error))?)
            .with_stdout(own(stdio.0[1]).map_err(|error| text(&error))?)
            .with_stderr(own(stdio.0[2]).map_err(|error| text(&error))?);
        None
    };
    let mut container = builder
        .as_init(&request.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| text(&error))?;
    if let Some(listener) = listener {
        let master = receive_terminal(&listener).map_err(|error| text(&error))?;
        let _ = protocol::send(status, &Status::Terminal, &[master.as_raw_fd()]);
    }
    let pid = container.pid().ok_or("container has no process")?;
    let _ = protocol::send(status, &Status::Pid(pid.as_raw()), &[]);
    container.start().map_err(|error| text(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
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

/// The console protocol: one descriptor over a stream socket, the terminal's name beside it.
fn receive_terminal(listener: &UnixListener) -> std::io::Result<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::FromRawFd;
    let (stream, _) = listener.accept()?;
    let mut name = [0u8; 256];
    let mut iov = [std::io::IoSliceMut::new(&mut name)];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = item
            && let Some(fd) = fds.first()
        {
            // SAFETY: just received, owned by nobody
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(std::io::Error::other("no terminal arrived"))
}

/// Looks the command up in the container and execs it, telling the host why not.
#[derive(Clone)]
struct Workload {
    status: RawFd,
}

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let message = replace(process);
        fail(self.status, message.clone());
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let process = spec.process().as_ref();
        let Some((args, env)) = process.and_then(|process| Some((process.args().as_ref()?, process.env()))) else {
            return Err(ExecutorValidationError::ArgValidationError("no command".into()));
        };
        find(&args[0], env.as_deref().unwrap_or_default())
            .map(drop)
            .map_err(ExecutorValidationError::ArgValidationError)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // the environment is handed to execve, in order
        Ok(())
    }
}

/// Execs; returns why it could not.
fn replace(process: &Process) -> String {
    let args = process.args().clone().unwrap_or_default();
    let mut env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|one| one.starts_with("HOME=")) {
        env.push(format!("HOME={}", home(process.user().uid())));
    }
    let path = match find(&args[0], &env) {
        Ok(path) => path,
        Err(message) => return message,
    };
    let c = |text: &String| CString::new(text.as_bytes()).unwrap_or_default();
    let file = CString::new(path.to_string_lossy().as_bytes()).unwrap_or_default();
    let argv: Vec<CString> = args.iter().map(c).collect();
    let envp: Vec<CString> = env.iter().map(c).collect();
    match nix::unistd::execve(&file, &argv, &envp) {
        Ok(never) => match never {},
        Err(error) => format!("exec: {:?}: {}", args[0], go_words(error as i32)),
    }
}

fn home(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    crate::users::home(&passwd, uid).unwrap_or_else(|| "/".into())
}

/// The kernel's errors in the words that users of Go programs know.
fn go_words(errno: i32) -> String {
    match errno {
        libc::ENOENT => "no such file or directory".into(),
        libc::EACCES => "permission denied".into(),
        libc::ENOEXEC => "exec format error".into(),
        libc::EISDIR => "is a directory".into(),
        other => nix::errno::Errno::from_raw(other).desc().to_lowercase(),
    }
}

/// `exec.LookPath` of Go: words as upstream's.
fn find(name: &str, env: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return runnable(Path::new(name)).map(|()| name.into()).map_err(|errno| match errno {
            libc::ENOENT => format!("exec: {name:?}: stat {name}: no such file or directory"),
            other => format!("exec: {name:?}: {}", go_words(other)),
        });
    }
    let path = env.iter().rev().find_map(|one| one.strip_prefix("PATH="));
    let path = path.unwrap_or(crate::spec::DEFAULT_PATH);
    path.split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|candidate| runnable(candidate).is_ok())
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

fn runnable(path: &Path) -> Result<(), i32> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).map_err(|error| error.raw_os_error().unwrap_or(libc::ENOENT))?;
    match meta {
        meta if meta.is_dir() => Err(libc::EISDIR),
        meta if meta.permissions().mode() & 0o111 == 0 => Err(libc::EACCES),
        _ => Ok(()),
    }
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
    let mut process = spec.process().clone().ok_or("container has no process")?;
    process.set_args(Some(join.command.to_vec()));
    if let Some(score) = process.oom_score_adj() {
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    for file in join.cgroup_procs {
        std::fs::write(file, "0").map_err(|error| format!("{}: {error}", file.display()))?;
    }
    set_namespaces(join.pid).map_err(|error| format!("joining the container's namespaces: {error}"))?;
    // SAFETY: single-threaded
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => {
            let _ = protocol::send(status, &Status::Pid(child.as_raw()), &[]);
            Ok(())
        }
        Ok(ForkResult::Child) => {
            if let Err(message) = become_command(&spec, &process, join, status) {
                fail(status, message);
            }
            // SAFETY: the command did not start
            unsafe { libc::_exit(128) }
        }
        Err(error) => Err(error.to_string()),
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

fn become_command(spec: &Spec, process: &Process, join: &Join<'_>, status: RawFd) -> Result<(), String> {
    let words = |error: &dyn std::error::Error| chain(error);
    nix::unistd::setsid().map_err(|error| words(&error))?;
    let streams = match join.stdio {
        Some(stdio) => stdio,
        None => open_terminal(process.user().uid(), status).map_err(|error| words(&error))?,
    };
    for (target, fd) in streams.0.into_iter().enumerate() {
        // SAFETY: both numbers are open
        unsafe { libc::dup2(fd, target as RawFd) };
    }
    let user = process.user();
    let syscall = create_syscall();
    let groups: Vec<Gid> =
        user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups).map_err(|error| words(&error))?;
    let no_new_privs = process.no_new_privileges().unwrap_or(false);
    if no_new_privs {
        // SAFETY: prctl without pointers
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    }
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let filter = || match seccomp {
        Some(seccomp) => libcontainer::seccomp::initialize_seccomp(seccomp).map(drop).map_err(|e| words(&e)),
        None => Ok(()),
    };
    if nix::unistd::chdir(process.cwd()).is_err() {
        let _ = nix::unistd::chdir("/");
    }
    set_ids(user.uid(), user.gid()).map_err(|error| words(&error))?;
    // the change of user dropped what installing a filter needs
    libcontainer::capabilities::reset_effective(syscall.as_ref()).map_err(|error| words(&error))?;
    if !no_new_privs {
        filter()?;
    }
    libcontainer::capabilities::reset_effective(syscall.as_ref()).map_err(|error| words(&error))?;
    if let Some(capabilities) = process.capabilities() {
        libcontainer::capabilities::drop_privileges(capabilities, syscall.as_ref()).map_err(|e| words(&e))?;
    }
    if no_new_privs {
        filter()?;
    }
    // SAFETY: marks every descriptor above the streams to close on exec
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Err(replace(process))
}

/// Changes user and group but keeps the permitted capabilities, for the calls that follow.
fn set_ids(uid: u32, gid: u32) -> std::io::Result<()> {
    // SAFETY: plain system calls
    unsafe {
        libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
        if libc::setresgid(gid, gid, gid) != 0 || libc::setresuid(uid, uid, uid) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0);
    }
    Ok(())
}

/// A terminal of the container's own `/dev/pts`; its master goes to the host.
fn open_terminal(uid: u32, status: RawFd) -> nix::Result<Stdio> {
    use nix::fcntl::OFlag;
    let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    nix::pty::grantpt(&master).ok();
    nix::pty::unlockpt(&master)?;
    let name = nix::pty::ptsname_r(&master)?;
    let slave = nix::fcntl::open(name.as_str(), OFlag::O_RDWR, nix::sys::stat::Mode::empty())?;
    let fd = slave.as_raw_fd();
    std::mem::forget(slave);
    // SAFETY: plain calls on an open terminal
    unsafe {
        libc::fchown(fd, uid, u32::MAX);
        libc::ioctl(fd, libc::TIOCSCTTY, 0);
    }
    protocol::send(status, &Status::Terminal, &[master.as_raw_fd()])?;
    Ok(Stdio([fd; 3]))
}

/// The first process of a pod's shared PID namespace: it only reaps. It is a fork of the host, so its memory
/// is the host's; the kernel kills all in the namespace when it ends.
pub fn shared_init(namespaces: &[PathBuf], cgroup_procs: &[PathBuf], status: RawFd) {
    for file in cgroup_procs {
        let _ = std::fs::write(file, "0");
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

    #[test]
    fn commands_are_found_as_go_finds_them() {
        let env = ["PATH=/nowhere:/bin".to_owned()];
        assert_eq!(find("sh", &env).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("nope", &env).unwrap_err(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(find("/nope", &env).unwrap_err(), "exec: \"/nope\": stat /nope: no such file or directory");
        assert_eq!(find("/etc", &env).unwrap_err(), "exec: \"/etc\": is a directory");
    }
}
