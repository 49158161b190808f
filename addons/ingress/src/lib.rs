//! The native addon ingress: Ingresses of the class `sampan` are served at the node's ports 80 and 443.
//!
//! ```text
//!  Ingress, IngressClass, Secret ─► index ─► Table, swapped whole ─┐
//!  Service, EndpointSlice ────────► Backend, swapped alone ────────┤
//!                                                                  ▼
//!  client ─► gate ─► hyper (HTTP/1, HTTP/2) ─► forward: route, head ─► upstream: a connection to an endpoint
//! ```
//!
//! What decides is pure and below `index`; what serves is a thread for each core ([`worker`]) that shares the table
//! alone. A request goes to an endpoint directly, not by its Service's address. It does not gather bodies, does not
//! cache, and writes nothing but the status of Ingresses and events.
//!
//! Health ([`standing`]) is of the ports: sockets that are not there ([`listen`]), and ports that the kernel leads to a
//! Service or a pod before a socket hears of them ([`claims`]), which only the objects tell.

mod annotations;
mod answer;
mod backend;
mod body;
mod certificate;
mod claims;
mod class;
mod compile;
mod config;
mod connection;
mod deadline;
mod feed;
mod forward;
mod gate;
mod headers;
mod holder;
mod index;
mod listen;
mod path;
mod scan;
mod spare;
mod standing;
mod status;
mod table;
mod tunnel;
mod upstream;
mod wire;
mod worker;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use sampan_addon::{About, Addon, Context, Drain, Error, Site, Text};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

pub use config::{Config, Port};

use claims::Reach;
use feed::{Feed, Objects};
use index::Index;
use standing::Standing;
use status::Publisher;
use worker::{Door, Shared};

/// The addon.
pub struct Ingress;

#[async_trait]
impl Addon for Ingress {
    type Config = Config;

    fn about(&self) -> About {
        About {
            name: "ingress",
            summary: Text {
                en: "Serves Ingresses at the node's ports {http.port} and {https.port}: TLS, HTTP/2, gRPC, websockets",
                zh: "在节点的 {http.port} 和 {https.port} 端口提供 Ingress 服务:TLS、HTTP/2、gRPC、WebSocket",
            },
            maintainer: "sampan",
            version: env!("CARGO_PKG_VERSION"),
            default_on: false,
            needs: &[],
        }
    }

    fn check(&self, config: &Config) -> Result<(), Error> {
        config.check()
    }

    fn objects(&self, config: &Config, _: &Site) -> Result<Vec<Value>, Error> {
        Ok(vec![json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {
                "name": class::CLASS,
                "annotations": {class::DEFAULT_CLASS: config.default_class.to_string()},
            },
            "spec": {"controller": class::CONTROLLER},
        })])
    }

    async fn run(&self, config: Config, context: Context, drain: Drain) -> Result<(), Error> {
        let folder = context.data.clone();
        let own = tokio::task::spawn_blocking(move || certificate::own(&folder)).await;
        let own = own.map_err(|error| Error::Other(error.to_string()))??;
        let index = Arc::new(Mutex::new(Index::new(&config, own)));
        let table = Arc::new(ArcSwap::<table::Table>::default());
        let objects = Objects::new(&context);
        let (touched, names) = unbounded_channel();
        let feed = Feed { objects: objects.clone(), index: index.clone(), table: table.clone(), touched };
        let (ready, is_ready) = oneshot::channel();
        let told = move || _ = ready.send(());
        context.tasks.spawn("feed", feed.run(drain.clone(), told));
        let publisher = Arc::new(Publisher::new(&context, config.clone(), objects.ingresses, index, names));
        context.tasks.spawn("status", sampan_reconcile::run(publisher, drain.clone()));
        // before the first table there is nothing but 404 to say
        tokio::select! {
            () = drain.wait() => return Ok(()),
            _ = is_ready => {}
        }
        serve(&config, table, &context, drain).await
    }

    async fn disabled(&self, config: Config, context: Context) -> Result<(), Error> {
        status::withdraw(&context, &config).await.map_err(|error| Error::Other(error.to_string()))
    }
}

/// Serves until the drain and the end of all that was under way.
async fn serve(
    config: &Config,
    table: Arc<ArcSwap<table::Table>>,
    context: &Context,
    drain: Drain,
) -> Result<(), Error> {
    // the threads end with this function, however it ends
    let drain = drain.child();
    let _end = End(drain.clone());
    let shared = Shared {
        tls: tls(&table)?,
        table,
        limits: config.limits(),
        trusted: config.trusted()?,
        https_port: Some(config.https.port).filter(|port| *port != 0),
        places: Arc::new(tokio::sync::Semaphore::new(config.connections)),
        drain: drain.clone(),
    };
    let (mut doors, mut ends) = (Vec::new(), FuturesUnordered::new());
    for number in 0..workers(config) {
        let (sender, receiver) = unbounded_channel::<Door>();
        ends.push(thread(number, shared.clone(), receiver)?);
        doors.push(sender);
    }
    tokio::select! {
        biased;
        () = drain.wait() => {}
        // a worker's end before the drain is a failure of all: the platform starts it again
        _ = ends.next() => return Err(Error::Other("a worker thread has ended".into())),
        () = async {
            let standing = Standing::new(context.health.clone(), listen::count(config));
            let reach = Reach::new(config, context);
            tokio::join!(
                listen::open(config, &doors, |missing| standing.missing(missing)),
                claims::watch(reach, context, &drain, |led| standing.led(led)),
            );
            std::future::pending().await
        } => {}
    }
    while ends.next().await.is_some() {}
    Ok(())
}

/// Starts a drain when it is dropped.
struct End(Drain);

impl Drop for End {
    fn drop(&mut self) {
        self.0.start();
    }
}

fn workers(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.workers == 0 { cores } else { config.workers }
}

/// Starts a worker's thread; what is returned resolves when it has ended.
fn thread(
    number: usize,
    shared: Shared,
    doors: tokio::sync::mpsc::UnboundedReceiver<Door>,
) -> Result<oneshot::Receiver<()>, Error> {
    let (ended, end) = oneshot::channel();
    let work = move || {
        if let Err(error) = worker::run(shared, doors) {
            tracing::error!(%error, "worker not started");
        }
        // whoever waited may be gone
        let _ = ended.send(());
    };
    let spawned = std::thread::Builder::new().name(format!("ingress-{number}")).spawn(work);
    spawned.map_err(|error| Error::Io { what: "a worker's thread".into(), error })?;
    Ok(end)
}

fn tls(table: &Arc<ArcSwap<table::Table>>) -> Result<Arc<rustls::ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let resolver = Arc::new(certificate::Resolver(table.clone()));
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::Other(format!("TLS: {error}")))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer =
        rustls::crypto::ring::Ticketer::new().map_err(|error| Error::Other(format!("TLS: {error}")))?;
    Ok(Arc::new(config))
}
