//! What storage drivers say of themselves and of nodes, and attachments: `pkg/apis/storage/validation`.

use serde_json::Value;

use super::access::*;
use super::volume_sources::csi_driver;
use crate::defaults::same;
use crate::status::FieldError;
use crate::validation::{
    FIELD_IS_IMMUTABLE, is_dns1123_subdomain, is_qualified_name, range_error, validate_label_selector,
};

const MOST_NODE_ID: usize = 256;
const MOST_METADATA_BYTES: usize = 256 << 10;
const MOST_MESSAGE_BYTES: usize = 1024;
const LEAST_PERIOD_SECONDS: i64 = 10;

/// Whether the kind has rules here; if so they have been applied.
pub(super) fn validate(kind: &str, object: &Value, errors: &mut Errors) -> bool {
    match kind {
        "CSINode" => node(object, errors),
        "CSIDriver" => driver(get(object, "spec"), "spec", errors),
        "VolumeAttachment" => attachment(object, errors),
        "CSIStorageCapacity" => capacity(object, errors),
        "VolumeAttributesClass" => {
            super::storage::driver_name(text(object, "driverName"), "driverName", errors);
            super::storage::parameters(object, errors);
            if get(object, "parameters").as_object().is_none_or(serde_json::Map::is_empty) {
                let why = "must contain at least one key/value pair";
                errors.push(FieldError::required("parameters", why));
            }
        }
        _ => return false,
    }
    true
}

/// What of the drivers of a node may not change.
pub(super) fn node_update(new: &Value, old: &Value, errors: &mut Errors) {
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.as_object_mut().map(|map| map.shift_remove("allocatable"));
        driver
    };
    for before in list(get(old, "spec"), "drivers") {
        let named = |after: &&Value| text(after, "name") == text(before, "name");
        for after in list(get(new, "spec"), "drivers").iter().filter(named) {
            if !same("io.k8s.api.storage.v1.CSINodeDriver", &fixed(after), &fixed(before)) {
                errors.push(FieldError::invalid("spec.drivers", fixed(after), FIELD_IS_IMMUTABLE));
            }
        }
    }
}

fn node(object: &Value, errors: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (at, driver) in each(get(object, "spec"), "drivers", "spec") {
        let (name, id) = (text(driver, "name"), text(driver, "nodeID"));
        csi_driver(name, &join(&at, "name"), errors);
        match id.len() {
            0 => errors.push(FieldError::required(join(&at, "nodeID"), "")),
            length if length > MOST_NODE_ID => {
                let why = format!("must be {MOST_NODE_ID} characters or less");
                errors.push(FieldError::invalid(join(&at, "nodeID"), id, why));
            }
            _ => {}
        }
        non_negative(get(driver, "allocatable"), &["count"], &join(&at, "allocatable"), errors);
        if names.contains(&name) {
            errors.push(FieldError::duplicate(join(&at, "name"), name));
        }
        names.push(name);
        let mut keys: Vec<&str> = Vec::new();
        for key in list(driver, "topologyKeys").iter().filter_map(Value::as_str) {
            if key.is_empty() {
                errors.push(FieldError::required(at.as_str(), ""));
            }
            if keys.contains(&key) {
                errors.push(FieldError::duplicate(at.as_str(), key));
            }
            keys.push(key);
            invalid_each(errors, &at, key, is_qualified_name(key));
        }
    }
}

