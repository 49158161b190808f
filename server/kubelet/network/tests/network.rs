//! The pod network on the real kernel: needs root.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use sampan_pod_network::{Config, HostPort, PodNetwork, Protocol};
use sampan_process::{Component, Tasks};

static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn config(directory: &Path, pool_size: usize) -> Config {
    assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
    Config {
        run_dir: directory.to_owned(),
        data_dir: directory.to_owned(),
        bridge: "sptest0".into(),
        pod_cidr: "10.201.0.0/16".into(),
        fixed: false,
        service_cidr: "10.96.0.0/12".into(),
        node_subnet: "10.201.3.0/24".into(),
        pool_size,
        table: "sampan-test".into(),
    }
}

fn inside(netns: &Path, command: &[&str]) -> String {
    let net = format!("--net={}", netns.display());
    let output = Command::new("nsenter").arg(net).args(command).output().expect("nsenter");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_addresses_and_give_them_back() {
    let _one = ONE.lock().await;
    let directory = tempfile::tempdir().expect("directory");
    let tasks = Tasks::new(Component::Kubelet);
    let network = PodNetwork::new(config(directory.path(), 2), tasks.clone()).await.expect("network");
    let a = network.acquire("a").await.expect("a");
    let b = network.acquire("b").await.expect("b");
    assert_eq!(network.acquire("a").await.expect("again"), a);
    assert_ne!(a.ips, b.ips);
    assert_eq!(a.gateway, IpAddr::V4(Ipv4Addr::new(10, 201, 3, 1)));
    let address = b.ips[0].to_string();
    assert!(inside(&a.netns, &["busybox", "ip", "addr"]).contains(&a.ips[0].to_string()));
    let listener = {
        let netns = b.netns.clone();
        std::thread::spawn(move || {
            let file = std::fs::File::open(netns).expect("netns");
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
            std::net::TcpListener::bind("0.0.0.0:80").expect("bind")
        })
        .join()
        .expect("thread")
    };
    let accept = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            use std::io::Write;
            stream.expect("stream").write_all(b"pod b").expect("write");
        }
    });
    assert_eq!(inside(&a.netns, &["busybox", "nc", &address, "80"]), "pod b", "pod to pod");
    let read = |address: String| {
        use std::io::Read;
        let mut text = String::new();
        std::net::TcpStream::connect(address).expect("connect").read_to_string(&mut text).expect("read");
        text
    };
    assert_eq!(read(format!("{address}:80")), "pod b", "node to pod");
    let port = HostPort { protocol: Protocol::Tcp, host_ip: None, host_port: 38080, container_port: 80 };
    network.set_host_ports("b", vec![port]).await.expect("ports");
    assert_eq!(read("127.0.0.1:38080".into()), "pod b", "host port");
    accept.join().expect("accept");
    // another process takes over
    drop(network);
    let again = PodNetwork::new(config(directory.path(), 2), tasks).await.expect("again");
    assert_eq!(again.get("a"), Some(a));
    again.recover(&["b".to_owned()]).await.expect("recover");
    assert_eq!(again.get("a"), None);
    assert!(again.get("b").is_some());
    again.release("b").await.expect("release");
    again.release("b").await.expect("twice");
    again.cleanup().await.expect("cleanup");
    let links = std::fs::read_dir("/sys/class/net").expect("links").flatten();
    let left: Vec<_> =
        links.map(|one| one.file_name()).filter(|one| one.to_string_lossy().starts_with("sptest0")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_is_lost() {
    let _one = ONE.lock().await;
    let directory = tempfile::tempdir().expect("directory");
    let mut config = config(directory.path(), 0);
    config.node_subnet = "10.201.3.0/29".into();
    let network = PodNetwork::new(config, Tasks::new(Component::Kubelet)).await.expect("network");
    for turn in 0..3 {
        let mut uids = Vec::new();
        while network.acquire(&format!("{turn}-{}", uids.len())).await.is_ok() {
            uids.push(format!("{turn}-{}", uids.len()));
        }
        assert_eq!(uids.len(), 5, "a /29 has five addresses for pods");
        for uid in uids {
            network.release(&uid).await.expect("release");
        }
    }
    network.cleanup().await.expect("cleanup");
}
