//! Containers, init containers and what is inside: names, ports, env, resources, mounts, hooks.

use serde_json::Value;

use super::access::*;
use super::probe;
use crate::status::FieldError;
use crate::validation::{
    is_config_map_key, is_dns1123_label, is_env_var_name, is_port_name, is_port_number, is_qualified_name,
    range_error,
};

const FIELD_PATHS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The rules that hold for every sort of container.
pub(super) fn container(container: &Value, at: &str, volumes: &[&str], errors: &mut Errors) {
    required_text(container, "name", at, is_dns1123_label, errors);
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(join(at, "image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            join(at, "image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    one_of(container, "terminationMessagePolicy", at, &["FallbackToLogsOnError", "File"], errors);
    one_of(container, "imagePullPolicy", at, &["Always", "IfNotPresent", "Never"], errors);
    ports(container, at, errors);
    for (at, env) in each(container, "env", at) {
        env_var(env, &at, errors);
    }
    for (at, source) in each(container, "envFrom", at) {
        env_from(source, &at, errors);
    }
    mounts(container, at, volumes, errors);
    resources(get(container, "resources"), &join(at, "resources"), errors);
    probe::all(container, at, errors);
    security_context(get(container, "securityContext"), &join(at, "securityContext"), errors);
}

fn ports(container: &Value, at: &str, errors: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (at, port) in each(container, "ports", at) {
        let name = text(port, "name");
        let wrong = if name.is_empty() { vec![] } else { is_port_name(name) };
        if !wrong.is_empty() {
            invalid_each(errors, &join(&at, "name"), name, wrong);
        } else if !name.is_empty() && names.contains(&name) {
            errors.push(FieldError::duplicate(join(&at, "name"), name));
        } else {
            names.push(name);
        }
        match int(port, "containerPort").unwrap_or(0) {
            0 => errors.push(FieldError::required(join(&at, "containerPort"), "")),
            number => port_number(number, &join(&at, "containerPort"), errors),
        }
        if let Some(number) = int(port, "hostPort").filter(|n| *n != 0) {
            port_number(number, &join(&at, "hostPort"), errors);
        }
        required_one_of(port, "protocol", &at, &["SCTP", "TCP", "UDP"], errors);
    }
}

pub(super) fn port_number(number: i64, at: &str, errors: &mut Errors) {
    errors.extend(is_port_number(number).into_iter().map(|why| FieldError::invalid(at, number, why)));
}

fn env_var(env: &Value, at: &str, errors: &mut Errors) {
    required_text(env, "name", at, is_env_var_name, errors);
    let Some(from) = get(env, "valueFrom").as_object() else { return };
    let from_at = join(at, "valueFrom");
    let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let set = sources.iter().filter(|s| from.get(**s).is_some_and(|v| !v.is_null())).count();
    let from = get(env, "valueFrom");
    if set == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid(from_at.as_str(), "", why));
    } else if !text(env, "value").is_empty() {
        errors.push(FieldError::invalid(
            from_at.as_str(),
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if set > 1 {
        let why = "may not have more than one field specified at a time";
        errors.push(FieldError::invalid(from_at.as_str(), "", why));
    }
    if has(from, "fieldRef") {
        field_ref(get(from, "fieldRef"), &join(&from_at, "fieldRef"), errors);
    }
    for source in ["configMapKeyRef", "secretKeyRef"] {
        if has(from, source) {
            let at = join(&from_at, source);
            required_text(get(from, source), "name", &at, any_text, errors);
            required_text(get(from, source), "key", &at, is_config_map_key, errors);
        }
    }
    if has(from, "resourceFieldRef") {
        required_text(
            get(from, "resourceFieldRef"),
            "resource",
            &join(&from_at, "resourceFieldRef"),
            any_text,
            errors,
        );
    }
}

fn field_ref(reference: &Value, at: &str, errors: &mut Errors) {
    required_text(reference, "apiVersion", at, any_text, errors);
    let path = text(reference, "fieldPath");
    let keyed = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix)?.strip_suffix("']"));
    match (path, keyed) {
        ("", _) => errors.push(FieldError::required(join(at, "fieldPath"), "")),
        (_, Some(key)) => invalid_each(errors, at, key, is_qualified_name(&key.to_lowercase())),
        (path, None) if FIELD_PATHS.contains(&path) => {}
        (path, None) => errors.push(FieldError::not_supported(join(at, "fieldPath"), path, FIELD_PATHS)),
    }
}

fn env_from(source: &Value, at: &str, errors: &mut Errors) {
    optional_text(source, "prefix", at, is_env_var_name, errors);
    let kinds = ["configMapRef", "secretRef"];
    match kinds.iter().filter(|kind| has(source, kind)).count() {
        0 => errors.push(FieldError::invalid(at, "", "must specify one of: `configMapRef` or `secretRef`")),
        1 => {}
        _ => errors.push(FieldError::invalid(at, "", "may not have more than one field specified at a time")),
    }
    for kind in kinds.iter().filter(|kind| has(source, kind)) {
        required_text(get(source, kind), "name", &join(at, kind), any_text, errors);
    }
}

fn mounts(container: &Value, at: &str, volumes: &[&str], errors: &mut Errors) {
    let mut paths: Vec<&str> = Vec::new();
    for (at, mount) in each(container, "volumeMounts", at) {
        match text(mount, "name") {
            "" => errors.push(FieldError::required(join(&at, "name"), "")),
            name if !volumes.contains(&name) => errors.push(FieldError::not_found(join(&at, "name"), name)),
            _ => {}
        }
        match text(mount, "mountPath") {
            "" => errors.push(FieldError::required(join(&at, "mountPath"), "")),
            path if paths.contains(&path) => {
                errors.push(FieldError::invalid(join(&at, "mountPath"), path, "must be unique"));
            }
            path => paths.push(path),
        }
        for key in ["subPath", "subPathExpr"] {
            local_path(text(mount, key), &join(&at, key), errors);
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(join(&at, "subPathExpr"), text(mount, "subPathExpr"), why));
        }
    }
}

