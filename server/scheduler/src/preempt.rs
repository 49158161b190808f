//! DefaultPreemption: which pods of lower priority make room, on which node, with the least harm
//! (`framework/preemption`, `plugins/defaultpreemption`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::filters::{Filters, Refusal, is_local, local};
use crate::pods::PodInfo;
use crate::selectors::label_selector_matches;
use crate::world::{NodeInfo, World};

/// Room that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// The node that will have room.
    pub node: String,
    /// `namespace/name` of the pods that go, most important first.
    pub victims: Vec<String>,
}

/// What comes of looking for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Room can be made.
    Found(Preemption),
    /// Nowhere; a reason for each node.
    Nowhere(Vec<String>),
    /// The pod may not preempt (now).
    NotEligible(&'static str),
}

/// At least as many nodes are looked at, and a tenth of all that may help.
const CANDIDATES: usize = 100;

/// Looks for the best node among those that refused the pod; the world is the same afterwards. `tie` says where
/// to begin.
pub fn find(pod: &PodInfo, world: &mut World, refused: &[(String, Refusal)], tie: u64) -> Outcome {
    match candidates(pod, world, refused, tie) {
        Ok(candidates) => pick(candidates),
        Err(outcome) => outcome,
    }
}

/// Nodes where room can be made, with the pods that would go; an error is what comes of it where there is none.
pub fn candidates(
    pod: &PodInfo,
    world: &mut World,
    refused: &[(String, Refusal)],
    tie: u64,
) -> Result<Candidates, Outcome> {
    if let Some(why) = not_eligible(pod, world, refused) {
        return Err(Outcome::NotEligible(why));
    }
    let mut reasons = Vec::new();
    let (hopeful, hopeless): (Vec<_>, Vec<_>) = refused.iter().partition(|(_, refusal)| refusal.preemptable);
    reasons.extend(hopeless.iter().map(|_| "Preemption is not helpful for scheduling".to_owned()));
    let enough = (hopeful.len() / 10).max(CANDIDATES);
    let first = tie as usize % hopeful.len().max(1);
    let mut candidates = Candidates::new();
    for (node, _) in hopeful[first..].iter().chain(&hopeful[..first]) {
        match victims(pod, node, world) {
            Ok(victims) => candidates.push((node.clone(), victims)),
            Err(why) => reasons.extend(why),
        }
        if candidates.len() >= enough && candidates.iter().any(|(_, victims)| victims.violating == 0) {
            break;
        }
    }
    match candidates.is_empty() {
        true => Err(Outcome::Nowhere(reasons)),
        false => Ok(candidates),
    }
}

/// The candidate that does the least harm.
pub fn pick(candidates: Candidates) -> Outcome {
    match candidates.into_iter().min_by_key(|(_, victims)| victims.harm()) {
        Some((node, victims)) => {
            let victims = victims.pods.iter().map(|victim| victim.key()).collect();
            Outcome::Found(Preemption { node, victims })
        }
        None => Outcome::NotEligible("no candidate node for preemption"),
    }
}

/// A pod that waits for its victims to end does not look for more.
fn not_eligible(pod: &PodInfo, world: &World, refused: &[(String, Refusal)]) -> Option<&'static str> {
    if pod.spec().preemption_policy.as_deref() == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    // what was decided, whether the API tells of it yet or not
    let key = pod.key();
    let nominated = world.nominated_node(&key).or_else(|| pod.nominated())?;
    if refused.iter().any(|(node, refusal)| node == nominated && !refusal.preemptable) {
        return None;
    }
    let waits = awaits_victims(pod, world.node(nominated)?, world);
    waits.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Whether pods that were told to make room for one of this importance are on the node yet.
pub(crate) fn awaits_victims(pod: &PodInfo, node: &NodeInfo, world: &World) -> bool {
    let told =
        |other: &PodInfo| other.pod.metadata.uid.as_ref().is_some_and(|uid| world.leaving.contains(uid));
    let goes = |other: &PodInfo| told(other) || is_preempted(other);
    node.pods.values().any(|other| other.priority() < pod.priority() && goes(other))
}

