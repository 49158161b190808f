//! From client-side to server-side apply: kubectl's annotation says what it applied last.

use serde_json::{Map, Value};

use super::compare::compare;
use super::set::Set;
use super::shape::Shape;
use super::to_set::to_set;
use super::validate::validate;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Upstream's `TotalAnnotationSizeLimitB`.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    crate::meta::annotation(object, ANNOTATION).filter(|text| !text.is_empty())
}

/// What a client-side apply has set.
pub(super) fn configuration(live: &Value) -> Option<Value> {
    serde_json::from_str(annotation(live)?).ok()
}

/// Fields that a client-side apply has set and nobody has changed since: they are the user's own, and taking
/// them over is no conflict.
pub(super) fn allowed<'v>(
    shape: Shape<'v>,
    live: &'v Value,
    applied: &'v Value,
    api_version: &str,
) -> Option<Set<'v>> {
    if crate::meta::api_version(applied) != api_version || validate(shape, applied).is_err() {
        return None;
    }
    let change = compare(shape, applied, live);
    let set = to_set(shape, applied);
    Some(set.difference(&change.modified).difference(&change.added).difference(&change.removed))
}

/// Keeps the annotation in step with what is applied now, so that going back to client-side apply is safe.
pub(super) fn keep_in_step(object: &mut Value, applied: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(ANNOTATION);
    }
    let text = format!("{}\n", sorted(&applied));
    let annotations =
        crate::meta::metadata_mut(object).entry("annotations").or_insert_with(|| Map::new().into());
    let annotations = crate::meta::as_map(annotations);
    annotations.insert(ANNOTATION.to_owned(), text.into());
    let size: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len()).sum();
    if size > ANNOTATIONS_LIMIT {
        annotations.shift_remove(ANNOTATION);
    }
}

/// Go writes maps in order of their keys.
fn sorted(value: &Value) -> Value {
    let mut value = value.clone();
    value.sort_all_objects();
    value
}
