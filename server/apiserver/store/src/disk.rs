//! The file: one connection, whole transactions in one call.
//!
//! sqlx runs SQLite on a thread of its own, hops there and back per call, and wakes who waits after each statement. So a
//! small transaction is one statement: an insert into the view `change`, whose trigger does the rest. A large one, where
//! the trigger would cost more than that, is one text of several statements, whose rows go down in inserts of up to
//! [`CHUNK`] rows. Thus there are few different texts and sqlx keeps them prepared. (Measured: half the time of one insert
//! from a JSON array.)

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::checkpoint::Checkpoint;
use crate::config::Seal;
use crate::error::WriteError;
use crate::migrations::MIGRATOR;
use crate::types::{Entry, Event, EventKind, Key};

/// Marks the file as ours in SQLite's header: "SMPN".
pub const APPLICATION_ID: i64 = 0x534d_504e;

/// Bytes of a page of a new file: objects are of some kilobytes, and a smaller page has room for one or none.
const PAGE: u32 = 8192;

/// What a row takes in the file beside its value, about.
const ROW: usize = 128;

/// What the deletion of a row writes, about: neighbours go together.
const DELETED: usize = 1024;

/// Free pages to have in hand.
const SLACK: i64 = 32;

/// Changes that go down in one statement.
const SMALL: usize = 8;

/// The view of small transactions. Each row brings the marks along; they are the same in all.
const CHANGE: &str = "PRAGMA temp_store = MEMORY; \
    CREATE TEMP VIEW change AS SELECT 0 AS revision, '' AS bucket, '' AS name, 0 AS sealed, x'' AS value, \
        0 AS at, 0 AS kind, 0 AS previous, 0 AS written, 0 AS reserved, 0 AS compacted; \
    CREATE TEMP TRIGGER change_of_all INSTEAD OF INSERT ON change BEGIN \
        INSERT INTO state (revision, bucket, name, sealed, value) \
            VALUES (NEW.revision, NEW.bucket, NEW.name, NEW.sealed, NEW.value); \
        INSERT INTO history (revision, at, kind, previous) VALUES (NEW.revision, NEW.at, NEW.kind, NEW.previous); \
        UPDATE meta SET written = NEW.written, reserved = NEW.reserved, compacted = NEW.compacted; \
    END";

/// Rows of one insert. A multiple of this many rows and a remainder: the texts sqlx has to know.
const CHUNK: usize = 64;

/// The revisions that the file keeps about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Last revision in the file.
    pub written: u64,
    /// No revision above this one has been published.
    pub reserved: u64,
    /// History at and below may be gone.
    pub compacted: u64,
}

/// The open file.
#[derive(Debug)]
pub struct Disk {
    connection: SqliteConnection,
    checkpoint: Checkpoint,
    /// History at and below is not in the file any more.
    compacted: u64,
    /// Where the file is, to ask for the space left there.
    folder: PathBuf,
}

/// A row of `state`.
struct StateRow {
    revision: u64,
    key: Key,
    sealed: bool,
    value: Vec<u8>,
}

/// A row of `history`.
struct HistoryRow {
    revision: u64,
    at: i64,
    kind: i64,
    previous: Option<u64>,
}

/// The rows that one transaction adds.
#[derive(Default)]
pub struct Rows {
    states: Vec<StateRow>,
    history: Vec<HistoryRow>,
    bytes: usize,
}

impl Rows {
    /// Adds a change and the state it made.
    pub fn event(&mut self, event: &Event, seal: &dyn Seal) {
        let kind = match event.kind {
            EventKind::Created => 0,
            EventKind::Updated => 1,
            EventKind::Deleted => 2,
        };
        let previous = event.prev.as_ref().map(|prev| prev.revision);
        self.history.push(HistoryRow { revision: event.revision, at: event.at, kind, previous });
        self.state(&event.entry, seal);
    }

