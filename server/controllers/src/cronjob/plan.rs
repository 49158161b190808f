//! What a CronJob needs now. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::words::{controller_reference, name, namespace, uid};
use sampan_api::cron::Schedule;

/// The time that a Job is for, on the CronJob's clock.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Wakes us a little after the time, never before.
const DELTA: Duration = Duration::from_millis(100);
/// Missed times above which a warning is given.
const MANY: i64 = 100;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct News {
    pub good: bool,
    pub reason: &'static str,
    pub message: String,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub status: CronJobStatus,
    pub delete: Vec<Arc<Job>>,
    pub create: Option<(Job, Timestamp)>,
    pub news: Vec<News>,
    pub requeue: Option<Duration>,
}

impl Plan {
    fn say(&mut self, good: bool, reason: &'static str, message: impl Into<String>) {
        self.news.push(News { good, reason, message: message.into() });
    }

    fn forget(&mut self, id: &str) {
        let active = self.status.active.get_or_insert_default();
        active.retain(|reference| reference.uid.as_deref() != Some(id));
    }
}

/// The condition with which a Job has ended.
fn ended(job: &Job) -> Option<&str> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ends = conditions.filter(|c| matches!(c.type_.as_str(), "Complete" | "Failed"));
    ends.find(|condition| condition.status == "True").map(|condition| condition.type_.as_str())
}

/// Decides over a CronJob and the Jobs that it controls.
pub(crate) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    pass(cron, jobs, now, true)
}

/// As [`plan`], when the schedule has just changed: what it would have started before is not made up for.
pub(crate) fn plan_changed(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    pass(cron, jobs, now, false)
}

fn pass(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp, starts: bool) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    forget_old(&mut plan, &cron.spec, jobs);
    look_at(&mut plan, jobs);
    if cron.metadata.deletion_timestamp.is_none() {
        start(&mut plan, cron, jobs, (now, starts));
    }
    plan.status.active = plan.status.active.take().filter(|active| !active.is_empty());
    plan
}

/// Keeps as many finished Jobs as the limits say (`cleanupFinishedJobs`).
fn forget_old(plan: &mut Plan, spec: &CronJobSpec, jobs: &[Arc<Job>]) {
    let limits =
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    for (end, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let mut done: Vec<_> = jobs.iter().filter(|job| ended(job) == Some(end)).cloned().collect();
        let started = |job: &Job| job.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|time| time.0);
        done.sort_by_key(|job| (started(job).is_none(), started(job), job.metadata.name.clone()));
        done.truncate(done.len().saturating_sub(limit));
        for job in done.into_iter().filter(|job| job.metadata.deletion_timestamp.is_none()) {
            remove(plan, job);
        }
    }
}

fn remove(plan: &mut Plan, job: Arc<Job>) {
    plan.forget(uid(&job.metadata));
    plan.delete.push(job);
}

/// Keeps the list of active Jobs true.
fn look_at(plan: &mut Plan, jobs: &[Arc<Job>]) {
    for job in jobs {
        let id = uid(&job.metadata);
        let active = plan.status.active.iter().flatten().any(|r| r.uid.as_deref() == Some(id));
        match (ended(job), active) {
            (None, false) if job.metadata.deletion_timestamp.is_none() => {
                let message = format!(
                    "Saw a job that the controller did not create or forgot: {}",
                    name(&job.metadata)
                );
                plan.say(false, "UnexpectedJob", message);
            }
            (Some(end), true) => {
                plan.forget(id);
                let message = format!("Saw completed job: {}, condition: {end}", name(&job.metadata));
                plan.say(true, "SawCompletedJob", message);
            }
            _ => {}
        }
        if ended(job) == Some("Complete") {
            let end = job.status.as_ref().and_then(|status| status.completion_time.clone());
            let last = plan.status.last_successful_time.take();
            plan.status.last_successful_time = last.into_iter().chain(end).max_by_key(|time| time.0);
        }
    }
    let missing = plan
        .status
        .active
        .iter()
        .flatten()
        .filter(|reference| !jobs.iter().any(|job| reference.uid.as_deref() == Some(uid(&job.metadata))));
    for reference in missing.cloned().collect::<Vec<_>>() {
        let job = reference.name.unwrap_or_default();
        plan.say(true, "MissingJob", format!("Active job went missing: {job}"));
        plan.forget(reference.uid.as_deref().unwrap_or_default());
    }
}

