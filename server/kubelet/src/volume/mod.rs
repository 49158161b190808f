//! The volumes of a pod: set up before its containers, kept fresh while they run, removed at the end.
//!
//! Setting up is idempotent; a change of a ConfigMap, a Secret or the pod, or a token nearing its end, simply
//! sets everything up again (the task that keeps them fresh).

pub mod atomic;
mod claim;
mod group;
pub mod mounts;
mod payload;
pub mod subpath;
mod token;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, HostPathVolumeSource, ImageVolumeSource, Pod, Secret, Volume,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::container::qos;
use crate::context::Context;
use crate::dirs::PodDirs;
use crate::logs;
use crate::objects::Watched;

use claim::Source;
pub use token::Tokens;
pub use waits::{at_once, finds_root_ca, shows_root_ca};

/// What a pod's volumes and environment hold on to while the pod lives.
#[derive(Default)]
pub struct Holdings {
    config_maps: Mutex<BTreeMap<String, Arc<Watched<ConfigMap>>>>,
    secrets: Mutex<BTreeMap<String, Arc<Watched<Secret>>>>,
    /// Wakes the task that keeps them fresh.
    pub dirty: Arc<Notify>,
    /// Service account tokens in use.
    pub tokens: Tokens,
    /// Claims whose files were given to the pod's group already.
    given: Mutex<BTreeSet<String>>,
    /// One setting-up at a time.
    busy: tokio::sync::Mutex<()>,
}

impl Holdings {
    /// Nothing else is set up or taken away until this is dropped.
    pub async fn busy(&self) -> impl Drop + '_ {
        self.busy.lock().await
    }

    /// A ConfigMap of the pod's namespace. With `follow`, later changes of it make the volumes stale.
    pub async fn config_map(
        &self,
        context: &Context,
        namespace: &str,
        name: &str,
        follow: bool,
    ) -> Result<Option<Arc<ConfigMap>>, String> {
        let watched = self
            .config_maps
            .lock()
            .entry(name.to_owned())
            .or_insert_with(|| context.config_maps.watch(namespace, name))
            .clone();
        let object = watched.get().await.map_err(|e| format!("failed to sync configmap cache: {e}"))?;
        if follow {
            watched.wake(&self.dirty);
        }
        Ok(object)
    }

    /// A Secret of the pod's namespace.
    pub async fn secret(
        &self,
        context: &Context,
        namespace: &str,
        name: &str,
        follow: bool,
    ) -> Result<Option<Arc<Secret>>, String> {
        let watched = self
            .secrets
            .lock()
            .entry(name.to_owned())
            .or_insert_with(|| context.secrets.watch(namespace, name))
            .clone();
        let object = watched.get().await.map_err(|e| format!("failed to sync secret cache: {e}"))?;
        if follow {
            watched.wake(&self.dirty);
        }
        Ok(object)
    }
}

/// Where a volume's files are on the host; `None` for kinds that cannot be served.
pub fn host_path(volume: &Volume, dirs: &PodDirs) -> Option<PathBuf> {
    if let Some(source) = &volume.host_path {
        return Some(logs::stand_in(Path::new(&source.path), dirs));
    }
    plugin(volume).map(|plugin| dirs.volume(plugin, &volume.name))
}

fn plugin(volume: &Volume) -> Option<&'static str> {
    Some(match volume {
        v if v.config_map.is_some() => "kubernetes.io~configmap",
        v if v.secret.is_some() => "kubernetes.io~secret",
        v if v.downward_api.is_some() => "kubernetes.io~downward-api",
        v if v.projected.is_some() => "kubernetes.io~projected",
        v if v.empty_dir.is_some() => "kubernetes.io~empty-dir",
        v if v.image.is_some() => "kubernetes.io~image",
        _ => return None,
    })
}

/// Where a volume is, for containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Directory or file on the host.
    pub path: PathBuf,
    /// Whether containers may only read it.
    pub read_only: bool,
}

