//! The shapes of scheduler_perf (upstream's `test/integration/scheduler_perf`), by name: nodes of 4 CPUs, 32Gi and 110
//! pods; pods that are there before; pods that are measured.

use serde_json::{Value, json};

/// The namespace of the pods that are there before.
pub const INIT: &str = "sched-0";
/// The namespace of those that are measured.
pub const MEASURED: &str = "sched-1";
const ZONE: &str = "topology.kubernetes.io/zone";

/// One shape.
pub struct Shape {
    test: &'static str,
    /// How many nodes.
    pub nodes: usize,
    /// In how many zones.
    pub zones: usize,
    /// Pods that are there before.
    pub init: usize,
    /// What they are.
    pub init_pod: Value,
    /// Pods that are measured.
    pub measured: usize,
    /// What they are.
    pub measured_pod: Value,
    /// Pods a second.
    pub goal: f64,
}

impl Shape {
    /// As upstream calls it.
    pub fn name(&self) -> String {
        format!("{}/{}Nodes_{}Pods", self.test, self.nodes, self.measured)
    }

    /// A tenth of it.
    pub fn shorter(self) -> Self {
        Self { nodes: self.nodes / 10, init: self.init / 10, measured: self.measured / 10, ..self }
    }

    /// The nodes: of no kubelet that would say anything of its pods.
    pub fn profile(&self) -> Value {
        json!({"node": {"capacity": {"cpu": "4", "memory": "32Gi"}}, "pods": {"ignored": true}})
    }
}

fn pod(cpu: &str, labels: Value, spec: Value) -> Value {
    let amounts = json!({"cpu": cpu, "memory": "500Mi"});
    let container = json!({
        "name": "pause", "image": "registry.k8s.io/pause:3.10.2", "ports": [{"containerPort": 80}],
        "resources": {"limits": amounts, "requests": amounts}});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels}, "spec": {"containers": [container]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn plain() -> Value {
    pod("100m", json!({}), json!({}))
}

/// A term about the pods of a colour in both namespaces.
fn term(color: &str, key: &str) -> Value {
    let term = json!({
        "labelSelector": {"matchLabels": {"color": color}}, "topologyKey": key, "namespaces": [MEASURED, INIT]});
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
}

/// The one that upstream's throughput is usually told of.
pub fn basic() -> Shape {
    Shape {
        test: "SchedulingBasic",
        nodes: 5000,
        zones: 1,
        init: 1000,
        init_pod: plain(),
        measured: 10_000,
        measured_pod: plain(),
        goal: 10_000.0,
    }
}

/// All of them.
pub fn all() -> Vec<Shape> {
    let alike = |test, init, measured, pod: Value| Shape {
        test,
        init,
        init_pod: pod.clone(),
        measured,
        measured_pod: pod,
        goal: 2000.0,
        ..basic()
    };
    let green = pod(
        "100m",
        json!({"color": "green"}),
        json!({"affinity": {"podAntiAffinity": term("green", "kubernetes.io/hostname")}}),
    );
    let blue =
        pod("100m", json!({"color": "blue"}), json!({"affinity": {"podAffinity": term("blue", ZONE)}}));
    let zones =
        json!({"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone-1", "zone-2"]}]});
    let by_node = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zones]}});
    let spreading = json!([{
        "maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"color": "blue"}}}]);
    vec![
        basic(),
        alike("SchedulingPodAntiAffinity", 1000, 2000, green),
        alike("SchedulingPodAffinity", 5000, 5000, blue),
        alike(
            "SchedulingNodeAffinity",
            5000,
            10_000,
            pod("100m", json!({}), json!({"affinity": {"nodeAffinity": by_node}})),
        ),
        Shape {
            zones: 3,
            init_pod: plain(),
            ..alike(
                "TopologySpreading",
                5000,
                5000,
                pod("100m", json!({"color": "blue"}), json!({"topologySpreadConstraints": spreading})),
            )
        },
        Shape {
            init_pod: pod("900m", json!({}), json!({"terminationGracePeriodSeconds": 0})),
            ..alike(
                "PreemptionBasic",
                20_000,
                5000,
                pod("3000m", json!({}), json!({"priorityClassName": "high"})),
            )
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_upstreams_names_and_a_tenth_of_them_is_short() {
        let names: Vec<String> = all().iter().map(Shape::name).collect();
        assert_eq!(
            names,
            [
                "SchedulingBasic/5000Nodes_10000Pods",
                "SchedulingPodAntiAffinity/5000Nodes_2000Pods",
                "SchedulingPodAffinity/5000Nodes_5000Pods",
                "SchedulingNodeAffinity/5000Nodes_10000Pods",
                "TopologySpreading/5000Nodes_5000Pods",
                "PreemptionBasic/5000Nodes_5000Pods",
            ]
        );
        assert_eq!(basic().shorter().name(), "SchedulingBasic/500Nodes_1000Pods");
    }
}
