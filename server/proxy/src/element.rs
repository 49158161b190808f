//! What the kernel's maps and sets hold: typed, as text for `nft`, and as bytes for netlink.
//!
//! A concatenated key is its parts one after the other, each filled up to four bytes
//! (`include/uapi/linux/netfilter/nf_tables.h`); addresses and ports are in network order, everything else in the
//! machine's.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::chain::Chain;

/// Protocol of a port, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// SCTP.
    Sctp = 132,
}

impl Protocol {
    /// The API's word; absent means TCP.
    pub fn parse(word: Option<&str>) -> Option<Self> {
        match word.unwrap_or("TCP") {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// Where a connection to a service goes to at first. No address: the node's own addresses, so a node port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// The service's address.
    pub address: Option<IpAddr>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// Where a connection ends up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address of a pod or any host.
    pub address: IpAddr,
    /// Port there.
    pub port: u16,
}

/// A map or set of the table. Those of frontends exist twice: by address, and (`_nodeports`) without.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Map {
    /// Frontend: which chain chooses its endpoint.
    Services,
    /// Frontend under `externalTrafficPolicy: Local`: the chain for who is inside the cluster.
    Cluster,
    /// The same: the chain for everybody else.
    Local,
    /// Frontend: what becomes of who finds no endpoint.
    Unreachable,
    /// Frontend and slot: the endpoint.
    Endpoints,
    /// Frontend with affinity: the chain that draws a slot.
    Draw,
    /// The same, of the endpoints of this node.
    DrawLocal,
    /// Frontend with affinity and slot: the endpoint's number.
    Numbers,
    /// Frontend with affinity and the endpoint's number: the endpoint.
    Sticky,
    /// Frontend of a load balancer: the chain that knows who may come.
    Firewall,
    /// Addresses whose other ports refuse.
    ClusterIps,
    /// Endpoints of this node as `address . address`: what they send to themselves.
    Hairpin,
    /// Pod of this node: the chain of who may reach it.
    Ingress,
    /// Pod of this node: the chain of what it may reach.
    Egress,
    /// Addresses served by the node in the place of pods: policies hold for them.
    StandIns,
    /// Pods that a rule of a policy names.
    Peers(Arc<str>),
    /// Ports that a rule of a policy calls by name.
    Ports(Arc<str>),
}

impl Map {
    /// The name without the suffix of node ports.
    pub fn base(&self) -> &str {
        match self {
            Map::Services => "services",
            Map::Cluster => "cluster",
            Map::Local => "local",
            Map::Unreachable => "unreachable",
            Map::Endpoints => "endpoints",
            Map::Draw => "draw",
            Map::DrawLocal => "draw_local",
            Map::Numbers => "numbers",
            Map::Sticky => "sticky",
            Map::Firewall => "firewall",
            Map::ClusterIps => "cluster_ips",
            Map::Hairpin => "hairpin",
            Map::Ingress => "ingress",
            Map::Egress => "egress",
            Map::StandIns => "stand_ins",
            Map::Peers(name) | Map::Ports(name) => name,
        }
    }
}

/// What an element is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `address . protocol . port`, or without the address.
    Frontend(Frontend),
    /// The same with a number behind it.
    Slot(Frontend, u32),
    /// An address.
    Address(IpAddr),
    /// An address and itself.
    Twice(IpAddr),
}

/// What is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// It is in the set.
    Present,
    /// A chain, for good.
    Goto(Chain),
    /// A chain, and back.
    Jump(Chain),
    /// The end of the packet.
    Drop,
    /// Where to.
    Endpoint(Endpoint),
    /// A number.
    Number(u32),
}

/// One entry of one map.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// Where it is.
    pub map: Map,
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Value,
}

impl Element {
    /// An element.
    pub fn new(map: Map, key: Key, value: Value) -> Self {
        Self { map, key, value }
    }

    /// The frontend that it is about.
    pub fn frontend(&self) -> Option<Frontend> {
        match self.key {
            Key::Frontend(frontend) | Key::Slot(frontend, _) => Some(frontend),
            Key::Address(_) | Key::Twice(_) => None,
        }
    }

    /// The map's name in the kernel.
    pub fn map_name(&self) -> String {
        let node_port = self.frontend().is_some_and(|frontend| frontend.address.is_none());
        format!("{}{}", self.map.base(), if node_port { "_nodeports" } else { "" })
    }

    /// As nft reads it, with or without the value.
    pub fn text(&self, with_value: bool) -> String {
        let value = match &self.value {
            Value::Present => return self.key.to_string(),
            _ if !with_value => return self.key.to_string(),
            Value::Goto(chain) => format!("goto {}", chain.name()),
            Value::Jump(chain) => format!("jump {}", chain.name()),
            Value::Drop => "drop".to_owned(),
            Value::Endpoint(one) => format!("{} . {}", one.address, one.port),
            Value::Number(number) => classid(*number),
        };
        format!("{} : {value}", self.key)
    }
}

/// A number as nft writes and reads the type `classid`.
pub fn classid(number: u32) -> String {
    format!("{:x}:{:x}", number >> 16, number & 0xffff)
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} . ")?;
        }
        write!(f, "{} . {}", self.protocol, self.port)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Frontend(frontend) => write!(f, "{frontend}"),
            Key::Slot(frontend, slot) => write!(f, "{frontend} . {}", classid(*slot)),
            Key::Address(address) => write!(f, "{address}"),
            Key::Twice(address) => write!(f, "{address} . {address}"),
        }
    }
}

fn put_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(four) => bytes.extend(four.octets()),
        IpAddr::V6(six) => bytes.extend(six.octets()),
    }
}

fn put_port(bytes: &mut Vec<u8>, port: u16) {
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0]);
}

fn put_frontend(bytes: &mut Vec<u8>, frontend: &Frontend) {
    if let Some(address) = frontend.address {
        put_address(bytes, address);
    }
    bytes.extend([frontend.protocol as u8, 0, 0, 0]);
    put_port(bytes, frontend.port);
}

impl Key {
    /// As the kernel keeps it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16);
        match self {
            Key::Frontend(frontend) => put_frontend(&mut bytes, frontend),
            Key::Slot(frontend, slot) => {
                put_frontend(&mut bytes, frontend);
                bytes.extend(slot.to_ne_bytes());
            }
            Key::Address(address) => put_address(&mut bytes, *address),
            Key::Twice(address) => {
                put_address(&mut bytes, *address);
                put_address(&mut bytes, *address);
            }
        }
        bytes
    }
}

impl Endpoint {
    /// As the kernel keeps it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8);
        put_address(&mut bytes, self.address);
        put_port(&mut bytes, self.port);
        bytes
    }
}