fn is_preempted(pod: &PodInfo) -> bool {
    let conditions = pod.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut targets = conditions.filter(|one| one.type_ == "DisruptionTarget" && one.status == "True");
    pod.pod.metadata.deletion_timestamp.is_some()
        && targets.any(|one| one.reason.as_deref() == Some("PreemptionByScheduler"))
}

/// Pods that would go from one node, most important first, and how many of them a budget protects.
#[derive(Clone, Debug)]
pub struct Victims {
    pub(crate) pods: Vec<Arc<PodInfo>>,
    pub(crate) violating: usize,
}

/// Nodes where room can be made, in the order in which they were looked at.
pub type Candidates = Vec<(String, Victims)>;

impl Victims {
    /// Upstream's `pickOneNodeForPreemption`, as one key of which the smallest is taken.
    fn harm(&self) -> (usize, i32, i64, usize, Reverse<Option<i128>>) {
        let highest = self.pods.first().map_or(i32::MIN, |pod| pod.priority());
        // each counts for something, even below zero
        let sum = self.pods.iter().map(|pod| i64::from(pod.priority()) + (1 << 31)).sum();
        let most_important = self.pods.iter().filter(|pod| pod.priority() == highest);
        let earliest =
            most_important.map(|pod| pod.started().map_or(i128::MAX, |time| time.as_nanosecond())).min();
        (self.violating, highest, sum, self.pods.len(), Reverse(earliest))
    }
}

/// Most important first.
pub(crate) fn importance(pod: &Arc<PodInfo>) -> (Reverse<i32>, i128) {
    (Reverse(pod.priority()), pod.started().map_or(i128::MAX, |time| time.as_nanosecond()))
}

/// Where pods are taken away and put back to see whether another one fits then.
trait Trial {
    fn put(&mut self, other: Arc<PodInfo>);
    fn take(&mut self, other: &PodInfo);
    /// As [`fits_beside_nominated`].
    fn fits(&mut self) -> Result<(), Refusal>;
}

/// The world, where rules about other pods are looked at.
struct InWorld<'a> {
    pod: &'a PodInfo,
    node: &'a str,
    world: &'a mut World,
}

impl Trial for InWorld<'_> {
    fn put(&mut self, other: Arc<PodInfo>) {
        self.world.apply_pod(other, self.node);
    }

    fn take(&mut self, other: &PodInfo) {
        self.world.delete_pod(&other.key());
    }

    fn fits(&mut self) -> Result<(), Refusal> {
        fits_beside_nominated(self.pod, self.node, self.world)
    }
}

/// The node alone, where nothing else can refuse the pod: a hundredth of the work.
struct OnNode<'a> {
    pod: &'a PodInfo,
    node: &'a mut NodeInfo,
    promised: Vec<Arc<PodInfo>>,
}

impl Trial for OnNode<'_> {
    fn put(&mut self, other: Arc<PodInfo>) {
        self.node.add(other);
    }

    fn take(&mut self, other: &PodInfo) {
        self.node.remove(&other.key());
    }

    fn fits(&mut self) -> Result<(), Refusal> {
        if !self.promised.is_empty() {
            self.promised.iter().for_each(|other| self.node.add(other.clone()));
            let beside = local(self.pod, self.node);
            self.promised.iter().for_each(|other| _ = self.node.remove(&other.key()));
            beside?;
        }
        local(self.pod, self.node)
    }
}

/// Which pods would go from a node. An error is why the node would not do.
fn victims(pod: &PodInfo, node: &str, world: &mut World) -> Result<Victims, Vec<String>> {
    let pods = world.node(node).into_iter().flat_map(|node| node.pods.values());
    let mut lower: Vec<Arc<PodInfo>> =
        pods.filter(|other| other.priority() < pod.priority()).cloned().collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    lower.sort_by_key(importance);
    let (protected, free) = by_budgets(lower, &world.budgets);
    let promised = promised(pod, node, world);
    let alone = is_local(pod, world) && !promised.iter().any(|other| other.is_social());
    match world.node_mut(node).filter(|_| alone) {
        Some(node) => tried(&mut OnNode { pod, node, promised }, protected, free),
        None => tried(&mut InWorld { pod, node, world }, protected, free),
    }
}

