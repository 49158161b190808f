//! Cluster IPs and IP families of Services: `ValidateServiceClusterIPsRelatedFields` and the two
//! `validateUpgradeDowngrade…` of `pkg/apis/core/validation`.

use serde_json::{Value, json};

use super::access::*;
use crate::status::FieldError;
use crate::validation::{is_ip, is_ipv6};

const CLUSTER_IPS: &str = "spec.clusterIPs";

pub(super) fn is_headless(spec: &Value) -> bool {
    matches!(list(spec, "clusterIPs"), [only] if only.as_str() == Some("None"))
        || (list(spec, "clusterIPs").is_empty() && text(spec, "clusterIP") == "None")
}

/// Whether cluster IPs, families and their policy fit together. The registry asks before it gives addresses out, too.
pub fn cluster_ips(spec: &Value, old: &Value, errors: &mut Errors) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    in_step(spec, errors);
    let mut seen: Vec<&Value> = Vec::new();
    for (at, family) in each(spec, "ipFamilies", "spec") {
        if !matches!(family.as_str(), Some("IPv4" | "IPv6")) {
            errors.push(FieldError::not_supported(at.as_str(), family.clone(), &["IPv4", "IPv6"]));
        }
        if seen.contains(&family) {
            errors.push(FieldError::duplicate(at, family.clone()));
        }
        seen.push(family);
    }
    one_of(spec, "ipFamilyPolicy", "spec", &["PreferDualStack", "RequireDualStack", "SingleStack"], errors);
    let ips = list(spec, "clusterIPs");
    let before = errors.len();
    for (index, (at, ip)) in each(spec, "clusterIPs", "spec").enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        if index == 0 && ip == "None" {
            if ips.len() > 1 {
                errors.push(FieldError::invalid(
                    CLUSTER_IPS,
                    json!(ips),
                    "'None' must be the first and only value",
                ));
            }
            continue;
        }
        if !list(old, "clusterIPs").iter().any(|was| was.as_str() == Some(ip)) {
            invalid_each(errors, &at, ip, is_ip(ip));
        }
    }
    let invalid = errors.len() > before;
    if ips.len() > 2 {
        errors.push(FieldError::invalid(CLUSTER_IPS, json!(ips), "may only hold up to 2 values"));
    }
    if !invalid {
        by_family(spec, errors);
    }
}

/// `clusterIP` and the first of `clusterIPs` are the same.
fn in_step(spec: &Value, errors: &mut Errors) {
    let (first, ips) = (text(spec, "clusterIP"), list(spec, "clusterIPs"));
    match (first, ips) {
        ("", []) => {}
        ("", ips) => {
            let why = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(CLUSTER_IPS, json!(ips), why));
        }
        (_, []) => errors.push(FieldError::required(CLUSTER_IPS, "")),
        (first, ips) if ips[0].as_str() != Some(first) => {
            errors.push(FieldError::invalid(CLUSTER_IPS, json!(ips), "first value must match `clusterIP`"));
        }
        _ => {}
    }
}

fn by_family(spec: &Value, errors: &mut Errors) {
    let ips = list(spec, "clusterIPs");
    let v6: Vec<bool> = ips.iter().map(|ip| is_ipv6(ip.as_str().unwrap_or_default()) == Some(true)).collect();
    if ips.len() > 1 && (v6.iter().all(|v6| *v6) || v6.iter().all(|v6| !v6)) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(CLUSTER_IPS, json!(ips), why));
    }
    if is_headless(spec) {
        return;
    }
    for (index, (ip, family)) in ips.iter().zip(list(spec, "ipFamilies")).enumerate() {
        let wanted = family.as_str().unwrap_or_default();
        if matches!((wanted, v6[index]), ("IPv4", true) | ("IPv6", false)) {
            let why = format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(format!("{CLUSTER_IPS}[{index}]"), ip.clone(), why));
        }
    }
}

/// What may change: a second address or family comes or goes; the first stays, unless from or to ExternalName.
pub(super) fn update(after: &Value, before: &Value, errors: &mut Errors) {
    if text(after, "type") == "ExternalName" || text(before, "type") == "ExternalName" {
        return;
    }
    let (headless, was_headless) = (is_headless(after), is_headless(before));
    if !(headless && was_headless) {
        members(after, before, "clusterIPs", ["primary clusterIP can not be unset", "clusterIP"], errors);
    }
    if !headless && !was_headless {
        members(after, before, "ipFamilies", ["primary ipFamily can not be unset", "ipFamily"], errors);
    }
}

fn members(after: &Value, before: &Value, key: &str, [unset, what]: [&str; 2], errors: &mut Errors) {
    const CHANGED: &str = "may not change once set";
    let (new, old) = (list(after, key), list(before, key));
    let at = |index: usize| format!("spec.{key}[{index}]");
    let mut changed = |index: usize| errors.push(FieldError::invalid(at(index), json!(new), CHANGED));
    if old.len() == new.len() {
        let differ = old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new);
        // upstream names the first family whichever it is
        differ.for_each(|(index, _)| changed(if key == "ipFamilies" { 0 } else { index }));
        return;
    }
    if let (Some(old), Some(new)) = (old.first(), new.first())
        && old != new
    {
        changed(0);
    }
    if new.is_empty() {
        errors.push(FieldError::invalid(at(0), json!(new), unset));
    }
    if new.len() == 1 && old.len() > 1 && text(after, "ipFamilyPolicy") != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", get(after, "ipFamilyPolicy").clone(), why));
    }
}
