//! ReplicaSet and ReplicationController: keep so many pods of one template (upstream's `replica_set.go`).
//!
//! The ReplicationController is the same controller over an adapter, as it is upstream.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    Pod, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::Resource;
use kube::api::PostParams;
use sampan_reconcile::{Controller, Error, HashMap, Informer, Key, Object, Recorder, Sources, reference};

use crate::claim::{self, claim};
use crate::context::{BY_CONTROLLER, Context, candidates, index_by_owner, owner_keys, suitors};
use crate::pod_control::{PodControl, message_of, pod_from_template};
use crate::words::{
    annotation, available_in, controller_of, controller_reference, created, is_active, is_available,
    is_ready, matches, name, namespace, phase, ready_since, resource_version, uid,
};

/// Most pods created or deleted in one pass.
const BURST: usize = 500;

/// A kind that this controller runs: seen as a ReplicaSet.
pub(crate) trait Replicated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Object + serde::Serialize + std::fmt::Debug
{
    const CONTROLLER: &'static str;
    const QUEUE: &'static str;
    fn view(&self) -> ReplicaSet;
    fn set_status(&mut self, status: ReplicaSetStatus);
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    const QUEUE: &'static str = "replicaset";

    fn view(&self) -> ReplicaSet {
        self.clone()
    }

    fn set_status(&mut self, status: ReplicaSetStatus) {
        self.status = Some(status);
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";
    const QUEUE: &'static str = "replicationmanager";

    fn view(&self) -> ReplicaSet {
        let spec = self.spec.clone().unwrap_or_default();
        let status = self.status.clone().unwrap_or_default();
        let conditions = status.conditions.map(|conditions| {
            conditions
                .into_iter()
                .map(|c| ReplicaSetCondition {
                    last_transition_time: c.last_transition_time,
                    message: c.message,
                    reason: c.reason,
                    status: c.status,
                    type_: c.type_,
                })
                .collect()
        });
        ReplicaSet {
            metadata: self.metadata.clone(),
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: spec.replicas,
                selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
                template: spec.template,
            }),
            status: Some(ReplicaSetStatus {
                available_replicas: status.available_replicas,
                conditions,
                fully_labeled_replicas: status.fully_labeled_replicas,
                observed_generation: status.observed_generation,
                ready_replicas: status.ready_replicas,
                replicas: status.replicas,
                terminating_replicas: None,
            }),
        }
    }

    fn set_status(&mut self, status: ReplicaSetStatus) {
        let conditions = status.conditions.map(|conditions| {
            conditions
                .into_iter()
                .map(|c| ReplicationControllerCondition {
                    last_transition_time: c.last_transition_time,
                    message: c.message,
                    reason: c.reason,
                    status: c.status,
                    type_: c.type_,
                })
                .collect()
        });
        self.status = Some(ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions,
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        });
    }
}

/// What one pass does about the number of pods.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub create: usize,
    pub delete: Vec<Arc<Pod>>,
}

/// Compares active pods with the wish. `related` counts, by node, the active pods of all sets of the same owner.
pub(crate) fn plan(
    rs: &ReplicaSet,
    pods: &[Arc<Pod>],
    related: &HashMap<String, usize>,
    now: Timestamp,
) -> Plan {
    let wanted = rs.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1).max(0) as usize;
    let mut active: Vec<Arc<Pod>> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
    if rs.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    if active.len() <= wanted {
        return Plan { create: (wanted - active.len()).min(BURST), delete: Vec::new() };
    }
    let surplus = (active.len() - wanted).min(BURST);
    active.sort_by_key(|pod| deletion_rank(pod, related, now));
    active.truncate(surplus);
    Plan { create: 0, delete: active }
}

