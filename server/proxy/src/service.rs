//! One service: from its object and its endpoints to the elements that make the kernel serve it.
//!
//! Which frontends there are and which policy holds for each is upstream's `pkg/proxy/serviceport.go` and the body of
//! `syncProxyRules` in `pkg/proxy/nftables/proxier.go`.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::blocks::{self, Block};
use crate::chain::{Chain, Choice, Class, LOCAL_SLOTS, Masquerade, is_served};
use crate::element::{Element, Endpoint, Frontend, Key, Map, Protocol, Value};
use crate::endpoints::Usable;

/// A service with this label is another proxy's.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";

/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;

/// What of a service is the same for all its ports.
struct Traits<'a> {
    spec: &'a ServiceSpec,
    cluster_ip: IpAddr,
    external: Vec<IpAddr>,
    balancers: Vec<IpAddr>,
    internal_local: bool,
    external_local: bool,
    affinity: Option<u32>,
    firewall: Option<Chain>,
}

/// One port's place in the slots of its frontends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    cluster: Vec<Endpoint>,
    local: Vec<Endpoint>,
    /// Endpoints that flows of UDP may go on to.
    serving: Vec<Endpoint>,
}

/// What a service had when it was looked at last, so that an endpoint keeps its slot.
pub type Kept = BTreeMap<(Protocol, String), Slots>;

/// Whether the proxy has anything to do for a service.
pub fn is_proxied(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let foreign = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY));
    !foreign && spec.type_.as_deref() != Some("ExternalName") && cluster_ip(spec).is_some()
}

fn cluster_ip(spec: &ServiceSpec) -> Option<IpAddr> {
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    all.filter_map(|text| text.parse().ok()).find(is_served)
}

/// The service's address among the services.
pub fn address(service: &Service) -> Option<IpAddr> {
    service.spec.as_ref().and_then(cluster_ip)
}

/// The port at which a load balancer asks whether this node has endpoints (`NeedsHealthCheck` of upstream's
/// `pkg/api/v1/service`).
pub fn health_check_node_port(service: &Service) -> Option<u16> {
    let spec = service.spec.as_ref().filter(|_| is_proxied(service))?;
    let wanted = spec.type_.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local");
    spec.health_check_node_port
        .filter(|_| wanted)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

impl<'a> Traits<'a> {
    fn of(service: &'a Service, node_ips: &[IpAddr]) -> Option<Self> {
        let spec = service.spec.as_ref().filter(|_| is_proxied(service))?;
        let parse = |texts: Vec<&String>| -> Vec<IpAddr> {
            texts.into_iter().filter_map(|text| text.parse().ok()).filter(is_served).collect()
        };
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        let external = parse(spec.external_ips.iter().flatten().collect());
        let ingress = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
        let ingress = ingress.flat_map(|balancer| balancer.ingress.iter().flatten());
        let vips = ingress.filter(|one| one.ip_mode.as_deref().unwrap_or("VIP") == "VIP");
        let balancers = match kind {
            "LoadBalancer" => parse(vips.filter_map(|one| one.ip.as_ref()).collect()),
            _ => Vec::new(),
        };
        let reachable = matches!(kind, "LoadBalancer" | "NodePort") || !external.is_empty();
        let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
        let seconds = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds =
            seconds.and_then(|client| client.timeout_seconds).and_then(|one| u32::try_from(one).ok());
        Some(Self {
            cluster_ip: cluster_ip(spec)?,
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: reachable && spec.external_traffic_policy.as_deref() == Some("Local"),
            affinity: sticky.then(|| seconds.unwrap_or(AFFINITY_SECONDS)),
            firewall: firewall(spec, &balancers, node_ips),
            spec,
            external,
            balancers,
        })
    }
}

/// Who may come to the load balancer's addresses. The node comes with one of them as its own address, if it is allowed.
fn firewall(spec: &ServiceSpec, balancers: &[IpAddr], node_ips: &[IpAddr]) -> Option<Chain> {
    let ranges = spec.load_balancer_source_ranges.as_ref().filter(|ranges| !ranges.is_empty())?;
    let mut blocks: Vec<Block> = ranges.iter().filter_map(|text| blocks::parse(text)).collect();
    if node_ips.iter().any(|node| blocks.iter().any(|block| blocks::contains(*block, node))) {
        blocks.extend(balancers.iter().filter_map(|one| blocks::parse(&format!("{one}/32"))));
    }
    if blocks.is_empty() {
        // none of them is of our family: nobody comes
        blocks.extend(blocks::parse("255.255.255.255/32"));
    }
    Some(Chain::Firewall(Arc::new(blocks::merge(blocks))))
}

/// What is needed besides the service itself.
pub struct Around<'a> {
    /// The usable endpoints of a port.
    pub usable: &'a dyn Fn(&str, Protocol) -> Usable,
    /// The node's addresses.
    pub node_ips: &'a [IpAddr],
    /// Addresses that the node itself serves.
    pub served: &'a HashSet<IpAddr>,
    /// Whether an address is a pod's or the node's own.
    pub is_here: &'a dyn Fn(&IpAddr) -> bool,
}

