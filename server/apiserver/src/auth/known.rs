//! Tokens that were found good a moment ago, so that who asks again with the same one need not have its signature checked and
//! its objects read anew, which costs more than most requests.
//!
//! Upstream's `token/cache` believes for ten seconds what it found. Here a find is believed as long as each object that it
//! rests on is at the revision that was looked at: a token dies with its pod at once.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use sampan_store::{Key, Store};

use super::UserInfo;

/// Finds of one generation: when there are so many, those not asked for since the last time are forgotten.
const GENERATION: usize = 1024;

/// SHA-256 of the token: what is kept is no use to who reads it.
type Digest = [u8; 32];

/// What a token was found to be.
pub(super) struct Known {
    /// Who it says.
    pub user: Arc<UserInfo>,
    /// For whom it is.
    pub audiences: Vec<String>,
    /// The first second since 1970 at which it is good, and the first at which it is no more.
    pub seconds: std::ops::Range<i64>,
    /// The objects it rests on, at these revisions.
    pub objects: Vec<(Key, u64)>,
}

impl Known {
    fn holds(&self, store: &Store, now: Timestamp) -> bool {
        let stands = |(key, revision): &(Key, u64)| store.get(key).is_some_and(|e| e.revision == *revision);
        self.seconds.contains(&now.as_second()) && self.objects.iter().all(stands)
    }
}

#[derive(Default)]
struct Generations {
    young: HashMap<Digest, Arc<Known>>,
    old: HashMap<Digest, Arc<Known>>,
}

/// Tokens found good.
#[derive(Default)]
pub(super) struct Cache(Mutex<Generations>);

impl Cache {
    /// What `token` was found to be, if that still holds.
    pub fn get(&self, token: &str, store: &Store, now: Timestamp) -> Option<Arc<Known>> {
        let digest = digest(token);
        let mut generations = self.0.lock();
        let known = match generations.young.get(&digest) {
            Some(known) => known.clone(),
            None => {
                let known = generations.old.remove(&digest)?;
                generations.add(digest, known.clone());
                known
            }
        };
        drop(generations);
        known.holds(store, now).then_some(known)
    }

    /// Remembers what `token` was found to be.
    pub fn put(&self, token: &str, known: Arc<Known>) {
        self.0.lock().add(digest(token), known);
    }
}

impl Generations {
    fn add(&mut self, digest: Digest, known: Arc<Known>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, known);
    }
}

fn digest(token: &str) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let cache = Cache::default();
        let known = || {
            let (user, audiences) = (Arc::new(UserInfo::new("robot", &[])), Vec::new());
            Arc::new(Known { user, audiences, seconds: 0..i64::MAX, objects: Vec::new() })
        };
        let held = |name: &str| {
            let generations = cache.0.lock();
            let digest = digest(name);
            generations.young.contains_key(&digest) || generations.old.contains_key(&digest)
        };
        cache.put("first", known());
        (1..GENERATION).for_each(|number| cache.put(&number.to_string(), known()));
        cache.put("next", known());
        assert!(held("first") && held("next"));
        (1..=GENERATION).for_each(|number| cache.put(&format!("more-{number}"), known()));
        assert!(!held("first") && held("next"));
        let generations = cache.0.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}
