//! Which addresses of the node's block are leased, ready or being made, and what of that is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::subnet::Subnet;
use crate::{Error, HostPort, link};

/// Whose a slot is, as kept on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub uid: String,
    /// Not ours to remove: a namespace of Docker's.
    pub attached: Option<PathBuf>,
    pub ports: Vec<HostPort>,
}

/// Every slot is in one of the three, or free.
#[derive(Default)]
pub(crate) struct Slots {
    pub ready: BTreeSet<u32>,
    /// Being made, given out or taken back.
    pub making: BTreeSet<u32>,
    pub leased: BTreeMap<u32, Lease>,
    /// Where the search goes on: an address rests as long as possible before it is used again.
    pub next: u32,
    /// All of it is being taken away: nothing more is made for the pool.
    pub closed: bool,
}

impl Slots {
    /// The leases that an earlier process left, of namespaces that live. Everything else is removed: what waited in the
    /// pool may be half made, or have an address of another block.
    pub fn read(directory: &Path) -> Self {
        let mut slots = Slots { next: 2, ..Slots::default() };
        let mut unleased = BTreeSet::new();
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (number, is_lease) = match name.strip_suffix(".pod") {
                Some(number) => (number, true),
                None => (name.as_str(), false),
            };
            let Ok(index) = number.parse::<u32>() else { continue };
            if !is_lease {
                unleased.insert(index);
                continue;
            }
            let lease: Option<Lease> =
                std::fs::read(entry.path()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let alive = |lease: &Lease| {
                let path = lease.attached.clone().unwrap_or_else(|| directory.join(number));
                link::is_namespace(&path)
            };
            match lease.filter(alive) {
                Some(lease) => drop(slots.leased.insert(index, lease)),
                None => drop(std::fs::remove_file(entry.path())),
            }
        }
        for index in unleased.iter().filter(|index| !slots.leased.contains_key(index)) {
            link::remove_namespace(&directory.join(index.to_string()));
        }
        slots
    }

    /// The lease of a pod.
    pub fn find(&self, uid: &str) -> Option<(u32, &Lease)> {
        self.leased.iter().find(|(_, lease)| lease.uid == uid).map(|(index, lease)| (*index, lease))
    }

    /// A free slot, from now on being made: 0 is the net, 1 the bridge, the last is broadcast.
    pub fn reserve(&mut self, block: Subnet) -> Result<u32, Error> {
        let last = (block.size() - 2).min(u64::from(u32::MAX - 1)) as u32;
        let start = self.next.clamp(2, last);
        let taken = &*self;
        let free = |index: &u32| {
            !taken.leased.contains_key(index) && !taken.ready.contains(index) && !taken.making.contains(index)
        };
        let index = (start..=last).chain(2..start).find(free).ok_or(Error::Exhausted(block))?;
        self.next = index + 1;
        self.making.insert(index);
        Ok(index)
    }

    /// A slot of the pool, if there is one. It counts as being made until it is leased, so that nobody is given it in
    /// between.
    pub fn take_ready(&mut self) -> Option<u32> {
        let index = self.ready.pop_first()?;
        self.making.insert(index);
        Some(index)
    }

    /// What was being made waits in the pool.
    pub fn put_ready(&mut self, index: u32) {
        self.making.remove(&index);
        self.ready.insert(index);
    }

    /// Takes a lease back. Its slot is not free before it is gone: [`Slots::forget`].
    pub fn take_leased(&mut self, uid: &str) -> Option<(u32, Lease)> {
        let (index, _) = self.find(uid)?;
        self.making.insert(index);
        self.leased.remove(&index).map(|lease| (index, lease))
    }

    /// What was being made is not any more, or is gone: the slot is free.
    pub fn forget(&mut self, index: u32) {
        self.making.remove(&index);
    }
}

/// The pods' block that was wanted and the one that was taken.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Block {
    wanted: String,
    taken: String,
}

const BLOCK: &str = "pod-network.json";

/// The block that was taken when `wanted` was.
pub(crate) fn kept_block(directory: &Path, wanted: Subnet) -> Option<Subnet> {
    let block: Block = serde_json::from_slice(&std::fs::read(directory.join(BLOCK)).ok()?).ok()?;
    let taken: Subnet = block.taken.parse().ok()?;
    (block.wanted == wanted.to_string() && taken.length == wanted.length).then_some(taken)
}

/// Writes down the block that pods' addresses are of from now on.
pub(crate) fn keep_block(directory: &Path, wanted: Subnet, taken: Subnet) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(link::io(directory.display().to_string()))?;
    let block = Block { wanted: wanted.to_string(), taken: taken.to_string() };
    write(&directory.join(BLOCK), &block)
}

/// Writes aside, then in place: half of a file would tell the next daemon another thing.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Config(error.to_string()))?;
    let aside = path.with_extension("new");
    std::fs::write(&aside, bytes)
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(link::io(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Subnet {
        text.parse().expect("subnet")
    }

    #[test]
    fn what_is_taken_from_the_pool_is_given_to_nobody_else() {
        let small = block("10.0.0.0/30");
        let mut slots = Slots { next: 2, ..Slots::default() };
        let index = slots.reserve(small).expect("the only one");
        slots.put_ready(index);
        // a pod takes it, and before that is written down another pod comes
        assert_eq!(slots.take_ready(), Some(index));
        assert!(matches!(slots.reserve(small), Err(Error::Exhausted(_))), "given twice");
        let lease = Lease { uid: "a".into(), attached: None, ports: Vec::new() };
        slots.leased.insert(index, lease);
        slots.forget(index);
        assert!(slots.reserve(small).is_err(), "leased");
        assert_eq!(slots.take_leased("a").map(|(index, _)| index), Some(index));
        assert!(slots.reserve(small).is_err(), "still there");
        slots.forget(index);
        assert_eq!(slots.reserve(small).expect("free again"), index);
    }

    #[test]
    fn a_block_holds_for_what_was_wanted() {
        let directory = tempfile::tempdir().expect("directory");
        let (wanted, taken) = (block("10.244.0.0/16"), block("10.245.0.0/16"));
        assert_eq!(kept_block(directory.path(), wanted), None);
        keep_block(directory.path(), wanted, taken).expect("written");
        assert_eq!(kept_block(directory.path(), wanted), Some(taken));
        assert_eq!(kept_block(directory.path(), block("10.50.0.0/16")), None);
        std::fs::write(directory.path().join(BLOCK), "{").expect("half of it");
        assert_eq!(kept_block(directory.path(), wanted), None);
    }
}
