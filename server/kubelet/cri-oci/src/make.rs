//! How a sandbox and a container come to be, and what is left to take away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sampan_cri::*;

use crate::host::filter;
use crate::host::protocol::{Reply, StartContainer, Verb};
use crate::images::store::Record;
use crate::images::{archive, docker, unpack};
use crate::records::{ContainerRecord, Live, Phase, SandboxRecord};
use crate::runtime::{Inner, internal};
use crate::sandbox;
use crate::spec::{self, Joined, PidNamespace};
use crate::users::{self, Identity};
use crate::verbs::blocking;

impl Inner {
    pub fn pod_cgroup(&self, config: &SandboxConfig) -> String {
        format!("{}/{}", self.config.cgroup_root, config.cgroup_parent.trim_matches('/'))
    }

    /// Of the shared PID namespace's first process. Not the pod's own: v2 keeps processes out of a cgroup that
    /// hands controllers down.
    fn init_cgroup(&self, config: &SandboxConfig) -> String {
        format!("{}/init", self.pod_cgroup(config))
    }

    pub fn containers_of(&self, sandbox_id: &str) -> Vec<String> {
        let containers = self.containers.lock();
        let of = containers.values().filter(|live| live.record.sandbox_id == sandbox_id);
        of.map(|live| live.record.id.clone()).collect()
    }

    /// Exit code, once there is one.
    pub async fn wait_exit(&self, id: &str) -> i32 {
        let Some(mut phases) = self.containers.lock().get(id).map(|live| live.phase.subscribe()) else {
            return 0;
        };
        match phases.wait_for(|phase| matches!(phase, Phase::Exited { .. })).await.as_deref() {
            Ok(Phase::Exited { exit, .. }) => exit.exit_code,
            _ => 0,
        }
    }

    pub async fn make_sandbox(self: &Arc<Self>, id: &str, config: SandboxConfig) -> Result<SandboxRecord> {
        let directory = self.config.sandbox_run(id);
        let (network, netns) = match &config.network {
            SandboxNetwork::Host => (None, None),
            SandboxNetwork::Namespace(path) => (Some(path.clone()), Some(path.clone())),
            SandboxNetwork::Create => (None, Some(directory.join("net"))),
        };
        let wanted = sandbox::Wanted {
            directory: directory.clone(),
            network,
            own_network: config.network == SandboxNetwork::Create,
            ipc: !config.host_ipc,
            // CRI: a pod on the node's network has the node's name
            uts: config.network != SandboxNetwork::Host,
            hostname: config.hostname.clone(),
            sysctls: config.sysctls.clone(),
        };
        let (inner, cgroup, resources) = (self.clone(), self.pod_cgroup(&config), config.resources.clone());
        let init = shares_pids(&config).then(|| self.init_cgroup(&config));
        let procs = init.as_ref().map(|init| self.cgroups.procs(init));
        blocking(move || -> Result<()> {
            inner.cgroups.create(&cgroup).map_err(internal("pod cgroup"))?;
            inner.cgroups.apply(&cgroup, &resources).map_err(RuntimeError::Unsupported)?;
            if let Some(init) = init {
                inner.cgroups.create(&init).map_err(internal("pod cgroup"))?;
            }
            sandbox::make(&wanted).map_err(internal("pod namespaces"))
        })
        .await??;
        let record = SandboxRecord {
            id: id.to_owned(),
            config,
            created_at: Timestamp::now(),
            netns,
            boot_id: self.boot_id.clone(),
            stopped: false,
        };
        if let Some(procs) = procs {
            self.share_pids(&record, &directory, procs).await?;
        }
        Ok(record)
    }

    async fn share_pids(&self, record: &SandboxRecord, directory: &Path, procs: Vec<PathBuf>) -> Result<()> {
        let joined = self.joined(record);
        let namespaces = [joined.network, joined.ipc, joined.uts].into_iter().flatten().collect();
        let verb = Verb::StartInit { sandbox: record.id.clone(), namespaces, cgroup_procs: procs };
        match self.host().await?.call(verb, &[]).await?.0 {
            Reply::Started { pid, .. } => {
                sandbox::pin(&format!("/proc/{pid}/ns/pid"), &directory.join("pid"))
                    .map_err(internal("pid namespace"))
            }
            other => Err(RuntimeError::Internal(format!("container host said {other:?}"))),
        }
    }

