//! Escalation checks on writes of roles and bindings; see `auth`.

use std::sync::Arc;

use sampan_api::status::ApiError;
use serde_json::Value;

use crate::auth::Auth;
use crate::registry::{Operation, Plugin, Review};
use crate::value::meta;

pub(super) struct EscalationCheck(pub(super) Arc<Auth>);

impl Plugin for EscalationCheck {
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || review.kind.group != "rbac.authorization.k8s.io" {
            return Ok(());
        }
        let name = if review.name.is_empty() { meta(object, "name") } else { review.name };
        self.0.check_escalation(review.user, review.kind.plural, review.namespace, name, object, review.old)
    }
}
