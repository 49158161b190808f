//! One pass over a Job, as a pure function of it, its pods and the time (upstream's `syncJob` and `manageJob`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sampan_reconcile::EventType;

use super::indexes::{self, Indexes};
use super::pod::{
    New, absolute_failures, ends_index, failed, failures_with, finished_at, index_of, is_indexed, tracked,
    waits_for_failure,
};
use super::{backoff, policy};
use crate::replicaset::removal_rank;
use crate::words::{is_active, is_ready, is_terminal, phase, uid};

/// Most pods created or deleted in one pass.
const BURST: usize = 500;
/// Most pods that are counted at once, so that the status stays small.
const UNCOUNTED_MAX: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub status: JobStatus,
    pub create: Vec<New>,
    pub delete: Vec<Arc<Pod>>,
    /// Those of `delete` that lose their finalizer before, so that they do not count.
    pub unwanted: Vec<Arc<Pod>>,
    /// Pods that may lose their finalizer once the status is written.
    pub strip: Vec<Arc<Pod>>,
    pub events: Vec<(EventType, String, String)>,
    pub requeue: Option<Duration>,
}

impl Plan {
    /// Takes the numbers of pods from those that there are, when not all could be made or deleted.
    pub fn recount(&mut self, pods: &[Arc<Pod>]) {
        let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).collect();
        let ready = active.iter().filter(|pod| is_ready(pod)).count();
        self.status.active = Some(number(active.len())).filter(|count| *count > 0);
        self.status.ready = Some(number(ready));
        self.status.terminating = Some(number(pods.iter().filter(|pod| is_leaving(pod)).count()));
    }

    /// Whether the Job is ending.
    pub fn ends(&self) -> bool {
        Ending::of(&self.status).is_some()
    }

    fn again_in(&mut self, wait: Duration) {
        self.requeue = Some(self.requeue.map_or(wait, |other| other.min(wait)));
    }
}

/// How the Job ends, as its condition says before its pods have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    SuccessCriteriaMet,
    FailureTarget,
}

impl Ending {
    fn word(self) -> &'static str {
        match self {
            Ending::SuccessCriteriaMet => "SuccessCriteriaMet",
            Ending::FailureTarget => "FailureTarget",
        }
    }

    /// The one that the status holds already.
    fn of(status: &JobStatus) -> Option<Self> {
        [Ending::SuccessCriteriaMet, Ending::FailureTarget].into_iter().find(|end| has(status, end.word()))
    }
}

/// What a pass knows once it has looked at all pods.
struct View<'a> {
    spec: &'a JobSpec,
    pods: &'a [Arc<Pod>],
    active: Vec<Arc<Pod>>,
    now: Timestamp,
    /// When pods failed since the last success.
    failures: &'a [Timestamp],
    /// How many ended well and badly, counted or about to be.
    good: i32,
    bad: i32,
    succeeded: Indexes,
    /// Given up indexes, if the Job counts failures by index.
    failed: Option<Indexes>,
    /// By index, the failed pod that its replacement will be made after: it stays until then.
    held: BTreeMap<i32, Arc<Pod>>,
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

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !is_terminal(pod)
}

/// One pass over a Job that is not finished yet, or has pods left to let go.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], failures: &[Timestamp], now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), ..Plan::default() };
    if is_finished(job) {
        plan.strip = pods.iter().filter(|pod| tracked(pod)).cloned().collect();
        return plan;
    }
    flush(&mut plan.status, pods);
    let view = View { failures, ..View::new(&plan.status, &spec, pods, now) };
    let suspended = spec.suspend == Some(true);
    // of a Job that is on its way out pods are counted and let go, and none is made
    let leaves = job.metadata.deletion_timestamp.is_some();
    if !suspended && plan.status.start_time.is_none() {
        plan.status.start_time = Some(Time(now));
    }
    let ending = decide(&mut plan, &view);
    match ending {
        Some(_) => plan.delete = view.active.clone(),
        None if leaves => {}
        None => {
            suspend(&mut plan, suspended, now);
            if suspended {
                remove(&mut plan, view.active.clone());
            } else {
                size(&mut plan, &view);
            }
        }
    }
    let all_counted = count(&mut plan, &view, ending, leaves);
    tally(&mut plan, &view);
    if let Some(ending) = ending.filter(|_| all_counted) {
        finish(&mut plan, &spec, ending, now);
    }
    plan
}