/// Removes all pods of lower priority, then puts back as many as fit: first those that budgets protect, then the most
/// important.
fn tried(
    place: &mut impl Trial,
    protected: Vec<Arc<PodInfo>>,
    free: Vec<Arc<PodInfo>>,
) -> Result<Victims, Vec<String>> {
    protected.iter().chain(&free).for_each(|other| place.take(other));
    if let Err(refusal) = place.fits() {
        protected.into_iter().chain(free).for_each(|other| place.put(other));
        return Err(refusal.reasons);
    }
    let mut gone = Victims { pods: Vec::new(), violating: 0 };
    let both = protected.into_iter().map(|other| (other, 1)).chain(free.into_iter().map(|other| (other, 0)));
    for (other, violates) in both {
        place.put(other.clone());
        if place.fits().is_err() {
            place.take(&other);
            gone.violating += violates;
            gone.pods.push(other);
        }
    }
    gone.pods.iter().for_each(|other| place.put(other.clone()));
    gone.pods.sort_by_key(importance);
    Ok(gone)
}

type Budgets = BTreeMap<String, BTreeMap<String, Arc<PodDisruptionBudget>>>;

/// Parts those whose eviction a budget would not allow from the others, if they go in this order.
fn by_budgets(pods: Vec<Arc<PodInfo>>, budgets: &Budgets) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        let Some((namespace, all)) = budgets.get_key_value(pod.namespace()) else { return false };
        for (name, budget) in all.iter().filter(|(_, budget)| protects(budget, pod)) {
            let allowed = budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0);
            let left = left.entry((namespace, name)).or_insert(allowed);
            *left -= 1;
            violates |= *left < 0;
        }
        violates
    })
}

/// Whether a budget counts the pod; one that is being disrupted is counted already.
fn protects(budget: &PodDisruptionBudget, pod: &PodInfo) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let disrupted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let name = pod.pod.metadata.name.as_deref().unwrap_or_default();
    !pod.labels().is_empty()
        && label_selector_matches(selector, pod.labels())
        && !disrupted.is_some_and(|pods| pods.contains_key(name))
}

/// Whether the pod fits on a node, all filters considered.
pub fn fits(pod: &PodInfo, node: &str, world: &World) -> Result<(), Refusal> {
    let Some(node) = world.node(node) else { return Err(Refusal::fixed("node not found")) };
    local(pod, node)?;
    Filters::new(pod, world).map_err(Refusal::fixed)?.check(node)
}

/// The same with the pods there that were promised the node's room and are not less important; and without, for the
/// pod may rely on none of them.
pub fn fits_beside_nominated(pod: &PodInfo, node: &str, world: &mut World) -> Result<(), Refusal> {
    let promised = promised(pod, node, world);
    if !promised.is_empty() {
        promised.iter().for_each(|other| world.apply_pod(other.clone(), node));
        let beside = fits(pod, node, world);
        promised.iter().for_each(|other| world.delete_pod(&other.key()));
        beside?;
    }
    fits(pod, node, world)
}

/// Pods that wait for the node and go before `pod`.
pub fn promised(pod: &PodInfo, node: &str, world: &World) -> Vec<Arc<PodInfo>> {
    let waiting = world.nominated.get(node).into_iter().flat_map(BTreeMap::values);
    let own = pod.key();
    let before = |other: &&Arc<PodInfo>| other.priority() >= pod.priority() && other.key() != own;
    waiting.filter(before).filter(|other| !world.has_pod(&other.key())).cloned().collect()
}

/// Pods nominated for the node that are less important than the one it is now promised to.
pub fn outdone(pod: &PodInfo, node: &NodeInfo, world: &World) -> Vec<Arc<PodInfo>> {
    let waiting = world.nominated.get(node.name()).into_iter().flat_map(BTreeMap::values);
    waiting.filter(|other| other.priority() < pod.priority()).cloned().collect()
}

#[cfg(test)]
#[path = "preempt_tests.rs"]
mod tests;
