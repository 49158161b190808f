//! Drives one pod: takes events in, steps the machine, performs what it says, hands the status on.
//!
//! The driver is one task. Whatever takes time runs in a task of its own and comes back as an event, so that
//! the pod always reacts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::RwLock;
use sampan_cri::{ContainerEvent, ContainerEventKind};
use sampan_process::Drain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::counts;
use super::hooks;
use super::machine::{Effect, Event, looks_for_root_ca, step};
use super::publisher::{self, Desired};
use super::resize::actuate::carry_out;
use super::resize::checkpoint::Checkpoint;
use super::sandbox::{create_sandbox, release_network};
use super::start::{Start, end_of};
use super::state::{Kind, Life, PodState, Run, Sandbox};
use super::status::pod_status;
use super::storage;
use crate::context::Context;
use crate::logs;
use crate::probe;
use crate::volume::{self, Holdings};

/// What a driver is told.
#[derive(Debug)]
pub enum Message {
    /// For the machine.
    Event(Event),
    /// From the runtime.
    Runtime(ContainerEvent),
}

/// The way to a driver.
#[derive(Clone)]
pub struct Handle {
    /// Its mailbox.
    pub mailbox: UnboundedSender<Message>,
    /// The state as of its last step, for readers.
    pub state: Arc<RwLock<PodState>>,
}

impl Handle {
    /// Tells the machine something.
    pub fn tell(&self, event: Event) {
        // a driver that has ended needs to know nothing more
        let _ = self.mailbox.send(Message::Event(event));
    }
}

/// What an earlier process left of the pod in the runtime.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    /// Sandboxes that are not usable any more.
    pub stale_sandboxes: Vec<String>,
    /// The sandbox in use.
    pub sandbox: Option<String>,
    /// Ended runs by container, oldest first.
    pub dead: HashMap<String, Vec<(String, u32)>>,
}

/// Starts the driver of one pod, whose machine is told `first` before all else. `done` is told its uid at the end.
pub fn spawn(
    context: Arc<Context>,
    state: PodState,
    leftovers: Leftovers,
    first: Event,
    done: UnboundedSender<String>,
) -> Handle {
    let (mailbox, incoming) = unbounded_channel();
    let pod = state.pod.clone();
    let shared = Arc::new(RwLock::new(state));
    let handle = Handle { mailbox: mailbox.clone(), state: shared.clone() };
    let (desired, wanted) = watch::channel(Desired::default());
    let publisher = context.tasks.spawn("pod status", {
        let (context, pod) = (context.clone(), pod.clone());
        let drain = context.tasks.drain();
        async move {
            tokio::select! {
                () = drain.wait() => {}
                () = publisher::run(context, pod, wanted) => {}
            }
        }
    });
    let driver = Driver {
        context: context.clone(),
        holdings: Arc::default(),
        state: shared,
        mailbox,
        desired,
        busy: watch::Sender::new(BTreeSet::new()),
        probes: HashMap::new(),
        runs: HashMap::new(),
        early_exits: Vec::new(),
        abort: Drain::new(),
        leftovers,
        fresh: None,
        checkpoint: None,
    };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    context.tasks.clone().spawn_until_drain("pod", async move {
        driver.run(first, incoming).await;
        // the last status is written, and the object removed, before the pod is forgotten
        let _ = publisher.await;
        let _ = done.send(uid);
    });
    handle
}

struct Driver {
    context: Arc<Context>,
    holdings: Arc<Holdings>,
    state: Arc<RwLock<PodState>>,
    mailbox: UnboundedSender<Message>,
    desired: watch::Sender<Desired>,
    /// Names of the containers that run or are about to.
    busy: watch::Sender<BTreeSet<String>>,
    /// Ends the probes of a run, by container id.
    probes: HashMap<String, Drain>,
    /// Runs by container id.
    runs: HashMap<String, (Container, Run)>,
    /// Runs that ended before they were known to have started.
    early_exits: Vec<String>,
    abort: Drain,
    leftovers: Leftovers,
    /// Keeps the volumes fresh while it lives.
    fresh: Option<Drain>,
    /// What the pod's checkpoint says.
    checkpoint: Option<Checkpoint>,
}

