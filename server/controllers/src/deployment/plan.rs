//! One pass over a Deployment: which ReplicaSets to create, change and delete, and the status then. Pure.
//!
//! Upstream's `rolling.go`, `recreate.go` and `sync.go` write as they go; here the same steps change local copies,
//! and what differs at the end is the plan.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetSpec,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::status;
use super::util::*;
use crate::words::{
    controller_of, controller_reference, created, hash_of, is_terminal, name, namespace, uid,
};

/// What a pass looks at: the ReplicaSets are the Deployment's own, the pods are theirs.
pub(crate) struct World {
    pub deployment: Arc<Deployment>,
    pub sets: Vec<Arc<ReplicaSet>>,
    pub pods: Vec<Arc<Pod>>,
    pub now: Timestamp,
}

/// A ReplicaSet to be written, and the event if its size changes.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub rs: ReplicaSet,
    pub event: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub create: Option<Change>,
    pub update: Vec<Change>,
    pub delete: Vec<Arc<ReplicaSet>>,
    /// The revision annotation, if it is to change.
    pub revision: Option<String>,
    pub status: DeploymentStatus,
    pub requeue: Option<Duration>,
}

struct Tracked {
    before: Option<Arc<ReplicaSet>>,
    rs: ReplicaSet,
    event: Option<String>,
}

/// The local copies that a pass changes.
struct Pass<'a> {
    world: &'a World,
    d: &'a Deployment,
    sets: Vec<Tracked>,
    new: Option<usize>,
    conditions: Vec<DeploymentCondition>,
    revision: Option<String>,
    delete: Vec<Arc<ReplicaSet>>,
}

/// The plan of one pass.
pub(crate) fn plan(world: &World) -> Plan {
    let d = &*world.deployment;
    let mut pass = Pass::new(world);
    if d.metadata.deletion_timestamp.is_some() {
        return pass.finish(false);
    }
    pass.pause_or_resume();
    if spec(d).paused == Some(true) || pass.is_scaling() {
        pass.find_new(false);
        pass.scale_all();
        if spec(d).paused == Some(true) {
            pass.clean_up();
        }
        return pass.finish(false);
    }
    match is_recreate(d) {
        true => pass.recreate(),
        false => pass.roll(),
    }
    pass.finish(true)
}

