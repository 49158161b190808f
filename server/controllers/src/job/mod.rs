//! Job: run pods to completion, counting each exactly once (upstream's `job_controller.go`).
//!
//! A finished pod keeps a finalizer until it is counted: first its uid goes to `uncountedTerminatedPods`, then the
//! finalizer goes, then the number moves to `succeeded` or `failed`. A crash between any two loses nothing. Pods that
//! are not wanted any more (the Job is suspended, or wider than it may be) lose it before they are deleted: they did
//! not fail. Back-off is read from the pods themselves, so that a restart does not forget it.

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
use sampan_reconcile::{Controller, Error, Informer, Key, Recorder, Sources, reference};
use serde_json::json;

use crate::claim::{self, claim};
use crate::context::{Context, candidates, index_by_owner, owner_keys, suitors};
use crate::pod_control::PodControl;
use crate::words::{controller_reference, is_active, matches, name, namespace, resource_version, uid};

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
}

impl Jobs {
    pub fn new(context: &Context) -> Self {
        let jobs = context.by_namespace::<Job>();
        index_by_owner(&jobs);
        let recorder = context.recorder("job-controller");
        Self { context: context.clone(), jobs, control: PodControl::new(context, &recorder), recorder }
    }

    async fn act(&self, job: &Job, plan: Plan) -> Result<(), Error> {
        let about = reference(job);
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
        self.strip(&plan.strip).await?;
        self.control.delete(&about, &plan.delete).await?;
        let spec = job.spec.clone().unwrap_or_default();
        let pods = plan.create.into_iter().map(|new| pod::pod_of(job, &spec, &new)).collect();
        self.control.create(&about, pods).await
    }

    /// The Job's pods, after adoption and release.
    async fn pods(&self, job: &Job) -> Result<Vec<Arc<Pod>>, Error> {
        let place = namespace(&job.metadata);
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.clone()) else {
            return Ok(self.context.pods.by_index(crate::context::BY_CONTROLLER, uid(&job.metadata)));
        };
        let sorted =
            claim(&job.metadata, &selector, candidates(&self.context.pods, uid(&job.metadata), place));
        let mut pods = sorted.owned;
        let adopt: Vec<_> = sorted.adopt.into_iter().filter(|pod| is_active(pod)).collect();
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

    async fn strip(&self, pods: &[Arc<Pod>]) -> Result<(), Error> {
        for pod in pods {
            let mut finalizers = pod.metadata.finalizers.clone().unwrap_or_default();
            finalizers.retain(|finalizer| finalizer != FINALIZER);
            let body = json!({"metadata": {
                "resourceVersion": pod.metadata.resource_version, "uid": pod.metadata.uid, "finalizers": finalizers}});
            let api = self.context.namespaced::<Pod>(namespace(&pod.metadata));
            match api.patch(name(&pod.metadata), &PatchParams::default(), &Patch::Merge(body)).await {
                Ok(pod) => self.context.pods.reached(resource_version(&pod.metadata)).await,
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            }
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

    /// The Job is gone or going: its pods must not hang on our finalizer.
    async fn release(&self, key: &Key) -> Result<(), Error> {
        let all = self.context.pods.by_index(crate::context::BY_NAMESPACE, key.namespace());
        let ours = |pod: &Arc<Pod>| {
            let owner = crate::words::controller_of(&pod.metadata);
            tracked(pod) && owner.is_none_or(|owner| owner.kind == "Job" && owner.name == key.name)
        };
        let pods: Vec<_> = all.into_iter().filter(ours).collect();
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
        let Some(job) = self.jobs.get(key) else { return self.release(key).await.map(|()| None) };
        if job.metadata.deletion_timestamp.is_some() {
            return self.release(key).await.map(|()| None);
        }
        if !is_managed(&job) {
            return Ok(None);
        }
        let pods = self.pods(&job).await?;
        let plan = plan(&job, &pods, sampan_reconcile::now());
        let requeue = plan.requeue;
        self.act(&job, plan).await?;
        if is_finished(&job) { self.expire(&job).await } else { Ok(requeue) }
    }
}