/// Orders pods by how little they are missed (upstream's `ActivePodsWithRanks`), the least missed first.
pub(crate) fn deletion_rank(pod: &Pod, related: &HashMap<String, usize>, now: Timestamp) -> impl Ord + use<> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
    let cost = annotation(&pod.metadata, "controller.kubernetes.io/pod-deletion-cost");
    let cost: i32 = cost.and_then(|cost| cost.parse().ok()).unwrap_or(0);
    let crowd = node.as_ref().and_then(|node| related.get(node)).copied().unwrap_or(0);
    let ready_age = ready_since(pod).map_or(0, |since| logarithm(now, since));
    (
        node.is_some(),
        phase_rank(pod),
        is_ready(pod),
        cost,
        Reverse(crowd),
        ready_age,
        Reverse(restarts(pod)),
        logarithm(now, created(&pod.metadata)),
        pod.metadata.uid.clone(),
    )
}

/// The same for pods that nobody gives a cost (upstream's `ActivePods`): of those alike the youngest goes first.
pub(crate) fn removal_rank(pod: &Pod) -> impl Ord + use<> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
    let ready = ready_since(pod).map(Reverse);
    let made = Reverse(created(&pod.metadata));
    (node.is_some(), phase_rank(pod), is_ready(pod), ready, Reverse(restarts(pod)), made)
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let sidecars = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: Vec<&str> = sidecars
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let Some(status) = &pod.status else { return (0, 0) };
    let containers = status.container_statuses.iter().flatten();
    let initial = status.init_container_statuses.iter().flatten();
    let initial = initial.filter(|container| sidecars.contains(&container.name.as_str()));
    let regular = containers.map(|container| container.restart_count).max();
    let sidecar = initial.map(|container| container.restart_count).max();
    (regular.unwrap_or(0), sidecar.unwrap_or(0))
}

/// Ages count by their logarithm, so that among pods of about one age the choice is as good as random.
fn logarithm(now: Timestamp, since: Timestamp) -> u32 {
    let nanoseconds = now.duration_since(since).as_nanos().max(1).unsigned_abs();
    nanoseconds.ilog2()
}

/// The status that pods and the last failure amount to (upstream's `calculateStatus`).
pub(crate) fn status(
    rs: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<(&'static str, String)>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = rs.spec.clone().unwrap_or_default();
    let old = rs.status.clone().unwrap_or_default();
    let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).collect();
    let template = spec.template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.clone());
    let template = LabelSelector { match_labels: template, match_expressions: None };
    let count = |test: &dyn Fn(&Pod) -> bool| Some(active.iter().filter(|pod| test(pod)).count() as i32);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let terminating =
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some() && !is_ended(pod)).count();
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: count(&|pod| matches(&template, pod.metadata.labels.as_ref())),
        ready_replicas: count(&is_ready),
        available_replicas: count(&|pod| is_available(pod, min_ready, now)),
        terminating_replicas: Some(terminating as i32),
        observed_generation: rs.metadata.generation,
        conditions: conditions(old.conditions.unwrap_or_default(), failure, now),
    }
}

fn is_ended(pod: &Pod) -> bool {
    crate::words::is_terminal(pod)
}

fn conditions(
    mut old: Vec<ReplicaSetCondition>,
    failure: Option<(&'static str, String)>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let had = old.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match failure {
        Some((reason, message)) if !had => old.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
        None => old.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some(_) => {}
    }
    Some(old).filter(|conditions| !conditions.is_empty())
}

/// When the next ready pod becomes available, if that needs time alone.
fn next_available(rs: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let min_ready = rs.spec.as_ref()?.min_ready_seconds.filter(|seconds| *seconds > 0)?;
    let waits = pods.iter().filter(|pod| is_active(pod)).filter_map(|pod| available_in(pod, min_ready, now));
    waits.filter(|wait| *wait > 0).min().map(Duration::from_secs)
}

/// The controller of one kind.
pub(crate) struct ReplicaSets<K> {
    context: Context,
    sets: Informer<K>,
    control: PodControl,
    kind: String,
}

impl<K: Replicated> ReplicaSets<K> {
    pub fn new(context: &Context) -> Self {
        let sets = context.by_namespace::<K>();
        index_by_owner(&sets);
        let recorder: Recorder = context.recorder(K::CONTROLLER);
        let control = PodControl::new(context, &recorder);
        Self { context: context.clone(), sets, control, kind: K::kind(&()).into_owned() }
    }

