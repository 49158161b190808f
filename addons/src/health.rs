//! How an addon is, read from what the cluster says of its objects. Pure; nothing is remembered.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use sampan_addon::Report;
use sampan_api::selector::Selector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::Reference;

/// Restarts after which a crashing container is no longer "starting".
const PATIENCE_RESTARTS: i32 = 2;

/// How an addon is, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It is not enabled, so there is nothing to say.
    #[default]
    Off,
    /// Serving.
    Healthy,
    /// On its way.
    Starting,
    /// Serving, but not all that it should.
    Degraded,
    /// Not serving, and not by itself.
    Failed,
}

/// A state with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// How it is.
    pub state: State,
    /// Why, naming the object; empty if it is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

impl Condition {
    pub(crate) fn new(state: State, reason: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state, reason: reason.into(), next: next.into() }
    }

    pub(crate) fn healthy() -> Self {
        Self::new(State::Healthy, "", "")
    }

    /// The worse of two; of two alike the first.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.state > self.state { other } else { self }
    }
}

impl From<Report> for Condition {
    fn from(report: Report) -> Self {
        match report {
            Report::Starting => Self::new(State::Starting, "", ""),
            Report::Healthy => Self::healthy(),
            Report::Degraded { reason, next } => Self::new(State::Degraded, reason, next),
            Report::Failed { reason, next } => Self::new(State::Failed, reason, next),
        }
    }
}

/// How one owned object is. `pods` are all of the cluster.
pub(crate) fn of_object(place: &Reference, object: Option<&Value>, pods: &[Arc<Pod>]) -> Condition {
    let Some(object) = object else {
        return Condition::new(
            State::Degraded,
            format!("{place} is missing"),
            "it is made again; see who deletes it",
        );
    };
    let starting = |words: String| Condition::new(State::Starting, words, describe(place));
    let failed = |words: String| Condition::new(State::Failed, words, describe(place));
    match place.kind.as_str() {
        "Deployment" | "StatefulSet" | "ReplicaSet" | "DaemonSet" => match progress(&place.kind, object) {
            None => Condition::healthy(),
            // its pods are still those of what it was before
            Some(words) if words == UNSEEN => starting(format!("{place}: {words}")),
            Some(words) => of_pods(place, object, pods)
                .or_else(|| stalled(object).map(|why| failed(format!("{place}: {why}"))))
                .unwrap_or_else(|| starting(format!("{place}: {words}"))),
        },
        "Job" => match (condition(object, "Complete"), condition(object, "Failed")) {
            (Some(("True", _)), _) => Condition::healthy(),
            (_, Some(("True", why))) => failed(format!("{place} failed: {why}")),
            _ => {
                of_pods(place, object, pods).unwrap_or_else(|| starting(format!("{place} has not finished")))
            }
        },
        "Pod" => match serde_json::from_value::<Pod>(object.clone()) {
            Ok(pod) if is_well(&pod) => Condition::healthy(),
            Ok(pod) => trouble(&pod).unwrap_or_else(|| starting(format!("{place} is not ready"))),
            Err(error) => failed(format!("{place}: {error}")),
        },
        "PersistentVolumeClaim" => match object["status"]["phase"].as_str() {
            Some("Bound") => Condition::healthy(),
            Some("Lost") => failed(format!("{place} has lost its volume")),
            _ => starting(format!("{place} waits for a volume")),
        },
        "CustomResourceDefinition" => named(place, object, "Established"),
        "APIService" => named(place, object, "Available"),
        "Namespace" if object["status"]["phase"] == "Terminating" => {
            failed(format!("{place} is being deleted"))
        }
        _ => Condition::healthy(),
    }
}

fn describe(place: &Reference) -> String {
    let namespace = place.namespace.as_ref().map(|namespace| format!("-n {namespace} ")).unwrap_or_default();
    format!("`kubectl {namespace}describe {} {}` says more", place.kind.to_lowercase(), place.name)
}

/// Status and message of a condition.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let one = object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)?;
    Some((one["status"].as_str()?, one["message"].as_str().unwrap_or_default()))
}

fn named(place: &Reference, object: &Value, kind: &str) -> Condition {
    match condition(object, kind) {
        Some(("True", _)) => Condition::healthy(),
        Some((_, why)) => {
            Condition::new(State::Starting, format!("{place} is not {kind}: {why}"), describe(place))
        }
        None => Condition::new(State::Starting, format!("{place} is not {kind} yet"), describe(place)),
    }
}

