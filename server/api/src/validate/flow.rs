//! FlowSchemas and PriorityLevelConfigurations: `pkg/apis/flowcontrol/validation`. What upstream fixes of its own four
//! objects is not asked.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_dns1123_subdomain};

const MOST_PRECEDENCE: i64 = 10_000;
const MOST_QUEUES: i64 = 10_000_000;
/// Bits of the hash that shuffle sharding deals with.
const MOST_BITS: i64 = 60;
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// `ValidateFlowSchema`.
pub(super) fn schema(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let precedence = int(spec, "matchingPrecedence").unwrap_or(0);
    let exempt = text(get(object, "metadata"), "name") == "exempt";
    let why = match precedence {
        ..=0 => Some("must be a positive value".to_owned()),
        1 if !exempt => Some("only the schema named 'exempt' may have matchingPrecedence 1".to_owned()),
        _ if precedence > MOST_PRECEDENCE => Some(format!("must not be greater than {MOST_PRECEDENCE}")),
        _ => None,
    };
    errors.extend(why.map(|why| FieldError::invalid("spec.matchingPrecedence", precedence, why)));
    let method = get(spec, "distinguisherMethod");
    if !method.is_null() && !matches!(text(method, "type"), "ByNamespace" | "ByUser") {
        let at = "spec.distinguisherMethod.type";
        errors.push(FieldError::not_supported(at, method.clone(), &["ByNamespace", "ByUser"]));
    }
    let at = "spec.priorityLevelConfiguration.name";
    match text(get(spec, "priorityLevelConfiguration"), "name") {
        "" => errors.push(FieldError::required(at, "must reference a priority level")),
        name => invalid_each(errors, at, name, is_dns1123_subdomain(name)),
    }
    for (at, rule) in each(spec, "rules", "spec") {
        if list(rule, "subjects").is_empty() {
            let why = "subjects must contain at least one value";
            errors.push(FieldError::required(join(&at, "subjects"), why));
        }
        for (at, subject) in each(rule, "subjects", &at) {
            self::subject(subject, &at, errors);
        }
        if list(rule, "resourceRules").is_empty() && list(rule, "nonResourceRules").is_empty() {
            let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.push(FieldError::required(at.as_str(), why));
        }
        for (at, rule) in each(rule, "resourceRules", &at) {
            resources(rule, &at, errors);
        }
        for (at, rule) in each(rule, "nonResourceRules", &at) {
            urls(rule, &at, errors);
        }
    }
}

fn subject(subject: &Value, at: &str, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] =
        [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = text(subject, "kind");
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return listed(subject, "kind", at, &["Group", "ServiceAccount", "User"], errors);
    };
    let (value, own_at) = (get(subject, own), join(at, own));
    if value.is_null() {
        let why = format!("{own} is required when subject kind is '{kind}'");
        errors.push(FieldError::required(own_at, why));
    } else {
        match text(value, "name") {
            "" => errors.push(FieldError::required(join(&own_at, "name"), "")),
            name if kind == "ServiceAccount" && name != "*" => {
                invalid_each(errors, &join(&own_at, "name"), name, is_dns1123_subdomain(name));
            }
            _ => {}
        }
        match text(value, "namespace") {
            _ if kind != "ServiceAccount" => {}
            "" => {
                let why = "must specify namespace for service account";
                errors.push(FieldError::required(join(&own_at, "namespace"), why));
            }
            name => invalid_each(errors, &join(&own_at, "namespace"), name, is_dns1123_label(name)),
        }
    }
    for (name, key) in KINDS.iter().filter(|(name, key)| *name != kind && has(subject, key)) {
        let why = format!("{key} is forbidden when subject kind is not '{name}'");
        errors.push(FieldError::forbidden(join(at, key), why));
    }
}

/// What a list says that is either everything or some of it.
fn some_or_all(rule: &Value, key: &str, missing: &str, what: &str, at: &str, errors: &mut Errors) -> bool {
    let values = list(rule, key);
    let all = values.iter().any(|value| value.as_str() == Some("*"));
    if values.is_empty() {
        errors.push(FieldError::required(join(at, key), missing));
    } else if all && values.len() > 1 {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(join(at, key), values.to_vec(), why));
    }
    !all
}

fn verbs(rule: &Value, at: &str, errors: &mut Errors) {
    let missing = "verbs must contain at least one value";
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if some_or_all(rule, "verbs", missing, "verbs", at, errors) && !list(rule, "verbs").iter().all(known) {
        errors.push(FieldError::not_supported(join(at, "verbs"), get(rule, "verbs").clone(), VERBS));
    }
}

