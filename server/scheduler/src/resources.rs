//! What pods ask for and nodes have, as numbers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
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

fn requests(container: &Container) -> Resources {
    requirements(container.resources.as_ref())
}

/// With stand-ins for what the container does not speak of; what it asks nothing of stays nothing.
fn requests_or_stand_ins(container: &Container) -> Resources {
    let mut asked = requests(container);
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

fn requirements(resources: Option<&ResourceRequirements>) -> Resources {
    resources.and_then(|resources| resources.requests.as_ref()).map(Resources::from_list).unwrap_or_default()
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a pod asks for: its containers and sidecars together, or its largest init step, whichever is more;
/// plus overhead (`component-helpers/resource` PodRequests).
pub fn pod_requests(spec: &PodSpec) -> Resources {
    sum(spec, requests)
}

/// Milli-CPU and bytes with upstream's stand-ins for containers that do not say, as NodeResourcesFit scores them.
pub fn pod_non_zero(spec: &PodSpec) -> (i64, i64) {
    let all = sum(spec, requests_or_stand_ins);
    (all.milli_cpu, all.memory)
}

fn sum(spec: &PodSpec, requests: fn(&Container) -> Resources) -> Resources {
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

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
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
            let spec = spec(json!({"containers": containers, "initContainers": init}));
            assert_eq!(pod_requests(&spec).milli_cpu, milli_cpu);
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
            assert_eq!(pod_non_zero(&spec(json!({ "containers": containers }))), expected);
        }
    }

    #[test]
    fn other_resources_are_kept_by_name() {
        let spec = spec(
            json!({"containers": [{"name": "a", "resources": {"requests": {"x.io/gpu": "2"}}}], "overhead": {"cpu": "10m"}}),
        );
        let resources = pod_requests(&spec);
        assert_eq!((resources.extended["x.io/gpu"], resources.milli_cpu), (2, 10));
    }
}
