//! All controllers together against an API in memory: the daily life of a Deployment, and its end.
#![allow(clippy::unwrap_used)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::Fake;
use k8s_openapi::ByteString;
use k8s_openapi::api::apiserverinternal::v1alpha1::StorageVersion;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use sampan_controllers::{Config, ControllerManager};
use sampan_process::{Component, Health, Tasks};
use sampan_reconcile::{Informer, Informers, Key};
use serde_json::json;

struct Cluster {
    client: kube::Client,
    informers: Informers,
    tasks: Tasks,
}

fn cluster() -> Cluster {
    let client = sampan_client::loopback(Arc::new(Fake::default()), "default");
    let tasks = Tasks::new(Component::ControllerManager);
    let informers = Informers::new(client.clone(), tasks.clone());
    let config = Config {
        client: client.clone(),
        informers: informers.clone(),
        root_ca_pem: "PEM".to_owned(),
        certificates: None,
        health: Health::new(),
        collect_after: None,
    };
    let (manager, drain) = (ControllerManager::new(config, tasks.clone()), tasks.drain());
    tasks.spawn("manager", async move { manager.run(drain).await });
    Cluster { client, informers, tasks }
}

impl Cluster {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn namespace(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let ns = json!({"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}});
        namespaces.create(&PostParams::default(), &serde_json::from_value(ns).unwrap()).await.unwrap();
    }

    async fn deploy(&self, replicas: i32) {
        let deployment = json!({"metadata": {"name": "web"}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}}});
        let typed = serde_json::from_value(deployment).unwrap();
        self.api::<Deployment>().create(&PostParams::default(), &typed).await.unwrap();
    }

    /// Makes every pod run, as a kubelet would, until `condition` holds.
    async fn until(&self, what: &str, condition: impl Fn(&Informer<Pod>) -> bool + Send + Sync) {
        let pods: Informer<Pod> = self.informers.of();
        let mut number = 0;
        let live = pods.until(|pods| {
            for pod in pods.list() {
                let waiting = pod.status.as_ref().is_none_or(|status| status.pod_ip.is_none());
                if waiting && pod.metadata.deletion_timestamp.is_none() {
                    number += 1;
                    self.run_pod(pod.metadata.name.clone().unwrap(), number);
                }
            }
            condition(pods)
        });
        tokio::time::timeout(Duration::from_secs(30), live)
            .await
            .unwrap_or_else(|_| panic!("timed out: {what}"));
    }

    fn run_pod(&self, name: String, number: usize) {
        let api = self.api::<Pod>();
        self.tasks.spawn("kubelet", async move {
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let body = json!({"status": {"phase": "Running", "podIP": format!("10.244.0.{number}"), "conditions": [ready]}});
            let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(body)).await;
        });
    }

    async fn wait<K>(&self, what: &str, condition: impl Fn(&Informer<K>) -> bool + Send + Sync)
    where
        K: kube::Resource<DynamicType = ()> + sampan_reconcile::Object + std::fmt::Debug,
    {
        let informer = self.informers.of::<K>();
        let live = informer.until(condition);
        tokio::time::timeout(Duration::from_secs(30), live)
            .await
            .unwrap_or_else(|_| panic!("timed out: {what}: {:#?}", informer.list()));
    }

    async fn available(&self, count: i32) {
        let done = move |deployments: &Informer<Deployment>| {
            let web = deployments.get(&Key::namespaced("default", "web"));
            web.and_then(|d| d.status.clone()).is_some_and(|status| {
                status.available_replicas == Some(count)
                    && status.updated_replicas == Some(count)
                    && status.replicas == Some(count)
            })
        };
        let status = self.wait::<Deployment>("the deployment's status", done);
        let pods = self.until("pods", move |pods| pods.len() == usize::try_from(count).unwrap());
        tokio::join!(status, pods);
    }
}

