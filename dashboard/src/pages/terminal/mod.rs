//! Terminals: a shell in a container, its own process, a debug container beside it, a node. xterm.js is loaded when the
//! first one is opened.

mod debugger;
mod node;

use js_sys::Function;
use leptos::{html, prelude::*, task::spawn_local};
use sampan_dashboard_logic::debugger::has_terminal;
use sampan_view::place::encode;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

use self::debugger::Debugger;
pub use self::node::NodeShell;
use super::{detail::Object, logs::containers};
use crate::{
    app::app,
    net::{
        api::{self, Wish},
        part,
    },
};

/// What is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A command of its own in a container.
    Shell,
    /// What the container runs already.
    Attach,
    /// A container added to the pod, with tools that the others lack.
    Debug,
}

#[component]
pub fn Terminal(namespace: String, name: String, object: Object) -> impl IntoView {
    let all = containers(object);
    let way = RwSignal::new(Way::Shell);
    let chosen = RwSignal::new(String::new());
    let shell = RwSignal::new("/bin/sh".to_owned());
    let container = Memo::new(move |_| {
        let chosen = chosen.get();
        if chosen.is_empty() { all.read().first().cloned().unwrap_or_default() } else { chosen }
    });
    let can = |verb, subresource| {
        api::allowed(Wish {
            verb,
            subresource,
            resource: "pods".to_owned(),
            namespace: namespace.clone(),
            name: name.clone(),
            ..Wish::default()
        })
    };
    let (attach, debug) = (can("create", "attach"), can("patch", "ephemeralcontainers"));
    let (place, pod) = (namespace.clone(), name.clone());
    let address = Memo::new(move |_| {
        let container = container.get();
        match way.get() {
            _ if container.is_empty() => None,
            Way::Shell => Some(exec(&place, &pod, &container, &shell.read())),
            Way::Attach => Some(attached(&place, &pod, &container, terminal_of(object, &container))),
            Way::Debug => None,
        }
    });
    // what stands in the dock outlives a change of language
    let bar = move || {
        app().language.track();
        let ways = [
            (Way::Shell, tr!(terminal.shell), None),
            (Way::Attach, tr!(terminal.attach), Some(attach)),
            (Way::Debug, tr!(terminal.debug), Some(debug)),
        ];
        view! {
            <div class="line">
                <span class="segments" role="group" aria-label=tr!(terminal.way)>
                    {ways.map(|(own, title, may)| {
                        let not = move || may.and_then(|may| may.read().why_not());
                        view! { <button aria-pressed=move || (way.get() == own).to_string() disabled=move || not().is_some() title=not
                            on:click=move |_| way.set(own)>{title}</button> }
                    }).into_iter().collect_view()}
                </span>
                <label class="inline">{tr!(logs.container)}
                    <select on:change=move |event| chosen.set(event_target_value(&event))>
                        {move || all.get().into_iter().map(|name| view! { <option value=name.clone() selected=name == chosen.get_untracked()>{name.clone()}</option> }).collect_view()}
                    </select>
                </label>
                {move || (way.get() == Way::Shell).then(|| view! {
                    <label class="inline">{tr!(terminal.command)}
                        <input type="text" prop:value=shell.get_untracked() on:change=move |event| shell.set(event_target_value(&event)) />
                    </label>
                })}
            </div>
        }
    };
    view! {
        <section class="terminal-page">
            {bar}
            {move || {
                app().language.track();
                (way.get() == Way::Attach).then(|| view! { <p class="soft">{tr!(terminal.attach_then)}</p> })
            }}
            {move || (way.get() == Way::Debug).then(|| view! {
                <Debugger namespace=namespace.clone() name=name.clone() target=container object />
            })}
            {move || address.get().map(|address| view! { <Screen address /> })}
        </section>
    }
}

fn terminal_of(object: Object, container: &str) -> bool {
    object.get_untracked().is_some_and(|object| has_terminal(&object, container))
}

/// The page's path of a command in a container, on a terminal.
fn exec(namespace: &str, pod: &str, container: &str, command: &str) -> String {
    socket(&[
        ("namespace", namespace),
        ("pod", pod),
        ("container", container),
        ("command", command),
        ("tty", "true"),
    ])
}

/// The page's path of a container's own process; `terminal` if it has one.
fn attached(namespace: &str, pod: &str, container: &str, terminal: bool) -> String {
    let terminal = if terminal { "true" } else { "false" };
    socket(&[
        ("namespace", namespace),
        ("pod", pod),
        ("container", container),
        ("attach", "true"),
        ("tty", terminal),
    ])
}

fn socket(words: &[(&str, &str)]) -> String {
    let words: Vec<String> = words.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
    format!("sampan/v1/exec?{}", words.join("&"))
}

/// A terminal until it ends; then it can be opened again.
#[component]
fn Screen(address: String) -> impl IntoView {
    let turn = RwSignal::new(0);
    let ended = RwSignal::new(None::<String>);
    let again = move |_| {
        ended.set(None);
        turn.update(|turn| *turn += 1);
    };
    view! {
        {move || { turn.track(); view! { <Opened address=address.clone() ended /> } }}
        {move || { app().language.track(); view! { <p class="soft">{tr!(terminal.leave)}</p> } }}
        <div class="line" role="status">{move || { app().language.track(); ended.get().map(|why| view! {
            <span class="soft">{tr!(terminal.ended, why = why)}</span>
            <button on:click=again>{tr!(terminal.again)}</button>
        }) }}</div>
    }
}

#[component]
fn Opened(address: String, ended: RwSignal<Option<String>>) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let close = StoredValue::new_local(None::<Function>);
    Effect::new(move |_| {
        let Some(node) = node.get() else { return };
        let address = address.clone();
        spawn_local(async move {
            match start(&node, &address, ended).await {
                Ok(function) => close.try_set_value(Some(function)).map_or((), |function| end(function)),
                Err(error) => drop(ended.try_set(Some(js_sys::Error::from(error).message().into()))),
            }
        });
    });
    on_cleanup(move || end(close.try_update_value(Option::take).flatten()));
    view! { <div class="terminal" node_ref=node></div> }
}

fn end(close: Option<Function>) {
    if let Some(close) = close {
        let _ = close.call0(&JsValue::NULL);
    }
}

async fn start(node: &JsValue, address: &str, ended: RwSignal<Option<String>>) -> Result<Function, JsValue> {
    let open = part::opener("terminal").await?;
    let told = Closure::<dyn FnMut(String)>::new(move |why| drop(ended.try_set(Some(why))));
    let arguments = js_sys::Array::of4(node, &address.into(), &JsValue::FALSE, &told.into_js_value());
    open.apply(&JsValue::NULL, &arguments)?.dyn_into()
}
