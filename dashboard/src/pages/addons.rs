//! The addons: how they are, why and what to do, on and off with progress, configured by their schema.

use std::{rc::Rc, time::Duration};

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::lines;
use sampan_view::{Health, feed::Kind};
use serde_json::{Map, Value, json};
use web_sys::Response;

use crate::{
    kinds::{list, word},
    net::{
        api::{self, Call, Failure, May},
        feed,
        stream::{Bytes, Readings},
    },
    text::{self, Locale},
    ui::{
        dialog::{self, Dialog},
        status::Status,
        toast,
    },
};

/// Where the daemon serves them.
const ADDONS: &str = "sampan/v1/addons";
/// A JSON value in each line.
const LINES: &str = "application/x-ndjson";
/// What comes in so many milliseconds has the list read once.
const SOON: Duration = Duration::from_millis(200);
/// Nothing tells when a native addon finds that it serves only in part: what it depends on is outside of the cluster.
const EVERY: Duration = Duration::from_secs(15);
/// How long after a connection broke it is tried again, in milliseconds.
const AGAIN: i32 = 1_000;

#[component]
pub fn Addons() -> impl IntoView {
    let all = RwSignal::new(Vec::<Value>::new());
    let error = RwSignal::new(String::new());
    let read = Callback::new(move |()| {
        spawn_local(async move {
            match api::get(ADDONS).await {
                Ok(found) => {
                    error.try_set(String::new());
                    all.try_set(list(&found["items"]).to_vec());
                }
                Err(failure) => drop(error.try_set(toast::explain(&failure))),
            }
        });
    });
    read.run(());
    keep_fresh(read);
    // what is open and half written stays while others change
    let names = Memo::new(move |_| all.read().iter().map(|addon| word(&addon["name"])).collect::<Vec<_>>());
    view! {
        <div class="page">
            <h1>{tr!(nav.addons)}</h1>
            <p class="error" role="alert">{error}</p>
            <div class="grid">
                {move || names.get().into_iter().map(|name| view! { <Addon all name read /> }).collect_view()}
            </div>
        </div>
    }
}

/// Has the list read anew when workloads of addons change, when the daemon tells of a component or an operation, and now
/// and then.
fn keep_fresh(read: Callback<()>) {
    let due = StoredValue::new(false);
    let soon = move || {
        if due.try_update_value(|due| std::mem::replace(due, true)) == Some(false) {
            set_timeout(
                move || {
                    if due.try_set_value(false).is_none() {
                        read.run(());
                    }
                },
                SOON,
            );
        }
    };
    for plural in ["deployments", "daemonsets", "statefulsets"] {
        let kind = Kind { group: "apps".to_owned(), version: "v1".to_owned(), resource: plural.to_owned() };
        let view =
            feed::list(feed::List { kind, labels: "sampan.dev/addon".to_owned(), ..Default::default() });
        Effect::new(move |_| {
            view.live().track();
            soon();
        });
    }
    let readings = Readings::new();
    spawn_local(async move {
        while let Ok(response) = Call::new("GET", "sampan/v1/events").accept(LINES).send().await {
            let Some(bytes) = Bytes::of(&response).map(Rc::new) else { return };
            if !readings.add(bytes.clone()) {
                return;
            }
            while let Ok(Some(_)) = bytes.next().await {
                soon();
            }
            api::sleep(AGAIN).await;
            if !readings.go_on() {
                return;
            }
        }
    });
    let timer = set_interval_with_handle(
        move || {
            if !document().hidden() {
                soon();
            }
        },
        EVERY,
    );
    on_cleanup(move || {
        if let Ok(timer) = timer {
            timer.clear();
        }
    });
}

/// How an addon is: its state as the daemon has it, in our words.
fn state(addon: &Value) -> (Health, &'static str) {
    match addon["health"]["state"].as_str() {
        _ if addon["enabled"] != true => (Health::Done, tr!(addons.off)),
        Some("healthy") => (Health::Healthy, tr!(addons.healthy)),
        Some("degraded") => (Health::Warning, tr!(addons.degraded)),
        Some("failed") => (Health::Failed, tr!(addons.failed)),
        _ => (Health::Progressing, tr!(addons.starting)),
    }
}

/// A step of a verb in words; the daemon's reasons are in English.
fn step(told: &Value) -> String {
    if let Some(name) = told.as_str() {
        return match name {
            "applying" => tr!(addons.applying).to_owned(),
            "pruning" => tr!(addons.pruning).to_owned(),
            other => other.to_owned(),
        };
    }
    let of = |name: &str, field: &str| told[name].is_object().then(|| word(&told[name][field]));
    if let Some(reason) = of("waiting", "reason") {
        return tr!(addons.waiting, reason = reason);
    }
    if let Some(check) = of("checking", "check") {
        return tr!(addons.checking, check = check);
    }
    of("rolling-back", "reason").map(|reason| tr!(addons.rolling_back, reason = reason)).unwrap_or_default()
}

