//! A sample as upstream's `stats/v1alpha1.Summary`. Pure.
//!
//! Times carry fractions of seconds, which upstream's clients read and from which a rate between two answers is exact.
//! What is not measured is left out, as that API allows: the size of containers' own files and of volumes.

use jiff::Timestamp;
use sampan_cri::ContainerStats;
use serde_json::{Map, Value, json};

use super::machine::{Disk, Interface, Load};
use super::{ContainerSample, PodSample, Sample};

/// The summary.
pub fn summary(sample: &Sample) -> Value {
    json!({"node": node(sample), "pods": sample.pods.iter().map(pod).collect::<Vec<Value>>()})
}

fn node(sample: &Sample) -> Value {
    let machine = &sample.machine;
    let at = machine.at;
    let boot = Timestamp::from_second(machine.boot_seconds).unwrap_or_default();
    let mut memory = load_memory(at, &machine.load);
    memory["availableBytes"] = json!(machine.memory_bytes.saturating_sub(machine.load.working_set_bytes));
    let own = json!({
        "name": "kubelet", "startTime": boot, "cpu": cpu(at, sample.nano_cores[1], machine.own.cpu_nanos),
        "memory": load_memory(at, &machine.own)});
    let mut node = json!({
        "nodeName": sample.node_name,
        "systemContainers": [own],
        "startTime": boot,
        "cpu": cpu(at, sample.nano_cores[0], machine.load.cpu_nanos),
        "memory": memory,
        "network": network(at, &machine.interfaces, machine.default_interface.as_deref()),
        "swap": {"time": at, "swapAvailableBytes": machine.swap[1],
                 "swapUsageBytes": machine.swap[0].saturating_sub(machine.swap[1])},
        "rlimit": {"time": at, "maxpid": machine.threads[1], "curproc": machine.threads[0]},
    });
    if let Some(disk) = &sample.disks[0] {
        node["fs"] = filesystem(at, disk, disk.used);
    }
    if let Some(disk) = &sample.disks[1] {
        node["runtime"] = json!({"imageFs": filesystem(at, disk, sample.image_bytes)});
    }
    node
}

fn pod(pod: &PodSample) -> Value {
    let at = pod.read_at();
    let nano_cores: Option<u64> = pod.containers.iter().map(|container| container.nano_cores).sum();
    let logs = pod.sum(|container| container.log_bytes);
    let mut value = json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "containers": pod.containers.iter().map(container).collect::<Vec<Value>>(),
        "cpu": cpu(at, nano_cores, pod.sum(|container| container.stats.cpu_nanos)),
        "memory": {
            "time": at,
            "usageBytes": pod.sum(|container| container.stats.memory_bytes),
            "workingSetBytes": pod.sum(|container| container.stats.working_set_bytes),
            "rssBytes": pod.sum(|container| container.stats.rss_bytes),
            "pageFaults": pod.sum(|container| container.stats.page_faults),
            "majorPageFaults": pod.sum(|container| container.stats.major_page_faults),
        },
        "ephemeral-storage": {"time": at, "usedBytes": logs},
        "process_stats": {"process_count": pod.sum(|container| container.stats.pids)},
        "swap": {"time": at, "swapUsageBytes": pod.sum(|container| container.stats.swap_bytes)},
    });
    if let Some(started_at) = pod.started_at {
        value["startTime"] = json!(started_at);
    }
    if !pod.network.is_empty() {
        value["network"] = network(at, &pod.network, Some("eth0"));
    }
    value
}

fn container(container: &ContainerSample) -> Value {
    let stats = &container.stats;
    json!({
        "name": container.name,
        "startTime": container.started_at,
        "cpu": cpu(stats.at, container.nano_cores, stats.cpu_nanos),
        "memory": container_memory(stats),
        "logs": {"time": stats.at, "usedBytes": container.log_bytes},
        "swap": {"time": stats.at, "swapUsageBytes": stats.swap_bytes},
    })
}

