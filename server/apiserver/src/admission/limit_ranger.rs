//! `LimitRanger`: requests and limits that a namespace's LimitRanges fill in, and bounds on them;
//! `plugin/pkg/admission/limitranger`.

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_api::quantity::Quantity;
use sampan_api::quota::{self, Amounts};
use sampan_api::status::ApiError;
use serde_json::Value;

use super::{creates_pod, of, resizes_pod};
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, items, keep, meta, set, text};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger;

impl Plugin for LimitRanger {
    fn admit(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !creates_pod(review) && !resizes_pod(review) {
            return Ok(());
        }
        for range in ranges(review) {
            fill_in(pod, &range);
        }
        // upstream's strategy comes later, and lets a resize change no annotations
        if let Some(old) = review.old {
            keep(pod, old, &["metadata", "annotations"]);
        }
        Ok(())
    }

    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let claim = matches!(review.operation, Operation::Create | Operation::Update)
            && of(review, "", "persistentvolumeclaims");
        if !claim && !creates_pod(review) && !resizes_pod(review) {
            return Ok(());
        }
        for range in ranges(review) {
            let errors = if claim { claim_errors(object, &range) } else { pod_errors(object, &range) };
            if let Some(why) = aggregate(errors) {
                return Err(ApiError::forbidden("", review.kind.plural, meta(object, "name"), &why));
            }
        }
        Ok(())
    }
}

fn ranges(review: &Review<'_>) -> Vec<Arc<Value>> {
    let prefix = format!("{}/", review.namespace);
    let all = review.store.list("limitranges");
    all.prefix(&prefix).filter_map(super::kept::decoded).collect()
}

/// Upstream's `utilerrors.NewAggregate`.
fn aggregate(mut errors: Vec<String>) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    match errors.len() {
        0 => None,
        1 => errors.pop(),
        _ => Some(format!("[{}]", errors.join(", "))),
    }
}

fn limits<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    items(at(range, &["spec", "limits"])).iter().filter(move |limit| text(limit, &["type"]) == kind)
}

/// Values by resource, as they are written.
fn list<'a>(holder: &'a Value, path: &[&str]) -> BTreeMap<&'a str, &'a Value> {
    at(holder, path).as_object().into_iter().flatten().map(|(name, amount)| (name.as_str(), amount)).collect()
}

