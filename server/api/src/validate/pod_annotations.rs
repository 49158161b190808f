//! Annotations that mean something to a pod: `ValidatePodSpecificAnnotations`, and the profiles they once were the
//! place for.

use serde_json::Value;

use super::access::*;
use super::container::local_path;
use super::pod::every_container;
use crate::go::Quote as _;
use crate::status::FieldError;

/// A pod that the kubelet mirrors.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCAL: &str = "localhost/";

pub(super) fn annotations(annotations: &Value, spec: &Value, at: &str, errors: &mut Errors) {
    let mut wrong = |field: String, value: &str, why: &str| {
        errors.push(FieldError::invalid(field, value, why));
    };
    if let Some(value) = get(annotations, MIRROR).as_str()
        && text(spec, "nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        wrong(format!("{at}[{MIRROR}]"), value, why);
    }
    if let Some(cost) = get(annotations, DELETION_COST).as_str().filter(|cost| !is_cost(cost)) {
        wrong(format!("{at}[{DELETION_COST}]"), cost, "must be a 32bit integer");
    }
    for (key, profile) in annotations.as_object().into_iter().flatten() {
        let profile = profile.as_str().unwrap_or_default();
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(profile, &join(at, key), errors);
        } else if let Some(container) = key.strip_prefix(APP_ARMOR) {
            app_armor(container, profile, spec, &format!("{at}[{key}]"), errors);
        }
    }
}

/// `GetDeletionCostFromPodAnnotations`: no plus, no zeros ahead.
fn is_cost(cost: &str) -> bool {
    let digits = cost.strip_prefix('-').unwrap_or(cost);
    let plain = digits == "0" || (!digits.starts_with('0') && !digits.starts_with('+'));
    plain && cost != "-0" && cost.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, at: &str, errors: &mut Errors) {
    match profile.strip_prefix(LOCAL) {
        _ if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        Some(path) => local_path(path, at, errors),
        None => errors.push(FieldError::invalid(at, profile, "must be a valid seccomp profile")),
    }
}

fn app_armor(container: &str, profile: &str, spec: &Value, at: &str, errors: &mut Errors) {
    if !every_container(spec, "").any(|(_, one)| text(one, "name") == container) {
        errors.push(FieldError::invalid(at, container, "container not found"));
    }
    if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with(LOCAL) {
        let why = format!("invalid AppArmor profile name: {}", profile.quoted());
        errors.push(FieldError::invalid(at, profile, why));
    }
}

/// Of a new pod, or a template, whose spec is at `at`, the annotations and the fields that took their place say the same.
pub(super) fn profiles_match(pod: &Value, at: &str, errors: &mut Errors) {
    let (annotations, spec) = (get(get(pod, "metadata"), "annotations"), get(pod, "spec"));
    let own = get(spec, "securityContext");
    let context_at = join(at, "securityContext.seccompProfile");
    matches("seccomp", get(annotations, SECCOMP_POD), get(own, "seccompProfile"), &context_at, errors);
    let on_windows = text(get(spec, "os"), "name") == "windows";
    for (at, container) in every_container(spec, at) {
        let (name, context) = (text(container, "name"), get(container, "securityContext"));
        let annotation = |prefix: &str| get(annotations, &format!("{prefix}{name}"));
        let context_at = join(&at, "securityContext");
        let at = join(&context_at, "seccompProfile");
        matches("seccomp", annotation(SECCOMP_CONTAINER), get(context, "seccompProfile"), &at, errors);
        let key = "appArmorProfile";
        let profile = if has(context, key) { get(context, key) } else { get(own, key) };
        if !on_windows {
            matches("apparmor", annotation(APP_ARMOR), profile, &join(&context_at, key), errors);
        }
    }
}

fn matches(what: &str, annotation: &Value, profile: &Value, at: &str, errors: &mut Errors) {
    let Some(annotation) = annotation.as_str() else { return };
    let file = annotation.strip_prefix(LOCAL);
    let right = match text(profile, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => {
            annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default")
        }
        "Localhost" if file.is_some() => {
            if file != get(profile, "localhostProfile").as_str() {
                let why = format!("{what} profile in annotation and field must match");
                errors.push(FieldError::forbidden(join(at, "localhostProfile"), why));
            }
            true
        }
        "Localhost" => false,
        _ => true,
    };
    if !right {
        let why = format!("{what} type in annotation and field must match");
        errors.push(FieldError::forbidden(join(at, "type"), why));
    }
}