/// Starts a Job if it is time and any `starts`, else says when it will be.
fn start(plan: &mut Plan, cron: &CronJob, jobs: &[Arc<Job>], (now, starts): (Timestamp, bool)) {
    let spec = &cron.spec;
    let (text, zone) = match clock(spec) {
        Ok(clock) => clock,
        Err(message) => return plan.say(false, "UnknownTimeZone", message),
    };
    if spec.suspend == Some(true) {
        return;
    }
    if spec.schedule.contains("TZ") {
        let message = format!(
            "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        plan.say(false, "UnsupportedSchedule", message);
    }
    let schedule = match Schedule::parse(&text) {
        Ok(schedule) => schedule,
        Err(why) => {
            let message = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            return plan.say(false, "UnparseableSchedule", message);
        }
    };
    let times = Times { cron, schedule: &schedule, zone: &zone, now };
    if !times.recur() {
        let why = "time difference between two schedules is less than 1 second";
        return plan.say(false, "InvalidSchedule", format!("invalid schedule: {} : {why}", spec.schedule));
    }
    plan.requeue = times.until_next();
    let (due, many) = times.recent(true);
    let Some(due) = due.filter(|_| starts) else { return };
    if many {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.say(false, "TooManyMissedTimes", message);
    }
    if may_start(plan, cron, due, now) {
        if spec.concurrency_policy.as_deref() == Some("Replace") {
            replace(plan, jobs);
        }
        plan.create = Some((job_of(cron, due, &zone), due));
    }
}

/// Removes what still runs.
fn replace(plan: &mut Plan, jobs: &[Arc<Job>]) {
    let runs = |job: &&Arc<Job>| {
        plan.status.active.iter().flatten().any(|r| r.uid.as_deref() == Some(uid(&job.metadata)))
    };
    for job in jobs.iter().filter(runs).cloned().collect::<Vec<_>>() {
        remove(plan, job);
    }
}

/// The schedule's text and the zone of its clock; `TZ=` before the schedule is honoured as upstream's library does.
fn clock(spec: &CronJobSpec) -> Result<(String, TimeZone), String> {
    let unknown = |zone: &str| format!("invalid timeZone: {zone:?}: unknown time zone {zone}");
    if let Some(zone) = &spec.time_zone {
        let found = TimeZone::get(zone).map_err(|_| unknown(zone))?;
        if !spec.schedule.contains("TZ") {
            return Ok((spec.schedule.clone(), found));
        }
    }
    let inline = spec.schedule.strip_prefix("CRON_TZ=").or_else(|| spec.schedule.strip_prefix("TZ="));
    match inline.and_then(|inline| inline.split_once(' ')) {
        Some((zone, text)) => Ok((text.trim().to_owned(), TimeZone::get(zone).map_err(|_| unknown(zone))?)),
        None => Ok((spec.schedule.clone(), TimeZone::system())),
    }
}

/// Whether nothing forbids the start that is due.
fn may_start(plan: &mut Plan, cron: &CronJob, due: Timestamp, now: Timestamp) -> bool {
    let spec = &cron.spec;
    if let Some(deadline) = spec.starting_deadline_seconds
        && due + SignedDuration::from_secs(deadline) < now
    {
        let time = due.strftime("%a, %d %b %Y %H:%M:%S +0000");
        plan.say(false, "MissSchedule", format!("Missed scheduled time to start a job: {time}"));
        return false;
    }
    let job = job_name(cron, due);
    let active = plan.status.active.as_deref().unwrap_or_default();
    let done = plan.status.last_schedule_time.as_ref().is_some_and(|last| last.0 == due);
    if done || active.iter().any(|reference| reference.name.as_ref() == Some(&job)) {
        return false;
    }
    if spec.concurrency_policy.as_deref() == Some("Forbid") && !active.is_empty() {
        let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
        plan.say(true, "JobAlreadyActive", message);
        return false;
    }
    true
}

/// The questions about time.
struct Times<'a> {
    cron: &'a CronJob,
    schedule: &'a Schedule,
    zone: &'a TimeZone,
    now: Timestamp,
}

