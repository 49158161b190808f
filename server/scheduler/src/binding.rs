//! Pods that have their node and wait for their volumes (upstream's `PreBind` of VolumeBinding).
//!
//! What was chosen is written first; then the binder and the provisioner do their part, and what they write is looked at
//! as it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::PostParams;
use kube::{Api, Client};
use sampan_reconcile::Object;
use tokio::time::Instant;

use crate::pods::PodInfo;
use crate::volumes::progress::{Progress, bound_to, progress, selecting};
use crate::volumes::{Choice, Volumes};
use crate::world::World;

/// How long a pod waits for its volumes (upstream's `bindTimeoutSeconds`).
const PATIENCE: Duration = Duration::from_secs(600);

/// A pod that waits.
#[derive(Debug)]
pub struct Binding {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// Its node.
    pub node: String,
    /// What was chosen for it.
    pub choice: Choice,
    /// The resourceVersions of what was written; `None` until it is.
    written: Option<BTreeMap<String, u64>>,
    deadline: Instant,
}

/// All pods that wait.
#[derive(Default)]
pub struct Bindings {
    pods: BTreeMap<String, Binding>,
    by_claim: BTreeMap<String, BTreeSet<String>>,
    deadlines: BTreeSet<(Instant, String)>,
}

impl Binding {
    fn claims(&self) -> impl Iterator<Item = &String> {
        let Choice { bind, provision, settle } = &self.choice;
        bind.iter().map(|(_, claim)| claim).chain(provision).chain(settle)
    }
}

impl Bindings {
    /// A pod's choice is being written.
    pub fn begin(&mut self, pod: Arc<PodInfo>, node: String, choice: Choice, now: Instant) {
        let (key, deadline) = (pod.key(), now + PATIENCE);
        self.remove(&key);
        let binding = Binding { pod, node, choice, written: None, deadline };
        for claim in binding.claims() {
            self.by_claim.entry(claim.clone()).or_default().insert(key.clone());
        }
        self.deadlines.insert((deadline, key.clone()));
        self.pods.insert(key, binding);
    }

    /// It is written; whether anybody waits for that.
    pub fn written(&mut self, pod: &PodInfo, versions: BTreeMap<String, u64>) -> bool {
        let binding = self.pods.get_mut(&pod.key()).filter(|binding| binding.is_of(pod));
        binding.map(|binding| binding.written = Some(versions)).is_some()
    }

    /// Whether this very pod waits, and not another of its name.
    pub fn has(&self, pod: &PodInfo) -> bool {
        self.pods.get(&pod.key()).is_some_and(|binding| binding.is_of(pod))
    }

    /// A pod waits no longer.
    pub fn remove(&mut self, key: &str) -> Option<Binding> {
        let binding = self.pods.remove(key)?;
        self.deadlines.remove(&(binding.deadline, key.to_owned()));
        for claim in binding.claims() {
            if let Some(pods) = self.by_claim.get_mut(claim) {
                pods.remove(key);
                if pods.is_empty() {
                    self.by_claim.remove(claim);
                }
            }
        }
        Some(binding)
    }

    /// Keys of the pods that wait for a claim.
    pub fn waiting_for(&self, claim: &str) -> Vec<String> {
        self.by_claim.get(claim).into_iter().flatten().cloned().collect()
    }

    /// When the first has waited for too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The first that has waited for too long.
    pub fn expired(&self, now: Instant) -> Option<String> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, key)| key.clone())
    }

    /// How far a pod's volumes are.
    pub fn progress(&self, key: &str, world: &World) -> Progress {
        let Some(binding) = self.pods.get(key) else { return Progress::Waiting };
        let Some(written) = &binding.written else { return Progress::Waiting };
        match world.node(&binding.node) {
            Some(node) => progress(&binding.choice, written, &node.node, &world.volumes),
            None => Progress::Failed(format!(
                "binding volumes: failed to get node {:?}: node {:?} not found",
                binding.node, binding.node
            )),
        }
    }
}

impl Binding {
    fn is_of(&self, pod: &PodInfo) -> bool {
        self.pod.pod.metadata.uid == pod.pod.metadata.uid
    }
}

/// What has to be written for a choice.
#[derive(Debug, Default)]
pub struct Writes {
    volumes: Vec<PersistentVolume>,
    claims: Vec<PersistentVolumeClaim>,
}

/// `choice` was made from `volumes`, so that all it names is there.
pub fn writes(choice: &Choice, node: &str, volumes: &Volumes) -> Writes {
    let bound = choice
        .bind
        .iter()
        .filter_map(|(volume, claim)| bound_to(volumes.volume(volume)?, volumes.claim(claim)?));
    let selecting = choice.provision.iter().filter_map(|claim| selecting(volumes.claim(claim)?, node));
    Writes { volumes: bound.collect(), claims: selecting.collect() }
}

/// Writes; returns the resourceVersions by the volume's name or the claim's key.
pub async fn write(client: Client, writes: Writes) -> Result<BTreeMap<String, u64>, kube::Error> {
    let mut versions = BTreeMap::new();
    let params = PostParams::default();
    for volume in &writes.volumes {
        let key = volume.key();
        let written =
            Api::<PersistentVolume>::all(client.clone()).replace(&key.name, &params, volume).await?;
        versions.insert(key.to_string(), written.version());
    }
    for claim in &writes.claims {
        let key = claim.key();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), key.namespace());
        let written = api.replace(&key.name, &params, claim).await?;
        versions.insert(key.to_string(), written.version());
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(uid: &str) -> Arc<PodInfo> {
        let object =
            json!({"metadata": {"name": "p", "namespace": "d", "uid": uid}, "spec": {"containers": []}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(object).unwrap())))
    }

    #[test]
    fn a_pod_waits_until_its_volumes_are_there_or_its_time_is_up() {
        let (mut bindings, now) = (Bindings::default(), Instant::now());
        let choice = Choice {
            bind: vec![("v".into(), "d/one".into())],
            provision: vec!["d/two".into()],
            settle: vec!["d/three".into()],
        };
        bindings.begin(pod("1"), "n".into(), choice, now);
        for claim in ["d/one", "d/two", "d/three"] {
            assert_eq!(bindings.waiting_for(claim), ["d/p"], "{claim}");
        }
        assert_eq!((bindings.deadline(), bindings.expired(now)), (Some(now + PATIENCE), None));
        assert_eq!(bindings.expired(now + PATIENCE).as_deref(), Some("d/p"));
        let world = World::default();
        assert_eq!(bindings.progress("d/p", &world), Progress::Waiting, "not written yet");
        assert!(!bindings.written(&pod("2"), BTreeMap::new()), "another pod of the same name");
        assert!(bindings.has(&pod("1")) && bindings.written(&pod("1"), BTreeMap::new()));
        let gone = "binding volumes: failed to get node \"n\": node \"n\" not found";
        assert_eq!(bindings.progress("d/p", &world), Progress::Failed(gone.into()));
        assert!(bindings.remove("d/p").is_some() && bindings.remove("d/p").is_none());
        assert_eq!((bindings.waiting_for("d/one").len(), bindings.deadline()), (0, None));
    }
}
