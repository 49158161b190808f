//! Whether the node has what a pod asks for beside the others that are there: `NodeResourcesFit`, as the kubelet asks it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Refusal;
use crate::container::amounts::{Side, given, total};
use crate::container::qos::millis;

/// What a node lets pods have.
type Allocatable = BTreeMap<String, Quantity>;

/// A resource that is short.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shortage {
    /// Which.
    pub name: String,
    requested: i128,
    used: i128,
    capacity: i128,
}

impl Shortage {
    /// How much is missing.
    pub fn missing(&self) -> i128 {
        self.requested - (self.capacity - self.used)
    }

    /// What a pod is told that is not run for it.
    pub fn refusal(&self) -> Refusal {
        let Self { name, requested, used, capacity } = self;
        let why = format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        (format!("{OUT_OF}{name}").into(), why)
    }
}

/// The resources that are short, in the order in which they are told.
pub(super) fn shortages(pod: &Pod, others: &[Arc<Pod>], allocatable: &Allocatable) -> Vec<Shortage> {
    let capacity = |name: &str| allocatable.get(name).and_then(millis).map(|amount| count(name, amount));
    let pods = i128::try_from(others.len()).unwrap_or(i128::MAX);
    let mut shortages = Vec::new();
    if let Some(capacity) = capacity(PODS).filter(|most| pods + 1 > *most) {
        shortages.push(Shortage { name: PODS.to_owned(), requested: 1, used: pods, capacity });
    }
    let extended: BTreeSet<&str> = names(pod).filter(|name| !FIRST.contains(name)).collect();
    let all = FIRST.into_iter().chain(extended);
    // what no node has is somebody else's to give
    let all = all.filter(|name| !is_extended(name) || allocatable.contains_key(*name));
    shortages.extend(all.filter_map(|name| {
        let requested = request(pod, name);
        let used: i128 = others.iter().map(|other| count(name, given(other, Side::Requests, name))).sum();
        let capacity = capacity(name).unwrap_or_default();
        let short = requested > 0 && requested > capacity - used;
        short.then(|| Shortage { name: name.to_owned(), requested, used, capacity })
    }));
    shortages
}

/// What a pod asks for; of pods it is one.
pub(super) fn request(pod: &Pod, name: &str) -> i128 {
    if name == PODS { 1 } else { count(name, total(pod, Side::Requests, name)) }
}

const PODS: &str = "pods";

/// Asked for in this order, all others by name.
const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// How the reason begins.
pub(super) const OUT_OF: &str = "OutOf";

/// Thousandths of CPUs; of all else whole units, rounded up.
fn count(name: &str, millis: i128) -> i128 {
    if name == "cpu" { millis } else { millis.div_euclid(1000) + i128::from(millis.rem_euclid(1000) != 0) }
}

/// All that the pod asks for, by name.
fn names(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(init).filter_map(|container| container.resources.as_ref())
    });
    let own = spec.and_then(|spec| spec.resources.as_ref());
    let lists = containers.chain(own).filter_map(|resources| resources.requests.as_ref());
    let overhead = spec.and_then(|spec| spec.overhead.as_ref());
    lists.chain(overhead).flat_map(BTreeMap::keys).map(String::as_str)
}

/// `IsExtendedResourceName`.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(requests: Value) -> Arc<Pod> {
        let container = json!({"name": "c", "resources": {"requests": requests}});
        Arc::new(
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [container]}})).unwrap(),
        )
    }

    fn short(pod: &Pod, others: &[Arc<Pod>], allocatable: &Allocatable) -> Option<(String, String)> {
        let first = shortages(pod, others, allocatable).into_iter().next()?;
        let (reason, why) = first.refusal();
        Some((reason.into_owned(), why))
    }

    #[test]
    fn the_first_resource_that_is_short_is_told() {
        let node: Allocatable = serde_json::from_value(json!({
            "cpu": "4", "memory": "1Gi", "ephemeral-storage": "10Gi", "pods": "3", "x.io/gpu": "2"}))
        .unwrap();
        let there = [pod(json!({"cpu": "1500m", "memory": "256Mi", "x.io/gpu": "1"})), pod(json!({}))];
        let short_of = |name: &str, requested: i64, used: i64, capacity: i64| {
            let why = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            Some((format!("OutOf{name}"), why))
        };
        let cases = [
            (json!({}), None),
            (json!({"cpu": "2500m", "memory": "768Mi", "x.io/gpu": "1"}), None),
            (json!({"cpu": "2501m", "memory": "1Ti"}), short_of("cpu", 2501, 1500, 4000)),
            (json!({"memory": "769Mi"}), short_of("memory", 806_354_944, 268_435_456, 1_073_741_824)),
            (
                json!({"ephemeral-storage": "11Gi"}),
                short_of("ephemeral-storage", 11_811_160_064, 0, 10_737_418_240),
            ),
            (json!({"x.io/gpu": "2"}), short_of("x.io/gpu", 2, 1, 2)),
            (json!({"hugepages-2Mi": "2Mi"}), short_of("hugepages-2Mi", 2_097_152, 0, 0)),
            // nobody on this node gives it
            (json!({"y.io/fpga": "1"}), None),
        ];
        for (requests, want) in cases {
            assert_eq!(short(&pod(requests.clone()), &there, &node), want, "{requests}");
        }
        let three = [pod(json!({})), pod(json!({})), pod(json!({}))];
        assert_eq!(short(&pod(json!({"cpu": "9"})), &three, &node), short_of("pods", 1, 3, 3));
        let all = shortages(&pod(json!({"cpu": "9", "memory": "1Gi"})), &three, &node);
        let all: Vec<_> = all.iter().map(|short| (short.name.as_str(), short.missing())).collect();
        assert_eq!(all, [("pods", 1), ("cpu", 5000)]);
    }
}
