//! Queueing hints: which of the pods that fit nowhere an event may help, as upstream's plugins say
//! (`isSchedulableAfter…`). Pure; to be wrong towards hope costs an attempt, towards despair a pod that waits
//! for ever.

use crate::filters::local;
use crate::pods::PodInfo;
use crate::world::{NodeInfo, World};

/// Whether more than single nodes decide about the pod.
fn looks_around(pod: &PodInfo, world: &World) -> bool {
    let spread = pod.spec().topology_spread_constraints.iter().flatten();
    pod.is_social()
        || world.is_social()
        || !pod.claims.is_empty()
        || spread.into_iter().any(|rule| rule.when_unsatisfiable == "DoNotSchedule")
}

/// The node has room now, or could be given some.
fn may_take(node: &NodeInfo, pod: &PodInfo) -> bool {
    local(pod, node).map_or_else(|refusal| refusal.preemptable, |()| true)
}

/// A node came, changed or went (`None`).
pub fn node_changed(pod: &PodInfo, node: Option<&NodeInfo>, world: &World) -> bool {
    looks_around(pod, world) || node.is_some_and(|node| may_take(node, pod))
}

/// A pod left its node.
pub fn pod_left(pod: &PodInfo, node: Option<&NodeInfo>, world: &World) -> bool {
    node_changed(pod, node, world)
}

/// A pod came to a node, or has other labels there.
pub fn pod_came(pod: &PodInfo, world: &World) -> bool {
    looks_around(pod, world)
}

/// A namespace has other labels.
pub fn namespace_changed(pod: &PodInfo, world: &World) -> bool {
    pod.is_social() || world.is_social()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> PodInfo {
        let object = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec});
        PodInfo::new(Arc::new(serde_json::from_value(object).unwrap()))
    }

    #[test]
    fn events_give_hope_where_they_can_help() {
        let mut world = World::default();
        let node = json!({"metadata": {"name": "n", "labels": {"disk": "ssd"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "9"}}});
        world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
        let asks =
            |cpu: &str| json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]});
        let near = json!({"containers": [], "affinity": {"podAffinity": {}}});
        for (spec, by_node, by_arrival) in [
            (asks("1"), true, false),
            (asks("3"), false, false),
            (json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), true, false),
            (json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), false, false),
            (near, true, true),
        ] {
            let pod = pod(spec.clone());
            assert_eq!(node_changed(&pod, world.node("n"), &world), by_node, "{spec}");
            assert_eq!(pod_came(&pod, &world), by_arrival, "{spec}");
        }
    }
}
