//! Arithmetic and annotations of Deployments (upstream's `deployment_util.go`). Pure.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::words::{annotation, same_template};

pub(crate) const HASH_LABEL: &str = "pod-template-hash";
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// A revision history longer than this loses its oldest entries.
const REVISION_HISTORY_MAX_CHARS: usize = 2000;

/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

pub(crate) fn spec(d: &Deployment) -> DeploymentSpec {
    d.spec.clone().unwrap_or_default()
}

pub(crate) fn wanted(d: &Deployment) -> i32 {
    d.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(crate) fn is_recreate(d: &Deployment) -> bool {
    let strategy = d.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// Number or percentage of `total`.
pub(crate) fn resolve(value: Option<&IntOrString>, default: &str, total: i32, round_up: bool) -> i32 {
    let percent = |text: &str| text.strip_suffix('%').and_then(|n| n.parse::<i64>().ok());
    let scaled = |percent: i64| {
        let product = percent * i64::from(total);
        let rounded = if round_up { (product + 99) / 100 } else { product / 100 };
        i32::try_from(rounded).unwrap_or(i32::MAX)
    };
    match value {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => percent(text).map_or(0, scaled),
        None => percent(default).map_or(0, scaled),
    }
}

/// `(maxSurge, maxUnavailable)`; never both zero (upstream's `ResolveFenceposts`).
fn fenceposts(d: &Deployment) -> (i32, i32) {
    let rolling = d.spec.as_ref().and_then(|s| s.strategy.as_ref()).and_then(|s| s.rolling_update.clone());
    let rolling = rolling.unwrap_or_default();
    let surge = resolve(rolling.max_surge.as_ref(), "25%", wanted(d), true);
    let unavailable = resolve(rolling.max_unavailable.as_ref(), "25%", wanted(d), false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub(crate) fn max_surge(d: &Deployment) -> i32 {
    if is_recreate(d) { 0 } else { fenceposts(d).0 }
}

pub(crate) fn max_unavailable(d: &Deployment) -> i32 {
    if is_recreate(d) || wanted(d) == 0 { 0 } else { fenceposts(d).1.min(wanted(d)) }
}

pub(crate) fn replicas(rs: &ReplicaSet) -> i32 {
    rs.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(crate) fn actual(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().map_or(0, |status| status.replicas)
}

pub(crate) fn available(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub(crate) fn ready(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

pub(crate) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn number(meta: &ObjectMeta, key: &str) -> Option<i32> {
    annotation(meta, key)?.parse().ok()
}

pub(crate) fn desired(rs: &ReplicaSet) -> Option<i32> {
    number(&rs.metadata, DESIRED)
}

pub(crate) fn max_replicas(rs: &ReplicaSet) -> Option<i32> {
    number(&rs.metadata, MAX)
}

/// Writes down what the Deployment wants now; proportional scaling starts from it.
pub(crate) fn set_replicas_annotations(rs: &mut ReplicaSet, d: &Deployment) {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED.to_owned(), wanted(d).to_string());
    annotations.insert(MAX.to_owned(), (wanted(d) + max_surge(d)).to_string());
}

/// Copies the Deployment's annotations and moves the revision up (`SetNewReplicaSetAnnotations`).
pub(crate) fn set_new_annotations(rs: &mut ReplicaSet, d: &Deployment, new_revision: i64, exists: bool) {
    let old_revision = annotation(&rs.metadata, REVISION).map(str::to_owned);
    let annotations = rs.metadata.annotations.get_or_insert_default();
    let copied =
        d.metadata.annotations.iter().flatten().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
    annotations.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
    let behind =
        old_revision.as_ref().is_none_or(|old| old.parse::<i64>().is_ok_and(|old| old < new_revision));
    if behind {
        annotations.insert(REVISION.to_owned(), new_revision.to_string());
        if let Some(old) = old_revision.filter(|_| exists) {
            let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
            append_history(history, &old);
        }
    }
    if !exists {
        set_replicas_annotations(rs, d);
    }
}

fn append_history(history: &mut String, revision: &str) {
    while !history.is_empty() && history.len() + revision.len() + 1 > REVISION_HISTORY_MAX_CHARS {
        *history = history.split_once(',').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    }
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(revision);
}

/// Whether two templates are the same but for the hash label.
pub(crate) fn equal_ignoring_hash(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        let meta = template.metadata.get_or_insert_default();
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
        meta.creation_timestamp = None;
        template
    };
    let (a, b) = (bare(a), bare(b));
    a == b || same_template(&a, &b)
}

pub(crate) fn condition<'a>(
    conditions: &'a [DeploymentCondition],
    kind: &str,
) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Sets a condition; one with the same status and reason stays as it is (`SetDeploymentCondition`).
pub(crate) fn set_condition(
    conditions: &mut Vec<DeploymentCondition>,
    (kind, status, reason): (&str, &str, &str),
    message: String,
    now: Timestamp,
) {
    let mut transition = now;
    if let Some(current) = condition(conditions, kind) {
        if current.status == status && current.reason.as_deref() == Some(reason) {
            return;
        }
        if current.status == status {
            transition = current.last_transition_time.as_ref().map_or(now, |time| time.0);
        }
    }
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(transition)),
    });
}

/// The progress deadline, unless it is switched off.
pub(crate) fn progress_deadline(d: &Deployment) -> Option<i32> {
    d.spec.as_ref()?.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}
