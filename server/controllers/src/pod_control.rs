//! Creates and deletes pods for their controllers, with upstream's events, and waits until the shared informer
//! shows the deed (upstream's `controller_utils.go`; the wait stands for its expectations).

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use sampan_reconcile::{Error, Informer, Key, Recorder};
use serde_json::{Value, json};

use crate::context::Context;
use crate::words::{name, namespace, pod_condition, resource_version, uid};

/// The pod that a template describes, named after its owner.
pub(crate) fn pod_from_template(template: &PodTemplateSpec, owner: &OwnerReference, namespace: &str) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name)),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Sizes of the batches in which `total` things are tried: 1, 2, 4 … so that a refusal is met only once.
pub(crate) fn slow_start_batches(total: usize) -> Vec<usize> {
    let (mut left, mut size, mut batches) = (total, 1, Vec::new());
    while left > 0 {
        let batch = size.min(left);
        batches.push(batch);
        left -= batch;
        size *= 2;
    }
    batches
}

/// What the API said, without the transport's decoration.
pub(crate) fn message_of(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

#[derive(Clone)]
pub(crate) struct PodControl {
    context: Context,
    recorder: Recorder,
    /// Events have StatefulSets' words.
    stateful: bool,
}

/// What is done to a pod: as StatefulSets say it, and done and doing as all others do.
type Deed = [&'static str; 3];
const CREATE: Deed = ["Create", "Created", "creating"];
const DELETE: Deed = ["Delete", "Deleted", "deleting"];

impl PodControl {
    pub fn new(context: &Context, recorder: &Recorder) -> Self {
        Self { context: context.clone(), recorder: recorder.clone(), stateful: false }
    }

    /// The same, whose events have StatefulSets' words.
    pub fn of_stateful_sets(context: &Context, recorder: &Recorder) -> Self {
        Self { stateful: true, ..Self::new(context, recorder) }
    }

    fn did(&self, [deed, done, _]: Deed, about: &ObjectReference, pod: &str) -> String {
        match self.stateful {
            true => format!("{deed} Pod {pod} in StatefulSet {} successful", owner(about)),
            false => format!("{done} pod: {pod}"),
        }
    }

    fn failed(&self, [deed, _, doing]: Deed, about: &ObjectReference, pod: &str, why: &str) -> String {
        match self.stateful {
            true => format!("{deed} Pod {pod} in StatefulSet {} failed error: {why}", owner(about)),
            false => format!("Error {doing}: {why}"),
        }
    }

    /// Creates pods in slow-start batches and stops at the first batch with a failure.
    pub async fn create(&self, about: &ObjectReference, pods: Vec<Pod>) -> Result<(), Error> {
        let batches = slow_start_batches(pods.len());
        let mut pods = pods.into_iter();
        let mut version = 0;
        let mut failure = None;
        for batch in batches {
            let results = join_all(pods.by_ref().take(batch).map(|pod| self.create_one(about, pod))).await;
            for result in results {
                match result {
                    Ok(written) => version = version.max(written),
                    Err(error) => failure = Some(error),
                }
            }
            if failure.is_some() {
                break;
            }
        }
        self.context.pods.reached(version).await;
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn create_one(&self, about: &ObjectReference, pod: Pod) -> kube::Result<u64> {
        let api: Api<Pod> = self.context.namespaced(namespace(&pod.metadata));
        match api.create(&PostParams::default(), &pod).await {
            Ok(pod) => {
                let message = self.did(CREATE, about, name(&pod.metadata));
                self.recorder.normal(about, "SuccessfulCreate", message);
                Ok(resource_version(&pod.metadata))
            }
            Err(error) => {
                if !is_terminating(&error) {
                    let (pod, why) = (name(&pod.metadata), message_of(&error));
                    let message = self.failed(CREATE, about, pod, &why);
                    self.recorder.warning(about, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    /// Deletes pods and waits until the informer shows them as being deleted.
    pub async fn delete(&self, about: &ObjectReference, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let results = join_all(pods.iter().map(|pod| self.delete_one(about, pod))).await;
        results.into_iter().collect::<kube::Result<()>>()?;
        for pod in pods {
            until_deleting(&self.context.pods, pod).await;
        }
        Ok(())
    }

    async fn delete_one(&self, about: &ObjectReference, pod: &Pod) -> kube::Result<()> {
        let api: Api<Pod> = self.context.namespaced(namespace(&pod.metadata));
        match api.delete(name(&pod.metadata), &delete_params(&pod.metadata)).await {
            Ok(_) => {
                let message = self.did(DELETE, about, name(&pod.metadata));
                self.recorder.normal(about, "SuccessfulDelete", message);
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => {
                let (pod, why) = (name(&pod.metadata), message_of(&error));
                let message = self.failed(DELETE, about, pod, &why);
                self.recorder.warning(about, "FailedDelete", message);
                Err(error)
            }
        }
    }
}

fn owner(about: &ObjectReference) -> &str {
    about.name.as_deref().unwrap_or_default()
}

/// Deletes exactly this object and not a namesake.
pub(crate) fn delete_params(meta: &ObjectMeta) -> DeleteParams {
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// The pod's condition DisruptionTarget, for a patch: true for a reason with its message, or false without. Its time is
/// kept where it was so already.
pub(crate) fn disruption_target(pod: &Pod, why: Option<(&str, &str)>, now: Timestamp) -> Value {
    let status = if why.is_some() { "True" } else { "False" };
    let same = pod_condition(pod, "DisruptionTarget").filter(|condition| condition.status == status);
    let since = same.and_then(|condition| condition.last_transition_time.clone()).unwrap_or(Time(now));
    json!({
        "type": "DisruptionTarget", "status": status, "observedGeneration": pod.metadata.generation,
        "reason": why.map(|(reason, _)| reason), "message": why.map(|(_, message)| message),
        "lastTransitionTime": since})
}

/// Whether the refusal is due to the namespace's end, which is nobody's news.
pub(crate) fn is_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Resolves when the informer shows the pod gone, replaced or being deleted.
async fn until_deleting(pods: &Informer<Pod>, pod: &Pod) {
    let key = Key::namespaced(namespace(&pod.metadata), name(&pod.metadata));
    pods.until(|pods| {
        pods.get(&key).is_none_or(|now| {
            now.metadata.deletion_timestamp.is_some() || uid(&now.metadata) != uid(&pod.metadata)
        })
    })
    .await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn batches_double() {
        assert_eq!(slow_start_batches(0), Vec::<usize>::new());
        assert_eq!(slow_start_batches(1), [1]);
        assert_eq!(slow_start_batches(10), [1, 2, 4, 3]);
    }

    #[test]
    fn a_pod_that_goes_says_why_and_of_which_generation() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let before = "2026-01-01T00:00:00Z";
        for (had, why, status, since) in [
            (None, Some(("DeletionByPodGC", "gone")), "True", "2026-01-01T01:00:00Z"),
            (Some("True"), Some(("DeletionByPodGC", "gone")), "True", before),
            (Some("False"), Some(("DeletionByPodGC", "gone")), "True", "2026-01-01T01:00:00Z"),
            (Some("True"), None, "False", "2026-01-01T01:00:00Z"),
        ] {
            let old = had.map(
                |status| json!({"type": "DisruptionTarget", "status": status, "lastTransitionTime": before}),
            );
            let conditions: Vec<_> = old.into_iter().collect();
            let pod = json!({"metadata": {"generation": 3}, "status": {"conditions": conditions}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let expected = json!({"type": "DisruptionTarget", "status": status, "observedGeneration": 3,
                "reason": why.map(|(reason, _)| reason), "message": why.map(|(_, message)| message),
                "lastTransitionTime": since});
            assert_eq!(disruption_target(&pod, why, now), expected, "{had:?} {why:?}");
        }
    }

    #[test]
    fn a_pod_of_a_template_belongs_to_its_owner() {
        let template: PodTemplateSpec = serde_json::from_value(serde_json::json!({
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}))
        .unwrap();
        let owner = OwnerReference { name: "web-1".into(), uid: "u".into(), ..Default::default() };
        let pod = pod_from_template(&template, &owner, "default");
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-1-"));
        assert_eq!(pod.metadata.owner_references.unwrap()[0].uid, "u");
        assert_eq!(pod.metadata.labels.unwrap()["app"], "web");
    }
}
