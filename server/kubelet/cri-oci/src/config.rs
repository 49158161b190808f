//! What the embedded runtime needs to be told.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Directories, names and registries.
#[derive(Clone, Debug)]
pub struct Config {
    /// Volatile: sockets, pins, bundles. Such as `/run/sampan/<profile>`.
    pub run_dir: PathBuf,
    /// Records and writable layers. Such as `<data>/runtime`.
    pub state_dir: PathBuf,
    /// Images. Such as `<data>/runtime/images`.
    pub image_dir: PathBuf,
    /// Root of all cgroups, such as `/sampan-<profile>`.
    pub cgroup_root: String,
    /// Program and first words that start the container host: `[<own binary>, "container-host"]`.
    pub host_command: Vec<String>,
    /// Version shown as `sampan://<version>`.
    pub version: String,
    /// Registry → hosts asked first.
    pub registry_mirrors: BTreeMap<String, Vec<String>>,
    /// Registries spoken to without TLS; loopback always is.
    pub insecure_registries: Vec<String>,
    /// Country whose mirrors of docker.io are asked first, such as `cn`.
    pub image_mirror_country: Option<String>,
    /// Socket of the node's Docker Engine, whose images are imported when asked for.
    pub docker_socket: Option<PathBuf>,
}

impl Config {
    /// Everything below two directories, no mirrors, Docker at its usual place.
    pub fn new(run_dir: PathBuf, data_dir: PathBuf, profile: &str, host_command: Vec<String>) -> Self {
        Config {
            run_dir,
            state_dir: data_dir.join("runtime"),
            image_dir: data_dir.join("runtime/images"),
            cgroup_root: format!("/sampan-{profile}"),
            host_command,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            registry_mirrors: BTreeMap::new(),
            insecure_registries: Vec::new(),
            image_mirror_country: None,
            docker_socket: Some("/var/run/docker.sock".into()),
        }
    }

    /// The container host's socket.
    pub fn host_socket(&self) -> PathBuf {
        self.run_dir.join("container-host.sock")
    }

    pub(crate) fn sandbox_run(&self, id: &str) -> PathBuf {
        self.run_dir.join("sandboxes").join(id)
    }

    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.run_dir.join("containers").join(id)
    }

    pub(crate) fn container_state(&self, id: &str) -> PathBuf {
        self.state_dir.join("containers").join(id)
    }

    pub(crate) fn exit_path(&self, id: &str) -> PathBuf {
        self.container_state(id).join("exit.json")
    }
}
