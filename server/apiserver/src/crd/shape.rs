//! Objects of custom resources: decoded, patched, and as they are read in a version.

use bytes::Bytes;
use sampan_api::crd::{self, Custom, Version};
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use sampan_api::strict::{Expected, FieldValidation, Format};
use sampan_store::Entry;
use serde_json::Value;

use crate::registry::patch::Patch;
use crate::value::{at, meta, remove, set};

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

/// Whether stored bytes are what a reader of `kind` sees: written since the definition says what it says, in its only
/// version.
pub(crate) fn settled(revision: u64, custom: &Custom) -> bool {
    custom.version().is_none_or(|version| version.head.spec.versions.len() == 1 && revision > version.since)
}

/// The bytes of an entry in the version of `kind`.
pub(crate) fn in_version(entry: &Entry, kind: &'static Kind, custom: &Custom) -> Bytes {
    if settled(entry.revision, custom) {
        return entry.value.clone();
    }
    let Ok(mut object) = serde_json::from_slice::<Value>(&entry.value) else { return entry.value.clone() };
    to_version(&mut object, kind, custom);
    object.to_string().into()
}

/// Turns a stored object into the version of `kind`: pruned, and with defaults.
pub(crate) fn to_version(object: &mut Value, kind: &'static Kind, custom: &Custom) {
    let wanted = kind.api_version();
    if at(object, &["apiVersion"]) != wanted.as_str() {
        set(object, &["apiVersion"], wanted);
    }
    if let Some(version) = custom.version() {
        crd::prune(object, version.schema());
        crd::default(object, version.schema());
    }
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