    /// Takes away what is there of a sandbox that could not be made. Failures are the kernel's and leave what
    /// they leave: the caller has an error to tell already.
    pub async fn unmake_sandbox(self: &Arc<Self>, id: &str, config: &SandboxConfig) {
        if shares_pids(config)
            && let Ok(host) = self.host().await
        {
            let _ = host.call(Verb::StopInit { sandbox: id.to_owned() }, &[]).await;
        }
        let (inner, id) = (self.clone(), id.to_owned());
        let _ = blocking(move || inner.forget_sandbox_pins(&id)).await;
        self.release_pod_cgroup(config).await;
    }

    /// Removes the pod's cgroup, unless another attempt of the same pod uses it.
    pub async fn release_pod_cgroup(&self, config: &SandboxConfig) {
        let cgroup = self.pod_cgroup(config);
        let shared = self.sandboxes.lock().values().any(|other| self.pod_cgroup(&other.config) == cgroup);
        if !shared {
            self.remove_cgroup(&cgroup).await;
        }
    }

    fn joined(&self, sandbox: &SandboxRecord) -> Joined {
        let directory = self.config.sandbox_run(&sandbox.id);
        let pid = match (sandbox.config.host_pid, sandbox.config.share_process_namespace) {
            (true, _) => PidNamespace::Node,
            (false, true) => PidNamespace::Path(directory.join("pid")),
            (false, false) => PidNamespace::Own,
        };
        Joined {
            network: sandbox.netns.clone(),
            ipc: (!sandbox.config.host_ipc).then(|| directory.join("ipc")),
            uts: (!sandbox.host_network()).then(|| directory.join("uts")),
            pid,
        }
    }

    /// Makes and lists a container. Blocking; its image cannot be removed meanwhile.
    pub fn add_container(&self, id: &str, sandbox: &SandboxRecord, config: ContainerConfig) -> Result<()> {
        let _removals_wait = self.image_users.read();
        let image = self.images.find(&config.image);
        let image =
            image.ok_or_else(|| RuntimeError::NotFound { kind: "image", id: config.image.clone() })?;
        let record = self.make_container(id, sandbox, config, &image)?;
        self.containers.lock().insert(id.to_owned(), Live::new(record));
        Ok(())
    }

    /// Mounts an image where a volume shows it. Blocking.
    pub fn show_image(&self, image: &str, at: &Path) -> Result<()> {
        let _removals_wait = self.image_users.read();
        let found = self.images.find(image);
        let image = found.ok_or_else(|| RuntimeError::NotFound { kind: "image", id: image.to_owned() })?;
        let layers: Vec<String> = image.layers.iter().map(|one| one.directory().to_owned()).collect();
        sandbox::mount_image(&self.images.layers_directory(), &layers, &image.id, at)
            .map_err(internal("image volume"))
    }

    /// Removes an image by any name; a missing one is fine. Blocking. An image that a container uses, also one
    /// that has ended, or a volume is refused with the user's name: overlayfs reads its layers by name.
    pub fn remove_unused_image(&self, name: &str) -> Result<()> {
        let _nobody_starts_to_use_it = self.image_users.write();
        let Some(image) = self.images.find(name) else { return Ok(()) };
        let user = self.containers.lock().values().find_map(|live| {
            let record = &live.record;
            let uses = record.image_id == image.id || record.config.image == image.id;
            uses.then(|| {
                format!("{} of pod {}/{}", record.config.name, record.pod.namespace, record.pod.name)
            })
        });
        let shown = sandbox::image_mount(&image.id).map_err(internal("reading the mounts"))?;
        if let Some(at) = shown {
            return Err(RuntimeError::Internal(format!(
                "image {name} is in use by the volume at {at}: delete the pod first"
            )));
        }
        match user {
            Some(user) => Err(RuntimeError::Internal(format!(
                "image {name} is in use by container {user}: delete the pod first"
            ))),
            None => self.images.remove(&image.id).map_err(internal("removing image")),
        }
    }

