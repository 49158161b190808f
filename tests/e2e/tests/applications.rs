//! Applications as a user brings them, on real containers, seen with kubectl as a user looks at them: `get -w`,
//! `rollout`, `describe`, `drain`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Result, ensure};
use sampan_test_e2e::{Follower, apply, cluster, eventually, field, ready, registry, squeezed};
use sampan_testkit::Cluster;

const SOON: Duration = Duration::from_secs(30);
/// The next minute, and the Job that comes with it.
const MINUTE: Duration = Duration::from_secs(90);
/// Metrics of a few rounds, and passes of the autoscaler.
const ROUNDS: Duration = Duration::from_secs(150);

fn until(cluster: &Cluster, object: &str, path: &str, wanted: &str, limit: Duration) -> Result<()> {
    let mut last = String::new();
    eventually(&format!("{object} {path} {wanted}"), limit, || {
        last = field(cluster, object, path)?;
        Ok((last == wanted).then_some(()))
    })
    .map_err(|error| anyhow::anyhow!("{error}: it is {last:?}"))
}

fn rolled_out(cluster: &Cluster, object: &str) -> Result<String> {
    cluster.kubectl(&["rollout", "status", object, "--timeout=60s"])
}

/// What kubectl says when it fails.
fn refused(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = cluster.kubectl_command().args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "kubectl {arguments:?} succeeded: {said}");
    Ok(said)
}

#[test]
fn applications() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    // the minute passes meanwhile
    apply(&cluster, include_str!("applications/work.yaml"))?;
    database(&cluster)?;
    logs(&cluster)?;
    work(&cluster)?;
    guarded(&cluster)?;
    preempted(&cluster)?;
    load(&cluster)
}

