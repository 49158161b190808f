//! How a pod resolves names: `validateDNSPolicy` and `validatePodDNSConfig`.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::{is_dns1123_subdomain_with_underscore, is_ip};

const POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const MOST_SEARCH_BYTES: usize = 2048;

pub(super) fn dns(spec: &Value, at: &str, errors: &mut Errors) {
    let policy = text(spec, "dnsPolicy");
    match policy {
        "" => errors.push(FieldError::required(join(at, "dnsPolicy"), "")),
        policy if !POLICIES.contains(&policy) => {
            errors.push(FieldError::not_supported_as_listed(join(at, "dnsPolicy"), policy, POLICIES));
        }
        _ => {}
    }
    let (config, at) = (get(spec, "dnsConfig"), join(at, "dnsConfig"));
    if policy == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            return errors.push(FieldError::required(at, why));
        }
        if list(config, "nameservers").is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(FieldError::required(join(&at, "nameservers"), why));
        }
    }
    servers(config, &at, errors);
    searches(config, &at, errors);
    for (at, option) in each(config, "options", &at) {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(at, "must not be empty"));
        }
    }
}

fn servers(config: &Value, at: &str, errors: &mut Errors) {
    if list(config, "nameservers").len() > MOST_SERVERS {
        let shown = get(config, "nameservers").clone();
        let why = format!("must not have more than {MOST_SERVERS} nameservers");
        errors.push(FieldError::invalid(join(at, "nameservers"), shown, why));
    }
    for (at, server) in each(config, "nameservers", at) {
        let server = server.as_str().unwrap_or_default();
        invalid_each(errors, &at, server, is_ip(server));
    }
}

fn searches(config: &Value, at: &str, errors: &mut Errors) {
    let searches = list(config, "searches");
    let mut wrong = |why: String| {
        let shown = get(config, "searches").clone();
        errors.push(FieldError::invalid(join(at, "searches"), shown, why));
    };
    if searches.len() > MOST_SEARCHES {
        wrong(format!("must not have more than {MOST_SEARCHES} search paths"));
    }
    // with the spaces between them
    let bytes: usize = searches.iter().filter_map(Value::as_str).map(|search| search.len() + 1).sum();
    if bytes > MOST_SEARCH_BYTES + 1 {
        wrong(format!(
            "must not have more than {MOST_SEARCH_BYTES} characters (including spaces) in the search list"
        ));
    }
    for (at, search) in each(config, "searches", at) {
        let search = search.as_str().unwrap_or_default();
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            invalid_each(errors, &at, search, is_dns1123_subdomain_with_underscore(search));
        }
    }
}
