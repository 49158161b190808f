//! The rim around [`crate::plan`] and [`crate::resize`]: claims get directories and volumes, volumes lose them.
//!
//! Written so that it may be stopped between any two steps: a directory has its claim's uid for a name and is found
//! again, a volume's object goes after its files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use sampan_addon::Context;
use sampan_reconcile::{Controller, Error, Informer, Key, Object, Recorder, Sources, reference};

use crate::capacity::Capacity;
use crate::directory::{Root, Space};
use crate::health::Troubles;
use crate::plan::{self, Fate, Refusal, Wish};
use crate::resize::{self, Growth};
use crate::words::{
    FINALIZER, SELECTED_NODE, class_of, has_finalizer, is_ours, name, namespace, people, selected_node,
    volume_for, volume_name,
};

/// When a claim for which there is no room is looked at again: nothing tells that files were deleted.
const AGAIN: Duration = Duration::from_secs(60);

/// What may need work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// A claim that wants a volume, or a larger one.
    Claim(Key),
    /// A volume of ours.
    Volume(Key),
    /// How much room there is.
    Space,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Claim(key) => write!(f, "claim {key}"),
            Work::Volume(key) => write!(f, "volume {key}"),
            Work::Space => f.write_str("free space"),
        }
    }
}

/// The controller.
pub(crate) struct Provisioner {
    client: kube::Client,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<Node>,
    node: String,
    root: Arc<Root>,
    capacity: Capacity,
    troubles: Troubles,
    provisioner: Recorder,
    resizer: Recorder,
}

impl Provisioner {
    pub fn new(context: &Context, root: Root, class: String) -> Self {
        let client = context.client.clone();
        let recorder = |component: &str| Recorder::new(client.clone(), component, "", &context.tasks);
        let node = context.site.node_name.clone();
        Self {
            claims: context.informers.of(),
            volumes: context.informers.of(),
            classes: context.informers.of(),
            nodes: context.informers.of(),
            capacity: Capacity::new(&client, &class, &node),
            troubles: Troubles::new(context.health.clone()),
            provisioner: recorder(crate::PROVISIONER),
            resizer: recorder(&format!("external-resizer {}", crate::PROVISIONER)),
            root: Arc::new(root),
            node,
            client,
        }
    }

    /// Resolves when all volumes are known and what no volume has is tidied up; says then how it is.
    pub async fn ready(&self) {
        self.volumes.synced().await;
        let left =
            |name: &String| name.starts_with("pvc-") && self.volumes.get(&Key::cluster(name)).is_none();
        let names = self.on_disk(|root| root.names()).await.unwrap_or_default();
        let left: Vec<String> = names.into_iter().filter(left).collect();
        // a directory with files is somebody's: of a volume that was retained, for one
        let tidy = self.on_disk(move |root| {
            left.iter().for_each(|name| _ = root.remove_empty(name));
            Ok(())
        });
        if let Err(error) = tidy.await {
            tracing::warn!(%error, "directories not tidied up");
        }
        // what is wrong is said by its health
        let _ = self.space().await;
    }

    /// Takes back what would keep others from deleting volumes, and the report of capacity.
    ///
    /// # Errors
    /// The API refused.
    pub async fn withdraw(&self) -> Result<(), Error> {
        self.volumes.synced().await;
        for volume in self.volumes.list() {
            if is_ours(&volume, &self.node) && has_finalizer(&volume) {
                self.set_finalizer(&volume, false).await.or_else(unless_gone)?;
            }
        }
        self.capacity.withdraw().await
    }

    /// Runs what may wait for the disk where it holds up nobody.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || work(&root)).await;
        done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Looks how much room there is, and says so.
    async fn space(&self) -> Result<Space, String> {
        let space = self.on_disk(Root::space).await;
        self.troubles.space(self.root.path(), space.clone());
        if let Ok(space) = space
            && let Err(error) = self.capacity.say(space).await
        {
            // it is a report, and the next one says it
            tracing::warn!(%error, "capacity not reported");
        }
        space
    }

    async fn claim(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(claim) = self.claims.get(key) else {
            self.troubles.claim(self.root.path(), key, None);
            return Ok(None);
        };
        let class = self.classes.get(&Key::cluster(class_of(&claim)));
        match plan::wish(&claim, class.as_deref(), &self.node) {
            Wish::Volume => {}
            Wish::Nothing => return self.grow(&claim).await,
            Wish::Unclassed => {
                return Err(Error::Other(format!("storageClass {:?} not found", class_of(&claim))));
            }
        }
        let name = volume_for(&claim);
        let Some(class) = class.filter(|_| self.volumes.get(&Key::cluster(&name)).is_none()) else {
            return Ok(None);
        };
        match self.provision(&claim, &class, &name).await? {
            None => {
                self.troubles.claim(self.root.path(), key, None);
                let text = format!("Successfully provisioned volume {name}");
                self.provisioner.normal(&reference(&*claim), "ProvisioningSucceeded", text);
                Ok(None)
            }
            Some(refusal) => self.refuse(&claim, refusal).await,
        }
    }

