//! What is to be made and deleted so that every node has its pod, and how far an update may go. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use sampan_reconcile::HashMap;

use super::HASH_LABEL;
use super::nodes::{GENERATION_LABEL, fits, generation, target};
use crate::deployment::resolve;
use crate::words::{created, is_available, is_ready, is_terminal, name, phase};

/// What is looked at.
pub(super) struct World<'a> {
    pub ds: &'a DaemonSet,
    pub nodes: &'a [Arc<Node>],
    pub pods: &'a [Arc<Pod>],
    /// That of the present template.
    pub hash: &'a str,
    pub now: Timestamp,
    /// Whether a failed pod of the node has to stay for now.
    pub held: &'a dyn Fn(&str) -> bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The nodes that get a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Those of `delete` that have failed or succeeded, with their nodes.
    pub ended: Vec<(Arc<Pod>, String)>,
    /// The nodes whose failed pod stays for now.
    pub held: Vec<String>,
    pub status: DaemonSetStatus,
}

/// A node where a pod should run, or does.
struct Place<'a> {
    node: &'a str,
    run: bool,
    /// The oldest first.
    here: Vec<Arc<Pod>>,
}

/// How far an update may go.
struct Limits {
    surge: i32,
    unavailable: i32,
}

/// Compares nodes and pods.
pub(super) fn plan(world: &World<'_>) -> Plan {
    let spec = world.ds.spec.clone().unwrap_or_default();
    let mut by_node = by_node(world.pods);
    let mut plan = Plan::default();
    plan.status.observed_generation = world.ds.metadata.generation;
    let surges = strategy(&spec, 1).is_some_and(|limits| limits.surge > 0);
    let mut places = Vec::new();
    for node in world.nodes {
        let (run, stay) = fits(&spec, node);
        let node = name(&node.metadata);
        let place = Place { node, run, here: by_node.remove(node).unwrap_or_default() };
        world.count(&mut plan.status, &spec, &place);
        world.manage(&mut plan, &spec, &place, stay, surges);
        if run || !place.here.is_empty() {
            places.push(place);
        }
    }
    // pods that run on nodes which are gone are the pod collector's; nobody else knows of those that wait for one
    let waits = |pod: &Arc<Pod>| !leaving(pod) && !bound(pod);
    plan.delete.extend(by_node.into_values().flatten().filter(waits));
    let available = plan.status.number_available.unwrap_or_default();
    let wanted = plan.status.desired_number_scheduled;
    plan.status.number_unavailable = Some(wanted - available);
    plan.status.number_available.get_or_insert(0);
    plan.status.updated_number_scheduled.get_or_insert(0);
    // one thing after another: what is made or deleted now is looked at again before more is
    if plan.create.is_empty() && plan.delete.is_empty() {
        match strategy(&spec, wanted) {
            Some(limits) if limits.surge > 0 => world.surge(&mut plan, &spec, &places, limits.surge),
            Some(limits) => world.replace(&mut plan, &spec, &places, limits.unavailable),
            None => {}
        }
    }
    plan
}

/// The new and the old pod of a place.
type Pair<'p> = (Option<&'p Arc<Pod>>, Option<&'p Arc<Pod>>);

