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
        let why = match once(&registry, &head).await {
            Ok(()) => return head.metadata.uid.clone(),
            Err(error) if error.reason == Reason::NotFound => return head.metadata.uid.clone(),
            Err(error) => {
                tracing::warn!(%error, definition = name, "cannot delete its objects yet");
                format!("could not issue all deletes: {error}")
            }
        };
        let _ = condition(&registry, name, ("True", "InstanceDeletionFailed", &why), |_| {}).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn once(registry: &Registry, head: &Head) -> Result<(), ApiError> {
    let name = head.metadata.name.as_str();
    let begun = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
    condition(registry, name, begun, |_| {}).await?;
    let done = match head.is("Established") {
        true => {
            objects(registry, head).await?;
            ("False", "InstanceDeletionCompleted", "removed all instances")
        }
        false => ("False", "NeverEstablished", "resource was never established"),
    };
    condition(registry, name, done, |new| {
        let mut finalizers = strings(at(new, &["metadata", "finalizers"]));
        finalizers.retain(|finalizer| finalizer != CLEANUP);
        match finalizers.is_empty() {
            true => drop(remove(new, &["metadata", "finalizers"])),
            false => set(new, &["metadata", "finalizers"], finalizers),
        }
    })
    .await
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

/// Tells how far it is (status, reason, message), with another change in the same write.
async fn condition(
    registry: &Registry,
    name: &str,
    (status, reason, message): (&str, &str, &str),
    change: impl Fn(&mut Value),
) -> Result<(), ApiError> {
    let user = user();
    let call = Call::new(&user, WriteOptions::default());
    let target = target(name, "status")?;
    let written = registry.modify(&call, &target, |old| {
        let mut new: Value = old.clone();
        set_condition(&mut new, "Terminating", status, reason, message);
        change(&mut new);
        remove(&mut new, &["metadata", "resourceVersion"]);
        Ok(new)
    });
    written.await.map(drop)
}
