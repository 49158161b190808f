//! Who did what, when, and how it ended: `audit.k8s.io/v1` events, by a policy, into a rotated file or to a webhook.
//!
//! - [`policy`]: what is recorded of which request; pure. `record`: one request as upstream writes it. `scope`: the
//!   request's life, as a task-local value: whoever answers may [`annotate`], knowing nothing else of it.
//! - `log`: the file. `webhook`: batches to a server elsewhere. Each is a task with a bounded queue.
//!
//! A request never waits for a disk or a webhook: where a queue is full the event is counted as lost
//! (`apiserver_audit_error_total`) and the request goes on. That differs from upstream's log in blocking mode. Without
//! a sink there is no [`Auditor`], and a request costs nothing but its `Audit-Id`.

mod bodies;
mod log;
mod metrics;
pub mod policy;
mod record;
mod scope;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use sampan_process::{Drain, Tasks};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use policy::Policy;
use policy::Stage;
use record::Record;
pub(crate) use scope::{
    Scope, annotate, authenticated, authorized, body, failed, identified, long_running, panicked,
};

/// The header that names a request in every record of it.
pub(crate) const HEADER: &str = "audit-id";
/// Events that wait for a sink: upstream's `--audit-*-batch-buffer-size`.
const QUEUE: usize = 10_000;

/// Upstream's options of the same names; all empty is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--audit-policy-file`; without it the built-in policy holds.
    pub policy_file: Option<PathBuf>,
    /// `--audit-log-path`.
    pub log_path: Option<PathBuf>,
    /// `--audit-log-maxsize`: megabytes of a file before it is rotated; 0 is 100.
    pub log_max_size: u64,
    /// `--audit-log-maxage`: days that rotated files are kept; 0 is for ever.
    pub log_max_age: u64,
    /// `--audit-log-maxbackup`: rotated files that are kept; 0 is all.
    pub log_max_backup: usize,
    /// `--audit-log-compress`.
    pub log_compress: bool,
    /// `--audit-webhook-config-file`: a kubeconfig.
    pub webhook_config_file: Option<PathBuf>,
    /// `--audit-webhook-batch-max-size`; 0 is 400.
    pub webhook_batch_size: usize,
    /// `--audit-webhook-batch-max-wait`; zero is 30 s.
    pub webhook_batch_wait: Duration,
    /// `--audit-webhook-initial-backoff`; zero is 10 s.
    pub webhook_backoff: Duration,
}

/// Why there is no audit, with the file named.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy cannot be used.
    #[error("--audit-policy-file={}: {why}", .file.display())]
    Policy {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its field.
        why: String,
    },
    /// The log cannot be written.
    #[error("--audit-log-path={}: {why}", .file.display())]
    Log {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The webhook's kubeconfig cannot be used.
    #[error("--audit-webhook-config-file={}: {why}", .file.display())]
    Webhook {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its field.
        why: String,
    },
}

impl Options {
    /// Whether anything is recorded.
    pub fn enabled(&self) -> bool {
        self.log_path.is_some() || self.webhook_config_file.is_some()
    }

    /// Reads what can be read before anything is started, and refuses what cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        self.policy()?;
        self.webhook().map(drop)
    }

    fn policy(&self) -> Result<Policy, Error> {
        let Some(file) = &self.policy_file else { return Ok(Policy::built_in()) };
        let refuse = |why| Error::Policy { file: file.clone(), why };
        let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
        Policy::parse(&text).map_err(refuse)
    }

    fn webhook(&self) -> Result<Option<webhook::Webhook>, Error> {
        let Some(file) = &self.webhook_config_file else { return Ok(None) };
        let made = webhook::Webhook::open(file, self);
        made.map(Some).map_err(|why| Error::Webhook { file: file.clone(), why })
    }
}

/// Takes events to where they go.
pub(crate) struct Auditor {
    policy: Policy,
    sinks: Vec<Sink>,
    /// Told when no request comes any more.
    closing: Drain,
    running: Mutex<Vec<JoinHandle<()>>>,
}

struct Sink {
    name: &'static str,
    queue: mpsc::Sender<Bytes>,
}

impl Auditor {
    /// Opens what the options name; `None` if they name nothing.
    pub(crate) fn open(options: &Options, tasks: &Tasks) -> Result<Option<Arc<Self>>, Error> {
        let policy = options.policy()?;
        if !options.enabled() {
            return Ok(None);
        }
        let closing = Drain::new();
        let (mut sinks, mut running) = (Vec::new(), Vec::new());
        let mut sink = |name| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            sinks.push(Sink { name, queue: sender });
            receiver
        };
        if let Some(path) = &options.log_path {
            let file = log::Rotated::open(path, options);
            let file = file.map_err(|error| Error::Log { file: path.clone(), why: error.to_string() })?;
            running.push(tasks.spawn("audit log", log::run(file, sink("log"), closing.clone())));
        }
        if let Some(webhook) = options.webhook()? {
            running.push(tasks.spawn("audit webhook", webhook.run(sink("webhook"), closing.clone())));
        }
        Ok(Some(Arc::new(Self { policy, sinks, closing, running: Mutex::new(running) })))
    }

    /// The record of a request that has just come.
    pub(crate) fn begin(self: &Arc<Self>) -> Arc<Scope> {
        Scope::new(self.clone())
    }

    fn send(&self, record: &Record, stage: Stage) {
        if record.verdict.omitted.has(stage) {
            return;
        }
        let line = record.line(stage, Timestamp::now());
        metrics::event(record.verdict.level);
        for sink in &self.sinks {
            if sink.queue.try_send(line.clone()).is_err() {
                metrics::lost(sink.name, 1);
            }
        }
    }

    /// Lets the sinks take what waits, and end.
    pub(crate) async fn close(&self) {
        self.closing.start();
        let running = std::mem::take(&mut *self.running.lock());
        for task in running {
            // a panic has been told
            let _ = task.await;
        }
    }
}

/// The next events of a queue, at most `most`; none when there will be no more.
async fn next(queue: &mut mpsc::Receiver<Bytes>, most: usize, closing: &Drain) -> Vec<Bytes> {
    let mut batch = Vec::new();
    if !closing.started() {
        tokio::select! {
            _ = queue.recv_many(&mut batch, most) => return batch,
            () = closing.wait() => {}
        }
    }
    queue.close();
    queue.recv_many(&mut batch, most).await;
    batch
}

#[cfg(test)]
mod tests;
