//! Scripts of events for the machine, with the effects and the status expected after each.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::eviction::Eviction;
use super::machine::{Effect, Event, ProbeKind, StartFailure, Verdict, looks_for_root_ca, step};
use super::state::{End, Life, PodState, Run};
use super::status::{NodeView, phase, pod_status};

struct Script {
    state: Option<PodState>,
    now: Timestamp,
}

fn pod(spec: serde_json::Value) -> Arc<Pod> {
    let meta = json!({"name": "p", "namespace": "ns", "uid": "u"});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
}

fn run(id: &str) -> Run {
    Run {
        id: id.to_owned(),
        image: "i".to_owned(),
        image_id: "sha256:i".to_owned(),
        user: None,
        wanted: "i".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
        started: true,
        ready: true,
    }
}

impl Script {
    fn new(spec: serde_json::Value) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        Self { state: Some(PodState::new(pod(spec), now)), now }
    }

    /// Sandbox and volumes are ready.
    fn ready(spec: serde_json::Value) -> Self {
        let mut script = Self::new(spec);
        assert_eq!(script.send(Event::Tick), ["sandbox 0", "volumes"]);
        assert_eq!(script.send(Event::VolumesReady), [""; 0]);
        script
    }

    fn sandbox(&mut self) -> Vec<String> {
        self.send(Event::SandboxReady { id: "s".to_owned(), ips: vec![[10, 244, 0, 5].into()] })
    }

    fn send(&mut self, event: Event) -> Vec<String> {
        let (state, effects) = step(self.state.take().unwrap(), event, self.now);
        self.state = Some(state);
        effects.iter().map(words).collect()
    }

    fn started(&mut self, name: &str, id: &str) -> Vec<String> {
        self.send(Event::Started(name.to_owned(), run(id)))
    }

    fn exited(&mut self, id: &str, exit_code: i32) -> Vec<String> {
        let end = End {
            id: id.to_owned(),
            image: "i".to_owned(),
            image_id: "sha256:i".to_owned(),
            user: None,
            exit_code,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
            message: String::new(),
            started_at: None,
            finished_at: self.now,
        };
        self.send(Event::Exited(id.to_owned(), end))
    }

    fn pass(&mut self, seconds: i64) -> Vec<String> {
        self.now += SignedDuration::from_secs(seconds);
        self.send(Event::Tick)
    }

    fn state(&self) -> &PodState {
        self.state.as_ref().unwrap()
    }

    fn delete(&mut self, grace: i64) -> Vec<String> {
        let mut pod = (*self.state().pod).clone();
        pod.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.send(Event::Spec(Arc::new(pod)))
    }

    /// `state reason restarts` of the first main container.
    fn shown(&self) -> String {
        let status = pod_status(self.state(), &NodeView::default(), None, self.now);
        let container = &status.container_statuses.unwrap()[0];
        let state = container.state.clone().unwrap();
        let text = match (state.waiting, state.running, state.terminated) {
            (Some(w), ..) => format!("waiting {}", w.reason.unwrap()),
            (_, Some(_), _) => "running".to_owned(),
            (.., Some(t)) => format!("terminated {}", t.reason.unwrap()),
            _ => "nothing".to_owned(),
        };
        format!("{text} {}", container.restart_count)
    }
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::CreateSandbox(n) => format!("sandbox {n}"),
        Effect::MountVolumes => "volumes".to_owned(),
        Effect::Start(name, n) => format!("start {name} {n}"),
        Effect::AbortStarts => "abort".to_owned(),
        Effect::Kill { id, grace, after, .. } if after.is_empty() => format!("kill {id} {grace}"),
        Effect::Kill { id, grace, after, .. } => format!("kill {id} {grace} after {}", after.join(" ")),
        Effect::Probe(name, _) => format!("probe {name}"),
        Effect::Resize(steps) => format!("resize {}", steps.len()),
        Effect::TearDown => "tear down".to_owned(),
        Effect::Delete => "delete".to_owned(),
        Effect::Tell(_, reason, text, _) => format!("tell {reason}: {text}"),
    }
}

fn one() -> serde_json::Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

