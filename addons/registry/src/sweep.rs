//! Takes away what nothing names. Blocking.
//!
//! A blob is named by a manifest of its repository. One that is not stays for an hour after it was pushed, mounted or
//! last asked for, because who pushes an image sends its blobs first and its manifest last; and for as long as its
//! repository has an upload that goes on. A copy of another registry's manifest goes when nobody has asked for it for some
//! days.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::manifest::Manifest;
use crate::name::{Algorithm, Digest, Name, Reference};
use crate::store::{BLOBS, MANIFESTS, Store, names};

/// How long an unnamed blob stays.
pub const GRACE: Duration = Duration::from_secs(3600);
/// How long an upload may rest.
pub const UPLOAD_AGE: Duration = Duration::from_secs(24 * 3600);

/// What a sweep has to know.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Repositories with an upload that goes on.
    pub pushed: HashSet<Name>,
    /// Registries of which copies are kept.
    pub mirrored: Vec<String>,
    /// How long a copy stays that nobody asks for.
    pub copies: Duration,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs removed.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// When the next thing will be old enough.
    pub next: Option<Duration>,
}

impl Store {
    /// Sweeps once.
    pub fn sweep(&self, now: SystemTime, rules: &Rules) -> Swept {
        let mut swept = Swept::default();
        let mut used = HashSet::new();
        for name in self.all() {
            let registry = name.as_str().split_once('/').map(|(registry, _)| registry);
            if rules.mirrored.iter().any(|one| Some(one.as_str()) == registry) {
                self.sweep_copies(&name, now, rules.copies, &mut swept);
            }
            self.sweep_repository(&name, now, rules.pushed.contains(&name), &mut used, &mut swept);
        }
        for algorithm in Algorithm::ALL {
            self.sweep_blobs(&self.blobs(algorithm), now, &used, &mut swept);
        }
        for upload in names(&self.uploads()) {
            let path = self.uploads().join(upload);
            if due(&path, now, UPLOAD_AGE, &mut swept.next) {
                let _ = fs::remove_file(path);
            }
        }
        swept
    }

    fn sweep_copies(&self, name: &Name, now: SystemTime, age: Duration, swept: &mut Swept) {
        for digest in self.digests(name, MANIFESTS) {
            let marker = self.repository(name).join(MANIFESTS).join(digest.hex());
            if due(&marker, now, age, &mut swept.next) {
                // what cannot be removed now is tried again
                let _ = self.delete_manifest(name, &Reference::Digest(digest));
            }
        }
    }

    fn sweep_blobs(&self, blobs: &Path, now: SystemTime, used: &HashSet<Digest>, swept: &mut Swept) {
        for hex in names(blobs) {
            let path = blobs.join(&hex);
            let unnamed = Digest::from_hex(&hex).is_none_or(|digest| !used.contains(&digest));
            if unnamed && due(&path, now, GRACE, &mut swept.next) {
                let size = fs::metadata(&path).map_or(0, |meta| meta.len());
                if fs::remove_file(&path).is_ok() {
                    (swept.blobs, swept.bytes) = (swept.blobs + 1, swept.bytes + size);
                }
            }
        }
    }

    fn sweep_repository(
        &self,
        name: &Name,
        now: SystemTime,
        pushed: bool,
        used: &mut HashSet<Digest>,
        swept: &mut Swept,
    ) {
        let mut named = HashSet::new();
        for digest in self.digests(name, MANIFESTS) {
            let bytes = fs::read(self.blob(&digest)).unwrap_or_default();
            // one that cannot be read says nothing of what it needs: nothing of the repository goes
            let Ok(manifest) = Manifest::parse(&bytes) else {
                used.extend(self.digests(name, BLOBS));
                used.extend(self.digests(name, MANIFESTS));
                return;
            };
            named.extend(manifest.needs().cloned());
            used.insert(digest);
        }
        for digest in self.digests(name, BLOBS) {
            let marker = self.repository(name).join(BLOBS).join(digest.hex());
            let unnamed = !named.contains(&digest) && !pushed;
            if unnamed && due(&marker, now, GRACE, &mut swept.next) && fs::remove_file(&marker).is_ok() {
                continue;
            }
            used.insert(digest);
        }
        self.remove_empty(name);
    }

    /// Removes a repository's directories that hold nothing, from the inside out.
    fn remove_empty(&self, name: &Name) {
        let top = self.repositories();
        let directory = self.repository(name);
        for part in names(&directory) {
            for inner in names(&directory.join(&part)) {
                let _ = fs::remove_dir(directory.join(&part).join(inner));
            }
            let _ = fs::remove_dir(directory.join(part));
        }
        let parents = directory.ancestors().take_while(|one| *one != top);
        // ends at the first that holds something
        let _ = parents.map(fs::remove_dir).find(Result::is_err);
    }
}

