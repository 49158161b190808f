//! A node in a network namespace of its own, with real pods behind it and a neighbour in front: `outside`.
#![allow(dead_code)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use nix::sched::{CloneFlags, setns, unshare};
use sampan_pod_network::{PodNet, PodNetwork};
use sampan_process::{Component, Tasks};
use sampan_proxy::conntrack;
use sampan_proxy::frame::{Frame, Led, sweep};
use sampan_proxy::kernel;
use sampan_proxy::model::{Facts, Model};
use sampan_reconcile::Key;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub const NODE: &str = "n1";
pub const TABLE: &str = "sampan-proxy-test";
/// The node as its neighbour sees it.
pub const NODE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);
/// Nobody waits longer for a packet that is dropped.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("object")
}

pub fn key(name: &str) -> Key {
    Key::namespaced("default", name)
}

fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("program");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a test on a node of its own: a thread in a new network namespace, with `lo` up and the neighbour connected.
pub fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("namespace");
        run("ip link set lo up");
        // its threads are born in the namespace; the test's own may wait for packets
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("runtime");
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Where something runs.
#[derive(Clone)]
pub enum Place {
    Node,
    Netns(PathBuf),
}

impl From<&PodNet> for Place {
    fn from(pod: &PodNet) -> Self {
        Place::Netns(pod.netns.clone())
    }
}

impl Place {
    /// Does it there.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let place = self.clone();
        let thread = std::thread::spawn(move || {
            if let Place::Netns(path) = place {
                setns(File::open(path).expect("netns"), CloneFlags::CLONE_NEWNET).expect("setns");
            }
            work()
        });
        thread.join().expect("thread")
    }

    /// What a TCP server says to a connection from here.
    pub fn tcp(&self, to: impl Into<SocketAddr>) -> std::io::Result<String> {
        let to = to.into();
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
    }

    /// What a UDP server answers to a datagram from here.
    pub fn udp(&self, to: impl Into<SocketAddr>) -> std::io::Result<String> {
        let to = to.into();
        self.run(move || ask(&UdpSocket::bind("0.0.0.0:0")?, to))
    }

    /// Serves TCP and UDP: the answer is `name sees client`.
    pub fn serve(&self, name: &str, port: u16) {
        self.serve_on(name, Ipv4Addr::UNSPECIFIED, port);
    }

    /// The same on one address.
    pub fn serve_on(&self, name: &str, address: Ipv4Addr, port: u16) {
        let (name, other) = (name.to_owned(), name.to_owned());
        let (tcp, udp) = self.run(move || {
            (TcpListener::bind((address, port)).expect("tcp"), UdpSocket::bind((address, port)).expect("udp"))
        });
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = tcp.accept() {
                let _ = stream.write_all(format!("{name} sees {}", peer.ip()).as_bytes());
            }
        });
        std::thread::spawn(move || {
            while let Ok((_, peer)) = udp.recv_from(&mut [0; 64]) {
                let _ = udp.send_to(format!("{other} sees {}", peer.ip()).as_bytes(), peer);
            }
        });
    }
}

/// A port that leads to another of the same address.
pub fn led(address: Ipv4Addr, port: u16, to: u16) -> Vec<Led> {
    let to = SocketAddrV4::new(address, to);
    ["tcp", "udp"].map(|protocol| Led { address, protocol, port, to, of_pods: false }).to_vec()
}

/// One question and its answer.
pub fn ask(socket: &UdpSocket, to: SocketAddr) -> std::io::Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    // connected, so that a refusal is heard
    socket.connect(to)?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// How an attempt ended.
pub fn refused<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

pub fn dropped<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    matches!(result, Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock))
}

pub struct Bed {
    pub network: PodNetwork,
    pub model: Model,
    pub frame: Frame,
    pub outside: Place,
    _directory: tempfile::TempDir,
}

impl Bed {
    /// A node with the fixed table.
    pub async fn new() -> Self {
        Self::serving(Vec::new(), Vec::new()).await
    }

