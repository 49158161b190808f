//! Conditions, revisions, lists, reopening.

use std::sync::Arc;

use sampan_store::{Action, Columns, Condition, Config, Key, Seal, Store, Value, Write, WriteError};

use crate::help::*;

#[tokio::test]
async fn conditions_hold() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let made = store.write(put("pods", "a", Condition::Absent, "1")).await.unwrap();
    let (old, wrong) = (Condition::Revision(made.revision), Condition::Revision(made.revision + 7));
    let table = [
        (put("pods", "a", Condition::Absent, "2"), "exists"),
        (put("pods", "a", wrong, "2"), "changed"),
        (put("pods", "b", old, "2"), "missing"),
        (delete("pods", "b", Condition::Any), "missing"),
        (delete("pods", "a", wrong), "changed"),
        (put("pods", "a", old, "2"), "ok"),
        (put("pods", "a", old, "3"), "changed"),
        (put("pods", "a", Condition::Any, "4"), "ok"),
        (delete("pods", "a", Condition::Any), "ok"),
        (delete("pods", "a", Condition::Any), "missing"),
        (put("pods", "a", Condition::Absent, "5"), "ok"),
    ];
    for (index, (write, expected)) in table.into_iter().enumerate() {
        let outcome = store.write(write).await;
        assert_eq!(word(&outcome), expected, "row {index}");
    }
    let outside =
        Write { action: Action::Put(Value { bytes: vec![], at: 1 }), ..put("pods", "z", Condition::Any, "") };
    assert_eq!(word(&store.write(outside).await), "failed");
}

#[tokio::test]
async fn snapshots_know_what_has_changed_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for index in 0..300 {
        store.write(put("pods", &format!("p{index:03}"), Condition::Absent, "old")).await.unwrap();
    }
    let before = store.list("pods");
    store.write(put("pods", "p100", Condition::Any, "new")).await.unwrap();
    store.write(delete("pods", "p200", Condition::Any)).await.unwrap();
    store.write(put("pods", "q", Condition::Absent, "made")).await.unwrap();
    let after = store.list("pods");
    let told = |from: &sampan_store::Snapshot, to: &sampan_store::Snapshot| {
        let name = |entry: Option<std::sync::Arc<sampan_store::Entry>>| {
            entry.map(|entry| format!("{}@{}", entry.key.name, entry.revision))
        };
        to.changes(Some(from)).into_iter().map(|(old, new)| (name(old), name(new))).collect::<Vec<_>>()
    };
    let is = |name: &str| Some(name.to_owned());
    assert_eq!(
        told(&before, &after),
        [(is("p100@101"), is("p100@301")), (is("p200@201"), None), (None, is("q@303"))]
    );
    assert_eq!(
        told(&after, &before),
        [(is("p100@301"), is("p100@101")), (None, is("p200@201")), (is("q@303"), None)]
    );
    assert!(told(&after, &after).is_empty());
    assert_eq!(after.changes(None).len(), 300);
}

#[tokio::test]
async fn the_revision_is_in_the_value_and_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let outcomes = store
        .write_all(vec![
            put("pods", "a", Condition::Absent, "a"),
            put("pods", "a", Condition::Absent, "again"),
            put("pods", "b", Condition::Absent, "b"),
            put("leases", "n", Condition::Absent, "n"),
            delete("pods", "b", Condition::Any),
        ])
        .await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["ok", "exists", "ok", "ok", "ok"]);
    let gone = outcomes[4].as_ref().unwrap();
    assert_eq!((gone.revision, &*gone.value), (4, &b"gone@4"[..]));
    let (uid, revision) = (store.uid().to_owned(), store.revision());
    let before = store.list_at("pods", 2).unwrap();
    assert_eq!(values(&before), [("a".into(), "a@1".into()), ("b".into(), "b@2".into())]);
    store.close().await;
    assert_eq!(word(&store.write(put("pods", "c", Condition::Any, "c")).await), "closed");

    let store = open(folder.path()).await;
    assert_eq!((store.uid(), store.revision()), (&*uid, revision));
    assert_eq!(values(&store.list("pods")), [("a".into(), "a@1".into())]);
    assert_eq!(values(&store.list("leases")), [("n".into(), "n@3".into())]);
    assert_eq!(values(&store.list_at("pods", 2).unwrap()), values(&before));
    assert_eq!(values(&store.list_at("pods", 0).unwrap()), []);
}

