//! What the node, its pods and their containers use, read when somebody asks.
//!
//! ```text
//!  runtime.container_stats ─┐                ┌─► summary     /stats/summary
//!  /proc, statvfs ──────────┼─► Sample ──────┤
//!  /proc/PID/net/dev ───────┘   (one reading)└─► prometheus  /metrics/resource, /metrics/cadvisor
//! ```
//!
//! Nothing is read in advance and nothing is kept but the last CPU reading of each container, for rates. A pod is
//! what its containers are: the sandbox has no process of its own.

mod machine;
mod prometheus;
mod rates;
mod summary;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use sampan_api::status::ApiError;
use sampan_cri::{ContainerState, ContainerStats, ContainerStatus};
use sampan_reconcile::Key;

use crate::Kubelet;
use crate::housekeeping::rotated;

use machine::{Disk, Interface, Machine};
pub use prometheus::{cadvisor, kubelet, probes, resource};
pub use rates::Rates;
pub use summary::summary;

/// One reading of everything.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The node's name.
    node_name: String,
    machine: Machine,
    /// CPU of the machine and of this process, in thousand-millionths of a core.
    nano_cores: [Option<u64>; 2],
    /// The file system of pods' files, and that of images.
    disks: [Option<Disk>; 2],
    /// Bytes of images.
    image_bytes: u64,
    pods: Vec<PodSample>,
}

/// One pod.
#[derive(Clone, Debug, Default)]
struct PodSample {
    namespace: String,
    name: String,
    uid: String,
    started_at: Option<Timestamp>,
    /// When its network was read; empty for one on the node's.
    network: Vec<Interface>,
    containers: Vec<ContainerSample>,
}

/// One running container.
#[derive(Clone, Debug, Default)]
struct ContainerSample {
    name: String,
    image: String,
    started_at: Timestamp,
    nano_cores: Option<u64>,
    stats: ContainerStats,
    log_bytes: u64,
}

impl PodSample {
    /// A figure of all containers together.
    fn sum(&self, of: impl Fn(&ContainerSample) -> u64) -> u64 {
        self.containers.iter().map(of).sum()
    }

    fn read_at(&self) -> Timestamp {
        self.containers.iter().map(|container| container.stats.at).max().unwrap_or_default()
    }
}

impl Kubelet {
    /// Reads everything.
    pub(super) async fn sample(&self) -> Result<Sample, ApiError> {
        let runtime = &self.context.runtime;
        let (stats, containers, images) =
            tokio::join!(runtime.container_stats(), runtime.list_containers(), runtime.image_fs_info());
        let stats = stats.map_err(ApiError::internal)?;
        let mut running = containers.map_err(ApiError::internal)?;
        running.retain(|container| container.state == ContainerState::Running);
        let mut found: BTreeMap<(String, String), Found> = BTreeMap::new();
        for container in running {
            let Some(stats) = stats.iter().find(|one| one.container_id == container.id) else { continue };
            let place = (container.pod.namespace.clone(), container.pod.name.clone());
            let pod = || self.informer.get(&Key::namespaced(&place.0, &place.1));
            let found = found.entry(place.clone()).or_insert_with(|| Found::new(pod().as_deref()));
            found.containers.push((container, stats.clone()));
        }
        let (images_at, image_bytes) =
            images.map_or((None, 0), |info| (Some(info.mountpoint), info.used_bytes));
        let root = self.context.dirs.root.clone();
        let read = move || {
            let pods: Vec<PodSample> = found.into_iter().map(|(place, found)| found.read(place)).collect();
            let disks = [machine::disk(&root), images_at.as_deref().and_then(machine::disk)];
            (machine::machine(), disks, pods)
        };
        let (machine, disks, mut pods) =
            tokio::task::spawn_blocking(read).await.map_err(ApiError::internal)?;
        for container in pods.iter_mut().flat_map(|pod| &mut pod.containers) {
            let stats = &mut container.stats;
            container.nano_cores = self.rates.observe(&stats.container_id, stats.at, stats.cpu_nanos);
            // to Docker Engine the machine's memory is a limit
            stats.memory_limit_bytes = stats.memory_limit_bytes.filter(|limit| *limit < machine.memory_bytes);
        }
        let known = |id: &str| id.is_empty() || id == OWN || stats.iter().any(|one| one.container_id == id);
        self.rates.retain(known);
        let nano_cores = [("", machine.load), (OWN, machine.own)]
            .map(|(id, load)| self.rates.observe(id, machine.at, load.cpu_nanos));
        let node_name = self.context.node_name.clone();
        Ok(Sample { node_name, machine, nano_cores, disks, image_bytes, pods })
    }
}

