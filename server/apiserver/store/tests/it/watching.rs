//! Watches: replay, live, slow, closed.

use sampan_store::{Compacted, Condition, Config, EventKind, Lagged, Store};
use std::time::Duration;

use crate::help::*;

#[tokio::test]
async fn a_watch_replays_then_goes_live() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.write(put("pods", "a/1", Condition::Absent, "x")).await.unwrap();
    let first = store.watch("pods", "a/", 0).unwrap();
    store.write(put("pods", "b/1", Condition::Absent, "x")).await.unwrap();
    store.write(put("pods", "a/1", Condition::Any, "y")).await.unwrap();
    let second = store.watch("pods", "a/", 1).unwrap();
    store.write(delete("pods", "a/1", Condition::Any)).await.unwrap();
    for (mut watch, from) in [(first, 0), (second, 1)] {
        let expected = [
            (1, EventKind::Created, None),
            (3, EventKind::Updated, Some(1)),
            (4, EventKind::Deleted, Some(3)),
        ];
        for (revision, kind, prev) in expected.into_iter().filter(|(revision, ..)| *revision > from) {
            let event = watch.next().await.unwrap().unwrap();
            let before = event.prev.as_ref().map(|entry| entry.revision);
            assert_eq!((event.revision, event.kind, before), (revision, kind, prev));
            assert_eq!(event.entry.revision, revision);
        }
        assert_eq!(watch.caught_up_to(), 4);
        assert!(watch.try_next().is_none());
    }
}

#[tokio::test]
async fn an_event_is_encoded_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (mut one, mut two) = (store.watch("pods", "", 0).unwrap(), store.watch("pods", "", 0).unwrap());
    store.write(put("pods", "a", Condition::Absent, "x")).await.unwrap();
    let first = one.next().await.unwrap().unwrap().frames.get_or_init(1, || "made".into());
    let second = two.next().await.unwrap().unwrap().frames.get_or_init(1, || unreachable!("made already"));
    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[tokio::test]
async fn the_encodings_of_old_events_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Config { watch_queue: 4096, ..config(folder.path()) }, tasks()).await.unwrap();
    let mut watch = store.watch("pods", "", 0).unwrap();
    store.write(put("pods", "a", Condition::Absent, "x")).await.unwrap();
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!(first.frames.get_or_init(0, || "made".into()), "made");
    for _ in 0..1025 {
        store.write(put("pods", "b", Condition::Any, "x")).await.unwrap();
        watch.next().await.unwrap().unwrap();
    }
    // the writer's helper forgets after it has told the watchers
    while first.frames.get_or_init(0, || "again".into()) == "made" {
        tokio::task::yield_now().await;
    }
    assert_eq!(first.frames.get_or_init(0, || "and again".into()), "and again");
}

#[tokio::test]
async fn a_slow_watcher_is_dropped_and_the_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Config { watch_queue: 10, ..config(folder.path()) }, tasks()).await.unwrap();
    let mut slow = store.watch("pods", "", 0).unwrap();
    let mut fast = store.watch("pods", "", 0).unwrap();
    for number in 1..=11 {
        store.write(put("pods", "a", Condition::Any, "x")).await.unwrap();
        assert_eq!(fast.next().await.unwrap().unwrap().revision, number);
    }
    assert_eq!(slow.caught_up_to(), 0, "it has seen nothing");
    assert_eq!(slow.next().await.unwrap().unwrap_err(), Lagged);
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn closing_ends_watches_after_their_last_event() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut watch = store.watch("pods", "", 0).unwrap();
    store.write(put("pods", "a", Condition::Absent, "x")).await.unwrap();
    store.close().await;
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 1);
    assert!(watch.next().await.is_none());
    assert!(store.watch("pods", "", 1).unwrap().next().await.is_none());
}

#[tokio::test]
async fn history_is_bounded_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        Store::open(Config { history_max_bytes: 10_000, ..config(folder.path()) }, tasks()).await.unwrap();
    for _ in 0..200 {
        store.write(put("pods", "a", Condition::Any, "x")).await.unwrap();
    }
    let oldest = store.oldest();
    assert!((150..200).contains(&oldest), "{oldest}");
    assert_eq!(store.watch("pods", "", oldest - 1).unwrap_err(), Compacted { oldest });
    assert_eq!(store.list_at("pods", oldest - 1).unwrap_err(), Compacted { oldest });
    let mut watch = store.watch("pods", "", oldest).unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, oldest + 1);
    assert_eq!(values(&store.list_at("pods", oldest).unwrap()), [("a".into(), format!("x@{oldest}"))]);
}

#[tokio::test]
async fn waiting_for_a_revision() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    assert!(!store.wait_for(1, Duration::ZERO).await);
    let (reached, _) = tokio::join!(
        store.wait_for(1, Duration::from_secs(60)),
        store.write(put("leases", "a", Condition::Absent, "x"))
    );
    assert!(reached);
}