/// All elements of a service; `kept` is brought up to date.
pub fn elements(service: &Service, around: &Around<'_>, kept: &mut Kept) -> Vec<Element> {
    let Some(traits) = Traits::of(service, around.node_ips) else {
        kept.clear();
        return Vec::new();
    };
    let mut all = Vec::new();
    if !around.served.contains(&traits.cluster_ip) {
        all.push(Element::new(Map::ClusterIps, Key::Address(traits.cluster_ip), Value::Present));
    }
    let mut now = Kept::new();
    for port in traits.spec.ports.iter().flatten() {
        let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
        let name = port.name.clone().unwrap_or_default();
        let usable = (around.usable)(&name, protocol);
        let before = kept.remove(&(protocol, name.clone())).unwrap_or_default();
        let slots = Slots {
            cluster: keep_slots(&before.cluster, usable.cluster),
            local: keep_slots(&before.local, usable.local),
            serving: match protocol {
                Protocol::Udp => usable.serving,
                Protocol::Tcp | Protocol::Sctp => Vec::new(),
            },
        };
        port_elements(&mut all, &traits, port, protocol, &slots, around);
        now.insert((protocol, name), slots);
    }
    *kept = now;
    // the same endpoint behind several ports
    all.sort_unstable();
    all.dedup();
    all
}

/// Every endpoint that stays keeps its slot, unless that lies behind the new end: then it fills a hole. So no more
/// changes than has to.
fn keep_slots(before: &[Endpoint], now: Vec<Endpoint>) -> Vec<Endpoint> {
    let wanted: HashSet<Endpoint> = now.iter().copied().collect();
    let known: HashSet<Endpoint> = before.iter().copied().collect();
    let count = now.len();
    let mut slots: Vec<Option<Endpoint>> =
        before.iter().map(|one| wanted.contains(one).then_some(*one)).collect();
    let mut new = now.into_iter().filter(|one| !known.contains(one));
    for slot in slots.iter_mut().take(count).filter(|slot| slot.is_none()) {
        *slot = new.next();
    }
    slots.extend(new.map(Some));
    let behind = slots.split_off(count.min(slots.len()));
    let mut behind = behind.into_iter().flatten();
    slots.into_iter().filter_map(|slot| slot.or_else(|| behind.next())).collect()
}

fn port_elements(
    all: &mut Vec<Element>,
    traits: &Traits<'_>,
    port: &ServicePort,
    protocol: Protocol,
    slots: &Slots,
    around: &Around<'_>,
) {
    let Ok(number) = u16::try_from(port.port) else { return };
    let at = |address: IpAddr| Frontend { address: Some(address), protocol, port: number };
    let writer = Writer { slots, affinity: traits.affinity };
    if !around.served.contains(&traits.cluster_ip) {
        writer.internal(all, at(traits.cluster_ip), traits.internal_local);
    }
    let mut outside: Vec<Frontend> =
        traits.external.iter().chain(&traits.balancers).map(|one| at(*one)).collect();
    let node_port = port.node_port.and_then(|one| u16::try_from(one).ok()).filter(|one| *one != 0);
    outside.extend(node_port.map(|port| Frontend { address: None, protocol, port }));
    outside.sort_unstable();
    outside.dedup();
    for frontend in outside {
        writer.external(all, frontend, traits.external_local);
    }
    for address in &traits.balancers {
        if let Some(chain) = &traits.firewall {
            all.push(Element::new(Map::Firewall, Key::Frontend(at(*address)), Value::Goto(chain.clone())));
        }
    }
    for endpoint in slots.cluster.iter().chain(&slots.local).filter(|one| (around.is_here)(&one.address)) {
        all.push(Element::new(Map::Hairpin, Key::Twice(endpoint.address), Value::Present));
    }
}

/// Writes the elements of one port's frontends.
struct Writer<'a> {
    slots: &'a Slots,
    affinity: Option<u32>,
}