impl<'a> Pass<'a> {
    fn new(world: &'a World) -> Self {
        let d = &*world.deployment;
        let mut sets: Vec<_> = world.sets.clone();
        sets.sort_by_key(|rs| (created(&rs.metadata), name(&rs.metadata).to_owned()));
        let template = spec(d).template;
        let same = |rs: &Arc<ReplicaSet>| {
            rs.spec
                .as_ref()
                .and_then(|s| s.template.as_ref())
                .is_some_and(|t| equal_ignoring_hash(t, &template))
        };
        let new = sets.iter().position(same);
        let sets =
            sets.into_iter().map(|rs| Tracked { rs: (*rs).clone(), before: Some(rs), event: None }).collect();
        let conditions = d.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        Self { world, d, sets, new, conditions, revision: None, delete: Vec::new() }
    }

    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| Some(*index) != self.new).collect()
    }

    fn size(&self, index: usize) -> i32 {
        replicas(&self.sets[index].rs)
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(|set| replicas(&set.rs)).sum()
    }

    fn pause_or_resume(&mut self) {
        if progress_deadline(self.d).is_none() {
            return;
        }
        let reason = condition(&self.conditions, "Progressing").and_then(|c| c.reason.clone());
        let paused = spec(self.d).paused == Some(true);
        let words = match reason.as_deref() {
            Some("ProgressDeadlineExceeded") => return,
            Some("DeploymentPaused") if !paused => ("DeploymentResumed", "Deployment is resumed"),
            other if paused && other != Some("DeploymentPaused") => {
                ("DeploymentPaused", "Deployment is paused")
            }
            _ => return,
        };
        let kind = ("Progressing", "Unknown", words.0);
        set_condition(&mut self.conditions, kind, words.1.to_owned(), self.world.now);
    }

    /// Whether the wish for replicas is newer than what the ReplicaSets were sized for.
    fn is_scaling(&self) -> bool {
        let active = self.sets.iter().filter(|set| replicas(&set.rs) > 0);
        active.filter_map(|set| desired(&set.rs)).any(|desired| desired != wanted(self.d))
    }

    /// Brings the new ReplicaSet's annotations up to date, or makes it (`getNewReplicaSet`).
    fn find_new(&mut self, create: bool) {
        let highest =
            self.old().into_iter().map(|index| revision(&self.sets[index].rs.metadata)).max().unwrap_or(0);
        match self.new {
            Some(index) => self.refresh(index, highest + 1),
            None if create => self.create(highest + 1),
            None => {}
        }
    }

    fn refresh(&mut self, index: usize, next: i64) {
        let min_ready = spec(self.d).min_ready_seconds;
        let rs = &mut self.sets[index].rs;
        set_new_annotations(rs, self.d, next, true);
        if let Some(spec) = &mut rs.spec {
            let same = spec.min_ready_seconds.unwrap_or(0) == min_ready.unwrap_or(0);
            spec.min_ready_seconds = if same { spec.min_ready_seconds } else { min_ready };
        }
        let (rs_name, revision) = (name(&rs.metadata).to_owned(), revision(&rs.metadata));
        self.revision = Some(revision.to_string());
        if progress_deadline(self.d).is_some() && condition(&self.conditions, "Progressing").is_none() {
            let message = format!("Found new replica set \"{rs_name}\"");
            let kind = ("Progressing", "True", "FoundNewReplicaSet");
            set_condition(&mut self.conditions, kind, message, self.world.now);
        }
    }

    fn create(&mut self, next: i64) {
        let mut rs = new_replica_set(self.d);
        set_new_annotations(&mut rs, self.d, next, false);
        let rs_name = name(&rs.metadata).to_owned();
        self.sets.push(Tracked { before: None, rs, event: None });
        let index = self.sets.len() - 1;
        self.new = Some(index);
        let size = self.new_size(index);
        self.resize(index, size);
        self.revision = Some(next.to_string());
        if progress_deadline(self.d).is_some() {
            let message = format!("Created new replica set \"{rs_name}\"");
            let kind = ("Progressing", "True", "NewReplicaSetCreated");
            set_condition(&mut self.conditions, kind, message, self.world.now);
        }
    }

    /// How large the new ReplicaSet may be now (`NewRSNewReplicas`).
    fn new_size(&self, index: usize) -> i32 {
        if is_recreate(self.d) {
            return wanted(self.d);
        }
        let room = wanted(self.d) + max_surge(self.d) - self.total();
        match room {
            ..=0 => self.size(index),
            room => self.size(index) + room.min(wanted(self.d) - self.size(index)),
        }
    }

    /// Sizes a ReplicaSet; says so in an event if that is news. Returns whether it is.
    fn resize(&mut self, index: usize, size: i32) -> bool {
        let d = self.d;
        let set = &mut self.sets[index];
        let was = replicas(&set.rs);
        if was == size {
            return false;
        }
        let direction = if size > was { "up" } else { "down" };
        set.event =
            Some(format!("Scaled {direction} replica set {} from {was} to {size}", name(&set.rs.metadata)));
        set.rs.spec.get_or_insert_default().replicas = Some(size);
        set_replicas_annotations(&mut set.rs, d);
        true
    }

    fn roll(&mut self) {
        let created = self.new.is_none();
        self.find_new(true);
        let Some(new) = self.new else { return };
        if created || self.size_new(new) || self.shrink_old(new) {
            return;
        }
        self.clean_up_if_complete();
    }

    fn size_new(&mut self, new: usize) -> bool {
        let wanted = wanted(self.d);
        let size = if self.size(new) > wanted { wanted } else { self.new_size(new) };
        self.resize(new, size)
    }

    /// Scales old ReplicaSets down as far as availability allows (`reconcileOldReplicaSets`).
    fn shrink_old(&mut self, new: usize) -> bool {
        let old = self.old();
        if old.iter().map(|index| self.size(*index)).sum::<i32>() == 0 {
            return false;
        }
        let min_available = wanted(self.d) - max_unavailable(self.d);
        let new_unavailable = self.size(new) - available(&self.sets[new].rs);
        let most = self.total() - min_available - new_unavailable;
        if most <= 0 {
            return false;
        }
        let unhealthy = self.shrink(&old, most, |size, available| (size - available).max(0));
        let available: i32 = self.sets.iter().map(|set| available(&set.rs)).sum();
        let healthy = self.shrink(&old, available - min_available, |size, _| size);
        unhealthy || healthy
    }

    /// Takes up to `most` pods away, from the oldest set on, from each what `of(size, available)` offers.
    fn shrink(&mut self, old: &[usize], mut most: i32, of: impl Fn(i32, i32) -> i32) -> bool {
        let mut changed = false;
        for index in old.iter().copied() {
            let size = self.size(index);
            let take = of(size, available(&self.sets[index].rs)).min(most);
            if take <= 0 || size == 0 {
                continue;
            }
            most -= take;
            let was = self.sets[index].before.as_ref().map_or(size, |rs| replicas(rs));
            self.resize(index, size - take);
            self.reword(index, was);
            changed = true;
        }
        changed
    }

    /// Two changes of one set in one pass are one event.
    fn reword(&mut self, index: usize, was: i32) {
        let (rs_name, size) = (name(&self.sets[index].rs.metadata), self.size(index));
        self.sets[index].event = Some(format!("Scaled down replica set {rs_name} from {was} to {size}"));
    }

    fn recreate(&mut self) {
        self.find_new(false);
        let mut scaled = false;
        for index in self.old() {
            scaled |= self.resize(index, 0);
        }
        if scaled || self.old_pods_run() {
            return;
        }
        if self.new.is_none() {
            self.find_new(true);
        } else if let Some(new) = self.new {
            self.resize(new, wanted(self.d));
        }
        self.clean_up_if_complete();
    }

    fn old_pods_run(&self) -> bool {
        let new = self.new.map(|index| uid(&self.sets[index].rs.metadata));
        let counted = self.old().into_iter().any(|index| actual(&self.sets[index].rs) > 0);
        let is_old = |pod: &Pod| controller_of(&pod.metadata).map(|owner| owner.uid.as_str()) != new;
        counted || self.world.pods.iter().any(|pod| is_old(pod) && !is_terminal(pod))
    }

    /// Answers a changed number of replicas, also in the middle of a rollout or while paused (`scale`).
    fn scale_all(&mut self) {
        if let Some(only) = self.active_or_latest() {
            self.resize(only, wanted(self.d));
        } else if self.is_saturated() {
            for index in self.old() {
                self.resize(index, 0);
            }
        } else if !is_recreate(self.d) {
            self.scale_in_proportion();
        }
    }

    fn active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> = (0..self.sets.len()).filter(|index| self.size(*index) > 0).collect();
        match active[..] {
            [] => self.new.or_else(|| self.old().last().copied()),
            [only] => Some(only),
            _ => None,
        }
    }

    fn is_saturated(&self) -> bool {
        self.new.is_some_and(|index| {
            let (rs, wanted) = (&self.sets[index].rs, wanted(self.d));
            desired(rs) == Some(wanted) && replicas(rs) == wanted && available(rs) == wanted
        })
    }

    fn scale_in_proportion(&mut self) {
        let allowed = if wanted(self.d) > 0 { wanted(self.d) + max_surge(self.d) } else { 0 };
        let to_add = allowed - self.total();
        let mut active: Vec<usize> = (0..self.sets.len()).filter(|index| self.size(*index) > 0).collect();
        active.sort_by_key(|index| {
            let age = *index as i64;
            (std::cmp::Reverse(self.size(*index)), if to_add > 0 { -age } else { age })
        });
        let mut added = 0;
        let mut sizes = Vec::new();
        for index in &active {
            let share = self.proportion(*index, to_add, added);
            added += share;
            sizes.push(self.size(*index) + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.resize(index, size);
            set_replicas_annotations(&mut self.sets[index].rs, self.d);
        }
    }

    fn proportion(&self, index: usize, to_add: i32, added: i32) -> i32 {
        let rs = &self.sets[index].rs;
        if to_add == 0 || to_add == added {
            return 0;
        }
        let fraction = self.fraction(rs);
        match to_add > 0 {
            true => fraction.min(to_add - added),
            false => fraction.max(to_add - added),
        }
    }

    fn fraction(&self, rs: &ReplicaSet) -> i32 {
        if wanted(self.d) == 0 {
            return -replicas(rs);
        }
        let status = self.d.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        let before = max_replicas(rs).filter(|max| *max > 0).unwrap_or(status);
        if before == 0 {
            return 0;
        }
        let size =
            f64::from(replicas(rs)) * f64::from(wanted(self.d) + max_surge(self.d)) / f64::from(before);
        // sizes are far below 2^31
        #[allow(clippy::cast_possible_truncation)]
        let size = size.round() as i32;
        size - replicas(rs)
    }

    fn clean_up_if_complete(&mut self) {
        let complete = self.d.status.as_ref().is_some_and(|status| status::is_complete(self.d, status));
        if complete {
            self.clean_up();
        }
    }

    /// Deletes the oldest revisions beyond the limit that have no pods (`cleanupDeployment`).
    fn clean_up(&mut self) {
        let Some(limit) = spec(self.d).revision_history_limit else { return };
        let limit = usize::try_from(limit).unwrap_or(0);
        let old = self.old();
        let mut old: Vec<Arc<ReplicaSet>> =
            old.iter().filter_map(|index| self.sets[*index].before.clone()).collect();
        old.retain(|rs| rs.metadata.deletion_timestamp.is_none());
        old.sort_by_key(|rs| revision(&rs.metadata));
        let surplus = old.len().saturating_sub(limit);
        let idle = |rs: &Arc<ReplicaSet>| {
            let observed = rs.status.as_ref().and_then(|status| status.observed_generation);
            actual(rs) == 0 && replicas(rs) == 0 && rs.metadata.generation <= observed
        };
        self.delete = old.into_iter().take(surplus).filter(idle).collect();
    }

    fn finish(self, rollout: bool) -> Plan {
        let all: Vec<&ReplicaSet> = self.sets.iter().map(|set| &set.rs).collect();
        let new = self.new.map(|index| &self.sets[index].rs);
        let calculate = if rollout { status::rollout } else { status::calculate };
        let status = calculate(self.d, &all, new, &self.conditions, self.world.now);
        let requeue = if rollout { status::look_again(self.d, &status, self.world.now) } else { None };
        let mut plan = Plan { status, requeue, delete: self.delete, ..Plan::default() };
        let current = self.d.metadata.annotations.as_ref().and_then(|a| a.get(REVISION)).cloned();
        plan.revision = self.revision.filter(|revision| Some(revision) != current.as_ref());
        for set in self.sets {
            let change = Change { rs: set.rs, event: set.event };
            match set.before {
                None => plan.create = Some(change),
                Some(before) if *before != change.rs => plan.update.push(change),
                Some(_) => {}
            }
        }
        plan
    }
}

/// The ReplicaSet of the Deployment's present template, still without pods.
fn new_replica_set(d: &Deployment) -> ReplicaSet {
    let spec = spec(d);
    let collision = d.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash_of(&spec.template, collision);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name(&d.metadata))),
            namespace: Some(namespace(&d.metadata).to_owned()),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(d)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
