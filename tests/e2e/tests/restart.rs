//! Stop and start, the daemon killed, the cluster deleted.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sampan_test_e2e::{cluster, eventually, fetch, field, ready, registry};
use sampan_testkit::{Cluster, free_port};

const COUNTER: &str = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.05; done";

fn with_counter(cluster: &Cluster) -> Result<()> {
    let command = ["run", "counter", "--image=busybox", "--restart=Always", "--", "sh", "-c", COUNTER];
    cluster.kubectl(&command)?;
    ready(cluster, "counter")
}

/// Process id of the pod's shell on this machine, found by its command line.
fn counter_pid() -> Option<i32> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let is_counter = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"sh\0-c\0i=0; while true")
    };
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_counter)
}

fn numbers(log: &str) -> Vec<u64> {
    log.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect()
}

#[test]
fn the_daemon_killed_is_not_noticed_by_pods() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    with_counter(&cluster)?;
    let before = counter_pid();
    ensure!(before.is_some());
    for _ in 0..3 {
        kill(Pid::from_raw(cluster.pid()?), Signal::SIGKILL)?;
        std::thread::sleep(Duration::from_millis(300));
        cluster.up()?;
        ensure!(counter_pid() == before, "the container was restarted");
    }
    ready(&cluster, "counter")?;
    ensure!(field(&cluster, "pod/counter", "{.status.containerStatuses[0].restartCount}")? == "0");
    let seen = numbers(&cluster.kubectl(&["logs", "counter"])?);
    ensure!(seen.len() > 10 && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "holes in {seen:?}");
    ensure!(cluster.kubectl(&["exec", "counter", "--", "echo", "still here"])?.contains("still here"));
    Ok(())
}

/// A network of this host, while it lives.
struct HostNetwork(String);

impl HostNetwork {
    fn new(address: &str) -> Result<Self> {
        let one = Self(format!("spe2e{}", std::process::id()));
        let ip = |arguments: &[&str]| -> Result<()> {
            ensure!(Command::new("ip").args(arguments).status()?.success(), "ip {arguments:?}");
            Ok(())
        };
        ip(&["link", "add", &one.0, "type", "bridge"])?;
        ip(&["addr", "add", address, "dev", &one.0])?;
        ip(&["link", "set", &one.0, "up"])?;
        Ok(one)
    }
}

impl Drop for HostNetwork {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.0]).status();
    }
}

/// Addresses of all pods, and the node's block.
fn places(cluster: &Cluster) -> Result<String> {
    let pods = field(cluster, "pods", "{range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}")?;
    Ok(pods + &field(cluster, "nodes", "{.items[0].spec.podCIDR}")?)
}

/// The page of the pod with the host port, from the host; and a page of the host, from a pod.
fn in_and_out(cluster: &Cluster, host_port: u16, outside: &str) -> Result<()> {
    let seen = eventually("the host port", Duration::from_secs(20), || {
        Ok(fetch(&format!("127.0.0.1:{host_port}")).ok())
    })?;
    ensure!(seen.contains("Welcome to nginx"), "{seen}");
    let (address, port) = outside.split_once(':').context("address and port")?;
    let script = format!("echo hello | nc -w 5 {address} {port}");
    let said = cluster.kubectl(&["exec", "deployment/many", "--", "sh", "-c", &script])?;
    ensure!(said.contains("yes"), "{said}");
    Ok(())
}

