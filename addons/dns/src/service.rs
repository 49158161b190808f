//! The answers of one Service, made when it or its EndpointSlices change. Pure.
//!
//! Ported behaviour: CoreDNS `plugin/kubernetes/kubernetes.go` (findServices), `plugin/backend_lookup.go` (weights,
//! duplicates) and `plugin/kubernetes/object/endpoint.go` (what is ready).
//!
//! ```text
//!  name.namespace.svc                 the cluster addresses; headless: every ready endpoint
//!  _port._protocol.name.namespace…    the same for one port; the underscores may be left out
//!  hostname.name.namespace…           the endpoints of that hostname, or the one with that dashed address
//! ```

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::name::Name;
use crate::section::{Builder, Section, kind};

/// What the answers are made with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The cluster's zone.
    pub domain: Name,
    /// TTL of all answers, in seconds.
    pub ttl: u32,
}

/// The answers for one name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answers {
    a: Option<Section>,
    aaaa: Option<Section>,
    srv: Option<Section>,
}

impl Answers {
    /// The records of a type; `None`: there are none, though the name exists.
    pub fn of(&self, kind: u16) -> Option<&Section> {
        match kind {
            kind::A => self.a.as_ref(),
            kind::AAAA => self.aaaa.as_ref(),
            kind::SRV => self.srv.as_ref(),
            _ => None,
        }
    }
}

/// One port's answers, under the labels that ask for it.
#[derive(PartialEq, Eq)]
struct PortAnswers {
    port: Box<[u8]>,
    protocol: Box<[u8]>,
    answers: Answers,
}

/// All answers of a Service.
#[derive(PartialEq, Eq)]
pub enum Prepared {
    /// It has addresses.
    Addresses(Addresses),
    /// It is another name for something.
    Alias(Alias),
}

/// The names of a Service with addresses.
#[derive(PartialEq, Eq)]
pub struct Addresses {
    own: Option<Answers>,
    ports: Box<[PortAnswers]>,
    // sorted by label
    endpoints: Box<[(Box<[u8]>, Answers)]>,
    claims: Box<[Claim]>,
}

/// An ExternalName.
#[derive(PartialEq, Eq)]
pub struct Alias {
    /// The CNAME record.
    pub record: Section,
    /// What it names.
    pub target: Name,
}

/// That an address has a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The address.
    pub ip: IpAddr,
    /// Its name.
    pub name: Name,
    /// Whether it is of the Service itself, and so goes before those of endpoints.
    pub of_service: bool,
}

impl Prepared {
    /// What stands before the Service's name is asked for: nothing, an endpoint, or a port and a protocol. `None`: there
    /// is no such name.
    pub fn addresses(&self, before: &[&[u8]]) -> Option<&Answers> {
        let Self::Addresses(Addresses { own, ports, endpoints, .. }) = self else { return None };
        match before {
            [] => own.as_ref(),
            [endpoint] => {
                let found = endpoints.binary_search_by(|(label, _)| (**label).cmp(endpoint)).ok()?;
                Some(&endpoints[found].1)
            }
            [port, protocol] => {
                let (port, protocol) = (bare(port), bare(protocol));
                let asked = |held: &&PortAnswers| *held.port == *port && *held.protocol == *protocol;
                ports.iter().find(asked).map(|held| &held.answers)
            }
            _ => None,
        }
    }

    /// The names that it gives to addresses.
    pub fn claims(&self) -> &[Claim] {
        match self {
            Self::Addresses(addresses) => &addresses.claims,
            Self::Alias(_) => &[],
        }
    }
}

fn bare(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}

/// One address with a port, under a name.
struct Record {
    ip: IpAddr,
    // none: it has no ports
    port: Option<u16>,
    target: Name,
}

struct Target<'a> {
    ip: IpAddr,
    label: String,
    ports: &'a [(String, String, Option<u16>)],
}