fn cpu(at: Timestamp, nano_cores: Option<u64>, nanos: u64) -> Value {
    let mut cpu = json!({"time": at, "usageCoreNanoSeconds": nanos});
    if let Some(nano_cores) = nano_cores {
        cpu["usageNanoCores"] = json!(nano_cores);
    }
    cpu
}

fn container_memory(stats: &ContainerStats) -> Value {
    let mut memory = json!({
        "time": stats.at,
        "usageBytes": stats.memory_bytes,
        "workingSetBytes": stats.working_set_bytes,
        "rssBytes": stats.rss_bytes,
        "pageFaults": stats.page_faults,
        "majorPageFaults": stats.major_page_faults,
    });
    if let Some(limit) = stats.memory_limit_bytes {
        memory["availableBytes"] = json!(limit.saturating_sub(stats.working_set_bytes));
    }
    memory
}

fn load_memory(at: Timestamp, load: &Load) -> Value {
    json!({
        "time": at,
        "usageBytes": load.memory_bytes,
        "workingSetBytes": load.working_set_bytes,
        "rssBytes": load.rss_bytes,
        "pageFaults": load.page_faults[0],
        "majorPageFaults": load.page_faults[1],
    })
}

/// All interfaces, and the main one's counters beside them.
fn network(at: Timestamp, interfaces: &[Interface], main: Option<&str>) -> Value {
    let main = interfaces.iter().find(|one| Some(one.name.as_str()) == main).or(interfaces.first());
    let mut network = main.map(counters).unwrap_or_default();
    network.insert("time".into(), json!(at));
    network.insert("interfaces".into(), interfaces.iter().map(counters).map(Value::Object).collect());
    Value::Object(network)
}

fn counters(interface: &Interface) -> Map<String, Value> {
    let (received, sent) = (interface.received, interface.sent);
    [
        ("name", json!(interface.name)),
        ("rxBytes", json!(received[0])),
        ("rxErrors", json!(received[2])),
        ("txBytes", json!(sent[0])),
        ("txErrors", json!(sent[2])),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

fn filesystem(at: Timestamp, disk: &Disk, used: u64) -> Value {
    json!({
        "time": at,
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": disk.inodes.saturating_sub(disk.inodes_free),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::sample;
    use super::*;

    #[test]
    fn the_summary_has_upstreams_fields() {
        let summary = summary(&sample());
        let node = &summary["node"];
        let at = "1970-01-01T00:01:40Z";
        assert_eq!(
            node["cpu"],
            json!({"time": at, "usageCoreNanoSeconds": 9_000_000_000_u64, "usageNanoCores": 123})
        );
        assert_eq!(
            (&node["memory"]["availableBytes"], &node["startTime"]),
            (&json!(600), &json!("1970-01-01T00:00:10Z"))
        );
        assert_eq!(node["fs"]["usedBytes"], 50);
        assert_eq!(node["runtime"]["imageFs"]["usedBytes"], 30);
        assert_eq!((&node["network"]["name"], &node["network"]["txBytes"]), (&json!("eth0"), &json!(5)));
        let pod = &summary["pods"][0];
        assert_eq!(pod["podRef"], json!({"name": "web", "namespace": "default", "uid": "u1"}));
        assert_eq!(
            (&pod["cpu"]["usageNanoCores"], &pod["startTime"]),
            (&json!(250_000_000), &json!("1970-01-01T00:00:30Z"))
        );
        let container = &pod["containers"][0];
        assert_eq!(
            container["memory"],
            json!({"time": at, "usageBytes": 4096, "workingSetBytes": 2048, "rssBytes": 1024, "pageFaults": 7,
                   "majorPageFaults": 0, "availableBytes": 6144})
        );
        assert_eq!(container["logs"]["usedBytes"], 99);
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let mut sample = sample();
        sample.pods[0].containers[0].nano_cores = None;
        sample.pods[0].network.clear();
        sample.disks = [None, None];
        let summary = summary(&sample);
        assert!(summary["pods"][0]["cpu"].get("usageNanoCores").is_none());
        assert!(summary["pods"][0].get("network").is_none() && summary["node"].get("fs").is_none());
    }
}
