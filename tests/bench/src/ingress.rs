//! Requests through the ingress beside nginx as a proxy, both with one thread, to the same endpoint.
//!
//! The endpoint is an nginx that serves two files from the page cache, on the loader's core; both proxies have the
//! others. Plain HTTP/1.1, connections that stay open on both sides, 64 closed loops, rounds alternate. The same loops
//! run once more while a thousand Ingresses change: a request that fails fails the measurement.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use nix::unistd::Pid;
use sampan_testkit::{Cluster, free_port};
use serde_json::{Value, json};

use crate::figure::{Figure, Goal, Unit};
use crate::machine::cores;
use crate::nginx::Process;
use crate::tls::{leave_last_core, on_last_core, pin};

const HOST: &str = "bench.test";
const CONNECTIONS: usize = 64;
const SIZES: [(&str, usize); 2] = [("1 kB", 1_000), ("20 kB", 20_000)];
const CHANGES: usize = 1_000;

/// What one round saw.
struct Round {
    per_second: f64,
    /// The slowest of a hundred requests, in milliseconds.
    p99: f64,
}

/// Measures both sizes, and the time to a change under load.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let endpoint = Nginx::files()?;
    let nginx = Nginx::proxy(endpoint.at)?;
    let cluster = Cluster::start()?;
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let port = format!("http.port={}", at.port());
    let set = ["addons", "enable", "ingress", "--set", "https.port=0", "--set", "workers=1", "--set", &port];
    cluster.sampan(&set)?;
    let client = cluster.client().await?;
    apply(&client, endpoint.at).await?;
    for proxy in [at, nginx.at] {
        for (_, size) in SIZES {
            answers(proxy, size).await?;
        }
    }
    endpoint.pin(true)?;
    nginx.pin(false)?;
    leave_last_core(cluster.pid()?)?;
    let (rounds, time) = if short { (3, 1) } else { (7, 3) };
    let mut figures = Vec::new();
    for (name, size) in SIZES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            theirs.push(load(nginx.at, size, Duration::from_secs(time))?);
            ours.push(load(at, size, Duration::from_secs(time))?);
        }
        figures.extend(figures_of(name, &ours, &theirs));
    }
    figures.push(changes(&client, at).await?);
    Ok(figures)
}

fn figures_of(name: &str, ours: &[Round], theirs: &[Round]) -> [Figure; 2] {
    let of = |rounds: &[Round], value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let beside = |name: String, unit, value: fn(&Round) -> f64, goal| {
        Figure::beside(name, unit, &of(ours, value), ("nginx, one worker", &of(theirs, value)), goal)
    };
    let rate = |round: &Round| round.per_second;
    let name = format!("ingress, one thread, {name}");
    [
        beside(name.clone(), Unit::PerSecond("requests"), rate, Goal::RatioAtLeast(1.0)),
        beside(format!("{name}, p99"), Unit::Milliseconds, |round| round.p99, Goal::RatioAtMost(1.0)),
    ]
}

/// Requests per second of closed loops for `time`.
fn load(at: SocketAddr, size: usize, time: Duration) -> Result<Round> {
    on_last_core(async move {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(connect(at).await?);
        }
        let began = Instant::now();
        let loops = open.into_iter().map(|mut sender| async move {
            let mut times = Vec::new();
            while began.elapsed() < time {
                let asked = Instant::now();
                ask(&mut sender, HOST, size).await?;
                times.push(asked.elapsed());
            }
            anyhow::Ok(times)
        });
        let mut times = futures::future::try_join_all(loops).await?.concat();
        let took = began.elapsed();
        times.sort_unstable();
        let p99 = times.get(times.len() * 99 / 100).context("no request")?;
        Ok(Round { per_second: times.len() as f64 / took.as_secs_f64(), p99: p99.as_secs_f64() * 1000.0 })
    })
}

async fn connect(at: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, host: &str, size: usize) -> Result<()> {
    let request = hyper::Request::get(format!("/{size}")).header("host", host).body(Empty::new())?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    ensure!(answer.status() == 200, "GET /{size} of {host}: {}", answer.status());
    let (mut body, mut length) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    ensure!(length == size, "{length} bytes instead of {size}");
    Ok(())
}

