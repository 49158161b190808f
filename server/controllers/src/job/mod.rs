//! Job: run pods to completion, counting each exactly once (upstream's `job_controller.go`).
//!
//! A finished pod keeps a finalizer until it is counted: first its uid goes to `uncountedTerminatedPods`, then the
//! finalizer goes, then the number moves to `succeeded` or `failed`. A crash between any two loses nothing. Pods that
//! are not wanted any more (the Job is suspended, or wider than it may be) lose it before they are deleted: they did
//! not fail. Back-off is read from the pods themselves, so that a restart does not forget it, and from what is remembered of
//! those that were taken away.

mod backoff;
mod indexes;
mod plan;
mod pod;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, Informer, Key, Recorder, Sources, reference};
use serde_json::json;

use crate::claim::{self, claim};
use crate::context::{BY_CONTROLLER, Context, candidates, index_by_owner, owner_keys, suitors};
use crate::pod_control::PodControl;
use crate::words::{controller_of, controller_reference, matches, name, namespace, resource_version, uid};

use plan::{Plan, plan};
use pod::{FINALIZER, tracked};

pub(crate) use plan::is_finished;

/// Who else's Jobs are not ours.
const OURSELVES: &str = "kubernetes.io/job-controller";

fn is_managed(job: &Job) -> bool {
    let by = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    by.is_none_or(|by| by == OURSELVES)
}

/// The controller; it also deletes finished Jobs after their `ttlSecondsAfterFinished`.
pub(crate) struct Jobs {
    context: Context,
    jobs: Informer<Job>,
    control: PodControl,
    recorder: Recorder,
    failures: Mutex<backoff::Memory>,
}

/// Index of the pods that hang on our finalizer, by the name of their Job; those of nobody are under no name.
const TRACKED: &str = "tracked-by-job";

fn tracker(namespace: &str, job: &str) -> String {
    format!("{namespace}/{job}")
}

fn trackers(pod: &Pod) -> Vec<String> {
    let job = match controller_of(&pod.metadata) {
        None => "",
        Some(owner) if owner.kind == "Job" => owner.name.as_str(),
        Some(_) => return Vec::new(),
    };
    if tracked(pod) { vec![tracker(namespace(&pod.metadata), job)] } else { Vec::new() }
}

/// Whether the pod's Job is not the one that has its name by now.
fn is_left(pod: &Pod, live: Option<&Job>) -> bool {
    let owner = controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
    live.is_none_or(|job| owner != Some(uid(&job.metadata)))
}

impl Jobs {
    pub fn new(context: &Context) -> Self {
        let jobs = context.by_namespace::<Job>();
        index_by_owner(&jobs);
        let recorder = context.recorder("job-controller");
        context.pods.add_index(TRACKED, trackers);
        let control = PodControl::new(context, &recorder);
        Self { context: context.clone(), jobs, control, recorder, failures: Mutex::default() }
    }

    async fn act(&self, job: &Job, mut plan: Plan) -> Result<(), Error> {
        let about = reference(job);
        let ends = plan.ends();
        // how a Job ends is written before its pods are taken away, or they might be taken for failures
        let acted = if ends { Ok(()) } else { self.resize(job, &plan).await };
        if acted.is_err() {
            // the status tells what there is, not what was wanted
            let own = self.context.pods.by_index(BY_CONTROLLER, uid(&job.metadata));
            plan.recount(&own);
        }
        // the count is written before any finalizer goes
        if job.status.as_ref() != Some(&plan.status) {
            let mut object = job.clone();
            object.status = Some(plan.status);
            let api = self.context.namespaced::<Job>(namespace(&job.metadata));
            let written = api.replace_status(name(&job.metadata), &PostParams::default(), &object).await?;
            self.jobs.reached(resource_version(&written.metadata)).await;
        }
        for (kind, reason, message) in plan.events {
            self.recorder.event(&about, kind, &reason, message);
        }
        if ends {
            self.control.delete(&about, &plan.delete).await?;
        }
        self.strip(&plan.strip).await?;
        acted
    }

    /// Makes pods that are missing and takes away those that are not wanted.
    async fn resize(&self, job: &Job, plan: &Plan) -> Result<(), Error> {
        let about = reference(job);
        let spec = job.spec.clone().unwrap_or_default();
        let pods = plan.create.iter().map(|new| pod::pod_of(job, &spec, new)).collect();
        self.control.create(&about, pods).await?;
        for pod in &plan.unwanted {
            // one that has succeeded meanwhile is to be counted
            self.strip_one(pod, pod.metadata.resource_version.as_deref()).await?;
        }
        self.control.delete(&about, &plan.delete).await
    }

