//! Notices that someone's rights changed, so that open views are asked for anew.
//!
//! Roles and bindings are watched only while a feed is open.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sampan_process::Tasks;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::source::{ListHead, Source, Wanted};
use crate::{Api, User};

/// What rights are made of.
const RESOURCES: [&str; 4] = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];

/// Watches rights for those who follow.
pub struct Rights {
    api: Api,
    tasks: Tasks,
    now: Mutex<Weak<Watching>>,
}

/// Rights are watched while one of these lives.
pub struct Watching {
    changed: watch::Receiver<u64>,
    /// How many of [`RESOURCES`] are watched by now.
    ready: watch::Receiver<usize>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Rights {
    /// Watches nothing yet.
    pub fn new(api: Api, tasks: Tasks) -> Self {
        Self { api, tasks, now: Mutex::default() }
    }

    /// A counter of changes, which counts from now on as long as the other value is kept.
    pub async fn follow(&self) -> (watch::Receiver<u64>, Arc<Watching>) {
        let watching = self.watching();
        let mut ready = watching.ready.clone();
        // without them all a view could read what is changed before it is watched; none is left when the daemon ends
        let _ = ready.wait_for(|ready| *ready == RESOURCES.len()).await;
        (watching.changed.clone(), watching)
    }

    fn watching(&self) -> Arc<Watching> {
        let mut now = self.now.lock();
        if let Some(watching) = now.upgrade() {
            return watching;
        }
        let (count, changed) = watch::channel(0);
        let (tell_ready, ready) = watch::channel(0);
        let (count, tell_ready) = (Arc::new(count), Arc::new(tell_ready));
        let task = |resource: &'static str| {
            let (api, count, ready) = (self.api.clone(), count.clone(), tell_ready.clone());
            let task = self
                .tasks
                .spawn_until_drain("rights", async move { follow(&api, resource, &count, &ready).await });
            task.abort_handle()
        };
        let tasks = RESOURCES.into_iter().map(task).collect();
        let watching = Arc::new(Watching { changed, ready, tasks });
        *now = Arc::downgrade(&watching);
        watching
    }
}

/// Counts changes of a resource, from now on.
async fn follow(api: &Api, resource: &str, count: &watch::Sender<u64>, ready: &watch::Sender<usize>) {
    let user =
        User { name: "system:apiserver".into(), groups: vec!["system:masters".into()], ..User::default() };
    let path = format!("/apis/rbac.authorization.k8s.io/v1/{resource}");
    let mut source = Source::new(api.clone(), user, path, Wanted::Object);
    let mut is_first = true;
    loop {
        let Ok(first) = source.list_page::<ListHead>(1, None).await else {
            source.pause().await;
            continue;
        };
        let mut revision = first.revision;
        match std::mem::take(&mut is_first) {
            // what was before is known
            true => ready.send_modify(|ready| *ready += 1),
            // what happened between two watches is not
            false => count.send_modify(|count| *count += 1),
        }
        while let Ok(event) = source.next(&mut revision).await {
            if event.is_change() {
                count.send_modify(|count| *count += 1);
            }
        }
        // a server that is ending breaks each watch off at once
        source.pause().await;
    }
}