    /// The pods that are the set's own, after adoption and release.
    async fn claim(&self, rs: &ReplicaSet, set: &K) -> Result<Vec<Arc<Pod>>, Error> {
        let ns = namespace(&rs.metadata);
        let selector = rs.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
        let mut sorted =
            claim(&rs.metadata, &selector, candidates(&self.context.pods, uid(&rs.metadata), ns));
        // what has ended or goes stays whose it is
        sorted.adopt.retain(|pod| is_active(pod));
        sorted.release.retain(|pod| is_active(pod));
        claim::settle(&self.context, set, &self.context.pods, sorted).await
    }

    /// Active pods by node of all sets that share this set's owner.
    fn related(&self, rs: &ReplicaSet, pods: &[Arc<Pod>]) -> HashMap<String, usize> {
        let mut nodes = HashMap::default();
        let mut count = |pod: &Pod| {
            if let Some(node) =
                pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|_| is_active(pod))
            {
                *nodes.entry(node).or_default() += 1;
            }
        };
        match controller_of(&rs.metadata) {
            Some(owner) => {
                let sisters = self.sets.by_index(BY_CONTROLLER, &owner.uid);
                let pods =
                    sisters.iter().flat_map(|set| self.context.pods.by_index(BY_CONTROLLER, uid(set.meta())));
                pods.for_each(|pod| count(&pod));
            }
            None => pods.iter().for_each(|pod| count(pod)),
        }
        nodes
    }

    async fn act(&self, rs: &ReplicaSet, set: &K, plan: Plan) -> Result<(), (&'static str, Error)> {
        let about = reference(set);
        if plan.create > 0 {
            let Some(template) = rs.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
                return Ok(());
            };
            let pod = pod_from_template(template, &controller_reference(set), namespace(&rs.metadata));
            let pods = vec![pod; plan.create];
            return self.control.create(&about, pods).await.map_err(|error| ("FailedCreate", error));
        }
        self.control.delete(&about, &plan.delete).await.map_err(|error| ("FailedDelete", error))
    }

    async fn write_status(&self, set: &K, rs: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), Error> {
        let mut old = rs.status.clone().unwrap_or_default();
        if std::any::TypeId::of::<K>() == std::any::TypeId::of::<ReplicationController>() {
            old.terminating_replicas = status.terminating_replicas;
        }
        if same_status(&old, &status) {
            return Ok(());
        }
        let mut object = set.clone();
        object.set_status(status);
        let api = self.context.namespaced::<K>(namespace(set.meta()));
        let written = api.replace_status(name(set.meta()), &PostParams::default(), &object).await?;
        self.sets.reached(resource_version(written.meta())).await;
        Ok(())
    }
}

/// Zero and absent counts are the same news.
fn same_status(old: &ReplicaSetStatus, new: &ReplicaSetStatus) -> bool {
    let numbers = |s: &ReplicaSetStatus| {
        let counts =
            [s.fully_labeled_replicas, s.ready_replicas, s.available_replicas, s.terminating_replicas];
        (s.replicas, counts.map(|count| count.unwrap_or(0)), s.observed_generation)
    };
    let conditions = |s: &ReplicaSetStatus| s.conditions.clone().unwrap_or_default();
    numbers(old) == numbers(new) && conditions(old) == conditions(new)
}

impl<K: Replicated> Controller for ReplicaSets<K> {
    type Key = Key;

