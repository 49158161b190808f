//! NetworkPolicy on the real kernel: packets that pass and packets that do not. Needs root.

mod bed;

use std::net::Ipv4Addr;

use bed::{Bed, Place, at, both, dropped, led, on_a_node, who};
use k8s_openapi::api::core::v1::Service;
use sampan_proxy::model::Model;
use sampan_reconcile::Key;
use serde_json::json;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);

fn namespace(model: &mut Model, name: &str) {
    model.apply_namespace(name, Some([("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into()));
}

#[test]
fn default_deny_with_one_allowance_holds_on_both_sides() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let (server, friend, stranger) =
            (bed.pod("server").await, bed.pod("friend").await, bed.pod("stranger").await);
        namespace(&mut bed.model, "default");
        for (name, pod) in [("server", &server), ("friend", &friend), ("stranger", &stranger)] {
            bed.tell_pod(name, pod, json!({"app": name}));
        }
        bed.service("s", json!({"clusterIP": VIP, "ports": both(80)}));
        bed.backends("s", &[&server]);
        bed.tell().await;
        let (from_friend, from_stranger) = (Place::from(&friend), Place::from(&stranger));
        let target = at(server.ips[0], 80);
        assert!(from_stranger.tcp(target).is_ok(), "open at first");

        bed.policy("deny", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
        bed.tell().await;
        for from in [&from_friend, &from_stranger] {
            assert!(dropped(from.tcp(target)), "denied");
            assert!(dropped(from.udp(target)), "denied");
            assert!(dropped(from.tcp(at(VIP, 80))), "denied through the service");
        }
        assert_eq!(who(&Place::Node.tcp(target).expect("probes pass")), "server");
        assert_eq!(who(&Place::from(&server).tcp(at(VIP, 80)).expect("to itself")), "server");

        // one side allows, the other does not yet
        bed.policy("in", json!({"podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": "web"}]}]}));
        bed.tell().await;
        assert!(dropped(from_friend.tcp(target)), "egress of the friend");
        bed.policy(
            "out",
            json!({"podSelector": {"matchLabels": {"app": "friend"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}],
                        "ports": [{"port": 80, "endPort": 90, "protocol": "TCP"}]}]}),
        );
        bed.tell().await;
        assert_eq!(who(&from_friend.tcp(target).expect("allowed")), "server");
        assert_eq!(who(&from_friend.tcp(at(VIP, 80)).expect("allowed through the service")), "server");
        assert!(dropped(from_friend.udp(target)), "another protocol");
        assert!(dropped(from_stranger.tcp(target)), "not the stranger");

        // labels decide, as they change
        bed.tell_pod("stranger", &stranger, json!({"app": "friend"}));
        bed.tell().await;
        assert!(from_stranger.tcp(target).is_ok(), "a friend now");
        bed.tell_pod("stranger", &stranger, json!({"app": "stranger"}));
        bed.tell().await;
        assert!(dropped(from_stranger.tcp(target)), "and no more");

        // a whole table means the same
        bed.replace().await;
        assert!(from_friend.tcp(target).is_ok());
        assert!(dropped(from_stranger.tcp(target)));

        for name in ["deny", "in", "out"] {
            bed.model.apply_policy(&bed::key(name), None);
        }
        bed.tell().await;
        assert!(from_stranger.tcp(target).is_ok(), "open again");
    });
}

