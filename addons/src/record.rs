//! What the cluster's database knows of an addon: one ConfigMap in kube-system.
//!
//! `addon-NAME` holds what the user decided (enabled, configuration) and what was made of it (version, inventory, the
//! manifests applied last). A package's files lie beside it in `addon-NAME.package`; a name of an addon has no dot, so
//! the two never meet. Whether it works is not here: that is read from the cluster.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use crate::merge::remembered;
use crate::object::{OWNER, Reference};

/// Where the records are.
pub const NAMESPACE: &str = "kube-system";
/// The most that the manifests of one addon may be, unpacked.
const APPLIED_MAX: u64 = 16 << 20;

/// What is known of one addon.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// What the user decided; `None`: nothing yet, the addon's default holds.
    pub enabled: Option<bool>,
    /// What the user set, and only that.
    pub configuration: Map<String, Value>,
    /// The version applied last.
    pub version: String,
    /// Every object that may be there because of us.
    pub inventory: Vec<Reference>,
    /// The manifests applied last.
    pub applied: Applied,
}

/// Manifests as they are kept: packed, and read only by who merges.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Applied(Vec<u8>);

/// The name of an addon's record.
pub(crate) fn name_of(addon: &str) -> String {
    format!("addon-{addon}")
}

/// The name of what holds a package's files.
pub(crate) fn package_name_of(addon: &str) -> String {
    format!("addon-{addon}.package")
}

/// The key of the files in it.
pub(crate) const FILES: &str = "files.tar.gz";

/// The addon that a ConfigMap is the record, or holds the files, of.
pub(crate) fn addon_of(map: &ConfigMap) -> Option<String> {
    let addon = map.metadata.labels.as_ref()?.get(OWNER)?;
    let name = map.metadata.name.as_deref()?;
    (name == name_of(addon) || name == package_name_of(addon)).then(|| addon.clone())
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// The key that somebody has broken.
    pub fn read(map: &ConfigMap) -> Result<Self, String> {
        let data = |key: &str| map.data.as_ref().and_then(|data| data.get(key)).map(String::as_str);
        let broken = |key: &str, error: &dyn std::fmt::Display| {
            let name = map.metadata.name.as_deref().unwrap_or_default();
            format!("configmap {NAMESPACE}/{name}: {key}: {error}")
        };
        let enabled = match data("enabled") {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => return Err(broken("enabled", &format!("{other:?} is neither true nor false"))),
        };
        let configuration = serde_json::from_str(data("configuration").unwrap_or("{}"));
        let inventory = serde_json::from_str(data("inventory").unwrap_or("[]"));
        let applied = map.binary_data.as_ref().and_then(|data| data.get("applied"));
        Ok(Self {
            enabled,
            configuration: configuration.map_err(|error| broken("configuration", &error))?,
            version: data("version").unwrap_or_default().to_owned(),
            inventory: inventory.map_err(|error| broken("inventory", &error))?,
            applied: Applied(applied.map(|packed| packed.0.clone()).unwrap_or_default()),
        })
    }

    /// The ConfigMap of it.
    pub fn write(&self, addon: &str) -> std::io::Result<ConfigMap> {
        let mut data = BTreeMap::new();
        if let Some(enabled) = self.enabled {
            data.insert("enabled".to_owned(), enabled.to_string());
        }
        data.insert("configuration".to_owned(), serde_json::to_string(&self.configuration)?);
        data.insert("version".to_owned(), self.version.clone());
        data.insert("inventory".to_owned(), serde_json::to_string(&self.inventory)?);
        let applied = BTreeMap::from([("applied".to_owned(), ByteString(self.applied.0.clone()))]);
        Ok(ConfigMap {
            metadata: metadata(addon, name_of(addon)),
            data: Some(data),
            binary_data: Some(applied).filter(|_| !self.applied.0.is_empty()),
            ..ConfigMap::default()
        })
    }
}

impl Applied {
    /// Packs manifests.
    pub fn pack<'a>(manifests: impl Iterator<Item = &'a Value>) -> std::io::Result<Self> {
        let manifests: Vec<Value> = manifests.map(remembered).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&serde_json::to_vec(&manifests)?)?;
        encoder.finish().map(Self)
    }

    /// The manifests. What cannot be read is as if it had never been applied: fields that are no longer set stay.
    pub fn unpack(&self) -> Vec<Value> {
        let mut text = Vec::new();
        let read = GzDecoder::new(self.0.as_slice()).take(APPLIED_MAX).read_to_end(&mut text);
        read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }
}

/// The manifest of a place.
pub(crate) fn at<'a>(manifests: &'a [Value], place: &Reference) -> Option<&'a Value> {
    manifests.iter().find(|value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let there = Reference {
            api_version: text(&value["apiVersion"]),
            kind: text(&value["kind"]),
            namespace: value["metadata"].get("namespace").map(text),
            name: text(&value["metadata"]["name"]),
            uid: String::new(),
        };
        there.same_place(place)
    })
}

/// The metadata of a ConfigMap of an addon.
pub(crate) fn metadata(addon: &str, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some([(OWNER.to_owned(), addon.to_owned())].into()),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_what_was_written() {
        let reference = Reference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: Some("a".into()),
            name: "web".into(),
            uid: "u".into(),
        };
        let applied = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "a"}});
        let record = Record {
            enabled: Some(true),
            configuration: json!({"port": 1}).as_object().unwrap().clone(),
            version: "1.2".into(),
            inventory: vec![reference.clone()],
            applied: Applied::pack([&applied].into_iter()).unwrap(),
        };
        let map = record.write("web").unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("addon-web"));
        assert_eq!(addon_of(&map).as_deref(), Some("web"));
        assert_eq!(Record::read(&map).unwrap(), record);
        let manifests = record.applied.unpack();
        assert_eq!(at(&manifests, &reference), Some(&applied));
        assert_eq!(Applied(b"broken".to_vec()).unpack(), Vec::<Value>::new());
        assert_eq!(Record::read(&Record::default().write("x").unwrap()).unwrap(), Record::default());
    }

    #[test]
    fn what_somebody_broke_is_named() {
        let mut map = Record::default().write("web").unwrap();
        map.data = Some([("enabled".to_owned(), "yes".to_owned())].into());
        assert!(
            Record::read(&map).unwrap_err().contains("configmap kube-system/addon-web: enabled: \"yes\"")
        );
        map.data = Some([("inventory".to_owned(), "[".to_owned())].into());
        assert!(Record::read(&map).unwrap_err().contains("inventory: EOF"));
    }
}
