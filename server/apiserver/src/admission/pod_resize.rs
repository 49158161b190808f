//! `PodResizeValidator`: no pod on a node is resized to more than the node has at all, nor where nobody can resize it;
//! `plugin/pkg/admission/podresize`.

use sampan_api::go::Quote as _;
use sampan_api::quantity::Quantity;
use sampan_api::quota;
use sampan_api::status::ApiError;
use serde_json::{Value, json};

use super::{look_up, resizes_pod};
use crate::registry::{Plugin, Review};
use crate::value::{at, text};

pub(super) struct PodResizeValidator;

/// The reason of a cause, and why.
type Refusal = (&'static str, String);

impl Plugin for PodResizeValidator {
    fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), ApiError> {
        let name = text(pod, &["spec", "nodeName"]);
        let changes = review.old.is_some_and(|old| at(old, &["spec"]) != at(pod, &["spec"]));
        if !resizes_pod(review) || name.is_empty() || !changes {
            return Ok(());
        }
        let forbidden = |why: &str| ApiError::forbidden("", "pods", review.name, why);
        let Some(node) = look_up(review.store, "nodes", name) else {
            return Err(forbidden(&format!("node {} not found", name.quoted())));
        };
        let Some(refused) = wrong_system(&node, name).or_else(|| too_much(pod, &node)) else { return Ok(()) };
        let mut error = forbidden(&refused.1);
        error.causes.push((refused.0.to_owned(), String::new(), String::new()));
        Err(error)
    }
}

/// A node that does not run Linux; one that does not say is taken to.
fn wrong_system(node: &Value, name: &str) -> Option<Refusal> {
    let system =
        at(node, &["metadata", "labels", "kubernetes.io/os"]).as_str().filter(|os| *os != "linux")?;
    let why =
        format!("pod resize is only supported on linux nodes, node {} is {}", name.quoted(), system.quoted());
    Some(("UnsupportedPlatform", why))
}

/// What the pod asks for that the node does not have.
fn too_much(pod: &Value, node: &Value) -> Option<Refusal> {
    let spec = at(pod, &["spec"]);
    // what was given to it until now does not count
    let asked = quota::pod_amounts(&json!({ "spec": spec }), "requests");
    let (overhead, allocatable) =
        (quota::read(at(spec, &["overhead"])), quota::read(at(node, &["status", "allocatable"])));
    let short = ["cpu", "memory"].into_iter().filter_map(|name| {
        let of = |list: &quota::Amounts| list.get(name).copied().unwrap_or(Quantity::ZERO);
        let count = |amount: Quantity| if name == "cpu" { amount.milli_value() } else { amount.value() };
        let (requested, allocatable) = (count(of(&asked) + of(&overhead)), count(of(&allocatable)));
        (requested > allocatable)
            .then(|| format!("{name}, requested: {requested}, allocatable: {allocatable}"))
    });
    let short: Vec<String> = short.collect();
    let why = || format!("node didn't have enough allocatable resources: {}", short.join("; "));
    (!short.is_empty()).then(|| ("NodeCapacity", why()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_may_ask_for_what_the_node_has() {
        let node = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
        let pod = |cpu: &str, memory: &str| {
            let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}});
            json!({"spec": {"containers": [container], "overhead": {"cpu": "100m"}},
                "status": {"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "9"}}}]}})
        };
        let cases = [
            (pod("1900m", "1Gi"), None),
            (pod("1901m", "1Gi"), Some("cpu, requested: 2001, allocatable: 2000")),
            (pod("1", "1025Mi"), Some("memory, requested: 1074790400, allocatable: 1073741824")),
            (
                pod("2", "2Gi"),
                Some(
                    "cpu, requested: 2100, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824",
                ),
            ),
        ];
        for (pod, why) in cases {
            let why = why.map(|why| format!("node didn't have enough allocatable resources: {why}"));
            assert_eq!(too_much(&pod, &node).map(|(_, why)| why), why, "{pod}");
        }
    }

    #[test]
    fn a_node_that_does_not_say_its_system_is_linux() {
        let node = |labels: Value| json!({"metadata": {"name": "n", "labels": labels}});
        assert_eq!(wrong_system(&json!({}), "n"), None);
        assert_eq!(wrong_system(&node(json!({"kubernetes.io/os": "linux"})), "n"), None);
        let (reason, why) = wrong_system(&node(json!({"kubernetes.io/os": "windows"})), "n").unwrap();
        assert_eq!(reason, "UnsupportedPlatform");
        assert_eq!(why, "pod resize is only supported on linux nodes, node \"n\" is \"windows\"");
    }
}
