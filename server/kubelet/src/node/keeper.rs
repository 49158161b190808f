//! Registers the Node and keeps its status true: at every change, and every five minutes.
//!
//! Ported from upstream's `pkg/kubelet/nodestatus/setters.go` and `kubelet_node_status.go`. Disk pressure is
//! looked at by the housekeeping, which tells the keeper; nothing here polls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use sampan_api::declared;
use sampan_reconcile::{Deltas, Informer};
use serde_json::json;
use tokio::sync::watch;

use super::events;
use super::facts::{NodeFacts, architecture};
use crate::context::{Context, Machine};

/// Pods that the node takes.
pub const MAX_PODS: i64 = 110;
const REPORT: Duration = Duration::from_secs(300);
/// Upstream's `nodeStatusUpdateFrequency`: news of images waits until so long after the last report.
const IMAGE_NEWS: Duration = Duration::from_secs(10);
const MAX_IMAGES: usize = 50;

/// What the housekeeping found scarce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Less than 10 % of the disk is free.
    pub disk: bool,
    /// Less than 100 MiB of memory is available.
    pub memory: bool,
    /// Nearly no process ids are left.
    pub pids: bool,
}

/// Keeps the node's object.
pub struct Keeper {
    /// The kubelet.
    pub context: Arc<Context>,
    /// The machine.
    pub facts: NodeFacts,
    /// The node's own object, as the API has it.
    pub nodes: Informer<Node>,
    /// `spec.podCIDR`.
    pub pod_cidr: Option<String>,
    /// Scarcity, as last seen.
    pub pressure: watch::Receiver<Pressure>,
    /// Labels beyond the usual, such as the control plane's role.
    pub labels: BTreeMap<String, String>,
}

