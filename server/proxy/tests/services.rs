//! Services on the real kernel: namespaces, packets, conntrack. Needs root.

mod bed;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use bed::{Bed, Place, ask, at, both, dropped, led, on_a_node, refused, seen, who};
use serde_json::json;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);

/// Everyone who answers in so many attempts.
fn answering(from: &Place, address: impl Into<IpAddr>, port: u16, attempts: usize) -> BTreeSet<String> {
    let to = at(address, port);
    (0..attempts).map(|_| who(&from.tcp(to).expect("answer")).to_owned()).collect()
}

#[test]
fn a_cluster_ip_leads_to_every_endpoint_from_pods_node_and_itself() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let (a, b, client) = (bed.pod("a").await, bed.pod("b").await, bed.pod("client").await);
        bed.service("s", json!({"clusterIP": VIP, "ports": both(8080)}));
        bed.backends("s", &[&a, &b]);
        bed.tell().await;
        let from = Place::from(&client);
        assert_eq!(answering(&from, VIP, 8080, 20), ["a".to_owned(), "b".to_owned()].into());
        // pods on one node see each other's own addresses, whatever the way
        let answer = from.tcp(at(VIP, 8080)).expect("tcp");
        assert_eq!(seen(&answer), client.ips[0].to_string(), "{answer}");
        let answer = from.udp(at(VIP, 8080)).expect("udp");
        assert_eq!(seen(&answer), client.ips[0].to_string(), "{answer}");
        assert_eq!(answering(&Place::Node, VIP, 8080, 20).len(), 2, "from the node");
        // hairpin: sooner or later a reaches itself, as the gateway
        let own: BTreeSet<String> =
            (0..20).map(|_| Place::from(&a).tcp(at(VIP, 8080)).expect("hairpin")).collect();
        assert!(own.contains(&format!("a sees {}", bed::GATEWAY)), "{own:?}");
        assert!(own.contains(&format!("b sees {}", a.ips[0])), "{own:?}");
        // somebody else's packets to a cluster address leave as the node's
        let answer = bed.outside.tcp(at(VIP, 8080)).expect("outside");
        assert_eq!(seen(&answer), bed::GATEWAY.to_string(), "{answer}");
    });
}

#[test]
fn no_endpoint_refuses_at_once() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let client = bed.pod("client").await;
        bed.service("s", json!({"type": "NodePort", "clusterIP": VIP, "ports": [
            {"name": "t", "port": 80, "nodePort": 30080}, {"name": "u", "port": 80, "nodePort": 30080, "protocol": "UDP"},
        ]}));
        bed.tell().await;
        let from = Place::from(&client);
        assert!(refused(from.tcp(at(VIP, 80))), "pod");
        assert!(refused(from.udp(at(VIP, 80))), "pod, udp");
        assert!(refused(Place::Node.tcp(at(VIP, 80))), "node");
        assert!(refused(from.tcp(at(VIP, 81))), "another port");
        assert!(refused(bed.outside.tcp(at(bed::NODE_IP, 30080))), "node port");
        assert!(refused(Place::Node.tcp(at(Ipv4Addr::LOCALHOST, 30080))), "node port on loopback");
        assert!(dropped(from.tcp(at(Ipv4Addr::new(10, 97, 0, 1), 80))), "no service has it");
        let server = bed.pod("a").await;
        bed.backends("s", &[&server]);
        bed.tell().await;
        assert_eq!(who(&from.tcp(at(VIP, 80)).expect("served now")), "a");
        bed.backends("s", &[]);
        bed.tell().await;
        assert!(refused(from.tcp(at(VIP, 80))), "gone again");
    });
}

