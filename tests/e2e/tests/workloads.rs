//! What the controllers and the scheduler make of workloads, as kubectl sees it. One cluster for all of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Result, ensure};
use sampan_test_e2e::{apply, cluster, eventually, field, ready, registry};
use sampan_testkit::Cluster;

const SOON: Duration = Duration::from_secs(30);

/// Waits until a field reads so.
fn until(cluster: &Cluster, object: &str, path: &str, wanted: &str) -> Result<()> {
    eventually(&format!("{object} {path} {wanted}"), SOON, || {
        Ok((field(cluster, object, path)? == wanted).then_some(()))
    })
}

fn rolled_out(cluster: &Cluster, object: &str) -> Result<()> {
    cluster.kubectl(&["rollout", "status", object, "--timeout=60s"])?;
    Ok(())
}

/// The messages of the events with a reason about an object.
fn events(cluster: &Cluster, reason: &str, about: &str) -> Result<String> {
    let selector = format!("reason={reason},involvedObject.name={about}");
    cluster.kubectl(&["get", "events", "--field-selector", &selector, "-o", "jsonpath={.items[*].message}"])
}

fn until_event(cluster: &Cluster, reason: &str, about: &str, wanted: &str) -> Result<()> {
    eventually(wanted, SOON, || {
        let messages = events(cluster, reason, about)?;
        Ok(messages.contains(wanted).then_some(()))
    })
}

fn template(app: &str, image: &str) -> String {
    let command = r#"command: [sh, -c, "trap 'exit 0' TERM; sleep 1000 & wait"]"#;
    let command = if image.starts_with("busybox") { command } else { "" };
    format!(
        "{{metadata: {{labels: {{app: {app}}}}}, spec: {{containers: [{{name: main, image: \"{image}\", {command}}}]}}}}"
    )
}

fn workload(kind: &str, name: &str, spec: &str, image: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}selector: {{matchLabels: {{app: {name}}}}}, template: {}}}}}",
        template(name, image)
    )
}

/// The history's revisions, newest last.
fn revisions(cluster: &Cluster, object: &str) -> Result<Vec<String>> {
    let text = cluster.kubectl(&["rollout", "history", object])?;
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(text.lines().filter_map(first).filter(|word| word.parse::<u64>().is_ok()).collect())
}

#[test]
fn workloads() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    deployments(&cluster)?;
    replica_sets(&cluster)?;
    daemon_sets(&cluster)?;
    stateful_sets(&cluster)?;
    jobs(&cluster)?;
    scheduling(&cluster)?;
    deletion(&cluster)
}

fn deployments(cluster: &Cluster) -> Result<()> {
    apply(
        cluster,
        &workload("Deployment", "web", "replicas: 4, progressDeadlineSeconds: 3, ", "nginx:alpine"),
    )?;
    rolled_out(cluster, "deployment/web")?;
    cluster.kubectl(&["set", "image", "deployment/web", "main=nginx:1.0"])?;
    rolled_out(cluster, "deployment/web")?;
    ensure!(revisions(cluster, "deployment/web")? == ["1", "2"]);
    cluster.kubectl(&["rollout", "undo", "deployment/web"])?;
    rolled_out(cluster, "deployment/web")?;
    ensure!(revisions(cluster, "deployment/web")? == ["2", "3"]);
    ensure!(field(cluster, "deployment/web", "{.spec.template.spec.containers[0].image}")? == "nginx:alpine");

    cluster.kubectl(&["rollout", "pause", "deployment/web"])?;
    cluster.kubectl(&["set", "image", "deployment/web", "main=nginx:1.1"])?;
    let progressing = "{.status.conditions[?(@.type==\"Progressing\")].reason}";
    until(cluster, "deployment/web", progressing, "DeploymentPaused")?;
    ensure!(revisions(cluster, "deployment/web")? == ["2", "3"], "a paused Deployment does not roll");
    cluster.kubectl(&["rollout", "resume", "deployment/web"])?;
    rolled_out(cluster, "deployment/web")?;

    cluster.kubectl(&["set", "image", "deployment/web", "main=nginx:no-such"])?;
    until(cluster, "deployment/web", progressing, "ProgressDeadlineExceeded")?;
    let status = cluster.kubectl_command().args(["rollout", "status", "deployment/web"]).output()?;
    let words = String::from_utf8_lossy(&status.stderr).into_owned();
    ensure!(!status.status.success() && words.contains("exceeded its progress deadline"), "{words}");
    ensure!(field(cluster, "deployment/web", "{.status.availableReplicas}")? == "3", "the old pods stay");
    cluster.kubectl(&["rollout", "undo", "deployment/web"])?;
    rolled_out(cluster, "deployment/web")?;

    let recreate = r#"{"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}"#;
    cluster.kubectl(&["patch", "deployment/web", "-p", recreate])?;
    cluster.kubectl(&["set", "image", "deployment/web", "main=nginx:1.0"])?;
    rolled_out(cluster, "deployment/web")?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    // nginx that has only just begun has no handler for the signal yet, and is killed when its grace is over
    cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"])?;
    cluster.kubectl(&["delete", "deployment/web"])?;
    Ok(())
}

