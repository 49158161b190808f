//! Connections that the kernel still sends to an endpoint that is gone.
//!
//! A TCP peer is told by its endpoint's silence or reset; a UDP client that keeps sending keeps its translation alive
//! for ever. So, as upstream's `pkg/proxy/conntrack/cleanup.go`: after a change of a UDP service the table of connections
//! is read once, over netlink, and what goes to one of its frontends but not to one of its serving endpoints is deleted;
//! all of it where nobody serves any more, or the service is gone (kubernetes/kubernetes pull requests 139629 and
//! 141371). No program is needed for it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;

use crate::element::{Endpoint, Frontend, Protocol};
use crate::netlink::{Answer, Messages, attribute, attributes, nested, talk};

const SUBSYSTEM_CONNTRACK: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_ACK: u16 = 4;
const FAMILY_IPV4: u8 = 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const ADDRESS_SOURCE: u16 = 1;
const ADDRESS_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PORT_SOURCE: u16 = 2;
const PORT_DESTINATION: u16 = 3;

/// UDP frontends that changed, each with the endpoints that may go on answering there.
pub type Frontends = HashMap<Frontend, HashSet<Endpoint>>;

/// A connection of UDP, as the kernel tells of it.
#[derive(Debug)]
pub struct Flow {
    /// The original direction, as the kernel wrote it.
    original: Vec<u8>,
    id: Vec<u8>,
    destination: Endpoint,
    /// Who answers.
    answering: Endpoint,
}

fn address(tuple: &[u8], kind: u16) -> Option<IpAddr> {
    let (_, addresses) = attributes(tuple).find(|(kind, _)| *kind == TUPLE_ADDRESSES)?;
    let (_, bytes) = attributes(addresses).find(|(one, _)| *one == kind)?;
    Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)))
}

fn transport(tuple: &[u8], kind: u16) -> Option<&[u8]> {
    let (_, transport) = attributes(tuple).find(|(kind, _)| *kind == TUPLE_PROTOCOL)?;
    attributes(transport).find(|(one, _)| *one == kind).map(|(_, value)| value)
}

fn port(tuple: &[u8], kind: u16) -> Option<u16> {
    Some(u16::from_be_bytes(transport(tuple, kind)?.try_into().ok()?))
}

impl Flow {
    /// Reads a UDP flow.
    fn read(answer: &Answer<'_>) -> Option<Self> {
        let body = answer.body.get(4..)?;
        let get = |kind: u16| attributes(body).find(|(one, _)| *one == kind).map(|(_, value)| value);
        let (original, reply) = (get(ORIGINAL)?, get(REPLY)?);
        (transport(original, PROTOCOL_NUMBER)? == [Protocol::Udp as u8]).then_some(())?;
        Some(Self {
            destination: Endpoint {
                address: address(original, ADDRESS_DESTINATION)?,
                port: port(original, PORT_DESTINATION)?,
            },
            answering: Endpoint { address: address(reply, ADDRESS_SOURCE)?, port: port(reply, PORT_SOURCE)? },
            original: original.to_vec(),
            id: get(ID)?.to_vec(),
        })
    }

    /// Whether it goes to one of the frontends, but not to one of its endpoints.
    fn is_stale(&self, frontends: &Frontends) -> bool {
        let Endpoint { address, port } = self.destination;
        let at =
            |address: Option<IpAddr>| frontends.get(&Frontend { address, protocol: Protocol::Udp, port });
        // what was not translated goes to itself: to a service that had no endpoint, or to the node
        let translated = self.answering != self.destination;
        let endpoints = at(Some(address)).or_else(|| at(None).filter(|_| translated));
        endpoints.is_some_and(|endpoints| !endpoints.contains(&self.answering))
    }
}

/// What is stale of the frontends' flows. Blocking, for as long as it takes to read all connections.
///
/// # Errors
/// The kernel's; `EINTR` if it did not tell of all connections.
pub fn stale(frontends: &Frontends) -> nix::Result<Vec<Flow>> {
    let (found, all) = look(frontends);
    all.map(|()| found)
}

fn look(frontends: &Frontends) -> (Vec<Flow>, nix::Result<()>) {
    let mut messages = Messages::default();
    messages.message(SUBSYSTEM_CONNTRACK << 8 | GET, NLM_F_DUMP, FAMILY_IPV4, 0, |_| {});
    let mut found = Vec::new();
    let all = talk(&messages, true, |answer| {
        found.extend(Flow::read(answer).filter(|flow| flow.is_stale(frontends)));
    });
    (found, all)
}

/// Deletes what is stale of the frontends' flows; how many. Blocking, as [`stale`].
///
/// # Errors
/// The first that the kernel says; the others are deleted nevertheless. `EINTR` if it did not tell of all connections.
pub fn clear(frontends: &Frontends) -> nix::Result<usize> {
    let (found, mut all) = look(frontends);
    for flow in &found {
        let mut messages = Messages::default();
        messages.message(SUBSYSTEM_CONNTRACK << 8 | DELETE, NLM_F_ACK, FAMILY_IPV4, 0, |bytes| {
            nested(bytes, ORIGINAL | 0x8000, |bytes| bytes.extend(&flow.original));
            attribute(bytes, ID, &flow.id);
        });
        match talk(&messages, false, |_| {}) {
            // it ended by itself
            Ok(()) | Err(Errno::ENOENT) => {}
            refused => all = all.and(refused),
        }
    }
    all.map(|()| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        let (address, port) = text.split_once(':').expect("address:port");
        Endpoint { address: address.parse().expect("address"), port: port.parse().expect("port") }
    }

    #[test]
    fn a_flow_is_stale_if_none_of_its_frontends_endpoints_answers_it() {
        let vip = Frontend { address: "10.96.0.20".parse().ok(), protocol: Protocol::Udp, port: 53 };
        let node_port = Frontend { address: None, protocol: Protocol::Udp, port: 30053 };
        for (destination, answering, serving, stale) in [
            ("10.96.0.20:53", "10.244.0.5:5353", &["10.244.0.5:5353"][..], false),
            ("10.96.0.20:53", "10.244.0.5:5353", &["10.244.0.6:5353"], true),
            ("10.96.0.20:53", "10.244.0.5:5353", &["10.244.0.5:53"], true),
            ("10.96.0.20:53", "10.244.0.5:5353", &[], true),
            // it knocked while nobody was there
            ("10.96.0.20:53", "10.96.0.20:53", &["10.244.0.5:5353"], true),
            ("10.96.0.20:54", "10.244.0.5:5353", &[], false),
            ("192.0.2.1:30053", "10.244.0.5:5353", &[], true),
            ("192.0.2.1:30053", "10.244.0.5:5353", &["10.244.0.6:5353"], true),
            // somebody else's, that only has the same port
            ("198.51.100.7:30053", "198.51.100.7:30053", &[], false),
        ] {
            let serving: HashSet<Endpoint> = serving.iter().map(|one| endpoint(one)).collect();
            let flow = Flow {
                original: Vec::new(),
                id: Vec::new(),
                destination: endpoint(destination),
                answering: endpoint(answering),
            };
            let frontends = [(vip, serving.clone()), (node_port, serving)].into();
            assert_eq!(flow.is_stale(&frontends), stale, "{flow:?}");
        }
    }
}
