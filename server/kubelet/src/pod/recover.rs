//! What an earlier process left running: from the runtime's lists to the machine's state. Pure.
//!
//! Nothing is restarted and no restart count moves because the daemon was away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus as ApiStatus, Pod};
use sampan_cri::{ContainerState, ContainerStatus, SandboxState, SandboxStatus};

use super::driver::Leftovers;
use super::resize::Allocation;
use super::resize::checkpoint::Checkpoint;
use super::sandbox::ANNOTATION_IPS;
use super::start::end_of;
use super::state::{End, Kind, Life, Phase, PodState, Run, Sandbox, Slot};
use crate::container::amounts::shared_limits;
use crate::container::config::ANNOTATION_IMAGE;
use crate::container::qos;

/// Everything the runtime has, by pod uid.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Sandboxes, oldest first.
    pub sandboxes: Vec<SandboxStatus>,
    /// Containers, oldest first.
    pub containers: Vec<ContainerStatus>,
}

/// Sorts the runtime's lists by pod.
pub fn by_pod(sandboxes: Vec<SandboxStatus>, containers: Vec<ContainerStatus>) -> HashMap<String, Found> {
    let mut found: HashMap<String, Found> = HashMap::new();
    for sandbox in sandboxes {
        found.entry(sandbox.pod.uid.clone()).or_default().sandboxes.push(sandbox);
    }
    for container in containers {
        found.entry(container.pod.uid.clone()).or_default().containers.push(container);
    }
    for one in found.values_mut() {
        one.sandboxes.sort_by_key(|s| (s.attempt, s.created_at));
        one.containers.sort_by_key(|c| (c.attempt, c.created_at));
    }
    found
}

/// The state of a pod of which the runtime has `found`; without a checkpoint it has what its object says.
pub fn recover(
    pod: Arc<Pod>,
    found: &Found,
    checkpoint: Option<Checkpoint>,
    now: Timestamp,
) -> (PodState, Leftovers) {
    let checkpoint = checkpoint
        .unwrap_or_else(|| Checkpoint { allocation: Allocation::of(&pod), ..Checkpoint::default() });
    let mut state = PodState::with(pod.clone(), Arc::new(checkpoint.allocation), now);
    for slot in &mut state.slots {
        let noted = checkpoint.actuated.get(&slot.spec.name).or(slot.spec.resources.as_ref());
        slot.actuated = noted.cloned().unwrap_or_default();
        let shared = checkpoint.shared.get(&slot.spec.name).cloned();
        slot.shared = shared.unwrap_or_else(|| shared_limits(&state.pod, &slot.actuated));
    }
    let mut leftovers = Leftovers::default();
    for sandbox in &found.sandboxes {
        state.sandbox_attempt = state.sandbox_attempt.max(sandbox.attempt + 1);
        match sandbox.state {
            SandboxState::Ready => {
                leftovers.sandbox = Some(sandbox.id.clone());
                state.sandbox = Sandbox::Ready { id: sandbox.id.clone(), ips: ips_of(sandbox, &pod) };
            }
            SandboxState::NotReady => leftovers.stale_sandboxes.push(sandbox.id.clone()),
        }
    }
    let reports = reports(&pod);
    for slot in &mut state.slots {
        let name = slot.spec.name.clone();
        recover_slot(slot, &found.containers, reports.get(name.as_str()).copied(), now);
        let dead =
            found.containers.iter().filter(|c| c.name == name && !matches!(c.state, ContainerState::Running));
        let dead = dead.map(|c| (c.id.clone(), c.attempt)).collect();
        leftovers.dead.insert(name, dead);
    }
    let usable = matches!(state.sandbox, Sandbox::Ready { .. });
    if !usable && state.life == Life::Active {
        // a new sandbox runs its init containers again
        for slot in state.slots.iter_mut().filter(|slot| slot.kind == Kind::Init) {
            if let Phase::Exited(end) = std::mem::replace(&mut slot.phase, Phase::Idle) {
                slot.attempt += 1;
                slot.previous = Some(end);
            }
        }
    }
    if usable {
        state.resize.cgroup = checkpoint.cgroup.or_else(|| Some(qos::pod_resources(&state.pod)));
    }
    let main_ran = state.slots.iter().any(|slot| slot.kind == Kind::Main && slot.phase != Phase::Idle);
    state.initialized = usable && main_ran;
    (state, leftovers)
}

fn reports(pod: &Pod) -> BTreeMap<&str, &ApiStatus> {
    let status = pod.status.as_ref();
    let lists =
        status.map(|s| [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses]);
    lists.into_iter().flatten().flat_map(|list| list.iter().flatten()).map(|s| (s.name.as_str(), s)).collect()
}

