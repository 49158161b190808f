//! The runtime's state and what changes it; the verbs of the trait are in `verbs`.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use sampan_cri::{ContainerEvent, ContainerEventKind, Exit, Result, RuntimeError};
use tokio::sync::broadcast;

use crate::cgroup::Cgroups;
use crate::client::{HostClient, Launch, Listener};
use crate::config::Config;
use crate::files::{read_json, write_json};
use crate::host::protocol::{Ended, Verb};
use crate::images::pull::{Puller, Registries, country_mirrors};
use crate::images::store::ImageStore;
use crate::records::{ContainerRecord, Live, Phase, SandboxRecord, boot_id};
use crate::sandbox;

/// The runtime that needs nothing but the kernel.
#[derive(Clone)]
pub struct EmbeddedRuntime(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub config: Config,
    pub cgroups: Cgroups,
    pub boot_id: String,
    pub capabilities: Vec<String>,
    pub filters: crate::seccomp::Filters,
    pub images: Arc<ImageStore>,
    pub puller: Puller,
    /// Read while a container is made of an image, written while one is removed.
    pub image_users: RwLock<()>,
    pub sandboxes: Mutex<HashMap<String, SandboxRecord>>,
    pub containers: Mutex<HashMap<String, Live>>,
    pub events: broadcast::Sender<ContainerEvent>,
    host: tokio::sync::Mutex<Option<Arc<HostClient>>>,
    this: Weak<Inner>,
}

/// An error with what was being done.
pub(crate) fn internal(what: &str) -> impl FnOnce(io::Error) -> RuntimeError + '_ {
    move |error| RuntimeError::Internal(format!("{what}: {error}"))
}

impl EmbeddedRuntime {
    /// Opens images and records, finds or starts the container host and takes over what runs.
    pub async fn new(config: Config) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            let text = "the embedded runtime needs root: start sampan with sudo, or use the docker runtime";
            return Err(RuntimeError::Unsupported(text.into()));
        }
        for directory in
            [&config.run_dir, &config.state_dir.join("sandboxes"), &config.state_dir.join("containers")]
        {
            std::fs::create_dir_all(directory).map_err(internal(&directory.display().to_string()))?;
        }
        let images = Arc::new(ImageStore::open(&config.image_dir).map_err(internal("image store"))?);
        let cgroups = Cgroups::detect().map_err(|error| RuntimeError::Unsupported(error.to_string()))?;
        let inner = Arc::new_cyclic(|this| Inner {
            image_users: RwLock::default(),
            puller: Puller::new(images.clone(), registries(&config)),
            sandboxes: Mutex::new(load(&config.state_dir.join("sandboxes"), |record: &SandboxRecord| {
                record.id.clone()
            })),
            containers: Mutex::new(load_containers(&config)),
            events: broadcast::channel(4096).0,
            host: tokio::sync::Mutex::default(),
            capabilities: own_capabilities(),
            filters: crate::seccomp::Filters::default(),
            boot_id: boot_id(),
            cgroups,
            images,
            this: this.clone(),
            config,
        });
        inner.host().await?;
        Ok(EmbeddedRuntime(inner))
    }

    /// The image store, for pinning.
    pub fn set_image_pinned(&self, image: &str, pinned: bool) -> Result<()> {
        self.0.images.set_pinned(image, pinned).map_err(internal("pinning"))
    }

    /// Ends the container host and everything it runs, and releases what the kernel holds: for
    /// `sampan delete`. Files stay for the caller to remove.
    pub async fn shutdown(&self) -> Result<()> {
        let ids: Vec<String> = self.0.sandboxes.lock().keys().cloned().collect();
        for id in ids {
            use sampan_cri::ContainerRuntime;
            let _ = self.remove_pod_sandbox(&id).await;
        }
        let host = self.0.host().await?;
        host.call(Verb::Shutdown, &[]).await?;
        self.0.cgroups.kill(&self.0.config.cgroup_root);
        self.0.remove_cgroup(&self.0.config.cgroup_root.clone()).await;
        Ok(())
    }
}

