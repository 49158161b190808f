//! Encryption at rest: Secrets are sealed with AES-256-GCM before they reach the disk.
//!
//! The format is upstream's prefix of its aesgcm provider, then a random nonce, then the ciphertext; the
//! object's key is authenticated with it, so that one Secret cannot be put in another's place. The key is a
//! file of mode 0600, made with the first start. Memory and the API hold plain values.

use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sampan_store::{Key, Seal};
use zeroize::Zeroizing;

use crate::pki::write_private;

const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:key1:";
const KEY_BYTES: usize = 32;

/// Why sealing cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file cannot be read or written.
    #[error("encryption key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file is not a key.
    #[error(
        "encryption key {path} has {found} bytes instead of {KEY_BYTES}: restore it from a backup; without it no Secret can be read"
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
    /// There are sealed values but no key.
    #[error(
        "encryption key {0} is missing, but the database has Secrets sealed with it: restore it from a backup"
    )]
    Missing(PathBuf),
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// Seals the bucket `secrets`.
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
    path: PathBuf,
}

impl Sealer {
    /// Reads the key at `path`, or makes one if there is no database yet (`first_start`).
    pub fn open(path: &Path, first_start: bool) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let random = SystemRandom::new();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && first_start => {
                let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
                random.fill(&mut bytes).map_err(|_| Error::Random)?;
                write_private(path, &bytes).map_err(failed)?;
                bytes
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| Error::Length { path: path.to_owned(), found: bytes.len() })?;
        Ok(Self { key: LessSafeKey::new(key), random, path: path.to_owned() })
    }

    fn sealed(&self, key: &Key, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut body = plain.to_vec();
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(key), &mut body).ok()?;
        Some([PREFIX, &nonce, &body].concat())
    }
}

fn aad(key: &Key) -> Aad<Vec<u8>> {
    Aad::from(format!("{}/{}", key.bucket, key.name).into_bytes())
}

impl Seal for Sealer {
    fn seal(&self, key: &Key, plain: &[u8]) -> Option<Vec<u8>> {
        if &*key.bucket != "secrets" {
            return None;
        }
        let sealed = self.sealed(key, plain);
        // writing a Secret in the clear because randomness failed would break the promise silently
        assert!(sealed.is_some(), "cannot seal a Secret: the system gives no random bytes");
        sealed
    }

    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let wrong =
            || format!("{}/{} was not sealed with the key in {}", key.bucket, key.name, self.path.display());
        let rest = sealed.strip_prefix(PREFIX).ok_or_else(wrong)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut body = body.to_vec();
        let length = self.key.open_in_place(nonce, aad(key), &mut body).map_err(|_| wrong())?.len();
        body.truncate(length);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_secrets_are_sealed_and_only_their_key_and_place_open_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("encryption.key");
        let sealer = Sealer::open(&path, true).unwrap();
        assert!(crate::pki::is_private(&path));
        let (a, b) = (Key::new("secrets", "default/a"), Key::new("secrets", "default/b"));
        assert_eq!(sealer.seal(&Key::new("pods", "default/a"), b"x"), None);
        let sealed = sealer.seal(&a, b"hush").unwrap();
        assert!(sealed.starts_with(PREFIX) && !sealed.windows(4).any(|w| w == b"hush"));
        assert_ne!(sealed, sealer.seal(&a, b"hush").unwrap());
        assert_eq!(Sealer::open(&path, false).unwrap().open(&a, &sealed).unwrap(), b"hush");
        assert!(sealer.open(&b, &sealed).unwrap_err().contains("not sealed with the key"));
        let other = Sealer::open(&dir.path().join("other.key"), true).unwrap();
        assert!(other.open(&a, &sealed).unwrap_err().contains("other.key"));
    }

    #[test]
    fn a_missing_or_broken_key_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("encryption.key");
        assert!(Sealer::open(&path, false).err().unwrap().to_string().contains("is missing"));
        std::fs::write(&path, b"short").unwrap();
        assert!(Sealer::open(&path, false).err().unwrap().to_string().contains("5 bytes"));
    }
}