fn ips_of(sandbox: &SandboxStatus, pod: &Pod) -> Vec<std::net::IpAddr> {
    let noted: Vec<_> = sandbox
        .annotations
        .get(ANNOTATION_IPS)
        .into_iter()
        .flat_map(|t| t.split(','))
        .filter_map(|ip| ip.parse().ok())
        .collect();
    if !noted.is_empty() {
        return noted;
    }
    let ips = pod.status.as_ref().and_then(|s| s.pod_ips.as_ref());
    ips.into_iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect()
}

fn recover_slot(slot: &mut Slot, containers: &[ContainerStatus], report: Option<&ApiStatus>, now: Timestamp) {
    let mut own = containers.iter().filter(|c| c.name == slot.spec.name).rev();
    let Some(newest) = own.next() else {
        if let Some(report) = report {
            from_report(slot, report, now);
        }
        return;
    };
    slot.attempt = newest.attempt;
    let run = run_of(newest, report, slot, now);
    let ended = |status, run: &Run| as_published(end_of(status, run, &slot.spec), report);
    let previous = own.next().map(|before| ended(before, &run_of(before, None, slot, now)));
    let phase = match &newest.state {
        ContainerState::Running => Phase::Running(run),
        // created but never started: begin again in its place
        ContainerState::Created => Phase::Idle,
        ContainerState::Exited(_) | ContainerState::Unknown => Phase::Exited(ended(newest, &run)),
    };
    (slot.phase, slot.previous) = (phase, previous);
}

/// What was said of an end stays so: the runtime's record does not know that a container never started.
fn as_published(end: End, report: Option<&ApiStatus>) -> End {
    let states = report.into_iter().flat_map(|r| [&r.state, &r.last_state]).flatten();
    let mut ends = states.filter_map(|state| state.terminated.as_ref());
    let said =
        ends.find(|t| t.container_id.as_deref().and_then(|id| id.split("://").nth(1)) == Some(&end.id));
    match said {
        Some(said) => End {
            exit_code: said.exit_code,
            reason: said.reason.clone().unwrap_or(end.reason),
            message: said.message.clone().unwrap_or(end.message),
            ..end
        },
        None => end,
    }
}

fn run_of(status: &ContainerStatus, report: Option<&ApiStatus>, slot: &Slot, now: Timestamp) -> Run {
    let wanted = status.annotations.get(ANNOTATION_IMAGE).cloned().unwrap_or_default();
    // the API remembers what this very run was last seen to be
    let report = report.filter(|r| r.container_id.as_deref().is_some_and(|id| id.ends_with(&status.id)));
    let started = report.and_then(|r| r.started).unwrap_or(slot.spec.startup_probe.is_none());
    Run {
        id: status.id.clone(),
        image: report.map_or_else(|| wanted.clone(), |r| r.image.clone()),
        image_id: report.map_or_else(|| status.image.clone(), |r| r.image_id.clone()),
        user: status.user.clone(),
        wanted,
        started_at: status.started_at.unwrap_or(now),
        started,
        ready: report.map_or(started && slot.spec.readiness_probe.is_none(), |r| r.ready),
    }
}

