//! `ValidatePodSpec`: of pods, and of the templates that make them.

use serde_json::Value;

use super::access::*;
use super::{affinity, container, pod_resize, sysctl, volume};
use crate::status::FieldError;
use crate::validation::{
    is_dns1123_label, is_dns1123_subdomain, is_ip, is_qualified_name, range_error, validate_labels,
};

/// Checks a pod's spec at the path `at`.
pub fn spec(spec: &Value, at: &str, errors: &mut Vec<FieldError>) {
    spec_with_claims(spec, at, &[], errors);
}

/// As [`spec`], of pods that get a volume for each of `claims` beside their own.
pub(super) fn spec_with_claims(spec: &Value, at: &str, claims: &[&str], errors: &mut Vec<FieldError>) {
    let mut volumes = volume::volumes(spec, at, errors);
    volumes.extend(claims);
    containers(spec, at, &volumes, errors);
    pod_resize::whole_pod(spec, at, errors);
    required_one_of(spec, "restartPolicy", at, &["Always", "Never", "OnFailure"], errors);
    dns(spec, at, errors);
    errors.extend(validate_labels(spec.get("nodeSelector"), &join(at, "nodeSelector")));
    pod_security_context(get(spec, "securityContext"), &join(at, "securityContext"), errors);
    sysctl::sysctls(spec, &join(at, "securityContext"), errors);
    affinity::affinity(get(spec, "affinity"), &join(at, "affinity"), errors);
    affinity::tolerations(spec, at, errors);
    affinity::spread(spec, at, errors);
    for key in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        optional_text(spec, key, at, is_dns1123_subdomain, errors);
    }
    for key in ["hostname", "subdomain"] {
        optional_text(spec, key, at, is_dns1123_label, errors);
    }
    if let Some(seconds) =
        int(spec, "activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s))
    {
        let why = range_error(1, i64::from(i32::MAX));
        errors.push(FieldError::invalid(join(at, "activeDeadlineSeconds"), seconds, why));
    }
    for (at, alias) in each(spec, "hostAliases", at) {
        invalid_each(errors, &join(&at, "ip"), text(alias, "ip"), is_ip(text(alias, "ip")));
    }
    for (at, gate) in each(spec, "readinessGates", at) {
        let name = text(gate, "conditionType");
        invalid_each(errors, &join(&at, "conditionType"), name, is_qualified_name(name));
    }
    one_of(spec, "preemptionPolicy", at, &["Never", "PreemptLowerPriority"], errors);
    one_of(get(spec, "os"), "name", &join(at, "os"), &["linux", "windows"], errors);
}

/// What only a new pod may not have.
pub(super) fn only_on_create(pod: &Value, errors: &mut Errors) {
    let spec = get(pod, "spec");
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    if !list(spec, "schedulingGates").is_empty() && !text(spec, "nodeName").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", why));
    }
}

fn containers(spec: &Value, at: &str, volumes: &[&str], errors: &mut Errors) {
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(join(at, "containers"), ""));
    }
    let host_network = is_true(spec, "hostNetwork");
    let mut names: Vec<&str> = Vec::new();
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for (at, value) in each(spec, key, at) {
            container::container(value, &at, volumes, errors);
            let name = text(value, "name");
            if !name.is_empty() && names.contains(&name) {
                errors.push(FieldError::duplicate(join(&at, "name"), name));
            }
            names.push(name);
            match key {
                "initContainers" => init_container(value, &at, errors),
                "ephemeralContainers" => ephemeral_container(value, &at, spec, errors),
                _ => {}
            }
            if host_network {
                host_ports(value, &at, errors);
            }
        }
    }
    if !host_network {
        host_port_conflicts(spec, at, errors);
    }
}

fn init_container(container: &Value, at: &str, errors: &mut Errors) {
    one_of(container, "restartPolicy", at, &["Always", "Never", "OnFailure"], errors);
    if text(container, "restartPolicy") == "Always" {
        return;
    }
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if has(container, key) {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(join(at, key), why));
        }
    }
}

/// `validateEphemeralContainers`: nothing that the pod's work could rely upon.
fn ephemeral_container(container: &Value, at: &str, spec: &Value, errors: &mut Errors) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    const NOT_ALLOWED: &[&str] = &[
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let target = text(container, "targetContainerName");
    let mut others = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    if !target.is_empty() && !others.any(|other| text(other, "name") == target) {
        errors.push(FieldError::not_found(join(at, "targetContainerName"), target));
    }
    let set = |key: &&&str| match get(container, key) {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => **key != "resources" || !map.is_empty(),
        _ => true,
    };
    errors.extend(NOT_ALLOWED.iter().filter(set).map(|key| FieldError::forbidden(join(at, key), WHY)));
    for (at, mount) in each(container, "volumeMounts", at) {
        let paths = ["subPath", "subPathExpr"].into_iter().filter(|key| !text(mount, key).is_empty());
        errors.extend(paths.map(|key| FieldError::forbidden(join(&at, key), WHY)));
    }
}

fn host_ports(container: &Value, at: &str, errors: &mut Errors) {
    for (at, port) in each(container, "ports", at) {
        if int(port, "hostPort") != int(port, "containerPort") {
            let number = get(port, "containerPort").clone();
            let why = "must match `hostPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(join(&at, "containerPort"), number, why));
        }
    }
}

/// `checkHostPortConflicts`.
fn host_port_conflicts(spec: &Value, at: &str, errors: &mut Errors) {
    let mut taken: Vec<String> = Vec::new();
    for (at, container) in each(spec, "containers", at) {
        for (at, port) in each(container, "ports", &at) {
            let Some(number) = int(port, "hostPort").filter(|n| *n != 0) else { continue };
            let name = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if taken.contains(&name) {
                errors.push(FieldError::duplicate(join(&at, "hostPort"), name));
            } else {
                taken.push(name);
            }
        }
    }
}

fn dns(spec: &Value, at: &str, errors: &mut Errors) {
    required_one_of(
        spec,
        "dnsPolicy",
        at,
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        errors,
    );
    let config = get(spec, "dnsConfig");
    let config_at = join(at, "dnsConfig");
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(config_at.as_str(), why));
        } else if list(config, "nameservers").is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(join(&config_at, "nameservers"), why));
        }
    }
    if list(config, "nameservers").len() > 3 {
        let shown = get(config, "nameservers").clone();
        errors.push(FieldError::invalid(
            join(&config_at, "nameservers"),
            shown,
            "must not have more than 3 nameservers",
        ));
    }
    for (at, server) in each(config, "nameservers", &config_at) {
        let server = server.as_str().unwrap_or_default();
        invalid_each(errors, &at, server, is_ip(server));
    }
}

fn pod_security_context(context: &Value, at: &str, errors: &mut Errors) {
    container::ids(context, &["runAsUser", "runAsGroup", "fsGroup"], at, errors);
    container::seccomp(context, at, errors);
    one_of(context, "fsGroupChangePolicy", at, &["Always", "OnRootMismatch"], errors);
    one_of(context, "supplementalGroupsPolicy", at, &["Merge", "Strict"], errors);
}
