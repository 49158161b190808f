//! Every rule of the cluster's names as a table: a question on the wire, the answer as hickory reads it.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use proptest::prelude::*;
use sampan_process::{Component, Tasks};
use serde_json::{Value, json};

use crate::answer::Transport;
use crate::forward::{Bounds, Forwarder, Settings};
use crate::hosts::Hosts;
use crate::name::Name;
use crate::responder::{Outcome, Responder};
use crate::service::{Terms, prepare};
use crate::zone::Zone;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const SOA: &str =
    "cluster.local. 30 SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 30";

fn terms() -> Terms {
    Terms { domain: Name::parse("cluster.local").unwrap(), ttl: 30 }
}

/// Puts a Service with its slices, each the JSON of its spec or of its endpoints and ports.
fn put(zone: &mut Zone, namespace: &str, name: &str, spec: Value, slices: &[Value]) {
    let service = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
    let slices: Vec<_> = slices
        .iter()
        .map(|slice| {
            let mut slice = slice.clone();
            slice["addressType"] = json!("IPv4");
            slice["metadata"] = json!({});
            Arc::new(serde_json::from_value(slice).unwrap())
        })
        .collect();
    let prepared = prepare(&serde_json::from_value(service).unwrap(), &slices, &terms());
    zone.set_service(namespace, name, prepared);
}