#[component]
fn Addon(all: RwSignal<Vec<Value>>, name: String, read: Callback<()>) -> impl IntoView {
    let own = name.clone();
    let addon = Memo::new(move |last: Option<&Value>| {
        let found = all.read().iter().find(|addon| addon["name"] == own).cloned();
        found.or_else(|| last.cloned()).unwrap_or_default()
    });
    let enabled = Memo::new(move |_| addon.read()["enabled"] == true);
    let summary = move || {
        let addon = addon.read();
        let own = match text::language() {
            Locale::Chinese => word(&addon["summary"]["zh"]),
            Locale::English => String::new(),
        };
        if own.is_empty() { word(&addon["summary"]["en"]) } else { own }
    };
    let asked = |what: &str| api::path_allowed("post", format!("/{ADDONS}/{name}/{what}"));
    let (may_enable, may_disable, may_configure) = (asked("enable"), asked("disable"), asked("configure"));
    let progress = RwSignal::new(None::<String>);
    let open = RwSignal::new(false);
    let wrong = RwSignal::new(String::new());
    let verb = name.clone();
    let act = Callback::new(move |(what, body): (&'static str, Value)| {
        let path = format!("{ADDONS}/{verb}/{what}");
        progress.set(Some("…".to_owned()));
        wrong.set(String::new());
        let verb = verb.clone();
        spawn_local(async move {
            match follow(&path, &body, progress).await {
                Ok(()) if what == "configure" => {
                    toast::good(format!("{verb}: {}", tr!(edit.saved)));
                    open.try_set(false);
                }
                Ok(()) => {}
                Err(failure) if what == "configure" => drop(wrong.try_set(failure.message)),
                Err(failure) => toast::bad(&failure),
            }
            progress.try_set(None);
            read.run(());
        });
    });
    // one button, so that it keeps the focus
    let may = move || if enabled.get() { may_disable } else { may_enable };
    let title = move || if enabled.get() { tr!(addons.disable) } else { tr!(addons.enable) };
    let asking = name.clone();
    let turn = move |_| {
        if !enabled.get_untracked() {
            return act.run(("enable", json!({})));
        }
        let title = format!("{} {asking}", tr!(addons.disable));
        let text = vec![tr!(addons.disable_then).to_owned()];
        let run = move |_| act.run(("disable", json!({})));
        dialog::ask(Dialog { text, danger: true, ..Dialog::new(title, tr!(addons.disable), run) });
    };
    let said = move |what: &'static str| Signal::derive(move || word(&addon.read()["health"][what]));
    let own = name.clone();
    view! {
        <section class="card addon" aria-label=name.clone()>
            <div class="line"><h2>{name.clone()}</h2><span class="soft">{move || word(&addon.read()["version"])}</span><span class="grow"></span>
                {move || { let (health, reason) = state(&addon.read()); view! { <Status health reason /> } }}</div>
            <p>{summary}</p>
            {line(tr!(addons.reason), said("reason"))}
            {line(tr!(addons.next), said("next"))}
            <p class="progressing" role="status">{progress}</p>
            <div class="line">
                <button class:primary=move || !enabled.get() disabled=move || progress.read().is_some() || *may().read() != May::Yes
                    title=move || may().read().why_not() on:click=turn>{title}</button>
                <button aria-expanded=move || open.get().to_string() on:click=move |_| open.update(|open| *open = !*open)>{tr!(addons.configure)}</button>
            </div>
            {move || open.get().then(|| view! { <Settings name=own.clone() act may=may_configure progress wrong /> })}
        </section>
    }
}

/// A sentence of the daemon's, if it has one to say.
fn line(title: &'static str, text: Signal<String>) -> AnyView {
    view! { <p hidden=move || text.read().is_empty()><b class="soft">{title}</b>" "<span lang="en">{text}</span></p> }.into_any()
}

/// Follows a verb to its end, also when the connection breaks on the way: the daemon goes on, and tells its steps again.
async fn follow(path: &str, body: &Value, progress: RwSignal<Option<String>>) -> Result<(), Failure> {
    let mut response = Call::new("POST", path).accept(LINES).json(body).send().await?;
    let operation = response.headers().get("sampan-operation").ok().flatten();
    loop {
        if let Some(result) = told(&response, progress).await {
            return result;
        }
        let Some(id) = &operation else { return Ok(()) };
        api::sleep(AGAIN).await;
        response = Call::new("GET", &format!("sampan/v1/operations/{id}")).accept(LINES).send().await?;
    }
}

