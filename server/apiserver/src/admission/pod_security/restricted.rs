//! Restricted: what a hardened pod has to say of itself. Each function is a file `policy/check_….go` upstream.

use serde_json::Value;

use super::confined;
use super::view::{PodView, Set, Violation, containers, plural, quoted, setters};
use crate::value::{at, items, text};

/// No gain of privileges by set-user-ID files.
pub(super) fn escalation(pod: PodView<'_>) -> Option<Violation> {
    let names = pod.named(|c| at(c, &["securityContext", "allowPrivilegeEscalation"]) != &Value::Bool(false));
    if names.is_empty() {
        return None;
    }
    let who = containers(&names);
    Violation::new(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

/// The same since 1.25: not asked of Windows.
pub(super) fn escalation_1_25(pod: PodView<'_>) -> Option<Violation> {
    if pod.windows() { None } else { escalation(pod) }
}

/// All capabilities dropped, at most NET_BIND_SERVICE added.
pub(super) fn capabilities(pod: PodView<'_>) -> Option<Violation> {
    let drops_all =
        |c: &Value| items(at(c, &["securityContext", "capabilities", "drop"])).iter().any(|one| one == "ALL");
    let keeping = pod.named(|c| !drops_all(c));
    let kept = (!keeping.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    let added = confined::added_text(pod, &["NET_BIND_SERVICE"]);
    let details: Vec<String> = kept.into_iter().chain(added).collect();
    if details.is_empty() {
        return None;
    }
    Violation::new("unrestricted capabilities", details.join("; "))
}

/// The same since 1.25: not asked of Windows.
pub(super) fn capabilities_1_25(pod: PodView<'_>) -> Option<Violation> {
    if pod.windows() { None } else { capabilities(pod) }
}

const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const OTHER_VOLUMES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

/// Volumes of the kinds that need no trust in the author.
pub(super) fn volumes(pod: PodView<'_>) -> Option<Violation> {
    let is = |volume: &Value, kind: &&&str| !at(volume, &[kind]).is_null();
    let (mut names, mut kinds) = (Vec::new(), Set::new());
    for volume in items(at(pod.spec, &["volumes"])) {
        if VOLUMES.iter().any(|kind| is(volume, &kind)) {
            continue;
        }
        names.push(text(volume, &["name"]));
        kinds.insert(OTHER_VOLUMES.iter().find(|kind| is(volume, kind)).unwrap_or(&"unknown"));
    }
    if names.is_empty() {
        return None;
    }
    let reason = "restricted volume types";
    let (word, uses) = (plural("volume", "volumes", names.len()), plural("uses", "use", names.len()));
    let types = plural("restricted volume type", reason, kinds.len());
    Violation::new(reason, format!("{word} {} {uses} {types} {}", quoted(names), quoted(kinds)))
}

/// Not as root, and said so.
pub(super) fn non_root(pod: PodView<'_>) -> Option<Violation> {
    let reason = "runAsNonRoot != true";
    let of = |security: &Value| at(security, &["runAsNonRoot"]).as_bool();
    let of_pod = of(pod.security());
    let contradicting = pod.named(|c| of(at(c, &["securityContext"])) == Some(false));
    let who = setters(of_pod == Some(false), &contradicting);
    if !who.is_empty() {
        return Violation::new(reason, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.named(|c| of_pod != Some(true) && of(at(c, &["securityContext"])).is_none());
    if silent.is_empty() {
        return None;
    }
    Violation::new(
        reason,
        format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)),
    )
}

/// The same since 1.35: root in a user namespace is nobody outside.
pub(super) fn non_root_1_35(pod: PodView<'_>) -> Option<Violation> {
    if pod.in_user_namespace() { None } else { non_root(pod) }
}

/// User 0.
pub(super) fn user(pod: PodView<'_>) -> Option<Violation> {
    let zero = |security: &Value| at(security, &["runAsUser"]).as_i64() == Some(0);
    let who = setters(zero(pod.security()), &pod.named(|c| zero(at(c, &["securityContext"]))));
    if who.is_empty() {
        return None;
    }
    Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

/// The same since 1.35: root in a user namespace is nobody outside.
pub(super) fn user_1_35(pod: PodView<'_>) -> Option<Violation> {
    if pod.in_user_namespace() { None } else { user(pod) }
}

/// A seccomp profile for each container, its own or the pod's.
pub(super) fn seccomp(pod: PodView<'_>) -> Option<Violation> {
    if let Some(odd) = confined::seccomp_1_19(pod) {
        return Some(odd);
    }
    let by_pod = confined::has_seccomp(pod.security());
    let silent = pod.named(|c| !by_pod && at(c, &["securityContext", "seccompProfile"]).is_null());
    if silent.is_empty() {
        return None;
    }
    let who = containers(&silent);
    Violation::new(
        "seccompProfile",
        format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        ),
    )
}

/// The same since 1.25: not asked of Windows.
pub(super) fn seccomp_1_25(pod: PodView<'_>) -> Option<Violation> {
    if pod.windows() { None } else { seccomp(pod) }
}
