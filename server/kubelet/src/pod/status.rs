//! The pod's status, drawn from the machine's state. Pure.
//!
//! Ported from upstream's `pkg/kubelet/kubelet_pods.go` (`generateAPIPodStatus`, `getPhase`,
//! `convertToAPIContainerStatuses`) and `pkg/kubelet/status/generate.go` (conditions).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, HostIP, LinuxContainerUser, PodCondition, PodIP, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use sampan_cri::User;

use super::admission::is_refusal;
use super::resize::report;
use super::restart::{self, restarts};
use super::state::{End, Kind, Life, Phase, PodState, Run, Sandbox, Slot};
use crate::container::amounts::{Side, totals};
use crate::container::qos;

/// What a status needs to know of the node.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// `status.hostIPs`.
    pub host_ips: Vec<String>,
    /// Scheme of container ids, such as `sampan`.
    pub runtime: String,
}

/// The status to publish. `before` is the status last published; times of transition are kept from it.
pub fn pod_status(
    state: &PodState,
    node: &NodeView,
    before: Option<&PodStatus>,
    now: Timestamp,
) -> PodStatus {
    let phase = phase(state);
    let refused = state.failure.as_ref().is_some_and(|(reason, _)| is_refusal(reason));
    if refused && state.slots.iter().all(Slot::at_rest) {
        return rejected(state);
    }
    let list = |kinds: &[Kind]| -> Vec<ContainerStatus> {
        state
            .slots
            .iter()
            // of a pod that is refused there are none, nor were there ever
            .filter(|s| kinds.contains(&s.kind) && !(refused && s.at_rest()))
            .map(|s| container_status(state, s, node))
            .collect()
    };
    let init = list(&[Kind::Init, Kind::Sidecar]);
    let main = list(&[Kind::Main]);
    let ephemeral = list(&[Kind::Ephemeral]);
    let ips = pod_ips(state, node, before);
    let conditions = conditions(state, phase, &init, &main, before, now);
    let some = |list: Vec<ContainerStatus>| Some(list).filter(|list| !list.is_empty());
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        host_ip: node.host_ips.first().cloned(),
        host_ips: Some(node.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>())
            .filter(|ips| !ips.is_empty()),
        start_time: Some(Time(state.start_time)),
        init_container_statuses: some(init),
        container_statuses: some(main),
        ephemeral_container_statuses: some(ephemeral),
        qos_class: Some(qos::class(&state.pod).name().to_owned()),
        reason: state.failure.as_ref().map(|(reason, _)| reason.clone()),
        message: state.failure.as_ref().map(|(_, message)| message.clone()),
        observed_generation: state.observed_generation(),
        allocated_resources: some_of(totals(&state.pod, Side::Requests)),
        resources: Some(given(state, before)),
        ..PodStatus::default()
    }
}

/// Of a pod that was refused before anything of it was: upstream's `rejectPod`.
fn rejected(state: &PodState) -> PodStatus {
    let (reason, message) = state.failure.clone().unzip();
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason,
        message,
        start_time: Some(Time(state.start_time)),
        qos_class: Some(qos::class(&state.pod).name().to_owned()),
        observed_generation: state.observed_generation(),
        ..PodStatus::default()
    }
}

/// What the pod as a whole has: while a resize is under way what it had before.
fn given(state: &PodState, before: Option<&PodStatus>) -> ResourceRequirements {
    let had = before.and_then(|before| before.resources.as_ref());
    let resizing = had.filter(|_| state.resize.progress.is_some()).cloned();
    resizing.unwrap_or_else(|| ResourceRequirements {
        requests: some_of(totals(&state.pod, Side::Requests)),
        limits: some_of(totals(&state.pod, Side::Limits)),
        ..ResourceRequirements::default()
    })
}

fn some_of(amounts: BTreeMap<String, Quantity>) -> Option<BTreeMap<String, Quantity>> {
    Some(amounts).filter(|amounts| !amounts.is_empty())
}

fn pod_ips(state: &PodState, node: &NodeView, before: Option<&PodStatus>) -> Vec<String> {
    if host_network(state) {
        return node.host_ips.clone();
    }
    match &state.sandbox {
        Sandbox::Ready { ips, .. } if state.usable() => ips.iter().map(ToString::to_string).collect(),
        // an ended pod keeps showing the addresses it had
        _ if state.life != Life::Active => {
            before.and_then(|b| b.pod_ips.as_ref()).into_iter().flatten().map(|p| p.ip.clone()).collect()
        }
        _ => Vec::new(),
    }
}

