//! The inventory: what a node of sampan runs, in the order in which it starts.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use sampan_apiserver::{ApiServer, ServiceBlock};
use sampan_controllers::ControllerManager;
use sampan_cri::Runtime;
use sampan_kubelet::Kubelet;
use sampan_pod_network::PodNetwork;
use sampan_process::{Component, ComponentHealth, Health, State, Tasks, supervise};
use sampan_reconcile::{Informers, Key};
use sampan_scheduler::Scheduler;
use sampan_scheduler::config::Configuration;
use sampan_simulate::Simulator;
use tokio::sync::mpsc;

use super::authority::Authority;
use super::connect::{InProcess, client};
use super::console::{self, Dashboard};
use super::platform::{Own, Parts};
use super::report::{Report, StartEvent};
use super::shutdown::{self, Signals};
use super::{access, addresses, builtin, kubeconfigs, role, runtime, step, warn};
use crate::failure::{Failure, Kind};
use crate::messages::Message;
use crate::options::{node_name, scheduler_configuration};
use crate::profile::{Profile, RuntimeKind, Settings};
use crate::rest::{self, Rest};
use crate::{resolver, services};

/// What the control socket and the end of the daemon need of the running parts.
pub struct Running {
    /// The profile.
    pub profile: Profile,
    /// As started.
    pub settings: Settings,
    /// The API server.
    pub server: ApiServer,
    /// The container runtime.
    pub runtime: Runtime,
    /// The pods' network.
    pub network: PodNetwork,
    /// Who is well.
    pub health: Health,
    /// The platform of addons.
    pub addons: sampan_addons::Addons,
    /// The dashboard's way in.
    pub dashboard: Dashboard,
    /// Nodes without containers.
    pub simulator: Simulator,
    /// The node's name.
    pub node: String,
}

