//! Queueing hints: which of the pods that fit nowhere an event may help, as upstream's plugins say
//! (`isSchedulableAfter…`). Pure; to be wrong towards hope costs an attempt, towards despair a pod that waits
//! for ever.

use std::cell::OnceCell;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PodAffinityTerm};

use crate::filters::devices::concern;
use crate::filters::{declares, is_local, local, spread};
use crate::pods::{PodInfo, term_selects};
use crate::preempt::awaits_victims;
use crate::volumes::PodClaims;
use crate::world::{NodeInfo, World};

/// A pod that left a node, or its labels there.
pub struct Gone {
    pod: Arc<PodInfo>,
    /// Its node as it was with it.
    before: OnceCell<NodeInfo>,
}

impl Gone {
    /// The pod as it was.
    pub fn new(pod: Arc<PodInfo>) -> Self {
        Self { pod, before: OnceCell::new() }
    }

    /// Whether `node`, which it left, had room for `pod` all along.
    fn left_room(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let before = self.before.get_or_init(|| {
            let mut before = node.clone();
            before.add(self.pod.clone());
            before
        });
        local(pod, before).is_ok()
    }
}

/// Until a claim or a class changes there is nothing to be had for the pod: no node and no other pod can help it.
fn waits_for_claims(pod: &PodInfo, world: &World) -> bool {
    PodClaims::new(pod, &world.volumes).is_err()
}

/// The node has room now, or could be given some.
fn may_take(node: &NodeInfo, pod: &PodInfo) -> bool {
    declares(pod, node) && local(pod, node).map_or_else(|refusal| refusal.preemptable, |()| true)
}

/// A node came or changed from what it was. Rules about other pods, volumes and devices go by its labels and taints.
pub fn node_changed(pod: &PodInfo, old: Option<&Node>, node: Option<&NodeInfo>, world: &World) -> bool {
    if waits_for_claims(pod, world) {
        return false;
    }
    let Some(node) = node else { return !is_local(pod, world) };
    let seen = |node: &Node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
        (node.metadata.labels.clone(), taints)
    };
    let moved = || old.is_none_or(|old| seen(old) != seen(&node.node));
    may_take(node, pod) || (!is_local(pod, world) && moved())
}

/// A pod left its node. One that still does not fit there has hope only if it may preempt others: a pod that has made
/// its choice waits for its own victims, and of those for the last. Without `gone` it is not known what left: a promise
/// of room, or some of a pod's requests.
pub fn pod_left(pod: &PodInfo, node: Option<&NodeInfo>, gone: Option<&Gone>, world: &World) -> bool {
    if waits_for_claims(pod, world) {
        return false;
    }
    // what kept the pod away may have been the last that had such rules
    if gone.is_some_and(|gone| keeps_out(&gone.pod, pod, world)) {
        return true;
    }
    if is_local(pod, world) {
        return node.is_some_and(|node| makes_room(pod, node, None, world));
    }
    let Some(gone) = gone else { return true };
    concerns(pod, &gone.pod, world)
        || keeps_out(pod, &gone.pod, world)
        || shares_what_it_waits_for(pod, &gone.pod)
        || node.is_some_and(|node| makes_room(pod, node, Some(gone), world))
}

/// Whether the node has room for the pod that it may not have had, or could be given some.
fn makes_room(pod: &PodInfo, node: &NodeInfo, gone: Option<&Gone>, world: &World) -> bool {
    match local(pod, node) {
        // what is promised to others was not for the pod
        Ok(()) if world.nominated.contains_key(node.name()) => true,
        Ok(()) => gone.is_none_or(|gone| !gone.left_room(pod, node)),
        Err(refusal) if !refusal.preemptable => false,
        Err(_) => match world.nominated_node(&pod.key()) {
            Some(own) => own == node.name() && !awaits_victims(pod, node, world),
            None => node.pods.values().any(|other| other.priority() < pod.priority()),
        },
    }
}

/// Whether a required anti-affinity term of `pod` means `other`.
fn keeps_out(pod: &PodInfo, other: &PodInfo, world: &World) -> bool {
    pod.anti_affinity().iter().any(|term| means(term, pod, other, world))
}

fn means(term: &PodAffinityTerm, pod: &PodInfo, other: &PodInfo, world: &World) -> bool {
    term_selects(term, pod.namespace(), pod.labels(), other, &world.namespaces)
}

