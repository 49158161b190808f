//! JSON patch, operation by operation, so that what it may cost is bounded.

use json_patch::PatchOperation;
use serde_json::Value;

use super::unprocessable;
use crate::status::{ApiError, Reason};
use crate::strict::{FieldValidation, json_type};

const MAX_OPERATIONS: usize = 10_000;
/// Upstream's `AccumulatedCopySizeLimit`: what all copies together may add.
const MAX_COPIED: usize = 3 << 20;
/// Deeper than any body may be nested, shallow enough for every recursion over a value.
const MAX_DEPTH: usize = 256;

pub(super) fn apply(object: &mut Value, patch: &Value, mode: FieldValidation) -> Result<(), ApiError> {
    well_formed(patch, mode)?;
    if patch.is_null() {
        return Ok(());
    }
    let count = patch.as_array().map_or(0, Vec::len);
    if count > MAX_OPERATIONS {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
        );
        return Err(ApiError::new(Reason::RequestEntityTooLarge, message));
    }
    let mut copied = 0;
    for operation in patch.as_array().into_iter().flatten() {
        let operation = &read(operation).map_err(unprocessable)?;
        if nothing_to_test(object, operation) {
            continue;
        }
        bound(object, operation, &mut copied)?;
        if let Err(why) = json_patch::patch_unsafe(object, std::slice::from_ref(operation)) {
            return Err(unprocessable(describe(object, operation, &why)));
        }
    }
    Ok(())
}

/// Fields of operations that there are not, as strict decoding tells of them.
pub(super) fn unknown_fields(patch: &Value) -> Vec<String> {
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let fields =
        operations.flat_map(|(at, one)| one.as_object().into_iter().flatten().map(move |(key, _)| (at, key)));
    let unknown = fields.filter(|(_, key)| !["op", "path", "from", "value"].contains(&key.as_str()));
    unknown.map(|(at, key)| format!("unknown field \"[{at}].{key}\"")).collect()
}

/// One operation as evanphx/json-patch reads it: what it does not say is null, and a path's beginning up to the first slash
/// is not looked at.
fn read(operation: &Value) -> Result<PatchOperation, String> {
    const KINDS: &[&str] = &["add", "remove", "replace", "move", "test", "copy"];
    let said = |key: &str| operation.get(key).filter(|value| !value.is_null());
    let kind = said("op").and_then(Value::as_str).unwrap_or("unknown");
    if !KINDS.contains(&kind) {
        return Err(format!("Unexpected kind: {kind}"));
    }
    let pointer = |key: &str| {
        let Some(path) = said(key).and_then(Value::as_str) else {
            let what = if key == "from" { "from" } else { "path" };
            return Err(format!("{kind} operation failed to decode {what}: missing value"));
        };
        match path.split_once('/') {
            None if path.is_empty() => Ok(String::new()),
            None => {
                Err(format!("{kind} operation does not apply: doc is missing path: {path:?}: missing value"))
            }
            Some((_, rest)) => Ok(format!("/{rest}")),
        }
    };
    let mut whole = serde_json::json!({"op": kind, "path": pointer("path")?});
    match kind {
        "move" | "copy" => whole["from"] = pointer("from")?.into(),
        "remove" => {}
        _ => whole["value"] = operation.get("value").cloned().unwrap_or_default(),
    }
    serde_json::from_value(whole).map_err(|why| why.to_string())
}

/// Whether Go could decode it. Strict decoding, which warnings need too, goes into the handler's own type before the
/// library's.
fn well_formed(patch: &Value, mode: FieldValidation) -> Result<(), ApiError> {
    let lax = mode == FieldValidation::Ignore;
    let refuse = |found: &Value, into: &str| {
        let why = format!("json: cannot unmarshal {} into Go {into}", json_type(found));
        Err(ApiError::bad_request(if lax { why } else { format!("error decoding patch: {why}") }))
    };
    let operations = match patch {
        Value::Array(operations) => operations,
        Value::Null => return Ok(()),
        other if lax => return refuse(other, "value of type jsonpatch.Patch"),
        other => return refuse(other, "value of type []handlers.jsonPatchOp"),
    };
    for operation in operations {
        match operation {
            Value::Object(_) | Value::Null => {}
            other if lax => return refuse(other, "value of type jsonpatch.Operation"),
            other => return refuse(other, "value of type handlers.jsonPatchOp"),
        }
        for key in ["op", "path", "from"] {
            match operation.get(key) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(_) if lax => {}
                Some(other) => {
                    return refuse(other, &format!("struct field jsonPatchOp.{key} of type string"));
                }
            }
        }
    }
    Ok(())
}

/// Testing for null what is not there succeeds upstream.
fn nothing_to_test(object: &Value, operation: &PatchOperation) -> bool {
    match operation {
        PatchOperation::Test(test) => test.value.is_null() && object.pointer(test.path.as_str()).is_none(),
        _ => false,
    }
}

fn bound(object: &Value, operation: &PatchOperation, copied: &mut usize) -> Result<(), ApiError> {
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Copy(copy) => (&copy.path, object.pointer(copy.from.as_str())),
        PatchOperation::Move(moved) => (&moved.path, object.pointer(moved.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    let Some(value) = value else { return Ok(()) };
    if path.as_str().matches('/').count() + depth(value) > MAX_DEPTH {
        return Err(unprocessable("the patched object would be nested too deeply"));
    }
    if matches!(operation, PatchOperation::Copy(_)) {
        *copied += value.to_string().len();
        if *copied > MAX_COPIED {
            return Err(unprocessable(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
            )));
        }
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// evanphx/json-patch's words, which upstream passes on.
fn describe(object: &Value, operation: &PatchOperation, why: &json_patch::PatchError) -> String {
    let path = operation.path();
    let (parent, key) = path.as_str().rsplit_once('/').unwrap_or_default();
    let parent = object.pointer(parent);
    match operation {
        PatchOperation::Test(_) => format!("testing value {path} failed: test failed"),
        PatchOperation::Remove(_) => match parent {
            Some(Value::Object(_)) => format!(
                "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            ),
            Some(Value::Array(_)) => format!(
                "error in remove for path: '{path}': Unable to access invalid index: {key}: invalid index referenced"
            ),
            _ => format!("remove operation does not apply: doc is missing path: \"{path}\": missing value"),
        },
        PatchOperation::Replace(_) if parent.is_none() => {
            format!("replace operation does not apply: doc is missing path: {path}: missing value")
        }
        PatchOperation::Replace(_) => {
            format!("replace operation does not apply: doc is missing key: {path}: missing value")
        }
        PatchOperation::Add(_) => {
            format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        PatchOperation::Move(_) => format!("move operation does not apply: {}", why.kind),
        PatchOperation::Copy(_) => format!("copy operation does not apply: {}", why.kind),
    }
}
