//! The native addon storage: claims get volumes that are directories of the node.
//!
//! ```text
//!  claim (our class, this node chosen) ──► plan::wish ──► directory pvc-UID ──► PersistentVolume (local)
//!  claim asks for more ──────────────────► plan::growth ─► capacity of the volume, then of the claim
//!  volume Released, policy Delete ───────► plan::fate ──► directory removed ──► PersistentVolume removed
//! ```
//!
//! It plays the parts that are external to Kubernetes: provisioner, resizer, and reporter of capacity. Binding is the
//! controller manager's, mounting the kubelet's; both go on while the addon is disabled.

mod capacity;
mod controller;
mod directory;
mod health;
mod plan;
mod resize;
mod words;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sampan_addon::{About, Addon, Context, Drain, Error, Site, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use controller::Provisioner;
use directory::Root;

/// Who provisions, as StorageClasses and claims name it.
pub const PROVISIONER: &str = "sampan.dev/local";

/// The addon.
pub struct Storage;

/// What becomes of a volume whose claim is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum ReclaimPolicy {
    /// It is deleted, with its files.
    #[default]
    Delete,
    /// It and its files stay until somebody deletes them.
    Retain,
}

/// When a claim gets its volume.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum VolumeBindingMode {
    /// When a pod that uses it is given a node: the volume is there.
    #[default]
    WaitForFirstConsumer,
    /// At once, on this node.
    Immediate,
}

/// Its configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Directory in which volumes are made, absolute; empty: one below the cluster's data. Volumes stay where they were made.
    pub path: String,
    /// Name of the StorageClass.
    pub class_name: String,
    /// Whether claims that name no class get this one.
    pub default_class: bool,
    /// What becomes of a volume whose claim is deleted; holds for volumes that are made from now on.
    pub reclaim_policy: ReclaimPolicy,
    /// When a claim gets its volume: with the first pod that uses it, or at once.
    pub volume_binding_mode: VolumeBindingMode,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: String::new(),
            class_name: "standard".into(),
            default_class: true,
            reclaim_policy: ReclaimPolicy::default(),
            volume_binding_mode: VolumeBindingMode::default(),
        }
    }
}

impl Config {
    /// Where volumes are made.
    fn root(&self, data: &Path) -> PathBuf {
        match self.path.as_str() {
            "" => data.join("volumes"),
            // without what means nothing, so that paths can be compared
            path => Path::new(path).components().collect(),
        }
    }
}

/// Why a path cannot be the directory of the volumes.
fn unusable(path: &str) -> Option<&'static str> {
    let parsed = Path::new(path);
    let named = parsed.components().filter(|part| matches!(part, Component::Normal(_))).count();
    match () {
        () if !parsed.is_absolute() => Some("has to be an absolute path"),
        () if parsed.components().any(|part| part == Component::ParentDir) => Some("must not contain '..'"),
        () if named == 0 => Some("has to be a directory of its own, not the root"),
        () => None,
    }
}

