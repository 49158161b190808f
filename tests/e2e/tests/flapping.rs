//! Endpoints that come and go a hundred times a second, under traffic: what the kernel holds afterwards is what the API
//! says, and nothing of what was.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use sampan_proxy::conntrack;
use sampan_proxy::element::{Endpoint, Frontend, Protocol};
use sampan_test_e2e::{cluster, eventually, field, registry};
use sampan_testkit::Cluster;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
/// How often endpoints change, and how many times in all.
const BETWEEN: Duration = Duration::from_millis(10);
const CHANGES: usize = 600;
/// Sockets that keep sending all the time.
const KEPT: usize = 8;

/// A server of UDP at every address that answers with its name; its port.
fn server(name: &'static str) -> Result<u16> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let port = socket.local_addr()?.port();
    std::thread::spawn(move || {
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 16]) {
            let _ = socket.send_to(name.as_bytes(), peer);
        }
    });
    Ok(port)
}

/// A socket that hears refusals as well as answers, and waits for neither long.
fn client(to: (IpAddr, u16)) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect(to)?;
    Ok(socket)
}

fn ask(socket: &UdpSocket) -> Option<String> {
    // what came late is of another question
    socket.set_nonblocking(true).ok()?;
    while socket.recv(&mut [0; 16]).is_ok() {}
    socket.set_nonblocking(false).ok()?;
    socket.send(b"?").ok()?;
    let mut buffer = [0; 16];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn table(cluster: &Cluster) -> String {
    format!("sampan_{}_services", cluster.profile().replace('-', "_"))
}

/// Every chain and element of the services' table, each set in an order of its own.
fn rules(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let output = Command::new("nft").args(["list", "table", "ip", &table(cluster)]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (mut all, mut place, mut inside) = (BTreeSet::new(), String::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("chain ") || line.starts_with("map ") || line.starts_with("set ") {
            place = line.trim_end_matches(" {").to_owned();
        }
        inside |= line.starts_with("elements = {");
        if !inside {
            all.insert(format!("{place}: {line}"));
            continue;
        }
        let elements = line.trim_start_matches("elements = {").trim_end_matches('}');
        for element in elements.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            all.insert(format!("{place}: {element}"));
        }
        inside = !line.ends_with('}');
    }
    Ok(all)
}

/// `address . protocol . port : endpoint . port` of every endpoint, as the kernel's map has it.
fn held(rules: &BTreeSet<String>) -> BTreeSet<String> {
    let elements = rules.iter().filter_map(|line| line.strip_prefix("map endpoints: "));
    let without_slot = |element: &str| -> Option<String> {
        let (key, endpoint) = element.split_once(" : ")?;
        let (frontend, _) = key.rsplit_once(" . ")?;
        Some(format!("{frontend} : {endpoint}"))
    };
    // its type is written in the same way
    elements.filter(|line| !line.starts_with("type ")).filter_map(without_slot).collect()
}

/// The same as the API's Services and EndpointSlices say; `served` are addresses that the daemon serves itself.
async fn wanted(client: &kube::Client, served: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let services = Api::<Service>::all(client.clone()).list(&ListParams::default()).await?;
    let slices = Api::<EndpointSlice>::all(client.clone()).list(&ListParams::default()).await?;
    let mut all = BTreeSet::new();
    for service in services {
        let spec = service.spec.unwrap_or_default();
        let Some(address) = spec.cluster_ip.filter(|one| one != "None" && !served.contains(one)) else {
            continue;
        };
        for port in spec.ports.unwrap_or_default() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_owned();
            for slice in &slices {
                let of = slice
                    .metadata
                    .labels
                    .as_ref()
                    .and_then(|labels| labels.get("kubernetes.io/service-name"));
                if (of, &slice.metadata.namespace)
                    != (service.metadata.name.as_ref(), &service.metadata.namespace)
                {
                    continue;
                }
                let same = slice.ports.iter().flatten().find(|one| {
                    one.name.clone().unwrap_or_default() == port.name.clone().unwrap_or_default()
                        && one.protocol.as_deref() == Some(&protocol)
                });
                let Some(number) = same.and_then(|one| one.port) else { continue };
                let ready = |one: &&k8s_openapi::api::discovery::v1::Endpoint| {
                    one.conditions.as_ref().and_then(|all| all.ready).unwrap_or(true)
                };
                for endpoint in slice.endpoints.iter().flatten().filter(ready) {
                    let (frontend, to) =
                        (format!("{address} . {}", protocol.to_lowercase()), &endpoint.addresses[0]);
                    all.insert(format!("{frontend} . {} : {to} . {number}", port.port));
                }
            }
        }
    }
    Ok(all)
}

