//! Cluster IPs, node ports and what becomes of them.

use super::*;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

impl World {
    async fn make(&self, name: &str, spec: Value) -> Value {
        let made = self.post(SERVICES, service(name, spec)).await;
        assert_eq!(made.code, 201, "{}", made.body);
        made.body
    }

    async fn refused(&self, spec: Value) -> (u16, String) {
        let got = self.post(SERVICES, service("refused", spec)).await;
        (got.code, got.body["message"].as_str().unwrap_or_default().to_owned())
    }

    async fn allocated(&self) -> Vec<String> {
        let list = self.get(ADDRESSES).await;
        let items = list.body["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn ip(service: &Value) -> String {
    service["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

fn node_port(service: &Value, index: usize) -> i64 {
    service["spec"]["ports"][index]["nodePort"].as_i64().unwrap_or(0)
}

#[tokio::test]
async fn an_allocation_is_an_object_that_comes_and_goes_with_its_service() {
    let w = world().await;
    assert_eq!(w.allocated().await, ["10.96.0.1"]);
    let cidr = w.get(&format!("{CIDRS}/kubernetes")).await.body;
    assert_eq!(cidr["spec"]["cidrs"], json!(["10.96.0.0/12"]));
    assert_eq!(cidr["status"]["conditions"][0]["type"], "Ready");
    let made = w.make("a", json!({})).await;
    let address = w.get(&format!("{ADDRESSES}/{}", ip(&made))).await.body;
    assert_eq!(
        address["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "a"})
    );
    assert_eq!(
        address["metadata"]["labels"],
        json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"})
    );
    let beta = w.get(&format!("/apis/networking.k8s.io/v1beta1/ipaddresses/{}", ip(&made))).await.body;
    assert_eq!(beta["apiVersion"], "networking.k8s.io/v1beta1");
    assert_eq!(w.delete(&format!("{SERVICES}/a")).await.code, 200);
    assert_eq!(w.allocated().await, ["10.96.0.1"]);
    let again = w.make("a", json!({"clusterIP": ip(&made)})).await;
    assert_eq!(ip(&again), ip(&made));
}

#[tokio::test]
async fn what_is_taken_or_outside_is_refused_and_leaves_nothing() {
    let w = world().await;
    let first = w.make("first", json!({"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [{"port": 80, "nodePort": 30007}]})).await;
    let before = w.allocated().await;
    let prefix = "Service \"refused\" is invalid: ";
    for (spec, code, message) in [
        (
            json!({"clusterIP": "10.96.0.77"}),
            422,
            format!("{prefix}spec.clusterIPs: Invalid value: [\"10.96.0.77\"]: failed to allocate IP 10.96.0.77: provided IP is already allocated"),
        ),
        (
            json!({"clusterIP": "10.95.0.1"}),
            422,
            format!("{prefix}spec.clusterIPs: Invalid value: [\"10.95.0.1\"]: failed to allocate IP 10.95.0.1: the provided network does not match the current range"),
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 1}, {"name": "b", "port": 2, "nodePort": 30007}]}),
            422,
            format!("{prefix}spec.ports[1].nodePort: Invalid value: 30007: provided port is already allocated"),
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}),
            422,
            format!("{prefix}spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"),
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30007}),
            500,
            "Internal error occurred: failed to allocate requested HealthCheck NodePort 30007: provided port is already allocated".to_owned(),
        ),
        (
            json!({"sessionAffinity": "Sometimes"}),
            422,
            format!("{prefix}spec.sessionAffinity: Unsupported value: \"Sometimes\": supported values: \"ClientIP\", \"None\""),
        ),
    ] {
        assert_eq!(w.refused(spec).await, (code, message));
    }
    // a name that is taken
    let same = w.post(SERVICES, service("first", json!({"type": "NodePort"}))).await;
    assert_eq!(same.code, 409);
    assert_eq!(w.allocated().await, before);
    // the ports of the refused are free: each can be had now, apart from the first's
    for port in [30000, 32767] {
        let made = w
            .make(&format!("p{port}"), json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}))
            .await;
        assert_eq!(node_port(&made, 0), port);
    }
    assert_eq!(node_port(&first, 0), 30007);
}

