//! Containers, init containers and what is inside: names, ports, resources.

use serde_json::Value;

use super::access::*;
use super::pod::Holder;
use super::volume::Volumes;
use super::{env, mounts, restart, security};
use crate::quantity::Quantity;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_port_name, is_port_number, is_qualified_name};

/// What a container's pod has to do with its rules.
pub(super) struct Of<'a> {
    /// Whose spec it is in.
    pub(super) holder: Holder<'a>,
    pub(super) spec: &'a Value,
    pub(super) volumes: Volumes<'a>,
}

/// The rules that hold for every sort of container: `validateContainerCommon`.
pub(super) fn container(container: &Value, at: &str, of: &Of, errors: &mut Errors) {
    required_text(container, "name", at, is_dns1123_label, errors);
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(join(at, "image"), ""));
    } else if of.holder.is_pod() && image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(join(at, "image"), image, why));
    }
    message_policy(container, at, errors);
    ports(container, at, errors);
    env::env(container, at, errors);
    mounts::mounts(container, at, &of.volumes, errors);
    mounts::devices(container, at, &of.volumes, errors);
    required_one_of(container, "imagePullPolicy", at, &["Always", "IfNotPresent", "Never"], errors);
    let resources_at = join(at, "resources");
    resources(get(container, "resources"), &resources_at, errors);
    claims(get(container, "resources"), list(of.spec, "resourceClaims"), &resources_at, errors);
    restart::resize(container, at, text(of.spec, "restartPolicy"), errors);
    let host_users = get(of.spec, "hostUsers").as_bool() != Some(false);
    security::of_container(
        get(container, "securityContext"),
        &join(at, "securityContext"),
        host_users,
        errors,
    );
}

fn message_policy(container: &Value, at: &str, errors: &mut Errors) {
    const POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
    let (key, policy) = ("terminationMessagePolicy", text(container, "terminationMessagePolicy"));
    match policy {
        "" => errors.push(FieldError::required(join(at, key), "")),
        policy if !POLICIES.contains(&policy) => {
            errors.push(FieldError::not_supported_as_listed(join(at, key), policy, POLICIES));
        }
        _ => {}
    }
}

fn ports(container: &Value, at: &str, errors: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (at, port) in each(container, "ports", at) {
        let name = text(port, "name");
        let wrong = if name.is_empty() { vec![] } else { is_port_name(name) };
        if !wrong.is_empty() {
            invalid_each(errors, &join(&at, "name"), name, wrong);
        } else if !name.is_empty() && names.contains(&name) {
            errors.push(FieldError::duplicate(join(&at, "name"), name));
        } else {
            names.push(name);
        }
        match int(port, "containerPort").unwrap_or(0) {
            0 => errors.push(FieldError::required(join(&at, "containerPort"), "")),
            number => port_number(number, &join(&at, "containerPort"), errors),
        }
        if let Some(number) = int(port, "hostPort").filter(|n| *n != 0) {
            port_number(number, &join(&at, "hostPort"), errors);
        }
        required_one_of(port, "protocol", &at, &["SCTP", "TCP", "UDP"], errors);
    }
}

pub(super) fn port_number(number: i64, at: &str, errors: &mut Errors) {
    errors.extend(is_port_number(number).into_iter().map(|why| FieldError::invalid(at, number, why)));
}

/// `validateLocalDescendingPath`.
pub(super) fn local_path(path: &str, at: &str, errors: &mut Errors) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(at, path, "must be a relative path"));
    }
    no_backsteps(path, at, errors);
}

/// `validatePathNoBacksteps`.
pub(super) fn no_backsteps(path: &str, at: &str, errors: &mut Errors) {
    if has_backsteps(path) {
        errors.push(FieldError::invalid(at, path, "must not contain '..'"));
    }
}

/// Whether the path leads up somewhere.
pub(super) fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage") || name.starts_with("hugepages-")
}

/// Whether more may be asked for of it than there is: `IsOvercommitAllowed`.
fn is_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// `IsNativeResource`.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// `ValidateContainerResourceRequirements`, but for the claims.
pub(super) fn resources(resources: &Value, at: &str, errors: &mut Errors) {
    resources_named(resources, at, resource_name, errors);
}

