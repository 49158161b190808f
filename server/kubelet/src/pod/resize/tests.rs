//! Tables for what is allocated to whom, in which order it is actuated, and what is said meanwhile.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use sampan_cri::Resources;
use serde_json::{Value, json};

use super::admit::{DEFERRED, INFEASIBLE, Refusal};
use super::ledger::{Ledger, Verdict};
use super::plan::{Change, Step, Target, steps};
use super::{Allocation, Work};
use crate::context::Machine;
use crate::pod::machine::{Effect, Event, step};
use crate::pod::state::{PodState, Run};
use crate::pod::status::{NodeView, pod_status};

fn resources(cpu: &str, memory: &str) -> ResourceRequirements {
    // request and limit: `1/2`, either may be missing
    let side = |index: usize| -> serde_json::Map<String, Value> {
        let pick = |text: &str| text.split('/').nth(index).unwrap_or_default().to_owned();
        let all = [("cpu", pick(cpu)), ("memory", pick(memory))];
        all.into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (name.to_owned(), json!(text)))
            .collect()
    };
    serde_json::from_value(json!({"requests": side(0), "limits": side(1)})).unwrap()
}

fn sizes(cpu: Option<i64>, shares: u64, memory: Option<i64>) -> Resources {
    Resources {
        cpu_shares: Some(shares),
        cpu_quota: cpu,
        cpu_period: cpu.map(|_| 100_000),
        memory_limit_bytes: memory,
        ..Resources::default()
    }
}

/// `memory pod 200` or `cpu a`, in order; a step that lowers a limit of memory ends in `!`.
fn words(steps: &[Step]) -> Vec<String> {
    let one = |step: &Step| {
        let mark = if step.lowers_memory { "!" } else { "" };
        match &step.target {
            Target::Pod => {
                let set = &step.set;
                let memory = set.memory_limit_bytes.map(|bytes| format!("pod memory {bytes}"));
                let quota = || set.cpu_quota.map(|quota| format!("pod quota {quota}"));
                let shares = || set.cpu_shares.map(|shares| format!("pod shares {shares}"));
                memory.or_else(quota).or_else(shares).unwrap() + mark
            }
            Target::Container { name, resource, .. } => format!("{name} {resource}{mark}"),
        }
    };
    steps.iter().map(one).collect()
}

#[test]
fn a_pod_grows_before_its_containers_and_shrinks_after_them() {
    let (small, large) = (sizes(Some(10_000), 102, Some(100)), sizes(Some(20_000), 204, Some(200)));
    let free = sizes(None, 102, None);
    let (low, high) = (resources("100m/100m", "100/100"), resources("200m/200m", "200/200"));
    let raised = resources("200m/100m", "200/100");
    type Row<'a> = (
        &'a Resources,
        &'a Resources,
        Vec<(&'a ResourceRequirements, &'a ResourceRequirements)>,
        Vec<&'a str>,
    );
    let table: Vec<Row<'_>> = vec![
        (&small, &small, vec![(&low, &low)], vec![]),
        (
            &small,
            &large,
            vec![(&low, &high)],
            vec!["pod memory 200", "a memory", "pod quota 20000", "pod shares 204", "a cpu"],
        ),
        (
            &large,
            &small,
            vec![(&high, &low)],
            vec!["a memory!", "pod memory 100!", "a cpu", "pod shares 102", "pod quota 10000"],
        ),
        // what shrinks makes room for what grows
        (&small, &small, vec![(&low, &high), (&high, &low)], vec!["b memory!", "a memory", "b cpu", "a cpu"]),
        // requests alone: nothing of the pod's limits moves
        (
            &small,
            &small,
            vec![(&low, &raised), (&raised, &low)],
            vec!["b memory", "a memory", "b cpu", "a cpu"],
        ),
        // a limit where there was none; and none for the pod, since another container has none
        (&free, &small, vec![], vec!["pod memory 100!", "pod quota 10000"]),
        (&small, &free, vec![], vec![]),
    ];
    for (before, after, containers, want) in table {
        let names = ["a", "b"];
        let changes: Vec<Change<'_>> = containers
            .iter()
            .zip(names)
            .map(|((before, after), name)| {
                let (before, after, own) = ((*before).clone(), (*after).clone(), *after);
                Change { name, id: name, before, after, own, sizes: large.clone() }
            })
            .collect();
        assert_eq!(words(&steps(before, after, &changes)), want);
    }
}