/// The runtime has lost the container; the API still knows how often it ran and perhaps how it ended.
fn from_report(slot: &mut Slot, report: &ApiStatus, now: Timestamp) {
    let Some(id) = report.container_id.as_deref().and_then(|id| id.split("://").nth(1)) else { return };
    slot.attempt = u32::try_from(report.restart_count).unwrap_or(0);
    let ended = report.state.as_ref().and_then(|state| state.terminated.as_ref());
    slot.phase = Phase::Exited(End {
        id: id.to_owned(),
        image: report.image.clone(),
        image_id: report.image_id.clone(),
        user: None,
        exit_code: ended.map_or(137, |t| t.exit_code),
        reason: ended.and_then(|t| t.reason.clone()).unwrap_or_else(|| "ContainerStatusUnknown".to_owned()),
        message: ended.map_or_else(
            || "The container could not be located when the pod was terminated".to_owned(),
            |t| t.message.clone().unwrap_or_default(),
        ),
        started_at: ended.and_then(|t| t.started_at.as_ref()).map(|t| t.0),
        finished_at: ended.and_then(|t| t.finished_at.as_ref()).map_or(now, |t| t.0),
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pod::machine::{Effect, Event, step};
    use sampan_cri::{Exit, PodIdentity};
    use serde_json::json;

    fn identity() -> PodIdentity {
        PodIdentity { namespace: "ns".to_owned(), name: "p".to_owned(), uid: "u".to_owned() }
    }

    fn pod() -> Arc<Pod> {
        let status = json!({"phase": "Running", "podIPs": [{"ip": "10.244.0.5"}], "containerStatuses": [{
            "name": "c", "containerID": "sampan://2", "image": "i:1", "imageID": "sha256:i", "ready": true,
            "started": true, "restartCount": 3, "state": {"running": {}}}]});
        let spec = json!({"initContainers": [{"name": "init", "image": "i"}],
            "containers": [{"name": "c", "image": "i", "readinessProbe": {"exec": {"command": ["x"]}}}]});
        let meta = json!({"name": "p", "namespace": "ns", "uid": "u"});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap())
    }

    fn container(id: &str, name: &str, attempt: u32, state: ContainerState) -> ContainerStatus {
        ContainerStatus {
            id: id.to_owned(),
            sandbox_id: "s".to_owned(),
            pod: identity(),
            name: name.to_owned(),
            attempt,
            state,
            created_at: Timestamp::UNIX_EPOCH,
            started_at: Some(Timestamp::UNIX_EPOCH),
            pid: None,
            user: None,
            image: "sha256:i".to_owned(),
            log_path: "/nonexistent".into(),
            labels: BTreeMap::new(),
            annotations: [(ANNOTATION_IMAGE.to_owned(), "i".to_owned())].into(),
        }
    }

    fn sandbox(state: SandboxState) -> SandboxStatus {
        SandboxStatus {
            id: "s".to_owned(),
            pod: identity(),
            attempt: 0,
            state,
            created_at: Timestamp::UNIX_EPOCH,
            netns: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    fn exited(exit_code: i32) -> ContainerState {
        let finished_at = Timestamp::UNIX_EPOCH;
        ContainerState::Exited(Exit { exit_code, oom_killed: false, finished_at, message: String::new() })
    }

    fn started(effects: &[Effect]) -> Vec<&Effect> {
        effects.iter().filter(|e| matches!(e, Effect::Start(..) | Effect::CreateSandbox(_))).collect()
    }

    #[test]
    fn a_running_pod_is_taken_up_as_it_is() {
        let containers =
            vec![container("2", "c", 3, ContainerState::Running), container("1", "c", 2, exited(1))];
        let found = by_pod(vec![sandbox(SandboxState::Ready)], containers).remove("u").unwrap();
        let (state, leftovers) = recover(pod(), &found, None, Timestamp::UNIX_EPOCH);
        let slot = state.slot("c").unwrap();
        assert_eq!(
            (slot.attempt, slot.run().unwrap().id.as_str(), slot.run().unwrap().ready),
            (3, "2", true)
        );
        assert_eq!(slot.previous.as_ref().unwrap().id, "1");
        assert_eq!((leftovers.sandbox.as_deref(), state.initialized), (Some("s"), true));
        let (state, effects) = step(state, Event::Tick, Timestamp::UNIX_EPOCH);
        assert!(started(&effects).is_empty(), "{effects:?}");
        let (_, effects) = step(state, Event::VolumesReady, Timestamp::UNIX_EPOCH);
        assert!(started(&effects).is_empty(), "{effects:?}");
    }

    #[test]
    fn an_end_stays_what_it_was_said_to_be() {
        let mut pod = Arc::unwrap_or_clone(pod());
        let said =
            json!({"terminated": {"containerID": "sampan://2", "exitCode": 128, "reason": "StartError"}});
        let own = &mut pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0];
        own.last_state = Some(serde_json::from_value(said).unwrap());
        let containers = vec![container("2", "c", 3, exited(127)), container("1", "c", 2, exited(1))];
        let found = by_pod(vec![sandbox(SandboxState::Ready)], containers).remove("u").unwrap();
        let (state, _) = recover(Arc::new(pod), &found, None, Timestamp::UNIX_EPOCH);
        let slot = state.slot("c").unwrap();
        let words = |end: &End| (end.exit_code, end.reason.clone());
        assert_eq!(words(slot.end().unwrap()), (128, "StartError".to_owned()));
        assert_eq!(words(slot.previous.as_ref().unwrap()), (1, "Error".to_owned()));
    }

    #[test]
    fn after_a_reboot_the_sandbox_and_its_init_containers_are_new() {
        let containers = vec![container("0", "init", 0, exited(0)), container("2", "c", 3, exited(137))];
        let found = by_pod(vec![sandbox(SandboxState::NotReady)], containers).remove("u").unwrap();
        let (state, leftovers) = recover(pod(), &found, None, Timestamp::UNIX_EPOCH);
        assert_eq!(leftovers.stale_sandboxes, ["s"]);
        let (state, effects) = step(state, Event::Tick, Timestamp::UNIX_EPOCH);
        assert_eq!(started(&effects), [&Effect::CreateSandbox(1)]);
        let (state, _) = step(state, Event::VolumesReady, Timestamp::UNIX_EPOCH);
        let ready = Event::SandboxReady { id: "t".to_owned(), ips: Vec::new() };
        let (_, effects) = step(state, ready, Timestamp::UNIX_EPOCH);
        assert_eq!(started(&effects), [&Effect::Start("init".to_owned(), 1)]);
    }
}
