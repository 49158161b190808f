//! Nodes and pods come and go; what is to be asked of the API then.
#![allow(clippy::unwrap_used)]

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

fn node(name: &str, ready: &str, annotations: Value) -> Arc<Node> {
    let mut all = json!({words::NODE: words::FAKE});
    all.as_object_mut().unwrap().extend(annotations.as_object().unwrap().clone());
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "annotations": all},
            "spec": {"podCIDR": node::pod_cidr(7)},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap(),
    )
}

fn pod(name: &str, node: &str, version: u64, status: Value) -> (Key, Arc<Pod>) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": version.to_string()},
        "spec": {"nodeName": node, "containers": [{"name": "main"}]}, "status": status}))
    .unwrap();
    (Key::namespaced("default", name), Arc::new(pod))
}

struct Test {
    fleet: Fleet,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        let now = Instant::now();
        Self { fleet: Fleet::new("own", now), now }
    }

    fn node(&mut self, node: &Arc<Node>) {
        self.fleet.node_changed(node.metadata.name.as_deref().unwrap(), Some(node), self.now);
    }

    fn pod(&mut self, (key, pod): &(Key, Arc<Pod>)) {
        self.fleet.pod_changed(key, Some(pod));
    }

    /// All that is to be done now, and of it, in short.
    fn jobs(&mut self) -> Vec<Job> {
        std::iter::from_fn(|| self.fleet.job(self.now, Timestamp::now())).collect()
    }

    fn said(&mut self) -> Vec<String> {
        let word = |job: &Job| match job {
            Job::Renew { name, .. } => format!("renew {name}"),
            Job::Report { name, status } => {
                let ready =
                    status.conditions.as_ref().unwrap().iter().find(|one| one.type_ == "Ready").unwrap();
                format!("report {name} {}", ready.status)
            }
            Job::Write { key, status, .. } => {
                format!(
                    "write {} {} {}",
                    key.name,
                    status.phase.as_deref().unwrap(),
                    status.pod_ip.as_deref().unwrap()
                )
            }
            Job::Delete { key, .. } => format!("delete {}", key.name),
        };
        self.jobs().iter().map(word).collect()
    }

    /// Lets time pass up to what is due next, at most so far.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.fleet.next_due().filter(|due| *due <= end) {
            self.now = due;
            self.fleet.wake(self.now);
        }
        self.now = end;
    }
}

#[test]
fn only_marked_nodes_are_kept_and_never_our_own() {
    let mut test = Test::new();
    let mut plain = (*node("real", "True", json!({}))).clone();
    plain.metadata.annotations = None;
    test.node(&Arc::new(plain));
    test.node(&node("own", "True", json!({})));
    assert!(test.fleet.is_empty() && test.said().is_empty() && test.fleet.next_due().is_none());
}

#[test]
fn leases_are_renewed_every_ten_seconds_and_the_status_every_five_minutes() {
    let mut test = Test::new();
    test.node(&node("a", "True", json!({})));
    assert_eq!(test.said(), ["renew a"]);
    test.pass(10);
    assert_eq!(test.said(), ["renew a"], "its own place within ten seconds");
    test.pass(300);
    let said = test.said();
    assert_eq!(said.iter().filter(|said| *said == "renew a").count(), 30);
    assert_eq!(said.iter().filter(|said| *said == "report a True").count(), 1);
}