    /// Root, bundle, cgroup, log directory and record. Blocking.
    fn make_container(
        &self,
        id: &str,
        sandbox: &SandboxRecord,
        config: ContainerConfig,
        image: &Record,
    ) -> Result<ContainerRecord> {
        let bundle = self.config.bundle(id);
        let rootfs = bundle.join("rootfs");
        let names: Vec<String> = image.layers.iter().map(|one| one.directory().to_owned()).collect();
        let own = self.config.container_state(id);
        sandbox::mount_root(&self.images.layers_directory(), &names, &own, &rootfs)
            .map_err(internal("container root"))?;
        let identity = identity(&config, image, &rootfs)?;
        unpack::make_directory(&rootfs, &spec::working_directory(&config, &image.config))
            .map_err(internal("working directory"))?;
        let cgroup = format!("{}/{id}", self.pod_cgroup(&sandbox.config));
        let mut value = self.specification(id, sandbox, &config, image, &rootfs, &identity, &cgroup)?;
        let profile = value["linux"].as_object_mut().and_then(|linux| linux.remove("seccomp"));
        let text = serde_json::to_vec(&value).map_err(|error| RuntimeError::Internal(error.to_string()))?;
        std::fs::write(bundle.join("config.json"), text).map_err(internal("bundle"))?;
        if let Some(profile) = profile {
            let filter = self.filters.compiled(&profile).map_err(RuntimeError::InvalidConfig)?;
            std::fs::write(bundle.join(filter::FILE), &*filter).map_err(internal("bundle"))?;
        }
        self.cgroups.create(&cgroup).map_err(internal("container cgroup"))?;
        self.cgroups.apply(&cgroup, &config.resources).map_err(RuntimeError::Unsupported)?;
        if !config.security.privileged {
            self.cgroups.allow_devices(&cgroup, &config.devices).map_err(internal("device cgroup"))?;
        }
        let record = ContainerRecord {
            id: id.to_owned(),
            sandbox_id: sandbox.id.clone(),
            pod: sandbox.config.pod.clone(),
            log_path: sandbox.config.log_directory.join(&config.log_path),
            image: image.config.clone(),
            image_id: image.id.clone(),
            created_at: Timestamp::now(),
            boot_id: self.boot_id.clone(),
            user: Some(User { uid: identity.uid, gid: identity.gid, groups: identity.groups }),
            phase: Phase::Created,
            cgroup,
            config,
        };
        self.save(&record).map_err(internal("container record"))?;
        Ok(record)
    }

    #[allow(clippy::too_many_arguments)]
    fn specification(
        &self,
        _id: &str,
        sandbox: &SandboxRecord,
        config: &ContainerConfig,
        image: &Record,
        rootfs: &Path,
        identity: &Identity,
        cgroup: &str,
    ) -> Result<serde_json::Value> {
        let mut namespaces = self.joined(sandbox);
        if let Some(target) = &config.security.target_container_id {
            match self.container(target)?.phase {
                Phase::Running { pid, .. } => {
                    namespaces.pid = PidNamespace::Path(format!("/proc/{pid}/ns/pid").into())
                }
                _ => {
                    return Err(RuntimeError::Internal(format!(
                        "container {target} is not in running state"
                    )));
                }
            }
        }
        let shm = match sandbox.config.host_ipc {
            true => PathBuf::from("/dev/shm"),
            false => self.config.sandbox_run(&sandbox.id).join("shm"),
        };
        spec::build(&spec::Input {
            config,
            image: &image.config,
            rootfs,
            namespaces: &namespaces,
            shm: &shm,
            cgroup,
            identity,
            available: &self.capabilities,
            seccomp: localhost_profile(&config.security.seccomp)?,
            hostname: &sandbox.config.hostname,
        })
        .map_err(RuntimeError::InvalidConfig)
    }

    pub fn start_request(&self, record: &ContainerRecord) -> StartContainer {
        StartContainer {
            id: record.id.clone(),
            bundle: self.config.bundle(&record.id),
            log_path: record.log_path.clone(),
            exit_path: self.config.exit_path(&record.id),
            stdin: record.config.stdin,
            stdin_once: record.config.stdin_once,
            tty: record.config.tty,
            cgroup_procs: self.cgroups.procs(&record.cgroup),
            oom_file: self.cgroups.oom_file(&record.cgroup),
        }
    }

