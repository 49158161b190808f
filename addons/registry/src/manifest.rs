//! What the registry reads in a manifest: what it names. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Refusal;
use crate::name::Digest;
use crate::store::Stored;

/// Largest manifest, in bytes: what the specification asks a registry to take.
pub const MANIFEST_MAX: usize = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    /// A layer that is somewhere else.
    urls: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<Map<String, Value>>,
}

/// A manifest or an index.
#[derive(Debug)]
pub struct Manifest {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config_type: Option<String>,
    blobs: Vec<Digest>,
    manifests: Vec<Digest>,
    subject: Option<Digest>,
    annotations: Option<Map<String, Value>>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// It is not JSON of the form, or names things by digests that are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let read: Read =
            serde_json::from_slice(bytes).map_err(|error| Refusal::manifest_invalid(error.to_string()))?;
        let digest = |one: &Descriptor| {
            let problem =
                || Refusal::manifest_invalid(format!("{:?} is not a digest by sha256 or sha512", one.digest));
            Digest::parse(&one.digest).ok_or_else(problem)
        };
        let local = |one: &&Descriptor| one.urls.as_ref().is_none_or(Vec::is_empty);
        let blobs = read.config.iter().chain(read.layers.iter().flatten()).filter(local);
        Ok(Self {
            blobs: blobs.map(digest).collect::<Result<_, _>>()?,
            manifests: read.manifests.iter().flatten().map(digest).collect::<Result<_, _>>()?,
            subject: read.subject.as_ref().map(digest).transpose()?,
            config_type: read.config.map(|config| config.media_type),
            media_type: read.media_type,
            artifact_type: read.artifact_type,
            annotations: read.annotations,
        })
    }

    /// What it says it is.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// What has to be there for it to be of use; not its subject, which may come later.
    pub fn needs(&self) -> impl Iterator<Item = &Digest> {
        self.blobs.iter().chain(&self.manifests)
    }

    /// What it is about.
    pub fn subject(&self) -> Option<&Digest> {
        self.subject.as_ref()
    }

    fn artifact(&self) -> Option<&str> {
        let named = self.artifact_type.as_deref().filter(|kind| !kind.is_empty());
        named.or(self.config_type.as_deref())
    }
}

/// The index of `GET …/referrers/DIGEST`, narrowed to one type of artifact.
pub fn referrers(all: &[Stored], wanted: Option<&str>) -> Value {
    let descriptor = |stored: &Stored| {
        let manifest = Manifest::parse(&stored.bytes).ok()?;
        if wanted.is_some_and(|wanted| manifest.artifact() != Some(wanted)) {
            return None;
        }
        let mut value = json!({
            "mediaType": stored.media_type, "digest": stored.digest.to_string(), "size": stored.bytes.len()});
        if let Some(artifact) = manifest.artifact() {
            value["artifactType"] = json!(artifact);
        }
        if let Some(annotations) = manifest.annotations {
            value["annotations"] = Value::Object(annotations);
        }
        Some(value)
    };
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
           "manifests": all.iter().filter_map(descriptor).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn manifests_say_what_they_need() {
        let digest = |bytes: &[u8]| Digest::of(bytes).to_string();
        let value = json!({"config": {"mediaType": "c/x", "digest": digest(b"c")}, "annotations": {"a": "b"},
            "layers": [{"digest": digest(b"l")}, {"digest": digest(b"far"), "urls": ["http://x"]}],
            "subject": {"digest": digest(b"s")}});
        let bytes = value.to_string().into_bytes();
        let manifest = Manifest::parse(&bytes).unwrap();
        assert_eq!(manifest.needs().collect::<Vec<_>>(), [&Digest::of(b"c"), &Digest::of(b"l")]);
        assert_eq!(manifest.subject(), Some(&Digest::of(b"s")));
        let stored = Stored { digest: Digest::of(&bytes), media_type: "m".into(), bytes };
        let index = referrers(std::slice::from_ref(&stored), None);
        assert_eq!(index["manifests"][0]["artifactType"], "c/x");
        assert_eq!(index["manifests"][0]["annotations"], json!({"a": "b"}));
        assert_eq!(referrers(&[stored], Some("d/y"))["manifests"], json!([]));
        for wrong in ["", "[]", "{\"config\": 1}", "{\"layers\": [{\"digest\": \"md5:1\"}]}"] {
            assert_eq!(Manifest::parse(wrong.as_bytes()).unwrap_err().code, "MANIFEST_INVALID", "{wrong}");
        }
        assert!(Manifest::parse(b"{\"layers\": null}").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Manifest::parse(&bytes);
        }
    }
}
