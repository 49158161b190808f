//! The proxy as it runs: a scripted API on one side, the kernel on the other. Needs root.

mod bed;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bed::{Bed, Place, ask, at, both, dropped, on_a_node, refused, who};
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use parking_lot::Mutex;
use sampan_client::{Handler, ResponseBody, ResponseFuture};
use sampan_pod_network::PodNet;
use sampan_process::{Component, Drain, Health, State, Tasks};
use sampan_proxy::{Config, Proxy};
use sampan_reconcile::Informers;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";
const PODS: &str = "/api/v1/pods";

/// Lists are empty; watches tell what the test says.
#[derive(Default)]
struct Cluster {
    version: Mutex<u64>,
    objects: Mutex<HashMap<&'static str, Vec<Value>>>,
    watches: Mutex<HashMap<String, mpsc::UnboundedSender<Value>>>,
}

impl Handler for Cluster {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        let path = request.uri().path().to_owned();
        let body = if request.uri().query().unwrap_or_default().contains("watch=true") {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.watches.lock().insert(path, sender);
            stream(receiver)
        } else {
            let items = self.objects.lock().get(path.as_str()).cloned().unwrap_or_default();
            let list = json!({"kind": "List", "apiVersion": "v1", "items": items,
                "metadata": {"resourceVersion": self.next_version()}});
            Full::from(list.to_string()).map_err(never).boxed_unsync()
        };
        Box::pin(async move { Response::new(body) })
    }
}

fn never(error: Infallible) -> sampan_client::BoxError {
    match error {}
}

fn stream(mut events: mpsc::UnboundedReceiver<Value>) -> ResponseBody {
    let events = futures::stream::poll_fn(move |context| events.poll_recv(context));
    StreamBody::new(events.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))))).boxed_unsync()
}

impl Cluster {
    fn next_version(&self) -> String {
        let mut version = self.version.lock();
        *version += 1;
        version.to_string()
    }

    async fn tell(&self, path: &str, kind: &str, mut object: Value) {
        object["metadata"]["namespace"] = "default".into();
        object["metadata"]["resourceVersion"] = self.next_version().into();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(watch) = self.watches.lock().get(path) {
                return watch.send(json!({"type": kind, "object": object})).expect("watch");
            }
            assert!(Instant::now() < deadline, "nobody watches {path}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn service(&self, spec: Value) {
        self.tell(SERVICES, "MODIFIED", json!({"metadata": {"name": "s"}, "spec": spec})).await;
    }

    async fn endpoints(&self, pods: &[&PodNet]) {
        let endpoints: Vec<Value> = pods
            .iter()
            .map(|pod| json!({"addresses": [pod.ips[0]], "nodeName": bed::NODE, "conditions": {"ready": true}}))
            .collect();
        let slice = json!({"metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": both(80)});
        self.tell(SLICES, "MODIFIED", slice).await;
    }
}

struct Running {
    cluster: Arc<Cluster>,
    health: Health,
    drain: Drain,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let (cluster, health) = (Arc::new(Cluster::default()), Health::new());
        let client = sampan_client::loopback(cluster.clone(), "default");
        let tasks = Tasks::new(Component::Proxy);
        let config = Config {
            informers: Informers::new(client.clone(), tasks.clone()),
            client,
            node_name: bed::NODE.into(),
            health: health.clone(),
            table: bed::TABLE.into(),
            bridge: "spx0".into(),
            node_ips: vec![bed::NODE_IP.into()],
            pod_cidr: "10.201.0.0/16".into(),
            node_subnet: "10.201.0.0/24".into(),
            service_cidr: "10.96.0.0/12".into(),
            local: Vec::new(),
            led: Vec::new(),
        };
        let drain = Drain::new();
        let until = drain.clone();
        let task = tokio::spawn(async move { Proxy::new(config, &tasks).run(until).await });
        let running = Self { cluster, health, drain, task };
        let mut reports = running.health.watch();
        let ready = |all: &std::collections::BTreeMap<_, sampan_process::ComponentHealth>| {
            all.get(&Component::Proxy).is_some_and(|one| one.state == State::Ready)
        };
        tokio::time::timeout(Duration::from_secs(10), reports.wait_for(ready))
            .await
            .expect("in time")
            .expect("ready");
        running
    }

    async fn stop(self) {
        self.drain.start();
        self.task.await.expect("proxy");
    }
}

/// Tries until it is so.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn changes_reach_the_kernel_also_after_a_flood_and_after_somebody_took_the_table() {
    on_a_node(|| async {
        let bed = Bed::new().await;
        let (a, b) = (bed.pod("a").await, bed.pod("b").await);
        let client = Place::from(&bed.pod("client").await);
        let running = Running::start().await;
        running.cluster.service(json!({"clusterIP": VIP, "ports": both(80)})).await;
        until("no endpoint", || refused(client.tcp(at(VIP, 80)))).await;
        running.cluster.endpoints(&[&a]).await;
        until("a serves", || client.tcp(at(VIP, 80)).is_ok()).await;
        for _ in 0..3_000 {
            running.cluster.endpoints(&[]).await;
            running.cluster.endpoints(&[&a, &b]).await;
        }
        running.cluster.endpoints(&[&b]).await;
        let serves = |name: &str| client.tcp(at(VIP, 80)).is_ok_and(|answer| who(&answer) == name);
        until("b alone serves", || (0..12).all(|_| serves("b"))).await;
        sampan_proxy::kernel::script(&format!("delete table ip {}\n", bed::TABLE)).await.expect("taken");
        assert!(dropped(client.tcp(at(VIP, 80))), "no table");
        running.cluster.endpoints(&[&a]).await;
        until("a serves", || serves("a")).await;
        // the rules outlive the proxy, and another takes over
        running.stop().await;
        assert!(client.tcp(at(VIP, 80)).is_ok(), "without a proxy");
        let next = Running::start().await;
        until("this cluster has no service", || client.tcp(at(VIP, 80)).is_err()).await;
        next.stop().await;
    });
}

