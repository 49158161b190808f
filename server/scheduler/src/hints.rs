//! Queueing hints: which of the pods that fit nowhere an event may help, as upstream's plugins say
//! (`isSchedulableAfter…`). Pure; to be wrong towards hope costs an attempt, towards despair a pod that waits
//! for ever.

use crate::filters::{is_local, local, spread};
use crate::pods::PodInfo;
use crate::preempt::awaits_victims;
use crate::world::{NodeInfo, World};

/// The node has room now, or could be given some.
fn may_take(node: &NodeInfo, pod: &PodInfo) -> bool {
    local(pod, node).map_or_else(|refusal| refusal.preemptable, |()| true)
}

/// A node came or changed.
pub fn node_changed(pod: &PodInfo, node: Option<&NodeInfo>, world: &World) -> bool {
    !is_local(pod, world) || node.is_some_and(|node| may_take(node, pod))
}

/// A pod left its node. One that still does not fit there has hope only if it may preempt others: a pod that has made
/// its choice waits for its own victims, and of those for the last.
pub fn pod_left(pod: &PodInfo, node: Option<&NodeInfo>, world: &World) -> bool {
    if !is_local(pod, world) {
        return true;
    }
    let Some(node) = node else { return false };
    match local(pod, node) {
        Ok(_) => true,
        Err(refusal) if !refusal.preemptable => false,
        Err(_) => match world.nominated_node(&pod.key()) {
            Some(own) => own == node.name() && !awaits_victims(pod, node, world),
            None => node.pods.values().any(|other| other.priority() < pod.priority()),
        },
    }
}

/// A node is gone: who waited for it waits for nothing.
pub fn node_left(pod: &PodInfo, node: &str, world: &World) -> bool {
    !is_local(pod, world) || world.nominated_node(&pod.key()) == Some(node)
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

    #[test]
    fn who_still_does_not_fit_waits_for_the_last_of_its_own_victims() {
        let mut world = World::default();
        for name in ["n", "m"] {
            let node = json!({"metadata": {"name": name},
                "status": {"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "9"}}});
            world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
        }
        let spec = |cpu: &str, priority: i32| {
            json!({"priority": priority,
                "containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]})
        };
        let running = |name: &str, priority: i32, preempted: bool| {
            let condition =
                json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
            let mut object = json!({
                "metadata": {"name": name, "namespace": "d", "uid": format!("uid-{name}")}, "spec": spec("1500m", priority),
                "status": {"conditions": condition}});
            if preempted {
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            Arc::new(PodInfo::new(Arc::new(serde_json::from_value(object).unwrap())))
        };
        let wants = pod(spec("3", 10));
        let left = |world: &World, pod: &PodInfo, node: &str| pod_left(pod, world.node(node), world);
        world.apply_pod(running("a", 0, false), "n");
        assert!(left(&world, &wants, "n"), "it may preempt");
        assert!(left(&world, &wants, "m"), "it fits");
        world.apply_pod(running("b", 20, false), "m");
        assert!(!left(&world, &wants, "m"), "nothing there is less important");
        world.apply_pod(running("a", 0, true), "n");
        let chosen = Arc::new(pod(spec("3", 10)));
        world.nominate(&chosen, Some("n"));
        assert!(!left(&world, &chosen, "n"), "a victim is there");
        assert!(!left(&world, &chosen, "m"), "not its node");
        world.apply_pod(running("a", 0, false), "n");
        assert!(left(&world, &chosen, "n"), "nobody was told to go");
        world.leaving.insert("uid-a".to_owned());
        assert!(!left(&world, &chosen, "n"), "a victim is there that the API has not marked yet");
        world.apply_pod(running("a", 20, false), "n");
        assert!(left(&world, &chosen, "n"), "its victims are gone, and it has to look anew");
        assert!(node_left(&chosen, "n", &world) && !node_left(&chosen, "m", &world));
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
        assert!(pod_came(&hard, &world) && pod_left(&hard, None, &world) && node_left(&hard, "n", &world));
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
