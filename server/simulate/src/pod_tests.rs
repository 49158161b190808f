//! Lives of simulated pods, told as what they come to at which second.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::PodBehaviour;
use crate::behaviour::conduct;
use serde_json::{Value, json};

const PLACE: Place = Place { host_ip: Ipv4Addr::new(198, 18, 0, 1), pod_ip: Ipv4Addr::new(240, 0, 4, 1) };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(policy: &str, metadata: Value, spec: Value) -> Pod {
    let mut object = json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 1,
            "creationTimestamp": at(0).to_string()},
        "spec": {"nodeName": "n", "restartPolicy": policy, "containers": [{"name": "main", "image": "app:1"}]},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0).to_string()}]},
    });
    for (into, from) in [("metadata", metadata), ("spec", spec)] {
        object[into].as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
    }
    serde_json::from_value(object).unwrap()
}

fn told(annotations: Value) -> Value {
    json!({"annotations": annotations})
}

/// Steps at `second` until nothing is to be done; what was done, in short.
fn steps(pod: &mut Pod, second: i64) -> String {
    let mut done = Vec::new();
    loop {
        match step(pod, conduct(pod, &PodBehaviour::default()), PLACE, at(second)) {
            Act::Rest => done.push("rest".to_owned()),
            Act::Wait(until) => done.push(format!("wait {}", until.as_second() - 1_000_000)),
            Act::Delete => done.push("delete".to_owned()),
            Act::Write(status) => {
                done.push(short(&status));
                merge(pod, *status);
                continue;
            }
        }
        return done.join(", ");
    }
}

/// As a strategic merge patch does: conditions that are not written stay.
fn merge(pod: &mut Pod, mut status: PodStatus) {
    let old = pod.status.take().unwrap_or_default().conditions.unwrap_or_default();
    let fresh = status.conditions.get_or_insert_default();
    let kept: Vec<_> = old.into_iter().filter(|old| fresh.iter().all(|one| one.type_ != old.type_)).collect();
    fresh.extend(kept);
    pod.status = Some(status);
}

fn short(status: &PodStatus) -> String {
    let first = &status.container_statuses.as_ref().unwrap()[0];
    let state = first.state.as_ref().unwrap();
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    let container = match (&state.running, &state.terminated, &state.waiting) {
        (Some(_), ..) => "runs".to_owned(),
        (_, Some(exit), _) => format!("exit {}", exit.exit_code),
        (_, _, Some(wait)) => wait.reason.clone().unwrap(),
        _ => unreachable!("a state"),
    };
    let restarts = if first.restart_count > 0 { format!(" #{}", first.restart_count) } else { String::new() };
    format!("{} {container}{restarts}{}", status.phase.as_deref().unwrap(), if ready { " ready" } else { "" })
}

#[test]
fn nothing_is_heard_of_an_ignored_pod_until_it_is_deleted() {
    let ignored = PodBehaviour { ignored: true, ..PodBehaviour::default() };
    let mut pod = pod("Always", json!({}), json!({}));
    let act = |pod: &Pod| step(pod, conduct(pod, &ignored), PLACE, at(5));
    assert_eq!(act(&pod), Act::Rest);
    pod.metadata.deletion_timestamp = Some(Time(at(5)));
    assert_eq!(act(&pod), Act::Delete);
}

#[test]
fn lives() {
    let job =
        || json!({"ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j"}]});
    let none = || json!({});
    let run = |seconds: &str, code: &str| {
        told(json!({"sampan.dev/simulate-run-seconds": seconds, "sampan.dev/simulate-exit-code": code}))
    };
    #[allow(clippy::type_complexity)] // a table of cases
    let lives: [(&str, Pod, &[(i64, &str)]); 9] = [
        ("for ever", pod("Always", none(), none()), &[(0, "Running runs ready, rest"), (9_999, "rest")]),
        (
            "late",
            pod("Always", told(json!({"sampan.dev/simulate-start-seconds": "5"})), none()),
            &[(1, "Pending ContainerCreating, wait 5"), (4, "wait 5"), (5, "Running runs ready, rest")],
        ),
        ("of a job", pod("OnFailure", job(), none()), &[(0, "Running runs ready, Succeeded exit 0, rest")]),
        (
            "set time",
            pod("Never", run("7", "0"), none()),
            &[(0, "Running runs ready, wait 7"), (7, "Succeeded exit 0, rest"), (99, "rest")],
        ),
        (
            "failed",
            pod("Never", run("7", "3"), none()),
            &[(0, "Running runs ready, wait 7"), (8, "Failed exit 3, rest")],
        ),
        (
            "loops",
            pod("Always", run("2", "1"), none()),
            &[
                (0, "Running runs ready, wait 2"),
                (2, "Running exit 1, Running runs #1 ready, wait 4"),
                (4, "Running exit 1 #1, Running CrashLoopBackOff #1, wait 14"),
                (13, "wait 14"),
                (14, "Running runs #2 ready, wait 16"),
                (16, "Running exit 1 #2, Running CrashLoopBackOff #2, wait 36"),
            ],
        ),
        (
            "restarted though it went well",
            pod("Always", run("2", "0"), none()),
            &[(0, "Running runs ready, wait 2"), (2, "Running exit 0, Running runs #1 ready, wait 4")],
        ),
        (
            "deadline",
            pod("OnFailure", run("1000", "0"), json!({"activeDeadlineSeconds": 30})),
            &[(0, "Running runs ready, wait 30"), (30, "Failed exit 143, rest")],
        ),
        (
            "unready",
            pod("Always", told(json!({"sampan.dev/simulate-ready": "false"})), none()),
            &[(0, "Running runs, rest")],
        ),
    ];
    for (name, mut pod, life) in lives {
        for (second, expected) in life {
            assert_eq!(steps(&mut pod, *second), *expected, "{name} at {second}");
        }
    }
}

