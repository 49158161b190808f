//! What a pod's files take of the disk, where it has limits for that: upstream's `localStorageEviction`
//! (`pkg/kubelet/eviction/eviction_manager.go`).
//!
//! Nothing tells of files that grow. So they are looked at by the clock, but only of a pod that has such a limit, only those
//! that count for it, and the less often the longer it takes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use parking_lot::RwLock;
use sampan_cri::disk_bytes;
use tokio::time::Instant;

use super::admission::is_critical;
use super::eviction::Eviction;
use super::state::{Kind, PodState};
use crate::container::amounts::{Side, quantity, totals};
use crate::container::qos::millis;
use crate::context::Context;
use crate::volume::host_path;

/// Upstream's eviction manager looks as often.
const PERIOD: Duration = Duration::from_secs(10);
const PERIOD_MAX: Duration = Duration::from_secs(300);
/// Of the time, at most this part is spent looking.
const SHARE: u32 = 20;

const RESOURCE: &str = "ephemeral-storage";

/// A pod's limits; of each the name of what it is for.
#[derive(Debug, Default, PartialEq)]
pub struct Limits {
    empty_dirs: Vec<(String, Quantity)>,
    whole: Option<Quantity>,
    containers: Vec<(String, Quantity)>,
}

/// Bytes by name of the volume or container.
#[derive(Debug, Default)]
struct Usage {
    volumes: BTreeMap<String, u64>,
    containers: BTreeMap<String, u64>,
    /// What is the pod's as a whole.
    rest: u64,
}

/// The pod's limits, if it has any that it can be evicted for.
pub fn limits(pod: &Pod) -> Option<Limits> {
    let spec = pod.spec.as_ref().filter(|_| !is_critical(pod))?;
    let positive = |limit: &Quantity| millis(limit).is_some_and(|amount| amount > 0);
    let volumes = spec.volumes.iter().flatten().filter(|volume| is_on_disk(volume));
    let empty_dirs = volumes.filter_map(|volume| {
        let limit = volume.empty_dir.as_ref()?.size_limit.clone().filter(positive)?;
        Some((volume.name.clone(), limit))
    });
    let containers = spec.containers.iter().filter_map(|container| {
        let limit = quantity(container.resources.as_ref()?, Side::Limits, RESOURCE)?;
        Some((container.name.clone(), limit.clone())).filter(|(_, limit)| positive(limit))
    });
    let limits = Limits {
        empty_dirs: empty_dirs.collect(),
        whole: totals(pod, Side::Limits).remove(RESOURCE),
        containers: containers.collect(),
    };
    (limits != Limits::default()).then_some(limits)
}

/// Volumes that are counted: upstream's `IsLocalEphemeralVolume`. One in memory has its limit from the kernel.
fn is_on_disk(volume: &Volume) -> bool {
    let on_disk = |medium: Option<&str>| medium.unwrap_or_default().is_empty();
    volume.config_map.is_some()
        || volume.empty_dir.as_ref().is_some_and(|source| on_disk(source.medium.as_deref()))
}

impl Limits {
    /// What is said of the first limit that is exceeded.
    fn exceeded(&self, usage: &Usage) -> Option<String> {
        let used = |of: &BTreeMap<String, u64>, name: &str| of.get(name).copied().unwrap_or_default();
        let above = |bytes: u64, limit: &Quantity| {
            millis(limit).is_some_and(|limit| i128::from(bytes) * 1000 > limit)
        };
        let volume = self.empty_dirs.iter().find(|(name, limit)| above(used(&usage.volumes, name), limit));
        if let Some((name, limit)) = volume {
            let limit = written(limit);
            return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. "));
        }
        let total = usage.volumes.values().chain(usage.containers.values()).sum::<u64>() + usage.rest;
        if let Some(limit) = self.whole.as_ref().filter(|limit| above(total, limit)) {
            let limit = written(limit);
            return Some(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
            ));
        }
        let container =
            self.containers.iter().find(|(name, limit)| above(used(&usage.containers, name), limit));
        let (name, limit) = container?;
        let limit = written(limit);
        Some(format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. "))
    }

