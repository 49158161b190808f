//! Connections that the kernel still sends to an endpoint that is gone.
//!
//! A TCP peer is told by its endpoint's silence or reset; a UDP client that keeps sending keeps its translation alive
//! for ever. So, as upstream's `pkg/proxy/conntrack/cleanup.go`: after a change of a UDP service the table of connections
//! is read once, over netlink, and what goes to one of its frontends but not to one of its endpoints is deleted. No
//! program is needed for it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;

use crate::element::{Frontend, Protocol};
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

/// UDP frontends that changed, each with the addresses that may go on answering there.
pub type Frontends = HashMap<Frontend, HashSet<IpAddr>>;

#[derive(Debug)]
struct Flow {
    /// The original direction, as the kernel wrote it.
    original: Vec<u8>,
    id: Vec<u8>,
    destination: (IpAddr, u16),
    /// Who answers.
    answering: (IpAddr, u16),
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
            destination: (address(original, ADDRESS_DESTINATION)?, port(original, PORT_DESTINATION)?),
            answering: (address(reply, ADDRESS_SOURCE)?, port(reply, PORT_SOURCE)?),
            original: original.to_vec(),
            id: get(ID)?.to_vec(),
        })
    }

    /// Whether it goes to one of the frontends, but not to one of its endpoints.
    fn is_stale(&self, frontends: &Frontends) -> bool {
        let (address, port) = self.destination;
        let at =
            |address: Option<IpAddr>| frontends.get(&Frontend { address, protocol: Protocol::Udp, port });
        // what was not translated goes to itself: to a service without endpoints once, or to the node
        let translated = self.answering != self.destination;
        let endpoints = at(Some(address)).or_else(|| at(None).filter(|_| translated));
        endpoints.is_some_and(|endpoints| !endpoints.contains(&self.answering.0))
    }
}

/// Deletes what is stale of the frontends' flows; how many. Blocking, for as long as it takes to read all connections.
pub fn clear(frontends: &Frontends) -> nix::Result<usize> {
    let mut messages = Messages::default();
    messages.message(SUBSYSTEM_CONNTRACK << 8 | GET, NLM_F_DUMP, FAMILY_IPV4, 0, |_| {});
    let mut stale = Vec::new();
    talk(&messages, true, |answer| stale.extend(Flow::read(answer).filter(|flow| flow.is_stale(frontends))))?;
    for flow in &stale {
        let mut messages = Messages::default();
        messages.message(SUBSYSTEM_CONNTRACK << 8 | DELETE, NLM_F_ACK, FAMILY_IPV4, 0, |bytes| {
            nested(bytes, ORIGINAL | 0x8000, |bytes| bytes.extend(&flow.original));
            attribute(bytes, ID, &flow.id);
        });
        match talk(&messages, false, |_| {}) {
            // it ended by itself
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(stale.len())
}