#[test]
fn node_ports_external_and_balancer_addresses_lead_in() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let (a, client) = (bed.pod("a").await, bed.pod("client").await);
        let spec = |policy: &str| {
            json!({"type": "LoadBalancer", "clusterIP": VIP, "externalTrafficPolicy": policy,
                "externalIPs": ["198.51.100.7"],
                "ports": [{"name": "t", "port": 80, "nodePort": 30080, "targetPort": "web"},
                          {"name": "u", "port": 80, "nodePort": 30080, "protocol": "UDP"}]})
        };
        let status = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}, {"ip": "203.0.113.6", "ipMode": "Proxy"}]}});
        bed.service_with_status("s", spec("Cluster"), status.clone());
        bed.backends("s", &[&a]);
        bed.tell().await;
        let (vip, external) = (Ipv4Addr::new(203, 0, 113, 5), Ipv4Addr::new(198, 51, 100, 7));
        for (address, port) in [(bed::NODE_IP, 30080), (vip, 80), (external, 80)] {
            let answer = bed.outside.tcp(at(address, port)).expect("from outside");
            assert_eq!(answer, format!("a sees {}", bed::GATEWAY), "{address}");
            let answer = bed.outside.udp(at(address, port)).expect("udp from outside");
            assert_eq!(who(&answer), "a", "{address}");
            assert_eq!(who(&Place::from(&client).tcp(at(address, port)).expect("from a pod")), "a");
            assert_eq!(who(&Place::Node.tcp(at(address, port)).expect("from the node")), "a");
        }
        assert_eq!(who(&Place::Node.tcp(at(Ipv4Addr::LOCALHOST, 30080)).expect("loopback")), "a");
        assert_eq!(who(&Place::Node.udp(at(Ipv4Addr::LOCALHOST, 30080)).expect("loopback, udp")), "a");
        // local: the client's address stays
        bed.service_with_status("s", spec("Local"), status.clone());
        bed.tell().await;
        for (address, port) in [(bed::NODE_IP, 30080), (vip, 80), (external, 80)] {
            let answer = bed.outside.tcp(at(address, port)).expect("from outside");
            assert_eq!(answer, format!("a sees {}", bed::OUTSIDE_IP), "{address}");
            assert_eq!(who(&Place::from(&client).tcp(at(address, port)).expect("from a pod")), "a");
            assert_eq!(who(&Place::Node.tcp(at(address, port)).expect("from the node")), "a");
        }
        // an endpoint elsewhere: outsiders are dropped here
        bed.endpoints("s", &[(a.ips[0], json!({"nodeName": "n2"}))], both(80));
        bed.tell().await;
        assert!(dropped(bed.outside.tcp(at(bed::NODE_IP, 30080))), "no endpoint here");
        assert_eq!(who(&Place::Node.tcp(at(bed::NODE_IP, 30080)).expect("the node goes there")), "a");
    });
}

#[test]
fn a_balancer_lets_in_whom_its_source_ranges_name() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let a = bed.pod("a").await;
        let vip = Ipv4Addr::new(203, 0, 113, 5);
        let spec = |range: &str| {
            json!({"type": "LoadBalancer", "clusterIP": VIP, "loadBalancerSourceRanges": [range, "10.0.0.0/8"],
                "ports": [{"name": "t", "port": 80, "nodePort": 30080}]})
        };
        let status = json!({"loadBalancer": {"ingress": [{"ip": vip}]}});
        bed.service_with_status("s", spec("192.0.2.128/25"), status.clone());
        bed.backends("s", &[&a]);
        bed.tell().await;
        assert!(dropped(bed.outside.tcp(at(vip, 80))), "not in the range");
        assert!(bed.outside.tcp(at(bed::NODE_IP, 30080)).is_ok(), "node ports are not its business");
        bed.service_with_status("s", spec("192.0.2.0/28"), status);
        bed.tell().await;
        assert!(bed.outside.tcp(at(vip, 80)).is_ok(), "in the range");
    });
}