fn registries(config: &Config) -> Registries {
    let mut mirrors = config.registry_mirrors.clone();
    if let Some(country) = &config.image_mirror_country {
        mirrors.entry("docker.io".into()).or_default().extend(country_mirrors(country));
    }
    Registries { mirrors, insecure: config.insecure_registries.clone() }
}

fn load<T: serde::de::DeserializeOwned>(directory: &Path, id: impl Fn(&T) -> String) -> HashMap<String, T> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| read_json(&entry.path())).map(|record| (id(&record), record)).collect()
}

fn load_containers(config: &Config) -> HashMap<String, Live> {
    let entries = std::fs::read_dir(config.state_dir.join("containers")).into_iter().flatten().flatten();
    let records = entries.filter_map(|entry| read_json::<ContainerRecord>(&entry.path().join("record.json")));
    records.map(|record| (record.id.clone(), Live::new(record))).collect()
}

/// What root on this node may do; nobody inside gets more.
fn own_capabilities() -> Vec<String> {
    let permitted = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
    let bounding = caps::read(None, caps::CapSet::Bounding).unwrap_or_default();
    let mut all: Vec<String> = permitted.intersection(&bounding).map(ToString::to_string).collect();
    all.sort();
    all
}

impl Inner {
    /// The connection to the host, made again if it broke.
    pub async fn host(&self) -> Result<Arc<HostClient>> {
        let mut slot = self.host.lock().await;
        if let Some(host) = &*slot {
            return Ok(host.clone());
        }
        let launch = Launch {
            command: self.config.host_command.clone(),
            socket: self.config.host_socket(),
            cgroup: format!("{}/host", self.config.cgroup_root),
        };
        let connected = tokio::task::spawn_blocking(move || HostClient::connect(&launch)).await;
        let (host, reader) = connected.map_err(|error| RuntimeError::Internal(error.to_string()))??;
        let host = Arc::new(host);
        host.listen(reader, Arc::new(News(self.this.clone())));
        self.take_over(&host).await?;
        *slot = Some(host.clone());
        Ok(host)
    }

    /// Makes the records agree with the host: what ended while nobody listened, and what ended with an
    /// earlier host.
    async fn take_over(&self, host: &HostClient) -> Result<()> {
        let known: HashMap<String, _> =
            host.list().await?.into_iter().map(|item| (item.id.clone(), item)).collect();
        let records: Vec<(String, Phase, String)> = {
            let containers = self.containers.lock();
            let one =
                |live: &Live| (live.record.id.clone(), live.record.phase.clone(), live.record.cgroup.clone());
            containers.values().map(one).collect()
        };
        for (id, phase, cgroup) in records {
            match (phase, known.get(&id)) {
                (Phase::Exited { .. }, _) | (Phase::Created, None) => {}
                (Phase::Created | Phase::Running { .. }, Some(item)) => {
                    self.set_phase(&id, Phase::Running { pid: item.pid, started_at: item.started_at });
                    if let Some(ended) = item.ended.clone() {
                        self.ended(&id, ended);
                    }
                }
                (Phase::Running { .. }, None) => {
                    let lost = || Ended { code: 255, oom_killed: false, at: Timestamp::now() };
                    let ended = read_json(&self.config.exit_path(&id)).unwrap_or_else(lost);
                    self.cgroups.kill(&cgroup);
                    self.ended(&id, ended);
                }
            }
        }
        Ok(())
    }

    pub fn set_phase(&self, id: &str, phase: Phase) {
        let saved = {
            let mut containers = self.containers.lock();
            let Some(live) = containers.get_mut(id) else { return };
            live.set(phase);
            live.record.clone()
        };
        // a full disk costs the record its latest word; the host and the exit file still have it
        let _ = self.save(&saved);
    }

    pub fn save(&self, record: &ContainerRecord) -> io::Result<()> {
        write_json(&self.config.container_state(&record.id).join("record.json"), record)
    }

