//! What a pod asks for and may use as a whole. Pure.
//!
//! Ported from upstream's `component-helpers/resource` (`PodRequests`, `PodLimits`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::qos::millis;

/// Which half of `resources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `requests`.
    Requests,
    /// `limits`.
    Limits,
}

/// The amount in a container's or pod's `resources`, as it is written.
pub fn quantity<'a>(resources: &'a ResourceRequirements, side: Side, name: &str) -> Option<&'a Quantity> {
    let list = match side {
        Side::Requests => &resources.requests,
        Side::Limits => &resources.limits,
    };
    list.as_ref()?.get(name)
}

/// Limits of the pod as a whole that hold for a container which has none of its own, by resource.
pub fn shared_limits(pod: &Pod, own: &ResourceRequirements) -> BTreeMap<String, Quantity> {
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let shared = |name: &&str| {
        let limit =
            quantity(whole?, Side::Limits, name).filter(|_| amount(own, Side::Limits, name).is_none());
        Some(((*name).to_owned(), limit?.clone()))
    };
    ["cpu", "memory"].iter().filter_map(shared).collect()
}

/// A container's own resources and the limits that it shares.
pub fn with_shared(own: &ResourceRequirements, shared: &BTreeMap<String, Quantity>) -> ResourceRequirements {
    let mut all = own.clone();
    if !shared.is_empty() {
        let lacking = shared.iter().filter(|(name, _)| amount(own, Side::Limits, name).is_none());
        all.limits.get_or_insert_default().extend(lacking.map(|(name, limit)| (name.clone(), limit.clone())));
    }
    all
}

/// In thousandths; `None` if there is none, which zero means as well.
pub fn amount(resources: &ResourceRequirements, side: Side, name: &str) -> Option<i128> {
    quantity(resources, side, name).and_then(millis).filter(|amount| *amount != 0)
}

/// What all containers have and the pod's overhead, in thousandths; what the pod itself says stands instead.
pub fn total(pod: &Pod, side: Side, name: &str) -> i128 {
    sum(pod, side, name, |container| own(container.resources.as_ref(), side, name))
}

/// [`total`] of every resource that the pod names, in the form in which it names it first; none that comes to nothing.
pub fn totals(pod: &Pod, side: Side) -> BTreeMap<String, Quantity> {
    let Some(spec) = &pod.spec else { return BTreeMap::new() };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let own = containers.filter_map(|container| container.resources.as_ref()).chain(&spec.resources);
    let named = own.filter_map(|resources| match side {
        Side::Requests => resources.requests.as_ref(),
        Side::Limits => resources.limits.as_ref(),
    });
    let mut totals = BTreeMap::new();
    for (name, written) in named.chain(&spec.overhead).flatten() {
        let amount = total(pod, side, name);
        if !totals.contains_key(name) && amount != 0 {
            totals.insert(name.clone(), shown(amount, written));
        }
    }
    totals
}

/// An amount in thousandths, written as `like` is.
fn shown(amount: i128, like: &Quantity) -> Quantity {
    use sampan_api::quantity::{Format, Quantity as Exact};
    let format = Exact::parse(&like.0).map_or(Format::DecimalSI, |like| like.format());
    Quantity(Exact::from_milli(i64::try_from(amount).unwrap_or(i64::MAX), format).to_string())
}

/// As [`total`], but of each container what its status says it was given, if that is more: while a resize is on its way,
/// the machine is to have room for both.
pub fn given(pod: &Pod, side: Side, name: &str) -> i128 {
    let statuses: BTreeMap<&str, &ContainerStatus> = statuses(pod);
    sum(pod, side, name, |container| {
        let status = statuses.get(container.name.as_str());
        let allocated = |status: &&ContainerStatus| match side {
            Side::Requests => status.allocated_resources.as_ref()?.get(name).and_then(millis),
            Side::Limits => None,
        };
        let actual = status.map_or(0, |status| own(status.resources.as_ref(), side, name));
        own(container.resources.as_ref(), side, name)
            .max(actual)
            .max(status.and_then(allocated).unwrap_or_default())
    })
}

/// Whether a limit holds for the pod as a whole: it says so itself, or all of its containers have one.
pub fn is_limited(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let limited = |resources: Option<&ResourceRequirements>| own(resources, Side::Limits, name) != 0;
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    limited(spec.resources.as_ref())
        || (!spec.containers.is_empty() && containers.all(|container| limited(container.resources.as_ref())))
}

fn own(resources: Option<&ResourceRequirements>, side: Side, name: &str) -> i128 {
    resources.and_then(|resources| amount(resources, side, name)).unwrap_or_default()
}

