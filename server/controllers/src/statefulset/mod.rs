//! StatefulSet: pods with a name, an order and claims of their own (upstream's `stateful_set_control.go`).

mod claims;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume};
use kube::api::{Patch, PatchParams, PostParams};
use sampan_reconcile::{Controller, Delta, Error, HashSet, Informer, Key, Recorder, Sources, reference};
use serde_json::json;

use self::claims::claims_of;
use crate::claim::{self, claim_members};
use crate::context::{BY_NAMESPACE, Context, candidates, index_by_owner, owner_keys, suitors};
use crate::history::{History, template_of};
use crate::pod_control::{PodControl, is_terminating, message_of, pod_from_template};
use crate::words::{
    Map, controller_reference, created, is_available, is_ready, is_terminal, matches, name, namespace, phase,
    resource_version, uid,
};

/// On pods: the name of their revision.
const HASH_LABEL: &str = "controller-revision-hash";
/// On revisions: the hash of their template.
const REVISION_HASH: &str = "controller.kubernetes.io/hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The ordinals that get a pod.
    pub create: Vec<i32>,
    /// The ordinals whose pods have not started yet: claims of theirs that went are made anew.
    pub claims: Vec<i32>,
    pub delete: Vec<Arc<Pod>>,
    pub status: StatefulSetStatus,
}

/// What follows the set's name in the pod's, if that is a number.
fn number<'a>(set: &StatefulSet, pod: &'a Pod) -> Option<&'a str> {
    let rest = name(&pod.metadata).strip_prefix(name(&set.metadata))?.strip_prefix('-')?;
    let digits = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some(rest)
}

fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    number(set, pod)?.parse().ok()
}

/// The labels that say which one the pod is, if it is to be there and does not say so yet: an adopted one may not.
fn missing_identity(set: &StatefulSet, pod: &Pod) -> Option<Map> {
    let ordinal = ordinal(set, pod).filter(|ordinal| {
        set.spec.as_ref().is_some_and(|spec| range_of(spec).contains(ordinal))
            && pod.metadata.deletion_timestamp.is_none()
    })?;
    let said = pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_NAME));
    (said != pod.metadata.name.as_ref()).then(|| identity(name(&pod.metadata), ordinal))
}

fn identity(pod: &str, ordinal: i32) -> Map {
    [(POD_NAME.to_owned(), pod.to_owned()), (POD_INDEX.to_owned(), ordinal.to_string())].into()
}

/// The ordinals that are to have a pod.
fn range_of(spec: &StatefulSetSpec) -> std::ops::Range<i32> {
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    start..start + spec.replicas.unwrap_or(1)
}

fn leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn runs(pod: &Pod) -> bool {
    phase(pod) == "Running"
}

fn revision(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}

/// One pass: at most one step at a time, in order, unless the pods are managed in parallel.
pub(crate) fn plan(set: &StatefulSet, pods: &[Arc<Pod>], update: &str, now: Timestamp) -> Plan {
    let spec = set.spec.clone().unwrap_or_default();
    let range = range_of(&spec);
    let mut pods: Vec<(i32, Arc<Pod>)> =
        pods.iter().filter_map(|pod| Some((ordinal(set, pod)?, pod.clone()))).collect();
    pods.sort_by_key(|(ordinal, pod)| (*ordinal, created(&pod.metadata)));
    let mut plan = Plan { status: status(set, &spec, &pods, update, now), ..Plan::default() };
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    for ordinal in range.clone() {
        let pod = pods.iter().find(|(at, _)| *at == ordinal).map(|(_, pod)| pod);
        match pod {
            None => plan.create.push(ordinal),
            Some(pod) if is_terminal(pod) && !leaving(pod) => plan.delete.push(pod.clone()),
            Some(pod) if phase(pod) == "Pending" => plan.claims.push(ordinal),
            Some(pod) if !leaving(pod) && is_available(pod, min_ready, now) => continue,
            Some(_) => {}
        }
        if !parallel {
            return plan;
        }
    }
    let surplus = pods.iter().filter(|(ordinal, _)| !range.contains(ordinal));
    // in order, a pod that is not well is kept for as long as one before it is not well either: somebody has to look
    let well = |pod: &Pod| !leaving(pod) && is_available(pod, min_ready, now);
    let first_ill = surplus.clone().find(|(_, pod)| !well(pod)).map(|(ordinal, _)| *ordinal);
    for (ordinal, pod) in surplus.rev() {
        let waits = !parallel && !well(pod) && first_ill != Some(*ordinal);
        if !leaving(pod) && !waits {
            plan.delete.push(pod.clone());
        }
        if !parallel {
            return plan;
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() {
        roll(&mut plan, &spec, &pods, update, now);
    }
    plan
}

/// Replaces an old pod: the one of the highest ordinal, down to the partition. What was replaced has to be available again
/// before the next goes; one below that is away holds nobody up. `maxUnavailable` is for a gate that is off in v1.36.
fn roll(plan: &mut Plan, spec: &StatefulSetSpec, pods: &[(i32, Arc<Pod>)], update: &str, now: Timestamp) {
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return;
    }
    let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0);
    let range = range_of(spec);
    let range = range.start.saturating_add(partition)..range.end;
    for (_, pod) in pods.iter().rev().filter(|(ordinal, _)| range.contains(ordinal)) {
        if revision(pod) != Some(update) && !leaving(pod) {
            return plan.delete.push(pod.clone());
        }
        if leaving(pod) || !is_available(pod, spec.min_ready_seconds.unwrap_or(0), now) {
            return;
        }
    }
}

