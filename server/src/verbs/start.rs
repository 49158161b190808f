//! `sampan start`: the daemon in the background, then the kubeconfig; returns when the node is Ready.
//!
//! What cannot work is refused before anything is written. A start that fails, takes too long or is interrupted leaves
//! no daemon behind, and no settings that the next start would fail over.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Outcome};
use crate::cli::Start;
use crate::control;
use crate::daemon::StartEvent;
use crate::failure::{Failure, Kind};
use crate::kubeconfig::{self, Access, Owner};
use crate::messages::Message;
use crate::options;
use crate::profile::{Profile, Settings};
use crate::rights;
use crate::services;
use crate::ui::Ui;

/// Steps of a start, for tools that draw a bar.
const STEPS: usize = 9;
/// Steps when the cluster runs already.
const STEPS_RUNNING: usize = 4;
/// How long a daemon may take to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a daemon that does not answer may take to be gone.
const ENDING: Duration = Duration::from_secs(3);

/// Runs the verb.
pub async fn run(mut context: Context, options: Start) -> Outcome {
    let Context { profile, ui } = &mut context;
    options::check(&options)?;
    rights::check()?;
    let kubeconfig = Owner::detect().kubeconfig();
    kubeconfig::check(&kubeconfig, &Owner::of(&kubeconfig))?;
    profile.create()?;
    let _held = profile.lock_command()?;
    let known = profile.exists()?;
    let stored = profile.settings()?;
    if known {
        options::check_fixed(&stored, &options)?;
    }
    let mut settings = options::merged(stored.clone(), &options);
    // the host may be called otherwise one day
    settings.node_name = options::node_name(&settings);
    options::check_settings(&settings)?;

    let running = running(profile).await?;
    ui.expect_steps(if running.is_some() { STEPS_RUNNING } else { STEPS });
    ui.step(&Message::Greeting { version: format!("v{}", env!("CARGO_PKG_VERSION")), system: system_name() });
    let access = match running {
        Some(running) => already(profile, ui, &settings, running),
        None => {
            let runtime = settings.container_runtime.to_string();
            ui.step(&match known {
                true => Message::Restarting { profile: profile.name.clone(), runtime },
                false => Message::Starting { profile: profile.name.clone(), runtime },
            });
            let _turn = match settings.service_cidr.is_empty() && !known {
                true => Some(services::turn().await?),
                false => None,
            };
            if settings.service_cidr.is_empty() {
                let pods = options::pod_cidr(&settings.pod_cidr)?;
                // a cluster without a block was made before there was a choice
                settings.service_cidr = match known {
                    true => services::DEFAULT.to_owned(),
                    false => services::choose(pods).await?.to_string(),
                };
            }
            let before = if known { stored } else { untold(&settings) };
            let access = booted(profile, ui, &settings, &before, options.wait_timeout).await?;
            settings.apiserver_port = port(&access).unwrap_or(settings.apiserver_port);
            access
        }
    };
    finish(profile, ui, settings, kubeconfig, &access, options.keep_context)
}

/// A daemon that runs: its address and what it was started with.
struct Running {
    access: Access,
    settings: Option<Settings>,
}

/// The daemon that runs already, if one does.
async fn running(profile: &Profile) -> Result<Option<Running>, Failure> {
    let Some(pid) = profile.daemon_pid() else { return Ok(None) };
    let status = match control::ask(&profile.socket(), &control::Request::Status, drop).await {
        Err(failure) if failure.kind == Kind::NotRunning && ends(profile).await => return Ok(None),
        status => status.map_err(|failure| super::busy(failure, pid))?,
    };
    let text = control::ask(&profile.socket(), &control::Request::Kubeconfig, drop).await;
    let text = text.map_err(|failure| super::busy(failure, pid))?;
    let access = text.as_str().and_then(kubeconfig::parse);
    let access = access.ok_or_else(|| Failure::new(Kind::Internal, "the daemon's kubeconfig is none"))?;
    // an older daemon does not tell
    let settings = status.get("settings").and_then(|told| serde_json::from_value(told.clone()).ok());
    let settings = settings.map(|told: Settings| Settings {
        // what it was told may have been taken
        apiserver_port: port(&access).unwrap_or(told.apiserver_port),
        ..told
    });
    Ok(Some(Running { access, settings }))
}

/// Whether a daemon that does not answer is one that was killed, or has said its last word: then it is gone soon.
async fn ends(profile: &Profile) -> bool {
    let Ok(mut lock) = profile.lock_daemon() else { return false };
    let (tell, told) = tokio::sync::oneshot::channel();
    // a thread of its own, which nobody waits for if the daemon goes on
    std::thread::spawn(move || drop(lock.write().map(|_held| tell.send(()))));
    tokio::time::timeout(ENDING, told).await.is_ok_and(|told| told.is_ok())
}

/// Says what the daemon that runs does not follow.
fn already(profile: &Profile, ui: &mut Ui, wanted: &Settings, running: Running) -> Access {
    ui.step(&Message::AlreadyRunning { profile: profile.name.clone() });
    let flags = running.settings.map(|settings| options::pending(&settings, wanted)).unwrap_or_default();
    if !flags.is_empty() {
        ui.warn(&Message::TakesEffectLater { flags: flags.join(" ") });
    }
    running.access
}

