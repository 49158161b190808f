//! What of a running pod's resources may change: `ValidatePodResize`, and what a pod as a whole may ask for beside its
//! containers: `validatePodResources`.

use serde_json::{Map, Value};

use super::access::*;
use super::{diff, pod};
use crate::quota::{self, Amounts, computed_class, pod_class};
use crate::status::FieldError;

/// What `field.NewPath("")` is written as.
pub(super) const NOWHERE: &str = "[]";

const MUTABLE: [&str; 2] = ["cpu", "memory"];

/// What is wrong with a change through `/resize` beyond the metadata.
pub fn resize(new: &Value, old: &Value) -> Errors {
    if has(get(get(old, "metadata"), "annotations"), "kubernetes.io/config.mirror") {
        return vec![FieldError::forbidden(NOWHERE, "static pods cannot be resized")];
    }
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    if text(get(before, "os"), "name") == "windows" {
        return vec![FieldError::forbidden(NOWHERE, "windows pods cannot be resized")];
    }
    let mut errors = Errors::new();
    pod::pod(new, &mut errors);
    if pod_class(old) != computed_class(new) {
        let class = text(get(new, "status"), "qosClass");
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", class, why));
    }
    if !is_supported(old) {
        errors.push(FieldError::forbidden("spec", "Pod running on node without support for resize"));
    }
    let mut munged = after.clone();
    if asks(before) || asks(after) {
        whole(after, before, &mut munged, &mut errors);
    }
    if !list(get(old, "status"), "nodeAllocatableResourceClaimStatuses").is_empty() {
        let why = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden("spec", why));
    }
    let names = errors.len();
    order(after, before, &mut errors);
    if errors.len() > names {
        return errors;
    }
    removals(after, before, &mut errors);
    containers(&mut munged, before, &mut errors);
    if errors.is_empty() && !diff::lines(&munged, before, "spec").is_empty() {
        errors.push(FieldError::forbidden("spec", "only cpu and memory resources are mutable"));
    }
    errors
}

/// `isPodResizeRequestSupported`: a node that resizes says what running containers have.
fn is_supported(pod: &Value) -> bool {
    let mut all = list(get(pod, "status"), "containerStatuses").iter();
    all.find(|status| has(get(status, "state"), "running")).is_none_or(|status| has(status, "resources"))
}

/// Whether the pod as a whole asks for something.
fn asks(spec: &Value) -> bool {
    ["requests", "limits"].iter().any(|which| entries(get(spec, "resources"), which).next().is_some())
}

/// `validatePodLevelResourcesResize`.
fn whole(after: &Value, before: &Value, munged: &mut Value, errors: &mut Errors) {
    let (new, old) = (get(after, "resources"), get(before, "resources"));
    if !old.is_null() && new.is_null() {
        errors.push(FieldError::forbidden("spec.resources", "pod-level resources cannot be removed"));
        return;
    }
    for which in ["requests", "limits"] {
        if removed(new, old, which) {
            let why = format!("pod-level resource {which} cannot be removed");
            errors.push(FieldError::forbidden(format!("spec.resources.{which}"), why));
        }
    }
    let masked = masked(new, old, get(new, "claims"));
    if !diff::lines(&masked, old, "").is_empty() {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden("spec", why));
    }
    put(munged, "resources", masked);
}

