//! A container's main process, from fork to exec.
//!
//! ```text
//!  host ─fork─► builder: opens cgroup and namespaces, enters the pod's
//!                 └─fork─► init: cgroup, mounts, root, masks, then the command
//! ```
//!
//! libcontainer lays the root file system out ([`RootFS`]), turns the root around and sets capabilities. Its
//! own builder is not used: beside that it makes a second intermediate process, saves states that the host
//! has anyway, and moves processes between cgroups one hierarchy after the other in a way that waits for the
//! kernel, which took three quarters of a start.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use libcontainer::rootfs::RootFS;
use libcontainer::syscall::syscall::create_syscall;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::ForkResult;

use super::child::{Status, Stdio, chain};
use super::command::{Command, become_command};
use super::filter::Filter;
use super::place::Place;
use super::protocol::{self, StartContainer};

/// Starts a container; returns in the builder. `Err` may come from either process.
pub fn launch(request: &StartContainer, stdio: Stdio, status: RawFd) -> Result<(), String> {
    let mut spec = Spec::load(request.bundle.join("config.json")).map_err(|error| chain(&error))?;
    let filter = Filter::load(&request.bundle).map_err(|error| error.to_string())?;
    let place = Place::open(&request.cgroup_procs).map_err(|error| format!("cgroup: {error}"))?;
    let view = View::take(&mut spec, &request.cgroup_procs);
    let process = spec.process().clone().ok_or("container has no process")?;
    if let Some(score) = process.oom_score_adj() {
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
    // what runs in the pod's namespaces already cannot look into this process
    // SAFETY: prctl without pointers
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    let linux = spec.linux().as_ref().ok_or("container has no linux section")?;
    enter_namespaces(linux)?;
    // SAFETY: the host's children have one thread
    match unsafe { place.fork() }.map_err(|error| format!("cgroup: {error}"))? {
        ForkResult::Parent { child } => {
            let _ = protocol::send(status, &Status::Pid(child.as_raw()), &[]);
            Ok(())
        }
        ForkResult::Child => {
            lay_out(&spec, linux, &view)?;
            let stdio = if request.tty { None } else { Some(inner_null(stdio)) };
            become_command(&Command { process: &process, filter: &filter, stdio, console: true, status })
        }
    }
}

/// Joins those with a path; a new PID namespace is the child's.
fn enter_namespaces(linux: &Linux) -> Result<(), String> {
    for namespace in linux.namespaces().iter().flatten() {
        let flag = match namespace.typ() {
            LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
            LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
            LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
            LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
            // the mounts are the child's business
            _ => continue,
        };
        let entered = match namespace.path() {
            Some(path) => {
                let file =
                    File::open(path).map_err(|error| format!("namespace {}: {error}", path.display()))?;
                setns(file, flag)
            }
            None => unshare(flag),
        };
        entered.map_err(|error| format!("{} namespace: {error}", namespace.typ()))?;
    }
    Ok(())
}

fn lay_out(spec: &Spec, linux: &Linux, view: &View) -> Result<(), String> {
    let words = |error: &dyn std::error::Error| chain(error);
    let rootfs = spec.root().as_ref().ok_or("container has no root")?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| words(&error))?;
    let layout = RootFS::new();
    layout.prepare_rootfs(spec, rootfs.path(), false, false).map_err(|error| words(&error))?;
    create_syscall().pivot_rootfs(rootfs.path()).map_err(|error| words(&error))?;
    layout.adjust_root_mount_propagation(linux).map_err(|error| words(&error))?;
    view.show().map_err(|error| format!("mounting cgroups: {error}"))?;
    if rootfs.readonly().unwrap_or(false) {
        remount_readonly(Path::new("/")).map_err(|error| format!("making the root read-only: {error}"))?;
    }
    for path in linux.readonly_paths().iter().flatten() {
        readonly(Path::new(path)).map_err(|error| format!("making {path} read-only: {error}"))?;
    }
    for path in linux.masked_paths().iter().flatten() {
        mask(Path::new(path)).map_err(|error| format!("masking {path}: {error}"))?;
    }
    Ok(())
}

/// Adds "read-only" to what the mount is already.
fn remount_readonly(path: &Path) -> nix::Result<()> {
    // the numbers of statvfs's flags are those of mount(2), as far as both have them
    let have = nix::sys::statvfs::statvfs(path)?.flags().bits();
    let kept = MsFlags::from_bits_truncate(have)
        & (MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC
            | MsFlags::MS_NOATIME
            | MsFlags::MS_NODIRATIME);
    mount(
        None::<&str>,
        path,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept,
        None::<&str>,
    )
}