#[test]
fn a_pod_runs_and_is_deleted() {
    let mut script = Script::ready(one());
    assert_eq!(script.shown(), "waiting ContainerCreating 0");
    assert_eq!(script.sandbox(), ["start c 0"]);
    assert_eq!(phase(script.state()), "Pending");
    assert_eq!(script.started("c", "1"), ["probe c"]);
    assert_eq!((phase(script.state()), script.shown()), ("Running", "running 0".to_owned()));
    assert_eq!(script.delete(30), ["kill 1 30"]);
    assert_eq!(script.exited("1", 0), ["tear down"]);
    assert_eq!(script.send(Event::TornDown), ["delete"]);
    assert_eq!(phase(script.state()), "Succeeded");
}

#[test]
fn a_forbidden_sysctl_fails_the_pod_before_anything_is_made() {
    let mut spec = one();
    spec["securityContext"] = json!({"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]});
    let mut script = Script::new(spec);
    let why = "forbidden sysctl: \"net.core.somaxconn\" not allowlisted";
    assert_eq!(script.send(Event::Tick), [format!("tell SysctlForbidden: {why}"), "tear down".to_owned()]);
    let status = pod_status(script.state(), &NodeView::default(), None, script.now);
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("SysctlForbidden"))
    );
    assert_eq!(status.message, Some(format!("Pod was rejected: {why}")));
    assert_eq!((status.container_statuses, status.conditions), (None, None));
}

#[test]
fn a_pod_without_a_place_fails_before_anything_is_made() {
    let mut script = Script::new(one());
    script.state.as_mut().unwrap().refused = Some(("NodePorts".into(), "taken".to_owned()));
    assert_eq!(script.send(Event::Tick), ["tell NodePorts: taken", "tear down"]);
    let status = pod_status(script.state(), &NodeView::default(), None, script.now);
    let said = (status.phase.as_deref(), status.reason.as_deref(), status.message.as_deref());
    assert_eq!(said, (Some("Failed"), Some("NodePorts"), Some("Pod was rejected: taken")));
    assert_eq!(script.send(Event::TornDown), [""; 0]);
}

#[test]
fn a_shorter_grace_period_kills_again() {
    let mut script = Script::ready(one());
    script.sandbox();
    script.started("c", "1");
    assert_eq!(script.delete(30), ["kill 1 30"]);
    assert_eq!(script.delete(30), [""; 0]);
    assert_eq!(script.delete(5), ["kill 1 5"]);
}

#[test]
fn crashes_back_off_as_upstream_does() {
    let mut script = Script::ready(one());
    script.sandbox();
    script.started("c", "1");
    // the first restart is immediate
    assert_eq!(script.exited("1", 1), ["start c 1"]);
    assert_eq!(script.shown(), "terminated Error 0");
    script.started("c", "2");
    assert_eq!(script.shown(), "running 1");
    assert_eq!(
        script.exited("2", 1),
        ["tell BackOff: Back-off restarting failed container c in pod p_ns(u)"]
    );
    assert_eq!(script.shown(), "waiting CrashLoopBackOff 1");
    let message = script.state().slots[0].wait.clone().unwrap().message;
    assert_eq!(message, "back-off 10s restarting failed container=c pod=p_ns(u)");
    assert_eq!(script.pass(9), [""; 0]);
    assert_eq!(script.pass(1), ["start c 2"]);
    script.started("c", "3");
    script.exited("3", 1);
    assert_eq!(script.pass(19), [""; 0]);
    assert_eq!(script.pass(1), ["start c 3"]);
    script.started("c", "4");
    // ten minutes of running forgive everything
    script.now += SignedDuration::from_secs(601);
    assert_eq!(script.exited("4", 1), ["start c 4"]);
}

