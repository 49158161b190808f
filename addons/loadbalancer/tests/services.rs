//! The whole addon against an API in memory and a bridge of the real kernel, in a network namespace of its own: needs
//! root.
#![allow(clippy::unwrap_used)]

#[path = "../../../server/controllers/tests/fake/mod.rs"]
mod fake;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rtnetlink::LinkBridge;
use sampan_addon::{Context, Drain, GroupHandler, Host, Native, Report, Reporter, Served, Site};
use sampan_addon_loadbalancer::LoadBalancer;
use sampan_process::{Component, Tasks};
use sampan_reconcile::{Informer, Informers, Key};
use serde_json::{Value, json};

const BRIDGE: &str = "sptestlb0";
const NODE: &str = "192.0.2.2";

struct NoHost;

impl Host for NoHost {
    fn serve_group(&self, _: &'static str, _: &'static str, _: GroupHandler) -> Served {
        Box::new(())
    }

    fn content_store(&self) -> Option<PathBuf> {
        None
    }
}

struct World {
    context: Context,
    services: Informer<Service>,
    events: Informer<Event>,
}

/// Runs a test on a thread with a network of its own: `lo` and the bridge.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(World) -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            let driver = tokio::spawn(connection);
            handle.link().add(LinkBridge::new(BRIDGE).up().build()).execute().await.unwrap();
            driver.abort();
            tokio::time::timeout(Duration::from_secs(30), test(world())).await.expect("in time");
        });
    });
    thread.join().unwrap();
}

fn world() -> World {
    let client = sampan_client::loopback(Arc::new(fake::Fake::default()), "default");
    let tasks = Tasks::new(Component::ControllerManager);
    let informers = Informers::new(client.clone(), tasks.clone());
    let site = Site {
        profile: "test".into(),
        node_name: "n1".into(),
        node_ips: vec![NODE.parse().unwrap()],
        bridge: BRIDGE.into(),
        gateway: Ipv4Addr::new(10, 201, 0, 1),
        pod_cidr: "10.201.0.0/16".into(),
        service_cidr: "10.96.0.0/12".into(),
        dns_ip: Ipv4Addr::new(10, 96, 0, 10),
        cluster_domain: "cluster.local".into(),
    };
    let (services, events) = (informers.of(), informers.of());
    let (health, host) = (Reporter::new(), Arc::new(NoHost));
    let context = Context { client, informers, site, data: PathBuf::new(), health, tasks, host };
    World { context, services, events }
}

impl World {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), "default")
    }

    /// Starts the addon; it runs until the drain.
    fn run(&self, config: Value) -> (Drain, tokio::task::JoinHandle<Result<(), sampan_addon::Error>>) {
        let (drain, context) = (Drain::new(), self.context.clone());
        let until = drain.clone();
        (drain, tokio::spawn(async move { Native::run(&LoadBalancer, &config, context, until).await }))
    }

    async fn create(&self, name: &str, spec: Value) {
        let service = json!({"metadata": {"name": name}, "spec": spec});
        self.api::<Service>()
            .create(&PostParams::default(), &serde_json::from_value(service).unwrap())
            .await
            .unwrap();
    }

    async fn merge(&self, name: &str, change: Value) {
        self.api::<Service>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        self.api::<Service>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn address(&self, name: &str) -> Option<String> {
        let service = self.services.get(&Key::namespaced("default", name))?;
        let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.clone();
        assert_eq!(ingress.ip_mode.as_deref(), Some("VIP"));
        ingress.ip
    }

    async fn gets(&self, name: &str, address: Option<&str>) {
        self.services.until(|_| self.address(name).as_deref() == address).await;
    }

    async fn event(&self, name: &str, reason: &str) -> String {
        let key = |event: &Event| {
            event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
        };
        self.events.until(|events| events.list().iter().any(|event| key(event))).await;
        self.events.list().iter().find(|event| key(event)).unwrap().message.clone().unwrap()
    }

    async fn health(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        self.context.health.watch().wait_for(|report| wanted(report)).await.unwrap().clone()
    }
}

/// Whether the kernel takes the address for its own.
fn is_local(address: &str) -> bool {
    TcpListener::bind((address, 0)).is_ok()
}

/// Resolves when the kernel does or does not take the address for its own: the bridge follows the status.
async fn becomes_local(address: &str, wanted: bool) {
    let (connection, _, mut changes) =
        rtnetlink::new_multicast_connection(&[rtnetlink::MulticastGroup::Ipv4Ifaddr]).unwrap();
    let driver = tokio::spawn(connection);
    while is_local(address) != wanted {
        changes.next().await.unwrap();
    }
    driver.abort();
}

fn balancer(port: u16) -> Value {
    json!({"type": "LoadBalancer", "ports": [{"port": port, "protocol": "TCP"}]})
}

