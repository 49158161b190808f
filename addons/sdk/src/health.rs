//! What an addon says of itself while it runs.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

/// How an addon is, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Report {
    /// Not yet able to serve.
    #[default]
    Starting,
    /// Serving.
    Healthy,
    /// Serving, but not all that it should.
    Degraded {
        /// What is wrong, naming the object or address.
        reason: String,
        /// What to do about it.
        next: String,
    },
    /// Ended with an error; started again after a pause.
    Failed {
        /// The error.
        reason: String,
        /// What to do about it.
        next: String,
    },
}

/// The addon's end of its report. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter(Arc<watch::Sender<Report>>);

impl Default for Reporter {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Report::Starting)))
    }
}

impl Reporter {
    /// One that says [`Report::Starting`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Serving, and nothing is wrong.
    pub fn healthy(&self) {
        self.set(Report::Healthy);
    }

    /// Serving, but `reason`; `next` is what the user can do.
    pub fn degraded(&self, reason: impl Into<String>, next: impl Into<String>) {
        self.set(Report::Degraded { reason: reason.into(), next: next.into() });
    }

    /// Says how it is; watchers wake only if that is news.
    pub fn set(&self, report: Report) {
        self.0.send_if_modified(|held| {
            let news = *held != report;
            *held = report;
            news
        });
    }

    /// What was said last.
    pub fn get(&self) -> Report {
        self.0.borrow().clone()
    }

    /// A receiver that wakes at each change.
    pub fn watch(&self) -> watch::Receiver<Report> {
        self.0.subscribe()
    }
}
