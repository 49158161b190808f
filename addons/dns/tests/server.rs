//! The whole addon: real packets from `dig` and from sockets, in a network namespace of its own, fed by an API in memory.
//! Needs root and bind's dig.
#![allow(clippy::unwrap_used)]

#[path = "../../../server/controllers/tests/fake/mod.rs"]
mod fake;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sampan_addon::{Context, Drain, Error, GroupHandler, Host, Native, Report, Reporter, Served, Site};
use sampan_addon_dns::Dns;
use sampan_process::{Component, Tasks};
use sampan_reconcile::Informers;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

struct NoHost;

impl Host for NoHost {
    fn serve_group(&self, _: &'static str, _: &'static str, _: GroupHandler) -> Served {
        Box::new(())
    }

    fn content_store(&self) -> Option<PathBuf> {
        None
    }
}

struct World {
    context: Context,
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Runs a test on a thread with a network of its own: `lo`, and a bridge without the server's address.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            ip("link set lo up");
            ip("link add sptestdns0 type bridge");
            ip("link set sptestdns0 up");
            tokio::time::timeout(Duration::from_secs(60), test(world())).await.expect("in time");
        });
    });
    thread.join().unwrap();
}

fn world() -> World {
    let client = sampan_client::loopback(Arc::new(fake::Fake::default()), "default");
    let tasks = Tasks::new(Component::ControllerManager);
    let informers = Informers::new(client.clone(), tasks.clone());
    let site = Site {
        profile: "test".into(),
        node_name: "n1".into(),
        node_ips: vec!["192.0.2.2".parse().unwrap()],
        bridge: "sptestdns0".into(),
        gateway: Ipv4Addr::new(10, 201, 0, 1),
        pod_cidr: "10.201.0.0/16".into(),
        service_cidr: "10.96.0.0/12".into(),
        dns_ip: SERVER,
        cluster_domain: "cluster.local".into(),
    };
    let (health, host) = (Reporter::new(), Arc::new(NoHost));
    World { context: Context { client, informers, site, data: PathBuf::new(), health, tasks, host } }
}

type Running = tokio::task::JoinHandle<Result<(), Error>>;

impl World {
    fn run(&self, config: Value) -> (Drain, Running) {
        let (drain, context) = (self.context.tasks.drain(), self.context.clone());
        let until = drain.clone();
        (drain, tokio::spawn(async move { Native::run(&Dns, &config, context, until).await }))
    }

    async fn health(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        self.context.health.watch().wait_for(|report| wanted(report)).await.unwrap().clone()
    }

    async fn create<K>(&self, namespace: Option<&str>, object: Value)
    where
        K: kube::Resource<DynamicType = ()>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
    {
        let path = K::url_path(&(), namespace);
        let request = kube::core::Request::new(path)
            .create(&PostParams::default(), serde_json::to_vec(&object).unwrap())
            .unwrap();
        self.context.client.request::<K>(request).await.unwrap();
    }

    async fn service(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec});
        self.create::<Service>(Some("default"), object).await;
    }

    async fn slice(&self, service: &str, name: &str, ips: &[&str]) {
        let endpoints: Vec<Value> =
            ips.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
        let labels = json!({"kubernetes.io/service-name": service});
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]
        });
        self.create::<EndpointSlice>(Some("default"), object).await;
    }

    /// A cluster with some names, served and reachable.
    async fn filled(&self, config: Value) -> (Drain, Running) {
        for name in ["default", "kube-system"] {
            self.create::<Namespace>(
                None,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            )
            .await;
        }
        let port = json!([{"name": "https", "port": 443, "protocol": "TCP"}]);
        self.service(
            "kubernetes",
            json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": port}),
        )
        .await;
        self.service("heads", json!({"clusterIP": "None", "clusterIPs": ["None"]})).await;
        self.slice("heads", "heads-1", &["10.201.0.7", "10.201.0.8"]).await;
        let running = self.run(config);
        self.health(|report| *report != Report::Starting).await;
        running
    }
}

