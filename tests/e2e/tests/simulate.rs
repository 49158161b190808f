//! Simulated nodes, as kubectl and the command line see them: they join, run pods, fail by the zone, outlive the daemon.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sampan_test_e2e::{apply, eventually, field};
use sampan_testkit::Cluster;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
/// The grace period of nodes, the monitor's period, and room.
const LOST: Duration = Duration::from_secs(120);
const TOLERATION: &str = "{key: kwok.x-k8s.io/node, operator: Exists}";

fn pod(name: &str, annotations: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, annotations: {{{annotations}}}}}, spec: {{
          {rest} nodeSelector: {{type: kwok}}, tolerations: [{TOLERATION}], containers: [{{name: main, image: app}}]}}}}"
    )
}

fn json(text: &str) -> Result<Value> {
    text.lines().last().context("a line").and_then(|line| Ok(serde_json::from_str(line)?))
}

fn simulate(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    json(&cluster.sampan(&[&["simulate", "-o", "json"], arguments].concat())?)
}

fn until(cluster: &Cluster, object: &str, path: &str, wanted: &str, limit: Duration) -> Result<()> {
    eventually(&format!("{object} {path} {wanted}"), limit, || {
        Ok((field(cluster, object, path)? == wanted).then_some(()))
    })
}

/// Nodes of running pods of a Deployment, by pod.
fn placed(cluster: &Cluster, app: &str) -> Result<BTreeMap<String, String>> {
    let path =
        "jsonpath={range .items[?(@.status.phase==\"Running\")]}{.metadata.name}={.spec.nodeName} {end}";
    let text = cluster.kubectl(&["get", "pods", "-l", &format!("app={app}"), "-o", path])?;
    Ok(text
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .map(|(a, b)| (a.into(), b.into()))
        .collect())
}

#[test]
fn simulated_nodes() -> Result<()> {
    let cluster = Cluster::start()?;
    join(&cluster)?;
    spread(&cluster)?;
    lives(&cluster)?;
    restarted(&cluster)?;
    made_by_hand(&cluster)?;
    zone_lost(&cluster)?;
    refusals(&cluster)?;
    removed(&cluster)
}

fn join(cluster: &Cluster) -> Result<()> {
    let status = simulate(cluster, &["--nodes", "9", "--zones", "3", "--pods-per-node", "20"])?;
    ensure!(status["nodes"] == 9 && status["ready"] == 9, "{status}");
    let zones: Vec<&str> =
        status["zones"].as_array().unwrap().iter().filter_map(|zone| zone["name"].as_str()).collect();
    ensure!(zones == ["zone-1", "zone-2", "zone-3"], "{zones:?}");
    let node = cluster.kubectl(&["get", "node", "simulated-4", "-o", "json"])?;
    let node: Value = serde_json::from_str(&node)?;
    ensure!(node["metadata"]["annotations"]["kwok.x-k8s.io/node"] == "fake", "{node}");
    ensure!(
        node["spec"]["taints"][0]["key"] == "kwok.x-k8s.io/node" && node["spec"]["taints"][1].is_null(),
        "{node}"
    );
    ensure!(node["status"]["capacity"]["pods"] == "20" && node["status"]["allocatable"]["cpu"] == "32");
    let lease = ["get", "lease", "-n", "kube-node-lease", "simulated-4", "-o", "jsonpath={.spec.renewTime}"];
    let first = cluster.kubectl(&lease)?;
    eventually("a lease that is renewed", SOON, || Ok((cluster.kubectl(&lease)? != first).then_some(())))?;
    // what is there already is left alone, and fewer are fewer
    ensure!(simulate(cluster, &["--nodes", "7", "--zones", "3"])?["nodes"] == 7);
    ensure!(field(cluster, "node/simulated-4", "{.status.capacity.pods}")? == "110");
    ensure!(simulate(cluster, &["--nodes", "9", "--zones", "3"])?["ready"] == 9);
    let shown = cluster.sampan(&["simulate"])?;
    ensure!(
        shown.contains("zone-3") && shown.lines().last().is_some_and(|line| line.starts_with("TOTAL")),
        "{shown}"
    );
    Ok(())
}

