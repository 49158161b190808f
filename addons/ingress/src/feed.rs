//! From informers to the table: every change that has arrived is taken into the index, then the table is swapped once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use parking_lot::Mutex;
use sampan_addon::{Context, Drain};
use sampan_reconcile::{Delta, Deltas, Informer, Informers, Key};
use tokio::sync::mpsc::UnboundedSender;

use crate::backend::{Port, State, resolve};
use crate::certificate::TlsSecret;
use crate::index::{Index, World};
use crate::table::Table;

const BY_SERVICE: &str = "ingress/service";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The objects that routes are made of.
#[derive(Clone)]
pub struct Objects {
    /// Ingresses.
    pub ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    secrets: Informer<TlsSecret>,
}

impl Objects {
    /// The informers, not yet synced.
    pub fn new(context: &Context) -> Self {
        let informers = &context.informers;
        let slices = informers.of::<EndpointSlice>();
        slices.add_index(BY_SERVICE, |slice| {
            service_of(slice).map(|key| key.to_string()).into_iter().collect()
        });
        // ends with the addon: nobody else needs what it keeps of Secrets
        let own = Informers::new(context.client.clone(), context.tasks.clone());
        Self {
            ingresses: informers.of(),
            classes: informers.of(),
            services: informers.of(),
            slices,
            secrets: own.labelled("/api/v1/secrets", ""),
        }
    }

    async fn synced(&self) {
        tokio::join!(
            self.ingresses.synced(),
            self.classes.synced(),
            self.services.synced(),
            self.slices.synced(),
            self.secrets.synced(),
        );
    }
}

/// The Service that a slice is of.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::namespaced(slice.metadata.namespace.as_deref()?, name))
}

impl World for Objects {
    fn state(&self, port: &Port) -> State {
        let key = Key::namespaced(&port.namespace, &port.service);
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        resolve(port, self.services.get(&key).as_deref(), &slices)
    }

    fn secret(&self, key: &Key) -> Option<Arc<TlsSecret>> {
        self.secrets.get(key)
    }

    fn ingresses(&self) -> Vec<Arc<Ingress>> {
        self.ingresses.list()
    }
}

/// Feeds the table.
pub struct Feed {
    /// The objects.
    pub objects: Objects,
    /// What they come to.
    pub index: Arc<Mutex<Index>>,
    /// Where the table is read.
    pub table: Arc<ArcSwap<Table>>,
    /// Told which Ingresses may have another status.
    pub touched: UnboundedSender<Key>,
}

struct Streams {
    ingresses: Deltas<Ingress>,
    classes: Deltas<IngressClass>,
    services: Deltas<Service>,
    slices: Deltas<EndpointSlice>,
    secrets: Deltas<TlsSecret>,
}

/// One change of anything.
enum Change {
    Ingress(Delta<Ingress>),
    Class(Delta<IngressClass>),
    Service(Key),
    Secret(Delta<TlsSecret>),
    Nothing,
}

impl Streams {
    /// The next change; `None` when the process ends.
    async fn next(&mut self) -> Option<Change> {
        Some(tokio::select! {
            delta = self.ingresses.next() => Change::Ingress(delta?),
            delta = self.classes.next() => Change::Class(delta?),
            delta = self.services.next() => Change::Service(delta?.key),
            delta = self.slices.next() => of_slice(&delta?),
            delta = self.secrets.next() => Change::Secret(delta?),
        })
    }

    /// A change that has arrived already.
    fn arrived(&mut self) -> Option<Change> {
        let slices = &mut self.slices;
        None.or_else(|| self.classes.try_next().map(Change::Class))
            .or_else(|| self.ingresses.try_next().map(Change::Ingress))
            .or_else(|| self.services.try_next().map(|delta| Change::Service(delta.key)))
            .or_else(|| slices.try_next().map(|delta| of_slice(&delta)))
            .or_else(|| self.secrets.try_next().map(Change::Secret))
    }
}

fn of_slice(delta: &Delta<EndpointSlice>) -> Change {
    // the label of a slice does not change: who wants another makes another
    delta.latest().and_then(|slice| service_of(slice)).map_or(Change::Nothing, Change::Service)
}

/// Whether a change is of more than the status, which we write ourselves.
fn matters(delta: &Delta<Ingress>) -> bool {
    let face = |ingress: &Arc<Ingress>| {
        let meta = &ingress.metadata;
        (ingress.spec.clone(), meta.annotations.clone(), meta.uid.clone())
    };
    delta.old.as_ref().map(face) != delta.new.as_ref().map(face)
}

impl Feed {
    /// Feeds until the drain. `ready` is called once the table shows everything that there was at the beginning.
    pub async fn run(self, drain: Drain, ready: impl FnOnce()) {
        let mut streams = Streams {
            ingresses: self.objects.ingresses.subscribe(),
            classes: self.objects.classes.subscribe(),
            services: self.objects.services.subscribe(),
            slices: self.objects.slices.subscribe(),
            secrets: self.objects.secrets.subscribe(),
        };
        tokio::select! {
            () = drain.wait() => return,
            () = self.objects.synced() => {}
        }
        self.take(None, &mut streams);
        ready();
        loop {
            let change = tokio::select! {
                () = drain.wait() => return,
                change = streams.next() => change,
            };
            let Some(change) = change else { return };
            self.take(Some(change), &mut streams);
        }
    }

    /// Takes in a change and all others that have arrived, and publishes what comes of them.
    fn take(&self, first: Option<Change>, streams: &mut Streams) {
        let mut index = self.index.lock();
        let mut services = BTreeSet::new();
        let mut next = first.or_else(|| streams.arrived());
        while let Some(change) = next {
            match change {
                Change::Ingress(delta) if matters(&delta) => {
                    index.ingress(&delta.key, delta.new.as_deref(), &self.objects);
                }
                Change::Class(delta) => index.class(&delta.key.name, delta.new.as_deref(), &self.objects),
                Change::Service(key) => _ = services.insert(key),
                Change::Secret(delta) => index.secret(&delta.key, delta.new.as_deref()),
                Change::Ingress(_) | Change::Nothing => {}
            }
            next = streams.arrived();
        }
        for key in services {
            index.service(key.namespace(), &key.name, &self.objects);
        }
        if let Some((table, touched)) = index.publish() {
            self.table.store(Arc::new(table));
            drop(index);
            // the receiver goes with the addon
            touched.into_iter().for_each(|key| _ = self.touched.send(key));
        }
    }
}
