//! What pods ask for and nodes have, as numbers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Requests that a pod without any counts for in scores, as upstream's `GetNonzeroRequests`.
const DEFAULT_MILLI_CPU: i64 = 100;
/// 200 MiB.
const DEFAULT_MEMORY: i64 = 200 << 20;

/// Amounts by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of local disk.
    pub ephemeral_storage: i64,
    /// Everything else, such as `nvidia.com/gpu` or `hugepages-2Mi`.
    pub extended: BTreeMap<String, i64>,
}

impl Resources {
    /// From a resource list; amounts that do not parse count as none (validation refuses them).
    pub fn from_list(list: &BTreeMap<String, Quantity>) -> Self {
        let mut resources = Self::default();
        for (name, amount) in list {
            resources.put(name, amount);
        }
        resources
    }

    fn put(&mut self, name: &str, amount: &Quantity) {
        let Ok(quantity) = sampan_api::quantity::Quantity::parse(&amount.0) else { return };
        match name {
            "cpu" => self.milli_cpu = quantity.milli_value(),
            "memory" => self.memory = quantity.value(),
            "ephemeral-storage" => self.ephemeral_storage = quantity.value(),
            "pods" => {}
            other => _ = self.extended.insert(other.to_owned(), quantity.value()),
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, |a, b| a + b);
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a - b);
    }

    /// Whether it has more of anything than `other`.
    pub fn exceeds(&self, other: &Self) -> bool {
        let more = |(name, amount): (&String, &i64)| *amount > other.extended.get(name).copied().unwrap_or(0);
        self.milli_cpu > other.milli_cpu
            || self.memory > other.memory
            || self.ephemeral_storage > other.ephemeral_storage
            || self.extended.iter().any(more)
    }

    fn max(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = f(self.milli_cpu, other.milli_cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.extended {
            let slot = self.extended.entry(name.clone()).or_default();
            *slot = f(*slot, *amount);
        }
    }
}

/// With stand-ins for what the container does not speak of; what it asks nothing of stays nothing.
fn with_stand_ins(container: &Container, mut asked: Resources) -> Resources {
    let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let says = |name: &str| list.is_some_and(|list| list.contains_key(name));
    if !says("cpu") {
        asked.milli_cpu = DEFAULT_MILLI_CPU;
    }
    if !says("memory") {
        asked.memory = DEFAULT_MEMORY;
    }
    asked
}

/// What containers ask for, and what those that run were given: while a resize is on its way the larger of both counts,
/// and one that never will be counts for nothing (`component-helpers/resource`, `UseStatusResources`).
struct Given<'a> {
    statuses: Vec<&'a ContainerStatus>,
    infeasible: bool,
}

impl<'a> Given<'a> {
    fn of(pod: &'a Pod) -> Self {
        let Some(status) = &pod.status else { return Self { statuses: Vec::new(), infeasible: false } };
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let all = lists.into_iter().flat_map(|list| list.iter().flatten());
        let infeasible = status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
        });
        Self { statuses: all.filter(|status| status.resources.is_some()).collect(), infeasible }
    }

    fn requests(&self, container: &Container) -> Resources {
        let asked = requirements(container.resources.as_ref());
        let Some(status) = self.statuses.iter().find(|status| status.name == container.name) else {
            return asked;
        };
        let mut given = requirements(status.resources.as_ref());
        given.max(&status.allocated_resources.as_ref().map(Resources::from_list).unwrap_or_default());
        if !self.infeasible {
            given.max(&asked);
        }
        given
    }
}

fn requirements(resources: Option<&ResourceRequirements>) -> Resources {
    resources.and_then(|resources| resources.requests.as_ref()).map(Resources::from_list).unwrap_or_default()
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a pod asks for: its containers and sidecars together, or its largest init step, whichever is more;
/// plus overhead (`component-helpers/resource` PodRequests).
pub fn pod_requests(pod: &Pod) -> Resources {
    let given = Given::of(pod);
    pod.spec.as_ref().map(|spec| sum(spec, |container| given.requests(container))).unwrap_or_default()
}

/// Milli-CPU and bytes with upstream's stand-ins for containers that do not say, as NodeResourcesFit scores them.
pub fn pod_non_zero(pod: &Pod) -> (i64, i64) {
    let given = Given::of(pod);
    let all = pod.spec.as_ref().map(|spec| sum(spec, |one| with_stand_ins(one, given.requests(one))));
    all.map_or((0, 0), |all| (all.milli_cpu, all.memory))
}

fn sum(spec: &PodSpec, requests: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&requests(container));
    }
    let (mut sidecars, mut init) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut step = requests(container);
        if is_sidecar(container) {
            total.add(&step);
            sidecars.add(&step);
            step = Resources::default();
        }
        step.add(&sidecars);
        init.max(&step);
    }
    total.max(&init);
    if let Some(resources) = &spec.resources {
        override_with(&mut total, &requirements(Some(resources)));
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::from_list(overhead));
    }
    total
}