/// Whether `other` is company that the pod asks for, or counts for its spreading.
fn concerns(pod: &PodInfo, other: &PodInfo, world: &World) -> bool {
    let terms = pod.affinity();
    (!terms.is_empty() && terms.iter().all(|term| means(term, pod, other, world)))
        || spread::counts(pod, other, world)
}

/// A claim that one pod alone may use, a place of a driver's on the node, or devices.
fn shares_what_it_waits_for(pod: &PodInfo, other: &PodInfo) -> bool {
    (!pod.claims.is_empty() && !other.claims.is_empty()) || (concern(pod) && concern(other))
}

/// A node is gone: who waited for it waits for nothing.
pub fn node_left(pod: &PodInfo, node: &str, world: &World) -> bool {
    let around = !is_local(pod, world) && !waits_for_claims(pod, world);
    around || world.nominated_node(&pod.key()) == Some(node)
}

/// A pod came to a node.
pub fn pod_came(pod: &PodInfo, came: &PodInfo, world: &World) -> bool {
    !is_local(pod, world) && !waits_for_claims(pod, world) && concerns(pod, came, world)
}

/// A volume, or what drivers can do on a node, is another.
pub fn volume_changed(pod: &PodInfo, world: &World) -> bool {
    !pod.claims.is_empty() && !waits_for_claims(pod, world)
}

/// A namespace has other labels.
pub fn namespace_changed(pod: &PodInfo, world: &World) -> bool {
    (pod.is_social() || world.is_social()) && !waits_for_claims(pod, world)
}

