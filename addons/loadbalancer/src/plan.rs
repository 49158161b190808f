//! Which address a Service gets. Pure.
//!
//! ```text
//!  asks for none ──► the node's own address ──► the first address of the pool ──► refused
//!                    where all its ports are    where all its ports are free
//!                    free, on the host too
//!  asks for one  ──► that one, or refused
//! ```
//!
//! An address once given stays for as long as it is one of the node's or the pool's and no other Service has one of
//! the ports there: what begins to listen on the host later does not move a Service that works.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use sampan_reconcile::Key;

use crate::pool::Pool;

/// The loadBalancerClass that means this addon; none means it, too.
pub const CLASS: &str = "sampan.dev/node";
/// Upstream's finalizer for load balancers, which a Service from another cluster may carry.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// Annotations that ask for an address, the first that is there counts; the others are MetalLB's.
const ASKS: [&str; 3] =
    ["sampan.dev/load-balancer-ip", "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];

/// Protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port with its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl Pair {
    /// Reads a Service's or a pod's port; no protocol is TCP.
    pub fn new(protocol: Option<&str>, port: i32) -> Option<Self> {
        let protocol = match protocol.unwrap_or("TCP") {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => return None,
        };
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        Some(Pair { protocol, port })
    }

    /// Reads `443` or `53/UDP`.
    ///
    /// # Errors
    /// What it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let pair = port.trim().parse().ok().and_then(|port| Pair::new(Some(protocol.trim()), port));
        pair.ok_or_else(|| format!("{text:?} is not a port such as 443 or 53/UDP"))
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        };
        write!(f, "{}/{protocol}", self.port)
    }
}

/// What there is to give.
#[derive(Clone, Debug)]
pub struct Stock {
    /// The node's own addresses, the one it is known by first.
    pub node: Vec<IpAddr>,
    /// Ports that no Service gets at the node's own addresses.
    pub reserved: BTreeSet<Pair>,
    /// Further addresses.
    pub pool: Pool,
}

/// Who has a port at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Another Service.
    Service(Key),
    /// A pod, by a host port.
    Pod(Key),
    /// Something that listens there.
    Process,
    /// Nobody, but the configuration keeps it free.
    Reserved,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Service(key) => write!(f, "the Service {key} has it"),
            Holder::Pod(key) => write!(f, "the pod {key} has it as host port"),
            Holder::Process => write!(f, "a process on the host listens there"),
            Holder::Reserved => write!(f, "it is reserved"),
        }
    }
}

/// What to do about a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: it is somebody else's, or it has what it should.
    Leave,
    /// Give it this address.
    Assign(IpAddr),
    /// It is no LoadBalancer any more: take its address back.
    Clear,
    /// It is being deleted and waits for us alone.
    Release,
    /// It cannot have an address.
    Refuse {
        /// Why.
        why: String,
        /// Whether the end of a process would change that, of which nothing tells.
        process: bool,
    },
}

/// Whether the Service wants an address from this addon.
pub fn wants(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let class = spec.load_balancer_class.as_deref();
    spec.type_.as_deref() == Some("LoadBalancer") && class.is_none_or(|class| class == CLASS)
}

/// The address it has.
pub fn address_of(service: &Service) -> Option<IpAddr> {
    ingress(service).next()?.ip.as_ref()?.parse().ok()
}

/// Its ports.
pub fn pairs(service: &Service) -> Vec<Pair> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.filter_map(|port| Pair::new(port.protocol.as_deref(), port.port)).collect()
}

/// The addresses at which it has its ports, whoever gave them.
pub fn claims(service: &Service) -> Vec<IpAddr> {
    let external = service.spec.iter().flat_map(|spec| spec.external_ips.iter().flatten());
    let given = ingress(service).filter_map(|one| one.ip.as_ref());
    external.chain(given).filter_map(|ip| ip.parse().ok()).collect()
}

