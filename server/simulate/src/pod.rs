//! One simulated pod: what it is by now, as a function of its object, what it is told to do, and the time.
//!
//! ```text
//!  bound ── startSeconds ──► Running ── runSeconds ──► exit ──┬─ 0, not to be restarted ──► Succeeded
//!                               ▲                             ├─ other, never restarted ──► Failed
//!                               └── back-off: 0, 10, 20 … 300 s ◄┘
//!  deletionTimestamp ── stopSeconds ──► (Failed, if finalizers make somebody look) ──► deleted
//! ```
//!
//! The state is the pod's own status in the API, so that a daemon that starts anew goes on where the last one was.
//! All containers of a pod do the same at once. Conditions and texts are the kubelet's.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::behaviour::Conduct;

/// What to do about a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Nothing, until the pod changes.
    Rest,
    /// Look again then, or when the pod changes.
    Wait(Timestamp),
    /// Write this status, then look again.
    Write(Box<PodStatus>),
    /// Delete it, at once.
    Delete,
}

/// Where a pod is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub host_ip: Ipv4Addr,
    pub pod_ip: Ipv4Addr,
}

/// The containers, which are all in the same state.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Created,
    Running { since: Timestamp },
    Exited { code: i32, at: Timestamp },
}

/// Decides.
pub(crate) fn step(pod: &Pod, conduct: Conduct, place: Place, now: Timestamp) -> Act {
    let status = pod.status.clone().unwrap_or_default();
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let phase = phase(&status);
    let view = View { pod, conduct, place, now, status: &status };
    if let Some(deadline) = &pod.metadata.deletion_timestamp {
        return view.stopping(deadline.0, ended, &phase);
    }
    if ended || conduct.ignored {
        return Act::Rest;
    }
    let deadline = view.deadline();
    if deadline.is_some_and(|deadline| deadline <= now) {
        return view.write_failed(&phase);
    }
    let act = match phase {
        Phase::Created => view.starting(),
        Phase::Running { since } => view.running(since),
        Phase::Exited { code, at } => view.exited(code, at),
    };
    match (act, deadline) {
        (Act::Rest, Some(deadline)) => Act::Wait(deadline),
        (Act::Wait(at), Some(deadline)) => Act::Wait(at.min(deadline)),
        (act, _) => act,
    }
}

/// What a status says of the containers.
fn phase(status: &PodStatus) -> Phase {
    let state = status.container_statuses.iter().flatten().find_map(|one| {
        let state = one.state.as_ref()?;
        let last = one.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        if let Some(running) = &state.running {
            return Some(Phase::Running { since: running.started_at.as_ref()?.0 });
        }
        let exit = state.terminated.as_ref().or(last)?;
        Some(Phase::Exited { code: exit.exit_code, at: exit.finished_at.as_ref()?.0 })
    });
    state.unwrap_or(Phase::Created)
}

