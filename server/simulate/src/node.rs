//! What a simulated node's object says. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use sampan_api::declared;
use serde_json::{Value, json};

use crate::words;
use crate::{NodeShape, PodBehaviour};

/// Addresses that a node has for its pods: a /22.
pub(crate) const POD_BLOCK: u32 = 1024;
/// How many nodes there can be at most: as many as there are blocks.
pub(crate) const SLOTS: u32 = 1 << 17;
/// Pods that a node takes unless told otherwise, as a kubelet's `--max-pods`.
pub(crate) const PODS_PER_NODE: u32 = 110;
/// The pods' addresses begin here. No host has such addresses (RFC 1112, class E), so that none is led astray.
const POD_BASE: u32 = 240 << 24;
/// The nodes' addresses begin here (RFC 2544, for benchmarks).
const HOST_BASE: u32 = (198 << 24) | (18 << 16);

/// The node's name of a number.
pub(crate) fn name(number: u32) -> String {
    format!("simulated-{number}")
}

/// The zone's name of a number, counted from 1.
pub(crate) fn zone_name(number: u32) -> String {
    format!("zone-{number}")
}

/// A node's own address.
pub(crate) fn host_ip(slot: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(HOST_BASE + slot)
}

/// The first address of a node's pods.
pub(crate) fn pod_base(slot: u32) -> u32 {
    POD_BASE + slot * POD_BLOCK
}

/// `spec.podCIDR`.
pub(crate) fn pod_cidr(slot: u32) -> String {
    format!("{}/22", Ipv4Addr::from_bits(pod_base(slot)))
}

/// The slot whose `spec.podCIDR` it is.
pub(crate) fn slot_of(cidr: &str) -> Option<u32> {
    let address: Ipv4Addr = cidr.strip_suffix("/22")?.parse().ok()?;
    let offset = address.to_bits().checked_sub(POD_BASE)?;
    (offset % POD_BLOCK == 0 && offset / POD_BLOCK < SLOTS).then_some(offset / POD_BLOCK)
}

/// What a node is made of.
pub(crate) struct Plan<'a> {
    pub number: u32,
    pub zones: u32,
    pub pods: u32,
    pub tainted: bool,
    pub shape: &'a NodeShape,
    pub behaviour: &'a PodBehaviour,
}

/// The object of a node, Ready from the beginning.
pub(crate) fn object(plan: &Plan<'_>, now: Timestamp) -> Node {
    let name = name(plan.number);
    let mut labels = labels(&name);
    labels.insert("topology.kubernetes.io/region".into(), "simulated".into());
    labels.insert("topology.kubernetes.io/zone".into(), zone_name(1 + plan.number % plan.zones.max(1)));
    labels.extend(plan.shape.labels.clone());
    let mut annotations: BTreeMap<String, String> = [
        // as upstream's controller has it in a small cluster
        ("node.alpha.kubernetes.io/ttl", "0"),
        (words::NODE, words::FAKE),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if *plan.behaviour != PodBehaviour::default() {
        annotations.insert(words::PODS.into(), json!(plan.behaviour).to_string());
    }
    if !plan.shape.labels.is_empty() {
        let names: Vec<&String> = plan.shape.labels.keys().collect();
        annotations.insert(words::LABELS.into(), json!(names).to_string());
    }
    let taint = || Taint {
        key: words::NODE.into(),
        value: Some(words::FAKE.into()),
        effect: "NoSchedule".into(),
        time_added: None,
    };
    Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: Some(pod_cidr(plan.number)),
            pod_cidrs: Some(vec![pod_cidr(plan.number)]),
            taints: plan.tainted.then(|| vec![taint()]),
            ..NodeSpec::default()
        }),
        status: Some(status(&name, plan.number, &capacity(plan.shape, plan.pods), None, true, now)),
    }
}

