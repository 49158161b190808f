//! EndpointSlices (upstream's `endpointslice/reconciler.go`): at most 100 endpoints each, one set of slices for
//! each address family and set of ports; an endpoint stays in the slice that has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::*;
use crate::context::Context;
use crate::pod_control::{delete_params, is_terminating};
use crate::words::{controller_reference, name, resource_version, uid};

const MAX_ENDPOINTS: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Index of slices by `namespace/service`.
const BY_SERVICE: &str = "service";

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Address family and ports: what all endpoints of one slice share.
type Shape = (String, Vec<Port>);

/// Compares the slices there are with the pods. `zone` knows the zone of a node.
pub(crate) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: &dyn Fn(&str) -> Option<String>,
    slices: &[Arc<EndpointSlice>],
) -> Plan {
    let mut wanted: BTreeMap<Shape, Vec<Endpoint>> = BTreeMap::new();
    for family in families(service) {
        for pod in pods.iter().filter(|pod| eligible(pod, true)) {
            let Some(endpoint) = endpoint(service, pod, &family, zone) else { continue };
            wanted.entry((family.clone(), ports(service, pod))).or_default().push(endpoint);
        }
        if !wanted.keys().any(|(of, _)| *of == family) {
            // a Service without endpoints keeps one empty slice
            wanted.insert((family, Vec::new()), Vec::new());
        }
    }
    let mut plan = Plan::default();
    let mut left: Vec<Arc<EndpointSlice>> = slices.to_vec();
    left.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let trigger = trigger_time(service, pods);
    for (shape, endpoints) in wanted {
        let (mine, others) = left.into_iter().partition(|slice| shape_of(slice) == shape);
        left = others;
        distribute(service, &shape, endpoints, mine, &trigger, &mut plan);
    }
    plan.delete.extend(left);
    plan
}

fn families(service: &Service) -> Vec<String> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    if families.is_empty() { vec!["IPv4".to_owned()] } else { families }
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    family: &str,
    zone: &dyn Fn(&str) -> Option<String>,
) -> Option<Endpoint> {
    let address = addresses(pod).into_iter().find(|address| address.contains(':') == (family == "IPv6"))?;
    let (serving, terminating) = (is_ready(pod), pod.metadata.deletion_timestamp.is_some());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_unready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        zone: node.as_deref().and_then(zone),
        node_name: node,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

fn shape_of(slice: &EndpointSlice) -> Shape {
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        number: port.port.unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
    });
    (slice.address_type.clone(), ports.collect())
}

fn pod_uid(endpoint: &Endpoint) -> Option<&str> {
    endpoint.target_ref.as_ref()?.uid.as_deref()
}

/// Puts endpoints of one shape where they are already, then where there is room, then into new slices.
fn distribute(
    service: &Service,
    shape: &Shape,
    mut endpoints: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    trigger: &str,
    plan: &mut Plan,
) {
    let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let mut stay = Vec::new();
        for old in slice.endpoints.iter().flatten() {
            if let Some(at) = endpoints.iter().position(|new| pod_uid(new) == pod_uid(old)) {
                stay.push(endpoints.remove(at));
            }
        }
        kept.push((slice, stay));
    }
    for (_, stay) in &mut kept {
        let room = MAX_ENDPOINTS.saturating_sub(stay.len()).min(endpoints.len());
        stay.extend(endpoints.drain(..room));
    }
    let mut need_one = kept.iter().all(|(_, stay)| stay.is_empty()) && endpoints.is_empty();
    for (slice, stay) in kept {
        if stay.is_empty() && !need_one {
            plan.delete.push(slice);
            continue;
        }
        need_one = need_one && !stay.is_empty();
        let mut updated = slice_of(service, shape, stay, trigger);
        if !same(&slice, &updated) {
            updated.metadata = ObjectMeta {
                labels: updated.metadata.labels,
                annotations: updated.metadata.annotations,
                ..slice.metadata.clone()
            };
            plan.update.push(updated);
        }
    }
    while !endpoints.is_empty() {
        let some = endpoints.drain(..endpoints.len().min(MAX_ENDPOINTS)).collect();
        plan.create.push(slice_of(service, shape, some, trigger));
    }
    if need_one && plan.create.is_empty() && plan.update.is_empty() && !exists(plan, shape) {
        plan.create.push(slice_of(service, shape, Vec::new(), trigger));
    }
}

fn exists(plan: &Plan, shape: &Shape) -> bool {
    plan.create.iter().any(|slice| shape_of(slice) == *shape)
}

fn slice_of(service: &Service, shape: &Shape, endpoints: Vec<Endpoint>, trigger: &str) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name(&service.metadata).to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let ports = shape.1.iter().map(|port| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    });
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some([(TRIGGER_TIME.to_owned(), trigger.to_owned())].into()),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: shape.0.clone(),
        endpoints: Some(endpoints),
        ports: Some(ports.collect()),
    }
}

fn same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.endpoints.clone().unwrap_or_default() == new.endpoints.clone().unwrap_or_default()
        && old.metadata.labels == new.metadata.labels
}

/// The controller.
pub(crate) struct Slices {
    context: Context,
    services: Informer<Service>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
}

