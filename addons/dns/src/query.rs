//! What a packet asks: the plain case by hand, everything else by hickory.

use hickory_proto::op::Message;

use crate::name::Question;
use crate::section::{QUESTION_NAME, kind};

/// Bytes of the header.
pub const HEADER: usize = 12;
/// The least that every client takes by UDP.
const UDP_BYTES: u16 = 512;

/// Response codes.
pub mod code {
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const BADVERS: u16 = 16;
}

/// What an OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The most that the client takes by UDP, at least 512.
    pub bytes: u16,
    /// The version; we speak 0.
    pub version: u8,
    /// Whether DNSSEC records are wanted.
    pub dnssec: bool,
}

/// A question with what is to be kept of its packet.
#[derive(Clone)]
pub struct Query {
    /// The question.
    pub question: Question,
    /// Where the question ends.
    pub end: usize,
    /// The OPT record, if there was one.
    pub edns: Option<Edns>,
    /// The header's flags.
    pub flags: u16,
}

/// Why a packet is not answered as a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is told what is wrong with it, without its question.
    Code(u16),
    /// It is no question.
    Silent,
}

/// Reads a packet. What is refused how follows CoreDNS's library (miekg/dns `acceptfunc.go`).
///
/// # Errors
/// It is not a question that can be answered.
pub fn parse(packet: &[u8]) -> Result<Query, Refusal> {
    let header = packet.get(..HEADER).ok_or(Refusal::Silent)?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let flags = number(2);
    if flags & 0x8000 != 0 {
        return Err(Refusal::Silent);
    }
    if flags & 0x7800 != 0 {
        return Err(Refusal::Code(code::NOTIMP));
    }
    let malformed = Refusal::Code(code::FORMERR);
    let [questions, answers, authorities, additionals] = [number(4), number(6), number(8), number(10)];
    if questions != 1 || answers > 1 || authorities > 1 || additionals > 2 {
        return Err(malformed);
    }
    let (question, end) = Question::read(packet, HEADER).ok_or(malformed)?;
    let edns = match (answers + authorities, additionals) {
        (0, 0) => None,
        (0, 1) => match plain_opt(&packet[end..]) {
            Some(edns) => Some(edns),
            None => any_opt(packet).ok_or(malformed)?,
        },
        _ => any_opt(packet).ok_or(malformed)?,
    };
    Ok(Query { question, end, edns, flags })
}

/// A single OPT record, whose options are nothing to us.
fn plain_opt(rest: &[u8]) -> Option<Edns> {
    let head = rest.get(..11)?;
    let length = usize::from(u16::from_be_bytes([head[9], head[10]]));
    if head[0] != 0 || u16::from_be_bytes([head[1], head[2]]) != kind::OPT || rest.len() != 11 + length {
        return None;
    }
    let bytes = u16::from_be_bytes([head[3], head[4]]).max(UDP_BYTES);
    Some(Edns { bytes, version: head[6], dnssec: head[7] & 0x80 != 0 })
}

/// `None`: the packet is malformed.
fn any_opt(packet: &[u8]) -> Option<Option<Edns>> {
    let message = Message::from_vec(packet).ok()?;
    Some(message.edns.map(|edns| Edns {
        bytes: edns.max_payload().max(UDP_BYTES),
        version: edns.version(),
        dnssec: edns.flags().dnssec_ok,
    }))
}

impl Query {
    /// The most that an answer may have, by UDP.
    pub fn udp_limit(&self, most: usize) -> usize {
        self.edns.map_or(usize::from(UDP_BYTES), |edns| usize::from(edns.bytes).min(most))
    }

    /// Whether the client does without validation (CD).
    pub fn unchecked(&self) -> bool {
        self.flags & 0x0010 != 0
    }
}

// an answer's own records point to the question's name
const _: () = assert!(QUESTION_NAME as usize & 0x3FFF == HEADER);