impl Driver {
    async fn run(mut self, first: Event, mut incoming: UnboundedReceiver<Message>) {
        self.adopt();
        self.step(first);
        loop {
            if self.state.read().life == Life::Deleting {
                self.let_volumes_be();
                self.delete().await;
                return;
            }
            let wake = self.state.read().wake;
            tokio::select! {
                message = incoming.recv() => match message {
                    Some(Message::Event(event)) => self.step(event),
                    Some(Message::Runtime(event)) => self.runtime_event(event),
                    None => return,
                },
                () = until(wake) => self.step(Event::Tick),
            }
        }
    }

    /// Takes up the probes of runs that an earlier process started, and links the logs that an earlier version did not.
    fn adopt(&mut self) {
        let state = self.state.read().clone();
        let dirs = self.context.dirs.pod(&state.pod);
        for slot in &state.slots {
            if let Some(run) = slot.run() {
                if let Err(error) = logs::link(&dirs, &state.pod, &slot.spec.name, &run.id, slot.attempt) {
                    tracing::warn!(id = run.id, %error, "log not linked");
                }
                self.probe(&slot.spec.name.clone(), run.clone());
            }
        }
    }

    fn step(&mut self, event: Event) {
        let before = self.state.read().clone();
        self.note(&event);
        let (after, effects) = step(before, event, Timestamp::now());
        self.remember(&after);
        let busy = after.slots.iter().filter(|slot| !slot.at_rest()).map(|slot| slot.spec.name.clone());
        self.busy.send_replace(busy.collect());
        *self.state.write() = after;
        for effect in effects {
            self.perform(effect);
        }
        self.publish();
    }

    /// Writes down what is allocated to the pod, before anything is done with it.
    fn remember(&mut self, state: &PodState) {
        let checkpoint = Checkpoint::of(state);
        if checkpoint == self.checkpoint || state.life == Life::Deleting {
            return;
        }
        if let Some(new) = &checkpoint {
            let path = self.context.dirs.pod(&state.pod).resources();
            if let Err(error) = new.write(&path) {
                tracing::warn!(path = %path.display(), %error, "allocated resources not written");
                return;
            }
        }
        self.checkpoint = checkpoint;
    }

    /// Tells the metrics.
    fn count(&self, event: &Event) {
        let kind = |name: &str| self.state.read().slot(name).map_or(Kind::Main, |slot| slot.kind);
        match event {
            Event::SandboxReady { .. } => counts::pod_started(true),
            Event::SandboxFailed(_) => counts::pod_started(false),
            Event::Started(name, _) => counts::started(kind(name)),
            Event::StartFailed(name, failure) => counts::not_started(kind(name), failure),
            Event::Exited(id, end) => {
                let of = self.runs.get(id).map_or(Kind::Main, |(container, _)| kind(&container.name));
                counts::ended(of, end);
            }
            _ => {}
        }
    }

    /// Keeps the driver's own books on runs.
    fn note(&mut self, event: &Event) {
        self.count(event);
        match event {
            Event::Exited(id, _) => {
                if let Some(drain) = self.probes.remove(id) {
                    drain.start();
                }
                if let Some((container, _)) = self.runs.remove(id) {
                    let attempt = self.state.read().slot(&container.name).map_or(0, |slot| slot.attempt);
                    self.bury(container.name, id.clone(), attempt);
                }
            }
            Event::VolumesReady => self.keep_fresh(),
            // volumes may show resources
            Event::Allocated(_) => self.holdings.dirty.notify_one(),
            Event::Spec(pod) => {
                let state = self.state.read();
                let (old, new) = (&state.pod.metadata, &pod.metadata);
                if (&old.labels, &old.annotations) != (&new.labels, &new.annotations) {
                    self.holdings.dirty.notify_one();
                }
            }
            Event::StartFailed(name, super::machine::StartFailure::Run(end)) => {
                let attempt = self.state.read().slot(name).map_or(0, |slot| slot.attempt);
                self.bury(name.clone(), end.id.clone(), attempt);
            }
            _ => {}
        }
    }

    /// Container garbage collection: of each container the last ended run is kept, with its log.
    fn bury(&mut self, name: String, id: String, attempt: u32) {
        let dead = self.leftovers.dead.entry(name.clone()).or_default();
        if dead.iter().any(|(there, _)| *there == id) {
            return;
        }
        dead.push((id, attempt));
        let excess: Vec<(String, u32)> = dead.drain(..dead.len() - 1).collect();
        let pod = self.state.read().pod.clone();
        let dirs = self.context.dirs.pod(&pod);
        for (id, attempt) in excess {
            logs::unlink(&dirs, &pod, &name, &id);
            let (runtime, log) = (self.context.runtime.clone(), dirs.log(&name, attempt));
            self.context.tasks.spawn("remove container", async move {
                if let Err(error) = runtime.remove_container(&id).await {
                    tracing::warn!(id, %error, "ended container not removed");
                }
                crate::housekeeping::remove_log(log).await;
            });
        }
    }

