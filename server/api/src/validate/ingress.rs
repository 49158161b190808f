//! Ingresses and their classes: `pkg/apis/networking/validation`.

use serde_json::Value;

use super::access::*;
use super::container::port_number;
use super::load_balancer;
use crate::status::FieldError;
use crate::validation::{
    is_dns1123_label, is_dns1123_subdomain, is_ip, is_path_segment, is_port_name,
    is_wildcard_dns1123_subdomain,
};

const CLASS: &str = "kubernetes.io/ingress.class";
const MOST_CONTROLLER: usize = 250;

/// What `old` had wrong already may stay so.
pub(super) fn ingress(object: &Value, old: &Value, errors: &mut Errors) {
    let (spec, was) = (get(object, "spec"), get(old, "spec"));
    if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", get(spec, "rules").clone(), why));
    }
    if has(spec, "defaultBackend") {
        backend(get(spec, "defaultBackend"), "spec.defaultBackend", errors);
    }
    let lenient = list(was, "rules").iter().any(|rule| {
        let mut wrong = Vec::new();
        rule_value(rule, "", &mut wrong);
        text(rule, "host").contains('*') && !wrong.is_empty()
    });
    for (at, rule) in each(spec, "rules", "spec") {
        let host = text(rule, "host");
        let wildcard = host.contains('*');
        if !host.is_empty() && is_ip(host).is_empty() {
            let why = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(join(&at, "host"), host, why));
        }
        optional_text(rule, "host", &at, host_rule(host), errors);
        if !(wildcard && lenient) {
            rule_value(rule, &at, errors);
        }
    }
    tls(spec, was, errors);
    if let Some(class) = get(spec, "ingressClassName").as_str() {
        invalid_each(errors, "spec.ingressClassName", class, is_dns1123_subdomain(class));
    }
}

fn host_rule(host: &str) -> fn(&str) -> Vec<String> {
    if host.contains('*') { is_wildcard_dns1123_subdomain } else { is_dns1123_subdomain }
}

/// What is held against new Ingresses alone.
pub(super) fn only_on_create(object: &Value, errors: &mut Errors) {
    let annotations = get(get(object, "metadata"), "annotations");
    let class = get(get(object, "spec"), "ingressClassName").as_str();
    if has(annotations, CLASS) && class.is_some_and(|class| class != text(annotations, CLASS)) {
        let why = "must match `ingressClassName` when both are specified";
        errors.push(FieldError::invalid(format!("annotations.{CLASS}"), text(annotations, CLASS), why));
    }
}

fn rule_value(rule: &Value, at: &str, errors: &mut Errors) {
    let (http, at) = (get(rule, "http"), join(at, "http"));
    if !http.is_null() && list(http, "paths").is_empty() {
        errors.push(FieldError::required(join(&at, "paths"), ""));
    }
    for (at, path) in each(http, "paths", &at) {
        http_path(path, &at, errors);
    }
}

fn http_path(path: &Value, at: &str, errors: &mut Errors) {
    let (value, at_path) = (text(path, "path"), join(at, "path"));
    let mut refuse = |why: String| errors.push(FieldError::invalid(at_path.as_str(), value, why));
    match text(path, "pathType") {
        "" => {
            errors.push(FieldError::required(join(at, "pathType"), "pathType must be specified"));
            return;
        }
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                refuse("must be an absolute path".to_owned());
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|bad| value.contains(**bad)) {
                refuse(format!("must not contain '{bad}'"));
            }
            for bad in ["/..", "/."].iter().filter(|bad| value.ends_with(**bad)) {
                refuse(format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" if !value.is_empty() && !value.starts_with('/') => {
            refuse("must be an absolute path".to_owned());
        }
        "ImplementationSpecific" => {}
        other => {
            let types = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(join(at, "pathType"), other, &types));
        }
    }
    backend(get(path, "backend"), &join(at, "backend"), errors);
}

