//! Pod garbage collector (upstream's `gc_controller.go`): pods whose node is gone or out of service, pods that
//! ended before they were scheduled, and ended pods beyond a number.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, HashMap, Informer, Key, Sources};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::context::{BY_NODE, Context};
use crate::pod_control::{delete_params, disruption_target};
use crate::words::{created, is_terminal, name, namespace, uid};

/// Ended pods beyond this number go, the oldest first.
const ENDED_MAX: usize = 12_500;
/// A node has to be missing for so long before its pods go.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const ENDED: &str = "ended";

/// What is known of the node a pod names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Home {
    /// The pod names none.
    None,
    Here,
    OutOfService,
    /// Missing for so long.
    Missing(Duration),
}

/// What to do with a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Keep,
    Wait(Duration),
    /// Fail the pod and delete it at once; a reason if its condition DisruptionTarget is to say it.
    Delete(Option<&'static str>),
}

pub(crate) fn judge(pod: &Pod, home: Home) -> Verdict {
    let deleting = pod.metadata.deletion_timestamp.is_some();
    match home {
        Home::None if deleting => Verdict::Delete(None),
        Home::Missing(time) if time < QUARANTINE => Verdict::Wait(QUARANTINE - time),
        Home::Missing(_) => Verdict::Delete(Some("PodGC: node no longer exists")),
        Home::OutOfService if deleting => Verdict::Delete(None),
        Home::None | Home::Here | Home::OutOfService => Verdict::Keep,
    }
}

/// The patch that fails a pod which no kubelet will.
fn failed(pod: &Pod, reason: Option<&str>, now: Timestamp) -> Value {
    let mut status = json!({"phase": "Failed", "observedGeneration": pod.metadata.generation});
    if let Some(reason) = reason {
        status["conditions"] = json!([disruption_target(pod, Some(("DeletionByPodGC", reason)), now)]);
    }
    json!({"metadata": {"uid": uid(&pod.metadata)}, "status": status})
}

/// What of ended pods goes first: evicted ones, then the oldest, and then by name.
fn rank(pod: &Pod) -> (bool, Timestamp, String) {
    let evicted = pod.status.as_ref().is_some_and(|status| {
        status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("Evicted")
    });
    (!evicted, created(&pod.metadata), name(&pod.metadata).to_owned())
}

fn is_out_of_service(node: &Node) -> bool {
    let tainted = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .any(|taint| taint.key == OUT_OF_SERVICE);
    let ready = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    tainted && !ready.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The controller. The empty key stands for the count of ended pods.
pub(crate) struct PodGc {
    context: Context,
    nodes: Informer<Node>,
    missing: Mutex<HashMap<String, Instant>>,
}

impl PodGc {
    pub fn new(context: &Context) -> Self {
        context.pods.add_index(ENDED, |pod| if is_terminal(pod) { vec![String::new()] } else { Vec::new() });
        Self { context: context.clone(), nodes: context.informers.of(), missing: Mutex::default() }
    }

    fn home(&self, pod: &Pod) -> Home {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
        let Some(node) = node else { return Home::None };
        match self.nodes.get(&Key::cluster(&node)) {
            Some(node) if is_out_of_service(&node) => Home::OutOfService,
            Some(_) => Home::Here,
            None => Home::Missing(self.missing.lock().entry(node).or_insert_with(Instant::now).elapsed()),
        }
    }

    async fn delete(&self, pod: &Pod, reason: Option<&str>) -> Result<(), Error> {
        let api = self.context.namespaced::<Pod>(namespace(&pod.metadata));
        if !is_terminal(pod) {
            let body = failed(pod, reason, sampan_reconcile::now());
            match api
                .patch_status(name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(body))
                .await
            {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
                result => drop(result?),
            }
        }
        let params = DeleteParams { grace_period_seconds: Some(0), ..delete_params(&pod.metadata) };
        match api.delete(name(&pod.metadata), &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => result.map(drop).map_err(Into::into),
        }
    }

    async fn trim_ended(&self) -> Result<(), Error> {
        let mut ended = self.context.pods.by_index(ENDED, "");
        let surplus = ended.len().saturating_sub(ENDED_MAX);
        ended.sort_by_cached_key(|pod| rank(pod));
        for pod in &ended[..surplus] {
            self.delete(pod, None).await?;
        }
        Ok(())
    }

    /// The API itself has to say that the node is gone.
    async fn is_gone(&self, pod: &Pod) -> Result<bool, Error> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        Ok(self.context.cluster::<Node>().get_opt(&node).await?.is_none())
    }
}

