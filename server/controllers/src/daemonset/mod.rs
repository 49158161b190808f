//! DaemonSet: one pod on every node that fits (upstream's `daemon_controller.go` and `update.go`).

mod backoff;
mod nodes;
mod plan;
#[cfg(test)]
mod plan_tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, HashSet, Informer, Key, Object, Recorder, Sources, reference};
use serde_json::json;
use tokio::time::Instant;

use self::backoff::Backoff;
use self::nodes::pod_for;
use self::plan::{World, plan};
use crate::claim::{self, claim};
use crate::context::{Context, candidates, index_by_owner, owner_keys, suitors};
use crate::history::History;
use crate::pod_control::PodControl;
use crate::words::{Map, matches, name, namespace, phase, resource_version, selects_all, uid};

const HASH_LABEL: &str = "controller-revision-hash";

/// The controller.
pub(crate) struct DaemonSets {
    context: Context,
    sets: Informer<DaemonSet>,
    nodes: Informer<Node>,
    history: History,
    control: PodControl,
    recorder: Recorder,
    backoff: Mutex<Backoff>,
}

impl DaemonSets {
    pub fn new(context: &Context) -> Self {
        let sets = context.by_namespace::<DaemonSet>();
        index_by_owner(&sets);
        let recorder = context.recorder("daemonset-controller");
        let control = PodControl::new(context, &recorder);
        let history = History::new(context, HASH_LABEL);
        let (context, nodes) = (context.clone(), context.informers.of());
        Self { context, sets, nodes, history, control, recorder, backoff: Mutex::default() }
    }

    /// The set's pods, after adoption and release: those that failed or succeeded as well, so that they are replaced.
    async fn pods(&self, ds: &DaemonSet, selector: &LabelSelector) -> Result<Vec<Arc<Pod>>, Error> {
        let found = candidates(&self.context.pods, uid(&ds.metadata), namespace(&ds.metadata));
        let sorted = claim(&ds.metadata, selector, found);
        claim::settle(&self.context, ds, &self.context.pods, sorted).await
    }

    /// Of several revisions of the present template only `present` stays, and has the pods of the others (upstream's
    /// `dedupCurHistories`, which gives it also those of other templates).
    async fn merge(
        &self,
        ds: &DaemonSet,
        pods: Vec<Arc<Pod>>,
        present: &ControllerRevision,
    ) -> Result<Vec<Arc<Pod>>, Error> {
        let twins = self.history.twins(&ds.metadata, present);
        if twins.is_empty() {
            return Ok(pods);
        }
        let hash = self.history.hash(present);
        let hashes: Vec<&str> = twins.iter().map(|twin| self.history.hash(twin)).collect();
        let patch = Patch::Merge(json!({"metadata": {"labels": {HASH_LABEL: hash}}}));
        let api = self.context.namespaced::<Pod>(namespace(&ds.metadata));
        let (mut merged, mut version) = (Vec::new(), 0);
        for pod in pods {
            if !is_renamed(&pod, hash, &hashes) {
                merged.push(pod);
                continue;
            }
            let written = api.patch(name(&pod.metadata), &PatchParams::default(), &patch).await?;
            version = resource_version(&written.metadata).max(version);
            merged.push(Arc::new(written));
        }
        self.context.pods.reached(version).await;
        self.history.delete(&twins).await?;
        Ok(merged)
    }

    /// Forgets revisions that neither pods nor `revisionHistoryLimit` keep.
    async fn trim(
        &self,
        ds: &DaemonSet,
        pods: &[Arc<Pod>],
        present: &ControllerRevision,
    ) -> Result<(), Error> {
        let hashes = pods.iter().filter_map(|pod| hash_of(pod));
        let names = hashes.map(|hash| format!("{}-{hash}", name(&ds.metadata)));
        let live: HashSet<String> = names.chain([name(&present.metadata).to_owned()]).collect();
        let limit = ds.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        self.history.trim(&ds.metadata, limit, &live).await
    }
}