#[tokio::test]
async fn a_dry_run_takes_nothing() {
    let w = world().await;
    let before = w.allocated().await;
    let spec =
        json!({"type": "NodePort", "clusterIP": "10.96.0.78", "ports": [{"port": 80, "nodePort": 30078}]});
    let uri = format!("{SERVICES}?dryRun=All");
    let tried = w.post(&uri, service("dry", spec.clone())).await;
    assert_eq!((tried.code, ip(&tried.body)), (201, "10.96.0.78".to_owned()));
    assert_eq!(w.allocated().await, before);
    w.make("real", spec).await;
    let tried = w.post(&uri, service("dry", json!({"clusterIP": "10.96.0.78"}))).await;
    assert_eq!(tried.code, 422, "{}", tried.body);
    assert_eq!(w.delete(&format!("{SERVICES}/real?dryRun=All")).await.code, 200);
    assert_eq!(w.allocated().await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_change_of_type_gives_back_what_the_new_type_does_not_have() {
    let w = world().await;
    let made = w
        .make(
            "s",
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "a.b/c",
                   "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}),
        )
        .await;
    let check = made["spec"]["healthCheckNodePort"].as_i64().unwrap();
    assert!((30000..=32767).contains(&check) && check != node_port(&made, 0));
    let at = format!("{SERVICES}/s");
    let quiet = w.merge(&at, json!({"spec": {"externalTrafficPolicy": "Cluster"}})).await.body;
    assert_eq!(quiet["spec"]["healthCheckNodePort"], Value::Null);
    assert_eq!(node_port(&quiet, 0), node_port(&made, 0), "{quiet}");
    let plain = w.merge(&at, json!({"spec": {"type": "ClusterIP"}})).await.body;
    assert_eq!((ip(&plain), node_port(&plain, 0)), (ip(&made), 0), "{plain}");
    for gone in ["externalTrafficPolicy", "allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        assert_eq!(plain["spec"][gone], Value::Null, "{gone}");
    }
    let taken = [node_port(&made, 0), node_port(&made, 1), check];
    let ports: Vec<Value> = taken
        .iter()
        .enumerate()
        .map(|(i, p)| json!({"name": format!("p{i}"), "port": i + 1, "nodePort": p}))
        .collect();
    w.make("heir", json!({"type": "NodePort", "ports": ports})).await;
    let name =
        w.merge(&at, json!({"spec": {"type": "ExternalName", "externalName": "example.com"}})).await.body;
    assert_eq!(
        (&name["spec"]["clusterIP"], &name["spec"]["ipFamilies"]),
        (&Value::Null, &Value::Null),
        "{name}"
    );
    assert!(!w.allocated().await.contains(&ip(&made)));
    let back = w.merge(&at, json!({"spec": {"type": "ClusterIP", "externalName": null}})).await.body;
    assert!(w.allocated().await.contains(&ip(&back)), "{back}");
    let changed = w.merge(&at, json!({"spec": {"clusterIP": "10.96.1.1"}})).await;
    assert_eq!(
        changed.body["message"],
        "Service \"s\" is invalid: spec.clusterIPs[0]: Invalid value: [\"10.96.1.1\"]: may not change once set"
    );
}

#[tokio::test]
async fn node_ports_only_where_they_are_wanted() {
    let w = world().await;
    let quiet =
        w.make("quiet", json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false})).await;
    assert_eq!(node_port(&quiet, 0), 0);
    let named = w
        .make(
            "named",
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                   "ports": [{"port": 80, "nodePort": 30080}]}),
        )
        .await;
    assert_eq!(node_port(&named, 0), 30080);
    let headless = w.make("headless", json!({"clusterIP": "None"})).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    let name = w.make("name", json!({"type": "ExternalName", "externalName": "a.example."})).await;
    assert_eq!(name["spec"]["clusterIP"], Value::Null);
    // PUT without what was allocated
    let mut body = w.make("put", json!({"type": "NodePort"})).await;
    let before = (ip(&body), node_port(&body, 0));
    for field in ["clusterIP", "clusterIPs"] {
        body["spec"].as_object_mut().unwrap().shift_remove(field);
    }
    body["spec"]["ports"][0].as_object_mut().unwrap().shift_remove("nodePort");
    let put = w.call("PUT", &format!("{SERVICES}/put"), "application/json", &body.to_string()).await;
    assert_eq!((put.code, (ip(&put.body), node_port(&put.body, 0))), (200, before), "{}", put.body);
}