#[test]
fn flows_are_cleared_also_when_the_kernel_refused_what_they_changed_with() {
    on_a_node(|| async {
        let bed = Bed::new().await;
        let (a, b) = (bed.pod("a").await, bed.pod("b").await);
        let client = Place::from(&bed.pod("client").await);
        let running = Running::start().await;
        running.cluster.service(json!({"clusterIP": VIP, "ports": both(80)})).await;
        running.cluster.endpoints(&[&a]).await;
        until("a serves", || client.udp(at(VIP, 80)).is_ok()).await;
        let socket = client.run(|| std::net::UdpSocket::bind("0.0.0.0:0").expect("socket"));
        assert_eq!(who(&ask(&socket, at(VIP, 80)).expect("answer")), "a");
        // what is told next is refused, and then told anew as a whole
        sampan_proxy::kernel::script(&format!("delete table ip {}\n", bed::TABLE)).await.expect("taken");
        running.cluster.endpoints(&[&b]).await;
        until("b serves", || ask(&socket, at(VIP, 80)).is_ok_and(|answer| who(&answer) == "b")).await;
        running.stop().await;
    });
}

#[test]
fn a_policy_that_comes_late_knows_the_pods_that_are_there() {
    on_a_node(|| async {
        let bed = Bed::new().await;
        let (server, client) = (bed.pod("server").await, bed.pod("client").await);
        let running = Running::start().await;
        for (name, pod) in [("server", &server), ("client", &client)] {
            let object = json!({"metadata": {"name": name, "labels": {"app": name}},
                "spec": {"nodeName": bed::NODE, "containers": [{"name": "a"}]},
                "status": {"phase": "Running", "podIPs": [{"ip": pod.ips[0]}]}});
            running.cluster.tell(PODS, "ADDED", object).await;
        }
        let from = Place::from(&client);
        let target = at(server.ips[0], 80);
        assert!(from.tcp(target).is_ok());
        let policy = |app: &str| {
            json!({"metadata": {"name": "p"}, "spec": {"podSelector": {"matchLabels": {"app": "server"}},
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app}}}]}]}})
        };
        running.cluster.tell(POLICIES, "ADDED", policy("nobody")).await;
        until("denied", || from.tcp(target).is_err()).await;
        running.cluster.tell(POLICIES, "MODIFIED", policy("client")).await;
        until("allowed", || from.tcp(target).is_ok()).await;
        running.cluster.tell(POLICIES, "MODIFIED", policy("nobody")).await;
        until("denied", || from.tcp(target).is_err()).await;
        running.cluster.tell(POLICIES, "DELETED", policy("nobody")).await;
        until("open", || from.tcp(target).is_ok()).await;
        // what is stale is swept without harm
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        running.cluster.tell(POLICIES, "ADDED", policy("nobody")).await;
        until("denied again", || from.tcp(target).is_err()).await;
        assert_eq!(running.health.get(Component::Proxy).state, State::Ready);
        running.stop().await;
    });
}

async fn get(port: u16) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

async fn until_answer(port: u16, holds: impl Fn(Option<&str>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = get(port).await;
        if holds(answer.as_deref()) {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_balancer_can_ask_for_endpoints_of_this_node() {
    on_a_node(|| async {
        let bed = Bed::new().await;
        let a = bed.pod("a").await;
        let running = Running::start().await;
        let spec = |port: u16| {
            json!({"type": "LoadBalancer", "clusterIP": VIP, "externalTrafficPolicy": "Local",
                "healthCheckNodePort": port, "ports": both(80)})
        };
        running.cluster.service(spec(31001)).await;
        until_answer(31001, |answer| answer.is_some_and(|text| text.starts_with("HTTP/1.1 503"))).await;
        running.cluster.endpoints(&[&a]).await;
        until_answer(31001, |answer| {
            answer.is_some_and(|text| {
                text.starts_with("HTTP/1.1 200")
                    && text.contains("x-load-balancing-endpoint-weight: 1")
                    && text.contains("\"localEndpoints\": 1")
            })
        })
        .await;
        running.cluster.service(spec(31002)).await;
        until_answer(31002, |answer| answer.is_some_and(|text| text.starts_with("HTTP/1.1 200"))).await;
        until_answer(31001, |answer| answer.is_none()).await;
        running.stop().await;
    });
}

#[test]
fn a_health_check_whose_port_is_taken_is_served_when_it_is_free() {
    on_a_node(|| async {
        let bed = Bed::new().await;
        let a = bed.pod("a").await;
        let running = Running::start().await;
        let taken = std::net::TcpListener::bind("0.0.0.0:31003").expect("port");
        running.cluster.endpoints(&[&a]).await;
        running
            .cluster
            .service(json!({"type": "LoadBalancer", "clusterIP": VIP, "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 31003, "ports": both(80)}))
            .await;
        let client = Place::Node;
        until("the service is served", || client.tcp(at(VIP, 80)).is_ok()).await;
        drop(taken);
        // nothing happens in the cluster meanwhile
        until_answer(31003, |answer| answer.is_some_and(|text| text.starts_with("HTTP/1.1 200"))).await;
        running.stop().await;
    });
}
