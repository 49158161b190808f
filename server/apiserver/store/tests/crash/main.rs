//! `kill -9` at random moments under many writers, again and again on one file: no acknowledged write is
//! lost, no revision is used twice, the file opens each time, watches have no gap and no repeat.
//!
//! The child is this program with `CHILD` set: it opens the store, writes from many tasks and prints each
//! acknowledged revision. The parent kills it after a random number of lines and looks at the file.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sampan_process::{Component, Tasks};
use sampan_store::{Action, Condition, Config, EventKind, Key, Store, Value, Write};

const CHILD: &str = "SAMPAN_CRASH_CHILD";
const ROUNDS: usize = 52;
const WRITERS: usize = 32;
const KEYS: usize = 8;

fn config(folder: &Path) -> Config {
    Config { relaxed: |key| &*key.bucket == "leases", ..Config::new(folder.join("state.db")) }
}

async fn open(folder: &Path) -> Store {
    Store::open(config(folder), Tasks::new(Component::ApiServer)).await.expect("the file opens every time")
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match std::env::var(CHILD) {
        Ok(folder) => runtime.block_on(child(Path::new(&folder))),
        Err(_) => runtime.block_on(parent()),
    }
}

/// Writes until killed. Each line on stdout: bucket, name, revision, `-` for a deletion or `+`.
async fn child(folder: &Path) {
    let store = open(folder).await;
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write_forever(store.clone(), writer)));
    futures::future::join_all(writers).await;
}

async fn write_forever(store: Store, writer: usize) {
    let bucket = if writer % 8 == 7 { "leases" } else { "pods" };
    for turn in 0_usize.. {
        let key = Key::new(bucket, format!("w{writer}-{}", turn % KEYS));
        let value = Value { bytes: vec![b'x'; 300 + turn % 700], at: 0 };
        let delete = turn % 5 == 4 && store.get(&key).is_some();
        let action = if delete { Action::Delete(value) } else { Action::Put(value) };
        let done = store.write(Write { key: key.clone(), condition: Condition::Any, action }).await.unwrap();
        let line = format!("{bucket} {} {} {}\n", key.name, done.revision, if delete { '-' } else { '+' });
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        if bucket == "leases" {
            tokio::task::yield_now().await;
        }
    }
}

/// What the children were told is done: the last acknowledged revision of each durable key, and whether it
/// was a deletion.
#[derive(Default)]
struct Acknowledged {
    durable: HashMap<String, (u64, bool)>,
    seen: HashSet<u64>,
    greatest: u64,
}

impl Acknowledged {
    fn line(&mut self, line: &str, floor: u64) {
        let mut words = line.split(' ');
        let (bucket, name) = (words.next().unwrap(), words.next().unwrap());
        let revision: u64 = words.next().unwrap().parse().unwrap();
        assert!(revision > floor, "revision {revision} is not above {floor}, published in an earlier life");
        assert!(self.seen.insert(revision), "revision {revision} was used twice");
        self.greatest = self.greatest.max(revision);
        if bucket == "pods" {
            self.durable.insert(name.to_owned(), (revision, words.next() == Some("-")));
        }
    }
}

/// A number that looks random enough to choose moments, and is the same each run.
fn moment(round: usize) -> usize {
    let mixed = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 33) as usize % 1200
}

async fn parent() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    let rounds = if std::env::var_os("SAMPAN_TEST_LONG").is_some() { ROUNDS * 10 } else { ROUNDS };
    for round in 0..rounds {
        let floor = acknowledged.greatest;
        run_and_kill(folder.path(), moment(round), |line| acknowledged.line(line, floor));
        if round % 3 == 1 {
            continue; // the next child opens what the kill left, not what closing made of it
        }
        let store = open(folder.path()).await;
        assert!(store.revision() >= acknowledged.greatest, "round {round}: revisions never go back");
        check(&store, &acknowledged, round);
        store.close().await;
    }
    println!("crash: {rounds} kills, {} acknowledged writes, none lost", acknowledged.seen.len());
}

fn run_and_kill(folder: &Path, lines: usize, mut each: impl FnMut(&str)) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut read = 0;
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        // a line cut short by the kill was not acknowledged as far as anyone can tell
        if let Some(whole) = line.strip_suffix('\n') {
            each(whole);
        }
        line.clear();
        read += 1;
        if read == lines + 1 {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(read > lines, "the child ended by itself");
}

fn check(store: &Store, acknowledged: &Acknowledged, round: usize) {
    let list = store.list("pods");
    for (name, (revision, deleted)) in &acknowledged.durable {
        let found = list.get(name).map(|entry| entry.revision);
        // a later write may have been committed without its acknowledgement reaching us
        let kept = match (found, deleted) {
            (Some(found), false) => found >= *revision,
            (Some(found), true) => found > *revision,
            (None, deleted) => *deleted || deleted_later(store, name, *revision),
        };
        assert!(
            kept,
            "round {round}: {name} acknowledged at {revision} (deleted: {deleted}), found {found:?}"
        );
    }
    check_watch(store, round);
}

fn deleted_later(store: &Store, name: &str, revision: u64) -> bool {
    let mut watch = store.watch("pods", name, store.oldest()).unwrap();
    std::iter::from_fn(|| watch.try_next()).flatten().any(|event| {
        event.revision > revision && event.kind == EventKind::Deleted && *event.entry.key.name == *name
    })
}

/// The history told from its start gives the state there is, each change fitting on the one before.
fn check_watch(store: &Store, round: usize) {
    for bucket in ["pods", "leases"] {
        let oldest = store.oldest();
        let start = store.list_at(bucket, oldest).unwrap();
        let mut world: BTreeMap<Arc<str>, u64> =
            start.map.iter().map(|(name, entry)| (name.clone(), entry.revision)).collect();
        let mut watch = store.watch(bucket, "", oldest).unwrap();
        let mut last = oldest;
        while let Some(event) = watch.try_next() {
            let event = event.unwrap();
            assert!(event.revision > last, "round {round}: a repeat");
            last = event.revision;
            let before = match event.kind {
                EventKind::Deleted => world.remove(&event.entry.key.name),
                _ => world.insert(event.entry.key.name.clone(), event.revision),
            };
            assert_eq!(before, event.prev.as_ref().map(|prev| prev.revision), "round {round}: a gap");
        }
        let now: BTreeMap<Arc<str>, u64> =
            store.list(bucket).map.iter().map(|(name, entry)| (name.clone(), entry.revision)).collect();
        assert!(world == now, "round {round}: the history does not lead to the state");
    }
}
