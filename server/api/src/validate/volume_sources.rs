//! What each source of a pod's volume needs, and those that PersistentVolumes share with them.

use serde_json::Value;

use super::access::*;
use super::container::{local_path, no_backsteps};
use super::{env, iscsi, projected};
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_dns1123_subdomain, range_error};

/// Checks the source of that kind at `at`.
pub(super) fn source(kind: &str, source: &Value, at: &str, errors: &mut Errors) {
    let required = |keys: &[&str], errors: &mut Errors| {
        for key in keys.iter().filter(|key| text(source, key).is_empty()) {
            errors.push(FieldError::required(join(at, key), ""));
        }
    };
    mode(source, "defaultMode", at, errors);
    match kind {
        "secret" | "configMap" => {
            required(if kind == "secret" { &["secretName"] } else { &["name"] }, errors);
            key_paths(source, at, errors);
        }
        "hostPath" => host_path(source, at, errors),
        "persistentVolumeClaim" => required(&["claimName"], errors),
        "emptyDir" if quantity(get(source, "sizeLimit")).is_some_and(|limit| limit.sign() < 0) => {
            let why = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(join(at, "sizeLimit"), why));
        }
        "downwardAPI" => list(source, "items").iter().for_each(|file| downward_file(file, at, errors)),
        "projected" => projected::projected(source, at, errors),
        "nfs" => {
            required(&["server", "path"], errors);
            let path = text(source, "path");
            if !path.starts_with('/') {
                errors.push(FieldError::invalid(join(at, "path"), path, "must be an absolute path"));
            }
        }
        "csi" => csi(source, at, errors),
        "gitRepo" => {
            required(&["repository"], errors);
            local_path(text(source, "directory"), &join(at, "directory"), errors);
        }
        "gcePersistentDisk" => disk(source, "pdName", at, errors),
        "awsElasticBlockStore" => disk(source, "volumeID", at, errors),
        "iscsi" => iscsi::source(source, at, errors),
        "fc" => fibre_channel(source, at, errors),
        "glusterfs" => required(&["endpoints", "path"], errors),
        "flocker" => flocker(source, at, errors),
        "rbd" | "cephfs" => {
            if list(source, "monitors").is_empty() {
                errors.push(FieldError::required(join(at, "monitors"), ""));
            }
            required(if kind == "rbd" { &["image"] } else { &[] }, errors);
        }
        "cinder" => {
            required(&["volumeID"], errors);
            secret(source, at, errors);
        }
        "quobyte" => quobyte(source, at, errors),
        "flexVolume" => flex(source, at, errors),
        "azureFile" => required(&["secretName", "shareName"], errors),
        "azureDisk" => azure_disk(source, at, errors),
        "vsphereVolume" => required(&["volumePath"], errors),
        "photonPersistentDisk" => required(&["pdID"], errors),
        "portworxVolume" => required(&["volumeID"], errors),
        "scaleIO" => required(&["gateway", "system", "volumeName"], errors),
        "storageos" => {
            required_text(source, "volumeName", at, is_dns1123_label, errors);
            optional_text(source, "volumeNamespace", at, is_dns1123_label, errors);
            secret(source, at, errors);
        }
        _ => {}
    }
}

/// A reference to a secret has its name.
fn secret(source: &Value, at: &str, errors: &mut Errors) {
    let reference = get(source, "secretRef");
    if !reference.is_null() && text(reference, "name").is_empty() {
        errors.push(FieldError::required(join(at, "secretRef.name"), ""));
    }
}

fn host_path(source: &Value, at: &str, errors: &mut Errors) {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    match text(source, "path") {
        "" => errors.push(FieldError::required(join(at, "path"), "")),
        path => {
            no_backsteps(path, &join(at, "path"), errors);
            one_of(source, "type", at, TYPES, errors);
        }
    }
}

pub(super) fn mode(source: &Value, key: &str, at: &str, errors: &mut Errors) {
    if let Some(mode) = int(source, key).filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(join(at, key), mode, why));
    }
}

/// `ValidateLocalNonReservedPath`.
pub(super) fn own_path(path: &str, at: &str, errors: &mut Errors) {
    local_path(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.push(FieldError::invalid(at, path, "must not start with '..'"));
    }
}

/// `validateKeyToPath` of each item.
pub(super) fn key_paths(source: &Value, at: &str, errors: &mut Errors) {
    for (at, item) in each(source, "items", at) {
        required_text(item, "key", &at, any_text, errors);
        file_path(item, &at, errors);
        mode(item, "mode", &at, errors);
    }
}

fn file_path(item: &Value, at: &str, errors: &mut Errors) {
    let (path, at) = (text(item, "path"), join(at, "path"));
    if path.is_empty() {
        errors.push(FieldError::required(at.as_str(), ""));
    }
    own_path(path, &at, errors);
}

