//! Reads the whole file into memory at start: states stream in while other threads read their columns.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::{Row, SqliteConnection};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::disk::Marks;
use crate::error::OpenError;
use crate::inspect::{damaged, open_error};
use crate::memory::{Map, Memory};
use crate::types::{Entry, Event, EventKind, Frames, Key};

/// Rows read before another thread is given them to work on.
const CHUNK: usize = 2048;

struct Change {
    revision: u64,
    at: i64,
    kind: EventKind,
    previous: Option<u64>,
}

struct State {
    revision: u64,
    key: Key,
    sealed: bool,
    value: Vec<u8>,
}

/// What the file held.
pub struct Loaded {
    /// State and history.
    pub memory: Memory,
    /// The file's own revisions.
    pub marks: Marks,
    /// The database's uid.
    pub uid: String,
}

/// Reads everything.
pub async fn load(connection: &mut SqliteConnection, config: &Config) -> Result<Loaded, OpenError> {
    let failed = |error: sqlx::Error| open_error(&config.path, &error);
    let (uid, marks) = meta(connection).await.map_err(failed)?;
    let changes = history(connection).await.map_err(failed)?;
    let entries = states(connection, config).await?;
    let (buckets, events) = assemble(entries, changes).map_err(|reason| damaged(&config.path, reason))?;
    let memory = Memory::loaded(buckets, events, marks.compacted, marks.written, marks.reserved);
    Ok(Loaded { memory, marks, uid })
}

async fn meta(connection: &mut SqliteConnection) -> Result<(String, Marks), sqlx::Error> {
    let text = "SELECT uid, written, reserved, compacted FROM meta WHERE id = 1";
    let row = sqlx::query(text).fetch_one(connection).await?;
    let (written, reserved, compacted) = (number(&row, 1)?, number(&row, 2)?, number(&row, 3)?);
    Ok((row.try_get(0)?, Marks { written, reserved, compacted }))
}

fn number(row: &sqlx::sqlite::SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

async fn history(connection: &mut SqliteConnection) -> Result<Vec<Change>, sqlx::Error> {
    let text = "SELECT revision, at, kind, previous FROM history ORDER BY revision";
    let mut rows = sqlx::query(text).fetch(connection);
    let mut changes = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let kind = match row.try_get::<i64, _>(2)? {
            0 => EventKind::Created,
            1 => EventKind::Updated,
            _ => EventKind::Deleted,
        };
        let previous = row.try_get::<Option<i64>, _>(3)?.map(i64::cast_unsigned);
        changes.push(Change { revision: number(&row, 0)?, at: row.try_get(1)?, kind, previous });
    }
    Ok(changes)
}

async fn states(connection: &mut SqliteConnection, config: &Config) -> Result<Vec<Arc<Entry>>, OpenError> {
    let path: &Path = &config.path;
    let failed = |error: sqlx::Error| open_error(path, &error);
    let text = "SELECT revision, bucket, name, sealed, value FROM state ORDER BY revision";
    let mut rows = sqlx::query(text).fetch(connection);
    let mut buckets: HashMap<String, Arc<str>> = HashMap::new();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut working: Vec<JoinHandle<Result<Vec<Arc<Entry>>, String>>> = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        chunk.push(state(&row, &mut buckets).map_err(failed)?);
        if chunk.len() == CHUNK {
            working.push(work(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)), config));
        }
    }
    working.push(work(chunk, config));
    let mut entries = Vec::new();
    for part in working {
        let part = part.await.map_err(|panic| panic.to_string()).flatten();
        entries.extend(part.map_err(|reason| OpenError::Failed { path: path.to_owned(), reason })?);
    }
    Ok(entries)
}

fn state(
    row: &sqlx::sqlite::SqliteRow,
    buckets: &mut HashMap<String, Arc<str>>,
) -> Result<State, sqlx::Error> {
    let bucket: &str = row.try_get(1)?;
    let bucket = match buckets.get(bucket) {
        Some(known) => known.clone(),
        None => buckets.entry(bucket.to_owned()).or_insert(bucket.into()).clone(),
    };
    let name: Arc<str> = row.try_get::<&str, _>(2)?.into();
    let (sealed, value) = (row.try_get::<i64, _>(3)? != 0, row.try_get(4)?);
    Ok(State { revision: number(row, 0)?, key: Key { bucket, name }, sealed, value })
}

fn work(chunk: Vec<State>, config: &Config) -> JoinHandle<Result<Vec<Arc<Entry>>, String>> {
    let (columns, seal) = (config.columns.clone(), config.seal.clone());
    tokio::task::spawn_blocking(move || {
        let entry = |state: State| {
            let value = match state.sealed {
                true => seal.open(&state.key, &state.value).map_err(|why| format!("{}: {why}", state.key))?,
                false => state.value,
            };
            let columns = columns(&state.key, &value);
            Ok(Arc::new(Entry {
                key: state.key,
                value: Bytes::from(value),
                revision: state.revision,
                columns,
            }))
        };
        chunk.into_iter().map(entry).collect()
    })
}

type Assembled = (HashMap<Arc<str>, Map>, Vec<Arc<Event>>);

/// Sorts states into current ones and those only history speaks of, and tells the history again.
fn assemble(entries: Vec<Arc<Entry>>, changes: Vec<Change>) -> Result<Assembled, String> {
    let mut past: HashSet<u64> = changes.iter().filter_map(|change| change.previous).collect();
    past.extend(
        changes.iter().filter(|change| change.kind == EventKind::Deleted).map(|change| change.revision),
    );
    let mut buckets: HashMap<Arc<str>, Map> = HashMap::new();
    for entry in entries.iter().filter(|entry| !past.contains(&entry.revision)) {
        let bucket = buckets.entry(entry.key.bucket.clone()).or_default();
        if let Some(twice) = bucket.insert(entry.key.name.clone(), entry.clone()) {
            return Err(format!(
                "{} is current at revisions {} and {}",
                entry.key, twice.revision, entry.revision
            ));
        }
    }
    let find = |revision: u64| {
        let index = entries.binary_search_by_key(&revision, |entry| entry.revision);
        index
            .map(|index| entries[index].clone())
            .map_err(|_| format!("the state of revision {revision} is missing"))
    };
    let event = |change: Change| {
        let (entry, prev) = (find(change.revision)?, change.previous.map(find).transpose()?);
        let (frames, at) = (Frames::default(), change.at);
        Ok(Arc::new(Event { revision: change.revision, kind: change.kind, entry, prev, frames, at }))
    };
    let events: Result<Vec<_>, String> = changes.into_iter().map(event).collect();
    Ok((buckets, events?))
}
