//! What objects count for in a ResourceQuota, and whether a quota has room for them.
//!
//! Ported from `k8s.io/apiserver/pkg/quota/v1`, `pkg/quota/v1/evaluator/core` and the admission plugin's
//! `controller.go`. The API server charges by this before it writes, the controller counts anew by it; so both agree.

mod amounts;
mod charge;
mod claims;
mod class;
mod devices;
mod pods;
mod scopes;
mod services;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::Value;

pub use amounts::{Amounts, mask, read, write};
pub use charge::{Change, Charged, charge};
pub use class::{computed_class, pod_class};
pub use pods::amounts as pod_amounts;
pub use scopes::matches;

use crate::kinds::Kind;
use crate::quantity::{Format, Quantity};

/// Whether `resource` of a quota counts objects of `kind`: upstream's `MatchingResources`.
pub fn counts(kind: &Kind, resource: &str) -> bool {
    if resource.strip_prefix("count/") == Some(kind.qualified().as_str()) {
        return true;
    }
    match (kind.group, kind.plural) {
        ("", "pods") => pods::counts(resource),
        ("", "services") => services::counts(resource),
        ("", "persistentvolumeclaims") => claims::counts(resource),
        ("resource.k8s.io", "resourceclaims") => devices::counts(resource),
        ("", "configmaps" | "resourcequotas" | "replicationcontrollers" | "secrets") => {
            resource == kind.plural
        }
        _ => false,
    }
}

/// What one object counts for at `now`.
pub fn usage(kind: &Kind, object: &Value, now: Timestamp) -> Amounts {
    let one = Quantity::new(1, Format::DecimalSI);
    let mut usage = match (kind.group, kind.plural) {
        ("", "pods") => pods::usage(object, now),
        ("", "services") => services::usage(object),
        ("", "persistentvolumeclaims") => claims::usage(object),
        ("resource.k8s.io", "resourceclaims") => devices::usage(object),
        ("", "configmaps" | "resourcequotas" | "replicationcontrollers" | "secrets") => {
            Amounts::from([(kind.plural.to_owned(), one)])
        }
        _ => Amounts::new(),
    };
    usage.insert(format!("count/{}", kind.qualified()), one);
    usage
}

/// Whether the number of objects is all that a quota knows of the kind.
pub fn is_only_counted(kind: &Kind) -> bool {
    !matches!(
        (kind.group, kind.plural),
        ("", "pods" | "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims")
    )
}

/// Text at a path, or "".
fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or("")
}

/// Value at a path, or null.
fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    static NULL: Value = Value::Null;
    path.iter().fold(value, |v, key| v.get(key).unwrap_or(&NULL))
}

/// Items of an array; none where there is no array.
fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
