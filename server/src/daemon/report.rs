//! What the daemon tells `sampan start` over its standard output.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::kubeconfig::Access;
use crate::messages::Message;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartEvent {
    /// It goes on.
    Step(Message),
    /// It goes on, otherwise than one might expect.
    Warning(Message),
    /// The node is Ready.
    Ready(Access),
    /// It will not be.
    Failed {
        /// [`crate::failure::Kind::id`].
        id: String,
        /// What happened.
        message: String,
    },
}

impl StartEvent {
    /// The line for a failure.
    pub fn failed(failure: &Failure) -> Self {
        StartEvent::Failed { id: failure.kind.id().to_owned(), message: failure.message.clone() }
    }
}

/// The writing end; closed once the node is Ready.
pub struct Report {
    open: bool,
}

impl Report {
    /// Reports on standard output.
    pub fn new() -> Self {
        Self { open: true }
    }

    /// Sends a line. Nobody reading any more (`start` was interrupted) is no reason to end.
    pub fn send(&mut self, event: &StartEvent) {
        if let (true, Ok(line)) = (self.open, serde_json::to_string(event)) {
            let mut out = std::io::stdout().lock();
            self.open = writeln!(out, "{line}").and_then(|()| out.flush()).is_ok();
        }
    }

    /// Lets go of standard output, so that whoever reads it sees the end.
    pub fn close(&mut self) {
        self.open = false;
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            // the pipe stays open if this fails, which harms nobody
            let _ = nix::unistd::dup2_stdout(null);
        }
    }
}
