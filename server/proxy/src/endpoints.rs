//! Which endpoints of a service may be used from this node: `CategorizeEndpoints` of upstream's `pkg/proxy/topology.go`
//! (KEP-1669 terminating endpoints, KEP-2433 and KEP-3015 topology hints).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::chain::is_served;
use crate::element::{Endpoint, Protocol};

/// What is known of the node that the rules are for.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Its name.
    pub node: String,
    /// Its label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// One endpoint with what decides about its use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
    for_node: Hint,
    for_zone: Hint,
}

/// What an endpoint says about who should use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    /// Nothing.
    Absent,
    /// Us.
    Here,
    /// Others.
    Elsewhere,
}

impl Hint {
    fn of<'a>(names: impl Iterator<Item = &'a str>, here: Option<&str>) -> Self {
        names.fold(Hint::Absent, |so_far, name| match (so_far, Some(name) == here) {
            (Hint::Here, _) | (_, true) => Hint::Here,
            _ => Hint::Elsewhere,
        })
    }
}

/// Endpoints of one port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// Under the policy `Cluster`; empty only if no node has any.
    pub cluster: Vec<Endpoint>,
    /// Under the policy `Local`.
    pub local: Vec<Endpoint>,
    /// All that serve, also if they are given no new connections.
    pub serving: Vec<Endpoint>,
}

/// The usable endpoints of a port, sorted, of all of the service's slices.
pub fn usable<'a>(
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
    port: &str,
    protocol: Protocol,
    here: &Here,
) -> Usable {
    let mut all: BTreeMap<Endpoint, Candidate> = BTreeMap::new();
    for slice in slices {
        for (endpoint, candidate) in candidates(slice, port, protocol, here) {
            let known = all.entry(endpoint).or_insert_with(|| candidate.clone());
            // slices may overlap; the later one tells of its state, either of its place
            *known = Candidate { local: candidate.local || known.local, ..candidate };
        }
    }
    categorize(&all)
}

fn candidates(
    slice: &EndpointSlice,
    port: &str,
    protocol: Protocol,
    here: &Here,
) -> Vec<(Endpoint, Candidate)> {
    let ports = slice.ports.iter().flatten();
    let number = ports
        .filter(|one| one.name.as_deref().unwrap_or_default() == port)
        .filter(|one| Protocol::parse(one.protocol.as_deref()) == Some(protocol))
        .find_map(|one| u16::try_from(one.port?).ok());
    let Some(number) = number else { return Vec::new() };
    let endpoints = slice.endpoints.iter().flatten();
    let with_address = endpoints.filter_map(|one| {
        let address: IpAddr = one.addresses.first()?.parse().ok().filter(is_served)?;
        let conditions = one.conditions.as_ref();
        let ready = conditions.and_then(|all| all.ready).unwrap_or(true);
        let serving = conditions.and_then(|all| all.serving).unwrap_or(true);
        let terminating = conditions.and_then(|all| all.terminating).unwrap_or(false);
        let hints = one.hints.as_ref();
        let nodes = hints.and_then(|hints| hints.for_nodes.as_ref()).into_iter().flatten();
        let zones = hints.and_then(|hints| hints.for_zones.as_ref()).into_iter().flatten();
        let candidate = Candidate {
            ready,
            serving,
            terminating,
            local: one.node_name.as_deref() == Some(&here.node),
            for_node: Hint::of(nodes.map(|one| one.name.as_str()), Some(&here.node)),
            for_zone: Hint::of(zones.map(|one| one.name.as_str()), here.zone.as_deref()),
        };
        Some((Endpoint { address, port: number }, candidate))
    });
    with_address.collect()
}

fn categorize(all: &BTreeMap<Endpoint, Candidate>) -> Usable {
    let pick = |wanted: &dyn Fn(&Candidate) -> bool| -> Vec<Endpoint> {
        all.iter().filter(|(_, one)| wanted(one)).map(|(endpoint, _)| *endpoint).collect()
    };
    let or_terminating = |ready: Vec<Endpoint>, terminating: &dyn Fn(&Candidate) -> bool| {
        if ready.is_empty() { pick(terminating) } else { ready }
    };
    let near = nearness(all.values().filter(|one| one.ready));
    let cluster = or_terminating(pick(&|one| one.ready && near.is_none_or(|near| near(one))), &|one| {
        one.serving && one.terminating
    });
    let local = or_terminating(pick(&|one| one.local && one.ready), &|one| {
        one.local && one.serving && one.terminating
    });
    Usable { cluster, local, serving: pick(&|one| one.serving) }
}

/// How to tell the endpoints meant for us, if every ready one has a hint and one of them means us; by node before by
/// zone.
fn nearness<'a>(ready: impl Iterator<Item = &'a Candidate> + Clone) -> Option<fn(&Candidate) -> bool> {
    let rules: [fn(&Candidate) -> Hint; 2] = [|one| one.for_node, |one| one.for_zone];
    let applies = |hint: fn(&Candidate) -> Hint| {
        ready.clone().all(|one| hint(one) != Hint::Absent) && ready.clone().any(|one| hint(one) == Hint::Here)
    };
    let [node, zone] = rules.map(applies);
    if node {
        Some(|one| one.for_node == Hint::Here)
    } else if zone {
        Some(|one| one.for_zone == Hint::Here)
    } else {
        None
    }
}