/// Whether a file has rested for `age`; otherwise notes when it will have.
fn due(path: &Path, now: SystemTime, age: Duration, next: &mut Option<Duration>) -> bool {
    let Ok(modified) = fs::metadata(path).and_then(|meta| meta.modified()) else { return false };
    // a time in the future is one of another clock
    let rested = now.duration_since(modified).unwrap_or_default();
    if rested >= age {
        return true;
    }
    let rest = age - rested;
    *next = Some(next.map_or(rest, |next| next.min(rest)));
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::name::Tag;
    use serde_json::json;

    const HOUR: Duration = Duration::from_secs(3601);

    fn blob(store: &Store, name: &Name, bytes: &[u8]) -> Digest {
        let (upload, digest) = (store.uploads().join(uuid::Uuid::new_v4().to_string()), Digest::of(bytes));
        fs::write(&upload, bytes).unwrap();
        store.keep(name, &digest, &upload).unwrap();
        digest
    }

    #[test]
    fn what_no_manifest_names_goes_after_an_hour() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (a, b) = (Name::parse("x/a").unwrap(), Name::parse("x/b").unwrap());
        let (shared, own, lone) =
            (blob(&store, &a, b"shared"), blob(&store, &a, b"own"), blob(&store, &b, b"lone"));
        store.link(&b, &shared).unwrap();
        let put = |name: &Name, layers: &[&Digest]| {
            let layers: Vec<_> = layers.iter().map(|one| json!({"digest": one.to_string()})).collect();
            let bytes = json!({"layers": layers}).to_string().into_bytes();
            store
                .put_manifest(name, Tag::parse("t").as_ref(), "m", &bytes, (Algorithm::Sha256, true))
                .unwrap()
        };
        let (in_a, in_b) = (put(&a, &[&shared, &own]), put(&b, &[&shared]));
        let (now, later) = (SystemTime::now(), SystemTime::now() + HOUR);
        let none = Rules::default();
        let pushing = Rules { pushed: HashSet::from([b.clone()]), ..Rules::default() };
        let swept = store.sweep(now, &none);
        assert!(swept.blobs == 0 && swept.next.is_some_and(|next| next <= GRACE), "{swept:?}");
        assert_eq!(store.sweep(later, &pushing).blobs, 0, "a push to b goes on");
        let swept = store.sweep(later, &none);
        assert_eq!((swept.blobs, swept.bytes, swept.next), (1, 4, None));
        assert!(!store.blob(&lone).exists());
        store.delete_manifest(&a, &Reference::Digest(in_a.clone())).unwrap();
        let swept = store.sweep(later, &none);
        assert!(swept.blobs == 2 && !store.blob(&own).exists() && !store.blob(&in_a).exists());
        assert!(store.blob(&shared).exists() && store.blob(&in_b).exists());
        assert_eq!(store.all(), [b]);
        assert_eq!(names(&store.repositories().join("x")), ["b"]);
    }

    #[test]
    fn uploads_rest_for_a_day_and_what_cannot_be_read_takes_nothing_with_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let upload = store.uploads().join("u");
        fs::write(&upload, "x").unwrap();
        let name = Name::parse("a").unwrap();
        let layer = blob(&store, &name, b"layer");
        let bytes = json!({"layers": [{"digest": layer.to_string()}]}).to_string();
        let manifest =
            store.put_manifest(&name, None, "m", bytes.as_bytes(), (Algorithm::Sha256, true)).unwrap();
        fs::write(store.blob(&manifest), "").unwrap();
        store.sweep(SystemTime::now() + HOUR, &Rules::default());
        assert!(upload.exists() && store.blob(&layer).exists());
        store.sweep(SystemTime::now() + HOUR * 24, &Rules::default());
        assert!(!upload.exists() && store.blob(&layer).exists());
    }

    #[test]
    fn copies_that_nobody_asks_for_go_and_images_of_our_own_stay() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (copy, own) = (Name::parse("docker.io/library/a").unwrap(), Name::parse("own/a").unwrap());
        for name in [&copy, &own] {
            let layer = blob(&store, name, name.as_str().as_bytes());
            let bytes = json!({"layers": [{"digest": layer.to_string()}]}).to_string();
            store
                .put_manifest(
                    name,
                    Tag::parse("t").as_ref(),
                    "m",
                    bytes.as_bytes(),
                    (Algorithm::Sha256, true),
                )
                .unwrap();
        }
        let rules = Rules { mirrored: vec!["docker.io".into()], copies: HOUR * 10, ..Rules::default() };
        let swept = store.sweep(SystemTime::now() + HOUR * 9, &rules);
        assert!(swept.blobs == 0 && swept.next.is_some_and(|next| next <= HOUR), "{swept:?}");
        // the manifest and its layer
        assert_eq!(store.sweep(SystemTime::now() + HOUR * 10, &rules).blobs, 2);
        assert_eq!(store.catalog(), [own]);
    }
}
