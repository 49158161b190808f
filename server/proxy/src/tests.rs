//! Tables of services and policies with the elements that come of them, and random histories that must end where a fresh
//! start ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use proptest::prelude::*;
use sampan_reconcile::Key;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::element::{Element, Key as ElementKey, Map, Value};
use crate::model::{Facts, Model};
use crate::table::{Change, Structure};

fn object<T: DeserializeOwned>(value: Json) -> T {
    serde_json::from_value(value).expect("object")
}

fn model() -> Model {
    Model::new(&Facts {
        node: "n1".into(),
        pods: "10.244.0.0/16".into(),
        node_pods: "10.244.0.0/24".into(),
        node_ips: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))],
        served: vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))],
    })
}

fn key(name: &str) -> Key {
    Key::namespaced("default", name)
}

fn service(name: &str, spec: Json) -> Arc<Service> {
    Arc::new(object(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}})))
}

/// A slice; each endpoint is `address`, `address@node`, with `!` behind it not ready, `-` terminating but serving.
fn slice(name: &str, service: &str, endpoints: &[&str], ports: Json) -> Arc<EndpointSlice> {
    let endpoints: Vec<Json> = endpoints.iter().map(|text| endpoint(text)).collect();
    Arc::new(object(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })))
}

fn endpoint(text: &str) -> Json {
    let (bare, conditions) = match (text.strip_suffix('!'), text.strip_suffix('-')) {
        (Some(bare), _) => (bare, json!({"ready": false, "serving": false})),
        (_, Some(bare)) => (bare, json!({"ready": false, "serving": true, "terminating": true})),
        _ => (text, json!({"ready": true})),
    };
    let (address, node) = bare.split_once('@').unwrap_or((bare, "n1"));
    json!({"addresses": [address], "nodeName": node, "conditions": conditions})
}

fn lines(change: &Change) -> BTreeSet<String> {
    change.added.iter().map(|one| format!("{} {}", one.map_name(), one.text(true))).collect()
}

fn check(spec: Json, slices: &[Arc<EndpointSlice>], expected: &[&str]) {
    let mut model = model();
    model.apply_service(&key("s"), Some(service("s", spec.clone())));
    for slice in slices {
        model.apply_slice(None, Some(slice));
    }
    let actual = lines(&model.take().change);
    let expected: BTreeSet<String> = expected.iter().map(|one| (*one).to_owned()).collect();
    assert_eq!(actual, expected, "{spec}");
}

fn http() -> Json {
    json!([{"name": "http", "port": 8080}])
}

