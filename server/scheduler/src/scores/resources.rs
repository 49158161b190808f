//! NodeResourcesFit's three strategies and NodeResourcesBalancedAllocation (`noderesources/*.go`).

use super::MAX;
use crate::pods::PodInfo;
use crate::resources::Resources;
use crate::world::NodeInfo;

/// How NodeResourcesFit scores the use of a resource.
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

/// What a node has of a resource, what its pods use, and what one more asks for (`calculateResourceAllocatableRequest`).
/// An extended resource that the pod does not ask for is as none.
fn amounts(name: &str, pod: &PodInfo, node: &NodeInfo) -> (i64, i64, i64) {
    let (has, used, more) = (&node.allocatable, &node.requested, &pod.requests);
    match name {
        "cpu" => (has.milli_cpu, used.milli_cpu, more.milli_cpu),
        "memory" => (has.memory, used.memory, more.memory),
        "ephemeral-storage" => (has.ephemeral_storage, used.ephemeral_storage, more.ephemeral_storage),
        name => {
            let of = |resources: &Resources| resources.extended.get(name).copied().unwrap_or(0);
            if of(more) == 0 { (0, 0, 0) } else { (of(has), of(used), of(more)) }
        }
    }
}

/// NodeResourcesFit.
pub fn fit(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let strategy = &pod.profile.strategy;
    let by_ratio = matches!(strategy, Strategy::RequestedToCapacityRatio(_));
    let (mut sum, mut weights) = (0, 0);
    for (name, weight) in &pod.profile.resources {
        // of CPU and memory there are stand-ins for pods that ask for nothing
        let (has, used) = match name.as_str() {
            "cpu" => (node.allocatable.milli_cpu, node.non_zero.0 + pod.non_zero.0),
            "memory" => (node.allocatable.memory, node.non_zero.1 + pod.non_zero.1),
            name => {
                let (has, used, more) = amounts(name, pod, node);
                (has, used + more)
            }
        };
        let score = if has > 0 { strategy.score(used, has) } else { 0 };
        if has > 0 && (score > 0 || !by_ratio) {
            (sum, weights) = (sum + weight * score, weights + weight);
        }
    }
    match weights {
        0 => 0,
        weights if by_ratio => (sum as f64 / weights as f64).round() as i64,
        weights => sum / weights,
    }
}

/// NodeResourcesBalancedAllocation: the less the resources differ in use, the better. Pods that ask for none of them
/// are not judged.
pub fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let all: Vec<(i64, i64, i64)> =
        pod.profile.balanced.iter().map(|name| amounts(name, pod, node)).collect();
    // an extended resource that the pod does not ask for has been left out, what it asks for has not
    if all.iter().all(|(_, _, more)| *more == 0) {
        return 0;
    }
    let share = |(has, used, more): &(i64, i64, i64)| ((used + more) as f64 / *has as f64).min(1.0);
    let shares: Vec<f64> = all.iter().filter(|(has, ..)| *has != 0).map(share).collect();
    let deviation = match &shares[..] {
        [] | [_] => 0.0,
        [one, other] => ((one - other) / 2.0).abs(),
        many => {
            let mean = many.iter().sum::<f64>() / many.len() as f64;
            (many.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / many.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * MAX as f64) as i64
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
