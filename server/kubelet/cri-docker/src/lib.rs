//! Docker Engine as a container runtime, through bollard.
//!
//! A pod's sandbox is a container of the built-in pause image that holds the namespaces; the pod's containers
//! join it. Docker makes the network namespace empty (`none`) and the kubelet's own pod network attaches it,
//! so pods of both runtimes share one network. Everything that must survive a restart of the daemon is kept in labels,
//! so there is no state here but the writers of the pods' logs ([`logs`]).
//!
//! Not here: image mirrors are Docker's own business, except that pulls of docker.io go through
//! [`Config::registry_mirrors`] first and are tagged back.

mod container;
mod convert;
mod events;
mod exec;
mod images;
mod labels;
mod logs;
mod sandbox;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use sampan_cri::*;
use sampan_process::{BoxedIo, Tasks};
use tokio::sync::broadcast;

/// Seconds that a call to the engine may take.
const TIMEOUT_SECONDS: u64 = 600;

/// What the binary decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the cluster; containers of other clusters are not ours.
    pub profile: String,
    /// The engine's socket.
    pub socket: PathBuf,
    /// Name of the image whose command `pause` holds a sandbox.
    pub sandbox_image: String,
    /// Tried before docker.io, in order: `http://127.0.0.1:5000`.
    pub registry_mirrors: Vec<String>,
}

/// The runtime.
pub struct DockerRuntime {
    config: Config,
    docker: Docker,
    logs: logs::Writers,
    events: broadcast::Sender<ContainerEvent>,
    /// The engine puts containers below cgroups that we name (not under systemd, which has its own names).
    cgroup_parents: bool,
}

impl DockerRuntime {
    /// Connects to the engine; goes on writing the logs of containers that run already.
    pub async fn connect(config: Config, tasks: Tasks) -> Result<Self> {
        let socket = config.socket.display().to_string();
        let unavailable = |error: bollard::errors::Error| {
            RuntimeError::Unavailable(format!("Docker Engine at {socket}: {error}"))
        };
        let docker = Docker::connect_with_unix(&socket, TIMEOUT_SECONDS, bollard::API_DEFAULT_VERSION)
            .map_err(unavailable)?;
        let docker = docker.negotiate_version().await.map_err(unavailable)?;
        let info = docker.info().await.map_err(unavailable)?;
        let driver = info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default();
        let logs = logs::Writers::new(docker.clone(), tasks.clone());
        let events = broadcast::Sender::new(1024);
        let runtime = Self { config, docker, logs, events, cgroup_parents: driver == "cgroupfs" };
        for status in runtime.list_containers().await? {
            // what ended meanwhile may have said something before
            if status.state != ContainerState::Created {
                runtime.logs.follow(&status.id, &status.log_path, false);
            }
        }
        let follow =
            events::follow(runtime.docker.clone(), runtime.config.profile.clone(), runtime.events.clone());
        tasks.spawn_until_drain("docker-events", follow);
        Ok(runtime)
    }

    /// Removes every container of this cluster, running or not; images stay.
    pub async fn purge(&self) -> Result<()> {
        for sandbox in self.list_pod_sandboxes().await? {
            self.remove_pod_sandbox(&sandbox.id).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    async fn version(&self) -> Result<RuntimeVersion> {
        let version = self.docker.version().await.map_err(convert::error)?;
        Ok(RuntimeVersion { name: "docker".into(), version: version.version.unwrap_or_default() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            joins_network_namespace: false,
            strict_groups: false,
            runtime_handlers: &["docker", "runc"],
        }
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus> {
        self.run_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        self.stop_sandbox(sandbox_id).await
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        self.remove_sandbox(sandbox_id).await
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<SandboxStatus> {
        self.sandbox_status(sandbox_id).await
    }

    /// The engine makes the pod's cgroup and knows no limits for it: those of the containers hold.
    async fn update_pod_sandbox_resources(&self, _sandbox_id: &str, _resources: Resources) -> Result<()> {
        Ok(())
    }

    async fn pod_sandbox_memory(&self, sandbox_id: &str) -> Result<SandboxMemory> {
        self.memory(sandbox_id).await
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        self.list_sandboxes().await
    }

    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        self.create(sandbox_id, config).await
    }

    async fn start_container(&self, container_id: &str) -> Result<()> {
        self.start(container_id).await
    }

    async fn stop_container(&self, container_id: &str, grace: Duration) -> Result<()> {
        self.stop(container_id, grace).await
    }

    async fn remove_container(&self, container_id: &str) -> Result<()> {
        self.remove(container_id).await
    }

    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        let status = self.status(container_id).await?;
        if matches!(status.state, ContainerState::Exited(_)) {
            // whoever sees the end finds the whole log
            self.logs.drained(container_id).await;
        }
        Ok(status)
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>> {
        self.list().await
    }

    async fn update_container_resources(&self, container_id: &str, resources: Resources) -> Result<()> {
        self.update(container_id, &resources).await
    }

    async fn reopen_container_log(&self, container_id: &str) -> Result<()> {
        self.logs.reopen(container_id).map_err(|error| RuntimeError::Internal(error.to_string()))
    }

    async fn exec_sync(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        self.run_command(container_id, command, timeout).await
    }

    async fn exec(&self, container_id: &str, request: ExecRequest) -> Result<ExecSession> {
        self.session(container_id, request).await
    }

    async fn attach(&self, container_id: &str, request: AttachRequest) -> Result<ExecSession> {
        self.join(container_id, request).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<BoxedIo> {
        self.connect_inside(sandbox_id, port).await
    }

    async fn pull_image(&self, image: &str, auth: Vec<ImageAuth>) -> Result<ImageStatus> {
        self.pull(image, auth).await
    }

    async fn image_status(&self, image: &str) -> Result<Option<ImageStatus>> {
        self.image(image).await
    }

    async fn list_images(&self) -> Result<Vec<ImageStatus>> {
        self.images().await
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.forget_image(image).await
    }

    async fn load_images(&self, archive: PathBuf) -> Result<Vec<LoadedImage>> {
        self.load(archive).await
    }

    async fn mount_image(&self, _image: &str, _at: PathBuf) -> Result<()> {
        Err(RuntimeError::Unsupported("image volumes need the embedded runtime".to_owned()))
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfo> {
        self.disk().await
    }

    async fn container_stats(&self) -> Result<Vec<ContainerStats>> {
        self.stats().await
    }

    async fn container_written_bytes(&self, container_id: &str) -> Result<u64> {
        self.written_bytes(container_id).await
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.events.subscribe()
    }
}