fn readonly(path: &Path) -> nix::Result<()> {
    match mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>) {
        Err(nix::errno::Errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => remount_readonly(path),
    }
}

/// Hides a directory below an empty one, and a file below `/dev/null`.
fn mask(path: &Path) -> nix::Result<()> {
    let masked = match std::fs::metadata(path) {
        Err(_) => Ok(()),
        Ok(meta) if meta.is_dir() => {
            mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_RDONLY, Some("size=0k"))
        }
        Ok(_) => mount(Some("/dev/null"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>),
    };
    match masked {
        Err(nix::errno::Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// A closed standard input is the container's own `/dev/null`, not the node's.
fn inner_null(mut stdio: Stdio) -> Stdio {
    if stdio.0[0] == 0 {
        // SAFETY: a constant string
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if fd >= 0 {
            stdio.0[0] = fd;
        }
    }
    stdio
}

/// The container's own cgroups as it sees them below `/sys/fs/cgroup`: copies of the mounts, taken before
/// the node's file system is out of reach.
#[derive(Default)]
struct View {
    /// Name below `/sys/fs/cgroup` and detached mount; the name is empty for the one hierarchy of v2.
    trees: Vec<(String, OwnedFd)>,
    readonly: bool,
}

const CGROUPS: &str = "/sys/fs/cgroup";

impl View {
    /// Takes the specification's cgroup mount out: libcontainer would make it a slow way.
    fn take(spec: &mut Spec, files: &[PathBuf]) -> Self {
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        let Some(at) = mounts.iter().position(|mount| mount.typ().as_deref() == Some("cgroup")) else {
            return View::default();
        };
        let removed = mounts.remove(at);
        spec.set_mounts(Some(mounts));
        let own = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone()).unwrap_or_default();
        let readonly = removed.options().iter().flatten().any(|option| option == "ro");
        let tree = |file: &PathBuf| {
            let directory = file.parent()?;
            let name = if file.ends_with("tasks") { hierarchy(directory, &own)? } else { String::new() };
            copy_mount(directory).ok().map(|fd| (name, fd))
        };
        View { trees: files.iter().filter_map(tree).collect(), readonly }
    }

    fn show(&self) -> std::io::Result<()> {
        let unified = self.trees.iter().any(|(name, _)| name.is_empty());
        if !unified && !self.trees.is_empty() {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tmpfs"), CGROUPS, Some("tmpfs"), flags, Some("mode=755"))?;
        }
        for (name, tree) in &self.trees {
            let target = Path::new(CGROUPS).join(name);
            if !name.is_empty() {
                std::fs::create_dir(&target)?;
                // "cpu,cpuacct" answers to both
                for part in name.split(',').filter(|part| part != name) {
                    std::os::unix::fs::symlink(name, Path::new(CGROUPS).join(part))?;
                }
            }
            place_mount(tree, &target, self.readonly)?;
        }
        if !unified && !self.trees.is_empty() && self.readonly {
            remount_readonly(Path::new(CGROUPS))?;
        }
        Ok(())
    }
}

/// `memory` of `/sys/fs/cgroup/memory/sampan/kubepods/x` with `/sampan/kubepods/x`.
fn hierarchy(directory: &Path, own: &Path) -> Option<String> {
    let text = directory.to_str()?;
    let mount = text.strip_suffix(own.to_str()?.trim_end_matches('/'))?;
    Some(Path::new(mount).file_name()?.to_str()?.to_owned())
}

fn c_path(path: &Path) -> std::io::Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(std::io::Error::other)
}

fn copy_mount(path: &Path) -> std::io::Result<OwnedFd> {
    const CLONE: u32 = 1;
    let path = c_path(path)?;
    // SAFETY: the path outlives the call; the descriptor is new
    unsafe {
        let fd =
            libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), CLONE | libc::O_CLOEXEC as u32);
        if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as RawFd)) }
    }
}

fn place_mount(tree: &OwnedFd, target: &Path, readonly: bool) -> std::io::Result<()> {
    const EMPTY_PATH: u32 = 4;
    let path = c_path(target)?;
    // SAFETY: both paths outlive the call
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            EMPTY_PATH,
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    if readonly { remount_readonly(target).map_err(Into::into) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_have_the_names_of_their_mounts() {
        let of = |directory: &str, own: &str| hierarchy(Path::new(directory), Path::new(own));
        assert_eq!(of("/sys/fs/cgroup/memory/a/b", "/a/b").as_deref(), Some("memory"));
        assert_eq!(of("/sys/fs/cgroup/cpu,cpuacct/a", "/a").as_deref(), Some("cpu,cpuacct"));
        assert_eq!(of("/elsewhere", "/a"), None);
    }
}
