//! Writes events of the newer API (events.k8s.io), as the scheduler and the proxy do upstream (client-go `tools/events`).

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, Patch, PatchParams, PostParams};
use sampan_process::Tasks;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::recorder::{EventType, WAITING_MAX};
use crate::series::{SeriesCache, Sighting};

/// How often a write is tried while the API does not answer.
const TRIES: usize = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// Records events for one component, repeated ones as a series. Cheap to clone.
#[derive(Clone)]
pub struct SeriesRecorder(Sender<Sighting>);

/// What a component did, or tried to.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// Whether that is good or bad news.
    pub kind: EventType,
    /// Why it is told, e.g. `FailedScheduling`.
    pub reason: &'a str,
    /// What was done, e.g. `Scheduling`.
    pub action: &'a str,
}

impl SeriesRecorder {
    /// A recorder for `controller` (e.g. `default-scheduler`). Events are written through `client` until the drain.
    pub fn new(client: kube::Client, controller: &str, tasks: &Tasks) -> Self {
        let (sender, receiver) = channel(WAITING_MAX);
        let cache = SeriesCache::new(controller, &format!("{controller}-{}", host_name()));
        tasks.spawn_until_drain("events", Writer { client }.run(cache, receiver));
        Self(sender)
    }

    /// Records what was done to the object `regarding`, on account of `related` if there is one.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        related: Option<ObjectReference>,
        deed: Deed<'_>,
        note: impl Into<String>,
    ) {
        let sighting = Sighting {
            regarding: regarding.clone(),
            related,
            kind: deed.kind.word(),
            reason: deed.reason.to_owned(),
            action: deed.action.to_owned(),
            note: note.into(),
        };
        if self.0.try_send(sighting).is_err() {
            tracing::debug!(deed.reason, "event dropped: too many are waiting");
        }
    }
}

/// The machine's, as `reportingInstance` names it.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

struct Writer {
    client: kube::Client,
}

impl Writer {
    async fn run(self, mut cache: SeriesCache, mut waiting: Receiver<Sighting>) {
        loop {
            let pause = cache.due().map(|due| due.duration_since(crate::now()));
            let pause = pause.map(|pause| Duration::try_from(pause).unwrap_or_default());
            tokio::select! {
                biased;
                seen = waiting.recv() => {
                    let Some(seen) = seen else { return };
                    if let Some(event) = cache.observe(seen, crate::now()) {
                        self.write(event).await;
                    }
                }
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {
                    for event in cache.pass(crate::now()) {
                        self.write(event).await;
                    }
                }
            }
        }
    }

    async fn write(&self, event: Event) {
        for _ in 0..TRIES {
            match self.write_once(&event).await {
                // an answer that cannot be read is one
                Ok(()) | Err(kube::Error::SerdeError(_)) => return,
                // somebody else wrote the event of a series meanwhile: it is there to be patched
                Err(kube::Error::Api(status)) if status.code == 409 && event.series.is_some() => {}
                // the namespace is being deleted: nobody will read the event; or it was written, and the answer lost
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => return,
                Err(error @ kube::Error::Api(_)) => {
                    return tracing::warn!(reason = event.reason, %error, "event not written");
                }
                Err(error) => tracing::debug!(reason = event.reason, %error, "event not written yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(reason = event.reason, "event given up");
    }

    async fn write_once(&self, event: &Event) -> kube::Result<()> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let Some(series) = &event.series {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let patch = Patch::Strategic(serde_json::json!({ "series": series }));
            match api.patch(name, &PatchParams::default(), &patch).await {
                // expired: it is written anew
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => return result.map(drop),
            }
        }
        api.create(&PostParams::default(), event).await.map(drop)
    }
}
