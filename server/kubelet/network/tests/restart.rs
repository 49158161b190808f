//! The daemon ends, the host's networks change, another daemon takes over: on a node of its own, which needs root.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use sampan_pod_network::{Config, HostPort, PodNet, PodNetwork, Protocol};
use sampan_process::{Component, Tasks};

const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

fn run(line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("program");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a test in a network namespace of its own, with a neighbour that tells whoever connects who it is.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("namespace");
        run("ip link set lo up");
        run("ip link add lan0 type veth peer name lan1");
        let (born, is_born) = std::sync::mpsc::channel();
        let (moved, is_moved) = std::sync::mpsc::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("namespace");
            born.send(nix::unistd::gettid()).expect("told");
            is_moved.recv().expect("its link");
            run(&format!("ip addr add {OUTSIDE}/24 dev lan1"));
            run("ip link set lan1 up");
            let listener = TcpListener::bind((OUTSIDE, 9)).expect("neighbour");
            ready.send(()).expect("told");
            tell(&listener);
        });
        run(&format!("ip link set lan1 netns {}", is_born.recv().expect("neighbour")));
        moved.send(()).expect("told");
        is_ready.recv().expect("neighbour");
        run(&format!("ip addr add {NODE}/24 dev lan0"));
        run("ip link set lan0 up");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("runtime").block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Answers everybody with the address that they are seen at.
fn tell(listener: &TcpListener) {
    while let Ok((mut stream, peer)) = listener.accept() {
        let _ = stream.write_all(peer.ip().to_string().as_bytes());
    }
}

/// Does something inside a namespace.
fn inside<T: Send + 'static>(netns: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = File::open(netns).expect("netns");
    let thread = std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
        work()
    });
    thread.join().expect("thread")
}

