//! The native addons, in the order in which they are listed and started: the one list to add a new one to.

use std::sync::Arc;

use sampan_addon::Native;

/// Every native addon of this binary.
pub fn natives() -> Vec<Arc<dyn Native>> {
    vec![Arc::new(sampan_addon_loadbalancer::LoadBalancer)]
}