/// Moves pods that have lost their finalizer from `uncountedTerminatedPods` into the counts.
fn flush(status: &mut JobStatus, pods: &[Arc<Pod>]) {
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let held = |id: &String| pods.iter().any(|pod| tracked(pod) && uid(&pod.metadata) == id);
    let flush = |ids: &mut Option<Vec<String>>, counter: &mut Option<i32>| {
        let all = ids.take().unwrap_or_default();
        let before = all.len();
        let left: Vec<String> = all.into_iter().filter(held).collect();
        *counter = Some(counter.unwrap_or(0) + number(before - left.len())).filter(|count| *count > 0);
        *ids = Some(left).filter(|ids| !ids.is_empty());
    };
    flush(&mut uncounted.succeeded, &mut status.succeeded);
    flush(&mut uncounted.failed, &mut status.failed);
    status.uncounted_terminated_pods = Some(uncounted);
}

impl<'a> View<'a> {
    fn new(status: &JobStatus, spec: &'a JobSpec, pods: &'a [Arc<Pod>], now: Timestamp) -> Self {
        let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (good, bad) = (uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default());
        let valid = |pod: &&Arc<Pod>| tracked(pod) && (!is_indexed(spec) || index_of(pod, spec).is_some());
        let new: Vec<&Arc<Pod>> = pods.iter().filter(valid).collect();
        // one that was noted as failed while it was deleted, and then ended well, stays what it was noted as
        let noted = |pod: &Pod| good.iter().chain(&bad).any(|id| id == uid(&pod.metadata));
        let fresh =
            |test: &dyn Fn(&Pod) -> bool| number(new.iter().filter(|pod| !noted(pod) && test(pod)).count());
        let succeeds = |pod: &Pod| phase(pod) == "Succeeded";
        let fails = |pod: &Pod| failed(pod, spec) && policy::on_failure(spec, pod).counts();
        let mut view = Self {
            spec,
            pods,
            active,
            now,
            failures: &[],
            good: status.succeeded.unwrap_or(0) + number(good.len()) + fresh(&succeeds),
            bad: status.failed.unwrap_or(0) + number(bad.len()) + fresh(&fails),
            succeeded: Indexes::new(),
            failed: None,
            held: BTreeMap::new(),
        };
        if is_indexed(spec) {
            view.index(status, &new);
        }
        view
    }

    fn index(&mut self, status: &JobStatus, new: &[&Arc<Pod>]) {
        let completions = self.spec.completions.unwrap_or(0);
        let read = |text: &Option<String>| indexes::parse(text.as_deref().unwrap_or_default(), completions);
        self.succeeded = read(&status.completed_indexes);
        let succeeded = new.iter().filter(|pod| phase(pod) == "Succeeded");
        self.succeeded.extend(succeeded.filter_map(|pod| index_of(pod, self.spec)));
        self.good = indexes::total(&self.succeeded);
        if self.spec.backoff_limit_per_index.is_none() {
            return;
        }
        let mut failed_indexes = read(&status.failed_indexes);
        let ended = new.iter().filter(|pod| ends_index(pod, self.spec));
        failed_indexes.extend(ended.filter_map(|pod| index_of(pod, self.spec)));
        self.held = self.held_back(new, &failed_indexes);
        self.failed = Some(failed_indexes);
    }

    /// Failed pods whose count of failures nobody carries on yet.
    fn held_back(&self, new: &[&Arc<Pod>], over: &Indexes) -> BTreeMap<i32, Arc<Pod>> {
        let mut done = self.active_indexes();
        done.extend(self.succeeded.iter().chain(over));
        let mut held: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in new.iter().filter(|pod| failed(pod, self.spec)) {
            let Some(index) = index_of(pod, self.spec).filter(|index| !done.contains(index)) else {
                continue;
            };
            let rank = |pod: &Pod| (absolute_failures(pod), finished_at(pod));
            if held.get(&index).is_none_or(|other| rank(other) <= rank(pod)) {
                held.insert(index, Arc::clone(pod));
            }
        }
        held
    }

    fn active_indexes(&self) -> Indexes {
        self.active.iter().filter_map(|pod| index_of(pod, self.spec)).collect()
    }

    fn leaving(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|pod| is_leaving(pod))
    }
}

/// Whether the Job has reached its end, one way or the other; a new end is written into the conditions.
fn decide(plan: &mut Plan, view: &View<'_>) -> Option<Ending> {
    if let Some(ending) = Ending::of(&plan.status) {
        return Some(ending);
    }
    let found = failure(plan, view).map(|words| (Ending::FailureTarget, words));
    let (ending, (reason, message)) =
        found.or_else(|| success(view).map(|words| (Ending::SuccessCriteriaMet, words)))?;
    set(&mut plan.status, ending.word(), true, (reason, &message), view.now);
    Some(ending)
}

