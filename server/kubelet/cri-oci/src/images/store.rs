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

/// Beside the layers: directories with nothing in them, for overlays that lack a lower one. They stay.
pub const EMPTY: [&str; 2] = ["empty", "empty2"];

impl ImageStore {
    /// Opens or makes a store and clears what a crash or a failed pull left: nobody else has it open.
    pub fn open(root: &Path) -> io::Result<Self> {
        let _ = fs::remove_dir_all(root.join("tmp"));
        for directory in ["blobs/sha256", "layers", "images", "tmp"] {
            fs::create_dir_all(root.join(directory))?;
        }
        let (mut records, mut all_read) = (BTreeMap::new(), true);
        for entry in fs::read_dir(root.join("images"))?.flatten() {
            match read_json::<Record>(&entry.path()) {
                Some(record) => drop(records.insert(record.id.clone(), record)),
                // an image that has to be pulled again, not a reason not to start
                None => all_read &= entry.path().extension().is_none_or(|kind| kind != "json"),
            }
        }
        let store =
            ImageStore { root: root.to_owned(), records: Mutex::new(records), serial: AtomicU64::new(0) };
        // containers may run on the layers of a record that cannot be read
        if all_read {
            store.sweep()?;
        }
        Ok(store)
    }

    /// Removes layers and blobs that no record names.
    fn sweep(&self) -> io::Result<()> {
        let records = self.records.lock();
        let named = records.values().flat_map(|record| &record.layers).map(DiffId::directory);
        // what is mounted lists as gone if a directory below it is
        let layers: BTreeSet<&str> = named.chain(EMPTY).collect();
        let blobs: BTreeSet<&str> = records.keys().map(|id| id.trim_start_matches("sha256:")).collect();
        for (directory, used) in [(self.layers_directory(), layers), (self.root.join("blobs/sha256"), blobs)]
        {
            for entry in fs::read_dir(directory)?.flatten() {
                if !used.contains(&*entry.file_name().to_string_lossy()) {
                    self.discard(&entry.path());
                }
            }
        }
        Ok(())
    }

    /// Out of sight first: a crash while deleting leaves no half layer.
    fn discard(&self, path: &Path) {
        let temporary = self.temporary();
        if fs::rename(path, &temporary).is_ok() {
            let _ = fs::remove_dir_all(&temporary).or_else(|_| fs::remove_file(&temporary));
        }
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

    /// Keeps a configuration.
    fn add_blob(&self, id: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.temporary();
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, self.blob(id))
    }

    fn blob(&self, id: &str) -> PathBuf {
        self.root.join("blobs/sha256").join(id.trim_start_matches("sha256:"))
    }

    /// Records an image whose layers are all there. Names move over from whatever had them.
    ///
    /// `NotFound` if a layer is not there: it went with the last image that named it, after the caller had
    /// seen it. Who adds the layers again succeeds.
    pub fn add_image(
        &self,
        config: &[u8],
        reference: Option<&Reference>,
        manifest_digests: &[String],
    ) -> io::Result<Record> {
        let parsed: ConfigFile = serde_json::from_slice(config)?;
        let id = format!("sha256:{}", hex(&Sha256::digest(config)));
        // from here on no layer is removed
        let mut records = self.records.lock();
        if let Some(gone) = parsed.rootfs.diff_ids.iter().find(|layer| !self.has_layer(layer)) {
            let text = format!("layer {gone} of image {id} was removed meanwhile");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        self.add_blob(&id, config)?;
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
        size(&self.layer(diff_id))
    }

    /// By id (whole or beginning), name with tag, or name with digest.
    pub fn find(&self, name: &str) -> Option<Record> {
        find(&self.records.lock(), name).cloned()
    }

    /// All images.
    pub fn list(&self) -> Vec<Record> {
        self.records.lock().values().cloned().collect()
    }

    /// Pins or unpins.
    pub fn set_pinned(&self, name: &str, pinned: bool) -> io::Result<()> {
        let mut records = self.records.lock();
        let Some(mut record) = find(&records, name).cloned() else { return Ok(()) };
        record.pinned = pinned;
        self.save(&record)?;
        records.insert(record.id.clone(), record);
        Ok(())
    }

    /// Removes an image by any name, with the layers nothing else uses. Containers must not use it: what they
    /// have not read yet would be gone.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let mut records = self.records.lock();
        let Some(record) = find(&records, name).cloned() else { return Ok(()) };
        fs::remove_file(self.record_path(&record.id))?;
        records.remove(&record.id);
        let used: BTreeSet<&DiffId> = records.values().flat_map(|other| &other.layers).collect();
        for layer in record.layers.iter().filter(|layer| !used.contains(layer)) {
            self.discard(&self.layer(layer));
        }
        let _ = fs::remove_file(self.blob(&record.id));
        Ok(())
    }

