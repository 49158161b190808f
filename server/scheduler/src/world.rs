//! The scheduler's view of nodes and of the pods on them: apply and delete in, [`NodeInfo`] out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerImage, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use sampan_reconcile::{HashMap, HashSet};

use crate::devices::Devices;
use crate::groups::Groups;
use crate::owners::Owners;
use crate::pods::{Namespaces, PodInfo};
use crate::resources::Resources;
use crate::selectors::Labels;
use crate::volumes::Volumes;

/// Pods a node takes if it does not say.
const DEFAULT_PODS: i64 = 110;

/// A node with what runs on it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The object.
    pub node: Arc<Node>,
    /// What it can give.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub allocatable_pods: i64,
    /// What its pods ask for.
    pub requested: Resources,
    /// The same with stand-ins for pods that ask for nothing: milli-CPU and bytes.
    pub non_zero: (i64, i64),
    /// Its pods, by `namespace/name`.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
    /// Those of them that have terms about other pods.
    pub social: BTreeMap<String, Arc<PodInfo>>,
    /// Bytes of its images by their names.
    pub images: BTreeMap<String, i64>,
    /// Its place among all nodes, by name.
    pub(crate) slot: usize,
}

impl NodeInfo {
    fn new(node: Arc<Node>) -> Self {
        let mut info = Self {
            node: node.clone(),
            allocatable: Resources::default(),
            allocatable_pods: DEFAULT_PODS,
            requested: Resources::default(),
            non_zero: (0, 0),
            pods: BTreeMap::new(),
            social: BTreeMap::new(),
            images: BTreeMap::new(),
            slot: usize::MAX,
        };
        info.set_node(node);
        info
    }

    fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        let list = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        self.allocatable = list.map(Resources::from_list).unwrap_or_default();
        let pods = list.and_then(|list| list.get("pods"));
        let parsed = pods.and_then(|amount| sampan_api::quantity::Quantity::parse(&amount.0).ok());
        self.allocatable_pods = parsed.map_or(DEFAULT_PODS, |quantity| quantity.value());
        let images = status.and_then(|status| status.images.as_deref()).unwrap_or(&[]);
        let named = |image: &ContainerImage| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(|name| (name.clone(), size)).collect::<Vec<_>>()
        };
        self.images = images.iter().flat_map(named).collect();
        self.node = node;
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// The node's labels.
    pub fn labels(&self) -> &Labels {
        static NONE: Labels = BTreeMap::new();
        self.node.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    /// Counts a pod in; one of the same name is replaced.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        let key = pod.key();
        self.remove(&key);
        self.requested.add(&pod.requests);
        let (cpu, memory) = pod.non_zero;
        self.non_zero = (self.non_zero.0 + cpu, self.non_zero.1 + memory);
        if pod.is_social() {
            self.social.insert(key.clone(), pod.clone());
        }
        self.pods.insert(key, pod);
    }

    /// Counts a pod out.
    pub fn remove(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.social.remove(key);
        self.requested.subtract(&pod.requests);
        let (cpu, memory) = pod.non_zero;
        self.non_zero = (self.non_zero.0 - cpu, self.non_zero.1 - memory);
        Some(pod)
    }
}

/// All nodes, and where each pod is.
#[derive(Clone, Debug, Default)]
pub struct World {
    nodes: BTreeMap<String, NodeInfo>,
    /// Pods on nodes that have not been seen (yet), by node.
    strays: BTreeMap<String, BTreeMap<String, Arc<PodInfo>>>,
    places: BTreeMap<String, String>,
    /// Pods that have terms about other pods.
    social: BTreeSet<String>,
    /// Pods that are somewhere, by the claims they use.
    users: BTreeMap<String, BTreeSet<String>>,
    /// Claims, volumes and classes; copied when a copy of the world is changed.
    pub volumes: Arc<Volumes>,
    /// Devices and claims for them, likewise.
    pub devices: Arc<Devices>,
    /// Labels of the namespaces.
    pub namespaces: Namespaces,
    /// Services and controllers that select pods.
    pub owners: Owners,
    /// Budgets that preemption tries to keep to, by namespace and name.
    pub budgets: BTreeMap<String, BTreeMap<String, Arc<PodDisruptionBudget>>>,
    /// Pods that wait for room which is being made on a node, by node.
    pub nominated: Nominated,
    /// UIDs of pods that were told to make room, until they are gone or the API would not have it.
    pub leaving: HashSet<String>,
    /// Counters of pods by domain.
    pub(crate) groups: Groups,
    nominated_for: HashMap<String, String>,
    /// How many nodes have an image.
    images: HashMap<String, usize>,
    changes: Changes,
}