#[test]
fn a_request_of_memory_is_noted_without_asking_the_runtime() {
    let (before, after) = (resources("", "100/200"), resources("", "150/200"));
    let none = sizes(None, 2, Some(200));
    let own = &after.clone();
    let change = Change { name: "a", id: "1", before, after, own, sizes: none.clone() };
    let steps = steps(&none, &none, &[change]);
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].set, Resources::default());
}

fn pod(name: &str, generation: i64, priority: i32, cpu: &str) -> Arc<Pod> {
    let given = json!({"requests": {"cpu": cpu, "memory": "1Mi"}});
    let spec = json!({"priority": priority, "containers": [{"name": "c", "resources": given}]});
    let meta = json!({"name": name, "uid": name, "generation": generation});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
}

fn node() -> Machine {
    Machine { cpu_millis: 1000, memory_bytes: 1 << 30, disk_bytes: 0 }
}

fn verdicts(ledger: &mut Ledger, pods: &[Arc<Pod>]) -> Vec<String> {
    let word = |(uid, verdict): (String, Verdict)| match verdict {
        Verdict::Allocated(_) => format!("{uid} allocated"),
        Verdict::Refused(refusal) => format!("{uid} {}", refusal.reason),
    };
    ledger.judge(pods, &node()).into_iter().map(word).collect()
}

#[test]
fn a_resize_waits_until_there_is_room() {
    let (a, b) = (pod("a", 1, 0, "400m"), pod("b", 1, 0, "400m"));
    let mut ledger = Ledger::default();
    for pod in [&a, &b] {
        ledger.take(pod, Arc::new(Allocation::of(pod)));
    }
    assert!(!ledger.is_waiting());
    let wanted = pod("a", 2, 0, "700m");
    ledger.changed(&wanted);
    assert_eq!(verdicts(&mut ledger, &[wanted.clone(), b.clone()]), ["a Deferred"]);
    assert!(ledger.is_waiting(), "it is judged again");
    assert_eq!(verdicts(&mut ledger, &[wanted.clone(), b.clone()]), ["a Deferred"]);
    let smaller = pod("b", 2, 0, "200m");
    ledger.changed(&smaller);
    assert_eq!(verdicts(&mut ledger, &[wanted.clone(), smaller.clone()]), ["b allocated", "a allocated"]);
    assert!(!ledger.is_waiting());

    let back = pod("b", 3, 0, "400m");
    ledger.changed(&back);
    assert_eq!(verdicts(&mut ledger, &[wanted.clone(), back.clone()]), ["b Deferred"]);
    ledger.forget("a");
    assert_eq!(verdicts(&mut ledger, std::slice::from_ref(&back)), ["b allocated"]);
    let too_much = pod("b", 4, 0, "2");
    ledger.changed(&too_much);
    assert_eq!(verdicts(&mut ledger, &[too_much]), ["b Infeasible"]);
    assert!(!ledger.is_waiting(), "it never will fit");
}

#[test]
fn a_resize_of_a_pod_that_is_not_taken_yet_is_judged_when_it_is() {
    let mut ledger = Ledger::default();
    let (before, wanted) = (pod("a", 1, 0, "300m"), pod("a", 2, 0, "2"));
    ledger.take(&before, Arc::new(Allocation::of(&before)));
    let kept = ledger.allocation("a").unwrap().clone();
    assert_eq!(kept, Allocation::of(&before));
    ledger.take(&wanted, Arc::new(kept));
    assert_eq!(verdicts(&mut ledger, &[wanted]), ["a Infeasible"]);
    assert_eq!((ledger.allocation("a"), ledger.allocation("b")), (Some(&Allocation::of(&before)), None));
}

#[test]
fn what_asks_for_less_and_what_is_more_important_comes_first() {
    let mut ledger = Ledger::default();
    let before = [pod("a", 1, 0, "200m"), pod("b", 1, 5, "200m"), pod("c", 1, 0, "500m")];
    let after = [pod("a", 2, 0, "500m"), pod("b", 2, 5, "500m"), pod("c", 2, 0, "300m")];
    for (pod, wanted) in before.iter().zip(&after) {
        ledger.take(pod, Arc::new(Allocation::of(pod)));
        ledger.changed(wanted);
    }
    assert_eq!(verdicts(&mut ledger, &after), ["c allocated", "b allocated", "a Deferred"]);
    ledger.changed(&before[0]);
    assert!(!ledger.is_waiting(), "it was taken back");
}

