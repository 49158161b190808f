//! The image store on disk, and its records in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sampan_cri::{ImageFsInfo, ImageStatus};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::diff_id::DiffId;
use super::reference::Reference;
use super::unpack::{hex, unpack};
use super::{ConfigFile, ImageConfig};
use crate::files::{read_json, write_json};

/// One image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// `sha256:…` of the configuration.
    pub id: String,
    /// Names with tags.
    pub repo_tags: BTreeSet<String>,
    /// Names with digests.
    pub repo_digests: BTreeSet<String>,
    /// Layers by diff id, lowest first.
    pub layers: Vec<DiffId>,
    /// Bytes of its layers.
    pub size_bytes: u64,
    /// Never collected.
    pub pinned: bool,
    /// How to run it.
    pub config: ImageConfig,
}

impl Record {
    /// As the kubelet sees it.
    pub fn status(&self) -> ImageStatus {
        let user = self.config.user.split(':').next().unwrap_or_default();
        let uid = user.parse::<i64>().ok();
        ImageStatus {
            id: self.id.clone(),
            repo_tags: self.repo_tags.iter().cloned().collect(),
            repo_digests: self.repo_digests.iter().cloned().collect(),
            size_bytes: self.size_bytes,
            uid,
            username: if uid.is_some() { String::new() } else { user.to_owned() },
            pinned: self.pinned,
        }
    }
}

/// The store.
pub struct ImageStore {
    root: PathBuf,
    records: Mutex<BTreeMap<String, Record>>,
    serial: AtomicU64,
}

impl ImageStore {
    /// Opens or makes a store and clears what a crash left.
    pub fn open(root: &Path) -> io::Result<Self> {
        let _ = fs::remove_dir_all(root.join("tmp"));
        for directory in ["blobs/sha256", "layers", "images", "tmp"] {
            fs::create_dir_all(root.join(directory))?;
        }
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(root.join("images"))?.flatten() {
            // an unreadable record is an image that has to be pulled again, not a reason not to start
            if let Some(record) = read_json::<Record>(&entry.path()) {
                records.insert(record.id.clone(), record);
            }
        }
        Ok(ImageStore { root: root.to_owned(), records: Mutex::new(records), serial: AtomicU64::new(0) })
    }

    /// A name below `tmp` that nothing uses.
    pub fn temporary(&self) -> PathBuf {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{}-{serial}", std::process::id()))
    }

    /// Directory with all layers, for relative overlay mounts.
    pub fn layers_directory(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn layer(&self, diff_id: &DiffId) -> PathBuf {
        self.layers_directory().join(diff_id.directory())
    }

    /// Whether a layer is unpacked.
    pub fn has_layer(&self, diff_id: &DiffId) -> bool {
        self.layer(diff_id).exists()
    }

    /// Unpacks a layer and checks that it is the one meant. Blocking.
    pub fn add_layer(&self, source: impl Read, diff_id: &DiffId) -> io::Result<()> {
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let temporary = self.temporary();
        fs::create_dir_all(temporary.join("fs"))?;
        let result = unpack(source, &temporary.join("fs")).and_then(|unpacked| {
            if unpacked.diff_id != *diff_id {
                let text = format!("wrong diff id calculated on extraction {}", unpacked.diff_id);
                return Err(io::Error::other(text));
            }
            fs::write(temporary.join("size"), unpacked.size_bytes.to_string())?;
            match fs::rename(&temporary, self.layer(diff_id)) {
                // another pull was faster
                Err(_) if self.has_layer(diff_id) => Ok(()),
                other => other,
            }
        });
        let _ = fs::remove_dir_all(&temporary);
        result
    }

    /// Keeps a manifest or configuration; returns its digest.
    pub fn add_blob(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = hex(&Sha256::digest(bytes));
        let temporary = self.temporary();
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, self.root.join("blobs/sha256").join(&digest))?;
        Ok(format!("sha256:{digest}"))
    }