/// Pods by the node that they are nominated for.
pub type Nominated = BTreeMap<String, BTreeMap<String, Arc<PodInfo>>>;

/// Which nodes changed since when, for those who keep what they computed of nodes.
#[derive(Clone, Debug, Default)]
struct Changes {
    /// Counts what concerns all nodes: one came or went, or another image is there.
    epoch: u64,
    /// Places are to be given anew.
    unplaced: bool,
    /// Names of nodes by their places.
    order: Vec<String>,
    /// Places of nodes that changed in this epoch, in order.
    touched: Vec<usize>,
}

/// As many changes are remembered.
const REMEMBERED: usize = 1 << 16;

/// Whether a pod no longer takes anything from its node.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

impl World {
    /// A node came or changed.
    pub fn apply_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(info) = self.nodes.get_mut(&name) {
            let moves = info.node.metadata.labels != node.metadata.labels;
            if moves {
                self.groups.count_node(info.labels(), -1);
                info.pods.values().for_each(|pod| self.groups.remove(pod, info.labels()));
            }
            let before = std::mem::take(&mut info.images);
            info.set_node(node);
            if moves {
                self.groups.count_node(info.labels(), 1);
                info.pods.values().for_each(|pod| self.groups.add(pod, info.labels()));
            }
            if before != info.images {
                let now = info.images.clone();
                self.count_images(&before, &now);
            }
            self.touch(&name);
            return;
        }
        let mut info = NodeInfo::new(node);
        self.count_images(&BTreeMap::new(), &info.images);
        self.changes.unplaced = true;
        self.strays.remove(&name).into_iter().flatten().for_each(|(_, pod)| info.add(pod));
        self.groups.count_node(info.labels(), 1);
        info.pods.values().for_each(|pod| self.groups.add(pod, info.labels()));
        self.nodes.insert(name, info);
    }

    /// A node went; its pods wait for it to come back.
    pub fn delete_node(&mut self, name: &str) {
        let Some(info) = self.nodes.remove(name) else { return };
        self.count_images(&info.images, &BTreeMap::new());
        self.groups.count_node(info.labels(), -1);
        info.pods.values().for_each(|pod| self.groups.remove(pod, info.labels()));
        self.changes.unplaced = true;
        if !info.pods.is_empty() {
            self.strays.insert(name.to_owned(), info.pods);
        }
    }

    fn count_images(&mut self, before: &BTreeMap<String, i64>, now: &BTreeMap<String, i64>) {
        for name in now.keys() {
            *self.images.entry(name.clone()).or_default() += 1;
        }
        for name in before.keys() {
            if let Some(nodes) = self.images.get_mut(name) {
                *nodes -= 1;
                if *nodes == 0 {
                    self.images.remove(name);
                }
            }
        }
        self.changes.unplaced |= !(before.is_empty() && now.is_empty());
    }

    /// Counts by the topology keys of a pod's rules from now on.
    pub fn keep_counters(&mut self, pod: &PodInfo) {
        for key in pod.topology_keys() {
            self.keep_counter(key);
        }
    }

    /// Counts by a topology key from now on.
    pub fn keep_counter(&mut self, key: &str) {
        if !self.groups.has(key) {
            let nodes = self.nodes.values().map(|node| (node.labels(), node.pods.values().collect()));
            self.groups.keep(key, nodes);
        }
    }

    /// How many nodes have the image.
    pub fn nodes_with_image(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or(0)
    }

    fn touch(&mut self, name: &str) {
        let Some(info) = self.nodes.get(name) else { return };
        self.changes.touched.push(info.slot);
        self.changes.unplaced |= self.changes.touched.len() > REMEMBERED;
    }

    /// The epoch, and how many changes of single nodes there were in it.
    pub fn epoch(&mut self) -> (u64, usize) {
        if self.changes.unplaced {
            self.nodes.values_mut().enumerate().for_each(|(at, info)| info.slot = at);
            let order = self.nodes.keys().cloned().collect();
            let epoch = self.changes.epoch + 1;
            self.changes = Changes { epoch, unplaced: false, order, touched: Vec::new() };
        }
        (self.changes.epoch, self.changes.touched.len())
    }

    /// Places of nodes that changed after the first `seen` changes. A place is a node's number in the order of names,
    /// and holds for the epoch.
    pub fn touched(&self, seen: usize) -> &[usize] {
        &self.changes.touched[seen..]
    }

    /// The node in a place.
    pub fn node_at(&self, place: usize) -> Option<&NodeInfo> {
        self.changes.order.get(place).and_then(|name| self.nodes.get(name))
    }

    /// A pod waits for room on the node that it is nominated for, or no longer.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: Option<&str>) {
        let key = pod.key();
        self.forget_nominated(&key);
        if let Some(node) = node {
            self.nominated.entry(node.to_owned()).or_default().insert(key.clone(), pod.clone());
            self.nominated_for.insert(key, node.to_owned());
        }
    }

    /// The node that a pod waits for.
    pub fn nominated_node(&self, key: &str) -> Option<&str> {
        self.nominated_for.get(key).map(String::as_str)
    }

    /// A pod waits no longer, if it did.
    pub fn forget_nominated(&mut self, key: &str) {
        let Some(node) = self.nominated_for.remove(key) else { return };
        if let Some(pods) = self.nominated.get_mut(&node) {
            pods.remove(key);
            if pods.is_empty() {
                self.nominated.remove(&node);
            }
        }
    }

    /// A pod is on a node (bound or assumed), or changed there.
    pub fn apply_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        let key = pod.key();
        if self.places.contains_key(&key) {
            self.delete_pod(&key);
        }
        for claim in pod.claim_keys() {
            self.users.entry(claim).or_default().insert(key.clone());
        }
        self.places.insert(key.clone(), node.to_owned());
        if pod.is_social() {
            self.social.insert(key.clone());
        }
        self.keep_counters(&pod);
        match self.nodes.get_mut(node) {
            Some(info) => {
                self.groups.add(&pod, info.labels());
                info.add(pod);
                self.touch(node);
            }
            None => _ = self.strays.entry(node.to_owned()).or_default().insert(key, pod),
        }
    }

    /// A pod left its node.
    pub fn delete_pod(&mut self, key: &str) {
        let Some(node) = self.places.remove(key) else { return };
        self.social.remove(key);
        let gone = match self.nodes.get_mut(&node) {
            Some(info) => {
                let gone = info.remove(key);
                gone.iter().for_each(|pod| self.groups.remove(pod, info.labels()));
                gone
            }
            None => self.strays.get_mut(&node).and_then(|pods| pods.remove(key)),
        };
        self.touch(&node);
        for claim in gone.iter().flat_map(|pod| pod.claim_keys()) {
            if let Some(pods) = self.users.get_mut(&claim) {
                pods.remove(key);
                if pods.is_empty() {
                    self.users.remove(&claim);
                }
            }
        }
    }

    /// Whether a pod that is somewhere uses the claim `namespace/name`.
    pub fn uses_claim(&self, key: &str) -> bool {
        self.users.contains_key(key)
    }

    /// Claims, volumes and classes, to be changed.
    pub fn volumes_mut(&mut self) -> &mut Volumes {
        Arc::make_mut(&mut self.volumes)
    }

    /// Devices and claims for them, to be changed.
    pub fn devices_mut(&mut self) -> &mut Devices {
        Arc::make_mut(&mut self.devices)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
    }

    /// The node of this name, for who tries something on it and leaves it as it was: nobody is told of a change.
    pub(crate) fn node_mut(&mut self, name: &str) -> Option<&mut NodeInfo> {
        self.nodes.get_mut(name)
    }

    /// The node that the pod counts on.
    pub fn place_of(&self, key: &str) -> Option<&str> {
        self.places.get(key).map(String::as_str)
    }

    /// Whether the pod counts somewhere.
    pub fn has_pod(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Whether any pod has terms about other pods.
    pub fn is_social(&self) -> bool {
        !self.social.is_empty()
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