fn host_network(state: &PodState) -> bool {
    state.pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

/// Upstream's `getPhase`.
pub fn phase(state: &PodState) -> &'static str {
    let over = matches!(state.life, Life::TearingDown | Life::Finished | Life::Deleting);
    if state.failure.is_some() && over {
        return "Failed";
    }
    let policy = state.restart_policy();
    let mains = || state.slots.iter().filter(|slot| slot.kind == Kind::Main);
    let all_succeeded = mains().all(Slot::succeeded);
    if over {
        return if all_succeeded { "Succeeded" } else { "Failed" };
    }
    let pending_init = state.slots.iter().any(|s| {
        let begins = s.kind == Kind::Init && !s.succeeded() || s.kind == Kind::Sidecar && !sidecar_started(s);
        begins && !between_lives(s)
    });
    if pending_init && !state.initialized {
        return "Pending";
    }
    if mains().any(|slot| matches!(slot.phase, Phase::Idle | Phase::Starting) && slot.previous.is_none()) {
        return "Pending";
    }
    let ended = mains().all(|slot| slot.end().is_some() && !restarts(slot, policy));
    let sidecars_run = state.slots.iter().any(|slot| slot.kind == Kind::Sidecar && slot.run().is_some());
    match (ended && !sidecars_run, all_succeeded) {
        (true, true) => "Succeeded",
        (true, false) => "Failed",
        (false, _) => "Running",
    }
}

/// It was thrown away with all others, and does not run yet.
fn between_lives(slot: &Slot) -> bool {
    slot.reset && matches!(slot.phase, Phase::Idle | Phase::Starting)
}

fn sidecar_started(slot: &Slot) -> bool {
    slot.run().is_some_and(|run| run.started)
}

fn container_status(state: &PodState, slot: &Slot, node: &NodeView) -> ContainerStatus {
    let present = match &slot.phase {
        Phase::Idle | Phase::Starting => None,
        Phase::Running(run) | Phase::Stopping(run) => Some((&run.id, &run.image, &run.image_id, &run.user)),
        Phase::Exited(end) => Some((&end.id, &end.image, &end.image_id, &end.user)),
    };
    let previous = slot.previous.as_ref();
    let shown = present.or(previous.map(|end| (&end.id, &end.image, &end.image_id, &end.user)));
    let run = slot.shown();
    let (current, last) = states(state, slot, node);
    let (current, last) = if lost(state, slot, &current) { (unknown_end(), last) } else { (current, last) };
    let ready = match slot.kind {
        Kind::Init => slot.succeeded(),
        Kind::Ephemeral => false,
        // until it has ended, whatever it was told: who is being terminated may still answer
        Kind::Main | Kind::Sidecar => run.is_some_and(|run| run.ready && run.started),
    };
    ContainerStatus {
        name: slot.spec.name.clone(),
        image: shown.map(|s| s.1.clone()).unwrap_or_else(|| slot.spec.image.clone().unwrap_or_default()),
        image_id: shown.map(|s| s.2.clone()).unwrap_or_default(),
        container_id: shown.filter(|s| !s.0.is_empty()).map(|s| format!("{}://{}", node.runtime, s.0)),
        ready,
        started: Some(run.is_some_and(|run| run.started)),
        restart_count: restart_count(slot),
        state: Some(current),
        last_state: last,
        resources: shown.map(|_| slot.actuated.clone()),
        user: shown.and_then(|shown| shown.3.as_ref()).map(user),
        allocated_resources: shown.and(slot.spec.resources.as_ref()).and_then(|all| all.requests.clone()),
        ..ContainerStatus::default()
    }
}

fn user(user: &User) -> ContainerUser {
    let groups = user.groups.iter().map(|gid| i64::from(*gid)).collect();
    let linux =
        LinuxContainerUser { uid: user.uid.into(), gid: user.gid.into(), supplemental_groups: Some(groups) };
    ContainerUser { linux: Some(linux) }
}

/// The count moves when the new run shows, not when it is being prepared.
fn restart_count(slot: &Slot) -> i32 {
    let pending = slot.phase == Phase::Starting && slot.previous.is_some() && !slot.reset;
    i32::try_from(slot.attempt.saturating_sub(u32::from(pending))).unwrap_or(i32::MAX)
}

fn states(state: &PodState, slot: &Slot, node: &NodeView) -> (ContainerState, Option<ContainerState>) {
    let ended = |end: &End| terminated(end, node);
    let previous = || slot.previous.as_ref().map(ended);
    if let Some(wait) = &slot.wait {
        let last = slot.end().or(slot.previous.as_ref()).map(ended);
        return (waiting(wait.reason, Some(wait.message.clone())), last);
    }
    if between_lives(slot) {
        return (waiting(restart::REASON, Some(restart::MESSAGE.to_owned())), previous());
    }
    if let Some((run, before)) = slot.between() {
        return (running(run), before.as_ref().map(ended));
    }
    match &slot.phase {
        Phase::Running(run) | Phase::Stopping(run) => (running(run), previous()),
        Phase::Exited(end) => (ended(end), previous()),
        Phase::Starting if slot.previous.is_some() => (previous().unwrap_or_default(), None),
        Phase::Idle | Phase::Starting => {
            let has_init = state.slots.iter().any(|s| matches!(s.kind, Kind::Init | Kind::Sidecar));
            let held_up = has_init && !state.initialized;
            (waiting(if held_up { "PodInitializing" } else { "ContainerCreating" }, None), None)
        }
    }
}

/// Upstream's `TerminatePod`: once a pod has been initialized and is over, every container has ended.
fn lost(state: &PodState, slot: &Slot, current: &ContainerState) -> bool {
    let over = matches!(state.life, Life::TearingDown | Life::Finished | Life::Deleting);
    let has_init = state.slots.iter().any(|s| matches!(s.kind, Kind::Init | Kind::Sidecar));
    over && current.terminated.is_none() && slot.kind == Kind::Main && (state.initialized || !has_init)
}