/// Directory or file of every volume of the pod.
///
/// # Errors
/// A claim leads nowhere; the text of an event.
pub async fn places(context: &Context, pod: &Pod, dirs: &PodDirs) -> Result<BTreeMap<String, Place>, String> {
    let mut places = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let place = match claim::find(context, pod, volume).await? {
            Some(claimed) => Some(Place { path: claimed.path(), read_only: claimed.read_only }),
            None => host_path(volume, dirs)
                .map(|path| Place { path, read_only: is_payload(volume) || volume.image.is_some() }),
        };
        places.extend(place.map(|place| (volume.name.clone(), place)));
    }
    Ok(places)
}

/// The images that a container shows as volumes, and where on the host they are to be.
pub fn images(pod: &Pod, container: &Container, dirs: &PodDirs) -> Vec<(ImageVolumeSource, PathBuf)> {
    let shown =
        |volume: &&Volume| container.volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).filter(shown);
    volumes.filter_map(|volume| Some((volume.image.clone()?, host_path(volume, dirs)?))).collect()
}

/// Whether a volume's files are what somebody else wrote into the API.
fn is_payload(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Sets up all volumes; an error is the text of a `FailedMount` event.
pub async fn set_up(context: &Context, pod: &Pod, holdings: &Holdings) -> Result<(), String> {
    let _one = holdings.busy.lock().await;
    let dirs = context.dirs.pod(pod);
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if claim::is_claim(volume) {
            set_up_claim(context, pod, volume, holdings).await?;
            continue;
        }
        set_up_one(context, pod, volume, &dirs, holdings)
            .await
            .map_err(|why| format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name))?;
    }
    Ok(())
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

async fn set_up_one(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    dirs: &PodDirs,
    holdings: &Holdings,
) -> Result<(), String> {
    if let Some(source) = &volume.host_path {
        return check_host_path(&logs::stand_in(Path::new(&source.path), dirs), source);
    }
    let Some(path) = host_path(volume, dirs) else { return Err("no volume plugin matched".to_owned()) };
    if volume.image.is_some() {
        // mounted when a container that shows it starts, once the image is there
        return blocking(move || std::fs::create_dir_all(&path)).await;
    }
    let group = fs_group(pod);
    if let Some(source) = &volume.empty_dir {
        let memory = source.medium.as_deref() == Some("Memory");
        let limit = source.size_limit.as_ref().and_then(qos::units);
        return blocking(move || empty_dir(&path, memory, limit, group)).await;
    }
    let payload = payload::payload(context, pod, volume, holdings).await?;
    let secret = volume.secret.is_some() || volume.projected.is_some();
    blocking(move || {
        if secret {
            in_memory(&path)?;
        }
        atomic::write(&path, &payload, group).map(drop)
    })
    .await
}

async fn blocking(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// A claim's directory has to be there: it is never made here, so that a lost disk is missed and not papered over.
async fn set_up_claim(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    holdings: &Holdings,
) -> Result<(), String> {
    let Some(claimed) = claim::find(context, pod, volume).await? else { return Ok(()) };
    let (name, path) = (claimed.volume.clone(), claimed.path());
    if let Source::Host(source) = &claimed.source {
        return check_host_path(Path::new(&source.path), source)
            .map_err(|why| format!("MountVolume.SetUp failed for volume {name:?} : {why}"));
    }
    if !path.exists() {
        return Err(format!(
            "MountVolume.NewMounter initialization failed for volume {name:?} : path {:?} does not exist",
            path.display().to_string()
        ));
    }
    let group = fs_group(pod).filter(|_| !claimed.read_only);
    let Some(group) = group.filter(|_| !holdings.given.lock().contains(&volume.name)) else { return Ok(()) };
    let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
    let only_root = policy == Some("OnRootMismatch");
    let given = blocking(move || match only_root && group::is_given(&path, group)? {
        true => Ok(()),
        false => group::give(&path, group),
    });
    given.await.map_err(|why| format!("MountVolume.SetUp failed for volume {name:?} : {why}"))?;
    holdings.given.lock().insert(volume.name.clone());
    Ok(())
}

/// A directory whose files never reach the disk, for secrets and tokens.
fn in_memory(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    // running containers read what an earlier version of this program wrote: it is not to be hidden from updates
    if mounts::is_mount(path)? || path.join(atomic::DATA).is_symlink() {
        return Ok(());
    }
    mounts::tmpfs(path, Some("mode=0755"))
}

/// Upstream's `pkg/volume/emptydir`: mode 0777, on a tmpfs of its own for `medium: Memory`.
fn empty_dir(path: &Path, memory: bool, limit: Option<i64>, group: Option<u32>) -> std::io::Result<()> {
    let fresh = !path.exists();
    std::fs::create_dir_all(path)?;
    let mounted = memory && !mounts::is_mount(path)?;
    if mounted {
        let options = limit.filter(|l| *l > 0).map(|l| format!("size={l}"));
        mounts::tmpfs(path, options.as_deref())?;
    }
    if fresh || mounted {
        // a tmpfs is sticky by itself, which stays as upstream leaves it: only the permissions are looked at
        if std::fs::metadata(path)?.permissions().mode() & 0o777 != 0o777 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
        }
        // not again later: what the containers have made of it is theirs
        if let Some(group) = group {
            group::give(path, group)?;
        }
    }
    Ok(())
}

