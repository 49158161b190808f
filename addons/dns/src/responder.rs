//! Answers packets: at once what is prepared or known, later what has to be asked for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::{Name as ProtoName, RData, Record, RecordType, rdata};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::answer::{AUTHORITATIVE, Asked, Transport, Writer, address, ask, refuse, refuse_packet};
use crate::forward::{Bounds, Forwarder, Key, Reply};
use crate::hosts::Hosts;
use crate::name::{Name, Question};
use crate::query::{Query, code, parse};
use crate::section::{Section, kind};
use crate::zone::{Found, Zone};

/// Most questions that wait for an upstream, as kubeadm sets it for CoreDNS.
const MOST_WAITING: usize = 1000;
/// Most names that lead to each other (CoreDNS `backend_lookup.go`).
const MOST_ALIASES: usize = 8;

/// What became of a packet.
pub enum Outcome {
    /// So many bytes of the buffer are the answer.
    Reply(usize),
    /// The answer has to be waited for.
    Later(Box<Later>),
    /// There is none.
    Silence,
}

/// A question that has to be waited for.
pub struct Later {
    asked: Asked,
    alias: Option<Section>,
    // counts it
    _permit: OwnedSemaphorePermit,
}

/// Answers questions. All that it reads may be replaced while it does.
pub struct Responder {
    zone: Arc<ArcSwap<Zone>>,
    hosts: Hosts,
    forwarder: Forwarder,
    waiting: Arc<Semaphore>,
}

impl Responder {
    /// Answers out of these.
    pub fn new(zone: Arc<ArcSwap<Zone>>, hosts: Hosts, forwarder: Forwarder) -> Self {
        Self { zone, hosts, forwarder, waiting: Arc::new(Semaphore::new(MOST_WAITING)) }
    }

    /// The names of the cluster, as they are now.
    pub fn zone(&self) -> arc_swap::Guard<Arc<Zone>> {
        self.zone.load()
    }

    /// Answers the packet in the first `length` bytes of `buffer`, in the buffer. `turn` is another number each time.
    pub fn answer(
        &self,
        zone: &Zone,
        buffer: &mut [u8],
        length: usize,
        transport: Transport,
        turn: usize,
    ) -> Outcome {
        let query = match parse(&buffer[..length]) {
            Ok(query) => query,
            Err(refusal) => match refuse_packet(buffer, refusal) {
                0 => return Outcome::Silence,
                length => return Outcome::Reply(length),
            },
        };
        if let Some(code) = unanswerable(&query) {
            return Outcome::Reply(refuse(buffer, &query, code));
        }
        match self.find(zone, &query.question) {
            Found::Elsewhere => self.forward(&query, buffer, transport, turn),
            Found::Alias(alias) => self.later(query, buffer, Some(alias.record.clone())),
            found => {
                let writer = Writer::new(buffer, &query, transport, turn);
                Outcome::Reply(write(writer, &query, zone, &found))
            }
        }
    }

    fn find<'a>(&'a self, zone: &'a Zone, question: &Question) -> Found<'a> {
        match self.hosts.find(question) {
            Found::Elsewhere => {}
            found => return found,
        }
        // the longer zone wins
        match self.forwarder.stub(question) {
            Some(labels) if !zone.is_closer(question, labels) => Found::Elsewhere,
            _ => zone.find(question),
        }
    }

    fn forward(&self, query: &Query, buffer: &mut [u8], transport: Transport, turn: usize) -> Outcome {
        if self.forwarder.is_probe(&query.question) {
            return Outcome::Reply(refuse(buffer, query, code::REFUSED));
        }
        match self.forwarder.peek(&Key::of(query)) {
            Some(reply) => {
                let writer = Writer::new(buffer, query, transport, turn);
                Outcome::Reply(reply.write(writer, wants_authentic(query), Instant::now()))
            }
            None => self.later(query.clone(), buffer, None),
        }
    }

    fn later(&self, query: Query, buffer: &mut [u8], alias: Option<Section>) -> Outcome {
        match self.waiting.clone().try_acquire_owned() {
            Ok(permit) => {
                let asked = Asked::keep(buffer, query);
                Outcome::Later(Box::new(Later { asked, alias, _permit: permit }))
            }
            Err(_) => Outcome::Reply(refuse(buffer, &query, code::REFUSED)),
        }
    }

    /// The answer that had to be waited for.
    pub async fn finish(&self, later: Box<Later>, transport: Transport) -> Vec<u8> {
        let Later { asked, alias, .. } = &*later;
        let query = &asked.query;
        let reply = match alias {
            None => self.forwarder.ask(Key::of(query)).await,
            Some(record) => Arc::new(self.follow(query, record).await),
        };
        let mut buffer = asked.buffer(transport);
        let writer = Writer::new(&mut buffer, query, transport, 0);
        let length = reply.write(writer, wants_authentic(query), Instant::now());
        buffer.truncate(length);
        buffer
    }

