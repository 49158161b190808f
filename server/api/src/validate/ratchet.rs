//! What is let stand because it stood before: rules that came after objects had been stored.
//!
//! Upstream's strategies ask of the old object whether it breaks such a rule (`GetValidationOptionsFromPodTemplate` and
//! its like), and do not ask the new one then.

use serde_json::Value;

use super::access::*;
use crate::kinds::Kind;
use crate::status::FieldError;

/// Texts of the rules, by a part of them.
const LATER_RULES: &[&str] = &[
    "is not positive integer multiple of hugepages-",
    "a valid label must be an empty string",
    "must not be set to 'RestartContainer' for non-sidecar initContainers",
    "supported values: \"Recursive\"",
    "must be a 32bit integer",
    "must not have leading 0s",
    "must not start with '..'",
    "unexpected GroupVersion string: ",
    "apiVersion must specify API group",
    "exists in both matchLabelKeys and labelSelector",
    "supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
];

/// Takes from `errors` of a change what `old` was guilty of as well, and may be.
pub(super) fn spare(kind: &Kind, old: &Value, errors: &mut Errors) {
    let set = (kind.group, kind.kind) == ("apps", "StatefulSet");
    let claim = (kind.group, kind.kind) == ("", "PersistentVolumeClaim");
    let of_pods = |error: &FieldError| {
        let rest = error.field.strip_prefix("spec.template.");
        set && rest.is_some_and(|rest| rest.starts_with("spec.") && !is_set_rule(rest))
    };
    let later = |error: &FieldError| {
        let group = claim && error.field.ends_with(".apiGroup");
        group || LATER_RULES.iter().any(|part| error.detail.contains(part))
    };
    if !errors.iter().any(|error| of_pods(error) || later(error)) {
        return;
    }
    let mut before = Errors::new();
    super::body(kind, old, &Value::Null, &mut before);
    let guilty = |error: &FieldError| {
        let rule = |part: &&&str| error.detail.contains(**part);
        match LATER_RULES.iter().find(rule) {
            Some(part) => before.iter().any(|old| old.detail.contains(part)),
            None => before.iter().any(|old| old.field == error.field && old.detail == error.detail),
        }
    };
    let broken = before.iter().any(of_pods);
    errors.retain(|error| !(of_pods(error) && broken || later(error) && guilty(error)));
}

/// What a StatefulSet asks of its pods itself.
fn is_set_rule(field: &str) -> bool {
    matches!(field, "spec.restartPolicy" | "spec.activeDeadlineSeconds")
}