fn ingress(service: &Service) -> impl Iterator<Item = &k8s_openapi::api::core::v1::LoadBalancerIngress> {
    let balancer = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
    balancer.flat_map(|balancer| balancer.ingress.iter().flatten())
}

/// Decides about one Service. `holder` knows who else has a port at an address, apart from what is reserved.
pub fn plan(service: &Service, stock: &Stock, holder: impl Fn(IpAddr, Pair) -> Option<Holder>) -> Plan {
    if !wants(service) {
        let is_balancer =
            service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
        return if !is_balancer && ingress(service).next().is_some() { Plan::Clear } else { Plan::Leave };
    }
    if service.metadata.deletion_timestamp.is_some() {
        let waits = service.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
        return if waits { Plan::Release } else { Plan::Leave };
    }
    let refuse = |why| Plan::Refuse { why, process: false };
    let asked = match asked(service) {
        Ok(asked) => asked,
        Err(why) => return refuse(why),
    };
    let choice = Choice { pairs: pairs(service), stock, holder };
    if let Some(current) = address_of(service)
        && asked.is_none_or(|asked| asked == current)
        && choice.may_stay(current)
    {
        return Plan::Leave;
    }
    match asked {
        Some(address) if !choice.is_stocked(address) => {
            let pool = &stock.pool;
            refuse(format!("{address} is neither an address of the node nor of the pool, {pool}"))
        }
        Some(address) => match choice.first_holder(address) {
            None => Plan::Assign(address),
            Some((pair, held)) => Plan::Refuse {
                why: format!("{pair} at {address} is not free: {held}"),
                process: held == Holder::Process,
            },
        },
        None => choice.any(is_v6(service)),
    }
}

/// The address that it asks for.
fn asked(service: &Service) -> Result<Option<IpAddr>, String> {
    let annotations = service.metadata.annotations.as_ref();
    let annotated = ASKS.iter().find_map(|name| annotations?.get_key_value(*name));
    let annotated = annotated.map(|(name, value)| (format!("annotation {name}"), value));
    let field = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.as_ref());
    let field = field.filter(|text| !text.is_empty()).map(|text| ("spec.loadBalancerIP".to_owned(), text));
    let Some((place, text)) = annotated.or(field) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| format!("{place}: {text:?} is not one IP address"))
}

fn is_v6(service: &Service) -> bool {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    families.and_then(|families| families.first()).is_some_and(|family| family == "IPv6")
}

struct Choice<'a, H> {
    pairs: Vec<Pair>,
    stock: &'a Stock,
    holder: H,
}

