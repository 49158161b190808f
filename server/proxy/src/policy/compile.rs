//! One policy as chains and sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sampan_api::selector::Selector;

use super::Direction;
use crate::blocks;
use crate::chain::digest;
use crate::element::Protocol;

/// Which pods a peer names.
#[derive(Clone, Debug, PartialEq)]
pub struct PodPeer {
    /// Of which namespaces; `None`: of the policy's own.
    pub namespaces: Option<Selector>,
    /// Which of their pods.
    pub pods: Selector,
}

/// A set that a rule of a policy needs, and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Wants {
    /// Addresses of the pods that one of the peers names.
    Peers(Vec<PodPeer>),
    /// Ports of this name: of the pods that the policy selects (`None`), or of those that one of the peers names.
    Ports(Option<Vec<PodPeer>>, Vec<(Protocol, String)>),
}

/// A policy, ready for the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// Its namespace.
    pub namespace: String,
    /// Which pods it selects.
    pub selector: Selector,
    /// Name and rules of its chain for each direction that it restricts.
    pub chains: BTreeMap<Direction, (Arc<str>, String)>,
    /// Its sets by name.
    pub sets: BTreeMap<Arc<str>, Wants>,
}

/// Reads a selector; one that the API should not have let in selects nothing.
fn selector(selector: Option<&LabelSelector>) -> Selector {
    let value = selector.and_then(|selector| serde_json::to_value(selector).ok());
    Selector::from_object(value.as_ref()).unwrap_or_else(|_| Selector::nothing())
}

/// Compiles a policy.
pub fn compile(policy: &NetworkPolicy) -> Compiled {
    let namespace = policy.metadata.namespace.clone().unwrap_or_default();
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let short = format!("policy-{}", digest((&namespace, name)));
    let mut compiled =
        Compiled { namespace, selector: Selector::nothing(), chains: BTreeMap::new(), sets: BTreeMap::new() };
    let Some(spec) = &policy.spec else { return compiled };
    // absent selects every pod of the namespace, as empty does
    compiled.selector = match &spec.pod_selector {
        Some(one) => selector(Some(one)),
        None => Selector::everything(),
    };
    // without policyTypes: ingress always, egress if there are rules for it
    let restricts = |word: &str, by_default: bool| match &spec.policy_types {
        Some(types) if !types.is_empty() => types.iter().any(|one| one == word),
        _ => by_default,
    };
    if restricts("Ingress", true) {
        let rules = spec.ingress.iter().flatten().map(|rule| (rule.from.as_deref(), rule.ports.as_deref()));
        chain(&mut compiled, &short, Direction::Ingress, rules);
    }
    if restricts("Egress", spec.egress.is_some()) {
        let rules = spec.egress.iter().flatten().map(|rule| (rule.to.as_deref(), rule.ports.as_deref()));
        chain(&mut compiled, &short, Direction::Egress, rules);
    }
    compiled
}

fn chain<'a>(
    compiled: &mut Compiled,
    short: &str,
    direction: Direction,
    rules: impl Iterator<Item = (Option<&'a [NetworkPolicyPeer]>, Option<&'a [NetworkPolicyPort]>)>,
) {
    let name = format!("{short}-{}", direction.letter());
    let mut text = String::new();
    for (index, (peers, ports)) in rules.enumerate() {
        let rule = Rule {
            direction,
            set: format!("{name}{index}"),
            peers: peers.unwrap_or(&[]),
            ports: ports.unwrap_or(&[]),
        };
        text.push_str(&rule.render(&mut compiled.sets));
    }
    compiled.chains.insert(direction, (name.into(), text));
}

/// One rule of a policy: no peers means everybody, no ports means every port.
struct Rule<'a> {
    direction: Direction,
    set: String,
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

