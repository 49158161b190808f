//! OpenAPI of custom resources: documents made when asked for, kept as long as nothing that is served changes.

use bytes::Bytes;
use sampan_api::kinds::{self, Kind};
use sampan_api::openapi;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Customs;
use crate::VERSION;

impl Customs {
    /// The documents' places, to be added to the index.
    pub(crate) fn v3_paths(&self) -> Vec<(String, Value)> {
        let mut paths = Vec::new();
        for (group, versions) in self.groups() {
            for (version, kinds) in versions {
                let url = place(&group, &version, &kinds);
                paths.push((openapi::v3_path(&group, &version), json!({"serverRelativeURL": url})));
            }
        }
        paths
    }

    /// Where the document of a group and version is; `None` if it has no custom resources.
    pub(crate) fn v3_place(&self, group: &str, version: &str) -> Option<String> {
        let kinds = self.of_version(group, version);
        (!kinds.is_empty()).then(|| place(group, version, &kinds))
    }

    /// [`Customs::v3`]'s document as protobuf.
    pub(crate) fn v3_proto(&self, group: &str, version: &str, document: &Bytes) -> Option<Bytes> {
        let key = format!("{} protobuf", openapi::v3_path(group, version));
        self.document(&key, || openapi::v3_proto(document).map(Bytes::from))
    }

    /// The document of a group and version; `None` if it has no custom resources.
    pub(crate) fn v3(&self, group: &str, version: &str) -> Option<Bytes> {
        self.document(&openapi::v3_path(group, version), || {
            let kinds = self.of_version(group, version);
            openapi::v3_of(&kinds, VERSION).map(Bytes::from)
        })
    }

    /// OpenAPI v2 with custom resources; `None` if there are none.
    pub(crate) fn v2(&self) -> Option<Bytes> {
        self.document("v2", || Some(openapi::v2_with(&self.all()?, VERSION).into()))
    }

    /// The same as protobuf.
    pub(crate) fn v2_proto(&self) -> Option<Bytes> {
        self.document("v2 protobuf", || Some(openapi::v2_proto_with(&self.all()?, VERSION).into()))
    }

    /// All that are served, but for those in whose place a kind of the registry is.
    fn all(&self) -> Option<Vec<&'static Kind>> {
        let all: Vec<_> = self
            .groups()
            .into_iter()
            .flat_map(|(_, versions)| versions)
            .flat_map(|(_, kinds)| kinds)
            .filter(|kind| !kinds::of_version(kind.group, kind.version).any(|own| own.plural == kind.plural))
            .collect();
        (!all.is_empty()).then_some(all)
    }
}

/// What tells one document from another: the definitions it is made of, and who made it.
fn place(group: &str, version: &str, kinds: &[&'static Kind]) -> String {
    let mut hash = Sha256::new();
    hash.update(VERSION);
    for kind in kinds {
        let said = kind.custom.and_then(|custom| custom.version());
        let head = said.as_ref().map(|version| &version.head.metadata);
        hash.update(format!("{} {} {}", head.map_or("", |head| &head.uid), kind.plural, kind.kind));
        hash.update(head.map_or(0, |head| head.generation).to_le_bytes());
    }
    let hash: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02X}")).collect();
    openapi::v3_place(group, version, &hash)
}
