//! NetworkPolicies, IPAddresses, ServiceCIDRs: `pkg/apis/networking/validation`. Ingresses are in
//! [`super::ingress`].

use serde_json::{Value, json};

use super::access::*;
use super::container::port_number;
use crate::status::FieldError;
use crate::validation::{
    FIELD_IS_IMMUTABLE, is_canonical_cidr, is_cidr, is_dns1123_subdomain, is_path_segment, is_port_name,
    is_strict_subset, validate_label_selector,
};

/// What `old` had already may be used again.
pub(super) fn policy(object: &Value, old: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    errors.extend(validate_label_selector(get(spec, "podSelector"), "spec.podSelector"));
    let known = blocks(get(old, "spec"));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in each(spec, direction, "spec") {
            for (at, port) in each(rule, "ports", &at) {
                policy_port(port, &at, errors);
            }
            for (at, peer) in each(rule, peers, &at) {
                policy_peer(peer, &known, &at, errors);
            }
        }
    }
    if list(spec, "policyTypes").len() > 2 {
        let types = get(spec, "policyTypes").clone();
        errors.push(FieldError::invalid(
            "spec.policyTypes",
            types,
            "may not specify more than two policyTypes",
        ));
        return;
    }
    for (at, kind) in each(spec, "policyTypes", "spec") {
        if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
            errors.push(FieldError::not_supported_as_listed(at, kind.clone(), &["Ingress", "Egress"]));
        }
    }
}

/// All blocks that a policy names.
fn blocks(spec: &Value) -> Vec<&str> {
    let rules = [("ingress", "from"), ("egress", "to")].into_iter();
    let peers =
        rules.flat_map(|(direction, peers)| list(spec, direction).iter().flat_map(move |r| list(r, peers)));
    let of_peer = |peer| {
        let block = get(peer, "ipBlock");
        let except = list(block, "except").iter().filter_map(Value::as_str);
        std::iter::once(text(block, "cidr")).chain(except)
    };
    peers.flat_map(of_peer).collect()
}

fn policy_port(port: &Value, at: &str, errors: &mut Errors) {
    const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
    if let Some(protocol) = get(port, "protocol").as_str().filter(|protocol| !PROTOCOLS.contains(protocol)) {
        errors.push(FieldError::not_supported_as_listed(join(at, "protocol"), protocol, PROTOCOLS));
    }
    let (first, last, at_last) = (get(port, "port"), int(port, "endPort"), join(at, "endPort"));
    let mut refuse =
        |why: &str| errors.extend(last.map(|last| FieldError::invalid(at_last.as_str(), last, why)));
    match first {
        Value::Null => refuse("may not be specified when `port` is not specified"),
        Value::String(name) => {
            refuse("may not be specified when `port` is non-numeric");
            invalid_each(errors, &join(at, "port"), name, is_port_name(name));
        }
        number => {
            let number = number.as_i64().unwrap_or(0);
            port_number(number, &join(at, "port"), errors);
            let Some(last) = last else { return };
            if last < number {
                errors.push(FieldError::invalid(
                    at_last.as_str(),
                    last,
                    "must be greater than or equal to `port`",
                ));
            }
            port_number(last, &at_last, errors);
        }
    }
}

fn policy_peer(peer: &Value, known: &[&str], at: &str, errors: &mut Errors) {
    for key in ["podSelector", "namespaceSelector"] {
        if has(peer, key) {
            errors.extend(validate_label_selector(get(peer, key), &join(at, key)));
        }
    }
    if has(peer, "ipBlock") {
        ip_block(get(peer, "ipBlock"), known, &join(at, "ipBlock"), errors);
    }
    let selects = has(peer, "podSelector") || has(peer, "namespaceSelector");
    match (selects, has(peer, "ipBlock")) {
        (false, false) => errors.push(FieldError::required(at, "must specify a peer")),
        (true, true) => {
            errors.push(FieldError::forbidden(at, "may not specify both ipBlock and another peer"))
        }
        _ => {}
    }
}

fn ip_block(block: &Value, known: &[&str], at: &str, errors: &mut Errors) {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        errors.push(FieldError::required(join(at, "cidr"), ""));
        return;
    }
    if !known.contains(&cidr) {
        invalid_each(errors, &join(at, "cidr"), cidr, is_cidr(cidr));
    }
    for (at, except) in each(block, "except", at) {
        let except = except.as_str().unwrap_or_default();
        if !known.contains(&except) {
            invalid_each(errors, &at, except, is_cidr(except));
        }
        if is_strict_subset(except, cidr) == Some(false) {
            errors.push(FieldError::invalid(at, except, "must be a strict subset of `cidr`"));
        }
    }
}

pub(super) fn ip_address(object: &Value, errors: &mut Errors) {
    let (parent, at) = (get(get(object, "spec"), "parentRef"), "spec.parentRef");
    if parent.is_null() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    optional_text(parent, "group", at, is_dns1123_subdomain, errors);
    required_text(parent, "resource", at, segment, errors);
    required_text(parent, "name", at, segment, errors);
    optional_text(parent, "namespace", at, segment, errors);
}

fn segment(text: &str) -> Vec<String> {
    is_path_segment(text, false)
}

pub(super) fn ip_address_update(new: &Value, old: &Value, errors: &mut Errors) {
    immutable(get(new, "spec"), get(old, "spec"), "parentRef", "spec", errors);
}

pub(super) fn service_cidr(object: &Value, errors: &mut Errors) {
    const AT: &str = "spec.cidrs";
    let cidrs = list(get(object, "spec"), "cidrs");
    if cidrs.is_empty() {
        errors.push(FieldError::required(AT, "at least one CIDR required"));
        return;
    }
    if cidrs.len() > 2 {
        errors.push(FieldError::invalid(AT, get(object, "spec").clone(), "may only hold up to 2 values"));
        return;
    }
    let texts: Vec<&str> = cidrs.iter().map(|cidr| cidr.as_str().unwrap_or_default()).collect();
    for (index, cidr) in texts.iter().enumerate() {
        invalid_each(errors, &format!("{AT}[{index}]"), cidr, is_canonical_cidr(cidr));
    }
    let valid = texts.iter().all(|cidr| is_cidr(cidr).is_empty());
    if let [first, second] = texts[..]
        && valid
        && first.contains(':') == second.contains(':')
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(AT, json!(cidrs), why));
    }
}

/// Nothing changes but that a second family may come.
pub(super) fn service_cidr_update(new: &Value, old: &Value, errors: &mut Errors) {
    const AT: &str = "spec.cidrs";
    let (after, before) = (list(get(new, "spec"), "cidrs"), list(get(old, "spec"), "cidrs"));
    if after.len() != before.len() && (before.len(), after.len()) != (1, 2) {
        errors.push(FieldError::invalid(AT, json!(after), FIELD_IS_IMMUTABLE));
        return;
    }
    for (index, (after, before)) in after.iter().zip(before).enumerate() {
        if after != before {
            errors.push(FieldError::invalid(format!("{AT}[{index}]"), after.clone(), FIELD_IS_IMMUTABLE));
        }
    }
    if after.len() != before.len() {
        service_cidr(new, errors);
    }
}
