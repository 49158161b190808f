//! A cluster by name: its directories, its settings, its locks.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// Where profiles keep what lasts, unless `SAMPAN_HOME` says otherwise.
const HOME: &str = "/var/lib/sampan";
/// Where profiles keep what a reboot may take, unless `SAMPAN_RUN` says otherwise.
const RUN: &str = "/run/sampan";
/// The file of [`Settings`] in a profile's data.
const SETTINGS: &str = "config.json";

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
    /// Port of the last start, or the one asked for.
    pub apiserver_port: u16,
    /// Whether the port was asked for: no other will do.
    pub apiserver_port_chosen: bool,
    /// The node's name; empty for the host's.
    pub node_name: String,
    /// Addresses of pods.
    pub pod_cidr: String,
    /// Whether the addresses were asked for: no others will do.
    pub pod_cidr_chosen: bool,
    /// Addresses of Services; empty until the cluster is made, then fixed.
    pub service_cidr: String,
    /// Whether the host's own resolver knows the cluster's names.
    pub host_dns: bool,
    /// Mirrors of docker.io, first choice first.
    pub registry_mirrors: Vec<String>,
    /// Registries spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// `cn` adds mirrors that answer from China.
    pub image_mirror_country: String,
    /// Port of the dashboard, if one was asked for: no other will do.
    pub dashboard_port: Option<u16>,
    /// Where proxies in front of the dashboard are reached.
    pub dashboard_urls: Vec<String>,
    /// What is recorded of requests, and where.
    pub audit: crate::audit::Settings,
    /// File that names issuers of tokens.
    pub authentication_config: Option<PathBuf>,
    /// `--scheduler-config`; none for upstream's defaults.
    pub scheduler_config: Option<PathBuf>,
    /// Minutes of history that watches and exact lists can go back.
    pub history_minutes: u64,
    /// The kubeconfig that was written last, and the context in it.
    pub kubeconfig: Option<(PathBuf, String)>,
    /// The kubeconfigs that were written before it.
    pub other_kubeconfigs: Vec<(PathBuf, String)>,
}

impl Settings {
    /// Remembers that `path` holds this cluster under the name `context`.
    pub fn wrote_kubeconfig(&mut self, path: PathBuf, context: String) {
        let before = self.kubeconfig.take();
        self.other_kubeconfigs.extend(before);
        self.other_kubeconfigs.retain(|(other, _)| *other != path);
        self.kubeconfig = Some((path, context));
    }

    /// Every kubeconfig that was written, and the context in each.
    pub fn kubeconfigs(&self) -> impl Iterator<Item = &(PathBuf, String)> {
        self.kubeconfig.iter().chain(&self.other_kubeconfigs)
    }

