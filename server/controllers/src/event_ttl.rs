//! Events live for an hour after they were last written. (Upstream leaves this to a lease of etcd.)

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Resource;
use kube::api::DeleteParams;
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, HashMap, Informer, Key, Object, Sources};

use crate::context::Context;
use crate::resources::Partial;
use crate::words::{created, resource_version};

const LIFE: Duration = Duration::from_secs(3600);

/// What is kept of an event: when it was made.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(from = "Partial")]
pub(crate) struct Made {
    key: Key,
    version: u64,
    at: Timestamp,
}

impl From<Partial> for Made {
    fn from(partial: Partial) -> Self {
        let (version, at) = (resource_version(&partial.metadata), created(&partial.metadata));
        let meta = partial.metadata;
        Self { key: Key { namespace: meta.namespace, name: meta.name.unwrap_or_default() }, version, at }
    }
}

sampan_reconcile::decoded!(Made);

impl Object for Made {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn version(&self) -> u64 {
        self.version
    }
}

/// How much longer an event lives; `None` if it is over.
pub(crate) fn remaining(written: Timestamp, now: Timestamp) -> Option<Duration> {
    let age = now.duration_since(written);
    if age.is_negative() {
        return Some(LIFE);
    }
    LIFE.checked_sub(age.unsigned_abs()).filter(|left| !left.is_zero())
}

/// The controller.
pub(crate) struct EventTtl {
    context: Context,
    events: Informer<Made>,
    /// When events were written again; those written once are not here.
    updated: Mutex<HashMap<Key, Timestamp>>,
}

impl EventTtl {
    pub fn new(context: &Context) -> Self {
        let events = context.informers.metadata(&Event::url_path(&(), None));
        Self { context: context.clone(), events, updated: Mutex::default() }
    }
}

impl Controller for EventTtl {
    type Key = Key;

    fn name(&self) -> &'static str {
        "event-ttl-controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        sources.on(&self.events, move |delta| match (&delta.old, &delta.new) {
            (None, Some(_)) => vec![delta.key.clone()],
            (Some(_), Some(_)) => {
                this.updated.lock().insert(delta.key.clone(), sampan_reconcile::now());
                Vec::new()
            }
            _ => {
                this.updated.lock().remove(&delta.key);
                Vec::new()
            }
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(event) = self.events.get(key) else { return Ok(None) };
        let written = self.updated.lock().get(key).copied().unwrap_or(event.at);
        if let Some(left) = remaining(written, sampan_reconcile::now()) {
            return Ok(Some(left));
        }
        let api = self.context.namespaced::<Event>(key.namespace());
        match api.delete(&key.name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            result => result.map(|_| None).map_err(Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_lives_for_an_hour() {
        let at = |seconds: i64| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
        assert_eq!(remaining(at(0), at(600)), Some(Duration::from_secs(3000)));
        assert_eq!(remaining(at(0), at(3600)), None);
        assert_eq!(remaining(at(100), at(0)), Some(LIFE));
    }
}
