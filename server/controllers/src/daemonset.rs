//! DaemonSet: one pod on every node that fits (upstream's `daemon_controller.go`). `rolling`: how pods are replaced.

mod rolling;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::api::PostParams;
use parking_lot::Mutex;
use sampan_reconcile::{
    Controller, Error, HashMap, HashSet, Informer, Key, Object, Recorder, Sources, reference,
};

use tokio::time::Instant;

use crate::context::{BY_CONTROLLER, Context, index_by_owner, owner_keys};
use crate::history::History;
use crate::node::eviction::tolerates;
use crate::pod_control::{PodControl, pod_from_template};
use crate::words::{
    Map, controller_reference, is_ready, is_terminal, matches, name, namespace, phase, resource_version, uid,
};

use rolling::{Present, Seat, roll, surges, surplus};

const HASH_LABEL: &str = "controller-revision-hash";

/// Taints that every daemon tolerates.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The nodes that get a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Those that have failed, with their nodes: they go after a back-off.
    pub failed: Vec<(Arc<Pod>, String)>,
    pub status: DaemonSetStatus,
}

/// Compares nodes and pods. `hash` is that of the present template.
pub(crate) fn plan(
    ds: &DaemonSet,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    hash: &str,
    now: Timestamp,
) -> Plan {
    let spec = ds.spec.clone().unwrap_or_default();
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let mut by_node: HashMap<String, Vec<Arc<Pod>>> = HashMap::default();
    for pod in pods {
        by_node.entry(target(pod).unwrap_or_default()).or_default().push(pod.clone());
    }
    let mut plan = Plan::default();
    let mut status =
        DaemonSetStatus { observed_generation: ds.metadata.generation, ..DaemonSetStatus::default() };
    let (mut updated, mut available, mut seats) = (0, 0, Vec::new());
    let (surge, present) = (surges(&spec), Present { hash, min_ready, now });
    for node in nodes {
        let node_name = name(&node.metadata);
        let (run, stay) = fits(&spec, node);
        let here = by_node.remove(node_name).unwrap_or_default();
        let best = place(&mut plan, &here, node_name, (run, stay), (surge, present));
        status.number_misscheduled += i32::from(!run && !here.is_empty());
        let runs = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_none() && !is_terminal(pod);
        let seat = Seat { node: node_name.to_owned(), run, pods: here.into_iter().filter(runs).collect() };
        if run || (stay && !seat.pods.is_empty()) {
            seats.push(seat);
        }
        if !run {
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = best else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(is_ready(&pod));
        available += i32::from(present.available(&pod) && pod.metadata.deletion_timestamp.is_none());
        updated += i32::from(present.has(&pod));
    }
    // pods of nodes that are gone are the pod collector's
    status.updated_number_scheduled = Some(updated);
    status.number_available = Some(available);
    status.number_unavailable = Some(status.desired_number_scheduled - available);
    roll(&mut plan, &spec, &seats, status.desired_number_scheduled, present);
    plan.status = status;
    plan
}

/// Decides over one node, where a pod should run or may stay; returns the pod that counts there.
fn place(
    plan: &mut Plan,
    here: &[Arc<Pod>],
    node: &str,
    (run, stay): (bool, bool),
    (surge, present): (bool, Present<'_>),
) -> Option<Arc<Pod>> {
    let leaving = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_some();
    if !run {
        if !stay {
            plan.delete.extend(here.iter().filter(|pod| !leaving(pod)).cloned());
        }
        return None;
    }
    let (ended, mut alive): (Vec<_>, Vec<_>) = here.iter().cloned().partition(|pod| is_terminal(pod));
    for pod in ended.into_iter().filter(|pod| !leaving(pod)) {
        match phase(&pod) {
            "Failed" => plan.failed.push((pod, node.to_owned())),
            _ => plan.delete.push(pod),
        }
    }
    if alive.is_empty() && here.is_empty() {
        plan.create.push(node.to_owned());
    }
    plan.delete.extend(surplus(alive.iter().filter(|pod| !leaving(pod)).cloned().collect(), surge, present));
    // of several, the oldest counts
    alive.sort_by_key(|pod| (leaving(pod), crate::words::created(&pod.metadata)));
    alive.into_iter().next()
}

/// Whether a new pod should run on the node, and whether an old one may stay.
fn fits(spec: &DaemonSetSpec, node: &Node) -> (bool, bool) {
    let pod = spec.template.spec.clone().unwrap_or_default();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let named = pod.node_name.as_deref().is_none_or(|wanted| wanted == name(&node.metadata));
    let selected = pod.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = pod.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let near = required.is_none_or(|required| {
        required.node_selector_terms.iter().any(|term| term_fits(term, &labels, node))
    });
    if !(named && selected && near) {
        return (false, false);
    }
    let tolerations = tolerations(&pod);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let repels = |taint: &Taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint));
    let (hard, execute): (Vec<_>, Vec<_>) =
        taints.iter().filter(|taint| repels(taint)).partition(|t| t.effect == "NoSchedule");
    let execute = execute.iter().any(|taint| taint.effect == "NoExecute");
    (hard.is_empty() && !execute, !execute)
}