/// This process among the rates; no container's id.
const OWN: &str = "kubelet";

/// A pod's containers, and what is needed to read the rest.
struct Found {
    started_at: Option<Timestamp>,
    own_network: bool,
    containers: Vec<(ContainerStatus, ContainerStats)>,
}

impl Found {
    fn new(pod: Option<&Pod>) -> Self {
        let status = pod.and_then(|pod| pod.status.as_ref());
        let spec = pod.and_then(|pod| pod.spec.as_ref());
        Self {
            started_at: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
            own_network: spec.is_some_and(|spec| spec.host_network != Some(true)),
            containers: Vec::new(),
        }
    }

    /// Blocking.
    fn read(self, (namespace, name): (String, String)) -> PodSample {
        let uid = self.containers.first().map(|(status, _)| status.pod.uid.clone()).unwrap_or_default();
        let pid = self.containers.iter().find_map(|(status, _)| status.pid).filter(|_| self.own_network);
        let network = pid.map(machine::interfaces_of).unwrap_or_default();
        let container = |(status, stats): (ContainerStatus, ContainerStats)| ContainerSample {
            name: status.name,
            image: status.image,
            started_at: status.started_at.unwrap_or(status.created_at),
            nano_cores: None,
            log_bytes: log_bytes(status.log_path),
            stats,
        };
        let containers = self.containers.into_iter().map(container).collect();
        PodSample { namespace, name, uid, started_at: self.started_at, network, containers }
    }
}

fn log_bytes(log: PathBuf) -> u64 {
    let files = rotated(&log).into_iter().chain([log]);
    files.filter_map(|file| std::fs::metadata(file).ok()).map(|meta| meta.len()).sum()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub fn time(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds)
    }

    /// A node with one pod of one container.
    pub fn sample() -> Sample {
        let stats = ContainerStats {
            container_id: "c1".into(),
            at: time(100),
            cpu_nanos: 1_500_000_000,
            working_set_bytes: 2048,
            memory_bytes: 4096,
            rss_bytes: 1024,
            memory_limit_bytes: Some(8192),
            page_faults: 7,
            pids: 3,
            ..ContainerStats::default()
        };
        let container = ContainerSample {
            name: "app".into(),
            image: "sha256:1".into(),
            started_at: time(40),
            nano_cores: Some(250_000_000),
            stats,
            log_bytes: 99,
        };
        let eth0 = Interface { name: "eth0".into(), received: [1, 2, 3, 4], sent: [5, 6, 7, 8] };
        let pod = PodSample {
            namespace: "default".into(),
            name: "web".into(),
            uid: "u1".into(),
            started_at: Some(time(30)),
            network: vec![eth0.clone()],
            containers: vec![container],
        };
        let machine = Machine {
            boot_seconds: 10,
            cpus: 2,
            load: machine::Load {
                cpu_nanos: 9_000_000_000,
                memory_bytes: 600,
                working_set_bytes: 400,
                ..machine::Load::default()
            },
            memory_bytes: 1000,
            interfaces: vec![eth0],
            default_interface: Some("eth0".into()),
            at: time(100),
            ..Machine::default()
        };
        let disk = Disk { capacity: 100, available: 40, used: 50, inodes: 10, inodes_free: 4 };
        Sample {
            node_name: "n1".into(),
            machine,
            nano_cores: [Some(123), None],
            disks: [Some(disk), Some(disk)],
            image_bytes: 30,
            pods: vec![pod],
        }
    }
}
