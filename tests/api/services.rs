//! What the API server and the controllers make of Services: addresses, blocks of them, endpoints of others.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use sampan_test_api::{ask, get};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn services_have_addresses_and_endpoints() -> Result<()> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    kubernetes(&cluster, &client).await.context("kubernetes")?;
    println!("kubernetes: ok");
    allocations(&client).await.context("allocations")?;
    println!("allocations: ok");
    blocks(&client).await.context("blocks")?;
    println!("blocks: ok");
    mirrored(&client).await.context("mirrored")?;
    println!("mirrored: ok");
    groups(&client).await.context("groups")
}

/// Waits until `condition` holds of the object, or says that it never did.
async fn until<K>(api: Api<K>, name: &str, condition: impl kube::runtime::wait::Condition<K>) -> Result<Option<K>>
where
    K: Clone + std::fmt::Debug + Send + kube::Resource + serde::de::DeserializeOwned + 'static,
{
    let met = await_condition(api, name, condition);
    Ok(tokio::time::timeout(Duration::from_secs(20), met).await.with_context(|| format!("{name}: not in time"))??)
}

async fn service(client: &Client, name: &str, spec: Value) -> Result<Service> {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    let api: Api<Service> = Api::default_namespaced(client.clone());
    Ok(api.create(&PostParams::default(), &serde_json::from_value(body)?).await?)
}

fn ip(service: &Service) -> String {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default()
}

/// The API's own Service, its address, its block and its endpoints tell one story, which is true.
async fn kubernetes(cluster: &Cluster, client: &Client) -> Result<()> {
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let address = ip(&services.get("kubernetes").await?);
    let allocation = Api::<IPAddress>::all(client.clone()).get(&address).await?;
    let parent = allocation.spec.parent_ref;
    ensure!((parent.name.as_str(), parent.resource.as_str()) == ("kubernetes", "services"), "{parent:?}");
    let cidr = Api::<ServiceCIDR>::all(client.clone()).get("kubernetes").await?;
    let block = cidr.spec.unwrap().cidrs.unwrap_or_default();
    ensure!(block.len() == 1 && block[0].starts_with(address.trim_end_matches('1')), "{block:?} {address}");
    let slice = Api::<EndpointSlice>::default_namespaced(client.clone()).get("kubernetes").await?;
    let endpoint = slice.endpoints.unwrap_or_default()[0].addresses[0].clone();
    let port = slice.ports.unwrap_or_default()[0].port.unwrap_or_default();
    // where the endpoint says that the API is, it is, and its certificate is good for it
    let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
    config.cluster_url = format!("https://{endpoint}:{port}").parse()?;
    Client::try_from(config)?.apiserver_version().await.context("the API at its endpoint")?;
    let printed = cluster.kubectl(&["get", "endpoints", "kubernetes", "--no-headers"])?;
    ensure!(printed.contains(&format!("{endpoint}:{port}")), "{printed}");
    let printed = cluster.kubectl(&["get", "servicecidr,ipaddress"])?;
    ensure!(printed.contains("services/default/kubernetes") && printed.contains(&block[0]), "{printed}");
    Ok(())
}

/// An address is an object that comes and goes with its Service, whatever someone does to it.
async fn allocations(client: &Client) -> Result<()> {
    let addresses: Api<IPAddress> = Api::all(client.clone());
    let made = service(client, "held", json!({"type": "NodePort", "ports": [{"port": 80}]})).await?;
    let before = addresses.get(&ip(&made)).await?.metadata.uid;
    addresses.delete(&ip(&made), &DeleteParams::default()).await?;
    let again = |address: Option<&IPAddress>| address.is_some_and(|address| address.metadata.uid != before);
    until(addresses.clone(), &ip(&made), again).await?;
    let body = |spec: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "second"}, "spec": spec}).to_string()
    };
    let same = body(json!({"clusterIP": ip(&made), "ports": [{"port": 80}]}));
    let refused = ask(client, "POST", SERVICES, "application/json", same.into_bytes()).await?;
    ensure!(refused.code == 422 && refused.text.contains("provided IP is already allocated"), "{}", refused.text);
    let port = made.spec.unwrap().ports.unwrap()[0].node_port.unwrap();
    let same = body(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    let refused = ask(client, "POST", SERVICES, "application/json", same.into_bytes()).await?;
    ensure!(refused.code == 422 && refused.text.contains("provided port is already allocated"), "{}", refused.text);
    Api::<Service>::default_namespaced(client.clone()).delete("held", &DeleteParams::default()).await?;
    ensure!(!addresses.list(&ListParams::default()).await?.items.iter().any(|one| one.metadata.uid == before));
    Ok(())
}

