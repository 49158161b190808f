//! EndpointSlices of Services with a selector (upstream's `endpointslice/reconciler.go`): at most 100 endpoints each, one
//! set of slices for each address family and set of ports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointSlice, ForNode, ForZone,
};
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::packing::{self, Plan, Shape, Template};
use super::*;
use crate::context::Context;
use crate::words::{controller_reference, name};

const MAX_ENDPOINTS: usize = 100;
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Ask for hints by the share that zones have of the nodes, which take the place of `trafficDistribution`; the first
/// that is there counts.
const TOPOLOGY_MODES: [&str; 2] =
    ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
/// Index of slices by `namespace/service`.
const BY_SERVICE: &str = "service";

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
            let mut ports = ports(service, pod);
            ports.sort();
            wanted.entry((family.clone(), ports)).or_default().push(endpoint);
        }
        if !wanted.keys().any(|(of, _)| *of == family) {
            // a Service without endpoints keeps one empty slice
            wanted.insert((family, Vec::new()), Vec::new());
        }
    }
    packing::pack(&template(service, pods), wanted, slices)
}

fn template(service: &Service, pods: &[Arc<Pod>]) -> Template {
    let mut labels = packing::labels(service.metadata.labels.as_ref(), name(&service.metadata), MANAGER);
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    Template {
        prefix: name(&service.metadata).to_owned(),
        namespace: service.metadata.namespace.clone(),
        labels,
        annotations: Map::new(),
        trigger: Some((TRIGGER_TIME, trigger_time(service, pods))),
        owner: controller_reference(service),
        most: MAX_ENDPOINTS,
    }
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
    let mut endpoint = Endpoint {
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
    };
    endpoint.hints = hints(service, &endpoint);
    Some(endpoint)
}

/// Who should come to a ready endpoint: clients of its zone, and of its node if the Service says so (upstream's
/// `endpointslice/trafficdist`).
fn hints(service: &Service, endpoint: &Endpoint) -> Option<EndpointHints> {
    let wish = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let annotations = service.metadata.annotations.as_ref();
    let mode = annotations.and_then(|all| TOPOLOGY_MODES.iter().find_map(|key| all.get(*key)));
    let by_mode = mode.is_some_and(|mode| matches!(mode.as_str(), "Auto" | "auto"));
    let ready = endpoint.conditions.as_ref()?.ready == Some(true);
    if by_mode || !ready || !matches!(wish, "PreferClose" | "PreferSameZone" | "PreferSameNode") {
        return None;
    }
    let node = endpoint.node_name.clone().filter(|_| wish == "PreferSameNode");
    let for_zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
    let for_nodes = node.map(|name| vec![ForNode { name }]);
    (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints { for_nodes, for_zones })
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
            packing::service_of(slice, MANAGER).map(|key| key.to_string()).into_iter().collect()
        });
        let (services, nodes) = (context.by_namespace(), context.informers.of());
        Self { context: context.clone(), services, nodes, slices }
    }
}

