//! Pods resized in place, on both runtimes: what the API says, and what the kernel holds them to.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sampan_test_e2e::{apply, cluster, docker_engine, eventually, field, ready, registry};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

#[test]
fn resizes() -> Result<()> {
    walk("embedded")
}

#[test]
fn resizes_of_docker() -> Result<()> {
    docker_engine()?;
    walk("docker")
}

fn walk(runtime: &str) -> Result<()> {
    let registry = registry()?;
    let cluster = &cluster(&registry, runtime)?;
    let container = |name: &str, resources: Value| {
        let run = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done";
        json!({"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", run],
            "resources": resources})
    };
    let mut main = container("main", amounts(["100m", "200m"], ["32Mi", "64Mi"]));
    main["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let mut sidecar = container("sidecar", amounts(["50m", "100m"], ["32Mi", "64Mi"]));
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [main], "initContainers": [sidecar]});
    apply(
        cluster,
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "r"}, "spec": spec}).to_string(),
    )?;
    ready(cluster, "r")?;
    let before = shown(cluster, "main")?;
    ensure!(before["resources"] == amounts(["100m", "200m"], ["32Mi", "64Mi"]), "{before:#}");
    ensure!(before["allocatedResources"] == json!({"cpu": "100m", "memory": "32Mi"}), "{before:#}");
    limits(cluster, "main", 20_000, 64 * MIB)?;
    whole(cluster, runtime, 30_000, 128 * MIB)?;

    in_place(cluster, runtime)?;
    with_a_restart(cluster, runtime)?;
    too_low(cluster)?;
    never(cluster)?;
    later(cluster, runtime)?;
    as_a_whole(cluster, runtime)
}

fn in_place(cluster: &Cluster, runtime: &str) -> Result<()> {
    let ids = [id(cluster, "main")?, id(cluster, "sidecar")?];
    resize(cluster, "containers", "main", amounts(["150m", "300m"], ["32Mi", "64Mi"]))?;
    resized(cluster, "main", "300m", "64Mi")?;
    limits(cluster, "main", 30_000, 64 * MIB)?;
    resize(cluster, "initContainers", "sidecar", amounts(["60m", "150m"], ["32Mi", "96Mi"]))?;
    resized(cluster, "sidecar", "150m", "96Mi")?;
    limits(cluster, "sidecar", 15_000, 96 * MIB)?;
    whole(cluster, runtime, 45_000, 160 * MIB)?;
    resize(cluster, "initContainers", "sidecar", amounts(["50m", "100m"], ["32Mi", "64Mi"]))?;
    resized(cluster, "sidecar", "100m", "64Mi")?;
    limits(cluster, "sidecar", 10_000, 64 * MIB)?;
    whole(cluster, runtime, 40_000, 128 * MIB)?;
    ensure!(ids == [id(cluster, "main")?, id(cluster, "sidecar")?], "nothing was restarted");
    let started = "Pod resize started: {\"initContainers\":[{\"name\":\"sidecar\",\"resources\":{\"limits\":{\"cpu\":\"100m\"";
    told(cluster, "ResizeStarted", started)?;
    told(cluster, "ResizeCompleted", "\"generation\":2}")
}

fn with_a_restart(cluster: &Cluster, runtime: &str) -> Result<()> {
    resize(cluster, "containers", "main", amounts(["150m", "300m"], ["48Mi", "80Mi"]))?;
    resized(cluster, "main", "300m", "80Mi")?;
    let status = shown(cluster, "main")?;
    ensure!(status["restartCount"] == 1, "{status:#}");
    limits(cluster, "main", 30_000, 80 * MIB)?;
    whole(cluster, runtime, 40_000, 144 * MIB)?;
    told(cluster, "Killing", "Container main resize requires restart")
}

/// A limit below what is used is not set, and the resize can be taken back.
fn too_low(cluster: &Cluster) -> Result<()> {
    resize(cluster, "initContainers", "sidecar", amounts(["50m", "100m"], ["10Ki", "10Ki"]))?;
    let why = "attempting to set container \"sidecar\" memory limit (10240) below current usage (";
    condition(cluster, "PodResizeInProgress", "Error", why)?;
    ensure!(shown(cluster, "sidecar")?["resources"]["limits"]["memory"] == "64Mi");
    limits(cluster, "sidecar", 10_000, 64 * MIB)?;
    resize(cluster, "initContainers", "sidecar", amounts(["50m", "100m"], ["32Mi", "64Mi"]))?;
    resized(cluster, "sidecar", "100m", "64Mi")?;
    told(cluster, "ResizeError", "\"error\":\"cannot decrease memory limits: ")
}

