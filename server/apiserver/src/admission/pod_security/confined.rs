//! Baseline: what confines containers by default stays. Each function is a file `policy/check_….go` upstream.

use std::collections::BTreeSet;

use sampan_api::go::Quote as _;
use serde_json::Value;

use super::view::{PodView, Set, Violation, containers, plural, quoted, setters};
use crate::value::{at, items, text};

/// `privileged: true`.
pub(super) fn privileged(pod: PodView<'_>) -> Option<Violation> {
    let names = pod.named(|c| at(c, &["securityContext", "privileged"]) == &Value::Bool(true));
    if names.is_empty() {
        return None;
    }
    Violation::new(
        "privileged",
        format!("{} must not set securityContext.privileged=true", containers(&names)),
    )
}

const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Capabilities that a container adds and that `allowed` does not name.
pub(super) fn added<'a>(container: &'a Value, allowed: &[&str]) -> Vec<&'a str> {
    let added = items(at(container, &["securityContext", "capabilities", "add"])).iter();
    added.filter_map(Value::as_str).filter(|one| !allowed.contains(one)).collect()
}

/// `container "a" must not include "SYS_ADMIN" in securityContext.capabilities.add`; nothing where nothing is added.
pub(super) fn added_text(pod: PodView<'_>, allowed: &[&str]) -> Option<String> {
    let names = pod.named(|c| !added(c, allowed).is_empty());
    let capabilities: Set<'_> = pod.containers().flat_map(|c| added(c, allowed)).collect();
    let (who, what) = (containers(&names), quoted(capabilities));
    (!names.is_empty()).then(|| format!("{who} must not include {what} in securityContext.capabilities.add"))
}

/// Capabilities beyond those that runtimes give by default.
pub(super) fn capabilities(pod: PodView<'_>) -> Option<Violation> {
    Violation::new("non-default capabilities", added_text(pod, DEFAULT_CAPABILITIES)?)
}

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

fn app_armor_annotations(pod: PodView<'_>) -> Vec<String> {
    let all = at(pod.metadata, &["annotations"]).as_object().into_iter().flatten();
    let wrong = all.filter_map(|(key, value)| {
        let value = value.as_str()?;
        let fine = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        (key.starts_with(APP_ARMOR_ANNOTATION) && !fine).then(|| format!("{key}={}", value.quoted()))
    });
    let mut wrong: Vec<String> = wrong.collect();
    wrong.sort();
    wrong
}

/// A profile's type that is set, and set to something else than the runtime's or a local profile.
fn odd_profile<'a>(security: &'a Value, field: &str) -> Option<&'a str> {
    let profile = at(security, &[field]);
    let kind = text(profile, &["type"]);
    (!profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost")).then_some(kind)
}

/// Who sets such a profile, and which.
struct OddProfiles<'a> {
    by_pod: bool,
    names: Vec<&'a str>,
    kinds: Set<'a>,
}

fn odd_profiles<'a>(pod: PodView<'a>, field: &str) -> OddProfiles<'a> {
    let of_pod = odd_profile(pod.security(), field);
    let of_containers = pod.containers().filter_map(|c| odd_profile(at(c, &["securityContext"]), field));
    OddProfiles {
        by_pod: of_pod.is_some(),
        names: pod.named(|c| odd_profile(at(c, &["securityContext"]), field).is_some()),
        kinds: of_pod.into_iter().chain(of_containers).collect(),
    }
}

/// AppArmor profiles, by field and by annotation.
pub(super) fn app_armor(pod: PodView<'_>) -> Option<Violation> {
    let odd = odd_profiles(pod, "appArmorProfile");
    let annotations = app_armor_annotations(pod);
    let mut who = setters(odd.by_pod, &odd.names);
    if !annotations.is_empty() {
        let word = plural("annotation", "annotations", annotations.len());
        who = if who.is_empty() { word.to_owned() } else { format!("{who} and {word}") };
    }
    let values: Vec<String> = odd.kinds.iter().map(|kind| (*kind).to_owned()).chain(annotations).collect();
    if values.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    Violation::new(reason, format!("{who} must not set AppArmor profile type to {}", quoted(values)))
}

