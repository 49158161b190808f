//! Probes and lifecycle hooks: one handler each, and numbers that make sense.

use serde_json::Value;

use super::access::*;
use super::container::port_number;
use crate::status::FieldError;
use crate::validation::{is_http_header_name, is_port_name};

pub(super) fn all(container: &Value, at: &str, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let value = get(container, name);
        if !value.is_null() {
            probe(value, &join(at, name), errors);
        }
        let once = name != "readinessProbe";
        if let Some(threshold) = int(value, "successThreshold").filter(|n| once && *n != 1) {
            errors.push(FieldError::invalid(format!("{at}.{name}.successThreshold"), threshold, "must be 1"));
        }
    }
    let lifecycle = get(container, "lifecycle");
    for hook in ["postStart", "preStop"] {
        if has(lifecycle, hook) {
            handler(
                get(lifecycle, hook),
                &format!("{at}.lifecycle.{hook}"),
                &["exec", "httpGet", "tcpSocket", "sleep"],
                errors,
            );
        }
    }
}

fn probe(probe: &Value, at: &str, errors: &mut Errors) {
    handler(probe, at, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    let numbers =
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    non_negative(probe, &numbers, at, errors);
    if let Some(seconds) = int(probe, "terminationGracePeriodSeconds").filter(|n| *n <= 0) {
        let at = join(at, "terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(at, seconds, "must be greater than 0"));
    }
}

fn handler(handler: &Value, at: &str, kinds: &[&str], errors: &mut Errors) {
    let mut set = kinds.iter().filter(|kind| has(handler, kind));
    match set.next() {
        None => errors.push(FieldError::required(at, "must specify a handler type")),
        Some(kind) => action(kind, get(handler, kind), &join(at, kind), errors),
    }
    for kind in set {
        errors.push(FieldError::forbidden(join(at, kind), "may not specify more than 1 handler type"));
    }
}

fn action(kind: &str, value: &Value, at: &str, errors: &mut Errors) {
    match kind {
        "exec" if list(value, "command").is_empty() => {
            errors.push(FieldError::required(join(at, "command"), ""));
        }
        "httpGet" => {
            required_text(value, "path", at, any_text, errors);
            port(get(value, "port"), &join(at, "port"), errors);
            required_one_of(value, "scheme", at, &["HTTP", "HTTPS"], errors);
            for (at, header) in each(value, "httpHeaders", at) {
                let name = text(header, "name");
                invalid_each(errors, &join(&at, "name"), name, is_http_header_name(name));
            }
        }
        "tcpSocket" => port(get(value, "port"), &join(at, "port"), errors),
        "grpc" => port_number(int(value, "port").unwrap_or(0), &join(at, "port"), errors),
        _ => {}
    }
}

/// `ValidatePortNumOrName`.
pub(super) fn port(value: &Value, at: &str, errors: &mut Errors) {
    match value {
        Value::String(name) => invalid_each(errors, at, name, is_port_name(name)),
        other => port_number(other.as_i64().unwrap_or(0), at, errors),
    }
}
