//! Services: `ValidateService` and `ValidateServiceUpdate`. Addresses and families are in [`super::service_addresses`].

use serde_json::{Value, json};

use super::access::*;
use super::container::port_number;
use super::service_addresses::{self, is_headless};
use super::{load_balancer, probe};
use crate::status::FieldError;
use crate::validation::{
    is_cidr, is_dns1123_label, is_dns1123_subdomain, is_ip, is_non_special_ip, is_qualified_name,
    validate_labels,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

/// Everything but metadata. What `old` had already is not held to rules that came after it.
pub(super) fn service(object: &Value, old: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    topology(object, errors);
    if list(spec, "ports").is_empty() && !is_headless(spec) && text(spec, "type") != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    by_type(spec, errors);
    ports(spec, errors);
    errors.extend(validate_labels(spec.get("selector"), "spec.selector"));
    required_one_of(spec, "sessionAffinity", "spec", &["ClientIP", "None"], errors);
    affinity(spec, errors);
    service_addresses::cluster_ips(spec, get(old, "spec"), errors);
    for (at, address) in each(spec, "externalIPs", "spec") {
        let address = address.as_str().unwrap_or_default();
        let wrong = match is_ip(address) {
            why if why.is_empty() || is_old(old, "externalIPs", address) => is_non_special_ip(address),
            why => why,
        };
        invalid_each(errors, &at, address, wrong);
    }
    required_one_of(spec, "type", "spec", TYPES, errors);
    port_numbers(spec, errors);
    source_ranges(object, old, errors);
    load_balancer_fields(spec, errors);
    traffic(spec, errors);
}

fn is_old(old: &Value, key: &str, value: &str) -> bool {
    list(get(old, "spec"), key).iter().any(|was| was.as_str() == Some(value))
}

fn topology(object: &Value, errors: &mut Errors) {
    let annotations = get(get(object, "metadata"), "annotations");
    if has(annotations, MODE)
        && has(annotations, HINTS)
        && text(annotations, MODE) != text(annotations, HINTS)
    {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(FieldError::invalid(
            format!("metadata.annotations[{MODE}]"),
            text(annotations, MODE),
            why,
        ));
    }
}

fn by_type(spec: &Value, errors: &mut Errors) {
    match text(spec, "type") {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", why));
        }
        "ExternalName" => {
            for (field, set) in [
                ("clusterIPs", !list(spec, "clusterIPs").is_empty()),
                ("ipFamilies", !list(spec, "ipFamilies").is_empty()),
                ("ipFamilyPolicy", has(spec, "ipFamilyPolicy")),
            ] {
                if set {
                    let why = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(join("spec", field), why));
                }
            }
            // a name may end in a dot to say that it is whole
            let name = text(spec, "externalName");
            match name.strip_suffix('.').unwrap_or(name) {
                "" => errors.push(FieldError::required("spec.externalName", "")),
                name => invalid_each(errors, "spec.externalName", name, is_dns1123_subdomain(name)),
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, errors: &mut Errors) {
    let many = list(spec, "ports").len() > 1;
    let mut names = Vec::new();
    for (at, port) in each(spec, "ports", "spec") {
        let name = text(port, "name");
        if many && name.is_empty() {
            errors.push(FieldError::required(join(&at, "name"), ""));
        } else if !name.is_empty() {
            invalid_each(errors, &join(&at, "name"), name, is_dns1123_label(name));
            if names.contains(&name) {
                errors.push(FieldError::duplicate(join(&at, "name"), name));
            }
            names.push(name);
        }
        port_number(int(port, "port").unwrap_or(0), &join(&at, "port"), errors);
        required_one_of(port, "protocol", &at, &["SCTP", "TCP", "UDP"], errors);
        probe::port(get(port, "targetPort"), &join(&at, "targetPort"), errors);
        optional_text(port, "appProtocol", &at, is_qualified_name, errors);
    }
}

/// Numbers that may be there once only, each by protocol.
fn port_numbers(spec: &Value, errors: &mut Errors) {
    let node_port = |port: &Value| int(port, "nodePort").filter(|number| *number != 0);
    for (at, port) in each(spec, "ports", "spec") {
        if text(spec, "type") == "ClusterIP" && node_port(port).is_some() {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(join(&at, "nodePort"), why));
        }
    }
    let mut seen = Vec::new();
    for (at, port) in each(spec, "ports", "spec") {
        let Some(number) = node_port(port) else { continue };
        let key = (text(port, "protocol"), number);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(join(&at, "nodePort"), number));
        }
        seen.push(key);
    }
    let mut seen = Vec::new();
    for (at, port) in each(spec, "ports", "spec") {
        let key = (text(port, "protocol"), int(port, "port").unwrap_or(0));
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(at, json!({"port": key.1, "protocol": key.0})));
        }
        seen.push(key);
    }
}