    fn publish(&self) {
        let state = self.state.read();
        let delete = state.life == Life::Deleting && !state.removed;
        let now = Timestamp::now();
        self.desired.send_if_modified(|desired| {
            let before = desired.status.as_ref().or(state.pod.status.as_ref());
            let status = (!state.frozen).then(|| pod_status(&state, &self.context.view(), before, now));
            let fresh = Desired { status, delete };
            let changed = *desired != fresh;
            *desired = fresh;
            changed
        });
    }

    fn runtime_event(&mut self, event: ContainerEvent) {
        if event.kind != ContainerEventKind::Stopped {
            return;
        }
        match self.runs.get(&event.container_id) {
            Some((container, run)) => self.look_at_exit(container.clone(), run.clone()),
            None => self.early_exits.push(event.container_id),
        }
    }

    /// Asks the runtime how a run ended.
    fn look_at_exit(&self, container: Container, run: Run) {
        let (context, mailbox) = (self.context.clone(), self.mailbox.clone());
        self.context.tasks.spawn_until_drain("exit", async move {
            let end = exit_of(&context, &container, &run).await;
            let _ = mailbox.send(Message::Event(Event::Exited(run.id.clone(), end)));
        });
    }

    fn send_later(&self, name: &'static str, work: impl Future<Output = Event> + Send + 'static) {
        let mailbox = self.mailbox.clone();
        self.context.tasks.spawn_until_drain(name, async move {
            let _ = mailbox.send(Message::Event(work.await));
        });
    }

    fn perform(&mut self, effect: Effect) {
        let pod = self.state.read().pod.clone();
        match effect {
            Effect::CreateSandbox(attempt) => {
                let (context, stale) =
                    (self.context.clone(), std::mem::take(&mut self.leftovers.stale_sandboxes));
                self.send_later(
                    "sandbox",
                    async move { create_sandbox(&context, &pod, attempt, stale).await },
                );
            }
            Effect::MountVolumes => self.mount(pod),
            Effect::Start(name, attempt) => self.start(pod, &name, attempt),
            Effect::AbortStarts => self.abort.start(),
            Effect::Kill { container, id, grace, message, after } => {
                self.context.tell(&pod, false, "Killing", &message, Some(&container));
                self.kill(&pod, id, grace, after);
            }
            Effect::Probe(name, run) => self.probe(&name, run),
            Effect::Resize(steps) => {
                let sandbox = self.state.read().sandbox.clone();
                let Sandbox::Ready { id, .. } = sandbox else { return };
                let runtime = self.context.runtime.clone();
                self.send_later("resize", async move { carry_out(&runtime, &id, steps).await });
            }
            Effect::TearDown => self.tear_down(&pod),
            // performed by `run`, at the end
            Effect::Delete => {}
            Effect::Tell(warning, reason, message, container) => {
                self.context.tell(&pod, warning, &reason, &message, container.as_deref());
            }
        }
    }

    fn mount(&mut self, pod: Arc<Pod>) {
        let (context, holdings, mailbox) =
            (self.context.clone(), self.holdings.clone(), self.mailbox.clone());
        let looks = looks_for_root_ca(&self.state.read());
        self.send_later("volumes", async move {
            if looks && volume::finds_root_ca(&context, &pod, &holdings).await {
                let _ = mailbox.send(Message::Event(Event::RootCaFound));
            }
            match volume::set_up(&context, &pod, &holdings).await {
                Ok(()) => Event::VolumesReady,
                Err(why) => Event::VolumesFailed(why),
            }
        });
    }

