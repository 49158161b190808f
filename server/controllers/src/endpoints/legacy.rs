//! Endpoints (upstream's `endpoints_controller.go`): one object per Service, for clients that read no slices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, HashSet, Informer, Key, Sources};

use super::mirroring::LEADER;
use super::*;
use crate::context::Context;
use crate::pod_control::{delete_params, is_terminating};
use crate::words::{annotation, name, resource_version};

/// More addresses than this are cut off, and an annotation says so.
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

/// What the Endpoints of a Service should be.
pub(crate) fn plan(service: &Service, pods: &[Arc<Pod>], current: Option<&Endpoints>) -> Option<Endpoints> {
    let unready = publishes_unready(service);
    let mut sets: BTreeMap<Vec<Port>, Addresses> = BTreeMap::new();
    let portless = is_headless(service)
        && service.spec.as_ref().is_none_or(|spec| spec.ports.iter().flatten().next().is_none());
    for pod in pods.iter().filter(|pod| super::eligible(pod, unready)) {
        let ports = ports(service, pod);
        if ports.is_empty() && !portless {
            continue;
        }
        let Some(address) = address(service, pod) else { continue };
        let (ready, waiting) = sets.entry(ports).or_default();
        if unready || is_ready(pod) { ready.push(address) } else { waiting.push(address) }
    }
    let mut subsets: Vec<EndpointSubset> = sets.into_iter().map(subset).collect();
    let truncated = truncate(&mut subsets);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    // says what the Service is, whatever its author labelled it
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let same = current.is_some_and(|current| {
        current.subsets.clone().unwrap_or_default() == subsets
            && current.metadata.labels.as_ref() == Some(&labels)
            && annotation(&current.metadata, OVER_CAPACITY).is_some() == truncated
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
    match truncated {
        true => _ = annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned()),
        false => _ = annotations.remove(OVER_CAPACITY),
    }
    endpoints.metadata.labels = Some(labels);
    endpoints.subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
    Some(endpoints)
}

type Addresses = (Vec<EndpointAddress>, Vec<EndpointAddress>);

/// `truncateEndpoints`: cuts off what is too much, of the waiting first, of each subset its part. Whether it did.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    type List = Option<Vec<EndpointAddress>>;
    let count = |of: fn(&EndpointSubset) -> &List| {
        subsets.iter().map(|subset| of(subset).as_ref().map_or(0, Vec::len)).sum::<usize>()
    };
    let (ready, waiting) = (count(|subset| &subset.addresses), count(|subset| &subset.not_ready_addresses));
    if ready + waiting <= CAPACITY {
        return false;
    }
    let cut_ready = ready > CAPACITY;
    let (all, most) = if cut_ready { (ready, CAPACITY) } else { (waiting, CAPACITY - ready) };
    let mut room = most;
    for subset in subsets {
        if cut_ready {
            subset.not_ready_addresses = None;
        }
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let Some(addresses) = list else { continue };
        addresses.truncate((addresses.len() * most).div_ceil(all).min(room));
        room -= addresses.len();
        if addresses.is_empty() {
            *list = None;
        }
    }
    true
}

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
    /// Services that went: their Endpoints go with them, whoever made them.
    gone: Mutex<HashSet<Key>>,
}

impl LegacyEndpoints {
    pub fn new(context: &Context) -> Self {
        context.pods.add_index(BY_NAMESPACE, |pod| pod.metadata.namespace.clone().into_iter().collect());
        let (services, endpoints) = (context.by_namespace(), context.informers.of());
        Self { context: context.clone(), services, endpoints, gone: Mutex::default() }
    }

    /// There is no Service: if there was one until now, or the Endpoints are ours, they go. Endpoints that wait for
    /// their Service stay, and so do those that are a lock.
    async fn forget(&self, key: &Key) -> Result<(), Error> {
        let left = self.gone.lock().remove(key);
        let ours = |endpoints: &Arc<Endpoints>| {
            endpoints.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(MANAGED_BY))
        };
        let locks = |endpoints: &Arc<Endpoints>| annotation(&endpoints.metadata, LEADER).is_some();
        let endpoints = self.endpoints.get(key).filter(|one| (left || ours(one)) && !locks(one));
        let Some(endpoints) = endpoints else { return Ok(()) };
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

