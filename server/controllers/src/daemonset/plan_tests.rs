//! Tables of what is made and deleted: nodes that fit, updates one by one, and updates that surge.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::is_renamed;
use super::nodes::pod_for;
use super::plan::{Plan, World, plan};
use crate::words::name;

fn node(name: &str, taint: Option<(&str, &str)>) -> Arc<Node> {
    let taints: Vec<_> =
        taint.map(|(key, effect)| json!({"key": key, "effect": effect})).into_iter().collect();
    let node = json!({"metadata": {"name": name, "labels": {"os": "linux"}}, "spec": {"taints": taints}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn set(rolling: Value) -> DaemonSet {
    serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "a", "uid": "d", "generation": 1},
        "spec": {"selector": {}, "template": {"spec": {"containers": [], "nodeSelector": {"os": "linux"}}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}}))
    .unwrap()
}

/// `a:old:ready`: node, hash, and how it is: `ready`, `not` (ready), `going` (ready, being deleted), `Failed`, `Succeeded`.
fn pods(ds: &DaemonSet, all: &str) -> Vec<Arc<Pod>> {
    let one = |(number, text): (usize, &str)| {
        let mut words = text.split(':');
        let (node, hash, how) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let mut pod = pod_for(ds, node, hash);
        pod.metadata.name = Some(format!("{node}-{hash}"));
        let time =
            |second: usize| serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap();
        pod.metadata.creation_timestamp = Some(time(number));
        let ready = if matches!(how, "ready" | "going") { "True" } else { "False" };
        let phase = if matches!(how, "Failed" | "Succeeded") { how } else { "Running" };
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
        pod.status = Some(serde_json::from_value(status).unwrap());
        pod.metadata.deletion_timestamp = (how == "going").then(|| time(number));
        Arc::new(pod)
    };
    all.split_whitespace().enumerate().map(one).collect()
}

fn look(ds: &DaemonSet, nodes: &[Arc<Node>], all: &str, held: bool) -> Plan {
    let pods = pods(ds, all);
    plan(&World { ds, nodes, pods: &pods, hash: "new", now: Timestamp::now(), held: &|_| held })
}

#[test]
fn a_pod_whose_template_has_the_present_number_is_up_to_date() {
    let mut ds = set(json!({"maxUnavailable": 1}));
    let number = |number: &str| {
        Some([("deprecated.daemonset.template.generation".to_owned(), number.to_owned())].into())
    };
    ds.metadata.annotations = number("3");
    let pods = pods(&ds, "a:old:ready");
    for (present, gone) in [("3", vec![]), ("4", vec!["a-old"]), ("x", vec!["a-old"])] {
        ds.metadata.annotations = number(present);
        let nodes = [node("a", None)];
        let world = World {
            ds: &ds,
            nodes: &nodes,
            pods: &pods,
            hash: "new",
            now: Timestamp::now(),
            held: &|_| false,
        };
        let plan = plan(&world);
        assert_eq!(deleted(&plan), gone, "{present}");
        assert_eq!(plan.status.updated_number_scheduled, Some(i32::from(gone.is_empty())), "{present}");
    }
}

fn deleted(plan: &Plan) -> Vec<&str> {
    plan.delete.iter().map(|pod| name(&pod.metadata)).collect()
}

#[test]
fn every_fitting_node_gets_one() {
    let nodes = [
        node("a", None),
        node("b", Some(("mine", "NoSchedule"))),
        node("c", Some(("node.kubernetes.io/unschedulable", "NoSchedule"))),
        node("d", Some(("mine", "NoExecute"))),
    ];
    let plan = look(&set(json!({})), &nodes, "a:new:ready b:new:ready d:new:ready gone:new:not", false);
    assert_eq!(plan.create, ["c"]);
    assert_eq!(
        deleted(&plan),
        ["d-new", "gone-new"],
        "NoSchedule lets what runs stay; nobody waits for a node that is gone"
    );
    let status = plan.status;
    assert_eq!(
        (status.desired_number_scheduled, status.current_number_scheduled, status.number_misscheduled),
        (2, 1, 2)
    );
    assert_eq!((status.number_available, status.number_unavailable), (Some(1), Some(1)));
}

