//! What must never be, looked at with every write.
//!
//! - No node has more bound to it than it has, of processor or of places for pods.
//! - No pod of a StatefulSet is taken away while its kubelet may still run it: there would be two of one ordinal.
//! - No eviction leaves a budget with fewer healthy pods than it is to have.
//! - No Job counts more pods than ended, nor one twice.
//! - No ReplicaSet makes a pod more than it is to have.
//!
//! A controller sees the world a little late, and a write whose answer was lost is one that it cannot know of: what may
//! follow from these alone is not held against it, see [`LATE`] and [`Judge::lost`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use sampan_api::quantity::Quantity;
use serde_json::Value;

use crate::api::objects::Objects;
use crate::api::{Who, controller, selects};

/// How late a watch may tell of something, with room.
pub const LATE: Duration = Duration::from_secs(10);

/// The uids of a Job's pods by how they ended.
#[derive(Default)]
struct Ended {
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
}

/// Watches the writes.
#[derive(Default)]
pub struct Judge {
    pub violations: Vec<String>,
    ended: BTreeMap<String, Ended>,
    /// What a ReplicaSet was to have, and until when, by its uid.
    wanted: BTreeMap<String, Vec<(Timestamp, i64)>>,
    /// When a pod last became less healthy, or was evicted.
    unhealthy: Option<Timestamp>,
    /// Nodes that were removed, and when.
    removed: BTreeMap<String, Timestamp>,
    /// Pods whose creation for an owner was not answered, by the owner's uid.
    lost: BTreeMap<String, usize>,
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

fn deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

fn over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn milli(value: &Value) -> i64 {
    Quantity::from_value(value).map_or(0, |quantity| quantity.milli_value())
}

fn processor(pod: &Value) -> i64 {
    let containers = pod["spec"]["containers"].as_array();
    containers.into_iter().flatten().map(|one| milli(&one["resources"]["requests"]["cpu"])).sum()
}

impl Judge {
    /// A pod was made for an owner who was not told.
    pub fn lost(&mut self, owner: &str) {
        *self.lost.entry(owner.to_owned()).or_default() += 1;
    }

    fn object(&mut self, why: String) {
        self.violations.push(why);
    }

    /// A write has been made.
    pub fn look(
        &mut self,
        objects: &Objects,
        who: Who,
        kind: &str,
        old: Option<&Value>,
        new: Option<&Value>,
    ) {
        match kind {
            "/pods" => self.look_at_pod(objects, who, old, new),
            "/nodes" => {
                if let (Some(old), None) = (old, new) {
                    self.removed.insert(name(old).to_owned(), sampan_reconcile::now());
                }
            }
            "apps/replicasets" => {
                if let (Some(old), Some(new)) = (old, new)
                    && old["spec"]["replicas"] != new["spec"]["replicas"]
                {
                    let until = sampan_reconcile::now() + LATE;
                    let wanted = self.wanted.entry(uid(new).to_owned()).or_default();
                    wanted.push((until, old["spec"]["replicas"].as_i64().unwrap_or(0)));
                }
            }
            "batch/jobs" => {
                if let Some(job) = new {
                    self.look_at_job(job);
                }
            }
            _ => {}
        }
    }

    fn look_at_pod(&mut self, objects: &Objects, who: Who, old: Option<&Value>, new: Option<&Value>) {
        if let Some(pod) = new {
            self.note_end(pod);
        }
        match (old, new) {
            (None, Some(pod)) => self.made(objects, pod),
            (Some(old), Some(pod)) if text(old, "/spec/nodeName").is_empty() => self.bound(objects, pod),
            (Some(old), None) => self.gone(objects, who, old),
            _ => {}
        }
        let lost = |pod: &Value| !ready(pod) || deleting(pod);
        if old.is_some_and(|old| !lost(old)) && new.is_none_or(lost) {
            self.unhealthy = Some(sampan_reconcile::now());
        }
    }

    fn note_end(&mut self, pod: &Value) {
        let Some((owner, "Job", _)) = controller(pod) else { return };
        let ended = self.ended.entry(owner.to_owned()).or_default();
        match text(pod, "/status/phase") {
            "Succeeded" => drop(ended.succeeded.insert(uid(pod).to_owned())),
            "Failed" => drop(ended.failed.insert(uid(pod).to_owned())),
            // one that is taken away has failed
            _ if deleting(pod) => drop(ended.failed.insert(uid(pod).to_owned())),
            _ => {}
        }
    }

