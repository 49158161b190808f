//! The beginner's walk with the newest kubectl: a node, the control plane, one pod in all its aspects, a
//! Deployment; on both runtimes.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use sampan_test_e2e::{Follower, cluster, docker_engine, eventually, fetch, field, ready, registry};
use sampan_testkit::Cluster;

/// One walk at a time: the embedded runtime would find the other's images in Docker Engine and not pull.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn embedded() -> Result<()> {
    let _one = ONE.lock();
    forget_images();
    walk("embedded")
}

#[test]
fn docker() -> Result<()> {
    let _one = ONE.lock();
    docker_engine()?;
    forget_images();
    let walked = walk("docker");
    forget_images();
    walked
}

/// Removes from Docker Engine what an earlier walk pulled; fine if there is no engine or no image.
fn forget_images() {
    let _ = Command::new("docker").args(["rmi", "-f", "nginx:alpine", "nginx:1.1"]).output();
}

fn walk(runtime: &str) -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, runtime)?;
    the_node_and_the_control_plane(&cluster)?;
    a_pod(&cluster)?;
    its_shell_and_files(&cluster)?;
    its_ports_and_streams(&cluster)?;
    cluster.kubectl(&["delete", "pod", "ngx"])?;
    a_deployment(&cluster)?;
    the_other_verbs(&cluster)?;
    drain(&cluster)
}

fn the_node_and_the_control_plane(cluster: &Cluster) -> Result<()> {
    let nodes = cluster.kubectl(&["get", "node"])?;
    let row: Vec<&str> = nodes.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    ensure!(row[1] == "Ready" && row[2] == "control-plane" && row[4].starts_with("v1.36"), "{nodes}");
    eventually("components Running", Duration::from_secs(20), || {
        let pods = cluster.kubectl(&["get", "pod", "-n", "kube-system"])?;
        let names = ["etcd-", "kube-apiserver-", "kube-controller-manager-", "kube-scheduler-"];
        let all = names.iter().all(|name| {
            pods.lines()
                .any(|line| line.starts_with(name) && line.contains("1/1") && line.contains("Running"))
        });
        Ok(all.then_some(()))
    })?;
    let node = nodes.lines().nth(1).unwrap_or_default().split(' ').next().unwrap_or_default().to_owned();
    let log = cluster.kubectl(&["logs", "-n", "kube-system", &format!("kube-scheduler-{node}")])?;
    ensure!(!log.is_empty(), "the scheduler has said nothing");
    Ok(())
}

fn a_pod(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["run", "ngx", "--image=nginx:alpine"])?;
    ready(cluster, "ngx")?;
    let wide = cluster.kubectl(&["get", "pod", "ngx", "-o", "wide"])?;
    let ip = field(cluster, "pod/ngx", "{.status.podIP}")?;
    ensure!(wide.contains(&ip) && wide.contains("1/1") && wide.contains("Running"), "{wide}");
    let described = eventually("events", Duration::from_secs(10), || {
        let text = cluster.kubectl(&["describe", "pod", "ngx"])?;
        let reasons = ["Scheduled", "Pulling", "Pulled", "Created", "Started"];
        let events = text.split("Events:").nth(1).unwrap_or_default();
        Ok(reasons.iter().all(|reason| events.contains(reason)).then(|| text.clone()))
    })?;
    ensure!(described.contains("Successfully assigned default/ngx to"), "{described}");
    let page = fetch(&format!("{ip}:80"))?;
    ensure!(page.contains("Welcome to nginx alpine"), "{page}");
    eventually("the request in the log", Duration::from_secs(10), || {
        Ok(cluster.kubectl(&["logs", "ngx"])?.contains("GET / HTTP/1.1").then_some(()))
    })?;
    let follower = Follower::start(cluster, &["logs", "-f", "ngx", "--tail=0"])?;
    follower.until("GET / HTTP/1.1", || fetch(&format!("{ip}:80")).map(drop))?;
    Ok(())
}

