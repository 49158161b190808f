//! From informers to the zone: every change that has arrived is taken in, then the zone is replaced once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use sampan_addon::Drain;
use sampan_reconcile::{Delta, Deltas, Informer, Informers, Key};

use crate::service::prepare;
use crate::zone::Zone;

const BY_SERVICE: &str = "dns/service";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Feeds the zone.
pub struct Feed {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
    zone: Arc<ArcSwap<Zone>>,
}

struct Streams {
    services: Deltas<Service>,
    slices: Deltas<EndpointSlice>,
    namespaces: Deltas<Namespace>,
}

enum Change {
    Service(Key),
    Namespace(String, bool),
    Nothing,
}

impl Streams {
    /// The next change; `None` when the process ends.
    async fn next(&mut self) -> Option<Change> {
        Some(tokio::select! {
            delta = self.services.next() => Change::Service(delta?.key),
            delta = self.slices.next() => of_slice(&delta?),
            delta = self.namespaces.next() => of_namespace(&delta?),
        })
    }

    /// A change that has arrived already.
    fn arrived(&mut self) -> Option<Change> {
        None.or_else(|| self.namespaces.try_next().map(|delta| of_namespace(&delta)))
            .or_else(|| self.services.try_next().map(|delta| Change::Service(delta.key)))
            .or_else(|| self.slices.try_next().map(|delta| of_slice(&delta)))
    }
}

/// The Service that a slice is of.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::namespaced(slice.metadata.namespace.as_deref()?, name))
}

fn of_slice(delta: &Delta<EndpointSlice>) -> Change {
    // the label of a slice does not change: who wants another makes another
    delta.latest().and_then(|slice| service_of(slice)).map_or(Change::Nothing, Change::Service)
}

fn of_namespace(delta: &Delta<Namespace>) -> Change {
    Change::Namespace(delta.key.name.clone(), delta.new.is_some())
}

impl Feed {
    /// Feeds `zone` from these informers.
    pub fn new(informers: &Informers, zone: Arc<ArcSwap<Zone>>) -> Self {
        let slices = informers.of::<EndpointSlice>();
        slices.add_index(BY_SERVICE, |slice| {
            service_of(slice).map(|key| key.to_string()).into_iter().collect()
        });
        Self { services: informers.of(), slices, namespaces: informers.of(), zone }
    }

    /// Feeds until the drain. `ready` is called once the zone shows everything that there was at the beginning.
    pub async fn run(self, drain: Drain, ready: impl FnOnce()) {
        let mut streams = Streams {
            services: self.services.subscribe(),
            slices: self.slices.subscribe(),
            namespaces: self.namespaces.subscribe(),
        };
        let synced = async {
            tokio::join!(self.services.synced(), self.slices.synced(), self.namespaces.synced());
        };
        tokio::select! {
            () = drain.wait() => return,
            () = synced => {}
        }
        let mut zone = Zone::clone(&self.zone.load());
        zone.complete();
        self.take(&mut zone, None, &mut streams);
        self.publish(&mut zone);
        ready();
        loop {
            let change = tokio::select! {
                () = drain.wait() => return,
                change = streams.next() => change,
            };
            let Some(change) = change else { return };
            if self.take(&mut zone, Some(change), &mut streams) {
                self.publish(&mut zone);
            }
        }
    }

    /// Takes in a change and all others that have arrived. Gives whether any is to be seen in the zone.
    fn take(&self, zone: &mut Zone, first: Option<Change>, streams: &mut Streams) -> bool {
        let (mut touched, mut services) = (false, BTreeSet::new());
        let mut next = first.or_else(|| streams.arrived());
        while let Some(change) = next {
            match change {
                Change::Service(key) => _ = services.insert(key),
                Change::Namespace(name, exists) => touched |= zone.set_namespace(&name, exists),
                Change::Nothing => {}
            }
            next = streams.arrived();
        }
        for key in services {
            let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
            let prepared =
                self.services.get(&key).and_then(|service| prepare(&service, &slices, zone.terms()));
            touched |= zone.set_service(key.namespace(), &key.name, prepared);
        }
        touched
    }

    fn publish(&self, zone: &mut Zone) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // a serial number may wrap (RFC 1982)
        zone.touch(now.as_secs() as u32);
        self.zone.store(Arc::new(zone.clone()));
    }
}
