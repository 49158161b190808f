//! The service proxy's rules at 10,000 services with two endpoints each, beside `nft -f` of a chain for each service, as
//! upstream's nftables mode writes them.
//!
//! In a network namespace of its own. Ours starts with the objects and ends with the kernel's acknowledgement: decisions,
//! text and transaction; theirs is the text alone, which is there already. One more service goes the way of any change.
//! The first packet is a TCP connection from a pod to another, by the service's address and directly, in turns.

use std::fmt::Write;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use nix::sched::{CloneFlags, setns, unshare};
use sampan_pod_network::PodNetwork;
use sampan_process::{Component, Tasks};
use sampan_proxy::frame::Frame;
use sampan_proxy::kernel;
use sampan_proxy::model::{Facts, Model};
use sampan_reconcile::Key;

use crate::figure::{Figure, Goal, Unit};

const MANY: u32 = 10_000;
const TABLE: &str = "sampan-bench";
const BRIDGE: &str = "spb0";
const PODS: &str = "10.202.0.0/16";
const NODE_PODS: &str = "10.202.0.0/24";
const SERVICES: &str = "10.96.0.0/12";

/// Measures all of it.
pub fn measure(short: bool) -> Result<Vec<Figure>> {
    // the namespace is the thread's, and its children's
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace: run as root")?;
        ip("link set lo up")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(figures(short))
    });
    thread.join().map_err(|_| anyhow!("the measuring thread panicked"))?
}

async fn figures(short: bool) -> Result<Vec<Figure>> {
    let directory = tempfile::tempdir()?;
    let network = PodNetwork::new(network_config(directory.path()), Tasks::new(Component::Kubelet)).await?;
    network.serve_at(&[]).await?;
    let rounds = if short { 1 } else { 3 };
    let chains = chain_per_service(MANY);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(milliseconds(nft(&chains)?));
        nft("delete table ip chains\n")?;
        let begin = Instant::now();
        let mut model = filled(MANY);
        load(&mut model).await?;
        ours.push(milliseconds(begin.elapsed()));
    }
    let name = format!("{MANY} services × 2 endpoints, from empty");
    let peer = ("nft -f, a chain per service", &theirs[..]);
    let mut all = vec![Figure::beside(name, Unit::Milliseconds, &ours, peer, Goal::RatioAtMost(0.02))];
    all.push(one_more(if short { 50 } else { 300 }).await?);
    all.extend(first_packet(&network, if short { 300 } else { 2_000 }).await?);
    network.cleanup().await?;
    Ok(all)
}

async fn one_more(count: u32) -> Result<Figure> {
    let mut model = filled(MANY);
    load(&mut model).await?;
    let mut times = Vec::new();
    for index in MANY..MANY + count {
        let begin = Instant::now();
        put(&mut model, index);
        kernel::apply(TABLE, model.take().change).await?;
        times.push(milliseconds(begin.elapsed()));
    }
    let name = format!("one more service at {MANY}, to the kernel");
    Ok(Figure::alone(name, Unit::Milliseconds, times, Goal::Below(5.0)))
}

async fn first_packet(network: &PodNetwork, count: usize) -> Result<Vec<Figure>> {
    let (server, client) = (network.acquire("server").await?, network.acquire("client").await?);
    let address = server.ips[0];
    let listener = inside(server.netns, move || TcpListener::bind((address, 80)))??;
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let mut all = Vec::new();
    for services in [10, MANY] {
        let mut model = filled(services);
        put_at(&mut model, services, &[address]);
        load(&mut model).await?;
        let (vip, direct) = (SocketAddr::new(vip(services).into(), 80), SocketAddr::new(address, 80));
        let netns = client.netns.clone();
        let (ours, theirs) = inside(netns, move || -> std::io::Result<_> {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..count {
                ours.push(connect(vip)?);
                theirs.push(connect(direct)?);
            }
            Ok((ours, theirs))
        })??;
        let name = format!("first packet to one of {services} services");
        // single connections vary: it is the medians of a tenth of them each that are compared
        let (ours, theirs) = (medians(ours), medians(theirs));
        let peer = ("direct connection", &theirs[..]);
        all.push(Figure::beside(name, Unit::Milliseconds, &ours, peer, Goal::RatioAtMost(1.3)));
    }
    Ok(all)
}

fn medians(mut times: Vec<f64>) -> Vec<f64> {
    let part = (times.len() / 10).max(1);
    let median = |part: &mut [f64]| {
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    times.chunks_mut(part).map(median).collect()
}

fn connect(to: SocketAddr) -> std::io::Result<f64> {
    let begin = Instant::now();
    let stream = TcpStream::connect(to)?;
    let time = begin.elapsed();
    drop(stream);
    Ok(milliseconds(time))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn inside<T: Send + 'static>(netns: PathBuf, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let thread = std::thread::spawn(move || -> Result<T> {
        setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    });
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status().context("ip: install iproute2")?;
    ensure!(status.success(), "ip {arguments}");
    Ok(())
}