/// The answers of a Service; `None`: it has no name.
pub fn prepare(service: &Service, slices: &[Arc<EndpointSlice>], terms: &Terms) -> Option<Prepared> {
    let spec = service.spec.as_ref()?;
    let labels = [service.metadata.name.as_deref()?, service.metadata.namespace.as_deref()?, "svc"];
    let own = terms.domain.child(&labels)?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return alias(spec, terms);
    }
    let slices: Vec<_> = slices.iter().map(|slice| (slice, ports_of(slice))).collect();
    let targets: Vec<Target<'_>> =
        slices.iter().flat_map(|(slice, ports)| targets_of(slice, ports)).collect();
    let mut made =
        if headless(spec) { of_endpoints(&targets, &own, terms) } else { of_cluster(spec, &own, terms) };
    made.endpoints = by_hostname(&targets, &own, terms);
    made.claims = claims(spec, &targets, &own);
    Some(Prepared::Addresses(made))
}

/// An ExternalName that is an address has no records: it would be no name.
fn alias(spec: &ServiceSpec, terms: &Terms) -> Option<Prepared> {
    let text = spec.external_name.as_deref()?;
    if text.trim_end_matches('.').parse::<IpAddr>().is_ok() {
        return None;
    }
    let target = Name::parse(text).ok()?;
    let mut builder = Builder::default();
    builder.name(kind::CNAME, terms.ttl, &target);
    Some(Prepared::Alias(Alias { record: builder.finish()?, target }))
}

fn headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.as_deref().filter(|ips| !ips.is_empty());
    let all = listed.unwrap_or(spec.cluster_ip.as_slice());
    all.iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn of_cluster(spec: &ServiceSpec, own: &Name, terms: &Terms) -> Addresses {
    let ips = cluster_ips(spec);
    let mut all = Vec::new();
    let mut ports: Vec<PortAnswers> = Vec::new();
    for port in spec.ports.iter().flatten() {
        let number = u16::try_from(port.port).ok();
        let records = || ips.iter().map(|ip| Record { ip: *ip, port: number, target: own.clone() });
        all.extend(records());
        let (name, protocol) = (port.name.as_deref(), port.protocol.as_deref().unwrap_or("TCP"));
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let records: Vec<Record> = records().collect();
            ports.push(port_answers(name, protocol, answers(&records, terms)));
        }
    }
    let own = (!all.is_empty()).then(|| answers(&all, terms));
    if let (Some(own), [port]) = (&own, &mut ports[..])
        && port.answers == *own
    {
        // most Services have one port: its records are kept once
        port.answers = own.clone();
    }
    Addresses { own, ports: ports.into(), endpoints: Box::default(), claims: Box::default() }
}

fn port_answers(port: &str, protocol: &str, answers: Answers) -> PortAnswers {
    let label = |text: &str| text.to_ascii_lowercase().into_bytes().into();
    PortAnswers { port: label(port), protocol: label(protocol), answers }
}

fn ports_of(slice: &EndpointSlice) -> Vec<(String, String, Option<u16>)> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.is_empty() {
        return vec![(String::new(), String::new(), None)];
    }
    let one = |port: &k8s_openapi::api::discovery::v1::EndpointPort| {
        let number = port.port.and_then(|port| u16::try_from(port).ok());
        (port.name.clone().unwrap_or_default(), port.protocol.clone().unwrap_or_else(|| "TCP".into()), number)
    };
    ports.iter().map(one).collect()
}

/// The ready addresses of a slice. An unknown condition counts as ready; publishNotReadyAddresses makes all of them so.
fn targets_of<'a>(
    slice: &'a EndpointSlice,
    ports: &'a [(String, String, Option<u16>)],
) -> impl Iterator<Item = Target<'a>> {
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    ready.flat_map(move |endpoint| {
        let ips = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
        ips.map(move |ip| {
            let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
            let label = hostname.map_or_else(|| dashed(ip), str::to_ascii_lowercase);
            Target { ip, label, ports }
        })
    })
}

fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

