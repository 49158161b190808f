//! An object's YAML, read and edited. Before anything is saved the API server is asked what would come of it (dry run), and
//! the difference is shown; the object's `resourceVersion` goes along, so nobody's change is overwritten unseen.

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    difference::{self, Line},
    yaml,
};

use super::Object;
use crate::{
    kinds::Resource,
    net::api::{self, Call, Failure, May, Wish},
    ui::{
        icon::{Icon, Shape},
        toast,
    },
};

const YAML: &str = "application/yaml";

#[component]
pub fn Edit(resource: Resource, namespace: String, name: String, object: Object) -> impl IntoView {
    let draft = RwSignal::new(None::<String>);
    let difference = RwSignal::new(None::<Vec<Line>>);
    let error = RwSignal::new(String::new());
    let now =
        Memo::new(move |_| object.get().map(|object| yaml::print(&yaml::clean(&object))).unwrap_or_default());
    let path = StoredValue::new(resource.object(&namespace, &name));
    let secret = resource.plural == "secrets" && resource.group.is_empty();
    let send = move |dry: bool| {
        let text = draft.get_untracked().unwrap_or_default();
        spawn_local(async move {
            error.set(String::new());
            let answer = put(&path.read_value(), text, dry).await;
            match answer {
                Ok(answer) if dry => difference
                    .set(Some(difference::lines(&now.get_untracked(), &yaml::print(&yaml::clean(&answer))))),
                Ok(_) => {
                    toast::good(tr!(edit.saved));
                    draft.set(None);
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
    let start = move |_| draft.set(Some(now.get_untracked()));
    let stop = move |_| {
        draft.set(None);
        difference.set(None);
        error.set(String::new());
    };
    // a Secret's values are not shown by accident; editing shows them
    let shown = move || match object.get() {
        Some(object) if secret => yaml::print(&yaml::covered(&yaml::clean(&object))),
        _ => now.get(),
    };
    let editing = move || draft.with(Option::is_some);
    view! {
        <section class="yaml">
            <div class="line">
                {move || match editing() {
                    false => view! { <button disabled=move || *may.read() != May::Yes title=move || may.read().why_not() on:click=start><Icon shape=Shape::Edit />{tr!(edit.edit)}</button> }.into_any(),
                    true => view! {
                        <button on:click=move |_| send(true)>{tr!(edit.check)}</button>
                        <button class="primary" disabled=move || difference.with(Option::is_none) on:click=move |_| send(false)>{tr!(edit.save)}</button>
                        <button on:click=stop>{tr!(action.cancel)}</button>
                        <span class="soft">{tr!(edit.help)}</span>
                    }.into_any(),
                }}
            </div>
            <p class="error" role="alert">{error}</p>
            {move || difference.get().map(|lines| view! { <Difference lines /> })}
            {move || match editing() {
                false => view! { <pre class="code" tabindex="0">{shown}</pre> }.into_any(),
                true => view! {
                    <textarea class="code" spellcheck="false" aria-label="YAML" prop:value=draft.get_untracked().unwrap_or_default()
                        on:input=move |event| { draft.set(Some(event_target_value(&event))); difference.set(None); }></textarea>
                }.into_any(),
            }}
        </section>
    }
}

async fn put(path: &str, text: String, dry: bool) -> Result<serde_json::Value, Failure> {
    let dry = if dry { "&dryRun=All" } else { "" };
    let path = format!("{path}?fieldManager=sampan-dashboard&fieldValidation=Strict{dry}");
    Call::new("PUT", &path).body(YAML, text).value().await
}

/// What would change, with a few lines around.
#[component]
pub fn Difference(lines: Vec<Line>) -> impl IntoView {
    const AROUND: usize = 3;
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
            Line::Same(text) => view! { <div>{format!("  {text}")}</div> }.into_any(),
            Line::Gone(text) => view! { <div class="gone">{format!("- {text}")}</div> }.into_any(),
            Line::New(text) => view! { <div class="new">{format!("+ {text}")}</div> }.into_any(),
        })
        .collect();
    view! { <pre class="difference" role="status" aria-label=tr!(edit.difference)>{views}</pre> }.into_any()
}
