//! The addons: how they are and why, on and off with progress, configured by their schema.

use leptos::{prelude::*, task::spawn_local};
use sampan_view::Health;
use serde_json::{Map, Value, json};

use crate::{
    kinds::{list, word},
    net::{
        api::{self, Call, Failure},
        stream::Bytes,
    },
    text,
    ui::{status::Status, toast},
};

#[component]
pub fn Addons() -> impl IntoView {
    let all = RwSignal::new(Vec::<Value>::new());
    let error = RwSignal::new(String::new());
    let read = Callback::new(move |()| {
        spawn_local(async move {
            match api::get("sampan/v1/addons").await {
                Ok(found) => drop(all.try_set(list(&found["items"]).to_vec())),
                Err(failure) => drop(error.try_set(toast::explain(&failure))),
            }
        });
    });
    read.run(());
    view! {
        <div class="page">
            <h1>{tr!(nav.addons)}</h1>
            <p class="error" role="alert">{error}</p>
            <div class="grid">{move || all.get().into_iter().map(|addon| view! { <Addon addon read /> }).collect_view()}</div>
        </div>
    }
}

/// A word, or an enum's only name.
fn state(health: &Value) -> (String, String) {
    match health {
        Value::String(word) => (word.clone(), String::new()),
        Value::Object(fields) if fields.contains_key("state") => {
            (word(&health["state"]), word(&health["reason"]))
        }
        Value::Object(fields) => {
            fields.iter().next().map(|(name, value)| (name.clone(), word(value))).unwrap_or_default()
        }
        _ => Default::default(),
    }
}

#[component]
fn Addon(addon: Value, read: Callback<()>) -> impl IntoView {
    let name = word(&addon["name"]);
    let enabled = addon["enabled"] == true;
    let (condition, reason) = state(&addon["health"]);
    let health = match condition.as_str() {
        "healthy" | "ready" => Health::Healthy,
        "failed" | "degraded" | "unhealthy" => Health::Failed,
        _ if enabled => Health::Progressing,
        _ => Health::Done,
    };
    let summary = match text::language().tag() {
        "zh-CN" => word(&addon["summary"]["zh"]),
        _ => String::new(),
    };
    let summary = if summary.is_empty() { word(&addon["summary"]["en"]) } else { summary };
    let progress = RwSignal::new(None::<String>);
    let open = RwSignal::new(false);
    let verb = name.clone();
    let act = Callback::new(move |(what, body): (&'static str, Value)| {
        let path = format!("sampan/v1/addons/{verb}/{what}");
        progress.set(Some("…".to_owned()));
        spawn_local(async move {
            if let Err(failure) = follow(&path, &body, progress).await {
                toast::bad(&failure);
            }
            progress.try_set(None);
            read.run(());
        });
    });
    let word_of_state = if enabled { condition } else { tr!(addons.off).to_owned() };
    let own = name.clone();
    view! {
        <section class="card addon">
            <div class="line"><h2>{name.clone()}</h2><span class="soft">{word(&addon["version"])}</span><span class="grow"></span><Status health reason=word_of_state /></div>
            <p>{summary}</p>
            <p class="soft">{reason}</p>
            <p class="progressing" role="status">{progress}</p>
            <div class="line">
                {if enabled {
                    view! { <button disabled=move || progress.read().is_some() on:click=move |_| act.run(("disable", json!({})))>{tr!(addons.disable)}</button> }.into_any()
                } else {
                    view! { <button class="primary" disabled=move || progress.read().is_some() on:click=move |_| act.run(("enable", json!({})))>{tr!(addons.enable)}</button> }.into_any()
                }}
                <button aria-expanded=move || open.get().to_string() on:click=move |_| open.update(|open| *open = !*open)>{tr!(addons.configure)}</button>
            </div>
            {move || open.get().then(|| view! { <Settings name=own.clone() act /> })}
        </section>
    }
}

/// A verb's progress, a JSON value in each line.
async fn follow(path: &str, body: &Value, progress: RwSignal<Option<String>>) -> Result<(), Failure> {
    let response = Call::new("POST", path).accept("application/x-ndjson").json(body).send().await?;
    let Some(bytes) = Bytes::of(&response) else { return Ok(()) };
    let mut rest = String::new();
    while let Ok(Some(piece)) = bytes.next().await {
        rest.push_str(&String::from_utf8_lossy(&piece));
        while let Some((line, after)) = rest.split_once('\n') {
            let told: Value = serde_json::from_str(line).unwrap_or_default();
            rest = after.to_owned();
            if told["failed"].is_object() {
                let status = &told["failed"];
                let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
                return Err(Failure {
                    code,
                    reason: word(&status["reason"]),
                    message: word(&status["message"]),
                });
            }
            if !told["progress"].is_null() {
                let (step, _) = state(&told["progress"]);
                let why = told["progress"].pointer(&format!("/{step}/reason")).map(word).unwrap_or_default();
                progress.try_set(Some(format!("{step} {why}")));
            }
        }
    }
    Ok(())
}

/// The configuration, a field for each of the schema's.
#[component]
fn Settings(name: String, act: Callback<(&'static str, Value)>) -> impl IntoView {
    let details = RwSignal::new(Value::Null);
    let changed = RwSignal::new(Map::new());
    spawn_local(async move {
        match api::get(&format!("sampan/v1/addons/{name}")).await {
            Ok(found) => drop(details.try_set(found)),
            Err(failure) => toast::bad(&failure),
        }
    });
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        act.run(("configure", json!({"set": changed.get_untracked(), "unset": []})));
    };
    let fields = move || {
        let details = details.read();
        let fields = details["schema"]["properties"].as_object().cloned().unwrap_or_default();
        fields
            .into_iter()
            .map(|(field, schema)| one_field(&field, &schema, &details["configuration"][&field], changed))
            .collect_view()
    };
    view! {
        <form class="settings" on:submit=save>
            {fields}
            <div class="buttons"><button class="primary" disabled=move || changed.read().is_empty()>{tr!(edit.save)}</button></div>
        </form>
    }
}

fn one_field(field: &str, schema: &Value, now: &Value, changed: RwSignal<Map<String, Value>>) -> AnyView {
    let key = field.to_owned();
    let set = move |value: Value| changed.update(|all| drop(all.insert(key.clone(), value)));
    let title = view! { <span><b>{field.to_owned()}</b>" "<span class="soft">{word(&schema["description"])}</span></span> };
    let text = if let Value::String(text) = now { text.clone() } else { now.to_string() };
    let kind = word(&schema["type"]);
    if kind == "boolean" {
        let on = now == true;
        return view! { <label class="check"><input type="checkbox" prop:checked=on on:change=move |event| set(json!(event_target_checked(&event))) />{title}</label> }.into_any();
    }
    let plain = kind == "string";
    let change = move |event| {
        let text = event_target_value(&event);
        set(if plain { json!(text) } else { serde_json::from_str(&text).unwrap_or(json!(text)) });
    };
    view! { <label class="field">{title}<input type="text" prop:value=text on:change=change /></label> }
        .into_any()
}