fn backend(backend: &Value, at: &str, errors: &mut Errors) {
    let (service, resource) = (get(backend, "service"), get(backend, "resource"));
    match (service.is_null(), resource.is_null()) {
        (false, false) => {
            errors.push(FieldError::invalid(at, "", "cannot set both resource and service backends"));
        }
        (true, true) => errors.push(FieldError::invalid(at, "", "resource or service backend is required")),
        (true, false) => reference(resource, &join(at, "resource"), errors),
        (false, true) => {
            required_text(service, "name", &join(at, "service"), is_dns1123_label, errors);
            let (port, at_port) = (get(service, "port"), join(at, "service.port"));
            match (text(port, "name"), int(port, "number").unwrap_or(0)) {
                ("", 0) => errors.push(FieldError::required(at, "port name or number is required")),
                ("", number) => port_number(number, &join(&at_port, "number"), errors),
                (name, 0) => invalid_each(errors, &join(&at_port, "name"), name, is_port_name(name)),
                _ => errors.push(FieldError::invalid(at, "", "cannot set both port name & port number")),
            }
        }
    }
}

/// `validateIngressTypedLocalObjectReference`.
fn reference(reference: &Value, at: &str, errors: &mut Errors) {
    let segment = |text: &str| is_path_segment(text, false);
    if let Some(group) = get(reference, "apiGroup").as_str() {
        invalid_each(errors, &join(at, "apiGroup"), group, is_dns1123_subdomain(group));
    }
    required_text(reference, "kind", at, segment, errors);
    required_text(reference, "name", at, segment, errors);
}

fn tls(spec: &Value, old: &Value, errors: &mut Errors) {
    let secret = |tls: &Value| text(tls, "secretName").to_owned();
    let wrong = |name: &str| if name.is_empty() { Vec::new() } else { is_dns1123_subdomain(name) };
    let lenient = list(old, "tls").iter().any(|tls| !wrong(&secret(tls)).is_empty());
    for (at, tls) in each(spec, "tls", "spec") {
        for (at, host) in each(tls, "hosts", &at) {
            let host = host.as_str().unwrap_or_default();
            invalid_each(errors, &at, host, host_rule(host)(host));
        }
        if !lenient {
            let name = secret(tls);
            invalid_each(errors, &join(&at, "secretName"), &name, wrong(&name));
        }
    }
}

/// `ValidateIngressStatusUpdate`.
pub(super) fn status(new: &Value, old: &Value, errors: &mut Errors) {
    let of = |ingress: &Value| get(get(ingress, "status"), "loadBalancer").clone();
    load_balancer::ingress_points(&of(new), &of(old), "status.loadBalancer", false, errors);
}

pub(super) fn class(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    match text(spec, "controller") {
        "" => errors.push(FieldError::required("spec.controller", "")),
        controller => {
            if controller.len() > MOST_CONTROLLER {
                errors.push(FieldError::too_long("spec.controller", MOST_CONTROLLER));
            }
            domain_prefixed(controller, "spec.controller", errors);
        }
    }
    let (parameters, at) = (get(spec, "parameters"), "spec.parameters");
    if parameters.is_null() {
        return;
    }
    reference(parameters, at, errors);
    let namespace = get(parameters, "namespace");
    match (text(parameters, "scope"), namespace.as_str()) {
        ("", _) => errors.push(FieldError::required(join(at, "scope"), "")),
        ("Namespace", None) => {
            let why = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(join(at, "namespace"), why));
        }
        ("Namespace", Some(name)) => {
            invalid_each(errors, &join(at, "namespace"), name, is_dns1123_label(name));
        }
        ("Cluster", Some(_)) => {
            let why = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(join(at, "namespace"), why));
        }
        ("Cluster", None) => {}
        (other, _) => {
            errors.push(FieldError::not_supported(join(at, "scope"), other, &["Cluster", "Namespace"]));
        }
    }
}

/// `IsDomainPrefixedPath`.
fn domain_prefixed(path: &str, at: &str, errors: &mut Errors) {
    let Some((domain, rest)) =
        path.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(FieldError::invalid(at, path, why));
        return;
    };
    invalid_each(errors, at, domain, is_dns1123_subdomain(domain));
    let legal = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b));
    if !legal {
        let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(FieldError::invalid(at, rest, why));
    }
}

pub(super) fn class_update(new: &Value, old: &Value, errors: &mut Errors) {
    immutable(get(new, "spec"), get(old, "spec"), "controller", "spec", errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_paths_below_a_domain() {
        for (controller, valid) in [
            ("acme.io/foo", true),
            ("acme.io/a/b", true),
            ("foo", false),
            ("acme.io/", false),
            ("A/b", false),
            ("a.b/c d", false),
        ] {
            let mut errors = Vec::new();
            domain_prefixed(controller, "c", &mut errors);
            assert_eq!(errors.is_empty(), valid, "{controller} {errors:?}");
        }
    }
}
