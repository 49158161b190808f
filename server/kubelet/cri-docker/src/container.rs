//! A pod's containers.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStatsResponse, ContainerUpdateBody,
    DeviceMapping, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptionsBuilder, KillContainerOptionsBuilder,
    StatsOptionsBuilder, StopContainerOptionsBuilder,
};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use sampan_cri::*;

use crate::labels::Known;
use crate::{DockerRuntime, convert, labels};

impl DockerRuntime {
    pub(crate) async fn create(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.docker.inspect_container(sandbox_id, None).await.map_err(convert::error)?;
        let known = labels::read(&sandbox.config.and_then(|config| config.labels).unwrap_or_default());
        let host_network = sandbox.host_config.and_then(|c| c.network_mode).as_deref() == Some("host");
        let pod = &known.pod;
        let name =
            format!("k8s_{}_{}_{}_{}_{}", config.name, pod.name, pod.namespace, pod.uid, config.attempt);
        self.create_named(&name, self.body(sandbox_id, &known, &config, host_network)).await
    }

    /// Creates under this name, or under one like it if an earlier try left a container of that name behind
    /// (as upstream's dockershim did).
    pub(crate) async fn create_named(&self, name: &str, body: ContainerCreateBody) -> Result<String> {
        let create = async |name: &str| {
            let options = CreateContainerOptionsBuilder::default().name(name).build();
            self.docker.create_container(Some(options), body.clone()).await
        };
        let created = match create(name).await {
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => {
                create(&format!("{name}_{:x}", jiff::Timestamp::now().as_nanosecond())).await
            }
            other => other,
        };
        Ok(created.map_err(convert::error)?.id)
    }

