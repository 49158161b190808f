//! What the kubelet asks of a container runtime, in the words of the Container Runtime Interface.
//!
//! The kubelet knows [`ContainerRuntime`] and nothing behind it. `cri-oci` (embedded, libcontainer) and
//! `cri-docker` (Docker Engine) implement it and pass the same suite. Names follow `cri-api`'s `runtime/v1`, cut to what is used.
//!
//! Rules for implementers:
//! - Every verb is idempotent where CRI's is: stopping or removing what is gone succeeds.
//! - Ids and all facts survive a restart of the daemon: `list_*` finds what an earlier process made.
//! - [`ContainerRuntime::events`] tells of every exit, also of those that happened while nobody listened
//!   (at the latest through `list_containers` after a restart). The kubelet never polls.

mod disk;
#[cfg(feature = "suite")]
pub mod suite;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sampan_process::BoxedIo;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

pub use disk::disk_bytes;

/// A runtime that a kubelet can run pods on.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Name and version, shown as the node's `containerRuntimeVersion` (`name://version`).
    async fn version(&self) -> Result<RuntimeVersion>;

    /// What the runtime can and cannot do.
    fn capabilities(&self) -> Capabilities;

    /// Creates the pod's namespaces and cgroup. On return the sandbox is [`SandboxState::Ready`].
    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus>;
    /// Stops all that runs in the sandbox and releases its namespaces; the record stays until removed.
    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()>;
    /// Forgets a sandbox and removes its containers by force.
    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()>;
    /// One sandbox.
    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<SandboxStatus>;
    /// Changes limits of the pod's cgroup; what is `None` stays as it is. A runtime that keeps no limits for a pod as a
    /// whole does nothing.
    async fn update_pod_sandbox_resources(&self, sandbox_id: &str, resources: Resources) -> Result<()>;
    /// Memory that a pod and its running containers are charged for now.
    async fn pod_sandbox_memory(&self, sandbox_id: &str) -> Result<SandboxMemory>;
    /// All sandboxes, of this and of earlier processes.
    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>>;

    /// Prepares a container (root file system, log file, spec) without running it; returns its id.
    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String>;
    /// Runs a created container.
    async fn start_container(&self, container_id: &str) -> Result<()>;
    /// Sends the stop signal, after `grace` SIGKILL; returns once the container has exited.
    async fn stop_container(&self, container_id: &str, grace: Duration) -> Result<()>;
    /// Removes a container, by force if it runs. The log file stays.
    async fn remove_container(&self, container_id: &str) -> Result<()>;
    /// One container.
    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus>;
    /// All containers, of this and of earlier processes.
    async fn list_containers(&self) -> Result<Vec<ContainerStatus>>;
    /// Changes limits of a running container; what is `None` stays as it is.
    async fn update_container_resources(&self, container_id: &str, resources: Resources) -> Result<()>;
    /// Moves the container's log writer on to a fresh file at the same path, after the kubelet renamed the
    /// old one.
    async fn reopen_container_log(&self, container_id: &str) -> Result<()>;

    /// Runs a command in a container and collects its output, for probes and hooks. A command that outlives
    /// `timeout` is killed: [`RuntimeError::DeadlineExceeded`].
    async fn exec_sync(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput>;
    /// Runs a command in a container with streams.
    async fn exec(&self, container_id: &str, request: ExecRequest) -> Result<ExecSession>;
    /// Joins the streams of a container's main process.
    async fn attach(&self, container_id: &str, request: AttachRequest) -> Result<ExecSession>;
    /// A connection to `port` on loopback inside the sandbox's network namespace.
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<BoxedIo>;

    /// Pulls an image, unless it is there already at the very digest asked for.
    async fn pull_image(&self, image: &str, auth: Vec<ImageAuth>) -> Result<ImageStatus>;
    /// The image by any of its names, its id or digest; `None` if absent. May import from a neighbour (the
    /// host's Docker Engine) as a side effect.
    async fn image_status(&self, image: &str) -> Result<Option<ImageStatus>>;
    /// All images.
    async fn list_images(&self) -> Result<Vec<ImageStatus>>;
    /// Removes an image and the layers that nothing else uses.
    async fn remove_image(&self, image: &str) -> Result<()>;
    /// Imports the images of a docker-save or OCI-layout tar archive (optionally gzipped).
    async fn load_images(&self, archive: PathBuf) -> Result<Vec<LoadedImage>>;
    /// Shows the files of an image (by [`ImageStatus::id`]), for reading, at this empty directory of the host. Who
    /// asked unmounts it; until then the image cannot be removed.
    ///
    /// # Errors
    /// [`RuntimeError::Unsupported`] where the runtime cannot do it.
    async fn mount_image(&self, image: &str, at: PathBuf) -> Result<()>;
    /// Space used by images.
    async fn image_fs_info(&self) -> Result<ImageFsInfo>;

    /// CPU and memory used now, by container id.
    async fn container_stats(&self) -> Result<Vec<ContainerStats>>;
    /// Bytes on disk of what a container has written to its own root file system. The runtime has to look at all of it.
    async fn container_written_bytes(&self, container_id: &str) -> Result<u64>;

    /// Everything that happens to containers from now on.
    fn events(&self) -> broadcast::Receiver<ContainerEvent>;
}

