//! Objects of custom resources: decoded, patched, and as they are read in a version.

use sampan_api::crd::{self, Custom, Version};
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use sampan_api::strict::{Expected, FieldValidation, Format};
use serde_json::Value;

use super::convert::{failure, renamed, settle};
use crate::registry::patch::Patch;
use crate::value::{at, meta, remove, set, text};

/// Decodes a body.
pub(crate) fn decode(
    body: &[u8],
    format: Format,
    kind: &'static Kind,
    version: &Version,
    mode: FieldValidation,
) -> Result<sampan_api::strict::Decoded, ApiError> {
    crd::decode(body, format, version.schema(), Expected::from(kind), mode)
}

/// As `registry::patch::patched`.
pub(crate) fn patched(
    patch: Patch<'_>,
    old: &Value,
    kind: &'static Kind,
    version: &Version,
) -> Result<(Value, Vec<String>), ApiError> {
    let expected = Expected::from(kind);
    let decoded = crd::patch(patch.kind, patch.body, old, version.schema(), expected, patch.mode)?;
    let mut new = decoded.value;
    if meta(&new, "resourceVersion") == meta(old, "resourceVersion") {
        remove(&mut new, &["metadata", "resourceVersion"]);
    }
    Ok((new, decoded.warnings))
}

/// Turns a stored object into the version of `kind`: pruned, and with the defaults of the version it is stored in. What
/// a webhook has to convert is refused.
pub(crate) fn to_version(object: &mut Value, kind: &'static Kind, custom: &Custom) -> Result<(), ApiError> {
    let (wanted, found) = (kind.api_version(), text(object, &["apiVersion"]).to_owned());
    let Some(version) = custom.version() else {
        set(object, &["apiVersion"], wanted);
        return Ok(());
    };
    settle(object, &version).map_err(failure)?;
    if found == wanted {
        return Ok(());
    }
    if version.head.converter().is_some() {
        return Err(ApiError::internal(format!(
            "an object of {found} is asked for as {wanted} before it was converted"
        )));
    }
    renamed(object, &wanted, &version)
}

/// What a field selector sees of a field: texts as they are, numbers and booleans printed, nothing as the empty text.
pub(crate) fn selected(object: &Value, label: &str) -> String {
    let path: Vec<&str> = label.split('.').collect();
    match at(object, &path) {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