/// What the node never has is not even asked for.
fn never(cluster: &Cluster) -> Result<()> {
    let refused = resize(cluster, "containers", "main", amounts(["5000", "6000"], ["48Mi", "80Mi"]));
    // the sidecar's 50m are part of the pod
    let why = "pods \"r\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 5000050, allocatable: ";
    ensure!(refused.is_err_and(|error| format!("{error:#}").contains(why)));
    let status = shown(cluster, "main")?;
    ensure!(status["allocatedResources"]["cpu"] == "150m", "{status:#}");
    limits(cluster, "main", 30_000, 80 * MIB)
}

/// A resize waits for room, also over a restart of the daemon.
fn later(cluster: &Cluster, runtime: &str) -> Result<()> {
    let cpus: u64 = field(cluster, "nodes", "{.items[0].status.allocatable.cpu}")?.parse()?;
    // other pods ask for less than half a CPU
    let filler = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: filler}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: c, \
         image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, \"1000\"], resources: {{requests: {{cpu: {}m}}}}}}]}}}}",
        cpus * 1000 - 800
    );
    apply(cluster, &filler)?;
    ready(cluster, "filler")?;
    let run = id(cluster, "main")?;
    resize(cluster, "containers", "main", amounts(["900m", "900m"], ["48Mi", "80Mi"]))?;
    let why = "Node didn't have enough resource: cpu, requested: 950, used: ";
    condition(cluster, "PodResizePending", "Deferred", why)?;
    told(cluster, "ResizeDeferred", "Pod resize Deferred: {")?;
    kill(Pid::from_raw(cluster.pid()?), Signal::SIGKILL)?;
    cluster.up()?;
    condition(cluster, "PodResizePending", "Deferred", why)?;
    let status = shown(cluster, "main")?;
    ensure!(status["allocatedResources"]["cpu"] == "150m", "what was allocated is remembered: {status:#}");
    limits(cluster, "main", 30_000, 80 * MIB)?;
    cluster.kubectl(&["delete", "pod", "filler"])?;
    resized(cluster, "main", "900m", "80Mi")?;
    limits(cluster, "main", 90_000, 80 * MIB)?;
    whole(cluster, runtime, 100_000, 144 * MIB)?;
    ensure!(id(cluster, "main")? == run, "nothing was restarted");
    Ok(())
}

/// What a pod asks for as a whole is resized like what its containers do.
fn as_a_whole(cluster: &Cluster, runtime: &str) -> Result<()> {
    let spec = json!({"terminationGracePeriodSeconds": 0, "resources": amounts(["50m", "200m"], ["32Mi", "64Mi"]),
        "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"]}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "w"}, "spec": spec});
    apply(cluster, &pod.to_string())?;
    ready(cluster, "w")?;
    let id = |cluster| -> Result<String> {
        let id = field(cluster, "pod/w", "{.status.containerStatuses[0].containerID}")?;
        Ok(id.rsplit('/').next().unwrap_or_default().to_owned())
    };
    let run = id(cluster)?;
    let limits = |quota: u64, memory: u64| match runtime {
        "docker" => Ok(()),
        _ => same(&groups(&run)?, "/..", quota, memory),
    };
    limits(20_000, 64 * MIB)?;
    let patch = json!({"spec": {"resources": amounts(["60m", "300m"], ["32Mi", "96Mi"])}}).to_string();
    cluster.kubectl(&["patch", "pod", "w", "--subresource", "resize", "-p", &patch])?;
    eventually("the pod is resized", SOON, || {
        let allocated = field(cluster, "pod/w", "{.status.allocatedResources.cpu}")?;
        Ok((allocated == "60m" && limits(30_000, 96 * MIB).is_ok()).then_some(()))
    })?;
    limits(30_000, 96 * MIB)?;
    ensure!(id(cluster)? == run, "nothing was restarted");
    let refused = json!({"spec": {"resources": {"limits": {"cpu": null}}}}).to_string();
    let refused = cluster.kubectl(&["patch", "pod", "w", "--subresource", "resize", "-p", &refused]);
    let why = "spec.resources.limits: Forbidden: pod-level resource limits cannot be removed";
    ensure!(refused.is_err_and(|error| format!("{error:#}").contains(why)));
    Ok(())
}

/// Requests and limits.
fn amounts(cpu: [&str; 2], memory: [&str; 2]) -> Value {
    let side = |index: usize| json!({"cpu": cpu[index], "memory": memory[index]});
    json!({"requests": side(0), "limits": side(1)})
}

