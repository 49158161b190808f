//! What is kept of sandboxes and containers, in memory and on disk.

use std::path::PathBuf;

use jiff::Timestamp;
use sampan_cri::{
    ContainerConfig, ContainerState, ContainerStatus, Exit, PodIdentity, SandboxConfig, SandboxNetwork,
    SandboxState, SandboxStatus, User,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::images::ImageConfig;

/// A sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub id: String,
    pub config: SandboxConfig,
    pub created_at: Timestamp,
    pub netns: Option<PathBuf>,
    /// Namespaces do not survive a reboot: they are of this boot only.
    pub boot_id: String,
    pub stopped: bool,
}

impl SandboxRecord {
    pub fn ready(&self, boot_id: &str) -> bool {
        !self.stopped && self.boot_id == boot_id && self.netns.as_ref().is_none_or(|path| path.exists())
    }

    pub fn status(&self, boot_id: &str) -> SandboxStatus {
        SandboxStatus {
            id: self.id.clone(),
            pod: self.config.pod.clone(),
            attempt: self.config.attempt,
            state: if self.ready(boot_id) { SandboxState::Ready } else { SandboxState::NotReady },
            created_at: self.created_at,
            netns: self.netns.clone(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
        }
    }

    pub fn host_network(&self) -> bool {
        self.config.network == SandboxNetwork::Host
    }
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Created,
    Running { pid: i32, started_at: Timestamp },
    Exited { started_at: Option<Timestamp>, exit: Exit },
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: String,
    pub sandbox_id: String,
    pub pod: PodIdentity,
    pub config: ContainerConfig,
    pub image: ImageConfig,
    /// Empty in records of earlier versions, whose `config.image` is the id.
    #[serde(default)]
    pub image_id: String,
    pub created_at: Timestamp,
    pub log_path: PathBuf,
    pub cgroup: String,
    pub boot_id: String,
    /// None in records of earlier versions.
    #[serde(default)]
    pub user: Option<User>,
    pub phase: Phase,
}

impl ContainerRecord {
    pub fn status(&self) -> ContainerStatus {
        let (state, started_at, pid) = match &self.phase {
            Phase::Created => (ContainerState::Created, None, None),
            Phase::Running { pid, started_at } => {
                (ContainerState::Running, Some(*started_at), Some(*pid as u32))
            }
            Phase::Exited { started_at, exit } => (ContainerState::Exited(exit.clone()), *started_at, None),
        };
        ContainerStatus {
            id: self.id.clone(),
            sandbox_id: self.sandbox_id.clone(),
            pod: self.pod.clone(),
            name: self.config.name.clone(),
            attempt: self.config.attempt,
            state,
            created_at: self.created_at,
            started_at,
            pid,
            user: self.user.clone(),
            image: self.config.image.clone(),
            log_path: self.log_path.clone(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
        }
    }

    /// Signal that asks it to stop.
    pub fn stop_signal(&self) -> i32 {
        let asked = self.config.stop_signal.as_deref().filter(|name| !name.is_empty());
        signal_number(asked.unwrap_or(&self.image.stop_signal)).unwrap_or(libc::SIGTERM)
    }
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let name = name.to_uppercase();
    let name = name.trim_start_matches("SIG");
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return Some(34 + offset.trim_start_matches('+').parse::<i32>().unwrap_or(0));
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

/// A record with those who wait for its end.
pub struct Live {
    pub record: ContainerRecord,
    pub phase: watch::Sender<Phase>,
}

impl Live {
    pub fn new(record: ContainerRecord) -> Self {
        let (phase, _) = watch::channel(record.phase.clone());
        Live { record, phase }
    }

    pub fn set(&mut self, phase: Phase) {
        self.record.phase = phase.clone();
        self.phase.send_replace(phase);
    }
}

/// A fresh id: 64 hex digits, as users of other runtimes expect.
pub fn new_id() -> String {
    let mut bytes = [0u8; 32];
    // SAFETY: the buffer is as long as said; 32 bytes are never cut short
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    crate::images::unpack::hex(&bytes)
}

/// Changes with every boot of the node.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_names() {
        for (name, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("no", None),
            ("", None),
        ] {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
