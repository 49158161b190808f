//! Security contexts of pods and containers: users, profiles, and what Windows has in their place.

use serde_json::Value;

use super::access::*;
use crate::status::FieldError;
use crate::validation::{is_dns1123_subdomain, range_error};

/// The most that `IsValidUserID` and `IsValidGroupID` let pass.
const MOST_ID: i64 = i32::MAX as i64;
/// `PATH_MAX` without its end.
const MOST_PROFILE_BYTES: usize = 4095;
const MOST_CREDENTIAL_KIB: usize = 64;
const MOST_DOMAIN_BYTES: usize = 256;
const MOST_USER_BYTES: usize = 104;

/// `validatePodSpecSecurityContext`, but for the kernel's parameters.
pub(super) fn of_pod(spec: &Value, at: &str, errors: &mut Errors) {
    let context = get(spec, "securityContext");
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], at, errors);
    for (at, group) in each(context, "supplementalGroups", at) {
        id(group, at, errors);
    }
    if is_true(spec, "shareProcessNamespace") && is_true(spec, "hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(join(at, "shareProcessNamespace"), true, why));
    }
    one_of(context, "fsGroupChangePolicy", at, &["Always", "OnRootMismatch"], errors);
    profiles(context, at, errors);
    one_of(context, "supplementalGroupsPolicy", at, &["Merge", "Strict"], errors);
    // the other one, MountOption, waits for SELinuxMount
    one_of(context, "seLinuxChangePolicy", at, &["Recursive"], errors);
}

/// `ValidateSecurityContext`; a pod has its own users if `hostUsers` says no.
pub(super) fn of_container(context: &Value, at: &str, host_users: bool, errors: &mut Errors) {
    ids(context, &["runAsUser", "runAsGroup"], at, errors);
    one_of(context, "procMount", at, &["Default", "Unmasked"], errors);
    if host_users && text(context, "procMount") == "Unmasked" {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(join(at, "procMount"), "Unmasked", why));
    }
    if get(context, "allowPrivilegeEscalation").as_bool() == Some(false) {
        let added = list(get(context, "capabilities"), "add");
        let admin = added.iter().filter(|one| one.as_str() == Some("CAP_SYS_ADMIN"));
        let privileged = is_true(context, "privileged").then_some("`privileged` to true");
        let all = privileged.into_iter().chain(admin.map(|_| "`capabilities.Add` CAP_SYS_ADMIN"));
        errors.extend(all.map(|what| {
            let why = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            FieldError::invalid(at, context.clone(), why)
        }));
    }
    profiles(context, at, errors);
}

fn profiles(context: &Value, at: &str, errors: &mut Errors) {
    seccomp(get(context, "seccompProfile"), &join(at, "seccompProfile"), errors);
    windows(get(context, "windowsOptions"), &join(at, "windowsOptions"), errors);
    app_armor(get(context, "appArmorProfile"), &join(at, "appArmorProfile"), errors);
}

fn ids(context: &Value, keys: &[&str], at: &str, errors: &mut Errors) {
    for key in keys {
        id(get(context, key), join(at, key), errors);
    }
}

fn id(id: &Value, at: String, errors: &mut Errors) {
    if let Some(id) = id.as_i64().filter(|id| !(0..=MOST_ID).contains(id)) {
        errors.push(FieldError::invalid(at, id, range_error(0, MOST_ID)));
    }
}

fn kind(profile: &Value, at: &str, why: &str, errors: &mut Errors) {
    const KINDS: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
    match text(profile, "type") {
        "" => errors.push(FieldError::required(join(at, "type"), why)),
        kind if !KINDS.contains(&kind) => {
            errors.push(FieldError::not_supported_as_listed(join(at, "type"), kind, KINDS));
        }
        _ => {}
    }
}

