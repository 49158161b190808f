//! Objects by kind, at revisions; and the log of their changes, from which watches are resumed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Name;

/// How many changes a watch may be behind before it has to list again.
const KEPT: usize = 3000;

struct Change {
    revision: u64,
    kind: String,
    namespace: String,
    line: Arc<str>,
}

struct Watcher {
    kind: String,
    namespace: String,
    sender: mpsc::UnboundedSender<Arc<str>>,
}

/// The objects.
#[derive(Default)]
pub struct Objects {
    pub revision: u64,
    pub made: u64,
    kinds: BTreeMap<String, BTreeMap<Name, Value>>,
    log: VecDeque<Change>,
    /// What has left the log.
    compacted: u64,
    watchers: Vec<Watcher>,
}

impl Objects {
    pub fn get(&self, kind: &str, name: &Name) -> Option<&Value> {
        self.kinds.get(kind)?.get(name)
    }

    pub fn of(&self, kind: &str) -> impl Iterator<Item = (&Name, &Value)> {
        self.kinds.get(kind).into_iter().flatten()
    }

    /// Puts an object (or takes it away) at the next revision, and tells of it. What is not changed stays as it is.
    pub fn put(&mut self, kind: &str, name: &Name, new: Option<Value>) -> Value {
        let all = self.kinds.entry(kind.to_owned()).or_default();
        let old = all.get(name).cloned();
        if let (Some(old), Some(new)) = (&old, &new)
            && old == new
        {
            return old.clone();
        }
        self.revision += 1;
        let (event, mut object) = match (&old, new) {
            (None, Some(new)) => ("ADDED", new),
            (Some(_), Some(new)) => ("MODIFIED", new),
            (Some(old), None) => ("DELETED", old.clone()),
            (None, None) => return Value::Null,
        };
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        match event {
            "DELETED" => drop(all.remove(name)),
            _ => drop(all.insert(name.clone(), object.clone())),
        }
        let line: Arc<str> = format!("{}\n", json!({"type": event, "object": object})).into();
        self.watchers.retain(|watcher| {
            let wants = watcher.kind == kind && (watcher.namespace.is_empty() || watcher.namespace == name.0);
            !wants || watcher.sender.send(line.clone()).is_ok()
        });
        self.log.push_back(Change {
            revision: self.revision,
            kind: kind.to_owned(),
            namespace: name.0.clone(),
            line,
        });
        while self.log.len() > KEPT {
            self.compacted = self.log.pop_front().unwrap().revision;
        }
        object
    }

    pub fn watch(
        &mut self,
        kind: &str,
        namespace: &str,
        after: u64,
    ) -> Option<mpsc::UnboundedReceiver<Arc<str>>> {
        if after < self.compacted {
            return None;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        for change in &self.log {
            let here = namespace.is_empty() || namespace == change.namespace;
            if change.revision > after && change.kind == kind && here {
                sender.send(change.line.clone()).unwrap();
            }
        }
        self.watchers.push(Watcher { kind: kind.to_owned(), namespace: namespace.to_owned(), sender });
        Some(receiver)
    }
}