    /// What can be read of a file that is not, or not wholly, of this form: each setting that makes sense.
    fn salvaged(bytes: &[u8]) -> Self {
        let stored: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(bytes).unwrap_or_default();
        let alone = |key: &String, value: &serde_json::Value| {
            let single = serde_json::Map::from_iter([(key.clone(), value.clone())]);
            serde_json::from_value::<Settings>(single.into()).is_ok()
        };
        let good = stored.into_iter().filter(|(key, value)| alone(key, value));
        serde_json::from_value(serde_json::Value::Object(good.collect())).unwrap_or_default()
    }
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
            apiserver_port_chosen: false,
            node_name: String::new(),
            pod_cidr: "10.244.0.0/16".into(),
            pod_cidr_chosen: false,
            service_cidr: String::new(),
            host_dns: false,
            registry_mirrors: Vec::new(),
            insecure_registries: Vec::new(),
            image_mirror_country: String::new(),
            dashboard_port: None,
            dashboard_urls: Vec::new(),
            audit: crate::audit::Settings::default(),
            authentication_config: None,
            scheduler_config: None,
            history_minutes: 5,
            kubeconfig: None,
            other_kubeconfigs: Vec::new(),
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
        let [home, run] = bases();
        Ok(Self { name: name.to_owned(), data: home.join(name), run: run.join(name) })
    }

    /// Every cluster of which there is anything, by name; fails for a caller who may not look.
    pub fn all() -> Result<Vec<Self>, Failure> {
        let mut names = BTreeSet::new();
        for base in bases() {
            names.extend(directories(&base)?);
        }
        // what is called otherwise is not ours
        Ok(names.iter().filter_map(|name| Self::named(name).ok()).collect())
    }

    /// Whether `sampan start` has ever made this cluster; fails for a caller who may not look.
    pub fn exists(&self) -> Result<bool, Failure> {
        self.seen(&self.settings_file())
    }

    /// Whether anything of this cluster is left; fails for a caller who may not look.
    pub fn left(&self) -> Result<bool, Failure> {
        Ok(self.seen(&self.data)? || self.seen(&self.run)? || self.exists()?)
    }

    fn seen(&self, path: &Path) -> Result<bool, Failure> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(self.not_for_you()),
            Err(_) => Ok(false),
        }
    }

    /// What a caller hears who may not look into the profile's directory.
    pub fn not_for_you(&self) -> Failure {
        let message = format!("{} can be read by root only", self.data.display());
        Failure::new(Kind::PermissionDenied, message)
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
        self.data.join(SETTINGS)
    }

    /// Creates both directories: the data for root's eyes only; through the run directory anybody may go (to the
    /// socket, which has a mode of its own), but nobody else may put anything there.
    pub fn create(&self) -> Result<(), Failure> {
        for (directory, mode) in [(&self.data, 0o700), (&self.run, 0o711)] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory);
            // an older sampan left other modes, and another owner
            let made = made.and_then(|()| own(directory, mode));
            made.map_err(|error| {
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

    /// As [`Profile::settings`], with the defaults for what the file does not say in a way that can be read:
    /// for `delete`, which has to work whatever is there.
    pub fn settings_or_default(&self) -> Settings {
        std::fs::read(self.settings_file()).map_or_else(|_| Settings::default(), |b| Settings::salvaged(&b))
    }

    /// What this cluster runs with, or was last started with; none where that cannot be known. A daemon may have been
    /// started with another `SAMPAN_HOME` than ours and have its settings there.
    pub fn known_settings(&self) -> Option<Settings> {
        let environment =
            self.daemon_pid().and_then(|pid| std::fs::read(format!("/proc/{pid}/environ")).ok());
        let data = environment.map_or_else(|| self.data.clone(), |bytes| home_in(&bytes).join(&self.name));
        let bytes = std::fs::read(data.join(SETTINGS)).ok()?;
        serde_json::from_slice(&bytes).ok()
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

    /// Takes the lock of commands that change the profile, for as long as the value lives; its content is the
    /// command's pid, and a failure ([`Kind::Locked`]) names it.
    pub fn lock_command(&self) -> Result<Flock<File>, Failure> {
        let file = self.open_lock("command.lock")?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, _)| {
            let mut pid = String::new();
            // the holder may not have written it yet
            let _ = file.read_to_string(&mut pid);
            let who = if pid.is_empty() { String::new() } else { format!(" (pid {pid})") };
            let message = format!("another sampan command{who} works on profile {:?}", self.name);
            Failure::new(Kind::Locked, message)
        })?;
        lock.set_len(0)?;
        lock.write_all(std::process::id().to_string().as_bytes())?;
        Ok(lock)
    }

    fn lock_file(&self, name: &str) -> Result<fd_lock::RwLock<File>, Failure> {
        Ok(fd_lock::RwLock::new(self.open_lock(name)?))
    }

    fn open_lock(&self, name: &str) -> Result<File, Failure> {
        let path = self.run.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path).map_err(|error| {
            let kind = Failure::from(std::io::Error::from(error.kind())).kind;
            Failure::new(kind, format!("cannot open {}: {error}", path.display()))
        })
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

/// Where profiles keep what lasts, and what a reboot may take.
fn bases() -> [PathBuf; 2] {
    let base = |variable: &str, default: &str| {
        PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| default.into()))
    };
    [base("SAMPAN_HOME", HOME), base("SAMPAN_RUN", RUN)]
}

/// Where a process keeps what lasts, by its environment as `/proc` shows it.
fn home_in(environment: &[u8]) -> PathBuf {
    let mut variables = environment.split(|byte| *byte == 0);
    let home = variables.find_map(|variable| variable.strip_prefix(b"SAMPAN_HOME="));
    home.map_or_else(|| PathBuf::from(HOME), |home| PathBuf::from(OsStr::from_bytes(home)))
}

