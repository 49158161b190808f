//! Tables for a pass over a Deployment: whole rollouts are played by feeding each plan back.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn deployment(replicas: i32, image: &str, extra: Value) -> Deployment {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
                 "revisionHistoryLimit": 1,
                 "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}});
    for (key, extra) in extra.as_object().into_iter().flatten() {
        value["spec"][key] = extra.clone();
    }
    serde_json::from_value(value).unwrap()
}

/// A cluster in which pods become available at once.
struct Sim {
    d: Deployment,
    sets: Vec<ReplicaSet>,
    events: Vec<String>,
    seconds: i64,
}

impl Sim {
    fn new(d: Deployment) -> Self {
        Self { d, sets: Vec::new(), events: Vec::new(), seconds: 1_700_000_000 }
    }

    fn pass(&mut self) -> Plan {
        self.seconds += 1;
        let world = World {
            deployment: Arc::new(self.d.clone()),
            sets: self.sets.iter().cloned().map(Arc::new).collect(),
            pods: Vec::new(),
            now: Timestamp::from_second(self.seconds).unwrap(),
        };
        plan(&world)
    }

    fn apply(&mut self, plan: &Plan) -> bool {
        let before = (self.d.clone(), self.sets.clone());
        for change in plan.create.iter().chain(&plan.update) {
            self.events.extend(change.event.clone());
            let mut rs = change.rs.clone();
            let n = name(&rs.metadata).to_owned();
            rs.metadata.uid = Some(n.clone());
            rs.metadata.creation_timestamp.get_or_insert(
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                    Timestamp::from_second(self.seconds).unwrap(),
                ),
            );
            self.sets.retain(|old| name(&old.metadata) != n);
            self.sets.push(rs);
        }
        self.sets.retain(|rs| !plan.delete.iter().any(|gone| gone.metadata.name == rs.metadata.name));
        if let Some(revision) = &plan.revision {
            self.d.metadata.annotations.get_or_insert_default().insert(REVISION.to_owned(), revision.clone());
        }
        self.d.status = Some(plan.status.clone());
        before != (self.d.clone(), self.sets.clone())
    }

    fn pods_follow(&mut self) {
        for rs in &mut self.sets {
            let size = replicas(rs);
            rs.status = Some(k8s_openapi::api::apps::v1::ReplicaSetStatus {
                replicas: size,
                ready_replicas: Some(size),
                available_replicas: Some(size),
                ..Default::default()
            });
        }
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            let plan = self.pass();
            let changed = self.apply(&plan);
            self.pods_follow();
            if !changed {
                return;
            }
        }
        panic!("does not settle: {:?}", self.events);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(replicas).filter(|size| *size > 0).collect()
    }

    fn progressing(&self) -> (String, String) {
        let conditions = self.d.status.as_ref().unwrap().conditions.clone().unwrap();
        let condition = condition(&conditions, "Progressing").unwrap().clone();
        (condition.status, condition.reason.unwrap())
    }
}

#[test]
fn a_new_deployment_makes_one_replica_set_at_full_size() {
    let mut sim = Sim::new(deployment(3, "a", json!({})));
    let first = sim.pass();
    let rs = &first.create.as_ref().unwrap().rs;
    let hash = rs.metadata.labels.as_ref().unwrap()[HASH_LABEL].clone();
    assert_eq!(name(&rs.metadata), format!("web-{hash}"));
    assert_eq!(
        first.create.as_ref().unwrap().event.as_deref().unwrap(),
        format!("Scaled up replica set web-{hash} from 0 to 3")
    );
    assert_eq!(first.revision.as_deref(), Some("1"));
    sim.apply(&first);
    assert_eq!(sim.progressing(), ("True".into(), "NewReplicaSetCreated".into()));
    sim.pods_follow();
    sim.settle();
    assert_eq!(sim.progressing(), ("True".into(), "NewReplicaSetAvailable".into()));
    assert!(sim.pass().requeue.is_none());
}

#[test]
fn a_rolling_update_steps_within_surge_and_availability() {
    let mut sim = Sim::new(deployment(4, "a", json!({})));
    sim.settle();
    sim.events.clear();
    sim.d.spec = deployment(4, "b", json!({})).spec;
    for _ in 0..20 {
        let plan = sim.pass();
        sim.apply(&plan);
        let total: i32 = sim.sets.iter().map(replicas).sum();
        let available: i32 = sim.sets.iter().map(|rs| available(rs).min(replicas(rs))).sum();
        assert!(total <= 5 && available >= 3, "{total} {available} {:?}", sim.events);
        sim.pods_follow();
    }
    sim.settle();
    assert_eq!(sim.sizes(), [4]);
    assert_eq!(sim.d.metadata.annotations.as_ref().unwrap()[REVISION], "2");
    assert!(
        sim.events[0].starts_with("Scaled up replica set web-") && sim.events[0].ends_with("from 0 to 1")
    );
    assert!(sim.events.iter().any(|event| event.starts_with("Scaled down replica set web-")));
}