    fn look_at_job(&mut self, job: &Value) {
        let none = Ended::default();
        let ended = self.ended.get(uid(job)).unwrap_or(&none);
        let count = |path: &str| job.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let uncounted = |path: &str| {
            job.pointer(path).and_then(Value::as_array).map_or(0, |all| i64::try_from(all.len()).unwrap())
        };
        let checks = [
            (
                "succeeded",
                count("/status/succeeded") + uncounted("/status/uncountedTerminatedPods/succeeded"),
                ended.succeeded.len(),
            ),
            (
                "failed",
                count("/status/failed") + uncounted("/status/uncountedTerminatedPods/failed"),
                ended.failed.len(),
            ),
        ];
        for (what, counted, ended) in checks {
            if counted > i64::try_from(ended).unwrap() {
                let status = &job["status"];
                self.object(format!(
                    "job {}: {counted} pods counted as {what}, {ended} are: {status}",
                    name(job)
                ));
                return;
            }
        }
    }

    fn made(&mut self, objects: &Objects, pod: &Value) {
        let Some((owner, "ReplicaSet", _)) = controller(pod) else { return };
        let set = objects.of("apps/replicasets").map(|(_, set)| set).find(|set| uid(set) == owner);
        let Some(set) = set else { return };
        // one that has other labels now is about to be released, and counts for nobody
        let active = |pod: &&Value| {
            controller(pod).is_some_and(|(uid, ..)| uid == owner)
                && selects(&set["spec"]["selector"], &pod["metadata"]["labels"])
                && !over(pod)
                && !deleting(pod)
        };
        let active = objects.of("/pods").map(|(_, pod)| pod).filter(active).count();
        let (now, wants) = (sampan_reconcile::now(), set["spec"]["replicas"].as_i64().unwrap_or(0));
        let before = self.wanted.get(owner).into_iter().flatten();
        let most = before.filter(|(until, _)| *until > now).map(|(_, wants)| *wants).fold(wants, i64::max);
        let allowed = usize::try_from(most).unwrap() + self.lost.get(owner).copied().unwrap_or(0);
        if active > allowed {
            self.object(format!("replicaset {}: {active} pods for {wants}", name(set)));
        }
    }

    fn bound(&mut self, objects: &Objects, pod: &Value) {
        let place = text(pod, "/spec/nodeName");
        let Some(node) = objects.get("/nodes", &(String::new(), place.to_owned())) else { return };
        if place.is_empty() {
            return;
        }
        let here = |pod: &&Value| text(pod, "/spec/nodeName") == place && !over(pod);
        let pods: Vec<&Value> = objects.of("/pods").map(|(_, pod)| pod).filter(here).collect();
        let used: i64 = pods.iter().map(|pod| processor(pod)).sum();
        let has = |resource: &str| milli(&node["status"]["allocatable"][resource]);
        let count = i64::try_from(pods.len()).unwrap() * 1000;
        if used > has("cpu") || count > has("pods") {
            let names: Vec<&str> = pods.iter().map(|pod| name(pod)).collect();
            self.object(format!("node {place}: {used}m of {}m are taken, by {names:?}", has("cpu")));
        }
    }

    fn gone(&mut self, objects: &Objects, who: Who, pod: &Value) {
        let Some((_, "StatefulSet", _)) = controller(pod) else { return };
        let place = text(pod, "/spec/nodeName");
        if who == Who::Kubelets || over(pod) || place.is_empty() {
            return;
        }
        let recent = self.removed.get(place).is_some_and(|at| *at + LATE * 60 > sampan_reconcile::now());
        if objects.get("/nodes", &(String::new(), place.to_owned())).is_some() && !recent {
            self.object(format!("pod {} was taken away by {who:?} while {place} may run it", name(pod)));
        }
    }

