//! Whether a definition in a group of the community is approved (`apihelpers.GetAPIApprovalState`,
//! `controller/apiapproval`).

use serde_json::Value;

use super::head::{Condition, Head};
use super::uri;
use crate::go::Quote as _;
use crate::status::FieldError;

type Errors = Vec<FieldError>;

const APPROVED: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What the annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approval {
    Missing,
    Invalid,
    /// It says why there is none.
    Bypassed,
    Approved,
}

fn approval(said: &str) -> Approval {
    let is_url = || uri::parse(said).is_some_and(|url| !url.host.is_empty() && !url.scheme.is_empty());
    match said {
        "" => Approval::Missing,
        _ if said.starts_with("unapproved") => Approval::Bypassed,
        _ if is_url() => Approval::Approved,
        _ => Approval::Invalid,
    }
}

fn reason(said: &str) -> String {
    match approval(said) {
        Approval::Missing => {
            format!("protected groups must have approval annotation {}, {SEE}", APPROVED.quoted())
        }
        Approval::Invalid => format!(
            "protected groups must have approval annotation {} with either a URL or a reason starting with \"unapproved\", {SEE}",
            APPROVED.quoted()
        ),
        Approval::Bypassed => format!("not approved: {}", said.quoted()),
        Approval::Approved => format!("approved in {said}"),
    }
}

fn is_protected(group: &str) -> bool {
    let domains = ["k8s.io", "kubernetes.io"];
    domains
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Condition `KubernetesAPIApprovalPolicyConformant` of a definition; `None` where nobody asks for approval.
pub fn condition(head: &Head) -> Option<Condition> {
    if !is_protected(&head.spec.group) {
        return None;
    }
    let said = head.metadata.approval();
    let (status, why) = match approval(said) {
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Invalid => ("False", "InvalidAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Approved => ("True", "ApprovedAnnotation"),
    };
    Some(Condition {
        ty: "KubernetesAPIApprovalPolicyConformant".into(),
        status: status.into(),
        reason: why.into(),
        message: reason(said),
    })
}

fn said(definition: &Value) -> &str {
    let annotations = definition.pointer("/metadata/annotations");
    annotations.and_then(|all| all.get(APPROVED)).and_then(Value::as_str).unwrap_or("")
}

/// Groups of the community need its approval, or a word on why there is none.
pub(super) fn errors(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let group = new.pointer("/spec/group").and_then(Value::as_str).unwrap_or("");
    let (text, state) = (said(new), approval(said(new)));
    if !is_protected(group) || old.is_some_and(|old| approval(said(old)) == state) {
        return;
    }
    let field = format!("metadata.annotations[{APPROVED}]");
    match state {
        Approval::Bypassed | Approval::Approved => {}
        Approval::Missing => errors.push(FieldError::required(field, reason(text))),
        Approval::Invalid => errors.push(FieldError::invalid(field, text, reason(text))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_says_what_the_annotation_does() {
        let told = |group: &str, annotations: Value| {
            let head =
                json!({"metadata": {"annotations": annotations}, "spec": {"group": group}}).to_string();
            let condition = condition(&Head::read(head.as_bytes()).unwrap_or_default())?;
            Some((condition.status, condition.reason, condition.message))
        };
        let says = |said: &str| told("gateway.networking.k8s.io", json!({APPROVED: said, "other": "x"}));
        let is =
            |status: &str, reason: &str, message: &str| Some((status.into(), reason.into(), message.into()));
        assert_eq!(told("example.com", json!({APPROVED: "https://a.b/c"})), None);
        assert_eq!(told("notk8s.io", json!(null)), None);
        assert_eq!(
            says("https://a.b/pull/1"),
            is("True", "ApprovedAnnotation", "approved in https://a.b/pull/1")
        );
        let unapproved = "not approved: \"unapproved, a test\"";
        assert_eq!(says("unapproved, a test"), is("False", "UnapprovedAnnotation", unapproved));
        let missing = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
        assert_eq!(told("k8s.io", json!(null)), is("False", "MissingAnnotation", missing));
        assert_eq!(told("a.kubernetes.io", json!({})), is("False", "MissingAnnotation", missing));
        for (said, reason) in [
            ("yes", "InvalidAnnotation"),
            ("/a/b", "InvalidAnnotation"),
            ("https:///a", "InvalidAnnotation"),
            ("https://a.b/c (see there)", "ApprovedAnnotation"),
        ] {
            assert_eq!(says(said).map(|told| told.1), Some(reason.into()), "{said}");
        }
    }
}