#[test]
fn going_back_takes_the_old_replica_set_with_a_new_revision() {
    let mut sim = Sim::new(deployment(2, "a", json!({})));
    sim.settle();
    sim.d.spec = deployment(2, "b", json!({})).spec;
    sim.settle();
    sim.d.spec = deployment(2, "a", json!({})).spec;
    sim.settle();
    assert_eq!(sim.sets.len(), 2);
    let back = sim.sets.iter().find(|rs| replicas(rs) == 2).unwrap();
    assert_eq!(revision(&back.metadata), 3);
    assert_eq!(back.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision-history"], "1");
    sim.d.spec = deployment(2, "c", json!({})).spec;
    sim.settle();
    assert_eq!(sim.sets.len(), 2, "history limit 1");
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let recreate = json!({"strategy": {"type": "Recreate"}});
    let mut sim = Sim::new(deployment(2, "a", recreate.clone()));
    sim.settle();
    sim.d.spec = deployment(2, "b", recreate).spec;
    let down = sim.pass();
    assert!(down.create.is_none() && replicas(&down.update[0].rs) == 0);
    sim.apply(&down);
    let waiting = sim.pass();
    assert!(waiting.create.is_none(), "the old set still counts two pods");
    sim.pods_follow();
    assert_eq!(replicas(&sim.pass().create.unwrap().rs), 2);
}

#[test]
fn scaling_in_a_rollout_is_proportional() {
    let mut sim = Sim::new(deployment(10, "a", json!({})));
    sim.settle();
    sim.d.spec = deployment(10, "b", json!({})).spec;
    let plan = sim.pass();
    sim.apply(&plan);
    assert_eq!(sim.sizes(), [10, 3]);
    sim.d.spec = deployment(20, "b", json!({})).spec;
    let plan = sim.pass();
    sim.apply(&plan);
    let mut sizes = sim.sizes();
    sizes.sort_unstable();
    assert_eq!(sizes, [6, 19]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut sim = Sim::new(deployment(2, "a", json!({})));
    sim.settle();
    sim.d.spec = deployment(5, "b", json!({"paused": true})).spec;
    sim.settle();
    assert_eq!((sim.sets.len(), sim.sizes()), (1, vec![5]));
    assert_eq!(sim.progressing(), ("Unknown".into(), "DeploymentPaused".into()));
    sim.d.spec = deployment(5, "b", json!({})).spec;
    sim.settle();
    assert_eq!((sim.sets.len(), sim.sizes()), (2, vec![5]));
}

#[test]
fn no_progress_until_the_deadline_is_said() {
    let mut sim = Sim::new(deployment(2, "a", json!({})));
    let plan = sim.pass();
    sim.apply(&plan);
    let wait = sim.pass();
    assert_eq!(wait.requeue, Some(Duration::from_secs(600)));
    sim.seconds += 601;
    let late = sim.pass();
    sim.apply(&late);
    assert_eq!(sim.progressing(), ("False".into(), "ProgressDeadlineExceeded".into()));
    assert!(sim.pass().requeue.is_none());
}

#[test]
fn what_an_earlier_version_stored_does_not_roll() {
    let container = |source: Value, drop: Value| {
        let value = json!([{"name": "E", "valueFrom": {"resourceFieldRef": source}}]);
        json!({"spec": {"containers": [{"name": "c", "image": "a", "env": value, "securityContext": {"capabilities": drop}}]},
               "metadata": {"labels": {"app": "web"}}})
    };
    let before = container(json!({"resource": "limits.cpu"}), json!({"drop": []}));
    let after = container(json!({"resource": "limits.cpu", "divisor": "0"}), json!({}));
    let mut sim = Sim::new(deployment(2, "a", json!({"template": before})));
    sim.settle();
    sim.d.spec = deployment(2, "a", json!({"template": after})).spec;
    sim.settle();
    assert_eq!(sim.sets.len(), 1);
    let other = container(json!({"resource": "limits.cpu", "divisor": "1"}), json!({}));
    sim.d.spec = deployment(2, "a", json!({"template": other})).spec;
    sim.settle();
    assert_eq!(sim.sets.len(), 2);
}
