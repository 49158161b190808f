//! Objects as the API has them, and why they do not run.

use serde_json::{Value, json};

use super::*;

fn pod(container: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "app",
        "readinessProbe": {}, "startupProbe": {}}]}, "status": {"containerStatuses": [container]}})
}

fn waiting_for(reason: &str, message: &str) -> Value {
    pod(json!({"name": "app", "state": {"waiting": {"reason": reason, "message": message}}}))
}

fn check(object: &Value, cause: Cause, of: &str, message: &str) {
    assert_eq!(super::of(object), [why(cause, of, message)], "{object}");
}

#[test]
fn waiting_containers() {
    for (reason, cause) in [
        ("ImagePullBackOff", Cause::ImagePull),
        ("ErrImagePull", Cause::ImagePull),
        ("InvalidImageName", Cause::ImageName),
        ("CreateContainerConfigError", Cause::ConfigMissing),
        ("RunContainerError", Cause::CannotStart),
    ] {
        check(&waiting_for(reason, "words"), cause, "app", "words");
    }
    assert_eq!(super::of(&waiting_for("ContainerCreating", "")), []);
    check(
        &waiting_for("ContainerCreating", "volume \"a\" is not mounted"),
        Cause::Volume,
        "app",
        "volume \"a\" is not mounted",
    );
}

#[test]
fn a_pull_that_failed_tells_its_last_cause() {
    let image = "docker.io/library/x:1";
    let whole = format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
    );
    let back_off = format!("Back-off pulling image \"x:1\": ErrImagePull: {whole}");
    for message in [whole, back_off] {
        check(
            &waiting_for("ImagePullBackOff", &message),
            Cause::ImagePull,
            "app",
            &format!("{image}: not found"),
        );
    }
    let other = "rpc error: code = Unknown desc = failed to pull and unpack image \"a\": no space left";
    check(&waiting_for("ErrImagePull", other), Cause::ImagePull, "app", "no space left");
}

#[test]
fn crashes() {
    let crash = |last: Value| {
        pod(json!({"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}))
    };
    check(
        &crash(json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}})),
        Cause::CannotStart,
        "app",
        "exit code 128 (StartError): no such file",
    );
    check(
        &crash(json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "no\n"}})),
        Cause::CrashLoop,
        "app",
        "exit code 1 (Error): no",
    );
    check(
        &crash(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
        Cause::OutOfMemory,
        "app",
        "exit code 137 (OOMKilled)",
    );
    check(&crash(json!({})), Cause::CrashLoop, "app", "");
    let ended = |code: i64, reason: &str| {
        pod(json!({"name": "app", "state": {"terminated": {"exitCode": code, "reason": reason}}}))
    };
    check(&ended(127, "Error"), Cause::CannotStart, "app", "exit code 127 (Error)");
    check(&ended(2, ""), Cause::Failed, "app", "exit code 2");
    assert_eq!(super::of(&ended(0, "Completed")), []);
}

#[test]
fn probes() {
    let running = |started: bool| {
        pod(json!({"name": "app", "started": started, "ready": false, "state": {"running": {}}}))
    };
    check(&running(false), Cause::NotStarted, "app", "");
    check(&running(true), Cause::NotReady, "app", "");
}

#[test]
fn an_init_container_comes_before_the_ones_that_wait_for_it() {
    let mut object = waiting_for("PodInitializing", "");
    object["status"]["initContainerStatuses"] = json!([
        {"name": "done", "state": {"terminated": {"exitCode": 0}}},
        {"name": "prepare", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 3}}}]);
    check(&object, Cause::Init, "prepare", "exit code 3");
}

#[test]
fn pods_without_a_place() {
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"});
    check(
        &json!({"kind": "Pod", "status": {"conditions": [condition]}}),
        Cause::Unschedulable,
        "",
        "0/1 nodes are available",
    );
    check(
        &json!({"kind": "Pod", "spec": {"nodeName": "n"}, "status": {"reason": "Evicted", "message": "low memory"}}),
        Cause::Evicted,
        "n",
        "low memory",
    );
}

#[test]
fn workloads_nodes_and_claims() {
    let deployment = |kind: &str, status: &str, reason: &str, message: &str| json!({"kind": "Deployment", "status": {"conditions": [{"type": kind, "status": status, "reason": reason, "message": message}]}});
    check(
        &deployment("Progressing", "False", "ProgressDeadlineExceeded", "m"),
        Cause::RolloutStuck,
        "ProgressDeadlineExceeded",
        "m",
    );
    check(
        &deployment("ReplicaFailure", "True", "FailedCreate", "exceeded quota: q"),
        Cause::Quota,
        "FailedCreate",
        "exceeded quota: q",
    );
    assert_eq!(super::of(&deployment("Progressing", "True", "NewReplicaSetAvailable", "")), []);
    let node = json!({"kind": "Node", "status": {"conditions": [
        {"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "Unknown", "message": "stopped posting"}]}});
    check(&node, Cause::NodeUnwell, "Ready", "stopped posting");
    check(
        &json!({"kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}),
        Cause::ClaimPending,
        "",
        "",
    );
    check(
        &json!({"kind": "X", "metadata": {"deletionTimestamp": "t", "finalizers": ["a/b"]}}),
        Cause::Deleting,
        "a/b",
        "",
    );
    assert_eq!(super::of(&Value::Null), []);
}

#[test]
fn a_claim_that_waits_names_its_class() {
    let claim = |phase: &str, class: &str| json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": class}, "status": {"phase": phase}});
    assert_eq!(class_of(&claim("Pending", "fast")), Some("fast".to_owned()));
    assert_eq!(class_of(&claim("Bound", "fast")), None);
    // no class at all: a volume that somebody makes by hand
    assert_eq!(class_of(&claim("Pending", "")), None);
    assert_eq!(class_of(&json!({"kind": "Pod", "status": {"phase": "Pending"}})), None);
    let why = no_class("fast");
    assert_eq!(
        (why.cause, why.message.as_str()),
        (Cause::NoClass, "storageclass.storage.k8s.io \"fast\" not found")
    );
}
