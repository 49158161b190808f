//! What upstreams said, for as long as it holds, within a bound of entries and bytes.
//!
//! Two generations: what is used moves to the young one; when that is full it becomes the old one, and what nobody used
//! for a whole generation is forgotten. No list is kept in order, nothing has to be swept.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::forward::Key;
use crate::forward::reply::Reply;

/// What an entry takes at most on the average, in bytes; larger answers leave room for fewer.
const ENTRY_BYTES: usize = 512;

#[derive(Default)]
struct Generation {
    entries: HashMap<Key, Arc<Reply>>,
    bytes: usize,
}

/// The cache.
pub struct Cache {
    young: Generation,
    old: Generation,
    most: usize,
}

impl Cache {
    /// A cache of at most `entries`; with 0 it keeps nothing.
    pub fn new(entries: usize) -> Self {
        Self { young: Generation::default(), old: Generation::default(), most: entries.div_ceil(2) }
    }

    /// What holds at `now`.
    pub fn get(&mut self, key: &Key, now: Instant) -> Option<Arc<Reply>> {
        if let Some(reply) = self.young.entries.get(key) {
            return reply.is_fresh(now).then(|| reply.clone());
        }
        let reply = self.old.entries.get(key).filter(|reply| reply.is_fresh(now))?.clone();
        self.put(key.clone(), reply.clone(), now);
        Some(reply)
    }

    /// Keeps an answer, if it holds at all.
    pub fn put(&mut self, key: Key, reply: Arc<Reply>, now: Instant) {
        let bytes = reply.bytes() + key.name.wire().len();
        if !reply.is_fresh(now) || self.most == 0 || bytes > self.most * ENTRY_BYTES {
            return;
        }
        let full =
            self.young.entries.len() >= self.most || self.young.bytes + bytes > self.most * ENTRY_BYTES;
        if full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += bytes;
        if let Some(before) = self.young.entries.insert(key.clone(), reply) {
            self.young.bytes -= (before.bytes() + key.name.wire().len()).min(self.young.bytes);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.young, self.old) = Default::default();
    }

    /// How many answers are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
    }
}
