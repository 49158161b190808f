//! The rim: deltas of the informers in, transactions of the kernel out, one at a time.
//!
//! While one is under way the next gathers in the model. A refused one puts the shadow in doubt: then the whole table is
//! replaced, after a pause that doubles with each failure. Flows that could not be cleared and ports of health checks
//! that could not be had are tried again in the same way, and keep the rules from nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use sampan_process::{Component, Drain, Health, Tasks};
use sampan_reconcile::{Deed, Delta, EventType, Informer, Informers, Key, Object, SeriesRecorder, reference};
use tokio::time::{Instant, sleep_until};

use crate::blocks;
use crate::conntrack::{self, Frontends};
use crate::element::Frontend;
use crate::frame::{self, Frame, Led};
use crate::health::Servers;
use crate::kernel;
pub use crate::kernel::Error;
use crate::model::{Facts, Model, News};
use crate::retry::Retry;
use crate::table::Structure;

/// What the binary gives the proxy.
#[derive(Clone)]
pub struct Config {
    /// Acts as `system:kube-proxy`.
    pub client: Client,
    /// The process's shared informers.
    pub informers: Informers,
    /// The node that the rules are for.
    pub node_name: String,
    /// Where readiness is told.
    pub health: Health,
    /// Name of the nftables table, of nobody else.
    pub table: String,
    /// Bridge of the pod network; it is there already.
    pub bridge: String,
    /// The node's addresses.
    pub node_ips: Vec<IpAddr>,
    /// All pods of the cluster.
    pub pod_cidr: String,
    /// Pods of this node.
    pub node_subnet: String,
    /// All services.
    pub service_cidr: String,
    /// Service addresses that the node serves itself: they are left alone.
    pub local: Vec<IpAddr>,
    /// Ports of those addresses at which nobody listens, and where they lead.
    pub led: Vec<Led>,
}

impl Config {
    fn frame(&self) -> Frame {
        let gateway = blocks::parse(&self.node_subnet).map_or(0, |(first, _)| first + 1);
        Frame {
            table: self.table.clone(),
            bridge: self.bridge.clone(),
            pods: self.pod_cidr.clone(),
            services: self.service_cidr.clone(),
            gateway: std::net::Ipv4Addr::from(gateway).to_string(),
            led: self.led.clone(),
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            node: self.node_name.clone(),
            pods: self.pod_cidr.clone(),
            node_pods: self.node_subnet.clone(),
            node_ips: self.node_ips.clone(),
            served: self.local.clone(),
        }
    }
}

/// The service proxy.
pub struct Proxy {
    config: Config,
    recorder: SeriesRecorder,
    tasks: Tasks,
}

/// How long a chain stays empty before it is deleted.
const STALE: Duration = Duration::from_secs(2);

enum Input {
    Service(Delta<Service>),
    Slice(Delta<EndpointSlice>),
    Node(Delta<Node>),
    Pod(Delta<Pod>),
    Namespace(Delta<Namespace>),
    Policy(Delta<NetworkPolicy>),
}

/// How telling ended.
struct Told {
    /// What it leaves stale, once the kernel has taken it.
    applied: Result<BTreeMap<String, Structure>, Error>,
    /// UDP frontends whose flows are still to be cleared.
    unclear: BTreeSet<Frontend>,
}

/// What the one task owns.
struct State {
    model: Model,
    servers: Servers,
    /// What is being told, one at most, and what it leaves stale.
    telling: FuturesUnordered<BoxFuture<'static, Told>>,
    /// Something came in since the kernel was told.
    changed: bool,
    /// The kernel's table is not to be trusted.
    in_doubt: bool,
    /// After a refusal.
    rules: Retry,
    /// UDP frontends whose flows could not be cleared.
    unclear: BTreeSet<Frontend>,
    flows: Retry,
    /// Health checks whose port could not be had, with their endpoints here.
    unserved: BTreeMap<Key, (u16, usize)>,
    checks: Retry,
    stale: BTreeMap<String, Structure>,
    sweep_at: Option<Instant>,
}

impl Proxy {
    /// Prepares the proxy; its event recorder and health check servers run under `tasks`.
    pub fn new(config: Config, tasks: &Tasks) -> Self {
        let recorder = SeriesRecorder::new(config.client.clone(), "kube-proxy", tasks);
        Self { config, recorder, tasks: tasks.clone() }
    }