    /// Adds a state without its history.
    pub fn state(&mut self, entry: &Entry, seal: &dyn Seal) {
        let sealed = seal.seal(&entry.key, &entry.value);
        let is_sealed = sealed.is_some();
        let value = sealed.unwrap_or_else(|| entry.value.to_vec());
        self.bytes += value.len();
        self.states.push(StateRow {
            revision: entry.revision,
            key: entry.key.clone(),
            sealed: is_sealed,
            value,
        });
    }

    /// How many bytes of values there are.
    pub fn len(&self) -> usize {
        self.bytes
    }
}

/// The text of a transaction that adds so many rows; see [`Disk::change_all`] for its parameters.
fn text(states: usize, history: usize) -> String {
    let mut text = "BEGIN IMMEDIATE; \
         DELETE FROM state WHERE revision IN (SELECT value FROM json_each(?)); \
         DELETE FROM history WHERE revision <= ?; "
        .to_owned();
    inserts(
        &mut text,
        "INSERT INTO state (revision, bucket, name, sealed, value) VALUES ",
        "(?,?,?,?,?)",
        states,
    );
    inserts(&mut text, "INSERT INTO history (revision, at, kind, previous) VALUES ", "(?,?,?,?)", history);
    text.push_str("UPDATE meta SET written = ?, reserved = ?, compacted = ?; COMMIT");
    text
}

/// The text of a transaction of a few changes; see [`Disk::change`] for its parameters.
fn small_text(changes: usize) -> String {
    let mut text = String::new();
    let head = "INSERT INTO change (revision, bucket, name, sealed, value, at, kind, previous, written, reserved, \
         compacted) VALUES ";
    inserts(&mut text, head, "(?,?,?,?,?,?,?,?,?,?,?)", changes);
    text
}

fn inserts(text: &mut String, head: &str, row: &str, mut rows: usize) {
    while rows > 0 {
        let now = rows.min(CHUNK);
        text.push_str(head);
        text.push_str(row);
        (1..now).for_each(|_| {
            text.push(',');
            text.push_str(row);
        });
        text.push_str("; ");
        rows -= now;
    }
}

/// `revisions` as a JSON array.
fn array(revisions: &[u64]) -> String {
    let mut text = String::with_capacity(2 + revisions.len() * 8);
    text.push('[');
    for (index, revision) in revisions.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{revision}");
    }
    text.push(']');
    text
}

impl Disk {
    /// Opens or makes the file at `path` and brings its schema up to date.
    pub async fn open(path: &Path, max_pages: Option<u32>) -> Result<Self, sqlx::Error> {
        let mut connection = writable(path).connect().await?;
        if let Some(pages) = max_pages {
            let limit = format!("PRAGMA max_page_count = {pages}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(limit)).execute(&mut connection).await?;
        }
        MIGRATOR.run(&mut connection).await?;
        sqlx::raw_sql(CHANGE).execute(&mut connection).await?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let checkpoint = Checkpoint::new(path.to_owned());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        Ok(Self { connection, checkpoint, compacted: 0, folder })
    }

    /// Opens the file for looking only; nothing in it or beside it changes but an index of the log, which
    /// SQLite needs when there is a log, and which [`crate::inspect`] removes.
    pub async fn look(path: &Path, log: bool) -> Result<SqliteConnection, sqlx::Error> {
        quiet(path).read_only(true).immutable(!log).connect().await
    }

    /// The connection, for reading.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Deletes the states `garbage`, adds `rows`, moves the marks: all or nothing, on the disk when this
    /// returns.
    pub async fn commit(&mut self, rows: Rows, garbage: &[u64], marks: Marks) -> Result<(), WriteError> {
        let bytes = rows.bytes + ROW * (rows.states.len() + rows.history.len()) + DELETED * garbage.len();
        let changes = rows.history.len();
        let small = (1..=SMALL).contains(&changes) && changes == rows.states.len();
        let done = match small && garbage.is_empty() && marks.compacted == self.compacted {
            true => self.change(rows, marks).await,
            false => self.change_all(rows, garbage, marks).await,
        };
        match done {
            Ok(()) => {
                self.compacted = marks.compacted;
                if self.checkpoint.logged(bytes).await {
                    self.write_back("PRAGMA wal_checkpoint(PASSIVE)").await;
                }
                Ok(())
            }
            Err(error) => {
                // SQLite has rolled back by itself after some errors; then this says so, which is as good
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
                Err(write_error(&error, || free_bytes(&self.folder)))
            }
        }
    }

    /// Adds a few changes.
    async fn change(&mut self, rows: Rows, marks: Marks) -> Result<(), sqlx::Error> {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(small_text(rows.history.len())));
        for (state, change) in rows.states.into_iter().zip(rows.history) {
            query = query.bind(state.revision.cast_signed()).bind(state.key.bucket).bind(state.key.name);
            query = query.bind(state.sealed).bind(state.value);
            query = query.bind(change.at).bind(change.kind).bind(change.previous.map(u64::cast_signed));
            query = query.bind(marks.written.cast_signed()).bind(marks.reserved.cast_signed());
            query = query.bind(marks.compacted.cast_signed());
        }
        query.execute(&mut self.connection).await.map(drop)
    }

