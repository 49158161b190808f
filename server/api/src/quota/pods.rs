//! Pods: `evaluator/core/pods.go`, and `PodRequests` and `PodLimits` of `component-helpers/resource`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::amounts::Amounts;
use super::{at, items, text};
use crate::quantity::{Format, Quantity};

/// Resources that have a meaning of their own; all others are extended, and are counted as `requests.NAME`.
const NATIVE: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Whoever limits these has to be told by each container what it wants.
const EXPLICIT: &[&str] =
    &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const HUGE_PAGES: &str = "hugepages-";

/// Which resources of a quota count pods.
pub(super) fn counts(resource: &str) -> bool {
    if resource == "pods" || NATIVE.contains(&resource) || resource.starts_with(HUGE_PAGES) {
        return true;
    }
    if let Some(limited) = resource.strip_prefix("limits.") {
        return NATIVE.contains(&limited);
    }
    let Some(requested) = resource.strip_prefix("requests.") else { return false };
    NATIVE.contains(&requested) || requested.starts_with(HUGE_PAGES) || is_extended(requested)
}

/// `helper.IsNativeResource`, turned round.
fn is_extended(resource: &str) -> bool {
    resource.contains('/')
        && (!resource.contains("kubernetes.io/")
            || resource.starts_with("deviceclass.resource.kubernetes.io/"))
}

/// Whether the pod has ended, or should have.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(pod, &["status", "phase"]), "Failed" | "Succeeded") {
        return true;
    }
    let deleted: Option<Timestamp> = text(pod, &["metadata", "deletionTimestamp"]).parse().ok();
    let grace = at(pod, &["metadata", "deletionGracePeriodSeconds"]).as_i64();
    let end =
        deleted.zip(grace).and_then(|(at, grace)| at.checked_add(SignedDuration::from_secs(grace)).ok());
    end.is_some_and(|end| now > end)
}

pub(super) fn usage(pod: &Value, now: Timestamp) -> Amounts {
    if is_over(pod, now) {
        return Amounts::new();
    }
    let spec = at(pod, &["spec"]);
    compute(&whole(spec, "requests", pod), &whole(spec, "limits", pod))
}

/// `podComputeUsageHelper`.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), Quantity::new(1, Format::DecimalSI))]);
    for (name, amount) in requests {
        if NATIVE.contains(&name.as_str()) || name.starts_with(HUGE_PAGES) {
            usage.insert(name.clone(), *amount);
        }
        if NATIVE.contains(&name.as_str()) || name.starts_with(HUGE_PAGES) || is_extended(name) {
            usage.insert(format!("requests.{name}"), *amount);
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| NATIVE.contains(&name.as_str())) {
        usage.insert(format!("limits.{name}"), *amount);
    }
    usage
}

/// Requests or limits of the whole pod, with its overhead.
fn whole(spec: &Value, which: &str, pod: &Value) -> Amounts {
    let mut total = amounts(pod, which);
    let overhead = super::amounts::read(at(spec, &["overhead"]));
    // an overhead adds to limits only where there is one
    let overhead = super::mask(&overhead, |name| which == "requests" || total.contains_key(name));
    super::amounts::add(&mut total, &overhead);
    total
}

/// `requests` or `limits` of a pod: its containers and sidecars together, or its largest init step, whichever is
/// more; what the pod itself says stands instead.
pub fn amounts(pod: &Value, which: &str) -> Amounts {
    let spec = at(pod, &["spec"]);
    let own = |container: &Value, statuses: &str| {
        let mut list = super::amounts::read(at(container, &["resources", which]));
        super::amounts::max(&mut list, &running(pod, statuses, text(container, &["name"]), which));
        list
    };
    let mut total = Amounts::new();
    for container in items(at(spec, &["containers"])) {
        super::amounts::add(&mut total, &own(container, "containerStatuses"));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in items(at(spec, &["initContainers"])) {
        let mut step = own(container, "initContainerStatuses");
        if text(container, &["restartPolicy"]) == "Always" {
            super::amounts::add(&mut total, &step);
            super::amounts::add(&mut sidecars, &step);
            step = Amounts::new();
        }
        super::amounts::add(&mut step, &sidecars);
        super::amounts::max(&mut init, &step);
    }
    super::amounts::max(&mut total, &init);
    for (name, amount) in super::amounts::read(at(spec, &["resources", which])) {
        if name == "cpu" || name == "memory" || name.starts_with(HUGE_PAGES) {
            total.insert(name, amount);
        }
    }
    total
}

/// What a container was given, which is more than it asks for while a resize is on its way.
fn running(pod: &Value, statuses: &str, name: &str, which: &str) -> Amounts {
    let statuses = items(at(pod, &["status", statuses])).iter();
    let status = statuses.into_iter().find(|status| text(status, &["name"]) == name);
    status.map(|status| super::amounts::read(at(status, &["resources", which]))).unwrap_or_default()
}

/// What of `required` some container does not say: `cpu for: a,b; memory for: a`.
pub(super) fn missing(pod: &Value, required: &BTreeSet<&str>) -> Option<String> {
    if !at(pod, &["spec", "resources"]).as_object().is_none_or(|resources| resources.is_empty()) {
        return None;
    }
    let mut silent: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let list = |name: &str| items(at(pod, &["spec", name]));
    for container in list("containers").iter().chain(list("initContainers")) {
        let of = |which: &str| super::amounts::read(at(container, &["resources", which]));
        let said = compute(&of("requests"), &of("limits"));
        for resource in required.iter().filter(|one| EXPLICIT.contains(one) && !said.contains_key(**one)) {
            silent.entry(resource).or_default().insert(text(container, &["name"]));
        }
    }
    let each = silent.into_iter().map(|(resource, names)| {
        let names: Vec<&str> = names.into_iter().collect();
        format!("{resource} for: {}", names.join(","))
    });
    let texts: Vec<String> = each.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