/// Waits for the first whole answer.
async fn answers(at: SocketAddr, size: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let asked = async { ask(&mut connect(at).await?, HOST, size).await };
        match asked.await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{at} does not answer")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Milliseconds from the write of an Ingress to its first answer, for a thousand Ingresses while the loops run.
async fn changes(client: &kube::Client, at: SocketAddr) -> Result<Figure> {
    let stop = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut sender = connect(at).await?;
                while !stop.load(Ordering::Relaxed) {
                    ask(&mut sender, HOST, SIZES[0].1)
                        .await
                        .context("a request failed while Ingresses changed")?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    let api: Api<Ingress> = Api::namespaced(client.clone(), "default");
    let (mut times, mut sender) = (Vec::new(), connect(at).await?);
    for n in 0..CHANGES {
        let host = format!("change{n}.test");
        let began = Instant::now();
        let changed = json!({"spec": {"rules": [rule(HOST), rule(&host)]}});
        api.patch("bench", &PatchParams::default(), &Patch::Merge(changed)).await?;
        while ask(&mut sender, &host, SIZES[0].1).await.is_err() {
            ensure!(began.elapsed() < Duration::from_secs(5), "{host} is not served");
            if sender.is_closed() {
                sender = connect(at).await?;
            }
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    stop.store(true, Ordering::Relaxed);
    for done in futures::future::try_join_all(loops).await? {
        done?;
    }
    let name = "PATCH of an Ingress → live, 1,000 times under load, no request failed";
    Ok(Figure::alone(name, Unit::Milliseconds, times, Goal::Below(10.0)))
}

fn rule(host: &str) -> Value {
    let backend = json!({"service": {"name": "bench", "port": {"number": 80}}});
    json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}})
}

/// A Service without a selector that leads to the files, and its Ingress.
async fn apply(client: &kube::Client, files: SocketAddr) -> Result<()> {
    async fn create<K>(client: &kube::Client, object: Value) -> Result<()>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(client.clone(), "default");
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }
    let meta = json!({"name": "bench", "labels": {"kubernetes.io/service-name": "bench"}});
    let service =
        json!({"metadata": {"name": "bench"}, "spec": {"ports": [{"port": 80, "targetPort": files.port()}]}});
    create::<k8s_openapi::api::core::v1::Service>(client, service).await?;
    let slice = json!({"metadata": meta, "addressType": "IPv4", "ports": [{"name": "", "port": files.port()}],
        "endpoints": [{"addresses": [files.ip().to_string()], "conditions": {"ready": true}}]});
    create::<k8s_openapi::api::discovery::v1::EndpointSlice>(client, slice).await?;
    let ingress = json!({"metadata": {"name": "bench"},
        "spec": {"ingressClassName": "sampan", "rules": [rule(HOST)]}});
    create::<Ingress>(client, ingress).await
}

/// The host's address towards others: EndpointSlices take no loopback address.
fn host_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // nothing is sent: the kernel chooses a route
    socket.connect("192.0.2.1:9").context("this host has no address but loopback")?;
    Ok(socket.local_addr()?.ip())
}

/// An nginx with one worker; gone when dropped.
struct Nginx {
    process: Process,
    at: SocketAddr,
}

impl Nginx {
    /// Serves a file of each size.
    fn files() -> Result<Self> {
        let at = SocketAddr::new(host_address()?, free_port());
        Self::start(at, |folder| {
            for (_, size) in SIZES {
                std::fs::write(folder.join(size.to_string()), vec![b'x'; size])?;
            }
            let folder = folder.display();
            Ok(format!("server {{ listen {at}; root {folder}; open_file_cache max=10; sendfile on; }}"))
        })
    }

    /// Passes all on to `files`, with the headers that an ingress sets and connections that stay open.
    fn proxy(files: SocketAddr) -> Result<Self> {
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::start(at, |_| {
            Ok(format!(
                "upstream files {{ server {files}; keepalive 320; keepalive_requests 1000000000; }}
  server {{
    listen {at};
    server_name {HOST};
    location / {{
      proxy_pass http://files;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_buffers 4 32k;
    }}
  }}"
            ))
        })
    }

    fn start(at: SocketAddr, server: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = server(folder.path())?;
        let path = folder.path().display();
        let text = format!(
            "daemon off;
worker_processes 1;
error_log {path}/error.log;
pid {path}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  {server}
}}
"
        );
        Ok(Self { process: Process::start(folder, &text)?, at })
    }

    /// Moves its processes to the loader's core, or off it.
    fn pin(&self, beside_the_loader: bool) -> Result<()> {
        let master = self.process.pid()?;
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        for pid in children.split_whitespace().map(str::parse).chain([Ok(master)]) {
            match beside_the_loader {
                true => pin(Pid::from_raw(pid?), cores() - 1..cores())?,
                false => leave_last_core(pid?)?,
            }
        }
        Ok(())
    }
}
