//! `PodTopologyLabels`: a pod that gets a node also gets the node's zone and region;
//! `plugin/pkg/admission/podtopologylabels`.

use sampan_api::status::ApiError;
use serde_json::Value;

use super::look_up;
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, set, text};

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn admit(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), ApiError> {
        // a binding is an update of the pod here
        let bound = matches!(
            (review.operation, review.subresource),
            (Operation::Create, "") | (Operation::Update, "binding")
        );
        if !bound || !review.kind.group.is_empty() || review.kind.plural != "pods" {
            return Ok(());
        }
        let name = text(pod, &["spec", "nodeName"]).to_owned();
        if let Some(node) = look_up(review.store, "nodes", &name).filter(|_| !name.is_empty()) {
            take_over(pod, &node);
        }
        Ok(())
    }
}

/// Labels that the pod has stay.
fn take_over(pod: &mut Value, node: &Value) {
    for label in LABELS {
        let path = &["metadata", "labels", label];
        if at(pod, path).is_null() && at(node, path).is_string() {
            set(pod, path, at(node, path).clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zone_and_region_are_taken_over_unless_they_are_there() {
        let node = json!({"metadata": {"labels": {
            "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "kubernetes.io/os": "linux"}}});
        let mut pod = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "mine"}}});
        take_over(&mut pod, &node);
        let want = json!({"topology.kubernetes.io/zone": "mine", "topology.kubernetes.io/region": "r"});
        assert_eq!(pod["metadata"]["labels"], want);
    }
}
