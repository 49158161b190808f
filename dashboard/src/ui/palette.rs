//! The command palette: kinds, objects, pages and settings by a few letters.

use std::time::Duration;

use leptos::{html, prelude::*};
use sampan_view::{feed::Kind, lower_case};

use super::{dialog, go};
use crate::{
    app::app,
    kinds::Resource,
    net::feed::{self, View},
    settings::Theme,
    text::Locale,
};

/// Kinds whose objects are found by their names; of any other with the kind before: `lease kubelet`.
const SOUGHT: [&str; 13] = [
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "services",
    "ingresses.networking.k8s.io",
    "jobs.batch",
    "cronjobs.batch",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "namespaces",
    "nodes",
];
/// Entries shown, and how many of them are objects.
const SHOWN: usize = 14;
const OBJECTS: usize = 9;
/// Letters before objects are looked for, and the pause after the last of them.
const LETTERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(150);

#[derive(Clone)]
struct Entry {
    title: String,
    hint: String,
    command: Command,
}

#[derive(Clone)]
enum Command {
    Go(String),
    Paint(Theme),
    Speak(Locale),
    Help,
}

#[component]
pub fn Palette() -> impl IntoView {
    let open = app().palette;
    move || open.get().then(|| view! { <PaletteDialog /> })
}

fn entries() -> Vec<Entry> {
    let entry =
        |title: &str, hint: &str, command| Entry { title: title.to_owned(), hint: hint.to_owned(), command };
    let page = |title: &str, path: &str| entry(title, tr!(palette.page), Command::Go(path.to_owned()));
    let mut all = vec![
        page(tr!(nav.overview), ""),
        page(tr!(nav.addons), "addons"),
        page(tr!(nav.who), "access"),
        page(tr!(nav.topology), "topology"),
        page(tr!(action.create), "create"),
    ];
    all.extend(app().kinds.read_untracked().all.iter().map(|resource| Entry {
        title: format!("{} {}", resource.kind, resource.short.join(" ")),
        hint: resource.path(),
        command: Command::Go(resource.path()),
    }));
    all.extend(Theme::ALL.map(|theme| entry(theme.label(), tr!(theme.title), Command::Paint(theme))));
    let language = |locale: Locale| entry(locale.own_name(), tr!(palette.language), Command::Speak(locale));
    all.extend(Locale::ALL.map(language));
    all.push(entry(tr!(keys.title), "?", Command::Help));
    all
}

/// Letters of the question in their order; the earlier and closer, the better.
fn score(text: &str, question: &str) -> Option<usize> {
    let text = lower_case(text);
    if let Some(at) = text.find(question) {
        return Some(at);
    }
    let mut from = 0;
    for letter in question.chars() {
        from += text[from..].find(letter)? + letter.len_utf8();
    }
    Some(100 + from)
}

type Rated = Vec<(usize, Entry)>;

fn found(question: &str, sought: &[(Resource, View)]) -> Vec<Entry> {
    let question = lower_case(question.trim());
    let rate = |entry: &Entry| {
        score(&entry.title, &question).or_else(|| score(&entry.hint, &question).map(|score| score + 50))
    };
    let mut rated: Rated = entries().into_iter().filter_map(|entry| Some((rate(&entry)?, entry))).collect();
    let (_, name) = wanted(&question);
    rated.extend(objects(&name, sought));
    sampan_dashboard_logic::sort::by_key(&mut rated, |(score, _)| *score);
    rated.into_iter().map(|(_, entry)| entry).take(SHOWN).collect()
}

/// The objects that were found, those that fit best.
fn objects(name: &str, sought: &[(Resource, View)]) -> Rated {
    let mut rated = Rated::new();
    for (resource, view) in sought {
        for row in view.live().read().rows.values() {
            let Some(score) = row.name.find(name) else { continue };
            let title = if row.namespace.is_empty() {
                row.name.clone()
            } else {
                format!("{}/{}", row.namespace, row.name)
            };
            let command = Command::Go(resource.page(&row.namespace, &row.name));
            rated.push((score, Entry { title, hint: resource.kind.clone(), command }));
        }
    }
    sampan_dashboard_logic::sort::by(&mut rated, |(a, one), (b, other)| {
        (a, &one.title).cmp(&(b, &other.title))
    });
    rated.truncate(OBJECTS);
    rated
}

