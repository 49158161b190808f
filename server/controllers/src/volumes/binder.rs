//! The PersistentVolume binder (upstream's `pv_controller.go`): claims get volumes, and both say how they stand.
//!
//! One controller for both kinds, because a binding is four writes over two objects: the volume, its status, the claim,
//! its status. Any of them may fail; what is left is finished by the next pass over either. Two claims that reach for
//! one volume are told apart by its resourceVersion.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;
use kube::api::PostParams;
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Object, Recorder, Sources, reference};

use super::words::{
    BIND_COMPLETED, BY_CLAIM, Told, claim_class, claim_key, claim_keys, claim_uid, has_class, has_node,
    index_by_claim, volume_class, volume_name, volume_phase,
};
use super::{claim, volume};
use crate::context::Context;
use crate::words::{annotation, is_terminal, name, namespace, resource_version, uid};

/// Index of volumes by the claim they are bound to or kept for.
const KEPT_FOR: &str = "claim-ref";
/// Index of volumes by class.
const OF_CLASS: &str = "class";
/// Index of claims by the volume they name.
const NAMING: &str = "volume";
/// Index of claims that take any volume, by class.
const WAITING: &str = "waiting-by-class";
/// The term of claims that name no class at all, which no class can be called.
const CLASSLESS: &str = "/";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    Claim(Key),
    Volume(Key),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Claim(key) => write!(f, "claim {key}"),
            Work::Volume(key) => write!(f, "volume {key}"),
        }
    }
}

/// The controller.
pub(crate) struct Binder {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    recorder: Recorder,
}

impl Binder {
    pub fn new(context: &Context) -> Self {
        let claims: Informer<PersistentVolumeClaim> = context.informers.of();
        let volumes: Informer<PersistentVolume> = context.informers.of();
        index_by_claim(&context.pods);
        volumes.add_index(KEPT_FOR, |volume| claim_key(volume).iter().map(Key::to_string).collect());
        volumes.add_index(OF_CLASS, |volume| vec![volume_class(volume).to_owned()]);
        claims.add_index(NAMING, |claim| {
            Some(volume_name(claim)).filter(|name| !name.is_empty()).map(str::to_owned).into_iter().collect()
        });
        claims.add_index(WAITING, |claim| match is_waiting(claim) {
            true if has_class(claim) => vec![claim_class(claim).to_owned()],
            true => vec![CLASSLESS.to_owned(), String::new()],
            false => Vec::new(),
        });
        let recorder = context.recorder("persistentvolume-controller");
        Self { context: context.clone(), claims, volumes, classes: context.informers.of(), recorder }
    }

    fn waiting(&self, class: &str) -> Vec<Work> {
        self.claims.by_index(WAITING, class).iter().map(|claim| Work::Claim(claim.key())).collect()
    }

    /// A claim concerns itself and the volumes at either end of it.
    fn claim_changed(&self, delta: &Delta<PersistentVolumeClaim>) -> Vec<Work> {
        let kept = self.volumes.by_index(KEPT_FOR, &delta.key.to_string());
        let kept = kept.iter().map(|volume| Work::Volume(volume.key()));
        let named = delta.states().map(|claim| volume_name(claim)).filter(|name| !name.is_empty());
        let named = named.map(|name| Work::Volume(Key::cluster(name)));
        [Work::Claim(delta.key.clone())].into_iter().chain(kept).chain(named).collect()
    }

    /// A volume concerns itself, its claim, those that name it, and, when it becomes free, those that take any.
    fn volume_changed(&self, delta: &Delta<PersistentVolume>) -> Vec<Work> {
        let kept = delta.states().filter_map(|volume| claim_key(volume)).map(Work::Claim);
        let naming = self.claims.by_index(NAMING, &delta.key.name);
        let naming = naming.iter().map(|claim| Work::Claim(claim.key()));
        let offered = delta.new.iter().filter(|volume| claim::is_offered(volume));
        let waiting = offered.flat_map(|volume| self.waiting(volume_class(volume)));
        [Work::Volume(delta.key.clone())].into_iter().chain(kept).chain(naming).chain(waiting).collect()
    }

    fn world(&self, claim: &PersistentVolumeClaim) -> claim::World {
        let class = claim_class(claim);
        let key = claim.key().to_string();
        let mut world = claim::World {
            named: Some(volume_name(claim))
                .filter(|name| !name.is_empty())
                .and_then(|name| self.volumes.get(&Key::cluster(name))),
            class: self.classes.get(&Key::cluster(class)).filter(|_| !class.is_empty()),
            ..claim::World::default()
        };
        if is_waiting(claim) {
            world.volumes = self.volumes.by_index(OF_CLASS, class);
            world.volumes.extend(self.volumes.by_index(KEPT_FOR, &key));
            world.default_class = claim::default_class(&self.classes.list());
            let pods = self.context.pods.by_index(BY_CLAIM, &key);
            let pods = pods.iter().filter(|pod| !has_node(pod) && !is_terminal(pod));
            world.waiting_pods = pods.map(|pod| name(&pod.metadata).to_owned()).collect();
            world.waiting_pods.sort();
        }
        world
    }