/// Starts everything, reports, and returns when the daemon has drained.
pub async fn run(profile: &Profile, report: &mut Report) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let settings = profile.settings()?;
    let health = Health::new();
    let node = node_name(&settings);
    step(report, Message::PreparingKubernetes { version: sampan_apiserver::VERSION.to_owned() });

    let server_tasks = Tasks::new(Component::ApiServer);
    let server = api_server(profile, &settings, &node, &health, &server_tasks).await?;
    if server.port() != settings.apiserver_port {
        warn(report, Message::OtherPort { wanted: settings.apiserver_port, port: server.port() });
    }
    step(report, Message::ServingAt { address: format!("https://127.0.0.1:{}", server.port()) });

    let reader = client(&server, "system:apiserver", &["system:masters"]);
    let informer_tasks = Tasks::new(Component::Daemon);
    let informers =
        Informers::new(reader, informer_tasks.clone()).giving_back(sampan_cri_oci::give_back).streaming();

    let kubelet_tasks = Tasks::new(Component::Kubelet);
    let kind = settings.container_runtime.to_string();
    let runtime = runtime::open(profile, &settings, &kubelet_tasks).await?;
    step(report, Message::StartingRuntime { runtime: kind });
    if settings.container_runtime == RuntimeKind::Docker {
        // its sandboxes are made of the built-in image
        let loaded = builtin::load(&runtime, profile).await;
        loaded.map_err(|error| Failure::new(Kind::Runtime, format!("the built-in image: {error}")))?;
    }
    let network = pod_network(profile, &settings, &kubelet_tasks).await?;
    step(report, Message::ConfiguringNetwork { cidr: network.pod_cidr() });

    let addresses = Own::addresses(&settings)?;
    let put = network.serve_at(&addresses).await;
    put.map_err(|error| Failure::new(Kind::PodNetwork, with_causes(&error)))?;
    let own = Own::choose(addresses)?;
    let listening = server.listen_also(IpAddr::V4(*own.api.ip()), own.api.port());
    listening.map_err(|error| Failure::new(Kind::PortTaken, with_causes(&error)))?;
    let listening = server.listen_at_node(&node, IpAddr::V4(*own.kubelet.ip()), own.kubelet.port());
    listening.map_err(|error| Failure::new(Kind::PortTaken, with_causes(&error)))?;

    let controller_tasks = Tasks::new(Component::ControllerManager);
    controller_manager(&server, &informers, &health, &controller_tasks);
    let scheduler_tasks = Tasks::new(Component::Scheduler);
    let configuration = scheduler_configuration(&settings)?;
    scheduler(&server, &informers, &health, &scheduler_tasks, configuration);
    let dns = *own.dns.ip();
    let parts = KubeletParts { node: &node, runtime: &runtime, network: network.clone(), dns };
    kubelet(profile, &server, &informers, &health, &kubelet_tasks, parts).await?;
    let simulator_tasks = Tasks::new(Component::Simulator);
    let simulator = simulator(&server, &informers, &health, &node, &simulator_tasks);

    let parts = Parts {
        profile,
        settings: &settings,
        node: &node,
        server: &server,
        informers: &informers,
        health: &health,
        network: &network,
        own,
    };
    let proxy_tasks = Tasks::new(Component::Proxy);
    parts.proxy(&proxy_tasks)?;
    let addon_tasks = Tasks::new(Component::Daemon);
    let addons = parts.addons(&addon_tasks)?;

    step(report, Message::VerifyingComponents);
    let control_tasks = Tasks::new(Component::Daemon);
    let console_tasks = Tasks::new(Component::Daemon);
    let (dashboard, console) = console::bind(profile, &settings, &server, &console_tasks)?;
    if let Some(wanted) = dashboard.missed() {
        warn(report, Message::OtherDashboardPort { wanted, port: dashboard.port() });
    }
    let admin = client(&server, "kubernetes-admin", &["system:masters"]);
    let marking = role::follow(admin.clone(), informers.of(), node.clone(), settings.container_runtime);
    control_tasks.spawn_until_drain("control plane's labels", marking);
    tokio::select! {
        () = async {
            node_ready(&informers, &health, &node).await;
            // who asks at once is to find what the addons serve; one that takes long is not waited for
            let _ = tokio::time::timeout(ADDONS, addons.settled(&addon_tasks.drain())).await;
        } => {}
        () = signals.next() => return Err(Failure::new(Kind::DaemonStart, "told to end while starting")),
    }
    health.ready(Component::Daemon);
    let profile = profile.clone();
    let running = Arc::new(Running {
        profile,
        settings,
        server,
        runtime,
        network,
        health,
        addons,
        dashboard,
        simulator,
        node,
    });
    let (stops, mut stop) = mpsc::channel(1);
    rest::reach::keep(admin.clone(), &informers, &control_tasks);
    let rest = Rest::new(running.clone(), admin, control_tasks.clone(), stops);
    running.server.serve_path(rest::PREFIX, rest.handler());
    console.serve(&running.profile, &control_tasks)?;
    report.send(&StartEvent::Ready(access::of(&running.server)));
    report.close();
    prepare_image(&running, &control_tasks);
    let follow = kubeconfigs::follow(running.server.clone(), running.profile.clone());
    control_tasks.spawn_until_drain("kubeconfigs", follow);
    host_dns(&running, &control_tasks)?;
    let request = tokio::select! {
        () = signals.next() => None,
        request = stop.recv() => request,
    };
    let all = [
        server_tasks,
        informer_tasks,
        controller_tasks,
        scheduler_tasks,
        kubelet_tasks,
        simulator_tasks,
        proxy_tasks,
        addon_tasks,
        // feeds and terminals end first: what they show is about to
        console_tasks,
    ];
    tracing::info!("draining");
    shutdown::drain(&all[1..], &mut signals).await;
    if let Some(request) = request {
        request.stop_and_answer(&running).await;
    }
    shutdown::drain(&all[..1], &mut signals).await;
    control_tasks.finish(Duration::from_secs(1)).await;
    Ok(())
}

