//! EndpointSlices of Endpoints that someone else keeps, for Services without a selector (upstream's
//! `endpointslicemirroring`): proxies and DNS read slices only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use sampan_reconcile::{Controller, Error, Informer, Key, Recorder, Sources, reference};

use super::packing::{self, Plan, Shape, Template};
use super::repack::{Group, repack};
use super::*;
use crate::context::Context;
use crate::words::{annotation, controller_reference, name};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Addresses of one subset that are mirrored at most: a slice may hold as many.
const MAX_ENDPOINTS: usize = 1000;
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// An Endpoints object that is a lock is no list of endpoints.
pub(crate) const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Index of mirrored slices by `namespace/service`.
const BY_SERVICE: &str = "mirrored-service";

/// What was left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    invalid: usize,
    /// All, invalid ones among them.
    all: usize,
}

/// Whether slices are made of `endpoints`.
fn mirrors(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    let skips = labels.and_then(|labels| labels.get(SKIP)).is_some_and(|skip| skip == "true");
    let chosen = |service: &Service| {
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|one| !one.is_empty())
    };
    !skips
        && annotation(&endpoints.metadata, LEADER).is_none()
        && endpoints.metadata.deletion_timestamp.is_none()
        && service.is_some_and(|service| !chosen(service))
}

/// Compares the mirrored slices there are with the Endpoints.
pub(crate) fn plan(
    endpoints: Option<&Endpoints>,
    service: Option<&Service>,
    slices: &[Arc<EndpointSlice>],
) -> (Plan, Skipped) {
    let mut skipped = Skipped::default();
    let Some(endpoints) = endpoints.filter(|endpoints| mirrors(endpoints, service)) else {
        return (Plan { delete: slices.to_vec(), ..Plan::default() }, skipped);
    };
    let mut wanted: BTreeMap<Shape, Vec<Endpoint>> = BTreeMap::new();
    for group in repack(endpoints.subsets.as_deref().unwrap_or_default()) {
        mirror(group, &mut wanted, &mut skipped);
    }
    (packing::pack(&template(endpoints), wanted, slices), skipped)
}

fn template(endpoints: &Endpoints) -> Template {
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| key != TRIGGER_TIME && key != LAST_APPLIED);
    Template {
        prefix: name(&endpoints.metadata).to_owned(),
        namespace: endpoints.metadata.namespace.clone(),
        labels: packing::labels(endpoints.metadata.labels.as_ref(), name(&endpoints.metadata), MANAGER),
        annotations,
        trigger: None,
        owner: controller_reference(endpoints),
        most: MAX_ENDPOINTS,
    }
}

