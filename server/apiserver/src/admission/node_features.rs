//! `NodeDeclaredFeatureValidator`: no pod on a node is changed to what the node does not say that it can do;
//! `plugin/pkg/admission/nodedeclaredfeatures`.

use sampan_api::declared::{lacking, needed_by_update};
use sampan_api::go::Quote as _;
use sampan_api::meta::generation;
use sampan_api::status::ApiError;
use serde_json::Value;

use super::look_up;
use crate::registry::{Operation, Plugin, Review};
use crate::value::text;

pub(super) struct NodeDeclaredFeatureValidator;

impl Plugin for NodeDeclaredFeatureValidator {
    fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), ApiError> {
        let of_pod = review.kind.group.is_empty() && review.kind.plural == "pods";
        let (true, Operation::Update, "" | "resize", Some(old)) =
            (of_pod, review.operation, review.subresource, review.old)
        else {
            return Ok(());
        };
        let name = text(pod, &["spec", "nodeName"]);
        if name.is_empty() || generation(old) == generation(pod) {
            return Ok(());
        }
        let needed = needed_by_update(old, pod);
        if needed.is_empty() {
            return Ok(());
        }
        let forbidden = |why: &str| Err(ApiError::forbidden("", "pods", review.name, why));
        let Some(node) = look_up(review.store, "nodes", name) else {
            return forbidden(&format!("node {} not found", name.quoted()));
        };
        match lacking(&needed, &node).join(", ").as_str() {
            "" => Ok(()),
            missing => forbidden(&format!(
                "pod update requires features {missing} which are not available on node {}",
                name.quoted()
            )),
        }
    }
}
