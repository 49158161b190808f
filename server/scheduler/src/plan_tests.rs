//! Tables of pods and worlds.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn pod(name: &str, spec: Value, labels: Value) -> PodInfo {
    let object = json!({"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": spec});
    PodInfo::new(Arc::new(serde_json::from_value(object).unwrap()))
}

fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]})
}

/// Nodes `n1`, `n2`, … with 1 CPU, 1 GiB, a host name and a zone each (odd `a`, even `b`), and `changes`.
fn world(changes: &[Value]) -> World {
    let mut world = World::default();
    for (at, change) in changes.iter().enumerate() {
        let name = format!("n{}", at + 1);
        let zone = if at % 2 == 0 { "a" } else { "b" };
        let mut node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": zone}},
            "spec": {}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "3"}},
        });
        for (key, value) in change.as_object().unwrap() {
            node["spec"][key] = value.clone();
        }
        world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    world
}

fn message(decision: Decision) -> String {
    match decision {
        Decision::Unschedulable { message, .. } | Decision::Failed { message } => message,
        Decision::Bind { node, .. } => panic!("bound to {node}"),
    }
}

fn node(decision: Decision) -> String {
    match decision {
        Decision::Bind { node, .. } => node,
        Decision::Unschedulable { message, .. } | Decision::Failed { message } => panic!("{message}"),
    }
}

#[test]
fn no_nodes() {
    assert_eq!(
        message(schedule(&pod("a", asks("1"), json!({})), &World::default(), 0)),
        "no nodes available to schedule pods"
    );
}