fn mirror(group: Group<'_>, wanted: &mut BTreeMap<Shape, Vec<Endpoint>>, skipped: &mut Skipped) {
    let Group { ports, addresses } = group;
    let mut added = 0;
    for (address, ready) in addresses {
        match address.ip.parse::<IpAddr>() {
            _ if added == MAX_ENDPOINTS => skipped.all += 1,
            Err(_) => {
                skipped.all += 1;
                skipped.invalid += 1;
            }
            Ok(ip) => {
                let shape = (if ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(), ports.clone());
                wanted.entry(shape).or_default().push(endpoint(address, ip, ready));
                added += 1;
            }
        }
    }
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

/// The controller.
pub(crate) struct Mirroring {
    context: Context,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Informer<EndpointSlice>,
    recorder: Recorder,
}

impl Mirroring {
    pub fn new(context: &Context) -> Self {
        let slices = context.informers.of::<EndpointSlice>();
        slices.add_index(BY_SERVICE, |slice| {
            packing::service_of(slice, MANAGER).map(|key| key.to_string()).into_iter().collect()
        });
        Self {
            context: context.clone(),
            services: context.by_namespace(),
            endpoints: context.informers.of(),
            slices,
            recorder: context.recorder("endpoint-slice-mirroring-controller"),
        }
    }

    fn tell(&self, endpoints: &Endpoints, skipped: &Skipped) {
        let about = reference(endpoints);
        if skipped.invalid > 0 {
            let count = skipped.invalid;
            let message = format!("Skipped {count} invalid IP addresses when mirroring to EndpointSlices");
            self.recorder.warning(&about, "InvalidIPAddress", message);
        }
        if skipped.all > skipped.invalid {
            let message = format!(
                "A max of {MAX_ENDPOINTS} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                skipped.all
            );
            self.recorder.warning(&about, "TooManyAddressesToMirror", message);
        }
    }
}

impl Controller for Mirroring {
    type Key = Key;

    fn name(&self) -> &'static str {
        "endpointslice-mirroring-controller"
    }

    fn queue(&self) -> &'static str {
        "endpoint_slice_mirroring"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.services, |delta| {
            let chosen = |service: &Service| selector(service).is_some();
            let both = delta.old.is_some() && delta.states().all(|service| chosen(service));
            if both { Vec::new() } else { vec![delta.key.clone()] }
        });
        sources.on(&self.endpoints, |delta| vec![delta.key.clone()]);
        sources.on(&self.slices, |delta| {
            delta.states().filter_map(|slice| packing::service_of(slice, MANAGER)).collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let (endpoints, service) = (self.endpoints.get(key), self.services.get(key));
        let mut slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        slices.retain(|slice| slice.metadata.deletion_timestamp.is_none());
        let (plan, skipped) = plan(endpoints.as_deref(), service.as_deref(), &slices);
        let changes = plan.create.len() + plan.update.len() + plan.delete.len();
        packing::act(&self.context, &self.slices, key.namespace(), plan).await?;
        if let Some(endpoints) = endpoints.filter(|_| changes > 0) {
            self.tell(&endpoints, &skipped);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing;
    use super::*;
    use serde_json::{Value, json};

    fn service() -> Service {
        testing::service(json!({"selector": null}))
    }

    fn endpoints(change: impl FnOnce(&mut Value)) -> Endpoints {
        let mut value = json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "e", "labels": {"l": "1"},
                "annotations": {"x": "y", (LAST_APPLIED): "z", (TRIGGER_TIME): "t"}},
            "subsets": [{"addresses": [{"ip": "10.0.0.1", "hostname": "h", "nodeName": "n"}, {"ip": "2001:DB8::1"}],
                "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "p", "port": 80, "protocol": "TCP"}]}]});
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_subset_becomes_a_slice_of_each_family() {
        let (plan, skipped) = plan(Some(&endpoints(|_| {})), Some(&service()), &[]);
        assert_eq!(skipped, Skipped::default());
        let [four, six] = &plan.create[..] else { panic!("{plan:?}") };
        assert_eq!((&*four.address_type, &*six.address_type), ("IPv4", "IPv6"));
        let said: Vec<_> = four
            .endpoints
            .iter()
            .flatten()
            .map(|endpoint| {
                (endpoint.addresses[0].clone(), endpoint.conditions.clone().unwrap().ready.unwrap())
            })
            .collect();
        assert_eq!(said, [("10.0.0.1".to_owned(), true), ("10.0.0.2".to_owned(), false)]);
        assert_eq!(four.endpoints.as_ref().unwrap()[0].hostname.as_deref(), Some("h"));
        assert_eq!(six.endpoints.as_ref().unwrap()[0].addresses, ["2001:db8::1"]);
        let labels = four.metadata.labels.as_ref().unwrap();
        assert_eq!((&*labels[packing::MANAGED_BY], &*labels["l"]), (MANAGER, "1"));
        assert_eq!(four.metadata.annotations, Some([("x".to_owned(), "y".to_owned())].into()));
        let slices: Vec<_> = plan
            .create
            .into_iter()
            .zip(["s4", "s6"])
            .map(|(mut slice, name)| {
                slice.metadata.name = Some(name.to_owned());
                Arc::new(slice)
            })
            .collect();
        let (again, _) = super::plan(Some(&endpoints(|_| {})), Some(&service()), &slices);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(), "{again:?}");
        let moved = endpoints(|e| e["subsets"][0]["ports"][0]["port"] = json!(81));
        let (moved, _) = super::plan(Some(&moved), Some(&service()), &slices);
        assert_eq!((moved.create.len(), moved.update.len(), moved.delete.len()), (0, 2, 0));
        let emptied = endpoints(|e| e["subsets"] = json!([]));
        let (emptied, _) = super::plan(Some(&emptied), Some(&service()), &slices);
        assert_eq!((emptied.create.len(), emptied.delete.len()), (0, 2), "no slice without endpoints");
    }

    #[test]
    fn some_endpoints_are_not_mirrored() {
        let slice = Arc::new(EndpointSlice::default());
        let selecting = testing::service(json!({}));
        let cases = [
            (Some(endpoints(|_| {})), None),
            (Some(endpoints(|_| {})), Some(selecting)),
            (Some(endpoints(|e| e["metadata"]["labels"][SKIP] = json!("true"))), Some(service())),
            (Some(endpoints(|e| e["metadata"]["annotations"][LEADER] = json!("{}"))), Some(service())),
            (None, Some(service())),
        ];
        for (endpoints, service) in cases {
            let (plan, _) = plan(endpoints.as_ref(), service.as_ref(), std::slice::from_ref(&slice));
            assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 0, 1), "{endpoints:?}");
        }
    }

    #[test]
    fn too_many_and_wrong_addresses_are_left_out() {
        let many: Vec<Value> =
            (0..1003).map(|n| json!({"ip": format!("10.0.{}.{}", n / 250, n % 250)})).collect();
        let many = endpoints(|e| {
            e["subsets"][0]["addresses"] = json!(many);
            e["subsets"][0]["addresses"][0]["ip"] = json!("!");
        });
        let (plan, skipped) = plan(Some(&many), Some(&service()), &[]);
        assert_eq!(plan.create[0].endpoints.as_ref().unwrap().len(), 1000);
        // one is there twice
        assert_eq!(skipped, Skipped { invalid: 1, all: 3 });
    }
}
