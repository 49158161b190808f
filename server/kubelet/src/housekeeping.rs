//! Looks after space: disk and memory pressure, image garbage collection, log rotation.
//!
//! Disk use cannot be subscribed to, so this is the one place of the kubelet that looks at the clock: once a
//! minute, as upstream's image manager and container log manager do, and a `statvfs` is all it costs.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sampan_cri::{ContainerState, ImageStatus};
use tokio::sync::watch;

use crate::context::Context;
use crate::node::Pressure;

const PERIOD: Duration = Duration::from_secs(60);
/// Percent of the disk in use at which images are collected, and down to which.
const HIGH: u64 = 85;
const LOW: u64 = 80;
/// Size at which a log is rotated, and how many files of it are kept.
const LOG_MAX_BYTES: u64 = 10 << 20;
const LOG_FILES: usize = 5;
/// Upstream's hard eviction thresholds.
const DISK_FREE_PERCENT: u64 = 10;
const MEMORY_FREE_BYTES: u64 = 100 << 20;
const PIDS_FREE_PERCENT: u64 = 10;
/// An image younger than this is not collected.
const IMAGE_MIN_AGE_SECONDS: i64 = 120;

/// Runs for ever; dropped at the drain.
pub async fn run(context: Arc<Context>, pressure: watch::Sender<Pressure>) {
    let mut first_seen = HashMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let disk = disk(&context.dirs.root);
        let seen = Pressure {
            disk: disk.is_some_and(|d| d.available * 100 / d.capacity.max(1) < DISK_FREE_PERCENT),
            memory: crate::node::available_memory() < MEMORY_FREE_BYTES,
            pids: scarce_pids(
                &read("/proc/loadavg"),
                &read("/proc/sys/kernel/pid_max"),
                &read("/proc/sys/kernel/threads-max"),
            ),
        };
        pressure.send_if_modified(|now| std::mem::replace(now, seen) != seen);
        collect_images(&context, &mut first_seen).await;
        rotate_logs(&context).await;
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Whether few process ids are left: upstream's `pkg/kubelet/stats/pidlimit`, from the task count in
/// /proc/loadavg (`0.1 0.2 0.3 2/987 4321`) and the smaller of the kernel's two limits.
fn scarce_pids(loadavg: &str, pid_max: &str, threads_max: &str) -> bool {
    let running =
        loadavg.split_whitespace().nth(3).and_then(|field| field.split('/').nth(1)?.parse::<u64>().ok());
    let limit = [pid_max, threads_max].iter().filter_map(|text| text.trim().parse::<u64>().ok()).min();
    match (running, limit) {
        (Some(running), Some(limit)) => limit.saturating_sub(running) * 100 < limit * PIDS_FREE_PERCENT,
        _ => false,
    }
}

#[derive(Clone, Copy)]
struct Disk {
    capacity: u64,
    available: u64,
}

fn disk(path: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let block = stat.fragment_size() as u64;
    Some(Disk { capacity: stat.blocks() as u64 * block, available: stat.blocks_available() as u64 * block })
}

/// Removes unused images, those seen first going first, once the disk is 85 % full, until it is 80 % full.
async fn collect_images(context: &Context, first_seen: &mut HashMap<String, Timestamp>) {
    let Ok(info) = context.runtime.image_fs_info().await else { return };
    let used = info.capacity_bytes.saturating_sub(info.available_bytes);
    if info.capacity_bytes == 0 || used * 100 / info.capacity_bytes < HIGH {
        return;
    }
    let (Ok(images), Ok(containers)) =
        (context.runtime.list_images().await, context.runtime.list_containers().await)
    else {
        return;
    };
    let now = Timestamp::now();
    first_seen.retain(|id, _| images.iter().any(|image| image.id == *id));
    for image in &images {
        first_seen.entry(image.id.clone()).or_insert(now);
    }
    let in_use: HashSet<String> = containers.into_iter().map(|c| c.image).collect();
    let excess = used.saturating_sub(info.capacity_bytes * LOW / 100);
    for image in victims(images, &in_use, first_seen, now, excess) {
        tracing::info!(image.id, image.size_bytes, "image garbage collection");
        match context.runtime.remove_image(&image.id).await {
            Ok(()) => context.images_changed.notify_one(),
            Err(error) => tracing::warn!(image.id, %error, "image not removed"),
        }
    }
}

fn victims(
    images: Vec<ImageStatus>,
    in_use: &HashSet<String>,
    first_seen: &HashMap<String, Timestamp>,
    now: Timestamp,
    mut excess: u64,
) -> Vec<ImageStatus> {
    let age =
        |image: &ImageStatus| first_seen.get(&image.id).map_or(0, |at| now.duration_since(*at).as_secs());
    let mut unused: Vec<ImageStatus> = images
        .into_iter()
        .filter(|image| !image.pinned && !in_use.contains(&image.id) && age(image) >= IMAGE_MIN_AGE_SECONDS)
        .collect();
    unused.sort_by_key(|image| std::cmp::Reverse(age(image)));
    unused
        .into_iter()
        .take_while(|image| {
            let go_on = excess > 0;
            excess = excess.saturating_sub(image.size_bytes);
            go_on
        })
        .collect()
}

async fn rotate_logs(context: &Context) {
    let Ok(containers) = context.runtime.list_containers().await else { return };
    for container in containers.into_iter().filter(|c| c.state == ContainerState::Running) {
        let size = tokio::fs::metadata(&container.log_path).await.map_or(0, |meta| meta.len());
        if size < LOG_MAX_BYTES {
            continue;
        }
        if let Err(error) = rotate(&container.log_path) {
            tracing::warn!(path = %container.log_path.display(), %error, "log not rotated");
        } else if let Err(error) = context.runtime.reopen_container_log(&container.id).await {
            tracing::warn!(path = %container.log_path.display(), %error, "log not reopened");
        }
    }
}

/// Moves the log aside under a name with the time, and removes the oldest ones.
fn rotate(path: &Path) -> std::io::Result<()> {
    let mut rotated = rotated(path);
    // with the file about to be moved and the fresh one there may be five
    let excess = (rotated.len() + 2).saturating_sub(LOG_FILES);
    for old in rotated.drain(..excess.min(rotated.len())) {
        std::fs::remove_file(old)?;
    }
    std::fs::rename(path, rotated_name(path, rotated.last(), Timestamp::now()))
}

/// A name with the time, later in order than `newest`.
fn rotated_name(path: &Path, newest: Option<&PathBuf>, now: Timestamp) -> PathBuf {
    let mut at = now;
    loop {
        let name = path.with_extension(format!("log.{}", at.strftime("%Y%m%d-%H%M%S")));
        if newest.is_none_or(|newest| *newest < name) {
            return name;
        }
        at += jiff::SignedDuration::from_secs(1);
    }
}

/// Rotated files of a log, oldest first.
pub fn rotated(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().map(|n| format!("{}.", n.to_string_lossy())).unwrap_or_default();
    let entries = path.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(&name))
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}

