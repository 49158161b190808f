//! An API server on a temporary store, addons to enable, and a platform that can be killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use sampan_addon::{About, Addon, Context, Drain, Error, GroupHandler, Host, Native, Served, Site, Text};
use sampan_addons::{Addons, Config, OWNER, Step};
use sampan_apiserver::{ApiServer, UserInfo};
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::Informers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How a test's own addon behaves.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// What its configmap says.
    pub greeting: String,
    /// How many configmaps it has.
    pub maps: usize,
    /// How it ends: `panic`, `error`, `panic-in-objects`, `hang`, or not at all.
    pub ends: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { greeting: "hello".into(), maps: 1, ends: String::new() }
    }
}

/// An addon with configmaps for objects.
pub struct Echo {
    pub name: &'static str,
    pub default_on: bool,
    pub needs: &'static [&'static str],
}

#[async_trait]
impl Addon for Echo {
    type Config = Settings;

    fn about(&self) -> About {
        let summary = Text { en: "Says hello", zh: "问好" };
        let (name, default_on, needs) = (self.name, self.default_on, self.needs);
        About { name, summary, maintainer: "the tests", version: "1.0", default_on, needs }
    }

    fn check(&self, config: &Settings) -> Result<(), Error> {
        let problem = || Error::Config { field: "maps".into(), problem: "at most 9".into() };
        (config.maps < 10).then_some(()).ok_or_else(problem)
    }

    fn objects(&self, config: &Settings, _: &Site) -> Result<Vec<Value>, Error> {
        assert!(config.ends != "panic-in-objects", "no objects today");
        let map = |n: usize| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{}-{n}", self.name)},
                "data": {"greeting": config.greeting}})
        };
        Ok((0..config.maps).map(map).collect())
    }

    fn page(&self, config: &Settings, site: &Site) -> Option<String> {
        Some(format!("http://{}/{}", site.node_name, config.greeting))
    }

    async fn run(&self, config: Settings, context: Context, drain: Drain) -> Result<(), Error> {
        tracing::info!(greeting = config.greeting, "running");
        std::fs::write(context.data.join("here"), "x").unwrap();
        match config.ends.as_str() {
            "panic" => panic!("out of tea"),
            "error" => Err(Error::Other("the kettle is cold".into())),
            "hang" => std::future::pending().await,
            _ => {
                context.health.healthy();
                drain.wait().await;
                Ok(())
            }
        }
    }

    async fn disabled(&self, _: Settings, context: Context) -> Result<(), Error> {
        std::fs::remove_file(context.data.join("here")).map_err(|error| Error::Other(error.to_string()))
    }
}

struct NoHost;

impl Host for NoHost {
    fn serve_group(&self, _: &'static str, _: &'static str, _: GroupHandler) -> Served {
        Box::new(())
    }

    fn content_store(&self) -> Option<PathBuf> {
        None
    }
}

pub struct World {
    pub server: ApiServer,
    pub client: kube::Client,
    pub folder: tempfile::TempDir,
}

/// A platform that runs, until it is killed.
pub struct Platform {
    pub addons: Addons,
    pub health: Health,
    pub tasks: Tasks,
    others: Tasks,
    run: tokio::task::JoinHandle<()>,
}

impl Platform {
    /// Ends at once, with nothing put in order, as a killed daemon does.
    pub fn kill(&self) {
        self.run.abort();
        self.others.drain().start();
        self.tasks.drain().start();
    }

