//! Writes the log back into the file on a connection of its own, while commits go on.
//!
//! A commit that wrote the log back by itself would hold up everybody for as long as the file takes to reach
//! the disk. Here most of the log goes back meanwhile; what little was added during that, the writer
//! writes back between two commits, so that the log begins anew and does not grow.

use std::path::PathBuf;

use sqlx::{ConnectOptions, SqliteConnection};
use tokio::task::JoinHandle;

use crate::disk::writable;

/// Bytes put into the log after which it is written back.
const DUE: usize = 8 << 20;
/// What may be left for the writer to write back.
const REST: usize = 1 << 20;
/// Passes in a row that leave more than that; then the writer does the rest whatever it is.
const PASSES: u32 = 4;

type Pass = Result<SqliteConnection, sqlx::Error>;

/// What the writer is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Wait,
    /// A pass beside the commits is due.
    Pass,
    /// The rest is due.
    Rest,
}

/// Decides after so many `passes` whose last one has left `behind` bytes in the log.
fn turn(passes: u32, behind: usize) -> Turn {
    match (passes, behind) {
        (0, behind) if behind < DUE => Turn::Wait,
        (0, _) => Turn::Pass,
        (passes, behind) if behind < REST || passes >= PASSES => Turn::Rest,
        _ => Turn::Pass,
    }
}

/// The connection that writes back, and how much there is.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// Bytes logged since the last pass began.
    behind: usize,
    /// Passes since the log began anew.
    passes: u32,
    running: Option<JoinHandle<Pass>>,
    /// Opened when first needed: small clusters never have so much in their log.
    connection: Option<SqliteConnection>,
}

impl Checkpoint {
    /// For the database at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, behind: 0, passes: 0, running: None, connection: None }
    }

    /// Counts `bytes` that a commit has put into the log and begins a pass when one is due. True: the writer is
    /// to write back the rest, and to say so with [`Checkpoint::restarted`].
    pub async fn logged(&mut self, bytes: usize) -> bool {
        self.behind += bytes;
        if self.running.as_ref().is_some_and(|pass| !pass.is_finished()) {
            return false;
        }
        self.settle().await;
        match turn(self.passes, self.behind) {
            Turn::Wait => false,
            Turn::Rest => true,
            Turn::Pass => {
                self.begin();
                false
            }
        }
    }

    fn begin(&mut self) {
        let (connection, path) = (self.connection.take(), self.path.clone());
        self.behind = 0;
        self.passes += 1;
        self.running = Some(tokio::spawn(async move {
            let mut connection = match connection {
                Some(connection) => connection,
                None => writable(&path).connect().await?,
            };
            sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await?;
            Ok(connection)
        }));
    }

    /// Waits for the running pass. A failed one is tried again with the next amount: the log keeps everything.
    pub async fn settle(&mut self) {
        let Some(pass) = self.running.take() else { return };
        match pass.await {
            Ok(Ok(connection)) => self.connection = Some(connection),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot write the log back into the database");
                self.passes = 0;
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// All is written back.
    pub fn restarted(&mut self) {
        (self.behind, self.passes) = (0, 0);
    }

    /// Ends, before the file is closed.
    pub async fn close(mut self) -> Result<(), sqlx::Error> {
        self.settle().await;
        match self.connection.take() {
            Some(connection) => sqlx::Connection::close(connection).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns() {
        let cases = [
            (0, 0, Turn::Wait),
            (0, DUE, Turn::Pass),
            (1, DUE, Turn::Pass),
            (1, REST - 1, Turn::Rest),
            (PASSES - 1, REST, Turn::Pass),
            (PASSES, REST, Turn::Rest),
        ];
        for (passes, behind, expected) in cases {
            assert_eq!(turn(passes, behind), expected, "{passes} {behind}");
        }
    }
}
