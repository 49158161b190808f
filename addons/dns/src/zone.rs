//! The cluster's names as one immutable value: looked up by whoever has a question, replaced as a whole by the index.
//!
//! Ported behaviour: CoreDNS `plugin/kubernetes/parse.go` (which labels mean what), `handler.go` (what has no data and
//! what does not exist), `reverse.go`, `ns.go`, `plugin/backend_lookup.go` (SOA).
//!
//! Two differences are deliberate, for a cache before us takes a name that does not exist for one without any type: a TXT
//! question for a name that does not exist is told so, and `dns-version` exists for every type.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use imbl::{HashMap, HashSet};

use crate::name::Question;
use crate::section::{Builder, Section, kind};
use crate::service::{Alias, Claim, Prepared, Terms};

/// The version of the names' specification that upstream's DNS answers with.
const VERSION: &str = "1.1.0";
const VERSION_TTL: u32 = 28_800;

/// What a question comes to.
pub enum Found<'a> {
    /// These records.
    Records(&'a Section),
    /// One address, which the name itself says.
    Address(IpAddr),
    /// Another name, whose records are wanted with the CNAME.
    Alias(&'a Alias),
    /// The name exists, but not with this type.
    NoData,
    /// The name does not exist.
    NoName,
    /// Not known yet: the cluster's objects have not all been read.
    NotYet,
    /// Not ours to answer.
    Elsewhere,
}

/// The names of an address.
#[derive(Clone)]
struct Pointer {
    claims: Arc<[Claim]>,
    section: Section,
}

/// All names of the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Zone {
    terms: Terms,
    labels: usize,
    // under the labels of name and namespace
    services: HashMap<Box<[u8]>, Arc<Prepared>>,
    namespaces: HashSet<Box<[u8]>>,
    pointers: HashMap<IpAddr, Pointer>,
    apex: Arc<Apex>,
    soa: Soa,
    complete: bool,
}

struct Apex {
    servers: Option<Section>,
    server: Ipv4Addr,
    version: Option<Section>,
}

impl Zone {
    /// A zone without Services, not complete, whose server is at `server`.
    pub fn new(terms: Terms, server: Ipv4Addr) -> Self {
        let labels = terms.domain.labels();
        let soa = Soa { ttl: terms.ttl, serial: 0 };
        let apex = Arc::new(Apex::new(&terms, server));
        Self {
            labels,
            services: HashMap::new(),
            namespaces: HashSet::new(),
            pointers: HashMap::new(),
            apex,
            soa,
            complete: false,
            terms,
        }
    }

    /// What its answers are made with.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// How many Services have names.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// From now on, what is not here does not exist.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    /// Marks a change: `serial` is the time in seconds, as upstream's.
    pub fn touch(&mut self, serial: u32) {
        self.soa.serial = serial;
    }

    /// A namespace is there, or is gone. Gives whether that is news.
    pub fn set_namespace(&mut self, name: &str, exists: bool) -> bool {
        let before = if exists {
            self.namespaces.insert(name.as_bytes().into()).is_some()
        } else {
            self.namespaces.remove(name.as_bytes()).is_some()
        };
        before != exists
    }

    /// Replaces what a Service is known by. Gives whether anything is different now.
    pub fn set_service(&mut self, namespace: &str, name: &str, prepared: Option<Prepared>) -> bool {
        let key = key(namespace, name);
        let old = self.services.get(&key).cloned();
        if old.as_deref() == prepared.as_ref() {
            return false;
        }
        let new = prepared.map(Arc::new);
        match &new {
            Some(new) => _ = self.services.insert(key, new.clone()),
            None => _ = self.services.remove(&key),
        }
        let claims = new.as_ref().map_or(&[][..], |new| new.claims());
        claims.iter().for_each(|claim| self.claim(claim));
        let kept: std::collections::HashSet<&Claim> = claims.iter().collect();
        let stale = |claim: &&Claim| !kept.contains(claim);
        old.iter().flat_map(|old| old.claims()).filter(stale).for_each(|claim| self.unclaim(claim));
        true
    }

