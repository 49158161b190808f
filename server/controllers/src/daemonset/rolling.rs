//! Replacing the pods of an older template (upstream's `update.go`): without surge an old pod goes first, with surge a new
//! one comes first. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetSpec;
use k8s_openapi::api::core::v1::Pod;

use super::{HASH_LABEL, Plan};
use crate::deployment::resolve;
use crate::words::{created, is_available, is_ready, uid};

/// The pods of one node that have neither ended nor are on their way.
pub(super) struct Seat {
    pub node: String,
    /// A new pod should run there.
    pub run: bool,
    pub pods: Vec<Arc<Pod>>,
}

/// The present template, and when a pod of it counts.
#[derive(Clone, Copy)]
pub(super) struct Present<'a> {
    pub hash: &'a str,
    pub min_ready: i32,
    pub now: Timestamp,
}

impl Present<'_> {
    pub fn has(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(HASH_LABEL)).is_some_and(|hash| hash == self.hash)
    }

    pub fn available(&self, pod: &Pod) -> bool {
        is_available(pod, self.min_ready, self.now)
    }
}

/// `(maxSurge, maxUnavailable)` of so many nodes; never both zero.
fn fenceposts(spec: &DaemonSetSpec, nodes: i32) -> (i32, i32) {
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone());
    let rolling = rolling.unwrap_or_default();
    let surge = rolling.max_surge.map_or(0, |surge| resolve(Some(&surge), "0%", nodes, true));
    let unavailable = rolling.max_unavailable.map_or(1, |most| resolve(Some(&most), "0%", nodes, true));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Whether a node may have a new pod beside an old one.
pub(super) fn surges(spec: &DaemonSetSpec) -> bool {
    let on_delete = spec.update_strategy.as_ref().is_some_and(|s| s.type_.as_deref() == Some("OnDelete"));
    !on_delete && fenceposts(spec, 1).0 > 0
}

/// Those of a node's running pods that are too many. With surge two may stay: an old one that is ready, until the new one
/// is available.
pub(super) fn surplus(mut pods: Vec<Arc<Pod>>, surge: bool, present: Present<'_>) -> Vec<Arc<Pod>> {
    pods.sort_by_key(|pod| created(&pod.metadata));
    if !surge {
        return pods.split_off(pods.len().min(1));
    }
    let (mut new, mut old): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| present.has(pod));
    let mut many = new.split_off(new.len().min(1));
    many.extend(old.split_off(old.len().min(1)));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!is_ready(old) || present.available(new))
    {
        many.push(old.clone());
    }
    many
}

/// The new and the old pod of a node; `None` if there are two of either.
fn pair<'a>(seat: &'a Seat, present: &Present<'_>) -> Option<(Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>)> {
    let (new, old): (Vec<_>, Vec<_>) = seat.pods.iter().partition(|pod| present.has(pod));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// Adds to the plan what an update does next. `desired` nodes should have a pod.
pub(super) fn roll(
    plan: &mut Plan,
    spec: &DaemonSetSpec,
    seats: &[Seat],
    desired: i32,
    present: Present<'_>,
) {
    if spec.update_strategy.as_ref().is_some_and(|s| s.type_.as_deref() == Some("OnDelete")) {
        return;
    }
    let (surge, unavailable) = fenceposts(spec, desired);
    let (delete, create) = match surge {
        0 => (replace(seats, unavailable, present), Vec::new()),
        surge => surging(seats, surge, desired, present),
    };
    for pod in delete {
        if plan.delete.iter().all(|other| uid(&other.metadata) != uid(&pod.metadata)) {
            plan.delete.push(pod);
        }
    }
    plan.create.extend(create);
}

fn room(most: i32, taken: i32) -> usize {
    usize::try_from(most - taken).unwrap_or(0)
}

/// Old pods that go, so that at most so many nodes are without one; those that are of no use go at once.
fn replace(seats: &[Seat], unavailable: i32, present: Present<'_>) -> Vec<Arc<Pod>> {
    let (mut without, mut useless, mut candidates) = (0, Vec::new(), Vec::new());
    for seat in seats {
        match pair(seat, &present) {
            None | Some((None, None) | (Some(_), Some(_))) => without += 1,
            Some((Some(new), None)) => without += i32::from(!present.available(new)),
            Some((None, Some(old))) if present.available(old) => candidates.push(old.clone()),
            Some((None, Some(old))) => useless.push(old.clone()),
        }
    }
    candidates.truncate(room(unavailable, without));
    useless.extend(candidates);
    useless
}

