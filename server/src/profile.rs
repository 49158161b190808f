//! A cluster by name: its directories, its settings, its locks.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// Where profiles keep what lasts, unless `SAMPAN_HOME` says otherwise.
const HOME: &str = "/var/lib/sampan";
/// Where profiles keep what a reboot may take, unless `SAMPAN_RUN` says otherwise.
const RUN: &str = "/run/sampan";

/// One cluster of this machine.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name: a DNS-1123 label.
    pub name: String,
    /// What lasts: database, keys, images, volumes, logs.
    pub data: PathBuf,
    /// Sockets, locks, pinned namespaces.
    pub run: PathBuf,
}

/// What `sampan start` was told, kept for the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Form of this file.
    pub version: u32,
    /// Which runtime pods run on.
    pub container_runtime: RuntimeKind,
    /// Port asked for.
    pub apiserver_port: u16,
    /// The node's name; empty for the host's.
    pub node_name: String,
    /// Addresses of pods.
    pub pod_cidr: String,
    /// Addresses of services.
    pub service_cidr: String,
    /// Mirrors of docker.io, first choice first.
    pub registry_mirrors: Vec<String>,
    /// Registries spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// `cn` adds mirrors that answer from China.
    pub image_mirror_country: String,
    /// Minutes of history that watches and exact lists can go back.
    pub history_minutes: u64,
    /// The kubeconfig that was written, and the context in it.
    pub kubeconfig: Option<(PathBuf, String)>,
}

/// The runtimes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// libcontainer in the container host process.
    #[default]
    Embedded,
    /// Docker Engine.
    Docker,
}

impl std::fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RuntimeKind::Embedded => "embedded",
            RuntimeKind::Docker => "docker",
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: 1,
            container_runtime: RuntimeKind::default(),
            apiserver_port: 6443,
            node_name: String::new(),
            pod_cidr: "10.244.0.0/16".into(),
            service_cidr: "10.96.0.0/12".into(),
            registry_mirrors: Vec::new(),
            insecure_registries: Vec::new(),
            image_mirror_country: String::new(),
            history_minutes: 5,
            kubeconfig: None,
        }
    }
}

impl Profile {
    /// The profile of this name; creates nothing.
    pub fn named(name: &str) -> Result<Self, Failure> {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty()
            || name.len() > 40
            || !name.chars().all(label)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            let message =
                format!("profile name {name:?} must be at most 40 of a-z, 0-9 and '-', not at its ends");
            return Err(Failure::new(Kind::Usage, message));
        }
        let below = |variable: &str, default: &str| {
            PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| default.into())).join(name)
        };
        Ok(Self { name: name.to_owned(), data: below("SAMPAN_HOME", HOME), run: below("SAMPAN_RUN", RUN) })
    }

    /// Whether `sampan start` has ever made this cluster.
    pub fn exists(&self) -> bool {
        self.settings_file().exists()
    }

    /// The daemon's control socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("daemon.sock")
    }

    /// The daemon's own log, before and beside the components'.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    fn settings_file(&self) -> PathBuf {
        self.data.join("config.json")
    }

    /// Creates both directories, for root's eyes only.
    pub fn create(&self) -> Result<(), Failure> {
        for directory in [&self.data, &self.run] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| {
                let kind = Failure::from(std::io::Error::from(error.kind())).kind;
                Failure::new(kind, format!("cannot create {}: {error}", directory.display()))
            })?;
        }
        Ok(())
    }

    /// What the last start was told; the defaults before the first.
    pub fn settings(&self) -> Result<Settings, Failure> {
        let path = self.settings_file();
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::new(Kind::Usage, format!("{} is not readable: {error}", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(error) => {
                Err(Failure::new(Failure::from(error).kind, format!("cannot read {}", path.display())))
            }
        }
    }

    /// Keeps `settings` for the next start.
    pub fn save(&self, settings: &Settings) -> Result<(), Failure> {
        let bytes = serde_json::to_vec_pretty(settings).map_err(anyhow::Error::from)?;
        write_private(&self.settings_file(), &bytes)?;
        Ok(())
    }

    /// Takes the lock that only the daemon holds, for as long as the file lives; its content is the pid.
    pub fn lock_daemon(&self) -> Result<fd_lock::RwLock<File>, Failure> {
        self.lock_file("daemon.pid")
    }

    /// The lock of commands that change the profile.
    pub fn lock_command(&self) -> Result<fd_lock::RwLock<File>, Failure> {
        self.lock_file("command.lock")
    }

    fn lock_file(&self, name: &str) -> Result<fd_lock::RwLock<File>, Failure> {
        let path = self.run.join(name);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| {
            let kind = Failure::from(std::io::Error::from(error.kind())).kind;
            Failure::new(kind, format!("cannot open {}: {error}", path.display()))
        })?;
        Ok(fd_lock::RwLock::new(file))
    }

    /// The daemon's pid, if one holds its lock. A stale file without a lock counts as no daemon.
    pub fn daemon_pid(&self) -> Option<i32> {
        let path = self.run.join("daemon.pid");
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        let mut lock = fd_lock::RwLock::new(file);
        if lock.try_write().is_ok() {
            return None;
        }
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }
}

/// Writes a file of mode 0600 so that it is either the old or the new one after a crash.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, path)) {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for (name, fine) in
            [("sampan", true), ("a-1", true), ("", false), ("A", false), ("../x", false), ("-a", false)]
        {
            assert_eq!(Profile::named(name).is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn settings_from_an_older_file_get_defaults() {
        let settings: Settings = serde_json::from_str(r#"{"apiserver_port": 7443}"#).expect("valid");
        assert_eq!((settings.apiserver_port, settings.history_minutes), (7443, 5));
    }
}
