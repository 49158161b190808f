//! Node lifecycle (upstream's `node_lifecycle_controller.go`): a node without heartbeat becomes Unknown; conditions
//! become taints.
//!
//! A heartbeat is a renewed lease or a renewed Ready condition, and counts from when *we* saw it: clocks of
//! nodes are not trusted. Renewals only move a number in a map; one timer per node looks at it when the grace
//! period could have passed.
//!
//! A node that is lost is tainted NoSchedule at once, and NoExecute, which empties it, when its zone allows
//! ([`super::zones`]). Zones are looked at five seconds after a node's state has changed, as upstream's monitor comes by
//! every five: a whole zone that goes is seen as a whole.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Delta, Error, HashMap, Informer, Key, Recorder, Sources, reference};
use serde_json::json;
use tokio::time::Instant;

use super::zones::{Shift, Zones, is_excluded, zone_of};
use crate::context::{BY_NODE, Context};
use crate::words::{is_ready, name, namespace, resource_version, uid};

/// Without a heartbeat for so long, a node is Unknown.
const GRACE: Duration = Duration::from_secs(50);
/// Upstream's `--node-monitor-period`.
const MONITOR: Duration = Duration::from_secs(5);
/// A node that has never said anything has so long to begin.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
const NODE_LEASES: &str = "kube-node-lease";

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that taint a node while they are True.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// What one pass changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub conditions: Option<Vec<NodeCondition>>,
    pub taints: Option<Vec<Taint>>,
    /// The node has just stopped being ready.
    pub went: bool,
    pub requeue: Option<Duration>,
}

pub(crate) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

pub(crate) fn ready(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |condition| condition.status.as_str())
}

/// Decides over one node that was last heard of `silent` ago.
pub(crate) fn plan(node: &Node, silent: Duration, now: Timestamp) -> Plan {
    let grace = if condition(node, "Ready").is_some() { GRACE } else { STARTUP_GRACE };
    let mut plan = Plan::default();
    let mut state = ready(node).to_owned();
    if silent < grace {
        plan.requeue = Some(grace - silent + Duration::from_millis(10));
    } else {
        plan.conditions = unknown(node, now);
        plan.went = plan.conditions.is_some() && state == "True";
        state = "Unknown".to_owned();
    }
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    // of a node that never reported only what it says is known: it may be scheduled to, as with upstream
    let is_known = condition(node, "Ready").is_some() || silent >= grace;
    plan.taints = Some(taints(node, is_known.then_some(&*state), &old, now)).filter(|new| *new != old);
    plan
}

/// All of the kubelet's conditions as Unknown; `None` if they are already.
fn unknown(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions =
        node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let words = |never: bool| match never {
            true => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
            false => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
        };
        let current = conditions.iter_mut().find(|condition| condition.type_ == kind);
        if current.as_ref().is_some_and(|condition| condition.status == "Unknown") {
            continue;
        }
        changed = true;
        let (reason, message) = words(current.is_none());
        let fresh = NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: current.as_ref().and_then(|c| c.last_heartbeat_time.clone()),
            last_transition_time: Some(Time(now)),
        };
        match current {
            Some(condition) => *condition = fresh,
            None => conditions.push(fresh),
        }
    }
    changed.then_some(conditions)
}

/// What a node is tainted with that is not ready.
fn key_of(state: &str) -> Option<&'static str> {
    match state {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    }
}

/// Whether a node is being emptied for not being ready.
fn is_emptied(taints: &[Taint]) -> bool {
    taints
        .iter()
        .any(|taint| taint.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()))
}

/// The taints that a node's state asks for, beside those that are somebody else's. A node that is being emptied goes on
/// to be, for what is the reason now; to begin with it is the zone's matter. While the state is not known, that is left.
fn taints(node: &Node, state: Option<&str>, old: &[Taint], now: Timestamp) -> Vec<Taint> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let key = state.and_then(key_of);
    wanted.extend(key.map(|key| (key, "NoSchedule")));
    wanted.extend(key.filter(|_| is_emptied(old)).map(|key| (key, "NoExecute")));
    let pressed = |kind: &str| condition(node, kind).is_some_and(|condition| condition.status == "True");
    wanted.extend(PRESSURES.iter().filter(|(kind, _)| pressed(kind)).map(|(_, key)| (*key, "NoSchedule")));
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| {
        let key = taint.key.as_str();
        let managed = [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key)
            || PRESSURES.iter().any(|(_, k)| *k == key);
        let empties = taint.effect == "NoExecute" && key != UNSCHEDULABLE && state.is_some();
        managed && (taint.effect == "NoSchedule" || empties)
    };
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut result: Vec<Taint> =
        old.iter().filter(|taint| !ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !result.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let (key, effect) = (key.to_owned(), effect.to_owned());
            result.push(Taint { key, effect, time_added: Some(Time(now)), value: None });
        }
    }
    result
}

/// The controller.
pub(crate) struct NodeLifecycle {
    context: Context,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    recorder: Recorder,
    heard: Mutex<HashMap<String, Instant>>,
    zones: Mutex<Zones>,
    /// When a node's state changed first that its zone has not been judged for yet.
    changed: Mutex<Option<Instant>>,
}