    pub fn ended(&self, id: &str, ended: Ended) {
        let Some(started_at) = self.containers.lock().get(id).and_then(|live| match &live.record.phase {
            Phase::Exited { .. } => None,
            Phase::Running { started_at, .. } => Some(Some(*started_at)),
            Phase::Created => Some(None),
        }) else {
            return;
        };
        let exit = Exit {
            exit_code: ended.code,
            oom_killed: ended.oom_killed,
            finished_at: ended.at,
            message: String::new(),
        };
        // in a shared PID namespace children outlive the main process
        let cgroup = self.containers.lock().get(id).map(|live| live.record.cgroup.clone());
        if let Some(cgroup) = cgroup {
            self.cgroups.kill(&cgroup);
            // on v1 the quota of what has ended would keep its pod's from shrinking; what is busy goes with the container
            let _ = self.cgroups.remove(&cgroup);
        }
        let saved = {
            let mut containers = self.containers.lock();
            let Some(live) = containers.get_mut(id) else { return };
            live.set(Phase::Exited { started_at, exit });
            // in the same breath: whoever waits for the exit may remove the container at once
            let _ = self.events.send(ContainerEvent {
                container_id: id.to_owned(),
                sandbox_id: live.record.sandbox_id.clone(),
                pod: live.record.pod.clone(),
                kind: ContainerEventKind::Stopped,
            });
            live.record.clone()
        };
        let _ = self.save(&saved);
    }

    pub fn publish(&self, id: &str, kind: ContainerEventKind) {
        let event = self.containers.lock().get(id).map(|live| ContainerEvent {
            container_id: id.to_owned(),
            sandbox_id: live.record.sandbox_id.clone(),
            pod: live.record.pod.clone(),
            kind,
        });
        if let Some(event) = event {
            // nobody listening is fine
            let _ = self.events.send(event);
        }
    }

    pub fn container(&self, id: &str) -> Result<ContainerRecord> {
        let found = self.containers.lock().get(id).map(|live| live.record.clone());
        found.ok_or_else(|| RuntimeError::NotFound { kind: "container", id: id.to_owned() })
    }

    pub fn sandbox(&self, id: &str) -> Result<SandboxRecord> {
        let found = self.sandboxes.lock().get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound { kind: "sandbox", id: id.to_owned() })
    }

    pub fn save_sandbox(&self, record: &SandboxRecord) -> io::Result<()> {
        write_json(&self.config.state_dir.join("sandboxes").join(format!("{}.json", record.id)), record)
    }

    /// Processes that were just killed keep a cgroup busy for a moment.
    pub async fn remove_cgroup(&self, path: &str) {
        for wait in [0u64, 1, 5, 20, 50, 100] {
            if wait > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
            }
            if self.cgroups.remove(path).is_ok() {
                return;
            }
            self.cgroups.kill(path);
        }
        tracing::warn!(cgroup = path, "cgroup is still busy and stays");
    }

    pub fn forget_sandbox_pins(&self, id: &str) {
        sandbox::release(&self.config.sandbox_run(id));
    }
}

struct News(Weak<Inner>);

impl Listener for News {
    fn exited(&self, id: &str, ended: Ended) {
        if let Some(inner) = self.0.upgrade() {
            inner.ended(id, ended);
        }
    }

    fn host_died(&self) {
        let Some(inner) = self.0.upgrade() else { return };
        if let Ok(mut slot) = inner.host.try_lock() {
            *slot = None;
        }
        let running: Vec<String> = {
            let containers = inner.containers.lock();
            let running =
                containers.values().filter(|live| matches!(live.record.phase, Phase::Running { .. }));
            running.map(|live| live.record.cgroup.clone()).collect()
        };
        // without their host nobody reads their output or their exit: they cannot go on
        for cgroup in &running {
            inner.cgroups.kill(cgroup);
        }
        let ids: Vec<String> = {
            let containers = inner.containers.lock();
            let running =
                containers.values().filter(|live| matches!(live.record.phase, Phase::Running { .. }));
            running.map(|live| live.record.id.clone()).collect()
        };
        for id in ids {
            inner.ended(&id, Ended { code: 255, oom_killed: false, at: Timestamp::now() });
        }
    }
}