/// The kubelet's handle.
pub type Runtime = Arc<dyn ContainerRuntime>;

/// Shorthand for results of this trait.
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// Why a runtime could not do something.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No such sandbox, container or image.
    #[error("{kind} {id} not found")]
    NotFound {
        /// `sandbox`, `container` or `image`.
        kind: &'static str,
        /// The id or name asked for.
        id: String,
    },
    /// The image reference does not parse: InvalidImageName.
    #[error("couldn't parse image name {image:?}: {message}")]
    InvalidImageName {
        /// The reference as given.
        image: String,
        /// What is wrong with it.
        message: String,
    },
    /// The registry refused, or cannot be reached: ErrImagePull. `message` carries the registry's words.
    #[error("failed to pull and unpack image {image:?}: {message}")]
    ImagePull {
        /// The reference as given.
        image: String,
        /// The registry's or the transport's words.
        message: String,
    },
    /// A command ran into its time limit.
    #[error("command {command:?} timed out")]
    DeadlineExceeded {
        /// The command line.
        command: String,
    },
    /// The container's command cannot be started: RunContainerError / StartError with exit code 127, 126 or 128.
    #[error("{message}")]
    Start {
        /// What the kernel or the runtime said.
        message: String,
        /// Exit code shown in the container's status: 127 not found, 126 not executable, else 128.
        exit_code: i32,
    },
    /// The caller's configuration cannot be used: CreateContainerConfigError.
    #[error("{0}")]
    InvalidConfig(String),
    /// A right, file or kernel feature is missing on this machine; the text says which and what to do.
    #[error("{0}")]
    Unsupported(String),
    /// The runtime itself is not there: its process or socket.
    #[error("container runtime is down: {0}")]
    Unavailable(String),
    /// Anything else, with its cause as text.
    #[error("{0}")]
    Internal(String),
}

/// Name and version of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeVersion {
    /// Such as `sampan` or `docker`.
    pub name: String,
    /// Such as `0.1.0`.
    pub version: String,
}

/// Differences between runtimes that the kubelet has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// True: `run_pod_sandbox` joins the network namespace it is given
    /// ([`SandboxNetwork::Namespace`]). False: it makes one and reports it
    /// in [`SandboxStatus::netns`], and the kubelet attaches that ([`SandboxNetwork::Create`]).
    pub joins_network_namespace: bool,
    /// It can leave out the groups that the image gives to the user ([`SecurityContext::strict_groups`]).
    pub strict_groups: bool,
    /// Names by which a RuntimeClass may mean it; the empty one is nobody's.
    pub runtime_handlers: &'static [&'static str],
}

