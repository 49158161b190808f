//! Endpoints and EndpointSlices: `ValidateEndpoints` and `pkg/apis/discovery/validation`.

use serde_json::Value;

use super::access::*;
use super::container::port_number;
use crate::status::FieldError;
use crate::validation::{
    is_canonical_ip, is_dns1123_label, is_dns1123_subdomain, is_ip, is_ipv6, is_non_special_ip,
    is_qualified_name,
};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const MOST_ADDRESSES: usize = 100;
const MOST_PORTS: usize = 20_000;
const MOST_ENDPOINTS: usize = 1000;
const MOST_ZONE_HINTS: usize = 8;

pub(super) fn endpoints(object: &Value, old: &Value, errors: &mut Errors) {
    if !old.is_null() && get(object, "subsets") == get(old, "subsets") {
        // earlier versions took what this one does not
        return;
    }
    for (at, subset) in each(object, "subsets", "") {
        if addresses(subset).next().is_none() {
            errors.push(FieldError::required(at.as_str(), "must specify `addresses` or `notReadyAddresses`"));
        }
        for key in ["addresses", "notReadyAddresses"] {
            for (at, address) in each(subset, key, &at) {
                endpoint_address(address, &at, errors);
            }
        }
        let many = list(subset, "ports").len() > 1;
        for (at, port) in each(subset, "ports", &at) {
            if many {
                required_text(port, "name", &at, is_dns1123_label, errors);
            } else {
                optional_text(port, "name", &at, is_dns1123_label, errors);
            }
            port_number(int(port, "port").unwrap_or(0), &join(&at, "port"), errors);
            required_one_of(port, "protocol", &at, PROTOCOLS, errors);
            optional_text(port, "appProtocol", &at, is_qualified_name, errors);
        }
    }
}

fn addresses(subset: &Value) -> impl Iterator<Item = &Value> {
    list(subset, "addresses").iter().chain(list(subset, "notReadyAddresses"))
}

fn endpoint_address(address: &Value, at: &str, errors: &mut Errors) {
    let (ip, at_ip) = (text(address, "ip"), join(at, "ip"));
    invalid_each(errors, &at_ip, ip, is_ip(ip));
    optional_text(address, "hostname", at, is_dns1123_label, errors);
    if let Some(node) = get(address, "nodeName").as_str() {
        invalid_each(errors, &join(at, "nodeName"), node, is_dns1123_subdomain(node));
    }
    invalid_each(errors, &at_ip, ip, is_non_special_ip(ip));
}

pub(super) fn slice(object: &Value, errors: &mut Errors) {
    required_one_of(object, "addressType", "", &["FQDN", "IPv4", "IPv6"], errors);
    let count = list(object, "endpoints").len();
    if count > MOST_ENDPOINTS {
        errors.push(FieldError::too_many("endpoints", count, MOST_ENDPOINTS));
    } else {
        for (at, endpoint) in each(object, "endpoints", "") {
            slice_endpoint(endpoint, text(object, "addressType"), &at, errors);
        }
    }
    let count = list(object, "ports").len();
    if count > MOST_PORTS {
        errors.push(FieldError::too_many("ports", count, MOST_PORTS));
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for (at, port) in each(object, "ports", "") {
        let name = text(port, "name");
        optional_text(port, "name", &at, is_dns1123_label, errors);
        if names.contains(&name) {
            errors.push(FieldError::duplicate(join(&at, "name"), name));
        }
        names.push(name);
        required_one_of(port, "protocol", &at, PROTOCOLS, errors);
        optional_text(port, "appProtocol", &at, is_qualified_name, errors);
    }
}

fn slice_endpoint(endpoint: &Value, family: &str, at: &str, errors: &mut Errors) {
    let count = list(endpoint, "addresses").len();
    match count {
        0 => errors.push(FieldError::required(join(at, "addresses"), "must contain at least 1 address")),
        1..=MOST_ADDRESSES => {}
        _ => errors.push(FieldError::too_many(join(at, "addresses"), count, MOST_ADDRESSES)),
    }
    for (at, address) in each(endpoint, "addresses", at) {
        let address = address.as_str().unwrap_or_default();
        slice_address(address, family, &at, errors);
    }
    if let Some(node) = get(endpoint, "nodeName").as_str() {
        invalid_each(errors, &join(at, "nodeName"), node, is_dns1123_subdomain(node));
    }
    for key in text_members(get(endpoint, "deprecatedTopology")) {
        invalid_each(errors, &join(at, "deprecatedTopology"), key, is_qualified_name(key));
    }
    if let Some(hostname) = get(endpoint, "hostname").as_str() {
        invalid_each(errors, &join(at, "hostname"), hostname, is_dns1123_label(hostname));
    }
    hints(endpoint, at, errors);
}

fn text_members(map: &Value) -> impl Iterator<Item = &String> {
    map.as_object().into_iter().flatten().map(|(key, _)| key)
}

fn slice_address(address: &str, family: &str, at: &str, errors: &mut Errors) {
    let of_family = |v6: bool| is_ipv6(address) == Some(v6);
    match family {
        "IPv4" | "IPv6" => {
            let why = if family == "IPv6" { is_canonical_ip(address) } else { is_ip(address) };
            if !why.is_empty() {
                return invalid_each(errors, at, address, why);
            }
            if !of_family(family == "IPv6") {
                // which of the addresses goes unsaid, as it does upstream
                let all = at.rsplit_once('[').map_or(at, |(all, _)| all);
                errors.push(FieldError::invalid(all, address, format!("must be an {family} address")));
            }
            invalid_each(errors, at, address, is_non_special_ip(address));
        }
        "FQDN" => domain(address, at, errors),
        _ => {}
    }
}

/// `IsFullyQualifiedDomainName`.
fn domain(name: &str, at: &str, errors: &mut Errors) {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name {
        "" => errors.push(FieldError::required(at, "")),
        name => {
            let wrong = is_dns1123_subdomain(name);
            if wrong.is_empty() && !name.contains('.') {
                let why = "should be a domain with at least two segments separated by dots";
                errors.push(FieldError::invalid(at, name, why));
            }
            invalid_each(errors, at, name, wrong);
        }
    }
}

fn hints(endpoint: &Value, at: &str, errors: &mut Errors) {
    let hints = get(endpoint, "hints");
    for key in ["forZones", "forNodes"] {
        let at = join(at, &format!("hints.{key}"));
        let count = list(hints, key).len();
        if count > MOST_ZONE_HINTS {
            errors.push(FieldError::too_many(at, count, MOST_ZONE_HINTS));
            continue;
        }
        let mut seen = Vec::new();
        for (index, hint) in list(hints, key).iter().enumerate() {
            let (name, at) = (text(hint, "name"), format!("{at}[{index}].name"));
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(at, name));
                continue;
            }
            seen.push(name);
            let wrong = match key {
                "forZones" => crate::validation::is_label_value(name),
                _ => is_dns1123_subdomain(name),
            };
            invalid_each(errors, &at, name, wrong);
        }
    }
}