    /// The same; it serves some service addresses itself.
    pub async fn serving(served: Vec<Ipv4Addr>, led: Vec<Led>) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        run("ip link add lan0 type veth peer name lan1");
        let outside = directory.path().join("outside");
        let path = outside.clone();
        let file = File::create(&path).expect("file");
        drop(file);
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("namespace");
            nix::mount::mount(
                Some("/proc/thread-self/ns/net"),
                &path,
                None::<&str>,
                nix::mount::MsFlags::MS_BIND,
                None::<&str>,
            )
            .expect("pin");
        })
        .join()
        .expect("thread");
        let target = outside.display().to_string();
        let outside = Place::Netns(outside);
        let move_it = format!("ip link set lan1 netns {}", pid_of(&target));
        run(&move_it);
        run(&format!("ip addr add {NODE_IP}/24 dev lan0"));
        run("ip link set lan0 up");
        outside.run(|| {
            run("ip link set lo up");
            run(&format!("ip addr add {OUTSIDE_IP}/24 dev lan1"));
            run("ip link set lan1 up");
            run(&format!("ip route add default via {NODE_IP}"));
        });
        run(&format!("ip route add default via {OUTSIDE_IP}"));
        let config = sampan_pod_network::Config {
            run_dir: directory.path().to_owned(),
            data_dir: directory.path().to_owned(),
            bridge: "spx0".into(),
            pod_cidr: "10.201.0.0/16".into(),
            fixed: true,
            service_cidr: "10.96.0.0/12".into(),
            node_subnet: "10.201.0.0/24".into(),
            pool_size: 0,
            table: "sampan-pods-test".into(),
        };
        let network = PodNetwork::new(config, Tasks::new(Component::Kubelet)).await.expect("network");
        network.serve_at(&served).await.expect("bridge");
        let facts = Facts {
            node: NODE.into(),
            pods: "10.201.0.0/16".into(),
            node_pods: "10.201.0.0/24".into(),
            node_ips: vec![NODE_IP.into()],
            served: served.iter().map(|one| IpAddr::V4(*one)).collect(),
        };
        let frame = Frame {
            table: TABLE.into(),
            bridge: "spx0".into(),
            pods: "10.201.0.0/16".into(),
            services: "10.96.0.0/12".into(),
            gateway: GATEWAY.to_string(),
            led,
        };
        let mut bed = Self { network, model: Model::new(&facts), frame, outside, _directory: directory };
        kernel::set_sysctls(&bed.frame.bridge).expect("sysctls");
        kernel::set_route(&bed.frame, true).await.expect("route");
        bed.replace().await;
        bed
    }

    /// A pod that serves on port 80.
    pub async fn pod(&self, name: &str) -> PodNet {
        let pod = self.network.acquire(name).await.expect("pod");
        Place::from(&pod).serve(name, 80);
        // the kernel takes a moment to see that the pod's link is up, and loses what it sends before
        let deadline = Instant::now() + Duration::from_secs(10);
        while Place::Node.tcp(at(pod.ips[0], 80)).is_err() {
            assert!(Instant::now() < deadline, "{name} does not answer");
        }
        pod
    }

    /// Tells the kernel what is new, and sweeps.
    pub async fn tell(&mut self) {
        let news = self.model.take();
        let stale = news.change.stale.clone();
        kernel::apply(TABLE, news.change).await.expect("change");
        if !news.udp.is_empty() {
            conntrack::clear(&self.model.answering(&news.udp)).expect("flows");
        }
        if !stale.is_empty() {
            kernel::script(&sweep(TABLE, stale.iter())).await.expect("sweep");
        }
    }

    /// Writes the whole table anew.
    pub async fn replace(&mut self) {
        let whole = self.model.whole();
        kernel::replace(&self.frame, &whole.change).await.expect("whole table");
    }

    pub fn service(&mut self, name: &str, spec: Value) {
        self.service_with_status(name, spec, json!({}));
    }

    pub fn service_with_status(&mut self, name: &str, spec: Value, status: Value) {
        let service: Service = object(json!({
            "metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": status,
        }));
        self.model.apply_service(&key(name), Some(Arc::new(service)));
    }

    /// Endpoints `(address, port, node, conditions)` of a service, in one slice.
    pub fn endpoints(&mut self, service: &str, endpoints: &[(IpAddr, Value)], ports: Value) {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, more)| {
                let mut one =
                    json!({"addresses": [address], "nodeName": NODE, "conditions": {"ready": true}});
                one.as_object_mut().expect("map").extend(more.as_object().expect("map").clone());
                one
            })
            .collect();
        let slice: EndpointSlice = object(json!({
            "metadata": {
                "name": format!("{service}-1"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
        }));
        let slice = Arc::new(slice);
        self.model.apply_slice(Some(&slice), Some(&slice));
    }

    /// Ready pods as endpoints of port 80, under the names of both protocols.
    pub fn backends(&mut self, service: &str, pods: &[&PodNet]) {
        let endpoints: Vec<(IpAddr, Value)> = pods.iter().map(|pod| (pod.ips[0], json!({}))).collect();
        self.endpoints(service, &endpoints, both(80));
    }

    /// The pod as the API shows it.
    pub fn tell_pod(&mut self, name: &str, pod: &PodNet, labels: Value) {
        let object: Pod = object(json!({
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"nodeName": NODE, "containers": [
                {"name": "a", "ports": [{"name": "web", "containerPort": 80}]},
            ]},
            "status": {"phase": "Running", "podIPs": [{"ip": pod.ips[0]}]},
        }));
        self.model.apply_pod(&key(name), Some(&object));
    }

    pub fn policy(&mut self, name: &str, spec: Value) {
        let policy: NetworkPolicy = object(json!({
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        }));
        self.model.apply_policy(&key(name), Some(&policy));
    }
}

/// A port under TCP and UDP, as a service's or a slice's list.
pub fn both(port: u16) -> Value {
    json!([{"name": "t", "protocol": "TCP", "port": port}, {"name": "u", "protocol": "UDP", "port": port}])
}

/// `ip` wants a namespace by name or process: a process that waits in it.
fn pid_of(path: &str) -> String {
    let link = Path::new("/var/run/netns");
    let _ = std::fs::create_dir_all(link);
    let name = format!("spx-{}-{}", std::process::id(), nix::unistd::gettid());
    let _ = std::fs::remove_file(link.join(&name));
    std::os::unix::fs::symlink(path, link.join(&name)).expect("name");
    name
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Place::Netns(path) = &self.outside {
            let _ = nix::mount::umount(path);
        }
        let _ = std::fs::remove_file(format!(
            "/var/run/netns/spx-{}-{}",
            std::process::id(),
            nix::unistd::gettid()
        ));
        for entry in std::fs::read_dir(self._directory.path().join("netns")).into_iter().flatten().flatten() {
            let _ = nix::mount::umount(&entry.path());
        }
    }
}

pub fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// Who answers, of the pods' names.
pub fn who(answer: &str) -> &str {
    answer.split(' ').next().unwrap_or_default()
}

/// Whom the answering one saw.
pub fn seen(answer: &str) -> &str {
    answer.rsplit(' ').next().unwrap_or_default()
}