fn nft(text: &str) -> Result<Duration> {
    let begin = Instant::now();
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("nft: install nftables")?;
    if let Some(mut input) = child.stdin.take() {
        std::io::Write::write_all(&mut input, text.as_bytes())?;
    }
    ensure!(child.wait()?.success(), "nft refused");
    Ok(begin.elapsed())
}

fn network_config(directory: &Path) -> sampan_pod_network::Config {
    sampan_pod_network::Config {
        run_dir: directory.to_owned(),
        data_dir: directory.to_owned(),
        bridge: BRIDGE.into(),
        pod_cidr: PODS.into(),
        fixed: true,
        service_cidr: SERVICES.into(),
        node_subnet: NODE_PODS.into(),
        pool_size: 0,
        table: "sampan-bench-pods".into(),
    }
}

fn filled(services: u32) -> Model {
    let mut model = Model::new(&Facts {
        node: "node".into(),
        pods: PODS.into(),
        node_pods: NODE_PODS.into(),
        node_ips: Vec::new(),
        served: Vec::new(),
    });
    (0..services).for_each(|index| put(&mut model, index));
    model
}

async fn load(model: &mut Model) -> Result<()> {
    let frame = Frame {
        table: TABLE.into(),
        bridge: BRIDGE.into(),
        pods: PODS.into(),
        services: SERVICES.into(),
        gateway: "10.202.0.1".into(),
        led: Vec::new(),
    };
    kernel::set_sysctls(BRIDGE)?;
    kernel::set_route(&frame, true).await?;
    Ok(kernel::replace(&frame, &model.whole().change).await?)
}

/// Addresses of services and endpoints by number.
fn vip(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 97, 0, 0)) + index)
}

fn endpoint(index: u32, which: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 202, 4, 0)) + index * 2 + which).into()
}

fn put(model: &mut Model, index: u32) {
    put_at(model, index, &[endpoint(index, 0), endpoint(index, 1)]);
}

fn put_at(model: &mut Model, index: u32, endpoints: &[IpAddr]) {
    let name = format!("service-{index}");
    let key = Key::namespaced("default", &name);
    let port = ServicePort { port: 80, ..ServicePort::default() };
    let spec = ServiceSpec {
        cluster_ip: Some(vip(index).to_string()),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    model.apply_service(&key, Some(Arc::new(Service { spec: Some(spec), ..Service::default() })));
    let mut slice = EndpointSlice { address_type: "IPv4".into(), ..EndpointSlice::default() };
    slice.metadata.name = Some(format!("{name}-1"));
    slice.metadata.namespace = Some("default".into());
    slice.metadata.labels = Some([("kubernetes.io/service-name".into(), name)].into());
    let one = |address: &IpAddr| Endpoint { addresses: vec![address.to_string()], ..Endpoint::default() };
    slice.endpoints = Some(endpoints.iter().map(one).collect());
    slice.ports = Some(vec![EndpointPort { port: Some(80), ..EndpointPort::default() }]);
    model.apply_slice(None, Some(&Arc::new(slice)));
}

/// What upstream's proxy would load: a chain for each service and for each endpoint, and a map that leads there.
fn chain_per_service(count: u32) -> String {
    let mut text = String::from(
        "table ip chains {\n chain mark-for-masquerade {\n mark set mark or 0x4000\n }\n\
         map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }\n",
    );
    for index in 0..count {
        for which in 0..2 {
            // writing to a String cannot fail
            let address = endpoint(index, which);
            let _ = writeln!(
                text,
                "chain endpoint-{index}-{which} {{\n ip saddr {address} jump mark-for-masquerade\n \
                 meta l4proto tcp dnat to {address}:80\n }}"
            );
        }
        let _ = writeln!(
            text,
            "chain service-{index} {{\n ip daddr {} tcp dport 80 ip saddr != {PODS} jump mark-for-masquerade\n \
             numgen random mod 2 vmap {{ 0 : goto endpoint-{index}-0, 1 : goto endpoint-{index}-1 }}\n }}",
            vip(index)
        );
    }
    text.push_str(
        "chain services {\n ip daddr . meta l4proto . th dport vmap @service-ips\n }\n\
         chain nat-prerouting {\n type nat hook prerouting priority dstnat\n jump services\n }\n\
         chain nat-output {\n type nat hook output priority -100\n jump services\n }\n}\n\
         add element ip chains service-ips { ",
    );
    for index in 0..count {
        let _ = write!(text, "{} . tcp . 80 : goto service-{index}, ", vip(index));
    }
    text.push_str("}\n");
    text
}
