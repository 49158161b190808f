//! Random histories against a map that remembers everything.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sampan_store::{Condition, EventKind, Key, Store};

use crate::help::*;

#[derive(Clone, Debug)]
struct Op {
    bucket: usize,
    name: u8,
    condition: u8,
    delete: bool,
}

const BUCKETS: [&str; 3] = ["pods", "secrets", "leases"];

type World = BTreeMap<(usize, String), (u64, String)>;

fn ops() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let op = (0..3usize, 0..6u8, 0..4u8, prop::bool::weighted(0.3))
        .prop_map(|(bucket, name, condition, delete)| Op { bucket, name, condition, delete });
    prop::collection::vec(prop::collection::vec(op, 1..6), 1..30)
}

/// What the model says an op does.
fn predict(world: &mut World, op: &Op, condition: Condition, revision: u64) -> &'static str {
    let key = (op.bucket, format!("n{}", op.name));
    let current = world.get(&key).map(|(revision, _)| *revision);
    match (current, condition) {
        (Some(_), Condition::Absent) => return "exists",
        (Some(current), Condition::Revision(wanted)) if current != wanted => return "changed",
        (None, Condition::Revision(_)) => return "missing",
        (None, _) if op.delete => return "missing",
        _ => {}
    }
    match op.delete {
        true => world.remove(&key),
        false => world.insert(key, (revision, format!("v@{revision}"))),
    };
    "ok"
}

fn list(world: &World, bucket: usize) -> Vec<(String, String)> {
    world
        .iter()
        .filter(|((b, _), _)| *b == bucket)
        .map(|((_, name), (_, value))| (name.clone(), value.clone()))
        .collect()
}

/// Replays the watch after `from` on top of the world at `from`: it must end at the present.
fn check_watch(store: &Store, worlds: &[World], from: usize, bucket: usize) {
    let mut names: BTreeMap<String, String> = list(&worlds[from], bucket).into_iter().collect();
    let mut watch = store.watch(BUCKETS[bucket], "", from as u64).unwrap();
    let mut last = from as u64;
    while let Some(event) = watch.try_next() {
        let event = event.unwrap();
        assert!(event.revision > last, "in order, without a repeat");
        last = event.revision;
        let (name, value) =
            (event.entry.key.name.to_string(), String::from_utf8_lossy(&event.entry.value).into_owned());
        let before = match event.kind {
            EventKind::Deleted => names.remove(&name),
            _ => names.insert(name, value),
        };
        let prev = event.prev.as_ref().map(|prev| String::from_utf8_lossy(&prev.value).into_owned());
        assert_eq!(before, prev);
        assert_eq!(event.kind == EventKind::Created, event.prev.is_none());
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), list(worlds.last().unwrap(), bucket));
}

fn check_all(store: &Store, worlds: &[World]) {
    assert_eq!(store.revision(), worlds.len() as u64 - 1);
    for (bucket, name) in BUCKETS.into_iter().enumerate() {
        for (revision, world) in worlds.iter().enumerate() {
            assert_eq!(values(&store.list_at(name, revision as u64).unwrap()), list(world, bucket));
            check_watch(store, worlds, revision, bucket);
        }
    }
}

async fn run(history: Vec<Vec<Op>>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut worlds = vec![World::new()];
    for batch in history {
        let (mut writes, mut expected) = (Vec::new(), Vec::new());
        for op in batch {
            let name = format!("n{}", op.name);
            let known = store.get(&Key::new(BUCKETS[op.bucket], &*name)).map(|entry| entry.revision);
            let condition = match (op.condition, known) {
                (0, _) => Condition::Absent,
                (1, Some(revision)) => Condition::Revision(revision),
                (2, _) => Condition::Revision(1),
                _ => Condition::Any,
            };
            let mut world = worlds.last().unwrap().clone();
            let word = predict(&mut world, &op, condition, worlds.len() as u64);
            if word == "ok" {
                worlds.push(world);
            }
            expected.push(word);
            writes.push(match op.delete {
                true => delete(BUCKETS[op.bucket], &name, condition),
                false => put(BUCKETS[op.bucket], &name, condition, "v"),
            });
        }
        let outcomes = store.write_all(writes).await;
        assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), expected);
    }
    check_all(&store, &worlds);
    store.close().await;
    check_all(&open(folder.path()).await, &worlds);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_a_map_does(history in ops()) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(run(history));
    }
}
