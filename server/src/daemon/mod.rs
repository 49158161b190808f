//! The node daemon: every component of the cluster in one process. Reads as an inventory of Kubernetes.
//!
//! Started by `sampan start`, it reports its steps as JSON lines on standard output until the node is Ready,
//! then lives on alone. The first SIGTERM or SIGINT drains the components in reverse order under a deadline,
//! the second ends the process at once. Containers go on in either case; only the `stop` request stops them.

pub mod access;
mod addresses;
mod authority;
mod builtin;
mod components;
mod connect;
mod console;
mod control;
mod kubeconfigs;
mod platform;
mod report;
mod role;
mod runtime;
mod shutdown;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{Flock, FlockArg, OFlag};
use tracing_subscriber::prelude::*;

use crate::failure::{Failure, Kind};
use crate::messages::Message;
use crate::profile::Profile;

pub use components::{Running, network_config};
pub use control::StopRequest;
pub use platform::services_table;
pub use report::StartEvent;
pub use runtime::{cgroup_root, purge};

use report::Report;

/// Runs the daemon until it is told to end.
pub fn run(profile: &Profile) -> Result<u8, Failure> {
    let mut report = Report::new();
    match started(profile, &mut report) {
        Ok(()) => Ok(0),
        Err(failure) => {
            tracing::error!(%failure, "the daemon ends");
            report.send(&StartEvent::failed(&failure));
            Ok(failure.kind.exit_code())
        }
    }
}

fn started(profile: &Profile, report: &mut Report) -> Result<(), Failure> {
    profile.create()?;
    let _lock = take_lock(profile)?;
    // its own session: the terminal's hang-up is not ours; fails only if that is so already
    let _ = nix::unistd::setsid();
    let logs = sampan_process::logs::Logs::new(&profile.logs())?;
    sampan_process::logs::set_global(logs.clone());
    let level = tracing_subscriber::EnvFilter::try_from_env("SAMPAN_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(
            "info,kube_runtime=warn,kube_client=warn,actix_server=warn,actix_http=error,hyper=warn",
        )
    });
    let _ = tracing_subscriber::registry().with(level).with(logs.layer()).try_init();
    raise_open_files();
    // a second call finds it installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("sampan")
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .enable_all()
        .build()?;
    runtime.block_on(components::run(profile, report))
}

/// Allows as many open files as there may be: connections of the ingress are two each, and a shell's 1024 are few. The
/// container host, and containers with it, have the same, as under Docker Engine.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Holds the daemon's lock file, with our pid in it, for as long as the process lives.
fn take_lock(profile: &Profile) -> Result<Flock<std::fs::File>, Failure> {
    let path = profile.run.join("daemon.pid");
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path)?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    let mut lock = lock.map_err(|_| {
        let message = format!("a daemon of profile {:?} runs already ({})", profile.name, path.display());
        Failure::new(Kind::Locked, message)
    })?;
    lock.set_len(0)?;
    lock.write_all(std::process::id().to_string().as_bytes())?;
    lock.flush()?;
    Ok(lock)
}

/// Says a step of the start.
fn step(report: &mut Report, message: Message) {
    tracing::info!("{}", message.text(crate::messages::Locale::English));
    report.send(&StartEvent::Step(message));
}

/// Says what deserves attention.
fn warn(report: &mut Report, message: Message) {
    tracing::warn!("{}", message.text(crate::messages::Locale::English));
    report.send(&StartEvent::Warning(message));
}
