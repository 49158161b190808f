//! The pure part as a whole: objects in, changes of the table out.
//!
//! `apply_*` takes what is (or `None` for what is gone) and only notes what it touches; [`Model::take`] looks at each
//! touched object once, however often it was touched, and says what the kernel is to be told. So a burst costs no more
//! than its last state, and nothing queues up.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use sampan_reconcile::Key;

use crate::blocks::{self, Block};
use crate::conntrack::Frontends;
use crate::element::{Element, Frontend, Key as ElementKey, Map, Protocol, Value};
use crate::endpoints::{Here, usable};
use crate::policy::compile::{Compiled, Wants, compile};
use crate::policy::members::{Labels, Subject, elements as pod_elements};
use crate::service::{self, Around, Kept};
use crate::table::{Change, Owner, Structure, Table};

/// What the model needs to be told once.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The node's name.
    pub node: String,
    /// All pods of the cluster.
    pub pods: String,
    /// Pods of this node.
    pub node_pods: String,
    /// The node's addresses.
    pub node_ips: Vec<IpAddr>,
    /// Service addresses that the node serves itself.
    pub served: Vec<IpAddr>,
}

/// What came of the objects since the model was asked last.
#[derive(Debug, Default)]
pub struct News {
    /// For the table.
    pub change: Change,
    /// UDP frontends whose flows may be stale: see [`Model::answering`].
    pub udp: BTreeSet<Frontend>,
    /// For each service with a health check node port (or without, any more): the port and its endpoints here.
    pub health: BTreeMap<Key, Option<(u16, usize)>>,
}

#[derive(Default)]
struct Known {
    service: Option<Arc<Service>>,
    slices: BTreeMap<String, Arc<EndpointSlice>>,
    kept: Kept,
    frontends: BTreeSet<Frontend>,
    health: bool,
}

/// Services, endpoints and policies as this node sees them.
pub struct Model {
    here: Here,
    node_ips: Vec<IpAddr>,
    served: HashSet<IpAddr>,
    node_pods: Option<Block>,
    services: HashMap<Key, Known>,
    /// Who wants a frontend: the first has it, whole. Nearly always there is one.
    claims: HashMap<Frontend, Vec<Key>>,
    dirty: BTreeSet<Key>,
    policies: BTreeMap<Key, Arc<Compiled>>,
    namespaces: HashMap<String, Labels>,
    subjects: BTreeMap<Owner, Subject>,
    dirty_subjects: BTreeSet<Owner>,
    table: Table,
}

/// The label by which an EndpointSlice names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of EndpointSlices that are for DNS alone.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// The label of a node that says where it is.
const ZONE: &str = "topology.kubernetes.io/zone";

impl Model {
    /// An empty model.
    pub fn new(facts: &Facts) -> Self {
        Self {
            here: Here { node: facts.node.clone(), zone: None },
            node_ips: facts.node_ips.clone(),
            served: facts.served.iter().copied().collect(),
            node_pods: blocks::parse(&facts.node_pods),
            services: HashMap::new(),
            claims: HashMap::new(),
            dirty: BTreeSet::new(),
            policies: BTreeMap::new(),
            namespaces: HashMap::new(),
            subjects: BTreeMap::new(),
            dirty_subjects: BTreeSet::new(),
            table: Table::new(&facts.pods),
        }
    }

    /// A service as it is.
    pub fn apply_service(&mut self, key: &Key, service: Option<Arc<Service>>) {
        self.stand_in(key, service.as_deref());
        self.services.entry(key.clone()).or_default().service = service;
        self.dirty.insert(key.clone());
    }