#[test]
fn updates_go_as_far_as_they_may() {
    let nodes = [node("a", None), node("b", None), node("c", None)];
    let one = json!({"maxUnavailable": 1, "maxSurge": 0});
    let surge = json!({"maxUnavailable": 0, "maxSurge": 1});
    let two = json!({"maxUnavailable": 0, "maxSurge": "50%"});
    let cases = [
        (&one, "a:old:ready b:old:ready c:new:ready", "-a-old", "one by one"),
        (&one, "a:old:ready b:old:ready c:new:not", "", "the new one is waited for"),
        (&one, "a:old:not b:old:ready c:new:not", "-a-old", "an old one of no use goes at once"),
        (&one, "a:old:going b:old:ready c:new:ready", "", "one is on its way out"),
        (&one, "a:new:ready a:new2:ready b:new:ready c:new:ready", "-a-new2", "of several, the oldest stays"),
        (&surge, "a:old:ready b:old:ready c:new:ready", "+a", "a new one beside the old one"),
        (&surge, "a:old:ready a:new:not b:old:ready c:new:ready", "", "which is waited for"),
        (&surge, "a:old:ready a:new:ready b:old:ready c:new:ready", "-a-old", "before the old one goes"),
        (&surge, "a:old:not a:new:not b:old:ready c:new:ready", "-a-old", "or at once, if it is of no use"),
        (&surge, "a:old:not b:old:not c:new:ready", "+a +b", "useless old ones are not counted"),
        (&surge, "a:old:going b:old:ready c:new:ready", "+a", "what goes is as gone"),
        (&surge, "a:old:going a:new:not b:old:ready c:new:ready", "+b", "which is no surge"),
        (&two, "a:old:ready b:old:ready c:old:ready", "+a +b", "percentages round up"),
    ];
    for (rolling, all, expected, why) in cases {
        let plan = look(&set(rolling.clone()), &nodes, all, false);
        let mut done: Vec<_> = plan.create.iter().map(|node| format!("+{node}")).collect();
        done.extend(deleted(&plan).iter().map(|pod| format!("-{pod}")));
        assert_eq!(done.join(" "), expected, "{why}: {all} {rolling}");
    }
}

#[test]
fn who_surges_moves_to_other_nodes_without_a_gap() {
    let surge = set(json!({"maxUnavailable": 0, "maxSurge": 1}));
    let nodes = [node("a", Some(("mine", "NoSchedule"))), node("b", None)];
    let waits = look(&surge, &nodes, "a:old:ready b:new:not", false);
    assert_eq!((waits.create.len(), deleted(&waits)), (0, vec![]));
    assert_eq!(deleted(&look(&surge, &nodes, "a:old:ready b:new:ready", false)), ["a-old"]);
    assert_eq!(deleted(&look(&surge, &nodes, "a:old:not b:new:not", false)), ["a-old"]);
}

#[test]
fn pods_of_a_revisions_twins_become_its_own() {
    let all = pods(&set(json!({})), "a:new:ready b:twin:ready c:old:ready");
    for (twins, expected) in [(&["twin"][..], vec!["b-twin"]), (&["new"], vec![]), (&[], vec![])] {
        let renamed = all.iter().filter(|pod| is_renamed(pod, "new", twins));
        assert_eq!(renamed.map(|pod| name(&pod.metadata)).collect::<Vec<_>>(), expected, "{twins:?}");
    }
}

#[test]
fn what_ended_is_replaced_and_failures_are_held_back() {
    let nodes = [node("a", None), node("b", None)];
    for rolling in [json!({"maxUnavailable": 1}), json!({"maxUnavailable": 0, "maxSurge": 1})] {
        let ds = set(rolling);
        let plan = look(&ds, &nodes, "a:new:Failed b:new:Succeeded", false);
        assert_eq!((deleted(&plan), plan.ended.len(), plan.held.len()), (vec!["a-new", "b-new"], 2, 0));
        let plan = look(&ds, &nodes, "a:new:Failed b:new:ready", true);
        assert_eq!((plan.create.len(), deleted(&plan)), (0, vec![]));
        assert_eq!(plan.held, ["a"]);
    }
}
