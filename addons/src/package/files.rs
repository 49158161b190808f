//! The files of a package: read with limits, from a folder or a tar, and packed for the cluster's database.
//!
//! A package is data from elsewhere. Its files have plain relative names, none is a link, and there are not many nor
//! large ones; whatever does not fit is refused with its name before anything is looked at.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::error::Error;

/// The file that says what a package is.
pub(crate) const DESCRIPTION: &str = "addon.yaml";
/// Files of one package.
const FILES_MAX: usize = 500;
/// Bytes of one file.
const FILE_MAX: u64 = 1 << 20;
/// Bytes of all files.
const TOTAL_MAX: u64 = 8 << 20;
/// Bytes of all files as they are kept: a ConfigMap holds 1 MiB.
const PACKED_MAX: usize = 1000 << 10;

/// File names, with `/`, and what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    files: BTreeMap<String, Vec<u8>>,
    total: u64,
}

fn refuse(name: &str, why: &str) -> Error {
    Error::Package(format!("{name}: {why}"))
}

impl Files {
    /// The content of a file.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Adds one file.
    pub(crate) fn add(&mut self, path: &Path, content: impl Read) -> Result<(), Error> {
        let name = plain(path)?;
        if self.files.len() >= FILES_MAX {
            return Err(refuse(&name, &format!("a package has at most {FILES_MAX} files")));
        }
        let mut bytes = Vec::new();
        let read = content.take(FILE_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| refuse(&name, &error.to_string()))?;
        self.total += bytes.len() as u64;
        if bytes.len() as u64 > FILE_MAX {
            return Err(refuse(&name, &format!("a file has at most {} KiB", FILE_MAX >> 10)));
        }
        if self.total > TOTAL_MAX {
            return Err(refuse(&name, &format!("a package has at most {} MiB", TOTAL_MAX >> 20)));
        }
        match self.files.insert(name.clone(), bytes) {
            None => Ok(()),
            Some(_) => Err(refuse(&name, "is there twice")),
        }
    }

    /// All files below a folder; hidden ones are left out.
    pub fn of_folder(folder: &Path) -> Result<Self, Error> {
        let mut files = Self::default();
        let root = folder
            .canonicalize()
            .map_err(|error| refuse(&folder.display().to_string(), &error.to_string()))?;
        files.collect(&root, &root)?;
        files.rooted()
    }

    fn collect(&mut self, root: &Path, folder: &Path) -> Result<(), Error> {
        let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        let failed = |path: &Path, error: std::io::Error| refuse(&shown(path), &error.to_string());
        let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(folder, error))?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(|error| failed(&path, error))?;
            if kind.is_dir() {
                self.collect(root, &path)?;
            } else if kind.is_file() {
                let file = std::fs::File::open(&path).map_err(|error| failed(&path, error))?;
                self.add(path.strip_prefix(root).unwrap_or(&path), file)?;
            } else {
                return Err(refuse(&shown(&path), "is neither a file nor a folder; links are not followed"));
            }
        }
        Ok(())
    }

    /// The files of a tar, gzipped or not.
    pub fn of_tar(bytes: &[u8]) -> Result<Self, Error> {
        let mut files = Self::default();
        match bytes.starts_with(&[0x1f, 0x8b]) {
            true => files.extract(GzDecoder::new(bytes)),
            false => files.extract(bytes),
        }?;
        files.rooted()
    }

    /// Adds the files of an unpacked tar.
    pub(crate) fn extract(&mut self, tar: impl Read) -> Result<(), Error> {
        let broken = |error: std::io::Error| refuse("archive", &error.to_string());
        // headers and names count as well: a tar of nothing but folders is long, too
        let mut archive = tar::Archive::new(tar.take(2 * TOTAL_MAX));
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let path = entry.path().map_err(broken)?.into_owned();
            match entry.header().entry_type() {
                tar::EntryType::Directory => drop(plain(&path)?),
                tar::EntryType::XGlobalHeader => {}
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let hidden = |part: Component<'_>| part.as_os_str().to_string_lossy().starts_with('.');
                    match path.components().filter(|part| *part != Component::CurDir).any(hidden) {
                        true => drop(plain(&path)?),
                        false => self.add(&path, entry)?,
                    }
                }
                _ => {
                    return Err(refuse(
                        &path.display().to_string(),
                        "is neither a file nor a folder; links are not followed",
                    ));
                }
            }
        }
        Ok(())
    }

    /// With the description at the top: what archives of repositories put around everything is taken off.
    pub(crate) fn rooted(self) -> Result<Self, Error> {
        if self.files.contains_key(DESCRIPTION) {
            return Ok(self);
        }
        let mut tops =
            self.files.keys().map(|name| name.split_once('/').map_or("", |(top, _)| top).to_owned());
        let top = tops.next().filter(|top| !top.is_empty() && tops.all(|other| other == *top));
        let inner = top.map(|top| self.below(&top)).filter(|files| files.files.contains_key(DESCRIPTION));
        inner.ok_or_else(|| Error::Package(format!("there is no {DESCRIPTION} in it")))
    }

    /// The files of a folder.
    pub(crate) fn below(&self, folder: &str) -> Self {
        let prefix = format!("{}/", folder.trim_matches('/'));
        let inner = self
            .files
            .iter()
            .filter_map(|(name, bytes)| Some((name.strip_prefix(&prefix)?.to_owned(), bytes.clone())));
        Self { files: inner.collect(), total: self.total }
    }

    /// As a gzipped tar.
    pub fn pack(&self) -> Result<Vec<u8>, Error> {
        let broken = |error: std::io::Error| refuse("package", &error.to_string());
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        for (name, bytes) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes.as_slice()).map_err(broken)?;
        }
        let packed = builder.into_inner().and_then(GzEncoder::finish).map_err(broken)?;
        match packed.len() <= PACKED_MAX {
            true => Ok(packed),
            false => Err(Error::Package(format!(
                "the package has {} KiB packed; at most {} are kept",
                packed.len() >> 10,
                PACKED_MAX >> 10
            ))),
        }
    }
}