#[tokio::test]
async fn a_deployment_lives_rolls_and_is_collected() {
    let cluster = cluster();
    cluster.namespace().await;
    cluster.wait::<ServiceAccount>("default account", |all| all.len() == 1).await;
    cluster.wait::<ConfigMap>("root ca", |all| all.len() == 1).await;

    let service =
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let services = cluster.api::<Service>();
    services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    cluster.deploy(3).await;
    cluster.available(3).await;
    let addresses = |slices: &Informer<EndpointSlice>| -> usize {
        slices.list().iter().map(|slice| slice.endpoints.iter().flatten().count()).sum()
    };
    cluster.wait::<EndpointSlice>("three endpoints", move |slices| addresses(slices) == 3).await;

    let deployments = cluster.api::<Deployment>();
    let scale = json!({"spec": {"replicas": 10}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    cluster.available(10).await;

    let pods = cluster.api::<Pod>();
    let one = cluster.informers.of::<Pod>().list()[0].metadata.name.clone().unwrap();
    pods.delete(&one, &DeleteParams::default()).await.unwrap();
    cluster
        .until("a replacement", |pods| {
            pods.len() == 10 && pods.get(&Key::namespaced("default", &one)).is_none()
        })
        .await;

    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "b"}]}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(image)).await.unwrap();
    let new = |pod: &Arc<Pod>| {
        pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some("b"))
    };
    cluster.until("only new pods", move |pods| pods.len() == 10 && pods.list().iter().all(new)).await;
    cluster.available(10).await;
    assert_eq!(cluster.informers.of::<ReplicaSet>().len(), 2);
    let scaled = |event: &Arc<Event>| {
        event
            .message
            .as_deref()
            .is_some_and(|m| m.starts_with("Scaled up replica set web-") && m.ends_with("from 0 to 3"))
    };
    cluster.wait::<Event>("ScalingReplicaSet", move |events| events.list().iter().any(scaled)).await;

    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    cluster.wait::<ReplicaSet>("no replica sets", Informer::is_empty).await;
    cluster.until("no pods", Informer::is_empty).await;
    assert_eq!(cluster.tasks.finish(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn foreground_deletion_waits_and_orphans_stay() {
    let cluster = cluster();
    cluster.namespace().await;
    cluster.deploy(2).await;
    cluster.available(2).await;
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..Default::default() };
    cluster.api::<Deployment>().delete("web", &foreground).await.unwrap();
    cluster.wait::<Deployment>("the deployment's end", Informer::is_empty).await;
    let pods = cluster.api::<Pod>().list(&Default::default()).await.unwrap();
    assert!(pods.items.is_empty(), "the owner went before its dependents");

    cluster.deploy(2).await;
    cluster.available(2).await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..Default::default() };
    cluster.api::<Deployment>().delete("web", &orphan).await.unwrap();
    cluster.wait::<Deployment>("the deployment's end", Informer::is_empty).await;
    let free = |rs: &Arc<ReplicaSet>| rs.metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
    cluster.wait::<ReplicaSet>("orphaned", move |sets| sets.len() == 1 && sets.list().iter().all(free)).await;
    assert_eq!(cluster.informers.of::<Pod>().len(), 2);
}