#[tokio::test]
async fn pages_begin_after_a_name_and_stay_under_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for name in ["a/1", "b/1", "b/2", "b/3", "c/1"] {
        store.write(put("pods", name, Condition::Absent, "x")).await.unwrap();
    }
    let list = store.list("pods");
    let names = |prefix, after| -> Vec<String> {
        list.prefix_after(prefix, after).map(|entry| entry.key.name.to_string()).collect()
    };
    assert_eq!(names("b/", None), ["b/1", "b/2", "b/3"]);
    assert_eq!(names("b/", Some("b/1")), ["b/2", "b/3"]);
    assert_eq!(names("b/", Some("a/9")), ["b/1", "b/2", "b/3"]);
    assert_eq!(names("", Some("b/3")), ["c/1"]);
    assert_eq!(names("x", None), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_writers_at_one_key_one_wins_each_round() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.write(put("pods", "n", Condition::Absent, "0")).await.unwrap();
    let writers = (0..64).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut won = Vec::new();
            let mut known = store.get(&Key::new("pods", "n")).unwrap();
            while won.len() < 20 {
                let count: u64 =
                    String::from_utf8_lossy(&known.value).split('@').next().unwrap().parse().unwrap();
                let next = put("pods", "n", Condition::Revision(known.revision), &(count + 1).to_string());
                match store.write(next).await {
                    Ok(entry) => {
                        won.push(entry.revision);
                        known = entry;
                    }
                    Err(WriteError::Changed(entry)) => known = entry,
                    Err(other) => panic!("{other}"),
                }
            }
            won
        })
    });
    let mut all: Vec<u64> =
        futures::future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    all.sort_unstable();
    assert_eq!(all, (2..=1281).collect::<Vec<u64>>(), "every revision was won once");
    assert!(store.get(&Key::new("pods", "n")).unwrap().value.starts_with(b"1280@"));
}

struct Swap;

impl Seal for Swap {
    fn seal(&self, key: &Key, plain: &[u8]) -> Option<Vec<u8>> {
        (&*key.bucket == "secrets").then(|| plain.iter().map(|byte| byte ^ 0x5a).collect())
    }

    fn open(&self, _: &Key, sealed: &[u8]) -> Result<Vec<u8>, String> {
        Ok(sealed.iter().map(|byte| byte ^ 0x5a).collect())
    }
}

fn holds(folder: &std::path::Path, needle: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

#[tokio::test]
async fn sealed_values_are_plain_in_memory_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config {
        seal: Arc::new(Swap),
        columns: Arc::new(|key, value| Columns {
            fields: vec![(key.name.as_ref().into(), String::from_utf8_lossy(value).into())],
            ..Columns::default()
        }),
        ..config(folder.path())
    };
    let store = Store::open(config(), tasks()).await.unwrap();
    store.write(put("secrets", "s", Condition::Absent, "hunter2-old")).await.unwrap();
    store.write(put("secrets", "s", Condition::Any, "hunter2-new")).await.unwrap();
    store.write(put("pods", "p", Condition::Absent, "open-air")).await.unwrap();
    assert!(
        holds(folder.path(), b"open-air") && !holds(folder.path(), b"hunter2"),
        "while the log is in use"
    );
    store.backup(&folder.path().join("copy.db")).await.unwrap();
    store.close().await;
    assert!(holds(folder.path(), b"open-air") && !holds(folder.path(), b"hunter2"));

    let store = Store::open(config(), tasks()).await.unwrap();
    let secret = store.get(&Key::new("secrets", "s")).unwrap();
    assert_eq!(&*secret.value, b"hunter2-new@2");
    assert_eq!(secret.columns.fields, [("s".into(), "hunter2-new@2".into())]);
    assert_eq!(values(&store.list_at("secrets", 1).unwrap()), [("s".into(), "hunter2-old@1".into())]);
    store.close().await;
    let without = try_open(folder.path()).await.unwrap_err().to_string();
    assert!(without.contains("secrets/s: the value is sealed"), "{without}");
}

#[tokio::test]
async fn a_backup_opens_as_a_store() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path()).await;
    for number in 0..500 {
        store
            .write(put("pods", &format!("p{}", number % 100), Condition::Any, &number.to_string()))
            .await
            .unwrap();
    }
    let copy = other.path().join("state.db");
    assert_eq!(store.backup(&copy).await.unwrap(), 500);
    store.write(put("pods", "later", Condition::Any, "x")).await.unwrap();
    assert!(store.backup(&copy).await.unwrap_err().to_string().contains("exists already"));
    let restored = open(other.path()).await;
    assert_eq!(values(&restored.list("pods")), values(&store.list_at("pods", 500).unwrap()));
    assert_eq!((restored.revision(), restored.oldest(), restored.uid()), (500, 500, store.uid()));
    assert_eq!(restored.write(put("pods", "new", Condition::Any, "x")).await.unwrap().revision, 501);
}
