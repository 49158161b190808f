//! CronJob: starts a Job at each time of a schedule (upstream's `cronjob_controllerv2.go`).
//!
//! Time enters as the queue's delay until the next start; nothing looks at the clock in between.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, HashMap, Informer, Key, Recorder, Sources, reference};

use crate::context::{BY_CONTROLLER, Context, index_by_owner, owner_keys};
use crate::pod_control::{delete_params, is_terminating, message_of};
use crate::words::{controller_of, name, namespace, resource_version, uid};
use plan::{News, Plan, plan, plan_changed, started};

/// The controller.
pub(crate) struct CronJobs {
    context: Context,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    recorder: Recorder,
    /// The uid, schedule and time zone that a CronJob had in its last pass.
    clocks: Mutex<HashMap<Key, (String, String, Option<String>)>>,
}

impl CronJobs {
    pub fn new(context: &Context) -> Self {
        let jobs = context.by_namespace::<Job>();
        index_by_owner(&jobs);
        let recorder = context.recorder("cronjob-controller");
        let (context, crons) = (context.clone(), context.informers.of());
        Self { context, crons, jobs, recorder, clocks: Mutex::default() }
    }

    /// Whether the schedule is another one than in the last pass.
    fn is_changed(&self, key: &Key, cron: &CronJob) -> bool {
        let (id, spec) = (uid(&cron.metadata).to_owned(), &cron.spec);
        let clock = (id, spec.schedule.clone(), spec.time_zone.clone());
        let before = self.clocks.lock().insert(key.clone(), clock.clone());
        before.is_some_and(|before| before.0 == clock.0 && before != clock)
    }

    fn say(&self, cron: &CronJob, news: &News) {
        let record = if news.good { Recorder::normal } else { Recorder::warning };
        record(&self.recorder, &reference(cron), news.reason, news.message.clone());
    }

    async fn act(&self, cron: &CronJob, plan: Plan) -> Result<(), Error> {
        plan.news.iter().for_each(|news| self.say(cron, news));
        let (mut status, mut acted) = (plan.status, Ok(()));
        for job in &plan.delete {
            if let Err(error) = self.delete(cron, job).await {
                keep(&mut status, cron, job);
                acted = Err(error);
            }
        }
        if let Some((job, at)) = plan.create.filter(|_| acted.is_ok()) {
            match self.create(cron, &job).await {
                Ok(Some(job)) => started(&mut status, reference(&job), at),
                Ok(None) => {}
                Err(error) => acted = Err(error),
            }
        }
        // the status tells what there is, whether or not the step succeeds
        self.write_status(cron, status).await?;
        acted
    }

    async fn delete(&self, cron: &CronJob, job: &Job) -> Result<(), Error> {
        let api = self.context.namespaced::<Job>(namespace(&job.metadata));
        let background = Some(PropagationPolicy::Background);
        let params = DeleteParams { propagation_policy: background, ..delete_params(&job.metadata) };
        match api.delete(name(&job.metadata), &params).await {
            Ok(_) => {
                let message = format!("Deleted job {}", name(&job.metadata));
                self.recorder.normal(&reference(cron), "SuccessfulDelete", message);
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => {
                let message = format!("Deleted job: {}", message_of(&error));
                self.recorder.warning(&reference(cron), "FailedDelete", message);
                Err(error.into())
            }
        }
    }

    /// Makes the Job; one of ours that is there already was made by a pass that could not write its status.
    async fn create(&self, cron: &CronJob, job: &Job) -> Result<Option<Job>, Error> {
        let api = self.context.namespaced::<Job>(namespace(&job.metadata));
        match api.create(&PostParams::default(), job).await {
            Ok(job) => {
                let message = format!("Created job {}", name(&job.metadata));
                self.recorder.normal(&reference(cron), "SuccessfulCreate", message);
                self.jobs.reached(resource_version(&job.metadata)).await;
                Ok(Some(job))
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let live = api.get(name(&job.metadata)).await?;
                let ours =
                    controller_of(&live.metadata).is_some_and(|owner| owner.uid == uid(&cron.metadata));
                Ok(Some(live).filter(|_| ours))
            }
            Err(error) => {
                if !is_terminating(&error) {
                    let message = format!("Error creating job: {}", message_of(&error));
                    self.recorder.warning(&reference(cron), "FailedCreate", message);
                }
                Err(error.into())
            }
        }
    }

    async fn write_status(&self, cron: &CronJob, status: CronJobStatus) -> Result<(), Error> {
        if cron.status.clone().unwrap_or_default() == status {
            return Ok(());
        }
        let mut object = cron.clone();
        object.status = Some(status);
        let api = self.context.namespaced::<CronJob>(namespace(&cron.metadata));
        let written = api.replace_status(name(&cron.metadata), &PostParams::default(), &object).await?;
        self.crons.reached(resource_version(&written.metadata)).await;
        Ok(())
    }
}

/// Puts a Job back among the active ones, that was taken from them to be deleted and was not.
fn keep(status: &mut CronJobStatus, cron: &CronJob, job: &Job) {
    let before = cron.status.iter().flat_map(|status| status.active.iter().flatten());
    let own = before.filter(|reference| reference.uid.as_deref() == Some(uid(&job.metadata)));
    let active = status.active.get_or_insert_default();
    active.extend(own.cloned());
    if active.is_empty() {
        status.active = None;
    }
}

impl Controller for CronJobs {
    type Key = Key;

    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn queue(&self) -> &'static str {
        "cronjob"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.crons, |delta| vec![delta.key.clone()]);
        sources.on(&self.jobs, |delta| owner_keys(delta, "CronJob"));
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(cron) = self.crons.get(key) else {
            self.clocks.lock().remove(key);
            return Ok(None);
        };
        let jobs = self.jobs.by_index(BY_CONTROLLER, uid(&cron.metadata));
        let decide = if self.is_changed(key, &cron) { plan_changed } else { plan };
        let plan = decide(&cron, &jobs, sampan_reconcile::now());
        let requeue = plan.requeue;
        self.act(&cron, plan).await?;
        Ok(requeue)
    }
}
