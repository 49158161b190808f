//! Names of Services, beside unbound with the same names, both on one thread; and the time to a new Service's name.
//!
//! Ours is the addon's own server with a zone of a thousand Services; unbound has the same addresses as `local-data`. Both
//! sit on the first cores, the loader on the last: four sockets with 32 questions each under way (sendmmsg, recvmmsg),
//! names in turn, every answer looked at. Rounds alternate. Then, in a cluster, the clock runs from before the POST of a
//! Service until its name is answered at the cluster DNS's address.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use nix::unistd::Pid;
use sampan_addon_dns::{Name, Server, Terms, Zone, prepare};
use sampan_process::{Component, Tasks};
use sampan_testkit::{Cluster, free_port};
use serde_json::json;
use tempfile::TempDir;

use crate::figure::{Figure, Goal, Unit};
use crate::machine::cores;
use crate::tls::{leave_last_core, pin};

const SERVICES: u32 = 1_000;
const SOCKETS: usize = 4;
/// Questions of one socket that are under way.
const BATCH: usize = 32;
const TTL: u32 = 30;

/// Measures both.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let (rounds, time) = if short { (3, 1) } else { (7, 3) };
    let (ours, unbound) = (Ours::start()?, Unbound::start()?);
    let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        their_rounds.push(load(unbound.at, Duration::from_secs(time))?);
        our_rounds.push(load(ours.at, Duration::from_secs(time))?);
    }
    let peer = ("unbound, one thread", &their_rounds[..]);
    let name = "DNS, one thread, names of 1,000 services".to_owned();
    let rate = Figure::beside(name, Unit::PerSecond("answers"), &our_rounds, peer, Goal::RatioAtLeast(0.8));
    drop((ours, unbound));
    Ok(vec![rate, first_answer(if short { 50 } else { 300 }).await?])
}

fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 97, 0, 0)) + index)
}

fn host(index: u32) -> String {
    format!("service-{index}.default.svc.cluster.local")
}

/// Our server on a thread of its own.
struct Ours {
    at: SocketAddr,
    tasks: Tasks,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ours {
    fn start() -> Result<Self> {
        let terms = || -> Result<Terms> {
            Ok(Terms { domain: Name::parse("cluster.local").map_err(anyhow::Error::msg)?, ttl: TTL })
        };
        let mut zone = Zone::new(terms()?, Ipv4Addr::new(10, 96, 0, 10));
        zone.set_namespace("default", true);
        for index in 0..SERVICES {
            let (name, ip) = (format!("service-{index}"), address(index));
            let service: Service = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80}]},
            }))?;
            zone.set_service("default", &name, prepare(&service, &[], &terms()?));
        }
        zone.complete();
        let tasks = Tasks::new(Component::Daemon);
        let (tell, told) = std::sync::mpsc::channel();
        let own = tasks.clone();
        let thread = std::thread::spawn(move || {
            let served = || -> Result<()> {
                pin(Pid::from_raw(0), 0..(cores() - 1).max(1))?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async move {
                    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
                    let (server, at) = Server::of_zone(zone, any, &own)?;
                    let _ = tell.send(at);
                    tokio::select! {
                        () = own.drain().wait() => Ok(()),
                        error = server.failed() => Err(error.into()),
                    }
                })
            };
            if let Err(error) = served() {
                eprintln!("our server: {error:#}");
            }
        });
        let at = told.recv().context("our server did not start")?;
        Ok(Self { at, tasks, thread: Some(thread) })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.tasks.drain().start();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// unbound with one thread; gone when dropped.