fn spread(cluster: &Cluster) -> Result<()> {
    apply(
        cluster,
        &format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: 30,
              selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, spec: {{
              topologySpreadConstraints: [{{maxSkew: 1, topologyKey: topology.kubernetes.io/zone,
                whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}}}],
              nodeSelector: {{type: kwok}}, containers: [{{name: main, image: nginx}}], tolerations: [{TOLERATION},
                {{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}}]}}}}}}}}"
        ),
    )?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let status = simulate(cluster, &[])?;
    let pods: Vec<&Value> = status["zones"].as_array().unwrap().iter().map(|zone| &zone["pods"]).collect();
    ensure!(pods == [10, 10, 10] && status["running"] == 30, "{status}");
    let ips =
        cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"])?;
    ensure!(ips.split_whitespace().collect::<BTreeSet<_>>().len() == 30, "{ips}");
    Ok(())
}

fn lives(cluster: &Cluster) -> Result<()> {
    apply(
        cluster,
        &format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: many}}, spec: {{completions: 20, parallelism: 10,
              template: {{spec: {{restartPolicy: Never, nodeSelector: {{type: kwok}}, tolerations: [{TOLERATION}],
              containers: [{{name: main, image: work}}]}}}}}}}}"
        ),
    )?;
    cluster.kubectl(&["wait", "--for=condition=Complete", "--timeout=60s", "job/many"])?;
    let fails = "sampan.dev/simulate-run-seconds: \"1\", sampan.dev/simulate-exit-code: \"3\"";
    apply(cluster, &pod("fails", fails, "restartPolicy: Never,"))?;
    until(cluster, "pod/fails", "{.status.phase}", "Failed", SOON)?;
    let exit = "{.status.containerStatuses[0].state.terminated.exitCode}";
    ensure!(field(cluster, "pod/fails", exit)? == "3");
    // told while it runs
    apply(cluster, &pod("crashes", "", ""))?;
    until(cluster, "pod/crashes", "{.status.phase}", "Running", SOON)?;
    cluster.kubectl(&["annotate", "pod/crashes", "sampan.dev/simulate-exit-code=1"])?;
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    until(cluster, "pod/crashes", waiting, "CrashLoopBackOff", SOON)?;
    let said = cluster.kubectl_command().args(["logs", "crashes"]).output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.contains("is simulated: its pods have no containers"), "{said}");
    cluster.kubectl(&["delete", "pod/crashes", "pod/fails", "job/many", "--timeout=20s"])?;
    Ok(())
}

fn restarted(cluster: &Cluster) -> Result<()> {
    let before =
        cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.uid}"])?;
    cluster.sampan(&["stop"])?;
    cluster.up()?;
    ensure!(simulate(cluster, &[])?["ready"] == 9);
    let after =
        cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.uid}"])?;
    ensure!(before == after, "pods were made anew");
    cluster.kubectl(&["scale", "deployment/web", "--replicas=33"])?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let ips =
        cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"])?;
    ensure!(ips.split_whitespace().collect::<BTreeSet<_>>().len() == 33, "{ips}");
    Ok(())
}

/// The manifest of KWOK's documentation.
fn made_by_hand(cluster: &Cluster) -> Result<()> {
    let amounts = "{cpu: 32, memory: 256Gi, pods: 110}";
    apply(
        cluster,
        &format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: kwok-node-0, annotations: {{kwok.x-k8s.io/node: fake,
              node.alpha.kubernetes.io/ttl: \"0\"}}, labels: {{type: kwok, kubernetes.io/hostname: kwok-node-0}}}},
              status: {{allocatable: {amounts}, capacity: {amounts}, nodeInfo: {{kubeletVersion: fake}}}}}}"
        ),
    )?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=30s", "node/kwok-node-0"])?;
    apply(cluster, &pod("there", "", "nodeName: kwok-node-0,"))?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=30s", "pod/there"])?;
    cluster.kubectl(&["delete", "pod/there", "--timeout=20s"])?;
    cluster.kubectl(&["delete", "node/kwok-node-0", "--timeout=20s"])?;
    Ok(())
}

