//! Endpoints (upstream's `endpoints_controller.go`): one object per Service, for clients that read no slices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::*;
use crate::context::Context;
use crate::pod_control::{delete_params, is_terminating};
use crate::words::{name, resource_version};

/// More addresses than this are cut off, and an annotation says so.
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

/// What the Endpoints of a Service should be.
pub(crate) fn plan(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Option<Endpoints> {
    let unready = publishes_unready(service);
    let mut sets: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let eligible: Vec<&Arc<Pod>> = pods.iter().filter(|pod| super::eligible(pod, unready)).collect();
    for pod in eligible.iter().take(CAPACITY) {
        let ports = ports(service, pod);
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        let Some(address) = address(service, pod) else { continue };
        let (ready, waiting) = sets.entry(ports).or_default();
        if unready || is_ready(pod) { ready.push(address) } else { waiting.push(address) }
    }
    let subsets: Vec<EndpointSubset> = sets.into_iter().map(subset).collect();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let same = current.is_some_and(|current| {
        current.subsets.clone().unwrap_or_default() == subsets
            && current.metadata.labels.as_ref() == Some(&labels)
    });
    if same {
        return None;
    }
    let mut endpoints = current.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    let annotations = endpoints.metadata.annotations.get_or_insert_default();
    annotations.insert(TRIGGER_TIME.to_owned(), trigger_time(service, pods));
    match eligible.len() > CAPACITY {
        true => _ = annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned()),
        false => _ = annotations.remove(OVER_CAPACITY),
    }
    endpoints.metadata.labels = Some(labels);
    endpoints.subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
    Some(endpoints)
}

type Addresses = (Vec<EndpointAddress>, Vec<EndpointAddress>);

fn subset((ports, (ready, waiting)): (Vec<Port>, Addresses)) -> EndpointSubset {
    let some = |mut addresses: Vec<EndpointAddress>| {
        addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        Some(addresses).filter(|addresses| !addresses.is_empty())
    };
    let ports: Vec<EndpointPort> = ports
        .into_iter()
        .map(|port| EndpointPort {
            name: Some(port.name).filter(|name| !name.is_empty()),
            port: port.number,
            protocol: Some(port.protocol),
            app_protocol: port.app_protocol,
        })
        .collect();
    EndpointSubset {
        addresses: some(ready),
        not_ready_addresses: some(waiting),
        ports: Some(ports).filter(|ports| !ports.is_empty()),
    }
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    let v6 = families.and_then(|families| families.first()).is_some_and(|family| family == "IPv6");
    Some(EndpointAddress {
        ip: addresses(pod).into_iter().find(|address| address.contains(':') == v6)?,
        hostname: hostname(service, pod),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// The controller.
pub(crate) struct LegacyEndpoints {
    context: Context,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
}

impl LegacyEndpoints {
    pub fn new(context: &Context) -> Self {
        context.pods.add_index(BY_NAMESPACE, |pod| pod.metadata.namespace.clone().into_iter().collect());
        Self { context: context.clone(), services: context.by_namespace(), endpoints: context.informers.of() }
    }

    /// The Service is gone: so are its Endpoints, if they are ours.
    async fn forget(&self, key: &Key) -> Result<(), Error> {
        let ours = |endpoints: &Arc<Endpoints>| {
            endpoints.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(MANAGED_BY))
        };
        let Some(endpoints) = self.endpoints.get(key).filter(ours) else { return Ok(()) };
        let api = self.context.namespaced::<Endpoints>(key.namespace());
        match api.delete(&key.name, &delete_params(&endpoints.metadata)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => result.map(drop).map_err(Into::into),
        }
    }
}

impl Controller for LegacyEndpoints {
    type Key = Key;

    fn name(&self) -> &'static str {
        "endpoints-controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.services, |delta| vec![delta.key.clone()]);
        sources.on(&self.endpoints, |delta| vec![delta.key.clone()]);
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| services_of(&this.services, delta));
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(service) = self.services.get(key) else {
            self.forget(key).await?;
            return Ok(None);
        };
        if selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let current = self.endpoints.get(key);
        let Some(wanted) = plan(&service, &pods_of(&self.context, &service), current.as_deref()) else {
            return Ok(None);
        };
        let api = self.context.namespaced::<Endpoints>(key.namespace());
        let params = PostParams::default();
        let result = match current {
            Some(_) => api.replace(name(&wanted.metadata), &params, &wanted).await,
            None => api.create(&params, &wanted).await,
        };
        match result {
            Ok(written) => self.endpoints.reached(resource_version(&written.metadata)).await,
            Err(error) if is_terminating(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{pod, service};
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_and_waiting_addresses() {
        let pods = [
            pod("a", "10.0.0.1", true, false),
            pod("b", "10.0.0.2", false, false),
            pod("c", "10.0.0.3", true, true),
        ];
        let plain = plan(&service(json!({})), &pods, None).unwrap();
        let subset = &plain.subsets.as_ref().unwrap()[0];
        let ips = |addresses: &Option<Vec<EndpointAddress>>| {
            addresses.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (ips(&subset.addresses), ips(&subset.not_ready_addresses)),
            (vec!["10.0.0.1".into()], vec!["10.0.0.2".into()])
        );
        assert!(plan(&service(json!({})), &pods, Some(&plain)).is_none());
        let all = plan(&service(json!({"publishNotReadyAddresses": true})), &pods, None).unwrap();
        assert_eq!(ips(&all.subsets.unwrap()[0].addresses).len(), 3);
    }
}