/// What dig prints for its arguments, without what changes.
async fn dig(arguments: &str) -> String {
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let mut command = tokio::process::Command::new("dig");
    command.arg(format!("@{SERVER}")).args(["+tries=1", "+time=5", "+nocookie"]).args(arguments);
    let output = command.output().await.expect("install bind9-dnsutils");
    String::from_utf8(output.stdout).unwrap()
}

fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    packet
}

async fn client() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    socket.connect((SERVER, 53)).await.unwrap();
    socket
}

#[test]
fn dig_sees_the_cluster() {
    in_namespace(|world| async move {
        // the address comes after the server
        let (drain, running) =
            world.filled(json!({"upstreams": ["127.0.0.1:1"], "hosts": {"db.home": ["192.168.1.5"]}})).await;
        ip("address add 10.96.0.10/32 dev sptestdns0");
        for (arguments, wanted) in [
            ("+short kubernetes.default.svc.cluster.local", "10.96.0.1\n"),
            ("+short +tcp kubernetes.default.svc.cluster.local", "10.96.0.1\n"),
            ("+short +noedns kubernetes.default.svc.cluster.local", "10.96.0.1\n"),
            ("+short +search +ndots=5 +domain=default.svc.cluster.local kubernetes", "10.96.0.1\n"),
            (
                "+short _https._tcp.kubernetes.default.svc.cluster.local SRV",
                "0 100 443 kubernetes.default.svc.cluster.local.\n",
            ),
            ("+short -x 10.96.0.1", "kubernetes.default.svc.cluster.local.\n"),
            ("+short -x 10.201.0.8", "10-201-0-8.heads.default.svc.cluster.local.\n"),
            ("+short 10-201-0-7.heads.default.svc.cluster.local", "10.201.0.7\n"),
            ("+short dns-version.cluster.local TXT", "\"1.1.0\"\n"),
            ("+short db.home", "192.168.1.5\n"),
            ("+noall +comments +nocmd nothing.default.svc.cluster.local", "status: NXDOMAIN"),
            (
                "+noall +comments default.svc.cluster.local",
                "flags: qr aa rd ra; QUERY: 1, ANSWER: 0, AUTHORITY: 1",
            ),
            (
                "+noall +authority default.svc.cluster.local",
                "cluster.local.\t\t30\tIN\tSOA\tns.dns.cluster.local. hostmaster.cluster.local.",
            ),
            ("+noall +comments +edns=1 +noednsneg kubernetes.default.svc.cluster.local", "status: BADVERS"),
            ("+noall +comments -c CH -t TXT version.bind", "status: REFUSED"),
            ("+noall +comments +opcode=NOTIFY cluster.local SOA", "status: NOTIMP"),
            ("+noall +comments example.com", "status: SERVFAIL"),
            (
                "+noall +comments +dnssec kubernetes.default.svc.cluster.local",
                "EDNS: version: 0, flags: do; udp: 1232",
            ),
            (
                "+noall +question +qr KuberNetes.default.svc.cluster.LOCAL",
                ";KuberNetes.default.svc.cluster.LOCAL. IN A",
            ),
        ] {
            let said = dig(arguments).await;
            assert!(said.contains(wanted) && !said.contains(";; Warning"), "dig {arguments}\n{said}");
        }
        // 200 addresses do not fit into a datagram: dig asks again by TCP
        let ips: Vec<String> = (0..200).map(|n| format!("10.201.9.{n}")).collect();
        let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
        world.service("many", json!({"clusterIP": "None"})).await;
        world.slice("many", "many-1", &ips[..100]).await;
        world.slice("many", "many-2", &ips[100..]).await;
        resolves(&client().await, "many.default.svc.cluster.local").await;
        let said = dig("+bufsize=512 +noignore many.default.svc.cluster.local").await;
        assert!(said.contains("ANSWER: 200") && said.contains("(TCP)"), "{said}");
        let said = dig("+bufsize=512 +ignore many.default.svc.cluster.local").await;
        assert!(said.contains("flags: qr aa tc rd ra"), "{said}");
        // the only upstream does not listen
        let report = world.health(|report| matches!(report, Report::Degraded { .. })).await;
        assert!(
            matches!(report, Report::Degraded { reason, .. } if reason.contains("127.0.0.1:1: Connection refused"))
        );
        drain.start();
        running.await.unwrap().unwrap();
        world.context.tasks.finish(Duration::from_secs(5)).await;
        // the port is free again
        drop(UdpSocket::bind((SERVER, 53)).await.unwrap());
    });
}