#[test]
fn affinity_holds_survives_a_new_table_and_is_switched_off() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let pods = [bed.pod("a").await, bed.pod("b").await, bed.pod("c").await];
        let client = Place::from(&bed.pod("client").await);
        let spec = |affinity: &str| {
            json!({"type": "NodePort", "clusterIP": VIP, "sessionAffinity": affinity,
                "ports": [{"name": "t", "port": 80, "nodePort": 30080}]})
        };
        bed.service("s", spec("ClientIP"));
        bed.backends("s", &pods.iter().collect::<Vec<_>>());
        bed.tell().await;
        let first = answering(&client, VIP, 80, 12);
        assert_eq!(first.len(), 1, "{first:?}");
        assert_eq!(answering(&bed.outside, bed::NODE_IP, 30080, 12).len(), 1);
        bed.replace().await;
        assert_eq!(answering(&client, VIP, 80, 12), first, "a new table knows the client");
        // others go, the client's stays
        let name = first.first().expect("one").clone();
        let index = ["a", "b", "c"].iter().position(|one| *one == name).expect("pod");
        bed.backends("s", &[&pods[(index + 1) % 3], &pods[index]]);
        bed.tell().await;
        assert_eq!(answering(&client, VIP, 80, 12), first, "another went");
        // the client's goes: it gets another, and keeps that
        bed.backends("s", &[&pods[(index + 1) % 3], &pods[(index + 2) % 3]]);
        bed.tell().await;
        let second = answering(&client, VIP, 80, 12);
        assert_eq!(second.len(), 1, "{second:?}");
        assert_ne!(second, first);
        bed.service("s", spec("None"));
        bed.tell().await;
        assert_eq!(answering(&client, VIP, 80, 30).len(), 2, "off");
        bed.service("s", spec("ClientIP"));
        bed.tell().await;
        assert_eq!(answering(&client, VIP, 80, 12).len(), 1, "on");
    });
}

#[test]
fn affinity_ends_with_its_time() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let pods = [bed.pod("a").await, bed.pod("b").await, bed.pod("c").await, bed.pod("d").await];
        let client = Place::from(&bed.pod("client").await);
        bed.service("s", json!({"clusterIP": VIP, "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}, "ports": [{"name": "t", "port": 80}]}));
        bed.backends("s", &pods.iter().collect::<Vec<_>>());
        bed.tell().await;
        let mut all = BTreeSet::new();
        for _ in 0..12 {
            all.extend(answering(&client, VIP, 80, 1));
            tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
            if all.len() > 1 {
                return;
            }
        }
        panic!("twelve times the same of four: {all:?}");
    });
}

#[test]
fn a_udp_client_that_keeps_its_socket_follows_the_endpoints() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let (a, b, client) = (bed.pod("a").await, bed.pod("b").await, bed.pod("client").await);
        bed.service("s", json!({"clusterIP": VIP, "ports": both(53)}));
        bed.backends("s", &[&a]);
        bed.tell().await;
        let socket = Place::from(&client).run(|| UdpSocket::bind("0.0.0.0:0").expect("socket"));
        assert_eq!(who(&ask(&socket, at(VIP, 53)).expect("first")), "a");
        bed.backends("s", &[&b]);
        bed.tell().await;
        assert_eq!(who(&ask(&socket, at(VIP, 53)).expect("second")), "b", "the flow was cleared");
        // and one that knocked while nobody was there
        bed.backends("s", &[]);
        bed.tell().await;
        let late = Place::from(&client).run(|| UdpSocket::bind("0.0.0.0:0").expect("socket"));
        assert!(ask(&late, at(VIP, 53)).is_err());
        bed.backends("s", &[&a]);
        bed.tell().await;
        assert_eq!(who(&ask(&late, at(VIP, 53)).expect("at last")), "a");
    });
}

#[test]
fn a_udp_client_is_told_that_the_last_endpoint_or_the_service_is_gone() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let (a, client) = (bed.pod("a").await, bed.pod("client").await);
        let spec = json!({"type": "NodePort", "clusterIP": VIP, "ports": [
            {"name": "u", "port": 53, "nodePort": 30053, "protocol": "UDP"}]});
        let near = Place::from(&client).run(|| UdpSocket::bind("0.0.0.0:0").expect("socket"));
        let far = bed.outside.run(|| UdpSocket::bind("0.0.0.0:0").expect("socket"));
        let ways = [(&near, at(VIP, 53)), (&far, at(bed::NODE_IP, 30053))];
        bed.service("s", spec);
        bed.backends("s", &[&a]);
        bed.tell().await;
        // the pod serves on, but not for the service
        for _ in 0..2 {
            for (socket, to) in ways {
                assert_eq!(who(&ask(socket, to).expect("answer")), "a", "{to}");
            }
            bed.backends("s", &[]);
            bed.tell().await;
            for (socket, to) in ways {
                assert!(refused(ask(socket, to)), "{to}");
            }
            bed.backends("s", &[&a]);
            bed.tell().await;
        }
        for (socket, to) in ways {
            assert_eq!(who(&ask(socket, to).expect("answer")), "a", "{to}");
        }
        bed.model.apply_service(&bed::key("s"), None);
        bed.tell().await;
        assert!(ask(&near, at(VIP, 53)).is_err(), "no service has it");
        assert!(refused(ask(&far, at(bed::NODE_IP, 30053))), "nobody has the port");
    });
}

