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
    /// The manifests applied last, in the inventory's order.
    pub applied: Vec<Value>,
}

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
            applied: applied.map_or(Ok(Vec::new()), unpack).map_err(|error| broken("applied", &error))?,
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
        let applied = BTreeMap::from([("applied".to_owned(), ByteString(pack(&self.applied)?))]);
        Ok(ConfigMap {
            metadata: metadata(addon, name_of(addon)),
            data: Some(data),
            binary_data: Some(applied).filter(|_| !self.applied.is_empty()),
            ..ConfigMap::default()
        })
    }

    /// The manifest applied last at a place.
    pub fn applied_at(&self, place: &Reference) -> Option<&Value> {
        self.applied.iter().find(|value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let namespace = value["metadata"].get("namespace").map(text);
            let there = Reference {
                api_version: text(&value["apiVersion"]),
                kind: text(&value["kind"]),
                namespace,
                name: text(&value["metadata"]["name"]),
                uid: String::new(),
            };
            there.same_place(place)
        })
    }
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

fn pack(values: &[Value]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&serde_json::to_vec(values)?)?;
    encoder.finish()
}

fn unpack(packed: &ByteString) -> Result<Vec<Value>, String> {
    let mut text = Vec::new();
    GzDecoder::new(&*packed.0).take(APPLIED_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
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
            applied: vec![applied.clone()],
        };
        let map = record.write("web").unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("addon-web"));
        assert_eq!(addon_of(&map).as_deref(), Some("web"));
        assert_eq!(Record::read(&map).unwrap(), record);
        assert_eq!(record.applied_at(&reference), Some(&applied));
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
