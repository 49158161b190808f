//! A terminal in a container. xterm.js is loaded when the first one is opened.

use js_sys::Function;
use leptos::{html, prelude::*, task::spawn_local};
use sampan_view::place::encode;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};

use super::{detail::Object, logs::containers};
use crate::net::part;

#[component]
pub fn Terminal(namespace: String, name: String, object: Object) -> impl IntoView {
    let all = containers(object);
    let chosen = RwSignal::new(String::new());
    let shell = RwSignal::new("/bin/sh".to_owned());
    let address = Memo::new(move |_| {
        let chosen = chosen.get();
        let container = if chosen.is_empty() { all.read().first().cloned()? } else { chosen };
        let words = [
            ("namespace", namespace.as_str()),
            ("pod", &name),
            ("container", &container),
            ("command", &shell.read()),
            ("tty", "true"),
        ];
        let words: Vec<String> =
            words.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
        Some(format!("sampan/v1/exec?{}", words.join("&")))
    });
    view! {
        <section class="terminal-page">
            <div class="line">
                <label class="inline">{tr!(logs.container)}
                    <select on:change=move |event| chosen.set(event_target_value(&event))>
                        {move || all.get().into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect_view()}
                    </select>
                </label>
                <label class="inline">{tr!(terminal.command)}
                    <input type="text" prop:value=shell.get_untracked() on:change=move |event| shell.set(event_target_value(&event)) />
                </label>
            </div>
            {move || address.get().map(|address| view! { <Screen address /> })}
        </section>
    }
}

#[component]
fn Screen(address: String) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let ended = RwSignal::new(None::<String>);
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
    view! {
        <div class="terminal" node_ref=node></div>
        <p class="soft" role="status">{move || ended.get().map(|why| tr!(terminal.ended, why = why))}</p>
    }
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