    /// Makes a volume, or says why there is none.
    async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        class: &StorageClass,
        name: &str,
    ) -> Result<Option<Refusal>, Error> {
        let refusal = plan::refusal(claim, class);
        if let Some(refusal @ Refusal::Never(_)) = refusal {
            return Ok(Some(refusal));
        }
        self.provisioner.normal(&reference(claim), "Provisioning", plan::beginning(claim));
        if refusal.is_some() {
            return Ok(refusal);
        }
        let failed = |why: String| Some(Refusal::Unfit(plan::failed(class_of(claim), &why)));
        let at = format!(" ({})", self.root.path().display());
        match self.space().await {
            Err(why) => return Ok(failed(why + &at)),
            Ok(space) => {
                if let Some(full) = plan::shortage(claim, space, &self.node, self.root.path()) {
                    return Ok(Some(full));
                }
            }
        }
        let directory = name.to_owned();
        if let Err(why) = self.on_disk(move |root| root.create(&directory)).await {
            return Ok(failed(why + &at));
        }
        let volume = plan::volume(claim, class, &self.node, &self.root.volume(name));
        match Api::all(self.client.clone()).create(&PostParams::default(), &volume).await {
            Ok(written) => self.volumes.reached(Object::version(&written)).await,
            // by an earlier pass whose answer was lost
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => {
                return Ok(failed(status.message));
            }
            Err(error) => return Err(error.into()),
        }
        tracing::info!(claim = %claim.key(), volume = name, "volume made");
        Ok(None)
    }

    async fn refuse(
        &self,
        claim: &PersistentVolumeClaim,
        refusal: Refusal,
    ) -> Result<Option<Duration>, Error> {
        let text = refusal.text().to_owned();
        self.provisioner.warning(&reference(claim), "ProvisioningFailed", text.clone());
        self.troubles.claim(self.root.path(), &claim.key(), Some(text.clone()));
        match refusal {
            Refusal::Never(_) => Ok(None),
            // the scheduler chooses again, and another node if there is one
            Refusal::Full(_) if selected_node(claim).is_some() => self.reschedule(claim).await.map(|()| None),
            Refusal::Full(_) => Ok(Some(AGAIN)),
            Refusal::Unfit(_) => Err(Error::Other(text)),
        }
    }

    async fn reschedule(&self, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let mut free = claim.clone();
        if let Some(annotations) = &mut free.metadata.annotations {
            annotations.remove(SELECTED_NODE);
        }
        let written =
            self.claim_api(claim).replace(name(&claim.metadata), &PostParams::default(), &free).await?;
        self.claims.reached(Object::version(&written)).await;
        Ok(())
    }

    fn claim_api(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace(&claim.metadata))
    }

    /// Gives a claim that has a volume the size that it asks for.
    async fn grow(&self, claim: &PersistentVolumeClaim) -> Result<Option<Duration>, Error> {
        let volume = self.volumes.get(&Key::cluster(volume_name(claim)));
        let growth = volume.as_ref().and_then(|volume| resize::growth(claim, volume, &self.node));
        let (Some(volume), Some(growth)) = (volume, growth) else {
            // one without a volume still lacks what it lacked: the scheduler chooses a node anew
            if !volume_name(claim).is_empty() {
                self.troubles.claim(self.root.path(), &claim.key(), None);
            }
            return Ok(None);
        };
        self.resizer.normal(&reference(claim), "Resizing", resize::beginning(&volume));
        let why = match self.space().await {
            Err(why) => Some(why),
            Ok(space) => (growth.more > space.free).then(|| {
                format!(
                    "not enough free space on node {:?}: {} more requested, {} of {} free at {}",
                    self.node,
                    people(growth.more),
                    people(space.free),
                    people(space.total),
                    self.root.path().display(),
                )
            }),
        };
        match why {
            Some(why) => self.stick(claim, &volume, &growth, &why).await.map(|()| Some(AGAIN)),
            None => self.enlarge(claim, &volume, &growth).await.map(|()| None),
        }
    }

    async fn enlarge(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
        growth: &Growth,
    ) -> Result<(), Error> {
        if growth.grows {
            self.write_volume(&resize::grown(volume, growth)).await?;
        }
        self.write_claim_status(&resize::finished(claim, growth)).await?;
        self.resizer.normal(&reference(claim), "VolumeResizeSuccessful", "Resize volume succeeded");
        self.troubles.claim(self.root.path(), &claim.key(), None);
        tracing::info!(claim = %claim.key(), size = growth.size.0, "volume enlarged");
        Ok(())
    }

    async fn stick(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
        growth: &Growth,
        why: &str,
    ) -> Result<(), Error> {
        let (volume, resizer) = (name(&volume.metadata), crate::PROVISIONER);
        let text = format!("resize volume {volume:?} by resizer {resizer:?} failed: {why}");
        self.resizer.warning(&reference(claim), "VolumeResizeFailed", text.clone());
        self.troubles.claim(self.root.path(), &claim.key(), Some(text.clone()));
        if let Some(stuck) = resize::stuck(claim, growth, why, Timestamp::now()) {
            self.write_claim_status(&stuck).await?;
        }
        Ok(())
    }

    async fn write_volume(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let written = api.replace(name(&volume.metadata), &PostParams::default(), volume).await?;
        self.volumes.reached(Object::version(&written)).await;
        Ok(())
    }

    async fn write_claim_status(&self, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let api = self.claim_api(claim);
        let written = api.replace_status(name(&claim.metadata), &PostParams::default(), claim).await?;
        self.claims.reached(Object::version(&written)).await;
        Ok(())
    }

    async fn volume(&self, key: &Key) -> Result<(), Error> {
        let Some(volume) = self.volumes.get(key) else {
            self.troubles.volume(self.root.path(), &key.name, None);
            return Ok(());
        };
        match plan::fate(&volume, &self.node) {
            Fate::Leave => Ok(()),
            Fate::Protect => self.set_finalizer(&volume, true).await,
            Fate::Unprotect => self.set_finalizer(&volume, false).await,
            Fate::Delete => self.delete(&volume).await,
        }
    }

    async fn set_finalizer(&self, volume: &PersistentVolume, wanted: bool) -> Result<(), Error> {
        let mut new = volume.clone();
        let finalizers = new.metadata.finalizers.get_or_insert_default();
        finalizers.retain(|one| one != FINALIZER);
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        self.write_volume(&new).await
    }

    async fn delete(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let volume_name = name(&volume.metadata).to_owned();
        let local = volume.spec.as_ref().and_then(|spec| spec.local.as_ref());
        let path = PathBuf::from(local.map(|local| local.path.as_str()).unwrap_or_default());
        let directory = volume_name.clone();
        if let Err(why) = self.on_disk(move |root| root.delete(&directory, &path)).await {
            self.provisioner.warning(&reference(volume), "VolumeFailedDelete", why.clone());
            self.troubles.volume(self.root.path(), &volume_name, Some(why.clone()));
            return Err(Error::Other(why));
        }
        self.troubles.volume(self.root.path(), &volume_name, None);
        self.forget(volume).await.or_else(unless_gone)?;
        tracing::info!(volume = volume_name, "volume deleted");
        let _ = self.space().await;
        Ok(())
    }

    /// Deletes the object of a volume whose files are gone.
    async fn forget(&self, volume: &PersistentVolume) -> Result<(), Error> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let same = Preconditions { uid: volume.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        api.delete(name(&volume.metadata), &params).await?;
        match api.get_opt(name(&volume.metadata)).await? {
            Some(leaving) if leaving.metadata.uid == volume.metadata.uid => {
                self.set_finalizer(&leaving, false).await
            }
            _ => Ok(()),
        }
    }
}