fn driver(spec: &Value, at: &str, errors: &mut Errors) {
    const MODES: &[&str] = &["Persistent", "Ephemeral"];
    // the first name is wrong upstream as well
    for (key, name) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
        ("seLinuxMount", "seLinuxMount"),
    ] {
        if !has(spec, key) {
            errors.push(FieldError::required(join(at, name), ""));
        }
    }
    one_of(spec, "fsGroupPolicy", at, &["File", "None", "ReadWriteOnceWithFSType"], errors);
    tokens(spec, at, errors);
    for mode in list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !MODES.contains(&mode) {
            let at = join(at, "volumeLifecycleModes");
            errors.push(FieldError::not_supported_as_listed(at, mode, MODES));
        }
    }
    let key = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = int(spec, key).filter(|seconds| *seconds < LEAST_PERIOD_SECONDS) {
        let why = format!("must be greater than or equal to {LEAST_PERIOD_SECONDS} seconds");
        errors.push(FieldError::invalid(join(at, key), seconds, why));
    }
    let key = "serviceAccountTokenInSecrets";
    if has(spec, key) && list(spec, "tokenRequests").is_empty() {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(FieldError::invalid(join(at, key), get(spec, key).clone(), why));
    }
}

fn tokens(spec: &Value, at: &str, errors: &mut Errors) {
    let mut audiences: Vec<&str> = Vec::new();
    for (at, request) in each(spec, "tokenRequests", at) {
        let audience = text(request, "audience");
        if audiences.contains(&audience) {
            errors.push(FieldError::duplicate(join(&at, "audience"), audience));
            continue;
        }
        audiences.push(audience);
        let Some(seconds) = int(request, "expirationSeconds") else { continue };
        let why = match seconds {
            ..600 => "may not specify a duration less than 10 minutes",
            600..=0x1_0000_0000 => continue,
            _ => "may not specify a duration larger than 2^32 seconds",
        };
        errors.push(FieldError::invalid(join(&at, "expirationSeconds"), seconds, why));
    }
}

fn attachment(object: &Value, errors: &mut Errors) {
    const WHY: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let (spec, at) = (get(object, "spec"), "spec.source");
    csi_driver(text(spec, "attacher"), "spec.attacher", errors);
    let source = get(spec, "source");
    match (has(source, "inlineVolumeSpec"), get(source, "persistentVolumeName").as_str()) {
        (false, None) => errors.push(FieldError::required(at, WHY)),
        (true, Some(_)) => errors.push(FieldError::forbidden(at, WHY)),
        (true, None) => {}
        (false, Some("")) => {
            let why = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(join(at, "persistentVolumeName"), why));
        }
        (false, Some(_)) => {}
    }
    let node = text(spec, "nodeName");
    invalid_each(errors, "spec.nodeName", node, is_dns1123_subdomain(node));
    if let Some(name) = get(source, "persistentVolumeName").as_str() {
        invalid_each(errors, "spec.source.persistentVolumeName", name, is_dns1123_subdomain(name));
    }
    attachment_status(get(object, "status"), errors);
}

fn attachment_status(status: &Value, errors: &mut Errors) {
    let metadata = entries(status, "attachmentMetadata");
    let bytes: usize = metadata.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MOST_METADATA_BYTES {
        errors.push(FieldError::too_long("status.attachmentMetadata", MOST_METADATA_BYTES));
    }
    for key in ["attachError", "detachError"] {
        let (error, at) = (get(status, key), join("status", key));
        if text(error, "message").len() > MOST_MESSAGE_BYTES {
            // the limit that upstream says is another's
            errors.push(FieldError::too_long(join(&at, "message"), MOST_METADATA_BYTES));
        }
        if let Some(code) = int(error, "errorCode").filter(|code| *code < 0) {
            let why = range_error(0, i64::from(i32::MAX));
            errors.push(FieldError::invalid(join(&at, "errorCode"), code, why));
        }
    }
}

fn capacity(object: &Value, errors: &mut Errors) {
    if has(object, "nodeTopology") {
        errors.extend(validate_label_selector(get(object, "nodeTopology"), "nodeTopology"));
    }
    let class = text(object, "storageClassName");
    invalid_each(errors, "storageClassName", class, is_dns1123_subdomain(class));
    if let Some(amount) = quantity(get(object, "capacity")).filter(|amount| amount.sign() < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("capacity", amount.to_string(), why));
    }
}
