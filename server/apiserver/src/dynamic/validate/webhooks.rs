//! Webhook configurations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sampan_api::status::FieldError;
use sampan_api::validation;
use serde_json::Value;

use super::{Errors, conditions, one_of, resources};
use crate::dynamic::trust;
use crate::value::{at, items, strings, text};

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];

/// What an object that was there before may go on doing.
struct Leave {
    side_effects: bool,
    versions: bool,
    names: bool,
}

impl Leave {
    fn of(old: Option<&Value>) -> Self {
        let hooks = old.map(|old| items(at(old, &["webhooks"]))).unwrap_or_default();
        let names: Vec<&str> = hooks.iter().map(|hook| text(hook, &["name"])).collect();
        let known = |hook: &Value| {
            strings(at(hook, &["admissionReviewVersions"])).iter().any(|one| REVIEWS.contains(&one.as_str()))
        };
        Self {
            side_effects: hooks.iter().any(|hook| !NO_EFFECTS.contains(&text(hook, &["sideEffects"]))),
            versions: hooks.iter().any(|hook| !known(hook)),
            names: (1..names.len()).any(|index| names[..index].contains(&names[index])),
        }
    }
}

pub(super) fn check(new: &Value, old: Option<&Value>, mutating: bool, errors: &mut Errors) {
    let leave = Leave::of(old);
    let hooks = items(at(new, &["webhooks"]));
    for (index, hook) in hooks.iter().enumerate() {
        let path = format!("webhooks[{index}]");
        webhook(hook, &path, mutating, &leave, errors);
        review_versions(hook, &path, leave.versions, errors);
        let name = text(hook, &["name"]);
        let before = hooks[..index].iter().any(|other| text(other, &["name"]) == name);
        if before && !name.is_empty() && !leave.names {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
    }
}

fn webhook(hook: &Value, path: &str, mutating: bool, leave: &Leave, errors: &mut Errors) {
    qualified(text(hook, &["name"]), format!("{path}.name"), errors);
    for (index, rule) in items(at(hook, &["rules"])).iter().enumerate() {
        resources::rule(rule, &format!("{path}.rules[{index}]"), errors);
    }
    one_of(hook, path, "failurePolicy", &["Fail", "Ignore"], errors);
    one_of(hook, path, "matchPolicy", &["Equivalent", "Exact"], errors);
    let effects: &[&str] = if leave.side_effects { &EFFECTS } else { &NO_EFFECTS };
    if at(hook, &["sideEffects"]).is_null() {
        let why = format!("must specify one of {}", effects.join(", "));
        errors.push(FieldError::required(format!("{path}.sideEffects"), why));
    }
    one_of(hook, path, "sideEffects", effects, errors);
    if let Some(seconds) =
        at(hook, &["timeoutSeconds"]).as_i64().filter(|seconds| !(1..=30).contains(seconds))
    {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(format!("{path}.timeoutSeconds"), seconds, why));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let selector = at(hook, &[field]);
        if selector.is_object() {
            errors.extend(validation::validate_label_selector(selector, &format!("{path}.{field}")));
        }
    }
    if mutating {
        one_of(hook, path, "reinvocationPolicy", &["IfNeeded", "Never"], errors);
    }
    client(at(hook, &["clientConfig"]), &format!("{path}.clientConfig"), errors);
    conditions(hook, path, false, errors);
}

/// `IsFullyQualifiedName`: a subdomain of at least three labels.
fn qualified(name: &str, field: String, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    let wrong = validation::is_dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(field, name, wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(field, name, why));
    }
}

fn review_versions(hook: &Value, path: &str, leave: bool, errors: &mut Errors) {
    let field = format!("{path}.admissionReviewVersions");
    let versions = strings(at(hook, &["admissionReviewVersions"]));
    if versions.is_empty() {
        errors.push(FieldError::required(field, format!("must specify one of {}", REVIEWS.join(", "))));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let here = format!("{field}[{index}]");
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(here, version.as_str(), "duplicate version"));
            continue;
        }
        for why in validation::is_dns1035_label(version) {
            errors.push(FieldError::invalid(here.as_str(), version.as_str(), why));
        }
    }
    if !leave && !versions.iter().any(|version| REVIEWS.contains(&version.as_str())) {
        errors.push(FieldError::invalid(
            field,
            versions,
            format!("must include at least one of {}", REVIEWS.join(", ")),
        ));
    }
}

