#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T00:05:00Z".parse().unwrap()
}

fn budget(spec: &Value, status: &Value) -> PodDisruptionBudget {
    let budget =
        json!({"metadata": {"name": "b", "namespace": "a", "generation": 3}, "spec": spec, "status": status});
    serde_json::from_value(budget).unwrap()
}

/// `r` a ready pod, `u` an unready one, `d` a ready one that is being deleted.
fn pods(letters: &str) -> Vec<Arc<Pod>> {
    let pod = |(i, letter): (usize, char)| {
        let ready = json!({"type": "Ready", "status": if letter == 'u' { "False" } else { "True" }});
        let mut pod = json!({
            "metadata": {"name": format!("p{i}"), "namespace": "a"},
            "status": {"phase": "Running", "conditions": [ready]}});
        if letter == 'd' {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:04:00Z");
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    letters.chars().enumerate().map(pod).collect()
}

fn expected(pods: i32) -> Expected {
    Expected { pods, unmanaged: Vec::new() }
}

#[test]
fn what_is_allowed() {
    // spec, pods, scale of the owners, (healthy, desired, expected, allowed)
    let cases = [
        (json!({"minAvailable": 2}), "rrr", None, (3, 2, 3, 1)),
        (json!({"minAvailable": 2}), "rru", None, (2, 2, 3, 0)),
        (json!({"minAvailable": 2}), "rrd", None, (2, 2, 3, 0)),
        (json!({"minAvailable": 0}), "", None, (0, 0, 0, 0)),
        (json!({"minAvailable": "50%"}), "rrr", Some(3), (3, 2, 3, 1)),
        (json!({"minAvailable": "100%"}), "rrr", Some(3), (3, 3, 3, 0)),
        (json!({"minAvailable": "28%"}), "rr", Some(7), (2, 2, 7, 0)),
        (json!({"maxUnavailable": 1}), "rrr", Some(3), (3, 2, 3, 1)),
        (json!({"maxUnavailable": 1}), "rru", Some(3), (2, 2, 3, 0)),
        (json!({"maxUnavailable": "30%"}), "rrr", Some(10), (3, 7, 10, 0)),
        (json!({"maxUnavailable": "34%"}), "rrr", Some(3), (3, 1, 3, 2)),
        (json!({"maxUnavailable": 5}), "rrr", Some(3), (3, 0, 3, 3)),
        (json!({"maxUnavailable": 1}), "", Some(0), (0, 0, 0, 0)),
    ];
    for (spec, letters, scale, wanted) in cases {
        let budget = budget(&spec, &Value::Null);
        assert_eq!(needs_scale(&budget), scale.is_some(), "{spec}");
        let status = plan(&budget, &pods(letters), scale.map(|n| Ok(expected(n))), now()).status;
        let seen = [
            status.current_healthy,
            status.desired_healthy,
            status.expected_pods,
            status.disruptions_allowed,
        ];
        assert_eq!(seen.map(Option::unwrap), <[i32; 4]>::from(wanted), "{spec} {letters}");
        assert_eq!(status.observed_generation, Some(3));
        let condition = &status.conditions.unwrap()[0];
        let words = if wanted.3 > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), words, "{spec}");
        assert_eq!(condition.observed_generation, Some(3));
    }
}

#[test]
fn announced_pods_do_not_count_until_they_are_given_up() {
    let announced = json!({
        "p0": "2026-01-01T00:04:00Z", "p1": "2026-01-01T00:01:00Z", "p2": "2026-01-01T00:04:30Z", "gone": "2026-01-01T00:04:30Z"});
    let status = json!({"disruptedPods": announced, "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    let plan = plan(&budget(&json!({"minAvailable": 1}), &status), &pods("rrdr"), None, now());
    assert_eq!(plan.status.current_healthy, Some(2), "p1 is given up, p3 was never announced");
    assert_eq!(plan.status.disrupted_pods.unwrap().keys().collect::<Vec<_>>(), ["p0"]);
    assert_eq!(plan.not_deleted.len(), 1);
    assert_eq!(plan.requeue, Some(Duration::from_millis(60_001)));
}

#[test]
fn what_cannot_be_counted_is_not_allowed() {
    let status =
        json!({"currentHealthy": 3, "desiredHealthy": 1, "disruptionsAllowed": 2, "expectedPods": 3});
    let budget = budget(&json!({"maxUnavailable": 1}), &status);
    let why = "found no controllers for pod \"p0\"".to_owned();
    let plan = plan(&budget, &pods("rrr"), Some(Err(why.clone())), now());
    assert_eq!(plan.status.disruptions_allowed, Some(0));
    let condition = &plan.status.conditions.unwrap()[0];
    assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("SyncFailed", why.as_str()));
    assert_eq!(plan.events[0].1, "CalculateExpectedPodCountFailed");
}

#[test]
fn events_about_pods() {
    let selector = json!({"matchLabels": {"app": "web"}});
    let budget = budget(&json!({"maxUnavailable": 1, "selector": selector}), &Value::Null);
    let none = plan(&budget, &[], Some(Ok(expected(0))), now());
    assert_eq!((none.events[0].1, none.events[0].2.as_str()), ("NoPods", "No matching pods found"));
    let unmanaged = Expected { pods: 0, unmanaged: vec!["p0".into()] };
    let plan = plan(&budget, &pods("r"), Some(Ok(unmanaged)), now());
    assert_eq!(plan.events[0].1, "UnmanagedPods");
    let selector = "(selector: &LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},})";
    assert!(plan.events[0].2.contains(selector), "{}", plan.events[0].2);
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let first = plan(&budget(&json!({"minAvailable": 2}), &Value::Null), &pods("rrr"), None, now()).status;
    let mut again = budget(&json!({"minAvailable": 2}), &Value::Null);
    again.status = Some(first.clone());
    let later = now() + Duration::from_secs(9);
    assert_eq!(plan(&again, &pods("rrr"), None, later).status, first);
    let changed = plan(&again, &pods("rru"), None, later).status;
    assert_eq!(changed.conditions.unwrap()[0].last_transition_time, Time(later));
}

#[test]
fn conditions_become_stale() {
    let pod = |reason: &str, deleting: bool, since: &str| -> Pod {
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": since});
        let mut pod = json!({"metadata": {}, "status": {"phase": "Running", "conditions": [condition]}});
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:04:00Z");
        }
        serde_json::from_value(pod).unwrap()
    };
    let cases = [
        (pod("EvictionByEvictionAPI", false, "2026-01-01T00:04:00Z"), Some(60)),
        (pod("EvictionByEvictionAPI", false, "2026-01-01T00:01:00Z"), Some(0)),
        (pod("EvictionByEvictionAPI", true, "2026-01-01T00:01:00Z"), None),
        (pod("TerminationByKubelet", false, "2026-01-01T00:01:00Z"), None),
        (Pod::default(), None),
    ];
    for (pod, seconds) in cases {
        assert_eq!(stale(&pod, now()), seconds.map(Duration::from_secs), "{pod:?}");
    }
}
