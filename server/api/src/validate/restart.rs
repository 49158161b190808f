//! When a container is started again, and what of it may change while it runs: its restart policy and rules, and its
//! resize policy.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;

const POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;

/// `validateContainerRestartPolicy`.
pub(super) fn policy(container: &Value, at: &str, errors: &mut Errors) {
    let rules = list(container, "restartPolicyRules");
    if !has(container, "restartPolicy") {
        if rules.is_empty() {
            return;
        }
        let why = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(join(at, "restartPolicy"), why));
    }
    one_of(container, "restartPolicy", at, POLICIES, errors);
    if rules.len() > MOST_RULES {
        errors.push(FieldError::too_many(join(at, "restartPolicyRules"), rules.len(), MOST_RULES));
    }
    for (at, rule) in each(container, "restartPolicyRules", at) {
        listed(rule, "action", &at, ACTIONS, errors);
        let (codes, at) = (get(rule, "exitCodes"), join(&at, "exitCodes"));
        if codes.is_null() {
            errors.push(FieldError::required(at, "must be specified"));
            continue;
        }
        listed(codes, "operator", &at, OPERATORS, errors);
        let values = list(codes, "values").len();
        if values > MOST_CODES {
            errors.push(FieldError::too_many(join(&at, "values"), values, MOST_CODES));
        }
    }
}

/// As [`policy`], of an init container, whose rules alone say no more than that.
pub(super) fn init_policy(container: &Value, at: &str, errors: &mut Errors) {
    if has(container, "restartPolicy") {
        return policy(container, at, errors);
    }
    if !list(container, "restartPolicyRules").is_empty() {
        let why = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(join(at, "restartPolicy"), why));
    }
}

/// `validateResizePolicy`; the index goes unsaid, as it does upstream.
pub(super) fn resize(container: &Value, at: &str, of_pod: &str, errors: &mut Errors) {
    let all = join(at, "resizePolicy");
    let mut seen: Vec<&str> = Vec::new();
    for (at, policy) in each(container, "resizePolicy", at) {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if seen.contains(&resource) {
            errors.push(FieldError::duplicate(at, resource));
        }
        seen.push(resource);
        for (value, supported) in
            [(resource, &["cpu", "memory"]), (restart, &["NotRequired", "RestartContainer"])]
        {
            match value {
                "" => errors.push(FieldError::required(all.as_str(), "")),
                value if !supported.contains(&value) => {
                    errors.push(FieldError::not_supported(all.as_str(), value, supported));
                }
                _ => {}
            }
        }
        if of_pod == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(all.as_str(), restart, why));
        }
    }
}

/// An init container that runs to its end cannot be restarted for its resources.
pub(super) fn init_resize(container: &Value, at: &str, errors: &mut Errors) {
    for (at, policy) in each(container, "resizePolicy", at) {
        if text(policy, "restartPolicy") == "RestartContainer" {
            let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.push(FieldError::invalid(join(&at, "restartPolicy"), "RestartContainer", why));
        }
    }
}