fn replica_sets(cluster: &Cluster) -> Result<()> {
    apply(cluster, &workload("ReplicaSet", "set", "replicas: 2, ", "busybox"))?;
    until(cluster, "replicaset/set", "{.status.readyReplicas}", "2")?;
    let pod =
        cluster.kubectl(&["get", "pods", "-l", "app=set", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let object = format!("pod/{pod}");
    cluster.kubectl(&["label", &object, "app=free", "--overwrite"])?;
    eventually("the pod let go", SOON, || {
        Ok(field(cluster, &object, "{.metadata.ownerReferences[*].name}")?.is_empty().then_some(()))
    })?;
    until(cluster, "replicaset/set", "{.status.readyReplicas}", "2")?;
    cluster.kubectl(&["label", &object, "app=set", "--overwrite"])?;
    eventually("the pod adopted or one too many deleted", SOON, || {
        let pods = cluster.kubectl(&["get", "pods", "-l", "app=set", "-o", "name"])?;
        Ok((pods.lines().count() == 2).then_some(()))
    })?;
    cluster.kubectl(&["delete", "replicaset/set", "--cascade=orphan"])?;
    ensure!(cluster.kubectl(&["get", "pods", "-l", "app=set", "-o", "name"])?.lines().count() == 2);
    cluster.kubectl(&["delete", "pods", "-l", "app=set"])?;
    Ok(())
}

fn daemon_sets(cluster: &Cluster) -> Result<()> {
    apply(cluster, &workload("DaemonSet", "daemon", "", "nginx:1.0"))?;
    rolled_out(cluster, "daemonset/daemon")?;
    cluster.kubectl(&["set", "image", "daemonset/daemon", "main=nginx:1.1"])?;
    rolled_out(cluster, "daemonset/daemon")?;
    ensure!(revisions(cluster, "daemonset/daemon")? == ["1", "2"]);
    cluster.kubectl(&["rollout", "undo", "daemonset/daemon"])?;
    rolled_out(cluster, "daemonset/daemon")?;
    ensure!(field(cluster, "daemonset/daemon", "{.spec.template.spec.containers[0].image}")? == "nginx:1.0");
    ensure!(revisions(cluster, "daemonset/daemon")? == ["2", "3"]);
    cluster.kubectl(&["delete", "daemonset/daemon", "--cascade=foreground"])?;
    ensure!(cluster.kubectl(&["get", "pods,controllerrevisions", "-o", "name"])?.is_empty());
    Ok(())
}

fn stateful_sets(cluster: &Cluster) -> Result<()> {
    apply(cluster, &workload("StatefulSet", "db", "serviceName: db, replicas: 2, ", "nginx:1.0"))?;
    rolled_out(cluster, "statefulset/db")?;
    let names = cluster.kubectl(&["get", "pods", "-o", "name"])?;
    ensure!(names.split_whitespace().eq(["pod/db-0", "pod/db-1"]), "{names}");
    let partition = r#"{"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}}"#;
    cluster.kubectl(&["patch", "statefulset/db", "-p", partition])?;
    cluster.kubectl(&["set", "image", "statefulset/db", "main=nginx:1.1"])?;
    rolled_out(cluster, "statefulset/db")?;
    let image = "{.spec.containers[0].image}";
    ensure!(field(cluster, "pod/db-1", image)? == "nginx:1.1");
    cluster.kubectl(&["delete", "pod/db-0"])?;
    ready_again(cluster, "db-0")?;
    ensure!(
        field(cluster, "pod/db-0", image)? == "nginx:1.0",
        "below the partition the old revision is made again"
    );
    cluster.kubectl(&["rollout", "undo", "statefulset/db"])?;
    rolled_out(cluster, "statefulset/db")?;
    ensure!(field(cluster, "statefulset/db", "{.spec.template.spec.containers[0].image}")? == "nginx:1.0");
    cluster.kubectl(&["delete", "statefulset/db"])?;
    Ok(())
}

fn ready_again(cluster: &Cluster, pod: &str) -> Result<()> {
    eventually(pod, SOON, || Ok(cluster.kubectl(&["get", "pod", pod]).ok()))?;
    ready(cluster, pod)
}

fn jobs(cluster: &Cluster) -> Result<()> {
    let pod = |script: &str| {
        format!(
            "{{spec: {{restartPolicy: Never, containers: [{{name: main, image: busybox, command: [sh, -c, \"{script}\"]}}]}}}}"
        )
    };
    let job = |name: &str, spec: &str, script: &str| {
        format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}}}, spec: {{{spec}, template: {}}}}}",
            pod(script)
        )
    };
    apply(
        cluster,
        &job("good", "completions: 3, parallelism: 2, completionMode: Indexed", "echo $JOB_COMPLETION_INDEX"),
    )?;
    apply(cluster, &job("bad", "backoffLimit: 0", "exit 3"))?;
    cluster.kubectl(&["wait", "--for=condition=Complete", "job/good", "--timeout=30s"])?;
    ensure!(field(cluster, "job/good", "{.status.succeeded} {.status.completedIndexes}")? == "3 0-2");
    cluster.kubectl(&["wait", "--for=condition=Failed", "job/bad", "--timeout=30s"])?;
    until_event(cluster, "BackoffLimitExceeded", "bad", "Job has reached the specified backoff limit")?;
    let cron = format!(
        "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: tick}}, spec: {{schedule: \"@every 1s\", concurrencyPolicy: Forbid, successfulJobsHistoryLimit: 1, jobTemplate: {{spec: {{template: {}}}}}}}}}",
        pod("true")
    );
    apply(cluster, &cron)?;
    until_event(cluster, "SuccessfulCreate", "tick", "Created job tick-")?;
    until_event(cluster, "SawCompletedJob", "tick", "condition: Complete")?;
    cluster.kubectl(&["patch", "cronjob/tick", "-p", r#"{"spec": {"suspend": true}}"#])?;
    cluster.kubectl(&["delete", "cronjob,job", "--all"])?;
    Ok(())
}

fn scheduling(cluster: &Cluster) -> Result<()> {
    let node = field(cluster, "nodes", "{.items[0].metadata.name}")?;
    cluster.kubectl(&["cordon", &node])?;
    apply(cluster, &workload("Deployment", "web", "replicas: 2, ", "busybox"))?;
    eventually("pods that fit nowhere", SOON, || {
        let events = cluster.kubectl(&[
            "get",
            "events",
            "--field-selector",
            "reason=FailedScheduling",
            "-o",
            "jsonpath={.items[*].message}",
        ])?;
        Ok(events.contains("0/1 nodes are available: 1 node(s) were unschedulable.").then_some(()))
    })?;
    cluster.kubectl(&["uncordon", &node])?;
    rolled_out(cluster, "deployment/web")?;
    cluster.kubectl(&["drain", &node, "--ignore-daemonsets", "--timeout=60s"])?;
    until(cluster, "deployment/web", "{.status.unavailableReplicas}", "2")?;
    cluster.kubectl(&["uncordon", &node])?;
    rolled_out(cluster, "deployment/web")?;
    cluster.kubectl(&["taint", "node", &node, "test=evil:NoExecute"])?;
    until(cluster, "deployment/web", "{.status.unavailableReplicas}", "2")?;
    cluster.kubectl(&["taint", "node", &node, "test-"])?;
    rolled_out(cluster, "deployment/web")?;
    apply(
        cluster,
        "{apiVersion: v1, kind: Pod, metadata: {name: huge}, spec: {containers: [{name: a, image: busybox, resources: {requests: {cpu: 1k}}}]}}",
    )?;
    until_event(cluster, "FailedScheduling", "huge", "0/1 nodes are available: 1 Insufficient cpu.")?;
    let of = |path: &str| format!("{{.items[?(@.regarding.name==\"huge\")].{path}}} ");
    let told = ["reportingController", "action", "eventTime", "deprecatedSource.component"].map(of).concat();
    let told = format!("jsonpath={told}");
    let told = cluster.kubectl(&["get", "events.v1.events.k8s.io", "-o", &told])?;
    let words: Vec<&str> = told.split_whitespace().collect();
    ensure!(words.contains(&"default-scheduler") && words.contains(&"Scheduling"), "{told}");
    ensure!(words.iter().any(|word| word.parse::<jiff::Timestamp>().is_ok()), "{told}");
    cluster.kubectl(&["delete", "pod/huge", "deployment/web"])?;
    Ok(())
}

fn deletion(cluster: &Cluster) -> Result<()> {
    apply(cluster, "{apiVersion: v1, kind: Namespace, metadata: {name: going}}")?;
    let there = workload("Deployment", "web", "replicas: 2, ", "busybox").replacen(
        "metadata: {name: web}",
        "metadata: {name: web, namespace: going}",
        1,
    );
    apply(cluster, &there)?;
    cluster.kubectl(&["-n", "going", "rollout", "status", "deployment/web", "--timeout=60s"])?;
    apply(
        cluster,
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, namespace: going, finalizers: [example.com/hold]}}",
    )?;
    cluster.kubectl(&["delete", "namespace/going", "--wait=false"])?;
    let remaining = "{.status.conditions[?(@.type==\"NamespaceFinalizersRemaining\")].status}";
    until(cluster, "namespace/going", remaining, "True")?;
    let free = r#"{"metadata": {"finalizers": null}}"#;
    cluster.kubectl(&["-n", "going", "patch", "configmap/held", "--type=merge", "-p", free])?;
    cluster.kubectl(&["wait", "--for=delete", "namespace/going", "--timeout=30s"])?;
    Ok(())
}