/// Upstream's `pkg/volume/hostpath`: `checkTypeInternal`, for what stands for the source's path.
fn check_host_path(path: &Path, source: &HostPathVolumeSource) -> Result<(), String> {
    let meta = std::fs::metadata(path).ok();
    let kind = source.type_.as_deref().unwrap_or_default();
    let fail = |what: &str| Err(format!("hostPath type check failed: {} is not {what}", source.path));
    match (kind, meta) {
        ("", None) => std::fs::create_dir_all(path).map_err(|e| e.to_string()),
        ("DirectoryOrCreate", None) => std::fs::create_dir_all(path).map_err(|e| e.to_string()),
        ("FileOrCreate", None) => std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)
            .map_err(|e| e.to_string()),
        ("Directory" | "DirectoryOrCreate", meta) if !meta.as_ref().is_some_and(|m| m.is_dir()) => {
            fail("a directory")
        }
        ("File" | "FileOrCreate", meta) if !meta.as_ref().is_some_and(|m| m.is_file()) => fail("a file"),
        ("Socket", meta) if !meta.as_ref().is_some_and(|m| m.file_type().is_socket()) => {
            fail("a socket file")
        }
        ("CharDevice", meta) if !meta.as_ref().is_some_and(|m| m.file_type().is_char_device()) => {
            fail("a character device")
        }
        ("BlockDevice", meta) if !meta.as_ref().is_some_and(|m| m.file_type().is_block_device()) => {
            fail("a block device")
        }
        _ => Ok(()),
    }
}

/// Unmounts and removes all volumes of a pod.
pub async fn tear_down(dirs: PodDirs, holdings: &Holdings) {
    let _one = holdings.busy.lock().await;
    let result = blocking(move || {
        mounts::unmount_below(&dirs.root)?;
        mounts::remove(&dirs.sub_paths())?;
        mounts::remove(&dirs.volumes())
    })
    .await;
    if let Err(error) = result {
        tracing::warn!(%error, "volumes not removed");
    }
}

/// Removes all the files the kubelet has of a pod, once its volumes are torn down.
pub async fn remove_all(dirs: PodDirs) {
    let path = dirs.root.clone();
    let all = move || logs::unlink_all(&dirs).and(mounts::remove(&dirs.root)).and(mounts::remove(&dirs.logs));
    let result = blocking(all).await;
    if let Err(error) = result {
        tracing::warn!(path = %path.display(), %error, "files of a pod not removed");
    }
}

/// Resolves when the volumes have to be set up again: something they show has changed, or a token is old.
pub async fn stale(holdings: &Holdings) {
    match holdings.tokens.refresh_at() {
        Some(at) => {
            let pause = at.duration_since(Timestamp::now());
            let pause = std::time::Duration::try_from(pause).unwrap_or_default();
            tokio::select! {
                () = holdings.dirty.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        None => holdings.dirty.notified().await,
    }
}
