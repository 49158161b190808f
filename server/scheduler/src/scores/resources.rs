//! NodeResourcesFit's three strategies and NodeResourcesBalancedAllocation (`noderesources/*.go`).

use super::MAX;
use crate::pods::PodInfo;
use crate::world::NodeInfo;

/// How NodeResourcesFit scores CPU and memory, each of weight 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The emptier, the better.
    #[default]
    LeastAllocated,
    /// The fuller, the better.
    MostAllocated,
    /// By points of use (0 to 100) and score (0 to 10), straight lines between.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

impl Strategy {
    fn score(&self, used: i64, has: i64) -> i64 {
        match self {
            Self::LeastAllocated if used > has => 0,
            Self::LeastAllocated => (has - used) * MAX / has,
            Self::MostAllocated => used.min(has) * MAX / has,
            Self::RequestedToCapacityRatio(shape) if used > has => on_line(shape, MAX),
            Self::RequestedToCapacityRatio(shape) => on_line(shape, used * MAX / has),
        }
    }
}

/// The score at `x` per cent of use; beyond the ends it is that of the end.
fn on_line(shape: &[(i64, i64)], x: i64) -> i64 {
    let scaled = |score: i64| score * MAX / 10;
    let Some(at) = shape.iter().position(|(use_, _)| x <= *use_) else {
        return shape.last().map_or(0, |(_, score)| scaled(*score));
    };
    let (right, above) = (shape[at].0, scaled(shape[at].1));
    match at.checked_sub(1).map(|left| shape[left]) {
        None => above,
        Some((left, score)) => scaled(score) + (above - scaled(score)) * (x - left) / (right - left),
    }
}

/// NodeResourcesFit.
pub fn fit(strategy: &Strategy, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let (cpu, memory) = (node.non_zero.0 + pod.non_zero.0, node.non_zero.1 + pod.non_zero.1);
    let (mut sum, mut weight) = (0, 0);
    for (used, has) in [(cpu, node.allocatable.milli_cpu), (memory, node.allocatable.memory)] {
        if has > 0 {
            (sum, weight) = (sum + strategy.score(used, has), weight + 1);
        }
    }
    match (strategy, weight) {
        (_, 0) => 0,
        (Strategy::RequestedToCapacityRatio(_), weight) => (sum as f64 / f64::from(weight)).round() as i64,
        (_, weight) => sum / i64::from(weight),
    }
}

/// NodeResourcesBalancedAllocation: the less CPU and memory differ in use, the better. Pods that ask for neither
/// are not judged.
pub fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    if (pod.requests.milli_cpu, pod.requests.memory) == (0, 0) {
        return 0;
    }
    let share = |used: i64, has: i64| (used as f64 / has as f64).min(1.0);
    let (has, used, more) = (&node.allocatable, &node.requested, &pod.requests);
    let differ = match (has.milli_cpu, has.memory) {
        (0, _) | (_, 0) => 0.0,
        (cpu, memory) => {
            share(used.milli_cpu + more.milli_cpu, cpu) - share(used.memory + more.memory, memory)
        }
    };
    ((1.0 - (differ / 2.0).abs()) * MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies() {
        let ratio = Strategy::RequestedToCapacityRatio(vec![(0, 0), (50, 10), (100, 5)]);
        for (strategy, used, score) in [
            (Strategy::LeastAllocated, 250, 75),
            (Strategy::LeastAllocated, 1001, 0),
            (Strategy::MostAllocated, 250, 25),
            (Strategy::MostAllocated, 1500, 100),
            (ratio.clone(), 250, 50),
            (ratio.clone(), 500, 100),
            (ratio.clone(), 750, 75),
            (ratio, 2000, 50),
        ] {
            assert_eq!(strategy.score(used, 1000), score, "{strategy:?} {used}");
        }
    }
}
