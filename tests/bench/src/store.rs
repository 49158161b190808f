//! Durable writes: 64 writers, values of 1 KiB, against etcd on the same disk in interleaved rounds.
//!
//! Both sync every commit to the disk before they answer. etcd is spoken to as its own clients do, gRPC over
//! loopback, through the leanest client there can be: prepared frames on four HTTP/2 connections. The store
//! is called as the apiserver calls it, in process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sampan_process::{Component, Tasks};
use sampan_store::{Action, Condition, Config, Key, Store, Value, Write};

use crate::figure::{Figure, Goal, Unit};
use crate::machine::cores;
use crate::peers::Etcd;

const WRITERS: usize = 64;
const VALUE: usize = 1024;
const KEYS: usize = 10_000;
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 4;

/// What one round measured.
struct Round {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

/// Measures in interleaved rounds, then the opening of a full store.
pub async fn compare() -> anyhow::Result<Vec<Figure>> {
    let folder = std::env::var_os("SAMPAN_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(folder)?;
    let config = Config::new(folder.path().join("state.db"));
    let store = Store::open(config, Tasks::new(Component::ApiServer)).await?;
    let etcd = Etcd::start(&folder.path().join("etcd"))?;
    let etcd_peers: Vec<Peer> = connect(&etcd).await?.into_iter().map(Peer::Etcd).collect();
    eprintln!("durable writes, {WRITERS} writers, {VALUE} bytes, {KEYS} keys, {} cores", cores());
    eprintln!("{:<8}{:>12}{:>9}{:>9}{:>9}", "", "writes/s", "p50 ms", "p99 ms", "max ms");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let round = measure(&etcd_peers).await?;
        print("etcd", &round);
        theirs.push(round.per_second);
        let round = measure(&[Peer::Store(store.clone())]).await?;
        print("sampan", &round);
        ours.push(round.per_second);
    }
    restart(store, folder.path()).await?;
    let unit = Unit::PerSecond("writes");
    let peer = ("etcd", &theirs[..]);
    Ok(vec![Figure::beside("durable writes, 64 writers, 1 KiB", unit, &ours, peer, Goal::RatioAtLeast(5.0))])
}

/// Closes and opens the store that the rounds have filled, then one of 150,000 objects.
async fn restart(store: Store, folder: &Path) -> anyhow::Result<()> {
    store.close().await;
    let path = folder.join("restart.db");
    let open = || Store::open(Config::new(&path), Tasks::new(Component::ApiServer));
    let store = open().await?;
    for chunk in 0..150_u64 {
        let write = |number: u64| Write {
            key: Key::new("pods", format!("default/pod-{}", chunk * 1000 + number)),
            condition: Condition::Absent,
            action: Action::Put(Value { bytes: vec![b'x'; 2000], at: 0 }),
        };
        let done = store.write_all((0..1000).map(write).collect()).await;
        ensure!(done.iter().all(Result::is_ok), "filling failed");
    }
    store.close().await;
    let began = Instant::now();
    let store = open().await?;
    let took = began.elapsed();
    ensure!(store.list("pods").len() == 150_000, "objects are missing");
    eprintln!("restart with 150,000 objects of 2 kB: {:.2} s", took.as_secs_f64());
    store.close().await;
    Ok(())
}

fn print(name: &str, round: &Round) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (p50, p99, max) = (ms(round.p50), ms(round.p99), ms(round.max));
    eprintln!("{name:<8}{:>12.0}{p50:>9.2}{p99:>9.2}{max:>9.2}", round.per_second);
}

/// Where a writer's values go.
#[derive(Clone)]
enum Peer {
    Store(Store),
    Etcd(SendRequest<Full<Bytes>>),
}

impl Peer {
    async fn put(&mut self, number: u64) -> anyhow::Result<()> {
        // a walk over all keys in an order that is not theirs
        let key = format!("default/pod-{:05}", number.wrapping_mul(7919) % KEYS as u64);
        match self {
            Peer::Store(store) => put_store(store, &key).await,
            Peer::Etcd(connection) => put_etcd(connection, &key).await,
        }
    }
}

async fn put_store(store: &Store, name: &str) -> anyhow::Result<()> {
    let value = Value { bytes: vec![b'x'; VALUE], at: 0 };
    store
        .write(Write { key: Key::new("pods", name), condition: Condition::Any, action: Action::Put(value) })
        .await?;
    Ok(())
}

/// `etcdserverpb.KV/Put` with `PutRequest { key = 1, value = 2 }`.
pub async fn put_etcd(connection: &mut SendRequest<Full<Bytes>>, key: &str) -> anyhow::Result<()> {
    let mut message = BytesMut::with_capacity(VALUE + 64);
    field(&mut message, 1, key.as_bytes());
    field(&mut message, 2, &[b'x'; VALUE]);
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len())?);
    body.put(message);
    let request = hyper::Request::post("http://etcd/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.freeze()))?;
    connection.ready().await?;
    let answer = connection.send_request(request).await?.into_body().collect().await?;
    let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
    ensure!(status.is_some_and(|status| status == "0"), "etcd refused: {:?}", answer.trailers());
    Ok(())
}

/// A protobuf field of bytes.
fn field(to: &mut BytesMut, tag: u8, bytes: &[u8]) {
    to.put_u8(tag << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        to.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    to.put_u8(length as u8);
    to.put(bytes);
}

/// Connections as the leanest of clients has them; their drivers are on this runtime.
pub async fn connect(etcd: &Etcd) -> anyhow::Result<Vec<SendRequest<Full<Bytes>>>> {
    etcd.healthy()?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", etcd.port)).await?;
        stream.set_nodelay(true)?;
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (send, connection) = handshake.await?;
        tokio::spawn(connection);
        connections.push(send);
    }
    put_etcd(&mut connections[0], "ready").await?;
    Ok(connections)
}

/// Runs one closed loop per writer for a round.
async fn measure(peers: &[Peer]) -> anyhow::Result<Round> {
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut loops = Vec::new();
    for number in 0..WRITERS {
        let (mut peer, stop, next) = (peers[number % peers.len()].clone(), stop.clone(), next.clone());
        loops.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                peer.put(next.fetch_add(1, Ordering::Relaxed)).await?;
                times.push(asked.elapsed());
            }
            anyhow::Ok(times)
        }));
    }
    tokio::time::sleep(ROUND).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for one in loops {
        times.extend(one.await??);
    }
    let per_second = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    Ok(Round { per_second, p50: at(0.5), p99: at(0.99), max: at(1.0) })
}