    /// An eviction is granted.
    pub fn evicted(&mut self, objects: &Objects, budget: &Value, pod: &Value) {
        let late = |at: &Timestamp| *at + LATE > sampan_reconcile::now();
        let before = self.unhealthy;
        self.unhealthy = Some(sampan_reconcile::now());
        if before.as_ref().is_some_and(late) || !ready(pod) {
            return;
        }
        let least = budget["spec"]["minAvailable"].as_u64().unwrap_or(0);
        let healthy = |other: &&Value| {
            selects(&budget["spec"]["selector"], &other["metadata"]["labels"])
                && other["metadata"]["namespace"] == pod["metadata"]["namespace"]
                && ready(other)
                && !deleting(other)
                && uid(other) != uid(pod)
        };
        let left = objects.of("/pods").map(|(_, pod)| pod).filter(healthy).count();
        if (left as u64) < least {
            self.object(format!("eviction of {}: {left} healthy pods are left of {least}", name(pod)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Name;
    use serde_json::json;

    fn place(name: &str) -> Name {
        (String::from("d"), name.to_owned())
    }

    fn pod(name: &str, owner: (&str, &str), rest: Value) -> Value {
        let owner = json!({"uid": owner.0, "kind": owner.1, "name": "o", "controller": true});
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": "a"}, "ownerReferences": [owner]},
            "spec": {"containers": [{"resources": {"requests": {"cpu": "600m"}}}]}, "status": {}});
        for (key, value) in rest.as_object().unwrap() {
            for (inner, value) in value.as_object().unwrap() {
                pod[key][inner] = value.clone();
            }
        }
        pod
    }

    #[test]
    fn what_must_not_be_is_seen() {
        let mut objects = Objects::default();
        let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "1", "pods": "9"}}});
        objects.put("/nodes", &(String::new(), "n".into()), Some(node));
        let on_n = json!({"spec": {"nodeName": "n"}});
        for name in ["a", "b"] {
            objects.put("/pods", &place(name), Some(pod(name, ("x", "X"), on_n.clone())));
        }
        let mut judge = Judge::default();
        let (before, after) = (pod("b", ("x", "X"), json!({})), pod("b", ("x", "X"), on_n.clone()));
        judge.look(&objects, Who::Scheduler, "/pods", Some(&before), Some(&after));
        assert_eq!(judge.violations.len(), 1, "{:?}", judge.violations);
        assert!(judge.violations[0].starts_with("node n: 1200m of 1000m"));

        let mut judge = Judge::default();
        let member = pod("db-0", ("s", "StatefulSet"), on_n);
        judge.look(&objects, Who::Kubelets, "/pods", Some(&member), None);
        assert!(judge.violations.is_empty());
        judge.look(&objects, Who::Controllers, "/pods", Some(&member), None);
        assert_eq!(judge.violations, ["pod db-0 was taken away by Controllers while n may run it"]);

        let mut judge = Judge::default();
        let job = |succeeded: i64| json!({"metadata": {"name": "j", "uid": "j"}, "status": {"succeeded": succeeded}});
        let done = pod("j-1", ("j", "Job"), json!({"status": {"phase": "Succeeded"}}));
        judge.look(&objects, Who::Kubelets, "/pods", Some(&done), Some(&done));
        judge.look(&objects, Who::Controllers, "batch/jobs", None, Some(&job(1)));
        assert!(judge.violations.is_empty());
        judge.look(&objects, Who::Controllers, "batch/jobs", None, Some(&job(2)));
        assert!(judge.violations[0].starts_with("job j: 2 pods counted as succeeded, 1 are"));

        let set = json!({"metadata": {"name": "r", "uid": "r"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}}});
        objects.put("apps/replicasets", &place("r"), Some(set));
        let mut judge = Judge::default();
        for name in ["r-1", "r-2"] {
            let made = pod(name, ("r", "ReplicaSet"), json!({}));
            objects.put("/pods", &place(name), Some(made.clone()));
            judge.look(&objects, Who::Controllers, "/pods", None, Some(&made));
        }
        assert_eq!(judge.violations, ["replicaset r: 2 pods for 1"]);
    }

    #[test]
    fn an_eviction_leaves_the_budget_what_it_needs() {
        let mut objects = Objects::default();
        let healthy = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        for name in ["a", "b"] {
            objects.put("/pods", &place(name), Some(pod(name, ("x", "X"), healthy.clone())));
        }
        let budget =
            |least: u64| json!({"spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "a"}}}});
        let evict = |least: u64| {
            let mut judge = Judge::default();
            judge.evicted(&objects, &budget(least), &pod("a", ("x", "X"), healthy.clone()));
            judge.violations
        };
        assert!(evict(1).is_empty());
        assert_eq!(evict(2), ["eviction of a: 1 healthy pods are left of 2"]);
    }
}