/// `ValidateWebhookURL`, `ValidateWebhookService`.
fn client(config: &Value, path: &str, errors: &mut Errors) {
    let (url, service) = (at(config, &["url"]), at(config, &["service"]));
    if url.is_null() == service.is_null() {
        errors.push(FieldError::required(path, "exactly one of url or service is required"));
    } else if let Some(url) = url.as_str() {
        url_errors(url, &format!("{path}.url"), errors);
    } else {
        service_errors(service, &format!("{path}.service"), errors);
    }
}

/// Of a definition: that there is one of both is `sampan-api`'s to say. Authorities that cannot be read are let pass until
/// it is established, and where they could not be read before: `allowInvalidCABundle`.
pub(super) fn conversion(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    const PATH: &str = "spec.conversion.webhookClientConfig";
    const CONFIG: &[&str] = &["spec", "conversion", "webhook", "clientConfig"];
    if text(new, &["spec", "conversion", "strategy"]) != "Webhook" {
        return;
    }
    let config = at(new, CONFIG);
    let (url, service) = (at(config, &["url"]), at(config, &["service"]));
    match (url.as_str(), service.is_null()) {
        (Some(url), true) => url_errors(url, &format!("{PATH}.url"), errors),
        (None, false) => service_errors(service, &format!("{PATH}.service"), errors),
        _ => {}
    }
    if let Some(why) = ca_error(config)
        && old.is_some_and(|old| is_established(old) && ca_error(at(old, CONFIG)).is_none())
    {
        let bundle = text(config, &["caBundle"]);
        errors.push(FieldError::invalid(format!("{PATH}.caBundle"), bundle, why));
    }
}

fn is_established(definition: &Value) -> bool {
    let mut conditions = items(at(definition, &["status", "conditions"])).iter();
    conditions.any(|one| text(one, &["type"]) == "Established" && text(one, &["status"]) == "True")
}

/// What is wrong with the `caBundle` of a `clientConfig`, if there is one: `ValidateCABundle`.
pub(crate) fn ca_error(config: &Value) -> Option<String> {
    match text(config, &["caBundle"]) {
        "" => None,
        bundle => match STANDARD.decode(bundle) {
            Ok(bundle) => trust::authorities(&bundle).err(),
            Err(why) => Some(format!("unable to load root certificates: {why}")),
        },
    }
}

fn url_errors(url: &str, field: &str, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut wrong =
        |value: &str, why: &str| errors.push(FieldError::invalid(field, value, format!("{why}{FORM}")));
    let Some((scheme, rest)) = url.split_once("://") else {
        wrong("", "'https' is the only allowed URL scheme");
        return wrong("", "host must be specified");
    };
    if scheme != "https" {
        wrong(scheme, "'https' is the only allowed URL scheme");
    }
    let (whole, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (place, query) = whole.split_once('?').unwrap_or((whole, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        wrong(host, "host must be specified");
    }
    if !user.is_empty() {
        wrong(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        wrong(query, "query parameters are not permitted in the URL");
    }
}

fn service_errors(service: &Value, path: &str, errors: &mut Errors) {
    for field in ["name", "namespace"] {
        if text(service, &[field]).is_empty() {
            errors.push(FieldError::required(
                format!("{path}.{field}"),
                format!("service {field} is required"),
            ));
        }
    }
    if let Some(port) = at(service, &["port"]).as_i64() {
        for why in validation::is_port_number(port) {
            errors.push(FieldError::invalid(
                format!("{path}.port"),
                port,
                format!("port is not valid: {why}"),
            ));
        }
    }
    let Some(whole) = at(service, &["path"]).as_str().filter(|whole| !whole.is_empty()) else { return };
    let field = format!("{path}.path");
    if !whole.starts_with('/') {
        errors.push(FieldError::invalid(field.as_str(), whole, "must start with a '/'"));
    }
    let steps: Vec<&str> = whole.trim_start_matches('/').split('/').collect();
    for (index, step) in steps.iter().enumerate() {
        if step.is_empty() && index + 1 < steps.len() {
            errors.push(FieldError::invalid(
                field.as_str(),
                whole,
                format!("segment[{index}] may not be empty"),
            ));
        }
        let wrong = validation::is_dns1123_subdomain(step);
        if !step.is_empty() && !wrong.is_empty() {
            let why = format!("segment[{index}]: {}", wrong.join(","));
            errors.push(FieldError::invalid(field.as_str(), whole, why));
        }
    }
}