/// A StatefulSet of three with claims and a headless Service.
fn database(cluster: &Cluster) -> Result<()> {
    let seen = Follower::start(cluster, &["get", "pods", "-l", "app=db", "-w", "--no-headers"])?;
    apply(cluster, include_str!("applications/database.yaml"))?;
    let status = rolled_out(cluster, "statefulset/db")?;
    ensure!(
        status.contains("partitioned roll out complete: 3 new pods have been updated")
            || status.contains("statefulset rolling update complete 3 pods at revision db-"),
        "{status}"
    );
    // one after the other: a member begins when the one before it is ready
    let said = squeezed(&seen.until("db-2 1/1 Running", || Ok(()))?);
    let place = |words: &str| said.find(words).unwrap_or(usize::MAX);
    ensure!(place("db-0 1/1") < place("db-1 ") && place("db-1 1/1") < place("db-2 "), "{said}");
    let claims = cluster.kubectl(&["get", "pvc", "-o", "jsonpath={.items[*].metadata.name}"])?;
    ensure!(claims == "data-db-0 data-db-1 data-db-2", "{claims}");
    let ask = |member: &str| {
        let address = format!("http://{member}.db.default.svc.cluster.local:8080/");
        cluster.kubectl(&["exec", "db-0", "--", "wget", "-q", "-O", "-", &address])
    };
    for member in ["db-0", "db-1", "db-2"] {
        ensure!(ask(member)? == format!("{member} one\n"));
    }
    // the name and the data come back
    let uid = field(cluster, "pod/db-1", "{.metadata.uid}")?;
    cluster.kubectl(&["delete", "pod", "db-1"])?;
    eventually("another db-1", SOON, || {
        let path = "jsonpath={.metadata.uid}";
        let output = cluster.kubectl_command().args(["get", "pod", "db-1", "-o", path]).output()?;
        let now = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((!now.is_empty() && now != uid).then_some(()))
    })?;
    ready(cluster, "db-1")?;
    ensure!(ask("db-1")? == "db-1 one\ndb-1 one\n");

    cluster.kubectl(&["set", "env", "statefulset/db", "VERSION=two"])?;
    rolled_out(cluster, "statefulset/db")?;
    ensure!(ask("db-2")?.ends_with("db-2 two\n"));
    cluster.kubectl(&["rollout", "undo", "statefulset/db"])?;
    rolled_out(cluster, "statefulset/db")?;
    ensure!(ask("db-2")?.ends_with("db-2 one\n"));
    cluster.kubectl(&["rollout", "restart", "statefulset/db"])?;
    rolled_out(cluster, "statefulset/db")?;
    let restarted = r#"{.metadata.annotations.kubectl\.kubernetes\.io/restartedAt}"#;
    for member in ["pod/db-0", "pod/db-1", "pod/db-2"] {
        ensure!(!field(cluster, member, restarted)?.is_empty(), "{member}");
    }
    for verb in ["pause", "resume"] {
        let said = refused(cluster, &["rollout", verb, "statefulset/db"])?;
        ensure!(said.contains(r#"statefulsets.apps "db""#) && said.contains("is not supported"), "{said}");
    }

    let said = squeezed(&cluster.kubectl(&["describe", "statefulset", "db"])?);
    for words in [
        "Replicas: 3 desired | 3 total",
        "Pods Status: 3 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "Create Claim data-db-2 Pod db-2 in StatefulSet db success",
        "Create Pod db-0 in StatefulSet db successful",
    ] {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    // fewer members keep their claims, so that more have their data again
    cluster.kubectl(&["scale", "statefulset/db", "--replicas=2"])?;
    cluster.kubectl(&["wait", "--for=delete", "pod/db-2", "--timeout=30s"])?;
    ensure!(field(cluster, "pvc/data-db-2", "{.status.phase}")? == "Bound");
    cluster.kubectl(&["delete", "statefulset/db", "service/db"])?;
    cluster.kubectl(&["delete", "pvc", "--all"])?;
    Ok(())
}

/// A DaemonSet that reads the logs of its node.
fn logs(cluster: &Cluster) -> Result<()> {
    let place = cluster.data_directory().join("pods-logs");
    let manifest = include_str!("applications/logs.yaml").replace("LOGS", &place.to_string_lossy());
    apply(cluster, &manifest)?;
    let status = rolled_out(cluster, "daemonset/log-agent")?;
    ensure!(status.contains(r#"daemon set "log-agent" successfully rolled out"#), "{status}");
    ready(cluster, "speaker")?;
    let agent = Follower::start(cluster, &["logs", "-f", "daemonset/log-agent"])?;
    agent.until("stdout F what the speaker says", || Ok(()))?;
    drop(agent);
    cluster.kubectl(&["set", "env", "daemonset/log-agent", "VERSION=two"])?;
    rolled_out(cluster, "daemonset/log-agent")?;
    cluster.kubectl(&["rollout", "undo", "daemonset/log-agent"])?;
    rolled_out(cluster, "daemonset/log-agent")?;
    let version = r#"{.spec.template.spec.containers[0].env[0].value}"#;
    ensure!(field(cluster, "daemonset/log-agent", version)? == "one");
    cluster.kubectl(&["rollout", "restart", "daemonset/log-agent"])?;
    rolled_out(cluster, "daemonset/log-agent")?;
    for verb in ["pause", "resume"] {
        let said = refused(cluster, &["rollout", verb, "daemonset/log-agent"])?;
        ensure!(
            said.contains(r#"daemonsets.apps "log-agent""#) && said.contains("is not supported"),
            "{said}"
        );
    }
    let said = squeezed(&cluster.kubectl(&["describe", "daemonset", "log-agent"])?);
    for words in [
        "Desired Number of Nodes Scheduled: 1",
        "Number of Nodes Misscheduled: 0",
        "Pods Status: 1 Running / 0 Waiting / 0 Succeeded / 0 Failed",
        "Created pod: log-agent-",
        "Deleted pod: log-agent-",
    ] {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    cluster.kubectl(&["delete", "daemonset/log-agent", "pod/speaker"])?;
    Ok(())
}

/// An indexed Job, and a CronJob each minute of a time zone.
fn work(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["wait", "--for=condition=Complete", "job/parts", "--timeout=60s"])?;
    let said = squeezed(&cluster.kubectl(&["describe", "job", "parts"])?);
    for words in
        ["Completion Mode: Indexed", "Completed Indexes: 0-4", "0 Active (0 Ready) / 5 Succeeded / 0 Failed"]
    {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    let listed = squeezed(&cluster.kubectl(&["get", "job", "parts", "--no-headers"])?);
    ensure!(listed.contains("Complete 5/5"), "{listed}");
    let said = cluster.kubectl(&["logs", "-l", "batch.kubernetes.io/job-completion-index=3"])?;
    ensure!(said == "part 3 of parts-3\n", "{said}");

    let job = eventually("a Job of this minute", MINUTE, || {
        let path = "jsonpath={.items[?(@.metadata.ownerReferences[0].name==\"minutely\")].metadata.name}";
        let names = cluster.kubectl(&["get", "jobs", "-o", path])?;
        Ok(names.split(' ').find(|name| !name.is_empty()).map(str::to_owned))
    })?;
    cluster.kubectl(&["wait", "--for=condition=Complete", &format!("job/{job}"), "--timeout=30s"])?;
    let at = r#"{.metadata.annotations.batch\.kubernetes\.io/cronjob-scheduled-timestamp}"#;
    let at = field(cluster, &format!("job/{job}"), at)?;
    ensure!(at.ends_with(":00+08:00"), "{at}");
    let listed = squeezed(&cluster.kubectl(&["get", "cronjob", "minutely", "--no-headers"])?);
    ensure!(listed.starts_with("minutely * * * * * Asia/Shanghai False"), "{listed}");
    let said = squeezed(&cluster.kubectl(&["describe", "cronjob", "minutely"])?);
    for words in [&format!("Created job {job}"), &format!("Saw completed job: {job}, condition: Complete")] {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    cluster.kubectl(&["delete", "cronjob/minutely", "job/parts"])?;
    Ok(())
}

/// A drain that a budget holds back.
fn guarded(cluster: &Cluster) -> Result<()> {
    apply(cluster, include_str!("applications/guarded.yaml"))?;
    rolled_out(cluster, "deployment/guarded")?;
    until(cluster, "pdb/guarded", "{.status.disruptionsAllowed} {.status.currentHealthy}", "0 2", SOON)?;
    let node = field(cluster, "nodes", "{.items[0].metadata.name}")?;
    let drain = ["drain", &node, "--ignore-daemonsets", "--pod-selector=app=guarded", "--timeout=7s"];
    let said = refused(cluster, &drain)?;
    ensure!(said.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{said}");
    until(cluster, "deployment/guarded", "{.status.readyReplicas}", "2", SOON)?;
    let said = squeezed(&cluster.kubectl(&["describe", "pdb", "guarded"])?);
    for words in ["Min available: 2", "Allowed disruptions: 0", "Total: 2", "Desired: 2"] {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    cluster.kubectl(&["patch", "pdb", "guarded", "-p", r#"{"spec": {"minAvailable": 0}}"#])?;
    until(cluster, "pdb/guarded", "{.status.disruptionsAllowed}", "2", SOON)?;
    cluster.kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--pod-selector=app=guarded",
        "--timeout=30s",
    ])?;
    cluster.kubectl(&["uncordon", &node])?;
    rolled_out(cluster, "deployment/guarded")?;
    // all kinds of rollout of a Deployment; pausing and undoing is in `workloads`
    cluster.kubectl(&["rollout", "restart", "deployment/guarded"])?;
    rolled_out(cluster, "deployment/guarded")?;
    cluster.kubectl(&["delete", "deployment/guarded", "pdb/guarded"])?;
    Ok(())
}

/// A pod of high priority takes the place of one of low priority.
fn preempted(cluster: &Cluster) -> Result<()> {
    let allocatable = field(cluster, "nodes", "{.items[0].status.allocatable.cpu}")?;
    let milli: u64 = match allocatable.strip_suffix('m') {
        Some(milli) => milli.parse()?,
        None => allocatable.parse::<u64>()? * 1000,
    };
    // two of them are more than there is
    let cpu = format!("{}m", milli * 6 / 10);
    let pod = |name: &str, class: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{{class} terminationGracePeriodSeconds: 3,
              containers: [{{name: main, image: busybox, command: [sleep, \"100000\"], resources: {{requests: {{cpu: {cpu}}}}}}}]}}}}"
        )
    };
    apply(
        cluster,
        "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: urgent}, value: 1000, description: first}",
    )?;
    apply(cluster, &pod("low", ""))?;
    ready(cluster, "low")?;
    let path = "jsonpath={.status.conditions[?(@.type==\"DisruptionTarget\")]}";
    let seen = Follower::start(cluster, &["get", "pod", "low", "-w", "-o", path])?;
    apply(cluster, &pod("high", "priorityClassName: urgent,"))?;
    let said = seen.until("PreemptionByScheduler", || Ok(()))?;
    let words = "default-scheduler: preempting to accommodate a higher priority pod";
    ensure!(said.contains(words) && said.contains(r#""status":"True""#), "{said}");
    ready(cluster, "high")?;
    let uid = field(cluster, "pod/high", "{.metadata.uid}")?;
    let node = field(cluster, "pod/high", "{.spec.nodeName}")?;
    let selector = "reason=Preempted,involvedObject.name=low";
    let message = cluster.kubectl(&[
        "get",
        "events",
        "--field-selector",
        selector,
        "-o",
        "jsonpath={.items[0].message}",
    ])?;
    ensure!(message == format!("Preempted by pod {uid} on node {node}"), "{message}");
    cluster.kubectl(&["delete", "pod/high", "priorityclass/urgent"])?;
    Ok(())
}

/// An autoscaler that follows the load of real pods, up and down.
fn load(cluster: &Cluster) -> Result<()> {
    apply(cluster, include_str!("applications/load.yaml"))?;
    rolled_out(cluster, "deployment/load")?;
    let active = "{.status.conditions[?(@.type==\"ScalingActive\")].reason}";
    until(cluster, "hpa/load", active, "ValidMetricFound", ROUNDS)?;
    ensure!(field(cluster, "deployment/load", "{.spec.replicas}")? == "1", "nothing is asked of it yet");
    let seen = Follower::start(cluster, &["get", "hpa", "load", "-w", "--no-headers"])?;
    cluster.kubectl(&["exec", "deployment/load", "--", "touch", "/tmp/busy"])?;
    until(cluster, "deployment/load", "{.spec.replicas}", "3", ROUNDS)?;
    rolled_out(cluster, "deployment/load")?;
    let said = squeezed(&cluster.kubectl(&["describe", "hpa", "load"])?);
    let above = "reason: cpu resource utilization (percentage of request) above target";
    for words in ["SuccessfulRescale", above, "ScalingActive True ValidMetricFound"] {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    let calm = |pod: &str| {
        let pod = pod.trim_start_matches("pod/");
        cluster.kubectl(&["exec", pod, "--", "rm", "-f", "/tmp/busy"])
    };
    for pod in cluster.kubectl(&["get", "pods", "-l", "app=load", "-o", "name"])?.split_whitespace() {
        calm(pod)?;
    }
    until(cluster, "deployment/load", "{.spec.replicas}", "1", ROUNDS)?;
    seen.until("/50% 1 3 3 ", || Ok(()))?;
    let said = squeezed(&cluster.kubectl(&["describe", "hpa", "load"])?);
    ensure!(said.contains("New size: 1; reason: All metrics below target"), "{said}");
    cluster.kubectl(&["delete", "hpa/load", "deployment/load"])?;
    Ok(())
}
