//! Decides what a batch of writes does: conditions, revisions, events. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::error::WriteError;
use crate::memory::Memory;
use crate::types::{Action, Condition, Entry, Event, EventKind, Frames, Key, Write};

/// Writes decided so far on top of what is published.
pub struct Plan<'a> {
    memory: &'a Memory,
    config: &'a Config,
    at: i64,
    revision: u64,
    /// Keys changed by this plan; `None` for a deleted one.
    changed: HashMap<Key, Option<Arc<Entry>>>,
    /// What is to be published, in revision order.
    pub events: Vec<Arc<Event>>,
}

impl<'a> Plan<'a> {
    /// An empty plan at time `at`.
    pub fn new(memory: &'a Memory, config: &'a Config, at: i64) -> Self {
        let revision = memory.revision();
        Self { memory, config, at, revision, changed: HashMap::new(), events: Vec::new() }
    }

    fn current(&self, key: &Key) -> Option<Arc<Entry>> {
        match self.changed.get(key) {
            Some(changed) => changed.clone(),
            None => self.memory.get(key).cloned(),
        }
    }

    /// Decides one write, seeing those decided before.
    pub fn add(&mut self, write: Write) -> Result<Arc<Entry>, WriteError> {
        let prev = self.current(&write.key);
        let kind = decide(prev.as_ref(), write.condition, &write.action)?;
        let (Action::Put(value) | Action::Delete(value)) = write.action;
        if value.at > value.bytes.len() {
            return Err(WriteError::Failed(format!(
                "the revision's place is outside the value of {}",
                write.key
            )));
        }
        self.revision += 1;
        let value = value.splice(self.revision);
        let columns = (self.config.columns)(&write.key, &value);
        let entry = Arc::new(Entry { key: write.key, value, revision: self.revision, columns });
        let state = (kind != EventKind::Deleted).then(|| entry.clone());
        self.changed.insert(entry.key.clone(), state);
        let (revision, frames) = (self.revision, Frames::default());
        self.events.push(Arc::new(Event { revision, kind, entry: entry.clone(), prev, frames, at: self.at }));
        Ok(entry)
    }
}

/// What `action` does to a key in state `current`, if `condition` allows it.
pub fn decide(
    current: Option<&Arc<Entry>>,
    condition: Condition,
    action: &Action,
) -> Result<EventKind, WriteError> {
    match (current, condition, action) {
        (Some(entry), Condition::Absent, _) => Err(WriteError::Exists(entry.clone())),
        (Some(entry), Condition::Revision(wanted), _) if entry.revision != wanted => {
            Err(WriteError::Changed(entry.clone()))
        }
        (None, Condition::Revision(_), _) | (None, _, Action::Delete(_)) => Err(WriteError::Missing),
        (None, _, Action::Put(_)) => Ok(EventKind::Created),
        (Some(_), _, Action::Put(_)) => Ok(EventKind::Updated),
        (Some(_), _, Action::Delete(_)) => Ok(EventKind::Deleted),
    }
}
