//! Gives addresses to Services and takes them back: the rim around [`plan`].
//!
//! One pass at a time, each waiting until the informer shows what it wrote: two Services can never be given one port.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use sampan_addon::{Context, Reporter};
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Object, Recorder, Sources, reference};
use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::listening;
use crate::plan::{FINALIZER, Holder, Pair, Plan, Stock, address_of, claims, pairs, plan, wants};

const BY_ADDRESS: &str = "loadbalancer/address";
const BY_NODE_PORT: &str = "loadbalancer/node-port";
const BY_HOST_PORT: &str = "loadbalancer/host-port";
const PENDING: &str = "loadbalancer/pending";
/// When a Service that a process keeps from its address is looked at again: nothing tells of the process's end.
const AGAIN: Duration = Duration::from_secs(60);

/// What may need work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// A Service.
    Service(Key),
    /// An address of the pool, which is to be on the bridge or not.
    Address(Ipv4Addr),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Service(key) => key.fmt(f),
            Work::Address(address) => address.fmt(f),
        }
    }
}

/// The controller.
pub struct Balancer {
    client: kube::Client,
    services: Informer<Service>,
    pods: Informer<Pod>,
    stock: Stock,
    bridge: Bridge,
    recorder: Recorder,
    health: Reporter,
    /// What is on the bridge.
    put: Mutex<BTreeSet<Ipv4Addr>>,
    /// Services without an address, and why.
    refused: Mutex<BTreeMap<Key, String>>,
}

