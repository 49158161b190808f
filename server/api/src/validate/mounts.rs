//! What containers see of the pod's volumes: as directories, or as devices.

use serde_json::Value;

use super::access::*;
use super::container::{has_backsteps, local_path};
use super::volume::Volumes;
use crate::status::FieldError;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: &[&str] = &["Disabled", "Enabled", "IfPossible"];

/// `ValidateVolumeMounts`; of some fields the index goes unsaid, as it does upstream.
pub(super) fn mounts(container: &Value, at: &str, volumes: &Volumes, errors: &mut Errors) {
    let all = join(at, "volumeMounts");
    let devices = by_name(container, "volumeDevices");
    let mut paths: Vec<&str> = Vec::new();
    for (at, mount) in each(container, "volumeMounts", at) {
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(join(&at, "name"), ""));
        }
        if volumes.source(name).is_none() {
            errors.push(FieldError::not_found(join(&at, "name"), name));
        }
        if path.is_empty() {
            errors.push(FieldError::required(join(&at, "mountPath"), ""));
        }
        if paths.contains(&path) {
            errors.push(FieldError::invalid(join(&at, "mountPath"), path, "must be unique"));
        }
        paths.push(path);
        if devices.iter().any(|device| text(device, "name") == name) {
            let why = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(join(&at, "name"), name, why));
        }
        if devices.iter().any(|device| text(device, "devicePath") == path) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(join(&at, "mountPath"), path, why));
        }
        local_path(text(mount, "subPath"), &join(&all, "subPath"), errors);
        let expression = text(mount, "subPathExpr");
        if !text(mount, "subPath").is_empty() && !expression.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(join(&at, "subPathExpr"), expression, why));
        }
        local_path(expression, &join(&all, "subPathExpr"), errors);
        propagation(mount, container, &all, errors);
        recursive_read_only(mount, &all, errors);
    }
}

/// Of each name the last.
fn by_name<'a>(container: &'a Value, key: &str) -> Vec<&'a Value> {
    let all = list(container, key);
    let last = |(index, one): &(usize, &Value)| {
        !all[index + 1..].iter().any(|other| text(other, "name") == text(one, "name"))
    };
    all.iter().enumerate().filter(last).map(|(_, one)| one).collect()
}

/// `validateMountPropagation`.
fn propagation(mount: &Value, container: &Value, at: &str, errors: &mut Errors) {
    one_of(mount, "mountPropagation", at, PROPAGATIONS, errors);
    let privileged = is_true(get(container, "securityContext"), "privileged");
    if text(mount, "mountPropagation") == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(join(at, "mountPropagation"), why));
    }
}

/// `validateMountRecursiveReadOnly`.
fn recursive_read_only(mount: &Value, at: &str, errors: &mut Errors) {
    one_of(mount, "recursiveReadOnly", at, RECURSIVE, errors);
    if !matches!(text(mount, "recursiveReadOnly"), "Enabled" | "IfPossible") {
        return;
    }
    let field = join(at, "recursiveReadOnly");
    if !is_true(mount, "readOnly") {
        let why = "may only be specified when readOnly is true";
        errors.push(FieldError::forbidden(field.as_str(), why));
    }
    if get(mount, "mountPropagation").as_str().is_some_and(|mode| mode != "None") {
        let why = "may only be specified when mountPropagation is None or not specified";
        errors.push(FieldError::forbidden(field, why));
    }
}

/// `ValidateVolumeDevices`.
pub(super) fn devices(container: &Value, at: &str, volumes: &Volumes, errors: &mut Errors) {
    let mounts = by_name(container, "volumeMounts");
    let (mut names, mut paths): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (at, device) in each(container, "volumeDevices", at) {
        let (name, path) = (text(device, "name"), text(device, "devicePath"));
        let (name_at, path_at) = (join(&at, "name"), join(&at, "devicePath"));
        let mut wrong = |field: &str, value: &str, why: &str| {
            errors.push(FieldError::invalid(field, value, why));
        };
        if names.contains(&name) {
            wrong(&name_at, name, "must be unique");
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            wrong(&name_at, name, "must not already exist in volumeMounts");
        }
        if paths.contains(&path) {
            wrong(&path_at, path, "must be unique");
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == path) {
            wrong(&path_at, path, "must not already exist as a path in volumeMounts");
        }
        match has_backsteps(path) {
            true => wrong(&path_at, path, "can not contain backsteps ('..')"),
            false => paths.push(path),
        }
        match volumes.source(name) {
            None => errors.push(FieldError::not_found(name_at.as_str(), name)),
            Some(source) if !is_block(source) => wrong(
                &name_at,
                name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            Some(_) => {}
        }
        if name.is_empty() {
            errors.push(FieldError::required(name_at, ""));
        } else {
            names.push(name);
        }
        if path.is_empty() {
            errors.push(FieldError::required(path_at, ""));
        }
    }
}

fn is_block(volume: &Value) -> bool {
    has(volume, "persistentVolumeClaim") || has(volume, "ephemeral")
}
