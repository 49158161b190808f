//! How commands speak to the daemon: one JSON line each way over `daemon.sock`, progress as further lines.
//!
//! The socket (mode 0600) belongs to whoever started the cluster, so the file's mode is the authorization; the
//! directory that it lies in is root's. What addons are asked is there over HTTP as well (`rest`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::failure::{Failure, Kind};

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Components, node, versions, address.
    Status,
    /// Drain and end; stop the pods first unless `keep_pods`.
    Stop {
        /// Leave containers running.
        keep_pods: bool,
    },
    /// All images.
    ImageList,
    /// Pull an image.
    ImagePull {
        /// Its name.
        image: String,
    },
    /// Load an archive that the daemon can read.
    ImageLoad {
        /// Absolute path.
        archive: PathBuf,
    },
    /// Remove an image.
    ImageRemove {
        /// Its name.
        image: String,
    },
    /// Anything about addons; what comes before the result is a [`sampan_addons::Step`].
    Addons(sampan_addons::Request),
    /// Back the database up.
    Backup {
        /// Absolute path of a file that does not exist.
        file: PathBuf,
    },
}

/// What the daemon answers; the last line of an exchange is `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It goes on.
    Progress(Value),
    /// It is done, with this result.
    Done(Value),
    /// It failed.
    Failed {
        /// [`Kind::id`].
        id: String,
        /// What happened.
        message: String,
    },
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Reply::Failed { id: failure.kind.id().to_owned(), message: failure.message }
    }
}

impl Reply {
    /// The failure that a `Failed` line carries.
    pub fn failure(id: &str, message: String) -> Failure {
        Failure::new(Kind::by_id(id).unwrap_or(Kind::Internal), message)
    }
}

/// Asks the daemon at `socket` and waits for the result; `progress` sees what comes before.
pub async fn ask(
    socket: &Path,
    request: &Request,
    mut progress: impl FnMut(Value),
) -> Result<Value, Failure> {
    let (read, mut write) = connect(socket).await?.into_split();
    // a daemon that was killed leaves a broken connection, one that ends a closed one
    let ended = || Failure::new(Kind::NotRunning, "the daemon ended before it answered");
    send(&mut write, request).await.map_err(|_| ended())?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await.map_err(|_| ended())? {
        match serde_json::from_str(&line).map_err(anyhow::Error::from)? {
            Reply::Progress(value) => progress(value),
            Reply::Done(value) => return Ok(value),
            Reply::Failed { id, message } => return Err(Reply::failure(&id, message)),
        }
    }
    Err(ended())
}

async fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Kind::PermissionDenied, format!("{} belongs to another user", socket.display()))
        }
        _ => Failure::new(Kind::NotRunning, format!("no daemon answers at {}", socket.display())),
    })
}

/// Writes one line.
pub async fn send<T: Serialize>(write: &mut OwnedWriteHalf, line: &T) -> Result<(), Failure> {
    let mut bytes = serde_json::to_vec(line).map_err(anyhow::Error::from)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    Ok(())
}

/// Reads the one line that a command sends.
pub async fn receive(read: OwnedReadHalf) -> Result<Request, Failure> {
    let line = BufReader::new(read).lines().next_line().await?.unwrap_or_default();
    serde_json::from_str(&line)
        .map_err(|error| Failure::new(Kind::Usage, format!("request {line:?}: {error}")))
}