/// What of the object a node that is there already is given: metadata, and the taint of simulated nodes.
pub(crate) fn patch(wanted: &Node, old: &Node) -> Option<Value> {
    let mut metadata = serde_json::Map::new();
    for (field, wanted, old) in [
        ("labels", &wanted.metadata.labels, &old.metadata.labels),
        ("annotations", &wanted.metadata.annotations, &old.metadata.annotations),
    ] {
        let (wanted, old) = (wanted.iter().flatten(), old.clone().unwrap_or_default());
        let differs = |(name, value): &(&String, &String)| {
            *name != "node.alpha.kubernetes.io/ttl" && old.get(*name) != Some(*value)
        };
        let changes: serde_json::Map<String, Value> =
            wanted.filter(differs).map(|(name, value)| (name.clone(), json!(value))).collect();
        if !changes.is_empty() {
            metadata.insert(field.to_owned(), changes.into());
        }
    }
    let lacks =
        |name: &String| wanted.metadata.labels.as_ref().is_none_or(|labels| !labels.contains_key(name));
    for name in given_labels(old).into_iter().filter(lacks) {
        metadata.entry("labels").or_insert_with(|| json!({}))[name] = Value::Null;
    }
    for name in [words::PODS, words::LABELS] {
        if !has(wanted, name) && has(old, name) {
            metadata.entry("annotations").or_insert_with(|| json!({}))[name] = Value::Null;
        }
    }
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let ours = |taint: &Taint| taint.key == words::NODE;
    let (wants, mut has) = (taints(wanted), taints(old));
    let mut patch = serde_json::Map::new();
    if wants.iter().any(ours) != has.iter().any(ours) {
        has.retain(|taint| !ours(taint));
        has.extend(wants);
        patch.insert("spec".into(), json!({"taints": has}));
        // taints are a whole list: somebody else's change in between has to be seen
        metadata.insert("resourceVersion".into(), json!(old.metadata.resource_version));
    }
    if !metadata.is_empty() {
        patch.insert("metadata".into(), metadata.into());
    }
    (!patch.is_empty()).then(|| patch.into())
}

/// Names of the labels that a profile gave the node and that it still has.
fn given_labels(node: &Node) -> Vec<String> {
    let names = words::annotation(node, words::LABELS).and_then(|text| serde_json::from_str(text).ok());
    let names: Vec<String> = names.unwrap_or_default();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    names.into_iter().filter(|name| labels.contains_key(name)).collect()
}

/// What of the status a node that is there already is given: amounts, of the wanted resources and no others.
pub(crate) fn amounts_patch(wanted: &Node, old: &Node) -> Option<Value> {
    let none = BTreeMap::new();
    let of = |node: &Node| node.status.clone().unwrap_or_default();
    let (wanted, old) = (of(wanted), of(old));
    let mut status = serde_json::Map::new();
    for (field, wanted, old) in [
        ("capacity", &wanted.capacity, &old.capacity),
        ("allocatable", &wanted.allocatable, &old.allocatable),
    ] {
        let (wanted, old) = (wanted.as_ref().unwrap_or(&none), old.as_ref().unwrap_or(&none));
        let changed = wanted.iter().filter(|(name, amount)| old.get(*name) != Some(*amount));
        let changed = changed.map(|(name, amount)| (name.clone(), json!(amount)));
        let surplus = old.keys().filter(|name| !wanted.contains_key(*name));
        let changes: serde_json::Map<String, Value> =
            changed.chain(surplus.map(|name| (name.clone(), Value::Null))).collect();
        if !changes.is_empty() {
            status.insert(field.to_owned(), changes.into());
        }
    }
    (!status.is_empty()).then(|| json!({"status": status}))
}

fn has(node: &Node, annotation: &str) -> bool {
    words::annotation(node, annotation).is_some()
}