fn status(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    pods: &[(i32, Arc<Pod>)],
    update: &str,
    now: Timestamp,
) -> StatefulSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let count = |test: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|(_, pod)| test(pod)).count()).unwrap_or(0)
    };
    let of = |name: &str| count(&|pod| revision(pod) == Some(name) && !leaving(pod));
    let (all, updated) = (count(&|_| true), of(update));
    let ready = count(&|pod| runs(pod) && is_ready(pod));
    let rolls = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) != Some("OnDelete");
    let wanted = spec.replicas.unwrap_or(1);
    let settled = rolls && [updated, ready, all] == [wanted; 3];
    let current = old.current_revision.filter(|_| !settled).unwrap_or_else(|| update.to_owned());
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: all,
        ready_replicas: Some(ready),
        available_replicas: Some(count(&|pod| runs(pod) && is_available(pod, min_ready, now))),
        current_replicas: Some(of(&current)),
        updated_replicas: Some(updated),
        current_revision: Some(current),
        update_revision: Some(update.to_owned()),
        collision_count: Some(old.collision_count.unwrap_or(0)),
        conditions: old.conditions,
    }
}

/// Whether an ordinal is still made from the current revision, not from the updated one
/// (`newVersionedStatefulSetPod`).
fn is_behind(spec: &StatefulSetSpec, status: &StatefulSetStatus, ordinal: i32) -> bool {
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return false;
    }
    let behind = strategy.rolling_update.and_then(|rolling| rolling.partition);
    let behind = behind.unwrap_or(status.current_replicas.unwrap_or(0));
    ordinal < range_of(spec).start.saturating_add(behind)
}

