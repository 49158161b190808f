//! Questions before something is done that cannot be undone. A native modal dialog: it keeps the focus inside, gives it
//! back, and closes at Escape.

use std::sync::Arc;

use leptos::{html, prelude::*};

use crate::app::app;

/// What is asked.
#[derive(Clone)]
pub struct Dialog {
    pub title: String,
    pub text: Vec<String>,
    /// What the button says.
    pub verb: String,
    pub danger: bool,
    /// To be typed before the button works; empty for none.
    pub type_name: String,
    /// A number asked for, with what it is now.
    pub number: Option<i64>,
    /// What else is shown, such as what goes with an object.
    pub more: Option<Arc<dyn Fn() -> AnyView + Send + Sync>>,
    /// Whether it can be done yet, as far as `more` is concerned. Who asked may be gone before the answer: a button of an
    /// object that changed.
    pub ready: ArcRwSignal<bool>,
    /// Once it is ready there is nothing left to cancel.
    pub over: bool,
    pub act: Arc<dyn Fn(i64) + Send + Sync>,
}

impl Dialog {
    /// A question with nothing more to it.
    pub fn new(title: String, verb: &str, act: impl Fn(i64) + Send + Sync + 'static) -> Self {
        Self {
            title,
            text: Vec::new(),
            verb: verb.to_owned(),
            danger: false,
            type_name: String::new(),
            number: None,
            more: None,
            ready: ArcRwSignal::new(true),
            over: false,
            act: Arc::new(act),
        }
    }
}

/// The most replicas that are asked for.
const MOST: i64 = 100_000;

/// Closes one, which gives the focus back to where it was before.
pub fn shut(node: NodeRef<html::Dialog>) {
    if let Some(node) = node.get_untracked() {
        node.close();
    }
}

/// Whether it is the dialog there is that was closed: another may have been asked meanwhile, in its element even.
pub fn closed(event: &web_sys::Event) -> bool {
    let dialog = event_target::<web_sys::HtmlDialogElement>(event);
    dialog.is_connected() && !dialog.open()
}

pub fn ask(dialog: Dialog) {
    app().dialog.set(Some(dialog));
}

#[component]
pub fn Dialogs() -> impl IntoView {
    let dialog = app().dialog;
    move || dialog.get().map(|dialog| view! { <Question dialog /> })
}

#[component]
fn Question(dialog: Dialog) -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let typed = RwSignal::new(String::new());
    // as it was typed: what is no number in between is not sent as another
    let number = RwSignal::new(dialog.number.unwrap_or_default().to_string());
    let counted = move || number.read().parse::<i64>().ok().filter(|number| (0..=MOST).contains(number));
    Effect::new(move |_| {
        if let Some(node) = node.get() {
            let _ = node.show_modal();
        }
    });
    let close = move || {
        shut(node);
        app().dialog.set(None);
    };
    let wanted = dialog.type_name.clone();
    let prepared = dialog.ready;
    let (over, done) = (dialog.over, prepared.clone());
    let over = move || over && done.get();
    let ready =
        move || prepared.get() && counted().is_some() && (wanted.is_empty() || *typed.read() == wanted);
    let act = dialog.act.clone();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Some(number) = untrack(counted) else { return };
        close();
        act(number);
    };
    let asks_name = !dialog.type_name.is_empty();
    view! {
        <dialog node_ref=node on:close=move |event| if closed(&event) { app().dialog.set(None) } aria-labelledby="question">
            <form method="dialog" on:submit=submit>
                <h2 id="question">{dialog.title}</h2>
                {dialog.text.into_iter().map(|text| view! { <p>{text}</p> }).collect_view()}
                {dialog.more.as_ref().map(|more| more())}
                {dialog.number.map(|_| view! {
                    <label class="field">
                        {tr!(action.replicas)}
                        // what is typed replaces the number that is there
                        <input type="number" min="0" max=MOST value=number.get_untracked()
                            on:focus={|event| event_target::<web_sys::HtmlInputElement>(&event).select()}
                            on:input=move |event| number.set(event_target_value(&event)) />
                    </label>
                })}
                {asks_name.then(|| view! {
                    <label class="field">
                        {tr!(action.type_name, name = dialog.type_name.clone())}
                        <input type="text" autocomplete="off" on:input=move |event| typed.set(event_target_value(&event)) />
                    </label>
                })}
                <div class="buttons">
                    <button type="button" hidden=over on:click=move |_| close()>{tr!(action.cancel)}</button>
                    <button class=if dialog.danger { "danger" } else { "primary" } disabled=move || !ready()>{dialog.verb}</button>
                </div>
            </form>
        </dialog>
    }
}
