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

    /// Decides writes of different keys, of which all are done or none.
    pub fn add_together(&mut self, writes: Vec<Write>) -> Vec<Result<Arc<Entry>, WriteError>> {
        let refused = |write: &Write| {
            let current = self.current(&write.key);
            decide(current.as_ref(), write.condition, &write.action).err()
        };
        match writes.iter().find_map(refused) {
            Some(error) => vec![Err(error)],
            None => writes.into_iter().map(|write| self.add(write)).collect(),
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::types::{Columns, Value};

    fn value() -> Value {
        Value { bytes: b"v".to_vec(), at: 1 }
    }

    fn entry(revision: u64) -> Arc<Entry> {
        let value = value().splice(revision);
        Arc::new(Entry { key: Key::new("pods", "a"), value, revision, columns: Columns::default() })
    }

    #[test]
    fn conditions() {
        let (put, delete) = (Action::Put(value()), Action::Delete(value()));
        let cases = [
            (None, Condition::Absent, &put, "created"),
            (None, Condition::Any, &put, "created"),
            (None, Condition::Revision(7), &put, "missing"),
            (None, Condition::Any, &delete, "missing"),
            (None, Condition::Absent, &delete, "missing"),
            (Some(7), Condition::Absent, &put, "exists"),
            (Some(7), Condition::Any, &put, "updated"),
            (Some(7), Condition::Revision(7), &put, "updated"),
            (Some(7), Condition::Revision(6), &put, "changed"),
            (Some(7), Condition::Revision(6), &delete, "changed"),
            (Some(7), Condition::Revision(7), &delete, "deleted"),
            (Some(7), Condition::Any, &delete, "deleted"),
        ];
        for (current, condition, action, expected) in cases {
            let current = current.map(entry);
            let told = match decide(current.as_ref(), condition, action) {
                Ok(EventKind::Created) => "created",
                Ok(EventKind::Updated) => "updated",
                Ok(EventKind::Deleted) => "deleted",
                Err(WriteError::Exists(_)) => "exists",
                Err(WriteError::Changed(_)) => "changed",
                Err(WriteError::Missing) => "missing",
                Err(_) => "other",
            };
            assert_eq!(told, expected, "{condition:?} {action:?} on {current:?}");
        }
    }

    #[test]
    fn writes_that_belong_together_are_all_done_or_none() {
        let (memory, config) = (Memory::default(), Config::new("unused"));
        let mut plan = Plan::new(&memory, &config, 5);
        let put = |name: &str| Write {
            key: Key::new("pods", name),
            condition: Condition::Absent,
            action: Action::Put(value()),
        };
        let done = plan.add_together(vec![put("a"), put("b")]);
        assert_eq!(done.into_iter().map(|one| one.unwrap().revision).collect::<Vec<_>>(), [1, 2]);
        let refused = plan.add_together(vec![put("c"), put("b")]);
        assert!(matches!(&refused[..], [Err(WriteError::Exists(entry))] if &*entry.key.name == "b"));
        assert_eq!((plan.events.len(), plan.revision), (2, 2));
    }

    #[test]
    fn writes_of_one_batch_see_each_other() {
        let (memory, config) = (Memory::default(), Config::new("unused"));
        let mut plan = Plan::new(&memory, &config, 5);
        let mut write = |condition, action| {
            plan.add(Write { key: Key::new("pods", "a"), condition, action }).map(|entry| entry.revision)
        };
        assert_eq!(write(Condition::Absent, Action::Put(value())).unwrap(), 1);
        assert!(matches!(write(Condition::Absent, Action::Put(value())), Err(WriteError::Exists(_))));
        assert_eq!(write(Condition::Revision(1), Action::Put(value())).unwrap(), 2);
        assert_eq!(write(Condition::Revision(2), Action::Delete(value())).unwrap(), 3);
        assert!(matches!(write(Condition::Any, Action::Delete(value())), Err(WriteError::Missing)));
        assert!(write(Condition::Any, Action::Put(Value { bytes: Vec::new(), at: 1 })).is_err());
        let told: Vec<_> = plan.events.iter().map(|event| (event.revision, event.kind, event.at)).collect();
        assert_eq!(
            told,
            [(1, EventKind::Created, 5), (2, EventKind::Updated, 5), (3, EventKind::Deleted, 5)]
        );
        assert_eq!(plan.events[1].prev.as_ref().unwrap().revision, 1);
        assert_eq!(&plan.events[2].entry.value[..], b"v3");
    }
}
