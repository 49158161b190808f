//! Where a load balancer is reached: what the status of Services and Ingresses says.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::{is_dns1123_subdomain, is_ip};

/// `ValidateLoadBalancerStatus` (with `modes`) and `ValidateIngressLoadBalancerStatus`. `old` may keep what it has.
pub(super) fn ingress_points(status: &Value, old: &Value, at: &str, modes: bool, errors: &mut Errors) {
    let known = |ip: &str| list(old, "ingress").iter().any(|point| text(point, "ip") == ip);
    for (at, point) in each(status, "ingress", at) {
        let (ip, hostname) = (text(point, "ip"), text(point, "hostname"));
        if !ip.is_empty() && !known(ip) {
            invalid_each(errors, &join(&at, "ip"), ip, is_ip(ip));
        }
        if modes {
            mode(point, &at, errors);
        }
        if !hostname.is_empty() {
            invalid_each(errors, &join(&at, "hostname"), hostname, is_dns1123_subdomain(hostname));
            if is_ip(hostname).is_empty() {
                let why = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(join(&at, "hostname"), hostname, why));
            }
        }
    }
}

fn mode(point: &Value, at: &str, errors: &mut Errors) {
    let at = join(at, "ipMode");
    let (ip, mode) = (text(point, "ip"), get(point, "ipMode"));
    match (ip.is_empty(), mode.is_null()) {
        (true, false) => errors.push(FieldError::forbidden(at, "may not be specified when `ip` is not set")),
        (false, true) => errors.push(FieldError::required(at, "must be specified when `ip` is set")),
        (false, false) if !matches!(mode.as_str(), Some("VIP" | "Proxy")) => {
            errors.push(FieldError::not_supported(at, mode.clone(), &["Proxy", "VIP"]));
        }
        _ => {}
    }
}