type Words = (&'static str, String);

fn failure(plan: &mut Plan, view: &View<'_>) -> Option<Words> {
    let spec = view.spec;
    let failed_pods = view.pods.iter().filter(|pod| failed(pod, spec));
    if let Some(message) = failed_pods.filter_map(|pod| policy::on_failure(spec, pod).message).next() {
        return Some(("PodFailurePolicy", message));
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if view.bad > limit || restarts_exceed(spec, limit, view.pods) {
        return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned()));
    }
    if late(plan, view) {
        return Some(("DeadlineExceeded", "Job was active longer than specified deadline".to_owned()));
    }
    let over = indexes::total(view.failed.as_ref()?);
    if spec.max_failed_indexes.is_some_and(|most| over > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(("MaxFailedIndexesExceeded", message.to_owned()));
    }
    let all = spec.completions.is_some_and(|completions| over + view.good >= completions);
    (over > 0 && all).then(|| ("FailedIndexes", "Job has failed indexes".to_owned()))
}

fn success(view: &View<'_>) -> Option<Words> {
    if let Some(message) = policy::succeeded(view.spec, &view.succeeded).filter(|_| is_indexed(view.spec)) {
        return Some(("SuccessPolicy", message));
    }
    let done = match view.spec.completions {
        Some(completions) => view.good >= completions,
        None => view.good > 0 && view.active.is_empty(),
    };
    done.then(|| ("CompletionsReached", "Reached expected number of succeeded pods".to_owned()))
}

