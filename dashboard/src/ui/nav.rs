//! The navigation: groups of kinds, of which only those the cluster serves are shown.

use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::{
    go,
    icon::{Icon, Shape},
    keys::{self, Key},
};
use crate::{
    app::app,
    kinds::{Group, Resource},
};

fn shape(group: Group) -> Shape {
    match group {
        Group::Workloads => Shape::Workloads,
        Group::Network => Shape::Network,
        Group::Config => Shape::Config,
        Group::Storage => Shape::Storage,
        Group::Access => Shape::Access,
        Group::Cluster => Shape::Cluster,
    }
}

#[component]
pub fn Nav() -> impl IntoView {
    let profile =
        move || app().session.with(|session| session.as_ref().map(|session| session.profile.clone()));
    // where only icons have room, a group widens it until something is chosen
    let wide = RwSignal::new(false);
    keys::on(move |key| key == Key::Escape && wide.try_update(std::mem::take).unwrap_or_default());
    let elsewhere = window_event_listener_untyped("pointerdown", move |event| {
        let inside = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        let inside = inside.and_then(|target| target.closest(".nav").ok().flatten()).is_some();
        if !inside && wide.get_untracked() {
            wide.set(false);
        }
    });
    on_cleanup(move || elsewhere.remove());
    let left = move |event: leptos::ev::FocusEvent| {
        let to = event.related_target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        if to.is_some_and(|to| to.closest(".nav").ok().flatten().is_none()) {
            wide.set(false);
        }
    };
    let chosen = move |event: leptos::ev::MouseEvent| {
        let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
        let Some(target) = target else { return };
        let within = |what: &str| target.closest(what).ok().flatten();
        if within("a").is_some() {
            wide.set(false);
        } else if let Some(group) = within("summary").filter(|_| narrow() && !wide.get_untracked()) {
            event.prevent_default();
            if let Some(group) = group.parent_element() {
                let _ = group.set_attribute("open", "");
            }
            wide.set(true);
        }
    };
    view! {
        <nav class="nav" class:wide-open=wide aria-label=tr!(nav.title) on:click=chosen on:focusout=left>
            <a class="brand" href="." title="sampan"><img src=icon_address() alt="" width="22" height="22" /><b>"sampan"</b><span class="soft">{profile}</span></a>
            <div class="links">
                <One path="".to_owned() title=tr!(nav.overview).to_owned() icon=Shape::Overview />
                <One path="topology".to_owned() title=tr!(nav.topology).to_owned() icon=Shape::Topology />
                {Group::ALL.into_iter().map(|group| view! { <Section group /> }).collect_view()}
                <Custom />
                <One path="addons".to_owned() title=tr!(nav.addons).to_owned() icon=Shape::Addons />
                <One path="access".to_owned() title=tr!(nav.who).to_owned() icon=Shape::User />
            </div>
        </nav>
    }
}

/// As the style sheet has it.
fn narrow() -> bool {
    window().inner_width().ok().and_then(|width| width.as_f64()).is_some_and(|width| width <= 900.0)
}

/// The page's own icon: its name has a hash, so it is taken from where the page names it.
fn icon_address() -> String {
    let link = document().query_selector("link[rel=icon]").ok().flatten();
    link.and_then(|link| link.get_attribute("href")).unwrap_or_default()
}

/// The part of the path that names the page.
fn here() -> Memo<String> {
    let path = go::path();
    Memo::new(move |_| path.read().split('/').next().unwrap_or_default().to_owned())
}

#[component]
fn One(path: String, title: String, #[prop(optional)] icon: Option<Shape>) -> impl IntoView {
    let (here, namespaces) = (here(), go::namespaces());
    let own = path.clone();
    let current = move || (*here.read() == own).then_some("page");
    view! {
        <a class="one" title=title.clone() href=move || go::within(&path, &namespaces.read()) aria-current=current>
            {icon.map(|shape| view! { <Icon shape /> })}<span>{title.clone()}</span>
        </a>
    }
}

#[component]
fn Section(group: Group) -> impl IntoView {
    let here = here();
    let served = move || {
        let kinds = app().kinds.read();
        group.members().iter().filter_map(|path| kinds.of_path(path).cloned()).collect::<Vec<_>>()
    };
    let open = matches!(group, Group::Workloads) || group.members().contains(&here.get_untracked().as_str());
    view! {
        <details open=open>
            <summary title=group.label()><Icon shape=shape(group) /><span>{group.label()}</span><Icon shape=Shape::Chevron /></summary>
            {move || served().into_iter().map(link).collect_view()}
        </details>
    }
}

#[component]
fn Custom() -> impl IntoView {
    let custom = move || app().kinds.read().custom().into_iter().cloned().collect::<Vec<_>>();
    let some = move || !custom().is_empty();
    move || {
        some().then(|| view! {
        <details>
            <summary title=tr!(nav.custom)><Icon shape=Shape::Custom /><span>{tr!(nav.custom)}</span><Icon shape=Shape::Chevron /></summary>
            {custom().into_iter().map(link).collect_view()}
        </details>
    })
    }
}

fn link(resource: Resource) -> impl IntoView {
    view! { <One path=resource.path() title=resource.kind.clone() /> }
}