    async fn sync_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(()) };
        for step in claim::plan(&claim, &self.world(&claim)) {
            match step {
                claim::Step::Bind(volume) => self.bind(&volume, &claim).await?,
                claim::Step::Write(changed) => _ = self.write_claim(&changed).await?,
                claim::Step::Phase(phase) => {
                    self.write_claim_status(&claim::unbound_status(&claim, phase)).await?;
                }
                claim::Step::Tell(told) => self.tell(&*claim, &told),
                claim::Step::Fail(why) => return Err(Error::Other(why)),
            }
        }
        Ok(())
    }

    /// The four writes of a binding, as far as they are not done.
    async fn bind(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let (mut volume, mut claim) = (volume.clone(), claim.clone());
        if let Some(bound) = claim::volume_bound_to(&volume, &claim) {
            volume = self.write_volume(&bound).await?;
        }
        if volume_phase(&volume) != "Bound" {
            volume = self.write_volume_status(&volume::in_phase(&volume, "Bound", "")).await?;
        }
        if let Some(bound) = claim::claim_bound_to(&claim, &volume) {
            claim = self.write_claim(&bound).await?;
        }
        if let Some(status) = claim::bound_status(&claim, &volume) {
            self.write_claim_status(&status).await?;
        }
        Ok(())
    }

    async fn sync_volume(&self, key: &Key) -> Result<(), Error> {
        let Some(mut volume) = self.volumes.get(key) else { return Ok(()) };
        let claim = self.claim_of(&volume).await?;
        for step in volume::plan(&volume, claim.as_deref()) {
            match (step, &claim) {
                (volume::Step::Phase(phase, message), _) => {
                    let in_phase = volume::in_phase(&volume, phase, &message);
                    volume = Arc::new(self.write_volume_status(&in_phase).await?);
                }
                (volume::Step::Unbind, _) => {
                    let free = self.write_volume(&volume::unbound(&volume)).await?;
                    self.write_volume_status(&volume::in_phase(&free, "Available", "")).await?;
                }
                (volume::Step::Tell(told), _) => self.tell(&*volume, &told),
                (volume::Step::TellClaim(told), Some(claim)) => self.tell(&**claim, &told),
                (volume::Step::Claim, Some(claim)) => self.sync_claim(&claim.key()).await?,
                (volume::Step::TellClaim(_) | volume::Step::Claim, None) => {}
            }
        }
        Ok(())
    }

    /// The claim that a volume is bound to. A provisioner's volume may be seen here before its claim is, and must not
    /// be released for that: the API is asked.
    async fn claim_of(&self, volume: &PersistentVolume) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
        let Some(key) = claim_key(volume).filter(|_| !claim_uid(volume).is_empty()) else {
            return Ok(None);
        };
        let same = |claim: &PersistentVolumeClaim| uid(&claim.metadata) == claim_uid(volume);
        let known = self.claims.get(&key).filter(|claim| same(claim));
        if known.is_some() || matches!(volume_phase(volume), "Released" | "Failed") {
            return Ok(known);
        }
        let api = self.context.namespaced::<PersistentVolumeClaim>(key.namespace());
        Ok(api.get_opt(&key.name).await?.filter(same).map(Arc::new))
    }

    fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, told: &Told) {
        self.recorder.event(&reference(object), told.kind, told.reason, told.message.clone());
    }

    async fn write_volume(&self, volume: &PersistentVolume) -> Result<PersistentVolume, Error> {
        let (api, params) = (self.context.cluster::<PersistentVolume>(), PostParams::default());
        let written = api.replace(name(&volume.metadata), &params, volume).await?;
        self.volumes.reached(resource_version(&written.metadata)).await;
        Ok(written)
    }

    async fn write_volume_status(&self, volume: &PersistentVolume) -> Result<PersistentVolume, Error> {
        let (api, params) = (self.context.cluster::<PersistentVolume>(), PostParams::default());
        let written = api.replace_status(name(&volume.metadata), &params, volume).await?;
        self.volumes.reached(resource_version(&written.metadata)).await;
        Ok(written)
    }

    async fn write_claim(&self, claim: &PersistentVolumeClaim) -> Result<PersistentVolumeClaim, Error> {
        let api = self.context.namespaced::<PersistentVolumeClaim>(namespace(&claim.metadata));
        let written = api.replace(name(&claim.metadata), &PostParams::default(), claim).await?;
        self.claims.reached(resource_version(&written.metadata)).await;
        Ok(written)
    }

    async fn write_claim_status(&self, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let api = self.context.namespaced::<PersistentVolumeClaim>(namespace(&claim.metadata));
        let written = api.replace_status(name(&claim.metadata), &PostParams::default(), claim).await?;
        self.claims.reached(resource_version(&written.metadata)).await;
        Ok(())
    }
}

/// Whether a claim takes any volume.
fn is_waiting(claim: &PersistentVolumeClaim) -> bool {
    annotation(&claim.metadata, BIND_COMPLETED).is_none() && volume_name(claim).is_empty()
}

/// Claims of a pod that came and has no node: whoever waits for a consumer is told of it.
fn pod_came(delta: &Delta<Pod>) -> Vec<Work> {
    match (&delta.old, &delta.new) {
        (None, Some(pod)) if !has_node(pod) => claim_keys(pod).into_iter().map(Work::Claim).collect(),
        _ => Vec::new(),
    }
}

impl Controller for Binder {
    type Key = Work;

    fn name(&self) -> &'static str {
        "persistentvolume-binder-controller"
    }

    fn queue(&self) -> &'static str {
        "claims"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Work>) {
        let this = self.clone();
        sources.on(&self.claims, move |delta| this.claim_changed(delta));
        let this = self.clone();
        sources.on(&self.volumes, move |delta| this.volume_changed(delta));
        let this = self.clone();
        sources.on(&self.classes, move |delta| {
            let mut all = this.waiting(&delta.key.name);
            all.extend(this.waiting(CLASSLESS));
            all
        });
        sources.on(&self.context.pods, pod_came);
    }

    async fn reconcile(&self, work: &Work) -> Result<Option<Duration>, Error> {
        match work {
            Work::Claim(key) => self.sync_claim(key).await?,
            Work::Volume(key) => self.sync_volume(key).await?,
        }
        Ok(None)
    }
}
