//! A cluster of the built binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The binary under test: `SAMPAN_BINARY`, else the release build beside the tests.
pub fn binary() -> PathBuf {
    std::env::var_os("SAMPAN_BINARY").map_or_else(
        || {
            // tests run from target/<profile>/deps
            let test = std::env::current_exe().expect("the test's own path");
            let profile = test.ancestors().nth(2).expect("target/<profile>").to_path_buf();
            profile.join("sampan")
        },
        PathBuf::from,
    )
}

/// How a cluster differs from the default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further arguments of `sampan start`.
    pub start: Vec<String>,
}

/// A running cluster with directories, a kubeconfig and a port of its own; deleted when dropped.
pub struct Cluster {
    profile: String,
    directory: TempDir,
    options: Options,
}

impl Cluster {
    /// Starts a cluster with the default settings.
    pub fn start() -> Result<Self> {
        Self::with(Options::default())
    }

    /// Starts a cluster with `options`.
    pub fn with(options: Options) -> Result<Self> {
        let cluster = Self::unstarted(options)?;
        cluster.up()?;
        Ok(cluster)
    }

    /// A cluster that has not been started yet.
    pub fn unstarted(options: Options) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("sampan-test-").tempdir()?;
        // the name shows in bridges and cgroups: short, and unique among clusters that run at once
        let unique: String = directory.path().to_string_lossy().chars().rev().take(6).collect();
        let profile = format!("t-{}", unique.to_ascii_lowercase());
        Ok(Self { profile, directory, options })
    }

    /// Runs `sampan start` (again).
    pub fn up(&self) -> Result<String> {
        let mut arguments = vec!["start"];
        arguments.extend(self.options.start.iter().map(String::as_str));
        self.sampan(&arguments)
    }

    /// Runs a verb of sampan on this cluster; its standard output, or its words as an error.
    pub fn sampan(&self, arguments: &[&str]) -> Result<String> {
        checked(self.command().args(arguments), "sampan", arguments)
    }

    /// sampan with this cluster's environment, for tests that look at exit codes.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .env("SAMPAN_HOME", self.path("home"))
            .env("SAMPAN_RUN", self.path("run"))
            .env("KUBECONFIG", self.kubeconfig())
            .env("SAMPAN_PROFILE", &self.profile)
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs kubectl against this cluster; its standard output, or its words as an error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        checked(self.kubectl_command().args(arguments), "kubectl", arguments)
    }

    /// kubectl, for tests that look at exit codes or feed its input.
    pub fn kubectl_command(&self) -> Command {
        let kubectl = std::env::var_os("SAMPAN_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(kubectl);
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.path("home"));
        command
    }

    /// A kube-rs client of the administrator, over TLS.
    pub async fn client(&self) -> Result<kube::Client> {
        // a second call finds it installed
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = kube::config::Kubeconfig::read_from(self.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// The daemon's process id.
    pub fn pid(&self) -> Result<i32> {
        let file = self.run_directory().join("daemon.pid");
        std::fs::read_to_string(&file)?.trim().parse().with_context(|| file.display().to_string())
    }

    /// The kubeconfig that `sampan start` writes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// The profile's name.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Where the profile keeps what lasts.
    pub fn data_directory(&self) -> PathBuf {
        self.path("home").join(&self.profile)
    }

    /// Where the profile keeps sockets and pids.
    pub fn run_directory(&self) -> PathBuf {
        self.path("run").join(&self.profile)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A directory that goes with the cluster.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.sampan(&["delete"]) {
            eprintln!("cluster {} was not deleted: {error:#}", self.profile);
        }
    }
}

fn checked(command: &mut Command, name: &str, arguments: &[&str]) -> Result<String> {
    let output: Output = command.output().with_context(|| format!("run {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{name} {}: {} {text}{words}", arguments.join(" "), output.status);
    }
    Ok(text)
}
