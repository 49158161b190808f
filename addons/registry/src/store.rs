//! Blobs, manifests and tags on disk. Blocking.
//!
//! ```text
//!  blobs/{sha256,sha512}/HEX              every blob and manifest, once
//!  repositories/NAME/_blobs/HEX           empty: the repository has this blob
//!  repositories/NAME/_manifests/HEX       the manifest's media type
//!  repositories/NAME/_tags/TAG            the digest
//!  repositories/NAME/_referrers/HEX/HEX   empty: the second is a manifest about the first
//!  uploads/UUID                           an upload's bytes so far; also what is being written
//! ```
//!
//! Everything is written aside, synced and renamed, contents before what names them: a crash leaves things that nothing
//! names, which the sweep takes, and never a name without its content.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::Refusal;
use crate::manifest::Manifest;
use crate::name::{Algorithm, Digest, Name, Reference, Tag};

/// Directory of a repository's blobs.
pub const BLOBS: &str = "_blobs";
/// Directory of a repository's manifests.
pub const MANIFESTS: &str = "_manifests";
/// Directory of a repository's tags.
pub const TAGS: &str = "_tags";
/// Directory of what is about a repository's manifests.
pub const REFERRERS: &str = "_referrers";

/// A manifest as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// As it was pushed with.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens or makes a store.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        let store = Self { root: root.to_owned() };
        for algorithm in Algorithm::ALL {
            fs::create_dir_all(store.blobs(algorithm))?;
        }
        fs::create_dir_all(store.repositories())?;
        fs::create_dir_all(store.uploads())?;
        Ok(store)
    }

    /// Where a blob is, or would be.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    /// Directory of all blobs by an algorithm.
    pub fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    /// Directory of all uploads.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Directory of all repositories.
    pub fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// Directory of a repository.
    pub fn repository(&self, name: &Name) -> PathBuf {
        self.repositories().join(name.as_str())
    }

    fn temporary(&self) -> PathBuf {
        self.uploads().join(format!("{}.tmp", uuid::Uuid::new_v4()))
    }

    /// The size of a blob that a repository has. That it was asked for keeps it from being swept for a while.
    pub fn has(&self, name: &Name, digest: &Digest) -> Option<u64> {
        let marker = self.repository(name).join(BLOBS).join(digest.hex());
        if !marker.exists() && !self.repository(name).join(MANIFESTS).join(digest.hex()).exists() {
            return None;
        }
        let size = fs::metadata(self.blob(digest)).ok()?.len();
        if let Ok(file) = File::options().write(true).open(&marker) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(size)
    }

    /// Makes a finished upload a blob of the repository; its bytes are known to be those of the digest.
    ///
    /// # Errors
    /// The disk's; the upload is still there.
    pub fn keep(&self, name: &Name, digest: &Digest, upload: &Path) -> io::Result<()> {
        let blob = self.blob(digest);
        File::open(upload)?.sync_all()?;
        fs::rename(upload, &blob)?;
        sync_directory(&self.blobs(digest.algorithm()))?;
        self.link(name, digest)
    }

    /// Gives a repository a blob that there is.
    ///
    /// # Errors
    /// The disk's.
    pub fn link(&self, name: &Name, digest: &Digest) -> io::Result<()> {
        let directory = self.repository(name).join(BLOBS);
        make(&directory)?;
        // truncates, which renews its time
        File::create(directory.join(digest.hex()))?;
        sync_directory(&directory)
    }

    /// Gives `name` a blob of another repository, or of any.
    ///
    /// # Errors
    /// The disk's.
    pub fn mount(&self, name: &Name, from: Option<&Name>, digest: &Digest) -> io::Result<bool> {
        if !from.map_or_else(|| self.blob(digest).exists(), |from| self.has(from, digest).is_some()) {
            return Ok(false);
        }
        self.link(name, digest).map(|()| true)
    }

    /// Takes a blob from a repository.
    ///
    /// # Errors
    /// It does not have it, or the disk's.
    pub fn unlink(&self, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        match fs::remove_file(self.repository(name).join(BLOBS).join(digest.hex())) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Refusal::blob_unknown(&digest.to_string()))
            }
            result => Ok(result?),
        }
    }

    /// Keeps a manifest under its digest by an algorithm, and lets a tag name it. `whole` demands that the repository has
    /// all that it names.
    ///
    /// # Errors
    /// It names what is not there, or the disk's.
    pub fn put_manifest(
        &self,
        name: &Name,
        tag: Option<&Tag>,
        media_type: &str,
        bytes: &[u8],
        (algorithm, whole): (Algorithm, bool),
    ) -> Result<Digest, Refusal> {
        let manifest = Manifest::parse(bytes)?;
        let missing = |digest: &&Digest| self.has(name, digest).is_none();
        if let Some(missing) = manifest.needs().find(missing).filter(|_| whole) {
            return Err(Refusal::manifest_blob_unknown(&missing.to_string()));
        }
        let digest = Digest::by(algorithm, bytes);
        if !self.blob(&digest).exists() {
            self.write(&self.blob(&digest), bytes)?;
        }
        let repository = self.repository(name);
        if let Some(subject) = manifest.subject() {
            let directory = repository.join(REFERRERS).join(subject.hex());
            self.write(&directory.join(digest.hex()), b"")?;
        }
        self.write(&repository.join(MANIFESTS).join(digest.hex()), media_type.as_bytes())?;
        if let Some(tag) = tag {
            self.write(&repository.join(TAGS).join(tag.as_str()), digest.to_string().as_bytes())?;
        }
        Ok(digest)
    }

    /// Writes a file whole: aside, synced, renamed.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let directory = path.parent().unwrap_or(&self.root);
        make(directory)?;
        let temporary = self.temporary();
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let done =
            written.and_then(|()| fs::rename(&temporary, path)).and_then(|()| sync_directory(directory));
        if done.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        done
    }

    /// The digest that a tag names.
    pub fn tagged(&self, name: &Name, tag: &Tag) -> Option<Digest> {
        let text = fs::read_to_string(self.repository(name).join(TAGS).join(tag.as_str())).ok()?;
        Digest::parse(text.trim())
    }

    /// A manifest of a repository.
    ///
    /// # Errors
    /// There is none, or the disk's.
    pub fn manifest(&self, name: &Name, reference: &Reference) -> Result<Stored, Refusal> {
        let unknown = || Refusal::manifest_unknown(&reference.to_string());
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => self.tagged(name, tag).ok_or_else(unknown)?,
        };
        let read = |path: PathBuf| match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(unknown()),
            result => Ok(result?),
        };
        let media_type = read(self.repository(name).join(MANIFESTS).join(digest.hex()))?;
        let media_type = String::from_utf8_lossy(&media_type).into_owned();
        Ok(Stored { bytes: read(self.blob(&digest))?, media_type, digest })
    }

    /// Notes that a manifest was asked for just now; of one that is not there, nothing.
    pub fn touch(&self, name: &Name, digest: &Digest) {
        let marker = self.repository(name).join(MANIFESTS).join(digest.hex());
        if let Ok(file) = File::options().write(true).open(marker) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Removes a tag, or a manifest with the tags that name it.
    ///
    /// # Errors
    /// There is none, or the disk's.
    pub fn delete_manifest(&self, name: &Name, reference: &Reference) -> Result<(), Refusal> {
        let repository = self.repository(name);
        let unknown = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => Refusal::manifest_unknown(&reference.to_string()),
            _ => error.into(),
        };
        let digest = match reference {
            Reference::Tag(tag) => {
                return fs::remove_file(repository.join(TAGS).join(tag.as_str())).map_err(unknown);
            }
            Reference::Digest(digest) => digest,
        };
        let marker = repository.join(MANIFESTS).join(digest.hex());
        fs::metadata(&marker).map_err(unknown)?;
        for tag in self.tags(name) {
            if self.tagged(name, &tag).as_ref() == Some(digest) {
                fs::remove_file(repository.join(TAGS).join(tag.as_str()))?;
            }
        }
        let bytes = fs::read(self.blob(digest)).unwrap_or_default();
        if let Ok(Some(subject)) = Manifest::parse(&bytes).map(|manifest| manifest.subject().cloned()) {
            let _ = fs::remove_file(repository.join(REFERRERS).join(subject.hex()).join(digest.hex()));
        }
        Ok(fs::remove_file(marker)?)
    }

    /// Tags of a repository, sorted.
    pub fn tags(&self, name: &Name) -> Vec<Tag> {
        let mut tags: Vec<Tag> =
            names(&self.repository(name).join(TAGS)).iter().filter_map(|one| Tag::parse(one)).collect();
        tags.sort();
        tags
    }

    /// Digests below a repository's directory, sorted.
    pub fn digests(&self, name: &Name, directory: &str) -> Vec<Digest> {
        let listed = names(&self.repository(name).join(directory));
        let mut digests: Vec<Digest> = listed.iter().filter_map(|one| Digest::from_hex(one)).collect();
        digests.sort();
        digests
    }

    /// Manifests about a manifest.
    pub fn referrers(&self, name: &Name, subject: &Digest) -> Vec<Stored> {
        let about = self.digests(name, &format!("{REFERRERS}/{}", subject.hex()));
        let read = |digest: Digest| self.manifest(name, &Reference::Digest(digest)).ok();
        about.into_iter().filter_map(read).collect()
    }

    /// Repositories that hold something, sorted.
    pub fn catalog(&self) -> Vec<Name> {
        let mut found = Vec::new();
        let mut below = vec![String::new()];
        while let Some(prefix) = below.pop() {
            for entry in names(&self.repositories().join(&prefix)) {
                let path = if prefix.is_empty() { entry.clone() } else { format!("{prefix}/{entry}") };
                match Name::parse(&path) {
                    Some(_) => below.push(path),
                    None if entry == MANIFESTS => found.extend(Name::parse(&prefix)),
                    None => {}
                }
            }
        }
        found.retain(|name| !names(&self.repository(name).join(MANIFESTS)).is_empty());
        found.sort();
        found
    }

    /// Every repository there is a directory of, with or without manifests.
    pub fn all(&self) -> Vec<Name> {
        let (mut found, mut below) = (Vec::new(), vec![String::new()]);
        while let Some(prefix) = below.pop() {
            let entries = names(&self.repositories().join(&prefix));
            if entries.iter().any(|entry| entry.starts_with('_')) {
                found.extend(Name::parse(&prefix));
            }
            let join =
                |entry: &String| if prefix.is_empty() { entry.clone() } else { format!("{prefix}/{entry}") };
            below.extend(entries.iter().map(join).filter(|path| Name::parse(path).is_some()));
        }
        found
    }
}

