//! A Job's pods: how they are made, and what is read from them. Pure.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ContainerStatus, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::policy::{self, Action};
use crate::pod_control::pod_from_template;
use crate::words::{annotation, controller_reference, created, name, namespace, phase, pod_condition, uid};

pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// A generated name leaves room for five random characters.
const GENERATED_MAX: usize = 63 - 5;

/// A pod to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct New {
    /// The completion index; `None` for a Job without indexes.
    pub index: Option<i32>,
    /// How often pods of this index failed, counted and ignored; `None` if nobody counts by index.
    pub failures: Option<(i32, i32)>,
}

pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether a pod that is being deleted still occupies its place: it is replaced only when it has failed.
pub(super) fn waits_for_failure(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

pub(super) fn tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whether the pod counts as failed (upstream's `isPodFailed`).
pub(super) fn failed(pod: &Pod, spec: &JobSpec) -> bool {
    let deleted = pod.metadata.deletion_timestamp.is_some() && phase(pod) != "Succeeded";
    phase(pod) == "Failed" || (deleted && !waits_for_failure(spec))
}

/// The pod's index, if it is one that the Job has.
pub(super) fn index_of(pod: &Pod, spec: &JobSpec) -> Option<i32> {
    let index: i32 = annotation(&pod.metadata, INDEX)?.parse().ok()?;
    (0..spec.completions.unwrap_or(i32::MAX)).contains(&index).then_some(index)
}

fn number(pod: &Pod, key: &str) -> i32 {
    annotation(&pod.metadata, key).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Failures of the index before this pod, counted and ignored.
fn failures_before(pod: &Pod) -> (i32, i32) {
    (number(pod, FAILURES), number(pod, IGNORED_FAILURES))
}

/// All failures of the index before this pod.
pub(super) fn absolute_failures(pod: &Pod) -> i32 {
    let (counted, ignored) = failures_before(pod);
    counted + ignored
}

/// What the pod that replaces `failed` has to carry.
pub(super) fn failures_with(failed: Option<&Pod>, spec: &JobSpec) -> (i32, i32) {
    let Some(pod) = failed else { return (0, 0) };
    let (counted, ignored) = failures_before(pod);
    match policy::on_failure(spec, pod).counts() {
        true => (counted + 1, ignored),
        false => (counted, ignored + 1),
    }
}

/// Whether the pod's failure is its index's last (upstream's `isIndexFailed`).
pub(super) fn ends_index(pod: &Pod, spec: &JobSpec) -> bool {
    let Some(limit) = spec.backoff_limit_per_index.filter(|_| failed(pod, spec)) else { return false };
    let verdict = policy::on_failure(spec, pod);
    verdict.action == Some(Action::FailIndex) || (verdict.counts() && failures_before(pod).0 >= limit)
}

/// The latest end of the given containers; `None` unless all have ended.
fn end_of<'a>(statuses: impl Iterator<Item = &'a ContainerStatus>) -> Option<Timestamp> {
    let end = |status: &ContainerStatus| {
        status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0)
    };
    statuses.map(end).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// When the pod ended (upstream's `getFinishedTime`).
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let unready = || {
        let condition = pod_condition(pod, "Ready").filter(|condition| condition.status == "False")?;
        condition.last_transition_time.as_ref().map(|time| time.0)
    };
    let deleted = || {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0).unsigned_abs();
        let end = pod.metadata.deletion_timestamp.as_ref()?.0;
        Some(end - std::time::Duration::from_secs(grace))
    };
    end_of(containers).or_else(unready).or_else(deleted).unwrap_or_else(|| created(&pod.metadata))
}

/// The pod of a Job, with its labels, finalizer and index.
pub(super) fn pod_of(job: &Job, spec: &JobSpec, new: &New) -> Pod {
    let mut pod = pod_from_template(&spec.template, &controller_reference(job), namespace(&job.metadata));
    let (id, job_name) = (uid(&job.metadata), name(&job.metadata));
    let labels = pod.metadata.labels.get_or_insert_default();
    if spec.manual_selector != Some(true) {
        for prefix in ["", "batch.kubernetes.io/"] {
            labels.insert(format!("{prefix}controller-uid"), id.to_owned());
            labels.insert(format!("{prefix}job-name"), job_name.to_owned());
        }
    }
    if !tracked(&pod) {
        pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    }
    if let Some(index) = new.index {
        number_pod(&mut pod, job_name, index, new.failures);
    }
    pod
}

fn number_pod(pod: &mut Pod, job: &str, index: i32, failures: Option<(i32, i32)>) {
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if let Some((counted, ignored)) = failures {
        annotations.insert(FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.to_owned(), ignored.to_string());
        }
    }
    let suffix = format!("-{index}-");
    let stem: String = job.chars().take(GENERATED_MAX - suffix.len()).collect();
    pod.metadata.generate_name = Some(format!("{stem}{suffix}"));
    let Some(spec) = &mut pod.spec else { return };
    spec.hostname = Some(format!("{job}-{index}"));
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let env = container.env.get_or_insert_default();
        if env.iter().all(|variable| variable.name != "JOB_COMPLETION_INDEX") {
            env.push(index_variable());
        }
    }
}

fn index_variable() -> EnvVar {
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}
