//! Endpoints in the form that readers rely on: each address once for each port, with all of its ports (upstream's
//! `RepackSubsets`). What their author wrote may say the same in several subsets.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset};

use super::Port;

/// Addresses that have the same ports, the ready ones first.
pub(super) struct Group<'a> {
    pub ports: Vec<Port>,
    pub addresses: Vec<(&'a EndpointAddress, bool)>,
}

/// What tells addresses apart: IP, and UID of whom it is of.
type Identity<'a> = (&'a str, &'a str);

fn identity(address: &EndpointAddress) -> Identity<'_> {
    let uid = address.target_ref.as_ref().and_then(|target| target.uid.as_deref());
    (&address.ip, uid.unwrap_or_default())
}

fn ports(subset: &EndpointSubset) -> impl Iterator<Item = Port> {
    subset.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        number: port.port,
        app_protocol: port.app_protocol.clone(),
    })
}

/// The groups of `subsets`.
pub(super) fn repack(subsets: &[EndpointSubset]) -> Vec<Group<'_>> {
    let mut known: BTreeMap<Identity<'_>, &EndpointAddress> = BTreeMap::new();
    // addresses without ports stay, under none
    let mut by_port: BTreeMap<Option<Port>, BTreeMap<Identity<'_>, bool>> = BTreeMap::new();
    for subset in subsets {
        let mut slots: Vec<Option<Port>> = ports(subset).map(Some).collect();
        if slots.is_empty() {
            slots.push(None);
        }
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let waiting = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(waiting) {
            known.entry(identity(address)).or_insert(address);
            for slot in &slots {
                // one word that it is not ready is enough
                let offers = by_port.entry(slot.clone()).or_default();
                offers.entry(identity(address)).and_modify(|was| *was &= ready).or_insert(ready);
            }
        }
    }
    let mut groups: BTreeMap<BTreeMap<Identity<'_>, bool>, Vec<Port>> = BTreeMap::new();
    for (port, offers) in by_port {
        groups.entry(offers).or_default().extend(port);
    }
    let groups = groups.into_iter().map(|(offers, ports)| {
        let all = offers.iter().filter_map(|(identity, ready)| Some((*known.get(identity)?, *ready)));
        let (mut addresses, waiting): (Vec<_>, Vec<_>) = all.partition(|(_, ready)| *ready);
        addresses.extend(waiting);
        Group { ports, addresses }
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn packed(subsets: Value) -> Vec<String> {
        let subsets: Vec<EndpointSubset> = serde_json::from_value(subsets).unwrap();
        let shown = |group: &Group<'_>| {
            let ports: Vec<String> = group.ports.iter().map(|port| port.number.to_string()).collect();
            let addresses: Vec<String> = group
                .addresses
                .iter()
                .map(|(address, ready)| format!("{}{}", address.ip, if *ready { "" } else { "?" }))
                .collect();
            format!("{} {}", ports.join(","), addresses.join(","))
        };
        repack(&subsets).iter().map(shown).collect()
    }

    fn subset(ready: &[&str], waiting: &[&str], ports: &[i32]) -> Value {
        let addresses = |ips: &[&str]| ips.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>();
        let ports: Vec<Value> = ports.iter().map(|port| json!({"name": "p", "port": port})).collect();
        json!({"addresses": addresses(ready), "notReadyAddresses": addresses(waiting), "ports": ports})
    }

    #[test]
    fn addresses_have_all_of_their_ports_in_one_place() {
        let cases = [
            (json!([]), vec![]),
            (json!([subset(&["b", "a"], &[], &[1])]), vec!["1 a,b"]),
            (json!([subset(&["a"], &[], &[1]), subset(&["a"], &[], &[2])]), vec!["1,2 a"]),
            (json!([subset(&["a"], &[], &[1]), subset(&["a", "b"], &[], &[2])]), vec!["1 a", "2 a,b"]),
            (json!([subset(&["a"], &[], &[1]), subset(&["b"], &[], &[1])]), vec!["1 a,b"]),
            (json!([subset(&["a", "b"], &["a"], &[1])]), vec!["1 b,a?"]),
            (json!([subset(&["a"], &[], &[])]), vec![" a"]),
        ];
        for (subsets, expected) in cases {
            assert_eq!(packed(subsets.clone()), expected, "{subsets}");
        }
    }
}