/// Lets the two endpoints flap under traffic; the last of them, `b`, stays.
async fn flap(api: &kube::Client, node: &str, ports: [u16; 2]) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::default_namespaced(api.clone());
    let mut ticks = tokio::time::interval(BETWEEN);
    for change in 0..=CHANGES {
        ticks.tick().await;
        // a, none, b, both, and so on
        let there = [change % 4 == 0 || change % 4 == 3, change % 4 >= 2];
        let there = if change == CHANGES { [false, true] } else { there };
        for ((name, port), there) in ["a", "b"].into_iter().zip(ports).zip(there) {
            let endpoints =
                if there { json!([{"addresses": [node], "conditions": {"ready": true}}]) } else { json!([]) };
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": format!("flap-{name}"), "labels": {"kubernetes.io/service-name": "flap"}},
                "endpoints": endpoints, "ports": [
                    {"name": "u", "protocol": "UDP", "port": port}, {"name": "t", "protocol": "TCP", "port": port}],
            });
            let params = PatchParams::apply("flapping").force();
            slices.patch(&format!("flap-{name}"), &params, &Patch::Apply(&slice)).await?;
        }
    }
    Ok(())
}

#[test]
fn endpoints_that_flap_leave_nothing_behind() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let api = runtime.block_on(cluster.client())?;
    let node = field(&cluster, "nodes", "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}")?;
    let ports = [server("a")?, server("b")?];
    let mut served = BTreeSet::new();
    for service in ["kubernetes", "kube-dns"] {
        let all = cluster.kubectl(&[
            "get",
            "services",
            "-A",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.spec.clusterIP}{\"\\n\"}{end}",
        ])?;
        served.extend(
            all.lines().filter_map(|line| line.strip_prefix(&format!("{service} ")).map(str::to_owned)),
        );
    }
    ensure!(served.len() == 2, "{served:?}");
    let before = eventually("rules", SOON, || Ok(Some(rules(&cluster)?).filter(|all| !all.is_empty())))?;

    let services: Api<Service> = Api::default_namespaced(api.clone());
    let service: Service = serde_json::from_value(json!({"metadata": {"name": "flap"}, "spec": {"ports": [
        {"name": "u", "protocol": "UDP", "port": 7}, {"name": "t", "protocol": "TCP", "port": 7}]}}))?;
    let made = runtime.block_on(services.create(&PostParams::default(), &service))?;
    let address: IpAddr = made.spec.and_then(|spec| spec.cluster_ip).context("an address")?.parse()?;
    let kept: Vec<UdpSocket> = (0..KEPT).map(|_| client((address, 7))).collect::<Result<_>>()?;
    // some go on with one socket, others come and go
    let (on, traffic) = (Arc::new(AtomicBool::new(true)), kept.iter().map(UdpSocket::try_clone));
    let (going, traffic) = (on.clone(), traffic.collect::<std::io::Result<Vec<_>>>()?);
    let traffic = std::thread::spawn(move || -> Result<BTreeSet<String>> {
        let mut heard = BTreeSet::new();
        while going.load(Ordering::Relaxed) {
            for socket in traffic.iter().chain([&client((address, 7))?]) {
                heard.extend(ask(socket));
            }
        }
        Ok(heard)
    });
    runtime.block_on(flap(&api, &node, ports))?;
    on.store(false, Ordering::Relaxed);
    let heard = traffic.join().unwrap()?;
    ensure!(heard == ["a".to_owned(), "b".to_owned()].into(), "both were there: {heard:?}");

    // what the kernel holds is what the API says
    let expected = runtime.block_on(wanted(&api, &served))?;
    let of_ours: Vec<&String> =
        expected.iter().filter(|one| one.starts_with(&format!("{address} "))).collect();
    ensure!(of_ours.len() == 2, "b, by UDP and TCP: {expected:?}");
    eventually("the API's endpoints", SOON, || Ok((held(&rules(&cluster)?) == expected).then_some(())))
        .with_context(|| format!("{:?} is not {expected:?}", rules(&cluster).map(|all| held(&all))))?;
    let all = rules(&cluster)?;
    let refusing: Vec<&String> = all
        .iter()
        .filter(|line| line.starts_with("map unreachable") && line.contains(&format!(" {address} ")))
        .collect();
    ensure!(refusing.is_empty(), "{refusing:?}");
    for (index, socket) in kept.iter().enumerate() {
        eventually(&format!("socket {index} hears b"), SOON, || {
            Ok(ask(socket).filter(|name| name == "b").map(drop))
        })?;
    }
    let at = |serving: &[Endpoint]| -> conntrack::Frontends {
        let frontend = Frontend { address: Some(address), protocol: Protocol::Udp, port: 7 };
        [(frontend, serving.iter().copied().collect())].into()
    };
    let b = at(&[Endpoint { address: node.parse()?, port: ports[1] }]);
    eventually("no flow to what went", SOON, || Ok(conntrack::stale(&b)?.is_empty().then_some(())))?;
    ensure!(!conntrack::stale(&at(&[]))?.is_empty(), "flows to b are seen");

    // without the service everything is as it was before
    cluster.kubectl(&["delete", "service/flap", "endpointslice/flap-a", "endpointslice/flap-b"])?;
    let mut left = Vec::new();
    eventually("the rules of before", SOON, || {
        let now = rules(&cluster)?;
        // there is a chain for each number of endpoints that was met, which stays
        let shared = |line: &String| line.starts_with("chain in-") || line.ends_with(": ");
        left = now.symmetric_difference(&before).filter(|line| !shared(line)).cloned().collect();
        Ok(left.is_empty().then_some(()))
    })
    .with_context(|| format!("{left:?}"))?;
    eventually("no flow at all", SOON, || Ok(conntrack::stale(&at(&[]))?.is_empty().then_some(())))
}