/// Whether a node's condition Ready is True.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn api_server(
    profile: &Profile,
    settings: &Settings,
    node: &str,
    health: &Health,
    tasks: &Tasks,
) -> Result<ApiServer, Failure> {
    let block = services::block(settings)?;
    let mut addresses = vec![addresses::main()];
    addresses.extend(addresses::all());
    let config = sampan_apiserver::Config {
        data: profile.data.clone(),
        tasks: tasks.clone(),
        health: health.clone(),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: settings.apiserver_port,
        port_fixed: settings.apiserver_port_chosen,
        services: ServiceBlock::new(block.at(0), block.length),
        node_name: node.to_owned(),
        addresses,
        history: Duration::from_secs(settings.history_minutes * 60),
        audit: settings.audit.options()?,
        authentication: settings.authentication_config.clone(),
    };
    let server = ApiServer::new(config).await.map_err(|error| {
        let kind = match &error {
            sampan_apiserver::Error::Bind { source, .. } if source.kind() == ErrorKind::AddrInUse => {
                Kind::PortTaken
            }
            sampan_apiserver::Error::Store(_) => Kind::Store,
            _ => Kind::DaemonStart,
        };
        Failure::new(kind, with_causes(&error))
    })?;
    server.secure(tasks).await.map_err(|error| Failure::new(Kind::DaemonStart, with_causes(&error)))?;
    health.ready(Component::Store);
    let (serving, drain) = (server.clone(), tasks.drain());
    tasks.spawn(
        "supervise",
        supervise(tasks.clone(), health.clone(), move || serving.clone().run(drain.clone())),
    );
    tasks.spawn_until_drain("addresses", addresses::follow(server.clone()));
    Ok(server)
}

/// An error's text with those of its sources.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

async fn pod_network(profile: &Profile, settings: &Settings, tasks: &Tasks) -> Result<PodNetwork, Failure> {
    let config = network_config(profile, settings);
    PodNetwork::new(config, tasks.clone())
        .await
        .map_err(|error| Failure::new(Kind::PodNetwork, with_causes(&error)))
}

/// Namespaces that are kept ready for pods.
const POOL: usize = 4;

/// The pod network of a profile: names that two clusters on one machine do not share.
pub fn network_config(profile: &Profile, settings: &Settings) -> sampan_pod_network::Config {
    let bridge = match profile.name.as_str() {
        "sampan" => "sampan0".to_owned(),
        // an interface's name is short, a profile's is not
        name => format!(
            "sp{:08x}",
            name.bytes()
                .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        ),
    };
    sampan_pod_network::Config {
        run_dir: profile.run.clone(),
        data_dir: profile.data.clone(),
        bridge,
        node_subnet: first_subnet(&settings.pod_cidr),
        pod_cidr: settings.pod_cidr.clone(),
        fixed: settings.pod_cidr_chosen,
        service_cidr: match settings.service_cidr.as_str() {
            "" => services::DEFAULT.to_owned(),
            block => block.to_owned(),
        },
        pool_size: POOL,
        table: format!("sampan_{}", profile.name.replace('-', "_")),
    }
}

/// The first /24 of the cluster's pod addresses, or all of them if they are fewer.
fn first_subnet(pod_cidr: &str) -> String {
    let (address, length) = pod_cidr.split_once('/').unwrap_or((pod_cidr, "24"));
    let length: u8 = length.parse().unwrap_or(24);
    format!("{address}/{}", length.max(24))
}

fn controller_manager(server: &ApiServer, informers: &Informers, health: &Health, tasks: &Tasks) {
    let config = sampan_controllers::Config {
        client: client(server, "system:kube-controller-manager", &[]),
        informers: informers.clone(),
        root_ca_pem: server.pki().ca_pem().to_owned(),
        certificates: Some(Arc::new(Authority(server.pki().clone()))),
        health: health.clone(),
        collect_after: Some(Component::Daemon),
    };
    let (manager, drain) = (Arc::new(ControllerManager::new(config, tasks.clone())), tasks.drain());
    let start = move || {
        let (manager, drain) = (manager.clone(), drain.clone());
        async move { manager.run(drain).await }
    };
    tasks.spawn("supervise", supervise(tasks.clone(), health.clone(), start));
}

fn scheduler(
    server: &ApiServer,
    informers: &Informers,
    health: &Health,
    tasks: &Tasks,
    configuration: Configuration,
) {
    let config = sampan_scheduler::Config {
        client: client(server, "system:kube-scheduler", &[]),
        informers: informers.clone(),
        health: health.clone(),
        configuration,
    };
    let (scheduler, drain) = (Arc::new(Scheduler::new(config, tasks)), tasks.drain());
    let start = move || {
        let (scheduler, drain) = (scheduler.clone(), drain.clone());
        async move {
            scheduler.run(drain).await;
            Ok::<(), std::convert::Infallible>(())
        }
    };
    tasks.spawn("supervise", supervise(tasks.clone(), health.clone(), start));
}

/// How long a start waits for addons after the node is Ready: usually they are there before it.
const ADDONS: Duration = Duration::from_secs(1);

