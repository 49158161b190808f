//! Where a process of a container is accounted: its cgroup, opened before the namespaces change.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::unistd::{ForkResult, Pid, fork};

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A cgroup that a child is born into.
pub enum Place {
    /// v1: one `tasks` file per hierarchy. A lone thread that moves itself does not wait for the kernel's
    /// grace period, as moving a process by its id would.
    Tasks(Vec<File>),
    /// v2: the directory. Being born there does not wait either.
    Directory(File),
}

impl Place {
    /// `files` are those of [`crate::cgroup::Cgroups::procs`].
    pub fn open(files: &[PathBuf]) -> io::Result<Self> {
        let named = |error: io::Error, path: &PathBuf| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        match files {
            [one] if one.ends_with("cgroup.procs") => {
                let directory = one.parent().unwrap_or(one).to_owned();
                File::open(&directory).map(Place::Directory).map_err(|error| named(error, one))
            }
            all => {
                let open = |path: &PathBuf| {
                    std::fs::OpenOptions::new().write(true).open(path).map_err(|error| named(error, path))
                };
                all.iter().map(open).collect::<io::Result<_>>().map(Place::Tasks)
            }
        }
    }

    /// Forks; the child is in the cgroup before it goes on.
    ///
    /// # Safety
    /// As fork's: the caller has one thread.
    pub unsafe fn fork(&self) -> io::Result<ForkResult> {
        match self {
            // SAFETY: the caller's promise
            Place::Directory(directory) => unsafe { born_in(directory) },
            Place::Tasks(files) => {
                // SAFETY: the caller's promise
                let result = unsafe { fork()? };
                if matches!(result, ForkResult::Child) {
                    for mut file in files {
                        file.write_all(b"0")?;
                    }
                }
                Ok(result)
            }
        }
    }
}

unsafe fn born_in(directory: &File) -> io::Result<ForkResult> {
    // SAFETY: all zeros is a valid value, and the kernel reads exactly this much
    let result = unsafe {
        let mut arguments: libc::clone_args = std::mem::zeroed();
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.cgroup = directory.as_raw_fd() as u64;
        libc::syscall(libc::SYS_clone3, &arguments, size_of::<libc::clone_args>())
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(ForkResult::Child),
        pid => Ok(ForkResult::Parent { child: Pid::from_raw(pid as i32) }),
    }
}