    fn body(
        &self,
        sandbox_id: &str,
        sandbox: &Known,
        config: &ContainerConfig,
        host_network: bool,
    ) -> ContainerCreateBody {
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        ContainerCreateBody {
            image: Some(config.image.clone()),
            entrypoint: some(&config.command),
            cmd: some(&config.args),
            working_dir: config.working_dir.clone(),
            env: Some(config.env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            user: user(&config.security),
            open_stdin: Some(config.stdin),
            stdin_once: Some(config.stdin_once),
            attach_stdin: Some(config.stdin),
            tty: Some(config.tty),
            stop_signal: config.stop_signal.clone(),
            labels: Some(labels::of_container(&self.config.profile, sandbox_id, sandbox, config)),
            host_config: Some(self.host_config(sandbox_id, sandbox, config, host_network)),
            ..Default::default()
        }
    }

    fn host_config(
        &self,
        sandbox_id: &str,
        sandbox: &Known,
        config: &ContainerConfig,
        host_network: bool,
    ) -> HostConfig {
        let (security, resources) = (&config.security, &config.resources);
        let joined = format!("container:{sandbox_id}");
        let target = security.target_container_id.as_ref().map(|id| format!("container:{id}"));
        let text = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        HostConfig {
            network_mode: Some(joined.clone()),
            ipc_mode: Some(joined.clone()),
            uts_mode: host_network.then(|| "host".to_owned()),
            pid_mode: target.or_else(|| sandbox.share_process_namespace.then_some(joined)),
            mounts: Some(config.mounts.iter().map(mount).collect()),
            devices: Some(config.devices.iter().map(device).collect()),
            privileged: Some(security.privileged),
            readonly_rootfs: Some(security.readonly_rootfs),
            cap_add: text(&security.add_capabilities),
            cap_drop: text(&security.drop_capabilities),
            group_add: Some(security.supplemental_groups.iter().map(ToString::to_string).collect()),
            security_opt: Some(security_options(security)),
            masked_paths: security.masked_paths.clone(),
            readonly_paths: security.readonly_paths.clone(),
            cpu_shares: resources.cpu_shares.and_then(|shares| i64::try_from(shares).ok()),
            cpu_quota: resources.cpu_quota,
            cpu_period: resources.cpu_period.and_then(|period| i64::try_from(period).ok()),
            cpuset_cpus: resources.cpuset_cpus.clone(),
            memory: resources.memory_limit_bytes,
            memory_swap: resources.memory_limit_bytes,
            pids_limit: resources.pids_limit,
            oom_score_adj: resources.oom_score_adj.map(convert::oom_score),
            cgroup_parent: self.cgroup_parent(&sandbox.cgroup_parent),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".into()),
                // our own writer follows; the engine keeps only what it may not have read yet
                config: Some(HashMap::from([
                    ("max-size".into(), "10m".into()),
                    ("max-file".into(), "2".into()),
                ])),
            }),
            ..Default::default()
        }
    }

    pub(crate) async fn start(&self, container_id: &str) -> Result<()> {
        let log_path = self.status(container_id).await?.log_path;
        match self.docker.start_container(container_id, None).await {
            Ok(()) => {}
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 400..=500, message }) => {
                return Err(convert::start_error(message));
            }
            Err(error) => return Err(convert::error(error)),
        }
        self.logs.follow(container_id, &log_path, true);
        Ok(())
    }

    pub(crate) async fn stop(&self, container_id: &str, grace: Duration) -> Result<()> {
        let stopped = if grace.is_zero() {
            let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
            self.docker.kill_container(container_id, Some(options)).await
        } else {
            let seconds = i32::try_from(grace.as_secs().max(1)).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::default().t(seconds).build();
            self.docker.stop_container(container_id, Some(options)).await
        };
        match stopped {
            Err(error) if !convert::is_done(&error) => return Err(convert::error(error)),
            _ => {}
        }
        // killed is not yet exited
        let mut exits =
            self.docker.wait_container(container_id, None::<bollard::query_parameters::WaitContainerOptions>);
        let _ = exits.next().await;
        Ok(())
    }

    pub(crate) async fn remove(&self, container_id: &str) -> Result<()> {
        self.stop(container_id, Duration::ZERO).await?;
        self.logs.drained(container_id).await;
        self.logs.forget(container_id);
        self.remove_by_force(container_id).await
    }

    pub(crate) async fn status(&self, container_id: &str) -> Result<ContainerStatus> {
        match self.docker.inspect_container(container_id, None).await {
            Ok(container) => Ok(status(container)),
            Err(error) if convert::is_gone(&error) => {
                Err(RuntimeError::NotFound { kind: "container", id: container_id.to_owned() })
            }
            Err(error) => Err(convert::error(error)),
        }
    }

    pub(crate) async fn written_bytes(&self, container_id: &str) -> Result<u64> {
        let sizes = InspectContainerOptionsBuilder::default().size(true).build();
        match self.docker.inspect_container(container_id, Some(sizes)).await {
            Ok(container) => {
                Ok(container.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default())
            }
            Err(error) if convert::is_gone(&error) => {
                Err(RuntimeError::NotFound { kind: "container", id: container_id.to_owned() })
            }
            Err(error) => Err(convert::error(error)),
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<ContainerStatus>> {
        let mut all = Vec::new();
        for id in self.ids("container").await? {
            match self.status(&id).await {
                Ok(status) => all.push(status),
                Err(RuntimeError::NotFound { .. }) => {} // removed between the two calls
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    pub(crate) async fn update(&self, container_id: &str, resources: &Resources) -> Result<()> {
        let body = ContainerUpdateBody {
            cpu_shares: resources.cpu_shares.and_then(|shares| i64::try_from(shares).ok()),
            cpu_quota: resources.cpu_quota,
            cpu_period: resources.cpu_period.and_then(|period| i64::try_from(period).ok()),
            memory: resources.memory_limit_bytes,
            memory_swap: resources.memory_limit_bytes,
            ..Default::default()
        };
        self.docker.update_container(container_id, body).await.map_err(convert::error)
    }

    pub(crate) async fn stats(&self) -> Result<Vec<ContainerStats>> {
        let mut all = Vec::new();
        for id in self.ids("container").await? {
            all.extend(self.stats_of(id).await);
        }
        Ok(all)
    }

    /// `None` of a container that has ended.
    async fn stats_of(&self, id: String) -> Option<ContainerStats> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let sample = self.docker.stats(&id, Some(options)).try_next().await.ok()??;
        Some(usage(id, sample))
    }

    pub(crate) async fn memory(&self, sandbox_id: &str) -> Result<SandboxMemory> {
        let mut memory = SandboxMemory::default();
        for container in self.containers_of(sandbox_id).await? {
            if container.state == ContainerState::Running
                && let Some(stats) = self.stats_of(container.id).await
            {
                memory.pod_bytes += stats.memory_bytes;
                memory.containers.insert(stats.container_id, stats.memory_bytes);
            }
        }
        Ok(memory)
    }
}

/// The engine's words, which are those of the machine's version of cgroups.
fn usage(container_id: String, sample: ContainerStatsResponse) -> ContainerStats {
    let cpu = sample.cpu_stats.unwrap_or_default();
    let throttled = cpu.throttling_data.unwrap_or_default();
    let memory = sample.memory_stats.unwrap_or_default();
    let details = memory.stats.unwrap_or_default();
    let of = |names: [&str; 2]| names.iter().find_map(|name| details.get(*name)).copied().unwrap_or(0);
    let used = memory.usage.unwrap_or(0);
    ContainerStats {
        container_id,
        at: Timestamp::now(),
        cpu_nanos: cpu.cpu_usage.and_then(|usage| usage.total_usage).unwrap_or(0),
        cpu_periods: throttled.periods.unwrap_or(0),
        cpu_throttled_periods: throttled.throttled_periods.unwrap_or(0),
        cpu_throttled_nanos: throttled.throttled_time.unwrap_or(0),
        working_set_bytes: used.saturating_sub(of(["total_inactive_file", "inactive_file"])),
        memory_bytes: used,
        rss_bytes: of(["total_rss", "anon"]),
        cache_bytes: of(["total_cache", "file"]),
        swap_bytes: of(["total_swap", "swap"]),
        // of a container without one it is the machine's memory
        memory_limit_bytes: memory.limit.filter(|limit| *limit > 0),
        page_faults: of(["total_pgfault", "pgfault"]),
        major_page_faults: of(["total_pgmajfault", "pgmajfault"]),
        pids: sample.pids_stats.and_then(|pids| pids.current).unwrap_or(0),
    }
}

fn user(security: &SecurityContext) -> Option<String> {
    let user =
        security.run_as_user.map(|user| user.to_string()).or_else(|| security.run_as_username.clone())?;
    Some(match security.run_as_group {
        Some(group) => format!("{user}:{group}"),
        None => user,
    })
}

fn security_options(security: &SecurityContext) -> Vec<String> {
    let mut options = Vec::new();
    if security.no_new_privs {
        options.push("no-new-privileges".to_owned());
    }
    match &security.seccomp {
        _ if security.privileged => {}
        SeccompProfile::RuntimeDefault => {}
        SeccompProfile::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompProfile::Localhost(path) => {
            // the engine takes the profile itself, not its path
            let profile = std::fs::read_to_string(path).unwrap_or_default();
            options.push(format!("seccomp={profile}"));
        }
    }
    options
}

fn mount(mount: &Mount) -> DockerMount {
    let propagation = match mount.propagation {
        Propagation::Private => MountBindOptionsPropagationEnum::RPRIVATE,
        Propagation::HostToContainer => MountBindOptionsPropagationEnum::RSLAVE,
        Propagation::Bidirectional => MountBindOptionsPropagationEnum::RSHARED,
    };
    DockerMount {
        target: Some(mount.container_path.clone()),
        source: Some(mount.host_path.display().to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(mount.readonly),
        bind_options: Some(MountBindOptions { propagation: Some(propagation), ..Default::default() }),
        ..Default::default()
    }
}

fn device(device: &Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(device.host_path.display().to_string()),
        path_in_container: Some(device.container_path.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    }
}

fn status(container: ContainerInspectResponse) -> ContainerStatus {
    let known = labels::read(&container.config.and_then(|config| config.labels).unwrap_or_default());
    let state = container.state.unwrap_or_default();
    let started_at = convert::time(state.started_at.as_deref());
    let running = state.running.unwrap_or(false);
    ContainerStatus {
        id: container.id.unwrap_or_default(),
        sandbox_id: known.sandbox_id,
        pod: known.pod,
        name: known.name,
        attempt: known.attempt,
        pid: state.pid.filter(|pid| running && *pid > 0).and_then(|pid| u32::try_from(pid).ok()),
        state: match (running, started_at) {
            (true, _) => ContainerState::Running,
            (false, Some(_)) => ContainerState::Exited(convert::exit(&state)),
            // a start that failed
            (false, None) if state.exit_code.is_some_and(|code| code != 0) => {
                ContainerState::Exited(convert::exit(&state))
            }
            (false, None) => ContainerState::Created,
        },
        created_at: container
            .created
            .and_then(|time| convert::time(Some(&time.to_string())))
            .unwrap_or_default(),
        started_at,
        user: None,
        image: known.image,
        log_path: known.log_path,
        labels: known.labels,
        annotations: known.annotations,
    }
}