/// Where a pod's network namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxNetwork {
    /// The node's own.
    Host,
    /// One that the pod network has ready, pinned at this path.
    Namespace(PathBuf),
    /// Made by the runtime, empty but for loopback.
    Create,
}

/// Everything a sandbox is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// The pod it is for.
    pub pod: PodIdentity,
    /// How often the pod's sandbox was made again.
    pub attempt: u32,
    /// `hostname` inside.
    pub hostname: String,
    /// Network namespace.
    pub network: SandboxNetwork,
    /// Share the node's PID namespace.
    pub host_pid: bool,
    /// Share the node's IPC namespace.
    pub host_ipc: bool,
    /// Containers of the pod share one PID namespace.
    pub share_process_namespace: bool,
    /// `net.*`, `kernel.*` parameters set inside.
    pub sysctls: BTreeMap<String, String>,
    /// Cgroup of the pod below the runtime's root, such as `kubepods/burstable/pod<uid>`.
    pub cgroup_parent: String,
    /// Limits of the pod's cgroup.
    pub resources: Resources,
    /// Directory for the logs of the pod's containers.
    pub log_directory: PathBuf,
    /// Labels kept with the sandbox.
    pub labels: BTreeMap<String, String>,
    /// Annotations kept with the sandbox.
    pub annotations: BTreeMap<String, String>,
}

/// Which pod something belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodIdentity {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// Whether a sandbox can hold containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxState {
    /// Containers can be created and run.
    Ready,
    /// Stopped, or its namespaces are gone (after a reboot).
    NotReady,
}

/// A sandbox as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// Id given by the runtime.
    pub id: String,
    /// The pod it is for.
    pub pod: PodIdentity,
    /// As configured.
    pub attempt: u32,
    /// Whether it can hold containers.
    pub state: SandboxState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Path of its network namespace; `None` for the host's.
    pub netns: Option<PathBuf>,
    /// As configured.
    pub labels: BTreeMap<String, String>,
    /// As configured.
    pub annotations: BTreeMap<String, String>,
}

/// Memory charged to a pod, the page cache included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxMemory {
    /// All of the pod, in bytes.
    pub pod_bytes: u64,
    /// Bytes of each running container, by its id.
    pub containers: BTreeMap<String, u64>,
}

/// Everything a container is made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Name in the pod.
    pub name: String,
    /// How often it was made again in this pod (the restart count).
    pub attempt: u32,
    /// Id of an image that is present ([`ImageStatus::id`]).
    pub image: String,
    /// Replaces the image's entrypoint unless empty.
    pub command: Vec<String>,
    /// Replaces the image's command unless empty (or if `command` is given).
    pub args: Vec<String>,
    /// Working directory; the image's if `None`.
    pub working_dir: Option<String>,
    /// Environment on top of the image's, in order.
    pub env: Vec<(String, String)>,
    /// Mounts in order.
    pub mounts: Vec<Mount>,
    /// Device nodes of the host to make available.
    pub devices: Vec<Device>,
    /// Log file, relative to the sandbox's log directory, in the CRI format
    /// (`2026-11-22T20:43:01.123456789Z stdout F text`).
    pub log_path: PathBuf,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input after the first attach.
    pub stdin_once: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// Rights.
    pub security: SecurityContext,
    /// Signal that asks the container to stop, such as `SIGTERM`; the image's if `None`.
    pub stop_signal: Option<String>,
    /// Labels kept with the container.
    pub labels: BTreeMap<String, String>,
    /// Annotations kept with the container.
    pub annotations: BTreeMap<String, String>,
}

/// A directory or file of the host that shows inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where inside the container.
    pub container_path: String,
    /// What of the host.
    pub host_path: PathBuf,
    /// Not writable inside.
    pub readonly: bool,
    /// How mounts below it travel.
    pub propagation: Propagation,
}

/// Kubernetes' `mountPropagation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `None`.
    #[default]
    Private,
    /// `HostToContainer`.
    HostToContainer,
    /// `Bidirectional`.
    Bidirectional,
}