    fn claim(&mut self, claim: &Claim) {
        let held = self.pointers.get(&claim.ip).map(|pointer| pointer.claims.clone()).unwrap_or_default();
        if !held.contains(claim) {
            self.point(claim.ip, held.iter().chain([claim]).cloned().collect());
        }
    }

    fn unclaim(&mut self, claim: &Claim) {
        if let Some(held) = self.pointers.get(&claim.ip).map(|pointer| pointer.claims.clone()) {
            self.point(claim.ip, held.iter().filter(|held| *held != claim).cloned().collect());
        }
    }

    fn point(&mut self, ip: IpAddr, mut claims: Vec<Claim>) {
        // the Service's own name goes before those of endpoints, and is alone then
        claims.sort_by(|a, b| (!a.of_service, &a.name).cmp(&(!b.of_service, &b.name)));
        let mut builder = Builder::default();
        let alone = claims.first().is_some_and(|claim| claim.of_service);
        for claim in claims.iter().take(if alone { 1 } else { usize::MAX }) {
            builder.name(kind::PTR, self.terms.ttl, &claim.name);
        }
        match builder.finish() {
            Some(section) => _ = self.pointers.insert(ip, Pointer { claims: claims.into(), section }),
            None => _ = self.pointers.remove(&ip),
        }
    }

    /// Looks a question up.
    pub fn find(&self, question: &Question) -> Found<'_> {
        let Some(before) = question.within(&self.terms.domain, self.labels) else {
            return self.find_elsewhere(question);
        };
        match self.find_inside(question, before) {
            Found::NoName if !self.complete => Found::NotYet,
            found => found,
        }
    }

    /// Reverse names that are not ours go on to the host's resolvers, as with upstream's `fallthrough`.
    fn find_elsewhere(&self, question: &Question) -> Found<'_> {
        if question.kind != kind::PTR {
            return Found::Elsewhere;
        }
        let pointer = question.reversed().and_then(|ip| self.pointers.get(&ip));
        pointer.map_or(Found::Elsewhere, |pointer| Found::Records(&pointer.section))
    }

    fn find_inside(&self, question: &Question, before: usize) -> Found<'_> {
        if before == 0 {
            return match question.kind {
                kind::NS => records(self.apex.servers.as_ref()),
                // the SOA is made where it is sent
                _ => Found::NoData,
            };
        }
        let under = question.label(before - 1);
        if under != b"svc" && under != b"pod" {
            return self.find_special(question, before);
        }
        let (Some(service), Some(namespace)) = (before.checked_sub(3), before.checked_sub(2)) else {
            return if before == 1 || self.namespaces.contains(question.label(0)) {
                Found::NoData
            } else {
                Found::NoName
            };
        };
        if service > 2 {
            return Found::NoName;
        }
        if under == b"pod" {
            return self.find_pod(question.label(service), question.label(namespace), question.kind);
        }
        let Some(prepared) = self.services.get(question.span(service, before - 1)) else {
            return Found::NoName;
        };
        find_service(prepared, question, service)
    }

    fn find_special(&self, question: &Question, before: usize) -> Found<'_> {
        match question.span(0, before) {
            b"\x0bdns-version" if question.kind == kind::TXT => records(self.apex.version.as_ref()),
            b"\x02ns\x03dns" if question.kind == kind::A => Found::Address(self.apex.server.into()),
            b"\x0bdns-version" | b"\x02ns\x03dns" => Found::NoData,
            _ => Found::NoName,
        }
    }

    /// Upstream's `pods insecure`: the name says the address, if its namespace exists.
    fn find_pod(&self, label: &[u8], namespace: &[u8], kind: u16) -> Found<'_> {
        let ip = self.namespaces.contains(namespace).then(|| undashed(label)).flatten();
        match ip {
            None => Found::NoName,
            Some(ip) if kind == if ip.is_ipv4() { kind::A } else { kind::AAAA } => Found::Address(ip),
            Some(_) => Found::NoData,
        }
    }

    /// The SOA record as it stands in an answer to a question in the zone: what says for how long there is nothing, and
    /// the answer at the apex.
    pub fn soa(&self, question: &Question) -> [u8; SOA_BYTES] {
        let before = question.labels().saturating_sub(self.labels);
        self.soa.bytes(12 + question.offset(before) as u16)
    }

    /// Whether the question is for a name in the zone.
    pub fn holds(&self, question: &Question) -> bool {
        question.within(&self.terms.domain, self.labels).is_some()
    }

    /// Whether the question is for a name in the zone, and the zone has more labels than another that it is in.
    pub fn is_closer(&self, question: &Question, labels: usize) -> bool {
        self.labels > labels && self.holds(question)
    }

    /// Whether the question is for the name of the zone itself.
    pub fn is_apex(&self, question: &Question) -> bool {
        question.within(&self.terms.domain, self.labels) == Some(0)
    }
}

