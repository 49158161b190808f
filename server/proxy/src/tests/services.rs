//! Services and their endpoints, and the elements that they become.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value as Json, json};

use super::{http, key, model, object, service, slice};
use crate::element::Map;
use crate::model::Model;
use crate::table::Change;

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

#[test]
fn a_cluster_ip_has_an_element_and_one_for_each_endpoint() {
    let spec =
        json!({"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]});
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
    let mut for_dns = EndpointSlice::clone(&slices[0]);
    for_dns
        .metadata
        .labels
        .get_or_insert_default()
        .insert("service.kubernetes.io/headless".into(), String::new());
    check(
        json!({"clusterIP": "10.96.0.20", "ports": ports}),
        &[Arc::new(for_dns)],
        &["cluster_ips 10.96.0.20", "unreachable 10.96.0.20 . tcp . 80 : goto refuse"],
    );
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
    let all: Vec<String> =
        (0..1000).map(|index| format!("10.8.{}.{}@n2", index / 250, index % 250)).collect();
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
        let mine =
            change.added.iter().find(|one| one.text(true).starts_with("198.51.100.1 . tcp . 80 . 0:0"));
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

#[test]
fn flows_of_udp_may_stay_with_whoever_serves_and_with_nobody_if_nobody_does() {
    let spec = |ports: Json| json!({"type": "NodePort", "clusterIP": "10.96.0.20", "externalIPs": ["198.51.100.1"], "ports": ports});
    let dns = json!({"name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053});
    let tcp = json!({"name": "http", "port": 80, "nodePort": 30080});
    let ports = json!([{"name": "dns", "protocol": "UDP", "port": 5353}, {"name": "http", "port": 8080}]);
    let both = spec(json!([dns, tcp]));
    let mut model = model();
    // frontends, each with who may answer
    let told = |model: &mut Model| -> Vec<String> {
        let news = model.take();
        let mut lines: Vec<String> = model
            .answering(&news.udp)
            .into_iter()
            .map(|(frontend, endpoints)| {
                let mut all: Vec<String> =
                    endpoints.iter().map(|one| format!("{}:{}", one.address, one.port)).collect();
                all.sort();
                format!("{frontend} = {}", all.join(" "))
            })
            .collect();
        lines.sort();
        lines
    };
    let everywhere = |who: &str| {
        ["10.96.0.20 . udp . 53", "198.51.100.1 . udp . 53", "udp . 30053"]
            .map(|one| format!("{one} = {who}"))
    };
    model.apply_service(&key("s"), Some(service("s", both.clone())));
    let two = slice("s-1", "s", &["10.244.0.5", "10.9.9.9@n2-", "10.9.9.8@n2!"], ports.clone());
    model.apply_slice(None, Some(&two));
    assert_eq!(told(&mut model), everywhere("10.244.0.5:5353 10.9.9.9:5353"), "terminating ones serve");
    model.apply_slice(Some(&two), Some(&two));
    assert_eq!(told(&mut model), [""; 0], "nothing changed");
    let none = slice("s-1", "s", &[], ports.clone());
    model.apply_slice(Some(&two), Some(&none));
    assert_eq!(told(&mut model), everywhere(""), "the last one went");
    model.apply_slice(Some(&none), Some(&two));
    assert_eq!(told(&mut model).len(), 3);
    model.apply_service(&key("s"), Some(service("s", spec(json!([tcp])))));
    assert_eq!(told(&mut model), everywhere(""), "the port went");
    model.apply_service(&key("s"), Some(service("s", both.clone())));
    assert_eq!(told(&mut model).len(), 3);
    model.apply_service(&key("s"), None);
    assert_eq!(told(&mut model), everywhere(""), "the service went");
    // another service waits for what the first one has
    model.apply_service(&key("s"), Some(service("s", both)));
    let other = json!({"clusterIP": "10.96.0.21", "externalIPs": ["198.51.100.1"], "ports": [dns]});
    model.apply_service(&key("t"), Some(service("t", other)));
    model.apply_slice(None, Some(&slice("t-1", "t", &["10.244.0.7"], ports)));
    told(&mut model);
    model.apply_service(&key("s"), None);
    let lines = told(&mut model);
    assert!(lines.contains(&"198.51.100.1 . udp . 53 = 10.244.0.7:5353".to_owned()), "{lines:?}");
}