#[test]
fn a_pod_that_has_ended_is_in_nobodys_way() {
    let mut over = Pod::clone(&pod("b", 1, 0, "900m"));
    over.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    let (a, over) = (pod("a", 2, 0, "800m"), Arc::new(over));
    let mut ledger = Ledger::default();
    ledger.take(&a, Arc::new(Allocation::of(&pod("a", 1, 0, "100m"))));
    ledger.take(&over, Arc::new(Allocation::of(&over)));
    assert_eq!(verdicts(&mut ledger, &[a, over]), ["a allocated"]);
}

#[test]
fn amounts_are_compared_however_they_are_written() {
    let given = |cpu: &str| Allocation::of(&pod("a", 1, 0, cpu));
    let table = [("1", "1000m", false), ("0.1", "100m", false), ("1", "2", true), ("1m", "2m", true)];
    for (one, other, differs) in table {
        assert_eq!(given(one).differs(&pod("a", 1, 0, other)), differs, "{one} {other}");
    }
    let (allocation, wanted) = (given("1"), pod("a", 7, 0, "2"));
    let applied = allocation.applied(&wanted);
    assert_eq!((Allocation::of(&applied), applied.metadata.generation), (allocation.clone(), Some(7)));
    let same = pod("a", 7, 0, "1000m");
    assert!(Arc::ptr_eq(&allocation.applied(&same), &same));
}

/// One container `c`, running, and what has happened to it.
struct Script {
    state: Option<PodState>,
    spec: Value,
    generation: i64,
    now: Timestamp,
}

impl Script {
    fn running(container: Value, more: Value) -> Self {
        let mut container = container;
        container["name"] = json!("c");
        let mut spec = more;
        spec["containers"] = json!([container]);
        let now = Timestamp::UNIX_EPOCH;
        let mut script = Self { state: None, spec, generation: 1, now };
        script.state = Some(PodState::new(script.object(), now));
        script.send(Event::VolumesReady);
        script.send(Event::SandboxReady { id: "s".to_owned(), ips: Vec::new() });
        script.started("1");
        script
    }

    fn object(&self) -> Arc<Pod> {
        let meta = json!({"name": "p", "namespace": "ns", "uid": "u", "generation": self.generation});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": self.spec})).unwrap())
    }

    fn started(&mut self, id: &str) -> Vec<String> {
        let run = Run {
            id: id.to_owned(),
            image: String::new(),
            image_id: String::new(),
            user: None,
            wanted: String::new(),
            started_at: self.now,
            started: true,
            ready: true,
        };
        self.send(Event::Started("c".to_owned(), run))
    }

    fn exited(&mut self, id: &str, exit_code: i32) -> Vec<String> {
        let end = crate::pod::state::End {
            id: id.to_owned(),
            image: String::new(),
            image_id: String::new(),
            user: None,
            exit_code,
            reason: String::new(),
            message: String::new(),
            started_at: None,
            finished_at: self.now,
        };
        self.send(Event::Exited(id.to_owned(), end))
    }

    /// The object asks for this now.
    fn wants(&mut self, resources: &ResourceRequirements) -> Vec<String> {
        self.spec["containers"][0]["resources"] = json!(resources);
        self.generation += 1;
        self.send(Event::Spec(self.object()))
    }

    fn allocated(&mut self) -> Vec<String> {
        self.send(Event::Allocated(Arc::new(Allocation::of(&self.object()))))
    }

    fn refused(&mut self, reason: &'static str) -> Vec<String> {
        self.send(Event::ResizeRefused(Refusal { reason, message: "no room".to_owned() }))
    }

    fn send(&mut self, event: Event) -> Vec<String> {
        let (state, effects) = step(self.state.take().unwrap(), event, self.now);
        self.state = Some(state);
        effects
            .iter()
            .map(|effect| match effect {
                Effect::Resize(steps) => words(steps).join(", "),
                Effect::Kill { id, message, .. } => format!("kill {id}: {message}"),
                Effect::Start(name, attempt) => format!("start {name} {attempt}"),
                Effect::Tell(_, reason, ..) => reason.clone().into_owned(),
                other => format!("{other:?}").split(['(', ' ']).next().unwrap().to_owned(),
            })
            .collect()
    }