    fn queue(&self) -> &'static str {
        "endpoint"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        sources.on(&self.services, move |delta| {
            if delta.new.is_none() {
                this.gone.lock().insert(delta.key.clone());
            }
            vec![delta.key.clone()]
        });
        sources.on(&self.endpoints, |delta| vec![delta.key.clone()]);
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| services_of(&this.services, delta));
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(service) = self.services.get(key) else {
            self.forget(key).await?;
            return Ok(None);
        };
        self.gone.lock().remove(key);
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
        assert_eq!(plain.metadata.labels.as_ref().unwrap()[MANAGED_BY], "endpoint-controller");
        let mut claims = service(json!({}));
        claims.metadata.labels = Some([(HEADLESS.to_owned(), String::new())].into());
        let claims = plan(&claims, &pods, None).unwrap();
        assert!(!claims.metadata.labels.unwrap().contains_key(HEADLESS), "it has an address");
        let all = plan(&service(json!({"publishNotReadyAddresses": true})), &pods, None).unwrap();
        assert_eq!(ips(&all.subsets.unwrap()[0].addresses).len(), 3);
    }

    #[test]
    fn ports_by_pod_and_pods_without_ports() {
        let mut other = Pod::clone(&pod("b", "10.0.0.2", true, false));
        other.spec.as_mut().unwrap().containers[0].ports.as_mut().unwrap()[0].container_port = 9090;
        let mut lacking = Pod::clone(&pod("c", "10.0.0.3", true, false));
        lacking.spec.as_mut().unwrap().containers[0].ports = None;
        let pods = [pod("a", "10.0.0.1", true, false), Arc::new(other), Arc::new(lacking)];
        let shown = |spec: serde_json::Value| {
            let endpoints = plan(&service(spec), &pods, None).unwrap();
            let of = |subset: &EndpointSubset| {
                let ports: Vec<i32> = subset.ports.iter().flatten().map(|port| port.port).collect();
                let ips: Vec<&str> = subset.addresses.iter().flatten().map(|address| &*address.ip).collect();
                format!("{ports:?} {}", ips.join(","))
            };
            endpoints.subsets.iter().flatten().map(of).collect::<Vec<_>>()
        };
        assert_eq!(shown(json!({})), ["[8080] 10.0.0.1", "[9090] 10.0.0.2"]);
        assert_eq!(shown(json!({"clusterIP": "None"})), ["[8080] 10.0.0.1", "[9090] 10.0.0.2"]);
        assert_eq!(shown(json!({"clusterIP": "None", "ports": null})), ["[] 10.0.0.1,10.0.0.2,10.0.0.3"]);
        assert_eq!(shown(json!({"ports": null})), Vec::<String>::new());
    }

    #[test]
    fn what_is_too_much_is_cut_off_waiting_ones_first() {
        let many = |ready: usize, waiting: usize| {
            let address = |n: usize| EndpointAddress { ip: n.to_string(), ..EndpointAddress::default() };
            let list =
                |count: usize| Some((0..count).map(address).collect::<Vec<_>>()).filter(|l| !l.is_empty());
            let subset =
                || EndpointSubset { addresses: list(ready), not_ready_addresses: list(waiting), ports: None };
            vec![subset(), subset()]
        };
        for (ready, waiting, cut, expected) in [
            (400, 100, false, [(400, 100), (400, 100)]),
            (400, 300, true, [(400, 100), (400, 100)]),
            (600, 5, true, [(500, 0), (500, 0)]),
            (500, 7, true, [(500, 0), (500, 0)]),
        ] {
            let mut subsets = many(ready, waiting);
            assert_eq!(truncate(&mut subsets), cut);
            let length = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
            let left: Vec<_> =
                subsets.iter().map(|s| (length(&s.addresses), length(&s.not_ready_addresses))).collect();
            assert_eq!(left, expected, "{ready} {waiting}");
        }
    }
}