    /// Unmounts and deletes all files of a container but its log. Blocking.
    pub fn discard(&self, id: &str) {
        let bundle = self.config.bundle(id);
        sandbox::unmount_root(&bundle.join("rootfs"));
        let _ = std::fs::remove_dir_all(&bundle);
        let _ = std::fs::remove_dir_all(self.config.container_state(id));
    }

    /// Id and cgroup of what runs; of one sandbox, if one is named.
    fn running(&self, sandbox_id: Option<&str>) -> Vec<(String, String)> {
        let containers = self.containers.lock();
        let records = containers.values().map(|live| &live.record);
        let running = records.filter(|record| {
            matches!(record.phase, Phase::Running { .. })
                && sandbox_id.is_none_or(|sandbox| sandbox == record.sandbox_id)
        });
        running.map(|record| (record.id.clone(), record.cgroup.clone())).collect()
    }

    /// Blocking.
    pub fn memory(&self, pod_cgroup: &str, sandbox_id: &str) -> SandboxMemory {
        let of = |(id, cgroup): (String, String)| (id, self.cgroups.usage(&cgroup).memory_bytes);
        SandboxMemory {
            pod_bytes: self.cgroups.usage(pod_cgroup).memory_bytes,
            containers: self.running(Some(sandbox_id)).into_iter().map(of).collect(),
        }
    }

    pub fn stats(&self) -> Vec<ContainerStats> {
        let running = self.running(None);
        let usage = |(container_id, cgroup): (String, String)| ContainerStats {
            container_id,
            ..self.cgroups.usage(&cgroup)
        };
        running.into_iter().map(usage).collect()
    }

    /// The engine's image by one of its names, if the node runs an engine that has it.
    pub async fn import_from_docker(&self, image: &str) -> Option<Record> {
        let socket = self.config.docker_socket.as_ref().filter(|socket| socket.exists())?;
        if !docker::has(socket, image).await {
            return None;
        }
        let temporary = self.images.temporary();
        let saved = docker::save(socket, image, &temporary).await;
        let (images, path) = (self.images.clone(), temporary.clone());
        let loaded = match saved {
            Ok(()) => blocking(move || archive::load(&images, &path)).await.ok()?,
            Err(error) => Err(error),
        };
        let _ = std::fs::remove_file(&temporary);
        match loaded {
            Ok(imported) => {
                self.images.find(image).or_else(|| imported.into_iter().next().map(|one| one.record))
            }
            Err(error) => {
                tracing::warn!(image, %error, "image could not be imported from the node's Docker Engine");
                None
            }
        }
    }
}

fn shares_pids(config: &SandboxConfig) -> bool {
    config.share_process_namespace && !config.host_pid
}

/// User and groups: the pod's words before the image's.
fn identity(config: &ContainerConfig, image: &Record, rootfs: &Path) -> Result<Identity> {
    let security = &config.security;
    let user = match (security.run_as_user, &security.run_as_username) {
        (Some(uid), _) => uid.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => image.config.user.clone(),
    };
    let (passwd, group) =
        (unpack::read_inside(rootfs, "etc/passwd"), unpack::read_inside(rootfs, "etc/group"));
    let mut identity = users::resolve(&user, &passwd, &group).map_err(RuntimeError::InvalidConfig)?;
    if security.strict_groups {
        identity.groups.clear();
    }
    if let Some(gid) = security.run_as_group {
        identity.gid = gid as u32;
    }
    identity.groups.extend(security.supplemental_groups.iter().map(|gid| *gid as u32));
    if !identity.groups.contains(&identity.gid) {
        identity.groups.insert(0, identity.gid);
    }
    identity.groups.dedup();
    Ok(identity)
}

fn localhost_profile(profile: &SeccompProfile) -> Result<Option<serde_json::Value>> {
    let SeccompProfile::Localhost(path) = profile else { return Ok(None) };
    let bad = |error: &dyn std::fmt::Display| {
        RuntimeError::InvalidConfig(format!(
            "cannot load seccomp profile {:?}: {error}",
            path.display().to_string()
        ))
    };
    let text = std::fs::read(path).map_err(|error| bad(&error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| bad(&error))
}