fn term_fits(term: &NodeSelectorTerm, labels: &Map, node: &Node) -> bool {
    let selector = |requirements: &Option<Vec<NodeSelectorRequirement>>| LabelSelector {
        match_labels: None,
        match_expressions: requirements.as_ref().map(|list| {
            let same = |r: &NodeSelectorRequirement| LabelSelectorRequirement {
                key: r.key.clone(),
                operator: r.operator.clone(),
                values: r.values.clone(),
            };
            list.iter().map(same).collect()
        }),
    };
    let fields: Map = [("metadata.name".to_owned(), name(&node.metadata).to_owned())].into();
    let empty = |list: &Option<Vec<NodeSelectorRequirement>>| list.as_ref().is_none_or(Vec::is_empty);
    !(empty(&term.match_expressions) && empty(&term.match_fields))
        && matches(&selector(&term.match_expressions), Some(labels))
        && matches(&selector(&term.match_fields), Some(&fields))
}

fn tolerations(pod: &PodSpec) -> Vec<Toleration> {
    let mut all = pod.tolerations.clone().unwrap_or_default();
    let network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let host = (pod.host_network == Some(true)).then_some(network);
    for (key, effect) in TOLERATED.into_iter().chain(host) {
        let (key, effect, operator) =
            (Some(key.to_owned()), Some(effect.to_owned()), Some("Exists".to_owned()));
        all.push(Toleration { key, effect, operator, ..Toleration::default() });
    }
    all
}

/// The node that a daemon's pod is on or meant for.
fn target(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.clone().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let mut fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields.find(|field| field.key == "metadata.name")?.values.as_ref()?.first().cloned()
}

/// The pod for one node, bound to it by affinity: the scheduler still looks at it.
fn pod_for(ds: &DaemonSet, node: &str, hash: &str) -> Pod {
    let template = ds.spec.clone().unwrap_or_default().template;
    let mut pod = pod_from_template(&template, &controller_reference(ds), namespace(&ds.metadata));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    labels.insert("pod-template-generation".to_owned(), ds.metadata.generation.unwrap_or(1).to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let required: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector =
        required.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields = Some(vec![field.clone()]);
    }
    pod
}

/// How long a failed pod stays, by set and node: a second at first, at most a quarter of an hour.
#[derive(Debug, Default)]
struct BackOff(HashMap<(String, String), (Instant, Duration)>);

impl BackOff {
    /// Whether the pod of that set and node may go now; else when.
    fn passes(&mut self, key: (String, String), now: Instant) -> Result<(), Duration> {
        const FIRST: Duration = Duration::from_secs(1);
        const MOST: Duration = Duration::from_secs(15 * 60);
        // what was long ago is forgotten
        self.0.retain(|_, (at, pause)| *at + *pause + 2 * MOST > now);
        match self.0.get_mut(&key) {
            Some((at, pause)) if *at + *pause > now => Err(*at + *pause - now),
            Some((at, pause)) => {
                (*at, *pause) = (now, (*pause * 2).min(MOST));
                Ok(())
            }
            None => {
                self.0.insert(key, (now, FIRST));
                Ok(())
            }
        }
    }
}