/// What a workload is when its controller has not looked at its last change.
const UNSEEN: &str = "the change has not been seen yet";

/// What a workload still waits for; `None` if for nothing. As `kubectl rollout status` reads it.
fn progress(kind: &str, object: &Value) -> Option<String> {
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    if status("observedGeneration") < generation {
        return Some(UNSEEN.to_owned());
    }
    let (wanted, updated, available) = match kind {
        "DaemonSet" => {
            (status("desiredNumberScheduled"), status("updatedNumberScheduled"), status("numberAvailable"))
        }
        _ => {
            let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
            let updated = if kind == "ReplicaSet" { wanted } else { status("updatedReplicas") };
            (wanted, updated, status("availableReplicas"))
        }
    };
    // while the new pods do not come up the old ones go on, and are as available
    if kind == "Deployment" && status("replicas") > updated && updated >= wanted {
        let old = status("replicas") - updated;
        return Some(format!("{old} pods of the last version are still there"));
    }
    // a set that is updated by hand keeps old pods on purpose
    let by_hand = object["spec"]["updateStrategy"]["type"] == "OnDelete";
    let updated = if by_hand { wanted } else { updated };
    (updated.min(available) < wanted)
        .then(|| format!("{} of {wanted} pods are ready", updated.min(available)))
}

fn stalled(object: &Value) -> Option<String> {
    match condition(object, "Progressing") {
        Some(("False", why)) => Some(why.to_owned()),
        _ => None,
    }
}

/// The worst of what keeps a workload's pods from being ready.
fn of_pods(place: &Reference, object: &Value, pods: &[Arc<Pod>]) -> Option<Condition> {
    let selector = Selector::from_object(object["spec"].get("selector")).ok()?;
    let ours = |pod: &&Arc<Pod>| {
        pod.metadata.namespace == place.namespace
            && pod.metadata.labels.as_ref().is_some_and(|labels| selector.matches(labels))
            && pod.metadata.deletion_timestamp.is_none()
    };
    let troubles = pods.iter().filter(ours).filter(|pod| !is_well(pod)).filter_map(|pod| trouble(pod));
    troubles.reduce(Condition::worse)
}

fn is_well(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    ready || status.phase.as_deref() == Some("Succeeded")
}

/// What keeps a pod from being ready, with what to do.
fn trouble(pod: &Pod) -> Option<Condition> {
    let status = pod.status.as_ref()?;
    let (namespace, name) = (
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default(),
    );
    let look = format!("`kubectl -n {namespace} describe pod {name}` says more");
    let place = format!("pod {namespace}/{name}");
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let worst = containers
        .filter_map(|container| of_container(container, namespace, name, &place))
        .reduce(Condition::worse);
    if worst.is_some() {
        return worst;
    }
    let scheduled =
        status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    if let Some(one) = scheduled {
        let why = one.message.clone().unwrap_or_default();
        return Some(Condition::new(State::Starting, format!("{place} has no node: {why}"), look));
    }
    if status.phase.as_deref() == Some("Failed") {
        let why = status.message.clone().or(status.reason.clone()).unwrap_or_default();
        return Some(Condition::new(State::Failed, format!("{place} failed: {why}"), look));
    }
    None
}