    /// Records an image whose layers are all there. Names move over from whatever had them.
    pub fn add_image(
        &self,
        config: &[u8],
        reference: Option<&Reference>,
        manifest_digests: &[String],
    ) -> io::Result<Record> {
        let parsed: ConfigFile = serde_json::from_slice(config)?;
        let id = self.add_blob(config)?;
        let mut records = self.records.lock();
        let mut record = records.get(&id).cloned().unwrap_or(Record {
            id: id.clone(),
            repo_tags: BTreeSet::new(),
            repo_digests: BTreeSet::new(),
            size_bytes: parsed.rootfs.diff_ids.iter().map(|layer| self.layer_size(layer)).sum(),
            layers: parsed.rootfs.diff_ids,
            pinned: false,
            config: parsed.config,
        });
        if let Some(reference) = reference {
            record.repo_digests.extend(manifest_digests.iter().map(|digest| reference.with_digest(digest)));
            if let (Some(tagged), None) = (reference.tagged(), &reference.digest) {
                for other in records.values_mut().filter(|other| other.id != id) {
                    if other.repo_tags.remove(&tagged) {
                        self.save(other)?;
                    }
                }
                record.repo_tags.insert(tagged);
            }
        }
        self.save(&record)?;
        records.insert(id, record.clone());
        Ok(record)
    }

    fn save(&self, record: &Record) -> io::Result<()> {
        write_json(&self.record_path(&record.id), record)
    }

    fn record_path(&self, id: &str) -> PathBuf {
        self.root.join("images").join(format!("{}.json", id.trim_start_matches("sha256:")))
    }

    fn layer_size(&self, diff_id: &DiffId) -> u64 {
        let text = fs::read_to_string(self.layer(diff_id).join("size")).unwrap_or_default();
        text.parse().unwrap_or(0)
    }

    /// By id (whole or beginning), name with tag, or name with digest.
    pub fn find(&self, name: &str) -> Option<Record> {
        let records = self.records.lock();
        if let Some(record) = records.get(name) {
            return Some(record.clone());
        }
        if let Ok(reference) = Reference::parse(name) {
            let full = reference.full();
            let named =
                |record: &&Record| record.repo_tags.contains(&full) || record.repo_digests.contains(&full);
            if let Some(record) = records.values().find(named) {
                return Some(record.clone());
            }
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let short = hex.len() >= 12 && hex.bytes().all(|one| one.is_ascii_hexdigit());
        short
            .then(|| records.values().find(|record| record.id["sha256:".len()..].starts_with(hex)).cloned())
            .flatten()
    }

    /// All images.
    pub fn list(&self) -> Vec<Record> {
        self.records.lock().values().cloned().collect()
    }

    /// Pins or unpins.
    pub fn set_pinned(&self, name: &str, pinned: bool) -> io::Result<()> {
        if let Some(mut record) = self.find(name) {
            record.pinned = pinned;
            self.save(&record)?;
            self.records.lock().insert(record.id.clone(), record);
        }
        Ok(())
    }

    /// Removes an image by any name, with the layers nothing else uses. Layers of running containers stay
    /// mounted until those are gone: the kernel holds them.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let Some(record) = self.find(name) else { return Ok(()) };
        let mut records = self.records.lock();
        records.remove(&record.id);
        fs::remove_file(self.record_path(&record.id))?;
        let used: BTreeSet<&DiffId> = records.values().flat_map(|other| &other.layers).collect();
        for layer in record.layers.iter().filter(|layer| !used.contains(layer)) {
            // out of sight first: a crash while deleting leaves no half layer
            let temporary = self.temporary();
            if fs::rename(self.layer(layer), &temporary).is_ok() {
                let _ = fs::remove_dir_all(temporary);
            }
        }
        let _ = fs::remove_file(self.root.join("blobs/sha256").join(record.id.trim_start_matches("sha256:")));
        Ok(())
    }

    /// Space used and free.
    pub fn usage(&self) -> io::Result<ImageFsInfo> {
        let records = self.records.lock();
        let layers: BTreeSet<&DiffId> = records.values().flat_map(|record| &record.layers).collect();
        let stat = nix::sys::statvfs::statvfs(&self.root)?;
        Ok(ImageFsInfo {
            mountpoint: self.root.clone(),
            used_bytes: layers.into_iter().map(|layer| self.layer_size(layer)).sum(),
            capacity_bytes: stat.blocks() * stat.fragment_size(),
            available_bytes: stat.blocks_available() * stat.fragment_size(),
        })
    }
}