    /// Ends in order.
    pub async fn stop(self) {
        self.tasks.drain().start();
        self.run.await.unwrap();
        assert_eq!(self.others.finish(Duration::from_secs(2)).await, 0);
    }
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = sampan_apiserver::Config {
            data: folder.path().join("server"),
            tasks: Tasks::new(Component::ApiServer),
            health: Health::new(),
            bind: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 27443,
            port_fixed: false,
            services: "10.96.0.0/12".parse().unwrap(),
            node_name: "n1".into(),
            addresses: vec![],
            history: Duration::from_secs(300),
            audit: Default::default(),
            authentication: None,
        };
        let server = ApiServer::new(config).await.unwrap();
        let client = client(&server, usize::MAX);
        Self { server, client, folder }
    }

    /// A platform whose writes stop being answered after `writes` of them.
    pub fn dying_after(&self, writes: usize) -> Platform {
        let others = Tasks::new(Component::Daemon);
        let tasks = Tasks::new(Component::Daemon);
        let health = Health::new();
        let native = |name, default_on, needs| Arc::new(Echo { name, default_on, needs }) as Arc<dyn Native>;
        let server = self.server.clone();
        let config = Config {
            client: client(&self.server, writes),
            informers: Informers::new(self.client.clone(), others.clone()),
            health: health.clone(),
            site: site(),
            data: self.folder.path().join("addons"),
            host: Arc::new(NoHost),
            natives: vec![
                native("echo", false, &[]),
                native("always", true, &[]),
                native("choir", false, &["echo"]),
                Arc::new(sampan_addon_example::Example),
            ],
            client_for: Arc::new(move |_| client(&server, usize::MAX)),
        };
        let addons = Addons::new(config, tasks.clone());
        let run = tokio::spawn(addons.clone().run(tasks.drain()));
        Platform { addons, health, tasks, others, run }
    }

    pub async fn platform(&self) -> Platform {
        let platform = self.dying_after(usize::MAX);
        platform.addons.settled(&platform.tasks.drain()).await;
        platform
    }

    fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    pub async fn get(&self, version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let object = self.api(version, kind, namespace).get_opt(name).await.unwrap();
        object.map(|object| serde_json::to_value(object).unwrap())
    }

    pub async fn map(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get("v1", "ConfigMap", namespace, name).await
    }

    pub async fn create(&self, object: Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api = self.api(
            &text(&object["apiVersion"]),
            &text(&object["kind"]),
            &text(&object["metadata"]["namespace"]),
        );
        let object = serde_json::from_value(object).unwrap();
        serde_json::to_value(api.create(&PostParams::default(), &object).await.unwrap()).unwrap()
    }

    pub async fn patch(&self, version: &str, kind: &str, namespace: &str, name: &str, patch: Value) {
        let api = self.api(version, kind, namespace);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match patch {
            Patch::Merge(ref value) if value.get("status").is_some() => {
                api.patch_status(name, &params, &patch).await
            }
            patch => api.patch(name, &params, &patch).await,
        }
        .unwrap();
    }

    pub async fn delete(&self, version: &str, kind: &str, namespace: &str, name: &str) {
        self.api(version, kind, namespace).delete(name, &Default::default()).await.unwrap();
    }

    /// Lets a namespace go once it is deleted, as its controller would.
    pub async fn end_namespace(&self, name: &str) {
        let leaving = async {
            loop {
                let there = self.get("v1", "Namespace", "", name).await;
                if let Some(going) = there.filter(|one| one["metadata"].get("deletionTimestamp").is_some()) {
                    return going;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut namespace = tokio::time::timeout(Duration::from_secs(30), leaving).await.unwrap();
        namespace["spec"]["finalizers"] = json!([]);
        let path = format!("/api/v1/namespaces/{name}/finalize");
        let request = Request::put(path).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(&namespace).unwrap()).unwrap();
        self.client.request::<Value>(request).await.unwrap();
    }

    /// Configmaps that bear an addon's label, but for its own record.
    pub async fn owned(&self, addon: &str) -> Vec<String> {
        let params = ListParams::default().labels(&format!("{OWNER}={addon}"));
        let list = self.api("v1", "ConfigMap", "").list(&params).await.unwrap();
        let names = list.items.into_iter().filter_map(|map| map.metadata.name);
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("addon-")).collect();
        names.sort();
        names
    }
}

fn client(server: &ApiServer, writes: usize) -> kube::Client {
    let user = UserInfo { name: "admin".into(), groups: vec!["system:masters".into()], ..Default::default() };
    let handler = server.loopback(user);
    let written = Arc::new(AtomicUsize::new(0));
    let handle = move |request: Request<Bytes>| -> sampan_client::ResponseFuture {
        let (handler, written) = (handler.clone(), written.clone());
        Box::pin(async move {
            let writes_something = request.method() != Method::GET;
            if writes_something && written.fetch_add(1, Ordering::SeqCst) >= writes {
                std::future::pending::<()>().await;
            }
            handler(request).await
        })
    };
    sampan_client::loopback(Arc::new(handle), "default")
}

fn site() -> Site {
    Site {
        profile: "test".into(),
        node_name: "n1".into(),
        node_ips: vec![std::net::Ipv4Addr::LOCALHOST.into()],
        bridge: "none0".into(),
        gateway: local(),
        pod_cidr: "10.244.0.0/16".into(),
        service_cidr: "10.96.0.0/12".into(),
        dns_ip: std::net::Ipv4Addr::new(10, 96, 0, 10),
        cluster_domain: "cluster.local".into(),
    }
}

/// An address of this machine that is not loopback: the API refuses others in EndpointSlices. Nothing is sent.
pub fn local() -> std::net::Ipv4Addr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a machine with a route");
    match socket.local_addr().unwrap().ip() {
        std::net::IpAddr::V4(address) => address,
        other => panic!("{other}"),
    }
}

/// Nobody listens.
pub fn quiet(_: Step) {}

pub fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}
