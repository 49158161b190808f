//! What a pod may say depending on the operating system it is for, and on whose users and processes it shares:
//! `validateLinux`, `validateWindows`, `validateWindowsHostProcessPod` and `validateHostUsers`.

use serde_json::Value;

use super::access::*;
use super::pod::every_container;
use crate::status::FieldError;

const OF_LINUX_PODS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const OF_LINUX_CONTAINERS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

pub(super) fn rules(spec: &Value, at: &str, errors: &mut Errors) {
    host_process(spec, at, errors);
    host_users(spec, at, errors);
    if !has(spec, "os") {
        return;
    }
    match text(get(spec, "os"), "name") {
        "" => errors.push(FieldError::required(join(at, "os.name"), "")),
        "linux" => linux(spec, at, errors),
        "windows" => windows(spec, at, errors),
        other => errors.push(FieldError::not_supported(join(at, "os"), other, &["linux", "windows"])),
    }
}

fn contexts<'a>(spec: &'a Value, at: &str) -> impl Iterator<Item = (String, &'a Value)> {
    let own = (join(at, "securityContext"), get(spec, "securityContext"));
    let all = every_container(spec, at)
        .map(|(at, container)| (join(&at, "securityContext"), get(container, "securityContext")));
    std::iter::once(own).chain(all)
}

fn linux(spec: &Value, at: &str, errors: &mut Errors) {
    for (at, _) in contexts(spec, at).filter(|(_, context)| has(context, "windowsOptions")) {
        let why = "windows options cannot be set for a linux pod";
        errors.push(FieldError::forbidden(join(&at, "windowsOptions"), why));
    }
}

fn windows(spec: &Value, at: &str, errors: &mut Errors) {
    const WHY: &str = "cannot be set for a windows pod";
    let mut forbid = |at: &str, key: &str| errors.push(FieldError::forbidden(join(at, key), WHY));
    for key in ["hostUsers", "shareProcessNamespace"].into_iter().filter(|key| has(spec, key)) {
        forbid(at, key);
    }
    for key in ["hostPID", "hostIPC"].into_iter().filter(|key| is_true(spec, key)) {
        forbid(at, key);
    }
    for (index, (at, context)) in contexts(spec, at).enumerate() {
        let keys = if index == 0 { OF_LINUX_PODS } else { OF_LINUX_CONTAINERS };
        let set = |key: &&&str| has(context, key) && (**key != "sysctls" || !list(context, key).is_empty());
        keys.iter().filter(set).for_each(|key| forbid(&at, key));
    }
}

fn is_host_process(context: &Value) -> Option<bool> {
    get(get(context, "windowsOptions"), "hostProcess").as_bool()
}

/// Either all containers are processes of the node, or none.
fn host_process(spec: &Value, at: &str, errors: &mut Errors) {
    let of_pod = is_host_process(get(spec, "securityContext"));
    let (mut all, mut some) = (true, false);
    for (at, container) in every_container(spec, at) {
        let own = is_host_process(get(container, "securityContext"));
        if let (Some(own), Some(of_pod)) = (own, of_pod)
            && own != of_pod
        {
            let why = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            let at = join(&at, "securityContext.windowsOptions.hostProcess");
            errors.push(FieldError::invalid(at, own, why));
        }
        let is = own.or(of_pod).unwrap_or(false);
        all &= is;
        some |= is;
    }
    if some && !all {
        let why =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(at, "", why));
    }
    if some && !is_true(spec, "hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(join(at, "hostNetwork"), false, why));
    }
}

/// Users of the pod's own do not mix with what else is the node's.
fn host_users(spec: &Value, at: &str, errors: &mut Errors) {
    const WHY: &str = "when `hostUsers` is false";
    if get(spec, "hostUsers").as_bool() != Some(false) {
        return;
    }
    // the names are upstream's
    for (key, name) in [("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if is_true(spec, key) {
            errors.push(FieldError::forbidden(join(at, name), WHY));
        }
    }
    if is_true(spec, "hostNetwork") {
        errors.push(FieldError::forbidden(join(at, "hostNetwork"), WHY));
    }
    for (at, _) in every_container(spec, at).filter(|(_, one)| !list(one, "volumeDevices").is_empty()) {
        errors.push(FieldError::forbidden(join(&at, "volumeDevices"), WHY));
    }
}
