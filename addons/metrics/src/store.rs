//! The last two readings of everything, and the usage between them. Pure.
//!
//! As metrics-server's `pkg/storage`: usage is of the time between the two last readings of one run of a container; of a
//! run that began after the reading before, it is of the time since its start. Upstream waits ten seconds for that,
//! because what cAdvisor says is that old; our readings are of their moment, and one second is enough.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::summary::{Cpu, Memory, Summary};

/// Shortest time since a container's start of which its usage is told.
const SHORTEST: Duration = Duration::from_secs(1);

/// Namespace and name.
pub type PodKey = (String, String);

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    start: Timestamp,
    at: Timestamp,
    cpu_nanos: u64,
    memory_bytes: u64,
}

/// The last reading and the one before it, which may be the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    last: Point,
    before: Option<Point>,
}

/// What something uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// The end of the window.
    pub at: Timestamp,
    /// The time that the CPU figure is of.
    pub window: Duration,
    /// Thousand-millionths of a core.
    pub cpu_nano_cores: u64,
    /// Working set.
    pub memory_bytes: u64,
}

/// Readings of all nodes and pods.
#[derive(Debug, Default)]
pub struct Store {
    nodes: HashMap<String, Pair>,
    pods: HashMap<PodKey, HashMap<String, Pair>>,
}

impl Store {
    /// Takes a round of readings. What none of them names is forgotten.
    pub fn put(&mut self, round: &[Summary]) {
        let before = std::mem::take(self);
        for summary in round {
            let node = &summary.node;
            if let Some(point) = point(node.start_time, node.cpu.as_ref(), node.memory.as_ref()) {
                let pair = follow(before.nodes.get(&node.node_name), point, false);
                self.nodes.insert(node.node_name.clone(), pair);
            }
            for pod in &summary.pods {
                let key = (pod.pod_ref.namespace.clone(), pod.pod_ref.name.clone());
                let known = before.pods.get(&key);
                // a container that was not measured makes the pod unknown
                let containers = pod.containers.iter().map(|container| {
                    let point =
                        point(container.start_time, container.cpu.as_ref(), container.memory.as_ref())?;
                    let known = known.and_then(|known| known.get(&container.name));
                    Some((container.name.clone(), follow(known, point, true)))
                });
                if let Some(containers) = containers.collect::<Option<HashMap<String, Pair>>>() {
                    self.pods.insert(key, containers);
                }
            }
        }
    }

    /// A node's usage.
    pub fn node(&self, name: &str) -> Option<Usage> {
        self.nodes.get(name)?.usage()
    }

    /// The usage of a pod's containers by name, in order; `None` if that of one of them is not known yet.
    pub fn pod(&self, key: &PodKey) -> Option<Vec<(&str, Usage)>> {
        let containers = self.pods.get(key).filter(|containers| !containers.is_empty())?;
        let usage = containers.iter().map(|(name, pair)| Some((name.as_str(), pair.usage()?)));
        let mut usage: Vec<(&str, Usage)> = usage.collect::<Option<_>>()?;
        usage.sort_by_key(|(name, _)| *name);
        Some(usage)
    }

    /// All pods that were measured.
    pub fn pods(&self) -> impl Iterator<Item = &PodKey> {
        self.pods.keys()
    }

    /// All nodes that were measured.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }
}

fn point(start: Option<Timestamp>, cpu: Option<&Cpu>, memory: Option<&Memory>) -> Option<Point> {
    let cpu = cpu?;
    Some(Point {
        start: start.unwrap_or_default(),
        at: cpu.time,
        cpu_nanos: cpu.usage_core_nano_seconds?,
        memory_bytes: memory?.working_set_bytes?,
    })
}

/// A reading after what is known.
fn follow(known: Option<&Pair>, last: Point, from_start: bool) -> Pair {
    let same_run = |earlier: &Point| last.start <= earlier.at && last.cpu_nanos >= earlier.cpu_nanos;
    let before =
        known.and_then(|known| if known.last.at < last.at { Some(known.last) } else { known.before });
    let start = Point { at: last.start, cpu_nanos: 0, ..last };
    let started = || Some(start).filter(|start| from_start && start.at > Timestamp::UNIX_EPOCH);
    Pair { last, before: before.filter(same_run).or_else(started) }
}