    /// Does everything that there is to do.
    async fn change_all(&mut self, rows: Rows, garbage: &[u64], marks: Marks) -> Result<(), sqlx::Error> {
        let text = text(rows.states.len(), rows.history.len());
        let mut query =
            sqlx::query(sqlx::AssertSqlSafe(text)).bind(array(garbage)).bind(marks.compacted.cast_signed());
        for state in rows.states {
            query = query.bind(state.revision.cast_signed()).bind(state.key.bucket).bind(state.key.name);
            query = query.bind(state.sealed).bind(state.value);
        }
        for change in rows.history {
            query = query.bind(change.revision.cast_signed()).bind(change.at).bind(change.kind);
            query = query.bind(change.previous.map(u64::cast_signed));
        }
        let query = query.bind(marks.written.cast_signed()).bind(marks.reserved.cast_signed());
        query.bind(marks.compacted.cast_signed()).execute(&mut self.connection).await.map(drop)
    }

    /// Writes the rest of the log back. The commits in it are on the disk already: a failure loses nothing, and
    /// the log is written back another time.
    async fn write_back(&mut self, text: &'static str) {
        match sqlx::raw_sql(text).execute(&mut self.connection).await {
            Ok(_) => self.checkpoint.restarted(),
            Err(error) => tracing::warn!(%error, "cannot write the log back into the database"),
        }
    }

    /// Gives the database this uid.
    pub async fn set_uid(&mut self, uid: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE meta SET uid = ?1").bind(uid).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Gives free pages back to the file system when there are many, makes some when there are next to none, and
    /// empties the write-ahead log. With some in hand a quiet cluster's leases come and go within the file.
    pub async fn tidy(&mut self) -> Result<(), sqlx::Error> {
        let free = self.pragma("PRAGMA freelist_count").await?;
        let pages = self.pragma("PRAGMA page_count").await?;
        if free > 4 * SLACK && free * 4 > pages {
            let gone = format!("PRAGMA incremental_vacuum({})", (free - SLACK).min(8192));
            sqlx::raw_sql(sqlx::AssertSqlSafe(gone)).execute(&mut self.connection).await?;
        } else if free < SLACK / 4 {
            let bytes = SLACK * self.pragma("PRAGMA page_size").await?;
            let made = format!(
                "BEGIN IMMEDIATE; CREATE TABLE slack (filler BLOB); \
                 INSERT INTO slack VALUES (zeroblob({bytes})); DROP TABLE slack; COMMIT"
            );
            let made = sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(&mut self.connection).await;
            if let Err(error) = made {
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
                return Err(error);
            }
        }
        self.checkpoint.settle().await;
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await?;
        self.checkpoint.restarted();
        Ok(())
    }

    async fn pragma(&mut self, text: &'static str) -> Result<i64, sqlx::Error> {
        sqlx::query(text).fetch_one(&mut self.connection).await?.try_get(0)
    }

    /// Writes the log back and closes the file.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        self.checkpoint.close().await?;
        self.connection.close().await
    }
}

