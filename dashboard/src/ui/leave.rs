//! A text that is nowhere else yet is not lost without a question, whichever way the page is left: a link, a key, a step back,
//! the browser's own ways.

use leptos::prelude::*;
use wasm_bindgen::JsCast;

use crate::app::app;

/// Whether what is written may be lost: asks, if there is something. The question is the browser's, as it is for a tab that
/// is closed.
pub fn may() -> bool {
    let agreed =
        !app().unsaved.get_untracked() || window().confirm_with_message(tr!(edit.lose)).unwrap_or(true);
    if agreed {
        app().unsaved.set(false);
    }
    agreed
}

/// Listens for the whole page, before the router does.
pub fn listen() {
    let unload = window_event_listener_untyped("beforeunload", |event| {
        if app().unsaved.get_untracked() {
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
            let target = event.target().and_then(|target| target.dyn_into::<web_sys::Element>().ok());
            let link = target.and_then(|target| target.closest("a[href]").ok().flatten());
            let elsewhere =
                link.is_some_and(|link| !link.has_attribute("target") && !link.has_attribute("download"));
            let held = event
                .dyn_ref::<web_sys::MouseEvent>()
                .is_some_and(|event| event.ctrl_key() || event.meta_key() || event.shift_key());
            if elsewhere && !held && !may() {
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
        here.set_value(window().location().href().unwrap_or_default());
    });
    on_cleanup(move || unload.remove());
}
