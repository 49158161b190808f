//! The objects that a cluster begins with, and those that the API server itself keeps
//! (`pkg/controlplane/controller/{systemnamespaces,kubernetesservice}`,
//! `pkg/registry/scheduling/rest/storage_scheduling.go`). RBAC's are `auth`'s.

use std::net::Ipv4Addr;

use futures::StreamExt;
use sampan_api::kinds;
use sampan_api::status::{ApiError, Reason};
use serde_json::{Value, json};

use crate::UserInfo;
use crate::registry::manage::SELF;
use crate::registry::{Call, Registry, Target, WriteOptions};
use crate::value::{at, keep, meta, set};

/// Where the API listens on its address among the Services.
const PORT: u16 = 443;

const NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

/// Makes what is missing; run at every start. `address` is the API's among the Services, where it listens itself: pods
/// reach it without translation, and its endpoint is the same address.
pub(crate) async fn objects(registry: &Registry, address: Ipv4Addr) -> Result<(), ApiError> {
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let call = Call::new(&user, WriteOptions::default()).tracked(SELF);
    for name in NAMESPACES {
        ensure(registry, &call, "", "namespaces", json!({"metadata": {"name": name}})).await?;
    }
    for class in priority_classes() {
        ensure(registry, &call, "scheduling.k8s.io", "priorityclasses", class).await?;
    }
    ensure(registry, &call, "", "services", service(address)).await?;
    same_target_port(registry, &call).await?;
    keep_same(registry, &call, "", "endpoints", "subsets", endpoints(address)).await?;
    let slice = slice(address);
    keep_same(registry, &call, "discovery.k8s.io", "endpointslices", "endpoints", slice).await
}

/// Brings the API's own Service and its endpoints back whenever somebody changes or deletes them, until the drain.
pub(crate) async fn bring_back(registry: Registry, address: Ipv4Addr) {
    let (store, mut from) = (registry.store.clone(), registry.store.revision());
    loop {
        let watch = |bucket: &str| store.watch(bucket, "default/kubernetes", from);
        let watches = ["services", "endpoints", "endpointslices.discovery.k8s.io"].map(watch);
        let mut changes = futures::stream::select_all(watches.into_iter().flatten());
        loop {
            match changes.next().await {
                None => return,
                Some(Ok(event)) if &*event.entry.key.name != "default/kubernetes" => continue,
                Some(Ok(_)) => {}
                // something may have been missed
                Some(Err(_lagged)) => break,
            }
            if let Err(error) = objects(&registry, address).await {
                tracing::warn!(%error, "cannot bring the API's own Service back");
            }
        }
        from = store.revision();
        if let Err(error) = objects(&registry, address).await {
            tracing::warn!(%error, "cannot bring the API's own Service back");
        }
    }
}

async fn ensure(
    registry: &Registry,
    call: &Call<'_>,
    group: &str,
    plural: &str,
    body: Value,
) -> Result<(), ApiError> {
    let kind = kinds::by_resource(group, "v1", plural).ok_or_else(ApiError::unknown_resource)?;
    if registry.entry(&Target::new(kind, meta(&body, "namespace"), meta(&body, "name"))).is_ok() {
        return Ok(());
    }
    match registry.create(call, &Target::new(kind, meta(&body, "namespace"), ""), body).await {
        Err(error) if error.reason != Reason::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// As [`ensure`], and brings `field` and the ports up to date: the host's address may have changed.
async fn keep_same(
    registry: &Registry,
    call: &Call<'_>,
    group: &str,
    plural: &str,
    field: &str,
    body: Value,
) -> Result<(), ApiError> {
    let kind = kinds::by_resource(group, "v1", plural).ok_or_else(ApiError::unknown_resource)?;
    ensure(registry, call, group, plural, body.clone()).await?;
    let target = Target::new(kind, meta(&body, "namespace"), meta(&body, "name"));
    let update = registry.modify(call, &target, |old| {
        let mut new = old.clone();
        crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
        keep(&mut new, &body, &[field]);
        if !at(&body, &["ports"]).is_null() {
            set(&mut new, &["ports"], at(&body, &["ports"]).clone());
        }
        Ok(new)
    });
    update.await.map(drop)
}

/// Earlier versions had the port on loopback as the Service's target.
async fn same_target_port(registry: &Registry, call: &Call<'_>) -> Result<(), ApiError> {
    let kind = kinds::by_resource("", "v1", "services").ok_or_else(ApiError::unknown_resource)?;
    let target = Target::new(kind, "default", "kubernetes");
    let update = registry.modify(call, &target, |old| {
        let mut new = old.clone();
        crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
        if let Some(first) = new.pointer_mut("/spec/ports/0") {
            set(first, &["targetPort"], PORT);
        }
        Ok(new)
    });
    update.await.map(drop)
}

fn priority_classes() -> [Value; 2] {
    let class = |name: &str, value: i64, text: &str| json!({"metadata": {"name": name}, "value": value, "description": text, "preemptionPolicy": "PreemptLowerPriority"});
    [
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
}

fn service(address: Ipv4Addr) -> Value {
    let address = address.to_string();
    json!({
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": PORT}],
        },
    })
}

fn endpoints(address: Ipv4Addr) -> Value {
    json!({
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address.to_string()}], "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}]}],
    })
}

fn slice(address: Ipv4Addr) -> Value {
    json!({
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}],
    })
}