/// Sets what containers leave open, and writes into an annotation what was set.
fn fill_in(pod: &mut Value, range: &Value) {
    let (mut requests, mut caps) = (BTreeMap::new(), BTreeMap::new());
    for limit in limits(range, "Container") {
        requests.extend(list(limit, &["defaultRequest"]));
        caps.extend(list(limit, &["default"]));
    }
    let mut told = Vec::new();
    for kind in ["containers", "initContainers"] {
        let Some(containers) = pod.get_mut("spec").and_then(|spec| spec.get_mut(kind)?.as_array_mut()) else {
            continue;
        };
        for container in containers {
            let name = text(container, &["name"]).to_owned();
            for (what, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &caps)] {
                let added = add_missing(container, what, defaults);
                if !added.is_empty() {
                    let sort = if kind == "containers" { "container" } else { "init container" };
                    told.push(format!("{} {word} for {sort} {name}", added.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        set(pod, &["metadata", "annotations", ANNOTATION], text);
    }
}

fn add_missing(container: &mut Value, what: &str, defaults: &BTreeMap<&str, &Value>) -> Vec<String> {
    let mut added = Vec::new();
    for (name, amount) in defaults {
        if at(container, &["resources", what, name]).is_null() {
            set(container, &["resources", what, name], (*amount).clone());
            added.push((*name).to_owned());
        }
    }
    added
}

fn pod_errors(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in items(at(range, &["spec", "limits"])) {
        match text(limit, &["type"]) {
            "Container" => {
                let of = |kind: &str| items(at(pod, &["spec", kind])).iter();
                for container in of("containers").chain(of("initContainers")) {
                    let read = |which: &str| quota::read(at(container, &["resources", which]));
                    errors.extend(bounds(limit, &read("requests"), &read("limits")));
                }
            }
            "Pod" => {
                let whole = |which: &str| quota::pod_amounts(pod, which);
                errors.extend(bounds(limit, &whole("requests"), &whole("limits")));
            }
            _ => {}
        }
    }
    errors
}

fn claim_errors(claim: &Value, range: &Value) -> Vec<String> {
    let requests = quota::read(at(claim, &["spec", "resources", "requests"]));
    let each = limits(range, "PersistentVolumeClaim").flat_map(|limit| {
        let bound = |field: &str| quota::read(at(limit, &[field]));
        let least = bound("min").into_iter().filter_map(|(name, enforced)| {
            too_small("PersistentVolumeClaim", &name, enforced, requests.get(&name), None)
        });
        let most = bound("max").into_iter().filter_map(|(name, enforced)| {
            let before = format!("maximum {name} usage per PersistentVolumeClaim is {enforced}");
            match requests.get(&name) {
                None => Some(format!("{before}.  No request is specified")),
                Some(request) if *request > enforced => Some(format!("{before}, but request is {request}")),
                Some(_) => None,
            }
        });
        least.chain(most).collect::<Vec<String>>()
    });
    each.collect()
}

fn bounds(limit: &Value, requests: &Amounts, caps: &Amounts) -> Vec<String> {
    let kind = text(limit, &["type"]);
    let mut errors = Vec::new();
    for (name, enforced) in quota::read(at(limit, &["min"])) {
        errors.extend(too_small(kind, &name, enforced, requests.get(&name), caps.get(&name)));
    }
    for (name, enforced) in quota::read(at(limit, &["max"])) {
        errors.extend(too_big(kind, &name, enforced, requests.get(&name), caps.get(&name)));
    }
    for (name, enforced) in quota::read(at(limit, &["maxLimitRequestRatio"])) {
        errors.extend(too_far_apart(kind, &name, enforced, requests.get(&name), caps.get(&name)));
    }
    errors
}

/// `minConstraint`.
fn too_small(
    kind: &str,
    name: &str,
    enforced: Quantity,
    request: Option<&Quantity>,
    cap: Option<&Quantity>,
) -> Option<String> {
    let before = format!("minimum {name} usage per {kind} is {enforced}");
    match (request, cap) {
        (None, _) => Some(format!("{before}.  No request is specified")),
        (Some(request), _) if *request < enforced => Some(format!("{before}, but request is {request}")),
        (_, Some(cap)) if *cap < enforced => Some(format!("{before}, but limit is {cap}")),
        _ => None,
    }
}

/// `maxConstraint`.
fn too_big(
    kind: &str,
    name: &str,
    enforced: Quantity,
    request: Option<&Quantity>,
    cap: Option<&Quantity>,
) -> Option<String> {
    let before = format!("maximum {name} usage per {kind} is {enforced}");
    match (request, cap) {
        (_, None) => Some(format!("{before}.  No limit is specified")),
        (_, Some(cap)) if *cap > enforced => Some(format!("{before}, but limit is {cap}")),
        (Some(request), _) if *request > enforced => Some(format!("{before}, but request is {request}")),
        _ => None,
    }
}

/// `limitRequestRatioConstraint`.
fn too_far_apart(
    kind: &str,
    name: &str,
    enforced: Quantity,
    request: Option<&Quantity>,
    cap: Option<&Quantity>,
) -> Option<String> {
    let before = format!("{name} max limit to request ratio per {kind} is {enforced}, but");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{before} no request is specified or request is 0"));
    };
    let Some(cap) = cap.filter(|cap| !cap.is_zero()) else {
        return Some(format!("{before} no limit is specified or limit is 0"));
    };
    let ratio = cap.as_f64() / request.as_f64();
    (ratio > enforced.as_f64()).then(|| format!("{before} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn range(limits: Value) -> Value {
        json!({"spec": {"limits": [limits]}})
    }

    fn pod(requests: Value, limits: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
    }

    #[test]
    fn defaults_are_filled_in_and_told() {
        let defaults = json!({
            "type": "Container", "default": {"memory": "1Gi", "cpu": "1"}, "defaultRequest": {"cpu": "100m"}});
        let mut open = json!({"spec": {"containers": [{"name": "c"}], "initContainers": [
            {"name": "i", "resources": {"limits": {"cpu": "2", "memory": "2Gi"}}}]}});
        fill_in(&mut open, &range(defaults));
        let resources = &open["spec"]["containers"][0]["resources"];
        assert_eq!(*resources, json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}}));
        assert_eq!(
            open["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c; \
             cpu request for init container i"
        );
    }

    #[test]
    fn bounds_are_refused_in_upstreams_words() {
        for (kind, bound, pod, want) in [
            ("Container", json!({"min": {"cpu": "1"}}), pod(json!({"cpu": "1"}), json!({})), None),
            (
                "Container",
                json!({"min": {"cpu": "1"}}),
                pod(json!({}), json!({})),
                Some("minimum cpu usage per Container is 1.  No request is specified"),
            ),
            (
                "Container",
                json!({"min": {"cpu": "1"}, "max": {"memory": "1Gi"}}),
                pod(json!({"cpu": "500m"}), json!({"memory": "2Gi"})),
                Some(
                    "[minimum cpu usage per Container is 1, but request is 500m, \
                     maximum memory usage per Container is 1Gi, but limit is 2Gi]",
                ),
            ),
            (
                "Pod",
                json!({"max": {"cpu": "1"}}),
                pod(json!({}), json!({})),
                Some("maximum cpu usage per Pod is 1.  No limit is specified"),
            ),
            (
                "Container",
                json!({"maxLimitRequestRatio": {"cpu": "2"}}),
                pod(json!({"cpu": "1"}), json!({"cpu": "3"})),
                Some("cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
            ),
            (
                "Container",
                json!({"maxLimitRequestRatio": {"cpu": "2"}}),
                pod(json!({}), json!({"cpu": "3"})),
                Some(
                    "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
                ),
            ),
        ] {
            let mut bound = bound;
            bound["type"] = kind.into();
            assert_eq!(aggregate(pod_errors(&pod, &range(bound))).as_deref(), want);
        }
    }

    #[test]
    fn claims_are_bounded_by_what_they_ask_for() {
        let bound =
            json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        for (size, want) in [
            ("1Gi", None),
            ("1Mi", Some("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")),
            ("3Gi", Some("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")),
        ] {
            assert_eq!(aggregate(claim_errors(&claim(size), &range(bound.clone()))).as_deref(), want);
        }
    }
}
