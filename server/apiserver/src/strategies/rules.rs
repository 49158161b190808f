//! Defaults and validation of each kind: the calls into `sampan-api`.

use sampan_api::go::Quote as _;
use sampan_api::kinds::Kind;
use sampan_api::status::FieldError;
use sampan_api::validation::{NameRule, object_meta};
use sampan_api::{defaults as words, validate};
use serde_json::{Value, json};

use crate::crd::rules as custom;
use crate::value::{at, strings};

/// Fills in defaults.
pub fn defaults(kind: &'static Kind, object: &mut Value) {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        return sampan_api::crd::default(object, version.schema());
    }
    words::apply(kind.kind, kind.group, kind.version, object);
}

/// What is wrong with a new object.
pub fn create_errors(kind: &'static Kind, new: &Value) -> Vec<FieldError> {
    let mut errors = validate::create(kind, new);
    errors.extend(crate::dynamic::validate::errors(kind, new, None));
    in_cel(kind, new, None, &mut errors, &mut Vec::new());
    errors
}

/// What is wrong with a change; `warnings` gets what is let pass because it was so before.
pub fn update_errors(
    kind: &'static Kind,
    new: &Value,
    old: &Value,
    warnings: &mut Vec<String>,
) -> Vec<FieldError> {
    let mut errors = validate::update(kind, new, old);
    errors.extend(crate::dynamic::validate::errors(kind, new, Some(old)));
    in_cel(kind, new, Some(old), &mut errors, warnings);
    errors
}

/// What is wrong with a change of the status.
pub fn status_errors(
    kind: &'static Kind,
    new: &Value,
    old: &Value,
    warnings: &mut Vec<String>,
) -> Vec<FieldError> {
    let mut errors = validate::update_status(kind, new, old);
    if kind.custom.is_some() {
        in_cel(kind, new, Some(old), &mut errors, warnings);
    }
    errors
}

/// The rules of custom resources, and what definitions say in them.
fn in_cel(
    kind: &'static Kind,
    new: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
    warnings: &mut Vec<String>,
) {
    if (kind.group, kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition") {
        errors.extend(custom::definition_errors(new, old, errors));
        *errors = sampan_api::crd::placed_errors(new, std::mem::take(errors));
    }
    custom::check(kind, new, old, errors, warnings);
}

/// What is wrong with changed metadata, for subresources with rules of their own.
pub fn metadata_errors(kind: &'static Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    validate::changed_metadata(kind, new, old)
}

/// What is wrong with the finalizers of a changed object of any kind: `rest.BeforeUpdate` asks `ValidateFinalizers`.
pub fn finalizer_errors(new: &Value) -> Vec<FieldError> {
    let finalizers = at(new, &["metadata", "finalizers"]);
    if finalizers.is_null() {
        return Vec::new();
    }
    // of metadata with nothing else to be wrong
    object_meta(&json!({"name": "a", "finalizers": finalizers}), false, NameRule::Subdomain)
}

/// What whoever writes `new` is told; `old` is the object before, `None` where it is created.
pub fn warnings(kind: &'static Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    match kind.custom {
        Some(_) => finalizer_warnings(new, old.unwrap_or(&Value::Null)),
        None => validate::warnings(kind, new, old),
    }
}

/// `validateKubeFinalizerName` of custom resources: names without a domain are let pass, but not in silence.
fn finalizer_warnings(new: &Value, old: &Value) -> Vec<String> {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    let of = |object: &Value| strings(at(object, &["metadata", "finalizers"]));
    let known = of(old);
    let mut added = of(new);
    added.retain(|name| !known.contains(name) && !name.contains('/') && !STANDARD.contains(&&**name));
    added.sort_unstable();
    added.dedup();
    let told = added.iter().map(|name| {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        format!(
            "metadata.finalizers: {}: prefer a domain-qualified finalizer name{path} to avoid accidental \
             conflicts with other finalizer writers",
            name.quoted()
        )
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{finalizer_errors, finalizer_warnings};

    #[test]
    fn added_finalizers_without_a_domain_are_told() {
        let of = |names: &[&str]| json!({"metadata": {"finalizers": names}});
        let end = "to avoid accidental conflicts with other finalizer writers";
        let plain = format!("metadata.finalizers: \"foo\": prefer a domain-qualified finalizer name {end}");
        let dotted = format!(
            "metadata.finalizers: \"a.b\": prefer a domain-qualified finalizer name including a path (/) {end}"
        );
        let new = of(&["foo", "a.b", "foo", "a.b/c", "orphan", "kubernetes"]);
        assert_eq!(finalizer_warnings(&new, &json!(null)), [dotted.clone(), plain]);
        assert_eq!(finalizer_warnings(&new, &of(&["foo"])), [dotted]);
        assert!(finalizer_warnings(&new, &new).is_empty());
        assert!(finalizer_errors(&new).is_empty() && finalizer_errors(&json!({})).is_empty());
        let errors = finalizer_errors(&of(&["a b", "orphan", "foregroundDeletion"]));
        assert_eq!(errors.len(), 2, "{errors:?}");
    }
}
