//! Job: run pods to completion, counting each exactly once (upstream's `job_controller.go`).
//!
//! A finished pod keeps a finalizer until it is counted: first its uid goes to `uncountedTerminatedPods`, then the
//! finalizer goes, then the number moves to `succeeded` or `failed`. A crash between any two loses nothing.
//! Not here: pod failure policy, success policy and per-index back-off.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{EnvVar, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use sampan_reconcile::{Controller, Error, Informer, Key, Recorder, Sources, reference};
use serde_json::json;

use crate::context::{BY_CONTROLLER, Context, index_by_owner, owner_keys};
use crate::pod_control::{PodControl, pod_from_template};
use crate::words::{
    annotation, controller_reference, is_ready, is_terminal, name, namespace, phase, resource_version, uid,
};

const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const BACKOFF: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_secs(600);
const BURST: usize = 500;

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub status: JobStatus,
    /// The completion index of each pod to be created; `None` for a Job without indexes.
    pub create: Vec<Option<i32>>,
    pub delete: Vec<Arc<Pod>>,
    /// Counted pods, which may lose their finalizer.
    pub strip: Vec<Arc<Pod>>,
    pub event: Option<(bool, &'static str, String)>,
    pub requeue: Option<Duration>,
}

pub(crate) fn is_finished(job: &Job) -> bool {
    job.status.as_ref().is_some_and(|status| has(status, "Complete") || has(status, "Failed"))
}

fn has(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn set(status: &mut JobStatus, kind: &str, yes: bool, (reason, message): (&str, &str), now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: if yes { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

fn tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

fn failed(pod: &Pod) -> bool {
    phase(pod) == "Failed" || (pod.metadata.deletion_timestamp.is_some() && phase(pod) != "Succeeded")
}

fn active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

fn index_of(pod: &Pod) -> Option<i32> {
    annotation(&pod.metadata, INDEX)?.parse().ok()
}

/// `0-2,5` as a set, and back.
fn parse_indexes(text: &str) -> BTreeSet<i32> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?)
    };
    text.split(',').filter_map(part).flatten().collect()
}

fn format_indexes(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let text = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// One pass over a Job that is not finished yet, or has pods left to let go.
pub(crate) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), ..Plan::default() };
    if is_finished(job) {
        plan.strip = pods.iter().filter(|pod| tracked(pod)).cloned().collect();
        return plan;
    }
    count(&mut plan, &spec, pods);
    let suspended = spec.suspend == Some(true);
    if !suspended && plan.status.start_time.is_none() {
        plan.status.start_time = Some(Time(now));
    }
    let running: Vec<Arc<Pod>> = pods.iter().filter(|pod| active(pod)).cloned().collect();
    decide(&mut plan, &spec, pods, &running, now);
    let ending = has(&plan.status, "FailureTarget") || has(&plan.status, "SuccessCriteriaMet");
    if ending || suspended {
        plan.delete = running.clone();
        suspend(&mut plan, job, suspended && !ending, now);
    } else {
        suspend(&mut plan, job, false, now);
        size(&mut plan, &spec, pods, &running, now);
    }
    let created = plan.create.len();
    let n = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    plan.status.active = Some(n(running.len() - plan.delete.len() + created)).filter(|n| *n > 0);
    plan.status.ready = Some(n(running.iter().filter(|pod| is_ready(pod)).count()));
    let leaving =
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some() && !is_terminal(pod)).count();
    plan.status.terminating = Some(n(leaving));
    finish(&mut plan, leaving == 0 && running.is_empty(), now);
    plan
}

/// Moves finished pods through `uncountedTerminatedPods` into the counts.
fn count(plan: &mut Plan, spec: &JobSpec, pods: &[Arc<Pod>]) {
    let status = &mut plan.status;
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let held = |id: &String| pods.iter().any(|pod| tracked(pod) && uid(&pod.metadata) == id);
    let flush = |ids: &mut Vec<String>, counter: &mut Option<i32>| {
        let before = ids.len();
        ids.retain(held);
        let gone = i32::try_from(before - ids.len()).unwrap_or(0);
        *counter = Some(counter.unwrap_or(0) + gone).filter(|count| *count > 0);
    };
    let (mut good, mut bad) =
        (uncounted.succeeded.take().unwrap_or_default(), uncounted.failed.take().unwrap_or_default());
    flush(&mut good, &mut status.succeeded);
    flush(&mut bad, &mut status.failed);
    let mut indexes = parse_indexes(status.completed_indexes.as_deref().unwrap_or_default());
    for pod in pods.iter().filter(|pod| tracked(pod)) {
        let id = uid(&pod.metadata).to_owned();
        let known = good.contains(&id) || bad.contains(&id);
        if phase(pod) == "Succeeded" {
            indexes.extend(index_of(pod));
            if !known {
                good.push(id);
            }
        } else if failed(pod) && !known {
            bad.push(id);
        } else if !known {
            continue;
        }
        plan.strip.push(pod.clone());
    }
    if spec.completion_mode.as_deref() == Some("Indexed") {
        status.completed_indexes = Some(format_indexes(&indexes)).filter(|text| !text.is_empty());
    }
    uncounted.succeeded = Some(good).filter(|ids| !ids.is_empty());
    uncounted.failed = Some(bad).filter(|ids| !ids.is_empty());
    status.uncounted_terminated_pods = Some(uncounted);
}

