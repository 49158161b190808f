//! Pods that the node ends: for what they take of its disk, and for a critical pod. What collectors of logs see.

use super::*;

pub(super) fn limits_of_the_disk(cluster: &World) -> Result<()> {
    let fill = |path: &str| sh(&format!("head -c 3000000 /dev/zero > {path}; {FOREVER}"));
    let limit = |size: &str| json!({"resources": {"limits": {"ephemeral-storage": size}}});
    let mounts = json!({"volumeMounts": [{"name": "d", "mountPath": "/d"}]});
    let empty = |source: Value| json!([{"name": "d", "emptyDir": source}]);
    apply(
        cluster,
        &[
            pod(
                "full-volume",
                json!({"containers": [with(fill("/d/f"), mounts.clone())], "volumes": empty(json!({"sizeLimit": "1024Ki"}))}),
            ),
            pod(
                "full-pod",
                json!({"containers": [with(with(fill("/d/f"), mounts.clone()), limit("1Mi")), with(sh(FOREVER), limit("1Mi"))],
                    "volumes": empty(json!({}))}),
            ),
            pod(
                "full-container",
                json!({"containers": [with(fill("/f"), limit("1Mi")), with(sh(FOREVER), limit("100Mi"))]}),
            ),
            pod("not-full", json!({"containers": [with(fill("/f"), limit("100Mi"))]})),
        ],
    )?;
    for (name, why) in [
        ("full-volume", "Usage of EmptyDir volume \"d\" exceeds the limit \"1Mi\". "),
        ("full-pod", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
        ("full-container", "Container c0 exceeded its local ephemeral storage limit \"1Mi\". "),
    ] {
        let status = phase(cluster, name, "Failed")?;
        ensure!(status["reason"] == "Evicted" && status["message"] == why, "{status:#}");
        event(cluster, name, "Evicted", why)?;
    }
    ensure!(get(cluster, "not-full")?["status"]["phase"] == "Running");
    Ok(())
}

/// What is scarce only these two want: no other pod is in the way.
pub(super) fn critical_pods(cluster: &World) -> Result<()> {
    let node = field(cluster, "nodes", "{.items[0].metadata.name}")?;
    let one =
        r#"{"status": {"capacity": {"example.com/one": "1"}, "allocatable": {"example.com/one": "1"}}}"#;
    cluster.kubectl(&["patch", "node", &node, "--subresource=status", "-p", one])?;
    let wants = json!({"resources": {"limits": {"example.com/one": "1"}}});
    let bound = |name: &str, class: Value| {
        pod(
            name,
            json!({"containers": [with(sh(FOREVER), wants.clone())], "nodeName": node, "priorityClassName": class}),
        )
    };
    apply(cluster, &[bound("in-the-way", Value::Null)])?;
    phase(cluster, "in-the-way", "Running")?;
    apply(cluster, &[bound("critical", json!("system-node-critical"))])?;
    let status = phase(cluster, "in-the-way", "Failed")?;
    let why = "Preempted in order to admit critical pod";
    ensure!(status["reason"] == "Preempting" && status["message"] == why, "{status:#}");
    let conditions = status["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget").unwrap();
    ensure!(target["reason"] == "TerminationByKubelet", "{status:#}");
    event(cluster, "in-the-way", "Preempting", why)?;
    phase(cluster, "critical", "Running")?;
    // who is as important finds no room
    apply(cluster, &[bound("critical-too", json!("system-node-critical"))])?;
    let status = phase(cluster, "critical-too", "Failed")?;
    ensure!(status["reason"] == "UnexpectedAdmissionError", "{status:#}");
    Ok(())
}

pub(super) fn collected_logs(cluster: &World) -> Result<()> {
    let at = |path: &str, read_only: bool| json!({"name": "log", "mountPath": path, "readOnly": read_only});
    let volume = |path: &str| json!([{"name": "log", "hostPath": {"path": path}}]);
    let collects = |name: &str, host: &str, path: &str| {
        let container = with(sh(FOREVER), json!({"volumeMounts": [at(path, true)]}));
        pod(name, json!({"containers": [container], "volumes": volume(host)}))
    };
    apply(
        cluster,
        &[
            pod("talks", json!({"containers": [sh("echo said")], "restartPolicy": "Never"})),
            collects("collects", "/var/log", "/var/log"),
            collects("collects-pods", "/var/log/pods", "/logs"),
        ],
    )?;
    phase(cluster, "talks", "Succeeded")?;
    phase(cluster, "collects", "Running")?;
    phase(cluster, "collects-pods", "Running")?;
    let uid = text(&get(cluster, "talks")?["metadata"]["uid"]);
    for (pod, path) in [
        ("collects", format!("/var/log/pods/default_talks_{uid}/c0/0.log")),
        ("collects", "/var/log/containers/talks_default_c0-*.log".to_owned()),
        ("collects-pods", format!("/logs/default_talks_{uid}/c0/0.log")),
    ] {
        let line = exec(cluster, pod, &format!("cat {path}"))?;
        ensure!(line.ends_with(" stdout F said\n"), "{pod} {path}: {line}");
    }
    Ok(())
}