impl Times<'_> {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, self.zone)
    }

    /// From when on starts count.
    fn earliest(&self, with_deadline: bool) -> Timestamp {
        let status = self.cron.status.as_ref();
        let last = status.and_then(|status| status.last_schedule_time.as_ref());
        let made = self.cron.metadata.creation_timestamp.as_ref();
        let earliest = last.or(made).map_or(self.now, |time| time.0);
        let deadline = self.cron.spec.starting_deadline_seconds.filter(|_| with_deadline);
        deadline.map_or(earliest, |seconds| earliest.max(self.now - SignedDuration::from_secs(seconds)))
    }

    /// Whether there is a time to come, or a second after the first: there may be no such day.
    fn recur(&self) -> bool {
        let first = self.next(self.earliest(true));
        first.is_some_and(|first| first > self.now || self.next(first).is_some())
    }

    /// The most recent time that has passed, and whether very many have (`mostRecentScheduleTime`).
    fn recent(&self, with_deadline: bool) -> (Option<Timestamp>, bool) {
        let Some(first) = self.next(self.earliest(with_deadline)).filter(|first| *first <= self.now) else {
            return (None, false);
        };
        let Some(second) = self.next(first).filter(|second| *second <= self.now) else {
            return (Some(first), false);
        };
        // an estimate, then the exact times from a little before it on
        let step = second.duration_since(first).as_secs().max(1);
        let missed = self.now.duration_since(first).as_secs() / step + 1;
        let from = first + SignedDuration::from_secs((missed - 2) * step);
        let passed = |at: &Timestamp| *at <= self.now;
        let times = std::iter::successors(self.next(from).filter(passed), |at| self.next(*at).filter(passed));
        (times.last(), missed > MANY)
    }

    fn until_next(&self) -> Option<Duration> {
        let (recent, _) = self.recent(false);
        let from = recent.unwrap_or_else(|| self.earliest(false));
        let next = self.next(from).filter(|next| *next > self.now).or_else(|| self.next(self.now))?;
        Some(next.duration_since(self.now).unsigned_abs() + DELTA)
    }
}

/// The same for one time, so that no Job is made twice.
fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", name(&cron.metadata), at.as_second() / 60)
}

fn job_of(cron: &CronJob, at: Timestamp, zone: &TimeZone) -> Job {
    let spec = &cron.spec;
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    let time = match spec.time_zone {
        Some(_) => at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        None => at.to_string(),
    };
    annotations.insert(SCHEDULED.to_owned(), time);
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(cron, at)),
            namespace: Some(namespace(&cron.metadata).to_owned()),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