    /// From the first time on that all volumes were set up, they are kept fresh, and what they take of the disk is looked
    /// at if there is a limit for it.
    fn keep_fresh(&mut self) {
        if self.fresh.is_some() {
            return;
        }
        let drain = self.context.tasks.drain().child();
        let (context, state) = (self.context.clone(), self.state.clone());
        let fresh = keep_fresh(context.clone(), state.clone(), self.holdings.clone(), drain.clone());
        self.context.tasks.spawn("fresh volumes", fresh);
        let limits = storage::limits(&self.state.read().pod);
        if let Some(limits) = limits {
            let (drain, mailbox) = (drain.clone(), self.mailbox.clone());
            self.context.tasks.spawn("disk limits", async move {
                tokio::select! {
                    () = drain.wait() => {}
                    eviction = storage::exceeded(context, state, limits) => {
                        let _ = mailbox.send(Message::Event(Event::Evicted(eviction)));
                    }
                }
            });
        }
        self.fresh = Some(drain);
    }

    /// Ends what [`Driver::keep_fresh`] began.
    fn let_volumes_be(&mut self) {
        if let Some(fresh) = self.fresh.take() {
            fresh.start();
        }
    }

    fn start(&mut self, pod: Arc<Pod>, name: &str, attempt: u32) {
        let state = self.state.read();
        let Some(slot) = state.slot(name) else { return };
        let Sandbox::Ready { id, ips } = &state.sandbox else { return };
        let target = slot.target.as_deref().and_then(|t| Some(state.slot(t)?.run()?.id.clone()));
        let host = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
        let ips =
            if host { self.context.view().host_ips } else { ips.iter().map(ToString::to_string).collect() };
        let start = Start {
            context: self.context.clone(),
            pod: pod.clone(),
            container: slot.spec.clone(),
            attempt,
            sandbox_id: id.clone(),
            ips,
            holdings: self.holdings.clone(),
            target,
            abort: self.abort.clone(),
        };
        drop(state);
        self.send_later("start container", start.run());
    }

    fn kill(&self, pod: &Arc<Pod>, id: String, grace: i64, after: Vec<String>) {
        let Some((container, run)) = self.runs.get(&id).cloned() else { return };
        let (context, pod, mailbox) = (self.context.clone(), pod.clone(), self.mailbox.clone());
        let ip = pod_ip(&self.state.read(), &self.context);
        let busy = self.busy.subscribe();
        self.context.tasks.spawn_until_drain("stop container", async move {
            let whole = Duration::from_secs(grace.unsigned_abs());
            let left = pre_stop(&context, &pod, &container, &id, &ip, whole).await;
            let left = wait_for_turn(busy, &after, left).await;
            // upstream leaves at least two seconds to end by itself
            let grace = if whole.is_zero() { whole } else { left.max(Duration::from_secs(2)) };
            if let Err(error) = context.runtime.stop_container(&id, grace).await {
                tracing::warn!(id, %error, "container not stopped");
            }
            let end = exit_of(&context, &container, &run).await;
            let _ = mailbox.send(Message::Event(Event::Exited(id, end)));
        });
    }

    fn probe(&mut self, name: &str, run: Run) {
        let Some(container) = self.state.read().slot(name).map(|slot| slot.spec.clone()) else { return };
        self.runs.insert(run.id.clone(), (container.clone(), run.clone()));
        if let Some(index) = self.early_exits.iter().position(|id| *id == run.id) {
            self.early_exits.swap_remove(index);
            self.look_at_exit(container, run);
            return;
        }
        let state = self.state.read();
        let drain = self.context.tasks.drain().child();
        self.probes.insert(run.id.clone(), drain.clone());
        let subject = probe::Subject {
            context: self.context.clone(),
            pod: state.pod.clone(),
            container,
            id: run.id.clone(),
            ip: pod_ip(&state, &self.context),
            started_at: run.started_at,
            started: run.started,
        };
        let mailbox = self.mailbox.clone();
        probe::spawn(subject, drain, move |event| {
            let _ = mailbox.send(Message::Event(event));
        });
    }

    fn tear_down(&mut self, pod: &Arc<Pod>) {
        self.let_volumes_be();
        let (context, holdings, pod) = (self.context.clone(), self.holdings.clone(), pod.clone());
        let mut sandboxes = self.leftovers.stale_sandboxes.clone();
        sandboxes.extend(self.leftovers.sandbox.clone());
        if let Sandbox::Ready { id, .. } = &self.state.read().sandbox {
            sandboxes.push(id.clone());
            self.leftovers.sandbox = Some(id.clone());
        }
        self.send_later("tear down", async move {
            for id in sandboxes {
                if let Err(error) = context.runtime.stop_pod_sandbox(&id).await {
                    tracing::warn!(id, %error, "sandbox not stopped");
                }
            }
            release_network(&context, &pod).await;
            volume::tear_down(context.dirs.pod(&pod), &holdings).await;
            Event::TornDown
        });
    }