#[test]
fn renewals_of_a_crowd_are_spread_evenly_over_slots() {
    let mut test = Test::new();
    for number in 0..5_000 {
        test.node(&node(&format!("n{number}"), "True", json!({})));
    }
    assert_eq!(test.jobs().len(), 5_000);
    test.pass(10);
    test.jobs();
    let mut counts = Vec::new();
    for _ in 0..40 {
        let due = test.fleet.next_due().unwrap();
        assert_eq!(due.duration_since(test.fleet.began).as_millis() % 250, 0);
        test.now = due;
        test.fleet.wake(due);
        counts.push(test.jobs().len());
    }
    assert!(counts.iter().all(|count| (80..180).contains(count)), "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 5_000);
}

#[test]
fn a_node_that_fails_says_nothing_and_comes_back_at_once() {
    let mut test = Test::new();
    test.node(&node("a", "True", json!({})));
    test.pod(&pod("p", "a", 1, json!({})));
    assert_eq!(test.said(), ["renew a", "write p Running 240.0.28.1"]);
    let failed = json!({words::STATE: "failed"});
    test.node(&node("a", "True", failed.clone()));
    test.pod(&pod("q", "a", 2, json!({})));
    test.pass(100);
    assert!(test.said().is_empty());
    // the node lifecycle controller has noticed
    test.node(&node("a", "Unknown", failed));
    assert!(test.said().is_empty());
    test.node(&node("a", "Unknown", json!({})));
    assert_eq!(test.said(), ["renew a", "report a True", "write q Running 240.0.28.2"]);
}

#[test]
fn what_others_say_of_a_node_is_set_right() {
    let mut test = Test::new();
    test.node(&node("a", "True", json!({words::STATE: "not-ready"})));
    let jobs = test.jobs();
    assert!(matches!(&jobs[..], [Job::Renew { .. }, Job::Report { .. }]));
    // its own report is under way: nothing more until it has ended
    test.node(&node("a", "Unknown", json!({words::STATE: "not-ready"})));
    assert!(test.said().is_empty());
    test.fleet.done(&jobs[1], Outcome::Failed, test.now);
    test.pass(1);
    assert_eq!(test.said(), ["renew a", "report a False"]);
}

#[test]
fn nothing_is_done_about_a_pod_until_its_last_write_is_seen() {
    let mut test = Test::new();
    test.node(&node("a", "True", json!({})));
    test.pod(&pod("p", "a", 1, json!({})));
    let write = test.jobs().pop().unwrap();
    test.pod(&pod("p", "a", 2, json!({})));
    assert!(test.said().is_empty(), "under way");
    test.fleet.done(&write, Outcome::Done(5), test.now);
    assert!(test.said().is_empty(), "not seen yet");
    test.pod(&pod("p", "a", 4, json!({})));
    assert!(test.said().is_empty(), "older");
    test.pod(&pod("p", "a", 5, json!({})));
    assert_eq!(test.said(), ["write p Running 240.0.28.1"], "seen");
    let write = Job::Write { key: Key::namespaced("default", "p"), uid: "p".into(), status: Box::default() };
    test.fleet.done(&write, Outcome::Failed, test.now);
    test.pass(1);
    assert_eq!(test.said(), ["write p Running 240.0.28.1"], "again");
}

#[test]
fn addresses_are_kept_and_not_had_twice() {
    let mut test = Test::new();
    test.node(&node("a", "True", json!({})));
    let running = json!({"phase": "Running", "podIP": "240.0.28.1", "containerStatuses": [{
        "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]});
    // a daemon that starts anew sees pods that have addresses
    test.pod(&pod("old", "a", 1, running));
    test.pod(&pod("new", "a", 2, json!({})));
    let said = test.said();
    assert!(said.contains(&"write new Running 240.0.28.2".to_owned()), "{said:?}");
    test.fleet.pod_changed(&Key::namespaced("default", "new"), None);
    test.pod(&pod("newer", "a", 3, json!({})));
    assert_eq!(test.said(), ["write newer Running 240.0.28.3"]);
}

#[test]
fn a_pod_has_no_address_before_one_is_written() {
    let mut test = Test::new();
    test.node(&node("a", "True", json!({})));
    let ended = json!({"phase": "Succeeded"});
    test.pod(&pod("ended", "a", 1, ended));
    assert_eq!(test.said(), ["renew a"]);
    test.pod(&pod("first", "a", 2, json!({})));
    assert_eq!(test.said(), ["write first Running 240.0.28.1"]);
    // all that is there is told before anything is decided, as the simulator does at its start
    let running = json!({"phase": "Running", "podIP": "240.0.28.2"});
    test.pod(&pod("second", "a", 3, json!({})));
    test.pod(&pod("there", "a", 4, running));
    assert_eq!(test.said()[0], "write second Running 240.0.28.3");
}

#[test]
fn a_deleted_pod_is_asked_for_once_while_others_hold_it() {
    let mut test = Test::new();
    test.node(&node("a", "True", json!({})));
    let held = |version: u64, grace: i64, status: &Value| {
        let (key, pod) = pod("p", "a", version, status.clone());
        let mut pod = (*pod).clone();
        pod.metadata.finalizers = Some(vec!["mine.example/hold".to_owned()]);
        pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        (key, Arc::new(pod))
    };
    let failed = json!({"phase": "Failed"});
    test.pod(&held(1, 30, &json!({})));
    let write = test.jobs().pop().unwrap();
    assert!(matches!(&write, Job::Write { status, .. } if status.phase.as_deref() == Some("Failed")));
    test.fleet.done(&write, Outcome::Done(2), test.now);
    test.pod(&held(2, 30, &failed));
    let delete = test.jobs().pop().unwrap();
    assert!(matches!(delete, Job::Delete { .. }));
    test.pod(&held(3, 0, &failed));
    // marked already, so that its version stays
    test.fleet.done(&delete, Outcome::Done(3), test.now);
    assert!(test.said().is_empty());
    test.pass(9);
    test.pod(&held(4, 0, &failed));
    assert!(!test.said().iter().any(|said| said.contains("delete")));
}

#[test]
fn pods_go_with_their_node_and_come_with_it() {
    let mut test = Test::new();
    test.pod(&pod("p", "a", 1, json!({})));
    assert!(test.said().is_empty(), "nobody's");
    test.node(&node("a", "True", json!({})));
    test.pod(&pod("p", "a", 1, json!({})));
    assert_eq!(test.said(), ["renew a", "write p Running 240.0.28.1"]);
    test.fleet.node_changed("a", None, test.now);
    test.pass(100);
    assert!(test.fleet.is_empty() && test.said().is_empty() && test.fleet.pods.is_empty());
}

#[test]
fn a_node_without_one_of_our_blocks_has_one_by_its_name() {
    let mut test = Test::new();
    let mut bare = (*node("bare", "True", json!({}))).clone();
    bare.spec = None;
    test.node(&Arc::new(bare.clone()));
    let slot = |test: &Test, name: &str| test.fleet.members[name].slot;
    let first = slot(&test, "bare");
    assert!(first >= SLOTS / 2);
    test.node(&node("taken", "True", json!({})));
    test.node(&node("twin", "True", json!({})));
    assert!(slot(&test, "taken") == 7 && slot(&test, "twin") >= SLOTS / 2);
    test.fleet.node_changed("bare", None, test.now);
    test.node(&Arc::new(bare));
    assert_eq!(slot(&test, "bare"), first);
}
