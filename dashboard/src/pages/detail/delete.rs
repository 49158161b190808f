//! The question before an object is deleted: what goes with it, who uses it; and the deletion of just what was looked at.

use std::{collections::BTreeMap, sync::Arc};

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::owned::{self, Item};
use sampan_view::place::encode;
use serde_json::{Value, json};

use super::{act, children};
use crate::{
    app::app,
    kinds::{Kinds, Resource, list, word},
    net::api::{self, Call, Failure, Result},
    ui::dialog::{self, Dialog},
};

const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Pods named that use a claim; more are counted.
const NAMED: usize = 5;
/// How often an object may change between two looks.
const ATTEMPTS: usize = 5;

/// Kinds whose deletion takes much along: their name is to be typed.
pub fn is_grave(resource: &Resource) -> bool {
    matches!(resource.plural.as_str(), "namespaces" | "nodes" | "customresourcedefinitions")
}

/// Asks, and deletes. `changed`: it was asked before, and the object is another now.
pub fn question(resource: Resource, object: Arc<Value>, changed: bool) {
    let title = act::title(tr!(action.delete), &resource, &object);
    let text = if changed { vec![tr!(delete.changed).to_owned()] } else { Vec::new() };
    let type_name = if is_grave(&resource) { word(&object["metadata"]["name"]) } else { String::new() };
    let more = {
        let (resource, object) = (resource.clone(), object.clone());
        move || view! { <Consequences resource=resource.clone() object=object.clone() /> }.into_any()
    };
    let run = move |_| {
        let (resource, object) = (resource.clone(), object.clone());
        spawn_local(async move {
            match delete(&resource, object.clone()).await {
                Ok(None) => act::told(tr!(action.delete), &object, Ok(())),
                Ok(Some(now)) => question(resource, now, true),
                Err(failure) => act::told(tr!(action.delete), &object, Err(failure)),
            }
        });
    };
    let more: Option<Arc<dyn Fn() -> AnyView + Send + Sync>> = Some(Arc::new(more));
    dialog::ask(Dialog {
        text,
        type_name,
        more,
        danger: true,
        ..Dialog::new(title, tr!(action.delete), run)
    });
}

/// Deletes what was seen; if it has become another since, says what it is now instead. A new status alone does not count: a
/// pod that crashes has one every second.
async fn delete(resource: &Resource, seen: Arc<Value>) -> Result<Option<Arc<Value>>> {
    let path = resource.object(&word(&seen["metadata"]["namespace"]), &word(&seen["metadata"]["name"]));
    let mut latest = seen.clone();
    for _ in 0..ATTEMPTS {
        let metadata = &latest["metadata"];
        let preconditions = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]});
        match send(&path, &preconditions).await {
            Err(failure) if failure.code == 409 => {}
            result => return result.map(|()| None),
        }
        let now = Arc::new(api::get(&path).await?);
        if !owned::same_matter(&seen, &now) {
            return Ok(Some(now));
        }
        latest = now;
    }
    Ok(Some(latest))
}

/// Sends a deletion with preconditions; dependents are collected in the background.
pub async fn send(path: &str, preconditions: &Value) -> Result<()> {
    let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background",
        "preconditions": preconditions});
    Call::new("DELETE", path).json(&body).send().await.map(drop)
}

/// What was found to go, by kind, and what else there is to say.
#[derive(Clone, Debug, Default)]
struct Found {
    counts: BTreeMap<String, usize>,
    notes: Vec<String>,
    /// Kinds that could not be looked at.
    unknown: Vec<String>,
}

#[component]
fn Consequences(resource: Resource, object: Arc<Value>) -> impl IntoView {
    let found = RwSignal::new(None::<Found>);
    spawn_local(async move {
        found.try_set(Some(look(&resource, &object).await));
    });
    move || match found.get() {
        None => view! { <p class="soft" role="status">{tr!(delete.looking)}</p> }.into_any(),
        Some(Found { counts, notes, unknown }) => {
            let what: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let first = match (what.is_empty(), unknown.is_empty()) {
                (true, true) => tr!(delete.alone).to_owned(),
                (true, false) => String::new(),
                (false, _) => tr!(delete.along, what = what.join(", ")),
            };
            let unknown = (!unknown.is_empty()).then(|| tr!(delete.unknown, what = unknown.join(", ")));
            let all = std::iter::once(first).chain(notes).chain(unknown).filter(|text| !text.is_empty());
            view! { <div class="consequences" role="status">{all.map(|text| view! { <p>{text}</p> }).collect_view()}</div> }
                .into_any()
        }
    }
}