#[test]
fn another_image_or_other_resources_forgive_crashes() {
    let mut script = Script::ready(one());
    script.sandbox();
    let crash = |script: &mut Script, id: &str, image: &str| {
        script.send(Event::Started("c".to_owned(), Run { wanted: image.to_owned(), ..run(id) }));
        script.exited(id, 1);
    };
    crash(&mut script, "1", "i");
    crash(&mut script, "2", "i");
    assert_eq!(script.shown(), "waiting CrashLoopBackOff 1");
    let changed = |change: serde_json::Value| {
        let mut spec = one();
        spec["containers"][0].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        Event::Spec(pod(spec))
    };
    assert_eq!(script.send(changed(json!({"env": [{"name": "A"}]}))), [""; 0]);
    assert_eq!(script.send(changed(json!({"image": "other"}))), ["start c 2"]);
    crash(&mut script, "3", "other");
    assert_eq!(script.shown(), "waiting CrashLoopBackOff 2");
    let message = script.state().slots[0].wait.clone().unwrap().message;
    assert!(message.starts_with("back-off 10s "), "the delays begin anew: {message}");
    let resources = json!({"image": "other", "resources": {"limits": {"memory": "1Gi"}}});
    let Event::Spec(object) = changed(resources) else { unreachable!() };
    let allocation = Arc::new(crate::pod::resize::Allocation::of(&object));
    assert_eq!(script.send(Event::Spec(object)), [""; 0]);
    assert!(script.state().slots[0].wait.is_some(), "nothing is allocated yet");
    // the pod's cgroup is resized before the container starts
    assert_eq!(script.send(Event::Allocated(allocation)).last().map(String::as_str), Some("resize 1"));
    assert_eq!(script.state().slots[0].wait, None);
}

#[test]
fn restart_policies() {
    for (policy, code, want, end) in [
        ("Never", 0, vec!["tear down"], "Succeeded"),
        ("Never", 1, vec!["tear down"], "Failed"),
        ("OnFailure", 0, vec!["tear down"], "Succeeded"),
        ("OnFailure", 1, vec!["start c 1"], "Running"),
        ("Always", 0, vec!["start c 1"], "Running"),
    ] {
        let mut spec = one();
        spec["restartPolicy"] = json!(policy);
        let mut script = Script::ready(spec);
        script.sandbox();
        script.started("c", "1");
        assert_eq!(script.exited("1", code), want, "{policy} {code}");
        assert_eq!(phase(script.state()), end, "{policy} {code}");
    }
}

