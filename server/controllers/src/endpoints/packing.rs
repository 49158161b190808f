//! How endpoints lie in slices: upstream's `endpointslice/reconciler.go` and `endpointslicemirroring/reconciler.go`.
//!
//! Slices of one shape (address family and ports) share its endpoints. An endpoint stays in the slice that has it;
//! new ones go into slices that change anyway, then into one that has room for all that are left, then into new
//! slices. A slice that is no longer needed becomes one that is, so that a reader never sees fewer than there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use sampan_reconcile::{Error, HashMap, Informer, Key};

use super::Port;
use crate::context::Context;
use crate::pod_control::{delete_params, is_terminating};
use crate::words::{Map, name, namespace, resource_version, uid};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Address family and ports: what all endpoints of one slice share.
pub(crate) type Shape = (String, Vec<Port>);

/// What the slices of one Service or Endpoints object have in common.
pub(crate) struct Template {
    /// Begins their names.
    pub prefix: String,
    pub namespace: Option<String>,
    pub labels: Map,
    /// Compared, as labels are.
    pub annotations: Map,
    /// Not compared: when a slice is written, why it is.
    pub trigger: Option<(&'static str, String)>,
    pub owner: OwnerReference,
    /// Endpoints in one slice at most.
    pub most: usize,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Template {
    fn slice(&self, shape: &Shape, endpoints: Vec<Endpoint>) -> EndpointSlice {
        let ports = shape.1.iter().map(|port| EndpointPort {
            name: Some(port.name.clone()),
            port: Some(port.number),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        });
        let mut annotations = self.annotations.clone();
        annotations.extend(self.trigger.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", self.prefix)),
                namespace: self.namespace.clone(),
                labels: Some(self.labels.clone()),
                annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            address_type: shape.0.clone(),
            endpoints: Some(endpoints),
            ports: Some(ports.collect()),
        }
    }

    fn owns(&self, slice: &EndpointSlice) -> bool {
        slice.metadata.owner_references.iter().flatten().any(|owner| owner.uid == self.owner.uid)
    }

    /// Whether the slice says of itself what it should.
    fn fits(&self, slice: &EndpointSlice) -> bool {
        let mut annotations = slice.metadata.annotations.clone().unwrap_or_default();
        if let Some((key, _)) = self.trigger {
            annotations.remove(key);
        }
        slice.metadata.labels.as_ref() == Some(&self.labels) && annotations == self.annotations
    }

    /// What `slice` becomes.
    fn rewritten(&self, slice: &EndpointSlice, shape: &Shape, endpoints: Vec<Endpoint>) -> EndpointSlice {
        let new = self.slice(shape, endpoints);
        let metadata = ObjectMeta {
            labels: new.metadata.labels,
            annotations: new.metadata.annotations,
            ..slice.metadata.clone()
        };
        EndpointSlice { metadata, ..new }
    }
}

pub(crate) fn shape_of(slice: &EndpointSlice) -> Shape {
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        number: port.port.unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    (slice.address_type.clone(), ports)
}

/// What tells endpoints of one shape apart.
fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    target.unwrap_or_else(|| endpoint.addresses.first().cloned().unwrap_or_default())
}

/// Brings `slices` to hold the endpoints of each shape.
pub(crate) fn pack(
    template: &Template,
    wanted: BTreeMap<Shape, Vec<Endpoint>>,
    slices: &[Arc<EndpointSlice>],
) -> Plan {
    let mut plan = Plan::default();
    let (mut own, foreign): (Vec<_>, Vec<_>) = slices.iter().cloned().partition(|slice| template.owns(slice));
    own.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    plan.delete.extend(foreign);
    let mut by_shape: BTreeMap<Shape, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in own {
        by_shape.entry(shape_of(&slice)).or_default().push(slice);
    }
    for (shape, endpoints) in wanted {
        let slices = by_shape.remove(&shape).unwrap_or_default();
        fill(template, &shape, endpoints, slices, &mut plan);
    }
    plan.delete.extend(by_shape.into_values().flatten());
    recycle(template, &mut plan);
    plan
}

/// One slice of a shape, while endpoints are put into it.
struct Filling {
    slice: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// A shape without endpoints keeps one slice.
fn fill(
    template: &Template,
    shape: &Shape,
    endpoints: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let order: Vec<String> = endpoints.iter().map(identity).collect();
    let mut left: HashMap<String, Endpoint> = order.iter().cloned().zip(endpoints).collect();
    let mut filling: Vec<Filling> =
        slices.into_iter().map(|slice| stay(template, slice, &mut left)).collect();
    let mut rest: Vec<Endpoint> = order.iter().filter_map(|one| left.remove(one)).collect();
    for one in filling.iter_mut().filter(|one| one.changed && !one.endpoints.is_empty()) {
        top_up(template, one, &mut rest);
    }
    if !rest.is_empty() && rest.len() < template.most {
        let roomy = filling.iter_mut().filter(|one| one.endpoints.len() + rest.len() <= template.most);
        if let Some(fullest) = roomy.max_by_key(|one| one.endpoints.len()) {
            top_up(template, fullest, &mut rest);
        }
    }
    for one in filling.iter_mut().filter(|one| one.endpoints.is_empty()) {
        top_up(template, one, &mut rest);
    }
    let mut kept = 0;
    for one in filling {
        match one.endpoints.is_empty() {
            true if kept > 0 || !rest.is_empty() => plan.delete.push(one.slice),
            _ => {
                kept += 1;
                if one.changed {
                    plan.update.push(template.rewritten(&one.slice, shape, one.endpoints));
                }
            }
        }
    }
    let new = rest.len().div_ceil(template.most).max(usize::from(kept == 0));
    for _ in 0..new {
        let some = rest.drain(..rest.len().min(template.most)).collect();
        plan.create.push(template.slice(shape, some));
    }
}

/// What stays in a slice: taken out of `left`.
fn stay(template: &Template, slice: Arc<EndpointSlice>, left: &mut HashMap<String, Endpoint>) -> Filling {
    let before = slice.endpoints.as_deref().unwrap_or_default();
    let endpoints: Vec<Endpoint> = before.iter().filter_map(|old| left.remove(&identity(old))).collect();
    let changed = endpoints != before || !template.fits(&slice);
    Filling { slice, endpoints, changed }
}

fn top_up(template: &Template, one: &mut Filling, rest: &mut Vec<Endpoint>) {
    let room = template.most.saturating_sub(one.endpoints.len()).min(rest.len());
    one.changed |= room > 0;
    one.endpoints.extend(rest.drain(..room));
}

/// Slices to be made take the places of slices to be deleted, if they are of one family and owner.
fn recycle(template: &Template, plan: &mut Plan) {
    let mut made = std::mem::take(&mut plan.create);
    plan.delete.retain(|old| {
        let same = |new: &EndpointSlice| new.address_type == old.address_type && template.owns(old);
        let Some(at) = made.iter().rposition(same) else { return true };
        let new = made.remove(at);
        let shape = shape_of(&new);
        plan.update.push(template.rewritten(old, &shape, new.endpoints.unwrap_or_default()));
        false
    });
    plan.create = made;
}

/// Labels of what slices are made from, without those that are the controllers' own.
pub(crate) fn labels(from: Option<&Map>, service: &str, manager: &str) -> Map {
    let mut labels = from.cloned().unwrap_or_default();
    labels.remove(super::HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.to_owned());
    labels.insert(MANAGED_BY.to_owned(), manager.to_owned());
    labels
}

/// The Service of a slice that `manager` keeps.
pub(crate) fn service_of(slice: &EndpointSlice, manager: &str) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let ours = labels.get(MANAGED_BY).is_some_and(|of| of == manager);
    let service = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(Key::namespaced(namespace(&slice.metadata), service))
}

/// Writes a plan, and waits until the informer has seen it.
pub(crate) async fn act(
    context: &Context,
    slices: &Informer<EndpointSlice>,
    place: &str,
    plan: Plan,
) -> Result<(), Error> {
    let api = context.namespaced::<EndpointSlice>(place);
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
        let key = Key::namespaced(place, name(&slice.metadata));
        let gone = |slices: &Informer<EndpointSlice>| {
            slices.get(&key).is_none_or(|now| {
                now.metadata.deletion_timestamp.is_some() || uid(&now.metadata) != uid(&slice.metadata)
            })
        };
        slices.until(gone).await;
    }
    slices.reached(version).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            prefix: "web".to_owned(),
            namespace: Some("a".to_owned()),
            labels: labels(None, "web", "m"),
            annotations: Map::new(),
            trigger: Some(("time", "now".to_owned())),
            owner: OwnerReference { uid: "s".to_owned(), ..OwnerReference::default() },
            most: 3,
        }
    }

    fn shape(number: i32) -> Shape {
        let port = Port { name: String::new(), protocol: "TCP".to_owned(), number, app_protocol: None };
        ("IPv4".to_owned(), vec![port])
    }

    fn endpoints(names: &str) -> Vec<Endpoint> {
        let one = |name: char| Endpoint { addresses: vec![name.to_string()], ..Endpoint::default() };
        names.chars().map(one).collect()
    }

    fn shown(slice: &EndpointSlice) -> String {
        let names = slice.endpoints.iter().flatten().map(|endpoint| endpoint.addresses[0].clone());
        format!("{}{}", slice.metadata.name.as_deref().unwrap_or("new"), names.collect::<String>())
    }

    fn stored(name: &str, shape: &Shape, names: &str) -> Arc<EndpointSlice> {
        let mut slice = template().slice(shape, endpoints(names));
        slice.metadata.name = Some(name.to_owned());
        Arc::new(slice)
    }

    /// Slices as `name:endpoints`, wanted endpoints, and then what is created, updated and deleted.
    type Case = (&'static [&'static str], &'static str, [&'static [&'static str]; 3]);

    #[test]
    fn endpoints_move_as_little_as_possible() {
        let cases: &[Case] = &[
            (&[], "", [&["new"], &[], &[]]),
            (&[], "abcd", [&["newabc", "newd"], &[], &[]]),
            (&["x:abc"], "abc", [&[], &[], &[]]),
            (&["x:abc"], "cab", [&[], &[], &[]]),
            (&["x:abc"], "ab", [&[], &["x:ab"], &[]]),
            (&["x:abc"], "abd", [&[], &["x:abd"], &[]]),
            (&["x:abc", "y:de"], "abcdef", [&[], &["y:def"], &[]]),
            // what changes anyway takes the new one, not what has more room
            (&["x:abc", "y:d"], "abde", [&[], &["x:abe"], &[]]),
            // the fullest that has room for all
            (&["x:a", "y:bc"], "abcd", [&[], &["y:bcd"], &[]]),
            (&["x:a", "y:bc"], "abcde", [&[], &["x:ade"], &[]]),
            (&["x:abc", "y:def"], "abc", [&[], &[], &["y:def"]]),
            (&["x:abc"], "", [&[], &["x:"], &[]]),
            (&["x:"], "", [&[], &[], &[]]),
            (&["x:"], "ab", [&[], &["x:ab"], &[]]),
            (&["x:ab", "y:"], "", [&[], &["x:"], &["y:"]]),
        ];
        for (slices, wanted, [create, update, delete]) in cases {
            let slices: Vec<_> = slices
                .iter()
                .filter_map(|slice| slice.split_once(':'))
                .map(|(name, names)| stored(&format!("{name}:"), &shape(80), names))
                .collect();
            let plan = pack(&template(), [(shape(80), endpoints(wanted))].into(), &slices);
            let told = |slices: &[EndpointSlice]| slices.iter().map(shown).collect::<Vec<_>>();
            let deleted: Vec<String> = plan.delete.iter().map(|slice| shown(slice)).collect();
            assert_eq!(
                (told(&plan.create), told(&plan.update), deleted),
                (
                    create.iter().map(|s| s.to_string()).collect(),
                    update.iter().map(|s| s.to_string()).collect(),
                    delete.iter().map(|s| s.to_string()).collect()
                ),
                "{slices:?} {wanted}"
            );
        }
    }

    #[test]
    fn a_slice_becomes_what_is_needed_instead() {
        let slices = [stored("x", &shape(80), "ab")];
        let plan = pack(&template(), [(shape(81), endpoints("ab"))].into(), &slices);
        assert!(plan.create.is_empty() && plan.delete.is_empty());
        assert_eq!((shown(&plan.update[0]), shape_of(&plan.update[0])), ("xab".to_owned(), shape(81)));
        let mut old = EndpointSlice::clone(&slices[0]);
        old.metadata.owner_references = None;
        let plan = pack(&template(), [(shape(80), endpoints("ab"))].into(), &[Arc::new(old)]);
        assert_eq!(
            (plan.create.len(), plan.update.len(), plan.delete.len()),
            (1, 0, 1),
            "an earlier Service's"
        );
        let mut six = EndpointSlice::clone(&slices[0]);
        six.address_type = "IPv6".to_owned();
        let plan = pack(&template(), [(shape(80), endpoints("ab"))].into(), &[Arc::new(six)]);
        assert_eq!(
            (plan.create.len(), plan.update.len(), plan.delete.len()),
            (1, 0, 1),
            "families do not change"
        );
    }

    #[test]
    fn what_a_slice_says_of_itself_is_kept_right() {
        let mut labelled = template();
        labelled.labels.insert("l".to_owned(), "1".to_owned());
        let slices = [stored("x", &shape(80), "ab")];
        let plan = pack(&labelled, [(shape(80), endpoints("ab"))].into(), &slices);
        assert_eq!(plan.update[0].metadata.labels.as_ref(), Some(&labelled.labels));
        let mut later = template();
        later.trigger = Some(("time", "later".to_owned()));
        let plan = pack(&later, [(shape(80), endpoints("ab"))].into(), &slices);
        assert!(plan.update.is_empty(), "the time alone is no reason");
    }
}
