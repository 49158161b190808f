//! Which sets of which policies a pod is in: pure, for one pod at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};

use super::compile::{Compiled, PodPeer, Wants};
use super::{Direction, Profile};
use crate::chain::{Chain, is_served};
use crate::element::{Element, Frontend, Key, Map, Protocol, Value};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What policies look at in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its named ports.
    pub ports: Vec<(Protocol, String, u16)>,
    /// Whether its traffic passes here: rules are for pods of this node alone.
    pub here: bool,
}

impl Subject {
    /// A pod; `None` if policies have nothing to do with it: it has no address, or the host's, or has ended.
    pub fn of_pod(pod: &Pod, node: &str) -> Option<Self> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        if spec.host_network == Some(true) || matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
        {
            return None;
        }
        let texts = status.pod_ips.iter().flatten().map(|one| &one.ip).chain(&status.pod_ip);
        let mut addresses: Vec<IpAddr> =
            texts.filter_map(|text| text.parse().ok()).filter(is_served).collect();
        addresses.sort_unstable();
        addresses.dedup();
        // a sidecar is an init container that stays
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let ports = containers.flat_map(|one| one.ports.iter().flatten()).filter_map(|port| {
            let number = u16::try_from(port.container_port).ok()?;
            Some((Protocol::parse(port.protocol.as_deref())?, port.name.clone()?, number))
        });
        Some(Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            addresses,
            ports: ports.collect(),
            here: spec.node_name.as_deref() == Some(node),
        })
        .filter(|subject| !subject.addresses.is_empty())
    }

    /// The pods that a service selects, as one, at the service's address that the node serves in their place.
    pub fn of_service(service: &Service, address: IpAddr) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let labels = spec.selector.clone().filter(|selector| !selector.is_empty())?;
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port).ok()?;
            Some((Protocol::parse(port.protocol.as_deref())?, port.name.clone()?, number))
        });
        Some(Self {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            labels,
            addresses: vec![address],
            ports: ports.collect(),
            here: false,
        })
    }
}

/// Whether one of the peers of a policy in `namespace` names the pod.
fn named(peers: &[PodPeer], namespace: &str, pod: &Subject, namespace_labels: &Labels) -> bool {
    peers.iter().any(|peer| {
        let there = match &peer.namespaces {
            Some(selector) => selector.matches(namespace_labels),
            None => pod.namespace == namespace,
        };
        there && peer.pods.matches(&pod.labels)
    })
}

/// All elements that come of a pod being there.
pub fn elements<'a>(
    pod: &Subject,
    namespace_labels: &Labels,
    policies: impl Iterator<Item = &'a Arc<Compiled>>,
) -> Vec<Element> {
    let mut all = Vec::new();
    let mut profiles: BTreeMap<Direction, Vec<Arc<str>>> = BTreeMap::new();
    for policy in policies {
        let selected = pod.namespace == policy.namespace && policy.selector.matches(&pod.labels);
        if selected && pod.here {
            for (direction, (chain, _)) in &policy.chains {
                profiles.entry(*direction).or_default().push(chain.clone());
            }
        }
        for (set, wants) in &policy.sets {
            match wants {
                Wants::Peers(peers) => {
                    if named(peers, &policy.namespace, pod, namespace_labels) {
                        let keys = pod.addresses.iter().map(|one| Key::Address(*one));
                        all.extend(
                            keys.map(|key| Element::new(Map::Peers(set.clone()), key, Value::Present)),
                        );
                    }
                }
                Wants::Ports(peers, names) => {
                    let meant = match peers {
                        Some(peers) => named(peers, &policy.namespace, pod, namespace_labels),
                        None => selected,
                    };
                    if meant {
                        all.extend(named_ports(pod, set, names));
                    }
                }
            }
        }
    }
    for (direction, mut chains) in profiles {
        chains.sort_unstable();
        let map = match direction {
            Direction::Ingress => Map::Ingress,
            Direction::Egress => Map::Egress,
        };
        let chain = Chain::Profile(Arc::new(Profile { chains }));
        let keys = pod.addresses.iter().map(|one| Key::Address(*one));
        all.extend(keys.map(|key| Element::new(map.clone(), key, Value::Goto(chain.clone()))));
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn named_ports<'a>(
    pod: &'a Subject,
    set: &'a Arc<str>,
    names: &'a [(Protocol, String)],
) -> impl Iterator<Item = Element> + 'a {
    let ports = pod.ports.iter().filter(|(protocol, name, _)| {
        names.iter().any(|(wanted, wanted_name)| wanted == protocol && wanted_name == name)
    });
    ports.flat_map(move |(protocol, _, port)| {
        pod.addresses.iter().map(move |address| {
            let frontend = Frontend { address: Some(*address), protocol: *protocol, port: *port };
            Element::new(Map::Ports(set.clone()), Key::Frontend(frontend), Value::Present)
        })
    })
}