fn affinity(spec: &Value, errors: &mut Errors) {
    let at = "spec.sessionAffinityConfig";
    let config = get(spec, "sessionAffinityConfig");
    match text(spec, "sessionAffinity") {
        "None" if !config.is_null() => {
            errors.push(FieldError::forbidden(at, "must not be set when session affinity is None"));
        }
        "ClientIP" => {
            let client = get(config, "clientIP");
            let missing = match () {
                () if config.is_null() => at.to_owned(),
                () if client.is_null() => join(at, "clientIP"),
                () if int(client, "timeoutSeconds").is_none() => join(at, "clientIP.timeoutSeconds"),
                () => String::new(),
            };
            if !missing.is_empty() {
                errors.push(FieldError::required(missing, "when session affinity type is ClientIP"));
            }
            if let Some(seconds) = int(client, "timeoutSeconds").filter(|s| !(1..=86400).contains(s)) {
                let at = join(at, "clientIP.timeoutSeconds");
                errors.push(FieldError::invalid(at, seconds, "must be greater than 0 and less than 86400"));
            }
        }
        _ => {}
    }
}

fn source_ranges(object: &Value, old: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let annotations = get(get(object, "metadata"), "annotations");
    let elsewhere = text(spec, "type") != "LoadBalancer";
    if !list(spec, "loadBalancerSourceRanges").is_empty() {
        // upstream's spelling
        let at = "spec.LoadBalancerSourceRanges";
        if elsewhere {
            errors.push(FieldError::forbidden(at, ONLY_LOAD_BALANCER));
        }
        for (index, range) in list(spec, "loadBalancerSourceRanges").iter().enumerate() {
            let range = range.as_str().unwrap_or_default();
            if !is_old(old, "loadBalancerSourceRanges", range) {
                invalid_each(errors, &format!("{at}[{index}]"), range.trim(), is_cidr(range.trim()));
            }
        }
    } else if has(annotations, SOURCE_RANGES) {
        let at = format!("metadata.annotations[{SOURCE_RANGES}]");
        if elsewhere {
            errors.push(FieldError::forbidden(at.as_str(), ONLY_LOAD_BALANCER));
        }
        let ranges = text(annotations, SOURCE_RANGES).trim();
        if ranges == text(get(get(old, "metadata"), "annotations"), SOURCE_RANGES).trim() {
            return;
        }
        for range in ranges.split(',').map(str::trim) {
            invalid_each(errors, &at, range, is_cidr(range));
        }
    }
}

fn load_balancer_fields(spec: &Value, errors: &mut Errors) {
    let balanced = text(spec, "type") == "LoadBalancer";
    let allocates = has(spec, "allocateLoadBalancerNodePorts");
    if allocates && !balanced {
        errors.push(FieldError::forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER));
    }
    if balanced && !allocates {
        errors.push(FieldError::required("allocateLoadBalancerNodePorts", ""));
    }
    if balanced && let Some(class) = get(spec, "loadBalancerClass").as_str() {
        invalid_each(errors, "spec.loadBalancerClass", class, is_qualified_name(class));
    } else if !balanced && has(spec, "loadBalancerClass") {
        errors.push(FieldError::forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCER));
    }
}

/// `ExternallyAccessible` of `pkg/api/service`.
fn externally_accessible(spec: &Value) -> bool {
    match text(spec, "type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !list(spec, "externalIPs").is_empty(),
        _ => false,
    }
}

/// `NeedsHealthCheck` of `pkg/api/service`.
fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn traffic(spec: &Value, errors: &mut Errors) {
    const POLICIES: &[&str] = &["Cluster", "Local"];
    let policy = text(spec, "externalTrafficPolicy");
    if externally_accessible(spec) {
        required_one_of(spec, "externalTrafficPolicy", "spec", POLICIES, errors);
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", policy, why));
    }
    let at = "spec.healthCheckNodePort";
    match (needs_health_check(spec), int(spec, "healthCheckNodePort").unwrap_or(0)) {
        (false, 0) => {}
        (false, number) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(at, number, why));
        }
        // given out before this is asked
        (true, 0) => errors.push(FieldError::required(at, "")),
        (true, number) => port_number(number, at, errors),
    }
    let internal = text(spec, "internalTrafficPolicy");
    match internal {
        "" if matches!(text(spec, "type"), "NodePort" | "LoadBalancer" | "ClusterIP") => {
            errors.push(FieldError::required("spec.internalTrafficPolicy", ""));
        }
        _ => one_of(spec, "internalTrafficPolicy", "spec", POLICIES, errors),
    }
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(way) = get(spec, "trafficDistribution").as_str().filter(|way| !DISTRIBUTIONS.contains(way)) {
        errors.push(FieldError::not_supported_as_listed("spec.trafficDistribution", way, DISTRIBUTIONS));
    }
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    service_addresses::update(after, before, errors);
    let balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    let class = |spec: &Value| get(spec, "loadBalancerClass").clone();
    if balanced(after) && balanced(before) && class(after) != class(before) {
        let why = "may not change once set";
        errors.push(FieldError::invalid("spec.loadBalancerClass", class(after), why));
    }
    let number = |spec: &Value| int(spec, "healthCheckNodePort").unwrap_or(0);
    if needs_health_check(after) && needs_health_check(before) && number(after) != number(before) {
        errors.push(FieldError::forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
}

/// `ValidateServiceStatusUpdate`.
pub(super) fn status(new: &Value, old: &Value, errors: &mut Errors) {
    let of = |service: &Value| get(get(service, "status"), "loadBalancer").clone();
    let (status, was, at) = (of(new), of(old), "status.loadBalancer");
    if text(get(new, "spec"), "type") != "LoadBalancer" && !list(&status, "ingress").is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(join(at, "ingress"), why));
        return;
    }
    load_balancer::ingress_points(&status, &was, at, true, errors);
}