#[test]
fn refusals_are_upstreams_words() {
    let taint = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    let cases = [
        (
            world(&[json!({})]),
            asks("2"),
            "1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            world(&[taint]),
            asks("1"),
            "1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            world(&[json!({"unschedulable": true})]),
            asks("1"),
            "1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            world(&[json!({})]),
            json!({"containers": [], "nodeSelector": {"disk": "ssd"}}),
            "1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
    ];
    for (world, spec, text) in cases {
        let decided = message(schedule(&pod("a", spec, json!({})), &world, 0));
        assert_eq!(decided, format!("0/1 nodes are available: {text}"));
    }
}

#[test]
fn reasons_are_counted_over_nodes() {
    let mut world = world(&[json!({}), json!({"unschedulable": true}), json!({})]);
    for (name, node) in [("x", "n1"), ("y", "n3")] {
        world.apply_pod(Arc::new(pod(name, asks("600m"), json!({}))), node);
    }
    let text = message(schedule(&pod("a", asks("900m"), json!({})), &world, 0));
    assert!(
        text.starts_with("0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu."),
        "{text}"
    );
}

#[test]
fn the_emptier_node_wins_and_full_ones_are_out() {
    let mut world = world(&[json!({}), json!({})]);
    world.apply_pod(Arc::new(pod("x", asks("500m"), json!({}))), "n1");
    assert_eq!(node(schedule(&pod("a", asks("100m"), json!({})), &world, 0)), "n2");
    for name in ["p", "q", "r"] {
        world.apply_pod(Arc::new(pod(name, asks("10m"), json!({}))), "n2");
    }
    assert_eq!(node(schedule(&pod("a", asks("100m"), json!({})), &world, 0)), "n1");
}

#[test]
fn host_ports_conflict_by_address_and_protocol() {
    let takes = |port: Value| json!({"containers": [{"name": "a", "ports": [port]}]});
    let mut world = world(&[json!({})]);
    world.apply_pod(
        Arc::new(pod(
            "x",
            takes(json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"})),
            json!({}),
        )),
        "n1",
    );
    for (port, fits) in [
        (json!({"containerPort": 1, "hostPort": 80}), false),
        (json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.2"}), true),
        (json!({"containerPort": 1, "hostPort": 80, "protocol": "UDP"}), true),
        (json!({"containerPort": 80}), true),
    ] {
        let decision = schedule(&pod("a", takes(port.clone()), json!({})), &world, 0);
        assert_eq!(matches!(decision, Decision::Bind { .. }), fits, "{port}");
    }
}

fn anti(key: &str) -> Value {
    json!({"containers": [], "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}}]}}})
}

#[test]
fn anti_affinity_holds_both_ways() {
    let web = json!({"app": "web"});
    let mut world = world(&[json!({}), json!({}), json!({})]);
    world.apply_pod(Arc::new(pod("x", anti("zone"), web.clone())), "n1");
    assert_eq!(node(schedule(&pod("a", anti("zone"), web.clone()), &world, 0)), "n2");
    assert_eq!(node(schedule(&pod("a", json!({"containers": []}), web.clone()), &world, 0)), "n2");
    world.apply_pod(Arc::new(pod("y", anti("zone"), web.clone())), "n2");
    let text = message(schedule(&pod("a", anti("zone"), web), &world, 0));
    assert!(text.contains("3 node(s) didn't match pod anti-affinity rules."), "{text}");
}

#[test]
fn affinity_wants_company_but_the_first_may_be_alone() {
    let near = json!({"containers": [], "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]}}});
    let mut world = world(&[json!({}), json!({})]);
    assert!(matches!(
        schedule(&pod("a", near.clone(), json!({"app": "web"})), &world, 0),
        Decision::Bind { .. }
    ));
    let text = message(schedule(&pod("a", near.clone(), json!({})), &world, 0));
    assert!(text.contains("2 node(s) didn't match pod affinity rules."), "{text}");
    world.apply_pod(Arc::new(pod("x", asks("10m"), json!({"app": "web"}))), "n2");
    assert_eq!(node(schedule(&pod("a", near, json!({})), &world, 0)), "n2");
}

#[test]
fn topology_spread_bounds_the_skew() {
    let even = json!({"containers": [], "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let web = json!({"app": "web"});
    let mut world = world(&[json!({}), json!({"unschedulable": true})]);
    assert_eq!(node(schedule(&pod("a", even.clone(), web.clone()), &world, 0)), "n1");
    world.apply_pod(Arc::new(pod("x", even.clone(), web.clone())), "n1");
    let text = message(schedule(&pod("a", even, web), &world, 0));
    assert!(text.contains("1 node(s) didn't match pod topology spread constraints"), "{text}");
}

#[test]
fn replicas_of_a_controller_spread_over_hosts() {
    let mut owned = pod("a", asks("10m"), json!({"app": "web"}));
    let object = Arc::make_mut(&mut owned.pod);
    object.metadata.owner_references = serde_json::from_value(json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "u", "controller": true}]))
    .unwrap();
    let mut world = world(&[json!({}), json!({})]);
    for (name, app, node) in [("x", "web", "n1"), ("y", "db", "n2")] {
        for at in 0..2 {
            let pod = pod(&format!("{name}{at}"), asks("10m"), json!({"app": app, "index": at.to_string()}));
            world.apply_pod(Arc::new(pod), node);
        }
    }
    let selector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
    world.owners.set_controller("ReplicaSet", "default", "w", Some(selector));
    assert_eq!(node(schedule(&owned, &world, 0)), "n2");
}

#[test]
fn preemption_takes_the_least_important_pods() {
    let with = |cpu: &str, priority: i32| {
        let mut spec = asks(cpu);
        spec["priority"] = priority.into();
        spec
    };
    let mut world = world(&[json!({}), json!({})]);
    world.apply_pod(Arc::new(pod("low", with("900m", 1), json!({}))), "n1");
    world.apply_pod(Arc::new(pod("mid", with("900m", 5), json!({}))), "n2");
    let Decision::Unschedulable { nomination, .. } =
        schedule(&pod("a", with("500m", 10), json!({})), &world, 0)
    else {
        panic!("bound")
    };
    let preemption = Preemption { node: "n1".into(), victims: vec!["default/low".into()] };
    assert_eq!(nomination, Nomination::New(preemption));
    let text = message(schedule(&pod("a", with("500m", 1), json!({})), &world, 0));
    assert!(
        text.ends_with(
            "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
        ),
        "{text}"
    );
}
