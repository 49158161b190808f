//! What selects a pod: Services and controllers (upstream's `helper.DefaultSelector`). The default spreading counts
//! pods by it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::pods::PodInfo;
use crate::selectors::Labels;

/// Selectors of Services and controllers.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// By namespace and name.
    services: BTreeMap<String, BTreeMap<String, Labels>>,
    /// By `Kind/namespace/name`.
    controllers: BTreeMap<String, LabelSelector>,
}

impl Owners {
    /// A Service came, changed or went; one without selector selects nothing.
    pub fn set_service(&mut self, namespace: &str, name: &str, selector: Option<Labels>) {
        match selector.filter(|selector| !selector.is_empty()) {
            Some(selector) => {
                self.services.entry(namespace.to_owned()).or_default().insert(name.to_owned(), selector);
            }
            None => {
                if let Some(services) = self.services.get_mut(namespace) {
                    services.remove(name);
                }
            }
        }
    }

    /// A ReplicaSet, StatefulSet or ReplicationController came, changed or went.
    pub fn set_controller(
        &mut self,
        kind: &str,
        namespace: &str,
        name: &str,
        selector: Option<LabelSelector>,
    ) {
        let key = format!("{kind}/{namespace}/{name}");
        match selector {
            Some(selector) => _ = self.controllers.insert(key, selector),
            None => _ = self.controllers.remove(&key),
        }
    }

    /// All that selects the pod, as one selector; `None` if that is nothing.
    pub fn selector(&self, pod: &PodInfo) -> Option<LabelSelector> {
        let services = self.services.get(pod.namespace()).into_iter().flat_map(BTreeMap::values);
        let selects =
            |labels: &&Labels| labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
        let mut labels: Labels =
            services.filter(selects).flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let owners = pod.pod.metadata.owner_references.iter().flatten();
        let controller = owners.filter(|owner| owner.controller == Some(true)).find_map(|owner| {
            self.controllers.get(&format!("{}/{}/{}", owner.kind, pod.namespace(), owner.name))
        });
        labels.extend(controller.iter().flat_map(|one| one.match_labels.clone().unwrap_or_default()));
        let match_expressions = controller.and_then(|one| one.match_expressions.clone());
        let none = labels.is_empty() && match_expressions.as_ref().is_none_or(Vec::is_empty);
        (!none).then_some(LabelSelector { match_labels: Some(labels), match_expressions })
    }
}