/// A Service or controller of a namespace selects other pods: those that its profile's rules count for a pod.
pub fn owner_changed(pod: &PodInfo, namespace: &str) -> bool {
    pod.namespace() == namespace && spread::is_listed_hard(pod)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
        let company = Arc::new(labelled("web"));
        let near = term("podAffinity", "web");
        let with = |claim: &str| {
            let mut spec = near.clone();
            spec["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
            spec
        };
        let claim = json!({"metadata": {"name": "there", "namespace": "d", "uid": "c",
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}});
        world.volumes_mut().set_claim("d/there", Some(Arc::new(serde_json::from_value(claim).unwrap())));
        for (spec, by_node, by_arrival) in [
            (asks("1"), true, false),
            (asks("3"), false, false),
            (json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), true, false),
            (json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), false, false),
            (near.clone(), true, true),
            (term("podAffinity", "db"), true, false),
            (term("podAntiAffinity", "web"), true, false),
            (with("there"), true, true),
            (with("missing"), false, false),
            (restarts_all(), true, false),
        ] {
            let pod = pod(spec.clone());
            assert_eq!(node_changed(&pod, None, world.node("n"), &world), by_node, "{spec}");
            assert_eq!(pod_came(&pod, &company, &world), by_arrival, "{spec}");
        }
    }

    fn restarts_all() -> Value {
        json!({"containers": [{"name": "a", "restartPolicyRules": [{"action": "RestartAllContainers"}]}]})
    }

    #[test]
    fn a_node_helps_when_it_declares_what_a_pod_needs() {
        let node = |features: &[&str]| -> Arc<Node> {
            let node = json!({"metadata": {"name": "n"}, "status": {"declaredFeatures": features,
                "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "9"}}});
            Arc::new(serde_json::from_value(node).unwrap())
        };
        let (pod, mut world) = (pod(restarts_all()), World::default());
        for (features, helps) in [(&[][..], false), (&["RestartAllContainersOnContainerExits"], true)] {
            world.apply_node(node(features));
            assert_eq!(node_changed(&pod, Some(&node(&["X"])), world.node("n"), &world), helps);
        }
    }

    fn term(kind: &str, app: &str) -> Value {
        let selector = json!({"matchLabels": {"app": app}});
        json!({"containers": [], "affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": selector}]}}})
    }

    /// A pod that has a label, and rules of its own.
    fn with_label(app: &str, spec: &Value) -> PodInfo {
        let object = json!({"metadata": {"name": app, "namespace": "d", "uid": app, "labels": {"app": app}}, "spec": spec});
        PodInfo::new(Arc::new(serde_json::from_value(object).unwrap()))
    }

    fn labelled(app: &str) -> PodInfo {
        with_label(app, &json!({"containers": []}))
    }

    #[test]
    fn a_pod_that_leaves_helps_whom_it_kept_out() {
        let mut world = World::default();
        let node = json!({"metadata": {"name": "n", "labels": {"zone": "z"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "9"}}});
        world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
        // somebody has rules about others, so that all have to look around
        let other = Arc::new(with_label("other", &term("podAntiAffinity", "nobody")));
        world.apply_pod(other, "n");
        let plain = json!({"containers": []});
        let big = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}]});
        let rule = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        let spread = json!({"containers": [], "topologySpreadConstraints": [rule]});
        let claims = json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]});
        for (why, spec, gone, expected) in [
            ("it had room all along", &plain, labelled("web"), false),
            ("it has room now", &big, with_label("web", &big), true),
            ("an anti-affinity of its own", &term("podAntiAffinity", "web"), labelled("web"), true),
            ("one about others", &term("podAntiAffinity", "db"), labelled("web"), false),
            ("one of the other", &plain, with_label("web", &term("podAntiAffinity", "p")), true),
            ("it may be the first now", &term("podAffinity", "web"), labelled("web"), true),
            ("it counted", &spread, labelled("web"), true),
            ("it did not count", &spread, labelled("db"), false),
            ("its claim is missing", &claims, with_label("web", &claims), false),
        ] {
            let (pod, gone) = (with_label("p", spec), Gone::new(Arc::new(gone)));
            assert_eq!(pod_left(&pod, world.node("n"), Some(&gone), &world), expected, "{why}");
            assert_eq!(pod_left(&pod, world.node("n"), None, &world), *spec != claims, "{why}");
        }
        world.nominate(&Arc::new(labelled("promised")), Some("n"));
        let gone = Gone::new(Arc::new(labelled("web")));
        assert!(
            pod_left(&labelled("p"), world.node("n"), Some(&gone), &world),
            "there is more beside what is promised"
        );
    }

    #[test]
    fn the_last_that_kept_others_out_helps_them_everywhere() {
        let world = World::default();
        let kept = Gone::new(Arc::new(with_label("web", &term("podAntiAffinity", "p"))));
        assert!(
            pod_left(&labelled("p"), None, Some(&kept), &world),
            "nobody has rules about others any more"
        );
        assert!(!pod_left(&labelled("q"), None, Some(&kept), &world), "it was not meant");
    }

    #[test]
    fn a_node_that_moved_helps_whom_it_cannot_take() {
        let mut world = World::default();
        let node = |zone: &str, cpu: &str| -> Arc<Node> {
            let node = json!({"metadata": {"name": "n", "labels": {"zone": zone}},
                "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "0"}}});
            Arc::new(serde_json::from_value(node).unwrap())
        };
        world.apply_node(node("z", "2"));
        let mut elsewhere = term("podAffinity", "web");
        elsewhere["nodeSelector"] = json!({"disk": "hdd"});
        let pod = pod(elsewhere);
        for (old, expected) in [(None, true), (Some(node("y", "2")), true), (Some(node("z", "1")), false)] {
            assert_eq!(node_changed(&pod, old.as_deref(), world.node("n"), &world), expected, "{old:?}");
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
        let left = |world: &World, pod: &PodInfo, node: &str| pod_left(pod, world.node(node), None, world);
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
        let came = labelled("x");
        assert!(!pod_came(&hard, &came, &world), "nothing selects it");
        world.owners.set_service("d", "s", Some([("app".to_owned(), "x".to_owned())].into()));
        assert!(pod_came(&hard, &came, &world) && node_left(&hard, "n", &world));
        assert!(pod_left(&hard, None, Some(&Gone::new(Arc::new(labelled("x")))), &world));
        assert!(!pod_came(&hard, &labelled("y"), &world), "it does not count");
        for (spec, when, hopes) in
            [(&bare, "DoNotSchedule", true), (&bare, "ScheduleAnyway", false), (&own, "DoNotSchedule", false)]
        {
            let pod = spread(spec, when);
            let both = (pod_came(&pod, &came, &world), owner_changed(&pod, "d"));
            assert_eq!(both, (hopes, hopes), "{spec} {when}");
            assert!(!owner_changed(&pod, "other"));
        }
        assert!(!owner_changed(&pod(bare), "d"), "upstream's defaults are soft");
    }
}