/// The controller.
pub(crate) struct DaemonSets {
    context: Context,
    sets: Informer<DaemonSet>,
    nodes: Informer<Node>,
    history: History,
    control: PodControl,
    recorder: Recorder,
    back_off: Mutex<BackOff>,
}

impl DaemonSets {
    pub fn new(context: &Context) -> Self {
        let sets = context.by_namespace::<DaemonSet>();
        index_by_owner(&sets);
        let recorder = context.recorder("daemonset-controller");
        let control = PodControl::new(context, &recorder);
        let history = History::new(context, HASH_LABEL);
        let nodes = context.informers.of();
        let back_off = Mutex::default();
        Self { context: context.clone(), sets, nodes, history, control, recorder, back_off }
    }

    /// Forgets revisions that neither pods nor `revisionHistoryLimit` keep.
    async fn trim(
        &self,
        ds: &DaemonSet,
        pods: &[Arc<Pod>],
        present: &ControllerRevision,
    ) -> Result<(), Error> {
        let hash = |pod: &Arc<Pod>| pod.metadata.labels.as_ref()?.get(HASH_LABEL).cloned();
        let names = pods.iter().filter_map(hash).map(|hash| format!("{}-{hash}", name(&ds.metadata)));
        let live: HashSet<String> = names.chain([name(&present.metadata).to_owned()]).collect();
        let limit = ds.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        self.history.trim(&ds.metadata, limit, &live).await
    }
}

/// What of a node matters to daemons.
fn face(node: &Node) -> impl PartialEq + use<> {
    let spec = node.spec.clone().unwrap_or_default();
    (node.metadata.labels.clone(), spec.taints, spec.unschedulable)
}