fn its_shell_and_files(cluster: &Cluster) -> Result<()> {
    ensure!(cluster.kubectl(&["exec", "ngx", "--", "cat", "/etc/hostname"])?.trim() == "ngx");
    let failed = cluster.kubectl_command().args(["exec", "ngx", "--", "sh", "-c", "exit 42"]).output()?;
    ensure!(failed.status.code() == Some(42), "{failed:?}");
    let mut piped = cluster
        .kubectl_command()
        .args(["exec", "-i", "ngx", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    piped.stdin.take().unwrap().write_all(b"through and back\n")?;
    ensure!(piped.wait_with_output()?.stdout == b"through and back\n");
    // a terminal, as a person has one
    let kubectl = format!("kubectl --kubeconfig {} exec -it ngx -- sh", cluster.kubeconfig().display());
    let mut shell = Command::new("script")
        .args(["-qec", &kubectl, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    shell.stdin.take().unwrap().write_all(b"tty; echo size $(stty size); exit\n")?;
    let text = String::from_utf8_lossy(&shell.wait_with_output()?.stdout).into_owned();
    ensure!(text.contains("/dev/pts/") && text.contains("size "), "{text}");
    let file = cluster.directory().join("copied.txt");
    std::fs::write(&file, "both ways\n")?;
    let path = file.display().to_string();
    cluster.kubectl(&["cp", &path, "ngx:/tmp/there.txt"])?;
    let back = cluster.directory().join("back.txt").display().to_string();
    cluster.kubectl(&["cp", "ngx:/tmp/there.txt", &back])?;
    ensure!(std::fs::read_to_string(back)? == "both ways\n");
    Ok(())
}

fn its_ports_and_streams(cluster: &Cluster) -> Result<()> {
    let port = sampan_testkit::free_port();
    let mut forward = cluster
        .kubectl_command()
        .args(["port-forward", "pod/ngx", &format!("{port}:80")])
        .stdout(Stdio::null())
        .spawn()?;
    let page = eventually("the forwarded port", Duration::from_secs(10), || {
        Ok(fetch(&format!("127.0.0.1:{port}")).ok())
    });
    forward.kill()?;
    forward.wait()?;
    ensure!(page?.contains("Welcome to nginx"));
    let ip = field(cluster, "pod/ngx", "{.status.podIP}")?;
    let attached = Follower::start(cluster, &["attach", "ngx"])?;
    attached.until("GET / HTTP/1.1", || fetch(&format!("{ip}:80")).map(drop))?;
    Ok(())
}

fn a_deployment(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "deployment", "web", "--image=nginx:alpine", "--replicas=3"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=10"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let pods = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "name"])?;
    ensure!(pods.lines().count() == 10, "{pods}");
    cluster.kubectl(&["delete", pods.lines().next().unwrap()])?;
    cluster.kubectl(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=10",
        "deployment/web",
        "--timeout=60s",
    ])?;
    cluster.kubectl(&["scale", "deployment", "web", "--replicas=2"])?;
    cluster.kubectl(&["set", "image", "deployment/web", "nginx=nginx:1.1"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    ensure!(field(cluster, "deployment/web", "{.spec.template.spec.containers[0].image}")? == "nginx:1.1");
    let history = cluster.kubectl(&["rollout", "history", "deployment/web"])?;
    ensure!(history.lines().filter(|line| line.starts_with(['1', '2'])).count() == 2, "{history}");
    cluster.kubectl(&["rollout", "undo", "deployment/web"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    ensure!(field(cluster, "deployment/web", "{.spec.template.spec.containers[0].image}")? == "nginx:alpine");
    Ok(())
}

const MANIFEST: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  colour: COLOUR
";

fn the_other_verbs(cluster: &Cluster) -> Result<()> {
    let file = cluster.directory().join("settings.yaml");
    let path = file.display().to_string();
    std::fs::write(&file, MANIFEST.replace("COLOUR", "blue"))?;
    ensure!(cluster.kubectl(&["apply", "-f", &path])?.contains("created"));
    ensure!(cluster.kubectl(&["apply", "-f", &path])?.contains("unchanged"));
    std::fs::write(&file, MANIFEST.replace("COLOUR", "green"))?;
    let diff = cluster.kubectl_command().args(["diff", "-f", &path]).output()?;
    let text = String::from_utf8_lossy(&diff.stdout).into_owned();
    ensure!(
        diff.status.code() == Some(1)
            && text.contains("-  colour: blue")
            && text.contains("+  colour: green"),
        "{diff:?}"
    );
    ensure!(cluster.kubectl(&["apply", "-f", &path])?.contains("configured"));
    let edited = cluster
        .kubectl_command()
        .args(["edit", "configmap", "settings"])
        .env("KUBE_EDITOR", "sed -i s/green/red/")
        .output()?;
    ensure!(edited.status.success(), "{edited:?}");
    ensure!(field(cluster, "configmap/settings", "{.data.colour}")? == "red");
    cluster.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data":{"size":"big"}}"#])?;
    cluster.kubectl(&["label", "configmap", "settings", "tier=front"])?;
    cluster.kubectl(&["annotate", "configmap", "settings", "note=seen"])?;
    let listed = cluster.kubectl(&["get", "configmap", "-l", "tier=front", "-o", "yaml"])?;
    ensure!(listed.contains("size: big") && listed.contains("note: seen"), "{listed}");
    ensure!(
        cluster.kubectl(&["explain", "pod.spec.containers.livenessProbe"])?.contains("initialDelaySeconds")
    );
    ensure!(cluster.kubectl(&["api-resources"])?.lines().count() > 60);
    ensure!(cluster.kubectl(&["auth", "can-i", "--list"])?.contains("*.*"));
    ensure!(cluster.kubectl(&["auth", "whoami"])?.contains("kubernetes-admin"));
    let watch = Follower::start(cluster, &["get", "configmap", "-w", "--output-watch-events"])?;
    watch.until("settings", || Ok(()))?;
    cluster.kubectl(&["delete", "configmap", "settings"])?;
    watch.until("DELETED    settings", || Ok(()))?;
    Ok(())
}

fn drain(cluster: &Cluster) -> Result<()> {
    let node = field(cluster, "node", "{.items[0].metadata.name}")?;
    cluster.kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--force",
        "--delete-emptydir-data",
        "--timeout=60s",
    ])?;
    let nodes = cluster.kubectl(&["get", "node"])?;
    ensure!(nodes.contains("SchedulingDisabled"), "{nodes}");
    let pods = cluster.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "--field-selector=status.phase=Running",
        "-o",
        "name",
    ])?;
    ensure!(pods.trim().is_empty(), "{pods}");
    let pending = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "name"])?;
    let described = eventually("FailedScheduling", Duration::from_secs(10), || {
        let text = cluster.kubectl(&["describe", pending.lines().next().unwrap_or("pods")])?;
        Ok(text.contains("FailedScheduling").then_some(text))
    })?;
    ensure!(described.contains("0/1 nodes are available: 1 node(s) were unschedulable"), "{described}");
    cluster.kubectl(&["uncordon", &node])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    Ok(())
}