/// Labels as KWOK's own nodes have them.
fn labels(name: &str) -> BTreeMap<String, String> {
    [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/role", "agent"),
        ("node-role.kubernetes.io/agent", ""),
        words::TYPE,
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Quantities by resource.
pub(crate) fn capacity(shape: &NodeShape, pods: u32) -> BTreeMap<String, Quantity> {
    let defaults = [("cpu", "32"), ("ephemeral-storage", "1Ti"), ("memory", "256Gi")];
    let mut all: BTreeMap<String, Quantity> =
        defaults.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into();
    all.insert("pods".into(), Quantity(pods.to_string()));
    all.extend(shape.capacity.iter().map(|(name, amount)| (name.clone(), Quantity(amount.clone()))));
    all
}

/// A status, as a merge patch of the one before: amounts that are there already are not written again, so that what
/// somebody else writes in between stays.
pub(crate) fn status(
    name: &str,
    slot: u32,
    capacity: &BTreeMap<String, Quantity>,
    before: Option<&NodeStatus>,
    ready: bool,
    now: Timestamp,
) -> NodeStatus {
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let text = |text: &str| text.to_owned();
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", host_ip(slot).to_string()),
            address("Hostname", name.to_owned()),
        ]),
        capacity: before.is_none_or(|before| before.capacity.is_none()).then(|| capacity.clone()),
        allocatable: before.is_none_or(|before| before.allocatable.is_none()).then(|| capacity.clone()),
        conditions: Some(conditions(before, ready, now)),
        declared_features: before
            .is_none_or(|before| before.declared_features.is_none())
            .then(|| declared::OF_KUBELET.map(str::to_owned).into()),
        node_info: Some(NodeSystemInfo {
            architecture: text("amd64"),
            container_runtime_version: format!("simulated://{}", env!("CARGO_PKG_VERSION")),
            kubelet_version: text("v1.36.0+simulated"),
            operating_system: text("linux"),
            os_image: text("simulated"),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// The kubelet's conditions, in its words (upstream's `pkg/kubelet/nodestatus/setters.go`).
fn conditions(before: Option<&NodeStatus>, ready: bool, now: Timestamp) -> Vec<NodeCondition> {
    let fine = |kind, reason, message| (kind, "False", reason, message);
    [
        fine("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        fine("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        fine("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        match ready {
            true => ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            false => ("Ready", "False", "KubeletNotReady", "simulated: told not to be ready"),
        },
    ]
    .into_iter()
    .map(|(kind, status, reason, message)| {
        let old = before.and_then(|before| before.conditions.as_ref()?.iter().find(|old| old.type_ == kind));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn made(number: u32, tainted: bool, behaviour: &PodBehaviour) -> Node {
        let shape = NodeShape { capacity: [("cpu".into(), "4".into())].into(), ..NodeShape::default() };
        let plan = Plan { number, zones: 3, pods: 20, tainted, shape: &shape, behaviour };
        object(&plan, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn blocks_and_slots_are_one_to_one() {
        for slot in [0, 1, 63, 64, 5_000, SLOTS - 1] {
            assert_eq!(slot_of(&pod_cidr(slot)), Some(slot));
        }
        assert_eq!((pod_cidr(0), pod_cidr(64)), ("240.0.0.0/22".into(), "240.1.0.0/22".into()));
        assert_eq!(
            (host_ip(0).to_string(), host_ip(SLOTS - 1).to_string()),
            ("198.18.0.0".into(), "198.19.255.255".into())
        );
        for other in ["", "10.0.0.0/22", "240.0.1.0/22", "240.0.0.0/24", "255.255.252.0/22"] {
            assert_eq!(slot_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_node_is_kwoks_in_zones_in_turn() {
        let node = made(4, true, &PodBehaviour::default());
        assert!(words::is_simulated(&node));
        assert_eq!(
            (words::zone(&node), words::zone(&made(5, true, &PodBehaviour::default()))),
            ("zone-2", "zone-3")
        );
        let spec = node.spec.unwrap();
        assert_eq!(spec.taints.unwrap()[0].key, "kwok.x-k8s.io/node");
        let status = node.status.unwrap();
        let capacity = status.capacity.unwrap();
        assert_eq!((capacity["cpu"].0.as_str(), capacity["pods"].0.as_str()), ("4", "20"));
        assert_eq!(capacity["memory"].0, "256Gi");
        assert!(
            status.conditions.unwrap().iter().all(|one| (one.type_ == "Ready") == (one.status == "True"))
        );
    }

    #[test]
    fn a_node_that_is_there_is_changed_where_it_differs() {
        let plain = PodBehaviour::default();
        let slow = PodBehaviour { start_seconds: 3, ..plain.clone() };
        assert_eq!(patch(&made(1, true, &plain), &made(1, true, &plain)), None);
        let patched = patch(&made(1, true, &slow), &made(1, true, &plain)).unwrap();
        let text = patched["metadata"]["annotations"][words::PODS].as_str().unwrap();
        assert_eq!(serde_json::from_str::<PodBehaviour>(text).unwrap(), slow);
        let back = patch(&made(1, true, &plain), &made(1, true, &slow)).unwrap();
        assert_eq!(back, json!({"metadata": {"annotations": {words::PODS: null}}}));
        let mut old = made(1, true, &plain);
        old.metadata.resource_version = Some("7".into());
        let untainted = patch(&made(1, false, &plain), &old).unwrap();
        assert_eq!(untainted, json!({"spec": {"taints": []}, "metadata": {"resourceVersion": "7"}}));
        old.spec
            .as_mut()
            .unwrap()
            .taints
            .as_mut()
            .unwrap()
            .push(Taint { key: "mine".into(), ..Taint::default() });
        let kept = patch(&made(1, false, &plain), &old).unwrap();
        assert_eq!(kept["spec"]["taints"][0]["key"], "mine");
    }

    #[test]
    fn what_a_profile_gave_another_takes_back() {
        let made = |shape: Value| {
            let shape: NodeShape = serde_json::from_value(shape).unwrap();
            let behaviour = PodBehaviour::default();
            let plan =
                Plan { number: 1, zones: 3, pods: 20, tainted: true, shape: &shape, behaviour: &behaviour };
            object(&plan, Timestamp::UNIX_EPOCH)
        };
        let plain = made(json!({}));
        let rich = made(json!({
            "capacity": {"cpu": "4", "gpu.example/x": "2"},
            "labels": {"disk": "ssd", "kubernetes.io/arch": "arm64"}}));
        assert_eq!(
            patch(&plain, &rich).unwrap(),
            json!({"metadata": {
                "labels": {"disk": null, "kubernetes.io/arch": "amd64"}, "annotations": {words::LABELS: null}}})
        );
        let mut touched = rich.clone();
        touched.metadata.labels.as_mut().unwrap().insert("mine".into(), "stays".into());
        assert_eq!(patch(&rich, &touched), None);
        let back = json!({"cpu": "32", "gpu.example/x": null});
        assert_eq!(
            amounts_patch(&plain, &rich).unwrap(),
            json!({"status": {"capacity": back, "allocatable": back}})
        );
        assert_eq!(amounts_patch(&rich, &rich), None);
        let mut full = rich.clone();
        full.status.as_mut().unwrap().allocatable.as_mut().unwrap().remove("cpu");
        assert_eq!(amounts_patch(&rich, &full).unwrap(), json!({"status": {"allocatable": {"cpu": "4"}}}));
    }

    #[test]
    fn times_of_transitions_stay_while_nothing_changes() {
        let node = made(1, true, &PodBehaviour::default());
        let before = node.status.as_ref();
        let later = Timestamp::from_second(100).unwrap();
        let since = |ready| {
            let conditions = conditions(before, ready, later);
            conditions
                .iter()
                .map(|one| one.last_transition_time.as_ref().unwrap().0.as_second())
                .collect::<Vec<_>>()
        };
        assert_eq!((since(true), since(false)), (vec![0, 0, 0, 0], vec![0, 0, 0, 100]));
    }
}