#[test]
fn services_get_addresses_and_give_them_back() {
    in_namespace(|world| async move {
        let (drain, running) = world.run(json!({"pool": ["10.201.9.1-10.201.9.2"]}));
        world.health(|report| *report == Report::Healthy).await;
        world.create("a", balancer(80)).await;
        world.gets("a", Some(NODE)).await;
        assert_eq!(world.event("a", "EnsuringLoadBalancer").await, "Ensuring load balancer");
        assert_eq!(world.event("a", "EnsuredLoadBalancer").await, "Ensured load balancer");
        world.create("b", balancer(80)).await;
        world.gets("b", Some("10.201.9.1")).await;
        assert!(is_local("10.201.9.1") && !is_local("10.201.9.2"));
        world
            .create(
                "other",
                json!({"type": "LoadBalancer", "loadBalancerClass": "x/y", "ports": [{"port": 80}]}),
            )
            .await;
        world.create("c", balancer(80)).await;
        world.gets("c", Some("10.201.9.2")).await;
        world.create("d", balancer(80)).await;
        let said = world.event("d", "SyncLoadBalancerFailed").await;
        assert!(
            said.starts_with(
                "Error syncing load balancer: failed to ensure load balancer: 80/TCP at 192.0.2.2"
            ),
            "{said}"
        );
        let report = world.health(|report| matches!(report, Report::Degraded { .. })).await;
        assert!(
            matches!(report, Report::Degraded { reason, .. } if reason.starts_with("Service default/d has no address"))
        );
        // an address that comes free goes to who waits for one
        world.delete("b").await;
        world.gets("d", Some("10.201.9.1")).await;
        world.health(|report| *report == Report::Healthy).await;
        world.merge("c", json!({"spec": {"type": "ClusterIP"}})).await;
        world.gets("c", None).await;
        assert_eq!(world.event("c", "DeletedLoadBalancer").await, "Deleted load balancer");
        becomes_local("10.201.9.2", false).await;
        assert_eq!((world.address("a").as_deref(), world.address("other")), (Some(NODE), None));
        drain.start();
        running.await.unwrap().unwrap();
        assert!(is_local("10.201.9.1"), "a restart interrupts nothing");
    });
}

#[test]
fn a_new_configuration_moves_what_it_must_and_disabling_leaves_nothing() {
    in_namespace(|world| async move {
        let (drain, running) = world.run(json!({"pool": ["10.201.9.1"]}));
        world.create("a", balancer(80)).await;
        world.gets("a", Some(NODE)).await;
        world.create("b", balancer(80)).await;
        world.gets("b", Some("10.201.9.1")).await;
        drain.start();
        running.await.unwrap().unwrap();
        // while nobody looked, one went
        world.delete("a").await;
        let config = json!({"pool": ["10.201.8.1"], "reserved": ["80"]});
        let (drain, running) = world.run(config.clone());
        world.gets("b", Some("10.201.8.1")).await;
        becomes_local("10.201.9.1", false).await;
        assert!(is_local("10.201.8.1"));
        drain.start();
        running.await.unwrap().unwrap();
        Native::disabled(&LoadBalancer, &config, world.context.clone()).await.unwrap();
        world.gets("b", None).await;
        assert!(!is_local("10.201.8.1"));
    });
}

#[test]
fn what_listens_on_the_host_and_what_is_asked_for_is_respected() {
    in_namespace(|world| async move {
        let listener = TcpListener::bind("0.0.0.0:80").unwrap();
        let (_drain, _running) = world.run(json!({}));
        world.create("a", balancer(80)).await;
        world.gets("a", Some("10.201.255.241")).await;
        drop(listener);
        let asks = |ip: &str| {
            let mut spec = balancer(80);
            spec["loadBalancerIP"] = json!(ip);
            spec
        };
        world.create("b", asks("10.201.255.250")).await;
        world.gets("b", Some("10.201.255.250")).await;
        world.create("c", asks("10.201.255.250")).await;
        assert!(world.event("c", "SyncLoadBalancerFailed").await.contains("the Service default/b has it"));
        world.merge("b", json!({"spec": {"loadBalancerIP": "10.201.255.251"}})).await;
        world.gets("b", Some("10.201.255.251")).await;
        world.gets("c", Some("10.201.255.250")).await;
        // a host port of a pod is a port of the node
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1",
            "containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 81}]}]}});
        world
            .api::<Pod>()
            .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
            .await
            .unwrap();
        let pods: Informer<Pod> = world.context.informers.of();
        pods.until(|pods| pods.len() == 1).await;
        world.create("d", balancer(81)).await;
        world.gets("d", Some("10.201.255.241")).await;
        let ends = json!({"metadata": {"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}});
        world.merge("d", ends).await;
        world.delete("d").await;
        world.services.until(|services| services.get(&Key::namespaced("default", "d")).is_none()).await;
    });
}
