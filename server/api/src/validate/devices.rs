//! Claims of devices, and classes of them: `pkg/apis/resource/validation`, in the shape of `v1`. The selectors' CEL is not
//! compiled here.

use serde_json::Value;

use super::access::*;
use super::affinity;
use super::volume_sources::csi_driver;
use crate::status::FieldError;
use crate::validation::{
    is_c_identifier, is_dns1123_label, is_dns1123_subdomain, is_label_value, is_qualified_name,
    validate_annotations, validate_labels,
};

const MOST: usize = 32;
const MOST_ALTERNATIVES: usize = 8;
const MOST_USERS: usize = 256;
const MOST_EXPRESSION_BYTES: usize = 10 << 10;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
const MOST_ID_BYTES: usize = 32;
const NOT_A_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Whether the kind has rules here; if so they have been applied.
pub(super) fn validate(kind: &str, object: &Value, errors: &mut Errors) -> bool {
    let spec = get(object, "spec");
    match kind {
        "ResourceClaim" => claim(spec, "spec", errors),
        "ResourceClaimTemplate" => {
            let metadata = get(spec, "metadata");
            let at = "spec.metadata";
            errors.extend(validate_annotations(metadata.get("annotations"), &join(at, "annotations")));
            errors.extend(validate_labels(metadata.get("labels"), &join(at, "labels")));
            claim(get(spec, "spec"), "spec.spec", errors);
        }
        "DeviceClass" => class(spec, "spec", errors),
        "ResourceSlice" => super::device_slices::slice(object, errors),
        _ => return false,
    }
    true
}

/// The items of the list under `key`, unless there are too many to look at.
pub(super) fn few<'a>(
    holder: &'a Value,
    key: &str,
    most: usize,
    at: &str,
    errors: &mut Errors,
) -> Vec<(String, &'a Value)> {
    let count = list(holder, key).len();
    if count > most {
        errors.push(FieldError::too_many(join(at, key), count, most));
        return Vec::new();
    }
    each(holder, key, at).collect()
}

/// `Duplicate` for each item whose key an earlier one has.
pub(super) fn unique(items: &[(String, &Value)], key: fn(&Value) -> Value, errors: &mut Errors) {
    for (index, (at, item)) in items.iter().enumerate() {
        let own = key(item);
        if items[..index].iter().any(|(_, other)| key(other) == own) {
            errors.push(FieldError::duplicate(at.as_str(), own));
        }
    }
}

pub(super) fn by_name(item: &Value) -> Value {
    text(item, "name").into()
}

fn itself(item: &Value) -> Value {
    item.clone()
}

fn label(value: &Value, key: &str, at: &str, errors: &mut Errors) {
    let name = text(value, key);
    invalid_each(errors, &join(at, key), name, is_dns1123_label(name));
}

/// `validateResourceClaimSpec`.
fn claim(spec: &Value, at: &str, errors: &mut Errors) {
    let (devices, at) = (get(spec, "devices"), join(at, "devices"));
    let requests = few(devices, "requests", MOST, &at, errors);
    for (at, request) in &requests {
        self::request(request, at, errors);
    }
    unique(&requests, by_name, errors);
    for (at, constraint) in few(devices, "constraints", MOST, &at, errors) {
        references(constraint, devices, &at, errors);
        let key = ["matchAttribute", "distinctAttribute"].into_iter().find(|key| has(constraint, key));
        match key {
            Some(key) => attribute(text(constraint, key), &join(&at, key), errors),
            None => {
                let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                errors.push(FieldError::required(at, why));
            }
        }
    }
    for (at, config) in few(devices, "config", MOST, &at, errors) {
        references(config, devices, &at, errors);
        configuration(config, &at, errors);
    }
}

fn class(spec: &Value, at: &str, errors: &mut Errors) {
    selectors(spec, at, errors);
    for (at, config) in few(spec, "config", MOST, at, errors) {
        configuration(config, &at, errors);
    }
    if let Some(name) =
        get(spec, "extendedResourceName").as_str().filter(|name| !super::container::is_extended(name))
    {
        let why = "must be a valid extended resource name";
        errors.push(FieldError::invalid(join(at, "extendedResourceName"), name, why));
    }
}

