//! The pod machine: `step(state, event) → effects`, pure.
//!
//! ```text
//!               ┌────────────┐  deleted, removed, over its deadline,    ┌─────────────┐
//!   new ───────►│   Active   │  or every main container has ended       │ Terminating │
//!               │            ├─────────────────────────────────────────►│ main first, │
//!               │ volumes    │                                          │ sidecars in │
//!               │  → sandbox │                                          │ reverse     │
//!               │  → init…   │                                          └──────┬──────┘
//!               │  → main    │                                 nothing runs    │
//!               └────────────┘                                                 ▼
//!               ┌────────────┐  object deleted  ┌────────────┐  released ┌─────────────┐
//!       gone ◄──┤  Deleting  │◄─────────────────┤  Finished  │◄──────────┤ TearingDown │
//!               └────────────┘                  └────────────┘           └─────────────┘
//!
//!   container:  Idle → Starting → Running → Stopping → Exited → (back-off) → Starting …
//! ```
//!
//! An event is first absorbed (facts move), then [`decide`] looks at all facts and says what to do: as in
//! upstream's `computePodActions`, what is decided depends on what is, never on how it came about. That is
//! why a restarted daemon only has to fill in the facts it finds. The machine performs nothing and reads no
//! clock; the driver does both.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::admission;
use super::backoff::go_duration;
use super::eviction::{self, Eviction};
use super::resize::admit::Refusal;
use super::resize::plan::Step;
use super::resize::{Allocation, Work, step as resize};
use super::restart::{all_anew, restarts, wants_all_anew};
use super::state::{
    End, Kind, Life, Phase, PodState, Run, Sandbox, Slot, Volumes, Wait, full_name, terminal,
};
use crate::container::amounts::shared_limits;
use crate::container::qos;
use crate::volume::{at_once, shows_root_ca};

/// Something that happened to a pod.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object changed (or was seen for the first time).
    Spec(Arc<Pod>),
    /// The object is gone from the API.
    Removed,
    /// The time in `wake` has come.
    Tick,
    /// The sandbox is ready.
    SandboxReady {
        /// Its id.
        id: String,
        /// The pod's addresses.
        ips: Vec<IpAddr>,
    },
    /// The sandbox could not be made.
    SandboxFailed(String),
    /// The cluster's root certificate, which the volumes show, is there.
    RootCaFound,
    /// The volumes are usable.
    VolumesReady,
    /// A volume could not be set up.
    VolumesFailed(String),
    /// A container runs.
    Started(String, Run),
    /// A container could not be started.
    StartFailed(String, StartFailure),
    /// The container with this id has ended.
    Exited(String, End),
    /// A probe has a new result.
    Probe {
        /// Name of the container.
        container: String,
        /// Id of the run that was probed.
        id: String,
        /// What it says.
        verdict: Verdict,
    },
    /// The node has room for what the object asks for.
    Allocated(Arc<Allocation>),
    /// The node has no room for it.
    ResizeRefused(Refusal),
    /// Steps of a resize that are done, and why the rest is not.
    Resized(Vec<Step>, Option<String>),
    /// The kubelet ends the pod.
    Evicted(Eviction),
    /// Sandbox, network and volumes are released.
    TornDown,
}

/// What a probe found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The startup probe passed.
    Started,
    /// The readiness probe passes or fails.
    Ready(bool),
    /// The probe gave up on the container.
    Failed(ProbeKind, Option<i64>),
}

