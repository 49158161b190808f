//! `NamespaceLifecycle`: the namespaces that every cluster needs stay.

use sampan_api::status::ApiError;
use serde_json::Value;

use super::of;
use crate::registry::{Operation, Plugin, Review};

pub(super) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn validate(&self, review: &Review<'_>, _: &Value) -> Result<(), ApiError> {
        let immortal = ["default", "kube-system", "kube-public"];
        if review.operation == Operation::Delete
            && of(review, "", "namespaces")
            && immortal.contains(&review.name)
        {
            return Err(ApiError::forbidden(
                "",
                "namespaces",
                review.name,
                "this namespace may not be deleted",
            ));
        }
        Ok(())
    }
}
