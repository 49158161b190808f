//! What each kind's strategy takes back on a write through an endpoint, and nobody can therefore manage
//! through it: upstream's `GetResetFields` and `GetResetFieldsFilter`.

use super::element::PathElement;
use super::set::Set;

/// Which fields can be managed through an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Reset {
    /// All but these and what is below them.
    But(Set<'static>),
    /// Only these and what is below them; `*` stands for any item of a list.
    Only(&'static [&'static [&'static str]]),
}

impl Default for Reset {
    fn default() -> Self {
        Self::But(Set::default())
    }
}

impl Reset {
    /// What of `set` can be managed.
    pub fn filter<'v>(&self, mut set: Set<'v>) -> Set<'v> {
        match self {
            Self::But(fields) => {
                set.subtract(fields, true);
                set
            }
            Self::Only(paths) => {
                let mut kept = Set::default();
                set.each(&mut |path| {
                    if paths.iter().any(|only| on_the_way(only, path)) {
                        kept.insert(path);
                    }
                });
                kept
            }
        }
    }
}

/// Whether one of the two leads to the other.
fn on_the_way(only: &[&str], path: &[PathElement<'_>]) -> bool {
    only.iter().zip(path).all(|(name, element)| match element {
        PathElement::Field(field) => *field == *name,
        _ => *name == "*",
    })
}

const STATUS: &[&[&str]] = &[&["status"]];
const SPEC: &[&[&str]] = &[&["spec"]];

/// What can be managed through a built-in kind's endpoint.
pub fn of_kind(group: &str, kind: &str, subresource: &str) -> Reset {
    match (group, kind, subresource) {
        ("", "Pod", "ephemeralcontainers") => return Reset::Only(&[&["spec", "ephemeralContainers"]]),
        ("", "Pod", "resize") => {
            return Reset::Only(&[
                &["spec", "containers", "*", "resources"],
                &["spec", "containers", "*", "resizePolicy"],
                &["spec", "initContainers", "*", "resources"],
                &["spec", "initContainers", "*", "resizePolicy"],
            ]);
        }
        _ => {}
    }
    Reset::But(Set::of_fields(taken_back(group, kind, subresource)))
}

fn taken_back(group: &str, kind: &str, subresource: &str) -> &'static [&'static [&'static str]] {
    match (group, kind, subresource) {
        ("certificates.k8s.io", "CertificateSigningRequest", "") => &[&["spec"], &["status"]],
        ("certificates.k8s.io", "CertificateSigningRequest", "status") => {
            &[&["spec"], &["status", "conditions"]]
        }
        ("certificates.k8s.io", "CertificateSigningRequest", "approval") => {
            &[&["spec"], &["status", "certificate"]]
        }
        ("", "Pod", "status") => {
            &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]
        }
        ("apps", "Deployment", "status") => &[&["spec"], &["metadata", "labels"]],
        (
            "admissionregistration.k8s.io"
            | "apiregistration.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "internal.apiserver.k8s.io"
            | "resource.k8s.io"
            | "scheduling.k8s.io"
            | "storage.k8s.io"
            | "storagemigration.k8s.io",
            _,
            "status",
        )
        | ("networking.k8s.io", "ServiceCIDR", "status") => &[&["metadata"], &["spec"]],
        (_, _, "status") => SPEC,
        ("", "Namespace", "finalize") | (_, _, "") => STATUS,
        _ => &[],
    }
}

/// What can be managed through a custom resource's endpoint.
pub fn of_custom(subresource: &str, has_status: bool) -> Reset {
    match (subresource, has_status) {
        ("status", _) => Reset::Only(STATUS),
        ("", true) => Reset::But(Set::of_fields(STATUS)),
        _ => Reset::default(),
    }
}