/// The three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// The image is not there. Reason as shown, such as `ErrImagePull`.
    Image(&'static str, String),
    /// `CreateContainerConfigError` or `CreateContainerError`.
    Create(&'static str, String),
    /// It was created but did not start, or its postStart hook failed: counts as a crash.
    Run(End),
    /// Called off because the pod ends.
    Aborted,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make the sandbox, for the n-th time.
    CreateSandbox(u32),
    /// Set up the volumes.
    MountVolumes,
    /// Pull, create and start a container, for the n-th time.
    Start(String, u32),
    /// Call off what is being started.
    AbortStarts,
    /// Stop a container.
    Kill {
        /// Name of the container.
        container: String,
        /// Its id.
        id: String,
        /// Seconds it has to end by itself.
        grace: i64,
        /// Text of the `Killing` event.
        message: String,
        /// Names of the containers that are to end first, within the grace period.
        after: Vec<String>,
    },
    /// Begin probing a run.
    Probe(String, Run),
    /// Change the limits of what runs.
    Resize(Vec<Step>),
    /// Release sandbox, network and volumes.
    TearDown,
    /// Remove the pod's records, then (unless it is gone) the object.
    Delete,
    /// Tell the user: (warning, reason, message, container).
    Tell(bool, Cow<'static, str>, String, Option<String>),
}

/// Pause between two attempts at a sandbox, a configuration that cannot be used yet, or a resize.
pub(super) const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// How long `ErrImagePull` shows before it becomes `ImagePullBackOff`.
const ERR_IMAGE_PULL_SHOWS: SignedDuration = SignedDuration::from_secs(2);
/// Upstream's `minimumGracePeriodInSeconds`.
const MINIMUM_GRACE_SECONDS: i64 = 2;

/// One step of the machine.
pub fn step(mut state: PodState, event: Event, now: Timestamp) -> (PodState, Vec<Effect>) {
    let mut effects = Vec::new();
    absorb(&mut state, event, now, &mut effects);
    decide(&mut state, now, &mut effects);
    (state, effects)
}

fn absorb(state: &mut PodState, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
    match event {
        Event::Spec(pod) => resize::take(state, pod),
        Event::Allocated(allocation) => resize::allocated(state, allocation, now, effects),
        Event::ResizeRefused(refusal) => resize::refused(state, &refusal, now, effects),
        Event::Resized(done, error) => resize::carried_out(state, done, error, now, effects),
        Event::Removed => state.removed = true,
        Event::Tick => {}
        Event::SandboxReady { id, ips } => state.sandbox = Sandbox::Ready { id, ips },
        Event::SandboxFailed(why) => {
            state.sandbox = Sandbox::Failed(now + RETRY);
            let text = format!("Failed to create pod sandbox: {why}");
            effects.push(Effect::Tell(true, "FailedCreatePodSandBox".into(), text, None));
        }
        Event::RootCaFound => state.root_ca_found = true,
        Event::VolumesReady => state.volumes = Volumes::Ready,
        Event::VolumesFailed(why) => absorb_volume_failure(state, why, now, effects),
        Event::Started(name, run) => {
            if let Some(slot) = state.slot_mut(&name) {
                slot.wait = None;
                slot.again = false;
                slot.reset = false;
                slot.replaced = None;
                slot.pulls.reset();
                effects.push(Effect::Probe(name, run.clone()));
                slot.phase = Phase::Running(run);
            }
        }
        Event::StartFailed(name, failure) => absorb_start_failure(state, &name, failure, now),
        Event::Exited(id, end) => {
            let slot = state.slots.iter_mut().find(|slot| slot.run().is_some_and(|run| run.id == id));
            if let Some(slot) = slot {
                let asked = std::mem::replace(&mut slot.phase, Phase::Exited(end));
                slot.replaced = match asked {
                    Phase::Stopping(run) => Some((run, slot.previous.clone())),
                    _ => None,
                };
            }
        }
        Event::Probe { container, id, verdict } => absorb_verdict(state, &container, &id, verdict, effects),
        Event::Evicted(eviction) => eviction::evict(state, eviction, effects),
        Event::TornDown => {
            state.sandbox = Sandbox::Absent;
            state.volumes = Volumes::Absent;
            state.life = Life::Finished;
        }
    }
}

fn absorb_volume_failure(state: &mut PodState, why: String, now: Timestamp, effects: &mut Vec<Effect>) {
    let times = if let Volumes::Failed(_, times) = state.volumes { times + 1 } else { 0 };
    // nestedpendingoperations' back-off: 500 ms doubling to about 2 min
    let pause = SignedDuration::from_millis(500 << times.min(8)).min(SignedDuration::from_secs(122));
    state.volumes = Volumes::Failed(now + pause, times);
    effects.push(Effect::Tell(true, "FailedMount".into(), why, None));
}

fn absorb_start_failure(state: &mut PodState, name: &str, failure: StartFailure, now: Timestamp) {
    let Some(slot) = state.slot_mut(name) else { return };
    let before = slot.previous.take();
    slot.replaced = None;
    // nothing ran: the container is again what it was before this attempt
    slot.phase = before.map_or(Phase::Idle, |end| {
        slot.attempt = slot.attempt.saturating_sub(1);
        Phase::Exited(end)
    });
    match failure {
        StartFailure::Aborted => {}
        StartFailure::Image(reason, message) => slot.wait = Some(image_wait(slot, reason, message, now)),
        StartFailure::Create(reason, message) => {
            slot.wait = Some(Wait { reason, message, until: now + RETRY, escalates: None });
        }
        StartFailure::Run(end) => {
            if let Phase::Exited(before) = std::mem::replace(&mut slot.phase, Phase::Idle) {
                slot.attempt += 1;
                slot.previous = Some(before);
            }
            slot.phase = Phase::Exited(end);
        }
    }
}

fn image_wait(slot: &mut Slot, reason: &'static str, message: String, now: Timestamp) -> Wait {
    if reason != "ErrImagePull" {
        return Wait { reason, message, until: now + RETRY, escalates: None };
    }
    slot.pulls.next(now, now);
    let delay = slot.pulls.delay(now).unwrap_or(RETRY);
    Wait { reason, message, until: now + delay, escalates: Some(now + ERR_IMAGE_PULL_SHOWS) }
}

fn absorb_verdict(state: &mut PodState, name: &str, id: &str, verdict: Verdict, effects: &mut Vec<Effect>) {
    let grace = spec_grace(&state.pod);
    let Some(slot) = state.slot_mut(name) else { return };
    let stops = matches!(slot.phase, Phase::Stopping(_));
    let (Phase::Running(run) | Phase::Stopping(run)) = &mut slot.phase else { return };
    if run.id != id {
        return;
    }
    match verdict {
        // of one that is stopped only the readiness is of interest
        Verdict::Started | Verdict::Failed(..) if stops => {}
        Verdict::Started => {
            run.started = true;
            run.ready |= slot.spec.readiness_probe.is_none();
        }
        Verdict::Ready(ready) => run.ready = ready,
        Verdict::Failed(kind, override_grace) => {
            let kind = if kind == ProbeKind::Startup { "startup" } else { "liveness" };
            let message = format!("Container {name} failed {kind} probe, will be restarted");
            kill(slot, override_grace.unwrap_or(grace), message, effects);
        }
    }
}

/// Asks a container that runs to stop.
pub(super) fn kill(slot: &mut Slot, grace: i64, message: String, effects: &mut Vec<Effect>) {
    kill_after(slot, grace, message, Vec::new(), effects);
}

fn kill_after(slot: &mut Slot, grace: i64, message: String, after: Vec<String>, effects: &mut Vec<Effect>) {
    if let Phase::Running(run) = &slot.phase {
        let run = run.clone();
        let container = slot.spec.name.clone();
        effects.push(Effect::Kill { container, id: run.id.clone(), grace, message, after });
        slot.phase = Phase::Stopping(run);
    }
}

/// `spec.terminationGracePeriodSeconds`.
pub(super) fn spec_grace(pod: &Pod) -> i64 {
    pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30)
}

/// Looks at all facts and says what to do now.
pub fn decide(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    state.wake = None;
    if state.life == Life::Active {
        end_if_due(state, now, effects);
    }
    match state.life {
        Life::Active => {
            go_on(state, now, effects);
            resize::settle(state, now, effects);
        }
        Life::Terminating { .. } => terminate(state, now, effects),
        Life::TearingDown => {
            // found so after a restart: ask for it again
            if state.frozen && state.volumes == Volumes::Absent {
                state.volumes = Volumes::Mounting;
                effects.push(Effect::TearDown);
            }
        }
        Life::Finished if state.removed || deleting(&state.pod) => {
            state.life = Life::Deleting;
            effects.push(Effect::Delete);
        }
        Life::Finished | Life::Deleting => {}
    }
}

fn deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Leaves `Active` if the pod has to end or has ended.
fn end_if_due(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    refuse_if_forbidden(state, effects);
    deadline_if_passed(state, now, effects);
    let over = terminal(&state.pod) || completed(state);
    if !(state.removed || deleting(&state.pod) || state.failure.is_some() || over) {
        return;
    }
    let grace = match state.pod.metadata.deletion_grace_period_seconds {
        Some(seconds) if deleting(&state.pod) => seconds,
        _ if state.removed => 1,
        _ => state.eviction.as_ref().and_then(|eviction| eviction.grace).unwrap_or(spec_grace(&state.pod)),
    };
    state.life = Life::Terminating { deadline: now + SignedDuration::from_secs(grace) };
    if state.slots.iter().any(|slot| slot.phase == Phase::Starting) {
        effects.push(Effect::AbortStarts);
    }
}

/// Upstream's `rejectPod`.
fn refuse_if_forbidden(state: &mut PodState, effects: &mut Vec<Effect>) {
    if state.failure.is_some() {
        return;
    }
    if let Some((reason, why)) = admission::refused(&state.pod).or_else(|| state.refused.clone()) {
        state.failure = Some((reason.clone().into_owned(), format!("Pod was rejected: {why}")));
        effects.push(Effect::Tell(true, reason, why, None));
    }
}

fn deadline_if_passed(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    let Some(seconds) = state.pod.spec.as_ref().and_then(|s| s.active_deadline_seconds) else { return };
    let deadline = state.start_time + SignedDuration::from_secs(seconds);
    if now < deadline {
        wake_at(state, deadline);
        return;
    }
    let message = "Pod was active on the node longer than the specified deadline".to_owned();
    effects.push(Effect::Tell(false, "DeadlineExceeded".into(), message.clone(), None));
    state.failure = Some(("DeadlineExceeded".to_owned(), message));
}

/// Every main container has ended for good, or an init container failed for good.
fn completed(state: &PodState) -> bool {
    if wants_all_anew(state) {
        return false;
    }
    let policy = state.restart_policy();
    let lost = |s: &Slot| s.kind == Kind::Init && s.end().is_some() && !s.succeeded() && !restarts(s, policy);
    let init_failed = !state.initialized && state.slots.iter().any(lost);
    let mut mains = state.slots.iter().filter(|slot| slot.kind == Kind::Main).peekable();
    init_failed
        || (mains.peek().is_some() && mains.all(|slot| slot.end().is_some() && !restarts(slot, policy)))
}

/// Steps again at this time, or sooner.
pub(super) fn wake_at(state: &mut PodState, at: Timestamp) {
    state.wake = Some(state.wake.map_or(at, |wake| wake.min(at)));
}

/// The active pod: volumes, sandbox, then containers. Upstream makes no sandbox before the volumes are there; the
/// two are side by side here for a pod whose volumes wait for nobody, which then shows its sandbox only after them.
fn go_on(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    match state.sandbox {
        Sandbox::Failed(until) if now < until => wake_at(state, until),
        Sandbox::Absent | Sandbox::Failed(_) if state.volumes == Volumes::Ready || wait_for_nobody(state) => {
            state.sandbox = Sandbox::Creating;
            state.resize.cgroup = Some(qos::pod_resources(&state.pod));
            effects.push(Effect::CreateSandbox(state.sandbox_attempt));
        }
        Sandbox::Absent | Sandbox::Failed(_) | Sandbox::Creating | Sandbox::Ready { .. } => {}
    }
    match state.volumes {
        Volumes::Failed(until, _) if now < until => wake_at(state, until),
        Volumes::Absent => {
            state.volumes = Volumes::Mounting;
            effects.push(Effect::MountVolumes);
        }
        // the count stays in place until the next result arrives
        Volumes::Failed(_, times) => {
            state.volumes = Volumes::Failed(Timestamp::MAX, times);
            effects.push(Effect::MountVolumes);
        }
        Volumes::Mounting | Volumes::Ready => {}
    }
    if matches!(state.sandbox, Sandbox::Ready { .. }) && state.volumes == Volumes::Ready {
        run_containers(state, now, effects);
    }
}

/// Whether the volumes will be there without anybody else's doing.
fn wait_for_nobody(state: &PodState) -> bool {
    at_once(&state.pod) && (state.root_ca_found || !shows_root_ca(&state.pod))
}

/// Whether the sandbox waits for nothing but to hear of the root certificate.
pub fn looks_for_root_ca(state: &PodState) -> bool {
    at_once(&state.pod) && !wait_for_nobody(state)
}

fn run_containers(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    if all_anew(state, now, effects) {
        return;
    }
    restart_changed(state, effects);
    resize::advance(state, now, effects);
    if state.resize.work == Work::Busy {
        // what starts now may need more than the pod's cgroup has yet
        return;
    }
    let policy = state.restart_policy().to_owned();
    let pod = state.pod.clone();
    for index in 0..state.slots.len() {
        let slot = &mut state.slots[index];
        match slot.kind {
            Kind::Init | Kind::Sidecar if !state.initialized => {
                let wake = try_start(slot, &policy, &pod, now, effects);
                let passed = passed(slot);
                if let Some(at) = wake {
                    wake_at(state, at);
                }
                if !passed {
                    return;
                }
            }
            Kind::Init => {}
            Kind::Sidecar | Kind::Main | Kind::Ephemeral => {
                if slot.kind == Kind::Main {
                    state.initialized = true;
                }
                let wake = try_start(&mut state.slots[index], &policy, &pod, now, effects);
                if let Some(at) = wake {
                    wake_at(state, at);
                }
            }
        }
    }
}

/// An init container lets the next one start: it succeeded, or it is a sidecar that has started.
fn passed(slot: &Slot) -> bool {
    match slot.kind {
        Kind::Sidecar => slot.run().is_some_and(|run| run.started),
        _ => slot.succeeded(),
    }
}

/// A container whose image was changed in the spec is stopped, and started again by its policy.
fn restart_changed(state: &mut PodState, effects: &mut Vec<Effect>) {
    let grace = spec_grace(&state.pod);
    for slot in &mut state.slots {
        let changed =
            slot.run().is_some_and(|run| slot.spec.image.as_deref().is_some_and(|i| i != run.wanted));
        if changed {
            let message = format!("Container {} definition changed, will be restarted", slot.spec.name);
            kill(slot, grace, message, effects);
        }
    }
}

/// Starts a container if it is its turn; otherwise says when to look again.
fn try_start(
    slot: &mut Slot,
    policy: &str,
    pod: &Pod,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) -> Option<Timestamp> {
    if !slot.at_rest() || (slot.end().is_some() && !restarts(slot, policy)) {
        return None;
    }
    if let Some(at) = still_waiting(slot, now, effects) {
        return Some(at);
    }
    if let Some(at) = back_off(slot, &full_name(pod), now, effects) {
        return Some(at);
    }
    slot.wait = None;
    if let Phase::Exited(end) = std::mem::replace(&mut slot.phase, Phase::Starting) {
        slot.previous = Some(end);
        slot.attempt += 1;
    }
    slot.actuated = slot.spec.resources.clone().unwrap_or_default();
    slot.shared = shared_limits(pod, &slot.actuated);
    effects.push(Effect::Start(slot.spec.name.clone(), slot.attempt));
    None
}

/// The wait in force, if any; a fresh `ErrImagePull` turns into `ImagePullBackOff` in between.
fn still_waiting(slot: &mut Slot, now: Timestamp, effects: &mut Vec<Effect>) -> Option<Timestamp> {
    let wait = slot.wait.as_mut().filter(|wait| now < wait.until)?;
    match wait.escalates {
        Some(at) if now < at => return Some(at),
        Some(_) => {
            let text = format!("Back-off pulling image {:?}", slot.spec.image.as_deref().unwrap_or_default());
            let container = slot.spec.name.clone();
            effects.push(Effect::Tell(false, "BackOff".into(), text.clone(), Some(container.clone())));
            effects.push(Effect::Tell(
                true,
                "Failed".into(),
                "Error: ImagePullBackOff".to_owned(),
                Some(container),
            ));
            wait.reason = "ImagePullBackOff";
            wait.message = format!("{text}: ErrImagePull: {}", wait.message);
            wait.escalates = None;
        }
        None => {}
    }
    Some(wait.until)
}

/// Upstream's `doBackOff`: the first restart is immediate, later ones wait longer and longer after the exit.
fn back_off(slot: &mut Slot, pod: &str, now: Timestamp, effects: &mut Vec<Effect>) -> Option<Timestamp> {
    let finished = slot.end()?.finished_at;
    let name = slot.spec.name.clone();
    if let Some(delay) = slot.crashes.delay(finished)
        && now < finished + delay
    {
        if slot.wait.as_ref().is_none_or(|wait| wait.reason != "CrashLoopBackOff") {
            let text = format!("Back-off restarting failed container {name} in pod {pod}");
            effects.push(Effect::Tell(true, "BackOff".into(), text, Some(name.clone())));
        }
        let delay_text = go_duration(delay);
        let message = format!("back-off {delay_text} restarting failed container={name} pod={pod}");
        let until = finished + delay;
        slot.wait = Some(Wait { reason: "CrashLoopBackOff", message, until, escalates: None });
        return Some(until);
    }
    slot.crashes.next(finished, now);
    None
}

/// Containers that a sidecar of an ending pod lets end before itself: the main ones and the sidecars after it
/// (upstream's `newTerminationOrdering`). Nobody waits for ephemeral ones.
fn ahead_of(slots: &[Slot], index: usize) -> Vec<String> {
    if slots[index].kind != Kind::Sidecar {
        return Vec::new();
    }
    let later = slots.iter().skip(index + 1).filter(|slot| matches!(slot.kind, Kind::Main | Kind::Sidecar));
    later.filter(|slot| !slot.at_rest()).map(|slot| slot.spec.name.clone()).collect()
}

/// The ending pod: all are told at once; main containers end first, then sidecars from the last to the first.
fn terminate(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    let Life::Terminating { deadline } = state.life else { return };
    let deadline = shorten(state, deadline, now, effects);
    let grace = deadline.duration_since(now).as_secs().max(MINIMUM_GRACE_SECONDS);
    for index in 0..state.slots.len() {
        let after = ahead_of(&state.slots, index);
        let slot = &mut state.slots[index];
        let message = format!("Stopping container {}", slot.spec.name);
        kill_after(slot, grace, message, after, effects);
    }
    if state.slots.iter().any(|slot| !slot.at_rest()) {
        return;
    }
    if state.sandbox == Sandbox::Creating || mounting(state.volumes) {
        return;
    }
    state.life = Life::TearingDown;
    effects.push(Effect::TearDown);
}

/// Whether they are being set up, for the first time or again.
fn mounting(volumes: Volumes) -> bool {
    volumes == Volumes::Mounting || matches!(volumes, Volumes::Failed(until, _) if until == Timestamp::MAX)
}

/// A second delete with a shorter grace period moves the deadline forward.
fn shorten(
    state: &mut PodState,
    deadline: Timestamp,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) -> Timestamp {
    let seconds = if state.removed { Some(1) } else { state.pod.metadata.deletion_grace_period_seconds };
    let Some(sooner) = seconds.map(|s| now + SignedDuration::from_secs(s)).filter(|at| *at < deadline) else {
        return deadline;
    };
    // a grace period is counted from its own deletion; only a truly shorter one is news
    if deadline.duration_since(sooner) > SignedDuration::from_secs(1) {
        state.life = Life::Terminating { deadline: sooner };
        for (index, slot) in state.slots.iter().enumerate() {
            if let Phase::Stopping(run) = &slot.phase {
                let grace = sooner.duration_since(now).as_secs().max(MINIMUM_GRACE_SECONDS);
                let (container, id) = (slot.spec.name.clone(), run.id.clone());
                let message = format!("Stopping container {container}");
                let after = ahead_of(&state.slots, index);
                effects.push(Effect::Kill { container, id, grace, message, after });
            }
        }
        return sooner;
    }
    deadline
}
