//! The page of one object, and the drawer over a list, which is the same. The object is watched; when it is deleted, its
//! last state stays readable.

mod act;
pub mod bulk;
mod children;
mod data;
mod delete;
mod drain;
mod edit;
mod events;
mod ports;
mod summary;
mod tree;
mod undo;
pub mod verbs;

use std::sync::Arc;

use leptos::{html, prelude::*};
use serde_json::Value;

use super::{
    list::{Skeleton, told},
    logs::Logs,
    missing::Missing,
    terminal::{self, NodeShell, Terminal},
};
use crate::{
    app::app,
    kinds::Resource,
    net::{
        api::{self, Wish},
        feed::{self, State},
    },
    ui::{
        age::Age,
        chart::{self, Of},
        go,
        icon::{Icon, Shape},
        keys::{self, Key},
    },
};

/// The object as it is known now.
pub type Object = Memo<Option<Arc<Value>>>;

#[component]
pub fn DetailPage(kind: String, namespace: String, name: String) -> impl IntoView {
    let resource = Memo::new(move |_| app().kinds.read().of_path(&kind).cloned());
    let namespace = if namespace == "-" { String::new() } else { namespace };
    move || match resource.get() {
        Some(resource) => {
            view! { <Detail resource namespace=namespace.clone() name=name.clone() /> }.into_any()
        }
        None if app().kinds.read().known => view! { <Missing /> }.into_any(),
        None => view! { <Skeleton /> }.into_any(),
    }
}

/// An object as it changes.
pub fn watched(resource: &Resource, namespace: &str, name: &str) -> Object {
    let view = feed::watch(resource.feed(), namespace, name);
    Memo::new(move |_| view.live().read().object.clone())
}

/// What is there to be shown.
#[derive(Clone, PartialEq)]
enum Phase {
    Loading,
    Missing,
    Refused(String, String),
    Known,
}

#[component]
pub fn Detail(
    resource: Resource,
    namespace: String,
    name: String,
    #[prop(optional)] drawer: Option<Callback<()>>,
) -> impl IntoView {
    let view = feed::watch(resource.feed(), &namespace, &name);
    let live = view.live().clone();
    let object: Object = Memo::new(move |_| live.read().object.clone());
    let live = view.live().clone();
    let gone = Memo::new(move |_| live.read().gone);
    let state = Memo::new(move |_| view.live().read().state.clone());
    let tab = go::word("tab");
    keyboard(drawer, (resource.clone(), namespace.clone(), name.clone()));
    let page = resource.page(&namespace, &name);
    let node = NodeRef::<html::Article>::new();
    Effect::new(move |_| {
        if let Some(node) = node.get().filter(|_| drawer.is_some()) {
            let _ = node.focus();
        }
    });
    // what is open stays open while the object changes: a draft, a shell, a place in a log
    let phase = Memo::new(move |_| match (state.get(), object.with(Option::is_some), gone.get().is_some()) {
        (State::Refused { reason, message, .. }, ..) => Phase::Refused(reason, message),
        (State::Loading, false, _) => Phase::Loading,
        (_, false, true) => Phase::Missing,
        _ => Phase::Known,
    });
    // a terminal that was opened stays, unseen, while other tabs are looked at
    let shell = RwSignal::new(false);
    Effect::new(move |_| {
        // to set it again were to open another
        if *tab.read() == "terminal" && !shell.get_untracked() {
            shell.set(true);
        }
    });
    let body = {
        let (resource, namespace, name) = (resource.clone(), namespace.clone(), name.clone());
        move || match phase.get() {
            Phase::Refused(reason, message) => told(Shape::Access, &reason, &message),
            Phase::Loading => view! { <Skeleton /> }.into_any(),
            Phase::Missing => told(Shape::Search, tr!(detail.missing), tr!(missing.next)),
            Phase::Known => {
                let (resource, namespace, name) = (resource.clone(), namespace.clone(), name.clone());
                let (own, place, pod) = (resource.clone(), namespace.clone(), name.clone());
                view! {
                    <div class="stays" hidden=move || *tab.read() != "terminal">
                        {move || shell.get().then(|| page_of("terminal", &own, &place, &pod, object))}
                    </div>
                    {move || {
                        let tab = tab.read();
                        (*tab != "terminal").then(|| page_of(&tab, &resource, &namespace, &name, object))
                    }}
                }
                .into_any()
            }
        }
    };
    view! {
        <article class="detail" class:drawer=drawer.is_some() tabindex="-1" node_ref=node aria-label=name.clone()>
            <header class="head">
                <div class="title">
                    <span class="soft">{resource.kind.clone()}</span>
                    <h1>{name.clone()}</h1>
                    {(!namespace.is_empty()).then(|| view! { <span class="soft">{namespace.clone()}</span> })}
                    <span class="grow"></span>
                    {drawer.map(|close| view! {
                        <a class="button" href=page title=tr!(detail.full)><Icon shape=Shape::Expand /></a>
                        <button aria-label=tr!(action.close) title=tr!(action.close) on:click=move |_| close.run(())><Icon shape=Shape::Close /></button>
                    })}
                </div>
                <act::Actions resource=resource.clone() object />
                <Tabs resource=resource.clone() namespace=namespace.clone() name=name.clone() shell />
            </header>
            {move || gone.get().filter(|_| object.with(Option::is_some)).map(|at| view! {
                <p class="banner" role="status"><Icon shape=Shape::Delete />{tr!(detail.gone)}" "<Age at=(at / 1000.0) as i64 /></p>
            })}
            <div class="body" tabindex="0">{body}</div>
        </article>
    }
}

