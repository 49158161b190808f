//! Writes one pod's status: the only writer there is.
//!
//! A status that says only that containers are being created waits a moment for the next one: it costs a durable
//! write that the one everybody waits for (Running) would have to queue behind.
//!
//! The driver leaves the newest status in a channel that holds one; whatever was not written yet is skipped.
//! After an error the newest is tried again until the object is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::resize::report;
use crate::context::Context;

/// What the API shall show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The status; `None`: it stays as it is.
    pub status: Option<PodStatus>,
    /// Afterwards, the object goes.
    pub delete: bool,
}

/// Fields that have to be cleared in so many words when they are no longer set.
const CLEARED: [&str; 6] =
    ["reason", "message", "podIP", "podIPs", "initContainerStatuses", "ephemeralContainerStatuses"];

/// How long a status of a pod that is being started waits for a better one.
const SETTLE: Duration = Duration::from_millis(100);

/// Whether the status only says that the pod is on its way.
fn passing(wanted: &Desired) -> bool {
    let Some(status) = wanted.status.as_ref().filter(|_| !wanted.delete) else { return false };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let mut containers = lists.into_iter().flat_map(|list| list.iter().flatten());
    status.phase.as_deref() == Some("Pending")
        && containers.all(|container| {
            let waiting =
                container.state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.as_deref());
            let ended = container.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
            matches!(waiting, Some("ContainerCreating" | "PodInitializing")) && !ended
        })
}

/// Conditions of a status that are not always there.
fn passing_conditions(status: Option<&PodStatus>) -> BTreeSet<&'static str> {
    let conditions: &[PodCondition] =
        status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let has = |kind: &&str| conditions.iter().any(|condition| condition.type_ == *kind);
    report::CONDITIONS.into_iter().filter(has).collect()
}

/// Runs until the object is gone, or the driver is.
pub async fn run(context: Arc<Context>, pod: Arc<Pod>, mut desired: watch::Receiver<Desired>) {
    let mut pause = Duration::from_millis(50);
    // those that the object may have: what was written, and what may have been though no answer came
    let mut there = passing_conditions(pod.status.as_ref());
    while desired.changed().await.is_ok() {
        if passing(&desired.borrow()) {
            let better = desired.wait_for(|wanted| !passing(wanted));
            // late or ended: whatever is there now is written
            let _ = tokio::time::timeout(SETTLE, better).await;
        }
        loop {
            let wanted = desired.borrow_and_update().clone();
            let own = passing_conditions(wanted.status.as_ref());
            there.extend(&own);
            match publish(&context, &pod, &wanted, &there).await {
                Ok(()) if wanted.delete => return,
                Ok(()) => {
                    if wanted.status.is_some() {
                        there = own;
                    }
                    break;
                }
                Err(error) if gone(&context, &pod, &error).await => return,
                Err(error) => {
                    tracing::warn!(pod = pod.metadata.name, %error, "status not written, trying again")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
        pause = Duration::from_millis(50);
    }
}

/// The object is not there any more, or another one has its name.
async fn gone(context: &Context, pod: &Pod, error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) if status.code == 404 => true,
        // another uid, or only a race of writers: the object itself tells
        kube::Error::Api(status) if status.code == 409 => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
            match api.get_opt(pod.metadata.name.as_deref().unwrap_or_default()).await {
                Ok(there) => there.is_none_or(|there| there.metadata.uid != pod.metadata.uid),
                Err(_) => false,
            }
        }
        _ => false,
    }
}

async fn publish(
    context: &Context,
    pod: &Pod,
    wanted: &Desired,
    there: &BTreeSet<&'static str>,
) -> kube::Result<()> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    if let Some(status) = &wanted.status {
        let patch = patch(pod, status, there);
        api.patch_subresource("status", name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    }
    if wanted.delete {
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
        api.delete(name, &params).await?;
    }
    Ok(())
}

/// A strategic merge patch that leaves other writers' conditions alone. Of the conditions in `there`, those that the status
/// does not have are taken away.
fn patch(pod: &Pod, status: &PodStatus, there: &BTreeSet<&'static str>) -> Value {
    let mut fields = match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    // addresses merge by their value upstream: an old one would stay
    for list in ["podIPs", "hostIPs"] {
        if let Some(Value::Array(items)) = fields.get_mut(list) {
            items.insert(0, json!({"$patch": "replace"}));
        }
    }
    // conditions merge by their type: what one does not say any more would stay
    for condition in fields.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        for field in ["reason", "message"] {
            if let Some(condition) = condition.as_object_mut() {
                condition.entry(field).or_insert(Value::Null);
            }
        }
    }
    let own = passing_conditions(Some(status));
    if let Some(conditions) = fields.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.extend(there.difference(&own).map(|kind| json!({"type": kind, "$patch": "delete"})));
    }
    for field in CLEARED {
        fields.entry(field).or_insert(Value::Null);
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": fields})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_condition_takes_back_what_it_said() {
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "False", "reason": "Y"}]});
        let patch = patch(&Pod::default(), &serde_json::from_value(status).unwrap(), &BTreeSet::new());
        let conditions = &patch["status"]["conditions"];
        assert_eq!(conditions[0]["reason"], Value::Null);
        assert!(conditions[0].as_object().unwrap().contains_key("message"), "{conditions}");
        assert_eq!(conditions[1]["reason"], "Y");
    }

    #[test]
    fn a_condition_of_a_resize_goes_with_it() {
        let status = |kind: &str| -> PodStatus {
            serde_json::from_value(json!({"conditions": [{"type": kind, "status": "True"}]})).unwrap()
        };
        let there = passing_conditions(Some(&status("PodResizePending")));
        let gone = json!({"type": "PodResizePending", "$patch": "delete"});
        for (kind, last) in
            [("Ready", Some(&gone)), ("PodResizeInProgress", Some(&gone)), ("PodResizePending", None)]
        {
            let patch = patch(&Pod::default(), &status(kind), &there);
            assert_eq!(patch["status"]["conditions"].get(1), last, "{kind}");
        }
    }

    #[test]
    fn only_a_pod_on_its_way_waits() {
        let desired =
            |status: Value, delete| Desired { status: Some(serde_json::from_value(status).unwrap()), delete };
        let waiting = |phase: &str, reason: &str| {
            let state = json!({"waiting": {"reason": reason}});
            let container = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            json!({"phase": phase, "containerStatuses": [container]})
        };
        assert!(passing(&desired(waiting("Pending", "ContainerCreating"), false)));
        assert!(!passing(&desired(waiting("Pending", "ContainerCreating"), true)));
        assert!(!passing(&desired(waiting("Pending", "ErrImagePull"), false)));
        assert!(!passing(&desired(waiting("Running", "ContainerCreating"), false)));
        assert!(!passing(&Desired::default()));
    }
}