    /// An EndpointSlice as it is, and as it was.
    pub fn apply_slice(&mut self, old: Option<&Arc<EndpointSlice>>, new: Option<&Arc<EndpointSlice>>) {
        let service = |slice: &EndpointSlice| {
            let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
            Some(Key::namespaced(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
        };
        let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
        if let Some((key, slice)) = old.and_then(|slice| Some((service(slice)?, slice))) {
            if let Some(known) = self.services.get_mut(&key) {
                known.slices.remove(&name(slice));
            }
            self.dirty.insert(key);
        }
        let headless =
            |slice: &EndpointSlice| slice.metadata.labels.as_ref().is_some_and(|l| l.contains_key(HEADLESS));
        let ours = new.filter(|slice| slice.address_type == "IPv4" && !headless(slice));
        if let Some((key, slice)) = ours.and_then(|slice| Some((service(slice)?, slice))) {
            self.services.entry(key.clone()).or_default().slices.insert(name(slice), slice.clone());
            self.dirty.insert(key);
        }
    }

    /// This node's labels.
    pub fn apply_node(&mut self, labels: &Labels) {
        let zone = labels.get(ZONE).cloned();
        if zone != self.here.zone {
            self.here.zone = zone;
            self.dirty.extend(self.services.keys().cloned());
        }
    }

    /// A pod as it is. Without a policy there is no need to tell.
    pub fn apply_pod(&mut self, key: &Key, pod: Option<&Pod>) {
        let subject = pod.and_then(|pod| Subject::of_pod(pod, &self.here.node));
        self.apply_subject(format!("pod {key}").into(), subject);
    }

    fn apply_subject(&mut self, owner: Owner, subject: Option<Subject>) {
        if self.subjects.get(&owner) == subject.as_ref() {
            return;
        }
        match subject {
            Some(subject) => drop(self.subjects.insert(owner.clone(), subject)),
            None => drop(self.subjects.remove(&owner)),
        }
        self.dirty_subjects.insert(owner);
    }

    /// An address that the node serves stands for the pods that its service would lead to.
    fn stand_in(&mut self, key: &Key, service: Option<&Service>) {
        let address = service.and_then(service::address).filter(|one| self.served.contains(one));
        let subject =
            service.zip(address).and_then(|(service, address)| Subject::of_service(service, address));
        let owner: Owner = format!("address {key}").into();
        if subject.is_some() || self.subjects.contains_key(&owner) {
            self.apply_subject(owner, subject);
        }
    }

    /// A namespace's labels, or `None` if it is gone.
    pub fn apply_namespace(&mut self, name: &str, labels: Option<Labels>) {
        if self.namespaces.get(name) == labels.as_ref() {
            return;
        }
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        let there = self.subjects.iter().filter(|(_, one)| one.namespace == name);
        self.dirty_subjects.extend(there.map(|(owner, _)| owner.clone()));
    }

    /// A policy as it is.
    pub fn apply_policy(&mut self, key: &Key, policy: Option<&NetworkPolicy>) {
        let compiled = policy.map(|policy| Arc::new(compile(policy)));
        let before = self.policies.get(key).cloned();
        if before == compiled {
            return;
        }
        for (name, structure) in before.iter().flat_map(|one| structures(one)) {
            if !compiled.iter().any(|one| structures(one).any(|(other, _)| other == name)) {
                self.table.set_structure(&name, None);
            }
            drop(structure);
        }
        for (name, structure) in compiled.iter().flat_map(|one| structures(one)) {
            self.table.set_structure(&name, Some(structure));
        }
        match compiled {
            Some(compiled) => drop(self.policies.insert(key.clone(), compiled)),
            None => drop(self.policies.remove(key)),
        }
        self.dirty_subjects.extend(self.subjects.keys().cloned());
    }

    /// Forgets all pods: without a policy nobody asks for them.
    pub fn forget_pods(&mut self) {
        let pods: Vec<Owner> =
            self.subjects.keys().filter(|owner| owner.starts_with("pod ")).cloned().collect();
        for owner in pods {
            self.apply_subject(owner, None);
        }
    }

    /// Whether any policy exists.
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// What is new since the last call.
    pub fn take(&mut self) -> News {
        let mut news = News::default();
        while let Some(key) = self.dirty.pop_first() {
            self.look_at_service(&key, &mut news);
        }
        for owner in std::mem::take(&mut self.dirty_subjects) {
            self.look_at_subject(&owner);
        }
        news.change = self.table.take();
        news
    }

    /// Everything, as for an empty table.
    pub fn whole(&mut self) -> News {
        let news = self.take();
        News { change: self.table.whole(), ..news }
    }

    fn look_at_service(&mut self, key: &Key, news: &mut News) {
        let Some(known) = self.services.get_mut(key) else { return };
        let owner: Owner = format!("service {key}").into();
        let Some(service) = known.service.clone() else {
            if std::mem::take(&mut known.health) {
                news.health.insert(key.clone(), None);
            }
            known.kept.clear();
            let before = self.claim(key, &[]);
            news.udp.extend(before.into_iter().filter(is_udp));
            self.table.set(&owner, Vec::new());
            if self.services.get(key).is_some_and(|known| known.slices.is_empty()) {
                self.services.remove(key);
            }
            return;
        };
        let (here, slices, node_pods) = (&self.here, &known.slices, self.node_pods);
        let around = Around {
            usable: &|name, protocol| usable(slices.values(), name, protocol, here),
            node_ips: &self.node_ips,
            served: &self.served,
            is_here: &|address| node_pods.is_some_and(|block| blocks::contains(block, address)),
        };
        let before = known.kept.clone();
        let mut elements = service::elements(&service, &around, &mut known.kept);
        let moved = known.kept != before;
        let port = service::health_check_node_port(&service);
        if port.is_some() || known.health {
            let ready = port.map(|port| (port, service::ready_here(known.slices.values(), &self.here.node)));
            news.health.insert(key.clone(), ready);
        }
        known.health = port.is_some();
        let before = self.claim(key, &elements);
        let now = &self.services[key].frontends;
        if moved || before != *now {
            news.udp.extend(before.union(now).copied().filter(is_udp));
        }
        let first = |frontend: &Frontend| self.claims.get(frontend).and_then(|all| all.first()) == Some(key);
        elements.retain(|element| element.frontend().is_none_or(|frontend| first(&frontend)));
        self.table.set(&owner, elements);
    }

    /// Takes a service into the queue of each frontend that it wants now, and out of the others; what it wanted before.
    /// Whose turn begins or ends is looked at (again).
    fn claim(&mut self, key: &Key, elements: &[Element]) -> BTreeSet<Frontend> {
        let now: BTreeSet<Frontend> = elements.iter().filter_map(Element::frontend).collect();
        let Some(known) = self.services.get_mut(key) else { return BTreeSet::new() };
        let before = std::mem::replace(&mut known.frontends, now.clone());
        for frontend in before.symmetric_difference(&now) {
            let claims = self.claims.entry(*frontend).or_default();
            let first = claims.first().cloned();
            match claims.binary_search(key) {
                Ok(at) => drop(claims.remove(at)),
                Err(at) => claims.insert(at, key.clone()),
            }
            let next = claims.first().cloned();
            if claims.is_empty() {
                self.claims.remove(frontend);
            }
            let others = [first, next].into_iter().flatten().filter(|other| other != key);
            self.dirty.extend(others);
        }
        before
    }

    /// UDP frontends with who may go on answering there, as of the last look at the services: nobody, where no service
    /// leads from any more.
    pub fn answering(&self, frontends: &BTreeSet<Frontend>) -> Frontends {
        let serving = |frontend: &Frontend| {
            let known = self.services.get(self.claims.get(frontend)?.first()?)?;
            Some(service::serving(frontend, known.service.as_deref()?, &known.kept))
        };
        frontends.iter().map(|one| (*one, serving(one).unwrap_or_default())).collect()
    }

    fn look_at_subject(&mut self, owner: &Owner) {
        let Some(subject) = self.subjects.get(owner) else { return self.table.set(owner, Vec::new()) };
        static NONE: Labels = Labels::new();
        let labels = self.namespaces.get(&subject.namespace).unwrap_or(&NONE);
        let mut elements = pod_elements(subject, labels, self.policies.values());
        if owner.starts_with("address ") {
            let keys = subject.addresses.iter().map(|one| ElementKey::Address(*one));
            elements.extend(keys.map(|key| Element::new(Map::StandIns, key, Value::Present)));
            elements.sort_unstable();
        }
        self.table.set(owner, elements);
    }

    /// How many elements the table has.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the table has no element.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

fn is_udp(frontend: &Frontend) -> bool {
    frontend.protocol == Protocol::Udp
}

fn structures(policy: &Compiled) -> impl Iterator<Item = (String, Structure)> + '_ {
    let sets = policy.sets.iter().map(|(name, wants)| {
        let kind = match wants {
            Wants::Peers(_) => "ipv4_addr",
            Wants::Ports(..) => "ipv4_addr . inet_proto . inet_service",
        };
        (name.to_string(), Structure::Set(kind))
    });
    let chains =
        policy.chains.values().map(|(name, rules)| (name.to_string(), Structure::Chain(rules.clone())));
    sets.chain(chains)
}
