//! The kubelet: runs the pods that the API assigns to this node, and tells the API how they and the node are.
//!
//! It knows the API through a `kube::Client`, containers through [`sampan_cri::ContainerRuntime`] and the
//! network through [`Network`]; it neither knows who implements them nor does their work.
//!
//! One pod's way: [`pod`]`::manager` sees the object, a driver steps the pod's machine, effects go to the
//! runtime, the network and [`volume`]s, the status goes back through the pod's publisher.

mod container;
mod context;
mod dirs;
mod housekeeping;
mod logs;
mod mirror;
mod network;
mod node;
mod objects;
mod pod;
mod probe;
mod serve;
mod volume;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::runtime::watcher;
use sampan_cri::Runtime;
use sampan_process::{Component, Drain, Health, Tasks};
use sampan_reconcile::{Informer, Informers, Recorder};
use tokio::sync::watch;

use context::Context;
pub use context::{Network, PodNetwork};
use objects::Objects;
use pod::manager::Pods;
pub use serve::{BoxError, ResponseBody};
pub use volume::mounts;

/// The port that the Node names: the kubelet's API over TLS.
pub const PORT: u16 = 10250;

/// What a kubelet is made of.
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The node's addresses, the main one first.
    pub node_ips: Vec<IpAddr>,
    /// Speaks as `system:node:<name>`.
    pub client: kube::Client,
    /// Informers of the same user.
    pub informers: Informers,
    /// Runs containers.
    pub runtime: Runtime,
    /// Connects pods.
    pub network: Arc<dyn Network>,
    /// Files of pods: `<data>/kubelet`.
    pub root_dir: PathBuf,
    /// Logs of pods: `<data>/pods-logs`.
    pub pod_logs_dir: PathBuf,
    /// Addresses of the cluster's DNS; none: pods use the host's.
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// `spec.podCIDR` of the node.
    pub pod_cidr: Option<String>,
    /// Labels of the node beyond the usual. A node may not give itself a role (NodeRestriction): labels under
    /// `node-role.kubernetes.io` are for somebody else to set.
    pub node_labels: BTreeMap<String, String>,
    /// Health of the components of this process; shown as mirror pods if wanted.
    pub health: Health,
    /// Where this node shows the control plane: the API server's port on 127.0.0.1, which is where the ports of the
    /// mirror pods are forwarded to.
    pub mirror_control_plane: Option<u16>,
}

/// Why a kubelet could not be made or has ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be made.
    #[error("cannot create {path}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime does not answer.
    #[error("container runtime")]
    Runtime(#[from] sampan_cri::RuntimeError),
    /// The node cannot be registered.
    #[error("cannot register node {name}: {source}")]
    Register {
        /// The node.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The pods cannot be run any longer.
    #[error("pods: {0}")]
    Pods(String),
}

/// One node's agent.
pub struct Kubelet {
    context: Arc<Context>,
    pods: Pods,
    informer: Informer<Pod>,
    /// The node's own object.
    nodes: Informer<Node>,
    rates: serve::Rates,
    config: Rest,
}

/// What `run` needs of the configuration.
struct Rest {
    runtime_version: String,
    pod_cidr: Option<String>,
    node_labels: BTreeMap<String, String>,
    health: Health,
    mirror: Option<u16>,
}

impl Kubelet {
    /// Prepares a kubelet; nothing runs yet. `tasks` are its own.
    pub async fn new(config: Config, tasks: Tasks) -> Result<Arc<Self>, Error> {
        let dirs = dirs::Dirs { root: config.root_dir, pod_logs: config.pod_logs_dir };
        for path in [&dirs.root, &dirs.pod_logs, &dirs.log_links()] {
            std::fs::create_dir_all(path)
                .map_err(|source| Error::Directory { path: path.display().to_string(), source })?;
        }
        let version = config.runtime.version().await?;
        let fields = format!("spec.nodeName={}", config.node_name);
        let informer = config.informers.with::<Pod>(watcher::Config::default().fields(&fields));
        let own = format!("metadata.name={}", config.node_name);
        let nodes = config.informers.with::<Node>(watcher::Config::default().fields(&own));
        let drain = tasks.drain();
        let context = Context {
            recorder: Recorder::new(config.client.clone(), "kubelet", &config.node_name, &tasks),
            services: config.informers.of::<Service>(),
            claims: config.informers.of(),
            volumes: config.informers.of(),
            config_maps: Objects::new(config.client.clone(), drain.clone()),
            secrets: Objects::new(config.client.clone(), drain),
            machine: node::machine(&dirs.root),
            node_name: config.node_name,
            host_ips: config.node_ips,
            client: config.client,
            runtime: config.runtime,
            runtime_name: version.name.clone(),
            network: config.network,
            images_changed: tokio::sync::Notify::new(),
            images_reported: parking_lot::Mutex::default(),
            probed: probe::Tally::default(),
            tasks,
            dirs,
            cluster_dns: config.cluster_dns.iter().map(ToString::to_string).collect(),
            cluster_domain: config.cluster_domain,
        };
        let config = Rest {
            runtime_version: format!("{}://{}", version.name, version.version),
            pod_cidr: config.pod_cidr,
            node_labels: config.node_labels,
            health: config.health,
            mirror: config.mirror_control_plane,
        };
        let (pods, rates) = (Pods::default(), serve::Rates::default());
        Ok(Arc::new(Self { context: Arc::new(context), pods, informer, nodes, rates, config }))
    }

    /// Registers the node, then runs its pods until the drain. Containers go on when this ends.
    pub async fn run(self: Arc<Self>, drain: Drain) -> Result<(), Error> {
        let (pressure, seen) = watch::channel(node::Pressure::default());
        let keeper = node::Keeper {
            context: self.context.clone(),
            facts: node::NodeFacts::read(
                &self.context.dirs.root,
                self.context.host_ips.clone(),
                self.config.runtime_version.clone(),
            ),
            nodes: self.nodes.clone(),
            pod_cidr: self.config.pod_cidr.clone(),
            pressure: seen,
            labels: self.config.node_labels.clone(),
        };
        let name = self.context.node_name.clone();
        node::events::starting(&self.context);
        keeper.register().await.map_err(|e| Error::Register { name, source: Box::new(e) })?;
        node::events::enforced(&self.context);
        let background = async {
            let mirror = async {
                if self.config.mirror.is_some() {
                    let health = self.config.health.clone();
                    mirror::run(self.context.clone(), health, self.nodes.clone(), self.informer.clone())
                        .await;
                }
            };
            let client = self.context.client.clone();
            let lease = node::run_lease(client, self.context.node_name.clone(), self.nodes.clone());
            let cordon = node::events::follow_cordon(&self.context, &self.nodes);
            let housekeeping = housekeeping::run(self.context.clone(), pressure);
            tokio::join!(lease, keeper.run(), cordon, housekeeping, mirror);
        };
        self.config.health.ready(Component::Kubelet);
        let (context, nodes) = (self.context.clone(), self.nodes.clone());
        let pods = pod::manager::run(context, self.pods.clone(), self.informer.clone(), nodes, drain);
        tokio::select! {
            result = pods => result.map_err(Error::Pods),
            () = background => Ok(()),
        }
    }
}