/// Names in a directory; of one that is not there, none.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    // its own name has to last as well
    directory.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const WHOLE: (Algorithm, bool) = (Algorithm::Sha256, true);
    const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

    fn blob(store: &Store, name: &Name, bytes: &[u8]) -> Digest {
        let upload = store.temporary();
        fs::write(&upload, bytes).unwrap();
        let digest = Digest::of(bytes);
        store.keep(name, &digest, &upload).unwrap();
        digest
    }

    fn manifest(config: &Digest, layers: &[&Digest], subject: Option<&Digest>) -> Vec<u8> {
        let descriptor = |digest: &Digest| json!({"mediaType": "x", "digest": digest.to_string(), "size": 1});
        let layers: Vec<_> = layers.iter().map(|layer| descriptor(layer)).collect();
        let mut value =
            json!({"schemaVersion": 2, "mediaType": TYPE, "config": descriptor(config), "layers": layers});
        if let Some(subject) = subject {
            value["subject"] = descriptor(subject);
        }
        value.to_string().into_bytes()
    }

    #[test]
    fn manifests_name_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (app, other) = (Name::parse("team/app").unwrap(), Name::parse("team/app/deep").unwrap());
        let (config, layer) = (blob(&store, &app, b"config"), Digest::of(b"layer"));
        let bytes = manifest(&config, &[&layer], None);
        let tag = Tag::parse("v1").unwrap();
        let refused = store.put_manifest(&app, Some(&tag), TYPE, &bytes, WHOLE).unwrap_err();
        assert_eq!(refused.code, "MANIFEST_BLOB_UNKNOWN");
        assert!(store.catalog().is_empty() && store.tags(&app).is_empty());
        blob(&store, &other, b"layer");
        assert_eq!((store.has(&other, &layer), store.has(&app, &layer)), (Some(5), None));
        assert!(
            store.mount(&app, Some(&other), &layer).unwrap()
                && !store.mount(&app, Some(&other), &config).unwrap()
        );
        let digest = store.put_manifest(&app, Some(&tag), TYPE, &bytes, WHOLE).unwrap();
        let by_tag = store.manifest(&app, &Reference::Tag(tag.clone())).unwrap();
        assert_eq!(
            (by_tag.bytes, by_tag.media_type, by_tag.digest),
            (bytes, TYPE.to_owned(), digest.clone())
        );
        assert_eq!(store.catalog(), std::slice::from_ref(&app));
        assert_eq!(store.all().len(), 2);

        let about =
            store.put_manifest(&app, None, TYPE, &manifest(&config, &[], Some(&digest)), WHOLE).unwrap();
        assert_eq!(
            store.referrers(&app, &digest).iter().map(|one| &one.digest).collect::<Vec<_>>(),
            [&about]
        );
        store.delete_manifest(&app, &Reference::Digest(about)).unwrap();
        assert!(store.referrers(&app, &digest).is_empty());

        store.delete_manifest(&app, &Reference::Tag(tag.clone())).unwrap();
        assert!(store.manifest(&app, &Reference::Digest(digest.clone())).is_ok());
        store.put_manifest(&app, Some(&tag), TYPE, &manifest(&config, &[&layer], None), WHOLE).unwrap();
        store.delete_manifest(&app, &Reference::Digest(digest.clone())).unwrap();
        assert!(store.tags(&app).is_empty() && store.catalog().is_empty());
        assert_eq!(
            store.delete_manifest(&app, &Reference::Digest(digest)).unwrap_err().code,
            "MANIFEST_UNKNOWN"
        );
        assert!(names(&store.uploads()).is_empty());
    }
}