#[test]
fn deletion_takes_what_it_was_told_to_within_the_grace_period() {
    let deleted = |second: i64, grace: i64, stop: &str, finalizers: &[&str]| {
        let mut pod = pod("Always", told(json!({"sampan.dev/simulate-stop-seconds": stop})), json!({}));
        assert_eq!(steps(&mut pod, 0), "Running runs ready, rest");
        pod.metadata.deletion_timestamp = Some(Time(at(second + grace)));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        pod.metadata.finalizers = Some(finalizers.iter().map(|one| (*one).to_owned()).collect());
        pod
    };
    assert_eq!(steps(&mut deleted(10, 30, "0", &[]), 10), "delete");
    let mut slow = deleted(10, 30, "5", &[]);
    assert_eq!((steps(&mut slow, 10), steps(&mut slow, 15)), ("wait 15".into(), "delete".into()));
    let mut slower = deleted(10, 30, "500", &[]);
    assert_eq!((steps(&mut slower, 10), steps(&mut slower, 40)), ("wait 40".into(), "delete".into()));
    // whoever put the finalizer has to see how it ended
    let tracked = ["batch.kubernetes.io/job-tracking"];
    let mut counted = deleted(10, 30, "0", &tracked);
    assert_eq!(steps(&mut counted, 10), "Failed exit 143, delete");
    // and takes it off: the API has nothing to do before
    counted.metadata.deletion_grace_period_seconds = Some(0);
    assert_eq!(steps(&mut counted, 11), "rest");
    assert_eq!(steps(&mut deleted(10, 0, "0", &tracked), 10), "Failed exit 143, rest");
    let mut unborn = pod("Always", json!({}), json!({}));
    unborn.metadata.deletion_timestamp = Some(Time(at(30)));
    unborn.metadata.deletion_grace_period_seconds = Some(30);
    assert_eq!(steps(&mut unborn, 0), "delete");
    unborn.metadata.finalizers = Some(tracked.map(str::to_owned).into());
    assert_eq!(steps(&mut unborn, 0), "Failed exit 137, delete");
}

#[test]
fn what_is_told_to_a_running_pod_counts_at_once() {
    let mut pod = pod("Never", json!({}), json!({}));
    assert_eq!(steps(&mut pod, 0), "Running runs ready, rest");
    let tell = |pod: &mut Pod, name: &str, value: &str, second| {
        pod.metadata
            .annotations
            .get_or_insert_default()
            .insert(format!("sampan.dev/simulate-{name}"), value.into());
        steps(pod, second)
    };
    assert_eq!(tell(&mut pod, "ready", "false", 3), "Running runs, rest");
    assert_eq!(tell(&mut pod, "ready", "true", 4), "Running runs ready, rest");
    assert_eq!(tell(&mut pod, "exit-code", "9", 5), "Failed exit 9, rest");
}

#[test]
fn readiness_gates_hold_ready_back() {
    let mut pod = pod("Always", json!({}), json!({"readinessGates": [{"conditionType": "lb"}]}));
    assert_eq!(steps(&mut pod, 0), "Running runs, rest");
    let gate: PodCondition = serde_json::from_value(json!({"type": "lb", "status": "True"})).unwrap();
    pod.status.as_mut().unwrap().conditions.as_mut().unwrap().push(gate);
    assert_eq!(steps(&mut pod, 1), "Running runs ready, rest");
}

#[test]
fn init_containers_and_sidecars() {
    let spec = json!({"initContainers": [{"name": "first"}, {"name": "side", "restartPolicy": "Always"}]});
    let mut pod = pod("Always", json!({}), spec);
    steps(&mut pod, 0);
    let init = pod.status.unwrap().init_container_statuses.unwrap();
    let state = |index: usize| init[index].state.clone().unwrap();
    assert_eq!(state(0).terminated.unwrap().reason.as_deref(), Some("Completed"));
    assert!(state(1).running.is_some() && init[0].ready && init[1].ready);
}

#[test]
fn words_are_the_kubelets() {
    let mut pod = pod(
        "Always",
        told(json!({
        "sampan.dev/simulate-run-seconds": "0", "sampan.dev/simulate-exit-code": "1"})),
        json!({}),
    );
    steps(&mut pod, 0);
    let status = pod.status.clone().unwrap();
    let first = &status.container_statuses.unwrap()[0];
    let waiting = first.state.clone().unwrap().waiting.unwrap();
    assert_eq!(
        waiting.message.as_deref(),
        Some("back-off 10s restarting failed container=main pod=p_default(u)")
    );
    assert_eq!(first.last_state.clone().unwrap().terminated.unwrap().exit_code, 1);
    let ready = status.conditions.unwrap().into_iter().find(|one| one.type_ == "Ready").unwrap();
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [main]"));
    assert_eq!(
        (status.pod_ip.as_deref(), status.host_ip.as_deref()),
        (Some("240.0.4.1"), Some("198.18.0.1"))
    );
    assert_eq!([0, 1, 2, 5, 6, 60].map(back_off), [0, 10, 20, 160, 300, 300]);
    assert_eq!([10, 300].map(pause), ["10s", "5m0s"]);
}
