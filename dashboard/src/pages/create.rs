//! Creating by YAML: several documents at once, each applied on the server as the dashboard's own, checked first by a dry
//! run. What the server says of each is said of each.

use leptos::{prelude::*, task::spawn_local};
use serde_json::json;

use crate::{
    app::app,
    kinds::word,
    net::api::{self, Call, Failure},
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
    /// Its page, if it is there now.
    href: Option<String>,
    /// What was done, or what was refused.
    words: String,
    good: bool,
}

#[component]
pub fn Create() -> impl IntoView {
    let by = go::word("by");
    view! {
        <div class="page">
            <h1>{tr!(action.create)}</h1>
            <nav class="tabs" aria-label=tr!(action.create)>
                {[("", tr!(by_form.yaml)), ("form", tr!(by_form.form))].into_iter().map(|(key, title)| {
                    let current = move || (*by.read() == key).then_some("page");
                    view! { <button aria-current=current on:click=move |_| go::set(&[("by", key)], false)>{title}</button> }
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
    let kind = go::word("kind");
    let changed = Callback::new(|()| app().unsaved.set(true));
    on_cleanup(|| app().unsaved.set(false));
    let send = move |dry: bool| {
        let namespace = namespaces.get_untracked().first().cloned().unwrap_or_else(|| "default".to_owned());
        let Some(text) = pen.text() else { return };
        spawn_local(async move {
            let mut refused = false;
            told.set(Vec::new());
            for document in documents(&text) {
                let one = apply(&document, &namespace, dry).await.unwrap_or_else(|failure| Told {
                    name: field(&document, "kind"),
                    href: None,
                    words: toast::explain(&failure),
                    good: false,
                });
                refused |= !one.good;
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
    // begins with what the list is of from which somebody came
    let template = Memo::new(move |_| {
        let (kinds, kind) = (app().kinds.read(), kind.read());
        let known = kind.is_empty() || kinds.known;
        let of = kinds.of_path(&kind).map(|kind| json!([kind.api_version(), kind.kind, kind.namespaced]));
        known.then(|| of.unwrap_or_default())
    });
    let editor =
        move || template.get().map(|template| view! { <Editor pen text=String::new() template changed /> });
    view! {
            <p class="soft">{tr!(create.how)}</p>
            {editor}
            <div class="line">
                <button on:click=move |_| send(true)>{tr!(edit.check)}</button>
                <button class="primary" on:click=move |_| send(false)>{tr!(create.apply)}</button>
            </div>
            <ul class="told-list" aria-live="polite">
                {move || told.get().into_iter().map(|one| {
                    let name = match one.href {
                        Some(href) => view! { <a href=href>{one.name}</a> }.into_any(),
                        None => view! { <b>{one.name}</b> }.into_any(),
                    };
                    view! { <li class=if one.good { "healthy" } else { "error" }>{name}" "{one.words}</li> }
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
async fn apply(document: &str, namespace: &str, dry: bool) -> Result<Told, Failure> {
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
    let tried = dry;
    let dry = if dry { "&dryRun=All" } else { "" };
    let query = format!("fieldManager=sampan-dashboard&fieldValidation=Strict{dry}");
    let collection =
        format!("{}?{query}", resource.collection(if resource.namespaced { namespace } else { "" }));
    let object = format!("{}?{query}", resource.object(namespace, &name));
    let told = |(created, answer): (bool, serde_json::Value)| {
        let own = &answer["metadata"];
        let words = if created { tr!(create.created) } else { tr!(create.configured) };
        let name = word(&own["name"]);
        let words = if tried { format!("{words} ({})", tr!(edit.check)) } else { words.to_owned() };
        let href = (!tried || !created).then(|| resource.page(&word(&own["namespace"]), &name));
        Told { name: format!("{kind}/{name}"), href, words, good: true }
    };
    if name.is_empty() {
        return send("POST", &collection, YAML, document).await.map(told);
    }
    let answer = match send("PATCH", &object, "application/apply-patch+yaml", document).await {
        // a server that cannot apply yet: it is made, or else put in the place of what is there
        Err(failure) if failure.code == 415 => match send("POST", &collection, YAML, document).await {
            Err(failure) if failure.reason == "AlreadyExists" => send("PUT", &object, YAML, document).await?,
            answer => answer?,
        },
        answer => answer?,
    };
    Ok(told(answer))
}

/// Whether it was made by this, and what it is now.
async fn send(
    method: &str,
    path: &str,
    kind: &str,
    document: &str,
) -> Result<(bool, serde_json::Value), Failure> {
    let response = Call::new(method, path).body(kind, document.to_owned()).send().await?;
    Ok((response.status() == 201, api::value(&response).await?))
}
