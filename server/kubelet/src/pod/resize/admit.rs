//! Whether the node has room for what a pod wants to have. Pure.
//!
//! Ported from upstream's `pkg/kubelet/lifecycle/predicate.go` and `pkg/kubelet/allocation/handlers.go`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::container::amounts::{Side, given, total};
use crate::context::Machine;

/// No room: reason and message of the condition `PodResizePending`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`INFEASIBLE`] or [`DEFERRED`].
    pub reason: &'static str,
    /// Which resource is short.
    pub message: String,
}

/// There never will be room.
pub const INFEASIBLE: &str = "Infeasible";
/// There may be room when other pods have gone.
pub const DEFERRED: &str = "Deferred";

/// Bytes, rounded up, from thousandths of them.
fn bytes(millis: i128) -> i128 {
    millis.div_euclid(1000) + i128::from(millis.rem_euclid(1000) != 0)
}

/// Judges a pod with the resources that it asks for beside the `others` with theirs as allocated.
pub fn judge(pod: &Pod, others: &[Arc<Pod>], allocatable: &Machine) -> Result<(), Refusal> {
    let has = |name| match name {
        "cpu" => allocatable.cpu_millis,
        _ => i128::from(allocatable.memory_bytes),
    };
    let count = |name, millis| if name == "cpu" { millis } else { bytes(millis) };
    let asks = |name| count(name, total(pod, Side::Requests, name));
    // in upstream's order, which is not the same below
    for name in ["memory", "cpu"] {
        let (requested, capacity) = (asks(name), has(name));
        if requested > capacity {
            let message = format!(
                "Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}"
            );
            return Err(Refusal { reason: INFEASIBLE, message });
        }
    }
    for name in ["cpu", "memory"] {
        let used: i128 = others.iter().map(|other| count(name, given(other, Side::Requests, name))).sum();
        let (requested, capacity) = (asks(name), has(name));
        if requested > 0 && requested > capacity - used {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return Err(Refusal { reason: DEFERRED, message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str, memory: &str) -> Arc<Pod> {
        let resources = json!({"requests": {"cpu": cpu, "memory": memory}});
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
    }

    #[test]
    fn a_pod_has_to_fit_on_the_node_and_beside_the_others() {
        let node = Machine { cpu_millis: 4000, memory_bytes: 1 << 30, disk_bytes: 0 };
        let cases = [
            (("2", "512Mi"), None),
            (
                ("1", "1Gi"),
                Some(
                    "Deferred Node didn't have enough resource: memory, requested: 1073741824, used: 268435456, capacity: 1073741824",
                ),
            ),
            (
                ("3500m", "1Mi"),
                Some(
                    "Deferred Node didn't have enough resource: cpu, requested: 3500, used: 1000, capacity: 4000",
                ),
            ),
            (
                ("3500m", "1Gi"),
                Some(
                    "Deferred Node didn't have enough resource: cpu, requested: 3500, used: 1000, capacity: 4000",
                ),
            ),
            (
                ("5", "1Mi"),
                Some("Infeasible Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"),
            ),
            (
                ("5", "2Gi"),
                Some(
                    "Infeasible Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824",
                ),
            ),
            (("0", "0"), None),
        ];
        for ((cpu, memory), want) in cases {
            let refused = judge(&pod(cpu, memory), &[pod("1", "256Mi")], &node).err();
            let refused = refused.map(|refusal| format!("{} {}", refusal.reason, refusal.message));
            assert_eq!(refused.as_deref(), want, "{cpu} {memory}");
        }
    }
}
