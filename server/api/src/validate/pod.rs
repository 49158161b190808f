//! `ValidatePodSpec`: of pods, and of the templates that make them.

use serde_json::Value;

use super::access::*;
use super::container::{self, Of};
use super::{affinity, dns, env, os, pod_annotations, pod_resize, probe, restart, security, sysctl, volume};
use crate::status::FieldError;
use crate::validation::{
    is_dns1123_label, is_dns1123_subdomain, is_ip, is_qualified_name, range_error, validate_labels,
};

/// Whose spec it is.
#[derive(Clone, Copy)]
pub(super) enum Holder<'a> {
    /// A pod with this metadata.
    Pod(&'a Value),
    /// A template of pods, which get a volume for each of the claims beside their own.
    Template(&'a [&'a str]),
}

impl<'a> Holder<'a> {
    pub(super) fn is_pod(self) -> bool {
        matches!(self, Holder::Pod(_))
    }
    pub(super) fn pod_name(self) -> &'a str {
        match self {
            Holder::Pod(metadata) => text(metadata, "name"),
            Holder::Template(_) => "",
        }
    }
    pub(super) fn claims(self) -> &'a [&'a str] {
        match self {
            Holder::Pod(_) => &[],
            Holder::Template(claims) => claims,
        }
    }
}

/// Every container of a pod in upstream's order, each with its path.
pub(super) fn every_container<'a>(spec: &'a Value, at: &str) -> impl Iterator<Item = (String, &'a Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |key| each(spec, key, at))
}

/// `validatePodMetadataAndSpec`, but for what all metadata have to satisfy.
pub(super) fn pod(pod: &Value, errors: &mut Errors) {
    let (metadata, spec) = (get(pod, "metadata"), get(pod, "spec"));
    pod_annotations::annotations(get(metadata, "annotations"), spec, "metadata.annotations", errors);
    self::spec(spec, "spec", Holder::Pod(metadata), errors);
    if text(spec, "serviceAccountName").is_empty() {
        for (at, volume) in each(spec, "volumes", "spec") {
            for (at, source) in each(get(volume, "projected"), "sources", &join(&at, "projected")) {
                if has(source, "serviceAccountToken") {
                    let why = "must not be specified when serviceAccountName is not set";
                    errors.push(FieldError::forbidden(join(&at, "serviceAccountToken"), why));
                }
            }
        }
    }
}

/// Checks a pod's spec at the path `at`.
pub(super) fn spec(spec: &Value, at: &str, holder: Holder, errors: &mut Errors) {
    let volumes = volume::volumes(spec, at, holder, errors);
    resource_claims(spec, at, holder, errors);
    let of = Of { holder, spec, volumes };
    containers(&of, at, errors);
    pod_resize::whole_pod(spec, at, errors);
    const RESTARTS: &[&str] = &["Always", "OnFailure", "Never"];
    required_as_listed(spec, "restartPolicy", at, RESTARTS, errors);
    dns::dns(spec, at, errors);
    errors.extend(validate_labels(spec.get("nodeSelector"), &join(at, "nodeSelector")));
    let context_at = join(at, "securityContext");
    security::of_pod(spec, &context_at, errors);
    sysctl::sysctls(spec, &context_at, errors);
    affinity::affinity(get(spec, "affinity"), &join(at, "affinity"), errors);
    affinity::tolerations(spec, at, errors);
    affinity::spread(spec, at, errors);
    names(spec, at, errors);
    let deadline = int(spec, "activeDeadlineSeconds");
    if let Some(seconds) = deadline.filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds)) {
        let why = range_error(1, i64::from(i32::MAX));
        errors.push(FieldError::invalid(join(at, "activeDeadlineSeconds"), seconds, why));
    }
    gates(spec, at, errors);
    one_of(spec, "preemptionPolicy", at, &["PreemptLowerPriority", "Never"], errors);
    if has(spec, "overhead") {
        let overhead = serde_json::json!({"limits": get(spec, "overhead")});
        container::resources(&overhead, &join(at, "overhead"), errors);
    }
    os::rules(spec, at, errors);
    env::files(spec, at, errors);
}

fn required_as_listed(value: &Value, key: &str, at: &str, supported: &[&str], errors: &mut Errors) {
    match text(value, key) {
        "" => errors.push(FieldError::required(join(at, key), "")),
        found if !supported.contains(&found) => {
            errors.push(FieldError::not_supported_as_listed(join(at, key), found, supported));
        }
        _ => {}
    }
}

/// What a pod is called, and calls others.
fn names(spec: &Value, at: &str, errors: &mut Errors) {
    for key in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        optional_text(spec, key, at, is_dns1123_subdomain, errors);
    }
    for key in ["hostname", "subdomain"] {
        optional_text(spec, key, at, is_dns1123_label, errors);
    }
    for (at, alias) in each(spec, "hostAliases", at) {
        invalid_each(errors, &join(&at, "ip"), text(alias, "ip"), is_ip(text(alias, "ip")));
        for (at, name) in each(alias, "hostnames", &at) {
            let name = name.as_str().unwrap_or_default();
            invalid_each(errors, &at, name, is_dns1123_subdomain(name));
        }
    }
    let group = get(spec, "schedulingGroup");
    match get(group, "podGroupName").as_str() {
        _ if group.is_null() => {}
        Some(name) => {
            invalid_each(errors, &join(at, "schedulingGroup.podGroupName"), name, is_dns1123_subdomain(name));
        }
        None => {
            let why = "must specify one of: `podGroupName`";
            errors.push(FieldError::invalid(join(at, "schedulingGroup.podGroupName"), Value::Null, why));
        }
    }
    if let Some(name) = get(spec, "hostnameOverride").as_str() {
        host_name(spec, name, &join(at, "hostnameOverride"), errors);
    }
}

