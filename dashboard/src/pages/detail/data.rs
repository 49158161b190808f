//! What a ConfigMap or a Secret holds. A Secret's values are hidden until asked for, one by one.

use std::sync::Arc;

use leptos::prelude::*;
use serde_json::Value;

use super::Object;
use crate::{
    kinds::{Resource, word},
    ui::icon::{Icon, Shape},
};

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
    let content = move || match seen.get() {
        false => "••••••••".to_owned(),
        true if secret => decoded(&value),
        true => value.clone(),
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
            </div>
            <pre class="value">{content}</pre>
        </div>
    }
}

/// A Secret's value as text; what is none stays in base64.
fn decoded(value: &str) -> String {
    let Ok(bytes) = window().atob(value) else { return value.to_owned() };
    let bytes: Option<Vec<u8>> = bytes.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| value.to_owned())
}
