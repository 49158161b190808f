//! A loader that speaks HTTP/1.1 over TLS on connections that stay open; nginx and a plain copy are its other targets.
//!
//! The loader is one thread on the last core; servers are pinned to the others, so that neither side takes
//! from the other and both servers have the same. With one core nothing is pinned.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rustls::pki_types::ServerName;
use sampan_testkit::{Cluster, free_port};
use tokio_rustls::TlsConnector;

use crate::machine::cores;
use crate::nginx::Process;

/// An open connection, its driver on the runtime that opened it.
pub type Connection = SendRequest<Full<Bytes>>;
/// The same before anything was said on it.
pub type Stream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// Where to ask, as whom, and for which encoding.
#[derive(Clone)]
pub struct Target {
    port: u16,
    tls: Arc<rustls::ClientConfig>,
    path: String,
    accept: &'static str,
}

impl Target {
    /// `path` of a cluster, asked by its administrator.
    pub async fn cluster(cluster: &Cluster, path: &str) -> Result<Self> {
        let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
        Self::of(&kube::Config::from_custom_kubeconfig(file, &Default::default()).await?, path)
    }

    /// `path` where and as whom a configuration says.
    pub fn of(config: &kube::Config, path: &str) -> Result<Self> {
        let port = config.cluster_url.port_u16().context("the kubeconfig names no port")?;
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols.clear();
        Ok(Self { port, tls: Arc::new(tls), path: path.to_owned(), accept: JSON })
    }

    /// What listens on loopback with a certificate of its own for `localhost`.
    pub fn signed(port: u16, certificate: &Certificate, path: &str) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.cert.der().clone())?;
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { port, tls: Arc::new(tls), path: path.to_owned(), accept: JSON })
    }

    /// The same in another encoding.
    pub fn accepting(&self, accept: &'static str) -> Self {
        Self { accept, ..self.clone() }
    }

    /// The same at another path.
    pub fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection with its driver on this runtime.
    pub async fn connect(&self) -> Result<Connection> {
        let (send, connection) = handshake(TokioIo::new(self.stream().await?)).await?;
        tokio::spawn(connection);
        Ok(send)
    }

    /// A connection on which nothing was said.
    pub async fn stream(&self) -> Result<Stream> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(self.tls.clone()).connect(name, stream).await?)
    }

    /// One request with a JSON body on an open connection; any answer but success is an error with its words.
    pub async fn send(
        &self,
        connection: &mut Connection,
        method: &str,
        content: &str,
        body: Bytes,
    ) -> Result<()> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(&self.path)
            .header("host", "localhost")
            .header("content-type", content);
        connection.ready().await?;
        let answer = connection.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        let words = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{method} {}: {status} {}", self.path, String::from_utf8_lossy(&words));
        Ok(())
    }

    /// One GET on an open connection; the number of bytes in its body.
    pub async fn get(&self, connection: &mut Connection) -> Result<usize> {
        let mut body = self.ask(connection).await?;
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }

    async fn ask(&self, connection: &mut Connection) -> Result<hyper::body::Incoming> {
        let request =
            hyper::Request::get(&self.path).header("host", "localhost").header("accept", self.accept);
        connection.ready().await?;
        let answer = connection.send_request(request.body(Full::default())?).await?;
        ensure!(answer.status() == 200, "GET {}: {}", self.path, answer.status());
        Ok(answer.into_body())
    }

    /// The body of one GET.
    pub async fn body(&self) -> Result<Bytes> {
        let mut connection = self.connect().await?;
        Ok(self.ask(&mut connection).await?.collect().await?.to_bytes())
    }

    /// Requests per second of `connections` closed loops for `time`.
    pub fn load(&self, connections: usize, time: Duration) -> Result<f64> {
        on_last_core(async {
            let mut open = Vec::new();
            for _ in 0..connections {
                open.push(self.connect().await?);
            }
            let began = Instant::now();
            let deadline = began + time;
            let loops = open.into_iter().map(|mut connection| async move {
                let mut count = 0_u64;
                while Instant::now() < deadline {
                    self.get(&mut connection).await?;
                    count += 1;
                }
                anyhow::Ok(count)
            });
            let counts = futures::future::try_join_all(loops).await?;
            Ok(counts.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64())
        })
    }

    /// Bytes and seconds of one GET on a fresh connection, the handshake not counted.
    pub fn fetch(&self) -> Result<(usize, f64)> {
        on_last_core(async {
            let mut connection = self.connect().await?;
            let began = Instant::now();
            let length = self.get(&mut connection).await?;
            Ok((length, began.elapsed().as_secs_f64()))
        })
    }
}

const JSON: &str = "application/json";
/// What client-go asks for built-in types in.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A certificate with its key.
pub type Certificate = rcgen::CertifiedKey<rcgen::KeyPair>;

/// One for `localhost` that nobody signed but itself.
pub fn certificate() -> Result<Certificate> {
    Ok(rcgen::generate_simple_self_signed(["localhost".to_owned()])?)
}

/// Runs a future on a thread of its own, pinned to the last core.
pub fn on_last_core<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(Pid::from_raw(0), cores() - 1..cores())?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
        });
        thread.join().map_err(|_| anyhow::anyhow!("the loader panicked"))?
    })
}

/// Leaves the last core to the loader: every thread of `pid` moves to the others.
pub fn leave_last_core(pid: i32) -> Result<()> {
    if cores() == 1 {
        return Ok(());
    }
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = task?.file_name().to_string_lossy().parse()?;
        pin(Pid::from_raw(thread), 0..cores() - 1)?;
    }
    Ok(())
}

/// Keeps a thread on some cores.
pub fn pin(thread: Pid, cores: std::ops::Range<usize>) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(core)?;
    }
    Ok(sched_setaffinity(thread, &set)?)
}

/// nginx that serves one file over TLS with a certificate of its own; gone when dropped.
pub struct Nginx {
    process: Process,
    target: Target,
}

impl Nginx {
    /// Serves `body`, with one worker on each core that is not the loader's.
    pub async fn serving(body: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let made = certificate()?;
        std::fs::write(folder.path().join("tls.crt"), made.cert.pem())?;
        std::fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem())?;
        std::fs::write(folder.path().join("body.json"), body)?;
        let port = free_port();
        let text = configuration(folder.path(), port);
        let process = Process::start(folder, &text)?;
        let target = Target::signed(port, &made, "/body.json")?;
        let nginx = Self { process, target };
        nginx.answers(body.len()).await?;
        Ok(nginx)
    }

    async fn answers(&self, length: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.target.body().await {
                Ok(body) if body.len() == length => return Ok(()),
                Ok(_) => anyhow::bail!("nginx serves something else"),
                Err(error) if Instant::now() > deadline => return Err(error.context("nginx does not answer")),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Where to ask.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Moves its processes off the loader's core.
    pub fn leave_last_core(&self) -> Result<()> {
        let master = self.process.pid()?;
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        for pid in children.split_whitespace() {
            leave_last_core(pid.parse()?)?;
        }
        leave_last_core(master)
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let (folder, workers) = (folder.display(), (cores() - 1).max(1));
    format!(
        "daemon off;
worker_processes {workers};
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  open_file_cache max=10;
  keepalive_requests 1000000000;
  types {{ application/json json; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/tls.crt;
    ssl_certificate_key {folder}/tls.key;
    root {folder};
  }}
}}
"
    )
}