/// What the kubelet is given besides the usual.
struct KubeletParts<'a> {
    node: &'a str,
    runtime: &'a Runtime,
    network: PodNetwork,
    /// Where the addon `dns` serves.
    dns: Ipv4Addr,
}

async fn kubelet(
    profile: &Profile,
    server: &ApiServer,
    informers: &Informers,
    health: &Health,
    tasks: &Tasks,
    parts: KubeletParts<'_>,
) -> Result<(), Failure> {
    let user = format!("system:node:{}", parts.node);
    let config = sampan_kubelet::Config {
        node_name: parts.node.to_owned(),
        node_ips: vec![addresses::main()],
        client: client(server, &user, &["system:nodes"]),
        informers: informers.clone(),
        runtime: parts.runtime.clone(),
        pod_cidr: Some(parts.network.node_subnet()),
        network: Arc::new(parts.network),
        root_dir: profile.data.join("kubelet"),
        pod_logs_dir: profile.data.join("pods-logs"),
        cluster_dns: vec![parts.dns.into()],
        cluster_domain: "cluster.local".to_owned(),
        node_labels: BTreeMap::new(),
        health: health.clone(),
        mirror_control_plane: Some(server.port()),
    };
    let kubelet = Kubelet::new(config, tasks.clone()).await;
    let kubelet = kubelet.map_err(|error| Failure::new(Kind::Runtime, with_causes(&error)))?;
    let (node, nodes) = (parts.node.to_owned(), informers.of());
    server.set_connector(Arc::new(InProcess { node, kubelet: kubelet.clone(), nodes }));
    let drain = tasks.drain();
    let start = move || kubelet.clone().run(drain.clone());
    tasks.spawn("supervise", supervise(tasks.clone(), health.clone(), start));
    Ok(())
}

/// The kubelets of simulated nodes, all in one.
fn simulator(
    server: &ApiServer,
    informers: &Informers,
    health: &Health,
    node: &str,
    tasks: &Tasks,
) -> Simulator {
    let config = sampan_simulate::Config {
        client: client(server, "system:sampan:simulate", &["system:masters"]),
        informers: informers.clone(),
        own_node: node.to_owned(),
    };
    let simulator = Simulator::new(config);
    let (running, telling, drain) = (simulator.clone(), health.clone(), tasks.drain());
    let start = move || {
        let (simulator, drain) = (running.clone(), drain.clone());
        telling.ready(Component::Simulator);
        async move {
            tokio::select! {
                () = drain.wait() => {}
                () = simulator.run() => {}
            }
            Ok::<(), std::convert::Infallible>(())
        }
    };
    tasks.spawn("supervise", supervise(tasks.clone(), health.clone(), start));
    simulator
}

/// Waits until the node is Ready, as this kubelet sees it.
async fn node_ready(informers: &Informers, health: &Health, node: &str) {
    // after a restart the node object still says Ready of the last daemon's kubelet
    let kubelet = |report: &BTreeMap<Component, ComponentHealth>| {
        report.get(&Component::Kubelet).is_some_and(|kubelet| kubelet.state == State::Ready)
    };
    // the sender lives as long as `health` does
    let _ = health.watch().wait_for(kubelet).await;
    let ready = |node: &Node| role::is_marked(node) && is_ready(node);
    informers
        .of::<Node>()
        .until(|nodes| nodes.get(&Key::cluster(node)).is_some_and(|node| ready(&node)))
        .await;
}

/// Tells the host's resolver of the cluster's names again, if it was told once: it forgets them with the bridge.
fn host_dns(running: &Running, tasks: &Tasks) -> Result<(), Failure> {
    if running.settings.host_dns && resolver::is_resolved() {
        let site = resolver::Site::of(&running.profile, &running.settings)?;
        tasks.spawn_until_drain("host's resolver", async move {
            if let Err(failure) = site.tell(true).await {
                tracing::warn!(%failure, "the host does not find names of the cluster");
            }
        });
    }
    Ok(())
}

/// Puts the built-in image in place beside the start, not before it.
fn prepare_image(running: &Arc<Running>, tasks: &Tasks) {
    let running = running.clone();
    tasks.spawn_until_drain("built-in image", async move {
        if let Err(error) = builtin::load(&running.runtime, &running.profile).await {
            tracing::warn!(%error, "the built-in image was not loaded");
        }
    });
}