/// Escape closes the drawer; letters choose a tab, and those in upper case open it in the dock.
fn keyboard(drawer: Option<Callback<()>>, place: (Resource, String, String)) {
    keys::on(move |key| {
        let tab = match key {
            Key::Escape => {
                let Some(close) = drawer else { return false };
                close.run(());
                return true;
            }
            Key::Letter('l') => "logs",
            Key::Letter('y' | 'e') => "yaml",
            Key::Letter('s') => "terminal",
            Key::Letter(letter @ ('L' | 'S')) => {
                let tab = if letter == 'L' { "logs" } else { "terminal" };
                return dock_it(&place, tab);
            }
            _ => return false,
        };
        go::set(&[("tab", tab)], false);
        true
    });
}

/// Opens a tab in the dock, if the kind has it.
fn dock_it((resource, namespace, name): &(Resource, String, String), tab: &'static str) -> bool {
    let has = match tab {
        "logs" => is_pod(resource) || has_pods(resource),
        _ => is_pod(resource) || is_node(resource),
    };
    if has {
        app().dock.add(resource.clone(), namespace.clone(), name.clone(), tab);
    }
    has
}

/// Kinds that have pods, by their selector.
pub fn has_pods(resource: &Resource) -> bool {
    let core = matches!(
        resource.plural.as_str(),
        "deployments"
            | "statefulsets"
            | "daemonsets"
            | "replicasets"
            | "jobs"
            | "replicationcontrollers"
            | "services"
    );
    core && matches!(resource.group.as_str(), "" | "apps" | "batch")
}

fn is_pod(resource: &Resource) -> bool {
    resource.plural == "pods" && resource.group.is_empty()
}

fn is_node(resource: &Resource) -> bool {
    resource.plural == "nodes" && resource.group.is_empty()
}