    /// An ExternalName: its CNAME, and what that leads to here or upstream. That there is nothing at its end is no error,
    /// as with CoreDNS; that nobody answers is.
    async fn follow(&self, query: &Query, record: &Section) -> Reply {
        let key = Key::of(query);
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        let mut names = HashSet::from([key.name.clone()]);
        let (mut owner, mut record) = (key.name.clone(), record.clone());
        let failure = || Reply::failure(code::SERVFAIL, Instant::now());
        loop {
            let ttl = self.zone().terms().ttl;
            let Some(target) = alias_target(&record) else { return failure() };
            let (Some(from), Some(to)) = (proto(&owner), proto(&target)) else { return failure() };
            message.answers.push(Record::from_rdata(from, ttl, RData::CNAME(rdata::CNAME(to))));
            if names.len() > MOST_ALIASES || !names.insert(target.clone()) {
                break;
            }
            match self.step(query, &target).await {
                Step::Alias(next) => (owner, record) = (target, next),
                Step::Answers(answers) => {
                    message.answers.extend(answers);
                    break;
                }
                Step::Failed => return failure(),
            }
        }
        let Some(asked) = proto(&key.name) else { return failure() };
        message.queries.push(hickory_proto::op::Query::query(asked, RecordType::from(key.kind)));
        let ttl =
            message.answers.iter().map(|record| record.ttl).min().unwrap_or(0).min(self.zone().terms().ttl);
        let (ttl, now) = (Duration::from_secs(ttl.into()), Instant::now());
        let bounds = Bounds { positive: ttl, negative: ttl };
        Reply::of(&message, &key, bounds, now).map_or_else(failure, |reply| reply.lasting(now + ttl))
    }

    async fn step(&self, query: &Query, target: &Name) -> Step {
        let (kind, dnssec) = (query.question.kind, query.edns.is_some_and(|edns| edns.dnssec));
        let Some(question) = Question::of(target, kind) else { return Step::Failed };
        let zone = self.zone.load_full();
        if let Found::Alias(alias) = self.find(&zone, &question) {
            return Step::Alias(alias.record.clone());
        }
        let mut buffer = ask(target, kind, dnssec);
        let length = buffer.len();
        buffer.resize(crate::answer::TCP_BYTES, 0);
        let answer = match self.answer(&zone, &mut buffer, length, Transport::Tcp, 0) {
            Outcome::Reply(length) => buffer[..length].to_vec(),
            Outcome::Later(later) => {
                let asked = &later.asked;
                let reply = self.forwarder.ask(Key::of(&asked.query)).await;
                let mut buffer = asked.buffer(Transport::Tcp);
                let writer = Writer::new(&mut buffer, &asked.query, Transport::Tcp, 0);
                let length = reply.write(writer, false, Instant::now());
                buffer[..length].to_vec()
            }
            Outcome::Silence => return Step::Failed,
        };
        match Message::from_vec(&answer) {
            Ok(message) if matches!(u16::from(message.metadata.response_code), 0 | code::NXDOMAIN) => {
                Step::Answers(message.answers)
            }
            _ => Step::Failed,
        }
    }
}

enum Step {
    Alias(Section),
    Answers(Vec<Record>),
    Failed,
}

/// The name in the data of a CNAME record.
fn alias_target(record: &Section) -> Option<Name> {
    let mut packet = record.records().get(12..)?.to_vec();
    packet.extend([0, 1, 0, 1]);
    Some(Question::read(&packet, 0)?.0.name())
}

fn proto(name: &Name) -> Option<ProtoName> {
    ProtoName::read(&mut BinDecoder::new(name.wire())).ok()
}

fn wants_authentic(query: &Query) -> bool {
    query.flags & 0x0020 != 0 || query.edns.is_some_and(|edns| edns.dnssec)
}

/// What upstream's server refuses of a question, and zone transfers, which it has no plugin for by default.
fn unanswerable(query: &Query) -> Option<u16> {
    match query {
        _ if query.question.class != 1 => Some(code::REFUSED),
        _ if query.edns.is_some_and(|edns| edns.version > 0) => Some(code::BADVERS),
        _ if matches!(query.question.kind, kind::AXFR | kind::IXFR) => Some(code::REFUSED),
        _ => None,
    }
}

fn write(mut writer: Writer<'_>, query: &Query, zone: &Zone, found: &Found<'_>) -> usize {
    match found {
        Found::Records(section) => _ = writer.section(section),
        Found::Address(ip) => {
            if let Some(section) = address(zone.terms().ttl, *ip) {
                writer.section(&section);
            }
        }
        // names of the configuration are in no zone
        _ if zone.holds(&query.question) => writer.soa(zone),
        _ => {}
    }
    let code = match found {
        Found::NoName => code::NXDOMAIN,
        Found::NotYet => code::SERVFAIL,
        _ => 0,
    };
    writer.finish(AUTHORITATIVE, code)
}