/// `validateDownwardAPIVolumeFile`; which of the files it is goes unsaid, as it does upstream.
pub(super) fn downward_file(file: &Value, at: &str, errors: &mut Errors) {
    file_path(file, at, errors);
    match (get(file, "fieldRef"), get(file, "resourceFieldRef")) {
        (Value::Null, Value::Null) => {
            errors.push(FieldError::required(at, "one of fieldRef and resourceFieldRef is required"));
        }
        (Value::Null, resource) => {
            env::resource_ref(resource, true, &join(at, "resourceFieldRef"), errors);
        }
        (field, resource) => {
            env::volume_field_ref(field, &join(at, "fieldRef"), errors);
            if !resource.is_null() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(at, "resource", why));
            }
        }
    }
    mode(file, "mode", at, errors);
}

/// `validateCSIVolumeSource`.
fn csi(source: &Value, at: &str, errors: &mut Errors) {
    csi_driver(text(source, "driver"), &join(at, "driver"), errors);
    let reference = get(source, "nodePublishSecretRef");
    match text(reference, "name") {
        _ if reference.is_null() => {}
        "" => errors.push(FieldError::required(join(at, "nodePublishSecretRef.name"), "")),
        // the field is upstream's
        name => invalid_each(errors, &join(at, "name"), name, is_dns1123_subdomain(name)),
    }
}

/// `ValidateCSIDriverName`.
pub(super) fn csi_driver(name: &str, at: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.push(FieldError::required(at, ""));
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(at, 63));
    }
    invalid_each(errors, at, name, is_dns1123_subdomain(&name.to_lowercase()));
}

fn disk(source: &Value, name: &str, at: &str, errors: &mut Errors) {
    required_text(source, name, at, any_text, errors);
    if let Some(partition) = int(source, "partition").filter(|number| !(0..=255).contains(number)) {
        errors.push(FieldError::invalid(join(at, "partition"), partition, range_error(1, 255)));
    }
}

fn fibre_channel(source: &Value, at: &str, errors: &mut Errors) {
    let (names, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let names_at = join(at, "targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(names_at.as_str(), why));
    }
    if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(names_at, names.to_vec(), why));
    }
    match int(source, "lun") {
        _ if names.is_empty() => {}
        None => {
            errors.push(FieldError::required(join(at, "lun"), "lun is required if targetWWNs is specified"))
        }
        Some(lun) if !(0..=255).contains(&lun) => {
            errors.push(FieldError::invalid(join(at, "lun"), lun, range_error(0, 255)));
        }
        Some(_) => {}
    }
}

fn flocker(source: &Value, at: &str, errors: &mut Errors) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && id.is_empty() {
        errors.push(FieldError::required(at, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(at, "resource", why));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(join(at, "datasetName"), name, "must not contain '/'"));
    }
}

fn quobyte(source: &Value, at: &str, errors: &mut Errors) {
    const WHY: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, registry_at) = (text(source, "registry"), join(at, "registry"));
    if registry.is_empty() {
        errors.push(FieldError::required(registry_at, WHY));
    } else if text(source, "tenant").len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(join(at, "tenant"), why));
    } else {
        let is_pair = |pair: &&str| {
            pair.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'))
        };
        let wrong = registry.split(',').filter(|pair| !is_pair(pair));
        errors.extend(wrong.map(|_| FieldError::invalid(registry_at.as_str(), registry, WHY)));
    }
    required_text(source, "volume", at, any_text, errors);
}

fn flex(source: &Value, at: &str, errors: &mut Errors) {
    required_text(source, "driver", at, any_text, errors);
    for (key, _) in entries(source, "options") {
        let namespace = key.split_once('/').map_or(key.as_str(), |(namespace, _)| namespace).to_lowercase();
        let reserved = |domain: &str| {
            namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if reserved("kubernetes.io") || reserved("k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(format!("{at}.options[{key}]"), key.as_str(), why));
        }
    }
}

fn azure_disk(source: &Value, at: &str, errors: &mut Errors) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    for key in ["diskName", "diskURI"] {
        required_text(source, key, at, any_text, errors);
    }
    one_of(source, "cachingMode", at, &["None", "ReadOnly", "ReadWrite"], errors);
    one_of(source, "kind", at, &["Dedicated", "Managed", "Shared"], errors);
    let uri = text(source, "diskURI");
    let (start, example) = match get(source, "kind").as_str() {
        None => return,
        Some("Managed") => ("/subscriptions/", MANAGED),
        Some(_) => ("https://", BLOB),
    };
    if !uri.starts_with(start) {
        errors.push(FieldError::not_supported(join(at, "diskURI"), uri, &[example]));
    }
}
