//! Rights of a container: the pod's and the container's `securityContext` merged.
//!
//! Ported from upstream's `pkg/securitycontext/util.go` and
//! `pkg/kubelet/kuberuntime/security_context.go`.

use std::path::Path;

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, SeccompProfile as ApiSeccomp, SecurityContext,
};
use sampan_cri::{ImageStatus, SeccompProfile, SecurityContext as Rights};

use crate::pod::state::full_name;

fn pod_context(pod: &Pod) -> Option<&PodSecurityContext> {
    pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref())
}

/// Upstream's `verifyRunAsNonRoot`, with its words.
pub fn verify_run_as_non_root(pod: &Pod, container: &Container, image: &ImageStatus) -> Result<(), String> {
    let own = container.security_context.as_ref();
    let wanted = own.and_then(|c| c.run_as_non_root).or(pod_context(pod).and_then(|p| p.run_as_non_root));
    if wanted != Some(true) {
        return Ok(());
    }
    let whom = || format!("(pod: \"{}\", container: {})", full_name(pod), container.name);
    let user = own.and_then(|c| c.run_as_user).or(pod_context(pod).and_then(|p| p.run_as_user));
    match (user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {}", whom())),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {}", whom())),
        (None, None) if !image.username.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {}",
            image.username,
            whom()
        )),
        (None, None) => Err(format!("container has runAsNonRoot and image will run as root {}", whom())),
        (None, Some(_)) => Ok(()),
    }
}

/// The rights to ask the runtime for. `profiles` is where localhost seccomp profiles are looked up.
pub fn rights(pod: &Pod, container: &Container, image: &ImageStatus, profiles: &Path) -> Rights {
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    let of_pod = pod_context(pod);
    let user = own.run_as_user.or(of_pod.and_then(|p| p.run_as_user));
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let names = |list: Option<Vec<String>>| -> Vec<String> {
        list.unwrap_or_default()
            .into_iter()
            .map(|c| c.to_uppercase().trim_start_matches("CAP_").to_owned())
            .collect()
    };
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    Rights {
        privileged,
        run_as_user: user.or(image.uid),
        run_as_username: (user.is_none() && image.uid.is_none() && !image.username.is_empty())
            .then(|| image.username.clone()),
        run_as_group: own.run_as_group.or(of_pod.and_then(|p| p.run_as_group)),
        supplemental_groups: supplemental_groups(pod),
        strict_groups: of_pod.and_then(|p| p.supplemental_groups_policy.as_deref()) == Some("Strict"),
        add_capabilities: names(capabilities.add),
        drop_capabilities: names(capabilities.drop),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: seccomp(
            own.seccomp_profile.as_ref().or(of_pod.and_then(|p| p.seccomp_profile.as_ref())),
            privileged,
            profiles,
        ),
        masked_paths: unmasked.then(Vec::new),
        readonly_paths: unmasked.then(Vec::new),
        target_container_id: None,
    }
}

/// `supplementalGroups` and `fsGroup`.
fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let Some(context) = pod_context(pod) else { return Vec::new() };
    let mut groups = context.supplemental_groups.clone().unwrap_or_default();
    groups.extend(context.fs_group);
    groups
}

/// Without a profile a container is unconfined, as upstream's default (SeccompDefault off) has it.
fn seccomp(profile: Option<&ApiSeccomp>, privileged: bool, directory: &Path) -> SeccompProfile {
    match profile {
        _ if privileged => SeccompProfile::Unconfined,
        Some(p) if p.type_ == "RuntimeDefault" => SeccompProfile::RuntimeDefault,
        Some(p) if p.type_ == "Localhost" => {
            SeccompProfile::Localhost(directory.join(p.localhost_profile.as_deref().unwrap_or_default()))
        }
        _ => SeccompProfile::Unconfined,
    }
}