fn request(request: &Value, at: &str, errors: &mut Errors) {
    label(request, "name", at, errors);
    let alternatives = !list(request, "firstAvailable").is_empty();
    match (alternatives, has(request, "exactly")) {
        (false, false) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(at, why));
        }
        (true, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(at, Value::Null, why));
        }
        (true, false) => {
            let all = few(request, "firstAvailable", MOST_ALTERNATIVES, at, errors);
            for (at, one) in &all {
                label(one, "name", at, errors);
                devices(one, at, errors);
            }
            unique(&all, by_name, errors);
        }
        (false, true) => devices(get(request, "exactly"), &join(at, "exactly"), errors),
    }
}

/// Which devices, and how many.
fn devices(request: &Value, at: &str, errors: &mut Errors) {
    required_text(request, "deviceClassName", at, is_dns1123_subdomain, errors);
    selectors(request, at, errors);
    for (at, toleration) in each(request, "tolerations", at) {
        self::toleration(toleration, &at, errors);
    }
    let count = int(request, "count").unwrap_or(0);
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(join(at, "count"), count, why));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(join(at, "count"), count, "must be greater than zero"));
        }
        _ => listed(request, "allocationMode", at, &["All", "ExactCount"], errors),
    }
}

/// `validateDeviceToleration`.
fn toleration(toleration: &Value, at: &str, errors: &mut Errors) {
    optional_text(toleration, "key", at, is_qualified_name, errors);
    let value = text(toleration, "value");
    match text(toleration, "operator") {
        "" => errors.push(FieldError::required(join(at, "operator"), "")),
        "Exists" if !value.is_empty() => {
            let why = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid(join(at, "value"), value, why));
        }
        "Equal" => invalid_each(errors, &join(at, "value"), value, is_label_value(value)),
        _ => one_of(toleration, "operator", at, &["Equal", "Exists"], errors),
    }
    if !text(toleration, "effect").is_empty() {
        one_of(toleration, "effect", at, EFFECTS, errors);
    }
}

/// `validateDeviceTaint`.
pub(super) fn taint(taint: &Value, at: &str, errors: &mut Errors) {
    let key = text(taint, "key");
    invalid_each(errors, &join(at, "key"), key, is_qualified_name(key));
    optional_text(taint, "value", at, is_label_value, errors);
    required_one_of(taint, "effect", at, EFFECTS, errors);
}

fn selectors(holder: &Value, at: &str, errors: &mut Errors) {
    for (at, selector) in few(holder, "selectors", MOST, at, errors) {
        let cel = get(selector, "cel");
        if cel.is_null() {
            errors.push(FieldError::required(join(&at, "cel"), ""));
        } else if text(cel, "expression").len() > MOST_EXPRESSION_BYTES {
            errors.push(FieldError::too_long(join(&at, "cel.expression"), MOST_EXPRESSION_BYTES));
        }
    }
}

/// Whether the claim has a request, or an alternative of one, of that name.
fn is_request(claim: &Value, name: &str) -> bool {
    let (name, alternative) = name.split_once('/').map_or((name, None), |(name, rest)| (name, Some(rest)));
    let request = list(claim, "requests").iter().rfind(|request| text(request, "name") == name);
    request.is_some_and(|request| {
        let is = |one: &Value| Some(text(one, "name")) == alternative;
        alternative.is_none() || list(request, "firstAvailable").iter().any(is)
    })
}

fn reference(name: &str, claim: &Value, at: &str, errors: &mut Errors) {
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() <= 2 {
        for part in parts {
            invalid_each(errors, at, part, is_dns1123_label(part));
        }
    }
    if !is_request(claim, name) {
        errors.push(FieldError::invalid(at, name, NOT_A_REQUEST));
    }
}

fn references(holder: &Value, claim: &Value, at: &str, errors: &mut Errors) {
    let all = few(holder, "requests", MOST, at, errors);
    for (at, name) in &all {
        reference(name.as_str().unwrap_or_default(), claim, at, errors);
    }
    unique(&all, itself, errors);
}