/// A DNS subdomain, as names of StorageClasses are.
fn is_subdomain(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[async_trait]
impl Addon for Storage {
    type Config = Config;

    fn about(&self) -> About {
        About {
            name: "storage",
            summary: Text {
                en: "A default StorageClass: volumes are directories of the node",
                zh: "默认 StorageClass:卷即节点上的目录",
            },
            maintainer: "sampan",
            version: env!("CARGO_PKG_VERSION"),
            default_on: true,
            needs: &[],
        }
    }

    fn check(&self, config: &Config) -> Result<(), Error> {
        let refused =
            |field: &str, problem: &str| Err(Error::Config { field: field.into(), problem: problem.into() });
        match () {
            () if !config.path.is_empty() && unusable(&config.path).is_some() => {
                refused("path", unusable(&config.path).unwrap_or_default())
            }
            () if !is_subdomain(&config.class_name) => {
                refused("className", "has to be a DNS subdomain, such as standard")
            }
            () => Ok(()),
        }
    }

    fn objects(&self, config: &Config, _: &Site) -> Result<Vec<Value>, Error> {
        Ok(vec![json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": config.class_name,
                "annotations": {
                    "storageclass.kubernetes.io/is-default-class": config.default_class.to_string(),
                },
            },
            "provisioner": PROVISIONER,
            "reclaimPolicy": config.reclaim_policy,
            "volumeBindingMode": config.volume_binding_mode,
            "allowVolumeExpansion": true,
        })])
    }

    async fn run(&self, config: Config, context: Context, drain: Drain) -> Result<(), Error> {
        let path = config.root(&context.data);
        let failed = |error| Error::Io { what: format!("making {}", path.display()), error };
        let root = Root::make(&path, &context.data.join("roots")).map_err(failed)?;
        let provisioner = Arc::new(Provisioner::new(&context, root, config.class_name));
        tokio::select! {
            () = drain.wait() => return Ok(()),
            () = provisioner.ready() => {}
        }
        sampan_reconcile::run(provisioner, drain).await;
        Ok(())
    }

    /// Volumes stay, with their files; nobody has to wait for the addon to delete them.
    async fn disabled(&self, config: Config, context: Context) -> Result<(), Error> {
        let path = config.root(&context.data);
        let failed = |error| Error::Io { what: format!("opening {}", path.display()), error };
        let root = Root::make(&path, &context.data.join("roots")).map_err(failed)?;
        let provisioner = Provisioner::new(&context, root, config.class_name);
        provisioner.withdraw().await.map_err(|error| Error::Other(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sampan_addon::Native;

    use super::*;

    #[test]
    fn the_configuration_is_looked_at() {
        let storage: &dyn Native = &Storage;
        let error = |config: &Value| storage.configuration(config).unwrap_err().to_string();
        for (config, words) in [
            (json!({"path": "volumes"}), "path: has to be an absolute path"),
            (json!({"path": "/srv/../etc"}), "path: must not contain '..'"),
            (json!({"path": "//."}), "path: has to be a directory of its own, not the root"),
            (json!({"className": "Fast"}), "className: has to be a DNS subdomain"),
            (json!({"className": "a..b"}), "className: has to be a DNS subdomain"),
            (json!({"reclaimPolicy": "Recycle"}), "reclaimPolicy: unknown variant `Recycle`"),
            (json!({"volumeBindingMode": "Later"}), "volumeBindingMode: unknown variant `Later`"),
        ] {
            assert!(error(&config).contains(words), "{}", error(&config));
        }
        let good = json!({"path": "/srv/volumes/", "className": "fast.disk-1", "defaultClass": false});
        assert!(storage.configuration(&good).is_ok());
        let config: Config = serde_json::from_value(good).unwrap();
        assert_eq!(config.root(Path::new("/data")), Path::new("/srv/volumes"));
        assert_eq!(Config::default().root(Path::new("/data")), Path::new("/data/volumes"));
    }

    #[test]
    fn the_class_is_as_configured() {
        let config =
            Config { default_class: false, reclaim_policy: ReclaimPolicy::Retain, ..Config::default() };
        let site = Site {
            profile: "p".into(),
            node_name: "n".into(),
            node_ips: Vec::new(),
            bridge: "b".into(),
            gateway: [10, 0, 0, 1].into(),
            pod_cidr: "10.0.0.0/16".into(),
            service_cidr: "10.96.0.0/12".into(),
            dns_ip: [10, 96, 0, 10].into(),
            cluster_domain: "cluster.local".into(),
        };
        let class = Addon::objects(&Storage, &config, &site).unwrap().remove(0);
        let default = &class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"];
        assert_eq!(
            (default, &class["reclaimPolicy"], &class["volumeBindingMode"], &class["allowVolumeExpansion"]),
            (&json!("false"), &json!("Retain"), &json!("WaitForFirstConsumer"), &json!(true))
        );
    }
}
