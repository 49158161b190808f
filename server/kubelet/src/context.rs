//! What every part of the kubelet is given: the node's facts and the handles to the world.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service};
use parking_lot::Mutex;
use sampan_cri::Runtime;
use sampan_pod_network::HostPort;
use sampan_process::Tasks;
use sampan_reconcile::{Informer, Recorder, reference};

use crate::container::downward::Facts;
use crate::dirs::Dirs;
use crate::objects::Objects;
use crate::pod::status::NodeView;

/// What the kubelet asks of the pod network; `sampan-pod-network` gives it, tests use a fake.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// A network namespace with an address, for a runtime that joins one. The same pod gets the same again.
    async fn acquire(&self, uid: &str) -> Result<PodNetwork, String>;
    /// Connects a namespace that the runtime made.
    async fn attach(&self, netns: &Path, uid: &str) -> Result<PodNetwork, String>;
    /// Leads ports of the node into the pod, in place of those it had.
    async fn set_host_ports(&self, uid: &str, ports: Vec<HostPort>) -> Result<(), String>;
    /// Takes everything back; fine if there is nothing.
    async fn release(&self, uid: &str) -> Result<(), String>;
    /// Tells, after a restart, which pods still have their namespaces; all others are taken back.
    async fn recover(&self, uids: Vec<String>) -> Result<(), String>;
}

/// A pod's place in the network.
#[derive(Clone, Debug)]
pub struct PodNetwork {
    /// Pinned namespace.
    pub netns: PathBuf,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

/// What this machine has.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Thousandths of CPUs.
    pub cpu_millis: i128,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of the disk that pods are on.
    pub disk_bytes: u64,
}

impl Machine {
    /// What pods can have of it: upstream's default eviction thresholds keep 100 MiB of memory and a tenth of the disk.
    pub fn allocatable(&self) -> Machine {
        Machine {
            cpu_millis: self.cpu_millis,
            memory_bytes: self.memory_bytes.saturating_sub(100 << 20) / 1024 * 1024,
            disk_bytes: self.disk_bytes / 10 * 9,
        }
    }
}

/// Shared by all parts of one kubelet.
pub struct Context {
    /// The node's name.
    pub node_name: String,
    /// Addresses of the node.
    pub host_ips: Vec<IpAddr>,
    /// Speaks as `system:node:<name>`.
    pub client: kube::Client,
    /// Runs containers.
    pub runtime: Runtime,
    /// Scheme of container ids.
    pub runtime_name: String,
    /// Connects pods.
    pub network: Arc<dyn Network>,
    /// Events.
    pub recorder: Recorder,
    /// Services, for environment variables.
    pub services: Informer<Service>,
    /// Claims on volumes, and the volumes.
    pub claims: Informer<PersistentVolumeClaim>,
    /// See `claims`.
    pub volumes: Informer<PersistentVolume>,
    /// ConfigMaps in use.
    pub config_maps: Objects<ConfigMap>,
    /// Secrets in use.
    pub secrets: Objects<Secret>,
    /// Woken when an image has come, for the node's status.
    pub images_changed: tokio::sync::Notify,
    /// Ids of the images that were there when the node's status was written last.
    pub images_reported: Mutex<HashSet<String>>,
    /// What probes have found.
    pub probed: crate::probe::Tally,
    /// Spawns.
    pub tasks: Tasks,
    /// Files.
    pub dirs: Dirs,
    /// The machine.
    pub machine: Machine,
    /// Addresses of the cluster's DNS; none: pods use the host's.
    pub cluster_dns: Vec<String>,
    /// `cluster.local`.
    pub cluster_domain: String,
}

impl Context {
    /// For fields and resources as text.
    pub fn facts(&self, pod_ips: Vec<String>) -> Facts {
        let allocatable = self.machine.allocatable();
        Facts {
            host_ips: self.host_ip_texts(),
            pod_ips,
            cpu_millis: allocatable.cpu_millis,
            memory_bytes: i128::from(allocatable.memory_bytes),
            disk_bytes: i128::from(allocatable.disk_bytes),
        }
    }

    /// For statuses.
    pub fn view(&self) -> NodeView {
        NodeView { host_ips: self.host_ip_texts(), runtime: self.runtime_name.clone() }
    }

    fn host_ip_texts(&self) -> Vec<String> {
        self.host_ips.iter().map(ToString::to_string).collect()
    }

    /// Reports an event about a pod, or about one of its containers.
    pub fn tell(&self, pod: &Pod, warning: bool, reason: &str, message: &str, container: Option<&str>) {
        let mut about = reference(pod);
        about.field_path = container.map(|name| field_path(pod, name));
        if warning {
            self.recorder.warning(&about, reason, message);
        } else {
            self.recorder.normal(&about, reason, message);
        }
    }
}

/// Upstream's `fieldPath`: `spec.containers{name}`.
fn field_path(pod: &Pod, name: &str) -> String {
    let spec = pod.spec.as_ref();
    let init = spec.is_some_and(|s| s.init_containers.iter().flatten().any(|c| c.name == name));
    let ephemeral = spec.is_some_and(|s| s.ephemeral_containers.iter().flatten().any(|c| c.name == name));
    match (init, ephemeral) {
        (true, _) => format!("spec.initContainers{{{name}}}"),
        (_, true) => format!("spec.ephemeralContainers{{{name}}}"),
        _ => format!("spec.containers{{{name}}}"),
    }
}
