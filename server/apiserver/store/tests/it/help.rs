//! Short words for the tests.

use std::path::Path;

use sampan_process::{Component, Tasks};
use sampan_store::{Action, Condition, Config, Key, OpenError, Store, Value, Write, WriteError};

pub fn tasks() -> Tasks {
    Tasks::new(Component::ApiServer)
}

pub fn config(folder: &Path) -> Config {
    Config { relaxed: |key| &*key.bucket == "leases", ..Config::new(folder.join("state.db")) }
}

pub async fn open(folder: &Path) -> Store {
    Store::open(config(folder), tasks()).await.unwrap()
}

pub async fn try_open(folder: &Path) -> Result<Store, OpenError> {
    Store::open(config(folder), tasks()).await
}

pub fn value(text: &str) -> Value {
    Value { bytes: format!("{text}@").into_bytes(), at: text.len() + 1 }
}

pub fn put(bucket: &str, name: &str, condition: Condition, text: &str) -> Write {
    Write { key: Key::new(bucket, name), condition, action: Action::Put(value(text)) }
}

pub fn delete(bucket: &str, name: &str, condition: Condition) -> Write {
    Write { key: Key::new(bucket, name), condition, action: Action::Delete(value("gone")) }
}

/// A short name of an outcome.
pub fn word(outcome: &Result<std::sync::Arc<sampan_store::Entry>, WriteError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(WriteError::Exists(_)) => "exists",
        Err(WriteError::Missing) => "missing",
        Err(WriteError::Changed(_)) => "changed",
        Err(WriteError::Full(_)) => "full",
        Err(WriteError::TooLarge) => "too large",
        Err(WriteError::Closed) => "closed",
        Err(WriteError::Failed(_)) => "failed",
    }
}

/// The values of a bucket by name.
pub fn values(list: &sampan_store::Snapshot) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    list.after(None).map(|entry| (entry.key.name.to_string(), text(&entry.value))).collect()
}
