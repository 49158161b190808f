//! Upstreams that are well, dead, slow, lying, talkative or looping, on real sockets.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use sampan_addon::{Report, Reporter};
use sampan_process::Component;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::resolv::Files;
use super::*;

/// What an upstream sends for a packet: any number of packets.
type Script = Arc<dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync>;

/// An upstream by UDP and TCP, with how many packets it was sent.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

async fn upstream(delay: Duration, udp: Script, tcp: Script) -> Upstream {
    // a port that is free for UDP may be taken for TCP
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (Arc::new(socket), listener);
        }
    };
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let (replies, socket) = (udp(&buffer[..length]), socket.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                for reply in replies {
                    socket.send_to(&reply, from).await.unwrap();
                }
            });
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut packet = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut packet).await.unwrap();
            for reply in tcp(&packet) {
                stream.write_u16(reply.len() as u16).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        }
    });
    Upstream { address, asked }
}

async fn prompt(script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Upstream {
    upstream(Duration::ZERO, Arc::new(script), Arc::new(|_| vec![])).await
}

/// The question's end.
fn end(packet: &[u8]) -> usize {
    Question::read(packet, 12).unwrap().1
}

/// An answer with flags in the third and fourth byte and A records of these TTLs.
fn reply(packet: &[u8], flags: [u8; 2], ttls: &[u32]) -> Vec<u8> {
    let mut bytes = packet[..end(packet)].to_vec();
    bytes[2..12].copy_from_slice(&[flags[0], flags[1], 0, 1, 0, ttls.len() as u8, 0, 0, 0, 0]);
    for (n, ttl) in ttls.iter().enumerate() {
        bytes.extend([0xC0, 12, 0, 1, 0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend([0, 4, 192, 0, 2, n as u8]);
    }
    bytes
}

const WELL: [u8; 2] = [0x81, 0x80];

fn nothing(packet: &[u8], ttl: u32, minimum: u32) -> Vec<u8> {
    let mut bytes = reply(packet, [0x81, 0x83], &[]);
    bytes[9] = 1;
    bytes.extend([0xC0, 12, 0, 6, 0, 1]);
    bytes.extend(ttl.to_be_bytes());
    bytes.extend([0, 22, 0, 0]);
    for number in [1, 2, 3, 4, minimum] {
        bytes.extend(u32::to_be_bytes(number));
    }
    bytes
}

fn key(name: &str) -> Key {
    Key { name: Name::parse(name).unwrap(), kind: 1, dnssec: false, unchecked: false }
}

fn forwarder(servers: &[SocketAddr]) -> Forwarder {
    let bounds = Bounds { positive: Duration::from_secs(30), negative: Duration::from_secs(10) };
    let settings = Settings { stubs: vec![], upstreams: servers.to_vec(), cache_entries: 100, bounds };
    Forwarder::new(&settings, Tasks::new(Component::ControllerManager))
}

fn nobody() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn an_answer_is_asked_for_once_and_kept() {
    let server = upstream(
        Duration::from_millis(20),
        Arc::new(|packet| vec![reply(packet, WELL, &[300, 5])]),
        Arc::new(|_| vec![]),
    )
    .await;
    let forwarder = forwarder(&[server.address]);
    let all = futures::future::join_all((0..50).map(|_| forwarder.ask(key("a.example")))).await;
    assert!(all.iter().all(|reply| Arc::ptr_eq(reply, &all[0])) && all[0].code == 0);
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    forwarder.ask(key("A.example")).await;
    assert_eq!((server.asked.load(Ordering::SeqCst), forwarder.cached()), (1, 1));
    let now = Instant::now();
    assert!(all[0].is_fresh(now + Duration::from_secs(4)) && !all[0].is_fresh(now + Duration::from_secs(6)));
    forwarder.set_upstreams(&[]);
    assert_eq!((forwarder.ask(key("a.example")).await.code, forwarder.cached()), (2, 1));
}

#[tokio::test]
async fn time_and_size_are_bounded() {
    let server = prompt(|packet| {
        vec![match Question::read(packet, 12).unwrap().0.label(0) {
            b"long" => reply(packet, WELL, &[86_400]),
            b"never" => reply(packet, WELL, &[0]),
            b"absent" => nothing(packet, 5, 86_400),
            b"forever" => nothing(packet, 86_400, 86_400),
            b"bare" => reply(packet, [0x81, 0x83], &[]),
            _ => reply(packet, WELL, &[60]),
        }]
    })
    .await;
    let forwarder = forwarder(&[server.address]);
    for (name, code, seconds) in
        [("long.x", 0, 30), ("never.x", 0, 0), ("absent.x", 3, 5), ("forever.x", 3, 10), ("bare.x", 3, 0)]
    {
        let reply = forwarder.ask(key(name)).await;
        let fresh = |seconds: u64| reply.is_fresh(Instant::now() + Duration::from_secs(seconds));
        assert_eq!(
            (reply.code, seconds == 0 || fresh(seconds - 1), fresh(seconds + 1)),
            (code, true, false),
            "{name}"
        );
    }
    assert_eq!(forwarder.cached(), 3);
    for n in 0..500 {
        forwarder.ask(key(&format!("n{n}.x"))).await;
    }
    assert!(forwarder.cached() <= 100, "{}", forwarder.cached());
}

#[tokio::test]
async fn the_next_server_answers_for_one_that_does_not() {
    let well = || prompt(|packet| vec![reply(packet, WELL, &[60])]);
    // refused
    let server = well().await;
    assert_eq!(forwarder(&[nobody(), server.address]).ask(key("a.x")).await.code, 0);
    // silent: it is waited for once, and then it comes last
    let (silent, server) = (prompt(|_| vec![]).await, well().await);
    let both = forwarder(&[silent.address, server.address]);
    assert_eq!(both.ask(key("a.x")).await.code, 0);
    // what was sent to it last may be on its way
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = silent.asked.load(Ordering::SeqCst);
    assert!(asked > 0);
    assert_eq!(both.ask(key("b.x")).await.code, 0);
    assert_eq!(silent.asked.load(Ordering::SeqCst), asked);
    // slow: its answer counts when it comes first
    let slow = upstream(
        Duration::from_millis(700),
        Arc::new(|packet| vec![reply(packet, WELL, &[60])]),
        Arc::new(|_| vec![]),
    )
    .await;
    assert_eq!(forwarder(&[slow.address, silent.address]).ask(key("a.x")).await.code, 0);
    // one that says it cannot is not the last word
    let unwilling = prompt(|packet| vec![reply(packet, [0x81, 0x85], &[])]).await;
    assert_eq!(forwarder(&[unwilling.address, server.address]).ask(key("a.x")).await.code, 0);
    assert_eq!(forwarder(&[unwilling.address]).ask(key("a.x")).await.code, 5);
}

#[tokio::test]
async fn nobody_there_is_said_in_time() {
    let silent = prompt(|_| vec![]).await;
    let forwarder = forwarder(&[silent.address, nobody()]);
    assert_eq!(forwarder.ask(key("a.x")).await.code, 2);
    // a lost datagram was sent again
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = silent.asked.load(Ordering::SeqCst);
    assert!(asked >= 4);
    // and it is remembered for a moment
    assert_eq!(forwarder.ask(key("a.x")).await.code, 2);
    assert_eq!(silent.asked.load(Ordering::SeqCst), asked);
    assert_eq!(self::forwarder(&[]).ask(key("a.x")).await.code, 2);
}

#[tokio::test]
async fn lies_are_not_believed() {
    let liar = prompt(|packet| {
        let truth = reply(packet, WELL, &[60]);
        let mut other_number = reply(packet, WELL, &[1, 2, 3]);
        other_number[1] ^= 1;
        let mut other_name = other_number.clone();
        other_name[1] ^= 1;
        other_name[13] ^= 1;
        let mut other_type = reply(packet, WELL, &[1, 2, 3]);
        other_type[end(packet) - 3] = 28;
        let mut question = truth.clone();
        question[2] &= 0x7F;
        let short = truth[..7].to_vec();
        vec![other_number, other_name, other_type, question, short, vec![], truth]
    })
    .await;
    let reply_of = |forwarder: Forwarder| async move { forwarder.ask(key("a.example")).await };
    let reply = reply_of(forwarder(&[liar.address])).await;
    assert_eq!((reply.code, reply.is_definite()), (0, true));
    assert!(reply.is_fresh(Instant::now() + Duration::from_secs(20)), "the lies had TTLs of some seconds");
    // what cannot be read is a failure of that server
    let babbler = prompt(|packet| {
        let mut bytes = self::reply(packet, WELL, &[60]);
        let length = bytes.len();
        bytes[length - 5] = 200;
        vec![bytes]
    })
    .await;
    let honest = prompt(|packet| vec![self::reply(packet, WELL, &[60])]).await;
    assert_eq!(reply_of(forwarder(&[babbler.address, honest.address])).await.code, 0);
    assert_eq!(reply_of(forwarder(&[babbler.address])).await.code, 2);
}

#[tokio::test]
async fn what_is_too_large_comes_by_tcp_and_old_servers_get_no_opt() {
    let large = upstream(
        Duration::ZERO,
        Arc::new(|packet| vec![reply(packet, [0x83, 0x80], &[])]),
        Arc::new(|packet| vec![reply(packet, WELL, &[60; 200])]),
    )
    .await;
    let answer = forwarder(&[large.address]).ask(key("a.x")).await;
    assert!(answer.code == 0 && answer.bytes() > 3200, "{}", answer.bytes());
    let old = prompt(|packet| {
        let opt = packet.len() > end(packet);
        vec![if opt { reply(packet, [0x81, 0x81], &[]) } else { reply(packet, WELL, &[60]) }]
    })
    .await;
    assert_eq!(forwarder(&[old.address]).ask(key("a.x")).await.code, 0);
    // an error without its question, as the oldest send it
    let older = prompt(|packet| {
        let opt = packet.len() > end(packet);
        let bare = [&packet[..2], &[0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        vec![if opt { bare } else { reply(packet, WELL, &[60]) }]
    })
    .await;
    assert_eq!(forwarder(&[older.address]).ask(key("a.x")).await.code, 0);
}

/// Runs a watchdog over a forwarder; gives its health.
fn watch(forwarder: &Forwarder, files: Option<Files>) -> Reporter {
    let health = Reporter::new();
    let dog =
        Watchdog { forwarder: forwarder.clone(), files, server: "10.96.0.10".into(), health: health.clone() };
    tokio::spawn(dog.run());
    health
}

async fn becomes(health: &Reporter, wanted: impl Fn(&Report) -> bool) -> Report {
    let mut reports = health.watch();
    let waited =
        tokio::time::timeout(Duration::from_secs(10), reports.wait_for(|report| wanted(report))).await;
    waited.unwrap().unwrap().clone()
}

#[tokio::test]
async fn a_loop_is_seen_and_not_entered() {
    // an upstream that asks us whatever it is asked
    let slot: Arc<Mutex<Option<Forwarder>>> = Arc::default();
    let held = slot.clone();
    let looping = prompt(move |packet| {
        let question = Question::read(packet, 12).unwrap().0;
        let seen = held.lock().as_ref().is_some_and(|forwarder| forwarder.is_probe(&question));
        vec![reply(packet, if seen { [0x81, 0x85] } else { WELL }, if seen { &[] } else { &[60] })]
    })
    .await;
    let forwarder = forwarder(&[looping.address]);
    *slot.lock() = Some(forwarder.clone());
    let health = watch(&forwarder, None);
    let report = becomes(&health, |report| matches!(report, Report::Degraded { .. })).await;
    let Report::Degraded { reason, next } = report else { panic!("not degraded") };
    assert!(
        reason.contains(&looping.address.to_string()) && next.contains("10.96.0.10"),
        "{reason} / {next}"
    );
    let before = looping.asked.load(Ordering::SeqCst);
    assert_eq!(forwarder.ask(key("a.x")).await.code, 5);
    assert_eq!(looping.asked.load(Ordering::SeqCst), before, "nothing was sent there");
    // whoever has mended it is not held to it
    *slot.lock() = None;
    becomes(&health, |report| *report == Report::Healthy).await;
    assert_eq!(forwarder.ask(key("b.x")).await.code, 0);
}

#[tokio::test]
async fn the_hosts_resolvers_are_followed() {
    // the port is that of DNS in a resolv.conf: a loopback address of our own
    let Ok(socket) = UdpSocket::bind("127.13.7.1:53").await else { panic!("port 53 needs root") };
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&reply(&buffer[..length], WELL, &[60]), from).await.unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let files = Files { usual: folder.path().join("resolv.conf"), resolved: folder.path().join("none") };
    std::fs::write(&files.usual, "search example\n").unwrap();
    let forwarder = forwarder(&[]);
    let health = watch(&forwarder, Some(files.clone()));
    let report = becomes(&health, |report| *report != Report::Starting).await;
    assert!(
        matches!(report, Report::Degraded { reason, .. } if reason.contains("names no resolver: only names of the cluster"))
    );
    assert_eq!(forwarder.ask(key("a.x")).await.code, 2);
    std::fs::write(&files.usual, "nameserver 127.13.7.1\n").unwrap();
    becomes(&health, |report| *report == Report::Healthy).await;
    assert_eq!(forwarder.ask(key("a.x")).await.code, 0, "the failure is forgotten with the servers");
    std::fs::write(&files.usual, "nameserver 127.13.7.2\n").unwrap();
    let report = becomes(&health, |report| *report != Report::Healthy).await;
    assert!(matches!(report, Report::Degraded { reason, .. } if reason.contains("127.13.7.2:53")));
}
