//! `PodSecurity`: pods keep to the Pod Security Standard that their namespace's labels name.
//!
//! `plugin/pkg/admission/security/podsecurity` and `k8s.io/pod-security-admission`. Pods are refused, pod templates
//! of workloads are warned of only, and told to the auditor. Defaults are upstream's: privileged where there is no
//! label, nothing exempt.

mod checks;
mod confined;
mod existing;
mod host;
mod policy;
mod restricted;
mod view;

use sampan_api::status::ApiError;
use serde_json::Value;

use self::policy::{Level, Policy, Standard};
use self::view::PodView;
use super::kept;
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, items, meta, text};

pub(super) struct PodSecurity;

impl Plugin for PodSecurity {
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        if !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        match (review.kind.group, review.kind.plural, review.subresource) {
            ("", "namespaces", "") => namespace(review, object),
            ("", "pods", "" | "resize" | "ephemeralcontainers") => pod(review, object),
            (group, plural, "") => {
                if let Some(template) = template(group, plural, object) {
                    workload(review, template);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The pod template of a workload.
fn template<'a>(group: &str, plural: &str, object: &'a Value) -> Option<&'a Value> {
    let template = match (group, plural) {
        ("", "podtemplates") => at(object, &["template"]),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => at(object, &["spec", "template"]),
        ("batch", "cronjobs") => at(object, &["spec", "jobTemplate", "spec", "template"]),
        _ => return None,
    };
    Some(template).filter(|template| !template.is_null())
}

/// What the namespace's labels ask for; the auditor is told of those that cannot be read.
fn policy_of(review: &Review<'_>) -> Policy {
    let namespace = kept::look_up(review.store, "namespaces", review.namespace).unwrap_or_default();
    let (policy, errors) = Policy::of(&namespace);
    if !errors.is_empty() {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        annotate(review, "error", format!("Failed to parse policy: {}", errors.join(", ")));
    }
    policy
}

fn annotate(review: &Review<'_>, key: &str, value: String) {
    review.notes.annotate(format!("pod-security.kubernetes.io/{key}"), value);
}

fn pod(review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
    let policy = policy_of(review);
    let standards = [policy.enforce, policy.audit, policy.warn];
    if standards.iter().all(|standard| standard.level == Level::Privileged) {
        return Ok(());
    }
    if review.old.is_some_and(|old| !significant(object, old)) {
        return Ok(());
    }
    let view = PodView::of(object);
    annotate(review, "enforce-policy", policy.enforce.to_string());
    audit(review, policy.audit, view);
    let violations = checks::violations(policy.enforce, view);
    if violations.is_empty() {
        warn(review, policy.warn, view);
        return Ok(());
    }
    let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, checks::details(&violations));
    let name = if review.name.is_empty() { meta(object, "name") } else { review.name };
    Err(ApiError::forbidden("", "pods", name, &why))
}

fn workload(review: &Review<'_>, template: &Value) {
    let (policy, view) = (policy_of(review), PodView::of(template));
    audit(review, policy.audit, view);
    warn(review, policy.warn, view);
}

/// `would violate PodSecurity "baseline:latest": …`, if it would.
fn would(standard: Standard, pod: PodView<'_>) -> Option<String> {
    let violations = checks::violations(standard, pod);
    let what = checks::details(&violations);
    (!violations.is_empty()).then(|| format!("would violate PodSecurity \"{standard}\": {what}"))
}

fn audit(review: &Review<'_>, standard: Standard, pod: PodView<'_>) {
    if let Some(text) = would(standard, pod) {
        annotate(review, "audit-violations", text);
    }
}

fn warn(review: &Review<'_>, standard: Standard, pod: PodView<'_>) {
    if let Some(text) = would(standard, pod) {
        review.warn(text);
    }
}

/// Whether an update touches anything that the checks look at and that may change at all: images, seccomp
/// annotations, ephemeral containers.
fn significant(new: &Value, old: &Value) -> bool {
    let annotation = |pod: &Value, key: &str| text(pod, &["metadata", "annotations", key]).to_owned();
    let differs = |key: &str| annotation(new, key) != annotation(old, key);
    let container = |a: &Value, b: &Value| {
        let of_container = format!("container.seccomp.security.alpha.kubernetes.io/{}", text(a, &["name"]));
        text(a, &["image"]) != text(b, &["image"]) || differs(&of_container)
    };
    let list = |list: &str| {
        let (new, old) = (items(at(new, &["spec", list])), items(at(old, &["spec", list])));
        new.len() != old.len() || new.iter().zip(old).any(|(a, b)| container(a, b))
    };
    let before = items(at(old, &["spec", "ephemeralContainers"]));
    let ephemeral = items(at(new, &["spec", "ephemeralContainers"])).iter().any(|added| {
        let same = before.iter().find(|old| text(old, &["name"]) == text(added, &["name"]));
        same.is_none_or(|old| container(added, old))
    });
    differs("seccomp.security.alpha.kubernetes.io/pod")
        || list("containers")
        || list("initContainers")
        || ephemeral
}

fn namespace(review: &Review<'_>, namespace: &Value) -> Result<(), ApiError> {
    let (policy, errors) = Policy::of(namespace);
    let before = review.old.map(Policy::of);
    let known = before.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !known {
        return Err(ApiError::invalid("", "Namespace", meta(namespace, "name"), errors));
    }
    let Some((before, _)) = before else { return Ok(()) };
    if stricter(policy.enforce, before.enforce) {
        existing::warn(review, meta(namespace, "name"), policy.enforce);
    }
    Ok(())
}

/// Whether pods that were fine may violate the new standard.
fn stricter(new: Standard, old: Standard) -> bool {
    new != old && new.level != Level::Privileged && !(new.version == old.version && new.level <= old.level)
}

#[cfg(test)]
mod tests;