/// The pods of each node, without those that have ended and are being deleted.
fn by_node(pods: &[Arc<Pod>]) -> HashMap<String, Vec<Arc<Pod>>> {
    let mut by_node: HashMap<String, Vec<Arc<Pod>>> = HashMap::default();
    for pod in pods.iter().filter(|pod| !(leaving(pod) && is_terminal(pod))) {
        // one that is meant for no node in particular was adopted, and is nobody's business before it has one
        let Some(node) = target(pod) else { continue };
        by_node.entry(node).or_default().push(pod.clone());
    }
    for pods in by_node.values_mut() {
        pods.sort_by(|a, b| {
            let order = |pod: &Pod| (!bound(pod), created(&pod.metadata));
            order(a).cmp(&order(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
    }
    by_node
}

/// How far an update may go; `None` if pods are replaced only when somebody deletes them.
fn strategy(spec: &DaemonSetSpec, wanted: i32) -> Option<Limits> {
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    let surge = resolve(rolling.max_surge.as_ref(), "0%", wanted, true);
    let unavailable = rolling.max_unavailable.map_or(1, |most| resolve(Some(&most), "0%", wanted, true));
    Some(Limits { surge, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable } })
}

fn leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn bound(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty())
}

impl World<'_> {
    /// Whether the pod is of the present template: its hash says so, or its number (upstream's `IsPodUpdated`).
    fn is_new(&self, pod: &Pod) -> bool {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let of_number =
            || generation(self.ds).is_some_and(|n| label(GENERATION_LABEL) == Some(&n.to_string()));
        label(HASH_LABEL).is_some_and(|hash| hash == self.hash) || of_number()
    }

    fn is_available(&self, pod: &Pod, spec: &DaemonSetSpec) -> bool {
        is_available(pod, spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    fn count(&self, status: &mut DaemonSetStatus, spec: &DaemonSetSpec, place: &Place<'_>) {
        let first = place.here.first();
        if !place.run {
            status.number_misscheduled += i32::from(first.is_some());
            return;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = first else { return };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(is_ready(pod));
        *status.number_available.get_or_insert_default() += i32::from(self.is_available(pod, spec));
        *status.updated_number_scheduled.get_or_insert_default() += i32::from(self.is_new(pod));
    }

    /// Sees to it that a node has a pod if it should, and no more than it should.
    fn manage(&self, plan: &mut Plan, spec: &DaemonSetSpec, place: &Place<'_>, stay: bool, surges: bool) {
        if place.run && place.here.is_empty() {
            return plan.create.push(place.node.to_owned());
        }
        let staying = place.here.iter().filter(|pod| !leaving(pod));
        if !stay {
            return plan.delete.extend(staying.cloned());
        }
        let (mut alive, mut held) = (Vec::new(), false);
        for pod in staying {
            match phase(pod) {
                "Failed" if (self.held)(place.node) => held = true,
                "Failed" | "Succeeded" => {
                    plan.ended.push((pod.clone(), place.node.to_owned()));
                    plan.delete.push(pod.clone());
                }
                _ => alive.push(pod.clone()),
            }
        }
        if held {
            plan.held.push(place.node.to_owned());
        }
        if !surges {
            return plan.delete.extend(alive.into_iter().skip(1));
        }
        if alive.is_empty() && place.run && !held {
            return plan.create.push(place.node.to_owned());
        }
        // an old one that is ready and a new one that is not yet may be there together
        let (new, old): (Vec<_>, Vec<_>) = alive.into_iter().partition(|pod| self.is_new(pod));
        plan.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).cloned());
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!is_ready(old) || self.is_available(new, spec))
        {
            plan.delete.push(old.clone());
        }
    }

    /// The new and the old pod of a place; `None` if there are more.
    fn pair<'p>(&self, place: &'p Place<'_>) -> Option<Pair<'p>> {
        let staying = place.here.iter().filter(|pod| !leaving(pod));
        let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| self.is_new(pod));
        (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
    }

    /// Deletes old pods as far as `maxUnavailable` allows; those that are of no use go at once.
    fn replace(&self, plan: &mut Plan, spec: &DaemonSetSpec, places: &[Place<'_>], most: i32) {
        let (mut unavailable, mut candidates) = (0, Vec::new());
        for place in places {
            match self.pair(place) {
                Some((Some(new), None)) => unavailable += i32::from(!self.is_available(new, spec)),
                Some((None, Some(old))) if self.is_available(old, spec) => candidates.push(old.clone()),
                Some((None, Some(old))) => {
                    plan.delete.push(old.clone());
                    unavailable += 1;
                }
                _ => unavailable += 1,
            }
        }
        plan.delete.extend(candidates.into_iter().take(room(most, unavailable)));
    }

    /// Makes new pods beside old ones as far as `maxSurge` allows, where the old one is of no use at once. Who surges
    /// expects that as many are available as nodes want one: pods on nodes that do not any more go after the others came.
    fn surge(&self, plan: &mut Plan, spec: &DaemonSetSpec, places: &[Place<'_>], most: i32) {
        let (mut surging, mut available) = (0, 0);
        let (mut candidates, mut sunset) = (Vec::new(), Vec::new());
        for place in places {
            let Some((new, old)) = self.pair(place) else {
                surging += 1;
                continue;
            };
            let usable = |pod: Option<&Arc<Pod>>| pod.is_some_and(|pod| self.is_available(pod, spec));
            available += i32::from(usable(old.or(new)));
            match (new, old) {
                (_, None) => {}
                (None, Some(old)) => match (usable(Some(old)), place.run) {
                    (true, true) => candidates.push(place.node.to_owned()),
                    (true, false) => sunset.push(old.clone()),
                    (false, true) => plan.create.push(place.node.to_owned()),
                    (false, false) => plan.delete.push(old.clone()),
                },
                (Some(_), Some(old)) if usable(new) => plan.delete.push(old.clone()),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        let spare = available - plan.status.desired_number_scheduled;
        plan.delete.extend(sunset.into_iter().take(room(spare, 0)));
        plan.create.extend(candidates.into_iter().take(room(most, surging)));
    }
}

fn room(most: i32, taken: i32) -> usize {
    usize::try_from(most - taken).unwrap_or(0)
}
