//! Images from tar archives: `docker save` and OCI layouts, plain or gzipped. An archive that is both (as
//! newer `docker save` writes) is read as docker-save, which has the names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::ConfigFile;
use super::reference::Reference;
use super::store::{ImageStore, Record};
use super::unpack::decompress;

#[derive(Deserialize)]
struct DockerEntry {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// A pointer to a blob.
#[derive(Clone, Debug, Deserialize)]
pub struct Descriptor {
    /// `sha256:…`.
    pub digest: String,
    /// Kind of blob.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// Notes; names in an OCI layout.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
    /// For which machines.
    #[serde(default)]
    pub platform: Option<Platform>,
}

/// A kind of machine.
#[derive(Clone, Debug, Deserialize)]
pub struct Platform {
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `linux`.
    pub os: String,
}

/// A manifest, or an index of manifests.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// Of a manifest.
    #[serde(default)]
    pub config: Option<Descriptor>,
    /// Of a manifest, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Of an index.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

impl Manifest {
    /// Picks this machine's manifest from an index.
    pub fn select(&self) -> Option<&Descriptor> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let fits = |one: &&Descriptor| match &one.platform {
            Some(platform) => platform.os == "linux" && platform.architecture == architecture,
            None => true,
        };
        self.manifests.iter().find(fits)
    }
}

/// What came of an image of an archive.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The image with all its names.
    pub record: Record,
    /// Those that the archive gave it.
    pub names: Vec<String>,
}

/// Imports all images of an archive. Blocking.
pub fn load(store: &ImageStore, archive: &Path) -> io::Result<Vec<Imported>> {
    let directory = store.temporary();
    std::fs::create_dir_all(&directory)?;
    let result = extract(archive, &directory).and_then(|()| import(store, &directory));
    let _ = std::fs::remove_dir_all(&directory);
    result
}

fn extract(archive: &Path, into: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", archive.display()));
    let mut tar = tar::Archive::new(decompress(File::open(archive).map_err(named)?)?);
    tar.set_preserve_permissions(false);
    // tar refuses entries that leave the directory
    tar.unpack(into).map_err(named)
}

fn import(store: &ImageStore, directory: &Path) -> io::Result<Vec<Imported>> {
    if directory.join("manifest.json").exists() {
        return import_docker(store, directory);
    }
    if directory.join("index.json").exists() {
        return import_oci(store, directory);
    }
    Err(io::Error::other("archive is neither a docker-save (manifest.json) nor an OCI layout (index.json)"))
}

/// A path of the archive, which must not leave it, not even by a symlink.
fn inside(directory: &Path, name: &str) -> io::Result<std::path::PathBuf> {
    let path = directory.join(name).canonicalize()?;
    match path.starts_with(directory.canonicalize()?) {
        true => Ok(path),
        false => Err(io::Error::other(format!("{name} leaves the archive"))),
    }
}

fn import_docker(store: &ImageStore, directory: &Path) -> io::Result<Vec<Imported>> {
    let entries: Vec<DockerEntry> = serde_json::from_slice(&std::fs::read(directory.join("manifest.json"))?)?;
    let mut imported = Vec::new();
    for entry in entries {
        let config = std::fs::read(inside(directory, &entry.config)?)?;
        add_layers(store, directory, &config, &entry.layers)?;
        let mut record = store.add_image(&config, None, &[])?;
        let mut names = Vec::new();
        for tag in entry.repo_tags.unwrap_or_default() {
            let reference = Reference::parse(&tag).map_err(io::Error::other)?;
            record = store.add_image(&config, Some(&reference), &[])?;
            names.push(reference.full());
        }
        imported.push(Imported { record, names });
    }
    Ok(imported)
}

fn add_layers(store: &ImageStore, directory: &Path, config: &[u8], layers: &[String]) -> io::Result<()> {
    let parsed: ConfigFile = serde_json::from_slice(config)?;
    if parsed.rootfs.diff_ids.len() != layers.len() {
        return Err(io::Error::other("image configuration and manifest disagree about the number of layers"));
    }
    for (diff_id, layer) in parsed.rootfs.diff_ids.iter().zip(layers) {
        if !store.has_layer(diff_id) {
            store.add_layer(File::open(inside(directory, layer)?)?, diff_id)?;
        }
    }
    Ok(())
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn import_oci(store: &ImageStore, directory: &Path) -> io::Result<Vec<Imported>> {
    let read = |name: &str| -> io::Result<Manifest> {
        Ok(serde_json::from_slice(&std::fs::read(inside(directory, name)?)?)?)
    };
    let mut imported = Vec::new();
    for descriptor in read("index.json")?.manifests {
        let mut digest = descriptor.digest.clone();
        let mut manifest = read(&blob(&digest))?;
        if manifest.config.is_none()
            && let Some(selected) = manifest.select()
        {
            digest = selected.digest.clone();
            manifest = read(&blob(&digest))?;
        }
        let Some(config) = &manifest.config else { continue };
        let config = std::fs::read(inside(directory, &blob(&config.digest))?)?;
        let layers: Vec<String> = manifest.layers.iter().map(|layer| blob(&layer.digest)).collect();
        add_layers(store, directory, &config, &layers)?;
        let reference = oci_name(&descriptor).and_then(|name| Reference::parse(&name).ok());
        let record = store.add_image(&config, reference.as_ref(), &[digest])?;
        imported.push(Imported { record, names: reference.iter().map(Reference::full).collect() });
    }
    Ok(imported)
}

/// containerd writes the whole name; others only the tag, or the name where the tag should be.
fn oci_name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations.as_ref()?;
    let whole = annotations.get("io.containerd.image.name");
    whole
        .or_else(|| {
            annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':']))
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A docker-save archive of one image without layers.
    fn save(path: &Path, tags: &[&str]) {
        let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": tags, "Layers": []}]);
        let config = serde_json::json!({"rootfs": {"diff_ids": []}});
        let mut archive = tar::Builder::new(File::create(path).unwrap());
        for (name, content) in [("manifest.json", manifest), ("config.json", config)] {
            let content = content.to_string();
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
    }

    #[test]
    fn the_names_that_an_archive_gives_are_told() {
        let root = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&root.path().join("store")).unwrap();
        let archive = root.path().join("bb.tar");
        for (tags, names) in [
            (&["old:1"][..], &["docker.io/library/old:1"][..]),
            (&["bb:2", "bb:1"], &["docker.io/library/bb:2", "docker.io/library/bb:1"]),
            (&[], &[]),
        ] {
            save(&archive, tags);
            assert_eq!(load(&store, &archive).unwrap()[0].names, names, "{tags:?}");
        }
        // the image has kept all of them
        assert_eq!(store.list()[0].repo_tags.len(), 3);
    }
}