/// As [`resources`], of those that `named` lets have their names.
pub(super) fn resources_named(
    resources: &Value,
    at: &str,
    named: fn(&str, &str, &mut Errors),
    errors: &mut Errors,
) {
    let (mut computes, mut huge) = (false, false);
    for list in ["limits", "requests"] {
        for (name, amount) in entries(resources, list) {
            let here = format!("{at}.{list}[{name}]");
            named(name, &here, errors);
            computes |= matches!(name.as_str(), "cpu" | "memory");
            huge |= name.starts_with("hugepages-");
            let Some(amount) = quantity(amount) else { continue };
            resource_value(name, &amount, &here, errors);
            if list == "requests" {
                let limit = get(resources, "limits").get(name).and_then(quantity);
                against_limit(name, &amount, limit, at, errors);
            }
            if !is_whole_pages(name, &amount) {
                let why = format!("{amount} is not positive integer multiple of {name}");
                errors.push(FieldError::invalid(here, amount.to_string(), why));
            }
        }
    }
    if huge && !computes {
        errors.push(FieldError::forbidden(at, "HugePages require cpu or memory"));
    }
}

/// `ValidateResourceQuantityValue`.
fn resource_value(name: &str, amount: &Quantity, at: &str, errors: &mut Errors) {
    if amount.sign() < 0 {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(at, amount.to_string(), why));
    }
    // devices and the like come whole
    if !is_native(name) && !amount.is_whole() {
        errors.push(FieldError::invalid(at, amount.to_string(), "must be an integer"));
    }
}

fn against_limit(name: &str, request: &Quantity, limit: Option<Quantity>, at: &str, errors: &mut Errors) {
    let why = match limit {
        Some(limit) if *request != limit && !is_overcommitted(name) => {
            format!("must be equal to {name} limit of {limit}")
        }
        Some(limit) if *request > limit => format!("must be less than or equal to {name} limit of {limit}"),
        None if !is_overcommitted(name) => {
            let why = "Limit must be set for non overcommitable resources";
            return errors.push(FieldError::required(join(at, "limits"), why));
        }
        _ => return,
    };
    errors.push(FieldError::invalid(join(at, "requests"), request.to_string(), why));
}

/// `IsHugePageResourceValueDivisible`.
fn is_whole_pages(name: &str, amount: &Quantity) -> bool {
    let Some(page) = name.strip_prefix("hugepages-") else { return true };
    let page = Quantity::parse(page).map_or(0, |page| page.value());
    page > 0 && amount.is_whole() && amount.value() % page == 0
}

/// `validateResourceClaimNames`: which of the pod's `claims` the container uses.
pub(super) fn claims(resources: &Value, claims: &[Value], at: &str, errors: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (at, claim) in each(resources, "claims", at) {
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        if !request.is_empty() && !seen.contains(&(name, "")) {
            invalid_each(errors, &join(&at, "request"), request, is_dns1123_label(request));
        }
        let all_of_it = seen.contains(&(name, ""));
        let overlaps = seen.iter().filter(|(other, _)| *other == name && request.is_empty() && !all_of_it);
        let twice = usize::from(all_of_it || (!request.is_empty() && seen.contains(&(name, request))));
        let shown =
            if request.is_empty() || all_of_it { name.to_owned() } else { format!("{name}/{request}") };
        for _ in 0..overlaps.count().max(twice) {
            errors.push(FieldError::duplicate(at.as_str(), shown.as_str()));
        }
        if !all_of_it {
            seen.push((name, request));
        }
        let mut names: Vec<&str> = claims.iter().map(|claim| text(claim, "name")).collect();
        names.retain(|name| !name.is_empty());
        if !names.contains(&name) {
            names.sort_unstable();
            let rest = match names.as_slice() {
                [] => " which is empty".to_owned(),
                names => format!(": {}", names.join(", ")),
            };
            let mut error = FieldError::not_found(at, name);
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{rest}");
            errors.push(error);
        }
    }
}

/// `validateResourceName`: says what is wrong, and whether anything is.
pub(super) fn has_bad_name(name: &str, at: &str, errors: &mut Errors) -> bool {
    let mut why = is_qualified_name(name);
    if why.is_empty() && !name.contains('/') && !is_standard(name) {
        why.push("must be a standard resource type or fully qualified".to_owned());
    }
    let wrong = !why.is_empty();
    invalid_each(errors, at, name, why);
    wrong
}

/// `validateContainerResourceName`.
pub(super) fn resource_name(name: &str, at: &str, errors: &mut Errors) {
    has_bad_name(name, at, errors);
    if name.contains('/') {
        if !is_native(name) && !is_extended(name) {
            errors.push(FieldError::invalid(at, name, "doesn't follow extended resource name standard"));
        }
        return;
    }
    if !is_standard(name) || name == "storage" {
        errors.push(FieldError::invalid(at, name, "must be a standard resource for containers"));
    }
}

/// `IsExtendedResourceName`: a quota for it would have a name, too.
pub(super) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && is_qualified_name(&format!("requests.{name}")).is_empty()
}