    /// Keeps the kernel in step with the cluster until the drain. The rules stay; [`Proxy::cleanup`] takes them back.
    pub async fn run(&self, drain: Drain) {
        let informers = &self.config.informers;
        let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
        let (nodes, pods) = (informers.of::<Node>(), informers.of::<Pod>());
        let (namespaces, policies) = (informers.of::<Namespace>(), informers.of::<NetworkPolicy>());
        let mut inputs = futures::stream::select_all([
            services.subscribe().into_stream().map(Input::Service).boxed(),
            slices.subscribe().into_stream().map(Input::Slice).boxed(),
            nodes.subscribe().into_stream().map(Input::Node).boxed(),
            pods.subscribe().into_stream().map(Input::Pod).boxed(),
            namespaces.subscribe().into_stream().map(Input::Namespace).boxed(),
            policies.subscribe().into_stream().map(Input::Policy).boxed(),
        ]);
        let synced = async {
            tokio::join!(services.synced(), slices.synced(), nodes.synced());
            tokio::join!(pods.synced(), namespaces.synced(), policies.synced())
        };
        tokio::select! {
            () = drain.wait() => return,
            _ = synced => {}
        }
        let mut state = State {
            model: Model::new(&self.config.facts()),
            servers: Servers::new(self.tasks.clone(), self.config.health.clone()),
            telling: FuturesUnordered::new(),
            changed: true,
            in_doubt: true,
            rules: Retry::default(),
            unclear: BTreeSet::new(),
            flows: Retry::default(),
            unserved: BTreeMap::new(),
            checks: Retry::default(),
            stale: BTreeMap::new(),
            sweep_at: None,
        };
        loop {
            while let Some(Some(input)) = inputs.next().now_or_never() {
                self.take_in(&mut state, &pods, input);
            }
            let idle = state.telling.is_empty();
            if idle && state.changed && state.rules.at().is_none() {
                self.tell(&mut state).await;
            }
            let due = [state.rules.at(), state.flows.at(), state.checks.at(), state.sweep_at];
            let due = due.into_iter().flatten().min().filter(|_| idle);
            tokio::select! {
                biased;
                () = drain.wait() => break,
                Some(told) = state.telling.next() => self.told(&mut state, told),
                Some(input) = inputs.next() => self.take_in(&mut state, &pods, input),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.due(&mut state),
            }
        }
        // nothing is left half way
        while state.telling.next().await.is_some() {}
    }

    fn take_in(&self, state: &mut State, pods: &Informer<Pod>, input: Input) {
        let model = &mut state.model;
        // pods matter to policies alone
        if matches!(input, Input::Pod(_)) && !model.has_policies() {
            return;
        }
        state.changed = true;
        match input {
            Input::Service(delta) => model.apply_service(&delta.key, delta.new),
            Input::Slice(delta) => model.apply_slice(delta.old.as_ref(), delta.new.as_ref()),
            Input::Node(delta) => {
                if let Some(node) = delta.new.filter(|_| delta.key.name == self.config.node_name) {
                    model.apply_node(node.metadata.labels.as_ref().unwrap_or(&BTreeMap::new()));
                }
            }
            Input::Pod(delta) => model.apply_pod(&delta.key, delta.new.as_deref()),
            Input::Namespace(delta) => {
                let labels = delta.new.map(|one| one.metadata.labels.clone().unwrap_or_default());
                model.apply_namespace(&delta.key.name, labels);
            }
            Input::Policy(delta) => {
                let had = model.has_policies();
                model.apply_policy(&delta.key, delta.new.as_deref());
                match (had, model.has_policies()) {
                    (false, true) => {
                        pods.list().iter().for_each(|pod| model.apply_pod(&pod.key(), Some(pod)))
                    }
                    (true, false) => model.forget_pods(),
                    _ => {}
                }
            }
        }
    }

    /// Starts to tell the kernel what is new, or everything if it is in doubt what it holds.
    async fn tell(&self, state: &mut State) {
        state.changed = false;
        let whole = state.in_doubt;
        let news = if whole { state.model.whole() } else { state.model.take() };
        let News { change, udp, health } = news;
        self.serve_checks(state, health).await;
        state.unclear.extend(udp);
        if !whole && change.is_empty() && state.unclear.is_empty() {
            return;
        }
        let unclear = std::mem::take(&mut state.unclear);
        let flows = state.model.answering(&unclear);
        state.stale.retain(|name, _| !change.structures.contains_key(name));
        let stale = change.stale.clone();
        let frame = self.config.frame();
        state.telling.push(
            async move {
                let told = async {
                    if !whole {
                        return kernel::apply(&frame.table, change).await;
                    }
                    kernel::set_sysctls(&frame.bridge)?;
                    kernel::set_route(&frame, true).await?;
                    kernel::replace(&frame, &change).await
                };
                let applied = told.await.map(|()| stale);
                // before the rules are there, flows come again as they were
                let cleared = applied.is_ok() && clear_flows(flows).await;
                Told { applied, unclear: if cleared { BTreeSet::new() } else { unclear } }
            }
            .boxed(),
        );
    }