/// Old pods that go, and nodes that get a new one beside an old one.
fn surging(seats: &[Seat], surge: i32, desired: i32, present: Present<'_>) -> (Vec<Arc<Pod>>, Vec<String>) {
    let (mut delete, mut unwanted) = (Vec::new(), Vec::new());
    let (mut create, mut candidates) = (Vec::new(), Vec::new());
    let (mut extra, mut available) = (0, 0);
    for seat in seats {
        let Some((new, old)) = pair(seat, &present) else {
            extra += 1;
            continue;
        };
        available += i32::from(old.or(new).is_some_and(|pod| present.available(pod)));
        match (new, old) {
            (_, None) => {}
            (Some(new), Some(old)) if present.available(new) => delete.push(old.clone()),
            (Some(_), Some(_)) => extra += 1,
            (None, Some(old)) => match (present.available(old), seat.run) {
                (false, false) => delete.push(old.clone()),
                (false, true) => create.push(seat.node.clone()),
                (true, false) => unwanted.push(old.clone()),
                (true, true) => candidates.push(seat.node.clone()),
            },
        }
    }
    // where the pods may not be any more they go when as many are available elsewhere
    unwanted.truncate(room(available, desired));
    delete.extend(unwanted);
    candidates.truncate(room(surge, extra));
    create.extend(candidates);
    (delete, create)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    /// `n` new, `o` old; capital: ready.
    fn pod(node: &str, letter: char) -> Arc<Pod> {
        let hash = if letter.eq_ignore_ascii_case(&'n') { "new" } else { "old" };
        let ready = if letter.is_uppercase() { "True" } else { "False" };
        let condition =
            json!({"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let name = format!("{node}-{letter}");
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "labels": {HASH_LABEL: hash}},
                "status": {"phase": "Running", "conditions": [condition]}}))
            .unwrap(),
        )
    }

    fn spec(rolling: Value) -> DaemonSetSpec {
        serde_json::from_value(json!({
            "selector": {}, "template": {}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}))
        .unwrap()
    }

    fn present() -> Present<'static> {
        Present { hash: "new", min_ready: 0, now: "2026-01-01T01:00:00Z".parse().unwrap() }
    }

    /// What an update does on nodes `a`, `b` and so on with these pods; `!` before them: none should be there.
    fn does(rolling: Value, nodes: &str) -> (String, String) {
        let mut seats = Vec::new();
        for (letters, node) in nodes.split(' ').zip("abcdefgh".chars()) {
            let (run, letters) = (!letters.starts_with('!'), letters.trim_start_matches(['!', '-']));
            let node = node.to_string();
            let pods = letters.chars().map(|letter| pod(&node, letter)).collect();
            seats.push(Seat { node, run, pods });
        }
        let desired = i32::try_from(seats.iter().filter(|seat| seat.run).count()).unwrap();
        let mut plan = Plan::default();
        roll(&mut plan, &spec(rolling), &seats, desired, present());
        let names = plan.delete.iter().map(|pod| pod.metadata.name.clone().unwrap());
        (names.collect::<Vec<_>>().join(" "), plan.create.join(" "))
    }

    #[test]
    fn without_surge_old_pods_go_as_far_as_nodes_may_be_without() {
        let cases = [
            (json!({}), "O O N", "a-O"),
            (json!({}), "O O n", ""),
            (json!({}), "O O -", ""),
            (json!({}), "o O n", "a-o"),
            // what is of no use does not count
            (json!({}), "o O N", "a-o b-O"),
            (json!({"maxUnavailable": 2}), "O O O", "a-O b-O"),
            (json!({"maxUnavailable": "34%"}), "O O O", "a-O b-O"),
            (json!({"maxUnavailable": 0, "maxSurge": 0}), "O O O", "a-O"),
            (json!({"maxUnavailable": 1}), "NO O N", ""),
        ];
        for (rolling, nodes, delete) in cases {
            assert_eq!(does(rolling.clone(), nodes), (delete.to_owned(), String::new()), "{rolling} {nodes}");
        }
    }

    #[test]
    fn with_surge_new_pods_come_first() {
        let surge = |surge: Value| json!({"maxSurge": surge, "maxUnavailable": 0});
        let cases = [
            (surge(json!(1)), "O O N", "", "a"),
            (surge(json!(2)), "O O O", "", "a b"),
            (surge(json!("50%")), "O O O", "", "a b"),
            // one is on its way
            (surge(json!(1)), "On O O", "", ""),
            (surge(json!(1)), "ON O O", "a-O", "b"),
            // an old pod that is of no use takes no room
            (surge(json!(1)), "o O O", "", "a b"),
            // where none should be, the old one waits for one elsewhere
            (surge(json!(1)), "!O n", "", ""),
            (surge(json!(1)), "!O N", "a-O", ""),
            (surge(json!(1)), "!o n", "a-o", ""),
            (surge(json!(1)), "N N N", "", ""),
        ];
        for (rolling, nodes, delete, create) in cases {
            let done = does(rolling.clone(), nodes);
            assert_eq!(done, (delete.to_owned(), create.to_owned()), "{rolling} {nodes}");
        }
    }

    #[test]
    fn pods_that_are_too_many() {
        let many = |letters: &str, surge: bool| {
            let pods = letters.chars().map(|letter| pod("a", letter)).collect();
            let many = surplus(pods, surge, present());
            many.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let cases = [
            ("O", false, ""),
            ("ON", false, "a-N"),
            ("O", true, ""),
            ("On", true, ""),
            ("ON", true, "a-O"),
            ("on", true, "a-o"),
            ("OOn", true, "a-O"),
        ];
        for (letters, surge, expected) in cases {
            assert_eq!(many(letters, surge), expected, "{letters} {surge}");
        }
        assert!(!surges(&spec(json!({}))) && surges(&spec(json!({"maxSurge": "1%"}))));
    }
}
