//! One native addon that runs: a task of its own, started again after a pause when it fails or panics.
//!
//! ```text
//!  start ─► run(config, context, drain) ──returned or panicked──► Failed ─► pause (1 s … 5 min) ─► run anew
//!                    │ drain
//!                    └──► returns, or is aborted after a while ─► its tasks end
//! ```
//!
//! The pause doubles, and begins anew once the addon has been healthy for a while. What the addon says of itself goes
//! into the daemon's health report, from which its mirror pod is drawn.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sampan_addon::{Context, Drain, Host, Native, Report, Reporter, Site};
use sampan_process::{Component, Health, State, Tasks};
use sampan_reconcile::Informers;
use serde_json::Value;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

/// The first pause before a failed addon is started again.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// So long healthy, and the next failure is the first one again.
const CALM: Duration = Duration::from_secs(600);
/// How long an addon may take to return after its drain began.
const GRACE: Duration = Duration::from_secs(5);
/// How long its tasks may take after that.
const GRACE_TASKS: Duration = Duration::from_secs(2);

/// What every run of an addon is given.
#[derive(Clone)]
pub(crate) struct Parts {
    pub native: Arc<dyn Native>,
    pub config: Value,
    pub client: kube::Client,
    pub informers: Informers,
    pub site: Site,
    pub data: PathBuf,
    pub host: Arc<dyn Host>,
    pub health: Health,
}

impl Parts {
    /// What a run is given.
    pub fn context(&self, health: Reporter, tasks: Tasks) -> Context {
        Context {
            client: self.client.clone(),
            informers: self.informers.clone(),
            site: self.site.clone(),
            data: self.data.clone(),
            health,
            tasks,
            host: self.host.clone(),
        }
    }
}

/// An addon that runs.
pub(crate) struct Runner {
    pub config: Value,
    pub reporter: Reporter,
    component: Component,
    drain: Drain,
    task: JoinHandle<()>,
}

impl Runner {
    /// Starts it under `tasks`.
    pub fn start(parts: Parts, tasks: &Tasks) -> Self {
        let component = Component::Addon(parts.native.about().name);
        let drain = tasks.drain().child();
        let reporter = Reporter::new();
        let config = parts.config.clone();
        parts.health.set(component, State::Starting);
        let keeper = Tasks::under(component, drain.clone());
        let task = keeper.spawn("keep", keep(parts, component, reporter.clone(), drain.clone()));
        Self { config, reporter, component, drain, task }
    }

    /// Drains it and waits until it has ended.
    pub async fn stop(self) {
        self.drain.start();
        if self.task.await.is_err() {
            tracing::error!(component = self.component.name(), "the addon's keeper panicked");
        }
    }
}

async fn keep(parts: Parts, component: Component, reporter: Reporter, drain: Drain) {
    let mut pause = PAUSE;
    while !drain.started() {
        reporter.set(Report::Starting);
        let (reason, calm) = once(&parts, component, &reporter, &drain).await;
        if drain.started() {
            break;
        }
        if calm {
            pause = PAUSE;
        }
        tracing::error!(%reason, "the addon failed and is started again in {} s", pause.as_secs());
        let next = format!("it is started again; `sampan addons logs {}` says more", component.name());
        reporter.set(Report::Failed { reason: reason.clone(), next });
        parts.health.failed(component, reason);
        tokio::select! {
            () = drain.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    parts.health.set(component, State::Stopped);
}

/// One run: why it ended, and whether it had been healthy for long.
async fn once(parts: &Parts, component: Component, reporter: &Reporter, drain: &Drain) -> (String, bool) {
    let own = drain.child();
    let tasks = Tasks::under(component, own.clone());
    if let Err(error) = directory(&parts.data) {
        return (format!("{}: {error}", parts.data.display()), false);
    }
    let context = parts.context(reporter.clone(), tasks.clone());
    let (native, config, until) = (parts.native.clone(), parts.config.clone(), own.clone());
    let mut run = tasks.spawn("run", async move { native.run(&config, context, until).await });
    let mut reports = reporter.watch();
    let mut healthy: Option<Instant> = None;
    let ended = loop {
        let report = reports.borrow_and_update().clone();
        healthy = match report {
            Report::Healthy => healthy.or_else(|| Some(Instant::now())),
            _ => None,
        };
        parts.health.set(component, shown(report));
        tokio::select! {
            ended = &mut run => break Some(ended),
            // the reporter is held here: it cannot close
            _ = reports.changed() => {}
            () = drain.wait() => break None,
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => tokio::time::timeout(GRACE, &mut run).await.unwrap_or_else(|_| {
            tracing::warn!("the addon did not end within {} s and is cut off", GRACE.as_secs());
            run.abort();
            Ok(Ok(()))
        }),
    };
    let left = tasks.finish(GRACE_TASKS).await;
    if left > 0 {
        tracing::warn!(left, "tasks of the addon did not end");
    }
    (words(ended), healthy.is_some_and(|since| since.elapsed() >= CALM))
}

/// How a report looks in the daemon's health; serving is ready, though not everything is well.
fn shown(report: Report) -> State {
    match report {
        Report::Starting => State::Starting,
        Report::Healthy | Report::Degraded { .. } => State::Ready,
        Report::Failed { reason, .. } => State::Failed(reason),
    }
}

fn words(ended: Result<Result<(), sampan_addon::Error>, JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "ended without being asked to".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => format!("panicked: {}", panic_words(panic.as_ref())),
            Err(error) => error.to_string(),
        },
    }
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

/// Makes a directory that only we can read.
fn directory(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests;
