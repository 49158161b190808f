//! What an upstream said, read and written anew by hickory, as it is kept and given to many clients.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::{DNSClass, RData, Record};
use tokio::time::Instant;

use crate::answer::{AUTHENTIC, Writer};
use crate::forward::Key;
use crate::query::{HEADER, code};
use crate::section::{Section, kind, walk};

/// For how long it is remembered that nobody answered (RFC 9520: at least a second, at most five minutes).
const FAILURE: Duration = Duration::from_secs(5);

/// Bounds of how long answers are kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest time for records.
    pub positive: Duration,
    /// Longest time for that there are none.
    pub negative: Duration,
}

/// An answer of an upstream, or that there is none.
pub struct Reply {
    /// The response code.
    pub code: u16,
    authentic: bool,
    section: Option<Section>,
    // places of the TTLs in the section
    ttls: Box<[u16]>,
    until: Instant,
}

/// Why an upstream's message is not an answer to the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is about something else: someone else's, or a lie.
    Other,
    /// It cannot be read.
    Malformed,
    /// It did not fit into a datagram.
    Truncated,
}

impl Reply {
    /// That there is no answer.
    pub fn failure(code: u16, now: Instant) -> Self {
        let keep = if code == code::SERVFAIL { FAILURE } else { Duration::ZERO };
        Self { code, authentic: false, section: None, ttls: Box::default(), until: now + keep }
    }

    /// Reads a message that an upstream sent for the question with number `id`.
    ///
    /// # Errors
    /// It is not an answer to it.
    pub fn read(bytes: &[u8], id: u16, key: &Key, bounds: Bounds, now: Instant) -> Result<Self, Unfit> {
        if bytes.len() < HEADER || bytes[..2] != id.to_be_bytes() || bytes[2] & 0x80 == 0 {
            return Err(Unfit::Other);
        }
        let counts = [bytes[4], bytes[5]];
        match crate::name::Question::read(bytes, HEADER) {
            Some((question, _)) if counts == [0, 1] && key.is_asked_by(&question) => {}
            // an error may come without its question
            None if counts == [0, 0] && bytes.len() == HEADER => {
                return Ok(Self::failure(u16::from(bytes[3] & 15).max(1), now));
            }
            _ => return Err(Unfit::Other),
        }
        if bytes[2] & 0x02 != 0 {
            return Err(Unfit::Truncated);
        }
        let message = Message::from_vec(bytes).map_err(|_| Unfit::Malformed)?;
        Self::of(&message, key, bounds, now).ok_or(Unfit::Malformed)
    }

    /// Takes the records of a message; `None` if they cannot be written behind the question.
    pub fn of(message: &Message, key: &Key, bounds: Bounds, now: Instant) -> Option<Self> {
        let mut clean = Message::new(0, MessageType::Response, OpCode::Query);
        clean.queries = message.queries.clone();
        clean.answers = message.answers.clone();
        clean.authorities = message.authorities.clone();
        clean.additionals = message.additionals.clone();
        let bytes = clean.to_vec().ok()?;
        let records = bytes.get(HEADER + key.name.wire().len() + 4..)?;
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let ttls: Option<Box<[u16]>> = walk(records).map(|record| u16::try_from(record.ttl).ok()).collect();
        let section = Section::fixed([number(6), number(8), number(10)], records);
        Some(Self {
            code: message.metadata.response_code.into(),
            authentic: message.metadata.authentic_data,
            section: (!records.is_empty()).then_some(section),
            ttls: ttls?,
            until: now + lifetime(message, bounds),
        })
    }

    /// The same, to be given until another moment.
    pub fn lasting(self, until: Instant) -> Self {
        Self { until, ..self }
    }

    /// Whether it says for certain what there is or is not.
    pub fn is_definite(&self) -> bool {
        matches!(self.code, 0 | code::NXDOMAIN)
    }

    /// Whether it may still be given.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.until > now
    }

    /// About how much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let records = self.section.as_ref().map_or(0, |section| section.records().len());
        records + self.ttls.len() * 2 + size_of::<Self>()
    }

    /// Writes it as the answer to a query.
    pub fn write(&self, mut writer: Writer<'_>, wants_authentic: bool, now: Instant) -> usize {
        if let Some(section) = &self.section {
            let left = self.until.saturating_duration_since(now);
            // begun seconds count whole, so that a new answer has its own TTL
            let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let range = writer.section(section);
            writer.set_ttls(range, &self.ttls, u32::try_from(left).unwrap_or(u32::MAX));
        }
        let flags = if self.authentic && wants_authentic { AUTHENTIC } else { 0 };
        writer.finish(flags, self.code)
    }
}

/// For how long a message holds (RFC 2308): its shortest TTL, or what the SOA says of there being nothing.
fn lifetime(message: &Message, bounds: Bounds) -> Duration {
    let shortest = |records: &[Record]| records.iter().map(|record| record.ttl).min();
    let soa = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let code: u16 = message.metadata.response_code.into();
    let asked = message.queries.first().map(|query| u16::from(query.query_type()));
    let answered = message
        .answers
        .iter()
        .any(|record| record.dns_class == DNSClass::IN && Some(u16::from(record.record_type())) == asked);
    match code {
        0 if answered || asked == Some(kind::ANY) => {
            let ttl = shortest(&message.answers).unwrap_or(0);
            Duration::from_secs(ttl.into()).min(bounds.positive)
        }
        0 | code::NXDOMAIN => {
            let ttl = soa.unwrap_or(0).min(shortest(&message.answers).unwrap_or(u32::MAX));
            Duration::from_secs(ttl.into()).min(bounds.negative)
        }
        _ => Duration::ZERO,
    }
}
