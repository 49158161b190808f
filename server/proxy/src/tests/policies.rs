//! Policies, and the rules and sets that they become.

use std::collections::BTreeMap;

use sampan_reconcile::Key;
use serde_json::{Value as Json, json};

use super::{key, model, pod, policy};
use crate::element::Map;
use crate::table::{Change, Structure};

/// The rules of a policy's chains, with its long name cut.
fn rules(spec: Json) -> Vec<String> {
    let mut model = model();
    model.apply_policy(&key("p"), policy(spec).as_ref());
    let chains = model.take().change.structures.into_iter().filter_map(|(name, structure)| match structure {
        Structure::Chain(rules) => Some((name, rules)),
        Structure::Set(_) => None,
    });
    chains
        .flat_map(|(name, rules)| {
            let (short, direction) = name.rsplit_once('-').expect("direction");
            let header = format!("{direction}:");
            let rules: Vec<String> = rules.lines().map(|line| line.replace(short, "p")).collect();
            std::iter::once(header).chain(rules)
        })
        .collect()
}

#[test]
fn a_policy_becomes_allowances() {
    let cases = [
        (json!({"podSelector": {}}), &["i:"][..]),
        (json!({"podSelector": {}, "policyTypes": ["Egress"]}), &["e:"]),
        (json!({"podSelector": {}, "ingress": [{}], "egress": [{}]}), &["e:", "accept", "i:", "accept"]),
        (
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}, {"port": 81, "endPort": 90}, {"port": 53, "protocol": "UDP"}]}]}),
            &["i:", "meta l4proto tcp th dport { 80-90 } accept", "meta l4proto udp th dport { 53 } accept"],
        ),
        (
            json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"protocol": "SCTP"}, {"port": "web"}]}]}),
            &[
                "i:",
                "ip saddr @p-i0 meta l4proto sctp accept",
                "ip saddr @p-i0 ip daddr . meta l4proto . th dport @p-i0n accept",
            ],
        ),
        (
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"]}},
                {"ipBlock": {"cidr": "fd00::/8"}}]}]}),
            &["e:", "ip daddr 10.0.0.0-10.255.255.255 ip daddr != { 10.1.0.0-10.1.255.255 } accept"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(rules(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn pods_are_in_the_sets_that_name_them() {
    let mut model = model();
    model.apply_namespace("default", Some(BTreeMap::new()));
    model.apply_namespace("other", Some([("team".to_owned(), "a".to_owned())].into()));
    let spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [
        {"podSelector": {"matchLabels": {"app": "web"}}},
        {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {"matchLabels": {"app": "web"}}}],
        "ports": [{"port": "web"}]}]});
    model.apply_policy(&key("p"), policy(spec).as_ref());
    let pods = [
        ("default", "10.244.0.2", json!({"app": "db"})),
        ("default", "10.244.0.3", json!({"app": "web"})),
        ("other", "10.244.0.4", json!({"app": "web"})),
        ("other", "10.244.0.5", json!({"app": "db"})),
    ];
    for (namespace, address, labels) in pods {
        model.apply_pod(&Key::namespaced(namespace, address), Some(&pod(namespace, address, labels)));
    }
    let count = |change: &Change, map: fn(&Map) -> bool| {
        let keys = change.added.iter().filter(|one| map(&one.map)).map(|one| one.key.to_string());
        keys.collect::<Vec<_>>()
    };
    let change = model.take().change;
    assert_eq!(count(&change, |map| matches!(map, Map::Ingress)), ["10.244.0.2"]);
    assert_eq!(count(&change, |map| matches!(map, Map::Egress)), [""; 0]);
    assert_eq!(count(&change, |map| matches!(map, Map::Peers(_))), ["10.244.0.3", "10.244.0.4"]);
    assert_eq!(count(&change, |map| matches!(map, Map::Ports(_))), ["10.244.0.2 . tcp . 8080"]);
    // host network, ended, and of another node
    let mut host = pod("default", "10.244.0.9", json!({"app": "db"}));
    host.spec.as_mut().expect("spec").host_network = Some(true);
    let mut ended = pod("default", "10.244.0.9", json!({"app": "db"}));
    ended.status.as_mut().expect("status").phase = Some("Succeeded".into());
    let mut elsewhere = pod("default", "10.244.0.9", json!({"app": "web"}));
    elsewhere.spec.as_mut().expect("spec").node_name = Some("n2".into());
    for (pod, elements) in [(host, 0), (ended, 0), (elsewhere, 1)] {
        model.apply_pod(&key("x"), Some(&pod));
        assert_eq!(model.take().change.added.len(), elements);
        model.apply_pod(&key("x"), None);
        model.take();
    }
}