/// A name below the package's folder.
fn plain(path: &Path) -> Result<String, Error> {
    let shown = path.display().to_string();
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| refuse(&shown, "the name is not UTF-8"))?);
            }
            Component::CurDir => {}
            _ => return Err(refuse(&shown, "leads out of the package's folder")),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tar_of(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
                header.set_link_name("/etc/passwd").unwrap();
            }
            // set directly: the builder refuses names that an attacker would write
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn what_is_packed_is_unpacked() {
        let tar =
            tar_of(&[("addon.yaml", FILE, b"a"), ("m/x.yaml", FILE, b"b"), (".git/config", FILE, b"c")]);
        let files = Files::of_tar(&tar).unwrap();
        assert_eq!(
            (files.get("addon.yaml"), files.get("m/x.yaml"), files.get(".git/config")),
            (Some(&b"a"[..]), Some(&b"b"[..]), None)
        );
        assert_eq!(Files::of_tar(&files.pack().unwrap()).unwrap(), files);
    }

    #[test]
    fn a_folder_around_everything_is_taken_off() {
        let tar = tar_of(&[
            ("repo-main/", tar::EntryType::Directory, b""),
            ("repo-main/addon.yaml", FILE, b"a"),
            ("./repo-main/m.yaml", FILE, b"b"),
        ]);
        assert!(Files::of_tar(&tar).unwrap().get("m.yaml").is_some());
        let two = tar_of(&[("a/addon.yaml", FILE, b"a"), ("b/addon.yaml", FILE, b"a")]);
        assert!(Files::of_tar(&two).unwrap_err().to_string().contains("no addon.yaml"));
    }

    #[test]
    fn archives_that_leave_their_folder_or_burst_are_refused() {
        let large = vec![0; (FILE_MAX + 1) as usize];
        let many: Vec<String> = (0..=FILES_MAX).map(|n| format!("f{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), FILE, &b""[..])).collect();
        for (entries, words) in [
            (vec![("../../etc/cron.d/x", FILE, &b"x"[..])], "leads out"),
            (vec![("/etc/x", FILE, &b"x"[..])], "leads out"),
            (vec![("a/../../x", FILE, &b"x"[..])], "leads out"),
            (vec![("../up/", tar::EntryType::Directory, &b""[..])], "leads out"),
            (vec![("link", tar::EntryType::Symlink, &b""[..])], "links are not followed"),
            (vec![("hard", tar::EntryType::Link, &b""[..])], "links are not followed"),
            (vec![("pipe", tar::EntryType::Fifo, &b""[..])], "links are not followed"),
            (vec![("large", FILE, large.as_slice())], "at most 1024 KiB"),
            (vec![("a", FILE, &b"x"[..]), ("./a", FILE, &b"y"[..])], "is there twice"),
            (many, "at most 500 files"),
        ] {
            let error = Files::of_tar(&tar_of(&entries)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(Files::of_tar(b"not a tar at all").is_err());
        assert!(Files::of_tar(&[0x1f, 0x8b, 1, 2, 3]).is_err());
    }

    #[test]
    fn links_in_a_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DESCRIPTION), "x").unwrap();
        std::fs::create_dir(folder.path().join("m")).unwrap();
        std::fs::write(folder.path().join("m/a.yaml"), "y").unwrap();
        let files = Files::of_folder(folder.path()).unwrap();
        assert_eq!(files.get("m/a.yaml"), Some(&b"y"[..]));
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("m/b.yaml")).unwrap();
        let error = Files::of_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("m/b.yaml: is neither a file nor a folder"), "{error}");
    }
}