/// What is kept of a first start that failed: what the database may bear already.
fn untold(settings: &Settings) -> Settings {
    Settings {
        node_name: settings.node_name.clone(),
        service_cidr: settings.service_cidr.clone(),
        container_runtime: settings.container_runtime,
        ..Settings::default()
    }
}

/// Starts a daemon with `settings`, within `seconds`; if that fails, ends it and keeps `before` instead.
async fn booted(
    profile: &Profile,
    ui: &mut Ui,
    settings: &Settings,
    before: &Settings,
    seconds: u64,
) -> Result<Access, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    profile.save(settings)?;
    let (mut child, lines) = spawn(profile)?;
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(Duration::from_secs(seconds), boot(profile, ui, lines)) => {
            outcome.unwrap_or_else(|_| Err(too_slow(seconds)))
        }
        _ = interrupt.recv() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
    };
    if outcome.is_err() {
        end(&mut child).await?;
        profile.save(before)?;
    }
    outcome
}

fn too_slow(seconds: u64) -> Failure {
    let message = format!(
        "the node was not Ready after {seconds} s, and what had been started was stopped; --wait-timeout gives it longer"
    );
    Failure::new(Kind::NodeNotReady, message)
}

fn interrupted() -> Failure {
    Failure::new(Kind::DaemonStart, "the start was interrupted, and what had been started was stopped")
}

/// Ends a daemon that is not wanted any more, as `kill` does; it may have ended by itself.
async fn end(child: &mut Child) -> Result<(), Failure> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(nix::unistd::Pid::from_raw);
    if let Some(pid) = pid {
        // an error says that it has ended
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}

/// Repeats the daemon's steps until it is ready.
async fn boot(
    profile: &Profile,
    ui: &mut Ui,
    mut lines: Lines<BufReader<ChildStdout>>,
) -> Result<Access, Failure> {
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).map_err(anyhow::Error::from)? {
            StartEvent::Step(message) => ui.step(&message),
            StartEvent::Warning(message) => ui.warn(&message),
            StartEvent::Ready(access) => return Ok(access),
            StartEvent::Failed { id, message } => return Err(Failure::of(&id, message)),
        }
    }
    let log = profile.logs().join("daemon.err");
    let tail = std::fs::read_to_string(&log).unwrap_or_default();
    let tail: Vec<&str> = tail.lines().rev().take(5).collect();
    let said: Vec<&str> = tail.into_iter().rev().collect();
    Err(Failure::new(Kind::DaemonStart, format!("the daemon ended while starting: {}", said.join("\n"))))
}

/// What the user says of the allocator comes first.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// Buffers of what passes through, up to 32 KiB, are taken from and given to their thread's own cache; by default those
/// above 1 KiB go through the heap that all share.
const ALLOCATOR: &str = "glibc.malloc.tcache_max=36864";

/// The daemon as a session of its own, its standard output being the report that we read.
fn spawn(profile: &Profile) -> Result<(Child, Lines<BufReader<ChildStdout>>), Failure> {
    std::fs::create_dir_all(profile.logs())?;
    let errors = std::fs::File::create(profile.logs().join("daemon.err"))?;
    let mut child = Command::new(executable()?)
        .args(["--profile", &profile.name, "daemon"])
        .current_dir("/")
        .env(TUNABLES, std::env::var_os(TUNABLES).unwrap_or_else(|| ALLOCATOR.into()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .process_group(0)
        .spawn()?;
    let stdout = child.stdout.take();
    let stdout = stdout.ok_or_else(|| Failure::new(Kind::Internal, "the daemon has no standard output"))?;
    Ok((child, BufReader::new(stdout).lines()))
}

/// This very binary, even if the file was replaced by an upgrade meanwhile.
fn executable() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?)
}

/// The port at which the API is served.
fn port(access: &Access) -> Option<u16> {
    access.server.rsplit(':').next()?.parse().ok()
}

/// Writes the kubeconfig and says that all is done.
fn finish(
    profile: &Profile,
    ui: &mut Ui,
    mut settings: Settings,
    path: PathBuf,
    access: &Access,
    keep_context: bool,
) -> Outcome {
    let wanted = match profile.name.as_str() {
        "sampan" => "sampan".to_owned(),
        name => format!("sampan-{name}"),
    };
    let owner = Owner::of(&path);
    let context = kubeconfig::merge(&path, &owner, &profile.name, &wanted, access, keep_context)?;
    ui.step(&Message::Kubeconfig { path: path.display().to_string() });
    settings.wrote_kubeconfig(path, context.clone());
    profile.save(&settings)?;
    ui.step(&if keep_context { Message::DoneKeptContext { context } } else { Message::Done { context } });
    Ok(0)
}

/// `PRETTY_NAME` of the system.
fn system_name() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_in_use_is_read_from_the_address() {
        let access = |server: &str| Access {
            server: server.into(),
            ca_pem: String::new(),
            certificate_pem: String::new(),
            key_pem: String::new(),
        };
        assert_eq!(port(&access("https://127.0.0.1:6444")), Some(6444));
        assert_eq!(port(&access("https://box")), None);
    }
}