/// Whether the node says that its disk is nearly full.
fn is_pressed(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "DiskPressure" && one.status == "True")
}

fn unless_gone(error: Error) -> Result<(), Error> {
    match error {
        Error::Api(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        error => Err(error),
    }
}

impl Controller for Provisioner {
    type Key = Work;

    fn name(&self) -> &'static str {
        "local-volume-provisioner"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Work>) {
        sources.needs(&self.classes);
        sources.on(&self.claims, |delta| {
            let news = delta.new.as_ref().is_none_or(|new| plan::concerns(delta.old.as_deref(), new));
            if news { vec![Work::Claim(delta.key.clone())] } else { Vec::new() }
        });
        let node = self.node.clone();
        sources.on(&self.volumes, move |delta| {
            let ours = delta.states().any(|volume| is_ours(volume, &node));
            if ours { vec![Work::Volume(delta.key.clone())] } else { Vec::new() }
        });
        let node = self.node.clone();
        sources.on(&self.nodes, move |delta| {
            let pressed = |node: &Option<Arc<Node>>| node.as_ref().map(|node| is_pressed(node));
            let news = delta.key.name == node && pressed(&delta.old) != pressed(&delta.new);
            if news { vec![Work::Space] } else { Vec::new() }
        });
    }

    async fn reconcile(&self, work: &Work) -> Result<Option<Duration>, Error> {
        match work {
            Work::Claim(key) => return self.claim(key).await,
            Work::Volume(key) => self.volume(key).await?,
            Work::Space => _ = self.space().await,
        }
        Ok(None)
    }
}