/// Removes a run's log with the files it was rotated into; what is gone already is fine.
pub async fn remove_log(log: PathBuf) {
    for file in rotated(&log).into_iter().chain([log]) {
        let _ = tokio::fs::remove_file(file).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn five_files_of_a_log_are_kept_the_newest_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        for round in 0..8 {
            std::fs::write(&path, round.to_string()).unwrap();
            rotate(&path).unwrap();
        }
        std::fs::write(&path, "8").unwrap();
        let files = rotated(&path);
        let kept: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert_eq!(kept, ["4", "5", "6", "7"]);
    }

    #[tokio::test]
    async fn a_runs_log_goes_with_its_rotated_files_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["1.log", "1.log.20261122-212040", "1.log.20261122-212041", "11.log", "2.log"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        remove_log(directory.path().join("1.log")).await;
        let left = std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["11.log", "2.log"]);
    }

    #[test]
    fn process_ids_are_scarce_below_a_tenth() {
        for (running, limit, want) in
            [("987", "32768", false), ("29500", "32768", true), ("40000", "32768", true)]
        {
            assert_eq!(
                scarce_pids(&format!("0.1 0.2 0.3 2/{running} 4321\n"), limit, "99999\n"),
                want,
                "{running}"
            );
        }
        assert!(!scarce_pids("", "", ""));
    }

    #[test]
    fn the_oldest_unused_images_go_first_and_only_as_many_as_needed() {
        let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1);
        let image = |id: &str, pinned| ImageStatus {
            id: id.to_owned(),
            size_bytes: 10,
            pinned,
            ..Default::default()
        };
        let images = ["old", "older", "used", "fresh"]
            .map(|id| image(id, false))
            .into_iter()
            .chain([image("pin", true)]);
        let seen = [("old", 600), ("older", 900), ("used", 999), ("fresh", 5), ("pin", 999)]
            .map(|(id, age)| (id.to_owned(), now - jiff::SignedDuration::from_secs(age)));
        let victims = victims(images.collect(), &["used".to_owned()].into(), &seen.into(), now, 5);
        assert_eq!(victims.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["older"]);
    }
}