/// A further block is ready when the controller has seen it, and goes when nobody has an address of it.
async fn blocks(client: &Client) -> Result<()> {
    let cidrs: Api<ServiceCIDR> = Api::all(client.clone());
    let body = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["198.18.77.0/28"]}});
    cidrs.create(&PostParams::default(), &serde_json::from_value(body)?).await?;
    let says = |status: &'static str| {
        move |cidr: Option<&ServiceCIDR>| {
            let conditions = cidr.and_then(|cidr| cidr.status.as_ref()).and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| condition.status == status)
        }
    };
    until(cidrs.clone(), "more", says("True")).await?;
    service(client, "there", json!({"clusterIP": "198.18.77.5", "ports": [{"port": 80}]})).await?;
    cidrs.delete("more", &DeleteParams::default()).await?;
    let held = until(cidrs.clone(), "more", says("False")).await?.unwrap();
    let condition = held.status.unwrap().conditions.unwrap().remove(0);
    ensure!(condition.reason == "Terminating", "{condition:?}");
    let refused = service(client, "late", json!({"clusterIP": "198.18.77.6", "ports": [{"port": 80}]})).await;
    ensure!(refused.is_err(), "an address of a block that is going");
    Api::<Service>::default_namespaced(client.clone()).delete("there", &DeleteParams::default()).await?;
    until(cidrs, "more", |cidr: Option<&ServiceCIDR>| cidr.is_none()).await?;
    Ok(())
}

/// Endpoints that someone writes for a Service without a selector become a slice, and go with the Service.
async fn mirrored(client: &Client) -> Result<()> {
    service(client, "by-hand", json!({"ports": [{"name": "w", "port": 80}]})).await?;
    let endpoints: Api<Endpoints> = Api::default_namespaced(client.clone());
    let slices: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let body = json!({"metadata": {"name": "by-hand"}, "subsets": [{"addresses": [{"ip": "192.0.2.1"}],
        "ports": [{"name": "w", "port": 8080}]}]});
    endpoints.create(&PostParams::default(), &serde_json::from_value(body)?).await?;
    let mine = WatchParams::default()
        .labels("kubernetes.io/service-name=by-hand,endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io")
        .timeout(20);
    let events = slices.watch(&mine, "0").await?.try_filter_map(|event| async {
        match event {
            WatchEvent::Added(slice) => Ok(slice.metadata.name),
            _ => Ok(None),
        }
    });
    let name = std::pin::pin!(events).try_next().await?.context("no slice in time")?;
    let holds = |wanted: &'static [&'static str]| {
        move |slice: Option<&EndpointSlice>| {
            let found = slice.and_then(|slice| slice.endpoints.as_ref()).into_iter().flatten();
            found.map(|endpoint| endpoint.addresses[0].as_str()).eq(wanted.iter().copied())
        }
    };
    until(slices.clone(), &name, holds(&["192.0.2.1"])).await?;
    let change = json!({"subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}],
        "ports": [{"name": "w", "port": 8080}]}]});
    endpoints.patch("by-hand", &PatchParams::default(), &Patch::Merge(&change)).await?;
    until(slices.clone(), &name, holds(&["192.0.2.1", "192.0.2.2"])).await?;
    Api::<Service>::default_namespaced(client.clone()).delete("by-hand", &DeleteParams::default()).await?;
    until(slices, &name, |slice: Option<&EndpointSlice>| slice.is_none()).await?;
    until(endpoints, "by-hand", |endpoints: Option<&Endpoints>| endpoints.is_none()).await?;
    Ok(())
}

/// A group that nobody serves is listed while it is registered, and says that it cannot be asked.
async fn groups(client: &Client) -> Result<()> {
    const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
    let body = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.nobody.example"},
        "spec": {"group": "nobody.example", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100}});
    let made = ask(client, "POST", SERVICES, "application/json", body.to_string().into_bytes()).await?;
    ensure!(made.code == 201, "{}", made.text);
    let groups = get(client, "/apis", "application/json").await?.json();
    ensure!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "nobody.example"));
    let unavailable = get(client, "/apis/nobody.example/v1/things", "application/json").await?;
    ensure!(unavailable.code == 503, "{}", unavailable.text);
    let gone = ask(client, "DELETE", &format!("{SERVICES}/v1.nobody.example"), "", Vec::new()).await?;
    ensure!(gone.code == 200, "{}", gone.text);
    ensure!(get(client, "/apis/nobody.example/v1/things", "application/json").await?.code == 404);
    Ok(())
}
