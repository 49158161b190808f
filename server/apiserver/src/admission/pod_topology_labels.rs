//! `PodTopologyLabels`: a pod that gets a node also gets the node's zone and region;
//! `plugin/pkg/admission/podtopologylabels`.

use sampan_api::status::ApiError;
use sampan_store::Key;
use serde_json::Value;

use crate::registry::{Operation, Plugin, Review};
use crate::value::{set, text};

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        let pods = review.kind.group.is_empty() && review.kind.plural == "pods";
        if !pods || review.operation != Operation::Create {
            return Ok(());
        }
        // what a binding has goes to its pod
        let name = match review.subresource {
            "" => text(object, &["spec", "nodeName"]),
            "binding" if text(object, &["target", "kind"]) == "Node" => text(object, &["target", "name"]),
            _ => "",
        };
        if name.is_empty() {
            return Ok(());
        }
        if let Some(node) = review.store.get(&Key::new("nodes", name)) {
            take_over(object, &node.columns.labels);
        }
        Ok(())
    }
}

/// The node's word counts, whatever the labels say already.
fn take_over(object: &mut Value, node: &[(Box<str>, Box<str>)]) {
    for (label, value) in node.iter().filter(|(label, _)| LABELS.contains(&&**label)) {
        set(object, &["metadata", "labels", &**label], &**value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zone_and_region_are_taken_over() {
        let node = [
            ("topology.kubernetes.io/zone".into(), "z".into()),
            ("topology.kubernetes.io/region".into(), "r".into()),
            ("kubernetes.io/os".into(), "linux".into()),
        ];
        let mut pod = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "mine", "a": "b"}}});
        take_over(&mut pod, &node);
        let want =
            json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "a": "b"});
        assert_eq!(pod["metadata"]["labels"], want);
    }
}
