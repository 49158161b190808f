//! Terminals: a shell in a container, its own process, a debug container beside it, a node. xterm.js is loaded when the
//! first one is opened. One that is kept open below the page is the same one: it moves there as it is.

mod debugger;
mod node;
mod running;

use js_sys::Function;
use leptos::{html, prelude::*, task::spawn_local};
use sampan_dashboard_logic::debugger::has_terminal;
use sampan_view::place::encode;
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

use self::debugger::Debugger;
use self::running::{Chosen, Ended};
pub use self::{
    node::NodeShell,
    running::{goes_on, keep, let_go},
};
use super::{detail::Object, logs::containers};
use crate::{
    app::app,
    kinds::{list, word},
    net::{
        api::{self, May, Wish},
        part,
    },
    ui::dock,
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
    let Chosen { way, container: chosen, shell } = running::chosen();
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
    let exec_may = can("create", "exec");
    let cause = Signal::derive(move || match way.get() {
        Way::Shell if *exec_may.read() != May::Yes => exec_may.read().why_not().unwrap_or_default(),
        _ => object
            .with(|object| object.as_ref().map(|object| idle(object, &container.read())))
            .unwrap_or_default(),
    });
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
            {move || address.get().map(|address| view! { <Screen address cause /> })}
        </section>
    }
}

/// Why a container does not run, in the API's words; empty if it does.
fn idle(pod: &Value, container: &str) -> String {
    let statuses = list(&pod["status"]["containerStatuses"]);
    let Some(status) = statuses.iter().find(|status| status["name"] == container) else {
        return String::new();
    };
    let state = ["waiting", "terminated"].into_iter().find_map(|name| status["state"].get(name));
    state.map(|state| word(&state["reason"])).unwrap_or_default()
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

/// A terminal until it ends; then it can be opened again. `cause` is why it may have ended, where it does not say itself.
#[component]
fn Screen(address: String, #[prop(optional, into)] cause: Signal<String>) -> impl IntoView {
    let turn = RwSignal::new(0);
    let moved = dock::in_dock().then(|| running::moved(&address)).flatten();
    let ended = moved.as_ref().map_or_else(Ended::default, |running| running.ended.clone());
    let moved = StoredValue::new_local(moved);
    let told = ended.clone();
    let again = {
        let ended = ended.clone();
        move |_| {
            ended.set(None);
            turn.update(|turn| *turn += 1);
        }
    };
    view! {
        {move || {
            turn.track();
            let moved = moved.try_update_value(Option::take).flatten();
            view! { <Opened address=address.clone() ended=ended.clone() moved /> }
        }}
        {move || { app().language.track(); view! { <p class="soft">{tr!(terminal.leave)}</p> } }}
        <div class="line" role="status">{move || {
            app().language.track();
            let again = again.clone();
            told.get().map(|why| {
                let why = if why.is_empty() { cause.get() } else { why };
                view! {
                    <span class="soft">{tr!(terminal.ended, why = why)}</span>
                    <button on:click=again>{tr!(terminal.again)}</button>
                }
            })
        }}</div>
    }
}

#[component]
fn Opened(address: String, ended: Ended, moved: Option<running::Running>) -> impl IntoView {
    let holder = NodeRef::<html::Div>::new();
    let close = StoredValue::new_local(None::<Function>);
    let moved = StoredValue::new_local(moved);
    let docked = dock::in_dock();
    Effect::new(move |_| {
        let Some(holder) = holder.get() else { return };
        if let Some(running) = moved.try_update_value(Option::take).flatten() {
            let _ = holder.append_child(&running.element);
            close.try_set_value(Some(running.close));
            return;
        }
        // not the view's own: it may move elsewhere
        let Ok(element) = document().create_element("div") else { return };
        element.set_class_name("terminal");
        let _ = holder.append_child(&element);
        let (address, ended) = (address.clone(), ended.clone());
        spawn_local(async move {
            match start(&element, &address, ended.clone()).await {
                Ok(function) => {
                    if let Some(function) = close.try_set_value(Some(function)) {
                        return end(function);
                    }
                    if !docked {
                        running::began(address, element, close, ended);
                    }
                }
                Err(error) => ended.set(Some(js_sys::Error::from(error).message().into())),
            }
        });
    });
    on_cleanup(move || end(close.try_update_value(Option::take).flatten()));
    view! { <div class="holder" node_ref=holder></div> }
}

fn end(close: Option<Function>) {
    if let Some(close) = close {
        let _ = close.call0(&JsValue::NULL);
    }
}

async fn start(node: &JsValue, address: &str, ended: Ended) -> Result<Function, JsValue> {
    let open = part::opener("terminal").await?;
    let told = Closure::<dyn FnMut(String)>::new(move |why| ended.set(Some(why)));
    let arguments = js_sys::Array::of4(node, &address.into(), &JsValue::FALSE, &told.into_js_value());
    open.apply(&JsValue::NULL, &arguments)?.dyn_into()
}
