//! The oracle: the scheduler and a plain, obviously right implementation decide for the same random pods in the same
//! random clusters. Each placement must be among the oracle's best, each refusal one there, for the same reasons.
//!
//! The planner lives as long as its cluster, so that what it keeps from pod to pod is judged as well. 10,000 pods by
//! default, 100,000 with `SAMPAN_TEST_LONG`, as many as `SAMPAN_ORACLE` says (`make sim`); a failing
//! seed is printed, and `SAMPAN_ORACLE_SEED` runs it alone.
#![allow(clippy::unwrap_used)]

mod generate;
mod objects;
mod plain;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use sampan_scheduler::plan::{Decision, Planner};
use sampan_scheduler::pods::PodInfo;
use sampan_scheduler::world::World;

use generate::Random;
use plain::Cluster;

/// Pods that each cluster is asked to take.
const PODS: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Both sides of one cluster.
#[derive(Default)]
struct Both {
    plain: Cluster,
    world: World,
}

impl Both {
    fn node(&mut self, node: Node) {
        let name = node.metadata.name.clone();
        self.plain.nodes.retain(|other| other.metadata.name != name);
        self.plain.nodes.push(node.clone());
        self.world.apply_node(Arc::new(node));
    }

    fn place(&mut self, pod: Pod, node: &str) {
        self.world.apply_pod(Arc::new(PodInfo::new(Arc::new(pod.clone()))), node);
        self.plain.pods.push((pod, node.to_owned()));
    }

    fn remove(&mut self, at: usize) {
        let (pod, _) = self.plain.pods.remove(at);
        self.world.delete_pod(&PodInfo::new(Arc::new(pod)).key());
    }
}

/// How a seed's cluster ended: placements, refusals.
fn run(seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let (mut both, mut planner) = (Both::default(), Planner::default());
    for (name, labels) in generate::namespaces() {
        both.plain.namespaces.insert(name.clone(), labels.clone());
        both.world.namespaces.insert(name, labels);
    }
    for (namespace, name, selector) in generate::replica_sets() {
        both.world.owners.set_controller("ReplicaSet", &namespace, &name, Some(selector.clone()));
        both.plain.replica_sets.insert((namespace, name), selector);
    }
    let nodes = random.below(7) + 1;
    (0..nodes).for_each(|at| both.node(generate::node(&mut random, at)));
    let templates: Vec<Pod> = (0..6).map(|_| generate::pod(&mut random)).collect();
    let (mut placed, mut refused) = (0, 0);
    for at in 0..PODS {
        if random.one_in(8) {
            let which = random.below(nodes);
            both.node(generate::node(&mut random, which));
        }
        if random.one_in(6) && !both.plain.pods.is_empty() {
            both.remove(random.below(both.plain.pods.len() as u64) as usize);
        }
        let mut pod = random.of(&templates).clone();
        pod.metadata.name = Some(format!("p{at}"));
        let verdict = both.plain.judge(&pod);
        let info = PodInfo::new(Arc::new(pod.clone()));
        match planner.schedule(&info, &mut both.world, random.next()) {
            Decision::Bind { node, .. } => {
                let best =
                    verdict.unwrap_or_else(|why| panic!("seed {seed}, pod {at}: on {node}, but {why}"));
                assert!(best.contains(&node), "seed {seed}, pod {at}: on {node}, not on one of {best:?}");
                both.place(pod, &node);
                placed += 1;
            }
            Decision::Unschedulable { message, .. } => {
                let why =
                    verdict.err().unwrap_or_else(|| panic!("seed {seed}, pod {at}: refused: {message}"));
                assert!(message.starts_with(&why), "seed {seed}, pod {at}: {message}, not {why}");
                refused += 1;
            }
            Decision::Failed { message } => panic!("seed {seed}, pod {at}: {message}"),
        }
    }
    (placed, refused)
}

#[test]
fn decisions_are_the_oracles() {
    if let Some(seed) = number("SAMPAN_ORACLE_SEED") {
        run(seed);
        return;
    }
    let pods = number("SAMPAN_ORACLE").unwrap_or(if std::env::var_os("SAMPAN_TEST_LONG").is_some() {
        100_000
    } else {
        10_000
    });
    let (mut placed, mut refused) = (0, 0);
    for seed in 0..pods.div_ceil(PODS) {
        let (more, less) = run(seed);
        (placed, refused) = (placed + more, refused + less);
    }
    println!("{placed} placed, {refused} refused");
    assert!(placed * 10 > pods && refused * 10 > pods, "too one-sided: {placed} placed, {refused} refused");
}