impl Controller for DaemonSets {
    type Key = Key;

    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.sets, |delta| vec![delta.key.clone()]);
        sources.on(&self.context.pods, |delta| owner_keys(delta, "DaemonSet"));
        sources.needs(self.history.informer());
        let this = self.clone();
        sources.on(&self.nodes, move |delta| {
            if delta.old.as_ref().map(|node| face(node)) == delta.new.as_ref().map(|node| face(node)) {
                return Vec::new();
            }
            this.sets.list().iter().map(|ds| ds.key()).collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(ds) = self.sets.get(key).filter(|ds| ds.metadata.deletion_timestamp.is_none()) else {
            return Ok(None);
        };
        let template = ds.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let collisions = ds.status.as_ref().and_then(|status| status.collision_count);
        let (revision, collisions) = self.history.present(&*ds, &template, collisions).await?;
        let hash = self.history.hash(&revision).to_owned();
        let pods = self.context.pods.by_index(BY_CONTROLLER, uid(&ds.metadata));
        let mut nodes = self.nodes.list();
        nodes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut plan = plan(&ds, &nodes, &pods, &hash, sampan_reconcile::now());
        plan.status.collision_count = collisions;
        let about = reference(&*ds);
        let mut later = None;
        for (pod, node) in &plan.failed {
            let key = (uid(&ds.metadata).to_owned(), node.clone());
            if let Err(left) = self.back_off.lock().passes(key, Instant::now()) {
                later = later.into_iter().chain([left]).min();
                continue;
            }
            plan.delete.push(pod.clone());
            let message =
                format!("Found failed daemon pod {} on node {node}, will try to kill it", pod.key());
            self.recorder.warning(&about, "FailedDaemonPod", message);
        }
        self.control.delete(&about, &plan.delete).await?;
        self.control
            .create(&about, plan.create.iter().map(|node| pod_for(&ds, node, &hash)).collect())
            .await?;
        if ds.status.as_ref() != Some(&plan.status) {
            let mut object = (*ds).clone();
            object.status = Some(plan.status);
            let api = self.context.namespaced::<DaemonSet>(key.namespace());
            let written = api.replace_status(&key.name, &PostParams::default(), &object).await?;
            self.sets.reached(resource_version(&written.metadata)).await;
        }
        self.trim(&ds, &pods, &revision).await?;
        let min_ready = ds.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let waits =
            pods.iter().filter_map(|pod| crate::words::available_in(pod, min_ready, sampan_reconcile::now()));
        let waits = waits.filter(|wait| *wait > 0).map(Duration::from_secs);
        Ok(waits.chain(later).min())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn node(name: &str, taint: Option<(&str, &str)>) -> Arc<Node> {
        let taints: Vec<_> =
            taint.map(|(key, effect)| json!({"key": key, "effect": effect})).into_iter().collect();
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "labels": {"os": "linux"}}, "spec": {"taints": taints}}),
            )
            .unwrap(),
        )
    }

    fn set() -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "a", "uid": "d", "generation": 1},
            "spec": {"selector": {}, "template": {"spec": {"containers": [], "nodeSelector": {"os": "linux"}}}}}))
        .unwrap()
    }

    fn pod(ds: &DaemonSet, node: &str, hash: &str, ready: bool) -> Arc<Pod> {
        let mut pod = pod_for(ds, node, hash);
        pod.metadata.name = Some(format!("d-{node}"));
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]});
        pod.status = serde_json::from_value(status).unwrap();
        Arc::new(pod)
    }

    #[test]
    fn every_fitting_node_gets_one() {
        let nodes = [
            node("a", None),
            node("b", Some(("mine", "NoSchedule"))),
            node("c", Some(("node.kubernetes.io/unschedulable", "NoSchedule"))),
            node("d", Some(("mine", "NoExecute"))),
        ];
        let ds = set();
        let pods = [pod(&ds, "a", "h", true), pod(&ds, "b", "h", true), pod(&ds, "d", "h", true)];
        let plan = plan(&ds, &nodes, &pods, "h", Timestamp::now());
        assert_eq!(plan.create, ["c"]);
        let gone: Vec<_> = plan.delete.iter().map(|pod| name(&pod.metadata)).collect();
        assert_eq!(gone, ["d-d"], "NoSchedule lets what runs stay");
        let status = plan.status;
        assert_eq!(
            (status.desired_number_scheduled, status.current_number_scheduled, status.number_misscheduled),
            (2, 1, 2)
        );
    }

    #[test]
    fn a_failed_pod_goes_after_a_back_off() {
        let (ds, nodes) = (set(), [node("a", None)]);
        let mut failed = (*pod(&ds, "a", "h", false)).clone();
        failed.status.as_mut().unwrap().phase = Some("Failed".to_owned());
        let plan = plan(&ds, &nodes, &[Arc::new(failed)], "h", Timestamp::now());
        assert_eq!((plan.failed.len(), plan.delete.len(), plan.create.len()), (1, 0, 0));
        let (mut back_off, now, key) = (BackOff::default(), Instant::now(), ("d".into(), "a".into()));
        let second = Duration::from_secs(1);
        let passes =
            [0, 0, 1, 2, 3, 7].map(|at| back_off.passes(Clone::clone(&key), now + second * at).is_ok());
        assert_eq!(passes, [true, false, true, false, true, true]);
        assert_eq!(back_off.passes(key, now + second * 8), Err(second * 7));
    }

    #[test]
    fn updates_go_one_by_one() {
        let (ds, nodes) = (set(), [node("a", None), node("b", None), node("c", None)]);
        let mut pods =
            vec![pod(&ds, "a", "old", true), pod(&ds, "b", "old", true), pod(&ds, "c", "new", true)];
        assert_eq!(plan(&ds, &nodes, &pods, "new", Timestamp::now()).delete.len(), 1);
        pods[2] = pod(&ds, "c", "new", false);
        assert_eq!(plan(&ds, &nodes, &pods, "new", Timestamp::now()).delete.len(), 0);
        pods[0] = pod(&ds, "a", "old", false);
        assert_eq!(
            plan(&ds, &nodes, &pods, "new", Timestamp::now()).delete.len(),
            1,
            "a useless old pod goes at once"
        );
    }
}