impl Rule<'_> {
    fn render(&self, sets: &mut BTreeMap<Arc<str>, Wants>) -> String {
        let field = match self.direction {
            Direction::Ingress => "ip saddr",
            Direction::Egress => "ip daddr",
        };
        let pods: Vec<PodPeer> =
            self.peers.iter().filter(|peer| peer.ip_block.is_none()).map(pod_peer).collect();
        let mut by_pods = Vec::new();
        if self.peers.is_empty() {
            by_pods.push(String::new());
        }
        if !pods.is_empty() {
            by_pods.push(format!("{field} @{} ", self.set));
            sets.insert(self.set.as_str().into(), Wants::Peers(pods.clone()));
        }
        let blocks = self.peers.iter().filter_map(|peer| peer.ip_block.as_ref());
        let by_blocks: Vec<String> = blocks.filter_map(|block| block_match(field, block)).collect();
        let numbered = self.numbered();
        let mut rules: Vec<String> = Vec::new();
        for peer in by_pods.iter().chain(&by_blocks) {
            rules.extend(numbered.iter().map(|port| format!("{peer}{port}accept\n")));
        }
        let names = self.names();
        if !names.is_empty() {
            let set = format!("{}n", self.set);
            let port = format!("ip daddr . meta l4proto . th dport @{set} ");
            // a block has no names for its ports, unless the pod that it reaches has
            let peers = by_blocks.iter().filter(|_| self.direction == Direction::Ingress);
            rules.extend(by_pods.iter().chain(peers).map(|peer| format!("{peer}{port}accept\n")));
            let whose = match (self.direction, self.peers.is_empty()) {
                (Direction::Ingress, _) => None,
                (Direction::Egress, true) => Some(vec![PodPeer {
                    namespaces: Some(Selector::everything()),
                    pods: Selector::everything(),
                }]),
                (Direction::Egress, false) => Some(pods),
            };
            sets.insert(set.into(), Wants::Ports(whose, names));
        }
        rules.concat()
    }

    /// Matches of the ports that are numbers, or all of a protocol.
    fn numbered(&self) -> Vec<String> {
        if self.ports.is_empty() {
            return vec![String::new()];
        }
        let mut ranges: BTreeMap<Protocol, Vec<(u16, u16)>> = BTreeMap::new();
        for port in self.ports {
            let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
            let range = match &port.port {
                None => (0, u16::MAX),
                Some(IntOrString::Int(number)) => {
                    let last = port.end_port.unwrap_or(*number);
                    let (Ok(first), Ok(last)) = (u16::try_from(*number), u16::try_from(last)) else {
                        continue;
                    };
                    (first, last.max(first))
                }
                Some(IntOrString::String(_)) => continue,
            };
            ranges.entry(protocol).or_default().push(range);
        }
        let text = |(protocol, ranges): (Protocol, Vec<(u16, u16)>)| match ranges.contains(&(0, u16::MAX)) {
            true => format!("meta l4proto {protocol} "),
            false => format!("meta l4proto {protocol} th dport {{ {} }} ", blocks::ports(ranges)),
        };
        ranges.into_iter().map(text).collect()
    }

    fn names(&self) -> Vec<(Protocol, String)> {
        let name = |port: &NetworkPolicyPort| match &port.port {
            Some(IntOrString::String(name)) => {
                Some((Protocol::parse(port.protocol.as_deref())?, name.clone()))
            }
            _ => None,
        };
        self.ports.iter().filter_map(name).collect()
    }
}

fn pod_peer(peer: &NetworkPolicyPeer) -> PodPeer {
    let pods = match &peer.pod_selector {
        Some(one) => selector(Some(one)),
        None => Selector::everything(),
    };
    PodPeer { namespaces: peer.namespace_selector.as_ref().map(|one| selector(Some(one))), pods }
}

fn block_match(field: &str, block: &IPBlock) -> Option<String> {
    let (first, last) = blocks::parse(&block.cidr)?;
    let whole = blocks::merge([(first, last)]).concat();
    let except = blocks::merge(block.except.iter().flatten().filter_map(|text| blocks::parse(text)));
    let except = match except.is_empty() {
        true => String::new(),
        false => format!("{field} != {{ {} }} ", except.join(", ")),
    };
    Some(format!("{field} {whole} {except}"))
}
