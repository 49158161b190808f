//! Tables of volumes on nodes with zones, and of claims that one pod alone may use.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::plan::{Decision, Nomination, schedule};

fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
    let pod = json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"containers": [], "priority": priority,
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

/// A bound claim, its volume and nodes with these labels.
fn world(modes: &[&str], volume: Value, nodes: &[Value]) -> World {
    let mut world = World::default();
    let claim = json!({"metadata": {"name": "c", "namespace": "d",
        "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v", "accessModes": modes}});
    let volume = json!({"metadata": {"name": "v", "labels": volume}, "spec": {}});
    world.volumes_mut().set_claim("d/c", Some(Arc::new(serde_json::from_value(claim).unwrap())));
    world.volumes_mut().set_volume("v", Some(Arc::new(serde_json::from_value(volume).unwrap())));
    for (at, labels) in nodes.iter().enumerate() {
        let node = json!({"metadata": {"name": format!("n{at}"), "labels": labels},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9"}}});
        world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    world
}

fn refusal(world: &World) -> Option<Vec<String>> {
    let pod = pod("p", 0);
    let filters = VolumeFilters::new(&pod, world).unwrap();
    filters.check(world.node("n0").unwrap()).err().map(|refusal| refusal.reasons)
}

#[test]
fn a_volume_keeps_to_its_zone() {
    const ZONE: &str = "topology.kubernetes.io/zone";
    const OLD: &str = "failure-domain.beta.kubernetes.io/zone";
    for (volume, node, fits) in [
        (json!({}), json!({ZONE: "a"}), true),
        (json!({ZONE: "a"}), json!({ZONE: "a"}), true),
        (json!({ZONE: "a"}), json!({ZONE: "b"}), false),
        (json!({ZONE: "a__b"}), json!({ZONE: "b"}), true),
        (json!({ZONE: "a"}), json!({}), true),
        (json!({ZONE: "a"}), json!({"topology.kubernetes.io/region": "r"}), false),
        (json!({OLD: "a"}), json!({ZONE: "a"}), true),
        (json!({OLD: "a"}), json!({ZONE: "b"}), false),
    ] {
        let expected = (!fits).then(|| vec!["node(s) had no available volume zone".to_owned()]);
        assert_eq!(
            refusal(&world(&["ReadWriteOnce"], volume.clone(), std::slice::from_ref(&node))),
            expected,
            "{volume} {node}"
        );
    }
}

#[test]
fn a_claim_for_one_pod_is_used_by_one_pod() {
    let nodes = [json!({}), json!({})];
    let mut one = world(&["ReadWriteOncePod"], json!({}), &nodes);
    assert_eq!(refusal(&one), None);
    one.apply_pod(pod("other", 0), "n1");
    assert_eq!(refusal(&one), Some(vec![ONE_POD.to_owned()]), "on whichever node the other is");
    // one of lower priority goes for it
    let Decision::Unschedulable { message, nomination: Nomination::New(preemption), .. } =
        schedule(&pod("p", 9), &one, 0)
    else {
        panic!("bound")
    };
    assert!(message.starts_with(&format!("0/2 nodes are available: 2 {ONE_POD}.")), "{message}");
    assert_eq!(preemption.victims, ["d/other"]);
    one.delete_pod("d/other");
    assert_eq!(refusal(&one), None);
    let mut many = world(&["ReadWriteOnce"], json!({}), &nodes);
    many.apply_pod(pod("other", 0), "n1");
    assert_eq!(refusal(&many), None);
}

#[test]
fn a_driver_takes_so_many_volumes_on_a_node() {
    for (limit, fits) in [(None, true), (Some(0), false), (Some(1), true)] {
        let mut world = world(&["ReadWriteMany"], json!({}), &[json!({})]);
        let volume =
            json!({"metadata": {"name": "v"}, "spec": {"csi": {"driver": "x.io", "volumeHandle": "h"}}});
        world.volumes_mut().set_volume("v", Some(Arc::new(serde_json::from_value(volume).unwrap())));
        let drivers = json!({"metadata": {"name": "n0"},
            "spec": {"drivers": [{"name": "x.io", "nodeID": "i", "allocatable": {"count": limit}}]}});
        world.volumes_mut().set_drivers("n0", Some(&serde_json::from_value(drivers).unwrap()));
        let expected = (!fits).then(|| vec!["node(s) exceed max volume count".to_owned()]);
        assert_eq!(refusal(&world), expected, "{limit:?}");
        world.apply_pod(pod("other", 0), "n0");
        assert_eq!(refusal(&world), None, "what is there already takes no more: {limit:?}");
    }
}

#[test]
fn a_reason_of_the_pod_is_told_for_all_nodes() {
    let mut world = world(&["ReadWriteOnce"], json!({}), &[json!({}), json!({})]);
    world.volumes_mut().set_claim("d/c", None);
    let Decision::Unschedulable { message, nomination, .. } = schedule(&pod("p", 0), &world, 0) else {
        panic!("bound")
    };
    assert_eq!(
        message,
        "0/2 nodes are available: persistentvolumeclaim \"c\" not found. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    assert_eq!(nomination, Nomination::Cleared);
}
