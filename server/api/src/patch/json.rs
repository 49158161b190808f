//! JSON patch, operation by operation, so that what it may cost is bounded.
//!
//! Done as `gopkg.in/evanphx/json-patch.v4` does it, which upstream uses, and not as RFC 6902 says where they differ: what
//! is not in a map is null when it is replaced, copied or tested, and negative indices count from the end.

use std::num::{IntErrorKind, ParseIntError};

use serde_json::Value;

use super::unprocessable;
use crate::go::Quote as _;
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
        Operation { said: operation, copied: &mut copied }.apply(object).map_err(unprocessable)?;
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

/// The operation that a problem is in: upstream tells of one after the other.
pub(super) fn operation(problem: &str) -> usize {
    let at = problem.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    at.and_then(|(at, _)| at.parse().ok()).unwrap_or(0)
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

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

const MISSING: &str = "missing value";
const INVALID_INDEX: &str = "invalid index referenced";

struct Operation<'a> {
    said: &'a Value,
    /// Bytes that all copies together have made.
    copied: &'a mut usize,
}

impl Operation<'_> {
    fn apply(&mut self, object: &mut Value) -> Result<(), String> {
        match self.said("op").and_then(Value::as_str).unwrap_or("unknown") {
            "add" => self.add(object),
            "remove" => self.remove(object),
            "replace" => self.replace(object),
            "move" => self.moved(object),
            "test" => self.test(object),
            "copy" => self.copy(object),
            kind => Err(format!("Unexpected kind: {kind}")),
        }
    }

    fn said(&self, key: &str) -> Option<&Value> {
        self.said.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str, otherwise: &str) -> Result<String, String> {
        self.said(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| otherwise.to_owned())
    }

    /// The operation's path.
    fn path(&self, kind: &str) -> Result<String, String> {
        let why = match kind {
            "add" | "remove" | "copy" => MISSING.to_owned(),
            _ => format!("operation missing path field: {MISSING}"),
        };
        self.text("path", &format!("{kind} operation failed to decode path: {why}"))
    }

    fn from(&self, kind: &str) -> Result<String, String> {
        let why = format!("{kind} operation failed to decode from: operation, missing from field: {MISSING}");
        self.text("from", &why)
    }

    fn value(&self) -> Value {
        self.said.get("value").cloned().unwrap_or_default()
    }

    fn add(&self, object: &mut Value) -> Result<(), String> {
        let path = self.path("add")?;
        let Some((place, key)) = find(object, &path) else {
            return Err(format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}"));
        };
        put(place, &key, bounded(&path, self.value())?)
            .map_err(|why| format!("error in add for path: '{path}': {why}"))
    }

    fn remove(&self, object: &mut Value) -> Result<(), String> {
        let path = self.path("remove")?;
        let Some((place, key)) = find(object, &path) else {
            return Err(format!(
                "remove operation does not apply: doc is missing path: \"{path}\": {MISSING}"
            ));
        };
        take(place, &key).map(drop).map_err(|why| format!("error in remove for path: '{path}': {why}"))
    }

    fn replace(&self, object: &mut Value) -> Result<(), String> {
        let path = self.path("replace")?;
        let value = bounded(&path, self.value())?;
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array: %!w(<nil>)".to_owned());
            }
            *object = value;
            return Ok(());
        }
        let Some((place, key)) = find(object, &path) else {
            return Err(format!("replace operation does not apply: doc is missing path: {path}: {MISSING}"));
        };
        match place {
            Value::Array(list) => match index(&key, list.len(), list.len()) {
                Ok(at) => list[at] = value,
                Err(_) => {
                    return Err(format!(
                        "replace operation does not apply: doc is missing key: {path}: {MISSING}"
                    ));
                }
            },
            place => _ = put(place, &key, value),
        }
        Ok(())
    }

    fn moved(&self, object: &mut Value) -> Result<(), String> {
        let from = self.from("move")?;
        let Some((place, key)) = find(object, &from) else {
            return Err(format!(
                "move operation does not apply: doc is missing from path: {from}: {MISSING}"
            ));
        };
        let value = take(place, &key).map_err(|why| format!("error in move for path: '{key}': {why}"))?;
        let path = self.path("move")?;
        let value = bounded(&path, value)?;
        let Some((place, key)) = find(object, &path) else {
            return Err(format!(
                "move operation does not apply: doc is missing destination path: {path}: {MISSING}"
            ));
        };
        put(place, &key, value).map_err(|why| format!("error in move for path: '{path}': {why}"))
    }

    fn test(&self, object: &mut Value) -> Result<(), String> {
        let path = self.path("test")?;
        let wanted = self.said.get("value").unwrap_or(&Value::Null);
        let same = if path.is_empty() {
            object == wanted
        } else {
            let Some((place, key)) = find(object, &path) else {
                return Err(format!("test operation does not apply: is missing path: {path}: {MISSING}"));
            };
            let found = get(place, &key).map_err(|why| format!("error in test for path: '{path}': {why}"))?;
            found.unwrap_or(&Value::Null) == wanted
        };
        if same { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
    }

    fn copy(&mut self, object: &mut Value) -> Result<(), String> {
        let from = self.from("copy")?;
        let Some((place, key)) = find(object, &from) else {
            return Err(format!(
                "copy operation does not apply: doc is missing from path: {from}: {MISSING}"
            ));
        };
        let value = get(place, &key).map_err(|why| format!("error in copy for from: '{from}': {why}"))?;
        let value = value.cloned().unwrap_or_default();
        let path = self.path("copy")?;
        let Some((place, key)) = find(object, &path) else {
            return Err(format!(
                "copy operation does not apply: doc is missing destination path: {path}: {MISSING}"
            ));
        };
        *self.copied += value.to_string().len();
        if *self.copied > MAX_COPIED {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_COPIED}",
                self.copied
            ));
        }
        put(place, &key, bounded(&path, value)?)
            .map_err(|why| format!("error while adding value during copy: {why}"))
    }
}