impl Controller for Slices {
    type Key = Key;

    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn queue(&self) -> &'static str {
        "endpoint_slice"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.services, |delta| vec![delta.key.clone()]);
        sources.needs(&self.nodes);
        sources.on(&self.slices, |delta| {
            delta.states().filter_map(|slice| packing::service_of(slice, MANAGER)).collect()
        });
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
        packing::act(&self.context, &self.slices, key.namespace(), plan).await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{pod, service};
    use super::*;
    use serde_json::{Value, json};

    fn no_zone(_: &str) -> Option<String> {
        None
    }

    fn stored(mut slice: EndpointSlice, name: &str) -> Arc<EndpointSlice> {
        slice.metadata.name = Some(name.to_owned());
        Arc::new(slice)
    }

    #[test]
    fn readiness_and_termination_are_conditions() {
        let pods = [
            pod("a", "10.0.0.1", true, false),
            pod("b", "10.0.0.2", false, false),
            pod("c", "10.0.0.3", true, true),
            pod("d", "10.0.0.4", false, true),
        ];
        let said = |spec: Value| {
            let plan = plan(&service(spec), &pods, &no_zone, &[]);
            let of = |endpoint: &Endpoint| {
                let c = endpoint.conditions.clone().unwrap();
                (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())
            };
            plan.create[0].endpoints.iter().flatten().map(of).collect::<Vec<_>>()
        };
        assert_eq!(
            said(json!({})),
            [(true, true, false), (false, false, false), (false, true, true), (false, false, true)]
        );
        assert_eq!(
            said(json!({"publishNotReadyAddresses": true})),
            [(true, true, false), (true, false, false), (true, true, true), (true, false, true)]
        );
        let zoned = plan(&service(json!({})), &pods, &|node| Some(format!("zone of {node}")), &[]);
        let slice = &zoned.create[0];
        assert_eq!(slice.endpoints.as_ref().unwrap()[0].zone.as_deref(), Some("zone of n"));
        assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
        assert_eq!(slice.metadata.labels.as_ref().unwrap()[packing::SERVICE_NAME], "web");
        assert!(slice.metadata.annotations.as_ref().unwrap().contains_key(TRIGGER_TIME));
    }

    #[test]
    fn hints_say_who_should_come() {
        let pods = [pod("a", "10.0.0.1", true, false), pod("b", "10.0.0.2", false, false)];
        let said = |wish: &str, annotations: &[(&str, &str)]| {
            let mut service = service(json!({"trafficDistribution": wish}));
            let words = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            service.metadata.annotations = Some(words.collect());
            let plan = plan(&service, &pods, &|_| Some("z".to_owned()), &[]);
            let mut hints: Vec<Value> = plan.create[0]
                .endpoints
                .iter()
                .flatten()
                .map(|endpoint| serde_json::to_value(&endpoint.hints).unwrap())
                .collect();
            assert_eq!(hints.pop(), Some(Value::Null), "not ready");
            hints.remove(0)
        };
        let (zone, node) = (json!([{"name": "z"}]), json!([{"name": "n"}]));
        assert_eq!(said("PreferClose", &[]), json!({"forZones": zone}));
        assert_eq!(said("PreferSameZone", &[]), json!({"forZones": zone}));
        assert_eq!(said("PreferSameNode", &[]), json!({"forZones": zone, "forNodes": node}));
        assert_eq!(said("Other", &[]), Value::Null);
        assert_eq!(said("PreferClose", &[("service.kubernetes.io/topology-mode", "Auto")]), Value::Null);
        assert_eq!(
            said("PreferClose", &[("service.kubernetes.io/topology-mode", "Off")]),
            json!({"forZones": zone})
        );
    }

    #[test]
    fn pods_that_number_a_named_port_differently_have_slices_of_their_own() {
        let mut other = Pod::clone(&pod("b", "10.0.0.2", true, false));
        other.spec.as_mut().unwrap().containers[0].ports.as_mut().unwrap()[0].container_port = 9090;
        let mut lacking = Pod::clone(&pod("c", "10.0.0.3", true, false));
        lacking.spec.as_mut().unwrap().containers[0].ports = None;
        let pods = [pod("a", "10.0.0.1", true, false), Arc::new(other), Arc::new(lacking)];
        let several = service(json!({"ports": [{"name": "m", "port": 81, "targetPort": 9100},
            {"name": "w", "port": 80, "targetPort": "http", "appProtocol": "http"}]}));
        let plan = plan(&several, &pods, &no_zone, &[]);
        let shown = |slice: &EndpointSlice| {
            let ports = slice
                .ports
                .iter()
                .flatten()
                .map(|p| format!("{}={}", p.name.as_ref().unwrap(), p.port.unwrap()));
            let ips = slice.endpoints.iter().flatten().map(|endpoint| endpoint.addresses[0].clone());
            format!("{} {}", ports.collect::<Vec<_>>().join(","), ips.collect::<Vec<_>>().join(","))
        };
        let mut slices: Vec<String> = plan.create.iter().map(shown).collect();
        slices.sort();
        assert_eq!(slices, ["m=9100 10.0.0.3", "m=9100,w=8080 10.0.0.1", "m=9100,w=9090 10.0.0.2"]);
    }

    #[test]
    fn a_headless_service_needs_no_ports_and_says_what_it_is() {
        let pods = [pod("a", "10.0.0.1", true, false)];
        let headless = service(json!({"clusterIP": "None", "ports": null}));
        let plan = plan(&headless, &pods, &no_zone, &[]);
        let slice = &plan.create[0];
        assert_eq!((slice.endpoints.as_ref().unwrap().len(), slice.ports.as_ref().unwrap().len()), (1, 0));
        assert_eq!(slice.metadata.labels.as_ref().unwrap()[HEADLESS], "");
        let mut named = Pod::clone(&pods[0]);
        let spec = named.spec.as_mut().unwrap();
        (spec.hostname, spec.subdomain) = (Some("h".into()), Some("web".into()));
        let named = super::plan(&headless, &[Arc::new(named)], &no_zone, &[]);
        assert_eq!(named.create[0].endpoints.as_ref().unwrap()[0].hostname.as_deref(), Some("h"));
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
        assert_eq!((filled.create.len(), filled.update.len(), filled.delete.len()), (0, 1, 0));
        assert_eq!(filled.update[0].metadata.name.as_deref(), Some("e"), "it becomes the slice with ports");
    }
}