impl Writer<'_> {
    fn internal(&self, all: &mut Vec<Element>, frontend: Frontend, local: bool) {
        let none = match (self.none(), local && self.slots.local.is_empty()) {
            (true, _) => Some(Value::Goto(Chain::Refuse)),
            // there is one, elsewhere
            (false, true) => Some(Value::Drop),
            (false, false) => None,
        };
        if let Some(verdict) = none {
            return all.push(Element::new(Map::Unreachable, Key::Frontend(frontend), verdict));
        }
        self.lead(all, Map::Services, frontend, Masquerade::Outsiders, local);
        self.place(all, frontend, local);
    }

    fn external(&self, all: &mut Vec<Element>, frontend: Frontend, local: bool) {
        let key = Key::Frontend(frontend);
        if self.none() {
            return all.push(Element::new(Map::Unreachable, key, Value::Goto(Chain::Refuse)));
        }
        if !local {
            self.lead(all, Map::Services, frontend, Masquerade::Everybody, false);
            return self.place(all, frontend, false);
        }
        let external = Chain::External { node_port: frontend.address.is_none() };
        all.push(Element::new(Map::Services, key, Value::Goto(external)));
        self.lead(all, Map::Cluster, frontend, Masquerade::Nobody, false);
        self.place(all, frontend, false);
        if self.slots.local.is_empty() {
            return all.push(Element::new(Map::Unreachable, key, Value::Drop));
        }
        self.lead(all, Map::Local, frontend, Masquerade::Nobody, true);
        self.place(all, frontend, true);
    }

    /// Whether no node has an endpoint.
    fn none(&self) -> bool {
        self.slots.cluster.is_empty()
    }

    fn list(&self, local: bool) -> &[Endpoint] {
        if local { &self.slots.local } else { &self.slots.cluster }
    }

    /// Leads a frontend to the chain that chooses.
    fn lead(
        &self,
        all: &mut Vec<Element>,
        map: Map,
        frontend: Frontend,
        masquerade: Masquerade,
        local: bool,
    ) {
        let choice = match self.affinity {
            Some(seconds) => Choice::Sticky(seconds),
            None => Choice::Random(self.list(local).len() as u32),
        };
        let class = Class { node_port: frontend.address.is_none(), masquerade, local, choice };
        all.push(Element::new(map, Key::Frontend(frontend), Value::Goto(Chain::Class(class))));
    }

    /// Puts a frontend's endpoints into their slots.
    fn place(&self, all: &mut Vec<Element>, frontend: Frontend, local: bool) {
        let list = self.list(local);
        let first = if local { LOCAL_SLOTS } else { 0 };
        if self.affinity.is_none() {
            let slots = (first..).zip(list);
            all.extend(slots.map(|(slot, endpoint)| {
                Element::new(Map::Endpoints, Key::Slot(frontend, slot), Value::Endpoint(*endpoint))
            }));
            return;
        }
        let draw = Chain::Draw { local, count: list.len() as u32 };
        let map = if local { Map::DrawLocal } else { Map::Draw };
        all.push(Element::new(map, Key::Frontend(frontend), Value::Jump(draw)));
        for ((slot, endpoint), number) in (first..).zip(list).zip(numbers(list)) {
            all.push(Element::new(Map::Numbers, Key::Slot(frontend, slot), Value::Number(number)));
            all.push(Element::new(Map::Sticky, Key::Slot(frontend, number), Value::Endpoint(*endpoint)));
        }
    }
}

/// A number for each endpoint that does not depend on the others nor on the time, so that what a client had is known
/// after a restart: its address, and the port for the rare rest that shares one.
fn numbers(list: &[Endpoint]) -> Vec<u32> {
    let mut shared: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for endpoint in list {
        *shared.entry(endpoint.address).or_default() += 1;
    }
    let number = |endpoint: &Endpoint| {
        let address = match endpoint.address {
            IpAddr::V4(four) => u32::from(four),
            IpAddr::V6(six) => {
                six.segments().iter().fold(0, |sum: u32, one| sum.rotate_left(5) ^ u32::from(*one))
            }
        };
        let alone = shared.get(&endpoint.address) == Some(&1);
        if alone { address } else { address ^ (u32::from(endpoint.port) << 12).rotate_left(7) }
    };
    list.iter().map(number).collect()
}

/// Who may go on answering at a UDP frontend of a service. As upstream, policies and topology have no say: a change of
/// those leaves established flows alone.
pub fn serving(frontend: &Frontend, service: &Service, kept: &Kept) -> HashSet<Endpoint> {
    let number =
        |port: &ServicePort| if frontend.address.is_none() { port.node_port } else { Some(port.port) };
    let same = |port: &&ServicePort| {
        number(port) == Some(i32::from(frontend.port))
            && Protocol::parse(port.protocol.as_deref()) == Some(frontend.protocol)
    };
    let port = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).find(same);
    let slots = port.and_then(|port| kept.get(&(frontend.protocol, port.name.clone().unwrap_or_default())));
    slots.map(|slots| slots.serving.iter().copied().collect()).unwrap_or_default()
}

/// Addresses of this node's ready endpoints, as a load balancer's health check counts them.
pub fn ready_here<'a>(slices: impl Iterator<Item = &'a Arc<EndpointSlice>>, node: &str) -> usize {
    let endpoints = slices.flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = |one: &&k8s_openapi::api::discovery::v1::Endpoint| {
        one.conditions.as_ref().and_then(|all| all.ready).unwrap_or(true)
            && one.node_name.as_deref() == Some(node)
    };
    let addresses: HashSet<&String> =
        endpoints.filter(ready).filter_map(|one| one.addresses.first()).collect();
    addresses.len()
}