    /// Brings the health checks' servers up to date, and tries those again that could not be.
    async fn serve_checks(&self, state: &mut State, news: BTreeMap<Key, Option<(u16, usize)>>) {
        let failed = std::mem::take(&mut state.unserved);
        let mut all: BTreeMap<Key, Option<(u16, usize)>> =
            failed.iter().map(|(key, wanted)| (key.clone(), Some(*wanted))).collect();
        all.extend(news);
        // what is free again may be wanted by another
        let (gone, wanted): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, wanted)| wanted.is_none());
        for (key, wanted) in gone.into_iter().chain(wanted) {
            if let Err(error) = state.servers.set(&key, wanted).await
                && let Some((port, endpoints)) = wanted
            {
                if failed.get(&key).is_none_or(|(before, _)| *before != port) {
                    self.health_check_failed(&key, port, &error);
                }
                state.unserved.insert(key, (port, endpoints));
            }
        }
        match state.unserved.is_empty() {
            true => state.checks.settled(),
            false => drop(state.checks.failed()),
        }
    }

    fn told(&self, state: &mut State, told: Told) {
        let Told { applied, unclear } = told;
        state.unclear.extend(unclear);
        match applied {
            Ok(stale) => {
                if std::mem::take(&mut state.in_doubt) {
                    tracing::info!(elements = state.model.len(), "rules are complete");
                    self.config.health.ready(Component::Proxy);
                }
                state.rules.settled();
                match state.unclear.is_empty() {
                    true => state.flows.settled(),
                    false => drop(state.flows.failed()),
                }
                state.stale.extend(stale);
                if !state.stale.is_empty() {
                    state.sweep_at.get_or_insert(Instant::now() + STALE);
                }
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let pause = state.rules.failed();
                tracing::warn!(%error, cause, ?pause, "rules refused: all of them will be written anew");
                self.config.health.set(Component::Proxy, sampan_process::State::Starting);
                (state.in_doubt, state.changed) = (true, true);
                // goes with the table
                state.stale.clear();
                state.sweep_at = None;
            }
        }
    }

    /// A pause is over, or what is stale can go.
    fn due(&self, state: &mut State) {
        let now = Instant::now();
        state.rules.is_due(now);
        let (flows, checks) = (state.flows.is_due(now), state.checks.is_due(now));
        state.changed |= flows || checks;
        if state.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        state.sweep_at = None;
        let stale = std::mem::take(&mut state.stale);
        state.telling.push(sweep(self.config.table.clone(), stale).boxed());
    }

    fn health_check_failed(&self, key: &Key, port: u16, error: &std::io::Error) {
        let node = &self.config.node_name;
        let text =
            format!("node {node} failed to start healthcheck {:?} on port {port}: {error}", key.to_string());
        tracing::warn!(service = %key, port, %error, "health check node port cannot be served");
        if let Some(service) = self.config.informers.of::<Service>().get(key) {
            let reason = "FailedToStartServiceHealthcheck";
            let deed = Deed { kind: EventType::Warning, reason, action: "Listen" };
            self.recorder.event(&reference(&*service), None, deed, text);
        }
    }

    /// Takes back all that the proxy has put into the kernel.
    pub async fn cleanup(config: &Config) -> Result<(), Error> {
        cleanup(&config.table, &config.bridge, &config.service_cidr).await
    }
}

/// Takes back the table and the services' route; what is not there is fine.
pub async fn cleanup(table: &str, bridge: &str, service_cidr: &str) -> Result<(), Error> {
    let frame = Frame {
        table: table.to_owned(),
        bridge: bridge.to_owned(),
        pods: String::new(),
        services: service_cidr.to_owned(),
        gateway: String::new(),
        led: Vec::new(),
    };
    kernel::set_route(&frame, false).await?;
    match kernel::script(&frame::remove(table)).await {
        // without the program there are no rules either
        Err(Error::NoNft) => Ok(()),
        other => other,
    }
}

/// Deletes what is stale; what the kernel still holds stays so.
async fn sweep(table: String, stale: BTreeMap<String, Structure>) -> Told {
    let applied = match kernel::script(&frame::sweep(&table, stale.iter())).await {
        Ok(()) => Ok(BTreeMap::new()),
        Err(Error::Nft(text)) if text.contains("busy") => Ok(stale),
        Err(error) => Err(error),
    };
    Told { applied, unclear: BTreeSet::new() }
}

/// Deletes stale flows; whether it is sure that there are none any more.
async fn clear_flows(udp: Frontends) -> bool {
    if udp.is_empty() {
        return true;
    }
    let cleared = tokio::task::spawn_blocking(move || conntrack::clear(&udp)).await;
    match cleared.unwrap_or(Err(nix::errno::Errno::ECANCELED)) {
        Ok(0) => true,
        Ok(flows) => {
            tracing::debug!(flows, "stale UDP flows deleted");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "stale UDP flows are not deleted and will be looked at again");
            false
        }
    }
}
