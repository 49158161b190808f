//! Named tasks and an orderly end.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::health::{Component, Health, State};

/// The signal to finish. Cheap to clone; `wait().await` resolves once draining has begun.
#[derive(Clone, Debug, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// A drain of its own, for tests and for parts with a shorter life than the daemon.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins draining; all clones and children see it.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether draining has begun.
    pub fn started(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves once draining has begun; cancel-safe.
    pub fn wait(&self) -> WaitForCancellationFutureOwned {
        self.0.clone().cancelled_owned()
    }

    /// A drain that starts with this one, or earlier on its own.
    pub fn child(&self) -> Drain {
        Drain(self.0.child_token())
    }
}

/// Spawns the tasks of one component and waits for them at the end.
#[derive(Clone, Debug)]
pub struct Tasks {
    component: Component,
    drain: Drain,
    tracker: TaskTracker,
}

impl Tasks {
    /// Tasks of `component` under a drain of their own.
    pub fn new(component: Component) -> Self {
        Self::under(component, Drain::new())
    }

    /// Tasks of `component` that drain with `drain`.
    pub fn under(component: Component, drain: Drain) -> Self {
        Self { component, drain, tracker: TaskTracker::new() }
    }

    /// The component whose tasks these are.
    pub fn component(&self) -> Component {
        self.component
    }

    /// The drain that these tasks watch.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Spawns `future` in a span that carries the component and `name`. The future has to watch the drain
    /// itself; [`Tasks::spawn_until_drain`] does that for futures that may be dropped at any await.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let span = tracing::info_span!(parent: None, "task", component = self.component.name(), task = name);
        self.tracker.spawn(future.instrument(span))
    }

    /// Spawns `future` and drops it when draining begins.
    pub fn spawn_until_drain<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let drain = self.drain.clone();
        self.spawn(name, async move {
            tokio::select! {
                () = drain.wait() => {}
                () = future => {}
            }
        })
    }

    /// Begins draining and waits until all tasks have ended or `deadline` has passed. Returns how many tasks
    /// had not ended by then.
    pub async fn finish(&self, deadline: Duration) -> usize {
        self.drain.start();
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        }
    }
}

/// First pause before a failed component is started again; doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two starts of a failing component.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Runs a component until it drains: when `start()`'s future fails or panics, says so in its health and
/// starts it again, alone, after a growing pause.
pub async fn supervise<F, Fut, E>(tasks: Tasks, health: Health, mut start: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let component = tasks.component();
    let drain = tasks.drain();
    let mut pause = RESTART_PAUSE;
    loop {
        let began = tokio::time::Instant::now();
        let reason = match tasks.spawn("run", start()).await {
            Ok(Ok(())) if drain.started() => {
                health.set(component, State::Stopped);
                return;
            }
            Ok(Ok(())) => "ended without being asked to".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panicked: {panic}"),
        };
        if drain.started() {
            health.set(component, State::Stopped);
            return;
        }
        tracing::error!(component = component.name(), %reason, "component failed and is started again");
        health.failed(component, reason);
        if began.elapsed() > RESTART_PAUSE_MAX {
            pause = RESTART_PAUSE;
        }
        tokio::select! {
            () = drain.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_failing_component_is_restarted_alone_and_counts() {
        let tasks = Tasks::new(Component::Scheduler);
        let health = Health::new();
        let starts = Arc::new(AtomicU32::new(0));
        let (counted, drain) = (starts.clone(), tasks.drain());
        let run = supervise(tasks.clone(), health.clone(), move || {
            let (n, drain) = (counted.fetch_add(1, Ordering::SeqCst), drain.clone());
            async move {
                match n {
                    0 => Err("the disk is on fire".to_owned()),
                    1 => panic!("boom"),
                    _ => {
                        drain.start();
                        Ok(())
                    }
                }
            }
        });
        run.await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        let report = health.get(Component::Scheduler);
        assert_eq!((report.restarts, report.state), (2, State::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn finish_counts_what_did_not_end() {
        let tasks = Tasks::new(Component::Kubelet);
        tasks.spawn_until_drain("ends", std::future::pending());
        tasks.spawn("stays", std::future::pending::<()>());
        assert_eq!(tasks.finish(Duration::from_secs(1)).await, 1);
    }
}