/// Names of the directories below one that may not be there.
fn directories(base: &Path) -> Result<Vec<String>, Failure> {
    let entries = match std::fs::read_dir(base) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let message = format!("cannot read {}: {error}", base.display());
            return Err(Failure::new(Failure::from(error).kind, message));
        }
        Ok(entries) => entries.flatten(),
    };
    let is_directory = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries.filter(is_directory).filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Gives a directory its mode, and root as its owner if that is who we are.
fn own(directory: &Path, mode: u32) -> std::io::Result<()> {
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::lchown(directory, Some(0), Some(0))?;
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
}

/// Writes a file of mode 0600 so that it is either the old or the new one after a crash. The directory may be
/// somebody else's: what is written first has a name that cannot be foreseen, and is never somebody's link.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // seeded by the kernel, once per process
    let random = RandomState::new().build_hasher().finish();
    let temporary = path.with_extension(format!("tmp{random:016x}"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    let mut file = options.open(&temporary)?;
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

    #[test]
    fn what_can_be_read_of_a_damaged_file_is_kept() {
        let text = r#"{"container_runtime": "docker", "apiserver_port": "many", "pod_cidr": "10.9.0.0/16"}"#;
        let settings = Settings::salvaged(text.as_bytes());
        assert_eq!(settings.container_runtime, RuntimeKind::Docker);
        assert_eq!((settings.apiserver_port, settings.pod_cidr.as_str()), (6443, "10.9.0.0/16"));
        assert_eq!(Settings::salvaged(b"{ no"), Settings::default());
    }

    #[test]
    fn a_daemons_home_is_in_its_environment() {
        for (environment, home) in [
            ("A=1\0SAMPAN_HOME=/tmp/h\0B=2\0", "/tmp/h"),
            ("OLD_SAMPAN_HOME=/tmp/h\0SAMPAN_HOMES=/tmp/h\0", HOME),
            ("", HOME),
        ] {
            assert_eq!(home_in(environment.as_bytes()), Path::new(home), "{environment:?}");
        }
    }

    #[test]
    fn settings_that_cannot_be_read_are_not_known() {
        let base = std::env::temp_dir().join(format!("sampan-settings-{}", std::process::id()));
        let profile = Profile { name: "one".into(), data: base.join("home/one"), run: base.join("run/one") };
        profile.create().expect("created");
        assert_eq!(profile.known_settings(), None);
        let settings = Settings { apiserver_port: 6445, ..Settings::default() };
        profile.save(&settings).expect("saved");
        assert_eq!(profile.known_settings(), Some(settings));
        std::fs::write(profile.data.join(SETTINGS), "{ no").expect("written");
        assert_eq!(profile.known_settings(), None);
        std::fs::remove_dir_all(base).expect("removed");
    }

    #[test]
    fn every_kubeconfig_is_remembered_once() {
        let mut settings = Settings::default();
        for path in ["/a", "/b", "/a", "/c"] {
            settings.wrote_kubeconfig(path.into(), "sampan".into());
        }
        let paths: Vec<_> = settings.kubeconfigs().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(paths, ["/c", "/b", "/a"]);
    }

    #[test]
    fn a_second_command_hears_who_works() {
        let base = std::env::temp_dir().join(format!("sampan-profile-{}", std::process::id()));
        let profile = Profile { name: "one".into(), data: base.join("home/one"), run: base.join("run/one") };
        assert!(!profile.left().expect("may look"));
        profile.create().expect("created");
        let held = profile.lock_command().expect("free");
        let failure = profile.lock_command().expect_err("held");
        assert_eq!(failure.kind, Kind::Locked);
        assert!(failure.message.contains(&format!("(pid {})", std::process::id())), "{failure}");
        drop(held);
        assert!(profile.lock_command().is_ok() && profile.left().expect("may look"));
        assert_eq!(directories(&base.join("home")).expect("may look"), ["one"]);
        assert!(directories(&base.join("none")).expect("may look").is_empty());
        std::fs::remove_dir_all(base).expect("removed");
    }
}