/// Asks until there is an answer; gives how long that took.
async fn resolves(client: &UdpSocket, name: &str) -> Duration {
    let start = Instant::now();
    let mut buffer = [0; 4096];
    for id in 0.. {
        client.send(&question(id, name, 1)).await.unwrap();
        client.recv(&mut buffer).await.unwrap();
        if buffer[3] & 15 == 0 && buffer[6..8] != [0, 0] {
            break;
        }
    }
    start.elapsed()
}

#[test]
fn a_new_service_has_its_name_at_once() {
    in_namespace(|world| async move {
        ip("address add 10.96.0.10/32 dev sptestdns0");
        world.filled(json!({"upstreams": ["127.0.0.1:1"]})).await;
        let client = client().await;
        for n in 0..200 {
            let (name, ip) = (format!("new-{n}"), format!("10.96.2.{n}"));
            world.service(&name, json!({"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]})).await;
            resolves(&client, &format!("{name}.default.svc.cluster.local")).await;
        }
        // and loses it
        let services: Api<Service> = Api::namespaced(world.context.client.clone(), "default");
        services.delete("new-7", &DeleteParams::default()).await.unwrap();
        let mut buffer = [0; 512];
        while buffer[3] & 15 != 3 {
            client.send(&question(1, "new-7.default.svc.cluster.local", 1)).await.unwrap();
            client.recv(&mut buffer).await.unwrap();
        }
    });
}

async fn read_answer(stream: &mut TcpStream) -> (u16, u8) {
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    (u16::from_be_bytes([answer[0], answer[1]]), answer[3] & 15)
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

#[test]
fn a_stream_takes_many_questions_and_ends_when_nothing_is_asked() {
    in_namespace(|world| async move {
        ip("address add 10.96.0.10/32 dev sptestdns0");
        // an upstream that says nothing
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        world.filled(json!({"upstreams": [silent.local_addr().unwrap().to_string()]})).await;
        let mut stream = TcpStream::connect((SERVER, 53)).await.unwrap();
        let here = "kubernetes.default.svc.cluster.local";
        // the second waits for an upstream, the third does not wait for the second
        let all: Vec<u8> = [(1, here), (2, "example.com"), (3, here)]
            .iter()
            .flat_map(|(id, name)| framed(&question(*id, name, 1)))
            .collect();
        stream.write_all(&all[..7]).await.unwrap();
        stream.write_all(&all[7..]).await.unwrap();
        assert_eq!(read_answer(&mut stream).await, (1, 0));
        assert_eq!(read_answer(&mut stream).await, (3, 0));
        assert_eq!(read_answer(&mut stream).await, (2, 2));
        // what is no question is told so, and the connection goes on
        stream.write_all(&framed(&question(4, here, 1)[..30])).await.unwrap();
        assert_eq!(read_answer(&mut stream).await, (4, 1));
        // half a question and then nothing: from here on the clock runs ahead while nobody does anything
        stream.write_all(&[0, 50, 1, 2, 3]).await.unwrap();
        tokio::time::pause();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0, "closed");
    });
}

/// A generator of numbers that anyone can repeat (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A packet that is random, or a question with random changes.
fn fuzz(numbers: &mut Numbers) -> Vec<u8> {
    let random =
        |numbers: &mut Numbers, length: u64| (0..length).map(|_| numbers.next() as u8).collect::<Vec<u8>>();
    if numbers.next().is_multiple_of(4) {
        let length =
            if numbers.next().is_multiple_of(16) { numbers.next() % 9000 } else { numbers.next() % 300 };
        return random(numbers, length);
    }
    let names = [
        "kubernetes.default.svc.cluster.local",
        "cluster.local",
        "_x._y.heads.default.svc.cluster.local",
        "1.0.96.10.in-addr.arpa",
        "1-2-3-4.default.pod.cluster.local",
    ];
    let mut packet = question(
        7,
        names[(numbers.next() % 5) as usize],
        [1, 28, 33, 12, 255][(numbers.next() % 5) as usize],
    );
    if numbers.next().is_multiple_of(2) {
        packet[11] = 1;
        packet.extend([0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]);
    }
    for _ in 0..numbers.next() % 6 {
        let at = (numbers.next() % packet.len() as u64) as usize;
        packet[at] = numbers.next() as u8;
    }
    // what is in the zone stays there: the upstream is not what is tested
    packet.truncate((packet.len() as u64 - numbers.next() % 20).max(1) as usize);
    packet
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A million packets; ten million in `make test-long`.
#[test]
fn random_packets_do_no_harm() {
    in_namespace(|world| async move {
        ip("address add 10.96.0.10/32 dev sptestdns0");
        let (_, running) = world.filled(json!({"upstreams": ["127.0.0.1:1"]})).await;
        let long = std::env::var_os("SAMPAN_TEST_LONG").is_some();
        let count: u64 = if long { 10_000_000 } else { 1_000_000 };
        let client = client().await;
        let mut numbers = Numbers(0x5eed);
        let mut buffer = [0; 9000];
        let mut answered = 0_u64;
        let mut settled = 0;
        for n in 0..count {
            let packet = fuzz(&mut numbers);
            client.send(&packet).await.unwrap();
            // the server has its turn after each few
            if n % 16 == 0 {
                client.send(&question(0xFFFF, "kubernetes.default.svc.cluster.local", 1)).await.unwrap();
                loop {
                    let length = client.recv(&mut buffer).await.unwrap();
                    assert!((12..=4096).contains(&length));
                    answered += 1;
                    if buffer[..2] == [0xFF, 0xFF] && length == 70 {
                        break;
                    }
                }
            }
            if n == count / 4 {
                settled = resident_kib();
            }
        }
        let grown = resident_kib().saturating_sub(settled);
        println!("{count} packets, {answered} answers, {grown} KiB more than after a quarter of them");
        assert!(answered > count / 4 && grown < 8 * 1024, "{answered} answers, {grown} KiB");
        assert!(!running.is_finished());
    });
}

#[test]
fn a_port_that_someone_has_is_named() {
    in_namespace(|world| async move {
        ip("address add 10.96.0.10/32 dev sptestdns0");
        let _other = UdpSocket::bind(("0.0.0.0", 53)).await.unwrap();
        let (_, running) = world.run(json!({}));
        let error = running.await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with("serving on 10.96.0.10:53: Address already in use"), "{error}");
    });
}

#[test]
fn the_service_that_tools_look_for_is_an_object_of_the_addon() {
    let world_site = Site {
        profile: "test".into(),
        node_name: "n1".into(),
        node_ips: vec![],
        bridge: "b".into(),
        gateway: Ipv4Addr::new(10, 201, 0, 1),
        pod_cidr: "10.201.0.0/16".into(),
        service_cidr: "10.96.0.0/12".into(),
        dns_ip: SERVER,
        cluster_domain: "cluster.local".into(),
    };
    let objects = Native::objects(&Dns, &Value::Null, &world_site).unwrap();
    assert_eq!(objects[0]["metadata"]["name"], "kube-dns");
    assert_eq!(objects[0]["spec"]["clusterIP"], "10.96.0.10");
    assert_eq!(objects[1]["endpoints"][0]["addresses"], json!(["10.96.0.10"]));
}
