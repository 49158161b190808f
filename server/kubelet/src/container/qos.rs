//! Quality of service, and the limits that follow from `resources`.
//!
//! Ported from upstream's `pkg/apis/core/v1/helper/qos`, `pkg/kubelet/qos/policy.go` and
//! `pkg/kubelet/cm/helpers_linux.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sampan_cri::Resources;

use super::amounts::{self, Side};

/// The three classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Class {
    /// As in `status.qosClass`.
    pub fn name(self) -> &'static str {
        match self {
            Class::Guaranteed => "Guaranteed",
            Class::Burstable => "Burstable",
            Class::BestEffort => "BestEffort",
        }
    }
}

/// A quantity in thousandths, rounded up.
pub fn millis(quantity: &Quantity) -> Option<i128> {
    let nanos = sampan_api::quantity::Quantity::parse(&quantity.0).ok()?.nanos();
    Some(nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) != 0))
}

/// A quantity in whole units, rounded up.
pub fn units(quantity: &Quantity) -> Option<i64> {
    sampan_api::quantity::Quantity::parse(&quantity.0).ok().map(|q| q.value())
}

type List = Option<BTreeMap<String, Quantity>>;

fn amount(list: &List, name: &str) -> Option<i128> {
    list.as_ref()?.get(name).and_then(millis).filter(|m| *m != 0)
}

/// Request of a resource in thousandths; the limit if there is no request.
pub fn request_millis(container: &Container, name: &str) -> Option<i128> {
    let resources = container.resources.as_ref()?;
    amount(&resources.requests, name).or_else(|| amount(&resources.limits, name))
}

/// Limit of a resource in thousandths.
pub fn limit_millis(container: &Container, name: &str) -> Option<i128> {
    amount(&container.resources.as_ref()?.limits, name)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    spec.into_iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
}

/// Upstream's `ComputePodQOS`.
pub fn class(pod: &Pod) -> Class {
    if let Some(resources) = pod.spec.as_ref().and_then(|s| s.resources.as_ref()) {
        let pair = |name| (amount(&resources.requests, name), amount(&resources.limits, name));
        let (cpu, memory) = (pair("cpu"), pair("memory"));
        if [cpu, memory].iter().any(|(r, l)| r.is_some() || l.is_some()) {
            let same = |(r, l): (Option<i128>, Option<i128>)| l.is_some() && (r.is_none() || r == l);
            return if same(cpu) && same(memory) { Class::Guaranteed } else { Class::Burstable };
        }
    }
    let mut guaranteed = true;
    let mut any = false;
    for container in containers(pod) {
        for name in ["cpu", "memory"] {
            let (request, limit) = (request_millis(container, name), limit_millis(container, name));
            any |= request.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => Class::BestEffort,
        (true, true) => Class::Guaranteed,
        (true, false) => Class::Burstable,
    }
}

/// The pod's cgroup below the runtime's root.
pub fn cgroup_parent(pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match class(pod) {
        Class::Guaranteed => format!("kubepods/pod{uid}"),
        Class::Burstable => format!("kubepods/burstable/pod{uid}"),
        Class::BestEffort => format!("kubepods/besteffort/pod{uid}"),
    }
}

/// Upstream's `MilliCPUToShares`.
pub fn shares(milli_cpu: i128) -> u64 {
    u64::try_from((milli_cpu * 1024 / 1000).clamp(2, 262_144)).unwrap_or(2)
}

const QUOTA_PERIOD: u64 = 100_000;

/// Upstream's `MilliCPUToQuota`.
fn quota(milli_cpu: i128) -> i64 {
    i64::try_from((milli_cpu * i128::from(QUOTA_PERIOD) / 1000).max(1000)).unwrap_or(i64::MAX)
}

/// Upstream's `GetContainerOOMScoreAdjust`.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: u64) -> i32 {
    match class(pod) {
        Class::Guaranteed => -997,
        Class::BestEffort => 1000,
        Class::Burstable => {
            let adjust = 1000 - (1000 * protected(pod, container)) / i128::from(memory_capacity.max(1));
            i32::try_from(adjust.clamp(3, 999)).unwrap_or(999)
        }
    }
}

