//! The owners of an object, up to the topmost, and all that it owns, as a tree.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::owned;
use sampan_view::{Cell, Row};
use serde_json::Value;

use super::Object;
use crate::{
    app::app,
    kinds::{Resource, list, word},
    net::{
        api,
        feed::{self, View},
    },
    ui::{age::Age, status::Status},
};

/// Owners of owners at most, and owned ones that are drawn.
const HIGH: usize = 8;
const SHOWN: usize = 60;

/// Kinds that objects of a kind own, directly or not. Of a custom resource nobody knows: the usual ones.
fn owned_kinds(resource: &Resource) -> &'static [&'static str] {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments") => &["replicasets.apps", "pods"],
        ("batch", "cronjobs") => &["jobs.batch", "pods"],
        ("apps", "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs")
        | ("", "replicationcontrollers") => &["pods"],
        ("", "services") => &["endpointslices.discovery.k8s.io"],
        (group, _) if group.contains('.') && !group.ends_with(".k8s.io") => &[
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "cronjobs.batch",
            "jobs.batch",
            "replicasets.apps",
            "services",
            "configmaps",
            "secrets",
            "pods",
        ],
        _ => &[],
    }
}

/// An owner: what it is called, and its page, if the cluster serves its kind.
#[derive(Clone, PartialEq)]
struct Above {
    title: String,
    href: Option<String>,
}

#[component]
pub fn Tree(resource: Resource, namespace: String, name: String, object: Object) -> impl IntoView {
    let uid =
        Memo::new(move |_| object.get().map(|object| word(&object["metadata"]["uid"])).unwrap_or_default());
    let above = RwSignal::new(Vec::<Above>::new());
    let place = namespace.clone();
    Effect::new(move |_| {
        uid.track();
        let Some(object) = object.get_untracked() else { return };
        let place = place.clone();
        spawn_local(async move { drop(above.try_set(owners(&object, &place).await)) });
    });
    let title = format!("{}/{name}", resource.kind);
    let views: Vec<(Resource, View)> = owned_kinds(&resource)
        .iter()
        .filter_map(|path| app().kinds.read_untracked().of_path(path).cloned())
        .map(|kind| {
            let namespaces = if namespace.is_empty() { Vec::new() } else { vec![namespace.clone()] };
            let view = feed::list(feed::List { kind: kind.feed(), namespaces, ..Default::default() });
            (kind, view)
        })
        .collect();
    move || {
        let above = above.get();
        let below = below(&uid.read(), &views);
        let more = below.len().saturating_sub(SHOWN);
        let deep = above.len();
        (deep + below.len() > 0).then(|| {
            let title = title.clone();
            let rows = below.into_iter().take(SHOWN).map(|(depth, kind, row)| one(deep + depth, &kind, &row));
            view! {
                <section>
                    <h2 class="part">{tr!(tree.title)}</h2>
                    <ul class="tree">
                        {above.into_iter().enumerate().map(|(depth, owner)| view! {
                            <li style=("--deep", depth.to_string())><a href=owner.href>{owner.title}</a></li>
                        }).collect_view()}
                        <li style=("--deep", deep.to_string())><b>{title}</b></li>
                        {rows.collect_view()}
                    </ul>
                    {(more > 0).then(|| view! { <p class="soft">{tr!(action.and_more, count = more)}</p> })}
                </section>
            }
        })
    }
}

fn one(depth: usize, kind: &Resource, row: &Row) -> impl IntoView + use<> {
    view! {
        <li style=("--deep", depth.to_string())>
            <a href=kind.page(&row.namespace, &row.name)>{format!("{}/{}", kind.kind, row.name)}</a>
            <Status health=row.health reason=row.reason.clone() />
            <span class="soft"><Age at=row.created /></span>
        </li>
    }
}

/// All that is owned, with its depth, each below its owner.
fn below(root: &str, views: &[(Resource, View)]) -> Vec<(usize, Resource, Arc<Row>)> {
    let mut all: Vec<(Resource, Arc<Row>)> = Vec::new();
    for (kind, view) in views {
        let live = view.live().read();
        // a ReplicaSet of an old revision has no pods and is no news
        let old = |row: &Row| {
            kind.plural == "replicasets"
                && matches!(row.cells.get(1), Some(Cell::Number(number, _)) if *number == 0.0)
        };
        let rows = live.rows.values().filter(|row| row.owner.is_some() && !old(row));
        all.extend(rows.map(|row| (kind.clone(), row.clone())));
    }
    sampan_dashboard_logic::sort::by(&mut all, |(_, a), (_, b)| {
        (a.health, &a.name).cmp(&(b.health, &b.name))
    });
    let owner = |row: &Arc<Row>| row.owner.as_ref().map(|owner| owner.uid.clone()).unwrap_or_default();
    let owners: Vec<String> = all.iter().map(|(_, row)| owner(row)).collect();
    let pairs: Vec<_> =
        all.iter().zip(&owners).map(|((_, row), owner)| (row.uid.as_str(), owner.as_str())).collect();
    let found = owned::tree(root, &pairs);
    found.into_iter().map(|(depth, at)| (depth, all[at].0.clone(), all[at].1.clone())).collect()
}

/// The owners of an object, the topmost first.
async fn owners(object: &Value, namespace: &str) -> Vec<Above> {
    let mut above = Vec::new();
    let mut references = object["metadata"]["ownerReferences"].clone();
    while above.len() < HIGH {
        let all = list(&references);
        let Some(owner) = all.iter().find(|one| one["controller"] == true).or(all.first()) else { break };
        let (kind, name) = (word(&owner["kind"]), word(&owner["name"]));
        let resource = app().kinds.read_untracked().of_kind(&word(&owner["apiVersion"]), &kind).cloned();
        let place =
            |resource: &Resource| if resource.namespaced { namespace.to_owned() } else { String::new() };
        let href = resource.as_ref().map(|resource| resource.page(&place(resource), &name));
        above.push(Above { title: format!("{kind}/{name}"), href });
        let Some(resource) = resource else { break };
        // whoever may not read it sees its name all the same
        let Ok(found) = api::get(&resource.object(namespace, &name)).await else { break };
        references = found["metadata"]["ownerReferences"].clone();
    }
    above.reverse();
    above
}
