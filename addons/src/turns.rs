//! Verbs of one addon wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Whose turn it is, by addon. Names are kept while somebody has a turn or waits for one.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits until nobody else changes this addon.
    pub async fn take(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock();
            let turn: Arc<_> = turns.get(name).and_then(Weak::upgrade).unwrap_or_default();
            turns.retain(|_, turn| turn.strong_count() > 0);
            turns.insert(name.to_owned(), Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn turns_are_taken_one_by_one_and_forgotten() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let mut second = Box::pin(turns.take("a"));
        assert!(second.as_mut().now_or_never().is_none(), "one at a time");
        drop(turns.take("b").await);
        drop(first);
        let second = second.await;
        assert!(turns.take("a").now_or_never().is_none(), "also behind one that waited");
        drop(second);
        for index in 0..1000 {
            drop(turns.take(&format!("no-such-addon-{index}")).await);
        }
        assert_eq!(turns.0.lock().len(), 1, "the last one's");
    }
}