impl<H: Fn(IpAddr, Pair) -> Option<Holder>> Choice<'_, H> {
    fn is_stocked(&self, address: IpAddr) -> bool {
        self.stock.node.contains(&address) || self.stock.pool.contains(address)
    }

    fn may_stay(&self, address: IpAddr) -> bool {
        let other = |pair: &Pair| matches!((self.holder)(address, *pair), Some(Holder::Service(_)));
        self.is_stocked(address) && !self.pairs.iter().any(other)
    }

    fn first_holder(&self, address: IpAddr) -> Option<(Pair, Holder)> {
        let reserved = |pair: &Pair| self.stock.node.contains(&address) && self.stock.reserved.contains(pair);
        self.pairs.iter().find_map(|pair| {
            let held = if reserved(pair) { Some(Holder::Reserved) } else { (self.holder)(address, *pair) };
            held.map(|held| (*pair, held))
        })
    }

    fn any(&self, v6: bool) -> Plan {
        // the address that the node is known by, and no other of its: those may lead elsewhere
        let own = self.stock.node.iter().copied().find(|address| address.is_ipv6() == v6);
        let pool = self.stock.pool.addresses().filter(|address| address.is_ipv6() == v6);
        if let Some(free) = own.into_iter().chain(pool).find(|address| self.first_holder(*address).is_none())
        {
            return Plan::Assign(free);
        }
        let held = own.and_then(|own| Some((own, self.first_holder(own)?)));
        let process = matches!(held, Some((_, (_, Holder::Process))));
        let at_node = match held {
            Some((own, (pair, holder))) => format!("{pair} at {own} is not free ({holder})"),
            None => "the node has no address of the Service's family".to_owned(),
        };
        Plan::Refuse { why: format!("{at_node}, nor is it in the pool, {}", self.stock.pool), process }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NODE: &str = "192.0.2.2";

    fn stock() -> Stock {
        Stock {
            node: vec![NODE.parse().unwrap(), "172.17.0.1".parse().unwrap()],
            reserved: BTreeSet::from([Pair::parse("22").unwrap()]),
            pool: Pool::parse(&["10.9.9.1-10.9.9.2".to_owned()]).unwrap(),
        }
    }

    /// A Service on 80/TCP with other fields merged over it.
    fn service(change: Value) -> Service {
        let mut value = json!({"metadata": {"name": "web", "namespace": "a"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]}});
        merge(&mut value, change);
        serde_json::from_value(value).unwrap()
    }

    fn merge(into: &mut Value, change: Value) {
        match change {
            Value::Object(fields) => fields.into_iter().for_each(|(key, value)| merge(&mut into[key], value)),
            other => *into = other,
        }
    }

    fn has(ip: &str) -> Value {
        json!({"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}})
    }

    /// Holders as `address pair` → who.
    fn planned(change: Value, held: &[(&str, &str, Holder)]) -> Plan {
        plan(&service(change), &stock(), |address, pair| {
            let here = |one: &&(&str, &str, Holder)| {
                one.0 == address.to_string() && (one.1 == pair.to_string() || one.1 == "*")
            };
            held.iter().find(here).map(|one| one.2.clone())
        })
    }

    fn other() -> Holder {
        Holder::Service(Key::namespaced("b", "other"))
    }

    fn gives(ip: &str) -> Plan {
        Plan::Assign(ip.parse().unwrap())
    }

    #[test]
    fn the_node_comes_first_then_the_pool() {
        let taken = |ip, by: Holder| (ip, "80/TCP", by);
        for (change, held, expect) in [
            (json!({}), vec![], gives(NODE)),
            (json!({}), vec![taken(NODE, other())], gives("10.9.9.1")),
            (json!({}), vec![taken(NODE, Holder::Process)], gives("10.9.9.1")),
            (json!({}), vec![taken(NODE, Holder::Process), taken("10.9.9.1", other())], gives("10.9.9.2")),
            (json!({}), vec![(NODE, "80/UDP", other())], gives(NODE)),
            (json!({"spec": {"ports": [{"port": 22}]}}), vec![], gives("10.9.9.1")),
            (json!({"spec": {"ports": [{"port": 22, "protocol": "UDP"}]}}), vec![], gives(NODE)),
            (
                json!({"spec": {"ports": [{"port": 81}, {"port": 80}]}}),
                vec![taken(NODE, other())],
                gives("10.9.9.1"),
            ),
            (json!({"spec": {"loadBalancerClass": CLASS}}), vec![], gives(NODE)),
            (json!({"spec": {"loadBalancerClass": "x/y"}}), vec![], Plan::Leave),
            (json!({"spec": {"type": "NodePort"}}), vec![], Plan::Leave),
        ] {
            assert_eq!(planned(change.clone(), &held), expect, "{change} {held:?}");
        }
    }

    #[test]
    fn an_address_asked_for_is_given_or_refused() {
        let by_field = |ip: &str| json!({"spec": {"loadBalancerIP": ip}});
        let by_note = |name: &str, ip: &str| json!({"metadata": {"annotations": {name: ip}}});
        assert_eq!(planned(by_field("10.9.9.2"), &[]), gives("10.9.9.2"));
        assert_eq!(planned(by_field("172.17.0.1"), &[]), gives("172.17.0.1"));
        assert_eq!(planned(by_field(""), &[]), gives(NODE));
        for name in ASKS {
            assert_eq!(planned(by_note(name, "10.9.9.1"), &[]), gives("10.9.9.1"));
        }
        let why = |change, held: &[_]| match planned(change, held) {
            Plan::Refuse { why, process } => (why, process),
            plan => panic!("{plan:?}"),
        };
        for (change, held, words, process) in [
            (
                by_field("8.8.8.8"),
                vec![],
                "8.8.8.8 is neither an address of the node nor of the pool, 10.9.9.1-10.9.9.2",
                false,
            ),
            (
                by_note(ASKS[0], "many"),
                vec![],
                "annotation sampan.dev/load-balancer-ip: \"many\" is not one IP",
                false,
            ),
            (
                by_field(NODE),
                vec![(NODE, "80/TCP", Holder::Process)],
                "80/TCP at 192.0.2.2 is not free: a process",
                true,
            ),
            (by_field(NODE), vec![(NODE, "80/TCP", other())], "not free: the Service b/other has it", false),
            (
                json!({}),
                vec![(NODE, "*", Holder::Process), ("10.9.9.1", "*", other()), ("10.9.9.2", "*", other())],
                "80/TCP at 192.0.2.2 is not free (a process on the host listens there), nor is it in the pool",
                true,
            ),
            (json!({"spec": {"ipFamilies": ["IPv6"]}}), vec![], "no address of the Service's family", false),
        ] {
            let (said, by_process) = why(change, &held);
            assert!(said.contains(words) && by_process == process, "{said}");
        }
    }

    #[test]
    fn what_was_given_stays_while_it_can() {
        let with = |ip: &str| json!({"status": has(ip)});
        assert_eq!(planned(with("10.9.9.2"), &[]), Plan::Leave);
        assert_eq!(planned(with(NODE), &[(NODE, "80/TCP", Holder::Process)]), Plan::Leave);
        assert_eq!(planned(with(NODE), &[(NODE, "80/TCP", other())]), gives("10.9.9.1"));
        // an earlier pool's, or an address that the node had
        assert_eq!(planned(with("10.8.8.8"), &[]), gives(NODE));
        let moved = json!({"spec": {"loadBalancerIP": "10.9.9.1"}, "status": has(NODE)});
        assert_eq!(planned(moved, &[]), gives("10.9.9.1"));
    }

    #[test]
    fn what_is_no_balancer_any_more_is_cleared() {
        assert_eq!(planned(json!({"spec": {"type": "ClusterIP"}, "status": has(NODE)}), &[]), Plan::Clear);
        let foreign = json!({"spec": {"loadBalancerClass": "x/y"}, "status": has("1.2.3.4")});
        assert_eq!(planned(foreign, &[]), Plan::Leave);
        let ends = |finalizers: Value| json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers}});
        assert_eq!(planned(ends(json!(["x/y"])), &[]), Plan::Leave);
        assert_eq!(planned(ends(json!([FINALIZER])), &[]), Plan::Release);
    }

    #[test]
    fn claims_are_of_all_sorts() {
        let service = service(json!({"spec": {"externalIPs": ["1.2.3.4", "x"]}, "status": has(NODE)}));
        let claims: Vec<String> = claims(&service).iter().map(ToString::to_string).collect();
        assert_eq!(claims, ["1.2.3.4", NODE]);
        assert_eq!(Pair::parse("53 / UDP").map(|pair| pair.to_string()), Ok("53/UDP".to_owned()));
        for text in ["", "0", "65536", "80/http", "/"] {
            assert!(Pair::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_service_panics(port in proptest::num::i32::ANY, protocol in ".{0,5}", ask in ".{0,20}", ip in ".{0,20}") {
            let change = json!({"metadata": {"annotations": {ASKS[0]: ask}}, "status": has(&ip),
                "spec": {"ports": [{"port": port, "protocol": protocol}]}});
            planned(change, &[]);
            let _ = Pair::parse(&protocol);
        }
    }
}