impl Controller for PodGc {
    type Key = Key;

    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn queue(&self) -> &'static str {
        "orphaned_pods_nodes"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        sources.on(&self.nodes, move |delta| {
            let out = |node: &Option<Arc<Node>>| node.as_ref().map(|node| is_out_of_service(node));
            if out(&delta.old) == out(&delta.new) {
                return Vec::new();
            }
            match delta.new {
                Some(_) => _ = this.missing.lock().remove(&delta.key.name),
                None => _ = this.missing.lock().insert(delta.key.name.clone(), Instant::now()),
            }
            this.context.pods.keys_by_index(BY_NODE, &delta.key.name)
        });
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| {
            let Some(pod) = &delta.new else { return Vec::new() };
            let mut keys = Vec::new();
            if !matches!(judge(pod, this.home(pod)), Verdict::Keep) {
                keys.push(delta.key.clone());
            }
            if is_terminal(pod) && this.context.pods.count(ENDED, "") > ENDED_MAX {
                keys.push(Key::default());
            }
            keys
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        if key.name.is_empty() {
            return self.trim_ended().await.map(|()| None);
        }
        let Some(pod) = self.context.pods.get(key) else { return Ok(None) };
        let home = self.home(&pod);
        match judge(&pod, home) {
            Verdict::Keep => Ok(None),
            Verdict::Wait(delay) => Ok(Some(delay)),
            Verdict::Delete(_) if matches!(home, Home::Missing(_)) && !self.is_gone(&pod).await? => Ok(None),
            Verdict::Delete(reason) => self.delete(&pod, reason).await.map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn verdicts() {
        let pod = |deleting: bool| {
            let mut pod = Pod::default();
            pod.metadata.deletion_timestamp = deleting.then_some(Time(Timestamp::UNIX_EPOCH));
            pod
        };
        let seconds = Duration::from_secs;
        let cases = [
            (false, Home::None, Verdict::Keep),
            (true, Home::None, Verdict::Delete(None)),
            (true, Home::Here, Verdict::Keep),
            (false, Home::Missing(seconds(10)), Verdict::Wait(seconds(30))),
            (false, Home::Missing(seconds(40)), Verdict::Delete(Some("PodGC: node no longer exists"))),
            (false, Home::OutOfService, Verdict::Keep),
            (true, Home::OutOfService, Verdict::Delete(None)),
        ];
        for (deleting, home, expected) in cases {
            assert_eq!(judge(&pod(deleting), home), expected, "{deleting} {home:?}");
        }
    }

    #[test]
    fn a_pod_fails_with_the_generation_that_it_has() {
        let mut pod = Pod::default();
        pod.metadata.generation = Some(3);
        let status = &failed(&pod, Some("PodGC: node no longer exists"), Timestamp::UNIX_EPOCH)["status"];
        assert_eq!((&status["phase"], &status["observedGeneration"]), (&json!("Failed"), &json!(3)));
        let condition = &status["conditions"][0];
        assert_eq!(condition["observedGeneration"], 3);
        assert_eq!(condition["reason"], "DeletionByPodGC");
        let silent = &failed(&pod, None, Timestamp::UNIX_EPOCH)["status"];
        assert_eq!(silent, &json!({"phase": "Failed", "observedGeneration": 3}));
    }

    #[test]
    fn evicted_pods_go_first() {
        let pod = |name: &str, second: i64, reason: Option<&str>| {
            let mut pod = Pod::default();
            pod.metadata.name = Some(name.to_owned());
            pod.metadata.creation_timestamp = Timestamp::from_second(second).ok().map(Time);
            let status = pod.status.get_or_insert_default();
            status.phase = Some("Failed".to_owned());
            status.reason = reason.map(str::to_owned);
            pod
        };
        let mut pods =
            [pod("c", 1, None), pod("b", 1, None), pod("old", 0, Some("x")), pod("new", 9, Some("Evicted"))];
        pods.sort_by_cached_key(rank);
        assert_eq!(pods.each_ref().map(|pod| name(&pod.metadata)), ["new", "old", "b", "c"]);
    }
}
