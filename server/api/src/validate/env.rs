//! Environment variables of containers, and what of the pod and its containers they and volumes may show.

use serde_json::Value;

use super::access::*;
use super::container::no_backsteps;
use crate::status::FieldError;
use crate::validation::{
    NameRule, is_config_map_key, is_dns1123_label, is_dns1123_subdomain, is_env_var_name, is_qualified_name,
    name_errors,
};

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// What `fieldRef` of a variable may name.
const IN_VARIABLES: &[&str] = &[
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

/// What `fieldRef` of a volume's file may name.
const IN_VOLUMES: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// What either knows of beside the above, and may not name.
const KNOWN: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase"];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const UNITS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn env(container: &Value, at: &str, errors: &mut Errors) {
    for (at, variable) in each(container, "env", at) {
        required_text(variable, "name", &at, is_env_var_name, errors);
        if has(variable, "valueFrom") {
            value_from(variable, &join(&at, "valueFrom"), errors);
        }
    }
    let all = join(at, "envFrom");
    for (at, source) in each(container, "envFrom", at) {
        env_from(source, &at, &all, errors);
    }
}

fn value_from(variable: &Value, at: &str, errors: &mut Errors) {
    let from = get(variable, "valueFrom");
    for source in SOURCES.into_iter().filter(|source| has(from, source)) {
        let (value, at) = (get(from, source), join(at, source));
        match source {
            "fieldRef" => field_ref(value, IN_VARIABLES, &at, errors),
            "resourceFieldRef" => resource_ref(value, false, &at, errors),
            "fileKeyRef" => file_key_ref(value, &at, errors),
            _ => {
                let name = text(value, "name");
                invalid_each(errors, &join(&at, "name"), name, is_dns1123_subdomain(name));
                required_text(value, "key", &at, is_config_map_key, errors);
            }
        }
    }
    let why = match SOURCES.iter().filter(|source| has(from, source)).count() {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !text(variable, "value").is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(at, "", why));
}

/// `validateFileKeySelector`.
fn file_key_ref(reference: &Value, at: &str, errors: &mut Errors) {
    required_text(reference, "key", at, is_env_var_name, errors);
    required_text(reference, "volumeName", at, is_dns1123_label, errors);
    match text(reference, "path") {
        "" => errors.push(FieldError::required(join(at, "path"), "")),
        path => no_backsteps(path, &join(at, "path"), errors),
    }
}

/// `validateFileKeyRefVolumes`: files with variables are in volumes that the pod itself fills.
pub(super) fn files(spec: &Value, at: &str, errors: &mut Errors) {
    for (at, container) in super::pod::every_container(spec, at) {
        for (at, variable) in each(container, "env", &at) {
            let reference = get(get(variable, "valueFrom"), "fileKeyRef");
            if reference.is_null() {
                continue;
            }
            let (name, at) = (text(reference, "volumeName"), format!("{at}.valueFrom.fileKeyRef.volumeName"));
            match list(spec, "volumes").iter().rfind(|volume| text(volume, "name") == name) {
                None => errors.push(FieldError::not_found(at, name)),
                Some(volume) if !has(volume, "emptyDir") => {
                    errors.push(FieldError::invalid(at, name, "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
}

/// `validateObjectFieldSelector` of a volume's file.
pub(super) fn volume_field_ref(reference: &Value, at: &str, errors: &mut Errors) {
    field_ref(reference, IN_VOLUMES, at, errors);
}

fn field_ref(reference: &Value, allowed: &[&str], at: &str, errors: &mut Errors) {
    let (version, path) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    if version.is_empty() || path.is_empty() {
        let key = if version.is_empty() { "apiVersion" } else { "fieldPath" };
        return errors.push(FieldError::required(join(at, key), ""));
    }
    let field = join(at, "fieldPath");
    let mut wrong = |why: String| {
        errors.push(FieldError::invalid(field.as_str(), path, format!("error converting fieldPath: {why}")));
    };
    if version != "v1" {
        return wrong(format!("unsupported pod version: {version}"));
    }
    match path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        Some(("metadata.annotations", key)) => {
            invalid_each(errors, at, &key.to_lowercase(), is_qualified_name(&key.to_lowercase()));
        }
        Some(("metadata.labels", key)) => invalid_each(errors, at, key, is_qualified_name(key)),
        Some(_) => wrong(format!("field label does not support subscript: {path}")),
        None => {
            let path = if path == "spec.host" { "spec.nodeName" } else { path };
            let known = |all: &[&str]| all.contains(&path);
            if !known(IN_VARIABLES) && !known(IN_VOLUMES) && !known(KNOWN) {
                wrong(format!("field label not supported: {path}"));
            } else if !allowed.contains(&path) {
                errors.push(FieldError::not_supported(field, path, allowed));
            }
        }
    }
}

/// `validateContainerResourceFieldSelector`; files say whose resource it is.
pub(super) fn resource_ref(reference: &Value, in_volume: bool, at: &str, errors: &mut Errors) {
    let resource = text(reference, "resource");
    let huge = ["requests.hugepages-", "limits.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    if in_volume && text(reference, "containerName").is_empty() {
        errors.push(FieldError::required(join(at, "containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(join(at, "resource"), ""));
    } else if !huge && !RESOURCES.contains(&resource) {
        errors.push(FieldError::not_supported(join(at, "resource"), resource, RESOURCES));
    }
    let Some(divisor) = quantity(get(reference, "divisor")).filter(|divisor| !divisor.is_zero()) else {
        return;
    };
    let (allowed, whose) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"][..], "cpu"),
        "limits.memory" | "requests.memory" => (UNITS, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (UNITS, "local ephemeral storage"),
        _ if huge => (UNITS, "hugepages"),
        _ => return,
    };
    if !allowed.contains(&divisor.to_string().as_str()) {
        let values = if whose == "cpu" { "1m and 1".to_owned() } else { UNITS.join(", ") };
        let why = format!("only divisor's values {values} are supported with the {whose} resource");
        errors.push(FieldError::invalid(join(at, "divisor"), resource, why));
    }
}

fn env_from(source: &Value, at: &str, all: &str, errors: &mut Errors) {
    optional_text(source, "prefix", at, is_env_var_name, errors);
    let kinds = ["configMapRef", "secretRef"];
    for kind in kinds.iter().filter(|kind| has(source, kind)) {
        // what may start a name will do here, as upstream has it
        required_text(
            get(source, kind),
            "name",
            &join(at, kind),
            |name| name_errors(NameRule::Subdomain, name, true),
            errors,
        );
    }
    match kinds.iter().filter(|kind| has(source, kind)).count() {
        0 => errors.push(FieldError::invalid(all, "", "must specify one of: `configMapRef` or `secretRef`")),
        1 => {}
        _ => {
            errors.push(FieldError::invalid(all, "", "may not have more than one field specified at a time"))
        }
    }
}
