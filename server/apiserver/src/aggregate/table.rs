//! The APIService objects, parsed, by group and version. As RBAC's index it compares the store's snapshots: an object
//! written by one request counts for the next, and where nothing changed nothing is parsed.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use sampan_store::{Snapshot, Store};
use serde_json::Value;

use super::{API_SERVICES, Place};
use crate::outbound::Trust;
use crate::value::{at, items, meta, text};

/// What an APIService says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub name: String,
    /// Where its server is; `None` for what this process serves.
    pub service: Option<Reference>,
    pub trust: Trust,
    pub group_priority: u32,
    pub version_priority: u32,
    /// What its condition says.
    pub available: bool,
    /// Kept by this process for groups of its own: it says nothing of who answers.
    pub managed: bool,
}

/// A Service and a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub namespace: String,
    pub name: String,
    pub port: u16,
}

impl Spec {
    pub(super) fn parse(object: &Value) -> (Place, Self) {
        let service = at(object, &["spec", "service"]);
        let number =
            |path: &[&str]| at(object, path).as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let reference = |service: &Value| Reference {
            namespace: text(service, &["namespace"]).to_owned(),
            name: text(service, &["name"]).to_owned(),
            port: at(service, &["port"]).as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
        };
        let conditions = items(at(object, &["status", "conditions"]));
        let available = conditions.iter().find(|one| text(one, &["type"]) == "Available");
        let insecure = at(object, &["spec", "insecureSkipTLSVerify"]).as_bool() == Some(true);
        let trust = match (insecure, text(object, &["spec", "caBundle"])) {
            (true, _) => Trust::Anyone,
            (false, "") => Trust::System,
            (false, bundle) => Trust::Bundle(STANDARD.decode(bundle).unwrap_or_default()),
        };
        let place =
            (text(object, &["spec", "group"]).to_owned(), text(object, &["spec", "version"]).to_owned());
        let spec = Self {
            name: meta(object, "name").to_owned(),
            service: (!service.is_null()).then(|| reference(service)),
            trust,
            group_priority: number(&["spec", "groupPriorityMinimum"]),
            version_priority: number(&["spec", "versionPriority"]),
            available: available.is_some_and(|one| text(one, &["status"]) == "True"),
            managed: !text(object, &["metadata", "labels", "kube-aggregator.kubernetes.io/automanaged"])
                .is_empty(),
        };
        (place, spec)
    }
}

pub(super) type Specs = Arc<BTreeMap<Place, Arc<Spec>>>;

/// The table as it was looked at last.
#[derive(Default)]
pub(super) struct Table(Mutex<(Option<Snapshot>, Specs)>);

impl Table {
    /// As it is now.
    pub(super) fn now(&self, store: &Store) -> Specs {
        let snapshot = store.list(API_SERVICES);
        let mut kept = self.0.lock();
        if !kept.0.as_ref().is_some_and(|seen| seen.map.ptr_eq(&snapshot.map)) {
            let parsed = snapshot.map.values().filter_map(|entry| serde_json::from_slice(&entry.value).ok());
            let specs = parsed.map(|object: Value| Spec::parse(&object));
            kept.1 = Arc::new(specs.map(|(place, spec)| (place, Arc::new(spec))).collect());
            kept.0 = Some(snapshot);
        }
        kept.1.clone()
    }
}