#[test]
fn an_established_connection_outlives_a_new_table() {
    on_a_node(|| async {
        use std::io::{Read, Write};
        let mut bed = Bed::new().await;
        let (a, client) = (bed.network.acquire("a").await.expect("a"), bed.pod("client").await);
        let listener = Place::from(&a).run(|| std::net::TcpListener::bind("0.0.0.0:80").expect("bind"));
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut byte = [0];
            while stream.read(&mut byte).expect("read") > 0 {
                stream.write_all(&byte).expect("write");
            }
        });
        bed.service("s", json!({"clusterIP": VIP, "ports": both(80)}));
        bed.backends("s", &[&a]);
        bed.tell().await;
        let mut stream =
            Place::from(&client).run(|| std::net::TcpStream::connect(at(VIP, 80)).expect("connect"));
        let mut turn = |byte: u8| {
            stream.write_all(&[byte]).expect("write");
            let mut back = [0];
            stream.read_exact(&mut back).expect("read");
            assert_eq!(back, [byte]);
        };
        turn(1);
        bed.replace().await;
        turn(2);
        bed.backends("s", &[]);
        bed.tell().await;
        turn(3);
        drop(stream);
        echo.join().expect("echo");
    });
}

#[test]
fn addresses_that_the_node_serves_are_left_alone() {
    on_a_node(|| async {
        let first = Ipv4Addr::new(10, 96, 0, 1);
        let mut bed = Bed::serving(vec![first], led(first, 443, 1443)).await;
        let client = bed.pod("client").await;
        // somebody else has that port at all addresses
        Place::Node.serve("web", 443);
        Place::Node.serve_on("node", first, 1443);
        bed.service("kubernetes", json!({"clusterIP": first, "ports": [{"name": "t", "port": 443}]}));
        bed.endpoints("kubernetes", &[("192.0.2.77".parse().expect("address"), json!({}))], both(6443));
        bed.tell().await;
        let answer = Place::from(&client).tcp(at(first, 443)).expect("answer");
        assert_eq!(answer, format!("node sees {}", client.ips[0]));
        assert_eq!(who(&Place::Node.tcp(at(first, 443)).expect("from the node")), "node");
    });
}

#[test]
fn the_hosts_own_network_is_an_endpoint_like_others() {
    on_a_node(|| async {
        let mut bed = Bed::new().await;
        let client = bed.pod("client").await;
        Place::Node.serve_on("host", bed::NODE_IP, 9000);
        bed.service("s", json!({"type": "NodePort", "clusterIP": VIP, "ports": [{"name": "t", "port": 80, "nodePort": 30080}]}));
        bed.endpoints("s", &[(bed::NODE_IP.into(), json!({}))], both(9000));
        bed.tell().await;
        let from = Place::from(&client);
        for address in [at(VIP, 80), at(bed::NODE_IP, 30080), at(bed::GATEWAY, 30080)] {
            assert_eq!(who(&from.tcp(address).expect("from a pod")), "host", "{address}");
            assert_eq!(who(&Place::Node.tcp(address).expect("from the node")), "host", "{address}");
        }
        assert_eq!(who(&Place::Node.tcp(at(Ipv4Addr::LOCALHOST, 30080)).expect("loopback")), "host");
        assert_eq!(who(&bed.outside.tcp(at(bed::NODE_IP, 30080)).expect("from outside")), "host");
    });
}

#[test]
fn what_is_cleaned_up_is_gone() {
    on_a_node(|| async {
        let bed = Bed::new().await;
        sampan_proxy::cleanup(bed::TABLE, "spx0", "10.96.0.0/12").await.expect("cleanup");
        sampan_proxy::cleanup(bed::TABLE, "spx0", "10.96.0.0/12").await.expect("twice");
        let list = |command: &[&str]| {
            let output =
                std::process::Command::new(command[0]).args(&command[1..]).output().expect("program");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(!list(&["nft", "list", "tables"]).contains(bed::TABLE));
        assert!(!list(&["ip", "route"]).contains("10.96"));
        drop(bed);
    });
}
