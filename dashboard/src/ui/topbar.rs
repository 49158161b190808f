//! The bar above every page: namespaces, palette, how fresh the page is, language, theme, who is signed in.

use leptos::{html, prelude::*, task::spawn_local};
use sampan_view::feed::Kind;

use super::{
    age, go,
    icon::{Icon, Shape},
    leave,
};
use crate::{
    app::{Link, app},
    net::feed::{self, State},
    session,
    settings::Theme,
    text::{self, Locale},
};

#[component]
pub fn TopBar() -> impl IntoView {
    let user = move || app().session.with(|session| session.as_ref().map(|session| session.user.clone()));
    view! {
        <header class="top">
            <Namespaces />
            <button class="ask" title=tr!(palette.ask) on:click=|_| app().palette.set(true)>
                <Icon shape=Shape::Search /><span>{tr!(palette.ask)}</span><kbd>"Ctrl K"</kbd>
            </button>
            <span class="grow"></span>
            <Freshness />
            <button class="quiet" lang=other().tag() on:click=|_| app().speak(other())>
                {if other() == Locale::Chinese { "中文" } else { "English" }}
            </button>
            <ThemeMenu />
            <details class="menu">
                <summary class="quiet" title=tr!(top.account)><Icon shape=Shape::User /><span class="wide">{user}</span></summary>
                <div class="panel">
                    <p class="soft">{move || app().session.with(|session| session.as_ref().map(|session|
                        tr!(top.versions, version = session.version.clone(), kubernetes = session.kubernetes.clone())))}</p>
                    <button on:click=|_| if leave::may() { spawn_local(session::sign_out()) }>{tr!(top.sign_out)}</button>
                </div>
            </details>
        </header>
    }
}

fn other() -> Locale {
    match text::language() {
        Locale::English => Locale::Chinese,
        Locale::Chinese => Locale::English,
    }
}

#[component]
fn ThemeMenu() -> impl IntoView {
    let theme = app().theme;
    view! {
        <details class="menu">
            <summary class="quiet" aria-label=tr!(theme.title) title=tr!(theme.title)><Icon shape=Shape::Theme /></summary>
            <div class="panel" role="radiogroup" aria-label=tr!(theme.title)>
                {Theme::ALL.map(|one| view! {
                    <label><input type="radio" name="theme" prop:checked=move || theme.get() == one
                        on:change=move |_| app().paint(one) />{one.label()}</label>
                }).into_iter().collect_view()}
            </div>
        </details>
    }
}

/// Whether what is seen is how things are now.
#[component]
fn Freshness() -> impl IntoView {
    let link = app().link;
    let class = move || match link.get() {
        Link::Live => "fresh live",
        Link::Connecting => "fresh",
        Link::Waiting { .. } => "fresh stale",
    };
    let words = move || match link.get() {
        Link::Live => tr!(top.live).to_owned(),
        Link::Connecting => tr!(top.connecting).to_owned(),
        Link::Waiting { since, until } => {
            app().now.track();
            let wait = ((until - js_sys::Date::now()) / 1000.0).ceil().max(0.0) as i64;
            tr!(top.stale, time = age::absolute((since / 1000.0) as i64), seconds = wait)
        }
    };
    view! { <span class=class role="status"><i></i><span>{words}</span></span> }
}

#[component]
fn Namespaces() -> impl IntoView {
    let view = feed::list(feed::List {
        kind: Kind { group: String::new(), version: "v1".to_owned(), resource: "namespaces".to_owned() },
        ..Default::default()
    });
    let chosen = go::namespaces();
    let live = view.live().clone();
    let may_not = live.clone();
    let may_not = move || matches!(may_not.read().state, State::Refused { .. });
    let field = NodeRef::<html::Input>::new();
    let opened = {
        let may_not = may_not.clone();
        move |event: web_sys::Event| {
            let open = event_target::<web_sys::Element>(&event).has_attribute("open");
            if let Some(field) = field.get_untracked().filter(|_| open && untrack(&may_not)) {
                let _ = field.focus();
            }
        }
    };
    let names = Memo::new(move |_| {
        let _keep = &view;
        let mut names: Vec<String> = live.read().rows.values().map(|row| row.name.clone()).collect();
        sampan_dashboard_logic::sort::by(&mut names, Ord::cmp);
        names
    });
    let title = move || match chosen.read().as_slice() {
        [] => tr!(top.all_namespaces).to_owned(),
        [one] => one.clone(),
        more => tr!(top.some_namespaces, count = more.len()),
    };
    let apply = |all: Vec<String>| go::set(&[("ns", &all.join(","))], true);
    view! {
        <details class="menu namespaces" on:toggle=opened>
            <summary class="button"><span class="soft">{tr!(list.namespace)}</span><b>{title}</b><Icon shape=Shape::Down /></summary>
            <div class="panel">
                <label><input type="checkbox" prop:checked=move || chosen.read().is_empty() on:change=move |_| apply(Vec::new()) />{tr!(top.all_namespaces)}</label>
                {move || names.get().into_iter().map(|name| {
                    let own = name.clone();
                    let checked = move || chosen.read().contains(&own);
                    let toggled = name.clone();
                    let toggle = move |_| {
                        let mut all = chosen.get_untracked();
                        match all.iter().position(|own| *own == toggled) {
                            Some(at) => { all.remove(at); }
                            None => all.push(toggled.clone()),
                        }
                        apply(all);
                    };
                    view! { <label><input type="checkbox" prop:checked=checked on:change=toggle />{name}</label> }
                }).collect_view()}
                // whoever may not list namespaces names theirs
                {move || may_not().then(|| view! { <p class="soft">{tr!(top.namespaces_barred)}</p> })}
                <input type="text" node_ref=field placeholder=tr!(top.name_namespace) aria-label=tr!(top.name_namespace)
                    on:change=move |event| apply(event_target_value(&event).split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect()) />
            </div>
        </details>
    }
}
