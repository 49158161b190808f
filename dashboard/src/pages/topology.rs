//! Services, owners and pods as a graph of boxes: each a link to its page. At most two hundred, what fails first, and what
//! was left out is said.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::graph::{self, Node};
use sampan_view::{Health, Row};
use serde_json::Value;

use super::barred;
use crate::{
    app::app,
    kinds::{Resource, word},
    net::{
        api,
        feed::{self, View},
    },
    ui::go,
};

const ROOM: usize = 200;
const WIDE: usize = 230;
const HIGH: usize = 40;

/// Kinds and their layers, from left to right.
const LAYERS: [(&str, usize); 7] = [
    ("services", 0),
    ("deployments.apps", 1),
    ("statefulsets.apps", 1),
    ("daemonsets.apps", 1),
    ("jobs.batch", 1),
    ("replicasets.apps", 2),
    ("pods", 3),
];

/// A kind's view and its layer.
type Layer = (Resource, usize, View);

#[component]
pub fn Topology() -> impl IntoView {
    let namespaces = go::namespaces();
    view! {
        <div class="page">
            <h1>{tr!(nav.topology)}</h1>
            <p class="soft">{tr!(topology.help)}</p>
            {move || {
                let kinds = app().kinds.get();
                let open = |(path, layer): &(&str, usize)| {
                    let resource = kinds.of_path(path)?.clone();
                    let view = feed::list(feed::List { kind: resource.feed(), namespaces: namespaces.get(), ..Default::default() });
                    Some((resource, *layer, view))
                };
                let layers: Vec<Layer> = LAYERS.iter().filter_map(open).collect();
                view! { <Graph layers namespaces=namespaces.get() /> }
            }}
        </div>
    }
}

/// A box that can be drawn.
struct Shown {
    node: Node,
    kind: String,
    href: String,
    health: Health,
    row: Arc<Row>,
}

/// Rows say nothing of what a Service selects: read again when the Services change.
fn selecting(view: Option<View>, namespaces: Vec<String>) -> RwSignal<Vec<Value>> {
    let services = RwSignal::new(Vec::<Value>::new());
    Effect::new(move |_| {
        if let Some(view) = &view {
            view.live().track();
        }
        let namespaces = namespaces.clone();
        spawn_local(async move {
            drop(services.try_set(api::list_of("k8s/api/v1", "services", &namespaces).await.0))
        });
    });
    services
}

#[component]
fn Graph(layers: Vec<Layer>, namespaces: Vec<String>) -> impl IntoView {
    let view = layers.iter().find(|(_, layer, _)| *layer == 0).map(|(.., view)| view.clone());
    let wide = namespaces.is_empty();
    let services = selecting(view, namespaces);
    move || {
        let mut unseen = Vec::new();
        for (resource, _, view) in &layers {
            let why = barred::why(&view.live().read().state, &resource.kind, wide);
            if !why.is_empty() && !unseen.contains(&why) {
                unseen.push(why);
            }
        }
        let shown = boxes(&layers);
        let edges = edges(&shown, &services.read());
        let nodes: Vec<Node> = shown.iter().map(|one| one.node.clone()).collect();
        let (placed, left) = graph::place(&nodes, &edges, ROOM);
        let at = |id: &str| {
            placed
                .iter()
                .find(|placed| nodes[placed.node].id == id)
                .map(|placed| (nodes[placed.node].layer, placed.row))
        };
        let lines = edges.iter().filter_map(|(from, to)| Some(line(at(from)?, at(to)?)));
        let lines: Vec<_> = lines.map(|path| view! { <path class="edge" d=path /> }).collect();
        let height = (placed.iter().map(|placed| placed.row).max().unwrap_or_default() + 1) * HIGH + 16;
        let drawn: Vec<_> = placed.iter().map(|placed| one_box(&shown[placed.node], placed.row)).collect();
        if shown.is_empty() && unseen.is_empty() {
            unseen.push(tr!(list.empty).to_owned());
        }
        view! {
            {barred::told(unseen.join("\n"))}
            {(left > 0).then(|| view! { <p class="warning" role="status">{tr!(topology.left_out, count = left)}</p> })}
            <div class="graph">
                <svg width=(WIDE * 4 + 16).to_string() height=height.to_string() role="group" aria-label=tr!(nav.topology)>{lines}{drawn}</svg>
            </div>
        }
    }
}