#[tokio::test]
async fn more_blocks_give_more_addresses() {
    let w = world().await;
    let (code, _) = w.refused(json!({"clusterIP": "192.168.7.9"})).await;
    assert_eq!(code, 422);
    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["192.168.7.0/28"]}});
    assert_eq!(w.post(CIDRS, more).await.code, 201);
    w.make("there", json!({"clusterIP": "192.168.7.9"})).await;
    for (spec, message) in [
        (json!({"cidrs": []}), "spec.cidrs: Required value: at least one CIDR required"),
        (
            json!({"cidrs": ["10.0.0.1/24"]}),
            "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
        ),
    ] {
        let got = w.post(CIDRS, json!({"metadata": {"name": "bad"}, "spec": spec})).await;
        assert!(got.body["message"].as_str().unwrap().ends_with(message), "{}", got.body);
    }
    let got = w.merge(&format!("{CIDRS}/more"), json!({"spec": {"cidrs": ["192.168.8.0/28"]}})).await;
    assert_eq!(
        got.body["message"],
        "ServiceCIDR.networking.k8s.io \"more\" is invalid: spec.cidrs[0]: Invalid value: \"192.168.8.0/28\": field is immutable"
    );
    // not ready any more: nothing new from it
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Terminating",
        "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    assert_eq!(w.merge(&format!("{CIDRS}/more/status"), status).await.code, 200);
    let (code, _) = w.refused(json!({"clusterIP": "192.168.7.10"})).await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn a_small_block_is_given_out_to_the_last_address() {
    let folder = tempfile::tempdir().unwrap();
    let block: ServiceBlock = "10.200.0.0/29".parse().unwrap();
    let server = ApiServer::new(config(&folder, block)).await.unwrap();
    let w = World { server, _folder: folder };
    for i in 0..5 {
        w.make(&format!("s{i}"), json!({})).await;
    }
    let (code, message) = w.refused(json!({})).await;
    let full = "Internal error occurred: failed to allocate a serviceIP: range is full";
    assert_eq!((code, &*message), (500, full));
    w.delete(&format!("{SERVICES}/s3")).await;
    w.make("again", json!({})).await;
}

#[tokio::test]
async fn many_at_once_never_share() {
    let folder = tempfile::tempdir().unwrap();
    let block: ServiceBlock = "10.200.0.0/25".parse().unwrap();
    let server = ApiServer::new(config(&folder, block)).await.unwrap();
    let w = World { server, _folder: folder };
    let names: Vec<String> = (0..100).map(|i| format!("s{i}")).collect();
    let made =
        futures::future::join_all(names.iter().map(|name| w.make(name, json!({"type": "NodePort"})))).await;
    let ips: std::collections::HashSet<String> = made.iter().map(ip).collect();
    let ports: std::collections::HashSet<i64> = made.iter().map(|made| node_port(made, 0)).collect();
    assert_eq!((ips.len(), ports.len(), w.allocated().await.len()), (100, 100, 101));
    let places: Vec<String> = names.iter().map(|name| format!("{SERVICES}/{name}")).collect();
    futures::future::join_all(places.iter().map(|place| w.delete(place))).await;
    assert_eq!(w.allocated().await, ["10.200.0.1"]);
}

