//! In which order a running pod comes to what was allocated to it. Pure.
//!
//! Memory first, then CPU. A pod's cgroup grows before those in it grow, and shrinks after them; of the containers those
//! that shrink come first. On cgroup v1 the kernel refuses a container more time than its pod has.

use std::cmp::Ordering;

use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sampan_cri::Resources;

use crate::container::amounts::{Side, amount, quantity};

/// One change, and what holds when it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Whose limits.
    pub target: Target,
    /// What the runtime is to set; nothing, if the runtime does not know of what changes (requests of memory).
    pub set: Resources,
    /// The limit of memory comes down: what is used has to fit.
    pub lowers_memory: bool,
}

/// Whose limits a step changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The pod's cgroup.
    Pod,
    /// A running container's.
    Container {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// `cpu` or `memory`.
        resource: &'static str,
        /// The request that holds afterwards.
        request: Option<Quantity>,
        /// The limit that holds afterwards.
        limit: Option<Quantity>,
    },
}

/// A running container that is to be changed.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its id.
    pub id: &'a str,
    /// What it has, with what it shares of the pod's limits.
    pub before: ResourceRequirements,
    /// What it is to have, likewise.
    pub after: ResourceRequirements,
    /// What it is to have of its own.
    pub own: &'a ResourceRequirements,
    /// The same for its cgroup.
    pub sizes: Resources,
}

/// Whether request or limit of a resource are not the same any more.
pub fn changes(before: &ResourceRequirements, after: &ResourceRequirements, name: &str) -> bool {
    [Side::Requests, Side::Limits]
        .iter()
        .any(|side| amount(before, *side, name) != amount(after, *side, name))
}

/// Whether the container's `resizePolicy` says that it has to start anew with what is allocated to it.
pub fn has_to_restart(
    container: &Container,
    before: &ResourceRequirements,
    after: &ResourceRequirements,
) -> bool {
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|policy| {
        policy.restart_policy == "RestartContainer" && changes(before, after, &policy.resource_name)
    })
}

/// The steps from what the pod's cgroup has `before` to what it is to have `after`, with the containers' changes between.
pub fn steps(before: &Resources, after: &Resources, containers: &[Change<'_>]) -> Vec<Step> {
    let mut steps = Vec::new();
    let pod = |set: Resources, lowers_memory| Step { target: Target::Pod, set, lowers_memory };

    let memory = order(before.memory_limit_bytes, after.memory_limit_bytes);
    let set = || Resources { memory_limit_bytes: after.memory_limit_bytes, ..Resources::default() };
    steps.extend((memory == Ordering::Greater).then(|| pod(set(), false)));
    steps.extend(of_containers(containers, "memory"));
    steps.extend((memory == Ordering::Less).then(|| pod(set(), true)));

    let quota = order(before.cpu_quota, after.cpu_quota);
    let shares = after.cpu_shares.cmp(&before.cpu_shares);
    let set_quota =
        || Resources { cpu_quota: after.cpu_quota, cpu_period: after.cpu_period, ..Resources::default() };
    let set_shares = || Resources { cpu_shares: after.cpu_shares, ..Resources::default() };
    steps.extend((quota == Ordering::Greater).then(|| pod(set_quota(), false)));
    steps.extend((shares == Ordering::Greater).then(|| pod(set_shares(), false)));
    steps.extend(of_containers(containers, "cpu"));
    steps.extend((shares == Ordering::Less).then(|| pod(set_shares(), false)));
    steps.extend((quota == Ordering::Less).then(|| pod(set_quota(), false)));
    steps
}

/// Whether a limit goes up or down. None at all is the highest; it does not come back once there was one.
fn order(before: Option<i64>, after: Option<i64>) -> Ordering {
    match (before, after) {
        (_, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(before), Some(after)) => after.cmp(&before),
    }
}

fn of_containers(containers: &[Change<'_>], resource: &'static str) -> Vec<Step> {
    let mut steps = Vec::new();
    for change in containers.iter().filter(|change| changes(&change.before, &change.after, resource)) {
        let of = |resources, side| amount(resources, side, resource);
        let limit = (of(&change.before, Side::Limits), of(&change.after, Side::Limits));
        let lowers = matches!(limit, (None, Some(_))) || limit.1 < limit.0;
        let request = of(&change.after, Side::Requests) < of(&change.before, Side::Requests);
        let after = |side| quantity(change.own, side, resource).cloned();
        let step = Step {
            target: Target::Container {
                name: change.name.to_owned(),
                id: change.id.to_owned(),
                resource,
                request: after(Side::Requests),
                limit: after(Side::Limits),
            },
            set: sizes(&change.sizes, resource, limit.0 != limit.1),
            lowers_memory: lowers && resource == "memory",
        };
        // as upstream: by the limit, or by the request where the limit stays
        match if limit.0 == limit.1 { request } else { lowers } {
            true => steps.insert(0, step),
            false => steps.push(step),
        }
    }
    steps
}

/// The part of a container's limits that a resource has.
fn sizes(all: &Resources, resource: &str, limit_changes: bool) -> Resources {
    match resource {
        "cpu" => Resources {
            cpu_shares: all.cpu_shares,
            cpu_quota: all.cpu_quota,
            cpu_period: all.cpu_period,
            ..Resources::default()
        },
        _ => Resources {
            memory_limit_bytes: all.memory_limit_bytes.filter(|_| limit_changes),
            ..Resources::default()
        },
    }
}