/// `validatePodHostName`.
fn host_name(spec: &Value, name: &str, at: &str, errors: &mut Errors) {
    for key in ["setHostnameAsFQDN", "hostNetwork"].into_iter().filter(|key| is_true(spec, key)) {
        errors.push(FieldError::forbidden(at, format!("may not be specified when {key} is true")));
    }
    if name.len() > 64 {
        errors.push(FieldError::too_long(at, 64));
    }
    invalid_each(errors, at, name, is_dns1123_subdomain(name));
}

fn gates(spec: &Value, at: &str, errors: &mut Errors) {
    for (at, gate) in each(spec, "readinessGates", at) {
        let name = text(gate, "conditionType");
        invalid_each(errors, &join(&at, "conditionType"), name, is_qualified_name(name));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (at, gate) in each(spec, "schedulingGates", at) {
        let name = text(gate, "name");
        invalid_each(errors, &at, name, is_qualified_name(name));
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(at, name));
        }
        seen.push(name);
    }
}

/// `validatePodResourceClaims`.
fn resource_claims(spec: &Value, at: &str, holder: Holder, errors: &mut Errors) {
    let kinds = ["resourceClaimName", "resourceClaimTemplateName"];
    let mut seen: Vec<&str> = Vec::new();
    for (at, claim) in each(spec, "resourceClaims", at) {
        if let Holder::Pod(metadata) = holder
            && has(get(metadata, "annotations"), pod_annotations::MIRROR)
        {
            let why = "static pods do not support resource claims";
            errors.push(FieldError::forbidden(pod_resize::NOWHERE, why));
            continue;
        }
        match text(claim, "name") {
            "" => errors.push(FieldError::required(join(&at, "name"), "")),
            name if seen.contains(&name) => errors.push(FieldError::duplicate(join(&at, "name"), name)),
            name => {
                invalid_each(errors, &join(&at, "name"), name, is_dns1123_label(name));
                seen.push(name);
            }
        }
        let why = match kinds.iter().filter(|kind| has(claim, kind)).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        };
        if !why.is_empty() {
            errors.push(FieldError::invalid(at.as_str(), claim.clone(), why));
        }
        for kind in kinds {
            if let Some(name) = get(claim, kind).as_str() {
                invalid_each(errors, &join(&at, kind), name, is_dns1123_subdomain(name));
            }
        }
    }
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
    pod_annotations::profiles_match(pod, "spec", errors);
}

fn containers(of: &Of, at: &str, errors: &mut Errors) {
    let spec = of.spec;
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(join(at, "containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for (at, value) in each(spec, key, at) {
            container::container(value, &at, of, errors);
            let name = text(value, "name");
            // only init containers may all be without a name
            if names.contains(&name) {
                errors.push(FieldError::duplicate(join(&at, "name"), name));
            } else if key != "initContainers" || !name.is_empty() {
                names.push(name);
            }
            match key {
                "initContainers" => init_container(value, spec, &at, errors),
                "ephemeralContainers" => ephemeral_container(value, &at, spec, errors),
                _ => {
                    probe::all(value, spec, &at, errors);
                    restart::policy(value, &at, errors);
                }
            }
        }
        if key == "containers" {
            host_port_conflicts(list(spec, key), &join(at, key), errors);
        }
    }
    for one in list(spec, "initContainers") {
        // they run one by one, and upstream numbers each as the first
        host_port_conflicts(std::slice::from_ref(one), &join(at, "initContainers"), errors);
    }
    if is_true(spec, "hostNetwork") {
        for (at, container) in each(spec, "containers", at) {
            host_ports(container, &at, of.holder, errors);
        }
    }
}

fn init_container(container: &Value, spec: &Value, at: &str, errors: &mut Errors) {
    restart::init_policy(container, at, errors);
    if text(container, "restartPolicy") == "Always" {
        return probe::all(container, spec, at, errors);
    }
    for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if has(container, key) {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(join(at, key), why));
        }
    }
    restart::init_resize(container, at, errors);
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

/// In a template a port of the node may go unsaid.
fn host_ports(container: &Value, at: &str, holder: Holder, errors: &mut Errors) {
    for (at, port) in each(container, "ports", at) {
        let (of_node, own) = (int(port, "hostPort").unwrap_or(0), int(port, "containerPort").unwrap_or(0));
        if (holder.is_pod() || of_node != 0) && of_node != own {
            let why = "must match `containerPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(join(&at, "hostPort"), of_node, why));
        }
    }
}

/// `checkHostPortConflicts`.
fn host_port_conflicts(containers: &[Value], at: &str, errors: &mut Errors) {
    let mut taken: Vec<String> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (at, port) in each(container, "ports", &format!("{at}[{index}]")) {
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
