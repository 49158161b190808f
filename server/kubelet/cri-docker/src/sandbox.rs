//! Sandboxes: containers of the pause image.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use jiff::Timestamp;
use sampan_cri::*;
use sampan_process::BoxedIo;

use crate::{DockerRuntime, convert, labels};

impl DockerRuntime {
    pub(crate) async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus> {
        tokio::fs::create_dir_all(&config.log_directory).await.map_err(|error| {
            RuntimeError::Internal(format!("cannot create {}: {error}", config.log_directory.display()))
        })?;
        let pod = &config.pod;
        let name = format!("k8s_POD_{}_{}_{}_{}", pod.name, pod.namespace, pod.uid, config.attempt);
        let id = self.create_named(&name, self.sandbox_body(&config)).await?;
        if let Err(error) = self.docker.start_container(&id, None).await {
            // the name would be in the way of the next attempt
            let _ = self.remove_by_force(&id).await;
            return Err(convert::error(error));
        }
        self.sandbox_status(&id).await
    }

    fn sandbox_body(&self, config: &SandboxConfig) -> ContainerCreateBody {
        let host = config.network == SandboxNetwork::Host;
        let mode = |host: bool| host.then(|| "host".to_owned());
        ContainerCreateBody {
            image: Some(self.config.sandbox_image.clone()),
            cmd: Some(vec!["pause".into()]),
            user: Some("0".into()),
            hostname: (!host).then(|| config.hostname.clone()),
            labels: Some(labels::of_sandbox(&self.config.profile, config)),
            host_config: Some(HostConfig {
                network_mode: Some(if host { "host" } else { "none" }.into()),
                pid_mode: mode(config.host_pid),
                ipc_mode: Some(if config.host_ipc { "host" } else { "shareable" }.into()),
                sysctls: Some(config.sysctls.clone().into_iter().collect()),
                cgroup_parent: self.cgroup_parent(&config.cgroup_parent),
                oom_score_adj: Some(convert::oom_score(-998)),
                log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Where the engine is to put a pod's containers, if it takes such advice.
    pub(crate) fn cgroup_parent(&self, parent: &str) -> Option<String> {
        (self.cgroup_parents && !parent.is_empty())
            .then(|| format!("/sampan-{}/{parent}", self.config.profile))
    }

    pub(crate) async fn stop_sandbox(&self, sandbox_id: &str) -> Result<()> {
        for container in self.containers_of(sandbox_id).await? {
            if container.state == ContainerState::Running {
                self.stop(&container.id, std::time::Duration::ZERO).await?;
            }
        }
        let options = StopContainerOptionsBuilder::default().t(0).build();
        match self.docker.stop_container(sandbox_id, Some(options)).await {
            Err(error) if !convert::is_done(&error) => Err(convert::error(error)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn remove_sandbox(&self, sandbox_id: &str) -> Result<()> {
        for container in self.containers_of(sandbox_id).await? {
            self.remove(&container.id).await?;
        }
        self.remove_by_force(sandbox_id).await
    }

    /// Removes one container of the engine, whatever it does.
    pub(crate) async fn remove_by_force(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await {
            Err(error) if !convert::is_done(&error) => Err(convert::error(error)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn containers_of(&self, sandbox_id: &str) -> Result<Vec<ContainerStatus>> {
        let all = self.list().await?;
        Ok(all.into_iter().filter(|container| container.sandbox_id == sandbox_id).collect())
    }

    pub(crate) async fn sandbox_status(&self, sandbox_id: &str) -> Result<SandboxStatus> {
        match self.docker.inspect_container(sandbox_id, None).await {
            Ok(container) => Ok(status(container)),
            Err(error) if convert::is_gone(&error) => {
                Err(RuntimeError::NotFound { kind: "sandbox", id: sandbox_id.to_owned() })
            }
            Err(error) => Err(convert::error(error)),
        }
    }

    pub(crate) async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        let mut sandboxes = Vec::new();
        for id in self.ids("sandbox").await? {
            match self.sandbox_status(&id).await {
                Ok(status) => sandboxes.push(status),
                Err(RuntimeError::NotFound { .. }) => {} // removed between the two calls
                Err(error) => return Err(error),
            }
        }
        Ok(sandboxes)
    }

    /// Ids of this cluster's containers of one kind.
    pub(crate) async fn ids(&self, kind: &str) -> Result<Vec<String>> {
        let ours =
            vec![format!("{}={}", labels::PROFILE, self.config.profile), format!("{}={kind}", labels::KIND)];
        let filters = HashMap::from([("label".to_owned(), ours)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await.map_err(convert::error)?;
        Ok(found.into_iter().filter_map(|container| container.id).collect())
    }

    pub(crate) async fn connect_inside(&self, sandbox_id: &str, port: u16) -> Result<BoxedIo> {
        let netns = self.sandbox_status(sandbox_id).await?.netns;
        let stream = tokio::task::spawn_blocking(move || connect_in(netns, port)).await;
        let stream = stream.map_err(|error| RuntimeError::Internal(error.to_string()))?;
        let stream = stream.map_err(|error| {
            RuntimeError::Internal(format!("failed to connect to localhost:{port}: {error}"))
        })?;
        let stream = tokio::net::TcpStream::from_std(stream);
        Ok(Box::new(stream.map_err(|error| RuntimeError::Internal(error.to_string()))?))
    }
}

/// Connects to loopback in a network namespace. The thread that enters it ends with the call, so that no
/// other work ever runs inside.
fn connect_in(netns: Option<PathBuf>, port: u16) -> std::io::Result<std::net::TcpStream> {
    let connect = move || {
        if let Some(path) = netns {
            let namespace = std::fs::File::open(path)?;
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        }
        let v6 = || std::net::TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port));
        let stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port))
            .or_else(|error| v6().map_err(|_| error))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let thread = std::thread::Builder::new().name("port-forward".into()).spawn(connect)?;
    thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the connecting thread panicked")))
}

fn status(container: ContainerInspectResponse) -> SandboxStatus {
    let known = labels::read(&container.config.and_then(|config| config.labels).unwrap_or_default());
    let state = container.state.unwrap_or_default();
    let running = state.running.unwrap_or(false);
    let mode = container.host_config.and_then(|config| config.network_mode);
    let own = mode.as_deref() != Some("host");
    let pid = state.pid.filter(|pid| *pid > 0 && running);
    SandboxStatus {
        id: container.id.unwrap_or_default(),
        pod: known.pod,
        attempt: known.attempt,
        state: if running { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: container
            .created
            .map_or_else(Timestamp::now, |time| convert::time(Some(&time.to_string())).unwrap_or_default()),
        netns: pid.filter(|_| own).map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net"))),
        labels: known.labels,
        annotations: known.annotations,
    }
}
