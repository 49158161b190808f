//! An nginx of our own, as a peer or as an endpoint; gone when dropped.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A running nginx and the folder of its files.
pub struct Process {
    child: Child,
    _folder: TempDir,
}

impl Process {
    /// Runs nginx in `folder` with the text of a configuration.
    pub fn start(folder: TempDir, configuration: &str) -> Result<Self> {
        // the worker, which is not root, has to reach the files
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start nginx: install Debian's nginx-light")?;
        Ok(Self { child, _folder: folder })
    }

    /// The master.
    pub fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
