//! Files that must not be opened, and stay as they are.

use std::path::Path;

use sampan_store::{Condition, OpenError};

use crate::help::*;

/// A folder with a store of some size, closed.
async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for number in 0..300 {
        store.write(put("pods", &format!("p{number}"), Condition::Absent, &"x".repeat(1000))).await.unwrap();
    }
    store.close().await;
    folder
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let file = |file: std::fs::DirEntry| {
        (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())
    };
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| file(entry.unwrap())).collect();
    all.retain(|(name, _)| !name.ends_with(".lock"));
    all.sort();
    all
}

/// Opening fails, and no file of the folder has changed.
async fn refused(folder: &Path) -> OpenError {
    let before = files(folder);
    let error = try_open(folder).await.expect_err("must not open");
    assert!(files(folder) == before, "the folder is untouched after: {error}");
    assert!(error.to_string().contains("state.db"), "names the file: {error}");
    error
}

#[tokio::test]
async fn damaged_headers_and_pages_are_named() {
    for (at, bytes) in [(0, &b"garbage"[..]), (16, &[3, 7]), (21, &[1, 1, 1])] {
        let folder = filled().await;
        overwrite(folder.path(), at, bytes);
        assert!(matches!(refused(folder.path()).await, OpenError::NotADatabase { .. }), "at {at}");
    }
    for page in [1, 2, 4, 8, 20] {
        let folder = filled().await;
        overwrite(folder.path(), page * 8192, &[0xee; 512]);
        assert!(matches!(refused(folder.path()).await, OpenError::Damaged { .. }), "page {page}");
    }
}

fn overwrite(folder: &Path, at: usize, bytes: &[u8]) {
    let path = folder.join("state.db");
    let mut whole = std::fs::read(&path).unwrap();
    whole[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(path, whole).unwrap();
}

#[tokio::test]
async fn a_truncated_file_is_damaged() {
    let folder = filled().await;
    let path = folder.path().join("state.db");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(refused(folder.path()).await, OpenError::Damaged { .. }));
}

#[tokio::test]
async fn other_files_are_not_databases() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.db"), "dear diary").unwrap();
    assert!(matches!(refused(folder.path()).await, OpenError::NotADatabase { .. }));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("state.db")).unwrap();
    let error = try_open(folder.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");
}

async fn sql(folder: &Path, text: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("state.db")).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn another_programs_database_and_a_newer_schema_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    sql(folder.path(), "CREATE TABLE bookmarks (url TEXT)").await;
    let error = refused(folder.path()).await;
    assert!(error.to_string().contains("another program"), "{error}");
    let folder = filled().await;
    let newer = "INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 1)";
    sql(folder.path(), newer).await;
    assert!(matches!(refused(folder.path()).await, OpenError::Newer { found: 9999, .. }));
}

#[tokio::test]
async fn missing_folders_and_second_processes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = try_open(&folder.path().join("nowhere")).await.unwrap_err();
    assert!(matches!(missing, OpenError::Directory(_)), "{missing}");
    let store = open(folder.path()).await;
    let second = try_open(folder.path()).await.unwrap_err();
    assert!(matches!(second, OpenError::Locked(_)), "{second}");
    store.close().await;
    open(folder.path()).await;
}
