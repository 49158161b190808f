//! Tables of nodes with pods, and who goes.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::plan::{Decision, Nomination, schedule};

fn pod(name: &str, cpu: &str, priority: i32, more: Value) -> Arc<PodInfo> {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "d", "labels": {"app": name}},
        "spec": {"priority": priority,
            "containers": [{"name": "a", "resources": {"requests": {"cpu": cpu, "memory": "1"}}}]},
        "status": more["status"],
    });
    for (key, value) in more["metadata"].as_object().into_iter().flatten() {
        object["metadata"][key] = value.clone();
    }
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(object).unwrap())))
}

/// Nodes of one CPU with these pods: name, CPU, priority, second of the start.
fn world(nodes: &[&[(&str, &str, i32, u32)]]) -> World {
    let mut world = World::default();
    for (at, pods) in nodes.iter().enumerate() {
        let name = format!("n{at}");
        let node = json!({"metadata": {"name": name},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9"}}});
        world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
        for (pod_name, cpu, priority, second) in *pods {
            let started = json!({"status": {"startTime": format!("2026-01-01T00:00:{second:02}Z")}});
            world.apply_pod(pod(pod_name, cpu, *priority, started), &name);
        }
    }
    world
}

fn budget(world: &mut World, app: &str, allowed: i32) {
    let budget = json!({"metadata": {"name": app, "namespace": "d"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    let budget = Arc::new(serde_json::from_value(budget).unwrap());
    world.budgets.entry("d".to_owned()).or_default().insert(app.to_owned(), budget);
}

/// `node: victims` of a pod of half a CPU and priority 10.
fn room(world: &World) -> String {
    match schedule(&pod("p", "500m", 10, json!({})), world, 0) {
        Decision::Unschedulable { nomination: Nomination::New(found), .. } => {
            format!("{}: {}", found.node, found.victims.join(" "))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_least_harm_is_done() {
    for (nodes, expected) in [
        // as many stay as can, the most important first
        (vec![&[("a", "500m", 1, 0), ("b", "500m", 2, 0)][..]], "n0: d/a"),
        (vec![&[("a", "500m", 1, 5), ("b", "500m", 1, 3)][..]], "n0: d/a"),
        // the lowest of the highest priorities, then the smallest sum, then the latest start
        (vec![&[("a", "1", 5, 0)][..], &[("b", "1", 4, 0)]], "n1: d/b"),
        (vec![&[("a", "600m", 4, 0), ("b", "400m", 4, 0)][..], &[("c", "1", 4, 0)]], "n0: d/a"),
        (vec![&[("a", "1", 4, 1)][..], &[("b", "1", 4, 2)]], "n1: d/b"),
        (vec![&[("a", "600m", 4, 0), ("b", "400m", -9, 0)][..], &[("c", "501m", 4, 9)]], "n1: d/c"),
    ] {
        assert_eq!(room(&world(&nodes)), expected, "{nodes:?}");
    }
}

#[test]
fn budgets_are_broken_last() {
    let mut two = world(&[&[("a", "1", 1, 0)], &[("b", "1", 5, 0)]]);
    assert_eq!(room(&two), "n0: d/a");
    budget(&mut two, "a", 1);
    assert_eq!(room(&two), "n0: d/a", "one may go");
    budget(&mut two, "a", 0);
    assert_eq!(room(&two), "n1: d/b");
    budget(&mut two, "b", 0);
    assert_eq!(room(&two), "n0: d/a", "both are protected");
    let mut one = world(&[&[("a", "500m", 1, 0), ("b", "500m", 5, 0)]]);
    budget(&mut one, "a", 0);
    assert_eq!(room(&one), "n0: d/b");
}

#[test]
fn promised_room_is_kept_from_the_less_important() {
    let mut world = world(&[&[("a", "200m", 1, 0)]]);
    let waiting = pod("w", "600m", 7, json!({}));
    world.nominate(&waiting, Some("n0"));
    let decide = |priority: i32, world: &World| schedule(&pod("p", "400m", priority, json!({})), world, 0);
    assert!(matches!(decide(8, &world), Decision::Bind { .. }));
    let Decision::Unschedulable { message, .. } = decide(0, &world) else { panic!("bound") };
    let text = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
                1 No preemption victims found for incoming pod.";
    assert_eq!(message, text);
    world.forget_nominated("d/w");
    assert!(matches!(decide(0, &world), Decision::Bind { .. }));
}

#[test]
fn a_pod_waits_for_its_victims_to_end() {
    let ends = json!({
        "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    });
    let mut world = world(&[&[], &[("b", "1", 1, 0)]]);
    world.apply_pod(pod("a", "1", 1, ends), "n0");
    let waiting = pod("p", "1", 9, json!({"status": {"nominatedNodeName": "n0"}}));
    let Decision::Unschedulable { message, nomination, .. } = schedule(&waiting, &world, 0) else {
        panic!("bound")
    };
    assert_eq!(nomination, Nomination::Kept);
    let text = "0/2 nodes are available: 2 Insufficient cpu. \
                no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node.";
    assert_eq!(message, text);
}

#[test]
fn a_pod_that_must_not_preempt_says_so() {
    let mut never = pod("p", "1", 9, json!({}));
    let object = Arc::make_mut(&mut Arc::make_mut(&mut never).pod);
    object.spec.as_mut().unwrap().preemption_policy = Some("Never".into());
    let Decision::Unschedulable { message, nomination, .. } =
        schedule(&never, &world(&[&[("a", "1", 1, 0)]]), 0)
    else {
        panic!("bound")
    };
    assert_eq!(nomination, Nomination::Kept);
    let text = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.";
    assert_eq!(message, text);
}

#[test]
fn a_node_alone_says_what_the_world_would_and_both_are_as_before() {
    let mut state = 7_u64;
    let mut below = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut found = 0;
    for _ in 0..2000 {
        let mut some = |letter: char, most: u64| {
            let one = |at: u64| {
                let (cpu, priority) = (below(7) + 1, below(12) as i32);
                pod(&format!("{letter}{at}"), &format!("{cpu}00m"), priority, json!({}))
            };
            (0..most).map(one).collect::<Vec<_>>()
        };
        let (there, waiting, wants) = (some('a', 6), some('w', 2), some('p', 1));
        let wants = &wants[0];
        let mut before = world(&[&[]]);
        there.into_iter().for_each(|other| before.apply_pod(other, "n0"));
        waiting.iter().for_each(|other| before.nominate(other, Some("n0")));
        let (mut one, mut other) = (before.clone(), before.clone());
        let node = one.node("n0").unwrap();
        let mut lower: Vec<_> =
            node.pods.values().filter(|o| o.priority() < wants.priority()).cloned().collect();
        lower.sort_by_key(importance);
        let (protected, free) = lower.split_at(lower.len() / 3);
        let promised = promised(wants, "n0", &one);
        let shown = |result: Result<Victims, Vec<String>>| {
            result.map(|gone| (gone.violating, gone.pods.iter().map(|pod| pod.key()).collect::<Vec<_>>()))
        };
        let alone = OnNode { pod: wants, node: one.node_mut("n0").unwrap(), promised };
        let alone = shown(tried(&mut { alone }, protected.to_vec(), free.to_vec()));
        let whole = InWorld { pod: wants, node: "n0", world: &mut other };
        let whole = shown(tried(&mut { whole }, protected.to_vec(), free.to_vec()));
        assert_eq!(alone, whole);
        found += usize::from(alone.is_ok_and(|(_, gone)| !gone.is_empty()));
        let held = |world: &World| {
            let node = world.node("n0").unwrap();
            (node.pods.keys().cloned().collect::<Vec<_>>(), format!("{:?}", node.requested), node.non_zero)
        };
        assert_eq!((held(&one), held(&other)), (held(&before), held(&before)));
    }
    assert!(found > 200, "{found}");
}