fn unknown_end() -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn running(run: &Run) -> ContainerState {
    let running = ContainerStateRunning { started_at: Some(Time(run.started_at)) };
    ContainerState { running: Some(running), ..ContainerState::default() }
}

fn terminated(end: &End, node: &NodeView) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: Some(format!("{}://{}", node.runtime, end.id)).filter(|_| !end.id.is_empty()),
        exit_code: end.exit_code,
        reason: Some(end.reason.clone()),
        message: Some(end.message.clone()).filter(|m| !m.is_empty()),
        started_at: end.started_at.map(Time),
        finished_at: Some(Time(end.finished_at)),
        signal: None,
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// Status, reason and message of one condition.
pub type Verdict = (bool, Option<String>, Option<String>);

fn conditions(
    state: &PodState,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    before: Option<&PodStatus>,
    now: Timestamp,
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(phase, init, main, state);
    let sandbox = matches!(state.sandbox, Sandbox::Ready { .. }) && state.usable();
    let all: [(&str, Verdict); 5] = [
        ("PodReadyToStartContainers", (sandbox, None, None)),
        ("Initialized", initialized(state, phase)),
        ("Ready", ready(state, &containers_ready)),
        ("ContainersReady", containers_ready),
        ("PodScheduled", (true, None, None)),
    ];
    let all = all.into_iter().chain(all_anew(state).map(|verdict| ("AllContainersRestarting", verdict)));
    let all = all.chain(state.eviction.as_ref().and_then(|e| Some(("DisruptionTarget", e.verdict()?))));
    let all = all.map(|(kind, verdict)| condition(state, kind, verdict, before, now));
    report::conditions(&state.resize).into_iter().chain(all).collect()
}

/// Of pods with a rule that starts all containers anew.
fn all_anew(state: &PodState) -> Option<Verdict> {
    state.pod.spec.as_ref().filter(|spec| restart::may_restart_all(spec))?;
    let said =
        ("RestartAllContainersStarted".to_owned(), "container exited with restart policy rule".to_owned());
    let said = Some(said).filter(|_| restart::wants_all_anew(state));
    let (reason, message) = said.unzip();
    Some((reason.is_some(), reason, message))
}

fn condition(
    state: &PodState,
    kind: &str,
    (ok, reason, message): Verdict,
    before: Option<&PodStatus>,
    now: Timestamp,
) -> PodCondition {
    let status = if ok { "True" } else { "False" };
    let old = before.and_then(|b| b.conditions.as_ref()?.iter().find(|c| c.type_ == kind));
    let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: Some(since.unwrap_or(Time(now))),
        last_probe_time: None,
        observed_generation: state.observed_generation(),
    }
}

fn completed_reason(phase: &str) -> Option<String> {
    match phase {
        "Succeeded" => Some("PodCompleted".to_owned()),
        "Failed" => Some("PodFailed".to_owned()),
        _ => None,
    }
}

fn initialized(state: &PodState, phase: &str) -> Verdict {
    if state.initialized || phase == "Succeeded" {
        return (true, completed_reason(phase).filter(|_| phase == "Succeeded"), None);
    }
    let open: Vec<&str> = state
        .slots
        .iter()
        .filter(|s| {
            (s.kind == Kind::Init && !s.succeeded()) || (s.kind == Kind::Sidecar && !sidecar_started(s))
        })
        .map(|s| s.spec.name.as_str())
        .collect();
    if open.is_empty() {
        return (true, None, None);
    }
    let message = format!("containers with incomplete status: [{}]", open.join(" "));
    (false, Some("ContainersNotInitialized".to_owned()), Some(message))
}

fn containers_ready(
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    state: &PodState,
) -> Verdict {
    if let Some(reason) = completed_reason(phase) {
        return (false, Some(reason), None);
    }
    let sidecar = |name: &str| state.slot(name).is_some_and(|slot| slot.kind == Kind::Sidecar);
    let unready: Vec<&str> = init
        .iter()
        .filter(|c| sidecar(&c.name))
        .chain(main)
        .filter(|c| !c.ready)
        .map(|c| c.name.as_str())
        .collect();
    if unready.is_empty() {
        return (true, None, None);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    (false, Some("ContainersNotReady".to_owned()), Some(message))
}

fn ready(state: &PodState, containers: &Verdict) -> Verdict {
    if !containers.0 {
        return containers.clone();
    }
    let gates = state.pod.spec.as_ref().and_then(|s| s.readiness_gates.as_ref());
    let given = state.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let complaints: Vec<String> = gates
        .into_iter()
        .flatten()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match given.and_then(|list| list.iter().find(|c| &c.type_ == kind)) {
                None => {
                    Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist."))
                }
                Some(c) if c.status != "True" => Some(format!(
                    "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                    c.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if complaints.is_empty() {
        return (true, None, None);
    }
    (false, Some("ReadinessGatesNotReady".to_owned()), Some(complaints.join(", ")))
}