impl Slices {
    pub fn new(context: &Context) -> Self {
        context.pods.add_index(BY_NAMESPACE, |pod| pod.metadata.namespace.clone().into_iter().collect());
        let slices = context.informers.of::<EndpointSlice>();
        slices.add_index(BY_SERVICE, |slice| {
            owning_service(slice).map(|key| key.to_string()).into_iter().collect()
        });
        let (services, nodes) = (context.by_namespace(), context.informers.of());
        Self { context: context.clone(), services, nodes, slices }
    }

    async fn act(&self, service: &Service, plan: Plan) -> Result<(), Error> {
        let api = self.context.namespaced::<EndpointSlice>(namespace(&service.metadata));
        let mut version = 0;
        for slice in &plan.create {
            match api.create(&PostParams::default(), slice).await {
                Ok(written) => version = version.max(resource_version(&written.metadata)),
                Err(error) if is_terminating(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for slice in &plan.update {
            let written = api.replace(name(&slice.metadata), &PostParams::default(), slice).await?;
            version = version.max(resource_version(&written.metadata));
        }
        for slice in &plan.delete {
            match api.delete(name(&slice.metadata), &delete_params(&slice.metadata)).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                result => drop(result?),
            }
            let key = Key::namespaced(namespace(&slice.metadata), name(&slice.metadata));
            let gone = |slices: &Informer<EndpointSlice>| {
                slices.get(&key).is_none_or(|now| {
                    now.metadata.deletion_timestamp.is_some() || uid(&now.metadata) != uid(&slice.metadata)
                })
            };
            self.slices.until(gone).await;
        }
        self.slices.reached(version).await;
        Ok(())
    }
}

/// The Service of a slice that this controller manages.
fn owning_service(slice: &EndpointSlice) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let service = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(Key::namespaced(namespace(&slice.metadata), service))
}

impl Controller for Slices {
    type Key = Key;

    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.services, |delta| vec![delta.key.clone()]);
        sources.needs(&self.nodes);
        sources.on(&self.slices, |delta| delta.states().filter_map(|slice| owning_service(slice)).collect());
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| services_of(&this.services, delta));
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(service) = self.services.get(key).filter(|s| s.metadata.deletion_timestamp.is_none()) else {
            return Ok(None);
        };
        if selector(&service).is_none() {
            return Ok(None);
        }
        let mut slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        slices.retain(|slice| slice.metadata.deletion_timestamp.is_none());
        let zone =
            |node: &str| self.nodes.get(&Key::cluster(node))?.metadata.labels.as_ref()?.get(ZONE).cloned();
        let plan = plan(&service, &pods_of(&self.context, &service), &zone, &slices);
        self.act(&service, plan).await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{pod, service};
    use super::*;
    use serde_json::json;

    fn no_zone(_: &str) -> Option<String> {
        None
    }

    fn stored(mut slice: EndpointSlice, name: &str) -> Arc<EndpointSlice> {
        slice.metadata.name = Some(name.to_owned());
        Arc::new(slice)
    }

    #[test]
    fn readiness_and_termination_are_conditions() {
        let service = service(json!({}));
        let pods = [
            pod("a", "10.0.0.1", true, false),
            pod("b", "10.0.0.2", false, false),
            pod("c", "10.0.0.3", true, true),
        ];
        let plan = plan(&service, &pods, &no_zone, &[]);
        let slice = &plan.create[0];
        let said: Vec<_> = slice.endpoints.iter().flatten().map(|e| e.conditions.clone().unwrap()).collect();
        let said: Vec<_> =
            said.iter().map(|c| (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())).collect();
        assert_eq!(said, [(true, true, false), (false, false, false), (false, true, true)]);
        assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
        assert_eq!(slice.metadata.labels.as_ref().unwrap()[SERVICE_NAME], "web");
    }

    #[test]
    fn slices_fill_to_a_hundred_and_change_as_little_as_possible() {
        let service = service(json!({}));
        let mut pods: Vec<_> =
            (0..150).map(|n| pod(&format!("p{n:03}"), &format!("10.0.1.{n}"), true, false)).collect();
        let first = plan(&service, &pods, &no_zone, &[]);
        let sizes: Vec<_> =
            first.create.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [100, 50]);
        let slices: Vec<_> =
            first.create.into_iter().zip(["a", "b"]).map(|(slice, name)| stored(slice, name)).collect();
        let again = plan(&service, &pods, &no_zone, &slices);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        pods.remove(0);
        let shrunk = plan(&service, &pods, &no_zone, &slices);
        assert_eq!((shrunk.create.len(), shrunk.update.len(), shrunk.delete.len()), (0, 1, 0));
        assert_eq!(shrunk.update[0].metadata.name.as_deref(), Some("a"));
    }

    #[test]
    fn a_service_without_pods_keeps_one_empty_slice() {
        let service = service(json!({}));
        let first = plan(&service, &[], &no_zone, &[]);
        assert_eq!(first.create.len(), 1);
        let empty = stored(first.create.into_iter().next().unwrap(), "e");
        let again = plan(&service, &[], &no_zone, std::slice::from_ref(&empty));
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        let filled = plan(&service, &[pod("a", "10.0.0.1", true, false)], &no_zone, &[empty]);
        assert_eq!((filled.create.len(), filled.delete.len()), (1, 1), "the shape with ports replaces it");
    }
}
