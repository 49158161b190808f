//! `sampan start`: the daemon in the background, then the kubeconfig; returns when the node is Ready.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use super::{Context, Outcome};
use crate::cli::Start;
use crate::control;
use crate::daemon::StartEvent;
use crate::failure::{Failure, Kind};
use crate::kubeconfig::{self, Access, Owner};
use crate::messages::Message;
use crate::profile::{Profile, Settings};
use crate::rights;

/// Steps of a first start, for tools that draw a bar.
const STEPS: usize = 12;

/// Runs the verb.
pub async fn run(mut context: Context, options: Start) -> Outcome {
    let Context { profile, ui } = &mut context;
    ui.expect_steps(STEPS);
    ui.step(&Message::Greeting { version: format!("v{}", env!("CARGO_PKG_VERSION")), system: system_name() });
    rights::check()?;
    let known = profile.exists();
    profile.create()?;
    let mut lock = profile.lock_command()?;
    let _held = lock.try_write().map_err(|_| {
        Failure::new(Kind::Locked, format!("another command works on profile {:?}", profile.name))
    })?;
    let mut settings = merged(profile.settings()?, &options)?;
    if let Some(access) = running(profile).await? {
        ui.step(&Message::AlreadyRunning { profile: profile.name.clone() });
        return finish(profile, ui, &mut settings, &access, options.keep_context);
    }
    let runtime = settings.container_runtime.to_string();
    ui.step(&match known {
        true => Message::Restarting { profile: profile.name.clone(), runtime },
        false => Message::Starting { profile: profile.name.clone(), runtime },
    });
    profile.save(&settings)?;
    let limit = Duration::from_secs(options.wait_timeout);
    let access = tokio::time::timeout(limit, boot(profile, ui)).await.map_err(|_| {
        let message = format!("the node was not Ready after {} s", options.wait_timeout);
        Failure::new(Kind::NodeNotReady, message)
    })??;
    finish(profile, ui, &mut settings, &access, options.keep_context)
}

/// The stored settings with what this command line says.
fn merged(mut settings: Settings, options: &Start) -> Result<Settings, Failure> {
    let replace = |slot: &mut String, value: &Option<String>| {
        if let Some(value) = value {
            slot.clone_from(value);
        }
    };
    replace(&mut settings.node_name, &options.node_name);
    replace(&mut settings.pod_cidr, &options.pod_cidr);
    replace(&mut settings.image_mirror_country, &options.image_mirror_country);
    if let Some(port) = options.apiserver_port {
        settings.apiserver_port = port;
    }
    if let Some(runtime) = options.container_runtime {
        settings.container_runtime = runtime;
    }
    if !options.registry_mirror.is_empty() {
        settings.registry_mirrors.clone_from(&options.registry_mirror);
    }
    if !options.insecure_registry.is_empty() {
        settings.insecure_registries.clone_from(&options.insecure_registry);
    }
    match settings.image_mirror_country.as_str() {
        "" | "cn" => Ok(settings),
        other => Err(Failure::new(Kind::Usage, format!("--image-mirror-country={other}: only cn is known"))),
    }
}

/// The access of a daemon that runs already.
async fn running(profile: &Profile) -> Result<Option<Access>, Failure> {
    if profile.daemon_pid().is_none() {
        return Ok(None);
    }
    let status = control::ask(&profile.socket(), &control::Request::Status, drop).await?;
    let access = status.get("access").cloned().unwrap_or_default();
    Ok(Some(serde_json::from_value(access).map_err(anyhow::Error::from)?))
}

/// Starts the daemon and repeats its steps until it is ready.
async fn boot(profile: &Profile, ui: &mut crate::ui::Ui) -> Result<Access, Failure> {
    let mut lines = spawn(profile)?;
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).map_err(anyhow::Error::from)? {
            StartEvent::Step(message) => ui.step(&message),
            StartEvent::Ready(access) => return Ok(access),
            StartEvent::Failed { id, message } => return Err(control::Reply::failure(&id, message)),
        }
    }
    let log = profile.logs().join("daemon.err");
    let tail = std::fs::read_to_string(&log).unwrap_or_default();
    let tail: Vec<&str> = tail.lines().rev().take(5).collect();
    let said: Vec<&str> = tail.into_iter().rev().collect();
    Err(Failure::new(Kind::DaemonStart, format!("the daemon ended while starting: {}", said.join("\n"))))
}

/// The daemon as a session of its own, its standard output being the report that we read.
fn spawn(profile: &Profile) -> Result<Lines<BufReader<ChildStdout>>, Failure> {
    std::fs::create_dir_all(profile.logs())?;
    let errors = std::fs::File::create(profile.logs().join("daemon.err"))?;
    let mut child = Command::new(executable()?)
        .args(["--profile", &profile.name, "daemon"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .process_group(0)
        .spawn()?;
    let stdout = child.stdout.take();
    let stdout = stdout.ok_or_else(|| Failure::new(Kind::Internal, "the daemon has no standard output"))?;
    Ok(BufReader::new(stdout).lines())
}

/// This very binary, even if the file was replaced by an upgrade meanwhile.
fn executable() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?)
}

/// Writes the kubeconfig and says that all is done.
fn finish(
    profile: &Profile,
    ui: &mut crate::ui::Ui,
    settings: &mut Settings,
    access: &Access,
    keep_context: bool,
) -> Outcome {
    let owner = Owner::detect();
    let path = owner.kubeconfig();
    let wanted = match profile.name.as_str() {
        "sampan" => "sampan".to_owned(),
        name => format!("sampan-{name}"),
    };
    let context = kubeconfig::merge(&path, &owner, &profile.name, &wanted, access, keep_context)?;
    ui.step(&Message::Kubeconfig { path: path.display().to_string() });
    settings.kubeconfig = Some((path, context.clone()));
    profile.save(settings)?;
    ui.step(&Message::Done { context });
    Ok(0)
}

/// `PRETTY_NAME` of the system.
fn system_name() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}