    /// The Job's pods, after adoption and release.
    async fn pods(&self, job: &Job) -> Result<Vec<Arc<Pod>>, Error> {
        let place = namespace(&job.metadata);
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.clone()) else {
            return Ok(self.context.pods.by_index(BY_CONTROLLER, uid(&job.metadata)));
        };
        let sorted =
            claim(&job.metadata, &selector, candidates(&self.context.pods, uid(&job.metadata), place));
        let mut pods = sorted.owned;
        let adopt = sorted.adopt;
        let api = self.context.namespaced::<Pod>(place);
        if !adopt.is_empty() {
            claim::still_there(&self.context, job).await?;
            let adopted = claim::adopt_with(&api, &controller_reference(job), &[FINALIZER], &adopt).await?;
            let version = adopted.iter().map(|pod| resource_version(&pod.metadata)).max().unwrap_or(0);
            self.context.pods.reached(version).await;
            pods.extend(adopted);
        }
        let strayed: Vec<_> = sorted.release.iter().filter(|pod| tracked(pod)).cloned().collect();
        self.strip(&strayed).await?;
        let version = claim::release(&api, uid(&job.metadata), &sorted.release).await?;
        self.context.pods.reached(version).await;
        Ok(pods)
    }

    /// Takes our finalizer from pods, whatever else of them has changed.
    async fn strip(&self, pods: &[Arc<Pod>]) -> Result<(), Error> {
        for pod in pods {
            self.strip_one(pod, None).await?;
        }
        Ok(())
    }

    /// Takes our finalizer from a pod; with a `version` only if the pod is still as it was seen.
    async fn strip_one(&self, pod: &Pod, version: Option<&str>) -> Result<(), Error> {
        let mut body = json!({"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
        if let Some(version) = version {
            body["metadata"]["resourceVersion"] = version.into();
        }
        let api = self.context.namespaced::<Pod>(namespace(&pod.metadata));
        match api.patch(name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(body)).await {
            Ok(pod) => self.context.pods.reached(resource_version(&pod.metadata)).await,
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Deletes the finished Job when its time is over (upstream's `ttlafterfinished_controller.go`).
    async fn expire(&self, job: &Job) -> Result<Option<Duration>, Error> {
        let Some(ttl) = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished) else {
            return Ok(None);
        };
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ends =
            conditions.filter(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True");
        let Some(end) = ends.filter_map(|c| c.last_transition_time.as_ref().map(|time| time.0)).max() else {
            return Ok(None);
        };
        let over = end + Duration::from_secs(ttl.max(0).unsigned_abs().into());
        let now = sampan_reconcile::now();
        if over > now {
            return Ok(Some(over.duration_since(now).unsigned_abs()));
        }
        let params = DeleteParams {
            propagation_policy: Some(kube::api::PropagationPolicy::Foreground),
            ..crate::pod_control::delete_params(&job.metadata)
        };
        match self
            .context
            .namespaced::<Job>(namespace(&job.metadata))
            .delete(name(&job.metadata), &params)
            .await
        {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            result => result.map(|_| None).map_err(Error::from),
        }
    }

    /// Pods whose Job is gone must not hang on our finalizer; `live` is another one of its name.
    async fn release(&self, key: &Key, live: Option<&Job>) -> Result<(), Error> {
        let named = |job: &str| self.context.pods.by_index(TRACKED, &tracker(key.namespace(), job));
        let mut pods = named(&key.name);
        if live.is_none() {
            pods.extend(named(""));
        }
        pods.retain(|pod| is_left(pod, live));
        self.strip(&pods).await
    }
}

impl Controller for Jobs {
    type Key = Key;

    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn queue(&self) -> &'static str {
        "job"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.jobs, |delta| vec![delta.key.clone()]);
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| {
            let mut keys = owner_keys(delta, "Job");
            keys.extend(suitors(delta, &this.jobs, |job, labels| {
                let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                selector.is_some_and(|selector| matches(selector, labels))
            }));
            keys
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let job = self.jobs.get(key);
        self.release(key, job.as_deref()).await?;
        let Some(job) = job else {
            self.failures.lock().forget(key);
            return Ok(None);
        };
        if !is_managed(&job) {
            return Ok(None);
        }
        let pods = self.pods(&job).await?;
        let failures = match &job.spec {
            Some(spec) if !is_finished(&job) => self.failures.lock().look(key, &job, spec, &pods),
            _ => Vec::new(),
        };
        let plan = plan(&job, &pods, &failures, sampan_reconcile::now());
        let requeue = plan.requeue;
        self.act(&job, plan).await?;
        if is_finished(&job) {
            self.failures.lock().forget(key);
        }
        if is_finished(&job) { self.expire(&job).await } else { Ok(requeue) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pods_are_left_when_another_job_has_the_name() {
        let pod = |kind: &str, owner: &str, finalizers: &[&str]| -> Pod {
            let owner = json!({"apiVersion": "batch/v1", "kind": kind, "name": "j", "uid": owner, "controller": true});
            let owners = if kind.is_empty() { json!([]) } else { json!([owner]) };
            let meta =
                json!({"name": "p", "namespace": "a", "finalizers": finalizers, "ownerReferences": owners});
            serde_json::from_value(json!({"metadata": meta})).unwrap()
        };
        let live: Job = serde_json::from_value(json!({"metadata": {"name": "j", "uid": "new"}})).unwrap();
        for (kind, owner, finalizers, index, left) in [
            ("Job", "new", vec![FINALIZER], vec!["a/j"], false),
            ("Job", "old", vec![FINALIZER], vec!["a/j"], true),
            ("Job", "old", vec!["example.com/x"], vec![], true),
            ("ReplicaSet", "old", vec![FINALIZER], vec![], true),
            ("", "", vec![FINALIZER], vec!["a/"], true),
        ] {
            let pod = pod(kind, owner, &finalizers);
            assert_eq!(trackers(&pod), index, "{kind} {owner} {finalizers:?}");
            assert_eq!(is_left(&pod, Some(&live)), left, "{kind} {owner} {finalizers:?}");
            assert!(is_left(&pod, None), "{kind} {owner} {finalizers:?}");
        }
    }
}
