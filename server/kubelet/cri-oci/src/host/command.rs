//! The last steps before exec, the same for a container's main process and for commands that join it:
//! session, streams or terminal, user, filter, capabilities, and the program itself.

use std::ffi::CString;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::create_syscall;
use nix::unistd::Gid;

use super::child::{Status, Stdio, chain};
use super::filter::Filter;
use super::protocol;

/// What a process becomes.
pub struct Command<'a> {
    /// User, rights, arguments.
    pub process: &'a Process,
    /// System call filter.
    pub filter: &'a Filter,
    /// Streams; `None` for a new terminal.
    pub stdio: Option<Stdio>,
    /// The terminal shows as `/dev/console` too.
    pub console: bool,
    /// Socket to the host.
    pub status: RawFd,
}

/// Execs; returns why it could not.
pub fn become_command(command: &Command<'_>) -> Result<(), String> {
    let words = |error: &dyn std::error::Error| chain(error);
    let (process, user) = (command.process, command.process.user());
    nix::unistd::setsid().map_err(|error| words(&error))?;
    let streams = match command.stdio {
        Some(stdio) => stdio,
        None => open_terminal(user.uid(), command.console, command.status).map_err(|error| words(&error))?,
    };
    for (target, fd) in streams.0.into_iter().enumerate() {
        // SAFETY: both numbers are open
        unsafe { libc::dup2(fd, target as RawFd) };
    }
    let syscall = create_syscall();
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups).map_err(|error| words(&error))?;
    let no_new_privs = process.no_new_privileges().unwrap_or(false);
    if no_new_privs {
        // SAFETY: prctl without pointers
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    }
    let filter =
        || command.filter.install().map_err(|error| format!("installing the seccomp filter: {error}"));
    if let Err(error) = nix::unistd::chdir(process.cwd())
        && error != nix::errno::Errno::EACCES
    {
        return Err(format!(
            "chdir to cwd ({:?}) set in config.json failed: {}",
            process.cwd().display().to_string(),
            words(&error)
        ));
    }
    set_ids(user.uid(), user.gid()).map_err(|error| words(&error))?;
    // the change of user dropped what installing a filter needs
    libcontainer::capabilities::reset_effective(syscall.as_ref()).map_err(|error| words(&error))?;
    if !no_new_privs {
        filter()?;
    }
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
fn open_terminal(uid: u32, console: bool, status: RawFd) -> nix::Result<Stdio> {
    use nix::fcntl::OFlag;
    let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    nix::pty::grantpt(&master).ok();
    nix::pty::unlockpt(&master)?;
    let name = nix::pty::ptsname_r(&master)?;
    let slave = nix::fcntl::open(name.as_str(), OFlag::O_RDWR, nix::sys::stat::Mode::empty())?;
    let fd = slave.as_raw_fd();
    std::mem::forget(slave);
    if console {
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        nix::fcntl::open("/dev/console", flags, nix::sys::stat::Mode::from_bits_truncate(0o620)).ok();
        let bind = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(name.as_str()), "/dev/console", None::<&str>, bind, None::<&str>)?;
    }
    // SAFETY: plain calls on an open terminal
    unsafe {
        libc::fchown(fd, uid, u32::MAX);
        libc::ioctl(fd, libc::TIOCSCTTY, 0);
    }
    protocol::send(status, &Status::Terminal, &[master.as_raw_fd()])?;
    Ok(Stdio([fd; 3]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_as_go_finds_them() {
        let env = ["PATH=/nowhere:/bin".to_owned()];
        assert_eq!(find("sh", &env).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("nope", &env).unwrap_err(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(
            find("/nope", &env).unwrap_err(),
            "exec: \"/nope\": stat /nope: no such file or directory"
        );
        assert_eq!(find("/etc", &env).unwrap_err(), "exec: \"/etc\": is a directory");
    }
}