/// A device node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host_path: PathBuf,
    /// Path inside.
    pub container_path: String,
    /// Letters of `rwm`.
    pub permissions: String,
}

/// Cgroup limits, in the units of cgroup v1; implementers convert to v2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Relative weight, 2 to 262,144.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU time per period; `None` or −1 for no limit.
    pub cpu_quota: Option<i64>,
    /// Length of the period in microseconds.
    pub cpu_period: Option<u64>,
    /// Bytes; `None` for no limit.
    pub memory_limit_bytes: Option<i64>,
    /// Processes; `None` for no limit.
    pub pids_limit: Option<i64>,
    /// −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// CPUs, such as `0-1`.
    pub cpuset_cpus: Option<String>,
}

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityContext {
    /// All capabilities the host process has, no masks, all devices.
    pub privileged: bool,
    /// Numeric user; the image's if neither this nor `run_as_username` is set.
    pub run_as_user: Option<i64>,
    /// User name looked up in the image's /etc/passwd.
    pub run_as_username: Option<String>,
    /// Numeric group.
    pub run_as_group: Option<i64>,
    /// Further groups (fsGroup among them).
    pub supplemental_groups: Vec<i64>,
    /// None beside these and the primary one, whatever the image's /etc/group says of the user.
    #[serde(default)]
    pub strict_groups: bool,
    /// Capabilities added to the default set, without `CAP_`; `ALL` for all.
    pub add_capabilities: Vec<String>,
    /// Capabilities dropped from the default set; `ALL` for all.
    pub drop_capabilities: Vec<String>,
    /// Root file system cannot be written.
    pub readonly_rootfs: bool,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privs: bool,
    /// System call filter.
    pub seccomp: SeccompProfile,
    /// Paths hidden inside; the runtime's default if `None`.
    pub masked_paths: Option<Vec<String>>,
    /// Paths not writable inside; the runtime's default if `None`.
    pub readonly_paths: Option<Vec<String>>,
    /// The container joins the PID namespace of this container of the same pod (ephemeral containers).
    pub target_container_id: Option<String>,
}

/// Kubernetes' `seccompProfile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// No filter.
    Unconfined,
    /// The runtime's own list.
    #[default]
    RuntimeDefault,
    /// A profile file on the host.
    Localhost(PathBuf),
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not started yet.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited(Exit),
    /// The runtime has lost track of it.
    Unknown,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, or 128 + signal.
    pub exit_code: i32,
    /// The kernel's out-of-memory killer ended it.
    pub oom_killed: bool,
    /// When.
    pub finished_at: Timestamp,
    /// The runtime's own words, if it could not even be started.
    pub message: String,
}

/// A container as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Id given by the runtime.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// The pod it is in.
    pub pod: PodIdentity,
    /// Name in the pod.
    pub name: String,
    /// As configured.
    pub attempt: u32,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// Its main process on the host, while it runs.
    pub pid: Option<u32>,
    /// What its main process runs as at first, if the runtime tells.
    pub user: Option<User>,
    /// As configured: [`ImageStatus::id`].
    pub image: String,
    /// Absolute path of the log.
    pub log_path: PathBuf,
    /// As configured.
    pub labels: BTreeMap<String, String>,
    /// As configured.
    pub annotations: BTreeMap<String, String>,
}

/// What a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

/// What happened to a container. The kubelet reads details with `container_status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container.
    pub container_id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// Its pod.
    pub pod: PodIdentity,
    /// What happened.
    pub kind: ContainerEventKind,
}

/// Kinds of [`ContainerEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// It was created.
    Created,
    /// It was started.
    Started,
    /// It ended, for whatever reason.
    Stopped,
    /// It was removed.
    Deleted,
}

/// Collected output of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, at most 16 MiB of it.
    pub stdout: Vec<u8>,
    /// Standard error, at most 16 MiB of it.
    pub stderr: Vec<u8>,
    /// Exit status, or 128 + signal.
    pub exit_code: i32,
}

