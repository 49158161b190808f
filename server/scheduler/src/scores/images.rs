//! ImageLocality: bytes of the pod's images that a node has already, the more the more nodes have them.

use super::MAX;
use crate::pods::PodInfo;
use crate::world::{NodeInfo, World};

/// Sizes between which an image counts.
const SMALL: i64 = 23 << 20;
const LARGE: i64 = 1000 << 20;

/// The score of one node.
pub fn locality(pod: &PodInfo, node: &NodeInfo, world: &World) -> i64 {
    let size = |name: &String| {
        let size = node.images.get(name)?;
        let spread = world.nodes_with_image(name) as f64 / world.len() as f64;
        Some((*size as f64 * spread) as i64)
    };
    let sum: i64 = pod.images.iter().filter_map(size).sum();
    let spec = pod.spec();
    let containers = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
    let high = LARGE * containers.max(1) as i64;
    (sum.clamp(SMALL, high) - SMALL) * MAX / (high - SMALL)
}
