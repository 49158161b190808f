//! `RuntimeClass`: a pod gets the overhead, node selector and tolerations of its class;
//! `plugin/pkg/admission/runtimeclass`.

use sampan_api::go::Quote as _;
use sampan_api::quota;
use std::sync::Arc;

use sampan_api::status::ApiError;
use serde_json::Value;

use super::{creates_pod, kept, push};
use crate::registry::{Plugin, Review};
use crate::value::{at, items, meta, set, text};

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn admit(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !creates_pod(review) {
            return Ok(());
        }
        let Some(class) = class_of(review, pod)? else { return Ok(()) };
        let applied = overhead(pod, &class).and_then(|()| scheduling(pod, at(&class, &["scheduling"])));
        applied.map_err(|why| refused(pod, &why))
    }

    fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), ApiError> {
        if !creates_pod(review) {
            return Ok(());
        }
        let class = class_of(review, pod)?.unwrap_or_default();
        let (fixed, own) = (at(&class, &["overhead", "podFixed"]), at(pod, &["spec", "overhead"]));
        let why = match () {
            () if at(&class, &["overhead"]).is_null() => {
                let set = own.as_object().is_some_and(|own| !own.is_empty());
                set.then_some(
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
                )
            }
            () => (quota::read(fixed) != quota::read(own)).then_some(MISMATCH),
        };
        why.map_or(Ok(()), |why| Err(refused(pod, why)))
    }
}

fn refused(pod: &Value, why: &str) -> ApiError {
    ApiError::forbidden("", "pods", meta(pod, "name"), why)
}

fn class_of(review: &Review<'_>, pod: &Value) -> Result<Option<Arc<Value>>, ApiError> {
    let name = text(pod, &["spec", "runtimeClassName"]);
    if name.is_empty() {
        return Ok(None);
    }
    let class = kept::look_up(review.store, "runtimeclasses.node.k8s.io", name);
    class
        .map(Some)
        .ok_or_else(|| refused(pod, &format!("pod rejected: RuntimeClass {} not found", name.quoted())))
}

fn overhead(pod: &mut Value, class: &Value) -> Result<(), String> {
    if at(class, &["overhead"]).is_null() {
        return Ok(());
    }
    let (fixed, own) = (at(class, &["overhead", "podFixed"]), at(pod, &["spec", "overhead"]));
    if own.as_object().is_some_and(|own| !own.is_empty()) && quota::read(fixed) != quota::read(own) {
        return Err(MISMATCH.into());
    }
    if !fixed.is_null() {
        set(pod, &["spec", "overhead"], fixed.clone());
    }
    Ok(())
}

fn scheduling(pod: &mut Value, scheduling: &Value) -> Result<(), String> {
    for (key, value) in at(scheduling, &["nodeSelector"]).as_object().into_iter().flatten() {
        let own = at(pod, &["spec", "nodeSelector", key]);
        if !own.is_null() && own != value {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                value.as_str().unwrap_or(""),
                own.as_str().unwrap_or("")
            ));
        }
        set(pod, &["spec", "nodeSelector", key], value.clone());
    }
    for toleration in items(at(scheduling, &["tolerations"])) {
        if !items(at(pod, &["spec", "tolerations"])).contains(toleration) {
            push(pod, &["spec", "tolerations"], toleration.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_gives_overhead_and_scheduling() {
        let class = json!({
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "x", "operator": "Exists"}]}});
        let mut pod = json!({"spec": {"nodeSelector": {"c": "d"}}});
        overhead(&mut pod, &class).unwrap();
        scheduling(&mut pod, &class["scheduling"]).unwrap();
        let once = pod.clone();
        scheduling(&mut pod, &class["scheduling"]).unwrap();
        assert_eq!(pod, once);
        let want = json!({
            "nodeSelector": {"c": "d", "a": "b"}, "overhead": {"cpu": "250m"}, "tolerations": [{"key": "x", "operator": "Exists"}]});
        assert_eq!(pod["spec"], want);
    }

    #[test]
    fn contradictions_are_refused() {
        let class =
            json!({"overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": {"nodeSelector": {"a": "b"}}});
        let mut same = json!({"spec": {"overhead": {"cpu": "0.25"}}});
        assert_eq!(overhead(&mut same, &class), Ok(()));
        let mut other = json!({"spec": {"overhead": {"cpu": "1"}, "nodeSelector": {"a": "c"}}});
        assert_eq!(overhead(&mut other, &class), Err(MISMATCH.to_owned()));
        assert_eq!(
            scheduling(&mut other, &class["scheduling"]).unwrap_err(),
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c"
        );
    }
}
