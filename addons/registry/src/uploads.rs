//! Uploads: bytes that come in pieces, hashed as they are written.
//!
//! An upload is its file; what is kept in memory (the hash so far) is made again from the file after a restart or a
//! write that failed, so that a client may go on from what `Range` says. One request writes to it at a time: bytes of two
//! behind each other would be nobody's, so that the other one is refused.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::error::Refusal;
use crate::name::{Algorithm, Digest, Hash, Name};
use crate::store::Store;
use crate::sweep::GRACE;

/// How much is read at once to hash a file.
const PIECE: usize = 128 << 10;

/// One upload. Locked by who writes to it.
#[derive(Debug)]
pub struct Upload {
    /// Where its bytes are.
    pub path: PathBuf,
    /// How many there are, if `hash` is sure.
    size: u64,
    /// Of all of them by the usual algorithm; `None` if that is not sure.
    hash: Option<Hash>,
}

impl Upload {
    /// An upload whose file may have bytes.
    async fn open(path: PathBuf) -> io::Result<Self> {
        let size = tokio::fs::metadata(&path).await?.len();
        Ok(Self { path, size, hash: None })
    }

    /// How many bytes there are, also after a write that failed half.
    ///
    /// # Errors
    /// The disk's.
    pub async fn size(&mut self) -> io::Result<u64> {
        self.hash = Some(self.hashed().await?);
        Ok(self.size)
    }

    /// Of what is there, by the usual algorithm.
    async fn hashed(&mut self) -> io::Result<Hash> {
        match self.hash.take() {
            Some(hash) => Ok(hash),
            None => self.read(Algorithm::Sha256).await,
        }
    }

    /// Hashes the file, and counts its bytes.
    async fn read(&mut self, algorithm: Algorithm) -> io::Result<Hash> {
        let (mut hash, mut size) = (Hash::new(algorithm), 0);
        let mut file = File::open(&self.path).await?;
        let mut piece = vec![0; PIECE];
        loop {
            let count = file.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            size += count as u64;
        }
        self.size = size;
        Ok(hash)
    }

    /// Appends a body. What came before it broke off stays.
    ///
    /// # Errors
    /// The client's or the disk's.
    pub async fn append<B>(&mut self, body: B) -> Result<(), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let mut hash = self.hashed().await?;
        let mut file = OpenOptions::new().write(true).open(&self.path).await?;
        file.seek(io::SeekFrom::Start(self.size)).await?;
        let mut body = std::pin::pin!(body);
        let mut broken = None;
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => {
                    file.write_all(&data).await?;
                    hash.update(&data);
                    self.size += data.len() as u64;
                }
                // trailers
                Ok(Err(_)) => {}
                Err(error) => {
                    broken = Some(Refusal::broken_off(error));
                    break;
                }
            }
        }
        file.flush().await?;
        self.hash = Some(hash);
        match broken {
            Some(broken) => Err(broken),
            None if self.is_there() => Ok(()),
            // cancelled meanwhile
            None => Err(Refusal::upload_unknown()),
        }
    }

    /// Whether it goes on: neither finished nor cancelled.
    fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// The digest of all bytes.
    ///
    /// # Errors
    /// The disk's.
    pub async fn digest(&mut self, algorithm: Algorithm) -> io::Result<Digest> {
        let hash = match algorithm {
            Algorithm::Sha256 => self.hashed().await?,
            Algorithm::Sha512 => return Ok(self.read(algorithm).await?.finish()),
        };
        self.hash = Some(hash.clone());
        Ok(hash.finish())
    }
}

#[derive(Debug)]
struct Session {
    name: Name,
    touched: Instant,
    upload: Arc<tokio::sync::Mutex<Upload>>,
}

/// All uploads.
#[derive(Debug)]
pub struct Uploads {
    store: Store,
    sessions: Mutex<HashMap<String, Session>>,
}

impl Uploads {
    /// Those of a store.
    pub fn new(store: Store) -> Self {
        Self { store, sessions: Mutex::default() }
    }

    /// Begins one.
    ///
    /// # Errors
    /// The disk's.
    pub async fn begin(&self, name: &Name) -> Result<String, Refusal> {
        let id = uuid::Uuid::new_v4().to_string();
        let path = self.store.uploads().join(&id);
        File::create(&path).await?;
        let upload = Upload { path, size: 0, hash: Some(Hash::new(Algorithm::Sha256)) };
        self.remember(&id, name, upload);
        Ok(id)
    }