/// The hash of the template that a pod was made from.
fn hash_of(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}

/// Whether a pod is of the present template, but by the hash of one of its `twins`.
fn is_renamed(pod: &Pod, hash: &str, twins: &[&str]) -> bool {
    hash_of(pod).is_some_and(|own| own != hash && twins.contains(&own))
}

/// Whether the set may adopt what has these labels.
fn selects(ds: &DaemonSet, labels: Option<&Map>) -> bool {
    ds.spec.as_ref().is_some_and(|spec| matches(&spec.selector, labels))
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

    fn queue(&self) -> &'static str {
        "daemonset"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.sets, |delta| vec![delta.key.clone()]);
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| {
            let mut keys = owner_keys(delta, "DaemonSet");
            keys.extend(suitors(delta, &this.sets, selects));
            keys
        });
        let this = self.clone();
        sources.on(self.history.informer(), move |delta| suitors(delta, &this.sets, selects));
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
        let spec = ds.spec.clone().unwrap_or_default();
        if selects_all(&spec.selector) {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&reference(&*ds), "SelectingAll", message);
            return Ok(None);
        }
        self.history.claim(&*ds, &spec.selector).await?;
        let collisions = ds.status.as_ref().and_then(|status| status.collision_count);
        let (revision, collisions) = self.history.present(&*ds, &spec.template, collisions).await?;
        let hash = self.history.hash(&revision).to_owned();
        let pods = self.pods(&ds, &spec.selector).await?;
        let pods = self.merge(&ds, pods, &revision).await?;
        let mut nodes = self.nodes.list();
        nodes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let generation = ds.metadata.generation.unwrap_or_default();
        let place = |node: &str| (uid(&ds.metadata).to_owned(), generation, node.to_owned());
        let now = Instant::now();
        let (mut plan, pause) = {
            let backoff = self.backoff.lock();
            let left = |node: &str| backoff.left(&place(node), now);
            let world = World {
                ds: &ds,
                nodes: &nodes,
                pods: &pods,
                hash: &hash,
                now: sampan_reconcile::now(),
                held: &|node| left(node).is_some(),
            };
            let plan = plan(&world);
            let pause = plan.held.iter().filter_map(|node| left(node)).min();
            (plan, pause)
        };
        plan.status.collision_count = collisions;
        let about = reference(&*ds);
        for (pod, node) in &plan.ended {
            if phase(pod) == "Failed" {
                self.backoff.lock().failed(place(node), now);
                let message =
                    format!("Found failed daemon pod {} on node {node}, will try to kill it", pod.key());
                self.recorder.warning(&about, "FailedDaemonPod", message);
            } else {
                let message =
                    format!("Found succeeded daemon pod {} on node {node}, will try to delete it", pod.key());
                self.recorder.normal(&about, "SucceededDaemonPod", message);
            }
        }
        // the status tells what there is, whether or not the step succeeds
        let pods_made = plan.create.iter().map(|node| pod_for(&ds, node, &hash)).collect();
        let created = self.control.create(&about, pods_made).await;
        let deleted = self.control.delete(&about, &plan.delete).await;
        if ds.status.as_ref() != Some(&plan.status) {
            let mut object = (*ds).clone();
            object.status = Some(plan.status);
            let api = self.context.namespaced::<DaemonSet>(key.namespace());
            let written = api.replace_status(&key.name, &PostParams::default(), &object).await?;
            self.sets.reached(resource_version(&written.metadata)).await;
        }
        created.and(deleted)?;
        self.trim(&ds, &pods, &revision).await?;
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let waits =
            pods.iter().filter_map(|pod| crate::words::available_in(pod, min_ready, sampan_reconcile::now()));
        let waits = waits.filter(|wait| *wait > 0).map(Duration::from_secs);
        Ok(waits.chain(pause).min())
    }
}