/// A command with streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Command line.
    pub command: Vec<String>,
    /// Run it on a terminal; standard error is then part of standard output.
    pub tty: bool,
    /// Whether the caller sends standard input.
    pub stdin: bool,
    /// Whether the caller reads standard output.
    pub stdout: bool,
    /// Whether the caller reads standard error.
    pub stderr: bool,
}

/// Which streams of a container's main process to join.
#[derive(Clone, Debug, Default)]
pub struct AttachRequest {
    /// Send standard input (the container must have been created with `stdin`).
    pub stdin: bool,
    /// Read standard output.
    pub stdout: bool,
    /// Read standard error.
    pub stderr: bool,
}

/// Streams of a running command. Dropping it hangs up: an exec's process gets SIGHUP, an attached
/// container goes on.
pub struct ExecSession {
    /// Standard input, if asked for; shutting it down is end-of-file.
    pub stdin: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>,
    /// Standard output (or the terminal's output), if asked for.
    pub stdout: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    /// Standard error, if asked for and there is no terminal.
    pub stderr: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    /// Sets the terminal's size; `None` without a terminal.
    pub resize: Option<tokio::sync::mpsc::Sender<TerminalSize>>,
    /// The exit code, once the command has ended and its output is drained.
    pub exit: futures::future::BoxFuture<'static, Result<i32>>,
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Credentials for one registry, from a pull secret.
#[derive(Clone, PartialEq, Eq)]
pub enum ImageAuth {
    /// User and password.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A bearer token for the registry.
    Bearer(String),
}

impl std::fmt::Debug for ImageAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // credentials never reach a log
        f.write_str(match self {
            ImageAuth::Basic { .. } => "ImageAuth::Basic",
            ImageAuth::Bearer(_) => "ImageAuth::Bearer",
        })
    }
}

/// An image as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageStatus {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// Names with tags, such as `docker.io/library/nginx:alpine`.
    pub repo_tags: Vec<String>,
    /// Names with digests, such as `docker.io/library/nginx@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Numeric user it runs as by default.
    pub uid: Option<i64>,
    /// User name it runs as by default, if not numeric.
    pub username: String,
    /// Never collected as garbage.
    pub pinned: bool,
}

/// An image out of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedImage {
    /// As it is now: other names may have been there before.
    pub image: ImageStatus,
    /// The names that the archive gave it, in the archive's order; it may give none.
    pub names: Vec<String>,
}

/// Space used by images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFsInfo {
    /// Where they are kept.
    pub mountpoint: PathBuf,
    /// Bytes used by images and containers.
    pub used_bytes: u64,
    /// Size of the file system.
    pub capacity_bytes: u64,
    /// Bytes free on it.
    pub available_bytes: u64,
}

/// Usage of one container. What the machine does not count is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// The container.
    pub container_id: String,
    /// When this was read.
    pub at: Timestamp,
    /// CPU time used since it started, in nanoseconds.
    pub cpu_nanos: u64,
    /// Periods of its CPU limit that have passed, and those in which it was held back.
    pub cpu_periods: u64,
    /// See `cpu_periods`.
    pub cpu_throttled_periods: u64,
    /// Time for which it was held back, in nanoseconds.
    pub cpu_throttled_nanos: u64,
    /// Memory that cannot be reclaimed easily, in bytes: all but the inactive page cache.
    pub working_set_bytes: u64,
    /// All memory charged to it, in bytes.
    pub memory_bytes: u64,
    /// Anonymous memory, in bytes.
    pub rss_bytes: u64,
    /// Page cache, in bytes.
    pub cache_bytes: u64,
    /// Swap, in bytes.
    pub swap_bytes: u64,
    /// Its limit of memory, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Page faults, all of them and those that waited for a disk.
    pub page_faults: u64,
    /// See `page_faults`.
    pub major_page_faults: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Addresses of a pod, as the pod network gives them.
pub type PodIps = Vec<IpAddr>;
