//! Probes and lifecycle hooks: one handler each, and numbers that make sense.

use serde_json::Value;

use super::access::*;
use super::container::port_number;
use crate::status::FieldError;
use crate::validation::{is_http_header_name, is_port_name};

const SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

/// Those of a container of the pod with that `spec`.
pub(super) fn all(container: &Value, spec: &Value, at: &str, errors: &mut Errors) {
    let lifecycle = get(container, "lifecycle");
    let lifecycle_at = join(at, "lifecycle");
    for hook in ["postStart", "preStop"].into_iter().filter(|hook| has(lifecycle, hook)) {
        let (hook, at) = (get(lifecycle, hook), join(&lifecycle_at, hook));
        handler(hook, &at, &["exec", "httpGet", "tcpSocket", "sleep"], errors);
        // of two handlers the first counts
        let others = ["exec", "httpGet", "tcpSocket"].iter().any(|kind| has(hook, kind));
        if !others && has(hook, "sleep") {
            sleep(hook, int(spec, "terminationGracePeriodSeconds"), &at, errors);
        }
    }
    if has(lifecycle, "stopSignal") {
        stop_signal(lifecycle, get(spec, "os"), &lifecycle_at, errors);
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter(|n| has(container, n))
    {
        let (value, at) = (get(container, name), join(at, name));
        probe(value, &at, errors);
        let (wrong, why) = match name {
            "readinessProbe" => ("terminationGracePeriodSeconds", "must not be set for readinessProbes"),
            _ => ("successThreshold", "must be 1"),
        };
        let of_readiness = name == "readinessProbe";
        if let Some(number) = int(value, wrong).filter(|number| of_readiness || *number != 1) {
            errors.push(FieldError::invalid(join(&at, wrong), number, why));
        }
    }
}

/// `validateSleepAction`.
fn sleep(hook: &Value, grace: Option<i64>, at: &str, errors: &mut Errors) {
    let seconds = int(get(hook, "sleep"), "seconds").unwrap_or(0);
    if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(join(at, "sleep"), seconds, why));
    }
}

/// `validateStopSignal`.
fn stop_signal(lifecycle: &Value, os: &Value, at: &str, errors: &mut Errors) {
    match text(os, "name") {
        _ if os.is_null() => {
            let why = "may not be set for containers with empty `spec.os.name`";
            errors.push(FieldError::forbidden(join(at, "stopSignal"), why));
        }
        "linux" => listed(lifecycle, "stopSignal", at, SIGNALS, errors),
        "windows" => listed(lifecycle, "stopSignal", at, &["SIGKILL", "SIGTERM"], errors),
        _ => {}
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
            listed(value, "scheme", at, &["HTTP", "HTTPS"], errors);
            for header in list(value, "httpHeaders") {
                let name = text(header, "name");
                invalid_each(errors, &join(at, "httpHeaders"), name, is_http_header_name(name));
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