    /// Space used and free; used by layers of no image too, which a pull that runs or failed has left.
    pub fn usage(&self) -> io::Result<ImageFsInfo> {
        let stat = nix::sys::statvfs::statvfs(&self.root)?;
        Ok(ImageFsInfo {
            mountpoint: self.root.clone(),
            used_bytes: fs::read_dir(self.layers_directory())?.flatten().map(|one| size(&one.path())).sum(),
            capacity_bytes: stat.blocks() * stat.fragment_size(),
            available_bytes: stat.blocks_available() * stat.fragment_size(),
        })
    }
}

fn find<'a>(records: &'a BTreeMap<String, Record>, name: &str) -> Option<&'a Record> {
    if let Some(record) = records.get(name) {
        return Some(record);
    }
    if let Ok(reference) = Reference::parse(name) {
        let full = reference.full();
        let named =
            |record: &&Record| record.repo_tags.contains(&full) || record.repo_digests.contains(&full);
        if let Some(record) = records.values().find(named) {
            return Some(record);
        }
    }
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let short = hex.len() >= 12 && hex.bytes().all(|one| one.is_ascii_hexdigit());
    let begins = |record: &&Record| record.id["sha256:".len()..].starts_with(hex);
    records.values().find(begins).filter(|_| short)
}

fn size(layer: &Path) -> u64 {
    fs::read_to_string(layer.join("size")).unwrap_or_default().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer of one file, and its name.
    fn layer(data: &[u8]) -> (Vec<u8>, DiffId) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "file", data).unwrap();
        let tar = tar.into_inner().unwrap();
        let id = DiffId::of(Sha256::digest(&tar));
        (tar, id)
    }

    fn config(layers: &[&DiffId]) -> Vec<u8> {
        serde_json::json!({"rootfs": {"diff_ids": layers}}).to_string().into_bytes()
    }

    fn blobs(root: &Path) -> usize {
        fs::read_dir(root.join("blobs/sha256")).unwrap().count()
    }

    #[test]
    fn what_no_image_names_goes_when_the_store_opens() {
        let root = tempfile::tempdir().unwrap();
        let ((kept, kept_id), (lost, lost_id)) = (layer(b"kept"), layer(b"lost!"));
        let store = ImageStore::open(root.path()).unwrap();
        store.add_layer(&kept[..], &kept_id).unwrap();
        store.add_layer(&lost[..], &lost_id).unwrap();
        let image = store.add_image(&config(&[&kept_id]), None, &[]).unwrap();
        fs::write(root.path().join("blobs/sha256/ab"), "a manifest of an earlier version").unwrap();
        assert_eq!(store.usage().unwrap().used_bytes, 9);
        drop(store);
        // a half-written record is none
        fs::write(root.path().join("images/x.tmp"), "{").unwrap();
        let store = ImageStore::open(root.path()).unwrap();
        assert!(store.has_layer(&kept_id) && !store.has_layer(&lost_id));
        assert_eq!((store.usage().unwrap().used_bytes, blobs(root.path())), (4, 1));
        store.remove(&image.id).unwrap();
        assert!(!store.has_layer(&kept_id));
        assert_eq!(blobs(root.path()), 0);
    }

    #[test]
    fn empty_directories_below_overlays_stay() {
        let root = tempfile::tempdir().unwrap();
        drop(ImageStore::open(root.path()).unwrap());
        for name in EMPTY.into_iter().chain(["unnamed"]) {
            fs::create_dir(root.path().join("layers").join(name)).unwrap();
        }
        drop(ImageStore::open(root.path()).unwrap());
        let is_there = |name: &str| root.path().join("layers").join(name).is_dir();
        assert_eq!((EMPTY.map(is_there), is_there("unnamed")), ([true, true], false));
    }

    #[test]
    fn a_record_that_cannot_be_read_keeps_its_layers() {
        let root = tempfile::tempdir().unwrap();
        let (tar, id) = layer(b"x");
        let store = ImageStore::open(root.path()).unwrap();
        store.add_layer(&tar[..], &id).unwrap();
        drop(store);
        fs::write(root.path().join("images/x.json"), "{").unwrap();
        assert!(ImageStore::open(root.path()).unwrap().has_layer(&id));
    }

    #[test]
    fn an_image_is_not_recorded_without_its_layers() {
        let root = tempfile::tempdir().unwrap();
        let ((tar, id), (_, absent)) = (layer(b"x"), layer(b"y"));
        let store = ImageStore::open(root.path()).unwrap();
        store.add_layer(&tar[..], &id).unwrap();
        let error = store.add_image(&config(&[&id, &absent]), None, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(&absent.to_string()));
        assert!(store.list().is_empty());
        assert_eq!(blobs(root.path()), 0);
        // an image that shared the layer is removed between the check and the record
        let first = store.add_image(&config(&[&id]), None, &[]).unwrap();
        store.remove(&first.id).unwrap();
        assert!(store.add_image(&config(&[&id]), None, &[]).is_err());
        store.add_layer(&tar[..], &id).unwrap();
        store.add_image(&config(&[&id]), None, &[]).unwrap();
    }
}