async fn look(resource: &Resource, object: &Value) -> Found {
    let kinds = app().kinds.get_untracked();
    let (namespace, name) = (word(&object["metadata"]["namespace"]), word(&object["metadata"]["name"]));
    let mut found = Found::default();
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => found.within(&kinds, &name).await,
        ("", "nodes") => found.on_node(&kinds, &name).await,
        ("", "persistentvolumeclaims") => found.users(&kinds, &namespace, &name).await,
        ("apiextensions.k8s.io", _) => {
            let names = (word(&object["spec"]["group"]), word(&object["spec"]["names"]["plural"]));
            if let Some(own) = kinds.all.iter().find(|own| (&own.group, &own.plural) == (&names.0, &names.1))
            {
                found.count(own, "").await;
            }
        }
        _ => found.owned(&kinds, resource, object).await,
    }
    found
}

/// The kinds whose objects a controller makes for one of a kind.
fn dependents(resource: &Resource) -> &'static [&'static str] {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments") => &["replicasets.apps", "pods"],
        ("apps", "statefulsets" | "daemonsets") => &["pods", "controllerrevisions.apps"],
        ("apps", "replicasets") | ("batch", "jobs") | ("", "replicationcontrollers") => &["pods"],
        ("batch", "cronjobs") => &["jobs.batch", "pods"],
        ("", "services") => &["endpointslices.discovery.k8s.io"],
        _ => &[],
    }
}

impl Found {
    /// What it owns, directly or not.
    async fn owned(&mut self, kinds: &Kinds, resource: &Resource, object: &Value) {
        let namespace = word(&object["metadata"]["namespace"]);
        let mut items: Vec<Item> = Vec::new();
        for path in dependents(resource) {
            let Some(kind) = kinds.of_path(path) else { continue };
            // a CronJob's pods bear the labels of its jobs alone
            let labels =
                if resource.plural == "cronjobs" { String::new() } else { children::selector(object) };
            let address = format!("{}?labelSelector={}", kind.collection(&namespace), encode(&labels));
            match Call::new("GET", &address).accept(METADATA).value().await {
                Ok(answer) => {
                    items.extend(list(&answer["items"]).iter().map(|one| owned::item(&kind.kind, one)))
                }
                Err(failure) => self.refused(&kind.kind, &failure),
            }
        }
        self.counts = owned::owned(&word(&object["metadata"]["uid"]), &items);
    }

    /// Everything in a namespace.
    async fn within(&mut self, kinds: &Kinds, namespace: &str) {
        for kind in kinds.all.iter().filter(|kind| kind.namespaced && kind.can("delete")) {
            // what only tells of others
            if !matches!(kind.plural.as_str(), "events" | "endpoints" | "endpointslices" | "leases") {
                self.count(kind, namespace).await;
            }
        }
    }

    /// How many of a kind there are: the first, and what the server says is left.
    async fn count(&mut self, kind: &Resource, namespace: &str) {
        let address = format!("{}?limit=1", kind.collection(namespace));
        match Call::new("GET", &address).accept(METADATA).value().await {
            Ok(answer) => {
                let left = answer["metadata"]["remainingItemCount"].as_u64().unwrap_or_default() as usize;
                let count = list(&answer["items"]).len() + left;
                if count > 0 {
                    self.counts.insert(kind.kind.clone(), count);
                }
            }
            Err(failure) => self.refused(&kind.kind, &failure),
        }
    }

    async fn on_node(&mut self, kinds: &Kinds, node: &str) {
        let Some(pods) = kinds.of_path("pods") else { return };
        let address =
            format!("{}?fieldSelector={}", pods.collection(""), encode(&format!("spec.nodeName={node}")));
        match Call::new("GET", &address).accept(METADATA).value().await {
            Ok(answer) => match list(&answer["items"]).len() {
                0 => {}
                count => self.notes.push(tr!(delete.on_node, count = count)),
            },
            Err(failure) => self.refused(&pods.kind, &failure),
        }
    }

    /// The pods that use a claim.
    async fn users(&mut self, kinds: &Kinds, namespace: &str, claim: &str) {
        let Some(pods) = kinds.of_path("pods") else { return };
        let uses = |pod: &&Value| {
            list(&pod["spec"]["volumes"]).iter().any(|one| one["persistentVolumeClaim"]["claimName"] == claim)
        };
        match api::get(&pods.collection(namespace)).await {
            Ok(answer) => {
                let names: Vec<String> = list(&answer["items"])
                    .iter()
                    .filter(uses)
                    .map(|pod| word(&pod["metadata"]["name"]))
                    .collect();
                if names.is_empty() {
                    return;
                }
                let mut told = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
                if names.len() > NAMED {
                    told = format!("{told} {}", tr!(action.and_more, count = names.len() - NAMED));
                }
                self.notes.push(tr!(delete.used, pods = told));
            }
            Err(failure) => self.refused(&pods.kind, &failure),
        }
    }

    fn refused(&mut self, kind: &str, failure: &Failure) {
        // a kind that is served but has nothing behind it
        if failure.code != 404 {
            self.unknown.push(kind.to_owned());
        }
    }
}
