//! What came of an action, said shortly and to screen readers too.

use std::time::Duration;

use leptos::prelude::*;

use crate::{app::app, net::api::Failure};

#[derive(Clone, Debug, PartialEq)]
pub struct Toast {
    id: u64,
    bad: bool,
    text: String,
}

pub fn good(text: impl Into<String>) {
    show(text.into(), false);
}

pub fn bad(failure: &Failure) {
    show(explain(failure), true);
}

/// The API's words, with a hint in the user's language where its reason is a known one.
pub fn explain(failure: &Failure) -> String {
    let hint = match (failure.code, failure.reason.as_str()) {
        (0, _) => tr!(failure.unreachable),
        (401, _) => tr!(failure.unauthorized),
        (403, _) => tr!(failure.forbidden),
        (404, _) => tr!(failure.missing),
        (409, "AlreadyExists") => tr!(failure.exists),
        (409, _) => tr!(failure.conflict),
        (422, _) => tr!(failure.invalid),
        (429, _) => tr!(failure.busy),
        _ => "",
    };
    match (hint, failure.message.as_str()) {
        (hint, "") => hint.to_owned(),
        ("", message) => message.to_owned(),
        (hint, message) => format!("{hint} — {message}"),
    }
}

fn show(text: String, bad: bool) {
    let toasts = app().toasts;
    let id = js_sys::Math::random().to_bits();
    toasts.update(|all| all.push(Toast { id, bad, text }));
    let stay = Duration::from_secs(if bad { 12 } else { 5 });
    set_timeout(move || toasts.update(|all| all.retain(|toast| toast.id != id)), stay);
}

#[component]
pub fn Toasts() -> impl IntoView {
    let toasts = app().toasts;
    let drop = move |id| toasts.update(|all| all.retain(|toast| toast.id != id));
    view! {
        <div class="toasts" role="status" aria-live="polite">
            <For each=move || toasts.get() key=|toast| toast.id let:toast>
                <div class="toast" class:bad=toast.bad>
                    <span>{toast.text.clone()}</span>
                    <button class="quiet" aria-label=move || tr!(action.close) on:click=move |_| drop(toast.id)>"×"</button>
                </div>
            </For>
        </div>
    }
}