/// `validatePodResizeContainerOrdering`.
fn order(after: &Value, before: &Value, errors: &mut Errors) {
    for key in ["containers", "initContainers"] {
        let (new, old) = (list(after, key), list(before, key));
        if new.len() != old.len() {
            let why = format!("{key} may not be added or removed on resize");
            errors.push(FieldError::forbidden(join("spec", key), why));
            continue;
        }
        for (index, _) in
            new.iter().zip(old).enumerate().filter(|(_, (a, b))| text(a, "name") != text(b, "name"))
        {
            let why = format!("{key} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(format!("spec.{key}[{index}].name"), why));
        }
    }
}

/// `validateContainerResize`.
fn removals(after: &Value, before: &Value, errors: &mut Errors) {
    for key in ["initContainers", "containers"] {
        for ((at, old), new) in each(before, key, "spec").zip(list(after, key)) {
            for which in ["requests", "limits"] {
                if removed(get(new, "resources"), get(old, "resources"), which) {
                    let why = format!("resource {which} cannot be removed");
                    errors.push(FieldError::forbidden(format!("{at}.resources.{which}"), why));
                }
            }
        }
    }
}

/// Takes from `munged` what may change of its containers, and says what else did.
fn containers(munged: &mut Value, before: &Value, errors: &mut Errors) {
    for key in ["containers", "initContainers"] {
        let all = munged.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
        for ((at, old), container) in each(before, key, "spec").zip(all) {
            let (place, why) = match key {
                "containers" => ("spec", "only cpu and memory resources are mutable"),
                _ => {
                    (at.as_str(), "only cpu and memory resources for init or sidecar containers are mutable")
                }
            };
            let restarts = |policy: &&Value| text(policy, "restartPolicy") == "RestartContainer";
            let ends = key == "initContainers" && !is_sidecar(container);
            let restarted = list(container, "resizePolicy").iter().filter(restarts).count();
            let changes = ends && !diff::lines(container, old, "").is_empty();
            // devices are forgotten here, as upstream does: who has some is not resized
            let masked = masked(get(container, "resources"), get(old, "resources"), &Value::Null);
            put(container, "resources", masked);
            if !diff::lines(container, old, "").is_empty() {
                errors.push(FieldError::forbidden(place, why));
            }
            for _ in 0..if changes { restarted } else { 0 } {
                let why =
                    "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.push(FieldError::forbidden(at.as_str(), why));
            }
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// `resourcesRemoved`.
fn removed(new: &Value, old: &Value, which: &str) -> bool {
    entries(old, which).any(|(name, _)| get(new, which).get(name).is_none())
}

/// `new` with the old one's cpu and memory: `dropCPUMemoryUpdates`; null, if that says nothing.
fn masked(new: &Value, old: &Value, claims: &Value) -> Value {
    let mutable = |name: &str| MUTABLE.contains(&name);
    let mut out = Map::new();
    for which in ["limits", "requests"] {
        let rest = entries(new, which).filter(|(name, _)| !mutable(name));
        let kept = entries(old, which).filter(|(name, _)| mutable(name));
        let amounts: Map<String, Value> =
            rest.chain(kept).map(|(name, amount)| (name.clone(), amount.clone())).collect();
        if !amounts.is_empty() {
            out.insert(which.to_owned(), amounts.into());
        }
    }
    if !claims.is_null() {
        out.insert("claims".to_owned(), claims.clone());
    }
    if out.is_empty() { Value::Null } else { out.into() }
}

fn put(holder: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = holder {
        map.insert(key.to_owned(), value);
    }
}

/// `validatePodResources`: what a pod as a whole asks for covers what its containers do.
pub(super) fn whole_pod(spec: &Value, at: &str, errors: &mut Errors) {
    let own = get(spec, "resources");
    if own.is_null() {
        return;
    }
    let at = join(at, "resources");
    if text(get(spec, "os"), "name") == "windows" {
        errors.push(FieldError::forbidden(at, "may not be set for a windows pod"));
        return;
    }
    if has(own, "claims") {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(FieldError::forbidden(join(&at, "claims"), why));
    }
    super::container::claims(own, list(spec, "resourceClaims"), &at, errors);
    super::container::resources_named(own, &at, resource_name, errors);
    let pod = serde_json::json!({"spec": {"containers": get(spec, "containers"), "initContainers": get(spec, "initContainers")}});
    for (name, asked) in covered(own, &quota::pod_amounts(&pod, "requests"), "requests") {
        let (amount, sum) = asked;
        let why = format!("must be greater than or equal to aggregate container requests of {sum}");
        errors.push(FieldError::invalid(format!("{at}.requests[{name}]"), amount, why));
    }
    for (index, container) in list(spec, "containers").iter().enumerate() {
        let limits = quota::read(get(get(container, "resources"), "limits"));
        for (name, (amount, limit)) in covered(own, &limits, "limits") {
            let why = format!("must be less than or equal to pod limits of {amount}");
            errors.push(FieldError::invalid(format!("{at}.containers[{index}][{name}].limits"), limit, why));
        }
    }
}

/// `validatePodResourceName`.
fn resource_name(name: &str, at: &str, errors: &mut Errors) {
    if super::container::has_bad_name(name, at, errors) {
        return;
    }
    if !MUTABLE.contains(&name) && !name.starts_with("hugepages-") {
        errors.push(FieldError::not_supported(at, name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Of `amounts` those that are more than the pod's, each with the pod's before it.
fn covered(own: &Value, amounts: &Amounts, which: &str) -> Vec<(String, (String, String))> {
    let whole = quota::read(get(own, which));
    let more = amounts.iter().filter_map(|(name, amount)| {
        let whole = whole.get(name).filter(|whole| amount > *whole)?;
        Some((name.clone(), (whole.to_string(), amount.to_string())))
    });
    more.collect()
}
