//! Where the kubelet keeps files. Every path is made here.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

/// Beside all pods.
const LOG_LINKS: &str = "container-logs";

/// The kubelet's directories.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// Files of pods, `<root>/pods/<uid>/…`; survives restarts and reboots.
    pub root: PathBuf,
    /// Logs of pods, `<logs>/<ns>_<name>_<uid>/<container>/<n>.log`.
    pub pod_logs: PathBuf,
}

impl Dirs {
    /// Directories of one pod.
    pub fn pod(&self, pod: &Pod) -> PodDirs {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let meta = &pod.metadata;
        self.pod_named(&text(&meta.namespace), &text(&meta.name), &text(&meta.uid))
    }

    /// Directories of one pod.
    pub fn pod_named(&self, namespace: &str, name: &str, uid: &str) -> PodDirs {
        PodDirs {
            root: self.root.join("pods").join(uid),
            logs: self.pod_logs.join(format!("{namespace}_{name}_{uid}")),
        }
    }

    /// A link to each log, see [`crate::logs`].
    pub fn log_links(&self) -> PathBuf {
        self.root.join(LOG_LINKS)
    }

    /// Where localhost seccomp profiles are looked up.
    pub fn seccomp(&self) -> PathBuf {
        self.root.join("seccomp")
    }
}

/// Directories of one pod.
#[derive(Clone, Debug)]
pub struct PodDirs {
    /// `<root>/pods/<uid>`.
    pub root: PathBuf,
    /// Its logs.
    pub logs: PathBuf,
}

impl PodDirs {
    /// The logs of all pods.
    pub fn all_logs(&self) -> PathBuf {
        self.logs.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// [`Dirs::log_links`].
    pub fn log_links(&self) -> PathBuf {
        self.root.ancestors().nth(2).unwrap_or(&self.root).join(LOG_LINKS)
    }

    /// The managed /etc/hosts.
    pub fn hosts(&self) -> PathBuf {
        self.root.join("etc-hosts")
    }

    /// The managed /etc/resolv.conf.
    pub fn resolv_conf(&self) -> PathBuf {
        self.root.join("resolv.conf")
    }

    /// The managed /etc/hostname.
    pub fn hostname(&self) -> PathBuf {
        self.root.join("hostname")
    }

    /// What is allocated to the pod.
    pub fn resources(&self) -> PathBuf {
        self.root.join("resources.json")
    }

    /// A volume, by the plugin's name with `/` as `~`.
    pub fn volume(&self, plugin: &str, name: &str) -> PathBuf {
        self.root.join("volumes").join(plugin).join(name)
    }

    /// All volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Parts of volumes that containers mount, bound to where no container reaches.
    pub fn sub_paths(&self) -> PathBuf {
        self.root.join("volume-subpaths")
    }

    /// The part that the container's mount of this index shows.
    pub fn sub_path(&self, volume: &str, container: &str, index: usize) -> PathBuf {
        self.sub_paths().join(volume).join(container).join(index.to_string())
    }

    /// File a container's run writes its termination message to.
    pub fn termination_log(&self, container: &str, attempt: u32) -> PathBuf {
        self.root.join("containers").join(container).join(format!("{attempt}"))
    }

    /// Log of one run of a container.
    pub fn log(&self, container: &str, attempt: u32) -> PathBuf {
        self.logs.join(container).join(format!("{attempt}.log"))
    }
}

/// Writes a file whole, making its directory.
pub fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}