fn zone() -> Zone {
    let mut zone = Zone::new(terms(), SERVER);
    zone.set_namespace("ns", true);
    let http = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    let pod = |ip: &str| json!({"addresses": [ip], "conditions": {"ready": true}});
    let named = |ip: &str, hostname: &str| json!({"addresses": [ip], "hostname": hostname});
    put(
        &mut zone,
        "ns",
        "web",
        json!({"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"], "externalIPs": ["192.0.2.7"], "ports": http}),
        &[
            json!({"endpoints": [pod("10.244.0.9"), named("10.244.0.8", "Blue")], "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}),
        ],
    );
    put(
        &mut zone,
        "ns",
        "two",
        json!({"clusterIP": "10.96.1.2", "ports": [{"name": "a", "port": 1, "protocol": "TCP"}, {"name": "a-udp", "port": 1, "protocol": "UDP"}, {"name": "b", "port": 2}]}),
        &[],
    );
    put(&mut zone, "ns", "plain", json!({"clusterIP": "10.96.1.3", "ports": [{"port": 80}]}), &[]);
    put(
        &mut zone,
        "ns",
        "dual",
        json!({"clusterIP": "10.96.1.4", "clusterIPs": ["10.96.1.4", "fd00::4"], "ports": http}),
        &[],
    );
    put(
        &mut zone,
        "ns",
        "six",
        json!({"clusterIP": "fd00::6", "clusterIPs": ["fd00::6"], "ports": http}),
        &[],
    );
    put(
        &mut zone,
        "ns",
        "heads",
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        &[json!({"endpoints": [
            pod("10.244.0.2"), pod("10.244.0.3"), named("10.244.0.4", "dup"), named("10.244.0.5", "dup"),
            pod("fd00::1:2"), {"addresses": ["10.244.0.99"], "conditions": {"ready": false}}
        ], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})],
    );
    put(
        &mut zone,
        "ns",
        "split",
        json!({"clusterIP": "None"}),
        &[
            json!({"endpoints": [pod("10.244.1.1")], "ports": [{"name": "x", "port": 1, "protocol": "UDP"}]}),
            json!({"endpoints": [pod("10.244.1.2")], "ports": [{"name": "x", "port": 2, "protocol": "UDP"}]}),
        ],
    );
    put(
        &mut zone,
        "ns",
        "portless",
        json!({"clusterIP": "None"}),
        &[json!({"endpoints": [pod("10.244.0.20")]})],
    );
    put(
        &mut zone,
        "ns",
        "unready",
        json!({"clusterIP": "None"}),
        &[
            json!({"endpoints": [{"addresses": ["10.244.0.99"], "conditions": {"ready": false}}], "ports": http}),
        ],
    );
    put(&mut zone, "ns", "bare", json!({"clusterIP": "None"}), &[]);
    for (name, target) in [
        ("ext", "ext.example."),
        ("inside", "web.ns.svc.cluster.local"),
        ("chain", "inside.ns.svc.cluster.local"),
        ("dangling", "nothing.ns.svc.cluster.local"),
        ("ring", "gnir.ns.svc.cluster.local"),
        ("gnir", "ring.ns.svc.cluster.local"),
        ("number", "192.0.2.1"),
        ("listed", "db.home"),
    ] {
        put(&mut zone, "ns", name, json!({"type": "ExternalName", "externalName": target}), &[]);
    }
    zone.complete();
    zone.touch(7);
    zone
}

fn responder(zone: Zone) -> Responder {
    let bounds = Bounds { positive: Duration::from_secs(30), negative: Duration::from_secs(30) };
    let stub = (Name::parse("stub.cluster.local").unwrap(), vec!["127.0.0.1:1".parse().unwrap()]);
    let local = (Name::parse("local").unwrap(), vec!["127.0.0.1:1".parse().unwrap()]);
    let settings = Settings { stubs: vec![local, stub], upstreams: vec![], cache_entries: 10, bounds };
    let tasks = Tasks::new(Component::ControllerManager);
    let ips = ["192.168.1.5", "192.168.1.6", "fd00::5"].map(|ip| ip.parse().unwrap());
    let hosts = Hosts::new(&[(Name::parse("DB.home").unwrap(), ips.to_vec())], 30);
    Responder::new(Arc::new(ArcSwap::from_pointee(zone)), hosts, Forwarder::new(&settings, tasks))
}

fn number(kind: &str) -> u16 {
    let known = [
        ("A", 1),
        ("NS", 2),
        ("CNAME", 5),
        ("SOA", 6),
        ("PTR", 12),
        ("HINFO", 13),
        ("MX", 15),
        ("TXT", 16),
        ("AAAA", 28),
        ("SRV", 33),
        ("AXFR", 252),
        ("ANY", 255),
    ];
    known.iter().find(|(name, _)| *name == kind).unwrap().1
}

/// A question; the name is written as it is, also in upper case.
fn packet(name: &str, kind: u16, opt: Option<(u16, u8, bool)>) -> Vec<u8> {
    let mut packet = vec![0xAB, 0xCD, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len() as u8);
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    if let Some((size, version, dnssec)) = opt {
        packet.extend([0, 0, 41]);
        packet.extend(size.to_be_bytes());
        packet.extend([0, version, if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    }
    packet
}

fn answer(responder: &Responder, packet: &[u8], transport: Transport) -> Outcome2 {
    let mut buffer = vec![0; 65_535];
    buffer[..packet.len()].copy_from_slice(packet);
    match responder.answer(&responder.zone(), &mut buffer, packet.len(), transport, 0) {
        Outcome::Reply(length) => Outcome2::Reply(buffer[..length].to_vec()),
        Outcome::Later(later) => Outcome2::Later(later),
        Outcome::Silence => Outcome2::Silence,
    }
}

enum Outcome2 {
    Reply(Vec<u8>),
    Later(Box<crate::responder::Later>),
    Silence,
}

async fn message(responder: &Responder, packet: &[u8], transport: Transport) -> Message {
    let bytes = match answer(responder, packet, transport) {
        Outcome2::Reply(bytes) => bytes,
        Outcome2::Later(later) => responder.finish(later, transport).await,
        Outcome2::Silence => panic!("no answer"),
    };
    Message::from_vec(&bytes).unwrap()
}

fn show(records: &[Record]) -> Vec<String> {
    let one =
        |record: &Record| format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data);
    records.iter().map(one).collect()
}

/// The code, answers, authorities and additionals of the answer to a question by UDP with room for 4096 bytes.
async fn ask(responder: &Responder, name: &str, kind: &str) -> (u16, Vec<String>, Vec<String>, Vec<String>) {
    let message =
        message(responder, &packet(name, number(kind), Some((4096, 0, false))), Transport::Udp).await;
    let metadata = &message.metadata;
    assert_eq!((metadata.id, metadata.recursion_desired, metadata.checking_disabled), (0xABCD, true, true));
    assert!(metadata.recursion_available && !metadata.truncation, "{name}");
    assert_eq!(message.queries[0].name().to_string().trim_end_matches('.'), name.trim_end_matches('.'));
    (
        metadata.response_code.into(),
        show(&message.answers),
        show(&message.authorities),
        show(&message.additionals),
    )
}

/// Checks a table: name, type, and the answers. `-` is no data, `!` no such name, both with the zone's SOA.
async fn check(responder: &Responder, table: &[(&str, &str, &[&str])]) {
    for (name, kind, wanted) in table {
        let (code, answers, authorities, extras) = ask(responder, name, kind).await;
        match wanted {
            ["-"] => assert_eq!(
                (code, &answers[..], &authorities[..]),
                (0, &[][..], &[SOA.to_owned()][..]),
                "{name} {kind}"
            ),
            ["!"] => assert_eq!(
                (code, &answers[..], &authorities[..]),
                (3, &[][..], &[SOA.to_owned()][..]),
                "{name} {kind}"
            ),
            _ => {
                let all: Vec<String> = answers.into_iter().chain(extras).collect();
                assert_eq!(
                    (code, all),
                    (0, wanted.iter().map(|record| (*record).to_owned()).collect()),
                    "{name} {kind}"
                );
                assert!(authorities.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn services_have_names() {
    let responder = responder(zone());
    let web = "web.ns.svc.cluster.local. 30 A 10.96.1.1";
    check(
        &responder,
        &[
            ("web.ns.svc.cluster.local", "A", &[web]),
            ("WeB.Ns.sVc.cLuster.LOCAL", "A", &["WeB.Ns.sVc.cLuster.LOCAL. 30 A 10.96.1.1"]),
            ("web.ns.svc.cluster.local", "AAAA", &["-"]),
            (
                "web.ns.svc.cluster.local",
                "SRV",
                &["web.ns.svc.cluster.local. 30 SRV 0 100 80 web.ns.svc.cluster.local.", web],
            ),
            (
                "_http._tcp.web.ns.svc.cluster.local",
                "SRV",
                &["_http._tcp.web.ns.svc.cluster.local. 30 SRV 0 100 80 web.ns.svc.cluster.local.", web],
            ),
            (
                "http._TCP.web.ns.svc.cluster.local",
                "SRV",
                &["http._TCP.web.ns.svc.cluster.local. 30 SRV 0 100 80 web.ns.svc.cluster.local.", web],
            ),
            (
                "_http._tcp.web.ns.svc.cluster.local",
                "A",
                &["_http._tcp.web.ns.svc.cluster.local. 30 A 10.96.1.1"],
            ),
            ("_http._udp.web.ns.svc.cluster.local", "SRV", &["!"]),
            ("_https._tcp.web.ns.svc.cluster.local", "SRV", &["!"]),
            ("two.ns.svc.cluster.local", "A", &["two.ns.svc.cluster.local. 30 A 10.96.1.2"]),
            (
                "two.ns.svc.cluster.local",
                "SRV",
                &[
                    // one record for the same port of both protocols, of the weight of one in three
                    "two.ns.svc.cluster.local. 30 SRV 0 33 1 two.ns.svc.cluster.local.",
                    "two.ns.svc.cluster.local. 30 SRV 0 33 2 two.ns.svc.cluster.local.",
                    "two.ns.svc.cluster.local. 30 A 10.96.1.2",
                ],
            ),
            (
                "_a-udp._udp.two.ns.svc.cluster.local",
                "SRV",
                &[
                    "_a-udp._udp.two.ns.svc.cluster.local. 30 SRV 0 100 1 two.ns.svc.cluster.local.",
                    "two.ns.svc.cluster.local. 30 A 10.96.1.2",
                ],
            ),
            (
                "plain.ns.svc.cluster.local",
                "SRV",
                &[
                    "plain.ns.svc.cluster.local. 30 SRV 0 100 80 plain.ns.svc.cluster.local.",
                    "plain.ns.svc.cluster.local. 30 A 10.96.1.3",
                ],
            ),
            ("_._tcp.plain.ns.svc.cluster.local", "SRV", &["!"]),
            ("dual.ns.svc.cluster.local", "AAAA", &["dual.ns.svc.cluster.local. 30 AAAA fd00::4"]),
            (
                "dual.ns.svc.cluster.local",
                "SRV",
                &[
                    "dual.ns.svc.cluster.local. 30 SRV 0 50 80 dual.ns.svc.cluster.local.",
                    "dual.ns.svc.cluster.local. 30 A 10.96.1.4",
                    "dual.ns.svc.cluster.local. 30 AAAA fd00::4",
                ],
            ),
            ("six.ns.svc.cluster.local", "A", &["-"]),
            ("six.ns.svc.cluster.local", "AAAA", &["six.ns.svc.cluster.local. 30 AAAA fd00::6"]),
            // endpoints of any Service have names, by hostname or address
            (
                "10-244-0-9.web.ns.svc.cluster.local",
                "A",
                &["10-244-0-9.web.ns.svc.cluster.local. 30 A 10.244.0.9"],
            ),
            ("blue.web.ns.svc.cluster.local", "A", &["blue.web.ns.svc.cluster.local. 30 A 10.244.0.8"]),
            (
                "blue.web.ns.svc.cluster.local",
                "SRV",
                &[
                    "blue.web.ns.svc.cluster.local. 30 SRV 0 100 8080 blue.web.ns.svc.cluster.local.",
                    "blue.web.ns.svc.cluster.local. 30 A 10.244.0.8",
                ],
            ),
            ("10-244-0-8.web.ns.svc.cluster.local", "A", &["!"]),
            ("a.b.c.web.ns.svc.cluster.local", "A", &["!"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn headless_services_have_the_names_of_their_endpoints() {
    let responder = responder(zone());
    let all = ["10-244-0-2", "10-244-0-3", "dup"];
    let srv = |port: u16, weight: u16, owner: &str, target: &str| {
        format!("{owner}. 30 SRV 0 {weight} {port} {target}.heads.ns.svc.cluster.local.")
    };
    let owner = "_http._tcp.heads.ns.svc.cluster.local";
    let mut wanted: Vec<String> = all.iter().map(|target| srv(80, 20, owner, target)).collect();
    wanted.push(srv(80, 20, owner, "fd00--1-2"));
    wanted.extend([
        "10-244-0-2.heads.ns.svc.cluster.local. 30 A 10.244.0.2".to_owned(),
        "10-244-0-3.heads.ns.svc.cluster.local. 30 A 10.244.0.3".to_owned(),
        "dup.heads.ns.svc.cluster.local. 30 A 10.244.0.4".to_owned(),
        "dup.heads.ns.svc.cluster.local. 30 A 10.244.0.5".to_owned(),
        "fd00--1-2.heads.ns.svc.cluster.local. 30 AAAA fd00::1:2".to_owned(),
    ]);
    let srv: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let own = |ip: &str| format!("heads.ns.svc.cluster.local. 30 A {ip}");
    let owns = ["10.244.0.2", "10.244.0.3", "10.244.0.4", "10.244.0.5"].map(own);
    check(&responder, &[
        ("heads.ns.svc.cluster.local", "A", &owns.each_ref().map(String::as_str)),
        ("heads.ns.svc.cluster.local", "AAAA", &["heads.ns.svc.cluster.local. 30 AAAA fd00::1:2"]),
        (owner, "SRV", &srv),
        ("dup.heads.ns.svc.cluster.local", "A", &["dup.heads.ns.svc.cluster.local. 30 A 10.244.0.4", "dup.heads.ns.svc.cluster.local. 30 A 10.244.0.5"]),
        ("fd00--1-2.heads.ns.svc.cluster.local", "AAAA", &["fd00--1-2.heads.ns.svc.cluster.local. 30 AAAA fd00::1:2"]),
        ("10-244-0-99.heads.ns.svc.cluster.local", "A", &["!"]),
        ("nobody.heads.ns.svc.cluster.local", "A", &["!"]),
        ("_x._udp.split.ns.svc.cluster.local", "SRV", &[
            "_x._udp.split.ns.svc.cluster.local. 30 SRV 0 50 1 10-244-1-1.split.ns.svc.cluster.local.",
            "_x._udp.split.ns.svc.cluster.local. 30 SRV 0 50 2 10-244-1-2.split.ns.svc.cluster.local.",
            "10-244-1-1.split.ns.svc.cluster.local. 30 A 10.244.1.1",
            "10-244-1-2.split.ns.svc.cluster.local. 30 A 10.244.1.2",
        ]),
        ("portless.ns.svc.cluster.local", "A", &["portless.ns.svc.cluster.local. 30 A 10.244.0.20"]),
        ("portless.ns.svc.cluster.local", "SRV", &["-"]),
        ("10-244-0-20.portless.ns.svc.cluster.local", "A", &["10-244-0-20.portless.ns.svc.cluster.local. 30 A 10.244.0.20"]),
        ("unready.ns.svc.cluster.local", "A", &["!"]),
        ("bare.ns.svc.cluster.local", "A", &["!"]),
    ]).await;
}

#[tokio::test]
async fn the_zone_has_a_shape() {
    let responder = responder(zone());
    check(
        &responder,
        &[
            ("cluster.local", "A", &["-"]),
            ("cluster.local", "HINFO", &["-"]),
            ("cluster.local", "SOA", &[SOA]),
            (
                "cluster.local",
                "NS",
                &[
                    "cluster.local. 30 NS kube-dns.kube-system.svc.cluster.local.",
                    "kube-dns.kube-system.svc.cluster.local. 30 A 10.96.0.10",
                ],
            ),
            ("svc.cluster.local", "A", &["-"]),
            ("svc.cluster.local", "NS", &["-"]),
            ("svc.cluster.local", "SOA", &["-"]),
            ("pod.cluster.local", "A", &["-"]),
            ("ns.svc.cluster.local", "A", &["-"]),
            ("ns.svc.cluster.local", "NS", &["-"]),
            ("ns.pod.cluster.local", "A", &["-"]),
            ("other.svc.cluster.local", "A", &["!"]),
            ("other.pod.cluster.local", "A", &["!"]),
            ("web.other.svc.cluster.local", "A", &["!"]),
            ("nothing.ns.svc.cluster.local", "A", &["!"]),
            ("web.ns.cluster.local", "A", &["!"]),
            ("web.ns.svcs.cluster.local", "A", &["!"]),
            ("web.ns.cluster.local", "NS", &["!"]),
            ("web.ns.svc.cluster.local", "TXT", &["-"]),
            ("web.ns.svc.cluster.local", "MX", &["-"]),
            ("web.ns.svc.cluster.local", "CNAME", &["-"]),
            ("web.ns.svc.cluster.local", "ANY", &["-"]),
            ("web.ns.svc.cluster.local", "PTR", &["-"]),
            ("nothing.ns.svc.cluster.local", "TXT", &["!"]),
            ("dns-version.cluster.local", "TXT", &["dns-version.cluster.local. 28800 TXT 1.1.0"]),
            ("dns-version.cluster.local", "A", &["-"]),
            ("ns.dns.cluster.local", "A", &["ns.dns.cluster.local. 30 A 10.96.0.10"]),
            ("ns.dns.cluster.local", "AAAA", &["-"]),
            ("dns.cluster.local", "A", &["!"]),
            // the search list's work: the name of elsewhere below the cluster's domain
            ("example.com.ns.svc.cluster.local", "A", &["!"]),
            ("example.com.svc.cluster.local", "A", &["!"]),
            ("example.com.cluster.local", "A", &["!"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn pods_have_the_addresses_that_their_names_say() {
    let responder = responder(zone());
    check(
        &responder,
        &[
            ("10-244-0-7.ns.pod.cluster.local", "A", &["10-244-0-7.ns.pod.cluster.local. 30 A 10.244.0.7"]),
            ("10-244-0-7.ns.pod.cluster.local", "AAAA", &["-"]),
            ("fd00--7.ns.pod.cluster.local", "AAAA", &["fd00--7.ns.pod.cluster.local. 30 AAAA fd00::7"]),
            (
                "1-2-3-4-5-6-7-8.ns.pod.cluster.local",
                "AAAA",
                &["1-2-3-4-5-6-7-8.ns.pod.cluster.local. 30 AAAA 1:2:3:4:5:6:7:8"],
            ),
            ("10-244-0-7.other.pod.cluster.local", "A", &["!"]),
            ("10-244-0-300.ns.pod.cluster.local", "A", &["!"]),
            ("web.ns.pod.cluster.local", "A", &["!"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn external_names_are_followed_in_the_zone() {
    let responder = responder(zone());
    let web = "web.ns.svc.cluster.local. 30 A 10.96.1.1";
    check(
        &responder,
        &[
            (
                "inside.ns.svc.cluster.local",
                "A",
                &["inside.ns.svc.cluster.local. 30 CNAME web.ns.svc.cluster.local.", web],
            ),
            (
                "chain.ns.svc.cluster.local",
                "A",
                &[
                    "chain.ns.svc.cluster.local. 30 CNAME inside.ns.svc.cluster.local.",
                    "inside.ns.svc.cluster.local. 30 CNAME web.ns.svc.cluster.local.",
                    web,
                ],
            ),
            ("ext.ns.svc.cluster.local", "CNAME", &["ext.ns.svc.cluster.local. 30 CNAME ext.example."]),
            ("ext.ns.svc.cluster.local", "SRV", &["-"]),
            ("ext.ns.svc.cluster.local", "TXT", &["-"]),
            ("endpoint.ext.ns.svc.cluster.local", "CNAME", &["!"]),
            (
                "_a._tcp.ext.ns.svc.cluster.local",
                "CNAME",
                &["_a._tcp.ext.ns.svc.cluster.local. 30 CNAME ext.example."],
            ),
            (
                "dangling.ns.svc.cluster.local",
                "A",
                &["dangling.ns.svc.cluster.local. 30 CNAME nothing.ns.svc.cluster.local."],
            ),
            (
                "listed.ns.svc.cluster.local",
                "AAAA",
                &["listed.ns.svc.cluster.local. 30 CNAME db.home.", "db.home. 30 AAAA fd00::5"],
            ),
            (
                "ring.ns.svc.cluster.local",
                "A",
                &[
                    "ring.ns.svc.cluster.local. 30 CNAME gnir.ns.svc.cluster.local.",
                    "gnir.ns.svc.cluster.local. 30 CNAME ring.ns.svc.cluster.local.",
                ],
            ),
            ("number.ns.svc.cluster.local", "A", &["!"]),
        ],
    )
    .await;
    // nobody to ask is an error, not an empty answer that would be kept
    assert_eq!(ask(&responder, "ext.ns.svc.cluster.local", "A").await.0, 2);
}

#[tokio::test]
async fn addresses_have_names_for_as_long_as_someone_gives_them() {
    let mut zone = zone();
    put(
        &mut zone,
        "ns",
        "more",
        json!({"clusterIP": "None"}),
        &[json!({"endpoints": [{"addresses": ["10.244.0.9"]}]})],
    );
    let responder_before = responder(zone.clone());
    check(&responder_before, &[
        ("1.1.96.10.in-addr.arpa", "PTR", &["1.1.96.10.in-addr.arpa. 30 PTR web.ns.svc.cluster.local."]),
        ("7.2.0.192.in-addr.arpa", "PTR", &["7.2.0.192.in-addr.arpa. 30 PTR web.ns.svc.cluster.local."]),
        ("4.0.244.10.IN-ADDR.arpa", "PTR", &["4.0.244.10.IN-ADDR.arpa. 30 PTR dup.heads.ns.svc.cluster.local."]),
        ("9.0.244.10.in-addr.arpa", "PTR", &[
            "9.0.244.10.in-addr.arpa. 30 PTR 10-244-0-9.web.ns.svc.cluster.local.",
            "9.0.244.10.in-addr.arpa. 30 PTR 10-244-0-9.more.ns.svc.cluster.local.",
        ]),
        ("5.1.168.192.in-addr.arpa", "PTR", &["5.1.168.192.in-addr.arpa. 30 PTR db.home."]),
        ("6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "PTR", &[
            "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 30 PTR six.ns.svc.cluster.local.",
        ]),
    ]).await;
    // an address that is nobody's is asked for upstream, of which there is none
    assert_eq!(ask(&responder_before, "99.0.244.10.in-addr.arpa", "PTR").await.0, 2);
    zone.set_service("ns", "web", None);
    zone.set_service("ns", "more", None);
    let responder = responder(zone.clone());
    assert_eq!(ask(&responder, "9.0.244.10.in-addr.arpa", "PTR").await.0, 2);
    assert_eq!(ask(&responder, "1.1.96.10.in-addr.arpa", "PTR").await.0, 2);
    check(&responder, &[("web.ns.svc.cluster.local", "A", &["!"])]).await;
    zone.set_namespace("ns", false);
    check(&self::responder(zone), &[("ns.svc.cluster.local", "A", &["!"])]).await;
}

#[tokio::test]
async fn configured_names_go_first_and_stub_zones_elsewhere() {
    let responder = responder(zone());
    check(
        &responder,
        &[
            ("db.home", "A", &["db.home. 30 A 192.168.1.5", "db.home. 30 A 192.168.1.6"]),
            ("DB.HOME", "AAAA", &["DB.HOME. 30 AAAA fd00::5"]),
            // a stub zone around the cluster's does not take its names
            ("web.ns.svc.cluster.local", "A", &["web.ns.svc.cluster.local. 30 A 10.96.1.1"]),
        ],
    )
    .await;
    // there are no other types, and no zone whose SOA would say so
    let (code, answers, authorities, _) = ask(&responder, "db.home", "TXT").await;
    assert_eq!((code, answers.len(), authorities.len()), (0, 0, 0));
    // a zone within the cluster's is asked for where it is; nobody is there
    assert_eq!(ask(&responder, "x.stub.cluster.local", "A").await.0, 2);
}

#[tokio::test]
async fn what_is_not_known_yet_is_not_denied() {
    let mut zone = Zone::new(terms(), SERVER);
    put(&mut zone, "ns", "early", json!({"clusterIP": "10.96.1.1", "ports": [{"port": 80}]}), &[]);
    let responder = responder(zone);
    assert_eq!(ask(&responder, "early.ns.svc.cluster.local", "A").await.0, 0);
    assert_eq!(ask(&responder, "late.ns.svc.cluster.local", "A").await.0, 2);
}

#[tokio::test]
async fn odd_questions_are_refused_as_upstream_refuses_them() {
    let responder = responder(zone());
    let plain = packet("web.ns.svc.cluster.local", 1, None);
    let with = |at: usize, byte: u8| {
        let mut packet = plain.clone();
        packet[at] = byte;
        packet
    };
    let last = plain.len() - 1;
    let transfer = packet("cluster.local", 252, None);
    let versioned = packet("web.ns.svc.cluster.local", 1, Some((4096, 1, false)));
    let twice =
        [packet("web.ns.svc.cluster.local", 1, Some((4096, 0, false))), versioned[plain.len()..].to_vec()]
            .concat();
    let twice = [&twice[..11], &[2], &twice[12..]].concat();
    let pointer = [&plain[..12], &[0xC0, 12, 0, 1, 0, 1]].concat();
    for (what, packet, code) in [
        ("a status query", with(2, 0x11), Some(4)),
        ("a notification", with(2, 0x21), Some(4)),
        ("no question", with(5, 0), Some(1)),
        ("two questions", with(5, 2), Some(1)),
        ("two answers", with(7, 2), Some(1)),
        ("three additionals", with(11, 3), Some(1)),
        ("a missing additional", with(11, 1), Some(1)),
        ("class CHAOS", with(last, 3), Some(5)),
        ("a transfer", transfer, Some(5)),
        ("EDNS version 1", versioned, Some(16)),
        ("two OPT records", twice, Some(1)),
        ("a pointer for a name", pointer, Some(1)),
        ("half a name", plain[..20].to_vec(), Some(1)),
        ("a question without its type", plain[..last - 3].to_vec(), Some(1)),
        ("an answer", with(2, 0x81), None),
        ("half a header", plain[..11].to_vec(), None),
        ("nothing", vec![], None),
    ] {
        match (answer(&responder, &packet, Transport::Udp), code) {
            (Outcome2::Reply(bytes), Some(code)) => {
                let message = Message::from_vec(&bytes).unwrap();
                assert_eq!(u16::from(message.metadata.response_code), code, "{what}");
                assert_eq!(bytes[..2], packet[..2], "{what}");
                assert_eq!(bytes[2] & 0x79, packet[2] & 0x79, "{what}: opcode and RD are kept");
            }
            (Outcome2::Silence, None) => {}
            _ => panic!("{what}"),
        }
    }
}

#[tokio::test]
async fn answers_keep_to_what_the_client_takes() {
    let mut zone = zone();
    let many: Vec<Value> = (0..250).map(|n| json!({"addresses": [format!("10.244.2.{n}")]})).collect();
    put(
        &mut zone,
        "ns",
        "many",
        json!({"clusterIP": "None"}),
        &[json!({"endpoints": many, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})],
    );
    let responder = responder(zone);
    let name = "many.ns.svc.cluster.local";
    for (kind, opt, transport, size, answers, cut) in [
        (1, None, Transport::Udp, 512, 29, true),
        (1, Some((100, 0, false)), Transport::Udp, 512, 28, true),
        (1, Some((1232, 0, true)), Transport::Udp, 1232, 73, true),
        (1, Some((65_535, 0, false)), Transport::Udp, 4096, 250, false),
        (1, None, Transport::Tcp, 65_535, 250, false),
        (33, None, Transport::Tcp, 65_535, 250, false),
        (33, Some((4096, 0, false)), Transport::Udp, 4096, 71, true),
    ] {
        let packet = packet(name, kind, opt);
        let Outcome2::Reply(bytes) = answer(&responder, &packet, transport) else { panic!("no answer") };
        assert!(bytes.len() <= size, "{kind} {opt:?}: {}", bytes.len());
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(
            (message.answers.len(), message.metadata.truncation),
            (answers, cut),
            "{kind} {opt:?} {transport:?}"
        );
        let edns =
            message.edns.as_ref().map(|edns| (edns.max_payload(), edns.version(), edns.flags().dnssec_ok));
        assert_eq!(edns, opt.map(|(_, _, dnssec)| (1232, 0, dnssec)));
        if !cut && kind == 33 {
            assert_eq!(message.additionals.len(), 250);
        }
    }
    // each address comes first in its turn
    let packet = packet("heads.ns.svc.cluster.local", 1, None);
    let first = |turn: usize| {
        let mut buffer = vec![0; 512];
        buffer[..packet.len()].copy_from_slice(&packet);
        let Outcome::Reply(length) =
            responder.answer(&responder.zone(), &mut buffer, packet.len(), Transport::Udp, turn)
        else {
            panic!("no answer")
        };
        Message::from_vec(&buffer[..length]).unwrap().answers[0].data.to_string()
    };
    assert_eq!(
        [0, 1, 2, 3, 4].map(first),
        ["10.244.0.2", "10.244.0.3", "10.244.0.4", "10.244.0.5", "10.244.0.2"]
    );
}

proptest! {
    #[test]
    fn no_packet_is_too_odd(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), plain in any::<bool>()) {
        // half of them are questions as far as their header goes
        if plain && bytes.len() > 12 {
            let additional = bytes[12] & 1;
            bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, additional]);
        }
        let responder = responder(zone());
        if let Outcome2::Reply(reply) = answer(&responder, &bytes, Transport::Udp) {
            prop_assert!(reply.len() <= 4096);
            prop_assert_eq!(&reply[..2], &bytes[..2]);
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
    }
}
