//! What is written on Docker's containers so that a later daemon knows them again.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use sampan_cri::{ContainerConfig, PodIdentity, SandboxConfig};

/// The cluster that a container belongs to.
pub const PROFILE: &str = "dev.sampan.profile";
/// `sandbox` or `container`.
pub const KIND: &str = "dev.sampan.kind";
/// The sandbox of a container.
pub const SANDBOX: &str = "dev.sampan.sandbox";
const ATTEMPT: &str = "dev.sampan.attempt";
const LOG_PATH: &str = "dev.sampan.log-path";
const LOG_DIRECTORY: &str = "dev.sampan.log-directory";
const CGROUP_PARENT: &str = "dev.sampan.cgroup-parent";
/// The id of the image as the kubelet named it.
pub const IMAGE: &str = "dev.sampan.image";
const SHARED_PIDS: &str = "dev.sampan.share-process-namespace";
const LABEL: &str = "dev.sampan.label/";
const ANNOTATION: &str = "dev.sampan.annotation/";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// Labels as Docker has them.
pub type Labels = HashMap<String, String>;

/// What a sandbox's container is marked with.
pub fn of_sandbox(profile: &str, config: &SandboxConfig) -> Labels {
    let mut labels =
        common(profile, "sandbox", &config.pod, config.attempt, &config.labels, &config.annotations);
    labels.insert(LOG_DIRECTORY.into(), config.log_directory.display().to_string());
    labels.insert(CGROUP_PARENT.into(), config.cgroup_parent.clone());
    labels.insert(SHARED_PIDS.into(), config.share_process_namespace.to_string());
    labels
}

/// What a pod's container is marked with.
pub fn of_container(profile: &str, sandbox_id: &str, sandbox: &Known, config: &ContainerConfig) -> Labels {
    let mut labels =
        common(profile, "container", &sandbox.pod, config.attempt, &config.labels, &config.annotations);
    labels.insert(SANDBOX.into(), sandbox_id.to_owned());
    labels.insert(CONTAINER_NAME.into(), config.name.clone());
    labels.insert(IMAGE.into(), config.image.clone());
    labels.insert(LOG_PATH.into(), sandbox.log_directory.join(&config.log_path).display().to_string());
    labels
}

type Marks = BTreeMap<String, String>;

fn common(profile: &str, kind: &str, pod: &PodIdentity, attempt: u32, own: &Marks, notes: &Marks) -> Labels {
    let fixed = [
        (PROFILE, profile.to_owned()),
        (KIND, kind.to_owned()),
        (POD_NAME, pod.name.clone()),
        (POD_NAMESPACE, pod.namespace.clone()),
        (POD_UID, pod.uid.clone()),
        (ATTEMPT, attempt.to_string()),
    ];
    let fixed = fixed.into_iter().map(|(key, value)| (key.to_owned(), value));
    let own = own.iter().map(|(key, value)| (format!("{LABEL}{key}"), value.clone()));
    let notes = notes.iter().map(|(key, value)| (format!("{ANNOTATION}{key}"), value.clone()));
    fixed.chain(own).chain(notes).collect()
}

/// What the marks of a container say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its pod.
    pub pod: PodIdentity,
    /// As configured.
    pub attempt: u32,
    /// Name in the pod; empty for a sandbox.
    pub name: String,
    /// Its sandbox; empty for a sandbox.
    pub sandbox_id: String,
    /// As configured; empty for a sandbox.
    pub image: String,
    /// Where its log goes.
    pub log_path: PathBuf,
    /// Where the logs of a sandbox's containers go.
    pub log_directory: PathBuf,
    /// Cgroup below which its containers go.
    pub cgroup_parent: String,
    /// Containers of the sandbox see each other's processes.
    pub share_process_namespace: bool,
    /// As configured.
    pub labels: Marks,
    /// As configured.
    pub annotations: Marks,
}

/// Reads the marks back.
pub fn read(labels: &Labels) -> Known {
    let text = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let below = |prefix: &str| {
        labels
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
            .collect()
    };
    Known {
        pod: PodIdentity { namespace: text(POD_NAMESPACE), name: text(POD_NAME), uid: text(POD_UID) },
        attempt: text(ATTEMPT).parse().unwrap_or(0),
        name: text(CONTAINER_NAME),
        sandbox_id: text(SANDBOX),
        image: text(IMAGE),
        log_path: text(LOG_PATH).into(),
        log_directory: text(LOG_DIRECTORY).into(),
        cgroup_parent: text(CGROUP_PARENT),
        share_process_namespace: text(SHARED_PIDS) == "true",
        labels: below(LABEL),
        annotations: below(ANNOTATION),
    }
}
