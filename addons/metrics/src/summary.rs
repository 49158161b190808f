//! What is read of the kubelet's `/stats/summary` (upstream's `stats/v1alpha1`).

use jiff::Timestamp;
use serde::Deserialize;

/// The summary.
#[derive(Debug, Deserialize)]
pub struct Summary {
    /// The node.
    pub node: Node,
    /// Its pods.
    #[serde(default)]
    pub pods: Vec<Pod>,
}

/// The node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub node_name: String,
    /// When it was started.
    pub start_time: Option<Timestamp>,
    /// CPU.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
}

/// A pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Which.
    pub pod_ref: PodRef,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<Container>,
}

/// Which pod.
#[derive(Debug, Deserialize)]
pub struct PodRef {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// A container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Name.
    pub name: String,
    /// When it was started.
    pub start_time: Option<Timestamp>,
    /// CPU.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
}

/// CPU.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// When it was read.
    pub time: Timestamp,
    /// Since the start.
    pub usage_core_nano_seconds: Option<u64>,
}

/// Memory.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// What cannot be reclaimed easily.
    pub working_set_bytes: Option<u64>,
}
