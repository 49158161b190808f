//! An object's YAML, read and edited. Before anything is saved the API server is asked what would come of it (dry run), and
//! the difference is shown; the object's `resourceVersion` goes along, so nobody's change is overwritten unseen.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    cover,
    difference::{self, Line},
    yaml,
};
use serde_json::Value;

use super::Object;
use crate::{
    kinds::Resource,
    net::api::{self, Call, Failure, May, Wish},
    ui::{
        editor::{Editor, Pen},
        focus,
        icon::{Icon, Shape},
        toast,
    },
};

const YAML: &str = "application/yaml";

/// A longer text is read in the editor, which draws what is seen of it.
const LONG: usize = 100_000;

#[component]
pub fn Edit(resource: Resource, namespace: String, name: String, object: Object) -> impl IntoView {
    // the object as it was when editing began
    let began = RwSignal::new(None::<Arc<Value>>);
    let pen = Pen::new();
    let difference = RwSignal::new(None::<Vec<Line>>);
    let error = RwSignal::new(String::new());
    let path = StoredValue::new(resource.object(&namespace, &name));
    // a Secret's values are shown when asked for
    let secret = resource.plural == "secrets" && resource.group.is_empty();
    let cover = RwSignal::new(secret);
    let send = move |dry: bool| {
        let (Some(text), Some(before)) = (pen.text(), began.get_untracked()) else { return };
        let cover = cover.get_untracked();
        let text = if cover { cover::uncovered(&text, &before) } else { Ok(text) };
        let text = match text {
            Ok(text) => text,
            Err(line) => return error.set(tr!(editor.still_covered, line = line)),
        };
        spawn_local(async move {
            error.set(String::new());
            match put(&path.read_value(), text, dry).await {
                Ok(answer) if dry => difference.set(Some(would(&before, &answer, cover))),
                Ok(_) => {
                    toast::good(tr!(edit.saved));
                    began.set(None);
                    difference.set(None);
                }
                Err(failure) => error.set(toast::explain(&failure)),
            }
        });
    };
    let may = api::allowed(Wish {
        verb: "update",
        group: resource.group.clone(),
        resource: resource.plural.clone(),
        subresource: "",
        namespace: namespace.clone(),
        name: name.clone(),
    });
    let stop = move |_| {
        began.set(None);
        difference.set(None);
        error.set(String::new());
        focus::rest(".yaml button");
    };
    let toggle = move |_| {
        if let Some(before) = began.get_untracked() {
            let Some(text) = pen.text() else { return };
            match cover::uncovered(&text, &before) {
                Ok(text) => pen.replace(&text),
                Err(line) => return error.set(tr!(editor.still_covered, line = line)),
            }
        }
        cover.update(|on| *on = !*on);
    };
    let editing = Memo::new(move |_| began.with(Option::is_some));
    // what was shown cannot be told from what was typed: it is not covered again
    let may_toggle = move || secret && (cover.get() || !editing.get());
    let changed = Callback::new(move |()| difference.set(None));
    view! {
        <section class="yaml">
            <div class="line">
                {move || match editing.get() {
                    false => view! { <button disabled=move || *may.read() != May::Yes title=move || may.read().why_not() on:click=move |_| began.set(object.get_untracked())><Icon shape=Shape::Edit />{tr!(edit.edit)}</button> }.into_any(),
                    true => view! {
                        <button on:click=move |_| send(true)>{tr!(edit.check)}</button>
                        <button class="primary" disabled=move || difference.with(Option::is_none) on:click=move |_| send(false)>{tr!(edit.save)}</button>
                        <button on:click=stop>{tr!(action.cancel)}</button>
                        <span class="soft">{tr!(edit.help)}</span>
                    }.into_any(),
                }}
                {move || may_toggle().then(|| view! {
                    <button on:click=toggle><Icon shape=Shape::Eye />{move || if cover.get() { tr!(editor.show_values) } else { tr!(editor.hide_values) }}</button>
                })}
            </div>
            {move || (editing.get() && cover.get()).then(|| view! { <p class="soft">{tr!(editor.covered)}</p> })}
            <p class="error" role="alert">{error}</p>
            {move || difference.get().map(|lines| view! { <Difference lines /> })}
            {move || match began.get() {
                Some(before) => {
                    let text = cover::shown(&before, cover.get_untracked());
                    view! { <Editor pen text changed /> }.into_any()
                }
                None => view! { <Reading object cover /> }.into_any(),
            }}
        </section>
    }
}

#[component]
fn Reading(object: Object, cover: RwSignal<bool>) -> impl IntoView {
    move || {
        object.get().map(|object| {
            let text = cover::shown(&object, cover.get());
            match text.len() > LONG {
                true => view! { <Editor pen=Pen::new() text read_only=true /> }.into_any(),
                false => view! { <pre class="code" tabindex="0">{text}</pre> }.into_any(),
            }
        })
    }
}

/// What the server would make of it.
fn would(before: &Value, answer: &Value, cover: bool) -> Vec<Line> {
    let (old, new) = (yaml::clean(before), yaml::clean(answer));
    let new = yaml::print(&if cover { cover::covered_beside(&new, &old) } else { new });
    difference::lines(&cover::shown(before, cover), &new)
}

async fn put(path: &str, text: String, dry: bool) -> Result<Value, Failure> {
    let dry = if dry { "&dryRun=All" } else { "" };
    let path = format!("{path}?fieldManager=sampan-dashboard&fieldValidation=Strict{dry}");
    Call::new("PUT", &path).body(YAML, text).value().await
}

/// What would change, with a few lines around.
#[component]
pub fn Difference(lines: Vec<Line>) -> impl IntoView {
    const AROUND: usize = 3;
    // a line may be a whole file
    const LETTERS: usize = 2_000;
    let changed: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(at, _)| at)
        .collect();
    if changed.is_empty() {
        return view! { <p class="soft" role="status">{tr!(edit.same)}</p> }.into_any();
    }
    let near = |at: usize| {
        let after = changed.partition_point(|own| *own + AROUND < at);
        changed.get(after).is_some_and(|own| own.abs_diff(at) <= AROUND)
    };
    let views: Vec<_> = lines
        .iter()
        .enumerate()
        .filter(|(at, _)| near(*at))
        .map(|(_, line)| match line {
            Line::Same(text) => view! { <div>{format!("  {}", cut(text.clone(), LETTERS))}</div> }.into_any(),
            Line::Gone(text) => {
                view! { <div class="gone">{format!("- {}", cut(text.clone(), LETTERS))}</div> }.into_any()
            }
            Line::New(text) => {
                view! { <div class="new">{format!("+ {}", cut(text.clone(), LETTERS))}</div> }.into_any()
            }
        })
        .collect();
    view! { <pre class="difference" role="status" aria-label=tr!(edit.difference)>{views}</pre> }.into_any()
}

/// At most so many letters, and how many more there are.
pub fn cut(text: String, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        None => text,
        Some((at, _)) => {
            format!("{}{}", &text[..at], tr!(editor.cut, count = text[at..].chars().count()))
        }
    }
}
