//! The scheduler's view of nodes and of the pods on them: apply and delete in, [`NodeInfo`] out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

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
        let (cpu, memory) = pod.requests.non_zero();
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
        let (cpu, memory) = pod.requests.non_zero();
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
    /// Labels of the namespaces.
    pub namespaces: Namespaces,
}

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
            info.set_node(node);
            return;
        }
        let mut info = NodeInfo::new(node);
        self.strays.remove(&name).into_iter().flatten().for_each(|(_, pod)| info.add(pod));
        self.nodes.insert(name, info);
    }

    /// A node went; its pods wait for it to come back.
    pub fn delete_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.remove(name)
            && !info.pods.is_empty()
        {
            self.strays.insert(name.to_owned(), info.pods);
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
        match self.nodes.get_mut(node) {
            Some(info) => info.add(pod),
            None => _ = self.strays.entry(node.to_owned()).or_default().insert(key, pod),
        }
    }

    /// A pod left its node.
    pub fn delete_pod(&mut self, key: &str) {
        let Some(node) = self.places.remove(key) else { return };
        self.social.remove(key);
        let gone = match self.nodes.get_mut(&node) {
            Some(info) => info.remove(key),
            None => self.strays.get_mut(&node).and_then(|pods| pods.remove(key)),
        };
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

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
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