/// How many pods have ended well and badly, counted or about to be.
fn totals(status: &JobStatus) -> (i32, i32) {
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let n = |ids: Option<&Vec<String>>| ids.map_or(0, |ids| i32::try_from(ids.len()).unwrap_or(0));
    let good = status.succeeded.unwrap_or(0) + n(uncounted.and_then(|u| u.succeeded.as_ref()));
    let bad = status.failed.unwrap_or(0) + n(uncounted.and_then(|u| u.failed.as_ref()));
    (good, bad)
}

/// Whether the Job has reached its end, one way or the other.
fn decide(plan: &mut Plan, spec: &JobSpec, pods: &[Arc<Pod>], running: &[Arc<Pod>], now: Timestamp) {
    if has(&plan.status, "FailureTarget") || has(&plan.status, "SuccessCriteriaMet") {
        return;
    }
    let (good, bad) = totals(&plan.status);
    let limit = spec.backoff_limit.unwrap_or(6);
    let elapsed = plan.status.start_time.as_ref().map(|start| now.duration_since(start.0).as_secs());
    let deadline = spec.active_deadline_seconds.filter(|_| spec.suspend != Some(true));
    let late = deadline.zip(elapsed).is_some_and(|(deadline, elapsed)| elapsed >= deadline);
    let done = match spec.completions {
        Some(completions) => good >= completions,
        None => good > 0 && running.is_empty(),
    };
    if bad > limit || restarts_exceed(spec, limit, pods) {
        let words = ("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        set(&mut plan.status, "FailureTarget", true, words, now);
    } else if late {
        let words = ("DeadlineExceeded", "Job was active longer than specified deadline");
        set(&mut plan.status, "FailureTarget", true, words, now);
    } else if done {
        let words = ("CompletionsReached", "Reached expected number of succeeded pods");
        set(&mut plan.status, "SuccessCriteriaMet", true, words, now);
    } else if let Some((deadline, elapsed)) = deadline.zip(elapsed) {
        plan.requeue = Some(Duration::from_secs((deadline - elapsed).max(1).unsigned_abs()));
    }
}

/// Pods that restart in place count their restarts against the limit.
fn restarts_exceed(spec: &JobSpec, limit: i32, pods: &[Arc<Pod>]) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let statuses =
        pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending")).flat_map(|pod| &pod.status);
    let restarts: i32 = statuses
        .flat_map(|s| s.init_container_statuses.iter().chain(&s.container_statuses).flatten())
        .map(|container| container.restart_count)
        .sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn suspend(plan: &mut Plan, job: &Job, suspended: bool, now: Timestamp) {
    let was = job.status.as_ref().is_some_and(|status| has(status, "Suspended"));
    if suspended && !was {
        set(&mut plan.status, "Suspended", true, ("JobSuspended", "Job suspended"), now);
        plan.status.start_time = None;
        plan.event = Some((true, "Suspended", "Job suspended".to_owned()));
    } else if !suspended && was {
        set(&mut plan.status, "Suspended", false, ("JobResumed", "Job resumed"), now);
        plan.event = Some((true, "Resumed", "Job resumed".to_owned()));
    }
}

/// Creates and deletes towards the parallelism that is still useful.
fn size(plan: &mut Plan, spec: &JobSpec, pods: &[Arc<Pod>], running: &[Arc<Pod>], now: Timestamp) {
    let (good, _) = totals(&plan.status);
    let parallelism = spec.parallelism.unwrap_or(1).max(0);
    let wanted = match spec.completions {
        Some(completions) => parallelism.min(completions - good),
        None if good > 0 => i32::try_from(running.len()).unwrap_or(0).min(parallelism),
        None => parallelism,
    };
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if running.len() > wanted {
        let mut surplus = running.to_vec();
        surplus.sort_by_key(|pod| (is_ready(pod), std::cmp::Reverse(crate::words::created(&pod.metadata))));
        surplus.truncate(running.len() - wanted);
        plan.delete = surplus;
        return;
    }
    let missing = (wanted - running.len()).min(BURST);
    if let Some(wait) = backoff(pods, now).filter(|_| missing > 0) {
        plan.requeue = Some(plan.requeue.map_or(wait, |other| other.min(wait)));
        return;
    }
    plan.create = match (spec.completion_mode.as_deref(), spec.completions) {
        (Some("Indexed"), Some(completions)) => {
            let mut taken = parse_indexes(plan.status.completed_indexes.as_deref().unwrap_or_default());
            taken.extend(running.iter().filter_map(|pod| index_of(pod)));
            (0..completions).filter(|index| !taken.contains(index)).take(missing).map(Some).collect()
        }
        _ => vec![None; missing],
    };
}

/// The pause after failures in a row: 10 s, doubling.
fn backoff(pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let end = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let ends =
            statuses.filter_map(|s| s.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|t| t.0));
        ends.max().or_else(|| pod.metadata.deletion_timestamp.as_ref().map(|time| time.0))
    };
    let success = pods.iter().filter(|pod| phase(pod) == "Succeeded").filter_map(|pod| end(pod)).max();
    let failures: Vec<Timestamp> = pods
        .iter()
        .filter(|pod| phase(pod) == "Failed")
        .filter_map(|pod| end(pod))
        .filter(|end| Some(*end) > success)
        .collect();
    let last = failures.iter().max()?;
    let exponent = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX);
    let pause = BACKOFF.saturating_mul(2u32.saturating_pow(exponent)).min(BACKOFF_MAX);
    let passed = now.duration_since(*last);
    pause.checked_sub(passed.unsigned_abs()).filter(|left| !left.is_zero())
}