#[test]
fn pods_keep_the_block_that_the_cluster_chose_whatever_becomes_of_the_hosts_networks() -> Result<()> {
    let registry = registry()?;
    // in the way of what the cluster would like
    let first = HostNetwork::new("10.244.0.1/16")?;
    let cluster = cluster(&registry, "embedded")?;
    let pod_cidr = field(&cluster, "nodes", "{.items[0].spec.podCIDR}")?;
    ensure!(!pod_cidr.is_empty() && !pod_cidr.starts_with("10.244."), "{pod_cidr}");
    let command =
        ["create", "deployment", "many", "--image=busybox", "--replicas=12", "--", "sleep", "1000000"];
    cluster.kubectl(&command)?;
    let host_port = free_port();
    let ports = format!(
        r#"{{"spec":{{"containers":[{{"name":"web","image":"nginx:alpine","ports":[{{"containerPort":80,"hostPort":{host_port}}}]}}]}}}}"#
    );
    cluster.kubectl(&["run", "web", "--image=nginx:alpine", "--overrides", &ports])?;
    cluster.kubectl(&["rollout", "status", "deployment/many", "--timeout=60s"])?;
    ready(&cluster, "web")?;
    // a server of the host at its own address
    let node = field(&cluster, "nodes", "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}")?;
    let outside = page_at(&node)?;
    let before = places(&cluster)?;
    in_and_out(&cluster, host_port, &outside)?;
    // what the cluster would like is free now
    drop(first);
    for _ in 0..2 {
        kill(Pid::from_raw(cluster.pid()?), Signal::SIGKILL)?;
        cluster.up()?;
        ensure!(places(&cluster)? == before, "{} was {before}", places(&cluster)?);
        in_and_out(&cluster, host_port, &outside)?;
    }
    cluster.sampan(&["stop"])?;
    cluster.up()?;
    cluster.kubectl(&["rollout", "status", "deployment/many", "--timeout=60s"])?;
    ready(&cluster, "web")?;
    // what a pod says of itself may be of before the stop, while its container starts
    eventually("a container to run something in", Duration::from_secs(20), || {
        Ok(cluster.kubectl(&["exec", "deployment/many", "--", "true"]).ok())
    })?;
    in_and_out(&cluster, host_port, &outside)
}

/// A web server of this process that says yes to everything; its address and port.
fn page_at(address: &str) -> Result<String> {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind((address, 0))?;
    let at = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes");
        }
    });
    Ok(at)
}

#[test]
fn stop_and_start_bring_everything_back_and_delete_leaves_nothing() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    let before = leftovers(cluster.profile());
    ensure!(!before.is_empty(), "a running cluster shows in {before:?}");
    cluster.kubectl(&["create", "deployment", "web", "--image=nginx:alpine", "--replicas=3"])?;
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let objects = cluster.kubectl(&["get", "pods,deployments,configmaps", "-o", "name"])?;
    cluster.sampan(&["stop"])?;
    let status = cluster.command().arg("status").output()?;
    ensure!(
        status.status.code() == Some(7) && String::from_utf8_lossy(&status.stdout).contains("host: Stopped"),
        "{status:?}"
    );
    cluster.up()?;
    ensure!(cluster.command().arg("status").status()?.code() == Some(0));
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    ensure!(cluster.kubectl(&["get", "pods,deployments,configmaps", "-o", "name"])? == objects);
    eventually("a pod that answers", Duration::from_secs(20), || {
        let ip = field(&cluster, "pods", "{.items[0].status.podIP}")?;
        Ok(fetch(&format!("{ip}:80")).ok())
    })?;
    cluster.sampan(&["delete"])?;
    let left = leftovers(cluster.profile());
    ensure!(left.is_empty(), "left behind: {left:?}");
    ensure!(!cluster.data_directory().exists() && !cluster.run_directory().exists());
    let kubeconfig = std::fs::read_to_string(cluster.kubeconfig())?;
    ensure!(!kubeconfig.contains("server:"), "{kubeconfig}");
    Ok(())
}

/// Processes, mounts, cgroups and nft tables that carry the profile's name.
fn leftovers(profile: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&line).replace('\0', " ");
        if text.contains(profile) && text.contains("sampan") {
            found.push(format!("process {text}"));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(profile)).map(|line| format!("mount {line}")));
    let cgroups = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "3", "-name"])
        .arg(format!("sampan-{profile}"))
        .output()
        .unwrap();
    found.extend(String::from_utf8_lossy(&cgroups.stdout).lines().map(|line| format!("cgroup {line}")));
    let tables = std::process::Command::new("nft").args(["list", "tables"]).output().unwrap();
    found.extend(
        String::from_utf8_lossy(&tables.stdout)
            .lines()
            .filter(|line| line.contains(&profile.replace('-', "_")))
            .map(str::to_owned),
    );
    found
}