fn seccomp(profile: &Value, at: &str, errors: &mut Errors) {
    if profile.is_null() {
        return;
    }
    kind(profile, at, "type is required when seccompProfile is set", errors);
    let (of_node, file) = (text(profile, "type") == "Localhost", get(profile, "localhostProfile"));
    let at = join(at, "localhostProfile");
    match file.as_str() {
        None if of_node => {
            errors.push(FieldError::required(at, "must be set when seccomp type is Localhost"));
        }
        Some(path) if of_node => super::container::local_path(path, &at, errors),
        Some(_) => {
            let why = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(at, file.clone(), why));
        }
        None => {}
    }
}

/// `ValidateAppArmorProfileField`.
fn app_armor(profile: &Value, at: &str, errors: &mut Errors) {
    if profile.is_null() {
        return;
    }
    kind(profile, at, "type is required when appArmorProfile is set", errors);
    let (file, at) = (get(profile, "localhostProfile"), join(at, "localhostProfile"));
    let missing = "must be set when AppArmor type is Localhost";
    match (text(profile, "type"), file.as_str()) {
        ("Localhost", None | Some("")) => errors.push(FieldError::required(at, missing)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                let why = "must not be padded with whitespace";
                errors.push(FieldError::invalid(at.as_str(), name, why));
            }
            if name.len() > MOST_PROFILE_BYTES {
                errors.push(FieldError::too_long(at, MOST_PROFILE_BYTES));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(_)) => {
            let why = "can only be set when AppArmor type is Localhost";
            errors.push(FieldError::invalid(at, file.clone(), why));
        }
        _ => {}
    }
}

/// `validateWindowsSecurityContextOptions`.
fn windows(options: &Value, at: &str, errors: &mut Errors) {
    if let Some(name) = get(options, "gmsaCredentialSpecName").as_str() {
        invalid_each(errors, &join(at, "gmsaCredentialSpecName"), name, is_dns1123_subdomain(name));
    }
    if let Some(credential) = get(options, "gmsaCredentialSpec").as_str() {
        let why = match credential.len() {
            0 => Some("gmsaCredentialSpec cannot be an empty string".to_owned()),
            length if length > MOST_CREDENTIAL_KIB << 10 => {
                Some(format!("gmsaCredentialSpec size must be under {MOST_CREDENTIAL_KIB} KiB"))
            }
            _ => None,
        };
        let all = why.into_iter().collect();
        invalid_each(errors, &join(at, "gmsaCredentialSpec"), credential, all);
    }
    if let Some(name) = get(options, "runAsUserName").as_str() {
        let why = windows_user(name).into_iter().map(|why| format!("runAsUserName{why}")).collect();
        invalid_each(errors, &join(at, "runAsUserName"), name, why);
    }
}

/// What is wrong with `DOMAIN\user`, without the name of the field before it.
fn windows_user(name: &str) -> Vec<String> {
    let (domain, user) = match name.split_once('\\') {
        _ if name.is_empty() => return vec![" cannot be an empty string".to_owned()],
        _ if name.bytes().any(|byte| byte.is_ascii_control()) => {
            return vec![" cannot contain control characters".to_owned()];
        }
        Some((_, user)) if user.contains('\\') => {
            return vec![" cannot contain more than one backslash".to_owned()];
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= MOST_DOMAIN_BYTES) {
        wrong.push(format!("'s Domain length must be under {MOST_DOMAIN_BYTES} characters"));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns_name(domain)) {
        wrong.push("'s Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong.push("'s User cannot be empty".to_owned());
    } else if user.len() > MOST_USER_BYTES {
        wrong.push(format!("'s User length must not be longer than {MOST_USER_BYTES} characters"));
    }
    if !user.is_empty() && user.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        wrong.push("'s User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        wrong.push("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".to_owned());
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    let characters = domain.chars().count();
    (1..=15).contains(&characters)
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns_name(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        let mut ends = bytes.first().into_iter().chain(bytes.last());
        (1..=63).contains(&bytes.len())
            && ends.all(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}
