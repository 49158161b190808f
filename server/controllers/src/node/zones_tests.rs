//! Upstream's cases of zones (`TestMonitorNodeHealthEvictPodsWithDisruption`, `TestSwapUnreachableNotReadyTaints` and
//! `rate_limited_queue_test.go`), told as which node's turn it is at which second.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

struct Test {
    zones: Zones,
    start: Instant,
}

impl Test {
    /// Zones by name with how many nodes are ready and how many are lost; nodes are called `a0`, `a1` …, the lost first.
    fn new(zones: &[(&str, usize, usize)]) -> Self {
        let mut test = Self { zones: Zones::default(), start: Instant::now() };
        for (zone, ready, lost) in zones {
            test.are(zone, *ready, *lost, 0);
        }
        test
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn are(&mut self, zone: &str, ready: usize, lost: usize, second: u64) {
        for number in 0..ready + lost {
            let (name, is_ready) = (format!("{zone}{number}"), number >= lost);
            self.zones.set(&name, zone.to_owned(), is_ready, false, self.at(second));
            if is_ready {
                self.zones.spare(&name);
            } else {
                self.zones.enqueue(&name);
            }
        }
    }

    fn judge(&mut self, second: u64) -> Shift {
        self.zones.judge(self.at(second))
    }

    fn states(&self, zones: &[&str]) -> Vec<ZoneState> {
        zones.iter().map(|zone| self.zones.state_of(zone).unwrap()).collect()
    }

    /// Whose turn it is at each of the seconds up to `end`, after the first.
    fn turns(&mut self, from: u64, end: u64) -> Vec<(u64, String)> {
        let mut turns = Vec::new();
        for second in from..=end {
            turns.extend(self.zones.take(self.at(second)).into_iter().map(|name| (second, name)));
        }
        turns
    }
}

fn turn(second: u64, name: &str) -> (u64, String) {
    (second, name.to_owned())
}

#[test]
fn a_zones_state_is_by_count_and_share() {
    for (ready, lost, expected) in [
        (0, 0, ZoneState::Normal),
        (3, 0, ZoneState::Normal),
        (0, 1, ZoneState::Full),
        (0, 9, ZoneState::Full),
        // two of three are more than 55 %, but no more than two
        (1, 2, ZoneState::Normal),
        (2, 3, ZoneState::Partial),
        (4, 3, ZoneState::Normal),
        (9, 11, ZoneState::Partial),
        (10, 11, ZoneState::Normal),
        (1, 99, ZoneState::Partial),
    ] {
        assert_eq!(state(ready, lost), expected, "{ready} ready, {lost} lost");
    }
}

#[test]
fn one_node_in_ten_seconds_and_each_zone_for_itself() {
    let mut test = Test::new(&[("a", 9, 3), ("b", 9, 1), ("c", 4, 0)]);
    assert_eq!(test.judge(0), Shift::None);
    assert_eq!(test.states(&["a", "b", "c"]), [ZoneState::Normal; 3]);
    assert_eq!(test.turns(0, 60), [turn(0, "a0"), turn(0, "b0"), turn(10, "a1"), turn(20, "a2")]);
    assert_eq!(test.zones.next(), None);
}

#[test]
fn a_small_zone_in_part_is_left_alone_and_a_large_one_is_emptied_slowly() {
    let mut test = Test::new(&[("a", 2, 8), ("b", 20, 40), ("c", 5, 0)]);
    test.judge(0);
    assert_eq!(test.states(&["a", "b", "c"]), [ZoneState::Partial, ZoneState::Partial, ZoneState::Normal]);
    assert_eq!(test.turns(0, 250), [turn(0, "b0"), turn(100, "b1"), turn(200, "b2")]);
    assert_eq!(test.zones.next(), Some(test.at(300)));
}

#[test]
fn a_zone_that_is_lost_as_a_whole_is_emptied_at_the_usual_rate() {
    let mut test = Test::new(&[("a", 0, 5), ("b", 5, 0)]);
    assert_eq!(test.judge(0), Shift::None);
    assert_eq!(test.states(&["a", "b"]), [ZoneState::Full, ZoneState::Normal]);
    assert_eq!(test.turns(0, 25), [turn(0, "a0"), turn(10, "a1"), turn(20, "a2")]);
    // it returns: nobody's turn any more
    test.are("a", 5, 0, 26);
    assert_eq!(test.judge(26), Shift::None);
    assert!(test.turns(26, 100).is_empty());
    assert_eq!(test.states(&["a"]), [ZoneState::Normal]);
}

#[test]
fn while_all_is_lost_nobody_is_emptied() {
    let mut test = Test::new(&[("a", 0, 5), ("b", 0, 2)]);
    assert_eq!(test.judge(0), Shift::Cut);
    assert!(test.turns(0, 1000).is_empty() && test.zones.next().is_none());
    assert_eq!(test.judge(1000), Shift::None, "told once");
    // one is back: its zone is in part, the other one is lost
    test.are("b", 1, 1, 1000);
    assert_eq!(test.judge(1000), Shift::Back);
    // whoever was stopped waits first
    let turns = test.turns(1000, 1015);
    assert_eq!(turns, [turn(1010, "a0"), turn(1010, "b0")], "those that were in the queue");
}

#[test]
fn a_cluster_of_one_node_is_never_emptied() {
    let mut test = Test::new(&[("", 1, 0)]);
    assert_eq!(test.judge(0), Shift::None);
    test.are("", 0, 1, 5);
    assert_eq!(test.judge(5), Shift::Cut);
    assert!(test.turns(5, 500).is_empty());
}

#[test]
fn a_change_of_rate_does_not_bring_a_turn_forward() {
    let mut test = Test::new(&[("a", 60, 3), ("z", 1, 0)]);
    test.judge(0);
    assert_eq!(test.turns(0, 5), [turn(0, "a0")]);
    // from one in ten to one in a hundred seconds, and back
    test.are("a", 20, 43, 6);
    test.judge(6);
    assert_eq!((test.states(&["a"]), test.turns(6, 50)), (vec![ZoneState::Partial], vec![]));
    test.are("a", 60, 3, 51);
    test.judge(51);
    let turns = test.turns(51, 75);
    assert_eq!(turns.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [61, 71]);
}

#[test]
fn excluded_nodes_do_not_count_and_nodes_move_between_zones() {
    let mut test = Test::new(&[("a", 1, 0)]);
    test.zones.set("edge", "a".into(), false, true, test.start);
    test.judge(0);
    assert_eq!(test.states(&["a"]), [ZoneState::Normal]);
    assert!(test.zones.set("edge", "b".into(), false, false, test.start));
    assert!(!test.zones.set("edge", "b".into(), false, false, test.start), "no news");
    test.zones.enqueue("edge");
    test.judge(0);
    assert_eq!(test.states(&["b"]), [ZoneState::Full]);
    assert_eq!(test.turns(0, 0), [turn(0, "edge")]);
    test.zones.forget("edge");
    test.judge(1);
    assert_eq!(test.zones.state_of("b"), None);
}

#[test]
fn a_zone_is_region_and_zone() {
    let node = |labels: serde_json::Value| -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n", "labels": labels}})).unwrap()
    };
    assert_eq!(zone_of(&node(json!({}))), "");
    assert_eq!(zone_of(&node(json!({"topology.kubernetes.io/zone": "z"}))), ":\0:z");
    let both = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r",
        "failure-domain.beta.kubernetes.io/zone": "old"});
    assert_eq!(zone_of(&node(both)), "r:\0:old");
    assert!(is_excluded(&node(json!({"node.kubernetes.io/exclude-disruption": ""}))));
}
