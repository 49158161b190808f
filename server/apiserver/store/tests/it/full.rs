//! No space left: writes are refused, reads go on, and space is used once it is there again.

use std::path::Path;
use std::process::Command;

use sampan_store::{Condition, Config, Store};

use crate::help::*;

/// Writes until the disk is full; returns how many writes were done.
async fn fill(store: &Store) -> u64 {
    let mut done = 0;
    loop {
        let outcome =
            store.write(put("pods", &format!("p{done}"), Condition::Absent, &"x".repeat(20_000))).await;
        match word(&outcome) {
            "ok" => done += 1,
            "full" => return done,
            other => panic!("{other}: {outcome:?}"),
        }
    }
}

async fn still_reads(store: &Store, done: u64) {
    assert_eq!(store.revision(), done, "nothing is published that was not committed");
    assert_eq!(store.list("pods").len() as u64, done);
    assert!(store.watch("pods", "", done).unwrap().try_next().is_none());
    let lease = store.write(put("leases", "node1", Condition::Any, "alive")).await;
    assert_eq!(word(&lease), "ok", "a node's lease needs no disk");
}

#[tokio::test]
async fn a_limit_on_pages_is_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { max_pages: Some(200), ..config(folder.path()) };
    let store = Store::open(config, tasks()).await.unwrap();
    let done = fill(&store).await;
    assert!(done > 10, "{done}");
    still_reads(&store, done).await;
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(store.list("pods").len() as u64, done);
    assert_eq!(word(&store.write(put("pods", "more", Condition::Absent, "x")).await), "ok");
}

struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn tmpfs<'a>(at: &'a Path, options: &str) -> Option<Mount<'a>> {
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output().ok()?;
    mount.status.success().then_some(Mount(at))
}

#[tokio::test]
async fn a_full_disk_recovers_when_space_returns() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = tmpfs(folder.path(), "size=4m") else {
        assert!(!nix_is_root(), "root can mount a tmpfs");
        return;
    };
    let ballast = mount.0.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let store = open(mount.0).await;
    let done = fill(&store).await;
    still_reads(&store, done).await;
    std::fs::remove_file(ballast).unwrap();
    let next = store.write(put("pods", "more", Condition::Absent, "x")).await.unwrap();
    assert!(next.revision > done);
    store.close().await;
    let store = open(mount.0).await;
    assert_eq!(store.list("pods").len() as u64, done + 1);
    assert_eq!(store.list("leases").len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_read_only_file_system_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = tmpfs(folder.path(), "size=4m") else {
        assert!(!nix_is_root(), "root can mount a tmpfs");
        return;
    };
    open(mount.0).await.close().await;
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(mount.0).status().unwrap();
    assert!(remount.success());
    let error = try_open(mount.0).await.unwrap_err();
    assert!(matches!(error, sampan_store::OpenError::ReadOnly { .. }), "{error}");
}

/// Whether this process may do what root may.
fn nix_is_root() -> bool {
    std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0).unwrap_or(false)
}