fn statuses(pod: &Pod) -> BTreeMap<&str, &ContainerStatus> {
    let status = pod.status.as_ref();
    let lists = status.map(|status| [&status.container_statuses, &status.init_container_statuses]);
    let all = lists.into_iter().flatten().flat_map(|list| list.iter().flatten());
    all.map(|status| (status.name.as_str(), status)).collect()
}

/// Containers and sidecars together, or the largest init step, whichever is more.
fn sum(pod: &Pod, side: Side, name: &str, of: impl Fn(&Container) -> i128) -> i128 {
    let Some(spec) = &pod.spec else { return 0 };
    let mut total: i128 = spec.containers.iter().map(&of).sum();
    let (mut sidecars, mut init) = (0, 0);
    for container in spec.init_containers.iter().flatten() {
        let mut step = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            total += step;
            sidecars += step;
            step = 0;
        }
        init = init.max(step + sidecars);
    }
    total = total.max(init);
    let whole = own(spec.resources.as_ref(), side, name);
    let total = if whole == 0 { total } else { whole };
    total + overhead(spec, side, name, total)
}

/// It adds to limits only where there is one.
fn overhead(spec: &PodSpec, side: Side, name: &str, total: i128) -> i128 {
    let overhead = spec.overhead.as_ref().and_then(|overhead| overhead.get(name)).and_then(millis);
    overhead.filter(|_| side == Side::Requests || total != 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value, status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap()
    }

    fn container(name: &str, cpu: &str) -> Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_asks_for_what_runs_together_or_for_its_largest_step() {
        let sidecar =
            json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}});
        let cases = [
            (json!({"containers": [container("a", "100m"), container("b", "0.2")]}), 300),
            (json!({"containers": [container("a", "100m")], "initContainers": [container("i", "1")]}), 1000),
            (
                json!({"containers": [container("a", "1")], "initContainers": [sidecar, container("i", "100m")]}),
                1050,
            ),
            (json!({"containers": [container("a", "1")], "resources": {"requests": {"cpu": "3"}}}), 3000),
            (json!({"containers": [container("a", "1")], "overhead": {"cpu": "10m"}}), 1010),
        ];
        for (spec, want) in cases {
            assert_eq!(total(&pod(spec.clone(), json!({})), Side::Requests, "cpu"), want, "{spec}");
        }
    }

    #[test]
    fn totals_are_written_as_their_parts_are() {
        let part = |requests: Value| json!({"name": "c", "resources": {"requests": requests, "limits": {"memory": "1Gi"}}});
        let spec = json!({"containers": [part(json!({"cpu": "100m", "memory": "64Mi"})),
            part(json!({"cpu": "0.9", "example.com/gpu": "2", "ephemeral-storage": "0"}))], "overhead": {"cpu": "500m"}});
        let texts = |spec: &Value, side| -> Value { json!(totals(&pod(spec.clone(), json!({})), side)) };
        let want = json!({"cpu": "1500m", "memory": "64Mi", "example.com/gpu": "2"});
        assert_eq!(texts(&spec, Side::Requests), want);
        assert_eq!(texts(&spec, Side::Limits), json!({"memory": "2Gi"}));
        let mut whole = spec;
        whole["resources"] = json!({"requests": {"memory": "1Gi"}});
        assert_eq!(texts(&whole, Side::Requests)["memory"], "1Gi");
    }

    #[test]
    fn what_was_given_counts_while_it_is_more() {
        let spec = json!({"containers": [container("a", "100m"), container("b", "100m")]});
        let status = |name: &str, given: Value| {
            json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "resources": {"requests": given}})
        };
        let mut b = status("b", json!({}));
        b["allocatedResources"] = json!({"cpu": "300m"});
        let status = json!({"containerStatuses": [status("a", json!({"cpu": "1"})), b]});
        let pod = pod(spec, status);
        assert_eq!((total(&pod, Side::Requests, "cpu"), given(&pod, Side::Requests, "cpu")), (200, 1300));
    }

    #[test]
    fn a_limit_holds_for_the_pod_if_every_container_has_one() {
        let free = json!({"name": "f"});
        let cases = [
            (json!({"containers": [container("a", "1")]}), true),
            (json!({"containers": [container("a", "1"), free]}), false),
            (json!({"containers": [container("a", "1")], "initContainers": [free]}), false),
            (json!({"containers": [free], "resources": {"limits": {"cpu": "1"}}}), true),
            (json!({"containers": []}), false),
        ];
        for (spec, want) in cases {
            assert_eq!(is_limited(&pod(spec.clone(), json!({})), "cpu"), want, "{spec}");
        }
    }
}