fn of_container(container: &ContainerStatus, namespace: &str, name: &str, place: &str) -> Option<Condition> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    let (image, restarts) = (&container.image, container.restart_count);
    let said = |words: &str| {
        if message.is_empty() { format!("{place}: {words}") } else { format!("{place}: {words}: {message}") }
    };
    let pull = format!(
        "check the image's name and its registry, or bring it with `sampan image load`; `kubectl -n {namespace} describe pod {name}` says more"
    );
    let look = format!("`kubectl -n {namespace} logs {name} -c {} --previous` says why", container.name);
    let describe = format!("`kubectl -n {namespace} describe pod {name}` says more");
    Some(match reason {
        "ErrImagePull" => Condition::new(
            State::Starting,
            said(&format!("the image {image} was not pulled (ErrImagePull)")),
            pull,
        ),
        "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            Condition::new(
                State::Failed,
                said(&format!("the image {image} cannot be pulled ({reason})")),
                pull,
            )
        }
        "CrashLoopBackOff" if restarts < PATIENCE_RESTARTS => {
            Condition::new(State::Starting, said(&format!("container {} ended", container.name)), look)
        }
        "CrashLoopBackOff" => Condition::new(
            State::Failed,
            said(&format!("container {} keeps ending ({restarts} restarts)", container.name)),
            look,
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Condition::new(
            State::Failed,
            said(&format!("container {} cannot be started ({reason})", container.name)),
            describe,
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn place(kind: &str) -> Reference {
        Reference {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: Some("demo".into()),
            name: "web".into(),
            uid: String::new(),
        }
    }

    fn pod(waiting: Value, restarts: i32) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": "web-1", "namespace": "demo", "labels": {"app": "web"}}, "status": {"containerStatuses": [
            {"name": "c", "image": "nginx:0", "imageID": "", "ready": false, "restartCount": restarts, "state": {"waiting": waiting}}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn objects_say_how_they_are() {
        use State::*;
        let deployment = |available: i32| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": available}})
        };
        let with = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status, "message": "why"}]}});
        for (kind, object, state, words) in [
            ("Deployment", deployment(2), Healthy, ""),
            ("Deployment", deployment(1), Starting, "Deployment demo/web: 1 of 2 pods are ready"),
            ("Deployment", json!({"metadata": {"generation": 1}}), Starting, "not been seen yet"),
            (
                "Deployment",
                json!({"status": {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}}),
                Starting,
                "1 pods of the last version",
            ),
            ("Deployment", json!({"spec": {"replicas": 0}}), Healthy, ""),
            ("DaemonSet", json!({"status": {"desiredNumberScheduled": 1}}), Starting, "0 of 1 pods"),
            ("Job", with("Complete", "True"), Healthy, ""),
            ("Job", with("Failed", "True"), Failed, "Job demo/web failed: why"),
            ("Job", json!({}), Starting, "has not finished"),
            (
                "PersistentVolumeClaim",
                json!({"status": {"phase": "Pending"}}),
                Starting,
                "waits for a volume",
            ),
            ("PersistentVolumeClaim", json!({"status": {"phase": "Bound"}}), Healthy, ""),
            ("APIService", with("Available", "False"), Starting, "is not Available: why"),
            ("Namespace", json!({"status": {"phase": "Terminating"}}), Failed, "is being deleted"),
            ("ConfigMap", json!({}), Healthy, ""),
        ] {
            let condition = of_object(&place(kind), Some(&object), &[]);
            assert_eq!(condition.state, state, "{kind} {object}");
            assert!(condition.reason.contains(words), "{kind}: {}", condition.reason);
            assert_eq!(condition.next.is_empty(), state == Healthy);
        }
        assert_eq!(of_object(&place("ConfigMap"), None, &[]).reason, "ConfigMap demo/web is missing");
    }

    #[test]
    fn a_workload_names_what_is_wrong_with_its_pods() {
        use State::*;
        let deployment = json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}});
        for (waiting, restarts, state, reason, next) in [
            (
                json!({"reason": "ImagePullBackOff", "message": "not found"}),
                0,
                Failed,
                "the image nginx:0 cannot be pulled (ImagePullBackOff): not found",
                "image load",
            ),
            (json!({"reason": "ErrImagePull"}), 0, Starting, "the image nginx:0 was not pulled", "registry"),
            (json!({"reason": "CrashLoopBackOff"}), 1, Starting, "container c ended", "logs web-1"),
            (json!({"reason": "CrashLoopBackOff"}), 5, Failed, "keeps ending (5 restarts)", "logs web-1"),
            (
                json!({"reason": "CreateContainerConfigError", "message": "no secret"}),
                0,
                Failed,
                "no secret",
                "describe",
            ),
            (
                json!({"reason": "ContainerCreating"}),
                0,
                Starting,
                "0 of 1 pods are ready",
                "describe deployment web",
            ),
        ] {
            let condition = of_object(&place("Deployment"), Some(&deployment), &[pod(waiting, restarts)]);
            assert_eq!(condition.state, state, "{}", condition.reason);
            assert!(condition.reason.contains(reason), "{}", condition.reason);
            assert!(condition.next.contains(next), "{}", condition.next);
        }
    }

    #[test]
    fn other_peoples_pods_say_nothing_of_ours() {
        let deployment = json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}});
        let broken = pod(json!({"reason": "ImagePullBackOff"}), 0);
        assert_eq!(of_object(&place("Deployment"), Some(&deployment), &[broken]).state, State::Starting);
    }
}