/// Pod-level requests replace the containers' sum where they say something.
fn override_with(total: &mut Resources, pod: &Resources) {
    if pod.milli_cpu > 0 {
        total.milli_cpu = pod.milli_cpu;
    }
    if pod.memory > 0 {
        total.memory = pod.memory;
    }
    let huge = pod.extended.iter().filter(|(name, _)| name.starts_with("hugepages-"));
    total.extended.extend(huge.map(|(name, amount)| (name.clone(), *amount)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_resize_counts_for_the_larger_of_what_is_asked_for_and_given() {
        let (asked, pending) = (
            json!({"cpu": "500m"}),
            |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]),
        );
        let table = [
            (json!({"cpu": "200m"}), json!({"cpu": "200m"}), "Deferred", 500),
            (json!({"cpu": "200m"}), json!({"cpu": "300m"}), "Infeasible", 300),
            (json!({"cpu": "900m"}), json!({"cpu": "500m"}), "", 900),
            (serde_json::Value::Null, json!({"cpu": "900m"}), "", 500),
        ];
        for (actual, allocated, reason, milli_cpu) in table {
            let mut status = json!({"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResources": allocated});
            if !actual.is_null() {
                status["resources"] = json!({"requests": actual});
            }
            let spec = json!({"containers": [{"name": "a", "resources": {"requests": asked}}]});
            let status = json!({"containerStatuses": [status], "conditions": pending(reason)});
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap();
            assert_eq!(
                (pod_requests(&pod).milli_cpu, pod_non_zero(&pod).0),
                (milli_cpu, milli_cpu),
                "{status}"
            );
        }
    }

    #[test]
    fn more_of_anything_is_more() {
        let of = |list: serde_json::Value| Resources::from_list(&serde_json::from_value(list).unwrap());
        let table = [
            (json!({"cpu": "1"}), json!({"cpu": "1", "memory": "1"}), false),
            (json!({"cpu": "1", "memory": "2"}), json!({"cpu": "2", "memory": "1"}), true),
            (json!({"x.io/gpu": "1"}), json!({"cpu": "1"}), true),
        ];
        for (one, other, more) in table {
            assert_eq!(of(one.clone()).exceeds(&of(other)), more, "{one}");
        }
    }

    #[test]
    fn init_steps_count_by_the_largest_and_sidecars_stay() {
        let container = |name: &str, cpu: &str, restart: Option<&str>| json!({"name": name, "restartPolicy": restart, "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}});
        for (init, containers, milli_cpu) in [
            (vec![], vec![container("a", "100m", None), container("b", "200m", None)], 300),
            (vec![container("i", "1", None)], vec![container("a", "100m", None)], 1000),
            (
                vec![container("s", "500m", Some("Always")), container("i", "1", None)],
                vec![container("a", "100m", None)],
                1500,
            ),
            (
                vec![container("i", "1", None), container("s", "500m", Some("Always"))],
                vec![container("a", "700m", None)],
                1200,
            ),
        ] {
            let pod = pod(json!({"containers": containers, "initContainers": init}));
            assert_eq!(pod_requests(&pod).milli_cpu, milli_cpu);
        }
    }

    #[test]
    fn stand_ins_are_for_containers_that_do_not_say() {
        for (requests, expected) in [
            (json!([{}]), (100, 200 << 20)),
            (json!([{"cpu": "1"}, {"memory": "1Mi"}]), (1100, 201 << 20)),
            (json!([{"cpu": "0", "memory": "0"}]), (0, 0)),
        ] {
            let container =
                |requests: &serde_json::Value| json!({"name": "a", "resources": {"requests": requests}});
            let containers: Vec<_> = requests.as_array().unwrap().iter().map(container).collect();
            assert_eq!(pod_non_zero(&pod(json!({ "containers": containers }))), expected);
        }
    }

    #[test]
    fn other_resources_are_kept_by_name() {
        let pod = pod(
            json!({"containers": [{"name": "a", "resources": {"requests": {"x.io/gpu": "2"}}}], "overhead": {"cpu": "10m"}}),
        );
        let resources = pod_requests(&pod);
        assert_eq!((resources.extended["x.io/gpu"], resources.milli_cpu), (2, 10));
    }
}