/// The last word, once every pod has stopped and is counted.
fn finish(plan: &mut Plan, stopped: bool, now: Timestamp) {
    let uncounted = plan.status.uncounted_terminated_pods.clone().unwrap_or_default();
    if !stopped || !plan.create.is_empty() || uncounted.succeeded.is_some() || uncounted.failed.is_some() {
        return;
    }
    let target = |kind: &str| {
        let condition =
            plan.status.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == "True")?;
        Some((condition.reason.clone().unwrap_or_default(), condition.message.clone().unwrap_or_default()))
    };
    if let Some((reason, message)) = target("FailureTarget") {
        set(&mut plan.status, "Failed", true, (&reason, &message), now);
        let reason = if reason == "DeadlineExceeded" { "DeadlineExceeded" } else { "BackoffLimitExceeded" };
        plan.event = Some((false, reason, message));
    } else if let Some((reason, message)) = target("SuccessCriteriaMet") {
        set(&mut plan.status, "Complete", true, (&reason, &message), now);
        plan.status.completion_time = Some(Time(now));
        plan.event = Some((true, "Completed", "Job completed".to_owned()));
    }
}

/// The pod of a Job, with its labels, finalizer and index.
fn pod_of(job: &Job, spec: &JobSpec, index: Option<i32>) -> Pod {
    let mut pod = pod_from_template(&spec.template, &controller_reference(job), namespace(&job.metadata));
    let (id, job_name) = (uid(&job.metadata), name(&job.metadata));
    let labels = pod.metadata.labels.get_or_insert_default();
    for prefix in ["", "batch.kubernetes.io/"] {
        labels.insert(format!("{prefix}controller-uid"), id.to_owned());
        labels.insert(format!("{prefix}job-name"), job_name.to_owned());
    }
    pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    let Some(index) = index else { return pod };
    labels.insert(INDEX.to_owned(), index.to_string());
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    pod.metadata.generate_name = Some(format!("{job_name}-{index}-"));
    if let Some(spec) = &mut pod.spec {
        spec.hostname.get_or_insert(format!("{job_name}-{index}"));
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            let variable = EnvVar {
                name: "JOB_COMPLETION_INDEX".to_owned(),
                value: Some(index.to_string()),
                value_from: None,
            };
            container.env.get_or_insert_default().push(variable);
        }
    }
    pod
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
        if let Some((good, reason, message)) = plan.event {
            let record = if good { Recorder::normal } else { Recorder::warning };
            record(&self.recorder, &about, reason, message);
        }
        self.strip(&plan.strip).await?;
        self.control.delete(&about, &plan.delete).await?;
        let spec = job.spec.clone().unwrap_or_default();
        self.control
            .create(&about, plan.create.into_iter().map(|index| pod_of(job, &spec, index)).collect())
            .await
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
        let now = Timestamp::now();
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

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.jobs, |delta| vec![delta.key.clone()]);
        sources.on(&self.context.pods, |delta| owner_keys(delta, "Job"));
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(job) = self.jobs.get(key) else { return self.release(key).await.map(|()| None) };
        if job.metadata.deletion_timestamp.is_some() {
            return self.release(key).await.map(|()| None);
        }
        let pods = self.context.pods.by_index(BY_CONTROLLER, uid(&job.metadata));
        let plan = plan(&job, &pods, Timestamp::now());
        let requeue = plan.requeue;
        self.act(&job, plan).await?;
        if is_finished(&job) { self.expire(&job).await } else { Ok(requeue) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn job(spec: serde_json::Value) -> Job {
        let mut job =
            json!({"metadata": {"name": "j", "namespace": "a", "uid": "j"}, "spec": {"template": {}}});
        for (key, value) in spec.as_object().unwrap() {
            job["spec"][key] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    fn pod(id: &str, phase: &str, finalizer: bool) -> Arc<Pod> {
        let finalizers = if finalizer { vec![FINALIZER] } else { vec![] };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": id, "uid": id, "finalizers": finalizers},
            "status": {"phase": phase}}))
            .unwrap(),
        )
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn pods_are_created_up_to_what_is_useful() {
        let cases = [
            (json!({"completions": 1, "parallelism": 1}), vec![], 1, 0),
            (json!({"completions": 5, "parallelism": 2}), vec![pod("a", "Running", true)], 1, 0),
            (json!({"completions": 2, "parallelism": 2}), vec![pod("a", "Succeeded", true)], 1, 0),
            (json!({"parallelism": 3}), vec![pod("a", "Succeeded", true), pod("b", "Running", true)], 0, 0),
            (
                json!({"completions": 3, "parallelism": 1}),
                vec![pod("a", "Running", true), pod("b", "Running", true)],
                0,
                1,
            ),
            (
                json!({"completions": 3, "parallelism": 1, "suspend": true}),
                vec![pod("a", "Running", true)],
                0,
                1,
            ),
        ];
        for (spec, pods, create, delete) in cases {
            let plan = plan(&job(spec.clone()), &pods, now());
            assert_eq!((plan.create.len(), plan.delete.len()), (create, delete), "{spec}");
        }
    }

    #[test]
    fn each_pod_is_counted_once_and_then_the_job_completes() {
        let mut job = job(json!({"completions": 1, "parallelism": 1}));
        let first = plan(&job, &[pod("a", "Succeeded", true)], now());
        assert_eq!(first.strip.len(), 1);
        assert!(has(&first.status, "SuccessCriteriaMet") && !has(&first.status, "Complete"));
        job.status = Some(first.status);
        let again = plan(&job, &[pod("a", "Succeeded", true)], now());
        assert_eq!(again.status.succeeded, None, "still uncounted");
        job.status = Some(again.status);
        let last = plan(&job, &[pod("a", "Succeeded", false)], now());
        assert_eq!(last.status.succeeded, Some(1));
        assert!(has(&last.status, "Complete") && last.status.completion_time.is_some());
        assert_eq!(last.event.unwrap().1, "Completed");
    }

    #[test]
    fn too_many_failures_end_the_job() {
        let mut job = job(json!({"completions": 1, "parallelism": 1, "backoffLimit": 0}));
        let first = plan(&job, &[pod("a", "Failed", true)], now());
        assert!(has(&first.status, "FailureTarget") && first.create.is_empty());
        job.status = Some(first.status);
        let last = plan(&job, &[pod("a", "Failed", false)], now());
        assert!(has(&last.status, "Failed"));
        assert_eq!(last.event.unwrap().1, "BackoffLimitExceeded");
    }

    #[test]
    fn indexes() {
        assert_eq!(format_indexes(&parse_indexes("0-2,5,7,8")), "0-2,5,7,8");
        let indexed = job(json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}));
        assert_eq!(plan(&indexed, &[], now()).create, [Some(0), Some(1), Some(2)]);
        let made = pod_of(&indexed, indexed.spec.as_ref().unwrap(), Some(2));
        assert_eq!(made.metadata.generate_name.as_deref(), Some("j-2-"));
    }
}