fn after(time: Timestamp, seconds: u32) -> Timestamp {
    time.saturating_add(Duration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// The kubelet's pause before a container is started again: none at first, then 10 seconds, doubled up to five minutes.
fn back_off(restarts: i32) -> u32 {
    match u32::try_from(restarts).unwrap_or(0) {
        0 => 0,
        restarts => 10_u32.saturating_mul(1 << (restarts - 1).min(5)).min(300),
    }
}

struct View<'a> {
    pod: &'a Pod,
    conduct: Conduct,
    place: Place,
    now: Timestamp,
    status: &'a PodStatus,
}

impl View<'_> {
    fn stopping(&self, deadline: Timestamp, ended: bool, phase: &Phase) -> Act {
        let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let asked = deadline.saturating_sub(Duration::from_secs(grace.max(0).unsigned_abs()));
        let stops = after(asked.unwrap_or(deadline), self.conduct.stop_seconds).min(deadline);
        let created = *phase == Phase::Created;
        if !ended && !created && stops > self.now {
            return Act::Wait(stops);
        }
        match (self.is_watched(), ended) {
            (true, false) => {
                // a kubelet's code for what it never saw run, and SIGTERM's
                let code = if created { 137 } else { 143 };
                self.write(Phase::Exited { code, at: self.now }, self.restarts(), "Failed")
            }
            // marked already: the API takes it away with the last finalizer, and answers another DELETE with nothing
            (true, true) if self.pod.metadata.deletion_grace_period_seconds == Some(0) => Act::Rest,
            _ => Act::Delete,
        }
    }

    /// Whether somebody wants to see how it ended before it goes.
    fn is_watched(&self) -> bool {
        self.pod.metadata.finalizers.iter().flatten().next().is_some()
    }

    fn starting(&self) -> Act {
        let conditions = self.status.conditions.iter().flatten();
        let scheduled = conditions.filter(|one| one.type_ == "PodScheduled" && one.status == "True");
        let since = scheduled.filter_map(|one| one.last_transition_time.as_ref()).map(|time| time.0).next();
        let created = self.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let starts = after(since.or(created).unwrap_or(self.now), self.conduct.start_seconds);
        if starts <= self.now {
            return self.write(Phase::Running { since: self.now }, 0, "Running");
        }
        match self.status.start_time {
            None => self.write(Phase::Created, 0, "Pending"),
            Some(_) => Act::Wait(starts),
        }
    }

    fn running(&self, since: Timestamp) -> Act {
        let Some(seconds) = self.conduct.run_seconds else { return self.kept_ready(since, Act::Rest) };
        let exits = after(since, seconds);
        if exits > self.now {
            return self.kept_ready(since, Act::Wait(exits));
        }
        let (code, restarts) = (self.conduct.exit_code, self.restarts());
        match (code, self.policy()) {
            (0, "Never" | "OnFailure") => {
                self.write(Phase::Exited { code, at: self.now }, restarts, "Succeeded")
            }
            (_, "Never") => self.write(Phase::Exited { code, at: self.now }, restarts, "Failed"),
            _ => self.write(Phase::Exited { code, at: self.now }, restarts, "Running"),
        }
    }

    /// A running pod whose readiness, or what else is asked for before it is ready, has changed.
    fn kept_ready(&self, since: Timestamp, otherwise: Act) -> Act {
        let fresh = self.conditions(&Phase::Running { since }, "Running");
        let ready = |conditions: &[PodCondition], kind: &str| {
            conditions.iter().find(|one| one.type_ == kind).map(|one| one.status.clone())
        };
        let old = self.status.conditions.as_deref().unwrap_or_default();
        let same = ["Ready", "ContainersReady"].iter().all(|kind| ready(&fresh, kind) == ready(old, kind));
        match same {
            true => otherwise,
            false => self.write(Phase::Running { since }, self.restarts(), "Running"),
        }
    }

    /// Containers that ended and are to be started again.
    fn exited(&self, code: i32, at: Timestamp) -> Act {
        let restarts = self.restarts();
        let starts = after(at, back_off(restarts));
        match starts <= self.now {
            true => self.write(Phase::Running { since: self.now }, restarts + 1, "Running"),
            false if self.is_waiting() => Act::Wait(starts),
            false => self.write(Phase::Exited { code, at }, restarts, "Waiting"),
        }
    }

    fn is_waiting(&self) -> bool {
        self.status
            .container_statuses
            .iter()
            .flatten()
            .any(|one| one.state.as_ref().is_some_and(|state| state.waiting.is_some()))
    }

    fn policy(&self) -> &str {
        self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }

    fn restarts(&self) -> i32 {
        self.status.container_statuses.iter().flatten().map(|one| one.restart_count).max().unwrap_or(0)
    }

    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let start = self.status.start_time.as_ref()?.0;
        Some(after(start, u32::try_from(seconds).unwrap_or(u32::MAX)))
    }

    fn write_failed(&self, phase: &Phase) -> Act {
        let exited = match phase {
            Phase::Exited { code, at } => Phase::Exited { code: *code, at: *at },
            _ => Phase::Exited { code: 143, at: self.now },
        };
        let Act::Write(mut status) = self.write(exited, self.restarts(), "Failed") else { return Act::Rest };
        status.reason = Some("DeadlineExceeded".to_owned());
        status.message = Some("Pod was active on the node longer than the specified deadline".to_owned());
        Act::Write(status)
    }

    /// The status with containers in `phase`; `word` is the pod's phase, or `Waiting` for Running in back-off.
    fn write(&self, phase: Phase, restarts: i32, word: &str) -> Act {
        let waits = word == "Waiting";
        let word = if waits { "Running" } else { word };
        let host = self.place.host_ip.to_string();
        let own_network = self.pod.spec.as_ref().is_none_or(|spec| spec.host_network != Some(true));
        let address = if own_network { self.place.pod_ip.to_string() } else { host.clone() };
        let started = phase != Phase::Created || !own_network;
        let address = started.then_some(address);
        let spec = self.pod.spec.clone().unwrap_or_default();
        let shown =
            |container: &Container, init: bool| self.container(container, init, &phase, restarts, waits);
        let main: Vec<_> = spec.containers.iter().map(|container| shown(container, false)).collect();
        let init: Vec<_> =
            spec.init_containers.iter().flatten().map(|container| shown(container, true)).collect();
        Act::Write(Box::new(PodStatus {
            phase: Some(word.to_owned()),
            conditions: Some(self.conditions(&phase, word)),
            host_ip: Some(host.clone()),
            host_ips: Some(vec![HostIP { ip: host }]),
            pod_ip: address.clone(),
            pod_ips: address.map(|ip| vec![PodIP { ip }]),
            start_time: Some(self.status.start_time.clone().unwrap_or(Time(self.now))),
            container_statuses: Some(main),
            init_container_statuses: Some(init).filter(|all| !all.is_empty()),
            observed_generation: self.pod.metadata.generation,
            ..PodStatus::default()
        }))
    }

    fn container(
        &self,
        container: &Container,
        init: bool,
        phase: &Phase,
        restarts: i32,
        waits: bool,
    ) -> ContainerStatus {
        let sidecar = init && container.restart_policy.as_deref() == Some("Always");
        let id = format!(
            "simulated://{}-{}-{restarts}",
            self.pod.metadata.uid.as_deref().unwrap_or_default(),
            container.name
        );
        let exit = |code: i32, at: Timestamp| ContainerStateTerminated {
            exit_code: code,
            reason: Some(if code == 0 { "Completed" } else { "Error" }.to_owned()),
            started_at: Some(Time(self.started(at))),
            finished_at: Some(Time(at)),
            container_id: Some(id.clone()),
            ..ContainerStateTerminated::default()
        };
        let ended = |exit| ContainerState { terminated: Some(exit), ..ContainerState::default() };
        let waiting = |reason: &str, message: Option<String>| ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
            ..ContainerState::default()
        };
        let once = init && !sidecar;
        let (state, ran) = match phase {
            Phase::Created if once || sidecar => (waiting("PodInitializing", None), false),
            Phase::Created if self.has_init() => (waiting("PodInitializing", None), false),
            Phase::Created => (waiting("ContainerCreating", None), false),
            Phase::Running { since } if once => (ended(exit(0, *since)), true),
            Phase::Exited { at, .. } if once => (ended(exit(0, self.started(*at))), true),
            Phase::Running { since } => {
                let running = ContainerStateRunning { started_at: Some(Time(*since)) };
                (ContainerState { running: Some(running), ..ContainerState::default() }, true)
            }
            Phase::Exited { .. } if waits => {
                let name = &container.name;
                let pod = &self.pod.metadata;
                let text = format!(
                    "back-off {} restarting failed container={name} pod={}_{}({})",
                    pause(back_off(restarts)),
                    pod.name.as_deref().unwrap_or_default(),
                    pod.namespace.as_deref().unwrap_or_default(),
                    pod.uid.as_deref().unwrap_or_default()
                );
                (waiting("CrashLoopBackOff", Some(text)), true)
            }
            Phase::Exited { code, at } => (ended(exit(*code, *at)), true),
        };
        let running = state.running.is_some();
        let last = if once { None } else { self.last(&container.name) };
        ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            image_id: String::new(),
            container_id: ran.then(|| id.clone()),
            ready: if once { ran } else { running && (init || self.conduct.ready) },
            started: Some(running && !once),
            restart_count: if once { 0 } else { restarts },
            state: Some(state),
            last_state: last,
            ..ContainerStatus::default()
        }
    }

    /// What a container's state was before it was started again.
    fn last(&self, name: &str) -> Option<ContainerState> {
        let all = self.status.container_statuses.iter().chain(&self.status.init_container_statuses);
        let old = all.flatten().find(|one| one.name == name)?;
        let state = old.state.clone().filter(|state| state.terminated.is_some());
        state.or_else(|| old.last_state.clone())
    }

    /// When the containers that end at `at` were started.
    fn started(&self, at: Timestamp) -> Timestamp {
        match phase(self.status) {
            Phase::Running { since } => since.min(at),
            _ => at,
        }
    }

    fn has_init(&self) -> bool {
        self.pod.spec.as_ref().is_some_and(|spec| spec.init_containers.iter().flatten().next().is_some())
    }

    fn conditions(&self, phase: &Phase, word: &str) -> Vec<PodCondition> {
        let (running, created) = (matches!(phase, Phase::Running { .. }), *phase == Phase::Created);
        let done = match word {
            "Succeeded" => Some("PodCompleted"),
            "Failed" => Some("PodFailed"),
            _ => None,
        };
        let names = |containers: &mut dyn Iterator<Item = &Container>| {
            containers.map(|container| container.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        let spec = self.pod.spec.clone().unwrap_or_default();
        let unready = || {
            let names = names(&mut spec.containers.iter());
            (
                false,
                Some("ContainersNotReady".to_owned()),
                Some(format!("containers with unready status: [{names}]")),
            )
        };
        let containers = match done {
            Some(reason) => (false, Some(reason.to_owned()), None),
            None if running && self.conduct.ready => (true, None, None),
            None => unready(),
        };
        let gate = spec.readiness_gates.iter().flatten().find(|gate| {
            let mut conditions = self.status.conditions.iter().flatten();
            !conditions.any(|one| one.type_ == gate.condition_type && one.status == "True")
        });
        let ready = match gate {
            Some(gate) if containers.0 => {
                let text = format!(
                    "corresponding condition of pod readiness gate \"{}\" does not exist.",
                    gate.condition_type
                );
                (false, Some("ReadinessGatesNotReady".to_owned()), Some(text))
            }
            _ => containers.clone(),
        };
        let initialized = match (created && self.has_init(), word) {
            (true, _) => {
                let names = names(&mut spec.init_containers.iter().flatten());
                let text = format!("containers with incomplete status: [{names}]");
                (false, Some("ContainersNotInitialized".to_owned()), Some(text))
            }
            (false, "Succeeded") => (true, Some("PodCompleted".to_owned()), None),
            (false, _) => (true, None, None),
        };
        [
            ("PodReadyToStartContainers", (!created && done.is_none(), None, None)),
            ("Initialized", initialized),
            ("Ready", ready),
            ("ContainersReady", containers),
            ("PodScheduled", (true, None, None)),
        ]
        .into_iter()
        .map(|(kind, verdict)| self.condition(kind, verdict))
        .collect()
    }

    fn condition(
        &self,
        kind: &str,
        (ok, reason, message): (bool, Option<String>, Option<String>),
    ) -> PodCondition {
        let status = if ok { "True" } else { "False" };
        let old = self.status.conditions.iter().flatten().find(|old| old.type_ == kind);
        let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message,
            last_probe_time: None,
            last_transition_time: Some(since.unwrap_or(Time(self.now))),
            observed_generation: self.pod.metadata.generation,
        }
    }
}

/// As Go writes durations.
fn pause(seconds: u32) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