fn resources(rule: &Value, at: &str, errors: &mut Errors) {
    verbs(rule, at, errors);
    let missing = "resource rules must supply at least one api group";
    some_or_all(rule, "apiGroups", missing, "api groups", at, errors);
    let missing = "resource rules must supply at least one resource";
    some_or_all(rule, "resources", missing, "resources", at, errors);
    if list(rule, "namespaces").is_empty() && is_true(rule, "clusterScope") {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if some_or_all(rule, "namespaces", missing, "namespaces", at, errors) {
        for (at, name) in each(rule, "namespaces", at) {
            let name = name.as_str().unwrap_or_default();
            let why = is_dns1123_label(name).into_iter();
            let why =
                why.map(|why| format!("each member of this list must be '*' or a DNS-1123 label; {why}"));
            invalid_each(errors, &at, name, why.collect());
        }
    }
}

fn urls(rule: &Value, at: &str, errors: &mut Errors) {
    verbs(rule, at, errors);
    let missing = "nonResourceURLs must contain at least one value";
    if some_or_all(rule, "nonResourceURLs", missing, "non-resource URLs", at, errors) {
        for (at, url) in each(rule, "nonResourceURLs", at) {
            let url = url.as_str().unwrap_or_default();
            errors.extend(path_error(url).map(|why| FieldError::invalid(at, url, why)));
        }
    }
}

/// `ValidateNonResourceURLPath`.
fn path_error(path: &str) -> Option<&'static str> {
    let wildcards = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if wildcards > 1 || (wildcards == 1 && !path.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

/// `ValidatePriorityLevelConfiguration`.
pub(super) fn priority_level(object: &Value, errors: &mut Errors) {
    let (spec, kind) = (get(object, "spec"), text(get(object, "spec"), "type"));
    if (text(get(object, "metadata"), "name") == "exempt") != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid("spec.type", kind, why));
    }
    let (limited, exempt) = (get(spec, "limited"), get(spec, "exempt"));
    match kind {
        "Exempt" => {
            if !limited.is_null() {
                let why = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden("spec.limited", why));
            }
            shares(exempt, "spec.exempt", errors);
            lendable(exempt, "spec.exempt", errors);
        }
        "Limited" => {
            if !exempt.is_null() {
                errors.push(FieldError::forbidden("spec.exempt", "must be nil if the type is Limited"));
            }
            match limited {
                Value::Null => {
                    let why = "must not be empty when type is Limited";
                    errors.push(FieldError::required("spec.limited", why));
                }
                limited => self::limited(limited, "spec.limited", errors),
            }
        }
        _ => listed(spec, "type", "spec", &["Exempt", "Limited"], errors),
    }
}

fn shares(level: &Value, at: &str, errors: &mut Errors) {
    if let Some(shares) = int(level, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let why = "must be a non-negative integer";
        errors.push(FieldError::invalid(join(at, "nominalConcurrencyShares"), shares, why));
    }
}

fn lendable(level: &Value, at: &str, errors: &mut Errors) {
    if let Some(percent) = int(level, "lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        let why = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(join(at, "lendablePercent"), percent, why));
    }
}

fn limited(level: &Value, at: &str, errors: &mut Errors) {
    shares(level, at, errors);
    let (response, response_at) = (get(level, "limitResponse"), join(at, "limitResponse"));
    let (queuing, queuing_at) = (get(response, "queuing"), join(&response_at, "queuing"));
    match (text(response, "type"), queuing) {
        ("Reject", Value::Null) => {}
        ("Reject", _) => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(queuing_at, why));
        }
        ("Queue", Value::Null) => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(queuing_at, why));
        }
        ("Queue", queuing) => self::queuing(queuing, &queuing_at, errors),
        _ => listed(response, "type", &response_at, &["Queue", "Reject"], errors),
    }
    lendable(level, at, errors);
    if let Some(percent) = int(level, "borrowingLimitPercent").filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(join(at, "borrowingLimitPercent"), percent, why));
    }
}

fn queuing(queuing: &Value, at: &str, errors: &mut Errors) {
    let number = |key: &str| int(queuing, key).unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    for key in ["queueLengthLimit", "queues", "handSize"] {
        if number(key) <= 0 {
            errors.push(FieldError::invalid(join(at, key), number(key), "must be positive"));
        }
    }
    if queues > MOST_QUEUES {
        let why = format!("must not be greater than {MOST_QUEUES}");
        errors.push(FieldError::invalid(join(at, "queues"), queues, why));
    }
    let bits = entropy_bits(queues, hand);
    let why = match hand {
        ..=0 => return,
        _ if hand > queues => format!("should not be greater than queues ({queues})"),
        _ if bits > MOST_BITS => format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MOST_BITS}"
        ),
        _ => return,
    };
    errors.push(FieldError::invalid(join(at, "handSize"), hand, why));
}

/// `shufflesharding.RequiredEntropyBits`: of so many hands that can be dealt.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    // no deck needs more hands than there are bits, but for the cards of which one alone is left
    let dealt = (0..hand.min(deck)).map(|card| ((deck - card) as f64).log2());
    dealt.take(MOST_BITS as usize * 2).sum::<f64>().ceil() as i64
}