impl NodeLifecycle {
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            nodes: context.informers.of(),
            leases: context.informers.of(),
            recorder: context.recorder("node-controller"),
            heard: Mutex::default(),
            zones: Mutex::default(),
            changed: Mutex::default(),
        }
    }

    fn hear(&self, node: &str) {
        self.heard.lock().insert(node.to_owned(), Instant::now());
    }

    fn silent(&self, node: &str) -> Duration {
        self.heard.lock().entry(node.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    /// Notes heartbeats, and how the node is; returns the nodes to look at, and the empty key if the zones are to be.
    fn changed(&self, delta: &Delta<Node>) -> Vec<Key> {
        let mut keys = self.changed_node(delta);
        let (name, now) = (&delta.key.name, Instant::now());
        let news = match &delta.new {
            Some(node) => {
                self.zones.lock().set(name, zone_of(node), ready(node) == "True", is_excluded(node), now)
            }
            None => {
                self.zones.lock().forget(name);
                true
            }
        };
        if news {
            self.changed.lock().get_or_insert(now);
            keys.push(Key::default());
        }
        keys
    }

    fn changed_node(&self, delta: &Delta<Node>) -> Vec<Key> {
        let Some(new) = &delta.new else {
            self.heard.lock().remove(&delta.key.name);
            return Vec::new();
        };
        let beat = |node: &Node| {
            condition(node, "Ready").and_then(|condition| condition.last_heartbeat_time.clone())
        };
        let Some(old) = &delta.old else {
            self.hear(&delta.key.name);
            let message = format!("Node {0} event: Registered Node {0} in Controller", delta.key.name);
            self.recorder.normal(&reference(&**new), "RegisteredNode", message);
            return vec![delta.key.clone()];
        };
        if beat(old) != beat(new) || (ready(old) == "Unknown" && ready(new) != "Unknown") {
            self.hear(&delta.key.name);
        }
        let face = |node: &Node| {
            let states: Vec<_> = node
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .map(|c| c.status.clone())
                .collect();
            (states, node.spec.as_ref().map(|spec| (spec.unschedulable, spec.taints.clone())))
        };
        match face(old) == face(new) {
            true => Vec::new(),
            false => vec![delta.key.clone()],
        }
    }

    /// Judges the zones once it is time, and empties the nodes whose turn it is. Returns when to come again.
    async fn look_at_zones(&self) -> Result<Option<Duration>, Error> {
        let now = Instant::now();
        let settles = self.changed.lock().map(|since| since + MONITOR);
        if let Some(settles) = settles.filter(|settles| *settles > now) {
            return Ok(Some(settles - now));
        }
        *self.changed.lock() = None;
        let shift = self.zones.lock().judge(now);
        match shift {
            Shift::None => {}
            Shift::Cut => {
                tracing::info!("all nodes are lost: none of them is emptied");
                for node in self.nodes.list() {
                    self.keep(&node).await?;
                }
            }
            Shift::Back => {
                tracing::info!("some node is back: those that are still lost have their time from now on");
                self.heard.lock().values_mut().for_each(|heard| *heard = now);
            }
        }
        let turns = self.zones.lock().take(now);
        for name in turns {
            if let Err(error) = self.empty(&name).await {
                self.zones.lock().enqueue(&name);
                return Err(error);
            }
        }
        Ok(self.zones.lock().next().map(|next| next.duration_since(now)))
    }

    /// Has a node's pods leave it, unless it is ready again.
    async fn empty(&self, name: &str) -> Result<(), Error> {
        let Some(node) = self.nodes.get(&Key::cluster(name)) else { return Ok(()) };
        let Some(key) = key_of(ready(&node)) else { return Ok(()) };
        let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if is_emptied(&taints) {
            return Ok(());
        }
        let (key, effect) = (key.to_owned(), "NoExecute".to_owned());
        taints.push(Taint { key, effect, time_added: Some(Time(sampan_reconcile::now())), value: None });
        self.write_taints(&node, &taints).await
    }

    /// Stops emptying a node; it has its turn again later.
    async fn keep(&self, node: &Node) -> Result<(), Error> {
        let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if !is_emptied(&taints) {
            return Ok(());
        }
        taints.retain(|taint| !is_emptied(std::slice::from_ref(taint)));
        self.write_taints(node, &taints).await?;
        self.zones.lock().enqueue(name(&node.metadata));
        Ok(())
    }

    async fn write_conditions(&self, node: &Node, conditions: Vec<NodeCondition>) -> Result<Node, Error> {
        let mut object = node.clone();
        object.status.get_or_insert_default().conditions = Some(conditions);
        let api = self.context.cluster::<Node>();
        let written = api.replace_status(name(&node.metadata), &PostParams::default(), &object).await?;
        self.nodes.reached(resource_version(&written.metadata)).await;
        Ok(written)
    }

    async fn write_taints(&self, node: &Node, taints: &[Taint]) -> Result<(), Error> {
        let body = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
        let api = self.context.cluster::<Node>();
        let written = api.patch(name(&node.metadata), &PatchParams::default(), &Patch::Merge(body)).await?;
        self.nodes.reached(resource_version(&written.metadata)).await;
        Ok(())
    }

    /// Services must not send anybody to pods of a node that is not ready.
    async fn mark_pods(&self, node: &str) -> Result<(), Error> {
        for pod in self.context.pods.by_index(BY_NODE, node).into_iter().filter(|pod| is_ready(pod)) {
            let api = self.context.namespaced::<Pod>(namespace(&pod.metadata));
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": Time(sampan_reconcile::now())});
            let body =
                json!({"metadata": {"uid": uid(&pod.metadata)}, "status": {"conditions": [condition]}});
            self.recorder.warning(&reference(&*pod), "NodeNotReady", "Node is not ready");
            match api
                .patch_status(name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(body))
                .await
            {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                result => drop(result?),
            }
        }
        Ok(())
    }
}

impl Controller for NodeLifecycle {
    type Key = Key;

    fn name(&self) -> &'static str {
        "node-lifecycle-controller"
    }

    fn queue(&self) -> &'static str {
        "node_lifecycle_controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        sources.on(&self.nodes, move |delta| this.changed(delta));
        let this = self.clone();
        sources.on(&self.leases, move |delta| {
            if delta.key.namespace() == NODE_LEASES && delta.new.is_some() {
                this.hear(&delta.key.name);
            }
            Vec::new()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        if key.name.is_empty() {
            return self.look_at_zones().await;
        }
        let Some(node) = self.nodes.get(key) else { return Ok(None) };
        let plan = plan(&node, self.silent(&key.name), sampan_reconcile::now());
        let mut node = (*node).clone();
        if let Some(conditions) = plan.conditions {
            node = self.write_conditions(&node, conditions).await?;
        }
        if let Some(taints) = &plan.taints {
            self.write_taints(&node, taints).await?;
        }
        if plan.went {
            let message = format!("Node {} status is now: NodeNotReady", key.name);
            self.recorder.normal(&reference(&node), "NodeNotReady", message);
        }
        if ready(&node) == "True" || condition(&node, "Ready").is_none() {
            self.zones.lock().spare(&key.name);
            return Ok(plan.requeue);
        }
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        if !is_emptied(taints) {
            self.zones.lock().enqueue(&key.name);
        }
        self.mark_pods(&key.name).await?;
        Ok(plan.requeue)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(ready: Option<&str>, taints: &[(&str, &str)], unschedulable: bool) -> Node {
        let conditions: Vec<_> =
            ready.map(|status| json!({"type": "Ready", "status": status})).into_iter().collect();
        let taints: Vec<_> =
            taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": conditions},
            "spec": {"taints": taints, "unschedulable": unschedulable}}))
        .unwrap()
    }

    fn keys(plan: &Plan) -> Option<Vec<String>> {
        Some(
            plan.taints
                .as_ref()?
                .iter()
                .map(|t| format!("{}:{}", t.key.rsplit('/').next().unwrap(), t.effect))
                .collect(),
        )
    }

    #[test]
    fn conditions_become_taints() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(51));
        let both = [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")];
        let lost = [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")];
        let cases: [(Node, Duration, Option<&[&str]>); 11] = [
            (node(Some("True"), &[], false), soon, None),
            (node(Some("True"), &both, false), soon, Some(&[])),
            (node(Some("True"), &[("mine", "NoSchedule"), both[0]], false), soon, Some(&["mine:NoSchedule"])),
            (node(Some("True"), &[], true), soon, Some(&["unschedulable:NoSchedule"])),
            (node(Some("False"), &[], false), soon, Some(&["not-ready:NoSchedule"])),
            (node(Some("True"), &[], false), late, Some(&["unreachable:NoSchedule"])),
            // one that is being emptied goes on to be, for the other reason
            (
                node(Some("True"), &both, false),
                late,
                Some(&["unreachable:NoSchedule", "unreachable:NoExecute"]),
            ),
            (node(Some("False"), &lost, false), soon, Some(&["not-ready:NoSchedule", "not-ready:NoExecute"])),
            (node(Some("False"), &both, false), soon, None),
            // one that never said anything
            (node(None, &both[..1], false), soon, Some(&[])),
            (node(None, &both, true), soon, Some(&["not-ready:NoExecute", "unschedulable:NoSchedule"])),
        ];
        for (node, silent, expected) in cases {
            let plan = plan(&node, silent, Timestamp::now());
            assert_eq!(
                keys(&plan),
                expected.map(|list| list.iter().map(|s| (*s).to_owned()).collect()),
                "{node:?}"
            );
        }
    }

    #[test]
    fn silence_makes_unknown_in_upstreams_words() {
        let plan = plan(&node(Some("True"), &[], false), GRACE, Timestamp::now());
        let conditions = plan.conditions.unwrap();
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[0].message.as_deref(), Some("Kubelet stopped posting node status."));
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        assert!(plan.went && plan.requeue.is_none());
        let fresh = super::plan(&node(Some("True"), &[], false), Duration::from_secs(10), Timestamp::now());
        assert_eq!(fresh.requeue, Some(Duration::from_millis(40_010)));
    }
}
