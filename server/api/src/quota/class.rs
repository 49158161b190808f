//! The class of a pod's quality of service: `helper/qos.ComputePodQOS`.

use serde_json::Value;

use super::amounts::{Amounts, add, mask, read};
use super::{at, items, text};
use crate::quantity::Quantity;

/// `BestEffort`, `Burstable` or `Guaranteed`: as the status says, or as the spec has it.
pub fn pod_class(pod: &Value) -> String {
    match text(pod, &["status", "qosClass"]) {
        "" => computed_class(pod).to_owned(),
        known => known.to_owned(),
    }
}

/// As the spec has it: by what the pod says of itself, or by cpu and memory of all its containers.
pub fn computed_class(pod: &Value) -> &'static str {
    let spec = at(pod, &["spec"]);
    let own = at(spec, &["resources"]);
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut guaranteed = true;
    let mut count = |resources: &Value, may_have_none: bool| {
        let limited = amounts(resources, "limits");
        guaranteed &= limited.len() == 2 || may_have_none && read(at(resources, &["limits"])).is_empty();
        add(&mut requests, &amounts(resources, "requests"));
        add(&mut limits, &limited);
    };
    if own.is_null() {
        let all = items(at(spec, &["containers"])).iter().chain(items(at(spec, &["initContainers"])));
        all.for_each(|container| count(at(container, &["resources"]), false));
    } else {
        count(own, true);
    }
    let met = requests.iter().all(|(name, amount)| limits.get(name) == Some(amount));
    match (requests.is_empty() && limits.is_empty(), guaranteed && met && requests.len() == limits.len()) {
        (true, _) => "BestEffort",
        (_, true) => "Guaranteed",
        _ => "Burstable",
    }
}

/// What counts for the class.
fn amounts(resources: &Value, which: &str) -> Amounts {
    let all = read(at(resources, &[which]));
    let mut counted = mask(&all, |name| matches!(name, "cpu" | "memory"));
    counted.retain(|_, amount| *amount > Quantity::ZERO);
    counted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pods_class_is_what_its_containers_or_itself_ask_for() {
        let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
        let cases = [
            (json!({"containers": [{}]}), "BestEffort"),
            (json!({"containers": [{"resources": {"requests": {"cpu": "0", "x.io/y": "1"}}}]}), "BestEffort"),
            (json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}), "Burstable"),
            (
                json!({"containers": [{"resources": {"requests": both("1", "1Gi"), "limits": both("1000m", "1024Mi")}}]}),
                "Guaranteed",
            ),
            (
                json!({"containers": [{"resources": {"requests": both("1", "1Gi"), "limits": both("2", "1Gi")}}]}),
                "Burstable",
            ),
            (
                json!({"containers": [{"resources": {"requests": both("1", "1Gi"), "limits": both("1", "1Gi")}}],
                    "initContainers": [{}]}),
                "Burstable",
            ),
            (
                json!({"containers": [{}], "resources": {"requests": both("1", "1Gi"), "limits": both("1", "1Gi")}}),
                "Guaranteed",
            ),
            (json!({"containers": [{}], "resources": {"limits": {"cpu": "1"}}}), "Burstable"),
            (json!({"containers": [{}], "resources": {"requests": both("1", "1Gi")}}), "Burstable"),
        ];
        for (spec, class) in cases {
            assert_eq!(computed_class(&json!({ "spec": spec })), class, "{spec}");
        }
        let said = json!({"spec": {"containers": [{}]}, "status": {"qosClass": "Burstable"}});
        assert_eq!(pod_class(&said), "Burstable");
        assert_eq!(pod_class(&json!({"spec": {"containers": [{}]}})), "BestEffort");
    }
}
