//! What is said of a resize: conditions and events. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, ResourceClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use super::{Notice, Resize};

/// The condition of a resize that is not allocated.
pub const PENDING: &str = "PodResizePending";
/// The condition of a resize that is not actuated.
pub const IN_PROGRESS: &str = "PodResizeInProgress";

/// Conditions that are there only while they are true.
pub const CONDITIONS: [&str; 2] = [PENDING, IN_PROGRESS];

impl Notice {
    /// What the object's status says; what an earlier process had put there.
    pub fn read(pod: &Pod, kind: &str, now: Timestamp) -> Option<Self> {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
        Some(Self {
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
            generation: condition.observed_generation,
            since: condition.last_transition_time.as_ref().map_or(now, |time| time.0),
        })
    }

    fn condition(&self, kind: &str) -> PodCondition {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: some(&self.reason),
            message: some(&self.message),
            last_probe_time: Some(Time(self.since)),
            last_transition_time: Some(Time(self.since)),
            observed_generation: self.generation,
        }
    }
}

/// The conditions to show.
pub fn conditions(resize: &Resize) -> Vec<PodCondition> {
    let shown = [(PENDING, &resize.pending), (IN_PROGRESS, &resize.progress)];
    shown.into_iter().filter_map(|(kind, notice)| Some(notice.as_ref()?.condition(kind))).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Given<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Given<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Given<'a> {
    name: &'a str,
    resources: Amounts<'a>,
}

/// [`ResourceRequirements`] in Go's order of fields.
#[derive(Default, Serialize)]
struct Amounts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<&'a BTreeMap<String, Quantity>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<&'a BTreeMap<String, Quantity>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<&'a Vec<ResourceClaim>>,
}

fn given(container: &Container) -> Given<'_> {
    Given { name: &container.name, resources: container.resources.as_ref().map(amounts).unwrap_or_default() }
}

fn amounts(resources: &ResourceRequirements) -> Amounts<'_> {
    let ResourceRequirements { limits, requests, claims } = resources;
    Amounts { limits: limits.as_ref(), requests: requests.as_ref(), claims: claims.as_ref() }
}

/// Text of an event: `Pod resize started: {"containers":[…],"generation":2}`.
pub fn message(what: &str, pod: &Pod, generation: Option<i64>, error: &str) -> String {
    let spec = pod.spec.as_ref();
    let summary = Summary {
        init_containers: spec
            .into_iter()
            .flat_map(|s| s.init_containers.iter().flatten())
            .map(given)
            .collect(),
        containers: spec.into_iter().flat_map(|s| &s.containers).map(given).collect(),
        generation: generation.unwrap_or_default(),
        error,
    };
    match serde_json::to_string(&summary) {
        Ok(text) => format!("Pod resize {what}: {text}"),
        Err(_) => format!("Pod resize {what}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn events_carry_the_resources_as_upstream_writes_them() {
        let resources = json!({"requests": {"memory": "128Mi", "cpu": "1"}, "limits": {"cpu": "1"}});
        let spec =
            json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c", "resources": resources}]});
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        assert_eq!(
            message("error", &pod, Some(5), "why"),
            "Pod resize error: {\"initContainers\":[{\"name\":\"i\",\"resources\":{}}],\"containers\":[{\"name\":\"c\",\
             \"resources\":{\"limits\":{\"cpu\":\"1\"},\"requests\":{\"cpu\":\"1\",\"memory\":\"128Mi\"}}}],\
             \"generation\":5,\"error\":\"why\"}"
        );
    }

    #[test]
    fn a_condition_is_read_as_it_was_written() {
        let notice = Notice {
            reason: "Deferred".to_owned(),
            message: "no room".to_owned(),
            generation: Some(3),
            since: Timestamp::UNIX_EPOCH,
        };
        let shown = conditions(&Resize { pending: Some(notice.clone()), ..Resize::default() });
        assert_eq!(shown.len(), 1);
        let pod = json!({"metadata": {}, "status": {"conditions": shown}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(Notice::read(&pod, PENDING, Timestamp::MAX), Some(notice));
        assert_eq!(Notice::read(&pod, IN_PROGRESS, Timestamp::MAX), None);
    }
}
