//! The server's parts, put together: `Config → new() → run(drain)`.

use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use sampan_process::{Component, Drain, Health, Tasks};
use sampan_store::{Key, Seal, Store};
use tokio::task::JoinHandle;

use crate::aggregate::{self, Groups};
use crate::audit::{self, Auditor};
use crate::auth::Auth;
use crate::auth::issuers::Issuers;
use crate::crd::{self, Customs};
use crate::fairness::{self, Fairness};
use crate::identity::{self, Identity};
use crate::pipeline::Gate;
use crate::pki::Pki;
use crate::registry::watch::InProcess;
use crate::registry::{Admission, Registry, columns};
use crate::routes::zpages::{self, Flags};
use crate::secrets::{self, Sealer};
use crate::strategies::services::{self, ServiceBlock};
use crate::{NodeConnector, Peer, ResponseBody, UserInfo, bootstrap, pki, rim};

/// What the binary decides.
pub struct Config {
    /// The profile's data directory: `db/state.db`, `pki/`, `encryption.key`.
    pub data: PathBuf,
    /// Where tasks are spawned.
    pub tasks: Tasks,
    /// Where readiness is told.
    pub health: Health,
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on, or the first to try.
    pub port: u16,
    /// Whether no other port will do.
    pub port_fixed: bool,
    /// This node's name, for the serving certificate.
    pub node_name: String,
    /// The host's addresses, for the serving certificate; the first that is not loopback is the one that pods
    /// reach the API by.
    pub addresses: Vec<IpAddr>,
    /// Addresses of Services; the first is the API's own.
    pub services: ServiceBlock,
    /// How long the store keeps history (watch resume, exact lists).
    pub history: Duration,
    /// What is recorded of requests, and where.
    pub audit: audit::Options,
    /// File of an `AuthenticationConfiguration`: issuers of tokens, and who needs none.
    pub authentication: Option<PathBuf>,
}

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory could not be made.
    #[error("cannot make {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] sampan_store::OpenError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// The key that seals Secrets.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    /// The bootstrap roles could not be written.
    #[error("cannot write the bootstrap roles: {0}")]
    Roles(String),
    /// The registry's own APIServices could not be written.
    #[error("cannot write the registry's {0}")]
    ApiServices(String),
    /// No port to listen on.
    #[error("cannot listen on {address} port {port}{}: {source}", if *.fixed { "" } else { " or any of the next hundred" })]
    Bind {
        /// The address.
        address: IpAddr,
        /// The port, or the first tried.
        port: u16,
        /// Whether no other was tried.
        fixed: bool,
        /// Why.
        source: std::io::Error,
    },
    /// Serving ended.
    #[error("serving failed: {0}")]
    Serve(std::io::Error),
    /// Services have addresses of another block than the configured one.
    #[error(
        "the cluster's Services have addresses of {stored}, not of {configured}: a block cannot be changed once it is in use"
    )]
    ServiceBlock {
        /// What was asked for.
        configured: ServiceBlock,
        /// What the database says.
        stored: String,
    },
    /// Addresses of Services could not be brought in order.
    #[error("cannot repair the addresses of Services: {0}")]
    Services(sampan_store::WriteError),
    /// The file that names issuers.
    #[error("--authentication-config={}: {why}", .file.display())]
    Authentication {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The audit log or webhook.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// Objects of the first start.
    #[error("cannot make the cluster's first objects: {0}")]
    Bootstrap(#[from] sampan_api::status::ApiError),
}

/// The API server. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

struct Inner {
    registry: Registry,
    store: Store,
    auth: Arc<Auth>,
    gate: OnceLock<Arc<dyn Gate>>,
    groups: Arc<Groups>,
    customs: Customs,
    pki: Pki,
    auditor: Option<Arc<Auditor>>,
    fairness: OnceLock<Arc<Fairness>>,
    health: Health,
    listener: Mutex<Option<TcpListener>>,
    /// Those that serve at further addresses.
    also: Mutex<Vec<JoinHandle<()>>>,
    bind: IpAddr,
    advertise: IpAddr,
    port: u16,
    identity: Identity,
    flags: Flags,
    drain: Drain,
    tasks: Tasks,
}

/// Calls the pipeline as one user; the binary wraps it for `sampan_client::loopback`.
pub type LoopbackHandler =
    Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<ResponseBody>> + Send + Sync>;

/// Upstream's `--service-account-issuer`, kubeadm's value.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Open connections may go on this long after the drain began.
const GRACE: Duration = Duration::from_secs(2);

/// What an `AuthenticationConfiguration` says, which is refused if anything is wrong with it.
pub fn issuers(file: Option<&Path>) -> Result<Issuers, Error> {
    let Some(file) = file else { return Ok(Issuers::default()) };
    let failed = |why| Error::Authentication { file: file.to_owned(), why };
    Issuers::open(file, &[ISSUER.to_owned()]).map_err(failed)
}

impl ApiServer {
    /// Opens the store, makes keys and certificates, binds the port and puts the cluster's first objects there.
    pub async fn new(config: Config) -> Result<Self, Error> {
        let auditor = Auditor::open(&config.audit, &config.tasks)?;
        let db = directory(config.data.join("db"))?;
        let pki = Pki::open(pki::Config {
            folder: config.data.join("pki"),
            node_name: config.node_name.clone(),
            addresses: config.addresses.clone(),
            service_ip: config.services.at(1).into(),
            cluster_domain: "cluster.local".into(),
        })?;
        let sealer = Sealer::open(&config.data.join("encryption.key"), !db.join("state.db").exists())?;
        let store = open_store(&db, &config, Arc::new(sealer)).await?;
        let configured = config.services;
        services::check_block(&store, configured)
            .map_err(|stored| Error::ServiceBlock { configured, stored })?;
        let looked_at = store.revision();
        services::repair(&store, configured).await.map_err(Error::Services)?;
        let issuers = issuers(config.authentication.as_deref())?.until(config.tasks.drain());
        let auth = Arc::new(Auth::new(store.clone(), pki.token_key(), ISSUER).with_issuers(issuers));
        let (address, port, fixed) = (config.bind, config.port, config.port_fixed);
        let bound = if fixed { rim::bind(address, port) } else { rim::bind_free(address, port) };
        let listener = bound.map_err(|source| Error::Bind { address, port, fixed, source })?;
        let port = listener.local_addr().map_or(config.port, |a| a.port());
        let advertise =
            config.addresses.iter().copied().find(|a| a.is_ipv4() && !a.is_loopback()).unwrap_or(config.bind);
        let flags = zpages::flags(&config, advertise, port, ISSUER);
        let server = Self(Arc::new(Inner {
            registry: Registry::new(store.clone()),
            customs: Customs::new(store.clone()),
            store,
            auth,
            gate: OnceLock::new(),
            groups: Arc::new(Groups::new(pki.clone())),
            pki,
            auditor,
            fairness: OnceLock::new(),
            health: config.health,
            listener: Mutex::new(Some(listener)),
            also: Mutex::default(),
            bind: config.bind,
            advertise,
            port,
            identity: Identity::of(&config.node_name),
            flags,
            drain: config.tasks.drain(),
            tasks: config.tasks,
        }));
        bootstrap::objects(server.registry(), config.services.at(1)).await?;
        let keeping = bootstrap::bring_back(server.registry().clone(), config.services.at(1));
        server.0.tasks.spawn_until_drain("the API's own Service", keeping);
        let following = services::follow(server.0.store.clone(), configured, looked_at);
        server.0.tasks.spawn_until_drain("service addresses", following);
        if let Some(file) = config.authentication {
            let (auth, drain) = (server.0.auth.clone(), server.0.drain.clone());
            let following = crate::auth::issuers::reload::follow(file, vec![ISSUER.to_owned()], auth, drain);
            server.0.tasks.spawn_until_drain("authentication config", following);
        }
        let noting = server.0.auth.tokens().uses().note(server.registry().clone());
        server.0.tasks.spawn_until_drain("uses of tokens", noting);
        let (registry, customs) = (server.registry().clone(), server.customs().clone());
        let following = aggregate::follow(registry, server.groups().clone(), customs);
        server.0.tasks.spawn_until_drain("api services", following);
        let following = crd::follow(server.registry().clone(), server.customs().clone());
        server.0.tasks.spawn_until_drain("custom resources", following);
        let following =
            crate::dynamic::policies::status::follow(server.registry().clone(), server.customs().clone());
        server.0.tasks.spawn_until_drain("policy types", following);
        Ok(server)
    }

    /// Serves over TLS until `drain`, then closes the store.
    pub async fn run(self, drain: Drain) -> Result<(), Error> {
        let listener = match self.0.listener.lock().take() {
            Some(listener) => listener,
            // a restart after a failure: the same port again
            None => rim::bind(self.0.bind, self.0.port).map_err(Error::Serve)?,
        };
        self.0.health.ready(Component::ApiServer);
        let server = self.clone();
        let handle =
            move |request: Request<Bytes>, peer: Peer| -> BoxFuture<'static, Response<ResponseBody>> {
                let server = server.clone();
                Box::pin(async move { server.handle(request, peer).await })
            };
        self.serve(listener, 2, handle, drain).await?;
        let also = std::mem::take(&mut *self.0.also.lock());
        for serving in also {
            // it has told how it ended
            let _ = serving.await;
        }
        if let Some(auditor) = self.auditor() {
            auditor.close().await;
        }
        self.0.identity.leave_soon(self.registry()).await;
        // nobody asks any more: what is not yet in the file goes there
        self.0.store.close().await;
        Ok(())
    }

    /// Serves at another address as well, such as the first of the Services', until the drain. To be called after
    /// [`ApiServer::secure`].
    pub fn listen_also(&self, address: IpAddr, port: u16) -> Result<(), Error> {
        let server = self.clone();
        self.listen(address, port, 2, move |request, peer| {
            let server = server.clone();
            Box::pin(async move { server.handle(request, peer).await })
        })
    }

    /// Serves the API of the kubelet of `node` at an address, with the same certificates, until the drain. To be called
    /// after [`ApiServer::secure`].
    pub fn listen_at_node(&self, node: &str, address: IpAddr, port: u16) -> Result<(), Error> {
        let (server, node) = (self.clone(), Arc::<str>::from(node));
        self.listen(address, port, 1, move |request, peer| {
            let (server, node) = (server.clone(), node.clone());
            Box::pin(async move { server.handle_at_node(request, peer, &node).await })
        })
    }

    fn listen(
        &self,
        address: IpAddr,
        port: u16,
        workers: usize,
        serve: impl Fn(Request<Bytes>, Peer) -> BoxFuture<'static, Response<ResponseBody>> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let bound = rim::bind(address, port);
        let listener = bound.map_err(|source| Error::Bind { address, port, fixed: true, source })?;
        let (server, drain, tasks) = (self.clone(), self.0.drain.clone(), self.0.tasks.clone());
        let serving = tasks.spawn("second listener", async move {
            if let Err(error) = server.serve(listener, workers, serve, drain).await {
                tracing::error!(%error, %address, port, "no longer listening");
            }
        });
        self.0.also.lock().push(serving);
        Ok(())
    }

    async fn serve(
        &self,
        listener: TcpListener,
        workers: usize,
        serve: impl Fn(Request<Bytes>, Peer) -> BoxFuture<'static, Response<ResponseBody>> + Send + Sync + 'static,
        drain: Drain,
    ) -> Result<(), Error> {
        let tls = self.0.pki.server_config()?;
        let clients = self.0.pki.client_verifier()?;
        let config = rim::Config { listener, tls, clients, workers, grace: GRACE };
        rim::run(config, Arc::new(serve), drain).await.map_err(Error::Serve)
    }

    /// Turns security on, once, before serving: writes upstream's bootstrap roles where they are missing, sets
    /// the gate and the admission plugins, and keeps certificates fresh until the drain.
    pub async fn secure(&self, tasks: &Tasks) -> Result<(), Error> {
        crate::auth::bootstrap::ensure(&self.0.store).await.map_err(Error::Roles)?;
        aggregate::local::ensure(&self.0.store).await.map_err(Error::ApiServices)?;
        let following = aggregate::custom::follow(self.store().clone(), self.customs().clone());
        tasks.spawn_until_drain("custom api services", following);
        aggregate::authentication::ensure(self.registry(), self.pki()).await?;
        let following = aggregate::authentication::follow(self.registry().clone(), self.pki().clone());
        tasks.spawn_until_drain("extension-apiserver-authentication", following);
        if let Err(error) =
            crate::cluster_info::ensure(self.registry(), self.pki().ca_pem(), self.port()).await
        {
            // nobody here depends on it
            tracing::warn!(%error, "cannot write ConfigMap kube-public/cluster-info");
        }
        let following = self.0.identity.clone().follow(self.registry().clone());
        tasks.spawn_until_drain("identity", following);
        let following = crate::auth::legacy::follow(self.registry().clone());
        tasks.spawn_until_drain("legacy token tracking", following);
        let fairness = Fairness::new(self.0.store.clone(), fairness::SEATS, None);
        fairness.ensure().await;
        tasks.spawn_until_drain("flow schemas", fairness.follow());
        let _ = self.0.fairness.set(fairness);
        self.set_gate(self.0.auth.clone());
        self.set_plugins(crate::admission::plugins(self.0.auth.clone(), self.customs().clone()));
        self.0.pki.keep_fresh(tasks);
        Ok(())
    }

    /// Sets authentication and authorization; once, before serving. Until then only loopback is let in.
    pub fn set_gate(&self, gate: Arc<dyn Gate>) {
        let _ = self.0.gate.set(gate);
    }

    /// Sets the admission plugins, in order; once, before serving.
    pub fn set_plugins(&self, plugins: Vec<Admission>) {
        self.0.registry.set_plugins(plugins);
    }

    /// Sets how nodes are reached: the kubelet is made after the API server, for it needs a client.
    pub fn set_connector(&self, connector: Arc<dyn NodeConnector>) {
        self.0.registry.set_connector(connector);
    }

    /// A function that answers requests as `user`, without a socket.
    pub fn loopback(&self, user: UserInfo) -> LoopbackHandler {
        let (server, user) = (self.clone(), Arc::new(user));
        Arc::new(move |request| {
            let (server, peer) = (server.clone(), Peer::Loopback(user.clone()));
            Box::pin(async move { server.handle(request, peer).await })
        })
    }

    /// The same for a component that watches, and may be told of objects by parts: what is before one, the stored bytes
    /// themselves, what is behind it.
    pub fn loopback_by_parts(&self, user: UserInfo) -> LoopbackHandler {
        let handler = self.loopback(user);
        Arc::new(move |mut request: Request<Bytes>| {
            request.extensions_mut().insert(InProcess);
            handler(request)
        })
    }

    /// Who serves groups that are not the registry's.
    pub(crate) fn groups(&self) -> &Arc<Groups> {
        &self.0.groups
    }

    /// Who is let in.
    #[cfg(test)]
    pub(crate) fn auth(&self) -> &Arc<Auth> {
        &self.0.auth
    }

    /// Who records requests, if anyone does.
    pub(crate) fn auditor(&self) -> Option<&Arc<Auditor>> {
        self.0.auditor.as_ref()
    }

    /// Who lets requests in, once there is security.
    pub(crate) fn fairness(&self) -> Option<&Arc<Fairness>> {
        self.0.fairness.get()
    }

    /// Which custom resources are served.
    pub(crate) fn customs(&self) -> &Customs {
        &self.0.customs
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// What the server was told, by upstream's flags.
    pub(crate) fn flags(&self) -> &Flags {
        &self.0.flags
    }

    /// Where tasks are spawned.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.0.pki
    }

    /// The port in use.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The address that pods and other nodes reach the API by.
    pub fn advertise(&self) -> IpAddr {
        self.0.advertise
    }

    /// The administrator's kubeconfig, for clients on this machine.
    pub fn admin_kubeconfig(&self, context: &str) -> serde_json::Value {
        let server = format!("https://127.0.0.1:{}", self.0.port);
        pki::kubeconfig(context, &server, self.0.pki.ca_pem(), &self.0.pki.admin())
    }

    pub(crate) fn gate(&self) -> &dyn Gate {
        self.0.gate.get().map_or(&crate::pipeline::LoopbackOnly as &dyn Gate, |gate| gate.as_ref())
    }

    pub(crate) fn health_report(&self) -> &Health {
        &self.0.health
    }

    pub(crate) fn draining(&self) -> bool {
        self.0.drain.started()
    }
}

fn directory(path: PathBuf) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(|source| Error::Directory { path: path.clone(), source })?;
    Ok(path)
}

async fn open_store(folder: &std::path::Path, config: &Config, seal: Arc<dyn Seal>) -> Result<Store, Error> {
    let mut options = sampan_store::Config::new(folder.join("state.db"));
    options.columns = Arc::new(columns::read);
    options.seal = seal;
    options.history = config.history;
    options.relaxed = relaxed;
    Ok(Store::open(options, config.tasks.clone()).await?)
}

/// Heartbeats and events may be lost in a crash; nothing else.
fn relaxed(key: &Key) -> bool {
    match &*key.bucket {
        "events" => true,
        "leases.coordination.k8s.io" => {
            key.name.starts_with("kube-node-lease/") || key.name.starts_with(identity::PREFIX)
        }
        _ => false,
    }
}
