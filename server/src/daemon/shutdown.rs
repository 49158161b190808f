//! Why and how the daemon ends.

use std::time::Duration;

use sampan_cri::{ContainerState, Runtime};
use sampan_process::Tasks;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// How long all components together may take to drain.
const DEADLINE: Duration = Duration::from_secs(10);
/// Seconds between a container's stop signal and SIGKILL when the cluster stops.
const GRACE: Duration = Duration::from_secs(10);

/// Both signals that ask the daemon to end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Drains `components` (in the order of their start) in reverse; a second signal aborts.
pub async fn drain(components: &[Tasks], signals: &mut Signals) {
    let draining = async {
        for tasks in components.iter().rev() {
            let left = tasks.finish(DEADLINE / components.len().max(1) as u32).await;
            if left > 0 {
                tracing::warn!(component = tasks.component().name(), left, "tasks did not drain in time");
            }
        }
    };
    tokio::select! {
        () = draining => {}
        () = signals.next() => tracing::warn!("second signal: ending at once"),
    }
}

/// Stops all running containers at once, each with its grace; returns how many there were.
pub async fn stop_containers(runtime: &Runtime) -> usize {
    let running = running(runtime).await;
    let stops = running.iter().map(|id| async move {
        if let Err(error) = runtime.stop_container(id, GRACE).await {
            tracing::warn!(container = id, %error, "container not stopped");
        }
    });
    futures::future::join_all(stops).await;
    running.len()
}

/// Ids of the containers that run.
pub async fn running(runtime: &Runtime) -> Vec<String> {
    let containers = runtime.list_containers().await.unwrap_or_default();
    let running = containers.into_iter().filter(|container| container.state == ContainerState::Running);
    running.map(|container| container.id).collect()
}
