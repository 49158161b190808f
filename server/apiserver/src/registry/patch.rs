//! patch: `k8s.io/apiserver/pkg/endpoints/handlers/patch.go`. The patches themselves are `sampan-api`'s.

use sampan_api::patch::{PatchType, apply};
use sampan_api::status::{ApiError, FieldError};
use sampan_api::strict::{Expected, FieldValidation};
use serde_json::Value;

use super::{Call, Registry, Target, Written};
use crate::pipeline::body::spot;
use crate::value::{meta, remove};

/// The media types, as a 415 names them.
pub const SUPPORTED: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY,
];

/// Server-side apply's media type, which is not a patch of the three.
pub const APPLY: &str = "application/apply-patch+yaml";

/// One patch.
#[derive(Clone, Copy)]
pub struct Patch<'a> {
    /// Which of the three.
    pub kind: PatchType,
    /// The body.
    pub body: &'a [u8],
    /// What becomes of unknown fields.
    pub mode: FieldValidation,
}

impl Registry {
    /// Applies `patch` to the object (or one of its subresources).
    pub async fn patch(
        &self,
        call: &Call<'_>,
        target: &Target,
        patch: Patch<'_>,
    ) -> Result<Written, ApiError> {
        let kind = target.kind;
        let expected = Expected { group: kind.group, version: kind.version, kind: kind.kind };
        self.modify(call, target, |old| {
            let (new, warnings) = match kind.custom.and_then(|custom| custom.version()) {
                Some(version) => crate::crd::patched(patch, old, kind, &version)?,
                None => patched(patch, old, kind.schema, expected)?,
            };
            *call.warnings.lock() = warnings;
            check_name(target, &new)?;
            check_uid(target, old, &new)?;
            Ok(new)
        })
        .await
    }
}

/// `old` with `patch` applied; without its revision if that is still the old one, so that a conflict is tried
/// again with the newer object.
pub fn patched(
    patch: Patch<'_>,
    old: &Value,
    schema: &str,
    expected: Expected<'_>,
) -> Result<(Value, Vec<String>), ApiError> {
    let decoded = apply(patch.kind, patch.body, old, spot(schema)?, expected, patch.mode)?;
    let mut new = decoded.value;
    if meta(&new, "resourceVersion") == meta(old, "resourceVersion") {
        remove(&mut new, &["metadata", "resourceVersion"]);
    }
    Ok((new, decoded.warnings))
}

/// A patch names no precondition with a uid, as an update does: it may not change it.
fn check_uid(target: &Target, old: &Value, new: &Value) -> Result<(), ApiError> {
    let (said, uid) = (meta(new, "uid"), meta(old, "uid"));
    if said.is_empty() || said == uid {
        return Ok(());
    }
    Err(target.invalid(vec![FieldError::invalid("metadata.uid", said, "field is immutable")]))
}

/// The name in the object has to stay the URL's: `rest.go` `checkName`.
pub fn check_name(target: &Target, new: &Value) -> Result<(), ApiError> {
    let (name, namespace) = (meta(new, "name"), meta(new, "namespace"));
    if !name.is_empty() && name != target.name {
        let why =
            format!("the name of the object ({name}) does not match the name on the URL ({})", target.name);
        return Err(ApiError::bad_request(why));
    }
    if target.kind.namespaced && !namespace.is_empty() && namespace != target.namespace {
        let why = format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            target.namespace
        );
        return Err(ApiError::bad_request(why));
    }
    Ok(())
}