fn configuration(config: &Value, at: &str, errors: &mut Errors) {
    let (opaque, at) = (get(config, "opaque"), join(at, "opaque"));
    if opaque.is_null() {
        return errors.push(FieldError::required(at, ""));
    }
    csi_driver(text(opaque, "driver"), &join(&at, "driver"), errors);
    match get(opaque, "parameters") {
        Value::Null => errors.push(FieldError::required(join(&at, "parameters"), "")),
        Value::Object(_) => {}
        _ => {
            let why = "parameters must be a valid JSON object";
            errors.push(FieldError::invalid(join(&at, "parameters"), "<value omitted>", why));
        }
    }
}

/// `validateFullyQualifiedName`.
fn attribute(name: &str, at: &str, errors: &mut Errors) {
    qualified(name, at, errors);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(at, name, why));
    }
}

/// `validateQualifiedName`: an identifier, perhaps of a domain.
pub(super) fn qualified(name: &str, at: &str, errors: &mut Errors) {
    let identifier = |name: &str, errors: &mut Errors| {
        if name.len() > MOST_ID_BYTES {
            errors.push(FieldError::too_long(at, MOST_ID_BYTES));
        }
        invalid_each(errors, at, name, is_c_identifier(name));
    };
    match name.split_once('/') {
        None => identifier(name, errors),
        Some((_, rest)) if rest.contains('/') => {}
        Some((domain, rest)) => {
            match domain {
                "" => errors.push(FieldError::invalid(at, "", "the domain must not be empty")),
                domain => csi_driver(domain, at, errors),
            }
            match rest {
                "" => errors.push(FieldError::invalid(at, "", "the name must not be empty")),
                rest => identifier(rest, errors),
            }
        }
    }
}

/// `validatePoolName`.
pub(super) fn pool_name(name: &str, at: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.push(FieldError::required(at, ""));
    }
    if name.len() > 253 {
        errors.push(FieldError::too_long(at, 253));
    }
    for part in name.split('/') {
        invalid_each(errors, at, part, is_dns1123_subdomain(part));
    }
}

/// `validateResourceClaimStatusUpdate`.
pub(super) fn status(new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "status"), get(old, "status"));
    let users = few(after, "reservedFor", MOST_USERS, "status", errors);
    for (at, user) in &users {
        for key in ["resource", "name", "uid"] {
            required_text(user, key, at, any_text, errors);
        }
    }
    unique(&users, |user| text(user, "uid").into(), errors);
    super::device_status::devices(after, errors);
    let allocation = get(after, "allocation");
    if !list(after, "reservedFor").is_empty() {
        let is_new = |user: &&Value| !list(before, "reservedFor").contains(user);
        let ends = has(get(new, "metadata"), "deletionTimestamp");
        let why = match () {
            () if allocation.is_null() => "may not be specified when `allocated` is not set",
            () if ends && list(after, "reservedFor").iter().any(|user| is_new(&user)) => {
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            }
            () => "",
        };
        if !why.is_empty() {
            errors.push(FieldError::forbidden("status.reservedFor", why));
        }
    }
    if allocation.is_null() {
        return;
    }
    if has(before, "allocation") {
        return immutable_in(
            "api.resource.v1.ResourceClaimStatus",
            after,
            before,
            "allocation",
            "status",
            errors,
        );
    }
    let claim = get(get(new, "spec"), "devices");
    let (devices, at) = (get(allocation, "devices"), "status.allocation.devices");
    for (at, result) in few(devices, "results", MOST, at, errors) {
        reference(text(result, "request"), claim, &join(&at, "request"), errors);
        csi_driver(text(result, "driver"), &join(&at, "driver"), errors);
        pool_name(text(result, "pool"), &join(&at, "pool"), errors);
        label(result, "device", &at, errors);
    }
    for (at, config) in few(devices, "config", 2 * MOST, at, errors) {
        required_one_of(config, "source", &at, &["FromClaim", "FromClass"], errors);
        references(config, claim, &at, errors);
        configuration(config, &at, errors);
    }
    if has(allocation, "nodeSelector") {
        affinity::node_selector(get(allocation, "nodeSelector"), "status.allocation.nodeSelector", errors);
    }
}