/// Bytes that a container of a burstable pod may use before others are killed in its place: what it asks for, and its share
/// of what the pod asks for beyond its containers. A sidecar is protected at least as much as the least of those it serves.
fn protected(pod: &Pod, container: &Container) -> i128 {
    let Some(spec) = &pod.spec else { return 0 };
    let asked = |container: &Container| request_millis(container, "memory").unwrap_or(0) / 1000;
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = || spec.init_containers.iter().flatten().filter(sidecar);
    let whole = spec.resources.as_ref().and_then(|whole| amount(&whole.requests, "memory"));
    let share = whole.map_or(0, |whole| {
        let all: i128 = spec.containers.iter().chain(sidecars()).map(asked).sum();
        let count = spec.containers.len() + sidecars().count();
        (whole / 1000 - all).max(0) / i128::try_from(count.max(1)).unwrap_or(1)
    });
    let own = asked(container) + share;
    match sidecars().any(|sidecar| sidecar.name == container.name) {
        true => own.max(spec.containers.iter().map(asked).min().unwrap_or(0) + share),
        false => own,
    }
}

/// Limits of one container.
pub fn container_resources(pod: &Pod, container: &Container, memory_capacity: u64) -> Resources {
    let own = container.resources.clone().unwrap_or_default();
    let all = amounts::with_shared(&own, &amounts::shared_limits(pod, &own));
    let limit = |name| amounts::amount(&all, Side::Limits, name);
    let cpu_limit = limit("cpu");
    let cpu_request = amounts::quantity(&all, Side::Requests, "cpu").and_then(millis).or(cpu_limit);
    Resources {
        cpu_shares: Some(shares(cpu_request.unwrap_or(0))),
        cpu_quota: cpu_limit.map(quota),
        cpu_period: cpu_limit.map(|_| QUOTA_PERIOD),
        memory_limit_bytes: limit("memory").and_then(|m| i64::try_from(m / 1000).ok()),
        pids_limit: None,
        oom_score_adj: Some(oom_score_adj(pod, container, memory_capacity)),
        cpuset_cpus: None,
    }
}

/// Limits of the pod's cgroup: upstream's `ResourceConfigForPod`.
pub fn pod_resources(pod: &Pod) -> Resources {
    let limit = |name| amounts::is_limited(pod, name).then(|| amounts::total(pod, Side::Limits, name));
    let cpu = limit("cpu");
    Resources {
        cpu_shares: Some(shares(amounts::total(pod, Side::Requests, "cpu"))),
        cpu_quota: cpu.map(quota),
        cpu_period: cpu.map(|_| QUOTA_PERIOD),
        memory_limit_bytes: limit("memory").and_then(|m| i64::try_from(m / 1000).ok()),
        ..Resources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_count_in_thousandths() {
        for (text, want) in [
            ("100m", 100),
            ("1", 1000),
            ("1.5", 1500),
            ("128Mi", 128 * 1024 * 1024 * 1000),
            ("1e3", 1_000_000),
            ("5G", 5_000_000_000_000),
            ("1n", 1),
            ("0.1", 100),
        ] {
            assert_eq!(millis(&Quantity(text.to_owned())), Some(want), "{text}");
        }
        assert_eq!(millis(&Quantity("nonsense".to_owned())), None);
    }

    #[test]
    fn without_a_limit_a_container_has_its_pods() {
        let spec = serde_json::json!({"resources": {"requests": {"memory": "3Gi"}, "limits": {"cpu": "500m", "memory": "4Gi"}},
            "initContainers": [{"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}}, {"name": "b"}]});
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap_or_default();
        let sizes = |container: &Container| container_resources(&pod, container, 16 << 30);
        let all: Vec<Resources> = containers(&pod).map(sizes).collect();
        let told =
            all.iter().map(|r| (r.cpu_shares, r.cpu_quota, r.memory_limit_bytes.map(|bytes| bytes >> 20)));
        let (shared, own) = ((Some(512), Some(50_000), Some(4096)), (Some(102), Some(50_000), Some(1024)));
        assert_eq!(told.collect::<Vec<_>>(), [own, shared, shared]);
        // two of the three gigabytes are nobody's alone: each is protected for its third of them
        let scores: Vec<Option<i32>> = all.iter().map(|r| r.oom_score_adj).collect();
        assert_eq!(scores, [Some(896), Some(959), Some(959)]);
    }

    #[test]
    fn shares_and_quota_follow_upstream() {
        assert_eq!((shares(0), shares(100), shares(1000)), (2, 102, 1024));
        assert_eq!((quota(100), quota(1), quota(2500)), (10_000, 1000, 250_000));
    }
}