/// One zone of three is lost: its nodes are Unknown, and emptied one in ten seconds; then it returns.
fn zone_lost(cluster: &Cluster) -> Result<()> {
    simulate(cluster, &["--fail-zone", "zone-2"])?;
    let lost = ["simulated-1", "simulated-4", "simulated-7"];
    let reason = "{.status.conditions[?(@.type==\"Ready\")].reason}";
    for node in lost {
        until(cluster, &format!("node/{node}"), reason, "NodeStatusUnknown", LOST)?;
    }
    let status = simulate(cluster, &[])?;
    ensure!(status["ready"] == 6 && status["zones"][1]["failed"] == 3, "{status}");
    let since = || -> Result<Vec<jiff::Timestamp>> {
        let path = "jsonpath={.items[*].spec.taints[?(@.effect==\"NoExecute\")].timeAdded}";
        let text = cluster.kubectl(&["get", "nodes", "-l", "type=kwok", "-o", path])?;
        let mut times =
            text.split_whitespace().map(str::parse).collect::<Result<Vec<jiff::Timestamp>, _>>()?;
        times.sort();
        Ok(times)
    };
    let emptied = || -> Result<usize> { Ok(since()?.len()) };
    eventually("all nodes of the zone emptied", LOST, || Ok((emptied()? == 3).then_some(())))?;
    // ten seconds from one to the next; the API keeps whole ones
    let times = since()?;
    let apart = |pair: &[jiff::Timestamp]| pair[1].duration_since(pair[0]).as_secs() >= 9;
    ensure!(times.windows(2).all(apart), "{times:?}");
    let gone = || -> Result<bool> {
        let path = "jsonpath={range .items[*]}{.spec.nodeName}={.metadata.deletionTimestamp} {end}";
        let text = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", path])?;
        let on_lost = |word: &&str| lost.iter().any(|node| word.starts_with(&format!("{node}=")));
        Ok(text.split_whitespace().filter(on_lost).all(|word| !word.ends_with('=')))
    };
    eventually("pods told to leave", LOST, || Ok(gone()?.then_some(())))?;
    // a kubelet that is cut off does not know that its pods are to go
    simulate(cluster, &["--recover-zone", "zone-2"])?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "node", "-l", "type=kwok"])?;
    eventually("no taints left", SOON, || Ok((emptied()? == 0).then_some(())))?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    eventually("33 pods that run", SOON, || Ok((placed(cluster, "web")?.len() == 33).then_some(())))?;
    Ok(())
}

fn refusals(cluster: &Cluster) -> Result<()> {
    let profile = cluster.directory().join("profile.yaml");
    std::fs::write(&profile, "pods: {runSecond: 5}\n")?;
    let file = format!("--profile-file={}", profile.display());
    for (arguments, code, words) in [
        (vec!["--nodes", "3", "--zones", "4"], 14, "zones: 4 zones need as many nodes"),
        (vec!["--nodes", "0"], 14, "--nodes"),
        (vec!["--zones", "3"], 14, "--nodes"),
        (vec!["--fail-zone", "nowhere"], 15, "there are: zone-1, zone-2, zone-3"),
        (vec!["--nodes", "3", &file], 14, "unknown field `runSecond`"),
        (vec!["--nodes", "3", "--profile-file=/no/such/file"], 15, "/no/such/file"),
        (vec!["--delete", "--nodes", "3"], 14, "--delete"),
    ] {
        let output = cluster.command().arg("simulate").args(&arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && said.contains(words), "{arguments:?}: {said}");
    }
    Ok(())
}

fn removed(cluster: &Cluster) -> Result<()> {
    let status = simulate(cluster, &["--delete"])?;
    ensure!(status["nodes"] == 0 && status["zones"].as_array().is_some_and(Vec::is_empty), "{status}");
    ensure!(cluster.kubectl(&["get", "nodes", "-l", "type=kwok", "-o", "name"])?.is_empty());
    eventually("pods that wait for nodes", SOON, || Ok(placed(cluster, "web")?.is_empty().then_some(())))?;
    let left = ["get", "leases", "-n", "kube-node-lease", "-o", "name"];
    eventually("leases gone with their nodes", SOON, || {
        Ok((!cluster.kubectl(&left)?.contains("simulated-")).then_some(()))
    })
}
