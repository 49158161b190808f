//! The three patches: JSON patch (RFC 6902), JSON merge patch (RFC 7396), strategic merge patch.
//!
//! [`apply`] takes an object and a body and gives the patched object, conforming to the field table, or
//! upstream's error. What it does not do is admission, validation and the write: a patched object goes the
//! way of an update. Server-side apply is another matter.
//!
//! Ported from `apiserver/pkg/endpoints/handlers/patch.go` and `apimachinery/pkg/util/strategicpatch`.

mod json;
mod order;
mod strategic;
#[cfg(test)]
mod tests;

pub use strategic::{Error as StrategicError, strategic};

use serde_json::Value;

use crate::apply::plain;
use crate::status::{ApiError, FieldError, Reason};
use crate::strict::{Decoded, Expected, FieldValidation, Format, Node, conform, json_type, misfit, parse};

/// The patch's media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`
    Strategic,
}

impl PatchType {
    /// By media type, without its parameters.
    pub fn parse(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }
}

/// Applies `body` to `object` of the type `node`.
pub fn apply<N: Node>(
    patch_type: PatchType,
    body: &[u8],
    object: &Value,
    node: N,
    expected: Expected<'_>,
    mode: FieldValidation,
) -> Result<Decoded, ApiError> {
    let (value, problems) = match patch_type {
        PatchType::Json | PatchType::Merge => raw(patch_type, body, object, mode)?,
        PatchType::Strategic => {
            let parsed = parse::<()>(body, Format::Json, None).map_err(ApiError::bad_request)?;
            let patch = match parsed.value {
                Value::Object(patch) => patch,
                Value::Null => serde_json::Map::new(),
                other => return Err(ApiError::bad_request(no_map(&other))),
            };
            let mut value = object.clone();
            strategic(&mut value, patch, node).map_err(strategic_error)?;
            (value, parsed.problems)
        }
    };
    // what upstream shows of it: the map that it merged, or what came out
    let shown = || match patch_type {
        PatchType::Strategic => parse::<()>(body, Format::Json, None).map(|patch| plain(&patch.value)),
        _ => raw(patch_type, body, object, mode)
            .map(|(value, _)| value.to_string())
            .map_err(|error| error.message),
    };
    let shown = || shown().unwrap_or_default();
    finish(value, patch_type, shown, node, expected, mode, problems)
}

/// `object` with a JSON or merge patch applied, as it came out, and the patch's duplicate fields. What needs types is
/// refused.
pub(crate) fn raw(
    patch_type: PatchType,
    body: &[u8],
    object: &Value,
    mode: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    // strict decoding, which warnings need too, comes before the library's own
    let lax = mode == FieldValidation::Ignore;
    let undecodable = |why: String| {
        ApiError::bad_request(match patch_type {
            PatchType::Merge if lax => "invalid JSON Patch".to_owned(),
            _ if lax => why,
            _ => format!("error decoding patch: {why}"),
        })
    };
    let parsed = parse::<()>(body, Format::Json, None).map_err(undecodable)?;
    let mut value = object.clone();
    match patch_type {
        PatchType::Json => json::apply(&mut value, &parsed.value, mode)?,
        PatchType::Merge if parsed.value.is_null() => {
            return Err(ApiError::bad_request("invalid JSON Patch"));
        }
        PatchType::Merge if !parsed.value.is_object() => return Err(undecodable(no_map(&parsed.value))),
        PatchType::Merge => json_patch::merge(&mut value, &parsed.value),
        PatchType::Strategic => {
            return Err(ApiError::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/apply-patch+yaml",
            ]));
        }
    }
    let problems = match patch_type {
        // the library's own words come before those of the decoder
        PatchType::Json => {
            let all = parsed.problems.into_iter().chain(json::unknown_fields(&parsed.value));
            let mut all: Vec<String> = all.collect();
            all.sort_by_key(|problem| json::operation(problem));
            all.into_iter().map(|problem| format!("json patch {problem}")).collect()
        }
        _ => parsed.problems,
    };
    Ok((value, problems))
}

/// What Go says of a patch that is no object.
fn no_map(value: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", json_type(value))
}

fn finish<N: Node>(
    mut value: Value,
    patch_type: PatchType,
    shown: impl Fn() -> String,
    node: N,
    expected: Expected<'_>,
    mode: FieldValidation,
    mut problems: Vec<String>,
) -> Result<Decoded, ApiError> {
    let refused =
        |why: String| ApiError::invalid("", "", "", vec![FieldError::invalid("patch", shown(), why)]);
    if !value.is_object() {
        return Err(refused(format!("{} is not an object", value)));
    }
    let strategic = patch_type == PatchType::Strategic;
    let mut unknown = match conform(&mut value, node) {
        Ok(unknown) => unknown,
        Err(why) if strategic => return Err(refused(misfit(&value, node).unwrap_or(why))),
        Err(why) => return Err(refused(why)),
    };
    if strategic {
        unknown.sort();
    }
    problems.extend(unknown);
    problems.dedup();
    if value["kind"] != expected.kind {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): kind must not be changed",
            expected.kind
        )));
    }
    match mode {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(refused(format!("strict decoding error: {}", problems.join(", "))))
        }
        FieldValidation::Warn => Ok(Decoded { value, warnings: problems }),
        _ => Ok(Decoded { value, warnings: Vec::new() }),
    }
}

/// Upstream's `NewGenericServerResponse(422, …)`, which does not say what went wrong; this adds it to the message.
fn unprocessable(why: impl std::fmt::Display) -> ApiError {
    let message = format!("the server rejected our request due to an error in our request: {why}");
    ApiError::new(Reason::Invalid, message)
}

/// Upstream's `interpretStrategicMergePatchError`; what it would answer with 500 is 422 here.
fn strategic_error(error: StrategicError) -> ApiError {
    use StrategicError::*;
    match error {
        PrimitiveList | RetainKeys | SetElementOrder => ApiError::bad_request(error.to_string()),
        _ => unprocessable(error),
    }
}
