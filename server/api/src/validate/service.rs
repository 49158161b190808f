//! Services: `ValidateService` and `ValidateServiceUpdate`.

use serde_json::{Value, json};

use super::access::*;
use super::container::port_number;
use super::probe;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_dns1123_subdomain, is_ip, validate_labels};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn service(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    required_one_of(spec, "type", "spec", TYPES, errors);
    by_type(spec, kind, headless, errors);
    ports(spec, kind, errors);
    errors.extend(validate_labels(spec.get("selector"), "spec.selector"));
    required_one_of(spec, "sessionAffinity", "spec", &["ClientIP", "None"], errors);
    affinity_timeout(spec, errors);
    one_of(spec, "externalTrafficPolicy", "spec", &["Cluster", "Local"], errors);
    one_of(spec, "internalTrafficPolicy", "spec", &["Cluster", "Local"], errors);
    one_of(spec, "ipFamilyPolicy", "spec", &["PreferDualStack", "RequireDualStack", "SingleStack"], errors);
    for (at, address) in each(spec, "externalIPs", "spec") {
        let address = address.as_str().unwrap_or_default();
        invalid_each(errors, &at, address, is_ip(address));
    }
    for (at, family) in each(spec, "ipFamilies", "spec") {
        if !matches!(family.as_str(), Some("IPv4" | "IPv6")) {
            errors.push(FieldError::not_supported(at, family.clone(), &["IPv4", "IPv6"]));
        }
    }
}

fn by_type(spec: &Value, kind: &str, headless: bool, errors: &mut Errors) {
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", why));
        }
        "ExternalName" => {
            if !text(spec, "clusterIP").is_empty() {
                let why = "may not be set for ExternalName services";
                errors.push(FieldError::forbidden("spec.clusterIPs", why));
            }
            match text(spec, "externalName").trim_end_matches('.') {
                "" => errors.push(FieldError::required("spec.externalName", "")),
                name => invalid_each(errors, "spec.externalName", name, is_dns1123_subdomain(name)),
            }
        }
        _ => {}
    }
    let address = text(spec, "clusterIP");
    if !address.is_empty() && !headless && kind != "ExternalName" {
        invalid_each(errors, "spec.clusterIPs[0]", address, is_ip(address));
    }
}

fn ports(spec: &Value, kind: &str, errors: &mut Errors) {
    let many = list(spec, "ports").len() > 1;
    let (mut names, mut numbers, mut node_ports) = (Vec::new(), Vec::new(), Vec::new());
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
        let number = int(port, "port").unwrap_or(0);
        port_number(number, &join(&at, "port"), errors);
        required_one_of(port, "protocol", &at, &["SCTP", "TCP", "UDP"], errors);
        if has(port, "targetPort") {
            probe::port(get(port, "targetPort"), &join(&at, "targetPort"), errors);
        }
        let protocol = text(port, "protocol");
        if numbers.contains(&(protocol, number)) {
            errors.push(FieldError::duplicate(at.as_str(), json!({"port": number, "protocol": protocol})));
        }
        numbers.push((protocol, number));
        let Some(node_port) = int(port, "nodePort").filter(|n| *n != 0) else { continue };
        if matches!(kind, "ClusterIP" | "ExternalName") {
            let why = format!("may not be used when `type` is '{kind}'");
            errors.push(FieldError::forbidden(join(&at, "nodePort"), why));
        } else if node_ports.contains(&(protocol, node_port)) {
            errors.push(FieldError::duplicate(join(&at, "nodePort"), node_port));
        }
        node_ports.push((protocol, node_port));
    }
}

fn affinity_timeout(spec: &Value, errors: &mut Errors) {
    let seconds = int(get(get(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds");
    if let Some(seconds) = seconds.filter(|seconds| !(1..=86400).contains(seconds)) {
        let at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        errors.push(FieldError::invalid(at, seconds, "must be greater than 0 and less than 86400"));
    }
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    if text(after, "type") == "ExternalName" || text(before, "type") == "ExternalName" {
        return;
    }
    let (address, was) = (text(after, "clusterIP"), text(before, "clusterIP"));
    if !was.is_empty() && address != was {
        let shown = if address.is_empty() { json!([]) } else { json!([address]) };
        errors.push(FieldError::invalid("spec.clusterIPs[0]", shown, "may not change once set"));
    }
}
