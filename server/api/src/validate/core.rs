//! ConfigMap, Secret, Node.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::{is_cidr, is_config_map_key, is_ipv6, is_label_value, is_qualified_name};

/// Upstream's `MaxSecretSize`: also a ConfigMap's.
const MAX_SIZE: usize = 1 << 20;

pub(super) fn config_map(object: &Value, errors: &mut Errors) {
    let mut size = 0;
    for map in ["data", "binaryData"] {
        for (key, value) in entries(object, map) {
            let at = format!("{map}[{key}]");
            invalid_each(errors, &at, key, is_config_map_key(key));
            if map == "data" && get(object, "binaryData").get(key).is_some() {
                errors.push(FieldError::invalid(
                    at.as_str(),
                    key.as_str(),
                    "duplicate of key present in binaryData",
                ));
            }
            let length = value.as_str().map_or(0, str::len);
            size += if map == "data" { length } else { length / 4 * 3 };
        }
    }
    if size > MAX_SIZE {
        errors.push(FieldError::too_long(super::pod_resize::NOWHERE, MAX_SIZE));
    }
}

pub(super) fn config_map_update(new: &Value, old: &Value, errors: &mut Errors) {
    frozen(new, old, &["data", "binaryData"], errors);
}

fn frozen(new: &Value, old: &Value, keys: &[&str], errors: &mut Errors) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if !is_true(old, "immutable") {
        return;
    }
    if !is_true(new, "immutable") {
        errors.push(FieldError::forbidden("immutable", WHY));
    }
    for key in keys {
        let empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        let (after, before) = (get(new, key), get(old, key));
        if after != before && !(empty(after) && empty(before)) {
            errors.push(FieldError::forbidden(*key, WHY));
        }
    }
}

pub(super) fn secret(object: &Value, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in entries(object, "data") {
        invalid_each(errors, &format!("data[{key}]"), key, is_config_map_key(key));
        size += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if size > MAX_SIZE {
        errors.push(FieldError::too_long("data", MAX_SIZE));
    }
    let lacks = |key: &str| get(object, "data").get(key).is_none();
    let mut need = |key: &str| {
        if lacks(key) {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    };
    match text(object, "type") {
        "kubernetes.io/dockercfg" => need(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => need(".dockerconfigjson"),
        "kubernetes.io/ssh-auth" => need("ssh-privatekey"),
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().for_each(need),
        "kubernetes.io/basic-auth" if lacks("username") && lacks("password") => {
            ["username", "password"].into_iter().for_each(need);
        }
        "kubernetes.io/service-account-token" => {
            let annotations = get(get(object, "metadata"), "annotations");
            if text(annotations, "kubernetes.io/service-account.name").is_empty() {
                let at = "metadata.annotations[kubernetes.io/service-account.name]";
                errors.push(FieldError::required(at, ""));
            }
        }
        _ => {}
    }
}

pub(super) fn secret_update(new: &Value, old: &Value, errors: &mut Errors) {
    immutable(new, old, "type", "", errors);
    frozen(new, old, &["data"], errors);
}

pub(super) fn node(object: &Value, errors: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    // the path is upstream's
    for (at, taint) in each(get(object, "spec"), "taints", "metadata") {
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        invalid_each(errors, &join(&at, "key"), key, is_qualified_name(key));
        let why = is_label_value(value);
        if !why.is_empty() {
            errors.push(FieldError::invalid(join(&at, "value"), value, why.join(";")));
        }
        match effect {
            "" => errors.push(FieldError::required(join(&at, "effect"), "")),
            effect => super::affinity::taint_effect(effect, &join(&at, "effect"), errors),
        }
        if seen.contains(&(key, effect)) {
            let mut error = FieldError::duplicate(at.as_str(), taint.clone());
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
        seen.push((key, effect));
    }
}

/// The networks of a new node: one of each family.
pub(super) fn node_networks(object: &Value, errors: &mut Errors) {
    let networks = list(get(object, "spec"), "podCIDRs");
    for (at, network) in each(get(object, "spec"), "podCIDRs", "spec") {
        let network = network.as_str().unwrap_or_default();
        invalid_each(errors, &at, network, is_cidr(network));
    }
    let ipv6 = |network: &Value| network.as_str().and_then(|cidr| is_ipv6(cidr.split('/').next()?));
    let mut families: Vec<_> = networks.iter().map(ipv6).collect();
    families.sort_unstable();
    if networks.len() > 1 && families != [Some(false), Some(true)] {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid("spec.podCIDRs", networks.to_vec(), why));
    }
}

pub(super) fn node_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    if !list(before, "podCIDRs").is_empty() && list(after, "podCIDRs") != list(before, "podCIDRs") {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", why));
    }
    let was = text(before, "providerID");
    if !was.is_empty() && text(after, "providerID") != was {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.providerID", why));
    }
}
