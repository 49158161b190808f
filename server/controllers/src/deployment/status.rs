//! What a Deployment says of itself: counts and conditions (upstream's `sync.go`, `progress.go`). Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::util::*;
use crate::words::name;

/// Counts, and the Available condition, from the ReplicaSets as they are.
pub(crate) fn calculate(
    d: &Deployment,
    all: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    conditions: &[DeploymentCondition],
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| all.iter().map(|rs| count(rs)).sum::<i32>();
    let available = sum(available);
    let mut conditions = conditions.to_vec();
    let words = match available >= wanted(d) - max_unavailable(d) {
        true => (("Available", "True", "MinimumReplicasAvailable"), "Deployment has minimum availability."),
        false => (
            ("Available", "False", "MinimumReplicasUnavailable"),
            "Deployment does not have minimum availability.",
        ),
    };
    set_condition(&mut conditions, words.0, words.1.to_owned(), now);
    DeploymentStatus {
        observed_generation: d.metadata.generation,
        replicas: Some(sum(actual)),
        updated_replicas: Some(new.map_or(0, actual)),
        ready_replicas: Some(sum(ready)),
        available_replicas: Some(available),
        unavailable_replicas: Some((sum(replicas) - available).max(0)),
        terminating_replicas: Some(sum(|rs| {
            rs.status.as_ref().and_then(|s| s.terminating_replicas).unwrap_or(0)
        })),
        collision_count: d.status.as_ref().and_then(|status| status.collision_count),
        conditions: Some(conditions),
    }
}

/// Adds the Progressing and ReplicaFailure conditions of a rollout (`syncRolloutStatus`).
pub(crate) fn rollout(
    d: &Deployment,
    all: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
    conditions: &[DeploymentCondition],
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = calculate(d, all, new, conditions, now);
    let mut conditions = status.conditions.take().unwrap_or_default();
    let deadline = progress_deadline(d);
    if deadline.is_none() {
        conditions.retain(|condition| condition.type_ != "Progressing");
    }
    let current = condition(&conditions, "Progressing").cloned();
    let settled = status.replicas == status.updated_replicas
        && current.as_ref().and_then(|c| c.reason.as_deref()) == Some("NewReplicaSetAvailable");
    if deadline.is_some() && !settled {
        progress(d, new, &status, current.as_ref(), &mut conditions, now);
    }
    conditions.retain(|condition| condition.type_ != "ReplicaFailure");
    conditions.extend(replica_failure(d, all, new));
    status.conditions = Some(conditions);
    status
}

fn progress(
    d: &Deployment,
    new: Option<&ReplicaSet>,
    status: &DeploymentStatus,
    current: Option<&DeploymentCondition>,
    conditions: &mut Vec<DeploymentCondition>,
    now: Timestamp,
) {
    let subject = match new {
        Some(rs) => format!("ReplicaSet \"{}\"", name(&rs.metadata)),
        None => format!("Deployment \"{}\"", name(&d.metadata)),
    };
    if is_complete(d, status) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(conditions, ("Progressing", "True", "NewReplicaSetAvailable"), message, now);
    } else if is_progressing(d, status) {
        // lastUpdateTime has to move even if nothing else does: the deadline counts from it
        let since = current.filter(|c| c.status == "True").and_then(|c| c.last_transition_time.clone());
        conditions.retain(|condition| condition.type_ != "Progressing");
        conditions.push(DeploymentCondition {
            type_: "Progressing".to_owned(),
            status: "True".to_owned(),
            reason: Some("ReplicaSetUpdated".to_owned()),
            message: Some(format!("{subject} is progressing.")),
            last_update_time: Some(Time(now)),
            last_transition_time: since.or(Some(Time(now))),
        });
    } else if is_timed_out(d, current, now) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(conditions, ("Progressing", "False", "ProgressDeadlineExceeded"), message, now);
    }
}

/// All pods are new and available, and the spec has been seen.
pub(crate) fn is_complete(d: &Deployment, status: &DeploymentStatus) -> bool {
    let all = Some(wanted(d));
    status.updated_replicas == all
        && status.replicas == all
        && status.available_replicas == all
        && status.observed_generation >= d.metadata.generation
}

fn is_progressing(d: &Deployment, new: &DeploymentStatus) -> bool {
    let old = d.status.clone().unwrap_or_default();
    let n = |value: Option<i32>| value.unwrap_or(0);
    n(new.updated_replicas) > n(old.updated_replicas)
        || n(new.replicas) - n(new.updated_replicas) < n(old.replicas) - n(old.updated_replicas)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn is_timed_out(d: &Deployment, current: Option<&DeploymentCondition>, now: Timestamp) -> bool {
    let (Some(current), Some(deadline)) = (current, progress_deadline(d)) else { return false };
    match current.reason.as_deref() {
        Some("NewReplicaSetAvailable") => false,
        Some("ProgressDeadlineExceeded") => true,
        _ => current
            .last_update_time
            .as_ref()
            .is_some_and(|time| now.duration_since(time.0).as_secs() > i64::from(deadline)),
    }
}

fn replica_failure(
    d: &Deployment,
    all: &[&ReplicaSet],
    new: Option<&ReplicaSet>,
) -> Option<DeploymentCondition> {
    let _ = d;
    let of = |rs: &ReplicaSet| {
        let conditions = rs.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure").cloned()
    };
    let failure = new.and_then(of).or_else(|| all.iter().find_map(|rs| of(rs)))?;
    Some(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        reason: failure.reason,
        message: failure.message,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
    })
}

/// When to look again whether progress has stopped (`requeueStuckDeployment`).
pub(crate) fn look_again(d: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let deadline = progress_deadline(d)?;
    let current = condition(status.conditions.as_deref().unwrap_or_default(), "Progressing")?;
    if is_complete(d, status) || current.reason.as_deref() == Some("ProgressDeadlineExceeded") {
        return None;
    }
    let passed = now.duration_since(current.last_update_time.as_ref()?.0).as_secs();
    Some(Duration::from_secs((i64::from(deadline) - passed).max(0).unsigned_abs() + 1))
}