struct Unbound {
    at: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl Unbound {
    fn start() -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port());
        let mut text = format!(
            "server:\n num-threads: 1\n interface: 127.0.0.1@{port}\n do-ip6: no\n do-daemonize: no\n use-syslog: no\n \
             username: \"\"\n chroot: \"\"\n directory: \"{path}\"\n pidfile: \"\"\n access-control: 127.0.0.0/8 allow\n \
             module-config: \"iterator\"\n local-zone: \"cluster.local.\" static\n",
            path = folder.path().display()
        );
        for index in 0..SERVICES {
            text.push_str(&format!(" local-data: \"{}. {TTL} IN A {}\"\n", host(index), address(index)));
        }
        text.push_str("remote-control:\n control-enable: no\n");
        let file = folder.path().join("unbound.conf");
        std::fs::write(&file, text)?;
        let mut command = Command::new("unbound");
        command.args(["-d", "-c"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("cannot start unbound: install Debian's unbound")?;
        let this = Self { at: ([127, 0, 0, 1], port).into(), process, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while ask(this.at, &question(0, 0)).is_err() {
            ensure!(Instant::now() < deadline, "unbound does not answer");
        }
        leave_last_core(i32::try_from(this.process.id())?)?;
        Ok(this)
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A question for a Service's address.
fn question(id: u16, index: u32) -> Vec<u8> {
    asked(id, &host(index))
}

fn asked(id: u16, name: &str) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        // labels are short
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// Whether a packet is an answer with one record at least.
fn is_answer(packet: &[u8]) -> bool {
    packet.len() > 12 && packet[2] & 0x80 != 0 && packet[3] & 15 == 0 && packet[7] > 0
}

/// One question from a socket of its own.
fn ask(at: SocketAddr, question: &[u8]) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(at)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.send(question)?;
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer)?;
    ensure!(is_answer(&answer[..length]), "no address");
    Ok(())
}

/// Answers per second of closed loops for `time`, from the last core.
fn load(at: SocketAddr, time: Duration) -> Result<f64> {
    let worker = std::thread::spawn(move || {
        pin(Pid::from_raw(0), cores() - 1..cores())?;
        Loader::new(at)?.run(time)
    });
    worker.join().map_err(|_| anyhow::anyhow!("the loader panicked"))?
}

struct Loader {
    sockets: Vec<UdpSocket>,
    questions: Vec<Vec<u8>>,
    next: usize,
    buffers: Vec<[u8; 512]>,
}

impl Loader {
    fn new(at: SocketAddr) -> Result<Self> {
        let open = || -> Result<UdpSocket> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(at)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok(socket)
        };
        Ok(Self {
            sockets: (0..SOCKETS).map(|_| open()).collect::<Result<_>>()?,
            questions: (0..SERVICES).map(|index| question(index as u16, index)).collect(),
            next: 0,
            buffers: vec![[0; 512]; BATCH],
        })
    }

    fn run(mut self, time: Duration) -> Result<f64> {
        for socket in 0..SOCKETS {
            self.send(socket, BATCH)?;
        }
        let (began, mut answers) = (Instant::now(), 0_u64);
        while began.elapsed() < time {
            for socket in 0..SOCKETS {
                let count = self.receive(socket)?;
                answers += count as u64;
                self.send(socket, count)?;
            }
        }
        Ok(answers as f64 / began.elapsed().as_secs_f64())
    }

    fn send(&mut self, socket: usize, count: usize) -> Result<()> {
        let many = self.questions.len();
        let picked: Vec<[IoSlice<'_>; 1]> =
            (0..count).map(|n| [IoSlice::new(&self.questions[(self.next + n) % many])]).collect();
        self.next = (self.next + count) % many;
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(count, None);
        let nobody = vec![None::<SockaddrIn>; count];
        let sent = sendmmsg(
            self.sockets[socket].as_raw_fd(),
            &mut headers,
            &picked,
            &nobody,
            [],
            MsgFlags::empty(),
        )?;
        ensure!(sent.count() == count, "questions were not sent");
        Ok(())
    }

    /// Waits for one answer at least.
    fn receive(&mut self, socket: usize) -> Result<usize> {
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let descriptor = self.sockets[socket].as_raw_fd();
        let lengths: Vec<usize> =
            match recvmmsg(descriptor, &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
                Ok(messages) => messages.map(|message| message.bytes).collect(),
                Err(Errno::EAGAIN) => anyhow::bail!("no answer within a second"),
                Err(error) => return Err(error.into()),
            };
        for (buffer, length) in self.buffers.iter().zip(&lengths) {
            ensure!(is_answer(&buffer[..*length]), "an answer without an address");
        }
        Ok(lengths.len())
    }
}

/// Milliseconds from before the POST of a Service until its name is answered.
async fn first_answer(count: u32) -> Result<Figure> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let system: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    let dns = system.get("kube-dns").await?.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
    let at = SocketAddr::new(dns.parse()?, 53);
    let services: Api<Service> = Api::default_namespaced(client);
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(at, &asked(0, "kubernetes.default.svc.cluster.local")).is_err() {
        ensure!(Instant::now() < deadline, "{at} does not answer");
    }
    let mut times = Vec::new();
    for index in 0..count {
        let service =
            json!({"metadata": {"name": format!("service-{index}")}, "spec": {"ports": [{"port": 80}]}});
        let question = question(1, index);
        let began = Instant::now();
        services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
        while ask(at, &question).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(5), "{} is not answered", host(index));
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    let name = "POST of a Service → its name is answered".to_owned();
    Ok(Figure::alone(name, Unit::Milliseconds, times, Goal::Below(10.0)))
}