fn bounded(path: &str, value: Value) -> Result<Value, String> {
    if path.matches('/').count() + depth(&value) > MAX_DEPTH {
        return Err("the patched object would be nested too deeply".to_owned());
    }
    Ok(value)
}

/// The map or list that a path ends in, and the key there. What is before a path's first slash is not looked at.
fn find<'v>(object: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let (_, path) = path.split_once('/')?;
    let (parents, last) = path.rsplit_once('/').map_or((None, path), |(parents, last)| (Some(parents), last));
    let key = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let mut place = object;
    for part in parents.into_iter().flat_map(|parents| parents.split('/')) {
        place = match place {
            Value::Object(map) => map.get_mut(&key(part))?,
            Value::Array(list) => {
                let at = index(&key(part), list.len(), list.len()).ok()?;
                &mut list[at]
            }
            _ => return None,
        };
    }
    matches!(place, Value::Object(_) | Value::Array(_)).then(|| (place, key(last)))
}

/// An index below `end`; a negative one counts from `length`.
fn index(key: &str, length: usize, end: usize) -> Result<usize, String> {
    let at: i64 = key.parse().map_err(|why| not_a_number(key, &why))?;
    let wrong = || format!("Unable to access invalid index: {at}: {INVALID_INDEX}");
    let counted = if at < 0 { at.checked_add_unsigned(length as u64) } else { Some(at) };
    counted.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < end).ok_or_else(wrong)
}

/// As Go's `strconv.Atoi` says it.
fn not_a_number(key: &str, why: &ParseIntError) -> String {
    let what = match why.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.Atoi: parsing {}: {what}", key.quoted())
}

fn get<'v>(place: &'v Value, key: &str) -> Result<Option<&'v Value>, String> {
    match place {
        Value::Array(list) => index(key, list.len(), list.len()).map(|at| Some(&list[at])),
        place => Ok(place.get(key)),
    }
}

fn put(place: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match place {
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let end = list.len() + 1;
            let proper = |why: String| match why.strip_prefix("strconv") {
                Some(_) => format!("value was not a proper array index: '{key}': {why}"),
                None => why,
            };
            list.insert(index(key, end, end).map_err(proper)?, value);
        }
        Value::Object(map) => _ = map.insert(key.to_owned(), value),
        _ => {}
    }
    Ok(())
}

fn take(place: &mut Value, key: &str) -> Result<Value, String> {
    match place {
        Value::Array(list) => index(key, list.len(), list.len()).map(|at| list.remove(at)),
        Value::Object(map) => {
            map.shift_remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
        _ => Ok(Value::Null),
    }
}
