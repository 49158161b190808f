//! The shapes of what is answered about the daemon: serialised as they are described in `openapi`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sampan_cri::{ImageStatus, LoadedImage};
use sampan_process::{Component, ComponentHealth, State};
use schemars::JsonSchema;
use serde::Serialize;

use crate::profile::Settings;

/// How a cluster is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Names the cluster on its machine.
    pub profile: String,
    /// The node's name.
    pub node: String,
    /// The daemon's process.
    pub pid: u32,
    /// Of sampan.
    pub version: String,
    /// Of the Kubernetes that it is, such as `v1.36.0`.
    pub kubernetes_version: String,
    /// `embedded` or `docker`.
    pub container_runtime: String,
    /// By name.
    pub components: BTreeMap<String, Health>,
    /// Where the API server is reached.
    pub address: String,
    /// Where the dashboard is reached by browsers of the cluster's machine.
    pub dashboard: String,
    /// Where tools of that machine ask this API, with a token.
    pub rest: String,
    /// What the cluster was started with, as kept in `profile.json`.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub settings: Settings,
}

/// How a component is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Where it stands.
    pub state: Phase,
    /// Why it failed; empty unless it did.
    pub reason: String,
    /// How often it was started again.
    pub restarts: u32,
}

/// Where a component stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// At work.
    Ready,
    /// It gave up, or is about to be started again.
    Failed,
    /// It was ended.
    Stopped,
}

/// A component, with its name.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// As in the logs, such as `kube-scheduler`.
    pub name: String,
    /// Where it stands.
    pub state: Phase,
    /// Why it failed; empty unless it did.
    pub reason: String,
    /// How often it was started again.
    pub restarts: u32,
}

/// A node, in short.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSummary {
    /// Its name.
    pub name: String,
    /// Its condition `Ready` is true.
    pub ready: bool,
    /// Its addresses and host name.
    pub addresses: Vec<String>,
    /// Version of its kubelet.
    pub kubelet_version: String,
    /// Such as `sampan://0.1.0`.
    pub container_runtime: String,
    /// Quantities by resource, such as `{"cpu": "2"}`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub capacity: BTreeMap<String, Quantity>,
    /// It is cordoned.
    pub unschedulable: bool,
}

/// Versions.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Of sampan.
    pub version: String,
    /// Of the Kubernetes that it is.
    pub kubernetes_version: String,
}

/// An image that pods start from.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSummary {
    /// Digest of its configuration.
    pub id: String,
    /// Names with tags.
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// On disk, unpacked.
    pub size_bytes: u64,
    /// Of an image that was just loaded: the names that the archive gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Vec<String>>,
}

/// Where a database was saved.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// Absolute path.
    pub file: PathBuf,
    /// The revision that it holds.
    pub revision: u64,
}

/// What a node or pod used; arrays of one length, oldest first. The addon metrics answers it (`addons/metrics`).
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[allow(dead_code, reason = "described here, made by the addon")]
pub struct History {
    /// `NodeHistory` or `PodHistory`.
    kind: String,
    /// `metrics.sampan.dev/v1alpha1`.
    api_version: String,
    /// Name, and a pod's namespace.
    metadata: serde_json::Map<String, serde_json::Value>,
    /// Between two readings.
    resolution_seconds: u64,
    /// Seconds since 1970.
    timestamps: Vec<i64>,
    /// `null` where it is not known.
    cpu_cores: Vec<Option<f32>>,
    /// Of the working set; `null` where it is not known.
    memory_bytes: Vec<Option<f64>>,
}

impl From<&ComponentHealth> for Health {
    fn from(health: &ComponentHealth) -> Self {
        let (state, reason) = match &health.state {
            State::Starting => (Phase::Starting, ""),
            State::Ready => (Phase::Ready, ""),
            State::Failed(reason) => (Phase::Failed, reason.as_str()),
            State::Stopped => (Phase::Stopped, ""),
        };
        Self { state, reason: reason.to_owned(), restarts: health.restarts }
    }
}

impl ComponentStatus {
    /// Of a component.
    pub fn of(component: Component, health: &ComponentHealth) -> Self {
        let Health { state, reason, restarts } = health.into();
        Self { name: component.name().to_owned(), state, reason, restarts }
    }
}

impl From<&LoadedImage> for ImageSummary {
    fn from(loaded: &LoadedImage) -> Self {
        Self { loaded: Some(loaded.names.clone()), ..Self::from(&loaded.image) }
    }
}

impl From<&ImageStatus> for ImageSummary {
    fn from(image: &ImageStatus) -> Self {
        let ImageStatus { id, repo_tags, repo_digests, size_bytes, .. } = image.clone();
        Self { id, repo_tags, repo_digests, size_bytes, loaded: None }
    }
}