/// Whether the deadline has passed; if it is yet to come, the pass is to be repeated then.
fn late(plan: &mut Plan, view: &View<'_>) -> bool {
    let deadline = view.spec.active_deadline_seconds.filter(|_| view.spec.suspend != Some(true));
    let Some((deadline, start)) = deadline.zip(plan.status.start_time.as_ref().map(|start| start.0)) else {
        return false;
    };
    let end = start + Duration::from_secs(deadline.max(0).unsigned_abs());
    if end <= view.now {
        return true;
    }
    plan.again_in(end.duration_since(view.now).unsigned_abs());
    false
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

/// The condition Suspended; a suspended Job has no time, and one that goes on begins it anew.
fn suspend(plan: &mut Plan, suspended: bool, now: Timestamp) {
    let was = has(&plan.status, "Suspended");
    let (reason, message, event) = match (was, suspended) {
        (false, true) => ("JobSuspended", "Job suspended", "Suspended"),
        (true, false) => ("JobResumed", "Job resumed", "Resumed"),
        _ => return,
    };
    set(&mut plan.status, "Suspended", suspended, (reason, message), now);
    plan.status.start_time = was.then_some(Time(now));
    plan.events.push((EventType::Normal, event.to_owned(), message.to_owned()));
}

/// Deletes pods that are not wanted any more: they are let go first, so that they do not count as failed.
fn remove(plan: &mut Plan, pods: Vec<Arc<Pod>>) {
    plan.unwanted = pods.iter().filter(|pod| tracked(pod)).cloned().collect();
    plan.delete = pods;
}

/// Creates and deletes towards the parallelism that is still useful.
fn size(plan: &mut Plan, view: &View<'_>) {
    let running = number(view.active.len());
    let parallelism = view.spec.parallelism.unwrap_or(1).max(0);
    let wanted = match view.spec.completions {
        Some(completions) => parallelism.min(completions - view.good).max(0),
        None if view.good > 0 => running,
        None => parallelism,
    };
    let surplus = surplus(view, usize::try_from(running - wanted).unwrap_or(0));
    if !surplus.is_empty() {
        return remove(plan, surplus);
    }
    let leaving = if waits_for_failure(view.spec) { number(view.leaving().count()) } else { 0 };
    let missing = usize::try_from(wanted - running - leaving).unwrap_or(0).min(BURST);
    if missing == 0 {
        return;
    }
    let wait = backoff::of_job(view.failures, view.now);
    if let Some(wait) = wait.filter(|_| view.failed.is_none()) {
        return plan.again_in(wait);
    }
    plan.create = match is_indexed(view.spec) {
        true => new_indexes(plan, view, missing),
        false => vec![New::default(); missing],
    };
}

/// At least so many active pods that are missed least; of an index's pods all but one, and those of no index.
fn surplus(view: &View<'_>, at_least: usize) -> Vec<Arc<Pod>> {
    let mut left = view.active.clone();
    left.sort_by_key(|pod| removal_rank(pod));
    let mut surplus = Vec::new();
    if is_indexed(view.spec) {
        // the pod that is missed most comes first here, and keeps its index
        let mut seen = Indexes::new();
        let keeps = |pod: &Arc<Pod>| index_of(pod, view.spec).is_some_and(|index| seen.insert(index));
        let (mut kept, extra): (Vec<_>, Vec<_>) = left.into_iter().rev().partition(keeps);
        kept.reverse();
        (left, surplus) = (kept, extra);
    }
    let more = at_least.saturating_sub(surplus.len()).min(left.len());
    surplus.extend(left.drain(..more));
    surplus.truncate(BURST);
    surplus
}

/// The first indexes that nobody has, has had or has given up.
fn new_indexes(plan: &mut Plan, view: &View<'_>, missing: usize) -> Vec<New> {
    let mut taken = view.active_indexes();
    taken.extend(view.succeeded.iter().chain(view.failed.iter().flatten()));
    if waits_for_failure(view.spec) {
        taken.extend(view.leaving().filter_map(|pod| index_of(pod, view.spec)));
    }
    let free = (0..view.spec.completions.unwrap_or(0)).filter(|index| !taken.contains(index)).take(missing);
    let mut new = Vec::new();
    for index in free {
        let before = view.held.get(&index).map(|pod| &**pod);
        if let Some(wait) = backoff::of_index(before, view.now) {
            plan.again_in(wait);
            continue;
        }
        let failures = view.failed.as_ref().map(|_| failures_with(before, view.spec));
        new.push(New { index: Some(index), failures });
    }
    new
}

/// Notes finished pods in `uncountedTerminatedPods` or `completedIndexes`, and says which may be let go: all of them, if
/// the Job ends or `leaves`. Whether nothing is left to be counted.
fn count(plan: &mut Plan, view: &View<'_>, ending: Option<Ending>, leaves: bool) -> bool {
    let mut uncounted = plan.status.uncounted_terminated_pods.take().unwrap_or_default();
    let mut good = uncounted.succeeded.take().unwrap_or_default();
    let mut bad = uncounted.failed.take().unwrap_or_default();
    let indexed = is_indexed(view.spec);
    let held = |pod: &Pod| view.held.values().any(|held| uid(&held.metadata) == uid(&pod.metadata));
    let mut all = true;
    for pod in view.pods.iter().filter(|pod| tracked(pod)) {
        let (succeeded, has_failed) = (phase(pod) == "Succeeded", failed(pod, view.spec));
        let stays = !succeeded && (!has_failed || held(pod));
        if stays && ending.is_none() && !leaves {
            continue;
        }
        if good.len() + bad.len() >= UNCOUNTED_MAX {
            all = false;
            break;
        }
        let id = uid(&pod.metadata).to_owned();
        let known = good.contains(&id) || bad.contains(&id);
        let counts = !indexed || index_of(pod, view.spec).is_some();
        // a Job that fails takes its running pods along as failed
        let lost = has_failed || ending == Some(Ending::FailureTarget);
        if succeeded && !indexed && !known {
            good.push(id);
        } else if !succeeded && lost && counts && !known && policy::on_failure(view.spec, pod).counts() {
            bad.push(id);
        }
        plan.strip.push(pod.clone());
    }
    all = all && good.is_empty() && bad.is_empty();
    uncounted.succeeded = Some(good).filter(|ids| !ids.is_empty());
    uncounted.failed = Some(bad).filter(|ids| !ids.is_empty());
    plan.status.uncounted_terminated_pods = Some(uncounted);
    all
}

/// The numbers and indexes of the status.
fn tally(plan: &mut Plan, view: &View<'_>) {
    let (gone, made) = (plan.delete.len(), plan.create.len());
    let ready = |pods: &[Arc<Pod>]| pods.iter().filter(|pod| is_ready(pod)).count();
    let status = &mut plan.status;
    status.active = Some(number(view.active.len() - gone + made)).filter(|count| *count > 0);
    status.ready = Some(number(ready(&view.active) - ready(&plan.delete)));
    status.terminating = Some(number(view.leaving().count() + gone));
    if is_indexed(view.spec) {
        status.succeeded = Some(view.good).filter(|count| *count > 0);
        status.completed_indexes = Some(indexes::format(&view.succeeded)).filter(|text| !text.is_empty());
        status.failed_indexes = view.failed.as_ref().map(indexes::format);
    }
}

/// The last word, once every pod has stopped and is counted.
fn finish(plan: &mut Plan, spec: &JobSpec, ending: Ending, now: Timestamp) {
    if plan.status.terminating != Some(0) {
        return;
    }
    let mut conditions = plan.status.conditions.iter().flatten();
    let Some(why) = conditions.rfind(|condition| condition.type_ == ending.word()) else { return };
    let (reason, message) = (why.reason.clone().unwrap_or_default(), why.message.clone().unwrap_or_default());
    match ending {
        Ending::FailureTarget => {
            set(&mut plan.status, "Failed", true, (&reason, &message), now);
            plan.events.push((EventType::Warning, reason, message));
        }
        Ending::SuccessCriteriaMet => {
            set(&mut plan.status, "Complete", true, (&reason, &message), now);
            plan.status.completion_time = Some(Time(now));
            if spec.completions.is_some_and(|wanted| plan.status.succeeded.unwrap_or(0) > wanted) {
                let message = "Too many succeeded pods running after completion count reached";
                plan.events.push((EventType::Warning, "TooManySucceededPods".to_owned(), message.to_owned()));
            }
            plan.events.push((EventType::Normal, "Completed".to_owned(), "Job completed".to_owned()));
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