/// Types of SELinux since 1.0.
pub(super) fn selinux(pod: PodView<'_>) -> Option<Violation> {
    selinux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

/// Types of SELinux since 1.31.
pub(super) fn selinux_1_31(pod: PodView<'_>) -> Option<Violation> {
    selinux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn selinux_of(pod: PodView<'_>, allowed: &[&str]) -> Option<Violation> {
    let option = |security: &'_ Value, field: &str| text(security, &["seLinuxOptions", field]).to_owned();
    let wrong = |security: &Value| {
        !allowed.contains(&option(security, "type").as_str())
            || ["user", "role"].iter().any(|field| !option(security, field).is_empty())
    };
    let by_pod = wrong(pod.security());
    let names = pod.named(|c| wrong(at(c, &["securityContext"])));
    if !by_pod && names.is_empty() {
        return None;
    }
    let all = || std::iter::once(pod.security()).chain(pod.containers().map(|c| at(c, &["securityContext"])));
    let types: Set<'_> =
        all().map(|s| text(s, &["seLinuxOptions", "type"])).filter(|one| !allowed.contains(one)).collect();
    let set = |field: &str| all().any(|s| !text(s, &["seLinuxOptions", field]).is_empty());
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    for field in ["user", "role"] {
        if set(field) {
            data.push(format!("{field} may not be set"));
        }
    }
    let (who, what) = (setters(by_pod, &names), data.join("; "));
    Violation::new("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {what}"))
}

/// /proc without its masks.
pub(super) fn proc_mount(pod: PodView<'_>) -> Option<Violation> {
    fn odd(container: &Value) -> Option<&str> {
        at(container, &["securityContext", "procMount"]).as_str().filter(|mount| *mount != "Default")
    }
    let names = pod.named(|c| odd(c).is_some());
    if names.is_empty() {
        return None;
    }
    let (who, mounts) = (containers(&names), pod.containers().filter_map(odd).collect::<Set<'_>>());
    Violation::new("procMount", format!("{who} must not set securityContext.procMount to {}", quoted(mounts)))
}

/// The same since 1.35: harmless in a user namespace.
pub(super) fn proc_mount_1_35(pod: PodView<'_>) -> Option<Violation> {
    if pod.in_user_namespace() { None } else { proc_mount(pod) }
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Seccomp before it was a field.
pub(super) fn seccomp(pod: PodView<'_>) -> Option<Violation> {
    let keys = pod.containers().map(|c| format!("{SECCOMP_CONTAINER}{}", text(c, &["name"])));
    let wrong = std::iter::once(SECCOMP_POD.to_owned()).chain(keys).filter_map(|key| {
        let value = pod.annotation(&key)?;
        let fine = matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
        (!fine).then(|| format!("{key}={}", value.quoted()))
    });
    let wrong: Vec<String> = wrong.collect::<BTreeSet<String>>().into_iter().collect();
    if wrong.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", wrong.len());
    Violation::new("seccompProfile", format!("forbidden {word} {}", wrong.join(", ")))
}

/// Seccomp profiles that are set must be the runtime's or local ones.
pub(super) fn seccomp_1_19(pod: PodView<'_>) -> Option<Violation> {
    let odd = odd_profiles(pod, "seccompProfile");
    if odd.kinds.is_empty() {
        return None;
    }
    let who = setters(odd.by_pod, &odd.names);
    let kinds = quoted(odd.kinds);
    Violation::new(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {kinds}"),
    )
}

/// Whether a profile is set at all, and well.
pub(super) fn has_seccomp(security: &Value) -> bool {
    !at(security, &["seccompProfile"]).is_null() && odd_profile(security, "seccompProfile").is_none()
}

const SYSCTLS: &[&[&str]] = &[
    &[
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    ],
    // since 1.27
    &["net.ipv4.ip_local_reserved_ports"],
    // since 1.29
    &[
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ],
    // since 1.32
    &["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"],
];

fn sysctls_of(pod: PodView<'_>, generations: usize) -> Option<Violation> {
    let safe = |name: &str| SYSCTLS.iter().take(generations).any(|list| list.contains(&name));
    let all = items(at(pod.security(), &["sysctls"])).iter().map(|s| text(s, &["name"]));
    let unsafe_ones: Vec<&str> = all.filter(|name| !safe(name)).collect();
    if unsafe_ones.is_empty() {
        return None;
    }
    Violation::new("forbidden sysctls", unsafe_ones.join(", "))
}

/// Sysctls of the pod alone, as of 1.0.
pub(super) fn sysctls(pod: PodView<'_>) -> Option<Violation> {
    sysctls_of(pod, 1)
}

/// As of 1.27.
pub(super) fn sysctls_1_27(pod: PodView<'_>) -> Option<Violation> {
    sysctls_of(pod, 2)
}

/// As of 1.29.
pub(super) fn sysctls_1_29(pod: PodView<'_>) -> Option<Violation> {
    sysctls_of(pod, 3)
}

/// As of 1.32.
pub(super) fn sysctls_1_32(pod: PodView<'_>) -> Option<Violation> {
    sysctls_of(pod, 4)
}