impl Keeper {
    /// Creates the Node, or brings an existing one up to date; returns it.
    pub async fn register(&self) -> kube::Result<Node> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        let now = Timestamp::now();
        let mut node = Node { metadata: self.metadata(), ..Node::default() };
        node.spec.get_or_insert_default().pod_cidr.clone_from(&self.pod_cidr);
        node.spec.get_or_insert_default().pod_cidrs = self.pod_cidr.clone().map(|cidr| vec![cidr]);
        node.status = Some(self.status(None, self.images().await, now));
        match api.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let labels = json!({"metadata": {"labels": self.labels()}});
                api.patch(&self.context.node_name, &PatchParams::default(), &Patch::Merge(labels)).await?;
                self.report().await
            }
            Ok(created) => {
                node.status.iter().for_each(|status| events::written(&self.context, None, status));
                Ok(created)
            }
            refused => refused,
        }
    }

    /// Reports at every change of pressure or images, and every five minutes. A node whose object was deleted is
    /// registered again at once, as a new one: upstream's `tryUpdateNodeStatus` finds out at its next report.
    pub async fn run(mut self) {
        let mut deltas = self.nodes.subscribe();
        loop {
            let reported = tokio::time::Instant::now();
            let images = async {
                self.context.images_changed.notified().await;
                tokio::time::sleep_until(reported + IMAGE_NEWS).await;
            };
            tokio::select! {
                changed = self.pressure.changed() => if changed.is_err() { return },
                () = images => {}
                () = gone(&mut deltas) => tracing::warn!("the node's object was deleted, registering it again"),
                () = tokio::time::sleep(REPORT) => {}
            }
            let mut pause = Duration::from_millis(200);
            while let Err(error) = self.report_or_register().await {
                tracing::warn!(%error, "node status not written, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    }

    async fn report_or_register(&self) -> kube::Result<Node> {
        match self.report().await {
            Err(kube::Error::Api(status)) if status.is_not_found() => self.register().await,
            result => result,
        }
    }

    /// The largest images of the machine, as a status lists them.
    async fn images(&self) -> Vec<ContainerImage> {
        let images = self.context.runtime.list_images().await.unwrap_or_default();
        *self.context.images_reported.lock() = images.iter().map(|image| image.id.clone()).collect();
        let images = images.into_iter().map(|image| ContainerImage {
            names: Some(image.repo_digests.into_iter().chain(image.repo_tags).collect()),
            size_bytes: i64::try_from(image.size_bytes).ok(),
        });
        let mut images: Vec<ContainerImage> = images.collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.size_bytes));
        images.truncate(MAX_IMAGES);
        images
    }

    async fn report(&self) -> kube::Result<Node> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        let node = api.get(&self.context.node_name).await?;
        let status = self.status(node.status.as_ref(), self.images().await, Timestamp::now());
        let patch = json!({"status": status});
        let written = api
            .patch_subresource(
                "status",
                &self.context.node_name,
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?;
        events::written(&self.context, node.status.as_ref(), &status);
        Ok(written)
    }

    fn metadata(&self) -> ObjectMeta {
        let annotations = [("volumes.kubernetes.io/controller-managed-attach-detach", "true")];
        ObjectMeta {
            name: Some(self.context.node_name.clone()),
            labels: Some(self.labels()),
            annotations: Some(annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            ..ObjectMeta::default()
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let arch = architecture();
        let mut labels: BTreeMap<String, String> = [
            ("kubernetes.io/hostname", self.context.node_name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", arch),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        labels.extend(self.labels.clone());
        labels
    }

    fn status(&self, before: Option<&NodeStatus>, images: Vec<ContainerImage>, now: Timestamp) -> NodeStatus {
        let addresses = self.facts.ips.iter().map(|ip| address("InternalIP", ip.to_string()));
        let hostname = address("Hostname", self.context.node_name.clone());
        let machine = &self.facts.machine;
        let allocatable = machine.allocatable();
        let runtime = self.context.runtime.capabilities();
        let features = NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(false),
            user_namespaces: Some(false),
        };
        let handlers = [""].iter().chain(runtime.runtime_handlers).map(|name| NodeRuntimeHandler {
            name: Some((*name).to_owned()),
            features: Some(features.clone()),
        });
        NodeStatus {
            addresses: Some(addresses.chain([hostname]).collect()),
            capacity: Some(resources(machine, format!("{}Ki", machine.disk_bytes / 1024))),
            allocatable: Some(resources(&allocatable, allocatable.disk_bytes.to_string())),
            conditions: Some(conditions(*self.pressure.borrow(), before, now)),
            node_info: Some(self.facts.info.clone()),
            images: Some(images),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: crate::PORT.into() }),
            }),
            features: Some(NodeFeatures { supplemental_groups_policy: Some(runtime.strict_groups) }),
            runtime_handlers: Some(handlers.collect()),
            declared_features: Some(declared::OF_KUBELET.map(ToOwned::to_owned).into()),
            ..NodeStatus::default()
        }
    }
}

fn resources(machine: &Machine, disk: String) -> BTreeMap<String, Quantity> {
    [
        ("cpu", (machine.cpu_millis / 1000).to_string()),
        ("memory", format!("{}Ki", machine.memory_bytes / 1024)),
        ("ephemeral-storage", disk),
        ("pods", MAX_PODS.to_string()),
        ("hugepages-2Mi", "0".to_owned()),
        ("hugepages-1Gi", "0".to_owned()),
    ]
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .into()
}

/// Resolves when the object has been deleted; never once its informer has ended with the process.
async fn gone(deltas: &mut Deltas<Node>) {
    while let Some(delta) = deltas.next().await {
        if delta.new.is_none() {
            return;
        }
    }
    std::future::pending().await
}

fn address(kind: &str, address: String) -> NodeAddress {
    NodeAddress { type_: kind.to_owned(), address }
}

fn conditions(pressure: Pressure, before: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let pressed = |kind, on, bad, bad_text, good, good_text| {
        if on { (kind, true, bad, bad_text) } else { (kind, false, good, good_text) }
    };
    [
        pressed(
            "MemoryPressure",
            pressure.memory,
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        pressed(
            "DiskPressure",
            pressure.disk,
            "KubeletHasDiskPressure",
            "kubelet has disk pressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        pressed(
            "PIDPressure",
            pressure.pids,
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
    ]
    .into_iter()
    .map(|(kind, on, reason, message)| {
        let status = if on { "True" } else { "False" };
        let old = before.and_then(|b| b.conditions.as_ref()?.iter().find(|c| c.type_ == kind));
        let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        }
    })
    .collect()
}