    fn remember(&self, id: &str, name: &Name, upload: Upload) -> Arc<tokio::sync::Mutex<Upload>> {
        let upload = Arc::new(tokio::sync::Mutex::new(upload));
        let session = Session { name: name.clone(), touched: Instant::now(), upload };
        let mut sessions = self.sessions.lock();
        // two may have asked at once after a restart: the first counts
        sessions.entry(id.to_owned()).or_insert(session).upload.clone()
    }

    /// One by its id.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(&self, name: &Name, id: &str) -> Result<Arc<tokio::sync::Mutex<Upload>>, Refusal> {
        let path = self.store.uploads().join(id);
        if let Some(session) = self.sessions.lock().get_mut(id) {
            if session.name != *name || !path.exists() {
                return Err(Refusal::upload_unknown());
            }
            session.touched = Instant::now();
            return Ok(session.upload.clone());
        }
        match Upload::open(path).await {
            Ok(upload) => Ok(self.remember(id, name, upload)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Refusal::upload_unknown()),
            Err(error) => Err(error.into()),
        }
    }

    /// One by its id, to write to it.
    ///
    /// # Errors
    /// There is none (any more), or another request writes to it.
    pub async fn write(
        &self,
        name: &Name,
        id: &str,
    ) -> Result<tokio::sync::OwnedMutexGuard<Upload>, Refusal> {
        let upload = self.find(name, id).await?;
        let upload = upload.try_lock_owned().map_err(|_| Refusal::upload_busy())?;
        // it may have been finished since it was found
        if upload.is_there() { Ok(upload) } else { Err(Refusal::upload_unknown()) }
    }

    /// Forgets one, and removes what is left of it.
    pub fn end(&self, id: &str) {
        self.sessions.lock().remove(id);
        let _ = std::fs::remove_file(self.store.uploads().join(id));
    }

    /// Repositories that somebody pushes to; uploads at rest are forgotten, their files stay.
    pub fn pushed(&self) -> HashSet<Name> {
        let mut sessions = self.sessions.lock();
        let fresh = |session: &Session, age: Duration| session.touched.elapsed() < age;
        sessions.retain(|_, session| fresh(session, GRACE) || Arc::strong_count(&session.upload) > 1);
        sessions.values().map(|session| session.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::{Full, StreamBody};

    fn full(text: &str) -> Full<Bytes> {
        Full::from(text.to_owned())
    }

    #[tokio::test]
    async fn an_upload_goes_on_after_a_restart_and_after_a_break() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (name, other) = (Name::parse("a").unwrap(), Name::parse("b").unwrap());
        let uploads = Uploads::new(store.clone());
        let id = uploads.begin(&name).await.unwrap();
        let upload = uploads.find(&name, &id).await.unwrap();
        upload.lock().await.append(full("one,")).await.unwrap();
        assert_eq!(uploads.find(&other, &id).await.unwrap_err().code, "BLOB_UPLOAD_UNKNOWN");
        assert_eq!(uploads.pushed(), HashSet::from([name.clone()]));

        let uploads = Uploads::new(store.clone());
        let upload = uploads.find(&name, &id).await.unwrap();
        assert_eq!(upload.lock().await.size().await.unwrap(), 4);
        let frames = [Ok(http_body::Frame::data(Bytes::from("two,"))), Err("gone")];
        let broken =
            upload.lock().await.append(StreamBody::new(futures::stream::iter(frames))).await.unwrap_err();
        assert_eq!(broken.code, "BLOB_UPLOAD_INVALID");
        let mut upload = upload.lock().await;
        assert_eq!(upload.size().await.unwrap(), 8);
        upload.append(full("three")).await.unwrap();
        for algorithm in Algorithm::ALL {
            assert_eq!(upload.digest(algorithm).await.unwrap(), Digest::by(algorithm, b"one,two,three"));
        }
        assert_eq!(std::fs::read(&upload.path).unwrap(), b"one,two,three");
        drop(upload);
        uploads.end(&id);
        assert!(uploads.find(&name, &id).await.is_err() && uploads.pushed().is_empty());
    }
}
