//! How much room there is, as a CSIStorageCapacity: what a file system can give to one volume.
//!
//! It is looked at when something of ours has changed and when the node's disk pressure does, not by the clock; so it is
//! as old as that. Nothing is set aside for a volume: all of them can use all of the room.

use std::collections::BTreeMap;

use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use sampan_reconcile::Error;
use serde_json::json;

use crate::directory::Space;
use crate::words::HOSTNAME;

const NAMESPACE: &str = "kube-system";

/// The object of one class on one node.
pub(crate) struct Capacity {
    api: Api<CSIStorageCapacity>,
    class: String,
    node: String,
    /// Bytes that were said last.
    said: tokio::sync::Mutex<Option<u64>>,
}

impl Capacity {
    pub fn new(client: &kube::Client, class: &str, node: &str) -> Self {
        let (class, node) = (class.to_owned(), node.to_owned());
        Self {
            api: Api::namespaced(client.clone(), NAMESPACE),
            class,
            node,
            said: tokio::sync::Mutex::default(),
        }
    }

    /// Says it, if it is news.
    pub async fn say(&self, space: Space) -> Result<(), Error> {
        let mut said = self.said.lock().await;
        if said.is_some_and(|said| !is_news(said, space)) {
            return Ok(());
        }
        let object = object(&self.class, &self.node, space.free);
        match self.api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let change =
                    json!({"capacity": object.capacity, "maximumVolumeSize": object.maximum_volume_size});
                let name = name(&self.class, &self.node);
                self.api.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await?;
            }
            created => _ = created?,
        }
        *said = Some(space.free);
        Ok(())
    }

    /// Takes it back.
    pub async fn withdraw(&self) -> Result<(), Error> {
        match self.api.delete(&name(&self.class, &self.node), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}

fn name(class: &str, node: &str) -> String {
    format!("sampan-local-{class}-{node}")
}

/// A hundredth of the file system is.
fn is_news(said: u64, space: Space) -> bool {
    said.abs_diff(space.free) > space.total / 100
}

fn object(class: &str, node: &str, free: u64) -> CSIStorageCapacity {
    let amount = Some(Amount(format!("{}Mi", free >> 20)));
    CSIStorageCapacity {
        metadata: ObjectMeta {
            name: Some(name(class, node)),
            labels: Some(BTreeMap::from([(
                "csi.storage.k8s.io/drivername".to_owned(),
                "sampan.dev".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        storage_class_name: class.to_owned(),
        node_topology: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(HOSTNAME.to_owned(), node.to_owned())])),
            match_expressions: None,
        }),
        capacity: amount.clone(),
        maximum_volume_size: amount,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_changes_are_no_news() {
        let space = |free| Space { free, total: 1000 };
        assert!(!is_news(500, space(510)) && is_news(500, space(511)) && is_news(500, space(489)));
    }
}
