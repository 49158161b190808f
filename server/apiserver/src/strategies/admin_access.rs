//! Access to devices that others use, as an administrator has it: only claims of namespaces that are labelled for it may
//! ask for it (`pkg/registry/resource/utils.go`).

use sampan_api::status::FieldError;
use sampan_store::{Key, Store};
use serde_json::Value;

use crate::registry::Target;
use crate::value::{at, items};

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// What is wrong with a claim or a template that asks, or an allocation that grants, what it may not.
pub fn errors(store: &Store, target: &Target, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let Some(path) = newly_asked(target, old, new) else { return Vec::new() };
    let namespace = store.get(&Key::new("namespaces", target.namespace.as_str()));
    let is_labelled = namespace.is_some_and(|entry| {
        entry.columns.labels.iter().any(|(label, value)| &**label == LABEL && &**value == "true")
    });
    if is_labelled {
        return Vec::new();
    }
    let why =
        format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    vec![FieldError::forbidden(path, why)]
}

/// The first place that asks for it; specs and allocations do not change.
fn newly_asked(target: &Target, old: Option<&Value>, new: &Value) -> Option<String> {
    if target.kind.group != "resource.k8s.io" {
        return None;
    }
    let (path, holder): (&str, &[&str]) = match (target.kind.kind, target.subresource.as_str(), old) {
        ("ResourceClaim", "", None) => ("spec.devices.requests", &["spec", "devices", "requests"]),
        ("ResourceClaimTemplate", "", None) => {
            ("spec.devices.requests", &["spec", "spec", "devices", "requests"])
        }
        ("ResourceClaim", "status", Some(_)) => {
            ("status.allocation.devices.results", &["status", "allocation", "devices", "results"])
        }
        _ => return None,
    };
    let was = old.is_some_and(|old| items(at(old, holder)).iter().any(asks));
    let index = items(at(new, holder)).iter().position(asks).filter(|_| !was)?;
    Some(format!("{path}[{index}].adminAccess"))
}

/// `v1beta1` has it in the request itself, as results have.
fn asks(item: &Value) -> bool {
    let said = |path: &[&str]| at(item, path).as_bool() == Some(true);
    said(&["exactly", "adminAccess"]) || said(&["adminAccess"])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sampan_api::kinds;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_for_anew_is_found() {
        let target = |plural: &str, subresource: &str| {
            let kind = kinds::by_resource("resource.k8s.io", "v1", plural).unwrap();
            Target { subresource: subresource.into(), ..Target::new(kind, "a", "c") }
        };
        let requests = json!({"devices": {"requests": [{"name": "a", "exactly": {}},
            {"name": "b", "exactly": {"adminAccess": true}}]}});
        let claim = json!({ "spec": requests });
        let place = Some("spec.devices.requests[1].adminAccess".to_owned());
        assert_eq!(newly_asked(&target("resourceclaims", ""), None, &claim), place);
        let template = json!({"spec": {"spec": requests}});
        assert_eq!(newly_asked(&target("resourceclaimtemplates", ""), None, &template), place);
        assert_eq!(newly_asked(&target("resourceclaims", ""), Some(&claim), &claim), None);
        assert_eq!(newly_asked(&target("deviceclasses", ""), None, &claim), None);
        let granted = json!({"status": {"allocation": {"devices": {"results": [{"adminAccess": true}]}}}});
        let place = Some("status.allocation.devices.results[0].adminAccess".to_owned());
        assert_eq!(newly_asked(&target("resourceclaims", "status"), Some(&claim), &granted), place);
        assert_eq!(newly_asked(&target("resourceclaims", "status"), Some(&granted), &granted), None);
    }
}