/// The kinds to look in and the name to look for: `po web` looks for `web` in pods alone.
fn wanted(question: &str) -> (Vec<Resource>, String) {
    let kinds = app().kinds.read_untracked();
    if let Some((first, rest)) = question.split_once(' ') {
        let own = |kind: &&Resource| {
            kind.plural == first
                || kind.kind.eq_ignore_ascii_case(first)
                || kind.short.iter().any(|short| short == first)
        };
        if let Some(kind) = kinds.all.iter().find(own) {
            return (vec![kind.clone()], rest.trim().to_owned());
        }
    }
    (SOUGHT.iter().filter_map(|path| kinds.of_path(path).cloned()).collect(), question.to_owned())
}

/// Looks for objects whose rows have the name; the daemon filters them.
fn seek(question: &str, namespaces: Vec<String>) -> Vec<(Resource, View)> {
    let (kinds, name) = wanted(&lower_case(question.trim()));
    if name.chars().count() < LETTERS
        || name.contains(|letter: char| {
            letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"-.".contains(letter)
        })
    {
        return Vec::new();
    }
    let open = |resource: Resource| {
        let namespaces = if resource.namespaced { namespaces.clone() } else { Vec::new() };
        let kind: Kind = resource.feed();
        let view = feed::list(feed::List { kind, namespaces, filter: name.clone(), ..Default::default() });
        (resource, view)
    };
    kinds.into_iter().map(open).collect()
}

#[component]
fn PaletteDialog() -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let question = RwSignal::new(String::new());
    let at = RwSignal::new(0usize);
    let go = go::goer();
    let namespaces = go::namespaces();
    let sought = RwSignal::new(Vec::<(Resource, View)>::new());
    Effect::new(move |_| {
        let question = question.get();
        let look = move || {
            // the palette may be closed by now
            if let Some(namespaces) = namespaces.try_get_untracked() {
                sought.try_set(seek(&question, namespaces));
            }
        };
        let timer = set_timeout_with_handle(look, PAUSE);
        on_cleanup(move || {
            if let Ok(timer) = timer {
                timer.clear();
            }
        });
    });
    let close = move || {
        dialog::shut(node);
        app().palette.set(false);
    };
    Effect::new(move |_| {
        if let Some(node) = node.get() {
            let _ = node.show_modal();
        }
    });
    let all = Memo::new_with_compare(move |_| found(&question.read(), &sought.read()), |_, _| true);
    let run = move |entry: &Entry| {
        close();
        match &entry.command {
            Command::Go(path) => go(path),
            Command::Paint(theme) => app().paint(*theme),
            Command::Speak(locale) => app().speak(*locale),
            Command::Help => app().help.set(true),
        }
    };
    let submit = {
        let run = run.clone();
        move |event: leptos::ev::SubmitEvent| {
            event.prevent_default();
            if let Some(entry) = all.read_untracked().get(at.get_untracked()) {
                run(entry);
            }
        }
    };
    let walk = move |event: leptos::ev::KeyboardEvent| {
        let last = all.read_untracked().len().saturating_sub(1);
        match event.key().as_str() {
            "ArrowDown" => at.update(|at| *at = (*at + 1).min(last)),
            "ArrowUp" => at.update(|at| *at = at.saturating_sub(1)),
            _ => return,
        }
        event.prevent_default();
    };
    view! {
        <dialog class="palette" node_ref=node on:close=|event| if dialog::closed(&event) { app().palette.set(false) } aria-label=tr!(palette.title)>
            <form method="dialog" on:submit=submit>
                <input type="text" role="combobox" aria-expanded="true" aria-controls="palette-list" autofocus="true"
                    aria-activedescendant=move || format!("palette-{}", at.get()) placeholder=tr!(palette.ask) autocomplete="off"
                    on:keydown=walk on:input=move |event| { at.set(0); question.set(event_target_value(&event)); } />
                <ul id="palette-list" role="listbox" aria-label=tr!(palette.title)>
                    {move || all.get().into_iter().enumerate().map(|(index, entry)| {
                        let run = run.clone();
                        let (title, hint) = (entry.title.clone(), entry.hint.clone());
                        view! {
                            <li role="option" id=format!("palette-{index}") aria-selected=move || (at.get() == index).to_string()
                                on:click=move |_| run(&entry)>
                                <span>{title}</span><span class="soft">{hint}</span>
                            </li>
                        }
                    }).collect_view()}
                </ul>
            </form>
        </dialog>
    }
}