#[test]
fn blocks_and_namespaces_allow() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let (server, client) = (bed.pod("server").await, bed.pod("client").await);
        namespace(&mut bed.model, "default");
        bed.tell_pod("server", &server, json!({"app": "server"}));
        bed.tell_pod("client", &client, json!({"app": "client"}));
        let target = at(server.ips[0], 80);
        let ingress = |from: serde_json::Value| {
            json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["server"]}]},
                "ingress": [{"from": [from]}]})
        };
        bed.policy("p", ingress(json!({"ipBlock": {"cidr": "192.0.2.0/24"}})));
        bed.tell().await;
        assert!(bed.outside.tcp(target).is_ok(), "in the block");
        assert!(dropped(Place::from(&client).tcp(target)), "not in it");
        bed.policy(
            "p",
            ingress(json!({"ipBlock": {"cidr": "192.0.0.0/16", "except": ["192.0.2.0/24", "192.0.2.8/29"]}})),
        );
        bed.tell().await;
        assert!(dropped(bed.outside.tcp(target)), "excepted");
        bed.policy(
            "p",
            ingress(
                json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}),
            ),
        );
        bed.tell().await;
        assert!(Place::from(&client).tcp(target).is_ok(), "of the namespace");
        bed.model.apply_namespace("default", Some([("team".to_owned(), "a".to_owned())].into()));
        bed.tell().await;
        assert!(dropped(Place::from(&client).tcp(target)), "the namespace changed");
        // what a node port lets in is subject, too, as who it really is
        bed.service("s", json!({"type": "NodePort", "clusterIP": VIP, "ports": [{"name": "t", "port": 80, "nodePort": 30080}]}));
        bed.backends("s", &[&server]);
        bed.tell().await;
        assert!(dropped(bed.outside.tcp(at(bed::NODE_IP, 30080))), "not allowed through a node port");
        bed.policy("p", ingress(json!({"ipBlock": {"cidr": "192.0.2.9/32"}})));
        bed.tell().await;
        assert!(bed.outside.tcp(at(bed::NODE_IP, 30080)).is_ok(), "allowed through a node port");
    });
}

#[test]
fn an_address_served_by_the_node_stands_for_its_pods() {
    on_a_node(|| async {
        let dns = Ipv4Addr::new(10, 96, 0, 10);
        let mut bed = Bed::serving(vec![dns], led(dns, 53, 1053)).await;
        Place::Node.serve_on("dns", dns, 1053);
        Place::Node.serve_on("node", bed::GATEWAY, 53);
        let client = bed.pod("client").await;
        namespace(&mut bed.model, "default");
        namespace(&mut bed.model, "kube-system");
        let service: Service =
            bed::object(json!({"metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": dns, "selector": {"k8s-app": "kube-dns"},
                     "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}}));
        bed.model.apply_service(&Key::namespaced("kube-system", "kube-dns"), Some(service.into()));
        bed.tell_pod("client", &client, json!({}));
        bed.policy("deny", json!({"podSelector": {}, "policyTypes": ["Egress"]}));
        bed.tell().await;
        let from = Place::from(&client);
        assert!(dropped(from.udp(at(dns, 53))), "egress is denied");
        assert!(from.tcp(at(bed::GATEWAY, 53)).is_ok(), "the node itself is not subject");
        bed.policy(
            "dns",
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
            "ports": [{"port": 53, "protocol": "UDP"}]}]}),
        );
        bed.tell().await;
        assert_eq!(who(&from.udp(at(dns, 53)).expect("allowed as for pods")), "dns");
        assert!(dropped(from.tcp(at(dns, 53))), "another protocol");
    });
}

#[test]
fn a_pod_cannot_speak_as_another() {
    on_a_node(|| async {
        let bed = Bed::new().await;
        let (server, liar) = (bed.pod("server").await, bed.pod("liar").await);
        let target = at(server.ips[0], 80);
        let from = Place::from(&liar);
        from.run(|| {
            let added = std::process::Command::new("ip")
                .args(["addr", "add", "10.201.0.200/32", "dev", "eth0"])
                .status();
            assert!(added.expect("ip").success());
        });
        assert!(from.tcp(target).is_ok());
        let lie = from.run(move || {
            let socket = std::net::UdpSocket::bind("10.201.0.200:0").expect("bind");
            bed::ask(&socket, target)
        });
        assert!(dropped(lie));
        // nor to the node's loopback, though that is routed for node ports
        Place::Node.serve("node", 9999);
        let loopback = from.run(|| {
            for line in [
                "ip route del local 127.0.0.0/8 dev lo table local",
                "ip route del local 127.0.0.1 dev lo table local",
            ] {
                let words: Vec<&str> = line.split(' ').collect();
                let _ = std::process::Command::new(words[0]).args(&words[1..]).status();
            }
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("sysctl");
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("bind");
            bed::ask(&socket, at(Ipv4Addr::LOCALHOST, 9999))
        });
        assert!(loopback.is_err(), "{loopback:?}");
    });
}