/// The state after a Job was started.
pub(crate) fn started(status: &mut CronJobStatus, job: ObjectReference, at: Timestamp) {
    status.active.get_or_insert_default().push(job);
    status.last_schedule_time = Some(Time(at));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn cron(spec: Value, status: Value) -> CronJob {
        let mut object = json!({"metadata": {"name": "c", "namespace": "a", "uid": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": "0 * * * *", "jobTemplate": {}}, "status": status});
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn job(id: &str, end: Option<&str>, minute: u32) -> Arc<Job> {
        let conditions: Vec<_> = end.iter().map(|end| json!({"type": end, "status": "True"})).collect();
        let time = format!("2026-01-01T00:{minute:02}:00Z");
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": id, "uid": id},
            "status": {"conditions": conditions, "startTime": time, "completionTime": time}}))
            .unwrap(),
        )
    }

    fn active(id: &str) -> Value {
        json!({"active": [{"name": id, "uid": id}], "lastScheduleTime": "2026-01-01T01:00:00Z"})
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn starts() {
        let running = || vec![job("j", None, 0)];
        type Case<'a> = (Value, Value, Vec<Arc<Job>>, &'a str, Option<&'a str>, &'a [&'a str]);
        let cases: [Case<'_>; 10] = [
            (json!({}), json!({}), vec![], "2026-01-01T00:59:59Z", None, &[]),
            (json!({}), json!({}), vec![], "2026-01-01T01:00:00.1Z", Some("c-29453820"), &[]),
            (json!({"suspend": true}), json!({}), vec![], "2026-01-01T01:00:01Z", None, &[]),
            (json!({"startingDeadlineSeconds": 10}), json!({}), vec![], "2026-01-01T01:00:20Z", None, &[]),
            (
                json!({"concurrencyPolicy": "Forbid"}),
                active("j"),
                running(),
                "2026-01-01T02:00:01Z",
                None,
                &["JobAlreadyActive"],
            ),
            (
                json!({"concurrencyPolicy": "Allow"}),
                active("j"),
                running(),
                "2026-01-01T02:00:01Z",
                Some("c-29453880"),
                &[],
            ),
            (json!({}), active("j"), vec![], "2026-01-01T01:30:00Z", None, &["MissingJob"]),
            (
                json!({"timeZone": "No/Where"}),
                json!({}),
                vec![],
                "2026-01-01T01:00:01Z",
                None,
                &["UnknownTimeZone"],
            ),
            (
                json!({"schedule": "59 23 31 2 *"}),
                json!({}),
                vec![],
                "2026-01-01T05:00:01Z",
                None,
                &["InvalidSchedule"],
            ),
            (
                json!({"schedule": "* * * * *"}),
                json!({}),
                vec![],
                "2026-01-01T05:00:01Z",
                Some("c-29454060"),
                &["TooManyMissedTimes"],
            ),
        ];
        for (spec, status, jobs, now, created, reasons) in cases {
            let plan = plan(&cron(spec.clone(), status), &jobs, at(now));
            let made = plan.create.as_ref().map(|(job, _)| name(&job.metadata));
            assert_eq!(made, created, "{spec} at {now}");
            let said: Vec<_> = plan.news.iter().map(|news| news.reason).collect();
            assert_eq!(said, reasons, "{spec} at {now}");
        }
    }

    #[test]
    fn a_changed_schedule_starts_nothing_for_the_past() {
        let cron = cron(json!({"schedule": "*/10 * * * *"}), json!({}));
        let now = at("2026-01-01T00:15:00Z");
        assert!(plan(&cron, &[], now).create.is_some());
        let changed = plan_changed(&cron, &[], now);
        assert!(changed.create.is_none());
        assert_eq!(changed.requeue, Some(Duration::from_millis(300_100)));
    }

    #[test]
    fn replaces_what_runs() {
        let cron = cron(json!({"concurrencyPolicy": "Replace"}), active("j"));
        let plan = plan(&cron, &[job("j", None, 0)], at("2026-01-01T02:00:01Z"));
        assert_eq!((plan.delete.len(), plan.create.is_some(), plan.status.active), (1, true, None));
    }

    #[test]
    fn finished_jobs_are_counted_and_the_oldest_go() {
        let cron = cron(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}), active("b"));
        let jobs =
            [job("a", Some("Complete"), 1), job("b", Some("Complete"), 2), job("x", Some("Failed"), 3)];
        let plan = plan(&cron, &jobs, at("2026-01-01T01:30:00Z"));
        let gone: Vec<_> = plan.delete.iter().map(|job| name(&job.metadata)).collect();
        assert_eq!(gone, ["a", "x"]);
        assert_eq!(plan.news[0].message, "Saw completed job: b, condition: Complete");
        assert_eq!(plan.status.last_successful_time.unwrap().0, at("2026-01-01T00:02:00Z"));
        assert_eq!(plan.requeue, Some(Duration::from_millis(1_800_100)));
    }
}