    fn counts_volume(&self, volume: &Volume) -> bool {
        is_on_disk(volume)
            && (self.whole.is_some() || self.empty_dirs.iter().any(|(name, _)| *name == volume.name))
    }

    /// Name and id of what runs and is counted: with the end of a container its files and logs count no longer (upstream's
    /// `removeTerminatedContainers`).
    fn counted(&self, state: &PodState) -> Vec<(String, String)> {
        let slots = state.slots.iter().filter(|slot| slot.kind != Kind::Ephemeral);
        let slots = slots.filter(|slot| self.counts_container(&slot.spec.name));
        slots.filter_map(|slot| Some((slot.spec.name.clone(), slot.run()?.id.clone()))).collect()
    }

    fn counts_container(&self, name: &str) -> bool {
        self.whole.is_some() || self.containers.iter().any(|(limited, _)| limited == name)
    }
}

/// In its canonical form.
fn written(limit: &Quantity) -> String {
    sampan_api::quantity::Quantity::parse(&limit.0)
        .map_or_else(|_| limit.0.clone(), |limit| limit.to_string())
}

/// Looks until the pod takes more than it may.
pub async fn exceeded(context: Arc<Context>, state: Arc<RwLock<PodState>>, limits: Limits) -> Eviction {
    let mut pause = PERIOD;
    loop {
        tokio::time::sleep(pause).await;
        let began = Instant::now();
        let usage = measure(&context, &state, &limits).await;
        if let Some(message) = limits.exceeded(&usage) {
            return Eviction { reason: "Evicted", message, grace: Some(1), disruption: None };
        }
        pause = (began.elapsed() * SHARE).clamp(PERIOD, PERIOD_MAX);
    }
}

async fn measure(context: &Context, state: &RwLock<PodState>, limits: &Limits) -> Usage {
    let (pod, runs) = {
        let state = state.read();
        (state.pod.clone(), limits.counted(&state))
    };
    let dirs = context.dirs.pod(&pod);
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let volumes: Vec<(String, PathBuf)> = volumes
        .filter(|volume| limits.counts_volume(volume))
        .filter_map(|volume| Some((volume.name.clone(), host_path(volume, &dirs)?)))
        .collect();
    let logs: Vec<(String, PathBuf)> =
        runs.iter().map(|(name, _)| (name.clone(), dirs.logs.join(name))).collect();
    let hosts = limits.whole.is_some().then(|| dirs.hosts());
    let files = tokio::task::spawn_blocking(move || Usage {
        volumes: sizes(volumes),
        containers: sizes(logs),
        rest: hosts.and_then(|hosts| disk_bytes(&hosts).ok()).unwrap_or_default(),
    });
    let mut usage = files.await.unwrap_or_default();
    for (name, id) in runs {
        // what is gone takes nothing
        let written = context.runtime.container_written_bytes(&id).await.unwrap_or_default();
        *usage.containers.entry(name).or_default() += written;
    }
    usage
}

