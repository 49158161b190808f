//! Pods with claims for devices, in upstream's words.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::plan::{Decision, schedule};

/// Nodes `a` and `b`; a device on `a`.
fn world() -> World {
    let mut world = World::default();
    for name in ["a", "b"] {
        let node = json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "pods": "9"}}});
        world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.io", "nodeName": "a",
        "pool": {"name": "a", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "gpu0"}]}});
    world.devices_mut().set_slice("s", Some(Arc::new(serde_json::from_value(slice).unwrap())));
    let class = json!({"metadata": {"name": "gpu"}, "spec": {}});
    world.devices_mut().set_class("gpu", Some(Arc::new(serde_json::from_value(class).unwrap())));
    world
}

fn set(world: &mut World, claim: Value) {
    let claim: ResourceClaim = serde_json::from_value(claim).unwrap();
    let key = Object::key(&claim).to_string();
    world.devices_mut().set_claim(&key, Some(Arc::new(claim)));
}

/// A claim for a device of a class.
fn claim(class: &str, status: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": "d", "uid": "claim"}, "status": status, "spec": {"devices": {
        "requests": [{"name": "r", "exactly": {"deviceClassName": class}}]}}})
}

fn has(node: Option<&str>, users: &[&str]) -> Value {
    let users: Vec<_> =
        users.iter().map(|uid| json!({"resource": "pods", "name": "p", "uid": uid})).collect();
    let field = |node: &str| json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let selector = node.map(|node| json!({"nodeSelectorTerms": [{"matchFields": field(node)}]}));
    json!({"allocation": {"nodeSelector": selector}, "reservedFor": users})
}

fn pod(spec: Value) -> PodInfo {
    let mut object = json!({"metadata": {"name": "p", "namespace": "d", "uid": "pod"}, "spec": {"containers": [],
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    PodInfo::new(Arc::new(serde_json::from_value(object).unwrap()))
}

fn said(world: &World, pod: &PodInfo) -> String {
    match schedule(pod, world, 0) {
        Decision::Bind { node, grants, .. } => {
            let one = |grant: &Grant| {
                let all = grant.allocation.iter().flat_map(|made| made.devices.iter());
                let devices = all.flat_map(|all| all.results.iter().flatten().map(|one| one.device.clone()));
                format!(" {}={}", grant.key(), devices.collect::<Vec<_>>().join(","))
            };
            format!("{node}:{}", grants.iter().map(one).collect::<String>())
        }
        Decision::Unschedulable { message, deallocate, .. } => {
            let given = deallocate.map(|claim| format!(" (deallocates {})", Object::key(&*claim)));
            format!("{message}{}", given.unwrap_or_default())
        }
        Decision::Failed { message } => format!("failed: {message}"),
    }
}

#[test]
fn a_pod_goes_where_its_device_is_and_takes_it() {
    let mut world = world();
    set(&mut world, claim("gpu", Value::Null));
    assert_eq!(said(&world, &pod(json!({}))), "a: d/c=gpu0");
    // what is chosen counts before it is written
    let Decision::Bind { grants, .. } = schedule(&pod(json!({})), &world, 0) else { panic!("not bound") };
    world.devices_mut().assume(&grants);
    let nobody = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    assert_eq!(
        said(&world, &pod(json!({}))),
        format!(
            "0/2 nodes are available: resource claim d/c is in the process of being allocated. no new claims to deallocate, {nobody}"
        )
    );
    let mut other = claim("gpu", Value::Null);
    other["metadata"]["name"] = json!("o");
    set(&mut world, other);
    let waits = pod(json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "o"}]}));
    assert_eq!(
        said(&world, &waits),
        format!("0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, {nobody}")
    );
}

#[test]
fn refusals_are_upstreams_words() {
    let nobody = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
    let nothing =
        |why: &str| format!("0/2 nodes are available: {why}. no new claims to deallocate, {nobody}");
    let many: Vec<String> = (0..256).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let full = || has(None, &many);
    let template = json!({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]});
    for (status, class, spec, expected) in [
        (Value::Null, "gpu", template, nothing("pod \"d/p\": ResourceClaim not created yet")),
        (
            Value::Null,
            "gpu",
            json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "x"}]}),
            nothing("resourceclaim \"x\" not found"),
        ),
        (Value::Null, "none", json!({}), nothing("request r: device class none does not exist")),
        (full(), "gpu", json!({}), nothing("resourceclaim in use")),
        // reserved already, or not: where it is
        (has(Some("b"), &["pod"]), "gpu", json!({}), "b:".to_owned()),
        (has(Some("b"), &["other"]), "gpu", json!({}), "b: d/c=".to_owned()),
        (
            has(Some("b"), &["other"]),
            "gpu",
            json!({"nodeSelector": {"x": "y"}}),
            format!(
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. still not schedulable, {nobody}"
            ),
        ),
        (
            has(Some("elsewhere"), &["other"]),
            "gpu",
            json!({}),
            format!(
                "0/2 nodes are available: 2 resourceclaim not available on the node. still not schedulable, {nobody}"
            ),
        ),
        // nobody else uses it: it is given back, and chosen anew
        (
            has(Some("elsewhere"), &["pod"]),
            "gpu",
            json!({}),
            format!(
                "0/2 nodes are available: 2 resourceclaim not available on the node. deallocation of ResourceClaim completed, {nobody} (deallocates d/c)"
            ),
        ),
    ] {
        let mut world = world();
        set(&mut world, claim(class, status));
        assert_eq!(said(&world, &pod(spec)), expected);
    }
}

#[test]
fn a_broken_expression_is_an_error_and_a_disabled_plugin_none() {
    let mut world = world();
    let mut broken = claim("gpu", Value::Null);
    broken["spec"]["devices"]["requests"][0]["exactly"]["selectors"] =
        json!([{"cel": {"expression": "device.attributes['x.io'].y"}}]);
    set(&mut world, broken);
    assert_eq!(
        said(&world, &pod(json!({}))),
        "failed: running \"DynamicResources\" filter plugin: claim d/c: selector #0 on device gpu.io/a/gpu0: CEL runtime error: no such key: y"
    );
    let config = crate::config::read(json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [{"plugins": {"multiPoint": {"disabled": [{"name": "DynamicResources"}]}}}]}));
    let profile = config.unwrap().profiles["default-scheduler"].clone();
    let blind = PodInfo::with(pod(json!({})).pod, profile);
    assert!(["a:", "b:"].contains(&said(&world, &blind).as_str()));
}