impl Balancer {
    /// Reads what an earlier run left on the bridge.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub async fn new(context: &Context, stock: Stock) -> Result<Self, sampan_addon::Error> {
        let bridge = Bridge::open(&context.site.bridge)?;
        let put = Mutex::new(bridge.list().await?.into_iter().collect());
        let (services, pods) = (context.informers.of::<Service>(), context.informers.of::<Pod>());
        services.add_index(BY_ADDRESS, |service| claims(service).iter().map(ToString::to_string).collect());
        services
            .add_index(BY_NODE_PORT, |service| node_ports(service).iter().map(ToString::to_string).collect());
        services.add_index(PENDING, |service| match wants(service) && address_of(service).is_none() {
            true => vec![String::new()],
            false => Vec::new(),
        });
        pods.add_index(BY_HOST_PORT, |pod| host_ports(pod).iter().map(ToString::to_string).collect());
        Ok(Self {
            client: context.client.clone(),
            recorder: Recorder::new(context.client.clone(), "service-controller", "", &context.tasks),
            health: context.health.clone(),
            refused: Mutex::default(),
            services,
            pods,
            stock,
            bridge,
            put,
        })
    }

    /// Resolves when all Services are known, and says that it serves.
    pub async fn ready(&self) {
        self.services.synced().await;
        self.say();
    }

    /// Takes every address back: from Services and from the bridge.
    ///
    /// # Errors
    /// The kernel or the API refused.
    pub async fn withdraw(&self) -> Result<(), Error> {
        self.services.synced().await;
        for service in self.services.list() {
            let ours = address_of(&service).is_some_and(|ip| self.is_stocked(ip));
            if wants(&service) && ours {
                self.write_status(&service, Value::Null).await.or_else(unless_gone)?;
            }
        }
        for address in self.bridge.list().await.map_err(other)? {
            self.bridge.take(address).await.map_err(other)?;
        }
        Ok(())
    }

    fn is_stocked(&self, address: IpAddr) -> bool {
        self.stock.node.contains(&address) || self.stock.pool.contains(address)
    }

    /// Who else has `pair` at `address`; `sockets` reads the host's when it is asked first.
    fn holder(&self, own: &Key, address: IpAddr, pair: Pair, sockets: &Sockets) -> Option<Holder> {
        let others = |service: &&Arc<Service>| service.key() != *own;
        let here = self.services.by_index(BY_ADDRESS, &address.to_string());
        if let Some(service) = here.iter().filter(others).find(|service| pairs(service).contains(&pair)) {
            return Some(Holder::Service(service.key()));
        }
        if !self.stock.node.contains(&address) {
            return None;
        }
        let term = pair.to_string();
        let by_node_port = self.services.by_index(BY_NODE_PORT, &term);
        if let Some(service) = by_node_port.iter().find(others) {
            return Some(Holder::Service(service.key()));
        }
        if let Some(pod) = self.pods.by_index(BY_HOST_PORT, &term).first() {
            return Some(Holder::Pod(pod.key()));
        }
        let listens = sockets.get_or_init(listening::read).iter().any(|bound| bound.is_at(address, pair));
        listens.then_some(Holder::Process)
    }

    async fn service(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(service) = self.services.get(key) else {
            self.refused.lock().remove(key);
            self.say();
            return Ok(None);
        };
        let sockets = Sockets::new();
        let plan = plan(&service, &self.stock, |address, pair| self.holder(key, address, pair, &sockets));
        match plan {
            Plan::Leave => {}
            Plan::Assign(address) => self.assign(&service, address).await?,
            Plan::Clear => self.clear(&service).await?,
            Plan::Release => self.release(&service).await?,
            Plan::Refuse { why, process } => {
                self.refuse(&service, &format!("failed to ensure load balancer: {why}"));
                if address_of(&service).is_some() {
                    self.write_status(&service, Value::Null).await?;
                }
                return Ok(process.then_some(AGAIN));
            }
        }
        self.refused.lock().remove(key);
        self.say();
        Ok(None)
    }

    async fn assign(&self, service: &Service, address: IpAddr) -> Result<(), Error> {
        let object = reference(service);
        self.recorder.normal(&object, "EnsuringLoadBalancer", "Ensuring load balancer");
        let in_pool = pool_address(&self.stock, address);
        if let Some(address) = in_pool {
            self.put(address).await?;
        }
        let ingress = json!([{"ip": address.to_string(), "ipMode": "VIP"}]);
        if let Err(error) = self.write_status(service, ingress).await {
            if let Some(address) = in_pool {
                self.settle(address).await?;
            }
            return Err(error);
        }
        self.recorder.normal(&object, "EnsuredLoadBalancer", "Ensured load balancer");
        tracing::info!(service = %service.key(), %address, "address given");
        Ok(())
    }

    async fn clear(&self, service: &Service) -> Result<(), Error> {
        let object = reference(service);
        self.recorder.normal(&object, "DeletingLoadBalancer", "Deleting load balancer");
        self.write_status(service, Value::Null).await?;
        self.recorder.normal(&object, "DeletedLoadBalancer", "Deleted load balancer");
        Ok(())
    }

    async fn release(&self, service: &Service) -> Result<(), Error> {
        let finalizers = service.metadata.finalizers.iter().flatten().filter(|name| *name != FINALIZER);
        let finalizers: Vec<&String> = finalizers.collect();
        let meta = &service.metadata;
        let body = json!({"metadata": {
            "uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers}});
        let (name, params) = (service.key().name, PatchParams::default());
        let written = self.api(service).patch(&name, &params, &Patch::Merge(body)).await?;
        self.services.reached(written.version()).await;
        Ok(())
    }

    async fn write_status(&self, service: &Service, ingress: Value) -> Result<(), Error> {
        let status = json!({"loadBalancer": {"ingress": ingress}});
        let body = json!({"metadata": {"uid": service.metadata.uid}, "status": status});
        let (name, params) = (service.key().name, PatchParams::default());
        let written = self.api(service).patch_status(&name, &params, &Patch::Merge(body)).await?;
        self.services.reached(written.version()).await;
        Ok(())
    }

    fn api(&self, service: &Service) -> Api<Service> {
        Api::namespaced(self.client.clone(), service.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn refuse(&self, service: &Service, why: &str) {
        let known = self.refused.lock().insert(service.key(), why.to_owned());
        if known.as_deref() != Some(why) {
            let text = format!("Error syncing load balancer: {why}");
            self.recorder.warning(&reference(service), "SyncLoadBalancerFailed", text);
        }
        self.say();
    }

    fn say(&self) {
        let refused = self.refused.lock();
        let Some((key, why)) = refused.first_key_value() else { return self.health.healthy() };
        let more = match refused.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        self.health.degraded(
            format!("Service {key} has no address{more}: {why}"),
            "give the pool more addresses (sampan addons configure loadbalancer --set pool=…), or free the port",
        );
    }

    /// Makes the bridge agree about one address.
    async fn settle(&self, address: Ipv4Addr) -> Result<(), Error> {
        let here = self.services.by_index(BY_ADDRESS, &address.to_string());
        let used = |service: &Arc<Service>| wants(service) && address_of(service) == Some(address.into());
        if self.stock.pool.contains(address.into()) && here.iter().any(used) {
            return self.put(address).await;
        }
        if self.put.lock().contains(&address) {
            self.bridge.take(address).await.map_err(other)?;
            self.put.lock().remove(&address);
        }
        Ok(())
    }

    async fn put(&self, address: Ipv4Addr) -> Result<(), Error> {
        if self.put.lock().contains(&address) {
            return Ok(());
        }
        self.bridge.put(address).await.map_err(other)?;
        self.put.lock().insert(address);
        Ok(())
    }

    fn pending(&self) -> impl Iterator<Item = Work> + use<> {
        self.services.by_index(PENDING, "").into_iter().map(|service| Work::Service(service.key()))
    }

    fn work(&self, delta: &Delta<Service>) -> Vec<Work> {
        let mut work = vec![Work::Service(delta.key.clone())];
        let addresses = delta.states().filter_map(|service| pool_address(&self.stock, address_of(service)?));
        work.extend(addresses.map(Work::Address));
        let face = |service: &Arc<Service>| (claims(service), pairs(service), node_ports(service));
        if delta.old.is_some() && delta.old.as_ref().map(face) != delta.new.as_ref().map(face) {
            work.extend(self.pending());
        }
        work
    }
}

impl Controller for Balancer {
    type Key = Work;

    fn name(&self) -> &'static str {
        "service-controller"
    }

    fn workers(&self) -> usize {
        1
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Work>) {
        let left: Vec<Work> = self.put.lock().iter().copied().map(Work::Address).collect();
        sources.stream(futures::stream::iter(left));
        let this = self.clone();
        sources.on(&self.services, move |delta| this.work(delta));
        let this = self.clone();
        sources.on(&self.pods, move |delta| {
            let ports = |pod: &Option<Arc<Pod>>| pod.as_ref().map(|pod| host_ports(pod)).unwrap_or_default();
            let (before, after) = (ports(&delta.old), ports(&delta.new));
            let freed = before.iter().any(|pair| !after.contains(pair));
            if freed { this.pending().collect() } else { Vec::new() }
        });
    }

    async fn reconcile(&self, work: &Work) -> Result<Option<Duration>, Error> {
        let key = match work {
            Work::Address(address) => return self.settle(*address).await.map(|()| None),
            Work::Service(key) => key,
        };
        let done = self.service(key).await;
        if let (Err(error), Some(service)) = (&done, self.services.get(key))
            && !error.is_race()
        {
            self.refuse(&service, &format!("failed to ensure load balancer: {error}"));
        }
        done
    }
}

type Sockets = std::cell::OnceCell<Vec<listening::Bound>>;

fn pool_address(stock: &Stock, address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) if stock.pool.contains(address) && !stock.node.contains(&address) => Some(v4),
        _ => None,
    }
}

fn node_ports(service: &Service) -> Vec<Pair> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let ports = spec.ports.iter().flatten();
    let ports = ports.filter_map(|port| Pair::new(port.protocol.as_deref(), port.node_port?));
    ports.chain(spec.health_check_node_port.and_then(|port| Pair::new(None, port))).collect()
}

/// The ports of the node that lead into the pod, while it runs.
fn host_ports(pod: &Pod) -> Vec<Pair> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(spec) = &pod.spec else { return Vec::new() };
    // a process on the host's network listens, and is seen so
    if matches!(phase, Some("Succeeded" | "Failed"))
        || spec.node_name.is_none()
        || spec.host_network == Some(true)
    {
        return Vec::new();
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| Pair::new(port.protocol.as_deref(), port.host_port?)).collect()
}

fn other(error: sampan_addon::Error) -> Error {
    Error::Other(error.to_string())
}

fn unless_gone(error: Error) -> Result<(), Error> {
    if error.is_race() { Ok(()) } else { Err(error) }
}