#[test]
fn a_cluster_ip_has_an_element_and_one_for_each_endpoint() {
    let spec = json!({"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]});
    let one = slice("s-1", "s", &["10.244.0.5", "10.9.9.9@n2", "10.244.0.7!", "10.244.0.8-"], http());
    let two = slice("s-2", "s", &["10.9.9.10@n2", "10.244.0.5"], http());
    check(
        spec.clone(),
        &[one, two],
        &[
            "cluster_ips 10.96.0.20",
            "endpoints 10.96.0.20 . tcp . 80 . 0:0 : 10.9.9.9 . 8080",
            "endpoints 10.96.0.20 . tcp . 80 . 0:1 : 10.9.9.10 . 8080",
            "endpoints 10.96.0.20 . tcp . 80 . 0:2 : 10.244.0.5 . 8080",
            "hairpin 10.244.0.5 . 10.244.0.5",
            "services 10.96.0.20 . tcp . 80 : goto in-3",
        ],
    );
    // nobody is ready: who still serves does it, and not ready at all is nobody
    let last = slice("s-1", "s", &["10.9.9.9@n2-", "10.244.0.7!"], http());
    check(
        spec.clone(),
        &[last],
        &[
            "cluster_ips 10.96.0.20",
            "endpoints 10.96.0.20 . tcp . 80 . 0:0 : 10.9.9.9 . 8080",
            "services 10.96.0.20 . tcp . 80 : goto in-1",
        ],
    );
    // a port of another name or protocol is not the service's
    let other = json!([{"name": "https", "port": 8443}, {"name": "http", "port": 8080, "protocol": "UDP"}]);
    check(
        spec,
        &[slice("s-1", "s", &["10.244.0.5"], other)],
        &["cluster_ips 10.96.0.20", "unreachable 10.96.0.20 . tcp . 80 : goto refuse"],
    );
}

#[test]
fn what_is_not_proxied_costs_nothing() {
    let slices = [slice("s-1", "s", &["10.244.0.5"], http())];
    let ports = json!([{"name": "http", "port": 80}]);
    check(json!({"type": "ExternalName", "externalName": "example.org"}), &slices, &[]);
    check(json!({"clusterIP": "None", "ports": ports}), &slices, &[]);
    check(json!({"clusterIP": "fd00::1", "ports": ports}), &slices, &[]);
    check(json!({"clusterIP": "10.96.0.1", "ports": ports}), &slices, &["hairpin 10.244.0.5 . 10.244.0.5"]);
    let mut model = model();
    let mut foreign = Service::clone(&service("s", json!({"clusterIP": "10.96.0.20", "ports": ports})));
    foreign.metadata.labels = Some([("service.kubernetes.io/service-proxy-name".into(), "x".into())].into());
    model.apply_service(&key("s"), Some(Arc::new(foreign)));
    assert!(model.take().change.is_empty());
}

#[test]
fn policies_of_traffic_choose_among_endpoints() {
    let spec = |internal: &str, external: &str| {
        json!({"type": "NodePort", "clusterIP": "10.96.0.20", "internalTrafficPolicy": internal,
            "externalTrafficPolicy": external, "ports": [{"name": "http", "port": 80, "nodePort": 30080}]})
    };
    let everywhere = [slice("s-1", "s", &["10.9.9.9@n2", "10.244.0.5"], http())];
    check(
        spec("Local", "Cluster"),
        &everywhere,
        &[
            "cluster_ips 10.96.0.20",
            "endpoints 10.96.0.20 . tcp . 80 . 1:0 : 10.244.0.5 . 8080",
            "endpoints_nodeports tcp . 30080 . 0:0 : 10.9.9.9 . 8080",
            "endpoints_nodeports tcp . 30080 . 0:1 : 10.244.0.5 . 8080",
            "hairpin 10.244.0.5 . 10.244.0.5",
            "services 10.96.0.20 . tcp . 80 : goto in-1-local",
            "services_nodeports tcp . 30080 : goto ex-2_nodeports",
        ],
    );
    let elsewhere = [slice("s-1", "s", &["10.9.9.9@n2"], http())];
    check(
        spec("Local", "Local"),
        &elsewhere,
        &[
            "cluster_ips 10.96.0.20",
            "cluster_nodeports tcp . 30080 : goto to-1_nodeports",
            "endpoints_nodeports tcp . 30080 . 0:0 : 10.9.9.9 . 8080",
            "services_nodeports tcp . 30080 : goto external_nodeports",
            "unreachable 10.96.0.20 . tcp . 80 : drop",
            "unreachable_nodeports tcp . 30080 : drop",
        ],
    );
    // KEP-1669: the last endpoint here is on its way out, and still serves
    let leaving = [slice("s-1", "s", &["10.9.9.9@n2", "10.244.0.5-"], http())];
    check(
        spec("Cluster", "Local"),
        &leaving,
        &[
            "cluster_ips 10.96.0.20",
            "cluster_nodeports tcp . 30080 : goto to-1_nodeports",
            "endpoints 10.96.0.20 . tcp . 80 . 0:0 : 10.9.9.9 . 8080",
            "endpoints_nodeports tcp . 30080 . 0:0 : 10.9.9.9 . 8080",
            "endpoints_nodeports tcp . 30080 . 1:0 : 10.244.0.5 . 8080",
            "hairpin 10.244.0.5 . 10.244.0.5",
            "local_nodeports tcp . 30080 : goto to-1-local_nodeports",
            "services 10.96.0.20 . tcp . 80 : goto in-1",
            "services_nodeports tcp . 30080 : goto external_nodeports",
        ],
    );
}

#[test]
fn affinity_gives_endpoints_numbers() {
    check(
        json!({"clusterIP": "10.96.0.20", "sessionAffinity": "ClientIP", "ports": [{"name": "http", "port": 80}]}),
        &[slice("s-1", "s", &["10.9.9.9@n2", "10.9.9.10@n2"], http())],
        &[
            "cluster_ips 10.96.0.20",
            "draw 10.96.0.20 . tcp . 80 : jump draw-2",
            "numbers 10.96.0.20 . tcp . 80 . 0:0 : a09:909",
            "numbers 10.96.0.20 . tcp . 80 . 0:1 : a09:90a",
            "services 10.96.0.20 . tcp . 80 : goto in-sticky10800",
            "sticky 10.96.0.20 . tcp . 80 . a09:909 : 10.9.9.9 . 8080",
            "sticky 10.96.0.20 . tcp . 80 . a09:90a : 10.9.9.10 . 8080",
        ],
    );
}

#[test]
fn hints_keep_traffic_near_if_all_have_them() {
    let hinted = |zones: [&str; 2]| {
        let mut slice = EndpointSlice::clone(&slice("s-1", "s", &["10.9.9.9@n2", "10.9.9.10@n3"], http()));
        for (endpoint, zone) in slice.endpoints.iter_mut().flatten().zip(zones) {
            endpoint.hints = Some(object(json!({"forZones": [{"name": zone}]}))).filter(|_| !zone.is_empty());
        }
        Arc::new(slice)
    };
    for (zones, expected) in [(["a", "b"], 1), (["b", "b"], 2), (["a", ""], 2), (["a", "a"], 2)] {
        let mut model = model();
        model.apply_node(&[("topology.kubernetes.io/zone".to_owned(), "a".to_owned())].into());
        let spec = json!({"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80}]});
        model.apply_service(&key("s"), Some(service("s", spec)));
        model.apply_slice(None, Some(&hinted(zones)));
        let change = model.take().change;
        let endpoints = change.added.iter().filter(|one| one.map == Map::Endpoints).count();
        assert_eq!(endpoints, expected, "{zones:?}");
    }
}

#[test]
fn one_endpoint_of_many_is_a_few_elements() {
    let mut model = model();
    let spec = json!({"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80}]});
    model.apply_service(&key("s"), Some(service("s", spec)));
    let all: Vec<String> = (0..1000).map(|index| format!("10.8.{}.{}@n2", index / 250, index % 250)).collect();
    let mut some: Vec<&str> = all.iter().map(String::as_str).collect();
    let many = slice("s-1", "s", &some, http());
    model.apply_slice(None, Some(&many));
    model.take();
    some.remove(300);
    let fewer = slice("s-1", "s", &some, http());
    model.apply_slice(Some(&many), Some(&fewer));
    let change = model.take().change;
    // the class, the hole that the last one fills, and the last one's old place
    assert_eq!((change.removed.len(), change.added.len()), (3, 2), "{change:?}");
    model.apply_slice(Some(&fewer), Some(&fewer));
    assert!(model.take().change.is_empty(), "nothing changed");
}

#[test]
fn two_services_of_one_place_take_turns() {
    let spec = |ip: &str| json!({"clusterIP": ip, "externalIPs": ["198.51.100.1"], "ports": [{"port": 80}]});
    let mut model = model();
    let ports = || json!([{"port": 8080}]);
    for (name, ip, endpoint) in [("a", "10.96.0.20", "10.9.9.1@n2"), ("b", "10.96.0.21", "10.9.9.2@n2")] {
        model.apply_service(&key(name), Some(service(name, spec(ip))));
        model.apply_slice(None, Some(&slice(name, name, &[endpoint], ports())));
    }
    let at = |change: &Change| {
        let mine = change.added.iter().find(|one| one.text(true).starts_with("198.51.100.1 . tcp . 80 . 0:0"));
        mine.map(|one| one.text(true).rsplit(": ").next().unwrap_or_default().to_owned())
    };
    assert_eq!(at(&model.take().change).as_deref(), Some("10.9.9.1 . 8080"));
    model.apply_service(&key("a"), None);
    assert_eq!(at(&model.take().change).as_deref(), Some("10.9.9.2 . 8080"));
}

#[test]
fn a_health_check_counts_what_is_ready_here() {
    let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.20", "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 31000, "ports": [{"name": "http", "port": 80}]});
    let mut model = model();
    model.apply_service(&key("s"), Some(service("s", spec)));
    let endpoints = slice("s-1", "s", &["10.244.0.5", "10.244.0.6!", "10.244.0.7-", "10.9.9.9@n2"], http());
    model.apply_slice(None, Some(&endpoints));
    assert_eq!(model.take().health, [(key("s"), Some((31000, 1)))].into());
    model.apply_service(&key("s"), None);
    assert_eq!(model.take().health, [(key("s"), None)].into());
}

fn policy(spec: Json) -> Option<NetworkPolicy> {
    Some(object(json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec})))
}

fn pod(namespace: &str, address: &str, labels: Json) -> Pod {
    object(json!({"metadata": {"namespace": namespace, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "a", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]}}))
}

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

/// The kernel, as far as changes go: it refuses what is there already, and what is not there.
#[derive(Debug, Default, PartialEq)]
struct Kernel {
    elements: BTreeMap<(Map, ElementKey), Value>,
    structures: BTreeMap<String, Structure>,
}

impl Kernel {
    fn apply(&mut self, change: &Change) {
        for one in &change.removed {
            let was = self.elements.remove(&(one.map.clone(), one.key));
            assert_eq!(was.as_ref(), Some(&one.value), "{one:?}");
        }
        self.structures.extend(change.structures.clone());
        for name in change.stale.keys() {
            assert!(self.structures.remove(name).is_some(), "{name}");
            self.elements.retain(|(map, _), _| map.base() != name);
        }
        for one in &change.added {
            let was = self.elements.insert((one.map.clone(), one.key), one.value.clone());
            assert_eq!(was, None, "{one:?}");
            if let Map::Peers(set) | Map::Ports(set) = &one.map {
                assert!(self.structures.contains_key(&**set), "{one:?} has no set");
            }
        }
    }

    /// What means the same in whatever slots, without chains kept for later.
    fn meaning(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let elements = self.elements.iter().map(|((map, key), value)| {
            let element = Element::new(map.clone(), *key, value.clone());
            match (map, key) {
                (Map::Endpoints | Map::Numbers, ElementKey::Slot(frontend, slot)) => {
                    let value = element.text(true);
                    let value = value.rsplit(" : ").next().unwrap_or_default();
                    format!("{} {frontend} {} {value}", element.map_name(), slot >> 16)
                }
                _ => format!("{} {}", element.map_name(), element.text(true)),
            }
        });
        let kept = |name: &&String| !["in-", "ex-", "to-", "draw-"].iter().any(|prefix| name.starts_with(prefix));
        (elements.collect(), self.structures.keys().filter(kept).cloned().collect())
    }
}

#[derive(Clone, Debug)]
enum Act {
    Service(u8, Option<(u8, bool, bool, bool)>),
    Slice(u8, u8, Option<Vec<(u8, u8)>>),
    Pod(u8, Option<(u8, u8)>),
    Policy(u8, Option<(u8, u8)>),
    Namespace(Option<u8>),
    Take,
    Replace,
}

fn act() -> impl Strategy<Value = Act> {
    let flags = (0..4u8, any::<bool>(), any::<bool>(), any::<bool>());
    prop_oneof![
        (0..3u8, proptest::option::weighted(0.8, flags)).prop_map(|(name, spec)| Act::Service(name, spec)),
        (
            0..3u8,
            0..2u8,
            proptest::option::weighted(0.8, proptest::collection::vec((0..6u8, 0..4u8), 0..5))
        )
            .prop_map(|(service, slice, endpoints)| Act::Slice(service, slice, endpoints)),
        (0..4u8, proptest::option::weighted(0.7, (0..3u8, 0..3u8))).prop_map(|(name, pod)| Act::Pod(name, pod)),
        (0..3u8, proptest::option::weighted(0.7, (0..3u8, 0..4u8))).prop_map(|(name, spec)| Act::Policy(name, spec)),
        proptest::option::of(0..2u8).prop_map(Act::Namespace),
        Just(Act::Take),
        Just(Act::Replace),
    ]
}

type Slices = BTreeMap<(u8, u8), Arc<EndpointSlice>>;

/// Does one act to a model; `slices` remembers what each was.
fn perform(model: &mut Model, slices: &mut Slices, act: &Act) {
    let name = |index: &u8| format!("o{index}");
    match act {
        Act::Service(index, spec) => {
            let object = spec.map(|(shape, sticky, local, shared)| {
                let kind = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"][usize::from(shape)];
                let policy = if local { "Local" } else { "Cluster" };
                let node_port = if shared { 30000 } else { 30000 + i32::from(*index) };
                let mut spec = json!({"type": kind, "clusterIP": format!("10.96.1.{index}"),
                    "sessionAffinity": if sticky { "ClientIP" } else { "None" },
                    "internalTrafficPolicy": policy, "externalTrafficPolicy": policy,
                    "ports": [{"name": "http", "port": 80, "nodePort": node_port}]});
                if shared {
                    spec["externalIPs"] = json!(["198.51.100.1"]);
                    spec["loadBalancerSourceRanges"] = json!(["192.0.2.0/24"]);
                }
                service(&name(index), spec)
            });
            model.apply_service(&key(&name(index)), object);
        }
        Act::Slice(service, which, endpoints) => {
            let new = endpoints.as_ref().map(|endpoints| {
                let texts: Vec<String> = endpoints
                    .iter()
                    .map(|(address, state)| {
                        format!("10.244.0.{address}{}", ["", "@n2", "!", "-"][usize::from(*state)])
                    })
                    .collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                slice(&format!("o{service}-{which}"), &name(service), &texts, http())
            });
            let old = match &new {
                Some(new) => slices.insert((*service, *which), new.clone()),
                None => slices.remove(&(*service, *which)),
            };
            model.apply_slice(old.as_ref(), new.as_ref());
        }
        Act::Pod(index, shape) => {
            let pod = shape.map(|(address, app)| {
                pod("default", &format!("10.244.0.{address}"), json!({"app": app.to_string()}))
            });
            model.apply_pod(&key(&name(index)), pod.as_ref());
        }
        Act::Policy(index, shape) => {
            let spec = shape.map(|(app, shape)| {
                let mut object = policy(match shape {
                    0 => json!({"podSelector": {}}),
                    1 => json!({"podSelector": {"matchLabels": {"app": app.to_string()}}, "egress": [{}]}),
                    2 => json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app.to_string()}}}], "ports": [{"port": "web"}]}]}),
                    _ => json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": app.to_string()}}}]}]}),
                })
                .expect("policy");
                object.metadata.name = Some(name(index));
                object
            });
            model.apply_policy(&key(&name(index)), spec.as_ref());
        }
        Act::Namespace(team) => {
            let labels = team.map(|team| [("team".to_owned(), team.to_string())].into());
            model.apply_namespace("default", labels);
        }
        Act::Take | Act::Replace => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However a history was cut into changes, the kernel ends with what a fresh start would tell it.
    #[test]
    fn deltas_end_where_a_fresh_start_ends(acts in proptest::collection::vec(act(), 1..60)) {
        let (mut model, mut kernel, mut slices) = (model(), Kernel::default(), Slices::new());
        for act in &acts {
            perform(&mut model, &mut slices, act);
            match act {
                Act::Take => kernel.apply(&model.take().change),
                Act::Replace => {
                    kernel = Kernel::default();
                    kernel.apply(&model.whole().change);
                }
                _ => {}
            }
        }
        kernel.apply(&model.take().change);
        let mut whole = Kernel::default();
        whole.apply(&model.whole().change);
        prop_assert_eq!(&kernel, &whole, "the shadow is what the kernel was told");
        let (mut fresh, mut told) = (self::model(), Kernel::default());
        let mut slices = Slices::new();
        acts.iter().for_each(|act| perform(&mut fresh, &mut slices, act));
        told.apply(&fresh.whole().change);
        prop_assert_eq!(kernel.meaning(), told.meaning());
    }
}
