//! All checks: to which level they belong, since which version, and which of the baseline they replace.
//!
//! As of Kubernetes 1.36; `policy/registry.go`.

use super::policy::{Level, Standard, Version};
use super::view::{PodView, Violation};
use super::{confined, host, restricted};

type Check = fn(PodView<'_>) -> Option<Violation>;

struct Row {
    id: &'static str,
    level: Level,
    /// Which rule holds since which minor version, the oldest first.
    since: &'static [(u32, Check)],
    /// Baseline checks that say less than this one.
    overrides: &'static [&'static str],
}

const fn baseline(id: &'static str, since: &'static [(u32, Check)]) -> Row {
    Row { id, level: Level::Baseline, since, overrides: &[] }
}

const fn restricted(
    id: &'static str,
    since: &'static [(u32, Check)],
    overrides: &'static [&'static str],
) -> Row {
    Row { id, level: Level::Restricted, since, overrides }
}

/// In the order in which violations are told: the baseline's first, then by name.
const CHECKS: &[Row] = &[
    baseline("appArmorProfile", &[(0, confined::app_armor)]),
    baseline("capabilities_baseline", &[(0, confined::capabilities)]),
    baseline("hostNamespaces", &[(0, host::namespaces)]),
    baseline("hostPathVolumes", &[(0, host::path_volumes)]),
    baseline("hostPorts", &[(0, host::ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, host::probes)]),
    baseline("privileged", &[(0, confined::privileged)]),
    baseline("procMount", &[(0, confined::proc_mount), (35, confined::proc_mount_1_35)]),
    baseline("seLinuxOptions", &[(0, confined::selinux), (31, confined::selinux_1_31)]),
    baseline("seccompProfile_baseline", &[(0, confined::seccomp), (19, confined::seccomp_1_19)]),
    baseline(
        "sysctls",
        &[
            (0, confined::sysctls),
            (27, confined::sysctls_1_27),
            (29, confined::sysctls_1_29),
            (32, confined::sysctls_1_32),
        ],
    ),
    baseline("windowsHostProcess", &[(0, host::process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, restricted::escalation), (25, restricted::escalation_1_25)],
        &[],
    ),
    restricted(
        "capabilities_restricted",
        &[(22, restricted::capabilities), (25, restricted::capabilities_1_25)],
        &["capabilities_baseline"],
    ),
    restricted("procMount_restricted", &[(35, confined::proc_mount)], &["procMount"]),
    restricted("restrictedVolumes", &[(0, restricted::volumes)], &["hostPathVolumes"]),
    restricted("runAsNonRoot", &[(0, restricted::non_root), (35, restricted::non_root_1_35)], &[]),
    restricted("runAsUser", &[(23, restricted::user), (35, restricted::user_1_35)], &[]),
    restricted(
        "seccompProfile_restricted",
        &[(19, restricted::seccomp), (25, restricted::seccomp_1_25)],
        &["seccompProfile_baseline"],
    ),
];

impl Row {
    /// The rule as of `version`.
    fn at(&self, version: Version) -> Option<Check> {
        let holds = |since: u32| match version {
            Version::Minor(minor) => since <= minor,
            Version::Latest => true,
        };
        self.since.iter().rev().find(|(since, _)| holds(*since)).map(|(_, check)| *check)
    }
}

/// What of `pod` violates the standard.
pub(super) fn violations(standard: Standard, pod: PodView<'_>) -> Vec<Violation> {
    let Standard { level, version } = standard;
    let in_force: Vec<(&Row, Check)> = CHECKS
        .iter()
        .filter(|row| row.level <= level)
        .filter_map(|row| Some((row, row.at(version)?)))
        .collect();
    let replaced = |id: &str| in_force.iter().any(|(row, _)| row.overrides.contains(&id));
    in_force.iter().filter(|(row, _)| !replaced(row.id)).filter_map(|(_, check)| check(pod)).collect()
}

/// `hostPort (container "a" uses hostPort 80), privileged (…)`
pub(super) fn details(violations: &[Violation]) -> String {
    let each = violations.iter().map(|Violation { reason, detail }| match detail.as_str() {
        "" => reason.clone(),
        detail => format!("{reason} ({detail})"),
    });
    each.collect::<Vec<String>>().join(", ")
}

/// `hostPort, privileged`
pub(super) fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|one| one.reason.as_str()).collect::<Vec<&str>>().join(", ")
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