fn quiet(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .disable_statement_logging()
        .row_buffer_size(1024)
        .thread_name(|_| "sampan-sqlite".into())
}

/// For the writer, and for [`Checkpoint`] beside it; [`crate::inspect::lock`] keeps other processes out. No
/// commit writes the log back by itself.
pub fn writable(path: &Path) -> SqliteConnectOptions {
    quiet(path)
        .create_if_missing(true)
        .page_size(PAGE)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .pragma("wal_autocheckpoint", "0")
        .pragma("journal_size_limit", "67108864")
        .pragma("application_id", APPLICATION_ID.to_string())
}

/// Primary result codes of SQLite; see <https://www.sqlite.org/rescode.html>.
pub mod code {
    /// The file is locked.
    pub const BUSY: i64 = 5;
    /// The system refused to read or write.
    pub const IOERR: i64 = 10;
    /// The file is malformed.
    pub const CORRUPT: i64 = 11;
    /// No space.
    pub const FULL: i64 = 13;
    /// The file is not a database.
    pub const NOTADB: i64 = 26;
}

/// SQLite's primary result code of `error`.
pub fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i64>().ok().map(|code| code & 0xff)
}

/// Whether the disk is full.
pub fn is_full(error: &sqlx::Error) -> bool {
    let out_of_space =
        |error: &std::io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    match error {
        sqlx::Error::Io(error) => out_of_space(error),
        error => primary_code(error) == Some(code::FULL),
    }
}

/// Less room than this for a write that the system refused, and the disk was full.
const ROOM: u64 = 1 << 20;

/// Space left for us on the file system of `folder`; none known counts as plenty.
fn free_bytes(folder: &Path) -> u64 {
    nix::sys::statvfs::statvfs(folder).map_or(u64::MAX, |disk| disk.blocks_available() * disk.fragment_size())
}

/// SQLite says FULL for a write that found no space, but IOERR, without the system's reason, where space was
/// missing later (delayed allocation, a quota): then the space left tells.
fn write_error(error: &sqlx::Error, free: impl Fn() -> u64) -> WriteError {
    match is_full(error) || refused_for_space(primary_code(error), free) {
        true => WriteError::Full(error.to_string()),
        false => WriteError::Failed(error.to_string()),
    }
}

fn refused_for_space(primary: Option<i64>, free: impl Fn() -> u64) -> bool {
    primary == Some(code::IOERR) && free() < ROOM
}

/// All events of `events` as rows.
pub fn rows<'a>(events: impl IntoIterator<Item = &'a Arc<Event>>, seal: &dyn Seal) -> Rows {
    let mut rows = Rows::default();
    for event in events {
        rows.event(event, seal);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_without_space_is_a_full_disk() {
        let cases = [
            (Some(code::IOERR), 0, true),
            (Some(code::IOERR), ROOM, false),
            (Some(code::CORRUPT), 0, false),
            (None, 0, false),
        ];
        for (primary, free, expected) in cases {
            assert_eq!(refused_for_space(primary, || free), expected, "{primary:?} {free}");
        }
    }

    #[test]
    fn the_text_of_a_transaction_has_few_shapes() {
        let inserts = |rows: usize| text(rows, 0).matches("INSERT INTO state").count();
        assert_eq!([0, 1, CHUNK, CHUNK + 1, 3 * CHUNK].map(inserts), [0, 1, 1, 2, 3]);
        assert_eq!(text(2, 3).matches('?').count(), 2 + 2 * 5 + 3 * 4 + 3);
        assert_eq!(small_text(2).matches('?').count(), 2 * 11);
        assert_eq!(array(&[]), "[]");
        assert_eq!(array(&[3, 5]), "[3,5]");
    }
}
