//! A daemon that is killed between any two writes of an enable or a disable: the next one finishes, or takes away.

use std::time::Duration;

use sampan_addons::State;

use crate::world::{World, quiet, words};

/// More than an enable of three objects writes.
const WRITES: usize = 8;

#[tokio::test]
async fn an_enable_that_is_killed_anywhere_is_finished_or_leaves_nothing() {
    let mut finished = 0;
    for writes in 0..=WRITES {
        let world = World::new().await;
        // the default-on addon writes, too: it is disabled first
        let quiet_platform = world.platform().await;
        quiet_platform.addons.disable("always", &quiet).await.unwrap();
        quiet_platform.stop().await;

        let dying = world.dying_after(writes);
        let addons = dying.addons.clone();
        let set = words(&["maps=3"]);
        let enabling = addons.enable("echo", &set, None, &quiet);
        let ended = tokio::time::timeout(Duration::from_secs(1), enabling).await;
        finished += usize::from(ended.is_ok());
        dying.kill();

        let platform = world.platform().await;
        let status = platform.addons.list().into_iter().find(|one| one.name == "echo").unwrap();
        // the decision is the first write: without it nothing was begun
        assert_eq!(status.enabled, writes > 0, "after {writes} writes");
        let owned = world.owned("echo").await;
        assert_eq!(owned.len(), if writes > 0 { 3 } else { 0 }, "after {writes} writes: {owned:?}");
        if writes > 0 {
            let status = platform.addons.enable("echo", &[], None, &quiet).await.unwrap();
            assert_eq!(status.health.state, State::Healthy);
        }
        platform.addons.disable("echo", &quiet).await.unwrap();
        assert!(world.owned("echo").await.is_empty(), "after {writes} writes");
        platform.stop().await;
    }
    assert!((1..=3).contains(&finished), "{finished} enables ended: the kills do not cover them");
}

#[tokio::test]
async fn a_disable_that_is_killed_anywhere_is_finished() {
    let mut finished = 0;
    for writes in 0..=WRITES {
        let world = World::new().await;
        let first = world.platform().await;
        first.addons.disable("always", &quiet).await.unwrap();
        first.addons.enable("echo", &words(&["maps=3"]), None, &quiet).await.unwrap();
        first.stop().await;

        let dying = world.dying_after(writes);
        dying.addons.settled(&dying.tasks.drain()).await;
        let addons = dying.addons.clone();
        let ended = tokio::time::timeout(Duration::from_secs(1), addons.disable("echo", &quiet)).await;
        finished += usize::from(ended.is_ok());
        dying.kill();

        let platform = world.platform().await;
        let status = platform.addons.list().into_iter().find(|one| one.name == "echo").unwrap();
        assert_eq!(status.enabled, writes == 0, "after {writes} writes");
        platform.addons.disable("echo", &quiet).await.unwrap();
        assert!(world.owned("echo").await.is_empty(), "after {writes} writes");
        platform.stop().await;
    }
    assert!((1..=4).contains(&finished), "{finished} disables ended: the kills do not cover them");
}
