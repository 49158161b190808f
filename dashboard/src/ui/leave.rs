//! A text that is nowhere else yet, or a shell, is not lost without a question, whichever way the page is left: a link, a key, a step back,
//! the browser's own ways.

use leptos::prelude::*;
use wasm_bindgen::JsCast;

use super::go;
use crate::{app::app, pages::terminal};

/// Whether what is written, or the page's terminal, may be lost: asks, if there is something. The question is the browser's, as
/// it is for a tab that is closed.
pub fn may() -> bool {
    if !app().unsaved.get_untracked() && terminal::goes_on() {
        let agreed = window().confirm_with_message(tr!(terminal.lose)).unwrap_or(true);
        if agreed {
            terminal::let_go();
        }
        return agreed;
    }
    may_lose_text()
}

/// The same, where a terminal stays.
pub fn may_lose_text() -> bool {
    let agreed =
        !app().unsaved.get_untracked() || window().confirm_with_message(tr!(edit.lose)).unwrap_or(true);
    if agreed {
        app().unsaved.set(false);
    }
    agreed
}

/// Whether somebody has clicked or typed here: before that the browser asks nothing, and complains.
fn is_used() -> bool {
    let of = |object: &wasm_bindgen::JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).ok();
    let activation = of(&window().navigator(), "userActivation").filter(|value| !value.is_undefined());
    activation.and_then(|activation| of(&activation, "hasBeenActive")?.as_bool()).unwrap_or(true)
}

/// Listens for the whole page, before [`go::listen`] does.
pub fn listen() {
    let unload = window_event_listener_untyped("beforeunload", |event| {
        let lost = app().unsaved.get_untracked() || terminal::goes_on() || app().dock.has_terminal();
        if lost && is_used() {
            event.prevent_default();
        }
    });
    let here = StoredValue::new(String::new());
    let options = web_sys::AddEventListenerOptions::new();
    options.set_capture(true);
    let listen = |name: &str, hear: Box<dyn FnMut(web_sys::Event)>| {
        let hear = wasm_bindgen::closure::Closure::<dyn FnMut(web_sys::Event)>::wrap(hear).into_js_value();
        let _ = window().add_event_listener_with_callback_and_add_event_listener_options(
            name,
            hear.unchecked_ref(),
            &options,
        );
    };
    listen(
        "click",
        Box::new(move |event| {
            let elsewhere = go::link(&event).is_some_and(|link| {
                let within = link.get_attribute("href").is_some_and(|href| href.starts_with('#'));
                !within && !link.has_attribute("target") && !link.has_attribute("download")
            });
            if elsewhere && go::is_plain(&event) && !may() {
                event.prevent_default();
                event.stop_immediate_propagation();
            }
        }),
    );
    // a step of the history is taken already: it is taken back by one more
    listen(
        "popstate",
        Box::new(move |event| {
            let before = here.get_value();
            if !before.is_empty() && !may() {
                event.stop_immediate_propagation();
                if let Ok(history) = window().history() {
                    let _ = history.push_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&before));
                }
            }
        }),
    );
    Effect::new(move |_| {
        app().unsaved.track();
        app().address.track();
        here.set_value(window().location().href().unwrap_or_default());
    });
    on_cleanup(move || unload.remove());
}