#[test]
fn init_containers_in_order_then_sidecars_then_main() {
    let mut script = Script::ready(json!({
        "initContainers": [
            {"name": "a", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always"},
            {"name": "b", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}));
    assert_eq!(script.sandbox(), ["start a 0"]);
    assert_eq!(script.shown(), "waiting PodInitializing 0");
    script.started("a", "1");
    assert_eq!(script.exited("1", 0), ["start side 0"]);
    assert_eq!(script.started("side", "2"), ["probe side", "start b 0"]);
    script.started("b", "3");
    assert_eq!(script.exited("3", 0), ["start c 0"]);
    script.started("c", "4");
    // a sidecar that dies is restarted whatever the policy
    assert_eq!(script.exited("2", 1), ["start side 1"]);
    script.started("side", "5");
    // the end of the main container ends the sidecar, and then the pod
    assert_eq!(script.exited("4", 0), ["kill 5 30"]);
    assert_eq!(phase(script.state()), "Running");
    assert_eq!(script.exited("5", 137), ["tear down"]);
    script.send(Event::TornDown);
    assert_eq!((script.state().life, phase(script.state())), (Life::Finished, "Succeeded"));
}

#[test]
fn a_failing_init_container_fails_a_pod_that_never_restarts() {
    let spec = json!({"initContainers": [{"name": "a", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"});
    let mut script = Script::ready(spec);
    script.sandbox();
    script.started("a", "1");
    assert_eq!(script.exited("1", 3), ["tear down"]);
    assert_eq!(phase(script.state()), "Failed");
}

#[test]
fn a_rule_starts_all_containers_anew() {
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let spec = json!({"initContainers": [{"name": "a", "image": "i"}], "restartPolicy": "Never", "containers": [
        {"name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules}, {"name": "d", "image": "i"}]});
    let restarting = |script: &Script| {
        let status = pod_status(script.state(), &NodeView::default(), None, script.now);
        let conditions = status.conditions.unwrap();
        conditions.into_iter().find(|c| c.type_ == "AllContainersRestarting").unwrap().status
    };
    let mut script = Script::ready(spec);
    script.sandbox();
    script.started("a", "1");
    assert_eq!(script.exited("1", 0), ["start c 0", "start d 0"]);
    script.started("c", "2");
    assert_eq!(restarting(&script), "False");
    // what is being started is waited for, and stopped then
    assert_eq!(script.exited("2", 42), [""; 0]);
    assert_eq!((restarting(&script), script.shown()), ("True".to_owned(), "terminated Error 0".to_owned()));
    assert_eq!(script.started("d", "3"), ["probe d", "kill 3 0"]);
    assert_eq!(script.exited("3", 137), ["start a 1"]);
    assert_eq!(restarting(&script), "False");
    assert_eq!(
        (phase(script.state()), script.shown()),
        ("Running", "waiting RestartingAllContainers 1".to_owned())
    );
    script.started("a", "4");
    assert_eq!(script.exited("4", 0), ["start c 1", "start d 1"]);
    script.started("c", "5");
    assert_eq!(script.shown(), "running 1");
    // any other code ends it for good
    script.started("d", "6");
    script.exited("6", 0);
    assert_eq!(script.exited("5", 1), ["tear down"]);
    assert_eq!(phase(script.state()), "Failed");
}

#[test]
fn a_missing_image_backs_off() {
    let mut script = Script::ready(one());
    script.sandbox();
    let failure = || StartFailure::Image("ErrImagePull", "not found".to_owned());
    assert_eq!(script.send(Event::StartFailed("c".to_owned(), failure())), [""; 0]);
    assert_eq!(script.shown(), "waiting ErrImagePull 0");
    let told = ["tell BackOff: Back-off pulling image \"i\"", "tell Failed: Error: ImagePullBackOff"];
    assert_eq!(script.pass(2), told);
    assert_eq!(script.shown(), "waiting ImagePullBackOff 0");
    assert_eq!(
        script.state().slots[0].wait.clone().unwrap().message,
        "Back-off pulling image \"i\": ErrImagePull: not found"
    );
    assert_eq!(script.pass(8), ["start c 0"]);
    script.send(Event::StartFailed("c".to_owned(), failure()));
    script.pass(2);
    assert_eq!(script.pass(17), [""; 0]);
    assert_eq!(script.pass(1), ["start c 0"]);
}

#[test]
fn deletion_calls_off_a_pull() {
    let mut script = Script::ready(one());
    script.sandbox();
    assert_eq!(script.delete(30), ["abort"]);
    assert_eq!(script.send(Event::StartFailed("c".to_owned(), StartFailure::Aborted)), ["tear down"]);
}

#[test]
fn a_failed_liveness_probe_kills_and_the_policy_restarts() {
    let mut script = Script::ready(one());
    script.sandbox();
    script.started("c", "1");
    let verdict = Verdict::Failed(ProbeKind::Liveness, Some(7));
    let probe = |id: &str| Event::Probe { container: "c".to_owned(), id: id.to_owned(), verdict };
    assert_eq!(script.send(probe("another run")), [""; 0]);
    assert_eq!(script.send(probe("1")), ["kill 1 7"]);
    assert_eq!(script.exited("1", 137), ["start c 1"]);
}

#[test]
fn what_was_stopped_to_start_anew_shows_until_the_next_one_runs() {
    let shown = |script: &Script| {
        let status = pod_status(script.state(), &NodeView::default(), None, script.now);
        let container = status.container_statuses.unwrap().remove(0);
        let state = container.state.unwrap();
        (container.ready, state.running.is_some(), container.restart_count, container.last_state.is_some())
    };
    let mut script = Script::ready(one());
    script.sandbox();
    script.started("c", "1");
    let verdict = Verdict::Failed(ProbeKind::Liveness, None);
    script.send(Event::Probe { container: "c".to_owned(), id: "1".to_owned(), verdict });
    assert_eq!(script.exited("1", 137), ["start c 1"]);
    assert_eq!(shown(&script), (true, true, 0, false));
    script.started("c", "2");
    assert_eq!(shown(&script), (true, true, 1, true));
    // one that ended by itself shows its end
    script.exited("2", 1);
    assert_eq!(shown(&script), (false, false, 1, true));
}

#[test]
fn readiness_shows_in_the_conditions() {
    let mut script = Script::ready(one());
    script.sandbox();
    script.started("c", "1");
    let ready = |script: &Script| {
        let status = pod_status(script.state(), &NodeView::default(), None, script.now);
        let condition = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
        (condition.status, condition.reason, condition.message)
    };
    assert_eq!(ready(&script).0, "True");
    let verdict = Verdict::Ready(false);
    script.send(Event::Probe { container: "c".to_owned(), id: "1".to_owned(), verdict });
    let message = "containers with unready status: [c]".to_owned();
    assert_eq!(ready(&script), ("False".to_owned(), Some("ContainersNotReady".to_owned()), Some(message)));
}

#[test]
fn the_deadline_ends_a_pod() {
    let mut spec = one();
    spec["activeDeadlineSeconds"] = json!(60);
    let mut script = Script::ready(spec);
    script.sandbox();
    script.started("c", "1");
    let told = "tell DeadlineExceeded: Pod was active on the node longer than the specified deadline";
    assert_eq!(script.pass(60), [told, "kill 1 30"]);
    script.exited("1", 143);
    assert_eq!(phase(script.state()), "Failed");
    let status = pod_status(script.state(), &NodeView::default(), None, script.now);
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_failed_sandbox_is_made_again() {
    let mut script = Script::ready(one());
    let told = script.send(Event::SandboxFailed("no address".to_owned()));
    assert_eq!(told, ["tell FailedCreatePodSandBox: Failed to create pod sandbox: no address"]);
    assert_eq!(script.pass(10), ["sandbox 0"]);
}

#[test]
fn a_sandbox_comes_after_volumes_that_may_wait() {
    let mut spec = one();
    spec["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
    let mut script = Script::new(spec);
    assert_eq!(script.send(Event::Tick), ["volumes"]);
    let missing = || Event::VolumesFailed("secret \"s\" not found".to_owned());
    assert_eq!(script.send(missing()), ["tell FailedMount: secret \"s\" not found"]);
    assert_eq!(script.pass(1), ["volumes"]);
    assert_eq!(script.send(Event::VolumesReady), ["sandbox 0"]);
    assert_eq!(script.sandbox(), ["start c 0"]);
    // removed before its volumes were there, it leaves nothing but them
    let mut spec = one();
    spec["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
    let mut script = Script::new(spec);
    script.send(Event::Tick);
    script.send(missing());
    assert_eq!(script.delete(30), ["tear down"]);
}

#[test]
fn volumes_that_are_being_set_up_again_are_waited_for() {
    let mut spec = one();
    spec["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
    let missing = || Event::VolumesFailed("no".to_owned());
    for (result, told) in
        [(Event::VolumesReady, vec!["tear down"]), (missing(), vec!["tell FailedMount: no", "tear down"])]
    {
        let mut script = Script::new(spec.clone());
        script.send(Event::Tick);
        script.send(missing());
        assert_eq!(script.pass(1), ["volumes"]);
        assert_eq!(script.delete(30), [""; 0]);
        assert_eq!(script.send(result), told);
    }
}

#[test]
fn a_pod_that_goes_before_it_was_run_has_nothing_made() {
    let mut script = Script::new(one());
    let eviction =
        Eviction { reason: "Preempting", message: "why".to_owned(), grace: None, disruption: None };
    assert_eq!(script.send(Event::Evicted(eviction)), ["tell Preempting: why", "tear down"]);
    script.send(Event::TornDown);
    let status = pod_status(script.state(), &NodeView::default(), None, script.now);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Preempting")));
}

#[test]
fn a_sandbox_comes_beside_the_volumes_once_the_root_certificate_is_there() {
    let mut spec = one();
    spec["volumes"] =
        json!([{"name": "v", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}]);
    let mut script = Script::new(spec.clone());
    assert_eq!(script.send(Event::Tick), ["volumes"]);
    assert!(looks_for_root_ca(script.state()));
    assert_eq!(script.send(Event::RootCaFound), ["sandbox 0"]);
    assert!(!looks_for_root_ca(script.state()), "once it is there");
    assert!(!looks_for_root_ca(Script::new(one()).state()));
    let mut waits = spec.clone();
    waits["volumes"].as_array_mut().unwrap().push(json!({"name": "s", "secret": {"secretName": "s"}}));
    assert!(!looks_for_root_ca(Script::new(waits).state()), "of no use");
    // in a namespace without it there is none until it comes
    let mut script = Script::new(spec);
    script.send(Event::Tick);
    let why = "configmap \"kube-root-ca.crt\" not found";
    assert_eq!(script.send(Event::VolumesFailed(why.to_owned())), [format!("tell FailedMount: {why}")]);
    assert_eq!(script.pass(1), ["volumes"]);
    assert_eq!(script.send(Event::RootCaFound), ["sandbox 0"]);
    assert_eq!(script.delete(30), [""; 0], "waits for both");
    assert_eq!(script.sandbox(), [""; 0]);
    assert_eq!(script.send(Event::VolumesReady), ["tear down"]);
}

#[test]
fn a_sandbox_shows_once_the_volumes_are_there() {
    let shown = |script: &Script| {
        let status = pod_status(script.state(), &NodeView::default(), None, script.now);
        let conditions = status.conditions.unwrap();
        let ready = conditions.into_iter().find(|c| c.type_ == "PodReadyToStartContainers").unwrap();
        (ready.status, status.pod_ip)
    };
    let mut script = Script::new(one());
    script.send(Event::Tick);
    script.sandbox();
    assert_eq!(shown(&script), ("False".to_owned(), None));
    assert_eq!(script.send(Event::VolumesReady), ["start c 0"]);
    assert_eq!(shown(&script), ("True".to_owned(), Some("10.244.0.5".to_owned())));
}

#[test]
fn sidecars_of_an_ending_pod_are_told_at_once_and_end_in_their_turn() {
    let mut script = Script::ready(json!({
        "initContainers": [
            {"name": "one", "image": "i", "restartPolicy": "Always"},
            {"name": "two", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}],
        "ephemeralContainers": [{"name": "debug", "image": "i"}]}));
    script.sandbox();
    script.started("one", "1");
    script.started("two", "2");
    script.started("c", "3");
    script.started("debug", "4");
    let told = ["kill 1 30 after two c", "kill 2 30 after c", "kill 3 30", "kill 4 30"];
    assert_eq!(script.delete(30), told);
    assert_eq!(script.exited("3", 0), [""; 0]);
    assert_eq!(script.delete(5), ["kill 1 5 after two", "kill 2 5", "kill 4 5"]);
    for id in ["2", "1"] {
        assert_eq!(script.exited(id, 0), [""; 0], "{id}");
    }
    assert_eq!(script.exited("4", 0), ["tear down"]);
}

#[test]
fn a_pod_that_is_evicted_ends_and_says_why() {
    let eviction = |grace, disruption| {
        Event::Evicted(Eviction { reason: "Evicted", message: "why".to_owned(), grace, disruption })
    };
    for (grace, disruption, kill) in [(Some(1), None, 2), (None, Some("for another"), 30)] {
        let mut script = Script::ready(one());
        script.sandbox();
        script.started("c", "1");
        let told = script.send(eviction(grace, disruption));
        assert_eq!(told[0], "tell Evicted: why");
        assert_eq!(
            script.state().life,
            Life::Terminating { deadline: script.now + SignedDuration::from_secs(grace.unwrap_or(30)) }
        );
        assert_eq!(told[1..], [format!("kill 1 {kill}")]);
        assert_eq!(script.exited("1", 137), ["tear down"]);
        let status = pod_status(script.state(), &NodeView::default(), None, script.now);
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
        let conditions = status.conditions.unwrap();
        let target = conditions.iter().find(|condition| condition.type_ == "DisruptionTarget");
        assert_eq!(target.and_then(|target| target.message.as_deref()), disruption);
        assert_eq!(script.send(eviction(None, None)), [""; 0], "once");
    }
}