    /// Everything that was asked for last is done.
    fn done(&mut self) -> Vec<String> {
        let state = self.state.as_ref().unwrap();
        let slot = state.slot("c").unwrap();
        let resources = slot.spec.resources.clone().unwrap_or_default();
        let change = |name| Step {
            target: Target::Container {
                name: "c".to_owned(),
                id: slot.run().unwrap().id.clone(),
                resource: name,
                request: resources.requests.as_ref().and_then(|list| list.get(name)).cloned(),
                limit: resources.limits.as_ref().and_then(|list| list.get(name)).cloned(),
            },
            set: Resources::default(),
            lowers_memory: false,
        };
        let pod = Step {
            target: Target::Pod,
            set: crate::container::qos::pod_resources(&state.pod),
            lowers_memory: false,
        };
        let steps = vec![change("cpu"), change("memory"), pod];
        self.send(Event::Resized(steps, None))
    }

    /// The generation that the status speaks of.
    fn observed(&self) -> Option<i64> {
        pod_status(self.state.as_ref().unwrap(), &NodeView::default(), None, self.now).observed_generation
    }

    /// Conditions of resizes with reason and generation, then what the container shows as its CPU: allocated, actual.
    fn shown(&self) -> String {
        let state = self.state.as_ref().unwrap();
        let status = pod_status(state, &NodeView::default(), None, self.now);
        let conditions = status.conditions.unwrap();
        let resizing = conditions.iter().filter(|condition| condition.type_.starts_with("PodResize"));
        let mut words: Vec<String> = resizing
            .map(|condition| {
                let reason = condition.reason.as_deref().unwrap_or_default();
                format!("{} {reason} {};", &condition.type_[9..], condition.observed_generation.unwrap())
            })
            .collect();
        let container = &status.container_statuses.unwrap()[0];
        let cpu = |list: Option<&std::collections::BTreeMap<String, _>>| {
            list.and_then(|list| list.get("cpu")).map_or(
                "none".to_owned(),
                |amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| amount.0.clone(),
            )
        };
        words.push(cpu(container.allocated_resources.as_ref()));
        words.push(cpu(container.resources.as_ref().and_then(|all| all.requests.as_ref())));
        words.join(" ")
    }
}

fn container(resources: &ResourceRequirements) -> Value {
    json!({"resources": resources})
}

#[test]
fn a_resize_goes_through_its_conditions() {
    let mut script = Script::running(container(&resources("100m/200m", "10/20")), json!({}));
    assert_eq!(script.shown(), "100m 100m");
    assert_eq!(script.wants(&resources("200m/400m", "10/20")), [""; 0]);
    assert_eq!(script.shown(), "100m 100m", "nothing is allocated yet");
    assert_eq!(script.observed(), Some(1), "and nothing judged");
    assert_eq!(script.allocated(), ["ResizeStarted", "pod quota 40000, pod shares 204, c cpu"]);
    assert_eq!(script.shown(), "InProgress  2; 200m 100m");
    assert_eq!(script.observed(), Some(2));
    assert_eq!(script.done(), ["ResizeCompleted"]);
    assert_eq!(script.shown(), "200m 200m");
    assert_eq!(script.send(Event::Tick), [""; 0]);
}

#[test]
fn a_refused_resize_is_told_once_and_goes_when_it_is_taken_back() {
    let before = resources("100m/", "");
    let mut script = Script::running(container(&before), json!({}));
    script.wants(&resources("5/", ""));
    assert_eq!(script.refused(INFEASIBLE), ["ResizeInfeasible"]);
    assert_eq!(script.shown(), "Pending Infeasible 2; 100m 100m");
    assert_eq!(script.observed(), Some(2));
    script.wants(&resources("4/", ""));
    assert_eq!(script.observed(), Some(2), "that of the object before");
    assert_eq!(script.refused(DEFERRED), ["ResizeDeferred"]);
    assert_eq!(script.refused(DEFERRED), [""; 0]);
    assert_eq!(script.shown(), "Pending Deferred 3; 100m 100m");
    assert_eq!(script.wants(&before), [""; 0]);
    assert_eq!(script.shown(), "100m 100m");
    assert_eq!(script.observed(), Some(4), "what is taken back needs no judge");
}

