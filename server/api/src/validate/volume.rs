//! Volumes of pods: a name, exactly one source, and what the common sources need.

use serde_json::Value;

use super::access::*;
use super::container::local_path;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_dns1123_subdomain};

/// Checks all volumes; gives their names.
pub(super) fn volumes<'a>(spec: &'a Value, at: &str, errors: &mut Errors) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (at, volume) in each(spec, "volumes", at) {
        let name = text(volume, "name");
        required_text(volume, "name", &at, is_dns1123_label, errors);
        if names.contains(&name) {
            errors.push(FieldError::duplicate(join(&at, "name"), name));
        }
        names.push(name);
        source(volume, &at, errors);
    }
    names
}

fn source(volume: &Value, at: &str, errors: &mut Errors) {
    let kinds: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, v)| *k != "name" && !v.is_null())
        .map(|(k, _)| k)
        .collect();
    match kinds.split_first() {
        None => errors.push(FieldError::required(at, "must specify a volume type")),
        Some((first, rest)) => {
            one_source(first, get(volume, first), &join(at, first), errors);
            for kind in rest {
                errors.push(FieldError::forbidden(join(at, kind), "may not specify more than 1 volume type"));
            }
        }
    }
}

pub(super) fn one_source(kind: &str, source: &Value, at: &str, errors: &mut Errors) {
    mode(source, "defaultMode", at, errors);
    match kind {
        "secret" => {
            required_text(source, "secretName", at, any_text, errors);
            key_paths(source, at, errors);
        }
        "configMap" => {
            required_text(source, "name", at, any_text, errors);
            key_paths(source, at, errors);
        }
        "hostPath" => host_path(source, at, errors),
        "persistentVolumeClaim" => required_text(source, "claimName", at, is_dns1123_subdomain, errors),
        "emptyDir" => {
            if let Some(limit) = quantity(get(source, "sizeLimit")).filter(|q| q.sign() < 0) {
                let why = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(join(at, "sizeLimit"), format!("{why}: {limit}")));
            }
        }
        "downwardAPI" => {
            for (at, item) in each(source, "items", at) {
                item_path(item, &at, errors);
            }
        }
        "projected" => projected(source, at, errors),
        "nfs" => {
            required_text(source, "server", at, any_text, errors);
            required_text(source, "path", at, any_text, errors);
        }
        "csi" => required_text(source, "driver", at, any_text, errors),
        _ => {}
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
    let path = text(source, "path");
    if path.is_empty() {
        errors.push(FieldError::required(join(at, "path"), ""));
    } else if path.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(join(at, "path"), path, "must not contain '..'"));
    }
    one_of(source, "type", at, TYPES, errors);
}

fn mode(source: &Value, key: &str, at: &str, errors: &mut Errors) {
    if let Some(mode) = int(source, key).filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(join(at, key), mode, why));
    }
}

fn item_path(item: &Value, at: &str, errors: &mut Errors) {
    let path = text(item, "path");
    if path.is_empty() {
        errors.push(FieldError::required(join(at, "path"), ""));
    }
    local_path(path, &join(at, "path"), errors);
    if path.starts_with("..") {
        errors.push(FieldError::invalid(join(at, "path"), path, "must not start with '..'"));
    }
    mode(item, "mode", at, errors);
}

fn key_paths(source: &Value, at: &str, errors: &mut Errors) {
    for (at, item) in each(source, "items", at) {
        required_text(item, "key", &at, any_text, errors);
        item_path(item, &at, errors);
    }
}

fn projected(source: &Value, at: &str, errors: &mut Errors) {
    const KINDS: &[&str] = &[
        "secret",
        "configMap",
        "downwardAPI",
        "serviceAccountToken",
        "clusterTrustBundle",
        "podCertificate",
    ];
    for (at, projection) in each(source, "sources", at) {
        let mut set = KINDS.iter().filter(|kind| has(projection, kind));
        set.next();
        for kind in set {
            let why = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(join(&at, kind), why));
        }
        for kind in ["secret", "configMap"].iter().filter(|kind| has(projection, kind)) {
            required_text(get(projection, kind), "name", &join(&at, kind), any_text, errors);
            key_paths(get(projection, kind), &join(&at, kind), errors);
        }
        let token = get(projection, "serviceAccountToken");
        if !token.is_null() {
            token_source(token, &join(&at, "serviceAccountToken"), errors);
        }
    }
}

fn token_source(token: &Value, at: &str, errors: &mut Errors) {
    match int(token, "expirationSeconds") {
        Some(seconds) if seconds < 600 => errors.push(FieldError::invalid(
            join(at, "expirationSeconds"),
            seconds,
            "may not specify a duration less than 10 minutes",
        )),
        Some(seconds) if seconds > 1 << 32 => errors.push(FieldError::invalid(
            join(at, "expirationSeconds"),
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        )),
        _ => {}
    }
    if text(token, "path").is_empty() {
        errors.push(FieldError::required(join(at, "path"), ""));
    }
}
