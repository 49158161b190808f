//! From a packet to its answer, in the packet's own buffer: header and question stay where they are and as they were
//! asked, records are copied behind them.

use std::net::IpAddr;

use crate::name::Name;
use crate::query::{HEADER, Query, Refusal, code};
use crate::section::{Builder, Counts, Section, kind};
use crate::zone::Zone;

/// Most bytes of an answer by UDP, also to clients that would take more.
pub const UDP_BYTES: usize = 4096;
/// Most bytes of an answer by TCP.
pub const TCP_BYTES: usize = 65_535;
/// What we say that we take by UDP: what passes every link unfragmented.
const OUR_BYTES: u16 = 1232;
const OPT_BYTES: usize = 11;

/// How the question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// An answer being written behind its question.
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    query: &'a Query,
    limit: usize,
    end: usize,
    counts: Counts,
    cut: bool,
    turn: usize,
}

impl<'a> Writer<'a> {
    /// Nothing is written yet. `turn` says which of several addresses comes first.
    pub fn new(buffer: &'a mut [u8], query: &'a Query, transport: Transport, turn: usize) -> Self {
        let most = match transport {
            Transport::Udp => query.udp_limit(UDP_BYTES),
            Transport::Tcp => TCP_BYTES,
        };
        let opt = if query.edns.is_some() { OPT_BYTES } else { 0 };
        let limit = most.min(buffer.len()).saturating_sub(opt);
        Self { buffer, query, limit, end: query.end, counts: [0; 3], cut: false, turn }
    }

    /// Adds records. Gives where they start and end.
    pub fn section(&mut self, section: &Section) -> std::ops::Range<usize> {
        let start = self.end;
        if !self.cut {
            let fit = section.copy_to(self.buffer, start, self.limit, self.turn);
            (self.end, self.cut) = (fit.end, fit.cut);
            self.counts.iter_mut().zip(fit.counts).for_each(|(held, more)| *held += more);
        }
        start..self.end
    }

    /// Adds the zone's SOA, to the authorities or, as an answer, for its own name.
    pub fn soa(&mut self, zone: &Zone) {
        let soa = zone.soa(&self.query.question);
        let end = self.end + soa.len();
        if end <= self.limit {
            self.buffer[self.end..end].copy_from_slice(&soa);
            self.end = end;
            let apex = zone.is_apex(&self.query.question) && self.query.question.kind == kind::SOA;
            self.counts[usize::from(!apex)] += 1;
        }
    }

    /// Sets all TTLs of the records in `range`.
    pub fn set_ttls(&mut self, range: std::ops::Range<usize>, ttls: &[u16], seconds: u32) {
        for ttl in ttls.iter().map(|ttl| range.start + usize::from(*ttl)) {
            if ttl + 4 <= range.end {
                self.buffer[ttl..ttl + 4].copy_from_slice(&seconds.to_be_bytes());
            }
        }
    }

    /// Completes header and OPT. `flags` are AA and AD as they are to be, `code` is the response code.
    pub fn finish(mut self, flags: u16, code: u16) -> usize {
        let truncated = if self.cut { 0x0200 } else { 0 };
        // RD and CD are the client's; recursion is there
        let kept = self.query.flags & 0x0110;
        let code = if code > 15 && self.query.edns.is_none() { code::SERVFAIL } else { code };
        let all = 0x8080 | kept | flags | truncated | code & 15;
        self.buffer[2..4].copy_from_slice(&all.to_be_bytes());
        if let Some(edns) = self.query.edns {
            let extended = (code >> 4) as u8;
            let size = OUR_BYTES.to_be_bytes();
            let flags = if edns.dnssec { 0x80 } else { 0 };
            let opt = [0, 0, kind::OPT as u8, size[0], size[1], extended, 0, flags, 0, 0, 0];
            self.buffer[self.end..self.end + OPT_BYTES].copy_from_slice(&opt);
            self.end += OPT_BYTES;
            self.counts[2] += 1;
        }
        for (place, count) in [1].iter().chain(&self.counts).enumerate() {
            let at = 4 + place * 2;
            self.buffer[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        self.end
    }
}

/// The flag of answers that are our own.
pub const AUTHORITATIVE: u16 = 0x0400;
/// The flag of answers that were validated.
pub const AUTHENTIC: u16 = 0x0020;

/// Says no with a code, keeping the question.
pub fn refuse(buffer: &mut [u8], query: &Query, code: u16) -> usize {
    Writer::new(buffer, query, Transport::Udp, 0).finish(0, code)
}

/// Says what is wrong with a packet that could not be read; 0: nothing is said.
pub fn refuse_packet(buffer: &mut [u8], refusal: Refusal) -> usize {
    let Refusal::Code(code) = refusal else { return 0 };
    let opcode_and_recursion = u16::from_be_bytes([buffer[2], buffer[3]]) & 0x7900;
    buffer[2..4].copy_from_slice(&(0x8080 | opcode_and_recursion | code).to_be_bytes());
    buffer[4..HEADER].fill(0);
    HEADER
}

/// An address record of the question's name.
pub fn address(ttl: u32, ip: IpAddr) -> Option<Section> {
    let mut builder = Builder::default();
    builder.address(ttl, ip);
    builder.finish()
}

/// What is asked, with nothing but the question: header, question and flags as they came.
#[derive(Clone)]
pub struct Asked {
    /// The query.
    pub query: Query,
    head: Box<[u8]>,
}

impl Asked {
    /// Keeps what an answer needs of a packet.
    pub fn keep(packet: &[u8], query: Query) -> Self {
        Self { head: packet[..query.end].into(), query }
    }

    /// A buffer for the answer, which begins with header and question.
    pub fn buffer(&self, transport: Transport) -> Vec<u8> {
        let most = match transport {
            Transport::Udp => self.query.udp_limit(UDP_BYTES),
            Transport::Tcp => TCP_BYTES,
        };
        let mut buffer = vec![0; most];
        buffer[..self.head.len()].copy_from_slice(&self.head);
        buffer
    }
}

/// A question of our own, as a client would put it.
pub fn ask(name: &Name, kind: u16, dnssec: bool) -> Vec<u8> {
    let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(dnssec)];
    packet.extend_from_slice(name.wire());
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    if dnssec {
        let size = OUR_BYTES.to_be_bytes();
        packet.extend([0, 0, kind::OPT as u8, size[0], size[1], 0, 0, 0x80, 0, 0, 0]);
    }
    packet
}