#[tokio::test]
async fn a_store_is_brought_in_order_at_start_and_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let block = || ServiceBlock::new(Ipv4Addr::new(10, 96, 0, 0), 12);
    let server = ApiServer::new(config(&folder, block())).await.unwrap();
    let w = World { server, _folder: folder };
    let made = w.make("a", json!({})).await;
    let place = format!("{ADDRESSES}/{}", ip(&made));
    // someone deletes it while the server runs: the watch sees it come again
    let uid = w.get(&place).await.body["metadata"]["uid"].clone();
    let mut changes = w
        .server
        .store()
        .watch("ipaddresses.networking.k8s.io", &ip(&made), w.server.store().revision())
        .unwrap();
    assert_eq!(w.delete(&place).await.code, 200);
    changes.next().await.unwrap().unwrap();
    changes.next().await.unwrap().unwrap();
    assert_ne!(w.get(&place).await.body["metadata"]["uid"], uid);
    // behind the server's back: an allocation is missing and another has leaked
    let store = w.server.store().clone();
    w.server.store().close().await;
    drop(store);
    let World { server, _folder: folder } = w;
    drop(server);
    let path = folder.path().join("db/state.db");
    let tasks = Tasks::new(Component::Store);
    let raw = open_again(&path, &tasks).await;
    let entry = raw.get(&sampan_store::Key::new("ipaddresses.networking.k8s.io", ip(&made))).unwrap();
    let mut leaked: Value = serde_json::from_slice(&entry.value).unwrap();
    leaked["metadata"]["name"] = json!("10.96.9.9");
    let value = |object: &Value| {
        let (bytes, at) = sampan_api::meta::encode(object);
        sampan_store::Value { bytes, at }
    };
    let write = |name: &str, action| sampan_store::Write {
        key: sampan_store::Key::new("ipaddresses.networking.k8s.io", name),
        condition: sampan_store::Condition::Any,
        action,
    };
    raw.write(write("10.96.9.9", sampan_store::Action::Put(value(&leaked)))).await.unwrap();
    raw.write(write(&ip(&made), sampan_store::Action::Delete(value(&leaked)))).await.unwrap();
    raw.close().await;
    drop(raw);
    let server = ApiServer::new(config(&folder, block())).await.unwrap();
    let w = World { server, _folder: folder };
    let mut expected = vec!["10.96.0.1".to_owned(), ip(&made)];
    expected.sort();
    let mut found = w.allocated().await;
    found.sort();
    assert_eq!(found, expected);
    // another block is refused
    w.server.store().close().await;
    let World { server, _folder: folder } = w;
    drop(server);
    let error = reopened(&folder, "10.112.0.0/12".parse().unwrap()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the cluster's Services have addresses of 10.96.0.0/12, not of 10.112.0.0/12: a block cannot be changed once it is in use"
    );
}

/// The file's lock is let go of when the last task of the server before has ended.
async fn reopened(folder: &tempfile::TempDir, block: ServiceBlock) -> Result<ApiServer, crate::Error> {
    loop {
        match ApiServer::new(config(folder, block)).await {
            Err(crate::Error::Store(sampan_store::OpenError::Locked { .. })) => {
                tokio::task::yield_now().await
            }
            other => return other,
        }
    }
}

async fn open_again(path: &std::path::Path, tasks: &Tasks) -> sampan_store::Store {
    let key = path.parent().unwrap().parent().unwrap().join("encryption.key");
    loop {
        let mut options = sampan_store::Config::new(path);
        options.seal = Arc::new(crate::secrets::Sealer::open(&key, false).unwrap());
        match sampan_store::Store::open(options, tasks.clone()).await {
            Err(sampan_store::OpenError::Locked { .. }) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}