fn find_service<'a>(prepared: &'a Prepared, question: &Question, before: usize) -> Found<'a> {
    match prepared {
        // upstream: an endpoint of another name does not exist, a port of it does
        Prepared::Alias(_) if before == 1 => Found::NoName,
        Prepared::Alias(alias) => match question.kind {
            kind::CNAME => Found::Records(&alias.record),
            kind::A | kind::AAAA => Found::Alias(alias),
            _ => Found::NoData,
        },
        Prepared::Addresses(_) => {
            let labels = [(before > 0).then(|| question.label(0)), (before > 1).then(|| question.label(1))];
            let found = match labels {
                [Some(port), Some(protocol)] => prepared.addresses(&[port, protocol]),
                [Some(endpoint), None] => prepared.addresses(&[endpoint]),
                _ => prepared.addresses(&[]),
            };
            found.map_or(Found::NoName, |answers| records(answers.of(question.kind)))
        }
    }
}

fn records(section: Option<&Section>) -> Found<'_> {
    section.map_or(Found::NoData, Found::Records)
}

fn key(namespace: &str, name: &str) -> Box<[u8]> {
    let mut key = Vec::with_capacity(name.len() + namespace.len() + 2);
    for label in [name, namespace] {
        // the API takes labels of up to 63 bytes
        key.push(label.len() as u8);
        key.extend_from_slice(label.as_bytes());
    }
    key.into()
}

/// `10-244-0-7` and `fd00--7` as addresses.
fn undashed(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    if text.bytes().filter(|byte| *byte == b'-').count() == 3 && !text.contains("--") {
        return text.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::from);
    }
    text.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::from)
}

impl Apex {
    fn new(terms: &Terms, server: Ipv4Addr) -> Self {
        let (mut servers, mut version) = (Builder::default(), Builder::default());
        if let Some(name) = terms.domain.child(&["kube-dns", "kube-system", "svc"]) {
            let written = servers.name(kind::NS, terms.ttl, &name);
            servers.extra(terms.ttl, &name, written, server.into());
        }
        version.text(VERSION_TTL, VERSION);
        Self { servers: servers.finish(), server, version: version.finish() }
    }
}

#[derive(Clone, Copy)]
struct Soa {
    ttl: u32,
    serial: u32,
}

/// Bytes of the SOA record.
pub const SOA_BYTES: usize = 54;

impl Soa {
    /// The record, of a zone whose name is at `zone` in the message.
    fn bytes(self, zone: u16) -> [u8; SOA_BYTES] {
        let zone = (0xC000 | zone).to_be_bytes();
        let mut record = *b"zz\0\x06\0\x01tttt\0\x2a\x02ns\x03dnszz\x0ahostmasterzzssssrrrryyyyeeeemmmm";
        for at in [0, 19, 32] {
            record[at..at + 2].copy_from_slice(&zone);
        }
        for (at, number) in
            [(6, self.ttl), (34, self.serial), (38, 7200), (42, 1800), (46, 86_400), (50, self.ttl)]
        {
            record[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        record
    }
}