fn boxes(layers: &[Layer]) -> Vec<Shown> {
    let mut all = Vec::new();
    for (resource, layer, view) in layers {
        for row in view.live().read().rows.values() {
            // a ReplicaSet of an old revision has no pods and is no news
            if *layer == 2
                && row.cells.get(1).is_some_and(
                    |cell| matches!(cell, sampan_view::Cell::Number(number, _) if *number == 0.0),
                )
            {
                continue;
            }
            let node = Node {
                id: row.uid.clone(),
                name: format!("{}/{}", row.namespace, row.name),
                layer: *layer,
                badness: row.health as u8,
            };
            let href = resource.page(&row.namespace, &row.name);
            all.push(Shown { node, kind: resource.kind.clone(), href, health: row.health, row: row.clone() });
        }
    }
    sampan_dashboard_logic::sort::by(&mut all, |a, b| {
        (a.node.layer, &a.node.name).cmp(&(b.node.layer, &b.node.name))
    });
    all
}

/// Owners to what they own, Services to the pods they select (through their owner, so that lines stay few).
fn edges(shown: &[Shown], services: &[Value]) -> Vec<(String, String)> {
    let mut edges: Vec<(String, String)> = shown
        .iter()
        .filter_map(|one| Some((one.row.owner.as_ref()?.uid.clone(), one.node.id.clone())))
        .collect();
    for service in services {
        let Some(selector) = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty())
        else {
            continue;
        };
        let own = |one: &&Shown| {
            one.kind == "Pod" && service["metadata"]["namespace"] == one.row.namespace.as_str()
        };
        let selected = |one: &&Shown| {
            selector.iter().all(|(name, value)| {
                one.row.labels.iter().any(|(own, is)| own == name && value == is.as_str())
            })
        };
        for pod in shown.iter().filter(own).filter(selected) {
            let top = top(shown, pod);
            let edge = (word(&service["metadata"]["uid"]), top.node.id.clone());
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        }
    }
    edges
}

fn top<'a>(shown: &'a [Shown], one: &'a Shown) -> &'a Shown {
    let owner =
        one.row.owner.as_ref().and_then(|owner| shown.iter().find(|other| other.node.id == owner.uid));
    owner.map_or(one, |owner| top(shown, owner))
}

fn line((from, row): (usize, usize), (to, other): (usize, usize)) -> String {
    let (x, y) = (from * WIDE + WIDE - 22, row * HIGH + 25);
    let (end_x, end_y) = (to * WIDE + 8, other * HIGH + 25);
    let middle = (x + end_x) / 2;
    format!("M{x} {y}C{middle} {y} {middle} {end_y} {end_x} {end_y}")
}

fn one_box(shown: &Shown, row: usize) -> impl IntoView + use<> {
    let (x, y) = (shown.node.layer * WIDE + 8, row * HIGH + 8);
    let mut name: String = shown.row.name.chars().take(26).collect();
    if name.len() < shown.row.name.len() {
        name.push('…');
    }
    view! {
        <g><a href=shown.href.clone()>
            <rect class="box" x=x.to_string() y=y.to_string() width=(WIDE - 30).to_string() height=(HIGH - 6).to_string() rx="6" />
            <circle class=format!("dot {}", shown.health.word()) cx=(x + 12).to_string() cy=(y + 17).to_string() r="4" />
            <text x=(x + 24).to_string() y=(y + 15).to_string()>{name}</text>
            <text class="soft" x=(x + 24).to_string() y=(y + 28).to_string()>{format!("{} {}", shown.kind, shown.row.reason)}</text>
        </a></g>
    }
}
