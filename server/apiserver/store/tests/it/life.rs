//! Long lives: compaction by time, a file that does not grow, relaxed writes.

use std::path::Path;
use std::time::Duration;

use sampan_store::{Condition, Config, Store};

use crate::help::*;

fn size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    files.sum()
}

/// Lets the writer do what is due after `time` on the paused clock; the write that follows shows that it
/// has come back to its queue.
async fn pass(store: &Store, time: Duration) {
    tokio::time::advance(time).await;
    store.write(put("ticks", "t", Condition::Any, "t")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn history_is_compacted_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for _ in 0..50 {
        store.write(put("pods", "a", Condition::Any, "x")).await.unwrap();
    }
    pass(&store, Duration::from_secs(299)).await;
    assert_eq!(store.oldest(), 0);
    pass(&store, Duration::from_secs(20)).await;
    pass(&store, Duration::from_secs(20)).await;
    assert_eq!(store.oldest(), 50, "what was written at the start is forgotten, the ticks are not");
    assert_eq!(store.list("pods").len(), 1);
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!((store.oldest(), store.revision()), (50, 53));
    assert_eq!(values(&store.list("pods")), [("a".into(), "x@50".into())]);
}

#[tokio::test(start_paused = true)]
async fn the_file_of_a_quiet_cluster_does_not_grow() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for number in 0..200 {
        store.write(put("pods", &format!("p{number}"), Condition::Absent, &"x".repeat(2000))).await.unwrap();
    }
    let mut sizes = Vec::new();
    for _ in 0..4 {
        for _ in 0..60 {
            store.write(put("leases", "node1", Condition::Any, &"l".repeat(500))).await.unwrap();
            store.write(put("pods", "p7", Condition::Any, &"y".repeat(2000))).await.unwrap();
            pass(&store, Duration::from_secs(10)).await;
        }
        sizes.push(size(folder.path()));
    }
    assert!(sizes[3] <= sizes[1] + 65_536, "ten minutes each: {sizes:?}");
    store.close().await;
    let closed = size(folder.path());
    assert!(closed < 2 * 200 * 2100, "{closed}");
}

#[tokio::test]
async fn a_file_that_was_large_gives_its_pages_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { history_max_bytes: 1 << 20, ..config(folder.path()) };
    let store = Store::open(config, tasks()).await.unwrap();
    let name = |number: u32| format!("p{number}");
    let all = |write: fn(&str) -> sampan_store::Write| (0..5000).map(|number| write(&name(number))).collect();
    store.write_all(all(|name| put("pods", name, Condition::Absent, &"x".repeat(4000)))).await;
    store.write_all(all(|name| delete("pods", name, Condition::Any))).await;
    for _ in 0..10 {
        store.write(put("pods", "z", Condition::Any, "x")).await.unwrap();
    }
    store.close().await;
    let closed = size(folder.path());
    assert!(closed < 8 << 20, "{closed} bytes after deleting 20 MB");
}

#[tokio::test(start_paused = true)]
async fn relaxed_writes_are_published_at_once_and_written_soon() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.write(put("pods", "a", Condition::Absent, "x")).await.unwrap();
    let mut watch = store.watch("leases", "", 0).unwrap();
    let file = || std::fs::read(folder.path().join("state.db-wal")).unwrap_or_default();
    let before = file();
    let lease = store.write(put("leases", "n", Condition::Absent, "renewed-now")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, lease.revision);
    assert!(file() == before, "not on the disk yet");
    pass(&store, Duration::from_millis(1500)).await;
    assert!(file().windows(11).any(|window| window == b"renewed-now"));
}
