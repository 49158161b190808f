//! Random histories, cut into changes at random, against a kernel that is as strict as the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::json;

use super::{http, key, model, pod, policy, service, slice};
use crate::element::{Element, Key as ElementKey, Map, Value};
use crate::model::Model;
use crate::table::{Change, Structure};

/// The kernel, as far as changes go: it refuses what is there already, and what is not there.
#[derive(Debug, Default, PartialEq)]
struct Kernel {
    elements: BTreeMap<(Map, ElementKey), Value>,
    structures: BTreeMap<String, Structure>,
}

impl Kernel {
    fn apply(&mut self, change: &Change) {
        for one in &change.removed {
            let was = self.elements.remove(&(one.map.clone(), one.key));
            assert_eq!(was.as_ref(), Some(&one.value), "{one:?}");
        }
        self.structures.extend(change.structures.clone());
        for name in change.stale.keys() {
            assert!(self.structures.remove(name).is_some(), "{name}");
            self.elements.retain(|(map, _), _| map.base() != name);
        }
        for one in &change.added {
            let was = self.elements.insert((one.map.clone(), one.key), one.value.clone());
            assert_eq!(was, None, "{one:?}");
            if let Map::Peers(set) | Map::Ports(set) = &one.map {
                assert!(self.structures.contains_key(&**set), "{one:?} has no set");
            }
        }
    }

    /// What means the same in whatever slots, without chains kept for later.
    fn meaning(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let elements = self.elements.iter().map(|((map, key), value)| {
            let element = Element::new(map.clone(), *key, value.clone());
            match (map, key) {
                (Map::Endpoints | Map::Numbers, ElementKey::Slot(frontend, slot)) => {
                    let value = element.text(true);
                    let value = value.rsplit(" : ").next().unwrap_or_default();
                    format!("{} {frontend} {} {value}", element.map_name(), slot >> 16)
                }
                _ => format!("{} {}", element.map_name(), element.text(true)),
            }
        });
        let kept =
            |name: &&String| !["in-", "ex-", "to-", "draw-"].iter().any(|prefix| name.starts_with(prefix));
        (elements.collect(), self.structures.keys().filter(kept).cloned().collect())
    }
}

#[derive(Clone, Debug)]
enum Act {
    Service(u8, Option<(u8, bool, bool, bool)>),
    Slice(u8, u8, Option<Vec<(u8, u8)>>),
    Pod(u8, Option<(u8, u8)>),
    Policy(u8, Option<(u8, u8)>),
    Namespace(Option<u8>),
    Take,
    Replace,
}

fn act() -> impl Strategy<Value = Act> {
    let flags = (0..4u8, any::<bool>(), any::<bool>(), any::<bool>());
    prop_oneof![
        (0..3u8, proptest::option::weighted(0.8, flags)).prop_map(|(name, spec)| Act::Service(name, spec)),
        (0..3u8, 0..2u8, proptest::option::weighted(0.8, proptest::collection::vec((0..6u8, 0..4u8), 0..5)))
            .prop_map(|(service, slice, endpoints)| Act::Slice(service, slice, endpoints)),
        (0..4u8, proptest::option::weighted(0.7, (0..3u8, 0..3u8)))
            .prop_map(|(name, pod)| Act::Pod(name, pod)),
        (0..3u8, proptest::option::weighted(0.7, (0..3u8, 0..4u8)))
            .prop_map(|(name, spec)| Act::Policy(name, spec)),
        proptest::option::of(0..2u8).prop_map(Act::Namespace),
        Just(Act::Take),
        Just(Act::Replace),
    ]
}

type Slices = BTreeMap<(u8, u8), Arc<EndpointSlice>>;

/// Does one act to a model; `slices` remembers what each was.
fn perform(model: &mut Model, slices: &mut Slices, act: &Act) {
    let name = |index: &u8| format!("o{index}");
    match act {
        Act::Service(index, spec) => {
            let object = spec.map(|(shape, sticky, local, shared)| {
                let kind = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"][usize::from(shape)];
                let policy = if local { "Local" } else { "Cluster" };
                let node_port = if shared { 30000 } else { 30000 + i32::from(*index) };
                let mut spec = json!({"type": kind, "clusterIP": format!("10.96.1.{index}"),
                    "sessionAffinity": if sticky { "ClientIP" } else { "None" },
                    "internalTrafficPolicy": policy, "externalTrafficPolicy": policy,
                    "ports": [{"name": "http", "port": 80, "nodePort": node_port}]});
                if shared {
                    spec["externalIPs"] = json!(["198.51.100.1"]);
                    spec["loadBalancerSourceRanges"] = json!(["192.0.2.0/24"]);
                }
                service(&name(index), spec)
            });
            model.apply_service(&key(&name(index)), object);
        }
        Act::Slice(service, which, endpoints) => {
            let new = endpoints.as_ref().map(|endpoints| {
                let texts: Vec<String> = endpoints
                    .iter()
                    .map(|(address, state)| {
                        format!("10.244.0.{address}{}", ["", "@n2", "!", "-"][usize::from(*state)])
                    })
                    .collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                slice(&format!("o{service}-{which}"), &name(service), &texts, http())
            });
            let old = match &new {
                Some(new) => slices.insert((*service, *which), new.clone()),
                None => slices.remove(&(*service, *which)),
            };
            model.apply_slice(old.as_ref(), new.as_ref());
        }
        Act::Pod(index, shape) => {
            let pod = shape.map(|(address, app)| {
                pod("default", &format!("10.244.0.{address}"), json!({"app": app.to_string()}))
            });
            model.apply_pod(&key(&name(index)), pod.as_ref());
        }
        Act::Policy(index, shape) => {
            let spec = shape.map(|(app, shape)| {
                let mut object = policy(match shape {
                    0 => json!({"podSelector": {}}),
                    1 => json!({"podSelector": {"matchLabels": {"app": app.to_string()}}, "egress": [{}]}),
                    2 => json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app.to_string()}}}], "ports": [{"port": "web"}]}]}),
                    _ => json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": app.to_string()}}}]}]}),
                })
                .expect("policy");
                object.metadata.name = Some(name(index));
                object
            });
            model.apply_policy(&key(&name(index)), spec.as_ref());
        }
        Act::Namespace(team) => {
            let labels = team.map(|team| [("team".to_owned(), team.to_string())].into());
            model.apply_namespace("default", labels);
        }
        Act::Take | Act::Replace => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However a history was cut into changes, the kernel ends with what a fresh start would tell it.
    #[test]
    fn deltas_end_where_a_fresh_start_ends(acts in proptest::collection::vec(act(), 1..60)) {
        let (mut model, mut kernel, mut slices) = (model(), Kernel::default(), Slices::new());
        for act in &acts {
            perform(&mut model, &mut slices, act);
            match act {
                Act::Take => kernel.apply(&model.take().change),
                Act::Replace => {
                    kernel = Kernel::default();
                    kernel.apply(&model.whole().change);
                }
                _ => {}
            }
        }
        kernel.apply(&model.take().change);
        let mut whole = Kernel::default();
        whole.apply(&model.whole().change);
        prop_assert_eq!(&kernel, &whole, "the shadow is what the kernel was told");
        let (mut fresh, mut told) = (super::model(), Kernel::default());
        let mut slices = Slices::new();
        acts.iter().for_each(|act| perform(&mut fresh, &mut slices, act));
        told.apply(&fresh.whole().change);
        prop_assert_eq!(kernel.meaning(), told.meaning());
    }
}
