//! Looks at the file before anything may write to it: whose it is, whole or damaged, which schema.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sqlx::{Connection, Row, SqliteConnection};

use crate::disk::{APPLICATION_ID, Disk, code, is_full, primary_code};
use crate::error::OpenError;
use crate::migrations::MIGRATOR;

/// Up to this size a file is always checked as a whole. A larger one only when it was not closed in order;
/// loading reads all its states anyway and sees most damage.
const CHECKED_BYTES: u64 = 64 << 20;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What lies at the path.
#[derive(Debug)]
pub enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A sound database of the schema known here: a connection that cannot write.
    Current(SqliteConnection),
    /// A sound database of an older schema, or one whose making was interrupted.
    Older,
}

/// Takes the lock that keeps a second process out, for as long as the file is held.
pub fn lock(path: &Path) -> Result<File, OpenError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        return Err(OpenError::Directory(folder.to_owned()));
    }
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(beside(path, ".lock"));
    let file = opened.map_err(|error| io_error(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(path, &error)),
    }
}

/// Looks at the file.
pub async fn look(path: &Path) -> Result<Found, OpenError> {
    if !header(path)? {
        return Ok(Found::Nothing);
    }
    let log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let index_before = beside(path, "-shm").exists();
    let found = look_inside(path, log).await;
    if log && !index_before && !matches!(found, Ok(Found::Current(_))) {
        let _ = std::fs::remove_file(beside(path, "-shm"));
    }
    found
}

/// `path` with `suffix` added to its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Checks the first bytes; false when there are none.
fn header(path: &Path) -> Result<bool, OpenError> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(path, &error)),
    };
    let mut head = Vec::new();
    let read = file.by_ref().take(100).read_to_end(&mut head);
    read.map_err(|error| io_error(path, &error))?;
    check_header(&head)
        .map(|()| !head.is_empty())
        .map_err(|reason| OpenError::NotADatabase { path: path.to_owned(), reason: reason.to_owned() })
}

/// Whether `head`, the file's first 100 bytes, is empty or the header of a SQLite file.
fn check_header(head: &[u8]) -> Result<(), &'static str> {
    if head.is_empty() {
        return Ok(());
    }
    if head.len() < 100 {
        return Err("the file is too short");
    }
    if &head[..16] != MAGIC {
        return Err("the file does not begin as a SQLite database does");
    }
    let page = match u32::from(head[16]) << 8 | u32::from(head[17]) {
        1 => 65_536,
        size => size,
    };
    let sound = page.is_power_of_two() && page >= 512 && head[21..24] == [64, 32, 32];
    if sound { Ok(()) } else { Err("its header is damaged") }
}

async fn look_inside(path: &Path, log: bool) -> Result<Found, OpenError> {
    let failed = |error: sqlx::Error| open_error(path, &error);
    let mut connection = Disk::look(path, log).await.map_err(failed)?;
    let found = version(&mut connection, path).await;
    let known = MIGRATOR.iter().map(|step| step.version).max().unwrap_or(0);
    let refused = match found {
        Ok(Some(version)) if version > known => {
            OpenError::Newer { path: path.to_owned(), found: version, known }
        }
        Ok(version) => match check(&mut connection, path).await {
            Ok(()) if version == Some(known) => return Ok(Found::Current(connection)),
            Ok(()) => {
                let _ = connection.close().await;
                return Ok(Found::Older);
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    let _ = connection.close().await;
    Err(refused)
}

/// The schema version; `None` in a file without tables, whose making was interrupted.
async fn version(connection: &mut SqliteConnection, path: &Path) -> Result<Option<i64>, OpenError> {
    let failed = |error: sqlx::Error| open_error(path, &error);
    let text = "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'),
                       (SELECT count(*) FROM sqlite_schema)";
    let row = sqlx::query(text).fetch_one(&mut *connection).await.map_err(failed)?;
    let (ours, tables): (i64, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    let id = sqlx::query("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    let id: i64 = id.try_get(0).map_err(failed)?;
    if tables > 0 && (id != APPLICATION_ID || ours == 0) {
        let reason = "it is the SQLite database of another program".to_owned();
        return Err(OpenError::NotADatabase { path: path.to_owned(), reason });
    }
    if ours == 0 {
        return Ok(None);
    }
    let row = sqlx::query("SELECT max(version) FROM _sqlx_migrations").fetch_one(connection).await;
    row.and_then(|row| row.try_get(0)).map_err(failed)
}

async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let large = std::fs::metadata(path).is_ok_and(|file| file.len() > CHECKED_BYTES);
    if large && closed_in_order(connection).await {
        return Ok(());
    }
    let row = sqlx::query("PRAGMA quick_check(1)").fetch_one(connection).await;
    let said: String = row.and_then(|row| row.try_get(0)).map_err(|error| open_error(path, &error))?;
    match said.as_str() {
        "ok" => Ok(()),
        _ => Err(damaged(path, said)),
    }
}

/// Closing gives back the reserved revisions.
async fn closed_in_order(connection: &mut SqliteConnection) -> bool {
    let row = sqlx::query("SELECT written = reserved FROM meta").fetch_one(connection).await;
    row.and_then(|row| row.try_get(0)).unwrap_or(false)
}

/// The file is damaged, says `reason`.
pub fn damaged(path: &Path, reason: impl Into<String>) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), reason: reason.into() }
}

/// What an I/O error means for opening.
pub fn io_error(path: &Path, error: &std::io::Error) -> OpenError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path, reason },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => OpenError::Full(path),
        ErrorKind::NotFound | ErrorKind::NotADirectory => OpenError::Directory(path),
        ErrorKind::IsADirectory => OpenError::NotADatabase { path, reason: "it is a folder".to_owned() },
        _ => OpenError::Failed { path, reason },
    }
}

/// What SQLite's error means for opening.
pub fn open_error(path: &Path, error: &sqlx::Error) -> OpenError {
    let (path_buf, reason) = (path.to_owned(), error.to_string());
    match (error, primary_code(error)) {
        (sqlx::Error::Io(error), _) => io_error(path, error),
        (error, _) if is_full(error) => OpenError::Full(path_buf),
        (_, Some(code::CORRUPT)) => damaged(path, reason),
        (_, Some(code::NOTADB)) => OpenError::NotADatabase { path: path_buf, reason },
        (_, Some(code::BUSY)) => OpenError::Locked(path_buf),
        _ => OpenError::Failed { path: path_buf, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut head = vec![0; 100];
        head[..16].copy_from_slice(MAGIC);
        head[16..18].copy_from_slice(&[16, 0]);
        head[21..24].copy_from_slice(&[64, 32, 32]);
        change(&mut head);
        head
    }

    #[test]
    fn headers() {
        let cases = [
            (Vec::new(), Ok(())),
            (head(|_| {}), Ok(())),
            (head(|head| head[16..18].copy_from_slice(&[0, 1])), Ok(())),
            (head(|head| head.truncate(99)), Err("the file is too short")),
            (head(|head| head[0] = b's'), Err("the file does not begin as a SQLite database does")),
            (head(|head| head[16] = 17), Err("its header is damaged")),
            (head(|head| head[16..18].copy_from_slice(&[0, 128])), Err("its header is damaged")),
            (head(|head| head[21] = 0), Err("its header is damaged")),
        ];
        for (head, expected) in cases {
            assert_eq!(check_header(&head), expected, "{head:?}");
        }
    }
}