/// `validateLocalDescendingPath`.
pub(super) fn local_path(path: &str, at: &str, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(at, path, "must be a relative path"));
    }
    if path.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(at, path, "must not contain '..'"));
    }
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage") || name.starts_with("hugepages-")
}

/// `ValidateResourceRequirements`.
pub(super) fn resources(resources: &Value, at: &str, errors: &mut Errors) {
    resources_named(resources, at, resource_name, errors);
}

/// As [`resources`], of those that `named` lets have their names.
pub(super) fn resources_named(
    resources: &Value,
    at: &str,
    named: fn(&str, &str, &mut Errors),
    errors: &mut Errors,
) {
    let limits = get(resources, "limits");
    for list in ["limits", "requests"] {
        for (name, amount) in entries(resources, list) {
            let at = format!("{at}.{list}[{name}]");
            named(name, &at, errors);
            if let Some(amount) = quantity(amount).filter(|q| q.sign() < 0) {
                errors.push(FieldError::invalid(
                    at,
                    amount.to_string(),
                    "must be greater than or equal to 0",
                ));
            }
        }
    }
    for (name, amount) in entries(resources, "requests") {
        let (Some(request), limit) = (quantity(amount), limits.get(name).and_then(quantity)) else {
            continue;
        };
        let at = join(at, "requests");
        match limit {
            Some(limit) if request > limit => errors.push(FieldError::invalid(
                at,
                request.to_string(),
                format!("must be less than or equal to {name} limit of {limit}"),
            )),
            Some(limit) if name.contains('/') && request != limit => errors.push(FieldError::invalid(
                at,
                request.to_string(),
                format!("must be equal to {name} limit of {limit}"),
            )),
            None if name.contains('/') => {
                errors.push(FieldError::required(
                    join(at.trim_end_matches(".requests"), "limits"),
                    "Limit must be set for non overcommitable resources",
                ));
            }
            _ => {}
        }
    }
}

fn resource_name(name: &str, at: &str, errors: &mut Errors) {
    invalid_each(errors, at, name, is_qualified_name(name));
    if name.contains('/') {
        return;
    }
    if !is_standard(name) {
        errors.push(FieldError::invalid(at, name, "must be a standard resource type or fully qualified"));
        errors.push(FieldError::invalid(at, name, "must be a standard resource for containers"));
    } else if name == "storage" {
        errors.push(FieldError::invalid(at, name, "must be a standard resource for containers"));
    }
}

fn security_context(context: &Value, at: &str, errors: &mut Errors) {
    ids(context, &["runAsUser", "runAsGroup"], at, errors);
    one_of(context, "procMount", at, &["Default", "Unmasked"], errors);
    if get(context, "allowPrivilegeEscalation").as_bool() == Some(false) && is_true(context, "privileged") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(at, context.clone(), why));
    }
    seccomp(context, at, errors);
}

pub(super) fn ids(context: &Value, keys: &[&str], at: &str, errors: &mut Errors) {
    for key in keys {
        if let Some(id) = int(context, key).filter(|id| !(0..=0xffff_ffff).contains(id)) {
            errors.push(FieldError::invalid(join(at, key), id, range_error(0, 0xffff_ffff)));
        }
    }
}

pub(super) fn seccomp(context: &Value, at: &str, errors: &mut Errors) {
    let profile = get(context, "seccompProfile");
    if profile.is_null() {
        return;
    }
    let at = join(at, "seccompProfile");
    required_one_of(profile, "type", &at, &["Localhost", "RuntimeDefault", "Unconfined"], errors);
    let localhost = text(profile, "type") == "Localhost";
    if localhost && text(profile, "localhostProfile").is_empty() {
        let why = "must be set when seccomp type is Localhost";
        errors.push(FieldError::required(join(&at, "localhostProfile"), why));
    } else if !localhost && has(profile, "localhostProfile") {
        let why = "can only be set when seccomp type is Localhost";
        errors.push(FieldError::invalid(
            join(&at, "localhostProfile"),
            get(profile, "localhostProfile").clone(),
            why,
        ));
    }
}