fn resize(cluster: &Cluster, list: &str, container: &str, resources: Value) -> Result<()> {
    let patch = json!({"spec": {list: [{"name": container, "resources": resources}]}}).to_string();
    cluster.kubectl(&["patch", "pod", "r", "--subresource", "resize", "-p", &patch])?;
    Ok(())
}

fn pod(cluster: &Cluster) -> Result<Value> {
    Ok(serde_json::from_str(&cluster.kubectl(&["get", "pod", "r", "-o", "json"])?)?)
}

/// The status of a container.
fn shown(cluster: &Cluster, container: &str) -> Result<Value> {
    let pod = pod(cluster)?;
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut all = lists.iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    Ok(all.find(|status| status["name"] == container).context("no such container")?.clone())
}

fn id(cluster: &Cluster, container: &str) -> Result<String> {
    let status = shown(cluster, container)?;
    Ok(status["containerID"]
        .as_str()
        .and_then(|id| id.rsplit('/').next())
        .context("it has not run")?
        .to_owned())
}

/// Waits until the container has these limits, runs, and no condition speaks of a resize.
fn resized(cluster: &Cluster, container: &str, cpu: &str, memory: &str) -> Result<()> {
    eventually(&format!("{container} resized to {cpu} and {memory}"), SOON, || {
        let status = shown(cluster, container)?;
        let has = status["resources"]["limits"] == json!({"cpu": cpu, "memory": memory});
        let settled = resizing(cluster)?.is_empty() && status["state"]["running"].is_object();
        Ok((has && settled).then_some(()))
    })
}

fn resizing(cluster: &Cluster) -> Result<Vec<Value>> {
    let mut conditions = pod(cluster)?["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions
        .retain(|condition| condition["type"].as_str().is_some_and(|kind| kind.starts_with("PodResize")));
    Ok(conditions)
}

fn condition(cluster: &Cluster, kind: &str, reason: &str, message: &str) -> Result<()> {
    let found = eventually(&format!("{kind} {reason}"), SOON, || {
        let conditions = resizing(cluster)?;
        Ok(conditions.into_iter().find(|one| one["type"] == kind && one["reason"] == reason))
    })?;
    let generation = &pod(cluster)?["metadata"]["generation"];
    ensure!(
        found["status"] == "True" && found["observedGeneration"] == *generation,
        "{found:#} {generation}"
    );
    ensure!(found["message"].as_str().is_some_and(|text| text.contains(message)), "{found:#}");
    Ok(())
}

fn told(cluster: &Cluster, reason: &str, message: &str) -> Result<()> {
    let selector = format!("reason={reason},involvedObject.name=r");
    eventually(&format!("{reason} {message}"), SOON, || {
        let told = cluster.kubectl(&[
            "get",
            "events",
            "--field-selector",
            &selector,
            "-o",
            "jsonpath={.items[*].message}",
        ])?;
        Ok(told.contains(message).then_some(()))
    })
}

/// What the kernel holds a container to: microseconds in 100 ms, and bytes.
fn limits(cluster: &Cluster, container: &str, quota: u64, memory: u64) -> Result<()> {
    let groups = groups(&id(cluster, container)?)?;
    same(&groups, "", quota, memory).with_context(|| container.to_owned())
}

/// What the kernel holds the pod to, where the runtime sets limits for pods as such.
fn whole(cluster: &Cluster, runtime: &str, quota: u64, memory: u64) -> Result<()> {
    match runtime {
        "docker" => Ok(()),
        _ => same(&groups(&id(cluster, "main")?)?, "/..", quota, memory).context("the pod"),
    }
}

fn same(groups: &str, above: &str, quota: u64, memory: u64) -> Result<()> {
    let read = |controller: &str, v1: &str, v2: &str| -> Result<String> {
        let own = |line: &&str| {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|n| n == controller))
        };
        let path = match groups.lines().find(own) {
            Some(line) => {
                format!("/sys/fs/cgroup/{controller}{}{above}/{v1}", line.splitn(3, ':').nth(2).unwrap())
            }
            None => {
                let own = groups.lines().find_map(|line| line.strip_prefix("0::")).context("no cgroup")?;
                format!("/sys/fs/cgroup{own}{above}/{v2}")
            }
        };
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
    };
    let found =
        (read("cpu", "cpu.cfs_quota_us", "cpu.max")?, read("memory", "memory.limit_in_bytes", "memory.max")?);
    ensure!(found == (quota.to_string(), memory.to_string()), "{found:?}, not {quota} and {memory}");
    Ok(())
}

/// The cgroups of a container's process.
fn groups(id: &str) -> Result<String> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.lines().any(|line| line.ends_with(id)) {
            return Ok(groups);
        }
    }
    bail!("no process of container {id}")
}