impl Pair {
    fn usage(&self) -> Option<Usage> {
        let before = self.before?;
        let window = Duration::try_from(self.last.at.duration_since(before.at)).ok()?;
        if window < SHORTEST {
            return None;
        }
        let used = u128::from(self.last.cpu_nanos.saturating_sub(before.cpu_nanos));
        let rate = used * 1_000_000_000 / window.as_nanos();
        Some(Usage {
            at: self.last.at,
            window,
            cpu_nano_cores: u64::try_from(rate).unwrap_or(u64::MAX),
            memory_bytes: self.last.memory_bytes,
        })
    }
}

#[cfg(test)]
pub mod testing {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    pub fn time(millis: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_millis(millis)
    }

    /// A node `n1` started at 1 s with pods of `(pod, container, start millis, cpu nanos)`, read at `millis`.
    pub fn summary(millis: i64, node_nanos: u64, containers: &[(&str, &str, i64, u64)]) -> Summary {
        let cpu = |nanos: u64| json!({"time": time(millis), "usageCoreNanoSeconds": nanos});
        let memory = json!({"workingSetBytes": 2048});
        let mut pods: Vec<Value> = Vec::new();
        for (pod, name, start, nanos) in containers {
            let container =
                json!({"name": name, "startTime": time(*start), "cpu": cpu(*nanos), "memory": memory});
            match pods.iter_mut().find(|one| one["podRef"]["name"] == *pod) {
                Some(one) => one["containers"].as_array_mut().unwrap().push(container),
                None => pods.push(
                    json!({"podRef": {"name": pod, "namespace": "default"}, "containers": [container]}),
                ),
            }
        }
        let node =
            json!({"nodeName": "n1", "startTime": time(1000), "cpu": cpu(node_nanos), "memory": memory});
        serde_json::from_value(json!({"node": node, "pods": pods})).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{summary, time};
    use super::*;

    fn key(pod: &str) -> PodKey {
        ("default".to_owned(), pod.to_owned())
    }

    fn cores(store: &Store, pod: &str) -> Option<Vec<(String, u64, u64)>> {
        let usage = store.pod(&key(pod))?;
        let told = |(name, usage): (&str, Usage)| {
            (name.to_owned(), usage.cpu_nano_cores, usage.window.as_millis().try_into().unwrap_or(0))
        };
        Some(usage.into_iter().map(told).collect())
    }

    #[test]
    fn usage_is_of_the_time_between_two_readings() {
        let mut store = Store::default();
        let second = 1_000_000_000;
        store.put(&[summary(100_000, 50 * second, &[("a", "x", 90_000, 5 * second), ("a", "y", 99_500, 1)])]);
        assert_eq!(store.node("n1"), None, "of a node the time since its start says little");
        assert_eq!(cores(&store, "a"), None, "y is too young");
        store.put(&[summary(115_000, 65 * second, &[("a", "x", 90_000, 8 * second), ("a", "y", 99_500, 1)])]);
        assert_eq!(cores(&store, "a"), Some(vec![("x".into(), second / 5, 15_000), ("y".into(), 0, 15_000)]));
        let node = store.node("n1").map(|usage| (usage.cpu_nano_cores, usage.at, usage.memory_bytes));
        assert_eq!(node, Some((second, time(115_000), 2048)));
    }

    #[test]
    fn a_restart_and_a_late_answer_do_not_mix_runs() {
        let mut store = Store::default();
        let second = 1_000_000_000;
        store.put(&[summary(100_000, 0, &[("a", "x", 90_000, 5 * second)])]);
        // restarted at 110 s
        store.put(&[summary(115_000, 0, &[("a", "x", 110_000, second)])]);
        assert_eq!(cores(&store, "a"), Some(vec![("x".into(), second / 5, 5_000)]));
        // the same reading once more: what was known stays
        store.put(&[summary(115_000, 0, &[("a", "x", 110_000, second)])]);
        assert_eq!(cores(&store, "a"), Some(vec![("x".into(), second / 5, 5_000)]));
        store.put(&[summary(130_000, 0, &[])]);
        assert_eq!((cores(&store, "a"), store.pods().count()), (None, 0));
    }

    proptest::proptest! {
        #[test]
        fn no_times_or_counters_panic(readings in proptest::collection::vec((0_i64..9_000_000, 0_i64..9_000_000, proptest::num::u64::ANY), 1..6)) {
            let mut store = Store::default();
            for (at, start, nanos) in readings {
                store.put(&[summary(at, nanos, &[("a", "x", start, nanos)])]);
                let _ = (store.node("n1"), cores(&store, "a"));
            }
        }
    }
}
