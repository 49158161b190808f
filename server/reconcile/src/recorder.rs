//! Writes events about objects, in the background and without ever holding up who reports them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use sampan_process::Tasks;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::correlator::{Correlator, Observation, Write};

/// Observations waiting to be written; more are dropped, as upstream's broadcaster does.
pub(crate) const WAITING_MAX: usize = 1000;

/// Whether an event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// What is expected to happen.
    Normal,
    /// What somebody may have to look at.
    Warning,
}

impl EventType {
    pub(crate) fn word(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// Records events for one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Sender<Observation>);

impl Recorder {
    /// A recorder for `component` (e.g. `deployment-controller`); `host` is the node's name for the kubelet and
    /// empty for others. Events are written through `client` until the drain.
    pub fn new(client: kube::Client, component: &str, host: &str, tasks: &Tasks) -> Self {
        let (sender, receiver) = channel(WAITING_MAX);
        let writer = Writer { client, component: component.to_owned(), host: host.to_owned() };
        tasks.spawn_until_drain("events", writer.run(receiver));
        Self(sender)
    }

    /// Records that something happened to an object.
    pub fn event(&self, object: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let observation = Observation {
            object: object.clone(),
            kind: kind.word(),
            reason: reason.to_owned(),
            message: message.into(),
        };
        if self.0.try_send(observation).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }

    /// [`Recorder::event`] of type Normal.
    pub fn normal(&self, object: &ObjectReference, reason: &str, message: impl Into<String>) {
        self.event(object, EventType::Normal, reason, message);
    }

    /// [`Recorder::event`] of type Warning.
    pub fn warning(&self, object: &ObjectReference, reason: &str, message: impl Into<String>) {
        self.event(object, EventType::Warning, reason, message);
    }
}

/// A reference to a typed object, as events and targetRefs carry it.
pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

struct Writer {
    client: kube::Client,
    component: String,
    host: String,
}

impl Writer {
    async fn run(self, mut waiting: Receiver<Observation>) {
        let mut correlator = Correlator::default();
        while let Some(seen) = waiting.recv().await {
            let now = crate::now();
            let Some(write) = correlator.observe(&seen, now) else { continue };
            if let Err(error) = self.write(&mut correlator, &seen, write, now).await {
                tracing::warn!(reason = seen.reason, %error, "event not written");
            }
        }
    }

    async fn write(
        &self,
        correlator: &mut Correlator,
        seen: &Observation,
        mut write: Write,
        now: Timestamp,
    ) -> kube::Result<()> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), event_namespace(&seen.object));
        if write.count > 1 {
            let patch = serde_json::json!({
                "count": write.count, "message": write.message, "lastTimestamp": Time(now),
            });
            match api.patch(&write.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    write.name = correlator.lost(&write.slot, &seen.object, now);
                }
                result => return result.map(drop),
            }
        }
        let event = self.event(seen, &write, now);
        match api.create(&PostParams::default(), &event).await {
            // the namespace is being deleted: nobody will read the event
            Err(kube::Error::Api(status)) if status.code == 403 || status.code == 404 => Ok(()),
            result => result.map(drop),
        }
    }

    fn event(&self, seen: &Observation, write: &Write, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(write.name.clone()),
                namespace: Some(event_namespace(&seen.object).to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: seen.object.clone(),
            reason: Some(seen.reason.clone()),
            message: Some(write.message.clone()),
            type_: Some(seen.kind.to_owned()),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: Some(self.host.clone()).filter(|host| !host.is_empty()),
            }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone()),
            first_timestamp: Some(Time(write.first)),
            last_timestamp: Some(Time(now)),
            count: Some(write.count),
            ..Event::default()
        }
    }
}

/// Events of cluster-scoped objects live in `default`.
fn event_namespace(object: &ObjectReference) -> &str {
    object.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}