#[test]
fn a_resize_that_fails_says_so_and_is_tried_again() {
    let mut script = Script::running(container(&resources("100m/", "10/20")), json!({}));
    script.wants(&resources("100m/", "10/15"));
    assert_eq!(script.allocated(), ["ResizeStarted", "c memory!, pod memory 15!"]);
    let fail = || Event::Resized(Vec::new(), Some("too low".to_owned()));
    assert_eq!(script.send(fail()), ["ResizeError"]);
    assert_eq!(script.shown(), "InProgress Error 2; 100m 100m");
    assert_eq!(script.send(Event::Tick), [""; 0], "not at once");
    script.now += SignedDuration::from_secs(10);
    assert_eq!(script.state.as_ref().unwrap().wake, Some(script.now));
    assert_eq!(script.send(Event::Tick), ["c memory!, pod memory 15!"]);
    assert_eq!(script.send(fail()), [""; 0], "the same again");
    // taken back: nothing is left to do
    script.wants(&resources("100m/", "10/20"));
    assert_eq!(script.allocated(), ["ResizeStarted", "ResizeCompleted"]);
    assert_eq!(script.shown(), "100m 100m");
}

#[test]
fn a_policy_restarts_the_container_whatever_the_pods_policy() {
    let mut with_policy = container(&resources("100m/", "10/20"));
    with_policy["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
        {"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
    let mut script = Script::running(with_policy, json!({"restartPolicy": "OnFailure"}));
    script.wants(&resources("100m/", "10/40"));
    assert_eq!(script.allocated(), ["ResizeStarted", "kill 1: Container c resize requires restart"]);
    assert_eq!(script.shown(), "InProgress  2; 100m 100m");
    // first the pod's cgroup, then what starts in it
    assert_eq!(script.exited("1", 0), ["pod memory 40"]);
    let pod = Step { target: Target::Pod, set: sizes(None, 102, Some(40)), lowers_memory: false };
    assert_eq!(script.send(Event::Resized(vec![pod], None)), ["start c 1"]);
    assert_eq!(script.started("2"), ["Probe", "ResizeCompleted"]);
    script.wants(&resources("200m/", "10/40"));
    assert_eq!(script.allocated(), ["ResizeStarted", "pod shares 204, c cpu"], "CPU needs no restart");
}

#[test]
fn a_resize_that_an_earlier_process_had_begun_goes_on() {
    let mut script = Script::running(container(&resources("100m/", "")), json!({}));
    script.wants(&resources("200m/", ""));
    script.allocated();
    let state = script.state.as_ref().unwrap();
    assert_eq!(state.resize.work, Work::Busy);
    let checkpoint = super::checkpoint::Checkpoint::of(state).unwrap();
    assert_eq!(checkpoint.actuated["c"], resources("100m/", ""));

    let found = sampan_cri::ContainerStatus {
        id: "1".to_owned(),
        sandbox_id: "s".to_owned(),
        pod: sampan_cri::PodIdentity {
            namespace: "ns".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
        },
        name: "c".to_owned(),
        attempt: 0,
        state: sampan_cri::ContainerState::Running,
        created_at: script.now,
        started_at: Some(script.now),
        pid: None,
        user: None,
        image: String::new(),
        log_path: "/nonexistent".into(),
        labels: Default::default(),
        annotations: Default::default(),
    };
    let sandbox = sampan_cri::SandboxStatus {
        id: "s".to_owned(),
        pod: found.pod.clone(),
        attempt: 0,
        state: sampan_cri::SandboxState::Ready,
        created_at: script.now,
        netns: None,
        labels: Default::default(),
        annotations: Default::default(),
    };
    let found = crate::pod::recover::Found { sandboxes: vec![sandbox], containers: vec![found] };
    // meanwhile the object asks for more still, which is not allocated
    script.spec["containers"][0]["resources"] = json!(resources("900m/", ""));
    let (state, _) = crate::pod::recover::recover(script.object(), &found, Some(checkpoint), script.now);
    script.state = Some(state);
    assert_eq!(script.send(Event::VolumesReady), ["pod shares 204, c cpu"]);
    assert_eq!(script.shown(), "InProgress  2; 200m 100m");
    assert_eq!(script.done(), ["ResizeCompleted"]);
    assert_eq!(script.shown(), "200m 200m");
}