#[component]
fn Tabs(resource: Resource, namespace: String, name: String, shell: RwSignal<bool>) -> impl IntoView {
    let tab = go::word("tab");
    let free = |key, title| (key, title, None);
    let of_pod = |verb, subresource| {
        let name = if is_pod(&resource) { name.clone() } else { String::new() };
        let (resource, namespace) = ("pods".to_owned(), namespace.clone());
        Some(api::allowed(Wish { verb, subresource, resource, namespace, name, ..Wish::default() }))
    };
    let mut tabs = vec![free("", tr!(detail.summary))];
    if has_pods(&resource) {
        tabs.push(free("pods", "Pods"));
    }
    if is_pod(&resource) || has_pods(&resource) {
        tabs.push(("logs", tr!(detail.logs), of_pod("get", "log")));
    }
    if is_pod(&resource) {
        tabs.push(("terminal", tr!(detail.terminal), of_pod("create", "exec")));
    }
    if is_node(&resource) {
        tabs.push(free("terminal", tr!(detail.terminal)));
    }
    tabs.extend([free("events", tr!(detail.events)), free("yaml", "YAML")]);
    let place = StoredValue::new((resource, namespace, name));
    let to_dock = move |tab: &'static str| {
        // the terminal that is open moves; a node's has a pod of its own, made anew
        if tab == "terminal" && place.with_value(|(resource, ..)| is_pod(resource)) {
            terminal::keep();
        }
        if place.with_value(|place| dock_it(place, tab)) {
            shell.set(shell.get_untracked() && tab != "terminal");
            go::set(&[("tab", "")], false);
        }
    };
    let dockable = Memo::new(move |_| ["logs", "terminal"].into_iter().find(|own| *tab.read() == *own));
    view! {
        <nav class="tabs" aria-label=tr!(detail.tabs)>
            {tabs.into_iter().map(|(key, title, may)| {
                let current = move || (*tab.read() == key).then_some("page");
                let not = move || may.and_then(|may| may.read().why_not());
                view! { <button aria-current=current disabled=move || not().is_some() title=not on:click=move |_| go::set(&[("tab", key)], false)>{title}</button> }
            }).collect_view()}
            {move || dockable.get().map(|tab| {
                view! { <button class="to-dock" title=tr!(dock.keep_how) on:click=move |_| to_dock(tab)><Icon shape=Shape::Dock />{tr!(dock.keep)}</button> }
            })}
        </nav>
    }
}

/// What a tab shows.
pub fn page_of(tab: &str, resource: &Resource, namespace: &str, name: &str, object: Object) -> AnyView {
    let (resource, namespace, name) = (resource.clone(), namespace.to_owned(), name.to_owned());
    match tab {
        "yaml" => view! { <edit::Edit resource namespace name object /> }.into_any(),
        "events" => view! { <events::Events namespace object /> }.into_any(),
        "pods" => view! { <children::Pods namespace object /> }.into_any(),
        "logs" if is_pod(&resource) => view! { <Logs namespace object /> }.into_any(),
        "logs" => view! { <children::PodLogs namespace object /> }.into_any(),
        "terminal" if is_node(&resource) => view! { <NodeShell name /> }.into_any(),
        "terminal" if is_pod(&resource) => view! { <Terminal namespace name object /> }.into_any(),
        _ => view! {
            {(has_pods(&resource) && resource.plural != "services").then(|| view! { <children::Worst namespace=namespace.clone() object /> })}
            <summary::Summary object />
            <tree::Tree resource=resource.clone() namespace=namespace.clone() name=name.clone() object />
            {usage(&resource, &namespace, &name, object)}
            <ports::Ports resource=resource.clone() namespace=namespace.clone() name=name.clone() object />
            <data::Data resource=resource.clone() object />
            {(resource.plural == "services").then(|| view! { <children::Pods namespace=namespace.clone() object /> })}
            {is_node(&resource).then(|| view! { <children::OnNode name=name.clone() /> })}
            <events::Events namespace object />
        }
        .into_any(),
    }
}

/// What it uses: a node, a pod, or all pods of a workload.
fn usage(resource: &Resource, namespace: &str, name: &str, object: Object) -> Option<AnyView> {
    let of = match () {
        () if is_node(resource) => Of::Node(name.to_owned()),
        () if is_pod(resource) => Of::Pod(namespace.to_owned(), name.to_owned()),
        () if has_pods(resource) && resource.plural != "services" => {
            Of::Pods(namespace.to_owned(), children::selector(&*object.get_untracked()?))
        }
        () => return None,
    };
    let past = chart::past(of);
    Some(view! { <chart::Charts past /> }.into_any())
}
