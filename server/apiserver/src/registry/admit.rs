//! What admission plugins see of a write.

use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use sampan_store::Store;
use serde_json::Value;

use crate::UserInfo;

/// Upstream's `admission.Operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object (or a create-only subresource such as binding and eviction).
    Create,
    /// A changed object.
    Update,
    /// A deletion.
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

/// One write on its way: upstream's `admission.Attributes`.
pub struct Review<'a> {
    /// What is done.
    pub operation: Operation,
    /// To which kind.
    pub kind: &'static Kind,
    /// Subresource, empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Name; empty while generateName has not been resolved.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The object before; of update and delete.
    pub old: Option<&'a Value>,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// To look other objects up.
    pub store: &'a Store,
}

/// Upstream's `admission.MutationInterface` and `ValidationInterface`.
pub trait Plugin: Send + Sync {
    /// May change `object` (null on delete and connect), or refuse.
    fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        let _ = (review, object);
        Ok(())
    }
    /// May refuse.
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let _ = (review, object);
        Ok(())
    }
}
