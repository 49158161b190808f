//! Queueing hints: which of the pods that fit nowhere an event may help, as upstream's plugins say
//! (`isSchedulableAfter…`). Pure; to be wrong towards hope costs an attempt, towards despair a pod that waits
//! for ever.

use crate::filters::{is_local, local, spread};
use crate::pods::PodInfo;
use crate::world::{NodeInfo, World};

/// The node has room now, or could be given some.
fn may_take(node: &NodeInfo, pod: &PodInfo) -> bool {
    local(pod, node).map_or_else(|refusal| refusal.preemptable, |()| true)
}

/// A node came, changed or went (`None`).
pub fn node_changed(pod: &PodInfo, node: Option<&NodeInfo>, world: &World) -> bool {
    !is_local(pod, world) || node.is_some_and(|node| may_take(node, pod))
}

/// A pod left its node.
pub fn pod_left(pod: &PodInfo, node: Option<&NodeInfo>, world: &World) -> bool {
    node_changed(pod, node, world)
}

/// A pod came to a node, or has other labels there.
pub fn pod_came(pod: &PodInfo, world: &World) -> bool {
    !is_local(pod, world)
}

/// A namespace has other labels.
pub fn namespace_changed(pod: &PodInfo, world: &World) -> bool {
    pod.is_social() || world.is_social()
}

/// A Service or controller of a namespace selects other pods: those that its profile's rules count for a pod.
pub fn owner_changed(pod: &PodInfo, namespace: &str) -> bool {
    pod.namespace() == namespace && spread::is_listed_hard(pod)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::read;

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

    /// As `pod`, with labels, for a profile that spreads by zone pods without rules of their own.
    fn spread(spec: &Value, when: &str) -> PodInfo {
        let rule = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when});
        let args = json!({"defaultingType": "List", "defaultConstraints": [rule]});
        let profiles = read(json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "profiles": [{"pluginConfig": [{"name": "PodTopologySpread", "args": args}]}]}));
        let profile = profiles.unwrap().profiles["default-scheduler"].clone();
        let object =
            json!({"metadata": {"name": "p", "namespace": "d", "labels": {"app": "x"}}, "spec": spec});
        PodInfo::with(Arc::new(serde_json::from_value(object).unwrap()), profile)
    }

    #[test]
    fn rules_of_the_profile_look_around_as_the_pods_own_do() {
        let mut world = World::default();
        let (bare, own) = (
            json!({"containers": []}),
            json!({"containers": [], "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]}),
        );
        let hard = spread(&bare, "DoNotSchedule");
        assert!(!pod_came(&hard, &world), "nothing selects it");
        world.owners.set_service("d", "s", Some([("app".to_owned(), "x".to_owned())].into()));
        assert!(pod_came(&hard, &world) && pod_left(&hard, None, &world));
        for (spec, when, hopes) in
            [(&bare, "DoNotSchedule", true), (&bare, "ScheduleAnyway", false), (&own, "DoNotSchedule", false)]
        {
            let pod = spread(spec, when);
            assert_eq!((pod_came(&pod, &world), owner_changed(&pod, "d")), (hopes, hopes), "{spec} {when}");
            assert!(!owner_changed(&pod, "other"));
        }
        assert!(!owner_changed(&pod(bare), "d"), "upstream's defaults are soft");
    }
}