/// Makes a set, deletes it without what it made, and makes it again: it has the same pod and the same revision.
async fn adopts_what_it_left<K>()
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + sampan_reconcile::Object
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    fn is_owned<O: kube::Resource>(object: &O, uid: &str) -> bool {
        let owners = object.meta().owner_references.as_deref().unwrap_or_default();
        owners.len() == 1 && owners[0].uid == uid
    }
    let cluster = cluster();
    cluster.namespace().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let set = json!({"metadata": {"name": "db"}, "spec": {
        "replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}}}});
    let set: K = serde_json::from_value(set).unwrap();
    let api = cluster.api::<K>();
    let mut made: Option<(Option<String>, Option<String>)> = None;
    for round in ["makes", "adopts"] {
        let uid = api.create(&PostParams::default(), &set).await.unwrap().meta().uid.clone().unwrap();
        cluster.until(round, |pods| pods.list().iter().any(|pod| is_owned(&**pod, &uid))).await;
        let revised = |revisions: &Informer<ControllerRevision>| {
            revisions.list().iter().any(|revision| is_owned(&**revision, &uid))
        };
        cluster.wait::<ControllerRevision>(round, revised).await;
        let (pods, revisions) =
            (cluster.informers.of::<Pod>().list(), cluster.informers.of::<ControllerRevision>().list());
        assert_eq!((pods.len(), revisions.len()), (1, 1), "{round}");
        let now = (pods[0].metadata.uid.clone(), revisions[0].metadata.uid.clone());
        assert_eq!(*made.get_or_insert_with(|| now.clone()), now, "{round}");
        let orphan =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..Default::default() };
        api.delete("db", &orphan).await.unwrap();
        cluster.wait::<K>("the set's end", Informer::is_empty).await;
    }
}

#[tokio::test]
async fn a_stateful_set_made_again_adopts_what_it_left() {
    adopts_what_it_left::<StatefulSet>().await;
}

#[tokio::test]
async fn a_daemon_set_made_again_adopts_what_it_left() {
    adopts_what_it_left::<DaemonSet>().await;
}

#[tokio::test]
async fn a_namespace_is_emptied_and_goes() {
    let cluster = cluster();
    cluster.namespace().await;
    cluster.deploy(2).await;
    cluster.available(2).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("default", &DeleteParams::default()).await.unwrap();
    cluster.wait::<Namespace>("the namespace's end", Informer::is_empty).await;
    let left = cluster.api::<Pod>().list(&Default::default()).await.unwrap();
    assert!(left.items.is_empty());
}

#[tokio::test]
async fn aggregated_roles_follow_those_that_they_select() {
    let cluster = cluster();
    let roles: Api<ClusterRole> = Api::all(cluster.client.clone());
    let create = async |value: serde_json::Value| {
        roles.create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap();
    };
    let part = |name: &str, resource: &str| {
        json!({"metadata": {"name": name, "labels": {"to": "sum"}},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
    };
    let selectors = json!([{"matchLabels": {"to": "sum"}}]);
    create(json!({"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": selectors}}))
        .await;
    create(part("b", "pods")).await;
    create(part("a", "secrets")).await;
    let resources = |roles: &Informer<ClusterRole>| -> Vec<String> {
        let sum = roles.get(&Key::cluster("sum"));
        let rules = sum.and_then(|role| role.rules.clone()).unwrap_or_default();
        rules.into_iter().flat_map(|rule| rule.resources.unwrap_or_default()).collect()
    };
    cluster.wait::<ClusterRole>("both parts", |roles| resources(roles) == ["secrets", "pods"]).await;
    roles.delete("a", &DeleteParams::default()).await.unwrap();
    cluster.wait::<ClusterRole>("the one that is left", |roles| resources(roles) == ["pods"]).await;
}

#[tokio::test]
async fn nodes_are_told_how_long_to_keep_what_they_read() {
    let cluster = cluster();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = json!({"metadata": {"name": "one"}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let told =
        |node: Arc<Node>| node.metadata.annotations.clone()?.get("node.alpha.kubernetes.io/ttl").cloned();
    let one = Key::cluster("one");
    let zero = |nodes: &Informer<Node>| nodes.get(&one).and_then(told).as_deref() == Some("0");
    cluster.wait::<Node>("the annotation", zero).await;
}

#[tokio::test]
async fn token_secrets_are_filled_in_and_go_with_their_account() {
    let cluster = cluster();
    let accounts = cluster.api::<ServiceAccount>();
    let account: ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": "robot"}, "secrets": [{"name": "lost"}]}))
            .unwrap();
    let account = accounts.create(&PostParams::default(), &account).await.unwrap();
    let create = async |name: &str, account: &str| {
        let annotations = json!({"kubernetes.io/service-account.name": account});
        let secret = json!({"type": "kubernetes.io/service-account-token",
            "metadata": {"name": name, "annotations": annotations}});
        let typed: Secret = serde_json::from_value(secret).unwrap();
        cluster.api::<Secret>().create(&PostParams::default(), &typed).await.unwrap();
    };
    create("kept", "robot").await;
    create("stray", "nobody").await;
    let key = |name: &str| Key::namespaced("default", name);
    let value = |secrets: &Informer<Secret>, name: &str| {
        let bytes = secrets.get(&key("kept"))?.data.clone()?.get(name)?.0.clone();
        Some(String::from_utf8(bytes).unwrap())
    };
    let filled = |secrets: &Informer<Secret>| {
        value(secrets, "token").as_deref() == Some("robot kept 4294967296")
            && value(secrets, "ca.crt").as_deref() == Some("PEM")
            && value(secrets, "namespace").as_deref() == Some("default")
    };
    cluster
        .wait::<Secret>("one filled in, one gone", |all| filled(all) && all.get(&key("stray")).is_none())
        .await;
    let kept = cluster.api::<Secret>().get("kept").await.unwrap();
    let annotations = kept.metadata.annotations.unwrap();
    assert_eq!(annotations.get("kubernetes.io/service-account.uid"), account.metadata.uid.as_ref());

    create("lost", "robot").await;
    cluster.api::<Secret>().delete("lost", &DeleteParams::default()).await.unwrap();
    let forgot = |accounts: &Informer<ServiceAccount>| {
        accounts.get(&key("robot")).is_some_and(|robot| robot.secrets.as_ref().is_none_or(Vec::is_empty))
    };
    cluster.wait::<ServiceAccount>("forgets", forgot).await;
    accounts.delete("robot", &DeleteParams::default()).await.unwrap();
    cluster.wait::<Secret>("goes with its account", Informer::is_empty).await;
}

/// Makes the Secret of a bootstrap token that signs, with an `expiration` if it has one.
async fn bootstrap_token(cluster: &Cluster, id: &str, expiration: &str) {
    let secret = json!({"type": "bootstrap.kubernetes.io/token", "metadata": {"name": format!("bootstrap-token-{id}")}});
    let mut secret: Secret = serde_json::from_value(secret).unwrap();
    let data = [
        ("token-id", id),
        ("token-secret", "secret"),
        ("usage-bootstrap-signing", "true"),
        ("expiration", expiration),
    ];
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    secret.data = Some(data.map(|(key, text)| (key.to_owned(), bytes(text))).into());
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    secrets.create(&PostParams::default(), &secret).await.unwrap();
}

#[tokio::test]
async fn cluster_info_is_signed_with_the_tokens_that_there_are() {
    let cluster = cluster();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-public");
    let info = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "C"}});
    maps.create(&PostParams::default(), &serde_json::from_value(info).unwrap()).await.unwrap();
    let keys = |maps: &Informer<ConfigMap>| -> Vec<String> {
        let info = maps.get(&Key::namespaced("kube-public", "cluster-info"));
        info.and_then(|info| info.data.clone()).unwrap_or_default().into_keys().collect()
    };
    bootstrap_token(&cluster, "abcdef", "").await;
    let signed = ["jws-kubeconfig-abcdef", "kubeconfig"];
    cluster.wait::<ConfigMap>("the signature", |maps| keys(maps) == signed).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    secrets.delete("bootstrap-token-abcdef", &DeleteParams::default()).await.unwrap();
    cluster.wait::<ConfigMap>("no signature", |maps| keys(maps) == ["kubeconfig"]).await;
}

#[tokio::test]
async fn tokens_go_when_they_end() {
    let cluster = cluster();
    let now = sampan_reconcile::now();
    let soon = (now + Duration::from_millis(300)).to_string();
    for (id, end) in
        [("aaaaaa", "2026-01-01T00:00:00Z"), ("bbbbbb", &soon), ("cccccc", "2126-01-01T00:00:00Z")]
    {
        bootstrap_token(&cluster, id, end).await;
    }
    let left = |secrets: &Informer<Secret>, ids: &[&str]| {
        let key = |id: &&str| Key::namespaced("kube-system", &format!("bootstrap-token-{id}"));
        secrets.len() == ids.len() && ids.iter().all(|id| secrets.get(&key(id)).is_some())
    };
    cluster.wait::<Secret>("the first two go", |secrets| left(secrets, &["cccccc"])).await;
    assert!(sampan_reconcile::now() >= now + Duration::from_millis(300), "one went before its end");
}

#[tokio::test]
async fn a_storage_version_goes_with_the_last_of_its_servers() {
    let cluster = cluster();
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-system");
    let label = json!({"apiserver.kubernetes.io/identity": "kube-apiserver"});
    let lease = json!({"metadata": {"name": "apiserver-a", "labels": label}});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    let versions: Api<StorageVersion> = Api::all(cluster.client.clone());
    let entry = |id: &str, version: &str| json!({"apiServerID": id, "encodingVersion": version, "decodableVersions": [version]});
    let entries = json!([entry("apiserver-a", "v1"), entry("not a name", "v2"), entry("apiserver-b", "v2")]);
    let version =
        json!({"metadata": {"name": "apps.deployments"}, "spec": {}, "status": {"storageVersions": entries}});
    versions.create(&PostParams::default(), &serde_json::from_value(version).unwrap()).await.unwrap();
    let only_a = |versions: &Informer<StorageVersion>| {
        let status =
            versions.get(&Key::cluster("apps.deployments")).and_then(|version| version.status.clone());
        status.is_some_and(|status| {
            let ids = status.storage_versions.iter().flatten().map(|entry| entry.api_server_id.as_str());
            ids.eq(["apiserver-a"]) && status.common_encoding_version.as_deref() == Some("v1")
        })
    };
    cluster.wait::<StorageVersion>("the server that is there", only_a).await;
    leases.delete("apiserver-a", &DeleteParams::default()).await.unwrap();
    cluster.wait::<StorageVersion>("nobody is left", Informer::is_empty).await;
}