/// What is not there takes nothing. Blocking.
fn sizes(paths: Vec<(String, PathBuf)>) -> BTreeMap<String, u64> {
    paths.into_iter().map(|(name, path)| (name, disk_bytes(&path).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::super::state::{End, Phase, Run};
    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    fn container(name: &str, limit: &str) -> Value {
        json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}})
    }

    #[test]
    fn only_who_has_a_limit_is_looked_at() {
        let empty = |source: Value| json!({"containers": [{"name": "c"}], "volumes": [{"name": "v", "emptyDir": source}]});
        for (spec, expected) in [
            (json!({"containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi"}}}]}), false),
            (json!({"containers": [container("c", "1Gi")]}), true),
            (json!({"containers": [container("c", "1Gi")], "priority": 2_000_000_000}), false),
            (json!({"containers": [container("c", "0")]}), false),
            (empty(json!({})), false),
            (empty(json!({"sizeLimit": "0"})), false),
            (empty(json!({"sizeLimit": "1Mi"})), true),
            (empty(json!({"sizeLimit": "1Mi", "medium": "Memory"})), false),
        ] {
            assert_eq!(limits(&pod(spec.clone())).is_some(), expected, "{spec}");
        }
    }

    #[test]
    fn the_first_limit_that_is_exceeded_is_told() {
        let spec = json!({
            "containers": [container("a", "1Mi"), container("b", "1024Ki"), {"name": "free"}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "512Ki"}}, {"name": "w", "emptyDir": {}}]});
        let limits = limits(&pod(spec)).unwrap();
        let kib =
            |sizes: &[(&str, u64)]| sizes.iter().map(|(name, kib)| ((*name).to_owned(), kib << 10)).collect();
        let volume = "Usage of EmptyDir volume \"v\" exceeds the limit \"512Ki\". ";
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ";
        let own = "Container b exceeded its local ephemeral storage limit \"1Mi\". ";
        for (volumes, containers, expected) in [
            (&[("v", 512), ("w", 100)][..], &[("a", 1024)][..], None),
            (&[("v", 513)], &[("b", 9999)], Some(volume)),
            (&[("w", 2049)], &[], Some(whole)),
            (&[("w", 1024)], &[("free", 1025)], Some(whole)),
            (&[], &[("a", 1024), ("b", 1020)], None),
            (&[], &[("a", 0), ("b", 1025)], Some(own)),
        ] {
            let usage = Usage { volumes: kib(volumes), containers: kib(containers), rest: 0 };
            assert_eq!(limits.exceeded(&usage).as_deref(), expected, "{usage:?}");
        }
    }

    #[test]
    fn of_what_has_ended_nothing_counts() {
        let spec = json!({
            "initContainers": [{"name": "init"}],
            "containers": [container("runs", "1Mi"), container("stops", "1Mi"), container("ended", "1Mi")]});
        let mut state = PodState::new(Arc::new(pod(spec)), Timestamp::UNIX_EPOCH);
        let run = |id: &str| Run {
            id: id.to_owned(),
            image: String::new(),
            image_id: String::new(),
            user: None,
            wanted: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            started: true,
            ready: true,
        };
        let end = End {
            id: "0".to_owned(),
            image: String::new(),
            image_id: String::new(),
            user: None,
            exit_code: 0,
            reason: "Completed".to_owned(),
            message: String::new(),
            started_at: None,
            finished_at: Timestamp::UNIX_EPOCH,
        };
        let phases = [
            Phase::Exited(end.clone()),
            Phase::Running(run("1")),
            Phase::Stopping(run("2")),
            Phase::Exited(end),
        ];
        for (slot, phase) in state.slots.iter_mut().zip(phases) {
            slot.phase = phase;
        }
        let counted = limits(&state.pod).unwrap().counted(&state);
        let pair = |name: &str, id: &str| (name.to_owned(), id.to_owned());
        assert_eq!(counted, [pair("runs", "1"), pair("stops", "2")]);
    }

    #[test]
    fn files_are_counted_once_and_no_other_file_system() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("v/inner")).unwrap();
        let empty = disk_bytes(&at("v")).unwrap();
        std::fs::write(at("v/inner/file"), vec![1; 1 << 16]).unwrap();
        std::fs::File::open(at("v/inner/file")).unwrap().sync_all().unwrap();
        let one = disk_bytes(&at("v")).unwrap();
        assert!(one >= empty + (1 << 16), "{empty} {one}");
        std::fs::hard_link(at("v/inner/file"), at("v/again")).unwrap();
        std::os::unix::fs::symlink(at("v/inner/file"), at("v/link")).unwrap();
        assert!(disk_bytes(&at("v")).unwrap() < one + (1 << 16));
        let sizes = sizes(vec![("v".to_owned(), at("v")), ("gone".to_owned(), at("gone"))]);
        assert_eq!((sizes["v"] >= one, sizes["gone"]), (true, 0));
    }
}