    /// Removes every trace; the publisher removes the object meanwhile.
    async fn delete(&self) {
        let mut sandboxes = self.leftovers.stale_sandboxes.clone();
        sandboxes.extend(self.leftovers.sandbox.clone());
        for id in sandboxes {
            if let Err(error) = self.context.runtime.remove_pod_sandbox(&id).await {
                tracing::warn!(id, %error, "sandbox not removed");
            }
        }
        let dirs = self.context.dirs.pod(&self.state.read().pod);
        volume::remove_all(dirs).await;
    }
}

/// Sleeps until `wake`, or for ever.
async fn until(wake: Option<Timestamp>) {
    let Some(wake) = wake else { return std::future::pending().await };
    let pause =
        wake.duration_since(Timestamp::now()).clamp(SignedDuration::ZERO, SignedDuration::from_hours(1));
    tokio::time::sleep(Duration::try_from(pause).unwrap_or_default()).await;
}

fn pod_ip(state: &PodState, context: &Context) -> String {
    match &state.sandbox {
        Sandbox::Ready { ips, .. } if !ips.is_empty() => ips[0].to_string(),
        _ => context.host_ips.first().map(ToString::to_string).unwrap_or_default(),
    }
}

async fn exit_of(context: &Context, container: &Container, run: &Run) -> super::state::End {
    match context.runtime.container_status(&run.id).await {
        Ok(status) => end_of(&status, run, container),
        Err(error) => super::state::End {
            id: run.id.clone(),
            image: run.image.clone(),
            image_id: run.image_id.clone(),
            user: run.user.clone(),
            exit_code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: error.to_string(),
            started_at: Some(run.started_at),
            finished_at: Timestamp::now(),
        },
    }
}

/// Waits until none of those that end first is busy, within the grace period; returns what is left of it.
async fn wait_for_turn(
    mut busy: watch::Receiver<BTreeSet<String>>,
    after: &[String],
    grace: Duration,
) -> Duration {
    if after.is_empty() || grace.is_zero() {
        return grace;
    }
    let began = tokio::time::Instant::now();
    let turn = busy.wait_for(|busy| !after.iter().any(|name| busy.contains(name)));
    // over time, or the driver has ended: nobody is waited for any longer
    let _ = tokio::time::timeout(grace, turn).await;
    grace.saturating_sub(began.elapsed())
}

/// Runs the preStop hook within the grace period; returns what is left of it.
async fn pre_stop(
    context: &Context,
    pod: &Pod,
    container: &Container,
    id: &str,
    ip: &str,
    grace: Duration,
) -> Duration {
    if grace.is_zero() {
        return grace;
    }
    let Some(handler) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return grace };
    let began = tokio::time::Instant::now();
    if let Ok(Err(why)) = tokio::time::timeout(grace, hooks::run(context, container, id, ip, handler)).await {
        tracing::warn!(container = container.name, why, "preStop hook failed");
        context.tell(pod, true, "FailedPreStopHook", "PreStopHook failed", Some(&container.name));
    }
    grace.saturating_sub(began.elapsed())
}

async fn keep_fresh(
    context: Arc<Context>,
    state: Arc<RwLock<PodState>>,
    holdings: Arc<Holdings>,
    drain: Drain,
) {
    loop {
        tokio::select! {
            () = drain.wait() => return,
            () = volume::stale(&holdings) => {}
        }
        let pod = state.read().pod.clone();
        if let Err(why) = volume::set_up(&context, &pod, &holdings).await {
            context.tell(&pod, true, "FailedMount", &why, None);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_comes_with_the_end_of_others_or_of_the_time() {
        let busy = watch::Sender::new(BTreeSet::from(["c".to_owned(), "side".to_owned()]));
        let (after, grace) = (["c".to_owned()], Duration::from_secs(30));
        assert_eq!(wait_for_turn(busy.subscribe(), &[], grace).await, grace);
        assert!(wait_for_turn(busy.subscribe(), &after, Duration::from_nanos(1)).await.is_zero());
        let end = async { busy.send_replace(BTreeSet::from(["side".to_owned()])) };
        let (left, _) = tokio::join!(wait_for_turn(busy.subscribe(), &after, grace), end);
        assert!(left > Duration::ZERO);
    }
}