    fn name(&self) -> &'static str {
        K::CONTROLLER
    }

    fn queue(&self) -> &'static str {
        K::QUEUE
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.sets, |delta| vec![delta.key.clone()]);
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| {
            let mut keys = owner_keys(delta, &this.kind);
            keys.extend(suitors(delta, &this.sets, |set, labels| {
                set.view().spec.is_some_and(|spec| matches(&spec.selector, labels))
            }));
            keys
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let rs = set.view();
        let pods = self.claim(&rs, &set).await?;
        let now = sampan_reconcile::now();
        let plan = plan(&rs, &pods, &self.related(&rs, &pods), now);
        let result = self.act(&rs, &set, plan).await;
        let failure = result.as_ref().err().map(|(reason, error)| match error {
            Error::Api(error) => (*reason, message_of(error)),
            error => (*reason, error.to_string()),
        });
        self.write_status(&set, &rs, status(&rs, &pods, failure, now)).await?;
        result.map_err(|(_, error)| error)?;
        Ok(next_available(&rs, &pods, now))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn rs(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default", "generation": 2},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}}}}))
        .unwrap()
    }

    fn pod(name: &str, node: &str, phase: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase, "conditions": [
                    {"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:10Z"}]}}))
            .unwrap(),
        )
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn creates_what_is_missing_and_ignores_ended_pods() {
        let pods = [pod("a", "n1", "Running", true), pod("b", "n1", "Failed", false)];
        assert_eq!(plan(&rs(3), &pods, &HashMap::default(), now()).create, 2);
        assert_eq!(plan(&rs(1), &pods, &HashMap::default(), now()).create, 0);
        assert_eq!(plan(&rs(9000), &pods, &HashMap::default(), now()).create, BURST);
    }

    #[test]
    fn deletes_the_least_missed_first() {
        let pods = [
            pod("ready", "n1", "Running", true),
            pod("crowded", "n2", "Running", true),
            pod("unready", "n1", "Running", false),
            pod("pending", "n1", "Pending", false),
            pod("unassigned", "", "Pending", false),
        ];
        let related = [("n1".to_owned(), 1), ("n2".to_owned(), 4)].into_iter().collect();
        let gone = plan(&rs(0), &pods, &related, now()).delete;
        let names: Vec<_> = gone.iter().map(|pod| name(&pod.metadata)).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "crowded", "ready"]);
    }

    #[test]
    fn of_pods_that_are_alike_the_youngest_and_those_that_restart_go_first() {
        let made = |second: i64, restarts: i32, sidecar: i32| {
            let mut pod = (*pod("p", "n1", "Running", true)).clone();
            pod.metadata.creation_timestamp = Timestamp::from_second(second).ok().map(Time);
            let count = |name: &str, count: i32| json!([{"name": name, "restartCount": count, "image": "", "imageID": "", "ready": true}]);
            pod.spec.as_mut().unwrap().init_containers =
                serde_json::from_value(json!([{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]))
                    .unwrap();
            let status = pod.status.as_mut().unwrap();
            status.container_statuses = serde_json::from_value(count("c", restarts)).unwrap();
            status.init_container_statuses = serde_json::from_value(count("s", sidecar)).unwrap();
            pod
        };
        let ranked = [made(0, 3, 0), made(0, 1, 2), made(9, 1, 1), made(5, 1, 1), made(1, 1, 1)];
        assert!(ranked.is_sorted_by_key(removal_rank));
        assert_eq!(restarts(&ranked[1]), (1, 2));
        let mut pod = ranked[1].clone();
        pod.status.as_mut().unwrap().init_container_statuses.as_mut().unwrap()[0].name = "i".to_owned();
        assert_eq!(restarts(&pod), (1, 0), "an init container is no sidecar");
    }

    #[test]
    fn status_counts_and_keeps_the_first_failure() {
        let pods = [pod("a", "n1", "Running", true), pod("b", "n1", "Running", false)];
        let counted = status(&rs(2), &pods, Some(("FailedCreate", "quota".to_owned())), now());
        assert_eq!(
            (counted.replicas, counted.ready_replicas, counted.available_replicas),
            (2, Some(1), Some(1))
        );
        assert_eq!((counted.fully_labeled_replicas, counted.observed_generation), (Some(2), Some(2)));
        assert_eq!(counted.conditions.as_ref().unwrap()[0].reason.as_deref(), Some("FailedCreate"));
        let mut failed = rs(2);
        failed.status = Some(counted);
        assert_eq!(status(&failed, &pods, None, now()).conditions, None);
    }
}
