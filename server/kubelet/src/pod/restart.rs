//! Whether a container that has ended is started again, and whether all are with it. Pure.
//!
//! Upstream's `ContainerShouldRestart` and `ShouldAllContainersRestart`: a container's own rules come first, then its own
//! policy, then the pod's.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::machine::{Effect, kill};
use super::state::{End, Kind, Phase, PodState, Slot};

/// What is said of a container that was thrown away to start anew with all others.
pub const REASON: &str = "RestartingAllContainers";
/// The sentence beside it.
pub const MESSAGE: &str = "The container is removed because RestartAllContainers in place";
/// The action that starts all containers anew.
const ALL: &str = "RestartAllContainers";

/// The action of the first rule that an exit code meets.
fn action(container: &Container, exit_code: i32) -> Option<&str> {
    let rules = container.restart_policy_rules.iter().flatten();
    let mut met = rules.filter(|rule| {
        let Some(codes) = &rule.exit_codes else { return false };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    });
    met.next().map(|rule| rule.action.as_str())
}

fn by_policy(container: &Container, pod_policy: &str, exit_code: i32) -> bool {
    let own = container.restart_policy.as_deref();
    if own.is_some() && matches!(action(container, exit_code), Some("Restart" | ALL)) {
        return true;
    }
    match own.unwrap_or(pod_policy) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether a container that has ended is started again.
pub fn restarts(slot: &Slot, pod_policy: &str) -> bool {
    if slot.again || slot.reset {
        return true;
    }
    let exit_code = slot.end().map_or(0, |end| end.exit_code);
    match slot.kind {
        Kind::Ephemeral => false,
        Kind::Sidecar => true,
        Kind::Init => !slot.succeeded() && by_policy(&slot.spec, pod_policy, exit_code),
        Kind::Main => by_policy(&slot.spec, pod_policy, exit_code),
    }
}

/// Whether a rule of one of the containers starts all of them anew.
pub fn may_restart_all(spec: &PodSpec) -> bool {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers
        .flat_map(|container| container.restart_policy_rules.iter().flatten())
        .any(|rule| rule.action == ALL)
}

/// Whether a container has ended in a way that starts all of them anew.
pub fn wants_all_anew(state: &PodState) -> bool {
    state
        .slots
        .iter()
        .filter(|slot| takes_part(slot) && !slot.reset)
        .any(|slot| slot.end().is_some_and(|end| action(&slot.spec, end.exit_code) == Some(ALL)))
}

fn takes_part(slot: &Slot) -> bool {
    slot.kind != Kind::Ephemeral
}

/// Goes on with starting all containers anew: first what runs is stopped at once, then everything begins as in a new pod.
/// `true`: nothing else is to be done until this is.
pub fn all_anew(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
    if !wants_all_anew(state) {
        return false;
    }
    for slot in state.slots.iter_mut().filter(|slot| takes_part(slot)) {
        let message = format!("Stopping container {}", slot.spec.name);
        kill(slot, 0, message, effects);
    }
    if state.slots.iter().any(|slot| takes_part(slot) && !slot.at_rest()) {
        return true;
    }
    for slot in state.slots.iter_mut().filter(|slot| takes_part(slot)) {
        if let Phase::Exited(end) = std::mem::replace(&mut slot.phase, Phase::Idle) {
            slot.previous = Some(removed(&end, now));
            slot.attempt += 1;
            slot.reset = true;
        }
        (slot.wait, slot.replaced) = (None, None);
    }
    state.initialized = false;
    false
}

fn removed(end: &End, now: Timestamp) -> End {
    End {
        id: String::new(),
        image: end.image.clone(),
        image_id: end.image_id.clone(),
        user: None,
        exit_code: 137,
        reason: REASON.to_owned(),
        message: MESSAGE.to_owned(),
        started_at: None,
        finished_at: now,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn rules_come_before_policies_and_the_containers_before_the_pods() {
        let rule = |operator: &str, values: Value, action: &str| json!({"action": action, "exitCodes": {"operator": operator, "values": values}});
        let (one, but_one) = (rule("In", json!([1]), "Restart"), rule("NotIn", json!([1]), "Restart"));
        for (policy, rules, pod_policy, exit_code, want) in [
            (None, json!([]), "Always", 0, true),
            (None, json!([]), "OnFailure", 0, false),
            (None, json!([]), "OnFailure", 1, true),
            (None, json!([]), "Never", 1, false),
            (Some("Never"), json!([]), "Always", 1, false),
            (Some("OnFailure"), json!([]), "Never", 1, true),
            (Some("Never"), json!([one]), "Never", 1, true),
            (Some("Never"), json!([one]), "Never", 2, false),
            (Some("Never"), json!([but_one]), "Never", 2, true),
            (Some("Never"), json!([rule("In", json!([42]), ALL)]), "Never", 42, true),
            // rules without a policy of their own are not allowed, and do nothing
            (None, json!([one]), "Never", 1, false),
        ] {
            let container = json!({"name": "c", "restartPolicy": policy, "restartPolicyRules": rules});
            let container: Container = serde_json::from_value(container).unwrap();
            assert_eq!(by_policy(&container, pod_policy, exit_code), want, "{policy:?} {rules} {pod_policy}");
        }
    }
}
