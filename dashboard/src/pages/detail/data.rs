//! What a ConfigMap or a Secret holds. A Secret's values are hidden until asked for, one by one.

use std::sync::Arc;

use js_sys::{Function, Promise, Reflect};
use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::cover::COVER;
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::{Object, edit::cut};
use crate::{
    kinds::{Resource, word},
    ui::{
        icon::{Icon, Shape},
        toast,
    },
};

/// Letters of a value that are shown; a longer one is copied, or read as YAML.
const SHOWN: usize = 20_000;

#[component]
pub fn Data(resource: Resource, object: Object) -> impl IntoView {
    let secret = resource.plural == "secrets" && resource.group.is_empty();
    let shown = secret || (resource.plural == "configmaps" && resource.group.is_empty());
    move || shown.then(|| object.get().map(|object| all(&object, secret)))
}

fn all(object: &Arc<Value>, secret: bool) -> impl IntoView + use<> {
    let entries = object["data"].as_object().into_iter().flatten();
    let views: Vec<_> =
        entries.map(|(name, value)| view! { <Entry name=name.clone() value=word(value) secret /> }).collect();
    view! { <section><h2 class="part">{tr!(detail.data)}</h2><div class="cards">{views}</div></section> }
}

#[component]
fn Entry(name: String, value: String, secret: bool) -> impl IntoView {
    let seen = RwSignal::new(!secret);
    let value = StoredValue::new(value);
    let plain = move || value.with_value(|value| if secret { decoded(value) } else { value.clone() });
    let content = move || if seen.get() { cut(plain(), SHOWN) } else { COVER.to_owned() };
    let copy = move |_| {
        spawn_local(async move {
            match clip(&plain()).await {
                Ok(_) => toast::good(tr!(editor.copied)),
                Err(_) => toast::good(tr!(editor.not_copied)),
            }
        });
    };
    view! {
        <div class="card">
            <div class="line">
                <b>{name}</b>
                <span class="grow"></span>
                {secret.then(|| view! {
                    <button class="quiet" aria-pressed=move || seen.get().to_string() on:click=move |_| seen.update(|seen| *seen = !*seen)>
                        <Icon shape=Shape::Eye />{move || if seen.get() { tr!(detail.hide) } else { tr!(detail.reveal) }}
                    </button>
                })}
                <button class="quiet" on:click=copy>{tr!(editor.copy)}</button>
            </div>
            <pre class="value" tabindex="0">{content}</pre>
        </div>
    }
}

/// Into the clipboard, which a browser has only where nobody listens (localhost, TLS).
async fn clip(text: &str) -> Result<JsValue, JsValue> {
    let clipboard = Reflect::get(&window().navigator(), &"clipboard".into())?;
    let write: Function = Reflect::get(&clipboard, &"writeText".into())?.dyn_into()?;
    JsFuture::from(write.call1(&clipboard, &text.into())?.dyn_into::<Promise>()?).await
}

/// A Secret's value as text; what is none stays in base64.
fn decoded(value: &str) -> String {
    let Ok(bytes) = window().atob(value) else { return value.to_owned() };
    let bytes: Option<Vec<u8>> = bytes.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| value.to_owned())
}
