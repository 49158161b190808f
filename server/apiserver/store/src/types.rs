//! The words of the store.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::RwLock;

/// What a value is kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The kind's bucket: `pods`, `deployments.apps`.
    pub bucket: Arc<str>,
    /// The name inside it: `default/ngx`, `node1`.
    pub name: Arc<str>,
}

impl Key {
    /// The key `name` in `bucket`.
    pub fn new(bucket: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { bucket: bucket.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bucket, self.name)
    }
}

/// The few parsed parts of a value that selectors need; opaque to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Labels.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Selectable fields.
    pub fields: Vec<(Box<str>, Box<str>)>,
}

/// One state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// The value, with its revision in place.
    pub value: Bytes,
    /// The revision that made this state.
    pub revision: u64,
    /// The parsed parts.
    pub columns: Columns,
}

/// Bytes that want their revision's decimal spliced in at `at` once it is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes around the revision.
    pub bytes: Vec<u8>,
    /// Where the revision goes; at most `bytes.len()`.
    pub at: usize,
}

impl Value {
    /// The bytes with `revision` in place.
    pub(crate) fn splice(self, revision: u64) -> Bytes {
        let text = revision.to_string();
        let at = self.at.min(self.bytes.len());
        let mut whole = Vec::with_capacity(self.bytes.len() + text.len());
        whole.extend_from_slice(&self.bytes[..at]);
        whole.extend_from_slice(text.as_bytes());
        whole.extend_from_slice(&self.bytes[at..]);
        Bytes::from(whole)
    }
}

/// What must hold for a write to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key does not exist.
    Absent,
    /// The key is at this revision.
    Revision(u64),
    /// Nothing.
    Any,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes or replaces the state.
    Put(Value),
    /// Deletes the key; the value is the last state, published with the deletion's revision.
    Delete(Value),
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What to write.
    pub key: Key,
    /// Only if this holds.
    pub condition: Condition,
    /// The change.
    pub action: Action,
}

/// How a key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key came to be.
    Created,
    /// The key has a new state.
    Updated,
    /// The key is gone.
    Deleted,
}

/// How many encodings of one event can be kept.
const FRAMES: usize = 6;

type Slots = Arc<[OnceLock<Bytes>; FRAMES]>;

/// Encodings of an event, each made once by whoever needs it first and shared by all watchers, until they are forgotten. The
/// slots' meaning is the caller's.
#[derive(Default, Debug)]
pub struct Frames(RwLock<Kept>);

#[derive(Default, Debug)]
enum Kept {
    #[default]
    None,
    Some(Slots),
    /// Watchers that come late make their own.
    Forgotten,
}

impl Frames {
    /// How many slots there are.
    pub const SLOTS: usize = FRAMES;

    /// The encoding in `slot` (below [`Frames::SLOTS`]), made by `encode` if it is not there yet.
    pub fn get_or_init(&self, slot: usize, encode: impl FnOnce() -> Bytes) -> Bytes {
        match self.slots() {
            Some(slots) => slots[slot].get_or_init(encode).clone(),
            None => encode(),
        }
    }

    fn slots(&self) -> Option<Slots> {
        match &*self.0.read() {
            Kept::Some(slots) => return Some(slots.clone()),
            Kept::Forgotten => return None,
            Kept::None => {}
        }
        let mut kept = self.0.write();
        match &*kept {
            Kept::Some(slots) => Some(slots.clone()),
            Kept::Forgotten => None,
            Kept::None => {
                let slots = Slots::default();
                *kept = Kept::Some(slots.clone());
                Some(slots)
            }
        }
    }

    /// Keeps nothing from here on.
    pub(crate) fn forget(&self) {
        *self.0.write() = Kept::Forgotten;
    }
}

/// One change, shared by all who watch.
#[derive(Debug)]
pub struct Event {
    /// The change's revision.
    pub revision: u64,
    /// How the key changed.
    pub kind: EventKind,
    /// The new state; for a deletion the final state, at the deletion's revision.
    pub entry: Arc<Entry>,
    /// The state before.
    pub prev: Option<Arc<Entry>>,
    /// Encodings of this event.
    pub frames: Frames,
    /// When, in milliseconds since 1970.
    pub(crate) at: i64,
}

impl Event {
    /// The same change, of states that are written in another way.
    pub fn rewritten(&self, entry: Arc<Entry>, prev: Option<Arc<Entry>>) -> Self {
        Self { revision: self.revision, kind: self.kind, entry, prev, frames: Frames::default(), at: self.at }
    }

    /// What would be free without the event: the state before, and the final state of a deleted key.
    pub(crate) fn bytes(&self) -> u64 {
        let prev = self.prev.as_ref().map_or(0, |prev| prev.value.len());
        let last = if self.kind == EventKind::Deleted { self.entry.value.len() } else { 0 };
        (256 + prev + last) as u64
    }
}