fn heard(address: Ipv4Addr, port: u16) -> String {
    let address = SocketAddr::from((address, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).expect("connect");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read");
    text
}

fn config(directory: &Path) -> Config {
    Config {
        run_dir: directory.to_owned(),
        data_dir: directory.to_owned(),
        bridge: "sprst0".into(),
        pod_cidr: "10.201.0.0/16".into(),
        fixed: false,
        service_cidr: "10.96.0.0/12".into(),
        node_subnet: "10.201.0.0/24".into(),
        pool_size: 2,
        table: "sampan-restart-test".into(),
    }
}

async fn start(directory: &Path) -> (PodNetwork, Tasks) {
    let tasks = Tasks::new(Component::Kubelet);
    (PodNetwork::new(config(directory), tasks.clone()).await.expect("network"), tasks)
}

fn host_network(name: &str, address: &str) {
    run(&format!("ip link add {name} type bridge"));
    run(&format!("ip addr add {address} dev {name}"));
    run(&format!("ip link set {name} up"));
}

fn uid(index: usize) -> String {
    format!("pod-{index}")
}

/// The last pod is reached by the node's port, and is seen outside as the node.
fn in_and_out(pod: &PodNet) {
    assert_eq!(heard(NODE, 38080), NODE.to_string(), "host port");
    assert_eq!(inside(&pod.netns, || heard(OUTSIDE, 9)), NODE.to_string(), "egress");
}

#[test]
fn a_block_that_was_moved_stays_while_pods_have_its_addresses() {
    on_a_node(|| async {
        let directory = tempfile::tempdir().expect("directory");
        host_network("early0", "10.201.7.1/24");
        let (network, tasks) = start(directory.path()).await;
        assert_eq!(network.pod_cidr(), "10.202.0.0/16");
        // what it was moved for is gone: it stays, for the node's object says where it is
        tasks.finish(Duration::from_secs(5)).await;
        drop(network);
        run("ip link del early0");
        let (network, tasks) = start(directory.path()).await;
        assert_eq!(network.pod_cidr(), "10.202.0.0/16");
        let mut pods = Vec::new();
        for index in 0..12 {
            pods.push(network.acquire(&uid(index)).await.expect("pod"));
        }
        let last = pods[11].clone();
        let listener = inside(&last.netns, || TcpListener::bind("0.0.0.0:80").expect("listen"));
        std::thread::spawn(move || tell(&listener));
        let port = HostPort { protocol: Protocol::Tcp, host_ip: None, host_port: 38080, container_port: 80 };
        network.set_host_ports(&uid(11), vec![port]).await.expect("host port");
        in_and_out(&last);
        // it collides with something else now
        host_network("late0", "10.202.7.1/24");
        let mut last_network = (network, tasks);
        for stopped in [false, true] {
            let (network, tasks) = last_network;
            if stopped {
                network.withdraw().await.expect("rules taken back");
            }
            tasks.finish(Duration::from_secs(5)).await;
            drop(network);
            let (network, tasks) = start(directory.path()).await;
            assert_eq!(network.pod_cidr(), "10.202.0.0/16");
            for (index, pod) in pods.iter().enumerate() {
                assert_eq!(network.get(&uid(index)).as_ref(), Some(pod));
            }
            let more = network.acquire(&format!("more-{stopped}")).await.expect("another pod");
            assert!(matches!(more.ips[0], IpAddr::V4(one) if one.octets()[..3] == [10, 202, 0]), "{more:?}");
            assert!(pods.iter().all(|pod| pod.ips != more.ips), "{more:?}");
            in_and_out(&last);
            let seen = inside(&more.netns, || heard(OUTSIDE, 9));
            assert_eq!(seen, NODE.to_string(), "egress of a new pod");
            last_network = (network, tasks);
        }
        let (network, tasks) = last_network;
        network.recover(&[]).await.expect("all released");
        tasks.finish(Duration::from_secs(5)).await;
        drop(network);
        // nobody has an address of it any more, so that it can be what was wanted
        let (network, _tasks) = start(directory.path()).await;
        assert_eq!(network.pod_cidr(), "10.201.0.0/16");
        let pod = network.acquire("new").await.expect("pod");
        assert_eq!(inside(&pod.netns, || heard(OUTSIDE, 9)), NODE.to_string());
        network.cleanup().await.expect("cleanup");
    });
}

#[test]
fn an_attachment_that_fails_leaves_no_link_and_no_address() {
    on_a_node(|| async {
        let directory = tempfile::tempdir().expect("directory");
        let tasks = Tasks::new(Component::Kubelet);
        let config = Config { pool_size: 0, ..config(directory.path()) };
        let network = PodNetwork::new(config, tasks).await.expect("network");
        let (born, is_born) = std::sync::mpsc::channel();
        let (end, is_ended) = std::sync::mpsc::channel::<()>();
        let docker = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("namespace");
            born.send(nix::unistd::gettid()).expect("told");
            let _ = is_ended.recv();
        });
        let foreign = format!("/proc/self/task/{}/ns/net", is_born.recv().expect("namespace"));
        let foreign = Path::new(&foreign);
        // no lease can be written
        let netns = directory.path().join("netns");
        let leases: Vec<_> = (2..=254).map(|index| netns.join(format!("{index}.pod"))).collect();
        leases.iter().for_each(|path| std::fs::create_dir(path).expect("in the way"));
        for _ in 0..2 {
            network.attach(foreign, "a").await.expect_err("no lease");
            assert_eq!(network.get("a"), None);
            let links = Command::new("ip").args(["-o", "link"]).output().expect("ip");
            let links = String::from_utf8_lossy(&links.stdout).into_owned();
            assert!(links.contains("sprst0") && !links.contains("sprst0v"), "{links}");
        }
        leases.iter().for_each(|path| std::fs::remove_dir(path).expect("out of the way"));
        let pod = network.attach(foreign, "a").await.expect("attached");
        assert_eq!(network.get("a").as_ref(), Some(&pod));
        network.cleanup().await.expect("cleanup");
        drop(end);
        docker.join().expect("thread");
    });
}
