//! Maps and sets whose order is a secret of the process, as the standard library's is; and the same again and again in a
//! simulation, whose runs are to be repeated.

use std::hash::{BuildHasher, DefaultHasher, RandomState};

/// The hashing of [`HashMap`] and [`HashSet`].
#[derive(Clone, Debug)]
pub struct Hashing(Option<RandomState>);

impl Default for Hashing {
    fn default() -> Self {
        Self((!crate::clock::is_simulated()).then(RandomState::new))
    }
}

impl BuildHasher for Hashing {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.as_ref().map_or_else(DefaultHasher::new, BuildHasher::build_hasher)
    }
}

/// A map.
pub type HashMap<K, V> = std::collections::HashMap<K, V, Hashing>;
/// A set.
pub type HashSet<K> = std::collections::HashSet<K, Hashing>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulation_has_one_order() {
        let order = || {
            let set: HashSet<u32> = (0..200).collect();
            set.into_iter().collect::<Vec<_>>()
        };
        assert_ne!(order(), order());
        crate::simulate(jiff::Timestamp::UNIX_EPOCH, 1);
        assert_eq!(order(), order());
    }
}