/// Reads the steps of a verb; none if they end before it does.
async fn told(response: &Response, progress: RwSignal<Option<String>>) -> Option<Result<(), Failure>> {
    let bytes = Bytes::of(response)?;
    let (mut lines, mut end) = (lines::Lines::whole(), None);
    while let Ok(Some(piece)) = bytes.next().await {
        lines.push(&piece, |line| {
            let told: Value = serde_json::from_str(line).unwrap_or_default();
            if !told["done"].is_null() {
                end = Some(Ok(()));
            } else if told["failed"].is_object() {
                let status = &told["failed"];
                let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
                let failure =
                    Failure { code, reason: word(&status["reason"]), message: word(&status["message"]) };
                end = Some(Err(failure));
            } else if !told["progress"].is_null() {
                progress.try_set(Some(step(&told["progress"])));
            }
        });
    }
    end
}

/// The configuration, field by field as the daemon lists it.
#[component]
fn Settings(
    name: String,
    act: Callback<(&'static str, Value)>,
    may: RwSignal<May>,
    progress: RwSignal<Option<String>>,
    wrong: RwSignal<String>,
) -> impl IntoView {
    let all = RwSignal::new(Vec::<Value>::new());
    let changed = RwSignal::new(Map::new());
    wrong.set(String::new());
    let path = format!("{ADDONS}/{name}");
    spawn_local(async move {
        match api::get(&path).await {
            Ok(found) => drop(all.try_set(list(&found["fields"]).to_vec())),
            Err(failure) => toast::bad(&failure),
        }
    });
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        act.run(("configure", json!({"set": changed.get_untracked(), "unset": []})));
    };
    // what the daemon refuses stands at the field that it names
    let about = move |path: &str| {
        wrong.read().contains(&format!("{path}: ")) || wrong.read().contains(&format!("{path}["))
    };
    let elsewhere = move || {
        let named = all.read().iter().any(|field| about(&word(&field["path"])));
        if named { String::new() } else { wrong.get() }
    };
    view! {
        <form class="settings" on:submit=save>
            {move || all.get().iter().map(|field| one_field(&name, field, changed, wrong, about)).collect_view()}
            <p class="error" role="alert">{elsewhere}</p>
            <div class="buttons"><button class="primary" title=move || may.read().why_not()
                disabled=move || changed.read().is_empty() || progress.read().is_some() || *may.read() != May::Yes>{tr!(edit.save)}</button></div>
        </form>
    }
}

/// A field as its kind has it: a box, a number, one of some words, a text, texts one a line, else JSON.
fn one_field(
    name: &str,
    field: &Value,
    changed: RwSignal<Map<String, Value>>,
    wrong: RwSignal<String>,
    about: impl Fn(&str) -> bool + Copy + Send + Sync + 'static,
) -> AnyView {
    let (path, kind, now) = (word(&field["path"]), word(&field["kind"]), &field["value"]);
    let key = path.clone();
    let set = move |value: Value| changed.update(|all| drop(all.insert(key.clone(), value)));
    // the daemon's descriptions are English; those of sampan's own addons have words in other languages
    let own = format!("{name}.{path}=");
    let said = tr!(addons.fields).lines().find_map(|line| line.strip_prefix(&own)).map(str::to_owned);
    let language = if said.is_some() { text::language().tag() } else { "en" };
    let said = said.unwrap_or_else(|| word(&field["description"]));
    let title = view! { <span><b>{path.clone()}</b>" "<span class="soft" lang=language>{said}</span></span> };
    if kind == "boolean" {
        let on = now == true;
        return view! { <label class="check"><input type="checkbox" prop:checked=on on:change=move |event| set(json!(event_target_checked(&event))) />{title}</label> }.into_any();
    }
    let words = kind == "words";
    let text = match now {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) if words => all.iter().map(word).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    };
    let choices: Vec<String> =
        if kind.contains('|') { kind.split('|').map(str::to_owned).collect() } else { Vec::new() };
    let plain = kind == "string" || !choices.is_empty();
    let nothing = now.is_null();
    let change = move |event| {
        let text: String = event_target_value(&event);
        set(match () {
            () if words => text.lines().map(str::trim).filter(|line| !line.is_empty()).collect(),
            () if text.is_empty() && nothing => Value::Null,
            () if plain => json!(text),
            // what is none is told by the daemon
            () => serde_json::from_str(&text).unwrap_or(json!(text)),
        });
    };
    let input = match kind.as_str() {
        "words" => view! { <textarea rows="2" spellcheck="false" prop:value=text on:change=change></textarea> }.into_any(),
        "integer" | "number" => view! { <input type="number" step="any" prop:value=text on:change=change /> }.into_any(),
        _ if !choices.is_empty() => view! {
            <select on:change=change>
                {choices.into_iter().map(|choice| { let own = choice == text; view! { <option selected=own>{choice}</option> } }).collect_view()}
            </select>
        }
        .into_any(),
        _ => view! { <input type="text" spellcheck="false" prop:value=text on:change=change /> }.into_any(),
    };
    let told = path.clone();
    let error = move || if about(&told) { wrong.get() } else { String::new() };
    view! { <label class="field">{title}{input}<span class="error">{error}</span></label> }.into_any()
}
