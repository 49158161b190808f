//! Pods that somebody puts on the node past the scheduler: what does not fit or does not match is refused, in upstream's words.

use anyhow::{Result, ensure};
use sampan_test_e2e::{apply, eventually, field, ready};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

use super::{LIMIT, World};

pub(super) fn refused_on_the_node(world: &World) -> Result<()> {
    let cluster = world.cluster;
    let node = field(cluster, "nodes", "{.items[0].metadata.name}")?;
    let bound = |name: &str, spec: Value| {
        let container = json!({"name": "c", "image": "busybox", "command": ["sleep", "1000"]});
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}});
        if let (Some(pod), Some(spec)) = (pod["spec"].as_object_mut(), spec.as_object()) {
            pod.extend(spec.clone());
        }
        apply(cluster, &pod.to_string())
    };
    let needs = |resources: Value| json!({"containers": [{"name": "c", "image": "busybox", "resources": {"requests": resources}}]});
    bound("wide", needs(json!({"cpu": "5000"})))?;
    fails(cluster, "wide", "OutOfcpu", "Node didn't have enough resource: cpu, requested: 5000000, used: ")?;
    bound("deep", needs(json!({"memory": "4Pi"})))?;
    let why = "Node didn't have enough resource: memory, requested: 4503599627370496, used: ";
    fails(cluster, "deep", "OutOfmemory", why)?;
    let wants = json!({"nodeSelector": {"disk": "ssd"}});
    bound("picky", wants.clone())?;
    let why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    fails(cluster, "picky", "NodeAffinity", why)?;
    // a label counts at once, for those who come after it
    cluster.kubectl(&["label", "node", &node, "disk=ssd"])?;
    bound("content", wants)?;
    ready(cluster, "content")?;
    cluster.kubectl(&["label", "node", &node, "disk-"])?;
    cluster.kubectl(&["delete", "pod", "wide", "deep", "picky", "content"])?;
    Ok(())
}

/// Waits until the pod has been refused for that reason, and says so.
fn fails(cluster: &Cluster, name: &str, reason: &str, message: &str) -> Result<()> {
    let status: Value = eventually(&format!("{name} is refused"), LIMIT, || {
        let pod: Value = serde_json::from_str(&cluster.kubectl(&["get", "pod", name, "-o", "json"])?)?;
        Ok((pod["status"]["phase"] == "Failed").then(|| pod["status"].clone()))
    })?;
    let why = status["message"].as_str().unwrap_or_default();
    ensure!(
        status["reason"] == reason && why.starts_with(&format!("Pod was rejected: {message}")),
        "{status:#}"
    );
    let selector = format!("reason={reason},involvedObject.name={name},type=Warning");
    eventually(&format!("{reason} is told"), LIMIT, || {
        let path = "jsonpath={.items[*].message}";
        let told = cluster.kubectl(&["get", "events", "--field-selector", &selector, "-o", path])?;
        Ok(told.starts_with(message).then_some(()))
    })
}