fn records(targets: &[&Target<'_>], own: &Name, only: Option<(&str, &str)>) -> Vec<Record> {
    let mut all = Vec::new();
    for target in targets {
        let Some(name) = below(own, &target.label) else { continue };
        for (port, protocol, number) in target.ports {
            if only.is_none_or(|asked| asked == (port.as_str(), protocol.as_str())) {
                all.push(Record { ip: target.ip, port: *number, target: name.clone() });
            }
        }
    }
    all
}

fn below(own: &Name, label: &str) -> Option<Name> {
    own.child(&[label])
}

fn of_endpoints(targets: &[Target<'_>], own: &Name, terms: &Terms) -> Addresses {
    let targets: Vec<&Target<'_>> = targets.iter().collect();
    let names: HashSet<(&str, &str)> = targets
        .iter()
        .flat_map(|target| target.ports)
        .filter(|(port, ..)| !port.is_empty())
        .map(|(port, protocol, _)| (port.as_str(), protocol.as_str()))
        .collect();
    let all = records(&targets, own, None);
    let whole = (!all.is_empty()).then(|| answers(&all, terms));
    let share = |made: Answers| whole.as_ref().filter(|whole| **whole == made).cloned().unwrap_or(made);
    let mut names: Vec<(&str, &str)> = names.into_iter().collect();
    names.sort_unstable();
    let one = |(port, protocol): (&str, &str)| {
        let records = records(&targets, own, Some((port, protocol)));
        port_answers(port, protocol, share(answers(&records, terms)))
    };
    let ports = names.into_iter().map(one).collect();
    Addresses { own: whole.clone(), ports, endpoints: Box::default(), claims: Box::default() }
}

fn by_hostname(targets: &[Target<'_>], own: &Name, terms: &Terms) -> Box<[(Box<[u8]>, Answers)]> {
    let mut grouped: BTreeMap<&str, Vec<&Target<'_>>> = BTreeMap::new();
    for target in targets {
        grouped.entry(&target.label).or_default().push(target);
    }
    let one = |(label, targets): (&str, Vec<&Target<'_>>)| {
        let records = records(&targets, own, None);
        (!records.is_empty()).then(|| (label.as_bytes().into(), answers(&records, terms)))
    };
    grouped.into_iter().filter_map(one).collect()
}

fn claims(spec: &ServiceSpec, targets: &[Target<'_>], own: &Name) -> Box<[Claim]> {
    let external = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
    let services = cluster_ips(spec).into_iter().chain(external).map(|ip| Claim {
        ip,
        name: own.clone(),
        of_service: true,
    });
    let endpoints = targets.iter().filter_map(|target| {
        Some(Claim { ip: target.ip, name: below(own, &target.label)?, of_service: false })
    });
    services.chain(endpoints).collect()
}

/// Records of three types: addresses once each, and an SRV record for each name and port, of weights that come to 100.
fn answers(records: &[Record], terms: &Terms) -> Answers {
    let (mut a, mut aaaa, mut srv) = (Builder::default(), Builder::default(), Builder::default());
    let mut seen = HashSet::new();
    for ip in records.iter().map(|record| record.ip).filter(|ip| seen.insert(*ip)) {
        if ip.is_ipv4() { a.address(terms.ttl, ip) } else { aaaa.address(terms.ttl, ip) }
    }
    // upstream counts those without a port, and duplicates, too
    let weight = u16::try_from(100 / records.len().max(1)).unwrap_or(1).max(1);
    let (mut ports, mut extras, mut written) = (HashSet::new(), HashSet::new(), BTreeMap::new());
    let with_port = || records.iter().filter_map(|record| Some((record, record.port?)));
    for (record, port) in with_port() {
        if ports.insert((&record.target, port)) {
            let place = srv.srv(terms.ttl, weight, port, &record.target);
            written.entry(&record.target).or_insert(place);
        }
    }
    for (record, _) in with_port() {
        if let Some(place) = written.get(&record.target)
            && extras.insert((&record.target, record.ip))
        {
            srv.extra(terms.ttl, &record.target, *place, record.ip);
        }
    }
    Answers { a: a.finish(), aaaa: aaaa.finish(), srv: srv.finish() }
}