/// The pod of one ordinal: its name, host name and claims are its own.
fn pod_of(set: &StatefulSet, ordinal: i32, revision: &str) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let pod_name = format!("{}-{ordinal}", name(&set.metadata));
    let mut pod = pod_from_template(&spec.template, &controller_reference(set), namespace(&set.metadata));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(pod_name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), revision.to_owned());
    labels.extend(identity(&pod_name, ordinal));
    let claims = claims_of(set, ordinal);
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(pod_name);
    pod_spec.subdomain = spec.service_name.filter(|name| !name.is_empty());
    let volumes = pod_spec.volumes.get_or_insert_default();
    for (volume, claim) in claims {
        volumes.retain(|other| other.name != volume);
        volumes.push(Volume {
            name: volume,
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: name(&claim.metadata).to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
    pod
}

/// The controller.
pub(crate) struct StatefulSets {
    context: Context,
    sets: Informer<StatefulSet>,
    claims: Informer<PersistentVolumeClaim>,
    history: History,
    control: PodControl,
    recorder: Recorder,
}

impl StatefulSets {
    pub fn new(context: &Context) -> Self {
        let sets = context.by_namespace::<StatefulSet>();
        index_by_owner(&sets);
        let recorder = context.recorder("statefulset-controller");
        let history = History::new(context, REVISION_HASH);
        let control = PodControl::of_stateful_sets(context, &recorder);
        let (context, claims) = (context.clone(), context.informers.of());
        Self { context, sets, claims, history, control, recorder }
    }

    fn claim(&self, wanted: &PersistentVolumeClaim) -> Option<Arc<PersistentVolumeClaim>> {
        let meta = &wanted.metadata;
        self.claims.get(&Key::namespaced(namespace(meta), name(meta)))
    }

    /// The set's pods, after adoption and release: those of its name and selector. Each says which one it is.
    async fn pods(&self, set: &StatefulSet, spec: &StatefulSetSpec) -> Result<Vec<Arc<Pod>>, Error> {
        let found = candidates(&self.context.pods, uid(&set.metadata), namespace(&set.metadata));
        let is_member = |pod: &Pod| number(set, pod).is_some();
        let sorted = claim_members(&set.metadata, &spec.selector, found, is_member);
        let mut pods = claim::settle(&self.context, set, &self.context.pods, sorted).await?;
        for pod in pods.iter_mut().filter(|_| set.metadata.deletion_timestamp.is_none()) {
            if let Some(labels) = missing_identity(set, pod) {
                *pod = Arc::new(self.identify(set, pod, &labels).await?);
            }
        }
        Ok(pods)
    }

    /// Labels a pod, with upstream's events.
    async fn identify(&self, set: &StatefulSet, pod: &Pod, labels: &Map) -> Result<Pod, Error> {
        let about = reference(set);
        let api = self.context.namespaced::<Pod>(namespace(&set.metadata));
        let patch = Patch::Merge(json!({"metadata": {"uid": pod.metadata.uid, "labels": labels}}));
        let (own, of) = (name(&pod.metadata), name(&set.metadata));
        match api.patch(own, &PatchParams::default(), &patch).await {
            Ok(written) => {
                let message = format!("Update Pod {own} in StatefulSet {of} successful");
                self.recorder.normal(&about, "SuccessfulUpdate", message);
                self.context.pods.reached(resource_version(&written.metadata)).await;
                Ok(written)
            }
            Err(error) => {
                let why = message_of(&error);
                let message = format!("Update Pod {own} in StatefulSet {of} failed error: {why}");
                self.recorder.warning(&about, "FailedUpdate", message);
                Err(error.into())
            }
        }
    }

    /// Makes the claims of an ordinal; whether its pod may use them.
    async fn make_claims(&self, set: &StatefulSet, ordinal: i32) -> Result<bool, Error> {
        let pod = format!("{}-{ordinal}", name(&set.metadata));
        let about = reference(set);
        for (_, claim) in claims_of(set, ordinal) {
            if let Some(there) = self.claim(&claim) {
                if claims::is_stale(&there.metadata, &pod, None) {
                    if there.metadata.deletion_timestamp.is_some() {
                        let (claim, of) = (name(&there.metadata), name(&set.metadata));
                        let message = format!(
                            "Create Pod {pod} in StatefulSet {of} failed error: pvc {claim} is being deleted"
                        );
                        self.recorder.warning(&about, "FailedCreate", message);
                    }
                    return Ok(false);
                }
                continue;
            }
            self.make_claim(set, &claim, &pod).await?;
        }
        Ok(true)
    }

    /// Makes a claim of `pod`, with upstream's events.
    async fn make_claim(
        &self,
        set: &StatefulSet,
        claim: &PersistentVolumeClaim,
        pod: &str,
    ) -> Result<(), Error> {
        let api = self.context.namespaced::<PersistentVolumeClaim>(namespace(&set.metadata));
        let about = reference(set);
        let (own, of) = (name(&claim.metadata), name(&set.metadata));
        match api.create(&PostParams::default(), claim).await {
            Ok(_) => {
                let message = format!("Create Claim {own} Pod {pod} in StatefulSet {of} success");
                self.recorder.normal(&about, "SuccessfulCreate", message);
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => {
                if !is_terminating(&error) {
                    let why = message_of(&error);
                    let message =
                        format!("Create Claim {own} for Pod {pod} in StatefulSet {of} failed error: {why}");
                    self.recorder.warning(&about, "FailedCreate", message);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes those claims of a waiting pod that somebody deleted. One that is still going tells when it is gone.
    async fn make_missing_claims(&self, set: &StatefulSet, ordinal: i32) -> Result<(), Error> {
        let pod = format!("{}-{ordinal}", name(&set.metadata));
        for (_, claim) in claims_of(set, ordinal) {
            if self.claim(&claim).is_none() {
                self.make_claim(set, &claim, &pod).await?;
            }
        }
        Ok(())
    }

    /// Has the claims of the pods that there are go with what the retention policy says.
    async fn own_claims(&self, set: &StatefulSet, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let api = self.context.namespaced::<PersistentVolumeClaim>(namespace(&set.metadata));
        let range = range_of(&set.spec.clone().unwrap_or_default());
        let mut version = 0;
        for pod in pods {
            let Some(ordinal) = ordinal(set, pod) else { continue };
            for (_, claim) in claims_of(set, ordinal) {
                let Some(there) = self.claim(&claim) else { continue };
                let leaves = !range.contains(&ordinal);
                let Some(owners) = claims::owners(&there.metadata, set, pod, leaves) else { continue };
                let meta = json!({"ownerReferences": owners, "uid": there.metadata.uid,
                    "resourceVersion": there.metadata.resource_version});
                let patch = Patch::Merge(json!({"metadata": meta}));
                let written = api.patch(name(&there.metadata), &PatchParams::default(), &patch).await?;
                version = resource_version(&written.metadata).max(version);
            }
        }
        self.claims.reached(version).await;
        Ok(())
    }

    /// Makes and deletes pods, with the claims that they use.
    async fn act(
        &self,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        pods: &[Arc<Pod>],
        plan: &Plan,
    ) -> Result<(), Error> {
        let about = reference(set);
        self.own_claims(set, pods).await?;
        let mut create = Vec::new();
        for ordinal in &plan.create {
            // what goes tells when it is gone
            if self.make_claims(set, *ordinal).await? {
                create.push(self.versioned(set, spec, &plan.status, *ordinal));
            }
        }
        self.control.create(&about, create).await?;
        for ordinal in &plan.claims {
            self.make_missing_claims(set, *ordinal).await?;
        }
        for pod in plan.delete.iter().filter(|pod| is_terminal(pod)) {
            let (failed, pod) = (phase(pod) == "Failed", name(&pod.metadata));
            let of =
                format!("StatefulSet {}/{} is recreating", namespace(&set.metadata), name(&set.metadata));
            match failed {
                true => {
                    self.recorder.warning(&about, "RecreatingFailedPod", format!("{of} failed Pod {pod}"));
                }
                false => {
                    let message = format!("{of} terminated Pod {pod}");
                    self.recorder.normal(&about, "RecreatingTerminatedPod", message);
                }
            }
        }
        self.control.delete(&about, &plan.delete).await
    }

    /// The set whose claim has come, changed or gone.
    fn of_claim(&self, delta: &Delta<PersistentVolumeClaim>) -> Vec<Key> {
        let sets = self.sets.by_index(BY_NAMESPACE, delta.key.namespace());
        let sets = sets.iter().filter(|set| claims::is_named_for(&delta.key.name, set));
        sets.map(|set| Key::namespaced(delta.key.namespace(), name(&set.metadata))).collect()
    }

    /// The pod of an ordinal, from the current or from the updated revision.
    fn versioned(
        &self,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        status: &StatefulSetStatus,
        ordinal: i32,
    ) -> Pod {
        let (current, update) = (status.current_revision.as_deref(), status.update_revision.as_deref());
        if is_behind(spec, status, ordinal)
            && let Some(old) =
                current.filter(|current| Some(*current) != update).and_then(|name| self.revision(set, name))
            && let Some(template) = template_of(&old)
        {
            let mut set = set.clone();
            set.spec.get_or_insert_default().template = template;
            return pod_of(&set, ordinal, name(&old.metadata));
        }
        pod_of(set, ordinal, update.unwrap_or_default())
    }

    fn revision(&self, set: &StatefulSet, wanted: &str) -> Option<Arc<ControllerRevision>> {
        self.history.of(&set.metadata).into_iter().find(|revision| name(&revision.metadata) == wanted)
    }

    /// Forgets revisions that neither pods nor `revisionHistoryLimit` keep.
    async fn trim(
        &self,
        set: &StatefulSet,
        pods: &[Arc<Pod>],
        status: &StatefulSetStatus,
    ) -> Result<(), Error> {
        let used = pods.iter().filter_map(|pod| revision(pod).map(str::to_owned));
        let present = [&status.current_revision, &status.update_revision].into_iter().flatten().cloned();
        let live: HashSet<String> = used.chain(present).collect();
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        self.history.trim(&set.metadata, limit, &live).await
    }
}

impl Controller for StatefulSets {
    type Key = Key;

    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn queue(&self) -> &'static str {
        "statefulset"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.sets, |delta| vec![delta.key.clone()]);
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| {
            let mut keys = owner_keys(delta, "StatefulSet");
            keys.extend(suitors(delta, &this.sets, |set, labels| {
                set.spec.as_ref().is_some_and(|spec| matches(&spec.selector, labels))
            }));
            keys
        });
        let this = self.clone();
        sources.on(&self.claims, move |delta| this.of_claim(delta));
        sources.needs(self.history.informer());
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let spec = set.spec.clone().unwrap_or_default();
        let old = set.status.clone().unwrap_or_default();
        // of a set that is on its way out only the status is kept
        let leaves = set.metadata.deletion_timestamp.is_some();
        if leaves && old.update_revision.is_none() {
            return Ok(None);
        }
        if !leaves {
            self.history.adopt(&*set, &spec.selector).await?;
        }
        let pods = self.pods(&set, &spec).await?;
        let (update, collisions) = match old.update_revision.filter(|_| leaves) {
            Some(update) => (update, old.collision_count),
            None => {
                let present = self.history.present(&*set, &spec.template, old.collision_count).await?;
                (name(&present.0.metadata).to_owned(), present.1)
            }
        };
        let now = sampan_reconcile::now();
        let mut plan = plan(&set, &pods, &update, now);
        plan.status.collision_count = Some(collisions.unwrap_or(0));
        // the status tells what there is, whether or not the step succeeds
        let acted = match leaves {
            true => Ok(()),
            false => self.act(&set, &spec, &pods, &plan).await,
        };
        if !leaves {
            self.trim(&set, &pods, &plan.status).await?;
        }
        if set.status.as_ref() != Some(&plan.status) {
            let mut object = (*set).clone();
            object.status = Some(plan.status);
            let api = self.context.namespaced::<StatefulSet>(key.namespace());
            let written = api.replace_status(&key.name, &PostParams::default(), &object).await?;
            self.sets.reached(resource_version(&written.metadata)).await;
        }
        acted?;
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let waits = pods.iter().filter_map(|pod| crate::words::available_in(pod, min_ready, now));
        Ok(waits.filter(|wait| *wait > 0).min().map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn set(replicas: i32, policy: &str) -> StatefulSet {
        serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "a", "uid": "s"}, "spec": {
            "replicas": replicas, "podManagementPolicy": policy, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": []}}}}))
        .unwrap()
    }

    fn pod(set: &StatefulSet, ordinal: i32, hash: &str, ready: bool) -> Arc<Pod> {
        let mut pod = pod_of(set, ordinal, hash);
        let status = if ready { "True" } else { "False" };
        pod.status = serde_json::from_value(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}),
        )
        .unwrap();
        Arc::new(pod)
    }

    fn steps(set: &StatefulSet, pods: &[Arc<Pod>], hash: &str) -> (Vec<i32>, Vec<String>) {
        let plan = plan(set, pods, hash, Timestamp::UNIX_EPOCH);
        (plan.create, plan.delete.iter().map(|pod| name(&pod.metadata).to_owned()).collect())
    }

    #[test]
    fn a_pods_name_says_whose_it_is_and_its_labels_which_one() {
        let set = set(2, "OrderedReady");
        let (own, other) = (json!({POD_NAME: "db-1"}), json!({POD_NAME: "web-0"}));
        for (pod_name, labels, member, missing) in [
            ("db-1", &own, Some("1"), None),
            ("db-1", &other, Some("1"), Some("1")),
            ("db-1", &json!({}), Some("1"), Some("1")),
            ("db-2", &json!({}), Some("2"), None), // about to go
            ("db-99999999999", &json!({}), Some("99999999999"), None),
            ("db", &own, None, None),
            ("db-", &own, None, None),
            ("db--1", &own, None, None),
            ("db-x", &own, None, None),
            ("mydb-1", &own, None, None),
            ("db-web-1", &own, None, None),
        ] {
            let pod = json!({"metadata": {"name": pod_name, "labels": labels}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(number(&set, &pod), member, "{pod_name}");
            let labels = missing_identity(&set, &pod);
            let index = labels.as_ref().map(|labels| labels[POD_INDEX].as_str());
            assert_eq!(index, missing, "{pod_name} {labels:?}");
        }
    }

    #[test]
    fn a_pod_that_waits_may_lack_claims_and_a_set_that_leaves_does_nothing() {
        let mut three = set(3, "OrderedReady");
        let mut waiting = (*pod(&three, 0, "h", false)).clone();
        waiting.status.as_mut().unwrap().phase = Some("Pending".to_owned());
        let pods = [Arc::new(waiting), pod(&three, 2, "h", true)];
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(plan(&three, &pods, "h", now).claims, [0]);
        assert!(plan(&three, &pods[1..], "h", now).claims.is_empty());
        three.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        let last = plan(&three, &pods, "h", now);
        assert!(last.create.is_empty() && last.claims.is_empty() && last.delete.is_empty());
        assert_eq!((last.status.replicas, last.status.ready_replicas), (2, Some(1)));
    }

    #[test]
    fn one_step_at_a_time_in_order() {
        let (three, one) = (set(3, "OrderedReady"), set(1, "OrderedReady"));
        let p = |ordinal, hash, ready| pod(&three, ordinal, hash, ready);
        assert_eq!(steps(&three, &[], "h"), (vec![0], vec![]));
        assert_eq!(steps(&three, &[p(0, "h", false)], "h"), (vec![], vec![]), "waits for the first");
        assert_eq!(steps(&three, &[p(0, "h", true)], "h"), (vec![1], vec![]));
        assert_eq!(steps(&set(3, "Parallel"), &[], "h"), (vec![0, 1, 2], vec![]));
        let all = [p(0, "h", true), p(1, "h", true), p(2, "h", true)];
        assert_eq!(steps(&one, &all, "h"), (vec![], vec!["db-2".into()]), "the last goes first");
        assert_eq!(steps(&three, &all, "new"), (vec![], vec!["db-2".into()]), "updates from the end");
        let half = [p(0, "h", true), p(1, "h", true), p(2, "new", false)];
        assert_eq!(steps(&three, &half, "new"), (vec![], vec![]), "waits for the updated one");
    }

    #[test]
    fn pods_that_are_not_well_are_not_scaled_away_one_after_the_other() {
        let three = set(3, "OrderedReady");
        let gone = |replicas: i32, policy: &str, ready: &str| {
            let pods = ready.chars().enumerate().map(|(n, ready)| pod(&three, n as i32, "h", ready == '+'));
            steps(&set(replicas, policy), &pods.collect::<Vec<_>>(), "h").1
        };
        for (replicas, policy, ready, expected) in [
            (0, "OrderedReady", "---", vec![]),
            (0, "OrderedReady", "-++", vec!["db-2"]),
            (0, "OrderedReady", "++-", vec!["db-2"]),
            (0, "OrderedReady", "+--", vec![]),
            (0, "OrderedReady", "-", vec!["db-0"]),
            (1, "OrderedReady", "-++", vec![]),
            (0, "Parallel", "---", vec!["db-2", "db-1", "db-0"]),
        ] {
            assert_eq!(gone(replicas, policy, ready), expected, "{replicas} {policy} {ready}");
        }
    }

    #[test]
    fn one_after_the_other_is_replaced_from_the_end() {
        let mut four = set(4, "OrderedReady");
        let of = |set: &StatefulSet, hashes: &str, ready: &str| {
            let both = hashes.chars().zip(ready.chars()).enumerate();
            let pods = both.map(|(n, (hash, ready))| pod(set, n as i32, &hash.to_string(), ready == '+'));
            steps(set, &pods.collect::<Vec<_>>(), "n").1
        };
        let rolling = |partition: i32| {
            let rolling = json!({"partition": partition, "maxUnavailable": 2});
            serde_json::from_value(json!({"type": "RollingUpdate", "rollingUpdate": rolling})).unwrap()
        };
        for (policy, partition, hashes, ready, gone) in [
            ("OrderedReady", 0, "oooo", "++++", vec!["db-3"]),
            ("OrderedReady", 0, "ooon", "++++", vec!["db-2"]),
            ("OrderedReady", 2, "oooo", "++++", vec!["db-3"]),
            ("OrderedReady", 2, "oonn", "++++", vec![]),
            ("OrderedReady", 0, "oooo", "+++-", vec![]),
            // without an order an old one that is away is replaced, and only updated ones are waited for
            ("Parallel", 0, "oooo", "+++-", vec!["db-3"]),
            ("Parallel", 0, "oooo", "+-++", vec!["db-3"]),
            ("Parallel", 0, "ooon", "+++-", vec![]),
            ("Parallel", 0, "oonn", "-+++", vec!["db-1"]),
        ] {
            let spec = four.spec.as_mut().unwrap();
            spec.pod_management_policy = Some(policy.to_owned());
            spec.update_strategy = rolling(partition);
            assert_eq!(of(&four, hashes, ready), gone, "{policy} {partition} {hashes} {ready}");
        }
        let mut later = set(3, "OrderedReady");
        let spec = later.spec.as_mut().unwrap();
        spec.ordinals = serde_json::from_value(json!({"start": 5})).unwrap();
        spec.update_strategy = rolling(2);
        let of = |updated: i32| {
            let hash = |ordinal: i32| if ordinal >= updated { "n" } else { "o" };
            let all: Vec<_> = (5..8).map(|ordinal| pod(&later, ordinal, hash(ordinal), true)).collect();
            steps(&later, &all, "n").1
        };
        assert_eq!(of(8), ["db-7"]);
        assert!(of(7).is_empty(), "the partition counts from the first ordinal");
    }

    #[test]
    fn ordinals_below_the_partition_stay_behind() {
        let mut spec = set(3, "OrderedReady").spec.unwrap();
        let status = StatefulSetStatus { current_replicas: Some(1), ..StatefulSetStatus::default() };
        let behind =
            |spec: &StatefulSetSpec| (0..3).filter(|n| is_behind(spec, &status, *n)).collect::<Vec<_>>();
        assert_eq!(behind(&spec), [0], "as many as are current");
        for (strategy, expected) in [
            (json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}), vec![0, 1]),
            (json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}), vec![]),
            (json!({"type": "OnDelete"}), vec![]),
        ] {
            spec.update_strategy = serde_json::from_value(strategy.clone()).unwrap();
            assert_eq!(behind(&spec), expected, "{strategy}");
        }
        // the partition counts from the first ordinal
        spec.ordinals = serde_json::from_value(json!({"start": 1})).unwrap();
        spec.update_strategy =
            serde_json::from_value(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}))
                .unwrap();
        assert_eq!(behind(&spec), [0, 1]);
    }

    #[test]
    fn the_updated_revision_becomes_current_when_all_pods_have_it() {
        let mut two = set(2, "OrderedReady");
        two.status = serde_json::from_value(json!({"replicas": 2, "currentRevision": "old"})).unwrap();
        let seen = |pods: &[Arc<Pod>]| {
            let status = plan(&two, pods, "new", Timestamp::UNIX_EPOCH).status;
            (
                status.current_revision.unwrap(),
                status.current_replicas.unwrap(),
                status.updated_replicas.unwrap(),
            )
        };
        let p = |ordinal, hash, ready| pod(&two, ordinal, hash, ready);
        assert_eq!(seen(&[p(0, "old", true), p(1, "new", true)]), ("old".into(), 1, 1));
        assert_eq!(seen(&[p(0, "new", true), p(1, "new", false)]), ("old".into(), 0, 2));
        assert_eq!(seen(&[p(1, "new", true)]), ("old".into(), 0, 1), "one is missing");
        assert_eq!(seen(&[p(0, "new", true), p(1, "new", true)]), ("new".into(), 2, 2));
    }

    #[test]
    fn a_pod_has_its_own_name_and_claim() {
        let pod = pod_of(&set(1, "OrderedReady"), 2, "h");
        let spec = pod.spec.unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-2"), Some("db")));
        assert_eq!(
            spec.volumes.unwrap()[0].persistent_volume_claim.as_ref().unwrap().claim_name,
            "data-db-2"
        );
    }
}
