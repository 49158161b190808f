//! NodeResourcesFit: what is left on a node must cover what the pod asks for.

use super::Refusal;
use crate::pods::PodInfo;
use crate::world::NodeInfo;

/// One reason per resource that is short, as upstream's `fitsRequest`.
pub fn check(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let mut short = Vec::new();
    let mut never = false;
    if node.pods.len() as i64 + 1 > node.allocatable_pods {
        short.push("Too many pods".to_owned());
    }
    let (wants, has, used) = (&pod.requests, &node.allocatable, &node.requested);
    let mut require = |name: &str, want: i64, has: i64, used: i64| {
        if want > 0 && want > has - used {
            short.push(format!("Insufficient {name}"));
            never |= want > has;
        }
    };
    require("cpu", wants.milli_cpu, has.milli_cpu, used.milli_cpu);
    require("memory", wants.memory, has.memory, used.memory);
    require("ephemeral-storage", wants.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage);
    let profile = &pod.profile;
    let is_ignored = |name: &str| {
        let group = name.split_once('/').map(|(group, _)| group);
        profile.ignored.iter().any(|one| one == name)
            || group.is_some_and(|group| profile.ignored_groups.iter().any(|one| one == group))
    };
    for (name, want) in wants.extended.iter().filter(|(name, _)| !is_ignored(name)) {
        let amount =
            |resources: &crate::resources::Resources| resources.extended.get(name).copied().unwrap_or(0);
        require(name, *want, amount(has), amount(used));
    }
    match (short.is_empty(), never) {
        (true, _) => Ok(()),
        // more than the node has even when empty: removing pods cannot help
        (false, true) => Err(Refusal::all(short)),
        (false, false) => Err(Refusal::preemptable(short)),
    }
}
