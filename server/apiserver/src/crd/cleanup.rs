//! A definition that is deleted: its objects go first, then it goes itself (`controller/finalizer/crd_finalizer.go`).

use std::sync::Arc;
use std::time::Duration;

use sampan_api::crd::{CLEANUP, Head};
use sampan_api::status::{ApiError, Reason};
use serde_json::Value;

use super::controller::{target, user};
use super::definition::set_condition;
use super::rows::{Content, Row};
use crate::registry::{Call, DeleteOptions, Registry, Target, WriteOptions};
use crate::value::{at, remove, set, strings};

/// Tried again after this when something went wrong.
const AGAIN: Duration = Duration::from_secs(5);

/// Empties a definition and lets it go; gives its UID when that is done.
pub(super) async fn empty(registry: Registry, head: Arc<Head>) -> String {
    let name = head.metadata.name.as_str();
    loop {
        match once(&registry, &head).await {
            Ok(()) => return head.metadata.uid.clone(),
            Err(error) if error.reason == Reason::NotFound => return head.metadata.uid.clone(),
            Err(error) => tracing::warn!(%error, definition = name, "cannot delete its objects yet"),
        }
        let why = "could not delete all instances yet".to_owned();
        let _ = condition(&registry, name, "True", "InstanceDeletionFailed", &why).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn once(registry: &Registry, head: &Head) -> Result<(), ApiError> {
    let name = head.metadata.name.as_str();
    condition(registry, name, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        .await?;
    // as it was last established; one that never was has no objects
    if !head.status.accepted_names.plural.is_empty() {
        objects(registry, head).await?;
    }
    condition(registry, name, "False", "InstanceDeletionCompleted", "removed all instances").await?;
    let user = user();
    let call = Call::new(&user, WriteOptions::default());
    let target = target(name, "")?;
    let written = registry.modify(&call, &target, |old| {
        let mut new = old.clone();
        let mut finalizers = strings(at(&new, &["metadata", "finalizers"]));
        finalizers.retain(|finalizer| finalizer != CLEANUP);
        match finalizers.is_empty() {
            true => drop(remove(&mut new, &["metadata", "finalizers"])),
            false => set(&mut new, &["metadata", "finalizers"], finalizers),
        }
        remove(&mut new, &["metadata", "resourceVersion"]);
        Ok(new)
    });
    written.await.map(drop)
}

/// Deletes every object, and waits until the last one's finalizers have let it go. None can come: creating is refused.
async fn objects(registry: &Registry, head: &Head) -> Result<(), ApiError> {
    let row = Row::of(Content {
        group: head.spec.group.clone(),
        version: head.storage_version().to_owned(),
        names: head.status.accepted_names.clone(),
        namespaced: head.namespaced(),
        storage_version: head.storage_version().to_owned(),
        status: false,
        scale: false,
        terminating: true,
    });
    let bucket = row.kind.storage_group;
    let user = user();
    let call = Call::new(&user, WriteOptions::default());
    loop {
        let from = registry.store.revision();
        for entry in registry.store.list(bucket).map.values() {
            let (namespace, name) = entry.key.name.split_once('/').unwrap_or(("", &entry.key.name));
            let one = Target::new(row.kind, namespace, name);
            match registry.delete(&call, &one, &DeleteOptions::default()).await {
                Err(error) if error.reason == Reason::NotFound => {}
                other => drop(other?),
            }
        }
        if registry.store.list(bucket).is_empty() {
            return Ok(());
        }
        let Ok(mut watch) = registry.store.watch(bucket, "", from) else { continue };
        while !registry.store.list(bucket).is_empty() {
            match watch.next().await {
                None => return Err(ApiError::unavailable("the apiserver is shutting down")),
                Some(Err(_lagged)) => break,
                Some(Ok(_)) => {}
            }
        }
    }
}

async fn condition(
    registry: &Registry,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
) -> Result<(), ApiError> {
    let user = user();
    let call = Call::new(&user, WriteOptions::default());
    let target = target(name, "status")?;
    let written = registry.modify(&call, &target, |old| {
        let mut new: Value = old.clone();
        set_condition(&mut new, "Terminating", status, reason, message);
        remove(&mut new, &["metadata", "resourceVersion"]);
        Ok(new)
    });
    written.await.map(drop)
}
