//! Creating by YAML: several documents at once, each applied on the server as the dashboard's own, checked first by a dry
//! run. What the server says of each is said of each.

use leptos::{prelude::*, task::spawn_local};

use crate::{
    app::app,
    kinds::word,
    net::api::{Call, Failure},
    ui::{
        editor::{Editor, Pen},
        go, toast,
    },
};

const YAML: &str = "application/yaml";

/// What came of a document.
#[derive(Clone, PartialEq)]
struct Told {
    name: String,
    error: Option<String>,
}

#[component]
pub fn Create() -> impl IntoView {
    let by = go::word("by");
    let set = go::setter();
    view! {
        <div class="page">
            <h1>{tr!(action.create)}</h1>
            <nav class="tabs" aria-label=tr!(action.create)>
                {[("", tr!(by_form.yaml)), ("form", tr!(by_form.form))].into_iter().map(|(key, title)| {
                    let set = set.clone();
                    let current = move || (*by.read() == key).then_some("page");
                    view! { <button aria-current=current on:click=move |_| set(&[("by", key)], false)>{title}</button> }
                }).collect_view()}
            </nav>
            {move || match by.read().as_str() {
                "form" => view! { <super::form::ByForm /> }.into_any(),
                _ => view! { <ByYaml /> }.into_any(),
            }}
        </div>
    }
}

#[component]
fn ByYaml() -> impl IntoView {
    let pen = Pen::new();
    let told = RwSignal::new(Vec::<Told>::new());
    let namespaces = go::namespaces();
    let changed = Callback::new(|()| app().unsaved.set(true));
    on_cleanup(|| app().unsaved.set(false));
    let send = move |dry: bool| {
        let namespace = namespaces.get_untracked().first().cloned().unwrap_or_else(|| "default".to_owned());
        let Some(text) = pen.text() else { return };
        spawn_local(async move {
            let mut refused = false;
            told.set(Vec::new());
            for document in documents(&text) {
                let one = match apply(&document, &namespace, dry).await {
                    Ok(name) => Told { name, error: None },
                    Err(failure) => {
                        Told { name: field(&document, "kind"), error: Some(toast::explain(&failure)) }
                    }
                };
                refused |= one.error.is_some();
                // the page may have gone meanwhile
                if told.try_update(|all| all.push(one)).is_none() {
                    return;
                }
            }
            if !dry && !refused && pen.text().is_some_and(|now| now == text) {
                app().unsaved.set(false);
            }
        });
    };
    view! {
            <p class="soft">{tr!(create.how)}</p>
            <Editor pen text=String::new() changed />
            <div class="line">
                <button on:click=move |_| send(true)>{tr!(edit.check)}</button>
                <button class="primary" on:click=move |_| send(false)>{tr!(create.apply)}</button>
            </div>
            <ul class="told-list" aria-live="polite">
                {move || told.get().into_iter().map(|one| match one.error {
                    None => view! { <li class="healthy">{one.name}</li> }.into_any(),
                    Some(error) => view! { <li class="error"><b>{one.name}</b>" "{error}</li> }.into_any(),
                }).collect_view()}
            </ul>
    }
}

fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    all.retain(|one| one.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    all
}

/// A field at the start of a line; the server reads the rest.
fn field(document: &str, name: &str) -> String {
    let value = document.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
}

/// A field of the metadata.
fn metadata(document: &str, name: &str) -> String {
    let lines = document.lines().skip_while(|line| line.trim_end() != "metadata:").skip(1);
    let value = lines.take_while(|line| line.starts_with(' ')).find_map(|line| {
        let deep = line.len() - line.trim_start().len();
        if deep > 4 { None } else { line.trim_start().strip_prefix(name)?.strip_prefix(':') }
    });
    value.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
}

/// Server-side apply; another manager's field is a conflict, and is told.
async fn apply(document: &str, namespace: &str, dry: bool) -> Result<String, Failure> {
    let (version, kind, name) =
        (field(document, "apiVersion"), field(document, "kind"), metadata(document, "name"));
    let resource = app().kinds.read_untracked().of_kind(&version, &kind).cloned();
    let Some(resource) = resource else {
        return Err(Failure {
            code: 404,
            reason: "NotFound".to_owned(),
            message: tr!(create.no_kind, kind = kind, version = version),
        });
    };
    let own = metadata(document, "namespace");
    let namespace = if own.is_empty() { namespace } else { &own };
    let dry = if dry { "&dryRun=All" } else { "" };
    let query = format!("fieldManager=sampan-dashboard&fieldValidation=Strict{dry}");
    let collection =
        format!("{}?{query}", resource.collection(if resource.namespaced { namespace } else { "" }));
    let object = format!("{}?{query}", resource.object(namespace, &name));
    if name.is_empty() {
        return send("POST", &collection, YAML, document).await.map(|answer| named(&kind, &answer));
    }
    let answer = match send("PATCH", &object, "application/apply-patch+yaml", document).await {
        // a server that cannot apply yet: it is made, or else put in the place of what is there
        Err(failure) if failure.code == 415 => match send("POST", &collection, YAML, document).await {
            Err(failure) if failure.reason == "AlreadyExists" => send("PUT", &object, YAML, document).await?,
            answer => answer?,
        },
        answer => answer?,
    };
    Ok(named(&kind, &answer))
}

async fn send(method: &str, path: &str, kind: &str, document: &str) -> Result<serde_json::Value, Failure> {
    Call::new(method, path).body(kind, document.to_owned()).value().await
}

fn named(kind: &str, answer: &serde_json::Value) -> String {
    format!("{kind}/{}", word(&answer["metadata"]["name"]))
}
